// SPDX-License-Identifier: LGPL-2.0-or-later
//! From the model's partition bands to scalefactor bands: their energies and thresholds, the limit of a short block's
//! thresholds where there is no attack, and the perceptual entropy (ISO/IEC 11172-3, D.2.4.2).

use super::instructions::*;
use super::masking::{MAX_BANDS, Planes};
use super::noise::log10;
use super::vector::{load, load4, store, store4, sum, transpose};

#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod twin;

/// Scalefactor bands of a long block, with the one above the last scalefactor.
pub const LONG_BANDS: usize = 22;

/// The same of a short block.
pub const SHORT_BANDS: usize = 13;

/// A value for each long band, then for each short band and block: LAME's `III_psy_xmin`.
pub type ByBand = [f32; LONG_BANDS + 3 * SHORT_BANDS];

/// Where the scalefactor bands of a block length end among partition bands.
pub struct Borders<'a> {
    /// The partition band in which each of them ends.
    pub ends: &'a [i32],
    /// The part of that partition band that is below its end.
    pub weights: &'a [f32],
    /// How many partition bands there are.
    pub partitions: usize,
}

/// Energies and thresholds of all channels, by band.
type Rows<const N: usize> = [__m256; N];

/// Sums the `energy` and the `threshold` of partition bands up by long and by short band, with the short blocks sharing
/// what the long one has: into the first channels of `energies` and `thresholds`, as many as there are of them.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn sum_up(
    (energy, threshold): (&Planes, &Planes),
    long: &Borders<'_>,
    short: &Borders<'_>,
    energies: &mut [ByBand],
    thresholds: &mut [ByBand],
) {
    /// LAME's: a short block's thresholds are this part of a long one's.
    const SHARE: f32 = 1.0 / 64.0;
    let mut rows = [_mm256_setzero_ps(); MAX_BANDS];
    let partitions = long.partitions.max(short.partitions).min(MAX_BANDS);
    for at in (0..partitions).step_by(8) {
        let eight = transpose([
            load(&energy[0], at),
            load(&energy[1], at),
            load(&energy[2], at),
            load(&energy[3], at),
            load(&threshold[0], at),
            load(&threshold[1], at),
            load(&threshold[2], at),
            load(&threshold[3], at),
        ]);
        rows[at..at + 8].copy_from_slice(&eight);
    }
    let by_long_band = sums::<24>(&rows, long);
    let by_short_band = sums::<16>(&rows, short);
    for at in [0, 8, 16] {
        let planes = planes(&by_long_band, at);
        // Behind the long bands are the short ones, which are written next.
        for (to, plane) in energies.iter_mut().zip(&planes[..4]) {
            store(*plane, to, at);
        }
        for (to, plane) in thresholds.iter_mut().zip(&planes[4..]) {
            store(*plane, to, at);
        }
    }
    let (low, high) = (planes(&by_short_band, 0), planes(&by_short_band, 8));
    for (channel, to) in energies.iter_mut().enumerate() {
        thrice(low[channel], high[channel], to);
    }
    let share = _mm256_set1_ps(SHARE);
    for (channel, to) in thresholds.iter_mut().enumerate() {
        let of = |planes: &[__m256; 8]| _mm256_mul_ps(planes[4 + channel], share);
        thrice(of(&low), of(&high), to);
    }
}

/// The sums of each scalefactor band.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn sums<const N: usize>(rows: &Rows<MAX_BANDS>, borders: &Borders<'_>) -> Rows<N> {
    let mut out = [_mm256_setzero_ps(); N];
    let partitions = borders.partitions.min(MAX_BANDS);
    let mut sum = _mm256_setzero_ps();
    let mut at = 0;
    for ((out, &end), &weight) in out.iter_mut().zip(borders.ends).zip(borders.weights) {
        while at < partitions.min(end as usize) {
            sum = _mm256_add_ps(sum, rows[at]);
            at += 1;
        }
        if at >= partitions {
            *out = sum;
            break;
        }
        *out = _mm256_fmadd_ps(_mm256_set1_ps(weight), rows[at], sum);
        sum = _mm256_mul_ps(_mm256_set1_ps(1.0 - weight), rows[at]);
        at += 1;
    }
    out
}

