//! The Fourier transform of PCM, of any even length.
//!
//! PCM is real: its even samples become the real parts and the odd ones the imaginary parts of a complex transform of
//! half the length, whose bins `k` and `half − k` hold all that is needed for those two bins of the spectrum (Press et
//! al., *Numerical Recipes*, "FFT of Single Real Function"). That transform goes by Stockham's passes of radix 2 to 7,
//! which need no reordering (Van Loan, *Computational Frameworks for the Fast Fourier Transform*, 1.7). Where its
//! length has another prime factor, it is a convolution with a chirp (Bluestein 1970).
//!
//! Why none of the usual libraries: each picks other instructions on another processor, and rounds otherwise there.

use std::f64::consts::{PI, TAU};
use std::ops::{Add, Mul, Range, Sub};
use std::sync::Arc;

use wide::f32x4;

/// Numbers that are computed side by side.
const FOUR: usize = 4;

/// Complex numbers that the processor takes several of at once: their real and imaginary parts apart.
#[derive(Clone, Debug, Default)]
pub struct Complexes {
    /// Real parts.
    pub re: Vec<f32>,
    /// As many imaginary parts.
    pub im: Vec<f32>,
}

impl Complexes {
    fn from_fn(len: usize, value: impl Fn(usize) -> (f64, f64)) -> Complexes {
        let values = (0..len).map(value);
        let (re, im) = values.map(|(re, im)| (re as f32, im as f32)).unzip();
        Complexes { re, im }
    }

    /// Makes it `len` long: cut, or continued with 0.
    pub fn resize(&mut self, len: usize) {
        self.re.resize(len, 0.0);
        self.im.resize(len, 0.0);
    }

    /// The real and imaginary parts of those in `range`, as so many fours.
    #[inline(always)]
    fn fours(&self, range: Range<usize>, fours: usize) -> (&[[f32; FOUR]], &[[f32; FOUR]]) {
        (
            &self.re[range.clone()].as_chunks::<FOUR>().0[..fours],
            &self.im[range].as_chunks::<FOUR>().0[..fours],
        )
    }

    /// The same with real and imaginary parts exchanged: the inverse transform of that is the transform of this, again
    /// exchanged.
    fn swap(&mut self) {
        std::mem::swap(&mut self.re, &mut self.im);
    }
}

/// What a transform needs besides its input.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    other: Complexes,
    chirped: Complexes,
}

/// The transform of PCM of one length, both ways. Cheap to share: a clone is another handle.
#[derive(Clone, Debug)]
pub struct Transform {
    half: Arc<ComplexTransform>,
    /// exp(−2πi·k / len) for the bins k up to a quarter of the length.
    twiddles: Arc<Complexes>,
}

impl Transform {
    /// Of `len` PCM samples, an even number.
    pub fn new(len: usize) -> Transform {
        debug_assert!(len.is_multiple_of(2));
        let half = len / 2;
        let twiddles = Complexes::from_fn(half.div_ceil(2), |k| root_of_unity(k, len));
        Transform {
            half: Arc::new(ComplexTransform::new(half)),
            twiddles: Arc::new(twiddles),
        }
    }

    /// Half its length: so many bins it has without the last, and so many pairs of PCM samples.
    pub fn half(&self) -> usize {
        self.half.len
    }

    /// Replaces pairs of PCM samples by twice their spectrum, without its last bin, that of half the sample rate.
    pub fn to_spectrum(&self, pairs: &mut Complexes, scratch: &mut Scratch) {
        self.half.apply(pairs, scratch);
        let bins = pairs;
        bins.re[0] = 2.0 * (bins.re[0] + bins.im[0]);
        bins.im[0] = 0.0;
        self.for_mirrored(bins, |low, high, twiddle| {
            let even = (low.0 + high.0, low.1 - high.1);
            // The odd samples' spectrum · −i, turned by the half sample that they are late.
            let odd = multiply((low.1 + high.1, high.0 - low.0), twiddle);
            (
                (even.0 + odd.0, even.1 + odd.1),
                (even.0 - odd.0, odd.1 - even.1),
            )
        });
    }

    /// Replaces the spectrum of pairs of PCM samples, without its last bin, which is 0, by these times their length.
    pub fn to_pcm(&self, bins: &mut Complexes, scratch: &mut Scratch) {
        bins.im[0] = bins.re[0];
        self.for_mirrored(bins, |low, high, twiddle| {
            let even = (low.0 + high.0, low.1 - high.1);
            // Turned back, and · i.
            let odd = multiply((-low.1 - high.1, low.0 - high.0), (twiddle.0, -twiddle.1));
            (
                (even.0 + odd.0, even.1 + odd.1),
                (even.0 - odd.0, odd.1 - even.1),
            )
        });
        bins.swap();
        self.half.apply(bins, scratch);
        bins.swap();
    }

