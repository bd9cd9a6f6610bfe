// SPDX-License-Identifier: LGPL-2.0-or-later
//! The instructions of AVX2, FMA and BMI2 that the kernels use, by those of NEON, which each aarch64 processor has: a
//! vector of 256 bits is a pair of 128.
//!
//! Names and results are Intel's, so that each kernel is written once, but for what no kernel asks for: which NaN comes
//! out of arithmetic; that `min` and `max` return the number where only one operand is one; that rough reciprocals are
//! rough; and what single functions say.

#![allow(non_camel_case_types, reason = "Intel's names")]

use std::arch::aarch64::*;

const _: () = assert!(cfg!(target_feature = "neon"));

/// Eight `f32`.
#[derive(Clone, Copy)]
pub struct __m256(float32x4_t, float32x4_t);

/// 256 bits of integers.
#[derive(Clone, Copy)]
pub struct __m256i(int32x4_t, int32x4_t);

/// Four `f64`.
#[derive(Clone, Copy)]
pub struct __m256d(float64x2_t, float64x2_t);

pub type __m128 = float32x4_t;
pub type __m128i = int32x4_t;

pub const _CMP_LT_OQ: i32 = 0x11;
pub const _CMP_LE_OQ: i32 = 0x12;
pub const _CMP_GE_OQ: i32 = 0x1d;
pub const _CMP_GT_OQ: i32 = 0x1e;

/// Functions of whole values.
macro_rules! functions {
    ($($name:ident $(<const $number:ident>)? ($($argument:ident: $type:ty),*) -> $result:ty = $value:expr;)*) => {$(
        #[inline(always)]
        pub fn $name $(<const $number: i32>)? ($($argument: $type),*) -> $result {
            // SAFETY: there is NEON, and arrays that are read are as long as a vector.
            unsafe { $value }
        }
    )*};
}

/// Functions that do the same with both halves.
macro_rules! by_halves {
    ($($name:ident $(<const $number:ident>)? ($($argument:ident: $type:ident),*) -> $result:ident = $half:expr;)*) => {$(
        #[inline(always)]
        pub fn $name $(<const $number: i32>)? ($($argument: $type),*) -> $result {
            // SAFETY: there is NEON.
            let half = |$($argument: <$type as Pair>::Half),*| unsafe { $half };
            $result(half($($argument.0),*), half($($argument.1),*))
        }
    )*};
}

/// What has two halves.
trait Pair {
    type Half;
}

impl Pair for __m256 {
    type Half = float32x4_t;
}

impl Pair for __m256i {
    type Half = int32x4_t;
}

impl Pair for __m256d {
    type Half = float64x2_t;
}

/// Integers of another width, and back.
macro_rules! as_type {
    (u8, $value:expr) => {
        vreinterpretq_u8_s32($value)
    };
    (s16, $value:expr) => {
        vreinterpretq_s16_s32($value)
    };
    (u32, $value:expr) => {
        vreinterpretq_u32_s32($value)
    };
    (s64, $value:expr) => {
        vreinterpretq_s64_s32($value)
    };
}

// Arithmetic of `f32`.
by_halves! {
    _mm256_add_ps(a: __m256, b: __m256) -> __m256 = vaddq_f32(a, b);
    _mm256_sub_ps(a: __m256, b: __m256) -> __m256 = vsubq_f32(a, b);
    _mm256_mul_ps(a: __m256, b: __m256) -> __m256 = vmulq_f32(a, b);
    _mm256_div_ps(a: __m256, b: __m256) -> __m256 = vdivq_f32(a, b);
    _mm256_sqrt_ps(a: __m256) -> __m256 = vsqrtq_f32(a);
    _mm256_floor_ps(a: __m256) -> __m256 = vrndmq_f32(a);
    _mm256_min_ps(a: __m256, b: __m256) -> __m256 = vminnmq_f32(a, b);
    _mm256_max_ps(a: __m256, b: __m256) -> __m256 = vmaxnmq_f32(a, b);
    _mm256_fmadd_ps(a: __m256, b: __m256, c: __m256) -> __m256 = vfmaq_f32(c, a, b);
    _mm256_fmsub_ps(a: __m256, b: __m256, c: __m256) -> __m256 = vfmaq_f32(vnegq_f32(c), a, b);
    _mm256_fnmadd_ps(a: __m256, b: __m256, c: __m256) -> __m256 = vfmsq_f32(c, a, b);
    _mm256_hadd_ps(a: __m256, b: __m256) -> __m256 = vpaddq_f32(a, b);
    // A step of Newton's method makes eight good bits sixteen; Intel has at least eleven.
    _mm256_rcp_ps(a: __m256) -> __m256 = {
        let rough = vrecpeq_f32(a);
        vmulq_f32(rough, vrecpsq_f32(a, rough))
    };
}

