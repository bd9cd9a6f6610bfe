// SPDX-License-Identifier: LGPL-2.0-or-later
//! Vectors of AVX2 from slices and back: the one place of the kernels, but for their boundary, that takes pointers.
//!
//! Each load or store takes the first lanes of the slice, and panics when it has fewer.

// The stages yet to come use the rest.
#![allow(dead_code)]

use std::arch::x86_64::*;

/// Why a load cannot fail: kernels are given whole arrays and stay within them.
const ROOM: &str = "a whole vector";

#[inline]
#[target_feature(enable = "avx2")]
pub fn f32x8(from: &[f32]) -> __m256 {
    let from: &[f32; 8] = from.first_chunk().expect(ROOM);
    // SAFETY: eight values are read where eight lie.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn store_f32x8(vector: __m256, to: &mut [f32]) {
    let to: &mut [f32; 8] = to.first_chunk_mut().expect(ROOM);
    // SAFETY: eight values are written where eight lie.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), vector) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn i32x8(from: &[i32]) -> __m256i {
    let from: &[i32; 8] = from.first_chunk().expect(ROOM);
    // SAFETY: eight values are read where eight lie.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn store_i32x8(vector: __m256i, to: &mut [i32]) {
    let to: &mut [i32; 8] = to.first_chunk_mut().expect(ROOM);
    // SAFETY: eight values are written where eight lie.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn u16x16(from: &[u16; 16]) -> __m256i {
    // SAFETY: sixteen values are read where sixteen lie.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn store_u16x16(vector: __m256i, to: &mut [u16; 16]) {
    // SAFETY: sixteen values are written where sixteen lie.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn u8x32(from: &[u8]) -> __m256i {
    let from: &[u8; 32] = from.first_chunk().expect(ROOM);
    // SAFETY: 32 bytes are read where 32 lie.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn store_u8x32(vector: __m256i, to: &mut [u8]) {
    let to: &mut [u8; 32] = to.first_chunk_mut().expect(ROOM);
    // SAFETY: 32 bytes are written where 32 lie.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
}

/// Sixteen bytes, in both halves of the vector.
#[inline]
#[target_feature(enable = "avx2")]
pub fn u8x16_twice(from: &[u8; 16]) -> __m256i {
    // SAFETY: sixteen bytes are read where sixteen lie.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(from.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn store_u8x16(vector: __m128i, to: &mut [u8]) {
    let to: &mut [u8; 16] = to.first_chunk_mut().expect(ROOM);
    // SAFETY: sixteen bytes are written where sixteen lie.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), vector) }
}
