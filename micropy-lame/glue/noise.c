/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * The noise of each scalefactor band and the amplification of bands: in place of LAME's calc_noise, and of the loops of
 * amp_scalefac_bands. */
#include "kernels.h"

/* `Noise` in src/kernels/noise.rs */
struct noise {
    float   over;
    float   total;
    float   loudest;
    int     over_count;
    int     over_squares;
};

/* src/kernels/boundary/noise.rs: arrays by band have SFBMAX entries. */
void    micropy_kernel_noise(FLOAT const *xr, int const *ix, int global_gain, int const *scalefac, int scalefac_scale,
                             int preflag, int const *subblock_gain, int const *width, int const *window, int is_short,
                             int bands, int last_line, struct micropy_powers const *powers, FLOAT const *allowed,
                             FLOAT * distort, int *gain_before, FLOAT * noise_before, struct noise *result);
FLOAT   micropy_kernel_amplify(FLOAT * xr34, int *scalefac, int bands, int const *width, FLOAT const *distort,
                               int half_of_loudest, FLOAT by, FLOAT peak);

static int
noise(gr_info const *gi, FLOAT const *allowed, FLOAT * distort, calc_noise_result * res, calc_noise_data * before)
{
    struct micropy_powers const powers = MICROPY_POWERS;
    struct noise result;
    micropy_kernel_noise(gi->xr, gi->l3_enc, gi->global_gain, gi->scalefac, gi->scalefac_scale, gi->preflag,
                         gi->subblock_gain, gi->width, gi->window, gi->block_type == SHORT_TYPE, gi->psymax,
                         gi->max_nonzero_coeff, &powers, allowed, distort, before ? before->step : NULL,
                         before ? before->noise : NULL, &result);
    if (before)
        before->global_gain = gi->global_gain;
    res->over_noise = result.over;
    res->tot_noise = result.total;
    res->max_noise = result.loudest;
    res->over_count = result.over_count;
    res->over_SSD = result.over_squares;
    return result.over_count;
}

#ifdef MICROPY_ORACLE
int     LAME_OWN(calc_noise) (gr_info const *gi, FLOAT const *l3_xmin, FLOAT * distort, calc_noise_result * res,
                              calc_noise_data * before);

static int
near(FLOAT a, FLOAT b, FLOAT relative, FLOAT absolute)
{
    return fabsf(a - b) <= relative * fabsf(b) + absolute;
}

/* LAME's logarithm comes from a table of 512 steps: 39 bands of it differ by up to 39 times its error. Where a band's noise is what is
 * allowed, but for rounding, LAME may count it as too loud. */
static int
equal(gr_info const *gi, FLOAT const *distort, calc_noise_result const *a, FLOAT const *lame, calc_noise_result const *b)
{
    int     sfb, borders = 0;
    for (sfb = 0; sfb < gi->psymax; sfb++) {
        if (!near(distort[sfb], lame[sfb], 1e-3f, 1e-12f))
            return 0;
        borders += near(lame[sfb], 1, 4e-6f, 0);
    }
    return near(a->tot_noise, b->tot_noise, 0, 4e-3f) && near(a->over_noise, b->over_noise, 0, 4e-3f)
        && near(a->max_noise, b->max_noise, 0, 2e-3f) && abs(a->over_count - b->over_count) <= borders;
}
#endif

int
calc_noise(gr_info const *const gi, FLOAT const *l3_xmin, FLOAT * distort, calc_noise_result * const res,
           calc_noise_data * before)
{
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on()) {
        FLOAT   expected[SFBMAX];
        calc_noise_result lame;
        calc_noise_data copy;
        int     over, sfb;
        /* LAME keeps the logarithms too. */
        if (before) {
            copy = *before;
            for (sfb = 0; sfb < gi->psymax; sfb++)
                copy.noise_log[sfb] = log10f(Max(copy.noise[sfb] / l3_xmin[sfb], 1e-20f));
        }
        (void) LAME_OWN(calc_noise) (gi, l3_xmin, expected, &lame, before ? &copy : NULL);
        over = noise(gi, l3_xmin, distort, res, before);
        micropy_oracle_report("noise", equal(gi, distort, res, expected, &lame));
        return over;
    }
#endif
    return noise(gi, l3_xmin, distort, res, before);
}

/* Whether it has done what amp_scalefac_bands does. */
int
micropy_amplify_bands(lame_internal_flags const *gfc, gr_info * gi, FLOAT const *distort, FLOAT xrpow[576], int refine)
{
    /* 2**(.75*.5) and 2**(.75*1), as in LAME */
    FLOAT const by = gi->scalefac_scale == 0 ? 1.29683955465100964055 : 1.68179283050742922612;
    int const method = gfc->cfg.noise_shaping_amp;
    /* Methods 2, and 3 when it refines, amplify one band; substep shaping keeps a state of each. */
    if (method == 2 || (method == 3 && refine == 1) || (gfc->sv_qnt.substep_shaping & 2))
        return 0;
    gi->xrpow_max = micropy_kernel_amplify(xrpow, gi->scalefac, gi->sfbmax, gi->width, distort, method == 1 || method == 3, by,
                                           gi->xrpow_max);
    return 1;
}
