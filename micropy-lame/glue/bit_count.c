/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * Quantization and counting of the Huffman code's bits: in place of LAME's count_bits, noquant_count_bits and best_huffman_divide. */
#include "kernels.h"

/* `Coding` in src/kernels/bit_count.rs */
struct coding {
    int     part2_3_length;
    int     big_values;
    int     count1;
    int     count1bits;
    int     count1table_select;
    int     table_select[3];
    int     region0_count;
    int     region1_count;
};

/* src/kernels/boundary.rs: lines are 576, `long_bands` 23, `first_division` 576, `adj43` at least 8. */
int     micropy_kernel_count(FLOAT const *xr34, FLOAT step, FLOAT const *adj43, int *ix, int lines, int const *long_bands,
                             char const *first_division, int short_region0, int block_type, struct coding *coding);
/* `BandGains` in src/kernels/boundary/bit_count.rs */
struct band_gains {
    int     global_gain;
    int     scalefac_scale;
    int     preflag;
    int     last_line;
    int const *scalefac;
    int const *subblock_gain;
    int const *width;
    int const *window;
};
int     micropy_kernel_count_bands(FLOAT const *xr34, struct band_gains const *gains, struct micropy_powers const *powers, int *ix,
                                   int lines, int const *long_bands, char const *first_division, int short_region0,
                                   int block_type, struct coding *coding);
void    micropy_kernel_quantize(FLOAT const *xr34, FLOAT step, FLOAT const *adj43, int *ix, int lines);
int     micropy_kernel_count_quantized(int const *ix, int lines, int const *long_bands, char const *first_division,
                                       int short_region0, int block_type, struct coding *coding);
void    micropy_kernel_divide(int const *ix, int const *long_bands, char const *first_division, int block_type,
                              struct coding *coding);

static struct coding
get(gr_info const *gi)
{
    struct coding const coding = {
        gi->part2_3_length, gi->big_values, gi->count1, gi->count1bits, gi->count1table_select,
        {gi->table_select[0], gi->table_select[1], gi->table_select[2]}, gi->region0_count, gi->region1_count
    };
    return coding;
}

static void
put(gr_info * gi, struct coding const *coding)
{
    gi->part2_3_length = coding->part2_3_length;
    gi->big_values = coding->big_values;
    gi->count1 = coding->count1;
    gi->count1bits = coding->count1bits;
    gi->count1table_select = coding->count1table_select;
    memcpy(gi->table_select, coding->table_select, sizeof gi->table_select);
    gi->region0_count = coding->region0_count;
    gi->region1_count = coding->region1_count;
}

static int
lines_of(gr_info const *gi)
{
    return Min(576, ((gi->max_nonzero_coeff + 2) >> 1) << 1);
}

static int
finish(lame_internal_flags const *gfc, gr_info * gi, struct coding const *coding, int bits)
{
    put(gi, coding);
    if (gfc->cfg.use_best_huffman == 2 && gi->big_values != 0) {
        gi->part2_3_length = bits;
        best_huffman_divide(gfc, gi);
        bits = gi->part2_3_length;
    }
    return bits;
}

static int
count_quantized(lame_internal_flags const *gfc, gr_info * gi)
{
    struct coding coding = get(gi);
    int const bits = micropy_kernel_count_quantized(gi->l3_enc, lines_of(gi), gfc->scalefac_band.l, gfc->sv_qnt.bv_scf,
                                                    3 * gfc->scalefac_band.s[3], gi->block_type, &coding);
    return finish(gfc, gi, &coding, bits);
}

static int
count_bands(lame_internal_flags const *gfc, FLOAT const *xr34, gr_info * gi)
{
    struct micropy_powers const powers = MICROPY_POWERS;
    struct band_gains const gains = {
        gi->global_gain, gi->scalefac_scale, gi->preflag, gi->max_nonzero_coeff, gi->scalefac, gi->subblock_gain, gi->width, gi->window
    };
    struct coding coding = get(gi);
    int const bits = micropy_kernel_count_bands(xr34, &gains, &powers, gi->l3_enc, lines_of(gi), gfc->scalefac_band.l,
                                                gfc->sv_qnt.bv_scf, 3 * gfc->scalefac_band.s[3], gi->block_type, &coding);
    return finish(gfc, gi, &coding, bits);
}

