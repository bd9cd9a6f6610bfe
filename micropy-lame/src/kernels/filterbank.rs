// SPDX-License-Identifier: LGPL-2.0-or-later
//! The hybrid filterbank of ISO/IEC 11172-3: a polyphase filterbank of 32 subbands, then an MDCT in each.
//!
//! The polyphase filterbank takes eight time slots to a vector, the MDCT eight subbands.

use super::angle::{cos, sin};
use super::block::Block;
use super::instructions::*;
use super::vector::{load, reverse, store, transpose};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

pub const SUBBANDS: usize = 32;

/// Samples of each subband in a granule.
pub const SLOTS: usize = 18;

/// The subband samples of one granule, by time slot.
pub type Granule = [[f32; SUBBANDS]; SLOTS];

/// LAME's samples are 16-bit integers by scale, spectral lines have a full scale of 1.
const FULL_SCALE: f64 = 32_768.0;

/// The samples before a granule that its first time slot reaches back to.
const OVERLAP: usize = 480;

/// One granule of a channel to be transformed.
pub struct Lines<'a> {
    pub block: Block,
    /// Whether the two lowest subbands are transformed as a long block whatever the others are: `mixed_block_flag`.
    pub mixed: bool,
    pub spectrum: &'a mut [f32; SUBBANDS * SLOTS],
}

/// What the filterbank keeps with an encoder. All zero, it has been given silence.
#[repr(C)]
pub struct Filterbank {
    /// The subband samples of the granule before, of each channel.
    history: [Granule; 2],
    /// Room for one channel at a time: samples by phase, what of them goes into the cosine transform, by eight slots,
    /// and subband samples, those of the granule before included.
    phases: Phases,
    sums: [[[f32; 8]; SUBBANDS]; 5],
    slots: [Granule; 3],
}

/// Sample 32 × column + row of each row.
type Phases = [[f32; 56]; 32];

/// The samples that so many granules are transformed from.
pub const fn samples(granules: usize) -> usize {
    OVERLAP + granules * SLOTS * SUBBANDS
}

impl Filterbank {
    #[cfg(test)]
    fn silent() -> Self {
        // SAFETY: all fields are numbers.
        unsafe { std::mem::zeroed() }
    }

    /// Transforms the one or two granules of a frame of one channel; `factors`, of each subband, are LAME's low-pass
    /// and high-pass.
    ///
    /// # Panics
    /// When there are other than one or two granules, fewer than [`samples`], or no such channel.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    pub fn analyse(
        &mut self,
        channel: usize,
        pcm: &[f32],
        factors: &[f32; SUBBANDS],
        granules: &mut [Lines<'_>],
    ) {
        let factors = factors.map(|factor| if factor < 1e-12 { 0.0 } else { factor.min(1.0) });
        // Up to the last subband that is not cut off, in whole vectors.
        let last = factors.iter().rposition(|&factor| factor > 0.0);
        let subbands = last.map_or(0, |last| (last / 8 + 1) * 8);
        self.slots[0] = self.history[channel];
        match granules.len() {
            1 => self.polyphase::<1, 3>(pcm, &factors),
            2 => self.polyphase::<2, 5>(pcm, &factors),
            granules => panic!("{granules} granules in a frame"),
        }
        for (slots, granule) in self.slots.windows(2).zip(&mut *granules) {
            mdct(&slots[0], &slots[1], subbands, granule);
        }
        self.history[channel] = self.slots[granules.len()];
    }

