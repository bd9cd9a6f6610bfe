// SPDX-License-Identifier: LGPL-2.0-or-later
//! Cosines and sines of fractions of a turn, at compile time, so that tables of them are constants.

use std::f64::consts::FRAC_PI_4;

/// cos(2π · `numerator` / `denominator`), to the last bits of an `f64`.
pub const fn cos(numerator: u64, denominator: u64) -> f64 {
    // Exact into the first eighth of a turn; there the series converges fast.
    let eighths = numerator % denominator * 8;
    let inside = eighths % denominator;
    let there = inside as f64 / denominator as f64 * FRAC_PI_4;
    let back = (denominator - inside) as f64 / denominator as f64 * FRAC_PI_4;
    match eighths / denominator {
        0 => series(there, 0),
        1 => series(back, 1),
        2 => -series(there, 1),
        3 => -series(back, 0),
        4 => -series(there, 0),
        5 => -series(back, 1),
        6 => series(there, 1),
        _ => series(back, 0),
    }
}

/// sin(2π · `numerator` / `denominator`).
pub const fn sin(numerator: u64, denominator: u64) -> f64 {
    cos(4 * numerator + 3 * denominator, 4 * denominator)
}

/// The Taylor series that starts with x^`power`: the cosine's with 0, the sine's with 1.
const fn series(x: f64, power: u32) -> f64 {
    let mut term = if power == 0 { 1.0 } else { x };
    let mut sum = term;
    let mut n = power;
    while n < 20 {
        term *= -x * x / ((n + 1) * (n + 2)) as f64;
        sum += term;
        n += 2;
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    #[test]
    fn equals_the_library_function() {
        for denominator in [1, 2, 7, 8, 36, 72, 144, 1024] {
            for numerator in 0..3 * denominator {
                let angle = TAU * (numerator % denominator) as f64 / denominator as f64;
                assert!((super::cos(numerator, denominator) - angle.cos()).abs() < 2e-15);
                assert!((super::sin(numerator, denominator) - angle.sin()).abs() < 2e-15);
            }
        }
    }
}
