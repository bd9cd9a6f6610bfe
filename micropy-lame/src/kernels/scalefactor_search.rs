// SPDX-License-Identifier: LGPL-2.0-or-later
//! The gain of a scalefactor band at variable bitrate: the largest whose quantization noise is allowed.
//!
//! It is LAME's search (`vbr_mtrh`): a bisection over the gains in which a gain is good when its own noise and that of
//! both its neighbours is allowed. The noise is no monotonous function of the gain, so the answer depends on which
//! gains are asked, in which order; the kernel asks the same ones. It is faster by knowing most answers: below one gain
//! the noise cannot be too loud, above another everything becomes zero, and sixteen gains between them are computed at
//! once.

use std::arch::x86_64::*;

use super::lanes::{f32_upto8, f32x8, gather, store_f32x8, store_i32x8};
use super::noise::{BANDS, sums_of_8};
use super::powers::{BELOW, GAINS, Powers};
use super::quantization::LINES;
use super::vector::transpose;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod twin;

/// The largest value that can be coded.
const LARGEST: f32 = 8206.0;

/// From here on a quantity is rounded up to 1: 1 − adj43(0).
const ROUNDED_UP: f32 = 0.5946;

/// What is said of gains that no gain has.
const NONE: i32 = 257;

/// A granule whose gains are sought.
pub struct Granule<'a> {
    pub xr: &'a [f32; LINES],
    /// |xr|^(3/4).
    pub xr34: &'a [f32; LINES],
    /// The last line that is not zero.
    pub last_line: usize,
    /// Lines of each band.
    pub width: &'a [i32; BANDS],
    /// How many bands have a masking threshold.
    pub bands: usize,
    /// The noise that each band may have.
    pub allowed: &'a [f32; BANDS],
    /// Whether a band is louder than that.
    pub is_audible: &'a [u8; BANDS],
    /// Whether gains are sought, or the smallest ones are all that is asked for.
    pub is_search: bool,
}

/// For each band up to the last line, the smallest gain at which it can be coded (LAME's `find_lowest_scalefac`) goes
/// into `least`, and the one whose noise is allowed into `gains`, where it is sought.
#[target_feature(enable = "avx2,fma,bmi2")]
pub fn find_gains(
    granule: &Granule<'_>,
    powers: &Powers<'_>,
    least: &mut [i32; BANDS],
    gains: &mut [i32; BANDS],
) {
    let lines = LINES.min(granule.last_line + 1);
    let mut start = 0;
    for at in (0..BANDS).step_by(8) {
        if start >= lines {
            break;
        }
        let eight = Eight::of(granule, at, start, lines, powers);
        for (to, from) in least[at..].iter_mut().zip(eight.least) {
            *to = from;
        }
        for k in 0..(BANDS - at).min(8) {
            let band = at + k;
            let end = lines.min(start + granule.width[band] as usize);
            // At 8 kHz, LAME gives bands that are not used two lines.
            let is_sought = band < granule.bands
                && granule.width[band] > 2
                && granule.is_audible[band] != 0
                && granule.is_search;
            if is_sought && start < end {
                let band = Band {
                    xr: &granule.xr[start..end],
                    xr34: &granule.xr34[start..end],
                    allowed: granule.allowed[band],
                    powers,
                    peak: eight.peak[k],
                };
                let known = [eight.least[k], eight.good[k], eight.silent[k]];
                gains[at + k] = band.search(known.map(|gain| gain as usize));
            }
            start = end;
        }
    }
}

/// What is known of eight bands beforehand.
struct Eight {
    /// The largest |xr|^(3/4).
    peak: [f32; 8],
    /// The smallest gain at which the band can be coded.
    least: [i32; 8],
    /// A gain up to which, from the smallest one on, the noise is allowed, from a bound: no line is off by more than
    /// half the distance of two values at the peak, about 2/3 · step · quantity^(1/3). 0 where the bound says nothing.
    good: [i32; 8],
    /// The first gain, not below the smallest one, from which on every line becomes zero, if the noise, then the band's
    /// energy, is not allowed; 257 otherwise.
    silent: [i32; 8],
}

