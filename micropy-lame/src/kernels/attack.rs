// SPDX-License-Identifier: LGPL-2.0-or-later
//! What tells an attack: the high frequencies of a granule, and their peaks.

use super::instructions::*;
use super::vector::{load, max, store};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

/// Samples of a granule.
pub const GRANULE: usize = 576;

/// Samples the filter takes for a granule.
pub const FILTERED: usize = GRANULE + 21;

/// Samples over which one peak is taken.
pub const STRETCH: usize = GRANULE / 9;

/// The coefficients of LAME's high-pass at a quarter of the sample rate, twice; its middle one is 1. It is a half-band
/// filter: those between are zero.
const COEFFICIENTS: [f32; 5] = [
    -0.008_515_86 * 2.0,
    0.020_903_6 * 2.0,
    -0.043_816_2 * 2.0,
    0.093_173_8 * 2.0,
    -0.313_819 * 2.0,
];

/// Filters a granule.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn high_pass(pcm: &[f32; FILTERED], out: &mut [f32; GRANULE]) {
    let [c0, c1, c2, c3, c4] = COEFFICIENTS;
    for i in (0..GRANULE).step_by(8) {
        let pair = |k: usize| _mm256_add_ps(load(pcm, i + 1 + k), load(pcm, i + 20 - k));
        let even = load(pcm, i + 10);
        let even = _mm256_fmadd_ps(_mm256_set1_ps(c1), pair(2), even);
        let even = _mm256_fmadd_ps(_mm256_set1_ps(c3), pair(6), even);
        let odd = _mm256_mul_ps(_mm256_set1_ps(c0), pair(0));
        let odd = _mm256_fmadd_ps(_mm256_set1_ps(c2), pair(4), odd);
        let odd = _mm256_fmadd_ps(_mm256_set1_ps(c4), pair(8), odd);
        store(_mm256_add_ps(even, odd), out, i);
    }
}

/// The greatest absolute value, or 1 where there is none above.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn peak(samples: &[f32; STRETCH]) -> f32 {
    let sign = _mm256_set1_ps(-0.0);
    let mut peaks = [_mm256_set1_ps(1.0); 2];
    for at in (0..STRETCH).step_by(16) {
        for (i, peak) in peaks.iter_mut().enumerate() {
            *peak = _mm256_max_ps(*peak, _mm256_andnot_ps(sign, load(samples, at + 8 * i)));
        }
    }
    max(_mm256_max_ps(peaks[0], peaks[1]))
}
