// SPDX-License-Identifier: LGPL-2.0-or-later
//! For LAME's `init_xrpow`.

use std::ffi::c_int;

use crate::kernels::quantization::{LINES, Magnitudes, powers_of_lines};

/// Writes the powers and the largest of them; returns the sum of the magnitudes.
///
/// # Safety
/// As the module says; `xr34` and `peak` are the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_powers(
    xr: *const [f32; LINES],
    lines: c_int,
    xr34: *mut [f32; LINES],
    peak: *mut f32,
) -> f32 {
    // SAFETY: the caller's promise.
    let (xr, xr34, to) = unsafe { (&*xr, &mut *xr34, &mut *peak) };
    let Magnitudes { sum, peak } = powers_of_lines(xr, lines as usize, xr34);
    *to = peak;
    sum
}