// Bits and comparisons of `f32`.
by_halves! {
    _mm256_and_ps(a: __m256, b: __m256) -> __m256 = bits(vandq_u32(of_bits(a), of_bits(b)));
    _mm256_andnot_ps(a: __m256, b: __m256) -> __m256 = bits(vbicq_u32(of_bits(b), of_bits(a)));
    _mm256_xor_ps(a: __m256, b: __m256) -> __m256 = bits(veorq_u32(of_bits(a), of_bits(b)));
    _mm256_blendv_ps(a: __m256, b: __m256, mask: __m256) -> __m256 =
        vbslq_f32(as_type!(u32, vshrq_n_s32::<31>(vreinterpretq_s32_f32(mask))), b, a);
    _mm256_cmp_ps<const PREDICATE>(a: __m256, b: __m256) -> __m256 = bits(match PREDICATE {
        _CMP_LT_OQ => vcltq_f32(a, b),
        _CMP_LE_OQ => vcleq_f32(a, b),
        _CMP_GE_OQ => vcgeq_f32(a, b),
        _CMP_GT_OQ => vcgtq_f32(a, b),
        _ => unreachable!(),
    });
    _mm256_castsi256_ps(a: __m256i) -> __m256 = vreinterpretq_f32_s32(a);
    _mm256_castps_si256(a: __m256) -> __m256i = vreinterpretq_s32_f32(a);
    _mm256_cvtepi32_ps(a: __m256i) -> __m256 = vcvtq_f32_s32(a);
    // What is too large becomes the largest integer, NaN becomes 0.
    _mm256_cvttps_epi32(a: __m256) -> __m256i = vcvtq_s32_f32(a);
}

// Lanes of `f32`.
by_halves! {
    _mm256_unpacklo_ps(a: __m256, b: __m256) -> __m256 = vzip1q_f32(a, b);
    _mm256_unpackhi_ps(a: __m256, b: __m256) -> __m256 = vzip2q_f32(a, b);
    _mm256_shuffle_ps<const LANES>(a: __m256, b: __m256) -> __m256 = match LANES {
        0x44 => vcombine_f32(vget_low_f32(a), vget_low_f32(b)),
        0xee => vcombine_f32(vget_high_f32(a), vget_high_f32(b)),
        0x88 => vuzp1q_f32(a, b),
        0xdd => vuzp2q_f32(a, b),
        _ => unreachable!(),
    };
    _mm256_permute_ps<const LANES>(a: __m256) -> __m256 = match LANES {
        0x1b => {
            let swapped = vrev64q_f32(a);
            vextq_f32::<2>(swapped, swapped)
        }
        _ => unreachable!(),
    };
    _mm256_permutevar_ps(a: __m256, lanes: __m256i) -> __m256 = {
        let lanes = vandq_s32(lanes, vdupq_n_s32(3));
        let bytes = vreinterpretq_u8_f32(a);
        vreinterpretq_f32_u8(vqtbl1q_u8(bytes, bytes_of(lanes)))
    };
}

