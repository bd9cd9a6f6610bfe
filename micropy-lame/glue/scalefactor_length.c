/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * The bits that scalefactors take: in place of LAME's scale_bitcount, for MPEG-1. */
#include "kernels.h"

/* src/kernels/boundary/scalefactor_length.rs */
int     micropy_kernel_scalefactor_length(int *scalefac, int is_short, int *preflag, int *part2_length, int *scalefac_compress);

int     LAME_OWN(scale_bitcount) (lame_internal_flags const *gfc, gr_info * gi);

/* 0, or 1 where a scalefactor is too large. */
static int
scalefactor_length(gr_info * gi)
{
    if (micropy_kernel_scalefactor_length(gi->scalefac, gi->block_type == SHORT_TYPE, &gi->preflag, &gi->part2_length,
                                          &gi->scalefac_compress))
        return 0;
    gi->part2_length = LARGE_BITS;
    return 1;
}

int
scale_bitcount(lame_internal_flags const *gfc, gr_info * gi)
{
    int const is_short = gi->block_type == SHORT_TYPE;
    if (gfc->cfg.mode_gr != 2 || gi->mixed_block_flag || gi->sfbmax != (is_short ? 36 : 21) || gi->sfbdivide != (is_short ? 18 : 11))
        return LAME_OWN(scale_bitcount) (gfc, gi);
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on()) {
        gr_info lame = *gi;
        int const expected = LAME_OWN(scale_bitcount) (gfc, &lame);
        int const too_large = scalefactor_length(gi);
        micropy_oracle_report("scalefactor length", too_large == expected && gi->part2_length == lame.part2_length
                              && gi->scalefac_compress == lame.scalefac_compress && gi->preflag == lame.preflag
                              && memcmp(gi->scalefac, lame.scalefac, sizeof lame.scalefac) == 0);
        return too_large;
    }
#endif
    return scalefactor_length(gi);
}
