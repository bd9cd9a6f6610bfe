// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{BANDS, Granule, LINES, find_gains, twin};
use crate::kernels::noise::tests::bands;
use crate::kernels::spectra::{Random, Tables, can_run, powers_of_34, spectra};

#[test]
fn the_kernel_finds_the_gains_that_its_twin_does() {
    if !can_run() {
        return;
    }
    let powers = Tables::get();
    let mut random = Random(19);
    let (mut asked, mut on_border) = (0, 0);
    for (n, xr) in spectra(300).enumerate() {
        let xr34 = powers_of_34(&xr);
        let (width, _, bands) = bands(n % 2 == 1);
        let last_line = match n % 3 {
            0 => 575,
            _ => random.below(LINES),
        };
        let mut ends = width.iter().scan(0, |end, width| {
            *end += *width as usize;
            Some((*end - *width as usize)..*end)
        });
        let lines: [_; BANDS] = std::array::from_fn(|_| ends.next().unwrap());
        let share = [2.0, 0.5, 1e-2, 1e-4, 1e-7][n / 2 % 5];
        let allowed = std::array::from_fn(|band| {
            let energy = xr[lines[band].clone()].iter().map(|xr| xr * xr);
            share * (0.2 + random.fraction()) * energy.sum::<f32>().max(1e-9)
        });
        let is_audible = std::array::from_fn(|_| u8::from(random.below(8) > 0));
        let granule = Granule {
            xr: &xr,
            xr34: &xr34,
            last_line,
            width: &width,
            bands: bands - 1,
            allowed: &allowed,
            is_audible: &is_audible,
            is_search: n % 7 != 0,
        };
        let (mut least, mut gains) = ([-1; BANDS], [-1; BANDS]);
        // SAFETY: the processor has been asked.
        unsafe { find_gains(&granule, &powers, &mut least, &mut gains) };
        for (band, lines) in lines.into_iter().enumerate() {
            let lines = lines.start..lines.end.min(last_line + 1);
            if lines.is_empty() {
                break;
            }
            let (xr, xr34) = (&xr[lines.clone()], &xr34[lines]);
            let (least, gain) = (least[band], gains[band]);
            let expected = twin::lowest_gain(xr34) as i32;
            assert!((least - expected).abs() <= i32::from(xr34.iter().any(|&x| x > 0.0)));
            if !granule.is_search || band + 1 >= bands || is_audible[band] == 0 {
                assert_eq!(gain, -1);
                continue;
            }
            let allowed = f64::from(allowed[band]);
            let find = |by: f64| twin::find_gain(xr, xr34, allowed * by, least as usize) as i32;
            asked += 1;
            if gain != find(1.0) {
                // Noise that is as loud as what is allowed is above it or not.
                let near = [0.995, 0.999, 0.9999, 1.0001, 1.001, 1.005].map(find);
                let expected = find(1.0);
                assert!(near.contains(&gain), "{gain}, not {expected} or {near:?}");
                on_border += 1;
            }
        }
    }
    assert!(
        asked > 4000 && on_border * 50 < asked,
        "{on_border} of {asked} on a border"
    );
}
