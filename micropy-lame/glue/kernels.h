/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * LAME's headers and what every file of the glue shares. */
#ifndef MICROPY_KERNELS_H
#define MICROPY_KERNELS_H

#include <stdint.h>
#include "lame.h"
#include "machine.h"
#include "encoder.h"
#include "util.h"
#include "quantize_pvt.h"
#include "tables.h"

/* The name of LAME's own function where ours has taken its name. */
#define LAME_OWN(name) micropy_kernels_lame_##name

/* `PowersPointers` in src/kernels/boundary.rs */
struct micropy_powers {
    FLOAT const *pow43;
    FLOAT const *adj43;
    FLOAT const *pow20;
    FLOAT const *ipow20;
};
#define MICROPY_POWERS { pow43, adj43, pow20, ipow20 }

#ifdef MICROPY_ORACLE
/* Whether LAME's own function shall run beside ours; and what came out of that: `stage` is a literal. */
int     micropy_oracle_is_on(void);
void    micropy_oracle_report(char const *stage, int equal);
#endif

#endif
