// SPDX-License-Identifier: LGPL-2.0-or-later
//! The filter by definition.

use super::COEFFICIENTS;

/// One sample of the output, from 21 samples; the first one counts for nothing.
pub fn high_pass(pcm: &[f32]) -> f64 {
    let pairs = COEFFICIENTS.iter().zip((1..).step_by(2));
    let sum = pairs.map(|(&c, k)| f64::from(c) * (f64::from(pcm[k]) + f64::from(pcm[21 - k])));
    f64::from(pcm[10]) + sum.sum::<f64>()
}
