// SPDX-License-Identifier: LGPL-2.0-or-later
//! The energy spectra of the psychoacoustic model: of left, right, their middle and their side, long and short.
//!
//! A transform of 2n real points is one of n complex points, the even ones for its real part and the odd ones for its
//! imaginary part. The radix is 4 with a last 2, in order (T. G. Stockham, 1966). Each channel is transformed by
//! itself: in one transform together, a loud channel's rounding would drown a silent one.

use super::angle::{cos, sin};
use super::instructions::*;
use super::vector::{interleave, load, reverse, store, store_rows, store4, sum, transpose};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

/// Samples of a long block, and its lines.
pub const LONG: usize = 1024;
pub const LONG_LINES: usize = LONG / 2 + 1;

/// Samples of a short block, and its lines.
pub const SHORT: usize = 256;
pub const SHORT_LINES: usize = SHORT / 2 + 1;

/// Short blocks start that far apart, the first one as far into the samples of the long block.
pub const SHORT_HOP: usize = 192;

/// Energies of one line: left, right, middle, side. Middle is (left + right) / √2, side is (left − right) / √2.
pub type Energies = [f32; 4];

/// Eight complex numbers.
#[derive(Clone, Copy)]
struct Complex {
    re: __m256,
    im: __m256,
}

impl Complex {
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn add(self, other: Self) -> Self {
        Self {
            re: _mm256_add_ps(self.re, other.re),
            im: _mm256_add_ps(self.im, other.im),
        }
    }

    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn sub(self, other: Self) -> Self {
        Self {
            re: _mm256_sub_ps(self.re, other.re),
            im: _mm256_sub_ps(self.im, other.im),
        }
    }

    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn mul(self, other: Self) -> Self {
        Self {
            re: _mm256_fmsub_ps(self.re, other.re, _mm256_mul_ps(self.im, other.im)),
            im: _mm256_fmadd_ps(self.re, other.im, _mm256_mul_ps(self.im, other.re)),
        }
    }

    /// `scale` times the square of the absolute value.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn energy(self, scale: f32) -> __m256 {
        let squares = _mm256_fmadd_ps(self.re, self.re, _mm256_mul_ps(self.im, self.im));
        _mm256_mul_ps(_mm256_set1_ps(scale), squares)
    }

    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn reversed(self) -> Self {
        Self {
            re: reverse(self.re),
            im: reverse(self.im),
        }
    }
}

/// The transform of four points.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn butterfly([a, b, c, d]: [Complex; 4]) -> [Complex; 4] {
    let (p, m) = (a.add(c), a.sub(c));
    let (q, n) = (b.add(d), b.sub(d));
    let (up, down) = (
        Complex {
            re: _mm256_add_ps(m.re, n.im),
            im: _mm256_sub_ps(m.im, n.re),
        },
        Complex {
            re: _mm256_sub_ps(m.re, n.im),
            im: _mm256_add_ps(m.im, n.re),
        },
    );
    [p.add(q), up, p.sub(q), down]
}

/// Eight points of each quarter are transformed and turned by the first three powers of a root of unity.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn turned_butterfly(points: [Complex; 4], turns: [Complex; 3]) -> [Complex; 4] {
    let [a, b, c, d] = butterfly(points);
    [a, b.mul(turns[0]), c.mul(turns[1]), d.mul(turns[2])]
}

/// exp(−2πi · `numerator` / `denominator`).
const fn root(numerator: usize, denominator: usize) -> [f32; 2] {
    let (numerator, denominator) = (numerator as u64, denominator as u64);
    [
        cos(numerator, denominator) as f32,
        -sin(numerator, denominator) as f32,
    ]
}

/// For each of three powers the real and the imaginary parts of 128 roots of unity of order `order`, each `times`
/// times.
const fn lane_turns(order: usize, times: usize) -> [[[f32; 128]; 2]; 3] {
    let mut table = [[[0.0; 128]; 2]; 3];
    let mut power = 0;
    while power < 3 {
        let mut p = 0;
        while p < 128 {
            [table[power][0][p], table[power][1][p]] = root(p / times * (power + 1), order);
            p += 1;
        }
        power += 1;
    }
    table
}