impl Eight {
    /// For the bands from `at` on, whose first line is `start`, of which there are none from `lines` on.
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn of(
        granule: &Granule<'_>,
        at: usize,
        mut start: usize,
        lines: usize,
        powers: &Powers<'_>,
    ) -> Self {
        let zero = _mm256_setzero_ps();
        let (mut peaks, mut energies) = ([zero; 8], [zero; 8]);
        let (mut counts, mut rests) = ([1.0; 8], [0.0; 8]);
        for k in 0..(BANDS - at).min(8) {
            let end = lines.min(start + granule.width[at + k] as usize);
            if start < end {
                let (xr, xr34) = (&granule.xr[start..end], &granule.xr34[start..end]);
                for (xr, xr34) in xr.chunks(8).zip(xr34.chunks(8)) {
                    let line = f32_upto8(xr);
                    energies[k] = _mm256_fmadd_ps(line, line, energies[k]);
                    peaks[k] = _mm256_max_ps(peaks[k], f32_upto8(xr34));
                }
                counts[k] = (end - start) as f32;
                // LAME leaves the power of the last line at zero where that is the 576th or its limit is odd: its noise
                // is its energy.
                let (last, last34) = (granule.xr[end - 1], granule.xr34[end - 1]);
                rests[k] = if last34 == 0.0 { last * last } else { 0.0 };
            }
            start = end;
        }
        let (peak, energy) = (largest_of_8(&peaks), sums_of_8(&energies));
        // LAME leaves the others as they were.
        let bands = granule.bands.min(BANDS);
        let allowed = f32_upto8(&granule.allowed[at.min(bands)..bands]);

        let least = first_gain(peak, LARGEST, powers, |quantity| {
            _mm256_cmp_ps::<_CMP_GT_OQ>(quantity, _mm256_set1_ps(LARGEST))
        });
        let least = _mm256_max_epi32(least, _mm256_set1_epi32(1));
        let least = _mm256_min_epi32(least, _mm256_set1_epi32(255));

        let silent = first_gain(peak, ROUNDED_UP, powers, |quantity| {
            _mm256_cmp_ps::<_CMP_GE_OQ>(quantity, _mm256_set1_ps(ROUNDED_UP))
        });
        let silent = _mm256_min_epi32(_mm256_max_epi32(silent, least), _mm256_set1_epi32(256));
        let is_never = _mm256_cmp_ps::<_CMP_LE_OQ>(energy, allowed);
        let never = _mm256_set1_epi32(NONE);
        let silent = _mm256_blendv_epi8(silent, never, _mm256_castps_si256(is_never));

        let good = good_up_to(peak, least, f32x8(&counts), f32x8(&rests), allowed, powers);
        let mut eight = Self {
            peak: [0.0; 8],
            least: [0; 8],
            good: [0; 8],
            silent: [0; 8],
        };
        store_f32x8(peak, &mut eight.peak);
        store_i32x8(least, &mut eight.least);
        store_i32x8(good, &mut eight.good);
        store_i32x8(silent, &mut eight.silent);
        eight
    }
}

/// The largest of each of eight vectors.
#[inline]
#[target_feature(enable = "avx2,fma,bmi2")]
fn largest_of_8(v: &[__m256; 8]) -> __m256 {
    let columns = transpose(*v);
    let two = |k: usize| _mm256_max_ps(columns[k], columns[k + 4]);
    _mm256_max_ps(_mm256_max_ps(two(0), two(1)), _mm256_max_ps(two(2), two(3)))
}

/// log2 of positive numbers, too small by up to 0.09: their mantissas are taken as they are.
#[inline]
#[target_feature(enable = "avx2,fma,bmi2")]
fn rough_log2(x: __m256) -> __m256 {
    let one = _mm256_set1_epi32(1.0_f32.to_bits() as i32);
    let bits = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_castps_si256(x), one));
    _mm256_mul_ps(bits, _mm256_set1_ps(1.0 / 8_388_608.0))
}

