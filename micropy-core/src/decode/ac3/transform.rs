//! From frequencies to PCM: the inverse transforms, the window and overlap-add (ATSC A/52, 7.9).
//!
//! The transform of a block is a DCT of type IV of its 256 frequencies, or two of 128, unfolded to 512 values. The
//! DCT is computed by a complex FFT of half its length.

use std::f64::consts::PI;
use std::sync::LazyLock;

use super::{BLOCK_LEN, Spectrum};

/// The 256 rising values of the window; the falling ones are the same backwards.
static WINDOW: LazyLock<[f32; BLOCK_LEN]> = LazyLock::new(window);

static LONG: LazyLock<Dct4<256, 128>> = LazyLock::new(Dct4::new);
static SHORT: LazyLock<Dct4<128, 64>> = LazyLock::new(Dct4::new);

/// What the second half of a channel's last block adds to its next.
pub struct Overlap([f32; BLOCK_LEN]);

impl Overlap {
    /// Nothing before the first block.
    pub fn silence() -> Self {
        Overlap([0.0; BLOCK_LEN])
    }

    /// Appends the PCM of the next block to `pcm`. `short`: the block has two transforms, whose frequencies alternate.
    pub fn add_block(&mut self, spectrum: &Spectrum, short: bool, pcm: &mut Vec<f32>) {
        // The first half of the unfolded transform is `rising` and its negative backwards, the second `falling` and
        // itself backwards.
        let (mut rising, mut falling) = ([0.0; 128], [0.0; 128]);
        if short {
            let mut first = std::array::from_fn(|k| spectrum[2 * k]);
            let mut second = std::array::from_fn(|k| spectrum[2 * k + 1]);
            SHORT.transform(&mut first);
            SHORT.transform(&mut second);
            for n in 0..128 {
                rising[n] = -2.0 * first[n];
                falling[n] = 2.0 * second[127 - n];
            }
        } else {
            let mut values = *spectrum;
            LONG.transform(&mut values);
            for n in 0..128 {
                rising[n] = -2.0 * values[128 + n];
                falling[n] = 2.0 * values[127 - n];
            }
        }
        let window = &*WINDOW;
        let start = pcm.len();
        pcm.extend_from_slice(&self.0);
        let (first, second) = pcm[start..].split_at_mut(128);
        for n in 0..128 {
            first[n] += rising[n] * window[n];
            second[n] -= rising[127 - n] * window[128 + n];
            self.0[n] = falling[n] * window[255 - n];
            self.0[128 + n] = falling[127 - n] * window[127 - n];
        }
    }

    /// Appends the tail of the last block alone: the sound fades out as the window does.
    pub fn fade_out(&mut self, pcm: &mut Vec<f32>) {
        pcm.extend_from_slice(&self.0);
        self.0.fill(0.0);
    }
}

/// A Kaiser-Bessel-derived window with α = 5, of which table 7.33 has five digits.
fn window() -> [f32; BLOCK_LEN] {
    let bessel = |x: f64| {
        let term = |term: &mut f64, k: i32| {
            *term *= x * x / f64::from(4 * k * k);
            Some(*term)
        };
        1.0 + (1..60).scan(1.0, term).sum::<f64>()
    };
    let kaiser = |n: usize| {
        let place = n as f64 / 128.0 - 1.0;
        bessel(5.0 * PI * (1.0 - place * place).max(0.0).sqrt())
    };
    let all: f64 = (0..=256).map(kaiser).sum();
    let mut sum = 0.0;
    std::array::from_fn(|n| {
        sum += kaiser(n);
        (sum / all).sqrt() as f32
    })
}

/// The discrete cosine transform of type IV of `N` values: y\[k\] = Σ x\[n\]·cos(π/N·(n+½)·(k+½)). `H` is N/2.
struct Dct4<const N: usize, const H: usize> {
    /// Before and after the FFT, each value is turned by this.
    turn: [(f32, f32); H],
    /// e^(−2πip/H).
    roots: [(f32, f32); H],
}

impl<const N: usize, const H: usize> Dct4<N, H> {
    fn new() -> Self {
        let turn = |angle: f64| (angle.cos() as f32, angle.sin() as f32);
        Dct4 {
            turn: std::array::from_fn(|n| turn(-PI * (8 * n + 1) as f64 / (8 * N) as f64)),
            roots: std::array::from_fn(|p| turn(-2.0 * PI * p as f64 / H as f64)),
        }
    }

    fn transform(&self, values: &mut [f32; N]) {
        let (mut re, mut im) = ([0.0; H], [0.0; H]);
        for n in 0..H {
            let (a, b) = (values[2 * n], values[N - 1 - 2 * n]);
            let (c, s) = self.turn[n];
            re[n] = a * c - b * s;
            im[n] = a * s + b * c;
        }
        self.fft(&mut re, &mut im);
        for n in 0..H {
            let (c, s) = self.turn[n];
            values[2 * n] = re[n] * c - im[n] * s;
            values[N - 1 - 2 * n] = -(re[n] * s + im[n] * c);
        }
    }

