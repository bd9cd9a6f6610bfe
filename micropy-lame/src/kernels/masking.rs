// SPDX-License-Identifier: LGPL-2.0-or-later
//! Masking thresholds by partition band: LAME's model, with its spreading function and its addition of masking.
//!
//! Left, right, middle and side are computed at once, one to a lane, for two bands to a vector. LAME's logarithms and
//! branches become comparisons and selections; where a ratio lies within rounding of a step, the step next to it may be
//! taken.

use super::block::Block;
use super::fft::Energies;
use super::instructions::*;
use super::lanes::i32x8;
use super::vector::{halves, load, load_rows, load4, store_rows, store4, twice};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

/// The most partition bands of a block: LAME's `CBANDS`.
pub const MAX_BANDS: usize = 64;

/// Room for the vectors that reach beyond the last band.
const ROOM: usize = MAX_BANDS + 8;

/// One number a band, for left, right, middle and side.
pub type Planes = [[f32; MAX_BANDS]; 4];

/// The masking of an earlier granule, by band: LAME's `nb_l1` and `nb_l2`.
pub type Masking = [[f32; 4]; MAX_BANDS];

/// Where results go.
pub struct Output<'a> {
    pub energy: &'a mut Planes,
    pub threshold: &'a mut Planes,
}

/// What is known of earlier granules.
pub struct Earlier<'a> {
    /// The block types of left and right in the granule before.
    pub blocks: [Block; 2],
    /// Of the granule before and of the one before that.
    pub masking: &'a mut [Masking; 2],
}

/// What LAME's model holds of the partition bands of one block length: a slice has one value for each band.
pub struct Model<'a> {
    /// Spectral lines in the band.
    pub lines: &'a [i32],
    /// The first and the last band that spread into this one.
    pub maskers: &'a [[i32; 2]],
    /// For band after band: by how much each of those spreads into it.
    pub spreading: &'a [f32],
    /// The most the threshold may be, relative to the strongest line and the mean tonality.
    pub limit: &'a [f32],
    /// A factor of the threshold.
    pub lower: &'a [f32],
}

/// The partition bands of one block length, laid out for the lanes.
#[repr(C)]
pub struct Bands {
    count: u32,
    lines: [u32; ROOM],
    /// 1 / lines.
    per_line: [f32; ROOM],
    /// How many bands' means tell a band's tonality: its own and its neighbours'.
    around: [f32; ROOM],
    /// The lines of those, less one.
    lines_around: [f32; ROOM],
    /// The first band that spreads into a band, and the one after the last.
    first_masker: [u32; ROOM],
    end_masker: [u32; ROOM],
    /// 1 / the number of those.
    per_masker: [f32; ROOM],
    limit: [f32; ROOM],
    lower: [f32; ROOM],
    quads: [Quad; MAX_BANDS / 4],
}

/// Four bands next to each other, and all bands that spread into any of them.
#[repr(C)]
struct Quad {
    first_masker: u32,
    maskers: u32,
    /// From each of those bands into the four.
    spreading: [[f32; 4]; MAX_BANDS],
}

impl Bands {
    /// Lays the bands of a block with so many lines out; tells whether they are sound.
    pub fn lay_out(&mut self, model: &Model<'_>, lines: usize) -> bool {
        match self.try_lay_out(model, lines) {
            Some(count) => self.count = count as u32,
            None => self.count = 0,
        }
        self.count > 0
    }

