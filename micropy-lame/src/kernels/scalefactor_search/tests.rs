// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{find_gain, lowest_gain, twin};
use crate::kernels::spectra::{LONG, Random, Tables, can_run, powers_of_34, spectra};

#[test]
fn the_kernel_finds_the_gains_that_its_twin_does() {
    if !can_run() {
        return;
    }
    let powers = Tables::get();
    let mut random = Random(19);
    let (mut asked, mut on_border) = (0, 0);
    for xr in spectra(60) {
        let xr34 = powers_of_34(&xr);
        for band in LONG.windows(2) {
            let lines = band[0] as usize..(band[1] as usize - random.below(2));
            let (xr, xr34) = (&xr[lines.clone()], &xr34[lines]);
            // SAFETY: the processor has been asked.
            let least = unsafe { lowest_gain(xr34, &powers) };
            let expected = twin::lowest_gain(xr34) as u8;
            assert!(least.abs_diff(expected) <= u8::from(xr34.iter().any(|&x| x > 0.0)));
            let energy = xr.iter().map(|xr| xr * xr).sum::<f32>();
            for share in [2.0, 0.5, 1e-2, 1e-4, 1e-7] {
                let allowed = share * (0.2 + random.fraction()) * energy.max(1e-9);
                // SAFETY: the processor has been asked.
                let gain = unsafe { find_gain(xr, xr34, allowed, least, &powers) };
                let find = |by: f64| {
                    twin::find_gain(xr, xr34, f64::from(allowed) * by, least.into()) as u8
                };
                asked += 1;
                if gain != find(1.0) {
                    // Noise that is as loud as what is allowed is above it or not.
                    let near = [0.995, 0.999, 0.9999, 1.0001, 1.001, 1.005].map(find);
                    assert!(
                        near.contains(&gain),
                        "{gain}, not {} or {near:?}",
                        find(1.0)
                    );
                    on_border += 1;
                }
            }
        }
    }
    assert!(on_border * 50 < asked, "{on_border} of {asked} on a border");
}