/// The first `N` roots of unity of order 4`N`, in three powers.
const fn turns<const N: usize>() -> [[[f32; 2]; 3]; N] {
    let mut table = [[[0.0; 2]; 3]; N];
    let mut p = 0;
    while p < N {
        let mut power = 0;
        while power < 3 {
            table[p][power] = root(p * (power + 1), 4 * N);
            power += 1;
        }
        p += 1;
    }
    table
}

/// For the spectrum of 2`N` real points out of that of `N` complex ones: more than a quarter of the roots of unity of
/// order 2`N`.
const fn split_turns<const ROOTS: usize>(order: usize) -> [[f32; ROOTS]; 2] {
    let mut table = [[0.0; ROOTS]; 2];
    let mut k = 0;
    while k < ROOTS {
        [table[0][k], table[1][k]] = root(k, order);
        k += 1;
    }
    table
}

static TURNS_1024: [[f32; 264]; 2] = split_turns(LONG);
static TURNS_512: [[[f32; 128]; 2]; 3] = lane_turns(512, 1);
static TURNS_128: [[[f32; 128]; 2]; 3] = lane_turns(128, 4);
static TURNS_32: [[[f32; 2]; 3]; 8] = turns();
static TURNS_8: [[[f32; 2]; 3]; 2] = turns();

static TURNS_256: [[f32; 65]; 2] = split_turns(SHORT);
static TURNS_128_ONCE: [[[f32; 2]; 3]; 32] = turns();

/// Blackman's window, as LAME takes it: about the middle between two samples.
static LONG_WINDOW: [f32; LONG] = {
    let mut window = [0.0; LONG];
    let mut i = 0;
    while i < LONG {
        let n = 2 * i as u64 + 1;
        let value = 0.42 - 0.5 * cos(n, 2 * LONG as u64) + 0.08 * cos(n, LONG as u64);
        window[i] = value as f32;
        i += 1;
    }
    window
};

/// Hann's window, likewise.
static SHORT_WINDOW: [f32; SHORT] = {
    let mut window = [0.0; SHORT];
    let mut i = 0;
    while i < SHORT {
        window[i] = (0.5 - 0.5 * cos(2 * i as u64 + 1, 2 * SHORT as u64)) as f32;
        i += 1;
    }
    window
};

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn lanes(turns: &[[[f32; 128]; 2]; 3], at: usize) -> [Complex; 3] {
    let one = |power: usize| Complex {
        re: load(&turns[power][0], at),
        im: load(&turns[power][1], at),
    };
    [one(0), one(1), one(2)]
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn all(turns: &[[f32; 2]; 3]) -> [Complex; 3] {
    let one = |power: usize| Complex {
        re: _mm256_set1_ps(turns[power][0]),
        im: _mm256_set1_ps(turns[power][1]),
    };
    [one(0), one(1), one(2)]
}

/// 512 complex points or lines; the first eight stand once more behind the last.
#[repr(C)]
struct Points {
    re: [f32; 520],
    im: [f32; 520],
}

impl Points {
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn get(&self, at: usize) -> Complex {
        Complex {
            re: load(&self.re, at),
            im: load(&self.im, at),
        }
    }

    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn put(&mut self, at: usize, value: Complex) {
        store(value.re, &mut self.re, at);
        store(value.im, &mut self.im, at);
    }

    /// Eight points of each quarter.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn quarters(&self, at: usize) -> [Complex; 4] {
        [
            self.get(at),
            self.get(at + 128),
            self.get(at + 256),
            self.get(at + 384),
        ]
    }
}