    /// The subband samples of all slots; `VECTORS` of eight slots hold them.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn polyphase<const GRANULES: usize, const VECTORS: usize>(
        &mut self,
        pcm: &[f32],
        factors: &[f32; SUBBANDS],
    ) {
        let (rows, _) = pcm[..samples(GRANULES)].as_chunks::<32>();
        fill_phases(rows, &mut self.phases);
        for (u, taps) in TAPS.iter().enumerate() {
            let mut sums = [_mm256_setzero_ps(); VECTORS];
            for Taps {
                weights,
                row,
                column,
            } in taps
            {
                // 14 columns back and 8 × `VECTORS` ahead.
                let x = &self.phases[usize::from(*row)][usize::from(*column)..][..14 + 8 * VECTORS];
                for (j, weight) in weights.iter().enumerate() {
                    let weight = _mm256_set1_ps(*weight);
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = _mm256_fmadd_ps(weight, load(x, 14 - 2 * j + 8 * v), *sum);
                    }
                }
            }
            for (sums, sum) in self.sums.iter_mut().zip(sums) {
                store(sum, &mut sums[u], 0);
            }
        }
        let slots = self.slots[1..=GRANULES].as_flattened_mut();
        for (sums, slots) in self.sums.iter().zip(slots.chunks_mut(8)) {
            let mut bands = [_mm256_setzero_ps(); SUBBANDS];
            for (band, sum) in bands.iter_mut().zip(sums) {
                *band = load(sum, 0);
            }
            dct32(&mut bands);
            scale(&mut bands, factors);
            for (eight, first) in bands.as_chunks::<8>().0.iter().zip((0..).step_by(8)) {
                for (slot, values) in slots.iter_mut().zip(transpose(*eight)) {
                    store(values, slot, first);
                }
            }
        }
    }
}

/// The factor of each subband, in which every second sample of the odd ones is negated: they come out of the polyphase
/// filterbank with their frequencies reversed.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn scale(bands: &mut [__m256; SUBBANDS], factors: &[f32; SUBBANDS]) {
    let odd_slots = _mm256_setr_ps(0.0, -0.0, 0.0, -0.0, 0.0, -0.0, 0.0, -0.0);
    for (pair, factors) in bands
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(factors.as_chunks::<2>().0)
    {
        pair[0] = _mm256_mul_ps(pair[0], _mm256_set1_ps(factors[0]));
        pair[1] = _mm256_mul_ps(
            pair[1],
            _mm256_xor_ps(_mm256_set1_ps(factors[1]), odd_slots),
        );
    }
}

/// Rows for columns; behind the last row there is silence.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn fill_phases(rows: &[[f32; 32]], phases: &mut Phases) {
    for (eight, column) in rows.chunks(8).zip((0..).step_by(8)) {
        for first in (0..32).step_by(8) {
            let mut block = [_mm256_setzero_ps(); 8];
            for (values, row) in block.iter_mut().zip(eight) {
                *values = load(row, first);
            }
            for (phase, values) in phases[first..].iter_mut().zip(transpose(block)) {
                store(values, phase, column);
            }
        }
    }
}

/// The window of ISO/IEC 11172-3, table C.1, in units of 2^-21, up to its middle; the signs are those of the prototype
/// low-pass, whose odd stretches of 64 coefficients the table negates.
#[rustfmt::skip]
const WINDOW: [i32; 257] = [
    0, -1, -1, -1, -1, -1, -1, -2, -2, -2, -2, -3, -3, -4, -4, -5, -5, -6, -7, -7, -8, -9, -10, -11,
    -13, -14, -16, -17, -19, -21, -24, -26, -29, -31, -35, -38, -41, -45, -49, -53, -58, -63, -68,
    -73, -79, -85, -91, -97, -104, -111, -117, -125, -132, -139, -147, -154, -161, -169, -176, -183,
    -190, -196, -202, -208, -213, -218, -222, -225, -227, -228, -228, -227, -224, -221, -215, -208,
    -200, -189, -177, -163, -146, -127, -106, -83, -57, -29, 2, 36, 72, 111, 153, 197, 244, 294,
    347, 401, 459, 519, 581, 645, 711, 779, 848, 919, 991, 1064, 1137, 1210, 1283, 1356, 1428, 1498,
    1567, 1634, 1698, 1759, 1817, 1870, 1919, 1962, 2001, 2032, 2057, 2075, 2085, 2087, 2080, 2063,
    2037, 2000, 1952, 1893, 1822, 1739, 1644, 1535, 1414, 1280, 1131, 970, 794, 605, 402, 185, -45,
    -288, -545, -814, -1095, -1388, -1692, -2006, -2330, -2663, -3004, -3351, -3705, -4063, -4425,
    -4788, -5153, -5517, -5879, -6237, -6589, -6935, -7271, -7597, -7910, -8209, -8491, -8755,
    -8998, -9219, -9416, -9585, -9727, -9838, -9916, -9959, -9966, -9935, -9863, -9750, -9592,
    -9389, -9139, -8840, -8492, -8092, -7640, -7134, -6574, -5959, -5288, -4561, -3776, -2935,
    -2037, -1082, -70, 998, 2122, 3300, 4533, 5818, 7154, 8540, 9975, 11455, 12980, 14548, 16155,
    17799, 19478, 21189, 22929, 24694, 26482, 28289, 30112, 31947, 33791, 35640, 37489, 39336,
    41176, 43006, 44821, 46617, 48390, 50137, 51853, 53534, 55178, 56778, 58333, 59838, 61289,
    62684, 64019, 65290, 66494, 67629, 68692, 69679, 70590, 71420, 72169, 72835, 73415, 73908,
    74313, 74630, 74856, 74992, 75038,
];

