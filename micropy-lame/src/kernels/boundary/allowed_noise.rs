// SPDX-License-Identifier: LGPL-2.0-or-later
//! For `glue/allowed_noise.c`.

use std::ffi::c_int;

use crate::kernels::allowed_noise::{Granule, allowed_noise, last_line, spread_in_time};
use crate::kernels::noise::BANDS;
use crate::kernels::quantization::LINES;
use crate::kernels::scalefactor_bands::{ByBand, LONG_BANDS};

/// Computes what noise the bands may have; returns how many are louder than the threshold in quiet.
///
/// # Safety
/// As the module says; `allowed`, `is_audible` and `last` are the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_allowed_noise(
    xr: *const [f32; LINES],
    width: *const [i32; BANDS],
    bands: c_int,
    quiet: *const [f32; BANDS],
    factor: *const [f32; BANDS],
    energy: *const ByBand,
    threshold: *const ByBand,
    is_short: c_int,
    decay: f32,
    allowed: *mut [f32; BANDS],
    is_audible: *mut [u8; BANDS],
    last: *mut c_int,
) -> c_int {
    let first = if is_short == 0 { 0 } else { LONG_BANDS };
    // SAFETY: the caller's promise.
    let (granule, allowed, is_audible, last) = unsafe {
        let granule = Granule {
            xr: &*xr,
            width: &*width,
            bands: bands as usize,
            quiet: &*quiet,
            factor: &*factor,
            energy: &(&*energy)[first..],
            threshold: &(&*threshold)[first..],
        };
        (granule, &mut *allowed, &mut *is_audible, &mut *last)
    };
    *last = last_line(granule.xr) as c_int;
    let audible = allowed_noise(&granule, allowed, is_audible);
    if is_short != 0 {
        spread_in_time(&mut allowed[..granule.bands], decay);
    }
    audible as c_int
}
