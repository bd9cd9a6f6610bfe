// SPDX-License-Identifier: LGPL-2.0-or-later
//! The quantization noise of each scalefactor band, and the amplification of bands whose noise is too loud: ISO/IEC
//! 11172-3, C.1.5.4.3.3 and C.1.5.4.3.5.

use super::instructions::*;
use super::lanes::{
    f32_upto8, f32x8, gather, i32_upto8, i32x8, lanes_below, largest, look_up_16, store_f32_upto8,
    store_f32x8, store_i32_upto8,
};
use super::powers::{Powers, QUANTITIES};
use super::quantization::LINES;

#[cfg(test)]
pub mod tests;
#[cfg(test)]
pub mod twin;

/// Scalefactor bands of three short blocks, the most there are.
pub const BANDS: usize = 39;

/// `preflag`: what it adds to the scalefactors of long blocks, table B.6; and two more, for a whole vector.
pub const PRETAB: [i32; 24] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 2, 0, 0, 0,
];

/// A granule that is quantized, and how.
pub struct Quantized<'a> {
    /// The spectrum.
    pub xr: &'a [f32; LINES],
    /// Its quantized magnitudes.
    pub quantized: &'a [i32; LINES],
    pub global_gain: i32,
    pub scalefac: &'a [i32; BANDS],
    /// 0 or 1: scalefactors count half steps or whole ones.
    pub scalefac_scale: i32,
    pub preflag: bool,
    pub subblock_gain: &'a [i32; 4],
    /// Lines of each band.
    pub width: &'a [i32; BANDS],
    /// The short block of each band, or 3.
    pub window: &'a [i32; BANDS],
    pub is_short: bool,
    /// How many bands have a masking threshold.
    pub bands: usize,
    /// Lines above this one are zero.
    pub last_line: i32,
}

/// The noise computed before, kept while a band's gain stays.
pub struct Before<'a> {
    pub gain: &'a mut [i32; BANDS],
    pub noise: &'a mut [f32; BANDS],
}

/// LAME's `calc_noise_result`, in its order; noise in units of 10 dB above the threshold.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Noise {
    /// The sum over bands whose noise is above the threshold.
    pub over: f32,
    /// The sum over all bands.
    pub total: f32,
    /// The loudest band.
    pub loudest: f32,
    /// How many bands are above.
    pub over_count: i32,
    /// The sum of squares, each in dB, at least 1, over the bands above.
    pub over_squares: i32,
}

/// Computes each band's noise, divides it by `allowed` into `distort`, and sums up.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn noise(
    granule: &Quantized<'_>,
    powers: &Powers<'_>,
    allowed: &[f32; BANDS],
    distort: &mut [f32; BANDS],
    before: Option<Before<'_>>,
) -> Noise {
    let bands = granule.bands;
    let mut gains = [0; BANDS];
    let mut own = [0.0; BANDS];
    let (todo, noise) = match before {
        Some(before) => (
            gains_of(granule, &mut gains, Some(before.gain)),
            before.noise,
        ),
        None => (gains_of(granule, &mut gains, None), &mut own),
    };
    let mut starts = [0; BANDS];
    let mut start = 0;
    for (to, width) in starts[..bands].iter_mut().zip(granule.width) {
        *to = start;
        start += width;
    }
    let mut todo = todo;
    let mut sums = [_mm256_setzero_ps(); 8];
    let mut of = [0; 8];
    while todo != 0 {
        let mut count = 0;
        while todo != 0 && count < 8 {
            let band = todo.trailing_zeros() as usize;
            todo &= todo - 1;
            let start = starts[band];
            let mut width = granule.width[band];
            if start + width > granule.last_line {
                width = (granule.last_line - start + 1).max(0);
            }
            let step = powers.step(gains[band]);
            sums[count] = band_noise(
                &granule.xr[start as usize..],
                &granule.quantized[start as usize..],
                (width & !1) as usize,
                step,
                powers.pow43,
            );
            of[count] = band;
            count += 1;
        }
        let mut sum = [0.0; 8];
        store_f32x8(sums_of_8(&sums), &mut sum);
        for k in 0..count {
            noise[of[k]] = sum[k];
        }
    }
    compare(bands, noise, allowed, distort)
}