functions! {
    _mm256_setzero_ps() -> __m256 = _mm256_set1_ps(0.0);
    _mm256_set1_ps(value: f32) -> __m256 = __m256(vdupq_n_f32(value), vdupq_n_f32(value));
    _mm256_setr_ps(a: f32, b: f32, c: f32, d: f32, e: f32, f: f32, g: f32, h: f32) -> __m256 =
        _mm256_loadu_ps([a, b, c, d, e, f, g, h].as_ptr());
    _mm256_set_m128(high: __m128, low: __m128) -> __m256 = __m256(low, high);
    _mm256_castps256_ps128(a: __m256) -> __m128 = a.0;
    // Only for lanes from 0 to 7: what others give is not used.
    _mm256_permutevar8x32_ps(a: __m256, lanes: __m256i) -> __m256 =
        _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(_mm256_castps_si256(a), lanes));
    _mm256_permute2f128_ps<const HALVES>(a: __m256, b: __m256) -> __m256 = match HALVES {
        0x00 => __m256(a.0, a.0),
        0x01 => __m256(a.1, a.0),
        0x11 => __m256(a.1, a.1),
        0x20 => __m256(a.0, b.0),
        0x31 => __m256(a.1, b.1),
        _ => unreachable!(),
    };
    _mm256_extractf128_ps<const HALF>(a: __m256) -> __m128 = if HALF == 0 { a.0 } else { a.1 };
    _mm256_blend_ps<const LANES>(a: __m256, b: __m256) -> __m256 = match LANES {
        1 => __m256(vsetq_lane_f32::<0>(vgetq_lane_f32::<0>(b.0), a.0), a.1),
        _ => unreachable!(),
    };
    _mm256_movemask_ps(a: __m256) -> i32 = {
        let low = vshrq_n_s32::<31>(vreinterpretq_s32_f32(a.0));
        let high = vshrq_n_s32::<31>(vreinterpretq_s32_f32(a.1));
        let low = vandq_s32(low, vld1q_s32([1, 2, 4, 8].as_ptr()));
        let high = vandq_s32(high, vld1q_s32([16, 32, 64, 128].as_ptr()));
        vaddvq_s32(vorrq_s32(low, high))
    };
}

// Four `f32`, and four `f64`.
functions! {
    _mm_setzero_ps() -> __m128 = vdupq_n_f32(0.0);
    _mm_set1_ps(value: f32) -> __m128 = vdupq_n_f32(value);
    _mm_setr_ps(a: f32, b: f32, c: f32, d: f32) -> __m128 = vld1q_f32([a, b, c, d].as_ptr());
    _mm_add_ps(a: __m128, b: __m128) -> __m128 = vaddq_f32(a, b);
    _mm_mul_ps(a: __m128, b: __m128) -> __m128 = vmulq_f32(a, b);
    _mm_max_ps(a: __m128, b: __m128) -> __m128 = vmaxnmq_f32(a, b);
    _mm_add_ss(a: __m128, b: __m128) -> __m128 =
        vsetq_lane_f32::<0>(_mm_cvtss_f32(a) + _mm_cvtss_f32(b), a);
    _mm_max_ss(a: __m128, b: __m128) -> __m128 =
        vsetq_lane_f32::<0>(_mm_cvtss_f32(a).max(_mm_cvtss_f32(b)), a);
    _mm_cvtss_f32(a: __m128) -> f32 = vgetq_lane_f32::<0>(a);
    _mm_movehl_ps(a: __m128, b: __m128) -> __m128 = vcombine_f32(vget_high_f32(b), vget_high_f32(a));
    _mm_shuffle_ps<const LANES>(a: __m128, b: __m128) -> __m128 = match LANES {
        1 => {
            let swapped = vrev64_f32(vget_low_f32(a));
            vcombine_f32(swapped, vdup_lane_f32::<0>(vget_low_f32(b)))
        }
        _ => unreachable!(),
    };
    _mm256_set1_pd(value: f64) -> __m256d = __m256d(vdupq_n_f64(value), vdupq_n_f64(value));
    _mm256_cvtps_pd(a: __m128) -> __m256d =
        __m256d(vcvt_f64_f32(vget_low_f32(a)), vcvt_high_f64_f32(a));
    _mm256_cvtpd_ps(a: __m256d) -> __m128 = vcvt_high_f32_f64(vcvt_f32_f64(a.0), a.1);
}

by_halves! {
    _mm256_mul_pd(a: __m256d, b: __m256d) -> __m256d = vmulq_f64(a, b);
}

