/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * The spectra and the masking of the psychoacoustic model: in place of the loops over channels in LAME's L3psycho_anal_vbr. */
#include "kernels.h"
#include "psymodel.h"

/* src/kernels/boundary/psychoacoustics.rs */
struct micropy_model {
    int     bands;
    int const *lines;
    int const (*maskers)[2];
    FLOAT const *spreading;
    FLOAT const *limit;
    FLOAT const *lower;
};
int     micropy_kernel_lay_out(struct micropy_psychoacoustics *state, size_t size, struct micropy_model const *l,
                               struct micropy_model const *s);
void    micropy_kernel_long_block(struct micropy_psychoacoustics *state, sample_t const *left, sample_t const *right,
                                  int const previous[2], FLOAT lowest, FLOAT const *weights, FLOAT energies[4][CBANDS],
                                  FLOAT thresholds[4][CBANDS], FLOAT energy[4], FLOAT weighted[2]);
void    micropy_kernel_short_spectra(struct micropy_psychoacoustics *state, sample_t const *left, sample_t const *right);
void    micropy_kernel_short_block(struct micropy_psychoacoustics *state, int block, FLOAT lowest, FLOAT energies[4][CBANDS],
                                   FLOAT thresholds[4][CBANDS]);

int     LAME_OWN(psymodel_init) (lame_global_flags const *gfp);

static struct micropy_model
model(PsyConst_CB2SB_t const *bands)
{
    struct micropy_model const model = {
        bands->npart, bands->numlines, (int const (*)[2]) bands->s3ind, bands->s3, bands->minval, bands->masking_lower
    };
    return model;
}

int
psymodel_init(lame_global_flags const *gfp)
{
    int const result = LAME_OWN(psymodel_init) (gfp);
    lame_internal_flags *const gfc = gfp->internal_flags;
    if (result == 0) {
        struct micropy_model const l = model(&gfc->cd_psy->l), s = model(&gfc->cd_psy->s);
        gfc->kernels.has_bands = micropy_kernel_lay_out(&gfc->kernels.psychoacoustics, sizeof gfc->kernels.psychoacoustics, &l, &s);
    }
    return result;
}

/* Energies and thresholds of the long blocks of all channels; 0 when LAME has to compute them. */
int
micropy_long_masking(lame_internal_flags * gfc, sample_t const *const buffer[2], int gr_out, int channels,
                     FLOAT eb[4][CBANDS], FLOAT thr[4][CBANDS])
{
    PsyStateVar_t *const psv = &gfc->sv_psy;
    int const stereo = channels > 1;
    int const previous[2] = { psv->blocktype_old[0], psv->blocktype_old[stereo] };
    FLOAT   energy[4], weighted[2];
    int     ch;
    if (!gfc->kernels.has_bands || gfc->cfg.analysis)
        return 0;
    micropy_kernel_long_block(&gfc->kernels.psychoacoustics, buffer[0], stereo ? buffer[1] : 0, previous, gfc->sv_qnt.masking_lower,
                              gfc->ATH->eql_w, eb, thr, energy, weighted);
    for (ch = 0; ch < channels; ch++)
        psv->tot_ener[ch] = energy[ch];
    for (ch = 0; ch <= stereo; ch++) {
        gfc->ov_psy.loudness_sq[gr_out][ch] = psv->loudness_sq_save[ch];
        psv->loudness_sq_save[ch] = weighted[ch] * VO_SCALE;
    }
    return 1;
}

/* The same of one short block, where no channel is to have long ones. */
int
micropy_short_masking(lame_internal_flags * gfc, sample_t const *const buffer[2], int block, int channels,
                      int const uselongblock[2], FLOAT eb[4][CBANDS], FLOAT thr[4][CBANDS])
{
    int const stereo = channels > 1;
    if (!gfc->kernels.has_bands || uselongblock[0] || (stereo && uselongblock[1]))
        return 0;
    if (block == 0)
        micropy_kernel_short_spectra(&gfc->kernels.psychoacoustics, buffer[0], stereo ? buffer[1] : 0);
    micropy_kernel_short_block(&gfc->kernels.psychoacoustics, block, gfc->sv_qnt.masking_lower, eb, thr);
    return 1;
}