/// Writes the gain of each band into `gains` and `before`; returns the set of those that `before` has not.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn gains_of(
    granule: &Quantized<'_>,
    gains: &mut [i32; BANDS],
    mut before: Option<&mut [i32; BANDS]>,
) -> u64 {
    let mut changed = 0;
    let global_gain = _mm256_set1_epi32(granule.global_gain);
    let shift = _mm_cvtsi32_si128(granule.scalefac_scale + 1);
    let mut subblock_gain = [0; 8];
    subblock_gain[..4].copy_from_slice(granule.subblock_gain);
    let subblock_gain = _mm256_slli_epi32::<3>(i32x8(&subblock_gain));
    // Lanes beyond the last band are computed and not used.
    for at in (0..granule.bands).step_by(8) {
        let mut gain = i32_upto8(&granule.scalefac[at..]);
        if granule.preflag && at < 24 {
            gain = _mm256_add_epi32(gain, i32x8(&PRETAB[at..]));
        }
        gain = _mm256_sub_epi32(global_gain, _mm256_sll_epi32(gain, shift));
        if granule.is_short {
            let window = i32_upto8(&granule.window[at..]);
            gain = _mm256_sub_epi32(gain, _mm256_permutevar8x32_epi32(subblock_gain, window));
        }
        let mut differs = lanes_below(granule.bands - at);
        if let Some(before) = &mut before {
            let same = _mm256_cmpeq_epi32(gain, i32_upto8(&before[at..]));
            differs = _mm256_andnot_si256(same, differs);
            store_i32_upto8(gain, &mut before[at..]);
        }
        store_i32_upto8(gain, &mut gains[at..]);
        changed |= u64::from(_mm256_movemask_ps(_mm256_castsi256_ps(differs)) as u32) << at;
    }
    changed
}

/// The squared differences of the first `count` lines from their dequantized values, in eight sums.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn band_noise(
    xr: &[f32],
    quantized: &[i32],
    count: usize,
    step: f32,
    pow43: &[f32; QUANTITIES],
) -> __m256 {
    let step = _mm256_set1_ps(step);
    let first_16 = [f32x8(pow43), f32x8(&pow43[8..])];
    let mut sum = _mm256_setzero_ps();
    let mut at = 0;
    while at < count {
        let (xr, quantized) = (f32_upto8(&xr[at..]), i32_upto8(&quantized[at..]));
        let mut error = error(xr, quantized, step, &first_16, pow43);
        if count - at < 8 {
            error = _mm256_and_ps(error, _mm256_castsi256_ps(lanes_below(count - at)));
        }
        sum = _mm256_fmadd_ps(error, error, sum);
        at += 8;
    }
    sum
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn error(
    xr: __m256,
    quantized: __m256i,
    step: __m256,
    first_16: &[__m256; 2],
    pow43: &[f32; QUANTITIES],
) -> __m256 {
    let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), xr);
    // Values from 8 on come and go within a band: no branch for them, which would be predicted badly.
    let power = if _mm256_testz_si256(quantized, _mm256_set1_epi32(!15)) == 1 {
        look_up_16(first_16, quantized)
    } else {
        gather(pow43, quantized)
    };
    _mm256_fnmadd_ps(power, step, magnitude)
}

/// The sum of each of eight vectors.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn sums_of_8(v: &[__m256; 8]) -> __m256 {
    let a = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    let b = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    _mm256_add_ps(
        _mm256_permute2f128_ps::<0x20>(a, b),
        _mm256_permute2f128_ps::<0x31>(a, b),
    )
}

/// Noise this little above what is allowed is as loud as that. Where a band's whole energy is below the threshold in
/// quiet, it is what is allowed; left out, it is the noise. The two are one sum, rounded in another order, and no
/// reason to spend bits.
const EQUAL: f32 = 1.0 + 2e-6;

/// 1 for ratios that are equal to 1.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn settle_equal(ratio: __m256) -> __m256 {
    let is_equal = _mm256_cmp_ps::<_CMP_LE_OQ>(ratio, _mm256_set1_ps(EQUAL));
    _mm256_blendv_ps(ratio, _mm256_min_ps(ratio, _mm256_set1_ps(1.0)), is_equal)
}

/// Divides the noise by what is allowed and sums up its logarithms.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn compare(
    bands: usize,
    noise: &[f32; BANDS],
    allowed: &[f32; BANDS],
    distort: &mut [f32; BANDS],
) -> Noise {
    let zero = _mm256_setzero_ps();
    let (mut total, mut over) = (zero, zero);
    let mut loudest = _mm256_set1_ps(-20.0);
    let (mut squares, mut count) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    // Lanes beyond the last band are computed and not used.
    for at in (0..bands).step_by(8) {
        let inside = _mm256_castsi256_ps(lanes_below(bands - at));
        let ratio = settle_equal(_mm256_div_ps(
            f32_upto8(&noise[at..]),
            f32_upto8(&allowed[at..]),
        ));
        store_f32_upto8(ratio, &mut distort[at..]);
        let log = log10(_mm256_max_ps(ratio, _mm256_set1_ps(1e-20)));
        loudest = _mm256_max_ps(loudest, _mm256_blendv_ps(loudest, log, inside));
        let log = _mm256_and_ps(log, inside);
        let is_over = _mm256_cmp_ps::<_CMP_GT_OQ>(log, zero);
        total = _mm256_add_ps(total, log);
        over = _mm256_add_ps(over, _mm256_and_ps(log, is_over));
        count = _mm256_sub_epi32(count, _mm256_castps_si256(is_over));
        let db = _mm256_fmadd_ps(log, _mm256_set1_ps(10.0), _mm256_set1_ps(0.5));
        let db = _mm256_max_epi32(_mm256_cvttps_epi32(db), _mm256_set1_epi32(1));
        let db = _mm256_and_si256(db, _mm256_castps_si256(is_over));
        squares = _mm256_add_epi32(squares, _mm256_mullo_epi32(db, db));
    }
    let sums = _mm256_hadd_ps(
        _mm256_hadd_ps(over, total),
        _mm256_hadd_ps(_mm256_cvtepi32_ps(count), _mm256_cvtepi32_ps(squares)),
    );
    let mut halves = [0.0; 8];
    store_f32x8(sums, &mut halves);
    let sum = |n: usize| halves[n] + halves[n + 4];
    Noise {
        over: sum(0),
        total: sum(1),
        loudest: largest(loudest),
        over_count: sum(2) as i32,
        over_squares: sum(3) as i32,
    }
}