/// Rows for columns.
#[expect(non_snake_case, reason = "Intel's name")]
#[inline(always)]
pub fn _MM_TRANSPOSE4_PS(a: &mut __m128, b: &mut __m128, c: &mut __m128, d: &mut __m128) {
    // SAFETY: there is NEON.
    unsafe {
        let low = [vzip1q_f32(*a, *c), vzip1q_f32(*b, *d)];
        let high = [vzip2q_f32(*a, *c), vzip2q_f32(*b, *d)];
        (*a, *b) = (vzip1q_f32(low[0], low[1]), vzip2q_f32(low[0], low[1]));
        (*c, *d) = (vzip1q_f32(high[0], high[1]), vzip2q_f32(high[0], high[1]));
    }
}

// Integers of 32 bits, and all bits.
by_halves! {
    _mm256_add_epi32(a: __m256i, b: __m256i) -> __m256i = vaddq_s32(a, b);
    _mm256_sub_epi32(a: __m256i, b: __m256i) -> __m256i = vsubq_s32(a, b);
    _mm256_mullo_epi32(a: __m256i, b: __m256i) -> __m256i = vmulq_s32(a, b);
    _mm256_max_epi32(a: __m256i, b: __m256i) -> __m256i = vmaxq_s32(a, b);
    _mm256_min_epi32(a: __m256i, b: __m256i) -> __m256i = vminq_s32(a, b);
    _mm256_min_epu32(a: __m256i, b: __m256i) -> __m256i =
        vreinterpretq_s32_u32(vminq_u32(as_type!(u32, a), as_type!(u32, b)));
    _mm256_cmpgt_epi32(a: __m256i, b: __m256i) -> __m256i = vreinterpretq_s32_u32(vcgtq_s32(a, b));
    _mm256_cmpeq_epi32(a: __m256i, b: __m256i) -> __m256i = vreinterpretq_s32_u32(vceqq_s32(a, b));
    _mm256_slli_epi32<const COUNT>(a: __m256i) -> __m256i = vshlq_n_s32::<COUNT>(a);
    _mm256_srai_epi32<const COUNT>(a: __m256i) -> __m256i = vshrq_n_s32::<COUNT>(a);
    _mm256_and_si256(a: __m256i, b: __m256i) -> __m256i = vandq_s32(a, b);
    _mm256_andnot_si256(a: __m256i, b: __m256i) -> __m256i = vbicq_s32(b, a);
    _mm256_or_si256(a: __m256i, b: __m256i) -> __m256i = vorrq_s32(a, b);
    // The mask has all bits of a byte or none.
    _mm256_blendv_epi8(a: __m256i, b: __m256i, mask: __m256i) -> __m256i =
        vbslq_s32(as_type!(u32, mask), b, a);
    _mm256_unpacklo_epi32(a: __m256i, b: __m256i) -> __m256i = vzip1q_s32(a, b);
    _mm256_unpackhi_epi32(a: __m256i, b: __m256i) -> __m256i = vzip2q_s32(a, b);
}

