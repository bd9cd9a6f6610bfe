// SPDX-License-Identifier: LGPL-2.0-or-later
//! What the stages that take eight numbers at once do with them: rows, halves, sums, transpositions.

use super::instructions::*;
use super::lanes::{f32x8, store_f32x8};

/// Eight numbers of `from`, the first one at `at`.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn load(from: &[f32], at: usize) -> __m256 {
    f32x8(&from[at..at + 8])
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn store(value: __m256, to: &mut [f32], at: usize) {
    store_f32x8(value, &mut to[at..at + 8]);
}

/// Four numbers.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn load4(from: &[f32; 4]) -> __m128 {
    // SAFETY: `from` is four numbers, at any alignment.
    unsafe { _mm_loadu_ps(from.as_ptr()) }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn store4(value: __m128, to: &mut [f32; 4]) {
    // SAFETY: `to` is four numbers, at any alignment.
    unsafe { _mm_storeu_ps(to.as_mut_ptr(), value) }
}

/// Two times four numbers, which lie side by side.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn load_rows(from: &[[f32; 4]], at: usize) -> __m256 {
    load(from[at..at + 2].as_flattened(), 0)
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn store_rows(value: __m256, to: &mut [[f32; 4]], at: usize) {
    store(value, to[at..at + 2].as_flattened_mut(), 0);
}

/// The same four numbers in both halves.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn twice(from: &[f32; 4]) -> __m256 {
    let four = load4(from);
    _mm256_set_m128(four, four)
}

/// `low` in the first four lanes, `high` in the others.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn halves(low: f32, high: f32) -> __m256 {
    _mm256_set_m128(_mm_set1_ps(high), _mm_set1_ps(low))
}

/// The lanes in reverse order.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn reverse(value: __m256) -> __m256 {
    let value = _mm256_permute_ps::<0x1b>(value);
    _mm256_permute2f128_ps::<1>(value, value)
}

/// The sum of all lanes.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn sum(value: __m256) -> f32 {
    let four = _mm_add_ps(
        _mm256_castps256_ps128(value),
        _mm256_extractf128_ps::<1>(value),
    );
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// The greatest of all lanes.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn max(value: __m256) -> f32 {
    let four = _mm_max_ps(
        _mm256_castps256_ps128(value),
        _mm256_extractf128_ps::<1>(value),
    );
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// Four vectors as rows of a matrix of 4 × 8; the result is its eight columns, two to a vector.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn interleave(r: [__m256; 4]) -> [__m256; 4] {
    let (a0, a1) = (
        _mm256_unpacklo_ps(r[0], r[1]),
        _mm256_unpackhi_ps(r[0], r[1]),
    );
    let (a2, a3) = (
        _mm256_unpacklo_ps(r[2], r[3]),
        _mm256_unpackhi_ps(r[2], r[3]),
    );
    let (b0, b1) = (
        _mm256_shuffle_ps::<0x44>(a0, a2),
        _mm256_shuffle_ps::<0xee>(a0, a2),
    );
    let (b2, b3) = (
        _mm256_shuffle_ps::<0x44>(a1, a3),
        _mm256_shuffle_ps::<0xee>(a1, a3),
    );
    [
        _mm256_permute2f128_ps::<0x20>(b0, b1),
        _mm256_permute2f128_ps::<0x20>(b2, b3),
        _mm256_permute2f128_ps::<0x31>(b0, b1),
        _mm256_permute2f128_ps::<0x31>(b2, b3),
    ]
}

/// A matrix of 8 × 8, rows for columns.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn transpose(r: [__m256; 8]) -> [__m256; 8] {
    let (a0, a1) = (
        _mm256_unpacklo_ps(r[0], r[1]),
        _mm256_unpackhi_ps(r[0], r[1]),
    );
    let (a2, a3) = (
        _mm256_unpacklo_ps(r[2], r[3]),
        _mm256_unpackhi_ps(r[2], r[3]),
    );
    let (a4, a5) = (
        _mm256_unpacklo_ps(r[4], r[5]),
        _mm256_unpackhi_ps(r[4], r[5]),
    );
    let (a6, a7) = (
        _mm256_unpacklo_ps(r[6], r[7]),
        _mm256_unpackhi_ps(r[6], r[7]),
    );
    let (b0, b1) = (
        _mm256_shuffle_ps::<0x44>(a0, a2),
        _mm256_shuffle_ps::<0xee>(a0, a2),
    );
    let (b2, b3) = (
        _mm256_shuffle_ps::<0x44>(a1, a3),
        _mm256_shuffle_ps::<0xee>(a1, a3),
    );
    let (b4, b5) = (
        _mm256_shuffle_ps::<0x44>(a4, a6),
        _mm256_shuffle_ps::<0xee>(a4, a6),
    );
    let (b6, b7) = (
        _mm256_shuffle_ps::<0x44>(a5, a7),
        _mm256_shuffle_ps::<0xee>(a5, a7),
    );
    [
        _mm256_permute2f128_ps::<0x20>(b0, b4),
        _mm256_permute2f128_ps::<0x20>(b1, b5),
        _mm256_permute2f128_ps::<0x20>(b2, b6),
        _mm256_permute2f128_ps::<0x20>(b3, b7),
        _mm256_permute2f128_ps::<0x31>(b0, b4),
        _mm256_permute2f128_ps::<0x31>(b1, b5),
        _mm256_permute2f128_ps::<0x31>(b2, b6),
        _mm256_permute2f128_ps::<0x31>(b3, b7),
    ]
}
