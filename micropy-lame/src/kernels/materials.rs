// SPDX-License-Identifier: LGPL-2.0-or-later
//! What the tests of the kernels encode: samples on LAME's scale, in which full scale is 32768.

use std::f32::consts::TAU;

pub use super::spectra::can_run as processor_can;

/// Enough for twelve granules and what a filterbank reaches back to.
const SAMPLES: usize = 12 * 576 + 1_056;

/// Numbers between −1 and 1, always the same (xorshift, Marsaglia 2003).
pub struct Random(pub u32);

impl Random {
    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as f32 / (1_u32 << 31) as f32 - 1.0
    }
}

/// Everything, by name.
pub fn all() -> Vec<(&'static str, Vec<f32>)> {
    let make = |at: &mut dyn FnMut(usize) -> f32| (0..SAMPLES).map(at).collect::<Vec<_>>();
    let mut random = Random(1);
    let sine = |n: usize, frequency: f32| (TAU * frequency * n as f32).sin();
    vec![
        (
            "music",
            make(&mut |n| {
                let struck = (n % 2_500) as f32;
                let chord = (1..9)
                    .map(|k| sine(n, 0.005 * k as f32) / k as f32)
                    .sum::<f32>();
                let cymbal = random.next() * (-struck / 400.0).exp();
                9_000.0 * chord * (-struck / 4_000.0).exp() + 8_000.0 * cymbal
            }),
        ),
        ("noise", make(&mut |_| 32_768.0 * random.next())),
        ("silence", make(&mut |_| 0.0)),
        ("denormals", make(&mut |_| 1e-39 * random.next())),
        (
            "full scale, clipped",
            make(&mut |n| (60_000.0 * sine(n, 0.03)).clamp(-32_768.0, 32_767.0)),
        ),
        (
            "24 dB over full scale",
            make(&mut |n| 524_288.0 * sine(n, 0.013)),
        ),
        ("a constant", make(&mut |_| 20_000.0)),
        (
            "impulses",
            make(&mut |n| if n % 701 == 3 { 32_767.0 } else { 0.0 }),
        ),
        (
            "half the sample rate",
            make(&mut |n| if n % 2 == 0 { 32_767.0 } else { -32_767.0 }),
        ),
        (
            "a loud tone with a faint one",
            make(&mut |n| 30_000.0 * sine(n, 0.1) + 0.5 * sine(n, 0.37)),
        ),
        (
            "an attack out of silence",
            make(&mut |n| {
                if n > 3_000 {
                    20_000.0 * random.next()
                } else {
                    0.0
                }
            }),
        ),
    ]
}

/// Below that norm of a spectrum, rounding to denormals may be all there is.
pub const DENORMAL: f64 = 1e-30;

/// The distance of two spectra, relative to the second or to `floor`.
pub fn distance(actual: &[f32], expected: &[f64], floor: f64) -> f64 {
    let pairs = || actual.iter().zip(expected);
    let error = pairs()
        .map(|(&a, e)| (f64::from(a) - e).powi(2))
        .sum::<f64>();
    let energy = pairs().map(|(_, e)| e * e).sum::<f64>();
    error.sqrt() / energy.sqrt().max(floor)
}
