/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * Energies and thresholds by scalefactor band, the limit of a short block's thresholds, and the perceptual entropy: in place of parts
 * of LAME's L3psycho_anal_vbr. */
#include "kernels.h"
#include "psymodel.h"

/* src/kernels/boundary/scalefactor_bands.rs */
struct borders {
    int const *ends;
    FLOAT const *weights;
    int     partitions;
};
void    micropy_kernel_sum_up(FLOAT eb[4][CBANDS], FLOAT thr[4][CBANDS], struct borders const *l, struct borders const *s,
                              int channels, III_psy_xmin * energies, III_psy_xmin * thresholds);
void    micropy_kernel_limit_without_attack(III_psy_xmin * thresholds, FLOAT const factors[3]);
FLOAT   micropy_kernel_entropy(III_psy_xmin const *energy, III_psy_xmin const *threshold, FLOAT lowest);

static struct borders
borders(PsyConst_CB2SB_t const *bands)
{
    struct borders const borders = { bands->bo, bands->bo_weight, bands->npart };
    return borders;
}

#ifdef MICROPY_ORACLE
static int
near(FLOAT a, FLOAT b)
{
    return fabsf(a - b) <= 1e-5f * fabsf(b) + 1e-30f;
}

static void
compare(III_psy_xmin const *ours, III_psy_xmin const *lame, int channels)
{
    FLOAT const *const a = (FLOAT const *) ours, *const b = (FLOAT const *) lame;
    int     n, equal = 1;
    for (n = 0; n < channels * (int) (sizeof *ours / sizeof *a); n++)
        equal &= near(a[n], b[n]);
    micropy_oracle_report("scalefactor bands", equal);
}
#endif

/* Whether `eb` and `thr` have been summed up: where the kernel has filled them. */
int
micropy_sum_up(lame_internal_flags * gfc, int channels, FLOAT eb[4][CBANDS], FLOAT thr[4][CBANDS],
               void (*to_long) (lame_internal_flags *, FLOAT const *, FLOAT const *, int),
               void (*to_short) (lame_internal_flags *, FLOAT const *, FLOAT const *, int))
{
    PsyStateVar_t *const psv = &gfc->sv_psy;
    struct borders const l = borders(&gfc->cd_psy->l), s = borders(&gfc->cd_psy->l_to_s);
    if (!gfc->kernels.has_bands || gfc->cfg.analysis || gfc->cd_psy->l.n_sb != SBMAX_l || gfc->cd_psy->l_to_s.n_sb != SBMAX_s)
        return 0;
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on()) {
        III_psy_xmin energies[4], thresholds[4];
        int     ch;
        for (ch = 0; ch < channels; ch++) {
            to_long(gfc, eb[ch], thr[ch], ch);
            to_short(gfc, eb[ch], thr[ch], ch);
        }
        memcpy(energies, psv->en, sizeof energies);
        memcpy(thresholds, psv->thm, sizeof thresholds);
        micropy_kernel_sum_up(eb, thr, &l, &s, channels, psv->en, psv->thm);
        compare(psv->en, energies, channels);
        compare(psv->thm, thresholds, channels);
        return 1;
    }
#else
    (void) to_long;
    (void) to_short;
#endif
    micropy_kernel_sum_up(eb, thr, &l, &s, channels, psv->en, psv->thm);
    return 1;
}

/* Whether there is no attack near the short blocks, and so no more to do to their thresholds. */
int
micropy_limit_without_attack(int const attacks[4], int last_attack, FLOAT const factors[3], III_psy_xmin * thresholds)
{
    if (attacks[0] | attacks[1] | attacks[2] | attacks[3] || last_attack == 3)
        return 0;
    micropy_kernel_limit_without_attack(thresholds, factors);
    return 1;
}

FLOAT
micropy_entropy(III_psy_ratio const *ratio, FLOAT lowest, FLOAT(*lame) (III_psy_ratio const *, FLOAT))
{
    FLOAT const entropy = micropy_kernel_entropy(&ratio->en, &ratio->thm, lowest);
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on()) {
        FLOAT const expected = lame(ratio, lowest);
        micropy_oracle_report("entropy", fabsf(entropy - expected) <= 1e-5f * expected);
    }
#else
    (void) lame;
#endif
    return entropy;
}
