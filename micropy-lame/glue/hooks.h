/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * What edits of LAME's text call. LAME's util.h includes this in the build with kernels, before `lame_internal_flags`. */
#ifndef MICROPY_HOOKS_H
#define MICROPY_HOOKS_H

#include <stddef.h>

struct lame_internal_flags;

/* scalefactor_bands.c; the functions passed are LAME's own. */
int     micropy_sum_up(struct lame_internal_flags *gfc, int channels, FLOAT eb[4][CBANDS], FLOAT thr[4][CBANDS],
                       void (*to_long) (struct lame_internal_flags *, FLOAT const *, FLOAT const *, int),
                       void (*to_short) (struct lame_internal_flags *, FLOAT const *, FLOAT const *, int));
int     micropy_limit_without_attack(int const attacks[4], int last_attack, FLOAT const factors[3], III_psy_xmin * thresholds);
FLOAT   micropy_entropy(III_psy_ratio const *ratio, FLOAT lowest, FLOAT(*lame) (III_psy_ratio const *, FLOAT));

/* bit_count.c; the function passed is LAME's own. */
int     micropy_count_bands(struct lame_internal_flags const *gfc, FLOAT const *xr34, gr_info * gi, void const *context,
                            void (*quantize) (void const *));

/* noise.c */
int     micropy_amplify_bands(struct lame_internal_flags const *gfc, gr_info * gi, FLOAT const *distort, FLOAT xrpow[576],
                              int refine);

/* scalefactor_search.c: the smallest gain of each band, and the one that is sought, if any is; `lame` has LAME's own functions. */
struct micropy_search {
    float   (*largest) (FLOAT const *, unsigned int);
    uint8_t (*lowest) (FLOAT);
    uint8_t (*find) (FLOAT const *, FLOAT const *, FLOAT, unsigned int, uint8_t);
};
void    micropy_find_gains(gr_info const *gi, FLOAT const *xr34, FLOAT const *allowed, int is_search, int *least, int *gains,
                           struct micropy_search const *lame);

/* huffman.c; the functions passed are LAME's own. Returns the bits written. */
int     micropy_write_code(struct lame_internal_flags *gfc, gr_info const *gi,
                           int (*pairs) (struct lame_internal_flags *, gr_info const *),
                           int (*quads) (struct lame_internal_flags *, gr_info const *));

#endif