    /// Replaces the bins `k` and `half − k` by what `both` makes of them and the twiddle of `k`; the one in the middle
    /// by twice its conjugate.
    fn for_mirrored(&self, bins: &mut Complexes, both: impl Fn(Bin, Bin, Bin) -> (Bin, Bin)) {
        let half = bins.re.len();
        let count = self.twiddles.re.len();
        let (low_re, high_re) = bins.re.split_at_mut(count);
        let (low_im, high_im) = bins.im.split_at_mut(count);
        // The first bin mirrors none.
        let (low_re, low_im) = (&mut low_re[1..], &mut low_im[1..]);
        let (turn_re, turn_im) = (&self.twiddles.re[1..], &self.twiddles.im[1..]);
        let pairs = low_re.len();
        // Nor does the one in the middle.
        let middle = high_re.len() - pairs;
        let (high_re, high_im) = (&mut high_re[middle..], &mut high_im[middle..]);
        // Fours from both ends, as the processor takes them; then the rest, between these.
        let rest = pairs % FOUR;
        let (rest_re, high_re) = high_re.split_at_mut(rest);
        let (rest_im, high_im) = high_im.split_at_mut(rest);
        let low = fours_mut(low_re).zip(fours_mut(low_im));
        let high = fours_mut(high_re).zip(fours_mut(high_im)).rev();
        let turns = turn_re.as_chunks::<FOUR>().0.iter();
        let turns = turns.zip(turn_im.as_chunks::<FOUR>().0);
        for ((low, high), turn) in low.zip(high).zip(turns) {
            for i in 0..FOUR {
                let j = FOUR - 1 - i;
                let new = both(
                    (low.0[i], low.1[i]),
                    (high.0[j], high.1[j]),
                    (turn.0[i], turn.1[i]),
                );
                (low.0[i], low.1[i]) = new.0;
                (high.0[j], high.1[j]) = new.1;
            }
        }
        for i in pairs - rest..pairs {
            let j = pairs - 1 - i;
            let new = both(
                (low_re[i], low_im[i]),
                (rest_re[j], rest_im[j]),
                (turn_re[i], turn_im[i]),
            );
            (low_re[i], low_im[i]) = new.0;
            (rest_re[j], rest_im[j]) = new.1;
        }
        if half.is_multiple_of(2) {
            bins.re[half / 2] *= 2.0;
            bins.im[half / 2] *= -2.0;
        }
    }
}

/// The fours of `values`, without what is left over.
fn fours_mut(values: &mut [f32]) -> std::slice::IterMut<'_, [f32; FOUR]> {
    values.as_chunks_mut::<FOUR>().0.iter_mut()
}

/// Real and imaginary part.
type Bin = (f32, f32);

