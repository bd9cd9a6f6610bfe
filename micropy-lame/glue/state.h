/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * What stages keep with the encoder. LAME's util.h includes this in the build with kernels, before `lame_internal_flags`, which
 * gets it as its last field `kernels`, zeroed when an encoder starts. Fill it where LAME fills what it is made from. */
#ifndef MICROPY_STATE_H
#define MICROPY_STATE_H

/* `Psychoacoustics` in src/kernels/psychoacoustics.rs */
struct micropy_psychoacoustics {
    float   values[22866];
};

/* `Filterbank` in src/kernels/filterbank.rs */
struct micropy_filterbank {
    float   values[5952];
};

struct micropy_state {
    /* Whether the bands of the sample rate have been laid out. */
    int     has_bands;
    struct micropy_psychoacoustics psychoacoustics;
    struct micropy_filterbank filterbank;
    /* allowed_noise.c: for long and for short blocks, once they are asked for. */
    struct {
        int     is_known;
        FLOAT   adjust_factor;
        /* By band of a granule: the threshold in quiet, and what it and every other one is multiplied with. */
        FLOAT   thresholds[SFBMAX];
        FLOAT   factors[SFBMAX];
    } quiet[2];
};

#endif