/// Eight complex points out of sixteen windowed samples.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn windowed(pcm: &[f32; LONG], at: usize) -> Complex {
    let first = _mm256_mul_ps(load(pcm, 2 * at), load(&LONG_WINDOW, 2 * at));
    let second = _mm256_mul_ps(load(pcm, 2 * at + 8), load(&LONG_WINDOW, 2 * at + 8));
    let low = _mm256_permute2f128_ps::<0x20>(first, second);
    let high = _mm256_permute2f128_ps::<0x31>(first, second);
    Complex {
        re: _mm256_shuffle_ps::<0x88>(low, high),
        im: _mm256_shuffle_ps::<0xdd>(low, high),
    }
}

/// Room for the transforms, kept with an encoder.
#[repr(C)]
pub struct Room {
    work: Points,
    spectra: [Points; 2],
    short: [ShortPoints; 2],
}

/// 128 complex points or lines of six transforms: of the three short blocks of the left channel in the first lanes, of
/// the right in those from the fifth on.
#[repr(C)]
struct ShortPoints {
    re: [[f32; 8]; SHORT / 2],
    im: [[f32; 8]; SHORT / 2],
}

impl ShortPoints {
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn get(&self, at: usize) -> Complex {
        Complex {
            re: load(&self.re[at], 0),
            im: load(&self.im[at], 0),
        }
    }

    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    fn put(&mut self, at: usize, value: Complex) {
        store(value.re, &mut self.re[at], 0);
        store(value.im, &mut self.im[at], 0);
    }
}

/// Transforms one channel into `lines`.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn transform(pcm: &[f32; LONG], work: &mut Points, lines: &mut Points) {
    for p in (0..128).step_by(8) {
        let points = [
            windowed(pcm, p),
            windowed(pcm, p + 128),
            windowed(pcm, p + 256),
            windowed(pcm, p + 384),
        ];
        let [a, b, c, d] = turned_butterfly(points, lanes(&TURNS_512, p));
        let re = interleave([a.re, b.re, c.re, d.re]);
        let im = interleave([a.im, b.im, c.im, d.im]);
        for i in 0..4 {
            work.put(
                4 * p + 8 * i,
                Complex {
                    re: re[i],
                    im: im[i],
                },
            );
        }
    }
    for p in (0..128).step_by(8) {
        let [a, b, c, d] = turned_butterfly(work.quarters(p), lanes(&TURNS_128, p));
        lines.put(4 * p, low_halves(a, b));
        lines.put(4 * p + 8, low_halves(c, d));
        lines.put(4 * p + 16, high_halves(a, b));
        lines.put(4 * p + 24, high_halves(c, d));
    }
    pass::<16>(&TURNS_32, lines, work);
    pass::<64>(&TURNS_8, work, lines);
    for q in (0..256).step_by(8) {
        let (a, b) = (lines.get(q), lines.get(q + 256));
        lines.put(q, a.add(b));
        lines.put(q + 256, a.sub(b));
    }
    lines.put(512, lines.get(0));
}

