// SPDX-License-Identifier: LGPL-2.0-or-later
//! Vectors of AVX2 from slices and back: the one place of the kernels, but for their boundary, that takes pointers.
//!
//! Each load or store takes the first lanes of the slice, and panics when it has fewer.

use super::instructions::*;

/// Why a load cannot fail: kernels are given whole arrays and stay within them.
const ROOM: &str = "a whole vector";

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn f32x8(from: &[f32]) -> __m256 {
    let from: &[f32; 8] = from.first_chunk().expect(ROOM);
    // SAFETY: eight values are read where eight lie.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn store_f32x8(vector: __m256, to: &mut [f32]) {
    let to: &mut [f32; 8] = to.first_chunk_mut().expect(ROOM);
    // SAFETY: eight values are written where eight lie.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), vector) }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn i32x8(from: &[i32]) -> __m256i {
    let from: &[i32; 8] = from.first_chunk().expect(ROOM);
    // SAFETY: eight values are read where eight lie.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn store_i32x8(vector: __m256i, to: &mut [i32]) {
    let to: &mut [i32; 8] = to.first_chunk_mut().expect(ROOM);
    // SAFETY: eight values are written where eight lie.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn u16x16(from: &[u16; 16]) -> __m256i {
    // SAFETY: sixteen values are read where sixteen lie.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn store_u16x16(vector: __m256i, to: &mut [u16; 16]) {
    // SAFETY: sixteen values are written where sixteen lie.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn u8x32(from: &[u8]) -> __m256i {
    let from: &[u8; 32] = from.first_chunk().expect(ROOM);
    // SAFETY: 32 bytes are read where 32 lie.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn store_u8x32(vector: __m256i, to: &mut [u8]) {
    let to: &mut [u8; 32] = to.first_chunk_mut().expect(ROOM);
    // SAFETY: 32 bytes are written where 32 lie.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
}

/// Sixteen bytes, in both halves of the vector.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn u8x16_twice(from: &[u8; 16]) -> __m256i {
    // SAFETY: sixteen bytes are read where sixteen lie.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(from.as_ptr().cast()) })
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn store_u8x16(vector: __m128i, to: &mut [u8]) {
    let to: &mut [u8; 16] = to.first_chunk_mut().expect(ROOM);
    // SAFETY: sixteen bytes are written where sixteen lie.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), vector) }
}

/// The first eight of `from`, or all that there are, and zeros. Loads through a mask are slow on some processors: pass
/// what follows, and mask the result.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn f32_upto8(from: &[f32]) -> __m256 {
    if from.len() >= 8 {
        return f32x8(from);
    }
    // SAFETY: only lanes below the slice's length are read.
    unsafe { _mm256_maskload_ps(from.as_ptr(), lanes_below(from.len())) }
}

/// Stores the first lanes, as many as `to` has room for.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn store_f32_upto8(vector: __m256, to: &mut [f32]) {
    if to.len() >= 8 {
        return store_f32x8(vector, to);
    }
    // SAFETY: only lanes below the slice's length are written.
    unsafe { _mm256_maskstore_ps(to.as_mut_ptr(), lanes_below(to.len()), vector) }
}

/// The first eight of `from`, or all that there are, and zeros.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn i32_upto8(from: &[i32]) -> __m256i {
    if from.len() >= 8 {
        return i32x8(from);
    }
    // SAFETY: only lanes below the slice's length are read.
    unsafe { _mm256_maskload_epi32(from.as_ptr(), lanes_below(from.len())) }
}

/// Stores the first lanes, as many as `to` has room for.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn store_i32_upto8(vector: __m256i, to: &mut [i32]) {
    if to.len() >= 8 {
        return store_i32x8(vector, to);
    }
    // SAFETY: only lanes below the slice's length are written.
    unsafe { _mm256_maskstore_epi32(to.as_mut_ptr(), lanes_below(to.len()), vector) }
}

/// All bits of the lanes below `count`.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn lanes_below(count: usize) -> __m256i {
    let count = _mm256_set1_epi32(count.min(8) as i32);
    _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// The entries of `table` at the eight indices, of which only the lowest four bits count.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn look_up_16(table: &[__m256; 2], indices: __m256i) -> __m256 {
    #[cfg(target_arch = "x86_64")]
    {
        // The bit of 8 chooses.
        let from_8 = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(indices));
        _mm256_blendv_ps(
            _mm256_permutevar8x32_ps(table[0], indices),
            _mm256_permutevar8x32_ps(table[1], indices),
            from_8,
        )
    }
    #[cfg(target_arch = "aarch64")]
    look_up_64_bytes(table, indices)
}

/// The entries of `table` at the eight indices, which may not be negative; beyond its end, the last entry.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn gather<const N: usize>(table: &[f32; N], indices: __m256i) -> __m256 {
    const { assert!(N > 0 && N < i32::MAX as usize) };
    let indices = _mm256_min_epu32(indices, _mm256_set1_epi32(N as i32 - 1));
    // SAFETY: every index is below the table's length.
    unsafe { _mm256_i32gather_ps::<4>(table.as_ptr(), indices) }
}

/// The largest lane.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
pub fn largest(vector: __m256) -> f32 {
    let four = _mm_max_ps(
        _mm256_castps256_ps128(vector),
        _mm256_extractf128_ps::<1>(vector),
    );
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
}
