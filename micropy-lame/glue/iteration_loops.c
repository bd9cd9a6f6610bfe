/* SPDX-License-Identifier: LGPL-2.0-or-later
 *
 * The threshold in quiet, which is the same for all granules and channels of a frame. */
#include "kernels.h"

FLOAT
micropy_threshold_in_quiet(lame_internal_flags const *gfc, int is_short, int band)
{
    ATH_t const *const ath = gfc->ATH;
    /* The encoder is const to calc_xmin, but for what it remembers. */
    struct micropy_state *const state = (struct micropy_state *) &gfc->kernels;
    if (state->quiet.adjust_factor != ath->adjust_factor) {
        state->quiet.adjust_factor = ath->adjust_factor;
        state->quiet.is_known[0] = state->quiet.is_known[1] = 0;
    }
    if (!(state->quiet.is_known[is_short] >> band & 1)) {
        state->quiet.is_known[is_short] |= 1u << band;
        state->quiet.thresholds[is_short][band] =
            athAdjust(ath->adjust_factor, is_short ? ath->s[band] : ath->l[band], ath->floor, gfc->cfg.ATHfixpoint);
    }
    return state->quiet.thresholds[is_short][band];
}
