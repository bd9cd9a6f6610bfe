// SPDX-License-Identifier: LGPL-2.0-or-later
//! Quantization of a granule's spectrum: ISO/IEC 11172-3, C.1.5.4.4.2, with LAME's rounding.
//!
//! The standard rounds |xr|^(3/4) · 2^(−3/16 · (gain − 210)) to the nearest integer below +0.5946. LAME adds, in place
//! of a constant, what makes the *dequantized* value the nearest: `adj43[n]`, for a quantity of which n is the integer
//! part.

use super::instructions::*;
use super::lanes::{
    f32x8, i32x8, lanes_below, largest, store_f32x8, store_i32x8, store_u8x16, store_u8x32,
};
use super::vector;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod twin;

/// Lines of a granule.
pub const LINES: usize = 576;

/// What [`powers_of_lines`] finds out on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Magnitudes {
    /// The sum of all |xr|.
    pub sum: f32,
    /// The largest |xr|^(3/4).
    pub peak: f32,
}

/// Raises the magnitudes of the first `lines` of `xr` to the power of 3/4, into `xr34`, and sets all further ones to
/// zero.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn powers_of_lines(xr: &[f32; LINES], lines: usize, xr34: &mut [f32; LINES]) -> Magnitudes {
    let sign = _mm256_set1_ps(-0.0);
    let (mut sums, mut peaks) = (_mm256_setzero_ps(), _mm256_setzero_ps());
    let end = lines.next_multiple_of(8).min(LINES);
    for at in (0..end).step_by(8) {
        let mut line = _mm256_andnot_ps(sign, f32x8(&xr[at..]));
        if lines - at < 8 {
            line = _mm256_and_ps(line, _mm256_castsi256_ps(lanes_below(lines - at)));
        }
        let power = _mm256_sqrt_ps(_mm256_mul_ps(line, _mm256_sqrt_ps(line)));
        sums = _mm256_add_ps(sums, line);
        peaks = _mm256_max_ps(peaks, power);
        store_f32x8(power, &mut xr34[at..]);
    }
    xr34[end..].fill(0.0);
    Magnitudes {
        sum: vector::sum(sums),
        peak: largest(peaks),
    }
}

/// The quantized values of a granule in the form in which they are counted.
#[repr(align(64))]
pub struct Packed {
    /// Each value, 15 at most, with room for a whole vector that starts at any line.
    pub values: [u8; LINES + 64],
    /// Each pair of values as an index, 16 · first + second.
    pub pairs: [u8; LINES / 2 + 32],
}

impl Packed {
    pub const fn new() -> Self {
        Self {
            values: [0; LINES + 64],
            pairs: [0; LINES / 2 + 32],
        }
    }

    /// Packs the first `lines` values, up to the next multiple of 32.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    pub fn pack(&mut self, quantized: &[i32; LINES], lines: usize) {
        for block in 0..lines.div_ceil(32) {
            let from = &quantized[32 * block..][..32];
            let vectors = [
                i32x8(from),
                i32x8(&from[8..]),
                i32x8(&from[16..]),
                i32x8(&from[24..]),
            ];
            self.put(block, vectors);
        }
    }

    /// Packs 32 values.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn put(&mut self, block: usize, [a, b, c, d]: [__m256i; 4]) {
        let words = [_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d)];
        let bytes = _mm256_packus_epi16(words[0], words[1]);
        let bytes = _mm256_min_epu8(bytes, _mm256_set1_epi8(15));
        // Packing works within halves.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let bytes = _mm256_permutevar8x32_epi32(bytes, order);
        store_u8x32(bytes, &mut self.values[32 * block..]);
        let pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi16(0x0110));
        let pairs = _mm_packus_epi16(
            _mm256_castsi256_si128(pairs),
            _mm256_extracti128_si256::<1>(pairs),
        );
        store_u8x16(pairs, &mut self.pairs[16 * block..]);
    }
}

/// Quantizes the first `lines` of `xr34` (|xr|^(3/4)) with the factor `step`, sets all further ones to zero, and packs
/// them. `adjust` is the start of LAME's `adj43`. No product may be beyond 8206.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn quantize(
    xr34: &[f32; LINES],
    lines: usize,
    step: f32,
    adjust: &[f32; 8],
    quantized: &mut [i32; LINES],
    packed: &mut Packed,
) {
    let step = _mm256_set1_ps(step);
    quantize_by(xr34, lines, |_| step, adjust, quantized, packed);
}

