/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * The gains of a granule's bands at variable bitrate: in place of what vbrquantize.c's block_sf asks for band by band. */
#include "kernels.h"

/* src/kernels/boundary/scalefactor_search.rs: arrays by band have SFBMAX entries. */
void    micropy_kernel_find_gains(FLOAT const *xr, FLOAT const *xr34, int last_line, int const *width, int bands,
                                  FLOAT const *allowed, char const *is_audible, int is_search,
                                  struct micropy_powers const *powers, int *least, int *gains);

#ifdef MICROPY_ORACLE
/* As block_sf does it. */
static void
compare(gr_info const *gi, FLOAT const *xr34, FLOAT const *allowed, int is_search, int const *least, int const *gains,
        struct micropy_search const *lame)
{
    int     sfb, j;
    for (sfb = j = 0; j <= gi->max_nonzero_coeff; j += gi->width[sfb++]) {
        int const lines = Min(gi->width[sfb], gi->max_nonzero_coeff - j + 1);
        int const lowest = lame->lowest(lame->largest(xr34 + j, lines));
        micropy_oracle_report("lowest gain", least[sfb] == lowest);
        if (is_search && sfb < gi->psymax && gi->width[sfb] > 2 && gi->energy_above_cutoff[sfb]) {
            int const gain = lame->find(gi->xr + j, xr34 + j, allowed[sfb], lines, (uint8_t) lowest);
            micropy_oracle_report("scalefactor search", gains[sfb] == gain);
        }
    }
}
#endif

void
micropy_find_gains(gr_info const *gi, FLOAT const *xr34, FLOAT const *allowed, int is_search, int *least, int *gains,
                   struct micropy_search const *lame)
{
    struct micropy_powers const powers = MICROPY_POWERS;
    micropy_kernel_find_gains(gi->xr, xr34, gi->max_nonzero_coeff, gi->width, gi->psymax, allowed, gi->energy_above_cutoff,
                              is_search, &powers, least, gains);
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on())
        compare(gi, xr34, allowed, is_search, least, gains, lame);
#else
    (void) lame;
#endif
}
