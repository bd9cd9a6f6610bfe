// SPDX-License-Identifier: LGPL-2.0-or-later

use super::twin;
use super::{LINES, Packed, Steps, powers_of_lines, quantize, quantize_bands};
use crate::kernels::spectra::{Random, Tables, can_run, powers_of_34, spectra};

#[test]
fn lines_are_raised_to_the_power_of_three_quarters() {
    if !can_run() {
        return;
    }
    let mut random = Random(23);
    for (n, xr) in spectra(300).enumerate() {
        let lines = if n < 4 {
            LINES - n
        } else {
            random.below(LINES + 1)
        };
        let mut xr34 = [f32::NAN; LINES];
        // SAFETY: the processor has been asked.
        let magnitudes = unsafe { powers_of_lines(&xr, lines, &mut xr34) };
        let mut expected = powers_of_34(&xr);
        expected[lines..].fill(0.0);
        assert_eq!(xr34, expected, "{lines} lines");
        let peak = expected.iter().copied().fold(0.0, f32::max);
        assert_eq!(magnitudes.peak, peak);
        let sum = xr[..lines].iter().map(|&x| f64::from(x.abs())).sum::<f64>();
        assert!((f64::from(magnitudes.sum) - sum).abs() <= 1e-6 * sum);
    }
}

#[test]
fn the_kernel_quantizes_as_its_twin() {
    if !can_run() {
        return;
    }
    let powers = Tables::get();
    let mut random = Random(3);
    let mut on_border = 0;
    for xr in spectra(400) {
        let xr34 = powers_of_34(&xr);
        let peak = xr34.iter().copied().fold(0.0, f32::max);
        let lowest = (0..256).find(|&gain| peak * powers.quantities[gain] <= 8206.0);
        let gain = lowest.unwrap_or(255) + random.below(60);
        let step = powers.quantities[gain.min(255)];
        let lines = 2 * random.below(LINES / 2 + 1);
        let mut quantized = [-1; LINES];
        let mut packed = Packed::new();
        // SAFETY: the processor has been asked.
        unsafe {
            let adjust = powers.adj43.first_chunk().unwrap();
            quantize(&xr34, lines, step, adjust, &mut quantized, &mut packed);
        }
        for (at, &line) in quantized.iter().enumerate() {
            let quantity = f64::from(xr34[at]) * f64::from(step);
            let expected = if at < lines {
                twin::quantize(quantity)
            } else {
                0
            };
            if line != expected {
                // Single precision may fall to the other side, but nowhere else.
                let near = [-1.0, 1.0].map(|e| twin::quantize(quantity * (1.0 + e * 3e-7)));
                assert!(near.contains(&line), "{quantity}: {line}, not {expected}");
                on_border += 1;
            }
            assert_eq!(i32::from(packed.values[at]), line.min(15));
        }
        for (pair, index) in quantized.as_chunks::<2>().0.iter().zip(packed.pairs) {
            if pair[0] + pair[1] > 0 {
                assert_eq!(i32::from(index), 16 * pair[0].min(15) + pair[1].min(15));
            }
        }
    }
    assert!(on_border < 100, "{on_border} values of 230,400 on a border");
}

#[test]
fn bands_are_quantized_each_with_its_step() {
    if !can_run() {
        return;
    }
    let powers = Tables::get();
    let adjust = powers.adj43.first_chunk().unwrap();
    let mut random = Random(5);
    for xr in spectra(200) {
        let xr34 = powers_of_34(&xr);
        let lines = 2 * random.below(LINES / 2 + 1);
        let mut bands = Vec::new();
        let (mut start, mut expected) = (0, [0; LINES]);
        while start < lines {
            let width = (2 + random.below(60)).min(LINES - start);
            let peak = xr34[start..start + width]
                .iter()
                .copied()
                .fold(0.0, f32::max);
            let lowest = (0..256).find(|&gain| peak * powers.quantities[gain] <= 8206.0);
            let step = powers.quantities[(lowest.unwrap_or(255) + random.below(60)).min(255)];
            // The band alone: elsewhere, its step may be too small.
            let (mut alone, mut quantized) = ([0.0; LINES], [0; LINES]);
            alone[start..start + width].copy_from_slice(&xr34[start..start + width]);
            // SAFETY: the processor has been asked.
            unsafe {
                quantize(
                    &alone,
                    LINES,
                    step,
                    adjust,
                    &mut quantized,
                    &mut Packed::new(),
                )
            };
            let end = lines.min(start + width);
            expected[start..end].copy_from_slice(&quantized[start..end]);
            bands.push((width, step));
            start += width;
        }
        let (mut quantized, mut packed) = ([-1; LINES], Packed::new());
        // SAFETY: the processor has been asked.
        unsafe {
            let steps = Steps::of_bands(bands.into_iter());
            quantize_bands(&xr34, lines, &steps, adjust, &mut quantized, &mut packed);
        }
        assert_eq!(quantized, expected);
        for (at, &line) in quantized.iter().enumerate() {
            assert_eq!(i32::from(packed.values[at]), line.min(15));
        }
    }
}
