// SPDX-License-Identifier: LGPL-2.0-or-later
//! The gain of a scalefactor band at variable bitrate: the largest whose quantization noise is allowed.
//!
//! It is LAME's search (`vbr_mtrh`): a bisection over the gains in which a gain is good when its own noise and that of
//! both its neighbours is allowed. The noise is no monotonous function of the gain, so the answer depends on which
//! gains are asked, in which order. The kernel knows most answers beforehand: below one gain the noise cannot be too
//! loud, above another everything becomes zero, and sixteen gains between them are computed at once. Where these rise
//! from good to bad once, as they mostly do, the bisection would end there, and only what it asks for beyond them is
//! computed; elsewhere it is done.

use super::instructions::*;
use super::lanes::{f32_upto8, f32x8, gather, store_f32x8, store_i32x8};
use super::noise::{BANDS, sums_of_8};
use super::powers::{BELOW, GAINS, Powers};
use super::quantization::LINES;
use super::vector::{sum, transpose};

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
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
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
                let known = Known {
                    least: eight.least[k] as usize,
                    good: eight.good[k] as usize,
                    silent: eight.silent[k] as usize,
                };
                gains[at + k] = band.search(&known);
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
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
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
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn largest_of_8(v: &[__m256; 8]) -> __m256 {
    let columns = transpose(*v);
    let two = |k: usize| _mm256_max_ps(columns[k], columns[k + 4]);
    _mm256_max_ps(_mm256_max_ps(two(0), two(1)), _mm256_max_ps(two(2), two(3)))
}

/// log2 of positive numbers, too small by up to 0.09: their mantissas are taken as they are.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn rough_log2(x: __m256) -> __m256 {
    let one = _mm256_set1_epi32(1.0_f32.to_bits() as i32);
    let bits = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_castps_si256(x), one));
    _mm256_mul_ps(bits, _mm256_set1_ps(1.0 / 8_388_608.0))
}