    fn try_lay_out(&mut self, model: &Model<'_>, lines: usize) -> Option<usize> {
        let count = model.lines.len();
        if !(2..=MAX_BANDS).contains(&count) || model.maskers.len() != count {
            return None;
        }
        self.around = [1.0; ROOM];
        self.lines_around = [1.0; ROOM];
        self.first_masker = [0; ROOM];
        self.end_masker = [0; ROOM];
        self.per_masker = [0.0; ROOM];
        let mut rest = model.spreading;
        let mut spreading = [&[][..]; MAX_BANDS];
        for (b, (&lines, &[first, last])) in model.lines.iter().zip(model.maskers).enumerate() {
            self.lines[b] = u32::try_from(lines).ok().filter(|&lines| lines > 0)?;
            self.per_line[b] = 1.0 / lines as f32;
            let (first, end) = (u32::try_from(first).ok()?, u32::try_from(last).ok()? + 1);
            if first >= end || end as usize > count {
                return None;
            }
            self.first_masker[b] = first;
            self.end_masker[b] = end;
            self.per_masker[b] = 1.0 / (end - first) as f32;
            (spreading[b], rest) = rest.split_at_checked((end - first) as usize)?;
        }
        if self.lines[..count].iter().sum::<u32>() as usize != lines {
            return None;
        }
        for b in 0..count {
            let around = &self.lines[b.saturating_sub(1)..count.min(b + 2)];
            self.around[b] = around.len() as f32;
            self.lines_around[b] = (around.iter().sum::<u32>() - 1) as f32;
        }
        self.limit[..count].copy_from_slice(model.limit.get(..count)?);
        self.lower[..count].copy_from_slice(model.lower.get(..count)?);
        for (quad, first) in self.quads.iter_mut().zip((0..count).step_by(4)) {
            let four = first..count.min(first + 4);
            let firsts = &self.first_masker[four.clone()];
            let first_masker = firsts.iter().min().copied()?;
            let end = self.end_masker[four.clone()].iter().max().copied()?;
            quad.first_masker = first_masker;
            quad.maskers = end - first_masker;
            quad.spreading = [[0.0; 4]; MAX_BANDS];
            for (lane, b) in four.enumerate() {
                let from = (self.first_masker[b] - first_masker) as usize;
                for (four, &factor) in quad.spreading[from..].iter_mut().zip(spreading[b]) {
                    four[lane] = factor;
                }
            }
        }
        Some(count)
    }
}

/// By tonality, from 0 (noise masks tone) to 8: how much less than its energy a band masks. LAME's `tab`.
const TONALITY: [f32; 9] = [
    1.0, 0.79433, 0.63096, 0.63096, 0.63096, 0.63096, 0.63096, 0.25119, 0.11749,
];

/// By tonality below 8: to how many bands away maskers add up with gain; with 8, to none. LAME's `tab_mask_add_delta`.
const REACH: [i32; 8] = [2, 2, 2, 1, 1, 1, 0, 0];

/// By the ratio of two maskers near the band, in steps of 10^(1/16): the gain over their sum. LAME's `table2`.
const GAIN: [f32; 10] = [
    1.33352 * 1.33352,
    1.35879 * 1.35879,
    1.38454 * 1.38454,
    1.39497 * 1.39497,
    1.40548 * 1.40548,
    1.3537 * 1.3537,
    1.30382 * 1.30382,
    1.22321 * 1.22321,
    1.14758 * 1.14758,
    1.0,
];

/// 10^(k/16).
const STEPS: [f32; 10] = [
    1.0,
    1.154_782,
    1.333_521_4,
    1.539_926_5,
    1.778_279_4,
    2.053_525,
    2.371_373_7,
    2.738_419_6,
    3.162_277_7,
    3.651_741_3,
];

/// Of two maskers whose ratio is at least this, 10^1.5, only the greater one masks far from it.
const FAR: f32 = 31.622_776;

/// Thresholds of a long block are at most that many times those one and two granules before (LAME's `rpelev`,
/// `rpelev2`), and after a short block of which nothing is known, that part of the energy (`NS_PREECHO_ATT2`).
const RISE: f32 = 2.0;
const RISE_IN_TWO: f32 = 16.0;
const AFTER_SHORT: f32 = 0.3;

/// What limits the rise of thresholds, against pre-echoes.
struct PreEcho<'a> {
    /// The block types of the granule before in the lanes of left, right, middle and side, twice.
    after_long: __m256,
    after_short: __m256,
    before: &'a mut Masking,
    two_before: &'a mut Masking,
}