/// The first gain, from 0 to 257, at which the quantity of `peak` is not `too_large`, which it is from about `limit`
/// on: quantities fall by 2^(3/16) with each gain, and 210 is a step of 1.
#[inline]
#[target_feature(enable = "avx2,fma,bmi2")]
fn first_gain(
    peak: __m256,
    limit: f32,
    powers: &Powers<'_>,
    too_large: impl Fn(__m256) -> __m256,
) -> __m256i {
    let log2 = rough_log2(_mm256_mul_ps(peak, _mm256_set1_ps(1.0 / limit)));
    let guess = _mm256_cvttps_epi32(_mm256_mul_ps(log2, _mm256_set1_ps(16.0 / 3.0)));
    // The guess is too high by less than one, or too low by less than three.
    let guess = _mm256_add_epi32(guess, _mm256_set1_epi32(209));
    let guess = _mm256_max_epi32(guess, _mm256_setzero_si256());
    let guess = _mm256_min_epi32(guess, _mm256_set1_epi32(GAINS as i32 - 4));
    let mut gain = guess;
    for k in 0..4 {
        let quantity = gather(
            powers.quantities,
            _mm256_add_epi32(guess, _mm256_set1_epi32(k)),
        );
        let beyond = too_large(_mm256_mul_ps(quantity, peak));
        // All bits set are −1.
        gain = _mm256_sub_epi32(gain, _mm256_castps_si256(beyond));
    }
    gain
}