/// A pass of radix 4 over transforms `STRIDE` at a time.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn pass<const STRIDE: usize>(turns: &[[[f32; 2]; 3]], from: &Points, to: &mut Points) {
    for (p, turns) in turns.iter().enumerate() {
        let turns = all(turns);
        for q in (0..STRIDE).step_by(8) {
            let points = turned_butterfly(from.quarters(q + STRIDE * p), turns);
            for (m, point) in points.into_iter().enumerate() {
                to.put(q + STRIDE * (4 * p + m), point);
            }
        }
    }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn low_halves(a: Complex, b: Complex) -> Complex {
    Complex {
        re: _mm256_permute2f128_ps::<0x20>(a.re, b.re),
        im: _mm256_permute2f128_ps::<0x20>(a.im, b.im),
    }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn high_halves(a: Complex, b: Complex) -> Complex {
    Complex {
        re: _mm256_permute2f128_ps::<0x31>(a.re, b.re),
        im: _mm256_permute2f128_ps::<0x31>(a.im, b.im),
    }
}

/// The energy spectra of a long block; without a right channel in any block, those of silence there. Returns the sums
/// of the left and of the right one, each line but the last times its weight.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn long(
    left: &[f32; LONG],
    right: Option<&[f32; LONG]>,
    weights: &[f32; LONG / 2],
    room: &mut Room,
    lines: &mut [Energies; LONG_LINES],
) -> [f32; 2] {
    transform(left, &mut room.work, &mut room.spectra[0]);
    if let Some(right) = right {
        transform(right, &mut room.work, &mut room.spectra[1]);
    }
    let [left, right] = &room.spectra;
    lines[0] = real_line(left.re[0] + left.im[0], right.re[0] + right.im[0]);
    lines[LONG / 2] = real_line(left.re[0] - left.im[0], right.re[0] - right.im[0]);
    let mut sums = [_mm256_setzero_ps(); 2];
    for k in (1..LONG / 4).step_by(8) {
        // Line k and its mirror image 512 − k come from the same two points.
        let mirrored = LONG / 2 - 7 - k;
        let turn = Complex {
            re: load(&TURNS_1024[0], k),
            im: load(&TURNS_1024[1], k),
        };
        let (left, left_mirrored) = split(left.get(k), left.get(mirrored).reversed(), turn);
        let (right, right_mirrored) = split(right.get(k), right.get(mirrored).reversed(), turn);

        let four = energies(left, right);
        weigh(&mut sums, &four, load(weights, k));
        put(four, lines, k);

        let four = energies(left_mirrored.reversed(), right_mirrored.reversed());
        let mut weight = load(weights, mirrored);
        if k == LONG / 4 - 7 {
            // Line 256 is its own mirror image: it has been counted.
            weight = _mm256_blend_ps::<1>(weight, _mm256_setzero_ps());
        }
        weigh(&mut sums, &four, weight);
        put(four, lines, mirrored);
    }
    [
        sum(sums[0]) + lines[0][0] * weights[0],
        sum(sums[1]) + lines[0][1] * weights[0],
    ]
}

/// Twice the lines k and n − k of 2n real points, the latter conjugate, from the complex points k and n − k.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn split(point: Complex, mirrored: Complex, turn: Complex) -> (Complex, Complex) {
    let even = Complex {
        re: _mm256_add_ps(point.re, mirrored.re),
        im: _mm256_sub_ps(point.im, mirrored.im),
    };
    let odd = Complex {
        re: _mm256_add_ps(point.im, mirrored.im),
        im: _mm256_sub_ps(mirrored.re, point.re),
    };
    let odd = odd.mul(turn);
    (even.add(odd), even.sub(odd))
}