/// Energies and thresholds of a long block; `lowest` is LAME's `masking_lower`. Returns the energy of each channel
/// above line 10.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn long(
    bands: &Bands,
    lines: &[Energies],
    earlier: Earlier<'_>,
    lowest: f32,
    spectrum: &mut Spectrum,
    output: Output<'_>,
) -> [f32; 4] {
    let lanes = |block: Block| {
        let [left, right] = earlier.blocks.map(|earlier| -i32::from(earlier == block));
        _mm256_castsi256_ps(_mm256_setr_epi32(
            left, right, left, right, left, right, left, right,
        ))
    };
    let [before, two_before] = earlier.masking;
    let pre_echo = PreEcho {
        after_long: lanes(Block::Long),
        after_short: lanes(Block::Short),
        before,
        two_before,
    };
    thresholds(bands, lines, lowest, Some(pre_echo), spectrum, output);
    total(&lines[11..])
}

/// Energies and thresholds of a short block; LAME limits their rise later.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn short(
    bands: &Bands,
    lines: &[Energies],
    lowest: f32,
    spectrum: &mut Spectrum,
    output: Output<'_>,
) {
    thresholds(bands, lines, lowest, None, spectrum, output);
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn total(lines: &[Energies]) -> [f32; 4] {
    let mut sums = [_mm_setzero_ps(); 4];
    let (quads, rest) = lines.as_chunks::<4>();
    for quad in quads {
        for (sum, line) in sums.iter_mut().zip(quad) {
            *sum = _mm_add_ps(*sum, load4(line));
        }
    }
    for line in rest {
        sums[0] = _mm_add_ps(sums[0], load4(line));
    }
    let mut total = [0.0; 4];
    let sum = _mm_add_ps(_mm_add_ps(sums[0], sums[1]), _mm_add_ps(sums[2], sums[3]));
    store4(sum, &mut total);
    total
}

/// The bands of a block, by channel, kept with an encoder for the room; where they are counted from 1, there is silence
/// below the first.
#[repr(C)]
pub struct Spectrum {
    energy: [[f32; 4]; ROOM],
    /// The strongest line, counted from 1.
    peak: [[f32; 4]; ROOM],
    /// The mean over the lines, counted from 1.
    mean: [[f32; 4]; ROOM],
    tonality: [[i32; 4]; ROOM],
    /// The sum of the tonalities below a band.
    below: [[i32; 4]; ROOM],
    /// Energy by tonality: what the band masks with.
    masker: [[f32; 4]; ROOM],
    threshold: [[f32; 4]; MAX_BANDS],
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn thresholds(
    bands: &Bands,
    lines: &[Energies],
    lowest: f32,
    mut pre_echo: Option<PreEcho<'_>>,
    spectrum: &mut Spectrum,
    output: Output<'_>,
) {
    let count = bands.count as usize;
    spectrum.gather(bands, lines);
    spectrum.find_tonality(bands);
    for (quad, first) in bands.quads.iter().zip((0..count).step_by(4)) {
        for (masking, b) in spectrum
            .spread(quad, first)
            .into_iter()
            .zip([first, first + 2])
        {
            if b < count {
                let two = spectrum.limit(bands, b, masking, lowest, pre_echo.as_mut());
                store_rows(two, &mut spectrum.threshold, b);
            }
        }
    }
    planes(&spectrum.energy[..count], output.energy);
    planes(&spectrum.threshold[..count], output.threshold);
}

/// By channel instead of by band, with zeros behind the last band.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn planes(rows: &[[f32; 4]], planes: &mut Planes) {
    let mut quads = rows.chunks(4);
    for at in (0..MAX_BANDS).step_by(4) {
        let mut block = [[0.0; 4]; 4];
        if let Some(rows) = quads.next() {
            block[..rows.len()].copy_from_slice(rows);
        }
        let [mut a, mut b, mut c, mut d] = [
            load4(&block[0]),
            load4(&block[1]),
            load4(&block[2]),
            load4(&block[3]),
        ];
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        for (plane, values) in planes.iter_mut().zip([a, b, c, d]) {
            if let Some(to) = plane[at..].first_chunk_mut::<4>() {
                store4(values, to);
            }
        }
    }
}

impl Spectrum {
    /// The energy, the strongest line and the mean of each band.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn gather(&mut self, bands: &Bands, lines: &[Energies]) {
        let mut rest = lines;
        let lines = &bands.lines[..bands.count as usize];
        for (b, (&count, &per_line)) in lines.iter().zip(&bands.per_line).enumerate() {
            let (band, above) = rest.split_at(count as usize);
            rest = above;
            let (mut sum, mut peak) = (_mm_setzero_ps(), _mm_setzero_ps());
            for line in band {
                let line = load4(line);
                sum = _mm_add_ps(sum, line);
                peak = _mm_max_ps(peak, line);
            }
            store4(sum, &mut self.energy[b]);
            store4(peak, &mut self.peak[b + 1]);
            store4(
                _mm_mul_ps(sum, _mm_set1_ps(per_line)),
                &mut self.mean[b + 1],
            );
        }
        for above in bands.count as usize..bands.count as usize + 2 {
            self.energy[above] = [0.0; 4];
            self.peak[above + 1] = [0.0; 4];
            self.mean[above + 1] = [0.0; 4];
        }
    }

    /// How far the strongest line stands out of each band and its neighbours.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn find_tonality(&mut self, bands: &Bands) {
        let mut below = _mm_setzero_si128();
        for b in (0..bands.count as usize).step_by(2) {
            let means = _mm256_add_ps(
                _mm256_add_ps(load_rows(&self.mean, b), load_rows(&self.mean, b + 1)),
                load_rows(&self.mean, b + 2),
            );
            let peaks = _mm256_max_ps(
                _mm256_max_ps(load_rows(&self.peak, b), load_rows(&self.peak, b + 1)),
                load_rows(&self.peak, b + 2),
            );
            let around = halves(bands.around[b], bands.around[b + 1]);
            let lines = halves(bands.lines_around[b], bands.lines_around[b + 1]);
            let excess = _mm256_mul_ps(_mm256_set1_ps(20.0), _mm256_fmsub_ps(peaks, around, means));
            let tonality = _mm256_div_ps(excess, _mm256_mul_ps(means, lines));
            let tonality = _mm256_cvttps_epi32(_mm256_min_ps(tonality, _mm256_set1_ps(8.0)));
            let audible = _mm256_cmp_ps::<_CMP_GT_OQ>(means, _mm256_setzero_ps());
            let tonality = _mm256_max_epi32(
                _mm256_and_si256(tonality, _mm256_castps_si256(audible)),
                _mm256_setzero_si256(),
            );
            let masker = _mm256_mul_ps(load_rows(&self.energy, b), by_tonality(tonality));
            store_rows(masker, &mut self.masker, b);
            store_integers(_mm256_castsi256_si128(tonality), &mut self.tonality[b]);
            store_integers(
                _mm256_extracti128_si256::<1>(tonality),
                &mut self.tonality[b + 1],
            );
            store_integers(below, &mut self.below[b]);
            below = _mm_add_epi32(below, _mm256_castsi256_si128(tonality));
            store_integers(below, &mut self.below[b + 1]);
            below = _mm_add_epi32(below, _mm256_extracti128_si256::<1>(tonality));
            store_integers(below, &mut self.below[b + 2]);
        }
    }

    /// The masking of four bands from `first`, two to a vector, by all that spread into them.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn spread(&self, quad: &Quad, first: usize) -> [__m256; 2] {
        let reach = [self.reach(first), self.reach(first + 2)];
        // Only from two bands below the four to two bands above them may maskers be near.
        let (first_masker, maskers) = (quad.first_masker as usize, quad.maskers as usize);
        let spreading = &quad.spreading[..maskers];
        let maskers = &self.masker[first_masker..][..maskers];
        let end = (first + 6)
            .saturating_sub(first_masker)
            .min(spreading.len());
        let near = first.saturating_sub(2 + first_masker).min(end);
        let mut masking = [_mm256_setzero_ps(); 2];
        add_far_maskers(&mut masking, &spreading[..near], &maskers[..near]);
        let from = (first_masker + near + 2)
            .saturating_sub(first)
            .min(DISTANCES.len());
        let pairs = spreading[near..end].iter().zip(&maskers[near..end]);
        for ((spreading, masker), distances) in pairs.zip(&DISTANCES[from..]) {
            let added = spread_one(spreading, masker);
            for i in 0..2 {
                let far = _mm256_cmpgt_epi32(i32x8(&distances[i]), reach[i]);
                let far = _mm256_castsi256_ps(far);
                masking[i] = if _mm256_movemask_ps(far) == 0xff {
                    add_far(masking[i], added[i])
                } else {
                    add_near(masking[i], added[i], far)
                };
            }
        }
        add_far_maskers(&mut masking, &spreading[end..], &maskers[end..]);
        masking
    }

    /// How far away maskers are near, for two bands.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn reach(&self, b: usize) -> __m256i {
        let tonality = i32x8(self.tonality[b..b + 2].as_flattened());
        let reach = _mm256_permutevar8x32_epi32(i32x8(&REACH), tonality);
        let tonal = _mm256_cmpeq_epi32(tonality, _mm256_set1_epi32(8));
        _mm256_blendv_epi8(reach, _mm256_set1_epi32(-1), tonal)
    }

    /// The thresholds of two bands from what masks them.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn limit(
        &self,
        bands: &Bands,
        b: usize,
        masking: __m256,
        lowest: f32,
        pre_echo: Option<&mut PreEcho<'_>>,
    ) -> __m256 {
        let one = _mm256_set1_ps(1.0);
        let half = |b: usize| {
            let first = &self.below[bands.first_masker[b] as usize];
            let end = &self.below[bands.end_masker[b] as usize];
            _mm_sub_epi32(load_four_integers(end), load_four_integers(first))
        };
        let tonalities = _mm256_set_m128i(half(b + 1), half(b));
        let per_masker = halves(bands.per_masker[b], bands.per_masker[b + 1]);
        // Rounded to the nearest: (2s + 1) / 2n is never an integer, so that this is exact.
        let mean = _mm256_add_ps(_mm256_cvtepi32_ps(tonalities), _mm256_set1_ps(0.5));
        let mean = by_tonality(_mm256_cvttps_epi32(_mm256_mul_ps(mean, per_masker)));
        let mean = _mm256_mul_ps(mean, _mm256_set1_ps(0.5));
        let masking = _mm256_mul_ps(masking, mean);

        let energy = load_rows(&self.energy, b);
        let mut threshold = masking;
        if let Some(pre_echo) = pre_echo {
            threshold = _mm256_min_ps(threshold, pre_echo.limit(b, masking, energy));
        }
        let peak = load_rows(&self.peak, b + 1);
        let limit = halves(bands.limit[b], bands.limit[b + 1]);
        let limit = _mm256_mul_ps(_mm256_mul_ps(peak, limit), mean);
        threshold = _mm256_min_ps(threshold, limit);
        let lower = halves(lowest * bands.lower[b], lowest * bands.lower[b + 1]);
        threshold = _mm256_mul_ps(threshold, _mm256_max_ps(lower, one));
        threshold = _mm256_min_ps(threshold, energy);
        _mm256_mul_ps(threshold, _mm256_min_ps(lower, one))
    }
}