static int
count(lame_internal_flags const *gfc, FLOAT const *xr, gr_info * gi)
{
    FLOAT const step = IPOW20(gi->global_gain);
    struct coding coding;
    int     bits;

    if (gi->xrpow_max > IXMAX_VAL / step)
        return LARGE_BITS;

    if (gfc->sv_qnt.substep_shaping & 2) {
        /* 0.634521682242439 = 0.5946*2**(.5*0.1875), as in LAME */
        FLOAT const least = 0.634521682242439 / IPOW20(gi->global_gain + gi->scalefac_scale);
        int     sfb, k, j = 0;
        micropy_kernel_quantize(xr, step, adj43, gi->l3_enc, lines_of(gi));
        for (sfb = 0; sfb < gi->sfbmax; sfb++) {
            int const end = j + gi->width[sfb];
            if (gfc->sv_qnt.pseudohalf[sfb])
                for (k = j; k < end; ++k)
                    gi->l3_enc[k] = (xr[k] >= least) ? gi->l3_enc[k] : 0;
            j = end;
        }
        return count_quantized(gfc, gi);
    }
    coding = get(gi);
    bits = micropy_kernel_count(xr, step, adj43, gi->l3_enc, lines_of(gi), gfc->scalefac_band.l, gfc->sv_qnt.bv_scf,
                                3 * gfc->scalefac_band.s[3], gi->block_type, &coding);
    return finish(gfc, gi, &coding, bits);
}

static void
divide(lame_internal_flags const *gfc, gr_info * gi)
{
    struct coding coding;
    /* LAME does not for short blocks of MPEG-2. */
    if (gi->block_type == SHORT_TYPE && gfc->cfg.mode_gr == 1)
        return;
    coding = get(gi);
    micropy_kernel_divide(gi->l3_enc, gfc->scalefac_band.l, gfc->sv_qnt.bv_scf, gi->block_type, &coding);
    put(gi, &coding);
}

#ifdef MICROPY_ORACLE
int     LAME_OWN(noquant_count_bits) (lame_internal_flags const *gfc, gr_info * gi, calc_noise_data * prev_noise);
int     LAME_OWN(count_bits) (lame_internal_flags const *gfc, FLOAT const *xr, gr_info * gi, calc_noise_data * prev_noise);
void    LAME_OWN(best_huffman_divide) (lame_internal_flags const *gfc, gr_info * gi);

static int
equal(gr_info const *a, gr_info const *b)
{
    struct coding const x = get(a), y = get(b);
    return memcmp(&x, &y, sizeof x) == 0;
}

/* Without the values that were never quantized: LAME leaves there what was. */
static int
equal_values(gr_info const *a, gr_info const *b)
{
    return memcmp(a->l3_enc, b->l3_enc, sizeof(int) * lines_of(a)) == 0;
}
#endif

int
noquant_count_bits(lame_internal_flags const *const gfc, gr_info * const gi, calc_noise_data * prev_noise)
{
    (void) prev_noise;
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on()) {
        gr_info lame = *gi;
        int const expected = LAME_OWN(noquant_count_bits) (gfc, &lame, 0);
        int const bits = count_quantized(gfc, gi);
        micropy_oracle_report("bit count", bits == expected && (bits >= LARGE_BITS || equal(gi, &lame)));
        return bits;
    }
#endif
    return count_quantized(gfc, gi);
}

int
count_bits(lame_internal_flags const *const gfc, FLOAT const *const xr, gr_info * const gi, calc_noise_data * prev_noise)
{
    (void) prev_noise;
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on()) {
        gr_info lame = *gi;
        int const expected = LAME_OWN(count_bits) (gfc, xr, &lame, 0);
        int const bits = count(gfc, xr, gi);
        /* A value that lies on the border of two may be rounded to either: the order of sums differs. */
        if (expected < LARGE_BITS) {
            int const same = equal_values(gi, &lame);
            micropy_oracle_report("quantization", same);
            if (same)
                micropy_oracle_report("bit count", bits == expected && equal(gi, &lame));
        }
        else
            micropy_oracle_report("bit count", bits >= LARGE_BITS);
        return bits;
    }
#endif
    return count(gfc, xr, gi);
}

void
best_huffman_divide(lame_internal_flags const *const gfc, gr_info * const gi)
{
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on()) {
        gr_info lame = *gi;
        LAME_OWN(best_huffman_divide) (gfc, &lame);
        divide(gfc, gi);
        micropy_oracle_report("region division", equal(gi, &lame));
        return;
    }
#endif
    divide(gfc, gi);
}

/* At variable bitrate, each band has its step before anything is quantized. `quantize` is LAME's own function for `context`, to which
 * `gi` belongs. */
int
micropy_count_bands(lame_internal_flags const *gfc, FLOAT const *xr34, gr_info * gi, void const *context,
                    void (*quantize) (void const *))
{
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on()) {
        gr_info const before = *gi;
        gr_info lame;
        int     bits, expected, same;
        quantize(context);
        lame = *gi;
        expected = LAME_OWN(noquant_count_bits) (gfc, &lame, 0);
        *gi = before;
        bits = count_bands(gfc, xr34, gi);
        same = equal_values(gi, &lame);
        micropy_oracle_report("quantization of bands", same);
        if (same)
            micropy_oracle_report("bit count", bits == expected && (bits >= LARGE_BITS || equal(gi, &lame)));
        return bits;
    }
#else
    (void) context;
    (void) quantize;
#endif
    return count_bands(gfc, xr34, gi);
}