fn multiply(a: Bin, b: Bin) -> Bin {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// exp(−2πi·k / len).
fn root_of_unity(k: usize, len: usize) -> (f64, f64) {
    let (sin, cos) = (TAU * (k % len) as f64 / len as f64).sin_cos();
    (cos, -sin)
}

/// The transform of complex numbers, forward and without a factor.
#[derive(Debug)]
struct ComplexTransform {
    len: usize,
    method: Method,
}

#[derive(Debug)]
enum Method {
    Passes(Vec<Pass>),
    /// The chirp, and the transform of its conjugate, by which the chirped input is multiplied.
    Chirp {
        chirp: Complexes,
        response: Complexes,
        inner: Box<ComplexTransform>,
    },
}

impl ComplexTransform {
    fn new(len: usize) -> ComplexTransform {
        let method = match radices(len) {
            Some(radices) => Method::Passes(passes(len, &radices)),
            None => {
                let inner = ComplexTransform::new((2 * len - 1).next_power_of_two());
                // k² / 2 in turns: the squares are taken modulo whole turns, as they grow large.
                let angle = |k: usize| PI * (k * k % (2 * len)) as f64 / len as f64;
                let chirp = Complexes::from_fn(len, |k| (angle(k).cos(), -angle(k).sin()));
                let scale = 1.0 / inner.len as f64;
                let mut response = Complexes::from_fn(inner.len, |n| {
                    let k = n.min(inner.len - n);
                    match k < len {
                        true => (scale * angle(k).cos(), scale * angle(k).sin()),
                        false => (0.0, 0.0),
                    }
                });
                inner.apply(&mut response, &mut Scratch::default());
                Method::Chirp {
                    chirp,
                    response,
                    inner: Box::new(inner),
                }
            }
        };
        ComplexTransform { len, method }
    }

    fn apply(&self, values: &mut Complexes, scratch: &mut Scratch) {
        match &self.method {
            Method::Passes(passes) => {
                scratch.other.resize(self.len);
                for pass in passes {
                    pass.apply(values, &mut scratch.other);
                    std::mem::swap(values, &mut scratch.other);
                }
            }
            Method::Chirp {
                chirp,
                response,
                inner,
            } => {
                let mut chirped = std::mem::take(&mut scratch.chirped);
                chirped.resize(0);
                chirped.resize(inner.len);
                times(&mut chirped, values, chirp);
                inner.apply(&mut chirped, scratch);
                let spectrum = chirped.clone();
                times(&mut chirped, &spectrum, response);
                chirped.swap();
                inner.apply(&mut chirped, scratch);
                chirped.swap();
                times(values, &chirped, chirp);
                scratch.chirped = chirped;
            }
        }
    }
}

/// The products of `a` and `b` as far as both go.
fn times(products: &mut Complexes, a: &Complexes, b: &Complexes) {
    let a = a.re.iter().zip(&a.im);
    let b = b.re.iter().zip(&b.im);
    let to = products.re.iter_mut().zip(&mut products.im);
    for ((to, a), b) in to.zip(a).zip(b) {
        (*to.0, *to.1) = multiply((*a.0, *a.1), (*b.0, *b.1));
    }
}

/// The radices of the passes for this length; `None` if it has a prime factor above 7.
fn radices(len: usize) -> Option<Vec<usize>> {
    let mut radices = Vec::new();
    let mut rest = len;
    for radix in [4, 7, 5, 3, 2] {
        while rest.is_multiple_of(radix) {
            radices.push(radix);
            rest /= radix;
        }
    }
    (rest == 1).then_some(radices)
}

/// One of Stockham's passes: every `count · stride`-th value is combined with `radix − 1` others.
#[derive(Debug)]
struct Pass {
    radix: usize,
    count: usize,
    stride: usize,
    /// For each output but the first of a combination, a twiddle for each of `count`.
    twiddles: Vec<Complexes>,
}

fn passes(len: usize, radices: &[usize]) -> Vec<Pass> {
    let mut stride = 1;
    let pass = |&radix: &usize| {
        let rest = len / stride;
        let twiddles =
            (1..radix).map(|k| Complexes::from_fn(rest / radix, |p| root_of_unity(p * k, rest)));
        let pass = Pass {
            radix,
            count: rest / radix,
            stride,
            twiddles: twiddles.collect(),
        };
        stride *= radix;
        pass
    };
    radices.iter().map(pass).collect()
}

/// One number, or several side by side.
trait Lanes: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    fn splat(value: f32) -> Self;
}

impl Lanes for f32 {
    fn splat(value: f32) -> f32 {
        value
    }
}

impl Lanes for f32x4 {
    fn splat(value: f32) -> f32x4 {
        f32x4::splat(value)
    }
}

/// Complex numbers, one in each lane.
#[derive(Clone, Copy)]
struct Numbers<L> {
    re: L,
    im: L,
}

impl Numbers<f32x4> {
    #[inline(always)]
    fn of_four(re: [f32; FOUR], im: [f32; FOUR]) -> Self {
        Numbers {
            re: f32x4::new(re),
            im: f32x4::new(im),
        }
    }
}

impl<L: Lanes> Numbers<L> {
    #[inline(always)]
    fn splat((re, im): Bin) -> Self {
        Numbers {
            re: L::splat(re),
            im: L::splat(im),
        }
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Numbers {
            re: self.re + other.re,
            im: self.im + other.im,
        }
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        Numbers {
            re: self.re - other.re,
            im: self.im - other.im,
        }
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        Numbers {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }

    #[inline(always)]
    fn scaled(self, by: L) -> Self {
        Numbers {
            re: self.re * by,
            im: self.im * by,
        }
    }

    /// Their sum with `other` · i, and their difference from it.
    #[inline(always)]
    fn beside(self, other: Self) -> [Self; 2] {
        [
            Numbers {
                re: self.re - other.im,
                im: self.im + other.re,
            },
            Numbers {
                re: self.re + other.im,
                im: self.im - other.re,
            },
        ]
    }
}

impl Pass {
    fn apply(&self, from: &Complexes, to: &mut Complexes) {
        match self.radix {
            2 => self.combine::<2>(from, to),
            3 => self.combine::<3>(from, to),
            4 => self.combine::<4>(from, to),
            5 => self.combine::<5>(from, to),
            _ => self.combine::<7>(from, to),
        }
    }