functions! {
    _mm256_setzero_si256() -> __m256i = _mm256_set1_epi32(0);
    _mm256_set1_epi32(value: i32) -> __m256i = __m256i(vdupq_n_s32(value), vdupq_n_s32(value));
    _mm256_setr_epi32(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32, h: i32) -> __m256i =
        _mm256_loadu_si256([a, b, c, d, e, f, g, h].as_ptr().cast());
    _mm256_set_m128i(high: __m128i, low: __m128i) -> __m256i = __m256i(low, high);
    _mm256_broadcastsi128_si256(a: __m128i) -> __m256i = __m256i(a, a);
    _mm256_castsi256_si128(a: __m256i) -> __m128i = a.0;
    _mm256_extracti128_si256<const HALF>(a: __m256i) -> __m128i = if HALF == 0 { a.0 } else { a.1 };
    _mm256_sll_epi32(a: __m256i, count: __m128i) -> __m256i = {
        let count = vdupq_laneq_s32::<0>(count);
        __m256i(vshlq_s32(a.0, count), vshlq_s32(a.1, count))
    };
    _mm256_permutevar8x32_epi32(a: __m256i, lanes: __m256i) -> __m256i = {
        let table = uint8x16x2_t(as_type!(u8, a.0), as_type!(u8, a.1));
        let half = |lanes| vreinterpretq_s32_u8(vqtbl2q_u8(table, bytes_of(lanes)));
        __m256i(half(lanes.0), half(lanes.1))
    };
    _mm256_testz_si256(a: __m256i, b: __m256i) -> i32 = {
        let both = _mm256_and_si256(a, b);
        i32::from(vmaxvq_u32(as_type!(u32, vorrq_s32(both.0, both.1))) == 0)
    };
    _mm_setzero_si128() -> __m128i = vdupq_n_s32(0);
    _mm_cvtsi32_si128(value: i32) -> __m128i = vsetq_lane_s32::<0>(value, vdupq_n_s32(0));
    _mm_cvtsi128_si32(a: __m128i) -> i32 = vgetq_lane_s32::<0>(a);
    _mm_extract_epi32<const LANE>(a: __m128i) -> i32 = vgetq_lane_s32::<LANE>(a);
    _mm_add_epi32(a: __m128i, b: __m128i) -> __m128i = vaddq_s32(a, b);
    _mm_sub_epi32(a: __m128i, b: __m128i) -> __m128i = vsubq_s32(a, b);
    _mm_max_epi32(a: __m128i, b: __m128i) -> __m128i = vmaxq_s32(a, b);
    _mm_and_si128(a: __m128i, b: __m128i) -> __m128i = vandq_s32(a, b);
    _mm_xor_si128(a: __m128i, b: __m128i) -> __m128i = veorq_s32(a, b);
    _mm_unpackhi_epi64(a: __m128i, b: __m128i) -> __m128i =
        vcombine_s32(vget_high_s32(a), vget_high_s32(b));
}

// Integers of 8, 16 and 64 bits.
by_halves! {
    _mm256_add_epi16(a: __m256i, b: __m256i) -> __m256i =
        vreinterpretq_s32_s16(vaddq_s16(as_type!(s16, a), as_type!(s16, b)));
    _mm256_add_epi64(a: __m256i, b: __m256i) -> __m256i =
        vreinterpretq_s32_s64(vaddq_s64(as_type!(s64, a), as_type!(s64, b)));
    _mm256_unpacklo_epi64(a: __m256i, b: __m256i) -> __m256i =
        vcombine_s32(vget_low_s32(a), vget_low_s32(b));
    _mm256_unpackhi_epi64(a: __m256i, b: __m256i) -> __m256i =
        vcombine_s32(vget_high_s32(a), vget_high_s32(b));
    _mm256_cmpgt_epi8(a: __m256i, b: __m256i) -> __m256i =
        vreinterpretq_s32_u8(vcgtq_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)));
    _mm256_subs_epu8(a: __m256i, b: __m256i) -> __m256i =
        vreinterpretq_s32_u8(vqsubq_u8(as_type!(u8, a), as_type!(u8, b)));
    _mm256_max_epu8(a: __m256i, b: __m256i) -> __m256i =
        vreinterpretq_s32_u8(vmaxq_u8(as_type!(u8, a), as_type!(u8, b)));
    _mm256_min_epu8(a: __m256i, b: __m256i) -> __m256i =
        vreinterpretq_s32_u8(vminq_u8(as_type!(u8, a), as_type!(u8, b)));
    _mm256_sad_epu8(a: __m256i, b: __m256i) -> __m256i = {
        let bytes = vabdq_u8(as_type!(u8, a), as_type!(u8, b));
        vreinterpretq_s32_u64(vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(bytes))))
    };
    // Bytes of `indices` are below 16, or their highest bit is set.
    _mm256_shuffle_epi8(a: __m256i, indices: __m256i) -> __m256i =
        vreinterpretq_s32_u8(vqtbl1q_u8(as_type!(u8, a), as_type!(u8, indices)));
    // Neither may `b` be negative nor a sum beyond 16 bits.
    _mm256_maddubs_epi16(a: __m256i, b: __m256i) -> __m256i = {
        let (a, b) = (as_type!(u8, a), as_type!(u8, b));
        let low = vmull_u8(vget_low_u8(a), vget_low_u8(b));
        vreinterpretq_s32_u16(vpaddq_u16(low, vmull_high_u8(a, b)))
    };
    _mm256_madd_epi16(a: __m256i, b: __m256i) -> __m256i = {
        let (a, b) = (as_type!(s16, a), as_type!(s16, b));
        vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b))
    };
    _mm256_packs_epi32(a: __m256i, b: __m256i) -> __m256i =
        vreinterpretq_s32_s16(vqmovn_high_s32(vqmovn_s32(a), b));
    _mm256_packus_epi16(a: __m256i, b: __m256i) -> __m256i = _mm_packus_epi16(a, b);
}

