// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{BANDS, Granule, LINES, allowed_noise, last_line, spread_in_time, twin};
use crate::kernels::noise::tests::bands;
use crate::kernels::spectra::{Random, can_run, spectra};

#[test]
fn the_kernel_allows_what_its_twin_does() {
    if !can_run() {
        return;
    }
    let mut random = Random(23);
    let near = |a: f64, b: f64| (a - b).abs() <= 2e-6 * b;
    for (n, xr) in spectra(400).enumerate() {
        let (width, _, bands) = bands(n % 2 == 1);
        let level = xr.iter().map(|xr| xr * xr).sum::<f32>().max(1e-6) / 1e3;
        let quiet = std::array::from_fn(|_| level * random.fraction());
        let factor = std::array::from_fn(|_| 0.5 + random.fraction());
        let energy: [f32; BANDS] = std::array::from_fn(|band| match band % 7 {
            3 => 0.0,
            _ => level * (0.01 + random.fraction()),
        });
        let threshold: [f32; BANDS] = std::array::from_fn(|_| level * random.fraction());
        let granule = Granule {
            xr: &xr,
            width: &width,
            bands: bands - [0, 1, 3][random.below(3)],
            quiet: &quiet,
            factor: &factor,
            energy: &energy,
            threshold: &threshold,
        };
        let (mut allowed, mut is_audible) = ([-1.0; BANDS], [9; BANDS]);
        // SAFETY: the processor has been asked.
        let above = unsafe { allowed_noise(&granule, &mut allowed, &mut is_audible) };
        let expected = twin::allowed_noise(&granule);
        let (mut least, mut most) = (0, 0);
        for (band, &(energy, noise)) in expected.iter().enumerate() {
            let actual = f64::from(allowed[band]);
            assert!(near(actual, noise), "{n}, {band}: {actual}, not {noise}");
            if !near(energy, noise) && (energy - noise).abs() > 1e-13 {
                assert_eq!(is_audible[band], u8::from(energy > noise), "{n}, {band}");
            }
            let quiet = f64::from(quiet[band]);
            least += u32::from(energy > quiet && !near(energy, quiet));
            most += u32::from(energy > quiet || near(energy, quiet));
        }
        assert!((least..=most).contains(&above));
        assert!(allowed[granule.bands..].iter().all(|&noise| noise == -1.0));
        assert!(is_audible[granule.bands..].iter().all(|&byte| byte == 9));
    }
}

#[test]
fn the_last_line_is_found() {
    if !can_run() {
        return;
    }
    for line in [0, 1, 7, 8, 300, 574, 575] {
        let mut xr = [1e-13; LINES];
        xr[line] = -1e-11;
        // SAFETY: the processor has been asked.
        assert_eq!(unsafe { last_line(&xr) }, line);
    }
    // SAFETY: the processor has been asked.
    assert_eq!(unsafe { last_line(&[0.0; LINES]) }, 0);
}

#[test]
fn noise_spreads_forward_in_time() {
    let mut allowed = [4.0, 2.0, 1.0, 1.0, 2.0, 3.0];
    spread_in_time(&mut allowed, 0.5);
    assert_eq!(allowed, [4.0, 3.0, 2.0, 1.0, 2.0, 3.0]);
}