/// Left, right, middle and side of eight lines that are twice too large.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn energies(left: Complex, right: Complex) -> [__m256; 4] {
    [
        left.energy(0.25),
        right.energy(0.25),
        left.add(right).energy(0.125),
        left.sub(right).energy(0.125),
    ]
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn weigh(sums: &mut [__m256; 2], energies: &[__m256; 4], weight: __m256) {
    sums[0] = _mm256_fmadd_ps(energies[0], weight, sums[0]);
    sums[1] = _mm256_fmadd_ps(energies[1], weight, sums[1]);
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn put(energies: [__m256; 4], lines: &mut [Energies], at: usize) {
    for (i, two) in interleave(energies).into_iter().enumerate() {
        store_rows(two, lines, at + 2 * i);
    }
}

/// The first or the last line, which has no imaginary part.
fn real_line(left: f32, right: f32) -> Energies {
    let (middle, side) = (left + right, left - right);
    [
        left * left,
        right * right,
        middle * middle * 0.5,
        side * side * 0.5,
    ]
}

/// The energy spectra of the three short blocks in the samples of a long one; without a right channel, those of silence
/// there.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn short(
    left: &[f32; LONG],
    right: Option<&[f32; LONG]>,
    room: &mut Room,
    lines: &mut [[Energies; SHORT_LINES]; 3],
) {
    let [points, work] = &mut room.short;
    for i in (0..SHORT).step_by(8) {
        let window = load(&SHORT_WINDOW, i);
        let mut rows = [_mm256_setzero_ps(); 8];
        for block in 0..3 {
            let at = SHORT_HOP * (block + 1) + i;
            rows[block] = _mm256_mul_ps(load(left, at), window);
            if let Some(right) = right {
                rows[4 + block] = _mm256_mul_ps(load(right, at), window);
            }
        }
        for (p, pair) in transpose(rows).as_chunks::<2>().0.iter().enumerate() {
            points.put(
                i / 2 + p,
                Complex {
                    re: pair[0],
                    im: pair[1],
                },
            );
        }
    }
    short_pass::<1>(&TURNS_128_ONCE, points, work);
    short_pass::<4>(&TURNS_32, work, points);
    short_pass::<16>(&TURNS_8, points, work);
    for q in 0..SHORT / 4 {
        let (a, b) = (work.get(q), work.get(q + SHORT / 4));
        points.put(q, a.add(b));
        points.put(q + SHORT / 4, a.sub(b));
    }
    let zero = _mm256_setzero_ps();
    let Complex { re, im } = points.get(0);
    // Twice, as the others come out.
    let (first, last) = (_mm256_add_ps(re, im), _mm256_sub_ps(re, im));
    put_short(
        Complex {
            re: _mm256_add_ps(first, first),
            im: zero,
        },
        lines,
        0,
    );
    put_short(
        Complex {
            re: _mm256_add_ps(last, last),
            im: zero,
        },
        lines,
        SHORT / 2,
    );
    let turns = TURNS_256[0].iter().zip(&TURNS_256[1]);
    for (k, (re, im)) in turns.enumerate().skip(1) {
        let turn = Complex {
            re: _mm256_set1_ps(*re),
            im: _mm256_set1_ps(*im),
        };
        let (line, mirrored) = split(points.get(k), points.get(SHORT / 2 - k), turn);
        put_short(line, lines, k);
        put_short(mirrored, lines, SHORT / 2 - k);
    }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn short_pass<const STRIDE: usize>(
    turns: &[[[f32; 2]; 3]],
    from: &ShortPoints,
    to: &mut ShortPoints,
) {
    for (p, turns) in turns.iter().enumerate() {
        let turns = all(turns);
        for q in 0..STRIDE {
            let at = q + STRIDE * p;
            let quarters = [
                from.get(at),
                from.get(at + 32),
                from.get(at + 64),
                from.get(at + 96),
            ];
            let points = turned_butterfly(quarters, turns);
            for (m, point) in points.into_iter().enumerate() {
                to.put(q + STRIDE * (4 * p + m), point);
            }
        }
    }
}

/// The energies of one line, which is twice too large, of all short blocks.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn put_short(line: Complex, lines: &mut [[Energies; SHORT_LINES]; 3], k: usize) {
    // Left + right in the lanes of left, left − right in those of right.
    let right = _mm256_setr_ps(0.0, 0.0, 0.0, 0.0, -0.0, -0.0, -0.0, -0.0);
    let stereo = |part: __m256| {
        let left = _mm256_permute2f128_ps::<0x00>(part, part);
        let negated = _mm256_xor_ps(_mm256_permute2f128_ps::<0x11>(part, part), right);
        _mm256_add_ps(left, negated)
    };
    let stereo = Complex {
        re: stereo(line.re),
        im: stereo(line.im),
    };
    let (channels, stereo) = (line.energy(0.25), stereo.energy(0.125));
    let mut a = _mm256_castps256_ps128(channels);
    let mut b = _mm256_extractf128_ps::<1>(channels);
    let mut c = _mm256_castps256_ps128(stereo);
    let mut d = _mm256_extractf128_ps::<1>(stereo);
    _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
    for (block, energies) in lines.iter_mut().zip([a, b, c]) {
        store4(energies, &mut block[k]);
    }
}