functions! {
    _mm256_set1_epi8(value: i8) -> __m256i = {
        let half = vreinterpretq_s32_s8(vdupq_n_s8(value));
        __m256i(half, half)
    };
    _mm256_set1_epi16(value: i16) -> __m256i = __m256i(_mm_set1_epi16(value), _mm_set1_epi16(value));
    _mm256_movemask_epi8(a: __m256i) -> i32 = {
        let places = vreinterpretq_s8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
        let half = |a| {
            let signs = vshrq_n_s8::<7>(vreinterpretq_s8_s32(a));
            vreinterpretq_u8_s8(vandq_s8(signs, places))
        };
        let pairs = vpaddq_u8(half(a.0), half(a.1));
        let fours = vpaddq_u8(pairs, pairs);
        vgetq_lane_s32::<0>(vreinterpretq_s32_u8(vpaddq_u8(fours, fours)))
    };
    _mm_set1_epi16(value: i16) -> __m128i = vreinterpretq_s32_s16(vdupq_n_s16(value));
    _mm_add_epi64(a: __m128i, b: __m128i) -> __m128i =
        vreinterpretq_s32_s64(vaddq_s64(as_type!(s64, a), as_type!(s64, b)));
    _mm_max_epu8(a: __m128i, b: __m128i) -> __m128i =
        vreinterpretq_s32_u8(vmaxq_u8(as_type!(u8, a), as_type!(u8, b)));
    _mm_srli_epi16<const COUNT>(a: __m128i) -> __m128i =
        vreinterpretq_s32_u16(vshrq_n_u16::<COUNT>(vreinterpretq_u16_s32(a)));
    _mm_packus_epi16(a: __m128i, b: __m128i) -> __m128i =
        vreinterpretq_s32_u8(vqmovun_high_s16(vqmovun_s16(as_type!(s16, a)), as_type!(s16, b)));
    // Only the smallest word, not its place.
    _mm_minpos_epu16(a: __m128i) -> __m128i =
        _mm_cvtsi32_si128(vminvq_u16(vreinterpretq_u16_s32(a)).into());
    bits(a: uint32x4_t) -> float32x4_t = vreinterpretq_f32_u32(a);
    of_bits(a: float32x4_t) -> uint32x4_t = vreinterpretq_u32_f32(a);
    // What indices beyond 15 give is not used.
    look_up_64_bytes(table: &[__m256; 2], indices: __m256i) -> __m256 = {
        let [a, b, c, d] = [table[0].0, table[0].1, table[1].0, table[1].1].map(|four| vreinterpretq_u8_f32(four));
        let table = uint8x16x4_t(a, b, c, d);
        let half = |lanes| vreinterpretq_f32_u8(vqtbl4q_u8(table, bytes_of(lanes)));
        __m256(half(indices.0), half(indices.1))
    };
    // The places of four bytes in a table, for each lane's place there.
    bytes_of(lanes: int32x4_t) -> uint8x16_t =
        vreinterpretq_u8_s32(vmlaq_s32(vdupq_n_s32(0x0302_0100), lanes, vdupq_n_s32(0x0404_0404)));
}

/// Functions that take pointers.
macro_rules! accesses {
    ($($name:ident($from:ident: $type:ty $(, $argument:ident: $vector:ty)*) $(-> $result:ty)? = $value:expr;)*) => {$(
        /// # Safety
        /// As of Intel's.
        #[inline(always)]
        pub unsafe fn $name($from: $type $(, $argument: $vector)*) $(-> $result)? {
            // SAFETY: the caller's promise.
            unsafe { $value }
        }
    )*};
}

