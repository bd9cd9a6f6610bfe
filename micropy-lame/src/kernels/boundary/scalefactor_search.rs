// SPDX-License-Identifier: LGPL-2.0-or-later
//! For `glue/scalefactor_search.c`.

use std::ffi::c_int;
use std::slice;

use super::PowersPointers;
use crate::kernels::scalefactor_search::{find_gain, lowest_gain};

/// Finds the gain of a band.
///
/// # Safety
/// As the module says; `xr` and `xr34` have `lines` entries.
#[target_feature(enable = "avx2,fma,bmi2")]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_find_gain(
    xr: *const f32,
    xr34: *const f32,
    lines: c_int,
    allowed: f32,
    least: c_int,
    powers: *const PowersPointers,
) -> c_int {
    // SAFETY: the caller's promise.
    let (xr, xr34, powers) = unsafe {
        (
            slice::from_raw_parts(xr, lines as usize),
            slice::from_raw_parts(xr34, lines as usize),
            (*powers).get(),
        )
    };
    find_gain(xr, xr34, allowed, least as u8, &powers).into()
}

/// Finds the smallest gain that can code a band.
///
/// # Safety
/// As the module says; `xr34` has `lines` entries.
#[target_feature(enable = "avx2,fma,bmi2")]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_lowest_gain(
    xr34: *const f32,
    lines: c_int,
    powers: *const PowersPointers,
) -> c_int {
    // SAFETY: the caller's promise.
    let (xr34, powers) = unsafe { (slice::from_raw_parts(xr34, lines as usize), (*powers).get()) };
    lowest_gain(xr34, &powers).into()
}
