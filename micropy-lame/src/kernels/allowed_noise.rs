// SPDX-License-Identifier: LGPL-2.0-or-later
//! The noise that each scalefactor band may have (ISO/IEC 11172-3, C.1.5.4, `xmin`): what the model allows, but no less
//! than what nobody hears.
//!
//! LAME's rule: a band below the threshold in quiet may be left out. Of a louder one, the noise may be the threshold in
//! quiet, and what stays below it where the threshold is the same for each line.

use super::instructions::*;
use super::lanes::{f32_upto8, f32x8, i32_upto8, lanes_below, store_f32_upto8};
use super::noise::{BANDS, sums_of_8};
use super::quantization::LINES;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod twin;

/// LAME allows each band at least this noise.
const LEAST: f32 = f64::EPSILON as f32;

/// How much louder than the noise that it may have a band has to be.
const MARGIN: f32 = 1e-14;

/// A spectrum and what masks it.
pub struct Granule<'a> {
    pub xr: &'a [f32; LINES],
    /// Lines of each band.
    pub width: &'a [i32; BANDS],
    /// How many bands have a masking threshold.
    pub bands: usize,
    /// By band, as all that follows: the threshold in quiet.
    pub quiet: &'a [f32; BANDS],
    /// By how much more the masking threshold may be exceeded: LAME's `longfact` and `shortfact`.
    pub factor: &'a [f32; BANDS],
    /// Energies and masking thresholds of the model.
    pub energy: &'a [f32],
    pub threshold: &'a [f32],
}

/// Writes what noise each band may have into `allowed`, and into `is_audible` whether its energy is above that, 0 or 1.
/// Returns how many bands are above the threshold in quiet.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn allowed_noise(
    granule: &Granule<'_>,
    allowed: &mut [f32; BANDS],
    is_audible: &mut [u8; BANDS],
) -> u32 {
    let zero = _mm256_setzero_ps();
    let bands = granule.bands.min(BANDS);
    let mut above_quiet = 0;
    let mut start = 0;
    for at in (0..bands).step_by(8) {
        let count = (bands - at).min(8);
        let quiet = f32_upto8(&granule.quiet[at..bands]);
        let widths = _mm256_max_epi32(i32_upto8(&granule.width[at..bands]), _mm256_set1_epi32(1));
        let per_line = _mm256_div_ps(quiet, _mm256_cvtepi32_ps(widths));
        let (mut energies, mut limited) = ([zero; 8], [zero; 8]);
        for k in 0..count {
            let end = start + granule.width[at + k] as usize;
            let lane = _mm256_set1_epi32(k as i32);
            let limit = _mm256_permutevar8x32_ps(per_line, lane);
            (energies[k], limited[k]) = energies_of(&granule.xr[start..], end - start, limit);
            start = end;
        }
        let energy = sums_of_8(&energies);
        let limited = _mm256_add_ps(sums_of_8(&limited), _mm256_set1_ps(LEAST));
        let is_quiet = _mm256_cmp_ps::<_CMP_LT_OQ>(energy, quiet);
        let in_quiet = _mm256_blendv_ps(_mm256_max_ps(limited, quiet), energy, is_quiet);

        let model = f32_upto8(&granule.energy[at..bands]);
        let is_known = _mm256_cmp_ps::<_CMP_GT_OQ>(model, _mm256_set1_ps(1e-12));
        let threshold = f32_upto8(&granule.threshold[at..bands]);
        let masked = _mm256_div_ps(_mm256_mul_ps(energy, threshold), model);
        let masked = _mm256_mul_ps(masked, f32_upto8(&granule.factor[at..bands]));
        let masked = _mm256_and_ps(masked, is_known);
        let noise = _mm256_max_ps(_mm256_max_ps(masked, in_quiet), _mm256_set1_ps(LEAST));
        store_f32_upto8(noise, &mut allowed[at..bands]);

        let inside = _mm256_castsi256_ps(lanes_below(count));
        let louder = _mm256_cmp_ps::<_CMP_GT_OQ>(energy, quiet);
        let louder = _mm256_movemask_ps(_mm256_and_ps(louder, inside));
        above_quiet += louder.count_ones();
        let most = _mm256_add_ps(noise, _mm256_set1_ps(MARGIN));
        let audible = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(energy, most));
        let audible = _pdep_u64(audible as u64, 0x0101_0101_0101_0101).to_le_bytes();
        is_audible[at..bands.min(at + 8)].copy_from_slice(&audible[..count]);
    }
    above_quiet
}

/// The energies of a band's lines in eight sums, and the same with each line's energy limited.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn energies_of(xr: &[f32], count: usize, limit: __m256) -> (__m256, __m256) {
    let zero = _mm256_setzero_ps();
    let (mut energies, mut limited) = (zero, zero);
    for at in (0..count).step_by(8) {
        let mut lines = f32_upto8(&xr[at..]);
        if count - at < 8 {
            lines = _mm256_and_ps(lines, _mm256_castsi256_ps(lanes_below(count - at)));
        }
        let energy = _mm256_mul_ps(lines, lines);
        energies = _mm256_add_ps(energies, energy);
        limited = _mm256_add_ps(limited, _mm256_min_ps(energy, limit));
    }
    (energies, limited)
}

/// The last line that is not as good as zero; 0 where there is none.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn last_line(xr: &[f32; LINES]) -> usize {
    let sign = _mm256_set1_ps(-0.0);
    for at in (0..LINES).step_by(8).rev() {
        let lines = _mm256_andnot_ps(sign, f32x8(&xr[at..]));
        let is_some = _mm256_cmp_ps::<_CMP_GT_OQ>(lines, _mm256_set1_ps(1e-12));
        let set = _mm256_movemask_ps(is_some) as u32;
        if set != 0 {
            return at + set.ilog2() as usize;
        }
    }
    0
}

/// What noise a short block may have raises what the next one may, by `decay` of the difference: `allowed` has three
/// blocks a band.
pub fn spread_in_time(allowed: &mut [f32], decay: f32) {
    for band in allowed.as_chunks_mut::<3>().0 {
        for after in [1, 2] {
            if band[after - 1] > band[after] {
                band[after] += (band[after - 1] - band[after]) * decay;
            }
        }
    }
}