/// The first gain, from 0 to 257, at which the quantity of `peak` is not `too_large`, which it is from about `limit`
/// on: quantities fall by 2^(3/16) with each gain, and 210 is a step of 1.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
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
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
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
    /// The gain whose noise is allowed, not below the smallest one.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn search(&self, known: &Known) -> i32 {
        // Nothing lies above 255, so that its noise and that of the one below decide.
        if known.good == 0 || known.good + 16 > 255 || known.silent == 256 {
            return self.bisect(known, 0);
        }
        // From the good gain on: its noise is allowed, so that the bits of the sixteen after it follow.
        let loud = self.loud_of_16(known.good + 1) << 1;
        let bad = (loud | loud << 1 | loud >> 1) & 0xffff;
        if bad == 0 {
            return self.bisect(known, loud);
        }
        let good = bad.trailing_zeros();
        let gain = (known.good + good as usize).saturating_sub(1);
        let is_sorted = bad >> good == 0xffff >> good;
        if !is_sorted || gain <= known.least || !self.is_highest(gain, known) {
            return self.bisect(known, loud);
        }
        gain as i32
    }

    /// Whether the bisection ends at `gain`, up to which all gains are good, and from which on all of the sixteen are
    /// bad: it does if those that it asks for above the sixteen are bad, too. They are all above `gain` on the way down
    /// the tree of the bisection, in which each gain from 1 to 255 stands once.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn is_highest(&self, gain: usize, known: &Known) -> bool {
        let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        let above = _mm256_sub_epi32(_mm256_setzero_si256(), bits);
        let path = _mm256_set1_epi32(gain as i32);
        let asked = _mm256_or_si256(_mm256_and_si256(path, above), bits);
        let unknown = _mm256_set1_epi32(known.good as i32 + 15);
        let silent = _mm256_set1_epi32(known.silent as i32 - 1);
        let is_asked = _mm256_and_si256(
            _mm256_cmpgt_epi32(asked, unknown),
            _mm256_cmpgt_epi32(silent, asked),
        );
        let mut set = _mm256_movemask_ps(_mm256_castsi256_ps(is_asked)) & !(gain as i32);
        while set != 0 {
            let bit = set & -set;
            if !self.is_bad((gain as i32 & -bit | bit) as usize) {
                return false;
            }
            set ^= bit;
        }
        true
    }

    /// LAME's bisection. `loud` has a bit for each gain from the good one on that is known to make too much noise, if
    /// the next sixteen are known.
    #[cold]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn bisect(&self, known: &Known, loud: u32) -> i32 {
        let Known {
            least,
            good,
            silent,
        } = *known;
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
            } else if loud != 0 && gain < good + 16 {
                (loud | loud << 1 | loud >> 1) >> (gain - good) & 1 == 1
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
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn loud_of_16(&self, first: usize) -> u32 {
        let steps = &self.powers.steps[BELOW + first..][..16];
        let quantities = &self.powers.quantities[first..][..16];
        let halves = [0, 8].map(|at| Gains {
            step: f32x8(&steps[at..]),
            quantity: f32x8(&quantities[at..]),
        });
        let tables = Tables::new(self.powers);
        let mut sums = [_mm256_setzero_ps(); 2];
        let mut add = |line: (f32, f32), kind: Kind| {
            let (xr, xr34) = (set1(line.0), set1(line.1));
            for (gains, sum) in halves.iter().zip(&mut sums) {
                let error = match kind {
                    Kind::Small => tables.error_below_8(xr, xr34, gains),
                    Kind::Either => tables.error(xr, xr34, gains),
                    Kind::Large => error_of_large(_mm256_mul_ps(xr34, gains.quantity), xr),
                };
                *sum = _mm256_fmadd_ps(error, error, *sum);
            }
        };
        if self.peak * quantities[0] < BELOW_8 {
            for (&xr, &xr34) in self.xr.iter().zip(self.xr34) {
                add((xr, xr34), Kind::Small);
            }
        } else if self.xr.len() <= NARROW {
            for (&xr, &xr34) in self.xr.iter().zip(self.xr34) {
                add((xr, xr34), Kind::Either);
            }
        } else {
            let blocks = self.xr.chunks(BLOCK).zip(self.xr34.chunks(BLOCK));
            for (xr, xr34) in blocks {
                let lines = Lines::sort(xr34, quantities[0], quantities[15]);
                for kind in [Kind::Small, Kind::Either, Kind::Large] {
                    for &i in lines.of(kind) {
                        add((xr[usize::from(i)], xr34[usize::from(i)]), kind);
                    }
                }
            }
        }
        self.is_over(sums[0]) | self.is_over(sums[1]) << 8
    }

    /// Whether this gain or one of its neighbours makes more noise than allowed. Noise mostly rises with the gain.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn is_bad(&self, gain: usize) -> bool {
        gain < 255 && self.is_loud(gain + 1) || self.is_loud(gain) || self.is_loud(gain - 1)
    }

    /// Whether this gain makes more noise than allowed: eight lines at once, until that is certain.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn is_loud(&self, gain: usize) -> bool {
        let gains = Gains {
            step: set1(self.powers.steps[BELOW + gain]),
            quantity: set1(self.powers.quantities[gain]),
        };
        let tables = Tables::new(self.powers);
        if self.peak * self.powers.quantities[gain] < BELOW_8 {
            self.is_over_with(|xr, xr34| tables.error_below_8(xr, xr34, &gains))
        } else {
            self.is_over_with(|xr, xr34| tables.error(xr, xr34, &gains))
        }
    }

    /// Whether the squares of these errors of eight lines sum up to more than is allowed.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn is_over_with(&self, error: impl Fn(__m256, __m256) -> __m256) -> bool {
        let mut sums = _mm256_setzero_ps();
        for (xr, xr34) in self.xr.chunks(8).zip(self.xr34.chunks(8)) {
            let error = error(f32_upto8(xr), f32_upto8(xr34));
            sums = _mm256_fmadd_ps(error, error, sums);
            if self.is_over(sums) != 0 {
                return true;
            }
        }
        sum(sums) > self.allowed
    }

    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn is_over(&self, sum: __m256) -> u32 {
        let over = _mm256_cmp_ps::<_CMP_GT_OQ>(sum, _mm256_set1_ps(self.allowed));
        _mm256_movemask_ps(over) as u32
    }
}