    fn combine<const R: usize>(&self, from: &Complexes, to: &mut Complexes) {
        let roots: [Bin; R] = std::array::from_fn(|k| {
            let (re, im) = root_of_unity(k, R);
            (re as f32, im as f32)
        });
        let Pass { count, stride, .. } = *self;
        if stride == 1 {
            self.combine_first::<R>(&roots, from, to);
            return;
        }
        // Fours of a row. Rows that are cut out once need no checks of each access.
        let fours = stride / FOUR;
        for p in 0..count {
            let twiddles: [Bin; R] = std::array::from_fn(|k| match k {
                0 => (1.0, 0.0),
                _ => (self.twiddles[k - 1].re[p], self.twiddles[k - 1].im[p]),
            });
            let rows: [_; R] = std::array::from_fn(|j| {
                let begin = stride * (p + j * count);
                from.fours(begin..begin + stride, fours)
            });
            let block = stride * R * p..stride * R * (p + 1);
            let to_re = rows_mut::<R>(&mut to.re[block.clone()], stride, fours);
            let to_im = rows_mut::<R>(&mut to.im[block], stride, fours);
            for i in 0..fours {
                let inputs = rows.map(|(re, im)| Numbers::of_four(re[i], im[i]));
                let outputs = butterfly::<R, f32x4>(&roots, inputs);
                for (k, mut output) in outputs.into_iter().enumerate() {
                    if k > 0 {
                        output = output.times(Numbers::splat(twiddles[k]));
                    }
                    to_re[k][i] = output.re.to_array();
                    to_im[k][i] = output.im.to_array();
                }
            }
            for q in FOUR * fours..stride {
                self.combine_one::<R>(&roots, &twiddles, from, to, p, q);
            }
        }
    }

    /// The first pass, whose outputs lie beside each other.
    fn combine_first<const R: usize>(
        &self,
        roots: &[Bin; R],
        from: &Complexes,
        to: &mut Complexes,
    ) {
        let count = self.count;
        let fours = count / FOUR;
        let rows: [_; R] = std::array::from_fn(|j| from.fours(j * count..(j + 1) * count, fours));
        // The first output is not turned.
        let twiddles: [_; R] =
            std::array::from_fn(|k| self.twiddles[k.max(1) - 1].fours(0..count, fours));
        let to_re = to.re.chunks_exact_mut(FOUR * R);
        let to_im = to.im.chunks_exact_mut(FOUR * R);
        for (i, (to_re, to_im)) in (0..fours).zip(to_re.zip(to_im)) {
            let inputs = rows.map(|(re, im)| Numbers::of_four(re[i], im[i]));
            let outputs = butterfly::<R, f32x4>(roots, inputs);
            for (k, mut output) in outputs.into_iter().enumerate() {
                if k > 0 {
                    let (re, im) = twiddles[k];
                    output = output.times(Numbers::of_four(re[i], im[i]));
                }
                let (re, im) = (output.re.to_array(), output.im.to_array());
                for lane in 0..FOUR {
                    to_re[lane * R + k] = re[lane];
                    to_im[lane * R + k] = im[lane];
                }
            }
        }
        for p in FOUR * fours..count {
            let twiddles = std::array::from_fn(|k| match k {
                0 => (1.0, 0.0),
                _ => (self.twiddles[k - 1].re[p], self.twiddles[k - 1].im[p]),
            });
            self.combine_one::<R>(roots, &twiddles, from, to, p, 0);
        }
    }