/// Coefficient `n` of table C.1.
const fn window(n: usize) -> f64 {
    let sign = if n / 64 % 2 == 1 { -1.0 } else { 1.0 };
    sign * WINDOW[if n <= 256 { n } else { 512 - n }] as f64 / (1 << 21) as f64
}

/// Eight windowed samples of one of the 32 sums that the cosine transform takes.
#[derive(Clone, Copy)]
struct Taps {
    weights: [f32; 8],
    /// Where the samples are: in one row, the first one in column 14 + `column`, each other two columns before.
    row: u8,
    column: u8,
}

/// Figure C.4 of ISO/IEC 11172-3 sums windowed samples into Y[0] to Y[63] and multiplies them by cos((2i + 1)(k −
/// 16)π/64). By the symmetries of the cosine Y[16 + u] and Y[16 − u] come together, or Y[16 + u] and −Y[80 − u], so
/// that 32 sums of sixteen samples do.
static TAPS: [[Taps; 2]; 32] = {
    let mut table = [[taps(16, 0.0); 2]; 32];
    let mut u = 0;
    while u < 32 {
        table[u][0] = taps(16 + u, 1.0);
        if u > 0 && u <= 16 {
            table[u][1] = taps(16 - u, 1.0);
        } else if u > 16 {
            table[u][1] = taps(80 - u, -1.0);
        }
        u += 1;
    }
    table
};

/// The terms of Y[k]; the newest of the 512 samples meets coefficient 0.
const fn taps(k: usize, sign: f64) -> Taps {
    let newest = 511 - k;
    let mut taps = Taps {
        weights: [0.0; 8],
        row: (newest % 32) as u8,
        column: (newest / 32 - 14) as u8,
    };
    let mut j = 0;
    while j < 8 {
        taps.weights[j] = (sign * window(k + 64 * j) / FULL_SCALE) as f32;
        j += 1;
    }
    taps
}

/// 2 cos((2i + 1)π / 4N) for a transform of 2N points.
const fn double_cosines<const N: usize>() -> [f32; N] {
    let mut table = [0.0; N];
    let mut i = 0;
    while i < N {
        table[i] = (2.0 * cos(2 * i as u64 + 1, 8 * N as u64)) as f32;
        i += 1;
    }
    table
}

