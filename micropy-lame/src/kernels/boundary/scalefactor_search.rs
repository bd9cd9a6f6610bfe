// SPDX-License-Identifier: LGPL-2.0-or-later
//! For `glue/scalefactor_search.c`.

use std::ffi::c_int;

use super::PowersPointers;
use crate::kernels::noise::BANDS;
use crate::kernels::quantization::LINES;
use crate::kernels::scalefactor_search::{Granule, find_gains};

/// Finds the gains of all bands.
///
/// # Safety
/// As the module says; `least` and `gains` are the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_find_gains(
    xr: *const [f32; LINES],
    xr34: *const [f32; LINES],
    last_line: c_int,
    width: *const [i32; BANDS],
    bands: c_int,
    allowed: *const [f32; BANDS],
    is_audible: *const [u8; BANDS],
    is_search: c_int,
    powers: *const PowersPointers,
    least: *mut [i32; BANDS],
    gains: *mut [i32; BANDS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let granule = Granule {
            xr: &*xr,
            xr34: &*xr34,
            last_line: last_line as usize,
            width: &*width,
            bands: bands as usize,
            allowed: &*allowed,
            is_audible: &*is_audible,
            is_search: is_search != 0,
        };
        find_gains(&granule, &(*powers).get(), &mut *least, &mut *gains);
    }
}