accesses! {
    _mm_loadu_ps(from: *const f32) -> __m128 = vld1q_f32(from);
    _mm_storeu_ps(to: *mut f32, a: __m128) = vst1q_f32(to, a);
    _mm_loadu_si128(from: *const __m128i) -> __m128i = vld1q_s32(from.cast());
    _mm_storeu_si128(to: *mut __m128i, a: __m128i) = vst1q_s32(to.cast(), a);
    _mm256_loadu_ps(from: *const f32) -> __m256 = __m256(vld1q_f32(from), vld1q_f32(from.add(4)));
    _mm256_storeu_ps(to: *mut f32, a: __m256) = {
        vst1q_f32(to, a.0);
        vst1q_f32(to.add(4), a.1);
    };
    _mm256_loadu_si256(from: *const __m256i) -> __m256i = {
        let from = from.cast::<i32>();
        __m256i(vld1q_s32(from), vld1q_s32(from.add(4)))
    };
    _mm256_storeu_si256(to: *mut __m256i, a: __m256i) = {
        let to = to.cast::<i32>();
        vst1q_s32(to, a.0);
        vst1q_s32(to.add(4), a.1);
    };
    // The lanes of the mask that are set are the first ones, and fewer than eight.
    _mm256_maskload_ps(from: *const f32, mask: __m256i) -> __m256 = {
        let mut lanes = [0.0_f32; 8];
        copy(from, lanes.as_mut_ptr(), count(mask));
        _mm256_loadu_ps(lanes.as_ptr())
    };
    _mm256_maskstore_ps(to: *mut f32, mask: __m256i, a: __m256) = {
        let mut lanes = [0.0_f32; 8];
        _mm256_storeu_ps(lanes.as_mut_ptr(), a);
        copy(lanes.as_ptr(), to, count(mask));
    };
    _mm256_maskload_epi32(from: *const i32, mask: __m256i) -> __m256i =
        _mm256_castps_si256(_mm256_maskload_ps(from.cast(), mask));
    _mm256_maskstore_epi32(to: *mut i32, mask: __m256i, a: __m256i) =
        _mm256_maskstore_ps(to.cast(), mask, _mm256_castsi256_ps(a));
}

/// How many lanes of a mask are set.
#[inline(always)]
fn count(mask: __m256i) -> usize {
    // SAFETY: there is NEON. All bits set are −1.
    unsafe { vaddvq_s32(vaddq_s32(mask.0, mask.1)).unsigned_abs() as usize }
}

/// Copies fewer than eight values, in three branches instead of a call.
///
/// # Safety
/// `from` and `to` have so many.
#[inline(always)]
unsafe fn copy(from: *const f32, to: *mut f32, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut at = 0;
        for part in [4, 2, 1] {
            if count & part != 0 {
                from.add(at).copy_to_nonoverlapping(to.add(at), part);
                at += part;
            }
        }
    }
}

/// # Safety
/// `table` has all entries that `indices` ask for.
#[inline(always)]
pub unsafe fn _mm256_i32gather_ps<const SCALE: i32>(table: *const f32, indices: __m256i) -> __m256 {
    const { assert!(SCALE as usize == size_of::<f32>()) };
    let mut lanes = [0; 8];
    // SAFETY: the caller's promise.
    unsafe {
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), indices);
        _mm256_loadu_ps(
            lanes
                .map(|index: i32| *table.offset(index as isize))
                .as_ptr(),
        )
    }
}

/// Of sets of four: the bits of `value` at the places of `mask`, side by side.
#[inline(always)]
pub fn _pext_u32(value: u32, mask: u32) -> u32 {
    static SETS: [[u8; 16]; 16] = {
        let mut sets = [[0; 16]; 16];
        let mut i = 0;
        while i < 16 * 16 {
            let (mask, value) = (i / 16, i % 16);
            let (mut place, mut to) = (0, 0);
            while place < 4 {
                if mask >> place & 1 == 1 {
                    sets[mask][value] |= ((value >> place & 1) << to) as u8;
                    to += 1;
                }
                place += 1;
            }
            i += 1;
        }
        sets
    };
    SETS[mask as usize & 15][value as usize & 15].into()
}

/// A set of eight as eight bytes: `mask` has their lowest bits.
#[inline(always)]
pub fn _pdep_u64(value: u64, mask: u64) -> u64 {
    let seven = (value & 0x7f).wrapping_mul(0x0408_1020_4081) & mask;
    seven | value >> 7 << 56
}