impl PreEcho<'_> {
    /// The most the thresholds of two bands may be; their masking goes into the history.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn limit(&mut self, b: usize, masking: __m256, energy: __m256) -> __m256 {
        let zero = _mm256_setzero_ps();
        let before = load_rows(&*self.before, b);
        let one = _mm256_mul_ps(before, _mm256_set1_ps(RISE));
        let two = _mm256_mul_ps(load_rows(&*self.two_before, b), _mm256_set1_ps(RISE_IN_TWO));
        store_rows(before, self.two_before, b);
        store_rows(masking, self.before, b);
        let one_known = _mm256_cmp_ps::<_CMP_GT_OQ>(one, zero);
        let two_known = _mm256_cmp_ps::<_CMP_GT_OQ>(two, zero);
        let guess = _mm256_mul_ps(energy, _mm256_set1_ps(AFTER_SHORT));
        let after_short = _mm256_blendv_ps(guess, one, one_known);
        let one = _mm256_blendv_ps(masking, one, one_known);
        let two = _mm256_blendv_ps(masking, two, two_known);
        let after_long = _mm256_blendv_ps(one, _mm256_min_ps(one, two), self.after_long);
        _mm256_blendv_ps(after_long, after_short, self.after_short)
    }
}

/// How far a masker is from each of four bands, in two vectors; the masker goes from two bands below the first to two
/// above the last.
static DISTANCES: [[[i32; 8]; 2]; 8] = {
    let mut table = [[[0; 8]; 2]; 8];
    let mut i = 0;
    while i < 8 * 16 {
        let (masker, vector, lane) = (i / 16, i / 8 % 2, i % 8);
        let band = 2 * vector as i32 + lane as i32 / 4;
        table[masker][vector][lane] = (masker as i32 - 2 - band).abs();
        i += 1;
    }
    table
};

