/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * What stages keep with the encoder. LAME's util.h includes this in the build with kernels, before `lame_internal_flags`, which
 * gets it as its last field `kernels`, zeroed when an encoder starts. Fill it where LAME fills what it is made from. */
#ifndef MICROPY_STATE_H
#define MICROPY_STATE_H

struct micropy_state {
    int unused;
};

#endif
