// SPDX-License-Identifier: LGPL-2.0-or-later
//! For LAME's `vbrpsy_attack_detection`.

use crate::kernels::attack::{FILTERED, GRANULE, STRETCH, high_pass, peak};

/// # Safety
/// As the module says.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_high_pass(
    pcm: *const [f32; FILTERED],
    out: *mut [f32; GRANULE],
) {
    // SAFETY: the caller's promise.
    unsafe { high_pass(&*pcm, &mut *out) }
}

/// # Safety
/// As the module says.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_peak(samples: *const [f32; STRETCH]) -> f32 {
    // SAFETY: the caller's promise.
    peak(unsafe { &*samples })
}
