// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{BANDS, Before, LINES, Quantized, Trigger, amplify, noise, twin};
use crate::kernels::quantization;
use crate::kernels::spectra::{LONG, Random, Tables, can_run, powers_of_34, spectra};

/// Widths and windows of long blocks, or of three short ones, whose bands at 44.1 kHz are in table B.8.
pub fn bands(is_short: bool) -> ([i32; BANDS], [i32; BANDS], usize) {
    const SHORT: [i32; 14] = [0, 4, 8, 12, 16, 22, 30, 40, 52, 66, 84, 106, 136, 192];
    let (mut width, mut window) = ([0; BANDS], [3; BANDS]);
    if is_short {
        for band in 0..BANDS {
            width[band] = SHORT[band / 3 + 1] - SHORT[band / 3];
            window[band] = (band % 3) as i32;
        }
        (width, window, BANDS)
    } else {
        for band in 0..22 {
            width[band] = LONG[band + 1] - LONG[band];
        }
        (width, window, 22)
    }
}

#[test]
fn the_kernel_measures_noise_as_its_twin() {
    if !can_run() {
        return;
    }
    let powers = Tables::get();
    let mut random = Random(13);
    for (n, xr) in spectra(600).enumerate() {
        let is_short = n % 2 == 1;
        let (width, window, bands) = bands(is_short);
        let xr34 = powers_of_34(&xr);
        let peak = xr34.iter().copied().fold(0.0, f32::max);
        let lowest = (0..256).find(|&gain| peak * powers.quantities[gain] <= 8206.0);
        let global_gain = (lowest.unwrap_or(255) + random.below(70)).clamp(130, 255) as i32;
        let step = f64::from(powers.quantities[global_gain as usize]);
        let quantized =
            xr34.map(|line| quantization::twin::quantize((f64::from(line) * step).min(8206.0)));
        let scalefac = std::array::from_fn(|_| random.below(8) as i32);
        let subblock_gain = [0, 1, 2].map(|_| random.below(3) as i32);
        let [a, b, c] = subblock_gain;
        let granule = Quantized {
            xr: &xr,
            quantized: &quantized,
            global_gain,
            scalefac: &scalefac,
            scalefac_scale: random.below(2) as i32,
            preflag: !is_short && random.below(2) == 1,
            subblock_gain: &[a, b, c, 0],
            width: &width,
            window: &window,
            is_short,
            bands: bands - [0, 1, 3][random.below(3)],
            last_line: if n % 5 == 0 {
                2 * random.below(288) as i32 + 1
            } else {
                575
            },
        };
        let level = xr.iter().map(|xr| xr * xr).sum::<f32>().max(1e-6) / 1e4;
        let allowed = std::array::from_fn(|_| level * (0.01 + random.fraction()));
        let (mut distort, mut again) = ([0.0; BANDS], [0.0; BANDS]);
        let (mut gain, mut before) = ([1000; BANDS], [0.0; BANDS]);
        // SAFETY: the processor has been asked.
        let [result, second] = unsafe {
            [&mut distort, &mut again].map(|distort| {
                let before = Before {
                    gain: &mut gain,
                    noise: &mut before,
                };
                noise(&granule, &powers, &allowed, distort, Some(before))
            })
        };
        // The second time, all comes from before.
        assert_eq!((result, distort), (second, again));
        let expected = twin::distort(&granule, &allowed);
        for (band, (&distort, expected)) in distort.iter().zip(&expected).enumerate() {
            assert_eq!(gain[band], twin::gain(&granule, band));
            // The noise of a band that is quantized finely is a difference of near numbers.
            let scale = xr.iter().fold(0.0, |peak: f32, xr| peak.max(xr.abs()));
            let slack = f64::from(scale * 1e-6).powi(2) * f64::from(width[band]);
            let slack = slack / f64::from(allowed[band]) + 2e-3 * expected;
            let error = (f64::from(distort) - expected).abs();
            assert!(
                error <= slack + 1e-12,
                "{n}, band {band}: {distort}, not {expected}"
            );
        }
        let measured = distort[..granule.bands].iter().map(|&d| f64::from(d));
        let sums = twin::sum(&measured.collect::<Vec<_>>());
        assert!((result.total - sums.total).abs() < 1e-4 * (1.0 + sums.total.abs()));
        assert!((result.over - sums.over).abs() < 1e-4 * (1.0 + sums.over));
        assert!((result.loudest - sums.loudest).abs() < 1e-5 * (1.0 + sums.loudest.abs()));
        assert_eq!(result.over_count, sums.over_count);
        let squares = f64::from(result.over_squares - sums.over_squares).abs();
        assert!(
            squares <= 0.01 * f64::from(sums.over_squares),
            "a dB that is rounded"
        );
    }
}

#[test]
fn the_kernel_amplifies_as_its_twin() {
    if !can_run() {
        return;
    }
    let mut random = Random(17);
    for (n, xr) in spectra(200).enumerate() {
        let (width, _, bands) = bands(n % 2 == 1);
        let loud = [0.5, 1.0, 4.0][n % 3];
        let distort = std::array::from_fn(|_| loud * random.fraction());
        let half_of_loudest = random.below(2) == 1;
        let trigger = if half_of_loudest {
            Trigger::HalfOfLoudest
        } else {
            Trigger::Audible
        };
        let (mut kernel, mut plain) = (powers_of_34(&xr), powers_of_34(&xr));
        let (mut scalefac, mut expected) = ([2; BANDS], [2; BANDS]);
        let by = 1.296_839_6;
        // SAFETY: the processor has been asked.
        let peak = unsafe {
            amplify(
                &mut kernel,
                &mut scalefac,
                bands - 1,
                &width,
                &distort,
                trigger,
                by,
                0.0,
            )
        };
        twin::amplify(
            &mut plain,
            &mut expected[..bands - 1],
            &width,
            &distort,
            half_of_loudest,
            by,
        );
        assert_eq!((kernel, scalefac), (plain, expected));
        assert!(kernel.contains(&peak) || peak == 0.0);
    }
}

/// A band that is left out has its whole energy as noise, and is not too loud where that is allowed, in whatever order
/// it is summed.
#[test]
fn noise_equal_to_what_is_allowed_is_not_too_loud() {
    if !can_run() {
        return;
    }
    let powers = Tables::get();
    let (width, window, bands) = bands(false);
    for xr in spectra(100).skip(1) {
        let mut lines = xr.iter();
        let allowed = std::array::from_fn(|band| {
            let width = width[band] as usize;
            let energy = lines.by_ref().take(width).map(|xr| xr * xr).sum::<f32>();
            energy.max(1e-9)
        });
        let granule = Quantized {
            xr: &xr,
            quantized: &[0; LINES],
            global_gain: 200,
            scalefac: &[0; BANDS],
            scalefac_scale: 0,
            preflag: false,
            subblock_gain: &[0; 4],
            width: &width,
            window: &window,
            is_short: false,
            bands,
            last_line: 575,
        };
        let mut distort = [0.0; BANDS];
        // SAFETY: the processor has been asked.
        let result = unsafe { noise(&granule, &powers, &allowed, &mut distort, None) };
        assert_eq!((result.over_count, result.over), (0, 0.0));
        assert!(distort[..bands].iter().all(|&distort| distort <= 1.0));
    }
}

#[test]
fn a_granule_has_576_lines() {
    for is_short in [false, true] {
        let (width, ..) = bands(is_short);
        assert_eq!(width.iter().sum::<i32>(), LINES as i32);
    }
}
