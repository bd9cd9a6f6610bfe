/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * Writing of a granule's Huffman code: in place of bitstream.c's Huffmancode and huffman_coder_count1. LAME puts each frame's header
 * and side information into the bits when their time has come. */
#include "kernels.h"

/* `MOST_BYTES` in src/kernels/huffman.rs */
#define MOST_BYTES (576 / 2 * 45 / 8 + 16)

/* src/kernels/boundary/huffman.rs: `out` has MOST_BYTES. */
int     micropy_kernel_write_code(int const *ix, FLOAT const *xr, int const *ends, int const *table_select, int count1,
                                  int count1table_select, int bits_before, int number_of_bits_before, unsigned char *out);

static int
write_code(lame_internal_flags * gfc, gr_info const *gi)
{
    Bit_stream_struc *const bs = &gfc->bs;
    EncStateVar_t *const esv = &gfc->sv_enc;
    int const *const bands = gfc->scalefac_band.l;
    int const big = gi->big_values;
    unsigned char out[MOST_BYTES];
    unsigned char const *from = out;
    int     ends[3] = { 0, big, big };
    /* The bits of the last byte that are taken. */
    int const before = bs->buf_bit_idx ? 8 - bs->buf_bit_idx : 0;
    int     bits, left, at;

    if (gi->block_type == SHORT_TYPE)
        ends[0] = Min(3 * gfc->scalefac_band.s[3], big);
    else {
        ends[0] = Min(bands[gi->region0_count + 1], big);
        ends[1] = Min(bands[gi->region0_count + 1 + gi->region1_count + 1], big);
    }
    bits = micropy_kernel_write_code(gi->l3_enc, gi->xr, ends, gi->table_select, gi->count1, gi->count1table_select,
                                     before ? bs->buf[bs->buf_byte_idx] >> bs->buf_bit_idx : 0, before, out);
    if (bits == 0)
        return 0;
    left = (before + bits + 7) / 8;
    at = bs->totbit - before;
    if (before) {
        bs->buf[bs->buf_byte_idx] = *from++;
        left--;
        at += 8;
    }
    while (left > 0) {
        int     room = (esv->header[esv->w_ptr].write_timing - at) / 8, some;
        if (room == 0) {
            int const side = gfc->cfg.sideinfo_len;
            memcpy(&bs->buf[bs->buf_byte_idx + 1], esv->header[esv->w_ptr].buf, side);
            bs->buf_byte_idx += side;
            bs->totbit += side * 8;
            at += side * 8;
            esv->w_ptr = (esv->w_ptr + 1) & (MAX_HEADER_BUF - 1);
            room = (esv->header[esv->w_ptr].write_timing - at) / 8;
        }
        some = room > 0 && room < left ? room : left;
        memcpy(&bs->buf[bs->buf_byte_idx + 1], from, some);
        bs->buf_byte_idx += some;
        from += some;
        left -= some;
        at += 8 * some;
    }
    bs->totbit += bits;
    bs->buf_bit_idx = (8 - (before + bits) % 8) % 8;
    return bits;
}

#ifdef MICROPY_ORACLE
/* LAME writes into copies of the encoder and of its buffer. */
static int
compare_code(lame_internal_flags * gfc, gr_info const *gi, int (*pairs) (lame_internal_flags *, gr_info const *),
             int (*quads) (lame_internal_flags *, gr_info const *))
{
    lame_internal_flags *const lame = malloc(sizeof *lame);
    unsigned char *const buf = malloc(gfc->bs.buf_size);
    int     bits, expected, equal;
    memcpy(lame, gfc, sizeof *lame);
    memcpy(buf, gfc->bs.buf, gfc->bs.buf_size);
    lame->bs.buf = buf;
    expected = pairs(lame, gi) + quads(lame, gi);
    bits = write_code(gfc, gi);
    equal = bits == expected && lame->bs.totbit == gfc->bs.totbit && lame->bs.buf_byte_idx == gfc->bs.buf_byte_idx
        && lame->bs.buf_bit_idx == gfc->bs.buf_bit_idx && lame->sv_enc.w_ptr == gfc->sv_enc.w_ptr
        && memcmp(buf, gfc->bs.buf, gfc->bs.buf_byte_idx + 1) == 0;
    micropy_oracle_report("huffman code", equal);
    free(buf);
    free(lame);
    return bits;
}
#endif

int
micropy_write_code(lame_internal_flags * gfc, gr_info const *gi, int (*pairs) (lame_internal_flags *, gr_info const *),
                   int (*quads) (lame_internal_flags *, gr_info const *))
{
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on())
        return compare_code(gfc, gi, pairs, quads);
#else
    (void) pairs;
    (void) quads;
#endif
    return write_code(gfc, gi);
}

/* The CRC of the music is for LAME's Info tag, which Micropy does not have LAME write. */
void
UpdateMusicCRC(uint16_t * crc, unsigned char const *buffer, int size)
{
    (void) crc;
    (void) buffer;
    (void) size;
}
