// SPDX-License-Identifier: LGPL-2.0-or-later
//! For `glue/noise.c`.

use std::ffi::c_int;

use super::PowersPointers;
use crate::kernels::noise::{BANDS, Before, Noise, Quantized, Trigger, amplify, noise};
use crate::kernels::quantization::LINES;

/// Computes the noise of each band.
///
/// # Safety
/// As the module says; `distort`, the two `before`, which may be null, and `result` are the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_noise(
    xr: *const [f32; LINES],
    quantized: *const [i32; LINES],
    global_gain: c_int,
    scalefac: *const [i32; BANDS],
    scalefac_scale: c_int,
    preflag: c_int,
    subblock_gain: *const [i32; 4],
    width: *const [i32; BANDS],
    window: *const [i32; BANDS],
    is_short: c_int,
    bands: c_int,
    last_line: c_int,
    powers: *const PowersPointers,
    allowed: *const [f32; BANDS],
    distort: *mut [f32; BANDS],
    gain_before: *mut [i32; BANDS],
    noise_before: *mut [f32; BANDS],
    result: *mut Noise,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let granule = Quantized {
            xr: &*xr,
            quantized: &*quantized,
            global_gain,
            scalefac: &*scalefac,
            scalefac_scale,
            preflag: preflag != 0,
            subblock_gain: &*subblock_gain,
            width: &*width,
            window: &*window,
            is_short: is_short != 0,
            bands: bands as usize,
            last_line,
        };
        let before = match (gain_before.as_mut(), noise_before.as_mut()) {
            (Some(gain), Some(noise)) => Some(Before { gain, noise }),
            _ => None,
        };
        let powers = (*powers).get();
        *result = noise(&granule, &powers, &*allowed, &mut *distort, before);
    }
}

/// Amplifies bands.
///
/// # Safety
/// As the module says; `xr34` and `scalefac` are the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_amplify(
    xr34: *mut [f32; LINES],
    scalefac: *mut [i32; BANDS],
    bands: c_int,
    width: *const [i32; BANDS],
    distort: *const [f32; BANDS],
    half_of_loudest: c_int,
    by: f32,
    peak: f32,
) -> f32 {
    let trigger = match half_of_loudest {
        0 => Trigger::Audible,
        _ => Trigger::HalfOfLoudest,
    };
    // SAFETY: the caller's promise.
    unsafe {
        amplify(
            &mut *xr34,
            &mut *scalefac,
            bands as usize,
            &*width,
            &*distort,
            trigger,
            by,
            peak,
        )
    }
}