    /// Combination `p` for the position `q` alone.
    fn combine_one<const R: usize>(
        &self,
        roots: &[Bin; R],
        twiddles: &[Bin; R],
        from: &Complexes,
        to: &mut Complexes,
        p: usize,
        q: usize,
    ) {
        let inputs = std::array::from_fn(|j| {
            let at = q + self.stride * (p + j * self.count);
            Numbers {
                re: from.re[at],
                im: from.im[at],
            }
        });
        let outputs = butterfly::<R, f32>(roots, inputs);
        for (k, mut output) in outputs.into_iter().enumerate() {
            if k > 0 {
                output = output.times(Numbers::splat(twiddles[k]));
            }
            let at = q + self.stride * (p * R + k);
            (to.re[at], to.im[at]) = (output.re, output.im);
        }
    }
}

/// `R` rows of `stride` values, each as so many fours.
#[inline(always)]
fn rows_mut<const R: usize>(
    values: &mut [f32],
    stride: usize,
    fours: usize,
) -> [&mut [[f32; FOUR]]; R] {
    let mut rest = values;
    std::array::from_fn(|_| {
        let (row, others) = std::mem::take(&mut rest).split_at_mut(stride);
        rest = others;
        &mut row.as_chunks_mut::<FOUR>().0[..fours]
    })
}

/// The transform of `R` numbers, 2, 4 or odd. `roots`: exp(−2πi·k / R).
#[inline(always)]
fn butterfly<const R: usize, L: Lanes>(roots: &[Bin; R], x: [Numbers<L>; R]) -> [Numbers<L>; R] {
    let mut y = x;
    match R {
        2 => (y[0], y[1]) = (x[0].plus(x[1]), x[0].minus(x[1])),
        4 => {
            let (even, odd) = (x[0].plus(x[2]), x[1].plus(x[3]));
            (y[0], y[2]) = (even.plus(odd), even.minus(odd));
            [y[3], y[1]] = x[0].minus(x[2]).beside(x[1].minus(x[3]));
        }
        _ => {
            // Numbers that mirror each other share their cosines, and their sines but for the sign.
            let (mut sums, mut differences) = (x, x);
            for j in 1..=R / 2 {
                sums[j] = x[j].plus(x[R - j]);
                differences[j] = x[j].minus(x[R - j]);
                y[0] = y[0].plus(sums[j]);
            }
            for k in 1..=R / 2 {
                let (mut even, mut odd) = (x[0], Numbers::splat((0.0, 0.0)));
                for j in 1..=R / 2 {
                    let (cos, sin) = roots[j * k % R];
                    even = even.plus(sums[j].scaled(L::splat(cos)));
                    odd = odd.plus(differences[j].scaled(L::splat(sin)));
                }
                [y[k], y[R - k]] = even.beside(odd);
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<f32> {
        let noise = |n: usize| ((n as f64 * 12.9898).sin() * 43_758.545_3).fract() as f32;
        (0..len).map(noise).collect()
    }

    fn pairs(pcm: &[f32]) -> Complexes {
        let (pairs, _) = pcm.as_chunks::<2>();
        Complexes {
            re: pairs.iter().map(|pair| pair[0]).collect(),
            im: pairs.iter().map(|pair| pair[1]).collect(),
        }
    }

    /// All radices, as the first pass and as others, and lengths with other prime factors.
    const LENGTHS: [usize; 14] = [2, 4, 6, 8, 10, 12, 14, 22, 98, 240, 1260, 2940, 3200, 7418];

    #[test]
    fn the_spectrum_is_that_of_the_textbook() {
        for len in LENGTHS {
            let pcm = noise(len);
            let mut bins = pairs(&pcm);
            Transform::new(len).to_spectrum(&mut bins, &mut Scratch::default());
            for k in (0..len / 2).step_by(len / 200 + 1) {
                let angle = |n: usize| TAU * (k * n % len) as f64 / len as f64;
                let (mut re, mut im) = (0.0, 0.0);
                for (n, &sample) in pcm.iter().enumerate() {
                    re += f64::from(sample) * angle(n).cos();
                    im -= f64::from(sample) * angle(n).sin();
                }
                let off_re = f64::from(bins.re[k]) / 2.0 - re;
                let off = off_re.hypot(f64::from(bins.im[k]) / 2.0 - im);
                assert!(off < 1e-6 * len as f64, "bin {k} of {len}: {off}");
            }
        }
    }

    #[test]
    fn the_way_back_gives_the_same_pcm() {
        for len in LENGTHS {
            let mut pcm = noise(len);
            // Nothing at half the sample rate: that bin is left out.
            let alternating = |n: usize| if n.is_multiple_of(2) { 1.0 } else { -1.0 };
            let last: f32 = (0..len).map(|n| alternating(n) * pcm[n]).sum();
            for (n, sample) in pcm.iter_mut().enumerate() {
                *sample -= alternating(n) * last / len as f32;
            }
            let (mut bins, mut scratch) = (pairs(&pcm), Scratch::default());
            let transform = Transform::new(len);
            transform.to_spectrum(&mut bins, &mut scratch);
            transform.to_pcm(&mut bins, &mut scratch);
            let back = bins.re.iter().zip(&bins.im).flat_map(|(re, im)| [re, im]);
            for (n, (back, sample)) in back.zip(&pcm).enumerate() {
                // Twice the spectrum was given.
                let off = back / (2 * len) as f32 - sample;
                assert!(off.abs() < 2e-6, "sample {n} of {len}: {off}");
            }
        }
    }
}