/// The sum of x[i] cos((2k + 1)iπ / 2n), in place, from two transforms of half the length (after B. G. Lee, 1984). With
/// θ for (2k + 1)π / 2n, the sum of the odd terms x[2i + 1] cos((2i + 1)θ) is 2 cos θ times that of g[i] cos 2iθ, where
/// x[2i + 1] is g[i] + g[i + 1], and x[1] is 2 g[0] + g[1]. Lee divides by 2 cos θ instead, which is near zero and lets
/// rounding grow.
macro_rules! dct {
    ($name:ident of $points:literal, $half:expr) => {
        #[inline]
        #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
        fn $name(x: &mut [__m256; $points]) {
            const COSINES: [f32; $points / 2] = double_cosines();
            let mut even = [_mm256_setzero_ps(); $points / 2];
            let mut odd = even;
            let mut above = _mm256_setzero_ps();
            for i in (0..$points / 2).rev() {
                even[i] = x[2 * i];
                above = _mm256_sub_ps(x[2 * i + 1], above);
                odd[i] = above;
            }
            odd[0] = _mm256_mul_ps(_mm256_set1_ps(0.5), odd[0]);
            $half(&mut even);
            $half(&mut odd);
            for i in 0..$points / 2 {
                let cosine = _mm256_set1_ps(COSINES[i]);
                x[i] = _mm256_fmadd_ps(cosine, odd[i], even[i]);
                x[$points - 1 - i] = _mm256_fnmadd_ps(cosine, odd[i], even[i]);
            }
        }
    };
}

dct!(dct2 of 2, |_: &mut [__m256; 1]| ());
dct!(dct4 of 4, dct2);
dct!(dct8 of 8, dct4);
dct!(dct16 of 16, dct8);
dct!(dct32 of 32, dct16);

/// The windows of long blocks, start and stop included (2.4.3.4.10.3).
static LONG_WINDOWS: [[f32; 36]; 3] = long_windows();

const fn long_windows() -> [[f32; 36]; 3] {
    let mut windows = [[0.0; 36]; 3];
    let mut k = 0;
    while k < 36 {
        let sine = sin(2 * k as u64 + 1, 144) as f32;
        windows[0][k] = sine;
        windows[1][k] = match k {
            0..18 => sine,
            18..24 => 1.0,
            24..30 => sin(2 * (k as u64 - 18) + 1, 48) as f32,
            _ => 0.0,
        };
        windows[2][35 - k] = windows[1][k];
        k += 1;
    }
    windows
}

/// cos and sin of π/72 (2n + 1), scaled so that the standard's inverse transform gives back the input.
static ROTATIONS: [[f32; 2]; 9] = {
    let mut table = [[0.0; 2]; 9];
    let mut n = 0;
    while n < 9 {
        table[n][0] = (cos(2 * n as u64 + 1, 144) / 9.0) as f32;
        table[n][1] = (sin(2 * n as u64 + 1, 144) / 9.0) as f32;
        n += 1;
    }
    table
};

/// cos(π/18 k) for k from 0 to 9.
static NINTHS: [f32; 10] = {
    let mut table = [0.0; 10];
    let mut k = 0;
    while k < 10 {
        table[k] = cos(k as u64, 36) as f32;
        k += 1;
    }
    table
};

/// The window of short blocks times cos(π/24 (2k + 7)(2i + 1)) for input `k` and line `i`, scaled alike.
static SHORT_COSINES: [[f32; 6]; 12] = {
    let mut table = [[0.0; 6]; 12];
    let (mut k, mut i) = (0, 0);
    while k < 12 {
        let cosine = cos((2 * k as u64 + 7) * (2 * i as u64 + 1), 48);
        table[k][i] = (sin(2 * k as u64 + 1, 48) * cosine / 3.0) as f32;
        i = (i + 1) % 6;
        if i == 0 {
            k += 1;
        }
    }
    table
};

/// The coefficients cs and ca of the alias reduction, from the c of table B.9.
static ALIAS: [[f32; 8]; 2] = {
    const C: [f64; 8] = [
        -0.6, -0.535, -0.33, -0.185, -0.095, -0.041, -0.0142, -0.0037,
    ];
    let mut table = [[0.0; 8]; 2];
    let mut i = 0;
    while i < 8 {
        let root = sqrt(1.0 + C[i] * C[i]);
        table[0][i] = (1.0 / root) as f32;
        table[1][i] = (C[i] / root) as f32;
        i += 1;
    }
    table
};

