// SPDX-License-Identifier: LGPL-2.0-or-later
//! What noise a band may have, in plain Rust and double precision.

use super::{Granule, LEAST};

/// The energy of a band, and the noise it may have.
pub fn allowed_noise(granule: &Granule<'_>) -> Vec<(f64, f64)> {
    let mut start = 0;
    (0..granule.bands)
        .map(|band| {
            let end = start + granule.width[band] as usize;
            let lines = granule.xr[start..end].iter();
            let energies = lines.map(|&xr| f64::from(xr) * f64::from(xr));
            start = end;
            let quiet = f64::from(granule.quiet[band]);
            let energy = energies.clone().sum::<f64>();
            let per_line = quiet / f64::from(granule.width[band]);
            let limited = energies.map(|energy| energy.min(per_line)).sum::<f64>();
            let in_quiet = if energy < quiet {
                energy
            } else {
                quiet.max(limited + f64::from(LEAST))
            };
            let masked = match granule.energy[band] {
                ..=1e-12 => 0.0,
                model => energy * f64::from(granule.threshold[band]) / f64::from(model),
            };
            let masked = masked * f64::from(granule.factor[band]);
            (energy, masked.max(in_quiet).max(f64::from(LEAST)))
        })
        .collect()
}