/// [`Eight::good`]. `counts` are the lines, `rests` the noise that no gain takes away.
#[inline]
#[target_feature(enable = "avx2,fma,bmi2")]
fn good_up_to(
    peak: __m256,
    least: __m256i,
    counts: __m256,
    rests: __m256,
    allowed: __m256,
    powers: &Powers<'_>,
) -> __m256i {
    let left = _mm256_sub_ps(allowed, rests);
    let square = _mm256_div_ps(_mm256_mul_ps(left, _mm256_set1_ps(2.25)), counts);
    let log2 = _mm256_fnmadd_ps(
        rough_log2(peak),
        _mm256_set1_ps(2.0 / 3.0),
        rough_log2(square),
    );
    let gain = _mm256_cvttps_epi32(_mm256_mul_ps(log2, _mm256_set1_ps(8.0 / 3.0)));
    let gain = _mm256_add_epi32(gain, _mm256_set1_epi32(208));
    let gain = _mm256_min_epi32(gain, _mm256_set1_epi32(255));
    let zero = _mm256_setzero_si256();
    let index = _mm256_max_epi32(gain, zero);
    let quantity = _mm256_mul_ps(peak, gather(powers.quantities, index));
    let quantity = _mm256_add_epi32(_mm256_cvttps_epi32(quantity), _mm256_set1_epi32(1));
    // What is no quantity is not used.
    let usable = _mm256_max_epi32(quantity, zero);
    let next = gather(powers.pow43, _mm256_add_epi32(usable, _mm256_set1_epi32(1)));
    let distance = _mm256_sub_ps(next, gather(powers.pow43, usable));
    let step = gather(
        powers.steps,
        _mm256_add_epi32(index, _mm256_set1_epi32(BELOW as i32)),
    );
    let half = _mm256_mul_ps(_mm256_mul_ps(step, distance), _mm256_set1_ps(0.5));
    let noise = _mm256_fmadd_ps(_mm256_mul_ps(half, half), counts, rests);
    let limit = _mm256_mul_ps(allowed, _mm256_set1_ps(0.999));
    let is_good = _mm256_and_ps(
        _mm256_cmp_ps::<_CMP_LT_OQ>(noise, limit),
        _mm256_cmp_ps::<_CMP_GT_OQ>(left, _mm256_setzero_ps()),
    );
    let is_good = _mm256_and_ps(
        is_good,
        _mm256_cmp_ps::<_CMP_GT_OQ>(peak, _mm256_setzero_ps()),
    );
    let too_large = _mm256_cmpgt_epi32(quantity, _mm256_set1_epi32(LARGEST as i32 - 2));
    let too_low = _mm256_cmpgt_epi32(least, gain);
    let out = _mm256_or_si256(too_large, too_low);
    _mm256_andnot_si256(out, _mm256_and_si256(gain, _mm256_castps_si256(is_good)))
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
    /// LAME's bisection: the gain whose noise is allowed, not below `least`; [`Eight`] says what the other two are.
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn search(&self, [least, good, silent]: [usize; 3]) -> i32 {
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
                let bad = *sixteen.get_or_insert_with(|| self.bad_of_16(good + 1));
                let first = (gain - 1).max(good + 1);
                bad >> (first - good - 1) & ((1 << (gain + 2 - first)) - 1) != 0
            } else {
                self.is_bad(gain)
            };
            if is_bad {
                gain -= distance;
            } else {
                found = Some(gain);
                gain += distance;
            }
        }
        found.unwrap_or(gain).max(least) as i32
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
        let mut sums = [_mm256_setzero_ps(); 2];
        if self.peak * quantities[0] < BELOW_8 {
            for line in self.lines() {
                tables.add_below_8(line, &halves, &mut sums);
            }
        } else {
            let blocks = self.xr.chunks(BLOCK).zip(self.xr34.chunks(BLOCK));
            for (xr, xr34) in blocks {
                let lines = Lines::sort(xr, xr34, quantities[0], quantities[15]);
                let line = |i: u8| (xr[usize::from(i)], xr34[usize::from(i)]);
                let root = |i: u8| _mm256_set1_ps(lines.roots[usize::from(i)]);
                for &i in lines.of(Kind::Small) {
                    tables.add_below_8(line(i), &halves, &mut sums);
                }
                for &i in lines.of(Kind::Either) {
                    for (gains, sum) in halves.iter().zip(&mut sums) {
                        let error = tables.error(line(i), root(i), gains);
                        *sum = _mm256_fmadd_ps(error, error, *sum);
                    }
                }
                for &i in lines.of(Kind::Large) {
                    for (gains, sum) in halves.iter().zip(&mut sums) {
                        let y = _mm256_mul_ps(_mm256_set1_ps(line(i).1), gains.quantity);
                        let error = error_of_large(y, root(i), gains);
                        *sum = _mm256_fmadd_ps(error, error, *sum);
                    }
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
        let is_small = self.peak * quantity[0] < BELOW_8;
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

/// Quantities below this are rounded to at most 7.
const BELOW_8: f32 = 7.4;

/// Lines that are sorted at once.
const BLOCK: usize = 64;

/// How large a line is at sixteen gains.
#[derive(Clone, Copy)]
enum Kind {
    /// Below [`BELOW_8`] at all of them.
    Small,
    /// Below it at some.
    Either,
    /// Below it at none.
    Large,
}

/// At most [`BLOCK`] lines, by kind: a branch for each line would be predicted badly.
struct Lines {
    by_kind: [[u8; BLOCK + 8]; 3],
    counts: [usize; 3],
    /// The fourth root of each line.
    roots: [f32; BLOCK],
}

impl Lines {
    /// Sorts lines by their quantities at the smallest gain, at which 1 has the quantity `most`, and at the greatest
    /// one.
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn sort(xr: &[f32], xr34: &[f32], most: f32, least: f32) -> Self {
        let mut lines = Self {
            by_kind: [[0; BLOCK + 8]; 3],
            counts: [0; 3],
            roots: [0.0; BLOCK],
        };
        let bound = _mm256_set1_ps(BELOW_8);
        for at in (0..xr.len().min(BLOCK)).step_by(8) {
            let line34 = f32_upto8(&xr34[at..]);
            let most = _mm256_mul_ps(line34, _mm256_set1_ps(most));
            let least = _mm256_mul_ps(line34, _mm256_set1_ps(least));
            let small = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(most, bound));
            let large = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(least, bound));
            let line = _mm256_andnot_ps(_mm256_set1_ps(-0.0), f32_upto8(&xr[at..]));
            let root = _mm256_sqrt_ps(_mm256_sqrt_ps(line));
            store_f32x8(root, &mut lines.roots[at..]);
            let inside = 0xff >> (8 - (xr.len() - at).min(8));
            let sets = [small, !(small | large), large].map(|set| (set & inside) as usize);
            for ((lines, count), set) in lines.by_kind.iter_mut().zip(&mut lines.counts).zip(sets) {
                let from = at as u64 * 0x0101_0101_0101_0101;
                let indices = u64::from_le_bytes(MEMBERS[set & 0xff]) + from;
                lines[*count..*count + 8].copy_from_slice(&indices.to_le_bytes());
                *count += set.count_ones() as usize;
            }
        }
        lines
    }

    fn of(&self, kind: Kind) -> &[u8] {
        &self.by_kind[kind as usize][..self.counts[kind as usize]]
    }
}

/// The members of each set of eight, ascending.
static MEMBERS: [[u8; 8]; 256] = {
    let mut members = [[0; 8]; 256];
    let mut i = 0;
    while i < 256 * 8 {
        let (set, member) = (i / 8, i % 8);
        if set >> member & 1 == 1 {
            let before: usize = set & ((1 << member) - 1);
            members[set][before.count_ones() as usize] = member as u8;
        }
        i += 1;
    }
    members
};

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

/// The first eight entries of the tables of powers.
struct Tables {
    adj43: __m256,
    pow43: __m256,
}

impl Tables {
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn new(powers: &Powers<'_>) -> Self {
        Self {
            adj43: f32x8(powers.adj43),
            pow43: f32x8(powers.pow43),
        }
    }

    /// Adds the squares of how far a line is off at sixteen gains, quantities being below [`BELOW_8`].
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn add_below_8(&self, line: (f32, f32), halves: &[Gains; 2], sums: &mut [__m256; 2]) {
        for (gains, sum) in halves.iter().zip(sums) {
            let error = self.error_below_8(line, gains);
            *sum = _mm256_fmadd_ps(error, error, *sum);
        }
    }

    /// How far a line is off at each gain, quantities being below [`BELOW_8`].
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn error_below_8(&self, (xr, xr34): (f32, f32), gains: &Gains) -> __m256 {
        let y = _mm256_mul_ps(_mm256_set1_ps(xr34), gains.quantity);
        let add = _mm256_permutevar8x32_ps(self.adj43, _mm256_cvttps_epi32(y));
        let quantized = _mm256_cvttps_epi32(_mm256_add_ps(y, add));
        let power = _mm256_permutevar8x32_ps(self.pow43, quantized);
        _mm256_fnmadd_ps(power, gains.step, _mm256_set1_ps(xr.abs()))
    }

    /// The same for any quantity, with `root` the fourth root of the line.
    #[inline]
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn error(&self, line: (f32, f32), root: __m256, gains: &Gains) -> __m256 {
        let y = _mm256_mul_ps(_mm256_set1_ps(line.1), gains.quantity);
        let is_large = _mm256_cmp_ps::<_CMP_GE_OQ>(y, _mm256_set1_ps(BELOW_8));
        let small = self.error_below_8(line, gains);
        _mm256_blendv_ps(small, error_of_large(y, root, gains), is_large)
    }
}

/// How far a line is off at each gain, quantities `y` being at least [`BELOW_8`], with `root` the fourth root of the
/// line.
///
/// With t = y − q the distance of the quantity y = (x / s)^(3/4) from its integer, and u = t / y:
/// x − s · q^(4/3) = s · y^(4/3) · (1 − (1 − u)^(4/3)) = 4/3 · s · y^(1/3) · t · (1 − u/6 − u²/27), but for terms in
/// u³, and s · y^(1/3) = s^(3/4) · x^(1/4). It matters little which way a quantity in the middle is rounded: either is
/// as far off.
#[inline]
#[target_feature(enable = "avx2,fma,bmi2")]
fn error_of_large(y: __m256, root: __m256, gains: &Gains) -> __m256 {
    let r = _mm256_rcp_ps(y);
    let adjust = _mm256_fnmadd_ps(r, _mm256_set1_ps(1.0 / 24.0), _mm256_set1_ps(0.5));
    let quantized = _mm256_floor_ps(_mm256_add_ps(y, adjust));
    let t = _mm256_sub_ps(y, quantized);
    let u = _mm256_mul_ps(t, r);
    let bend = _mm256_fmadd_ps(u, _mm256_set1_ps(1.0 / 27.0), _mm256_set1_ps(1.0 / 6.0));
    let bend = _mm256_fnmadd_ps(u, bend, _mm256_set1_ps(1.0));
    _mm256_mul_ps(_mm256_mul_ps(gains.slope, root), _mm256_mul_ps(t, bend))
}
