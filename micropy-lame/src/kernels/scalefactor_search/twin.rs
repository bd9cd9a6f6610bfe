// SPDX-License-Identifier: LGPL-2.0-or-later
//! The search in plain Rust: LAME's bisection, with the noise of each gain that it asks for in double precision.

use crate::kernels::quantization;

/// The noise of a band's lines at a gain.
pub fn noise(xr: &[f32], xr34: &[f32], gain: usize) -> f64 {
    let step = ((gain as f64 - 210.0) * 0.25).exp2();
    let lines = xr.iter().zip(xr34);
    lines
        .map(|(&xr, &xr34)| {
            let quantity = f64::from(xr34) * step.powf(-0.75);
            let quantized = quantization::twin::quantize(quantity);
            (f64::from(xr).abs() - f64::from(quantized).powf(4.0 / 3.0) * step).powi(2)
        })
        .sum()
}

/// The gain of a band whose noise may be `allowed`.
pub fn find_gain(xr: &[f32], xr34: &[f32], allowed: f64, least: usize) -> usize {
    let is_bad = |gain: usize| {
        let neighbours = [gain, (gain + 1).min(255), gain - 1];
        neighbours
            .iter()
            .any(|&gain| noise(xr, xr34, gain) > allowed)
    };
    let (mut gain, mut found) = (128, None);
    for distance in [64, 32, 16, 8, 4, 2, 1, 0] {
        if gain > least && is_bad(gain) {
            gain -= distance;
            continue;
        }
        if gain > least {
            found = Some(gain);
        }
        gain += distance;
    }
    found.unwrap_or(gain).max(least)
}

/// The smallest gain at which a band can be coded.
pub fn lowest_gain(xr34: &[f32]) -> usize {
    let peak = xr34.iter().copied().fold(0.0, f32::max);
    let fits = |gain: &usize| f64::from(peak) * ((*gain as f64 - 210.0) * -0.1875).exp2() <= 8206.0;
    (1..255).find(fits).unwrap_or(255)
}