    /// Stockham's FFT: stages of four, and one of two where the length is no power of four.
    fn fft(&self, re: &mut [f32; H], im: &mut [f32; H]) {
        let (mut other_re, mut other_im) = ([0.0; H], [0.0; H]);
        let (mut len, mut stride) = (H, 1);
        while len >= 4 {
            let quarter = len / 4;
            for p in 0..quarter {
                let [w1, w2, w3] = [1, 2, 3].map(|times| self.roots[times * p * stride]);
                let from = |k: usize| stride * (p + k * quarter);
                for q in 0..stride {
                    let at = |k: usize| (re[q + from(k)], im[q + from(k)]);
                    let (a, b, c, d) = (at(0), at(1), at(2), at(3));
                    let even = (a.0 + c.0, a.1 + c.1);
                    let odd = (a.0 - c.0, a.1 - c.1);
                    let sum = (b.0 + d.0, b.1 + d.1);
                    // i·(b − d)
                    let turned = (d.1 - b.1, b.0 - d.0);
                    let mut put = |k: usize, (x, y): (f32, f32), (c, s): (f32, f32)| {
                        let to = q + stride * (4 * p + k);
                        other_re[to] = x * c - y * s;
                        other_im[to] = x * s + y * c;
                    };
                    put(0, (even.0 + sum.0, even.1 + sum.1), (1.0, 0.0));
                    put(1, (odd.0 - turned.0, odd.1 - turned.1), w1);
                    put(2, (even.0 - sum.0, even.1 - sum.1), w2);
                    put(3, (odd.0 + turned.0, odd.1 + turned.1), w3);
                }
            }
            std::mem::swap(re, &mut other_re);
            std::mem::swap(im, &mut other_im);
            (len, stride) = (len / 4, stride * 4);
        }
        if len == 2 {
            for q in 0..stride {
                for values in [&mut *re, &mut *im] {
                    let (a, b) = (values[q], values[q + stride]);
                    (values[q], values[q + stride]) = (a + b, a - b);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64) -> Spectrum {
        let mut state = seed;
        std::array::from_fn(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
    }

    /// The standard's forward transform of 8.2.3.2 turned round: with `len` values and α of −1, 0 or 1.
    fn by_definition(spectrum: &[f32], len: usize, alpha: f64) -> Vec<f64> {
        let value = |n: usize| {
            let terms = spectrum.iter().enumerate().map(|(k, &x)| {
                let odd = (2 * k + 1) as f64;
                let angle = 2.0 * PI / (4 * len) as f64 * (2 * n + 1) as f64 * odd
                    + PI / 4.0 * odd * (1.0 + alpha);
                f64::from(x) * angle.cos()
            });
            -2.0 * terms.sum::<f64>()
        };
        (0..len).map(value).collect()
    }

    fn assert_block(short: bool, unfolded: &[f64], spectrum: &Spectrum) {
        let mut overlap = Overlap::silence();
        let mut pcm = Vec::new();
        overlap.add_block(spectrum, short, &mut pcm);
        pcm.extend_from_slice(&overlap.0);
        for (n, (&fast, &slow)) in pcm.iter().zip(unfolded).enumerate() {
            let slow = slow * f64::from(WINDOW[n.min(511 - n)]);
            assert!((f64::from(fast) - slow).abs() < 1e-4, "{n}: {fast} {slow}");
        }
    }

    #[test]
    fn a_long_block_is_the_standards_sum() {
        let spectrum = noise(1);
        assert_block(false, &by_definition(&spectrum, 512, 0.0), &spectrum);
    }

    #[test]
    fn a_block_of_two_short_transforms_is_the_standards_sum() {
        let spectrum = noise(2);
        let every_second = |from| spectrum.iter().skip(from).step_by(2).copied();
        let (first, second): (Vec<f32>, Vec<f32>) =
            (every_second(0).collect(), every_second(1).collect());
        let mut unfolded = by_definition(&first, 256, -1.0);
        unfolded.extend(by_definition(&second, 256, 1.0));
        assert_block(true, &unfolded, &spectrum);
    }

    /// Values of table 7.33.
    #[test]
    fn the_window_is_the_tables() {
        for (n, value) in [
            (0, 0.00014),
            (9, 0.00187),
            (100, 0.44030),
            (127, 0.70269),
            (255, 1.0),
        ] {
            assert!((WINDOW[n] - value).abs() < 6e-6, "{n}: {}", WINDOW[n]);
        }
        for n in 0..256 {
            let power = WINDOW[n].powi(2) + WINDOW[255 - n].powi(2);
            assert!((power - 1.0).abs() < 1e-6);
        }
    }
}