/// √x for 1 ≤ x < 4, by Newton's method.
const fn sqrt(x: f64) -> f64 {
    let mut root = x;
    let mut step = 0;
    while step < 8 {
        root = 0.5 * (root + x / root);
        step += 1;
    }
    root
}

/// Transforms the `subbands` lowest subbands, whose samples are those of the granule before and of this one.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn mdct(before: &Granule, now: &Granule, subbands: usize, granule: &mut Lines<'_>) {
    let spectrum = &mut *granule.spectrum;
    let long_window = match granule.block {
        Block::Long => Some(&LONG_WINDOWS[0]),
        Block::Start => Some(&LONG_WINDOWS[1]),
        Block::Stop => Some(&LONG_WINDOWS[2]),
        Block::Short => None,
    };
    for first in (0..subbands).step_by(8) {
        let lines = match long_window {
            Some(window) => mdct_long(before, now, first, window),
            None => mdct_short(before, now, first),
        };
        scatter(&lines, &mut spectrum[SLOTS * first..], 8);
    }
    spectrum[SLOTS * subbands..].fill(0.0);
    if granule.mixed {
        let lines = mdct_long(before, now, 0, &LONG_WINDOWS[0]);
        scatter(&lines, spectrum, 2);
    }
    let aliased = match (long_window, granule.mixed) {
        (Some(_), _) => subbands.min(SUBBANDS - 1),
        (None, mixed) => usize::from(mixed),
    };
    for band in 1..=aliased {
        reduce_aliases(&mut spectrum[SLOTS * band - 8..SLOTS * band + 8]);
    }
}

/// Lines by subband: the first `subbands` of the eight in the lanes of `lines`.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn scatter(lines: &[__m256; SLOTS], spectrum: &mut [f32], subbands: usize) {
    // Eighteen lines in three overlapping groups of eight.
    for first in [0, 8, 10] {
        let mut eight = [_mm256_setzero_ps(); 8];
        eight.copy_from_slice(&lines[first..first + 8]);
        for (band, values) in transpose(eight).into_iter().enumerate().take(subbands) {
            store(values, spectrum, SLOTS * band + first);
        }
    }
}

/// Eight subbands from `first`, as long blocks.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn mdct_long(before: &Granule, now: &Granule, first: usize, window: &[f32; 36]) -> [__m256; SLOTS] {
    let w = |k: usize| _mm256_set1_ps(window[k]);
    // The 36 windowed samples, folded by the symmetries of the transform, are v[0] to v[17]; what is left of it is the
    // DCT-IV, the sum of v[n] cos(π/72 (2n + 1)(2i + 1)). Pairs of v are rotated into the input of two transforms of
    // nine points, whose results are half the sums and half the differences of lines.
    let (mut a, mut b) = ([_mm256_setzero_ps(); 9], [_mm256_setzero_ps(); 9]);
    for n in 0..9 {
        let falling = _mm256_mul_ps(w(26 - n), load(&now[8 - n], first));
        // −v[n]
        let later = _mm256_fmadd_ps(w(27 + n), load(&now[9 + n], first), falling);
        let rising = _mm256_mul_ps(w(8 - n), load(&before[8 - n], first));
        // v[17 − n]
        let earlier = _mm256_fnmadd_ps(w(9 + n), load(&before[9 + n], first), rising);
        let [cos, sin] = ROTATIONS[n];
        let (cos, sin) = (_mm256_set1_ps(cos), _mm256_set1_ps(sin));
        a[n] = _mm256_fmsub_ps(earlier, sin, _mm256_mul_ps(later, cos));
        b[n] = _mm256_fmadd_ps(earlier, cos, _mm256_mul_ps(later, sin));
        if n % 2 == 1 {
            b[n] = _mm256_sub_ps(_mm256_setzero_ps(), b[n]);
        }
    }
    let (a, b) = (dct9(&a), dct9(&b));
    let mut lines = [_mm256_setzero_ps(); SLOTS];
    lines[0] = a[0];
    for k in 1..9 {
        lines[2 * k - 1] = _mm256_sub_ps(a[k], b[9 - k]);
        lines[2 * k] = _mm256_add_ps(a[k], b[9 - k]);
    }
    lines[17] = _mm256_sub_ps(_mm256_setzero_ps(), b[0]);
    lines
}