/// Eight bands from `at` on, by channel.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn planes(rows: &[__m256], at: usize) -> [__m256; 8] {
    transpose(std::array::from_fn(|k| rows[at + k]))
}

/// Writes each of thirteen bands three times, behind the long bands.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn thrice(low: __m256, high: __m256, to: &mut ByBand) {
    let first = _mm256_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2);
    let second = _mm256_setr_epi32(2, 3, 3, 3, 4, 4, 4, 5);
    let third = _mm256_setr_epi32(5, 5, 6, 6, 6, 7, 7, 7);
    // From the one before the second vector on, for 39 are not five whole vectors.
    let last = _mm256_setr_epi32(2, 2, 3, 3, 3, 4, 4, 4);
    for (from, lanes, at) in [
        (low, first, 0),
        (low, second, 8),
        (low, third, 16),
        (high, first, 24),
        (high, last, 31),
    ] {
        let three = _mm256_permutevar8x32_ps(from, lanes);
        store(three, to, LONG_BANDS + at);
    }
}

/// Limits the thresholds of a channel's short blocks without an attack: LAME's `NS_PREECHO_ATT0`, and a factor for each
/// block.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn limit_without_attack(thresholds: &mut ByBand, factors: [f32; 3]) {
    /// In double precision, as in LAME.
    const LIMIT: f64 = 0.8;
    let (limit, [a, b, c]) = (_mm256_set1_pd(LIMIT), factors);
    let factors = [
        _mm_setr_ps(a, b, c, a),
        _mm_setr_ps(b, c, a, b),
        _mm_setr_ps(c, a, b, c),
    ];
    let (fours, rest) = thresholds[LONG_BANDS..].as_chunks_mut::<4>();
    for (four, factor) in fours.iter_mut().zip(factors.iter().cycle()) {
        let limited = _mm256_mul_pd(_mm256_cvtps_pd(load4(four)), limit);
        store4(_mm_mul_ps(_mm256_cvtpd_ps(limited), *factor), four);
    }
    for (value, factor) in rest.iter_mut().zip([a, b, c]) {
        *value = (f64::from(*value) * LIMIT) as f32 * factor;
    }
}

/// LAME's weights of the long bands, and one band without.
const WEIGHTS: [f32; 24] = [
    6.8, 5.8, 5.8, 6.4, 6.5, 9.9, 12.1, 14.4, 15.0, 18.9, 21.6, 26.9, 34.2, 40.2, 46.8, 56.5, 60.7,
    73.9, 85.7, 93.4, 126.1, 0.0, 0.0, 0.0,
];

/// What LAME's entropy is at least.
const LEAST_ENTROPY: f32 = 1124.23 / 4.0;

/// The entropy's logarithm of a band that stands out by more than 100 dB: LAME's number, 10 · ln 10.
const MOST_LOG: f32 = 23.025_85;

/// The perceptual entropy of a long block; `lowest` is LAME's `masking_lower`.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn entropy(energy: &ByBand, threshold: &ByBand, lowest: f32) -> f32 {
    let zero = _mm256_setzero_ps();
    let mut sums = zero;
    for at in [0, 8, 16] {
        // Behind the long bands are short ones, whose weight is zero.
        let threshold = load(threshold, at);
        let threshold = _mm256_mul_ps(threshold, _mm256_set1_ps(lowest));
        let energy = load(energy, at);
        let is_above = _mm256_and_ps(
            _mm256_cmp_ps::<_CMP_GT_OQ>(energy, threshold),
            _mm256_cmp_ps::<_CMP_GT_OQ>(threshold, zero),
        );
        let far = _mm256_mul_ps(threshold, _mm256_set1_ps(1e10));
        let is_far = _mm256_cmp_ps::<_CMP_GT_OQ>(energy, far);
        let ratio = _mm256_div_ps(energy, threshold);
        // The logarithm is for normal numbers: what is no ratio is left out.
        let ratio = _mm256_blendv_ps(_mm256_set1_ps(1.0), ratio, is_above);
        let log = _mm256_blendv_ps(log10(ratio), _mm256_set1_ps(MOST_LOG), is_far);
        let log = _mm256_and_ps(log, is_above);
        sums = _mm256_fmadd_ps(log, load(&WEIGHTS, at), sums);
    }
    LEAST_ENTROPY + sum(sums)
}
