/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * For tests, a part of psymodel.c, before L3psycho_anal_vbr: LAME's own functions run beside the kernels. What LAME keeps from granule
 * to granule is of no use to the kernels and goes on by itself. */
#ifndef MICROPY_PSYMODEL_ORACLE_H
#define MICROPY_PSYMODEL_ORACLE_H

int     micropy_oracle_is_on(void);
void    micropy_oracle_report(char const *stage, int equal);

/* Bands hold no less noise from rounding than this part of all the energy. */
static int
micropy_alike(FLOAT a, FLOAT b, FLOAT all)
{
    return fabs(a - b) <= 1e-4 * b + 1e-9 * all;
}

static void
micropy_compare_bands(char const *stage, int bands, int channels, FLOAT eb[4][CBANDS], FLOAT thr[4][CBANDS],
                      FLOAT lame_eb[4][CBANDS], FLOAT lame_thr[4][CBANDS])
{
    int     ch, b;
    for (ch = 0; ch < channels; ch++) {
        FLOAT   all = 1e-20;
        for (b = 0; b < bands; b++)
            all += lame_eb[ch & 1][b] + (channels > 1 ? lame_eb[1 - (ch & 1)][b] : 0);
        for (b = 0; b < bands; b++)
            micropy_oracle_report(stage, micropy_alike(eb[ch][b], lame_eb[ch][b], all)
                                  && micropy_alike(thr[ch][b], lame_thr[ch][b], all));
    }
}

static void
micropy_compare_long(lame_internal_flags * gfc, const sample_t * const buffer[2], int channels, FLOAT eb[4][CBANDS],
                     FLOAT thr[4][CBANDS])
{
    FLOAT   lame_eb[4][CBANDS], lame_thr[4][CBANDS], energy[HBLKSIZE], wsamp[2][BLKSIZE];
    FLOAT   loudness[2];
    FLOAT   tot_ener[4];
    int     ch;
    if (!micropy_oracle_is_on())
        return;
    memcpy(tot_ener, gfc->sv_psy.tot_ener, sizeof tot_ener);
    for (ch = 0; ch < channels; ch++) {
        vbrpsy_compute_fft_l(gfc, buffer, ch, 0, energy, wsamp + (ch & 1));
        if (ch < 2) {
            loudness[ch] = psycho_loudness_approx(energy, gfc->ATH->eql_w);
            micropy_oracle_report("loudness", fabs(loudness[ch] - gfc->sv_psy.loudness_sq_save[ch]) <= 1e-4 * loudness[ch] + 1e-30);
        }
        vbrpsy_compute_masking_l(gfc, energy, lame_eb[ch], lame_thr[ch], ch);
    }
    memcpy(gfc->sv_psy.tot_ener, tot_ener, sizeof tot_ener);
    micropy_compare_bands("masking of long blocks", gfc->cd_psy->l.npart, channels, eb, thr, lame_eb, lame_thr);
}

static void
micropy_compare_short(lame_internal_flags * gfc, const sample_t * const buffer[2], int block, int channels,
                      FLOAT eb[4][CBANDS], FLOAT thr[4][CBANDS])
{
    FLOAT   lame_eb[4][CBANDS], lame_thr[4][CBANDS], energy[3][HBLKSIZE_s], wsamp[2][3][BLKSIZE_s];
    int     ch;
    if (!micropy_oracle_is_on())
        return;
    for (ch = 0; ch < channels && ch < 2; ch++)
        fft_short(gfc, wsamp[ch], ch, buffer);
    for (ch = 0; ch < channels; ch++) {
        /* It transforms where the block is the first one, which has been done. */
        vbrpsy_compute_fft_s(gfc, buffer, ch, block, energy, wsamp + (ch & 1));
        vbrpsy_compute_masking_s(gfc, (const FLOAT(*)[HBLKSIZE_s]) energy, lame_eb[ch], lame_thr[ch], ch, block);
    }
    micropy_compare_bands("masking of short blocks", gfc->cd_psy->s.npart, channels, eb, thr, lame_eb, lame_thr);
}

#endif