/// log10 of positive, normal numbers, within 3e-7 of the result's scale: of x = m · 2^e with m from √½ to √2, the
/// logarithm of m by the series of the inverse hyperbolic tangent of (m − 1) / (m + 1).
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn log10(x: __m256) -> __m256 {
    const TWO_OVER_LN_2: f32 = 2.885_39;
    let bits = _mm256_castps_si256(x);
    let sqrt_half = _mm256_set1_epi32(std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32);
    let exponent = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, sqrt_half));
    let mantissa = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(exponent));
    let (mantissa, one) = (_mm256_castsi256_ps(mantissa), _mm256_set1_ps(1.0));
    let s = _mm256_div_ps(_mm256_sub_ps(mantissa, one), _mm256_add_ps(mantissa, one));
    let z = _mm256_mul_ps(s, s);
    let mut series = _mm256_set1_ps(TWO_OVER_LN_2 / 7.0);
    series = _mm256_fmadd_ps(series, z, _mm256_set1_ps(TWO_OVER_LN_2 / 5.0));
    series = _mm256_fmadd_ps(series, z, _mm256_set1_ps(TWO_OVER_LN_2 / 3.0));
    series = _mm256_fmadd_ps(series, z, _mm256_set1_ps(TWO_OVER_LN_2));
    let log2 = _mm256_fmadd_ps(series, s, _mm256_cvtepi32_ps(exponent));
    _mm256_mul_ps(log2, _mm256_set1_ps(std::f32::consts::LOG10_2))
}

/// From which distortion on bands are amplified: LAME's `noise_shaping_amp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Above the threshold, as in the standard; 0.
    Audible,
    /// At least the square root of the largest, half of it in dB; 1.
    HalfOfLoudest,
}

/// Raises the scalefactor of each of the first `bands` bands whose distortion reaches the trigger by one, multiplies
/// its lines with `by`, and returns the largest line of the granule, which was `peak`.
///
/// Where no distortion is above 1, bands within 5 % of the largest are raised, so that some always are.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[expect(clippy::too_many_arguments, reason = "fields of LAME's gr_info")]
pub fn amplify(
    xr34: &mut [f32; LINES],
    scalefac: &mut [i32; BANDS],
    bands: usize,
    width: &[i32; BANDS],
    distort: &[f32; BANDS],
    trigger: Trigger,
    by: f32,
    peak: f32,
) -> f32 {
    let mut most = _mm256_setzero_ps();
    for at in (0..bands).step_by(8) {
        let inside = _mm256_castsi256_ps(lanes_below(bands - at));
        most = _mm256_max_ps(most, _mm256_and_ps(f32_upto8(&distort[at..]), inside));
    }
    let most = largest(most);
    let trigger = match trigger {
        _ if most <= 1.0 => most * 0.95,
        Trigger::Audible => 1.0,
        Trigger::HalfOfLoudest => most.sqrt(),
    };
    let mut raised = 0_u64;
    for at in (0..bands).step_by(8) {
        let inside = _mm256_castsi256_ps(lanes_below(bands - at));
        let distort = f32_upto8(&distort[at..]);
        let reaches = _mm256_cmp_ps::<_CMP_GE_OQ>(distort, _mm256_set1_ps(trigger));
        let reaches = _mm256_and_ps(reaches, inside);
        // All bits set are −1.
        let scalefac = &mut scalefac[at..];
        let up = _mm256_sub_epi32(i32_upto8(scalefac), _mm256_castps_si256(reaches));
        store_i32_upto8(up, scalefac);
        raised |= u64::from(_mm256_movemask_ps(reaches) as u32) << at;
    }
    let by = _mm256_set1_ps(by);
    let one = _mm256_set1_ps(1.0);
    let mut peaks = _mm256_set1_ps(peak);
    let mut start = 0;
    for (band, &width) in width[..bands].iter().enumerate() {
        let end = start + width as usize;
        if raised >> band & 1 == 1 {
            // Lines of the next band stay: times 1.
            for at in (start..end).step_by(8) {
                let inside = _mm256_castsi256_ps(lanes_below(end - at));
                let factor = _mm256_blendv_ps(one, by, inside);
                let louder = _mm256_mul_ps(f32_upto8(&xr34[at..]), factor);
                store_f32_upto8(louder, &mut xr34[at..]);
                peaks = _mm256_max_ps(peaks, louder);
            }
        }
        start = end;
    }
    largest(peaks)
}
