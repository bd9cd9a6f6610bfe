/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * The noise that each scalefactor band may have: in place of LAME's calc_xmin. */
#include "kernels.h"

/* src/kernels/boundary/allowed_noise.rs: arrays by band have SFBMAX entries. */
int     micropy_kernel_allowed_noise(FLOAT const *xr, int const *width, int bands, FLOAT const *quiet, FLOAT const *factor,
                                     III_psy_xmin const *energy, III_psy_xmin const *threshold, int is_short, FLOAT decay,
                                     FLOAT * allowed, char *is_audible, int *last_line);

/* LAME adjusts the threshold in quiet anew for each granule and channel; it is the same for all of a frame. */
static void
prepare(lame_internal_flags const *gfc, gr_info const *gi, int is_short)
{
    ATH_t const *const ath = gfc->ATH;
    /* The encoder is const to calc_xmin, but for what it remembers. */
    struct micropy_state *const state = (struct micropy_state *) &gfc->kernels;
    FLOAT const *const adjusted = is_short ? ath->s : ath->l;
    FLOAT const *const factors = is_short ? gfc->sv_qnt.shortfact : gfc->sv_qnt.longfact;
    int const windows = is_short ? 3 : 1;
    int const known = state->quiet[is_short].adjust_factor == ath->adjust_factor ? state->quiet[is_short].is_known : 0;
    int     band;
    for (band = known; band < gi->psymax; band++) {
        int const sfb = band / windows;
        if (band % windows == 0)
            state->quiet[is_short].thresholds[band] =
                athAdjust(ath->adjust_factor, adjusted[sfb], ath->floor, gfc->cfg.ATHfixpoint) * factors[sfb];
        else
            state->quiet[is_short].thresholds[band] = state->quiet[is_short].thresholds[band - 1];
        state->quiet[is_short].factors[band] = factors[sfb];
    }
    state->quiet[is_short].adjust_factor = ath->adjust_factor;
    state->quiet[is_short].is_known = Max(known, gi->psymax);
}

/* The last line that is worth coding: LAME's rule. */
static int
last_of(lame_internal_flags const *gfc, gr_info const *gi, int last)
{
    SessionConfig_t const *const cfg = &gfc->cfg;
    int const is_short = gi->block_type == SHORT_TYPE;
    if (is_short)
        last = last / 6 * 6 + 5;
    else
        last |= 1;
    if (gfc->sv_qnt.sfb21_extra == 0 && cfg->samplerate_out < 44000) {
        int const narrow = cfg->samplerate_out <= 8000;
        int const limit = is_short ? 3 * gfc->scalefac_band.s[narrow ? 9 : 12] - 1 : gfc->scalefac_band.l[narrow ? 17 : 21] - 1;
        last = Min(last, limit);
    }
    return last;
}

static int
allowed_noise(lame_internal_flags const *gfc, III_psy_ratio const *ratio, gr_info * gi, FLOAT * allowed)
{
    int const is_short = gi->block_type == SHORT_TYPE;
    FLOAT const decay = is_short && gfc->cfg.use_temporal_masking_effect ? gfc->cd_psy->decay : 0;
    int     last, audible;
    prepare(gfc, gi, is_short);
    audible = micropy_kernel_allowed_noise(gi->xr, gi->width, gi->psymax, gfc->kernels.quiet[is_short].thresholds,
                                           gfc->kernels.quiet[is_short].factors, &ratio->en, &ratio->thm, is_short, decay,
                                           allowed, gi->energy_above_cutoff, &last);
    gi->max_nonzero_coeff = last_of(gfc, gi, last);
    return audible;
}

int     LAME_OWN(calc_xmin) (lame_internal_flags const *gfc, III_psy_ratio const *ratio, gr_info * gi, FLOAT * allowed);

#ifdef MICROPY_ORACLE
static int
near(FLOAT a, FLOAT b)
{
    return fabsf(a - b) <= 4e-6f * fabsf(b);
}

/* A band whose energy is its threshold in quiet but for rounding may be on either side of it. */
static int
equal(gr_info const *gi, FLOAT const *allowed, int audible, gr_info const *lame, FLOAT const *expected, int expected_audible)
{
    int     sfb, borders = 0, j = 0;
    for (sfb = 0; sfb < gi->psymax; sfb++) {
        FLOAT   energy = 0;
        int     k;
        for (k = 0; k < gi->width[sfb]; k++, j++)
            energy += gi->xr[j] * gi->xr[j];
        if (!near(allowed[sfb], expected[sfb]))
            return 0;
        if (near(energy, expected[sfb]) || fabsf(energy - expected[sfb]) < 1e-13f)
            borders++;
        else if (gi->energy_above_cutoff[sfb] != lame->energy_above_cutoff[sfb])
            return 0;
    }
    return gi->max_nonzero_coeff == lame->max_nonzero_coeff && abs(audible - expected_audible) <= borders;
}
#endif

int
calc_xmin(lame_internal_flags const *gfc, III_psy_ratio const *const ratio, gr_info * const gi, FLOAT * allowed)
{
    /* LAME makes no mixed blocks, unless it is built to. */
    if (gi->mixed_block_flag)
        return LAME_OWN(calc_xmin) (gfc, ratio, gi, allowed);
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on()) {
        gr_info lame = *gi;
        FLOAT   expected[SFBMAX];
        int const expected_audible = LAME_OWN(calc_xmin) (gfc, ratio, &lame, expected);
        int const audible = allowed_noise(gfc, ratio, gi, allowed);
        micropy_oracle_report("allowed noise", equal(gi, allowed, audible, &lame, expected, expected_audible));
        return audible;
    }
#endif
    return allowed_noise(gfc, ratio, gi, allowed);
}