/// What one masker adds to four bands.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn spread_one(spreading: &[f32; 4], masker: &[f32; 4]) -> [__m256; 2] {
    let (spreading, masker) = (twice(spreading), twice(masker));
    let first = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    let second = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    [
        _mm256_mul_ps(_mm256_permutevar_ps(spreading, first), masker),
        _mm256_mul_ps(_mm256_permutevar_ps(spreading, second), masker),
    ]
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn add_far_maskers(masking: &mut [__m256; 2], spreading: &[[f32; 4]], maskers: &[[f32; 4]]) {
    let [mut first, mut second] = *masking;
    for (spreading, masker) in spreading.iter().zip(maskers) {
        let added = spread_one(spreading, masker);
        first = add_far(first, added[0]);
        second = add_far(second, added[1]);
    }
    *masking = [first, second];
}

/// Two maskers add up unless one is much greater.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn add_far(masking: __m256, added: __m256) -> __m256 {
    let high = _mm256_mul_ps(added, _mm256_set1_ps(FAR));
    let low = _mm256_mul_ps(added, _mm256_set1_ps(1.0 / FAR));
    let alike = _mm256_and_ps(
        _mm256_cmp_ps::<_CMP_LT_OQ>(masking, high),
        _mm256_cmp_ps::<_CMP_GT_OQ>(masking, low),
    );
    let sum = _mm256_add_ps(masking, added);
    _mm256_blendv_ps(_mm256_max_ps(masking, added), sum, alike)
}

