// SPDX-License-Identifier: LGPL-2.0-or-later
//! The noise of each band in plain Rust: ISO/IEC 11172-3, C.1.5.4.3.3, in double precision.

use super::{BANDS, EQUAL, LINES, Noise, PRETAB, Quantized};

/// The gain of a band's lines.
pub fn gain(granule: &Quantized<'_>, band: usize) -> i32 {
    let pretab = PRETAB.get(band).filter(|_| granule.preflag);
    let scalefac = granule.scalefac[band] + pretab.unwrap_or(&0);
    let window = granule.window[band] as usize;
    granule.global_gain
        - scalefac * [2, 4][granule.scalefac_scale as usize]
        - 8 * granule.subblock_gain[window]
}

/// The noise of each band, divided by what is allowed.
pub fn distort(granule: &Quantized<'_>, allowed: &[f32; BANDS]) -> Vec<f64> {
    let mut start = 0;
    let bands = granule.width.iter().zip(allowed).take(granule.bands);
    bands
        .enumerate()
        .map(|(band, (&width, &allowed))| {
            let step = (f64::from(gain(granule, band) - 210) * 0.25).exp2();
            let end = start + width;
            // Pairs of lines that start below the last one.
            let lines = (start..end).filter(|&line| line / 2 * 2 < granule.last_line.max(1));
            let noise = lines
                .filter(|_| start <= granule.last_line)
                .map(|line| {
                    let quantized = f64::from(granule.quantized[line as usize]);
                    let xr = f64::from(granule.xr[line as usize]).abs();
                    (xr - quantized.powf(4.0 / 3.0) * step).powi(2)
                })
                .sum::<f64>();
            start = end;
            let ratio = noise / f64::from(allowed);
            if ratio <= f64::from(EQUAL) {
                ratio.min(1.0)
            } else {
                ratio
            }
        })
        .collect()
}

/// The sums over all bands.
pub fn sum(distort: &[f64]) -> Noise {
    let logs = distort.iter().map(|distort| distort.max(1e-20).log10());
    let over = logs.clone().filter(|&log| log > 0.0);
    let square = |log: f64| ((10.0 * log + 0.5) as i32).max(1).pow(2);
    Noise {
        over: over.clone().sum::<f64>() as f32,
        total: logs.clone().sum::<f64>() as f32,
        loudest: logs.fold(-20.0, f64::max) as f32,
        over_count: over.clone().count() as i32,
        over_squares: over.map(square).sum(),
    }
}

/// What [`super::amplify`] does.
pub fn amplify(
    xr34: &mut [f32; LINES],
    scalefac: &mut [i32],
    width: &[i32; BANDS],
    distort: &[f32; BANDS],
    half_of_loudest: bool,
    by: f32,
) {
    let most = distort[..scalefac.len()]
        .iter()
        .copied()
        .fold(0.0, f32::max);
    let trigger = match most {
        ..=1.0 => 0.95 * most,
        _ if half_of_loudest => most.sqrt(),
        _ => 1.0,
    };
    let mut start = 0;
    for (band, scalefac) in scalefac.iter_mut().enumerate() {
        let end = start + width[band] as usize;
        if distort[band] >= trigger {
            *scalefac += 1;
            xr34[start..end].iter_mut().for_each(|line| *line *= by);
        }
        start = end;
    }
}