/// What is known of a band's gains beforehand: see [`Eight`].
struct Known {
    least: usize,
    good: usize,
    silent: usize,
}

/// Quantities below this are rounded to at most 7.
const BELOW_8: f32 = 7.4;

/// Lines of a band that is not worth sorting.
const NARROW: usize = 12;

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
}

impl Lines {
    /// Sorts lines by their quantities at the smallest gain, at which 1 has the quantity `most`, and at the greatest
    /// one.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn sort(xr34: &[f32], most: f32, least: f32) -> Self {
        let mut lines = Self {
            by_kind: [[0; BLOCK + 8]; 3],
            counts: [0; 3],
        };
        let bound = _mm256_set1_ps(BELOW_8);
        for at in (0..xr34.len().min(BLOCK)).step_by(8) {
            let line34 = f32_upto8(&xr34[at..]);
            let most = _mm256_mul_ps(line34, _mm256_set1_ps(most));
            let least = _mm256_mul_ps(line34, _mm256_set1_ps(least));
            let small = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(most, bound));
            let large = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(least, bound));
            let inside = 0xff >> (8 - (xr34.len() - at).min(8));
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

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn set1(value: f32) -> __m256 {
    _mm256_set1_ps(value)
}

/// Eight gains, for one line, or the same one eight times, for eight lines.
struct Gains {
    step: __m256,
    quantity: __m256,
}

/// The first eight entries of the tables of powers.
struct Tables {
    adj43: __m256,
    pow43: __m256,
}

impl Tables {
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn new(powers: &Powers<'_>) -> Self {
        Self {
            adj43: f32x8(powers.adj43),
            pow43: f32x8(powers.pow43),
        }
    }

    /// How far lines are off, quantities being below [`BELOW_8`].
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn error_below_8(&self, xr: __m256, xr34: __m256, gains: &Gains) -> __m256 {
        let y = _mm256_mul_ps(xr34, gains.quantity);
        let add = _mm256_permutevar8x32_ps(self.adj43, _mm256_cvttps_epi32(y));
        let quantized = _mm256_cvttps_epi32(_mm256_add_ps(y, add));
        let power = _mm256_permutevar8x32_ps(self.pow43, quantized);
        _mm256_fnmadd_ps(power, gains.step, _mm256_andnot_ps(set1(-0.0), xr))
    }

    /// The same for any quantity.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn error(&self, xr: __m256, xr34: __m256, gains: &Gains) -> __m256 {
        let y = _mm256_mul_ps(xr34, gains.quantity);
        let is_large = _mm256_cmp_ps::<_CMP_GE_OQ>(y, set1(BELOW_8));
        let small = self.error_below_8(xr, xr34, gains);
        _mm256_blendv_ps(small, error_of_large(y, xr), is_large)
    }
}

/// How far lines are off, but for the sign, quantities `y` being at least [`BELOW_8`].
///
/// With t = y − q the distance of the quantity y = (x / s)^(3/4) from its integer, and u = t / y:
/// x − s · q^(4/3) = x · (1 − (1 − u)^(4/3)) = 4/3 · x · u · (1 − u/6 − u²/27), but for terms in u⁴. It matters little
/// which way a quantity in the middle is rounded: either is as far off.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn error_of_large(y: __m256, xr: __m256) -> __m256 {
    // A step of Newton's method makes the rough reciprocal as good as a division, in a third of the time.
    let rough = _mm256_rcp_ps(y);
    let r = _mm256_mul_ps(rough, _mm256_fnmadd_ps(y, rough, set1(2.0)));
    let adjust = _mm256_fnmadd_ps(r, set1(1.0 / 24.0), set1(0.5));
    let quantized = _mm256_floor_ps(_mm256_add_ps(y, adjust));
    let u = _mm256_mul_ps(_mm256_sub_ps(y, quantized), r);
    let bend = _mm256_fnmadd_ps(u, set1(4.0 / 81.0), set1(-2.0 / 9.0));
    let bend = _mm256_fmadd_ps(u, bend, set1(4.0 / 3.0));
    _mm256_mul_ps(xr, _mm256_mul_ps(u, bend))
}