/// Where the masker is not `far`, the two mask more than their sum if they are alike.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn add_near(masking: __m256, added: __m256, far: __m256) -> __m256 {
    let greater = _mm256_max_ps(masking, added);
    let lesser = _mm256_min_ps(masking, added);
    let sum = _mm256_add_ps(masking, added);
    let reaches = |ratio: f32| {
        let bound = _mm256_mul_ps(lesser, _mm256_set1_ps(ratio));
        _mm256_cmp_ps::<_CMP_GE_OQ>(greater, bound)
    };
    let mut steps = [_mm256_setzero_si256(); 2];
    for k in 1..8 {
        let step = _mm256_castps_si256(reaches(STEPS[k]));
        steps[k % 2] = _mm256_sub_epi32(steps[k % 2], step);
    }
    let step = _mm256_add_epi32(steps[0], steps[1]);
    let gain = _mm256_permutevar8x32_ps(load(&GAIN, 0), step);
    let gain = _mm256_blendv_ps(gain, _mm256_set1_ps(GAIN[8]), reaches(STEPS[8]));
    let gain = _mm256_blendv_ps(gain, _mm256_set1_ps(GAIN[9]), reaches(STEPS[9]));
    let plain = _mm256_blendv_ps(sum, greater, reaches(FAR));
    _mm256_blendv_ps(_mm256_mul_ps(sum, gain), plain, far)
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn by_tonality(tonality: __m256i) -> __m256 {
    let low = _mm256_permutevar8x32_ps(load(&TONALITY, 0), tonality);
    // The sign bit tells 8 from the others.
    let highest = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(tonality));
    _mm256_blendv_ps(low, _mm256_set1_ps(TONALITY[8]), highest)
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn load_four_integers(from: &[i32; 4]) -> __m128i {
    // SAFETY: `from` is four integers, at any alignment.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn store_integers(value: __m128i, to: &mut [i32; 4]) {
    // SAFETY: `to` is four integers, at any alignment.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), value) }
}
