/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * The gain of a scalefactor band at variable bitrate: in place of vbrquantize.c's find_scalefac_x34 and find_lowest_scalefac. */
#include "kernels.h"

/* src/kernels/boundary/scalefactor_search.rs */
int     micropy_kernel_find_gain(FLOAT const *xr, FLOAT const *xr34, int lines, FLOAT allowed, int least,
                                 struct micropy_powers const *powers);
int     micropy_kernel_lowest_gain(FLOAT const *xr34, int lines, struct micropy_powers const *powers);

uint8_t
micropy_find_gain(FLOAT const *xr, FLOAT const *xr34, FLOAT allowed, unsigned int lines, uint8_t least,
                  uint8_t(*lame) (FLOAT const *, FLOAT const *, FLOAT, unsigned int, uint8_t))
{
    struct micropy_powers const powers = MICROPY_POWERS;
    int const gain = micropy_kernel_find_gain(xr, xr34, (int) lines, allowed, least, &powers);
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on())
        micropy_oracle_report("scalefactor search", gain == lame(xr, xr34, allowed, lines, least));
#else
    (void) lame;
#endif
    return (uint8_t) gain;
}

uint8_t
micropy_lowest_gain(FLOAT const *xr34, unsigned int lines, float (*largest) (FLOAT const *, unsigned int), uint8_t(*lame) (FLOAT))
{
    struct micropy_powers const powers = MICROPY_POWERS;
    int const gain = micropy_kernel_lowest_gain(xr34, (int) lines, &powers);
#ifdef MICROPY_ORACLE
    if (micropy_oracle_is_on())
        micropy_oracle_report("lowest gain", gain == lame(largest(xr34, lines)));
#else
    (void) largest;
    (void) lame;
#endif
    return (uint8_t) gain;
}
