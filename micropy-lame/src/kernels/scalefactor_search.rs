// SPDX-License-Identifier: LGPL-2.0-or-later
//! The gain of a scalefactor band at variable bitrate: the largest whose quantization noise is allowed.
//!
//! It is LAME's search (`vbr_mtrh`): a bisection over the gains in which a gain is good when its own noise and that of both its
//! neighbours is allowed. The noise is no monotonous function of the gain, so the answer depends on which gains are asked, in
//! which order; the kernel asks the same ones. It is faster by knowing most answers: below one gain the noise cannot be too loud,
//! above another everything becomes zero, and sixteen gains between them are computed at once.

use std::arch::x86_64::*;

use super::lanes::{f32_upto8, f32x8, largest, store_f32x8};
use super::powers::{BELOW, Powers};

#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod twin;

/// The largest value that can be coded.
const LARGEST: f32 = 8206.0;

/// The largest of a band's |xr|^(3/4).
#[inline]
#[target_feature(enable = "avx2,fma,bmi2")]
fn peak(xr34: &[f32]) -> f32 {
    let mut most = _mm256_setzero_ps();
    let (whole, rest) = xr34.as_chunks::<8>();
    for lines in whole {
        most = _mm256_max_ps(most, f32x8(lines));
    }
    if !rest.is_empty() {
        most = _mm256_max_ps(most, f32_upto8(rest));
    }
    largest(most)
}

/// log2 of a positive number, too small by up to 0.09: its mantissa is taken as it is.
#[inline]
fn rough_log2(x: f32) -> f32 {
    (x.to_bits() as i32 - 1.0_f32.to_bits() as i32) as f32 * (1.0 / 8_388_608.0)
}

/// The smallest gain at which the band can be coded: LAME's `find_lowest_scalefac`.
#[target_feature(enable = "avx2,fma,bmi2")]
pub fn lowest_gain(xr34: &[f32], powers: &Powers<'_>) -> u8 {
    let peak = peak(xr34);
    let quantities = powers.quantities;
    if peak * (1.0 / LARGEST) <= 0.0 {
        return 1;
    }
    // Quantities fall by 2^(3/16) with each gain, and 210 is a step of 1.
    let guess = 210 + (rough_log2(peak * (1.0 / LARGEST)) * (16.0 / 3.0)) as i32;
    let mut gain = guess.clamp(1, 255) as usize;
    while gain > 1 && quantities[gain - 1] * peak <= LARGEST {
        gain -= 1;
    }
    while gain < 255 && quantities[gain] * peak > LARGEST {
        gain += 1;
    }
    gain as u8
}

/// The gain for a band's lines whose noise may be `allowed`, not below `least`.
#[target_feature(enable = "avx2,fma,bmi2")]
pub fn find_gain(xr: &[f32], xr34: &[f32], allowed: f32, least: u8, powers: &Powers<'_>) -> u8 {
    let xr34 = &xr34[..xr.len()];
    let band = Band {
        xr,
        xr34,
        allowed,
        powers,
        peak: peak(xr34),
    };
    let least = usize::from(least);
    let silent = band.silent_from(least);
    let good = band.good_up_to(least);
    let mut sixteen = None;
    let (mut gain, mut found) = (128, None);
    for distance in [64, 32, 16, 8, 4, 2, 1, 0] {
        if gain <= least {
            gain += distance;
            continue;
        }
        let is_bad = if gain + 1 >= silent && gain < 255 {
            true
        } else if gain < good {
            false
        } else if good > 0 && gain < good + 16 && good + 16 <= 255 {
            let bad = *sixteen.get_or_insert_with(|| band.bad_of_16(good + 1));
            let first = (gain - 1).max(good + 1);
            bad >> (first - good - 1) & ((1 << (gain + 2 - first)) - 1) != 0
        } else {
            band.is_bad(gain)
        };
        if is_bad {
            gain -= distance;
        } else {
            found = Some(gain);
            gain += distance;
        }
    }
    found.unwrap_or(gain).max(least) as u8
}

/// A band whose gain is sought.
struct Band<'a> {
    xr: &'a [f32],
    xr34: &'a [f32],
    allowed: f32,
    powers: &'a Powers<'a>,
    /// The largest of `xr34`.
    peak: f32,
}

