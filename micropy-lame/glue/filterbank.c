/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * The polyphase filterbank and the MDCT: in place of LAME's mdct_sub48. */
#include "kernels.h"
#include "newmdct.h"

/* src/kernels/boundary/filterbank.rs */
void    micropy_kernel_analyse(struct micropy_filterbank *filterbank, int channel, sample_t const *pcm, FLOAT const *factors,
                               int granules, int const block_types[2], int const mixed[2], FLOAT * const spectra[2]);

static void
analyse(lame_internal_flags * gfc, const sample_t * w0, const sample_t * w1)
{
    int const granules = gfc->cfg.mode_gr;
    int     ch, gr;
    for (ch = 0; ch < gfc->cfg.channels_out; ch++) {
        int     block_types[2] = { 0, 0 }, mixed[2] = { 0, 0 };
        FLOAT  *spectra[2] = { 0, 0 };
        for (gr = 0; gr < granules; gr++) {
            gr_info *const gi = &gfc->l3_side.tt[gr][ch];
            block_types[gr] = gi->block_type;
            mixed[gr] = gi->mixed_block_flag;
            spectra[gr] = gi->xr;
        }
        micropy_kernel_analyse(&gfc->kernels.filterbank, ch, ch ? w1 : w0, gfc->sv_enc.amp_filter, granules, block_types, mixed,
                               spectra);
    }
}

#ifdef MICROPY_ORACLE
void    LAME_OWN(mdct_sub48) (lame_internal_flags * gfc, const sample_t * w0, const sample_t * w1);

/* LAME rounds table C.1, which is in units of 2^-21, to nine decimals: that shows where nothing but the ends of the window meets sound.
 * So lines are known no better than to this part of the loudest sample. */
#define WINDOW_TOLERANCE 1e-7

static FLOAT
peak_of(sample_t const *pcm, int samples)
{
    FLOAT   peak = 0;
    int     i;
    for (i = 0; i < samples; i++)
        peak = Max(peak, fabs(pcm[i]));
    return peak / 32768;
}

/* LAME's history of subband samples is of no use to the kernel and goes on by itself. */
static void
compare(lame_internal_flags * gfc, const sample_t * w0, const sample_t * w1)
{
    FLOAT   lame[2][2][576], peak[2];
    int     gr, ch, k;
    for (ch = 0; ch < gfc->cfg.channels_out; ch++)
        peak[ch] = Max(peak_of(ch ? w1 : w0, 480 + 576 * gfc->cfg.mode_gr), peak_of(gfc->sv_enc.sb_sample[ch][0][0], 576));
    LAME_OWN(mdct_sub48) (gfc, w0, w1);
    for (gr = 0; gr < gfc->cfg.mode_gr; gr++)
        for (ch = 0; ch < gfc->cfg.channels_out; ch++)
            memcpy(lame[gr][ch], gfc->l3_side.tt[gr][ch].xr, sizeof lame[gr][ch]);
    analyse(gfc, w0, w1);
    for (gr = 0; gr < gfc->cfg.mode_gr; gr++)
        for (ch = 0; ch < gfc->cfg.channels_out; ch++) {
            FLOAT const *const xr = gfc->l3_side.tt[gr][ch].xr;
            double  error = 0, energy = 0;
            for (k = 0; k < 576; k++) {
                double const l = lame[gr][ch][k], d = xr[k] - l;
                error += d * d;
                energy += l * l;
            }
            micropy_oracle_report("filterbank", sqrt(error) <= 1e-6 * sqrt(energy) + WINDOW_TOLERANCE * peak[ch]);
        }
}
#endif

void
mdct_sub48(lame_internal_flags * gfc, const sample_t * w0, const sample_t * w1)
{
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on()) {
        compare(gfc, w0, w1);
        return;
    }
#endif
    analyse(gfc, w0, w1);
}
