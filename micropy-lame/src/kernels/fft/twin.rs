// SPDX-License-Identifier: LGPL-2.0-or-later
//! The energy spectrum by definition.

use std::f64::consts::TAU;

/// |Σ w(n) x(n) exp(−2πi kn / N)|² for the lines 0 to N/2 of the windowed samples.
pub fn energies(pcm: &[f64], window: impl Fn(f64) -> f64) -> Vec<f64> {
    let n = pcm.len();
    let windowed = (0..n).map(|i| pcm[i] * window((i as f64 + 0.5) / n as f64));
    let windowed = windowed.collect::<Vec<_>>();
    let turns = (0..n).map(|i| (TAU * i as f64 / n as f64).sin_cos());
    let turns = turns.collect::<Vec<_>>();
    let line = |k: usize| {
        let terms = windowed.iter().enumerate().map(|(i, x)| {
            let (sin, cos) = turns[i * k % n];
            (x * cos, x * sin)
        });
        let (re, im) = terms.fold((0.0, 0.0), |sum, term| (sum.0 + term.0, sum.1 + term.1));
        re * re + im * im
    };
    (0..=n / 2).map(line).collect()
}

/// The window of long blocks.
pub fn blackman(t: f64) -> f64 {
    0.42 - 0.5 * (TAU * t).cos() + 0.08 * (2.0 * TAU * t).cos()
}

/// The window of short blocks.
pub fn hann(t: f64) -> f64 {
    0.5 - 0.5 * (TAU * t).cos()
}