/// The factor of each line, and room for a vector behind the last one.
pub struct Steps([f32; LINES + 8]);

impl Steps {
    /// The factors of bands with these widths and steps, one after the other.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    pub fn of_bands(bands: impl Iterator<Item = (usize, f32)>) -> Self {
        let mut steps = [0.0; LINES + 8];
        let mut start = 0;
        for (width, step) in bands {
            let end = (start + width).min(LINES);
            let step = _mm256_set1_ps(step);
            // What is written beyond the band is the next one's, which comes later.
            for at in (start..end).step_by(8) {
                store_f32x8(step, &mut steps[at..]);
            }
            start = end;
        }
        Self(steps)
    }

    /// Those of eight lines.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    pub fn of_eight(&self, line: usize) -> __m256 {
        f32x8(&self.0[line..])
    }
}

/// As [`quantize`], with a factor for each line.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn quantize_bands(
    xr34: &[f32; LINES],
    lines: usize,
    steps: &Steps,
    adjust: &[f32; 8],
    quantized: &mut [i32; LINES],
    packed: &mut Packed,
) {
    quantize_by(
        xr34,
        lines,
        |line| steps.of_eight(line),
        adjust,
        quantized,
        packed,
    );
}

/// `step` gives the factors of eight lines.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn quantize_by(
    xr34: &[f32; LINES],
    lines: usize,
    step: impl Fn(usize) -> __m256,
    adjust: &[f32; 8],
    quantized: &mut [i32; LINES],
    packed: &mut Packed,
) {
    let adjust = f32x8(adjust);
    let blocks = lines.div_ceil(32);
    for block in 0..blocks {
        let from = &xr34[32 * block..][..32];
        let mut x = [_mm256_setzero_ps(); 4];
        let mut whole = [_mm256_setzero_si256(); 4];
        for k in 0..4 {
            x[k] = _mm256_mul_ps(f32x8(&from[8 * k..]), step(32 * block + 8 * k));
            whole[k] = _mm256_cvttps_epi32(x[k]);
        }
        let any = _mm256_or_si256(
            _mm256_or_si256(whole[0], whole[1]),
            _mm256_or_si256(whole[2], whole[3]),
        );
        if _mm256_testz_si256(any, _mm256_set1_epi32(!7)) == 1 {
            for k in 0..4 {
                let add = _mm256_permutevar8x32_ps(adjust, whole[k]);
                whole[k] = _mm256_cvttps_epi32(_mm256_add_ps(x[k], add));
            }
        } else {
            for k in 0..4 {
                let low = _mm256_permutevar8x32_ps(adjust, whole[k]);
                let high = adjust_from_8(whole[k]);
                let is_high = _mm256_cmpgt_epi32(whole[k], _mm256_set1_epi32(7));
                let add = _mm256_blendv_ps(low, high, _mm256_castsi256_ps(is_high));
                whole[k] = _mm256_cvttps_epi32(_mm256_add_ps(x[k], add));
            }
        }
        let to = &mut quantized[32 * block..][..32];
        for k in 0..4 {
            store_i32x8(whole[k], &mut to[8 * k..]);
        }
        packed.put(block, whole);
    }
    // The spectrum may go on: LAME limits the lines of low sample rates after it has taken the powers.
    quantized[lines..].fill(0);
    if lines < 32 * blocks {
        packed.values[lines..32 * blocks].fill(0);
    }
}

/// `adj43` from 8 on, by its series: with c = n + 1/2, it is 1/2 − 1 / 24c − 0.00067615 / c³.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn adjust_from_8(whole: __m256i) -> __m256 {
    let half = _mm256_set1_ps(0.5);
    let centre = _mm256_add_ps(_mm256_cvtepi32_ps(whole), half);
    // A step of Newton's method makes the rough reciprocal as good as a division, in a third of the time.
    let rough = _mm256_rcp_ps(centre);
    let twice_less = _mm256_fnmadd_ps(centre, rough, _mm256_set1_ps(2.0));
    let r = _mm256_mul_ps(rough, twice_less);
    let cubic = _mm256_fmadd_ps(
        _mm256_mul_ps(r, r),
        _mm256_set1_ps(-0.000_676_15),
        _mm256_set1_ps(-1.0 / 24.0),
    );
    _mm256_fmadd_ps(r, cubic, half)
}
