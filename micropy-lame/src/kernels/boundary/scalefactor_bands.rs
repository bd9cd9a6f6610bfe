// SPDX-License-Identifier: LGPL-2.0-or-later
//! For `glue/scalefactor_bands.c`.

use std::ffi::c_int;
use std::slice;

use crate::kernels::masking::Planes;
use crate::kernels::scalefactor_bands::{
    Borders, ByBand, LONG_BANDS, SHORT_BANDS, entropy, limit_without_attack, sum_up,
};

/// `struct borders` of the glue.
#[repr(C)]
struct CBorders {
    ends: *const c_int,
    weights: *const f32,
    partitions: c_int,
}

impl CBorders {
    /// # Safety
    /// The arrays are LAME's own, which hold `bands` values.
    unsafe fn get(&self, bands: usize) -> Borders<'_> {
        // SAFETY: the caller's promise.
        unsafe {
            Borders {
                ends: slice::from_raw_parts(self.ends, bands),
                weights: slice::from_raw_parts(self.weights, bands),
                partitions: self.partitions as usize,
            }
        }
    }
}

/// Sums energies and thresholds up, by long and by short band.
///
/// # Safety
/// As the module says; there are `channels`, at most four, in the arrays that are written to, which are the caller's
/// alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_sum_up(
    energy: *const Planes,
    threshold: *const Planes,
    long: *const CBorders,
    short: *const CBorders,
    channels: c_int,
    energies: *mut ByBand,
    thresholds: *mut ByBand,
) {
    let channels = channels as usize;
    // SAFETY: the caller's promise.
    unsafe {
        sum_up(
            (&*energy, &*threshold),
            &(*long).get(LONG_BANDS),
            &(*short).get(SHORT_BANDS),
            slice::from_raw_parts_mut(energies, channels),
            slice::from_raw_parts_mut(thresholds, channels),
        );
    }
}

/// Limits the thresholds of short blocks without an attack.
///
/// # Safety
/// As the module says; `thresholds` is the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_limit_without_attack(
    thresholds: *mut ByBand,
    factors: *const [f32; 3],
) {
    // SAFETY: the caller's promise.
    unsafe { limit_without_attack(&mut *thresholds, *factors) }
}

/// Computes the perceptual entropy of a long block.
///
/// # Safety
/// As the module says.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_entropy(
    energy: *const ByBand,
    threshold: *const ByBand,
    lowest: f32,
) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { entropy(&*energy, &*threshold, lowest) }
}