/// The sum of x[n] cos(π/18 (2n + 1)k).
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn dct9(x: &[__m256; 9]) -> [__m256; 9] {
    let c = |k: usize| _mm256_set1_ps(NINTHS[k]);
    let sum = |n: usize| _mm256_add_ps(x[n], x[8 - n]);
    let difference = |n: usize| _mm256_sub_ps(x[n], x[8 - n]);
    let (s0, s1, s2, s3) = (sum(0), sum(1), sum(2), sum(3));
    let (d0, d1, d2, d3) = (difference(0), difference(1), difference(2), difference(3));

    let thirds = _mm256_add_ps(_mm256_add_ps(s0, s2), s3);
    let others = _mm256_add_ps(s1, x[4]);
    let even = _mm256_fmsub_ps(c(6), s1, x[4]);
    let odd = _mm256_mul_ps(c(3), d1);
    // Angles and signs are those of (2n + 1)k brought into the first quarter of the circle.
    let two = _mm256_fmadd_ps(c(2), s0, even);
    let four = _mm256_fmsub_ps(c(4), s0, even);
    let eight = _mm256_fmsub_ps(c(8), s0, even);
    let one = _mm256_fmadd_ps(c(1), d0, odd);
    let five = _mm256_fmsub_ps(c(5), d0, odd);
    let seven = _mm256_fmsub_ps(c(7), d0, odd);
    [
        _mm256_add_ps(thirds, others),
        _mm256_fmadd_ps(c(7), d3, _mm256_fmadd_ps(c(5), d2, one)),
        _mm256_fnmadd_ps(c(4), s3, _mm256_fnmadd_ps(c(8), s2, two)),
        _mm256_mul_ps(c(3), _mm256_sub_ps(_mm256_sub_ps(d0, d2), d3)),
        _mm256_fmadd_ps(c(8), s3, _mm256_fnmadd_ps(c(2), s2, four)),
        _mm256_fmadd_ps(c(1), d3, _mm256_fnmadd_ps(c(7), d2, five)),
        _mm256_fmsub_ps(c(6), thirds, others),
        _mm256_fnmadd_ps(c(5), d3, _mm256_fmadd_ps(c(1), d2, seven)),
        _mm256_fnmadd_ps(c(2), s3, _mm256_fmadd_ps(c(4), s2, eight)),
    ]
}

/// Eight subbands from `first`, as three short blocks, whose lines alternate.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn mdct_short(before: &Granule, now: &Granule, first: usize) -> [__m256; SLOTS] {
    let mut lines = [_mm256_setzero_ps(); SLOTS];
    for block in 0..3 {
        let slots = before.iter().chain(now).skip(6 + 6 * block);
        let mut sums = [_mm256_setzero_ps(); 6];
        for (slot, cosines) in slots.zip(&SHORT_COSINES) {
            let value = load(slot, first);
            for (sum, cosine) in sums.iter_mut().zip(cosines) {
                *sum = _mm256_fmadd_ps(value, _mm256_set1_ps(*cosine), *sum);
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            lines[3 * i + block] = sum;
        }
    }
    lines
}

/// The butterflies between two subbands: eight lines on each side of their border.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn reduce_aliases(border: &mut [f32]) {
    let (cs, ca) = (load(&ALIAS[0], 0), load(&ALIAS[1], 0));
    let below = reverse(load(border, 0));
    let above = load(border, 8);
    let down = _mm256_fmadd_ps(above, ca, _mm256_mul_ps(below, cs));
    let up = _mm256_fmsub_ps(above, cs, _mm256_mul_ps(below, ca));
    store(reverse(down), border, 0);
    store(up, border, 8);
}