impl Band<'_> {
    /// The first gain, not below `least`, from which on every line becomes zero, if the noise, then the band's energy, is not
    /// allowed; 257 otherwise.
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn silent_from(&self, least: usize) -> usize {
        /// From here on a quantity is rounded up to 1: 1 − adj43(0).
        const ROUNDED_UP: f32 = 0.5946;
        let quantities = self.powers.quantities;
        if energy(self.xr) <= self.allowed {
            return 257;
        }
        let guess = if self.peak > 0.0 {
            210 + (rough_log2(self.peak * (1.0 / ROUNDED_UP)) * (16.0 / 3.0)) as i32
        } else {
            0
        };
        let mut gain = guess.clamp(least as i32, 256) as usize;
        while gain > least && self.peak * quantities[gain - 1] < ROUNDED_UP {
            gain -= 1;
        }
        while gain < 256 && self.peak * quantities[gain] >= ROUNDED_UP {
            gain += 1;
        }
        gain
    }

    /// A gain up to which, from `least` on, the noise is allowed, from a bound: no line is off by more than half the distance of
    /// two values at the peak, about 2/3 · step · quantity^(1/3). 0 where the bound says nothing.
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn good_up_to(&self, least: usize) -> usize {
        let (last, last34) = match (self.xr, self.xr34) {
            ([.., last], [.., last34]) => (*last, *last34),
            _ => return 0,
        };
        // LAME leaves the power of the last line at zero where that is the 576th or its limit is odd: its noise is its energy.
        let rest = if last34 == 0.0 { last * last } else { 0.0 };
        if rest >= self.allowed || self.peak <= 0.0 {
            return 0;
        }
        let lines = self.xr.len() as f32;
        let square = (self.allowed - rest) * 2.25 / lines;
        let log2 = rough_log2(square) - rough_log2(self.peak) * (2.0 / 3.0);
        let gain = (210 + (log2 * (8.0 / 3.0)) as i32 - 2).min(255);
        if gain < least as i32 || gain < 0 {
            return 0;
        }
        let quantity = (self.peak * self.powers.quantities[gain as usize]) as usize + 1;
        let pow43 = self.powers.pow43;
        if quantity >= LARGEST as usize - 1 {
            return 0;
        }
        let half = self.powers.step(gain) * (pow43[quantity + 1] - pow43[quantity]) * 0.5;
        if half * half * lines + rest < self.allowed * 0.999 {
            gain as usize
        } else {
            0
        }
    }

    /// Which of sixteen gains, from `first` on, make more noise than allowed: a bit each.
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn bad_of_16(&self, first: usize) -> u32 {
        let steps = &self.powers.steps[BELOW + first..][..16];
        let quantities = &self.powers.quantities[first..][..16];
        let halves = [
            Gains::new(f32x8(steps), f32x8(quantities)),
            Gains::new(f32x8(&steps[8..]), f32x8(&quantities[8..])),
        ];
        let tables = Tables::new(self.powers);
        let largest = self.peak * quantities[0];
        let mut sums = [_mm256_setzero_ps(); 2];
        if largest < 7.4 {
            for line in self.lines() {
                for k in 0..2 {
                    let error = tables.error_below_8(line, &halves[k]);
                    sums[k] = _mm256_fmadd_ps(error, error, sums[k]);
                }
            }
        } else if largest < 15.4 {
            for line in self.lines() {
                for k in 0..2 {
                    let error = tables.error_below_16(line, &halves[k]);
                    sums[k] = _mm256_fmadd_ps(error, error, sums[k]);
                }
            }
        } else {
            for line in self.lines() {
                let root = _mm256_set1_ps(line.0.abs().sqrt().sqrt());
                for k in 0..2 {
                    let error = tables.error(line, root, &halves[k]);
                    sums[k] = _mm256_fmadd_ps(error, error, sums[k]);
                }
            }
        }
        self.is_over(sums[0]) | self.is_over(sums[1]) << 8
    }

    /// Whether this gain or one of its neighbours makes more noise than allowed.
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn is_bad(&self, gain: usize) -> bool {
        let three = [gain - 1, gain, if gain < 255 { gain + 1 } else { gain }];
        let step = three.map(|gain| self.powers.steps[BELOW + gain]);
        let quantity = three.map(|gain| self.powers.quantities[gain]);
        let [s, q] = [step, quantity].map(|[a, b, c]| [a, b, c, c, c, c, c, c]);
        let gains = Gains::new(f32x8(&s), f32x8(&q));
        let tables = Tables::new(self.powers);
        let mut sum = _mm256_setzero_ps();
        let is_small = self.peak * quantity[0] < 7.4;
        let mut left = 8;
        for line in self.lines() {
            let error = if is_small {
                tables.error_below_8(line, &gains)
            } else {
                let root = _mm256_set1_ps(line.0.abs().sqrt().sqrt());
                tables.error(line, root, &gains)
            };
            sum = _mm256_fmadd_ps(error, error, sum);
            left -= 1;
            if left == 0 {
                if self.is_over(sum) != 0 {
                    return true;
                }
                left = 8;
            }
        }
        self.is_over(sum) != 0
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn is_over(&self, sum: __m256) -> u32 {
        let over = _mm256_cmp_ps::<_CMP_GT_OQ>(sum, _mm256_set1_ps(self.allowed));
        _mm256_movemask_ps(over) as u32
    }

    /// Each line and its power of 3/4.
    #[inline]
    fn lines(&self) -> impl Iterator<Item = (f32, f32)> {
        self.xr.iter().copied().zip(self.xr34.iter().copied())
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi2")]
fn energy(xr: &[f32]) -> f32 {
    let mut sum = _mm256_setzero_ps();
    for lines in xr.chunks(8) {
        let lines = f32_upto8(lines);
        sum = _mm256_fmadd_ps(lines, lines, sum);
    }
    let mut lanes = [0.0; 8];
    store_f32x8(sum, &mut lanes);
    lanes.iter().sum()
}

/// Eight gains.
struct Gains {
    step: __m256,
    quantity: __m256,
    /// 4/3 · step^(3/4).
    slope: __m256,
}

impl Gains {
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn new(step: __m256, quantity: __m256) -> Self {
        Self {
            step,
            quantity,
            slope: _mm256_div_ps(_mm256_set1_ps(4.0 / 3.0), quantity),
        }
    }
}

/// The first sixteen entries of the tables of powers.
struct Tables {
    adj43: [__m256; 2],
    pow43: [__m256; 2],
}

impl Tables {
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn new(powers: &Powers<'_>) -> Self {
        Self {
            adj43: [f32x8(powers.adj43), f32x8(&powers.adj43[8..])],
            pow43: [f32x8(powers.pow43), f32x8(&powers.pow43[8..])],
        }
    }

    /// How far a line is off at each gain, quantities being below 7.4.
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn error_below_8(&self, (xr, xr34): (f32, f32), gains: &Gains) -> __m256 {
        let y = _mm256_mul_ps(_mm256_set1_ps(xr34), gains.quantity);
        let add = _mm256_permutevar8x32_ps(self.adj43[0], _mm256_cvttps_epi32(y));
        let quantized = _mm256_cvttps_epi32(_mm256_add_ps(y, add));
        let power = _mm256_permutevar8x32_ps(self.pow43[0], quantized);
        _mm256_fnmadd_ps(power, gains.step, _mm256_set1_ps(xr.abs()))
    }

    /// The same for quantities below 15.4.
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn error_below_16(&self, (xr, xr34): (f32, f32), gains: &Gains) -> __m256 {
        let y = _mm256_mul_ps(_mm256_set1_ps(xr34), gains.quantity);
        let add = look_up(&self.adj43, _mm256_cvttps_epi32(y));
        let quantized = _mm256_cvttps_epi32(_mm256_add_ps(y, add));
        let power = look_up(&self.pow43, quantized);
        _mm256_fnmadd_ps(power, gains.step, _mm256_set1_ps(xr.abs()))
    }

    /// The same for any quantity, with `root` the fourth root of the line.
    ///
    /// From 15 on, with t = y − q the distance of the quantity y = (x / s)^(3/4) from its integer:
    /// x − s · q^(4/3) = s · (y^(4/3) − (y − t)^(4/3)) = 4/3 · s · y^(1/3) · t · (1 − t / 6y), but for terms in t³, and
    /// s · y^(1/3) = s^(3/4) · x^(1/4). It matters little which way a quantity in the middle is rounded: either is as far off.
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn error(&self, line: (f32, f32), root: __m256, gains: &Gains) -> __m256 {
        let y = _mm256_mul_ps(_mm256_set1_ps(line.1), gains.quantity);
        let is_high = _mm256_cmp_ps::<_CMP_GE_OQ>(y, _mm256_set1_ps(15.0));
        let high = _mm256_movemask_ps(is_high);
        if high == 0 {
            return self.error_below_16(line, gains);
        }
        let r = _mm256_rcp_ps(y);
        let adjust = _mm256_fnmadd_ps(r, _mm256_set1_ps(1.0 / 24.0), _mm256_set1_ps(0.5));
        let quantized = _mm256_floor_ps(_mm256_add_ps(y, adjust));
        let t = _mm256_sub_ps(y, quantized);
        let bend = _mm256_fnmadd_ps(
            _mm256_mul_ps(t, r),
            _mm256_set1_ps(1.0 / 6.0),
            _mm256_set1_ps(1.0),
        );
        let error = _mm256_mul_ps(_mm256_mul_ps(gains.slope, root), _mm256_mul_ps(t, bend));
        if high == 0xff {
            return error;
        }
        _mm256_blendv_ps(self.error_below_16(line, gains), error, is_high)
    }
}

/// The entries of a table of sixteen; of higher indices only the four lowest bits count.
#[inline]
#[target_feature(enable = "avx2,fma,bmi2")]
fn look_up(table: &[__m256; 2], index: __m256i) -> __m256 {
    let from_8 = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index));
    _mm256_blendv_ps(
        _mm256_permutevar8x32_ps(table[0], index),
        _mm256_permutevar8x32_ps(table[1], index),
        from_8,
    )
}
