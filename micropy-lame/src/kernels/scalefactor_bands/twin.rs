// SPDX-License-Identifier: LGPL-2.0-or-later
//! Scalefactor bands from partition bands in plain Rust and double precision.

use super::{Borders, LONG_BANDS, WEIGHTS};

/// The sum over each scalefactor band: a partition band on a border counts for both, by its parts.
pub fn sums(values: &[f32], borders: &Borders<'_>, count: usize) -> Vec<f64> {
    let mut from = vec![0.0; count];
    let mut band = 0;
    for (at, &value) in values[..borders.partitions].iter().enumerate() {
        let value = f64::from(value);
        let Some(&end) = borders.ends.get(band) else {
            break;
        };
        if at < end as usize {
            from[band] += value;
        } else {
            let below = f64::from(borders.weights[band]);
            from[band] += below * value;
            band += 1;
            if band < count {
                from[band] += (1.0 - below) * value;
            }
        }
    }
    // What has begun behind the last border is no band.
    from
}

/// The perceptual entropy of a long block.
pub fn entropy(energy: &[f32], threshold: &[f32], lowest: f32) -> f64 {
    let bands = energy.iter().zip(threshold).zip(WEIGHTS).take(LONG_BANDS);
    let bits = bands.map(|((&energy, &threshold), weight)| {
        let threshold = f64::from(threshold * lowest);
        let energy = f64::from(energy);
        let log = match energy / threshold {
            _ if threshold <= 0.0 || energy <= threshold => 0.0,
            ratio if ratio > 1e10 => 10.0 * std::f64::consts::LN_10,
            ratio => ratio.log10(),
        };
        f64::from(weight) * log
    });
    1124.23 / 4.0 + bits.sum::<f64>()
}
