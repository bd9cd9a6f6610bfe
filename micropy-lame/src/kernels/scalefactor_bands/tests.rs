// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{
    Borders, ByBand, LONG_BANDS, SHORT_BANDS, entropy, limit_without_attack, sum_up, twin,
};
use crate::kernels::masking::{MAX_BANDS, Planes};
use crate::kernels::spectra::{Random, can_run};

/// Values from 2^−20 to 2^20, some of them zero.
fn value(random: &mut Random) -> f32 {
    match random.below(10) {
        0 => 0.0,
        _ => (40.0 * random.fraction() - 20.0).exp2(),
    }
}

fn planes(random: &mut Random, partitions: usize) -> Planes {
    std::array::from_fn(|_| {
        std::array::from_fn(|band| match band {
            _ if band < partitions => value(random),
            _ => 0.0,
        })
    })
}

fn near(actual: f32, expected: f64) -> bool {
    (f64::from(actual) - expected).abs() <= 2e-6 * expected
}

#[test]
fn the_kernel_sums_up_as_its_twin() {
    if !can_run() {
        return;
    }
    let mut random = Random(29);
    for round in 0..100 {
        let partitions = 40 + random.below(MAX_BANDS - 40 + 1);
        // Ends may lie beyond the last partition band, as at low sample rates.
        let borders = |random: &mut Random, count: usize| {
            let reach = [partitions, 80][round % 2];
            let mut ends = Vec::from_iter((0..count).map(|_| random.below(reach) as i32));
            ends.sort();
            let weights = (0..count).map(|_| random.fraction()).collect::<Vec<_>>();
            (ends, weights)
        };
        let (long, short) = (
            borders(&mut random, LONG_BANDS),
            borders(&mut random, SHORT_BANDS),
        );
        let [long, short] = [&long, &short].map(|(ends, weights)| Borders {
            ends,
            weights,
            partitions,
        });
        let (energy, threshold) = (
            planes(&mut random, partitions),
            planes(&mut random, partitions),
        );
        let channels = [1, 2, 4][round % 3];
        let mut energies = [[-1.0; LONG_BANDS + 3 * SHORT_BANDS]; 4];
        let mut thresholds = energies;
        // SAFETY: the processor has been asked.
        unsafe {
            sum_up(
                (&energy, &threshold),
                &long,
                &short,
                &mut energies[..channels],
                &mut thresholds[..channels],
            );
        }
        for (out, planes, share) in [
            (&energies, &energy, 1.0),
            (&thresholds, &threshold, 1.0 / 64.0),
        ] {
            for (out, plane) in out.iter().zip(planes).take(channels) {
                let expected = twin::sums(plane, &long, LONG_BANDS);
                for (&actual, expected) in out.iter().zip(expected) {
                    assert!(near(actual, expected), "{actual}, not {expected}");
                }
                let expected = twin::sums(plane, &short, SHORT_BANDS);
                for (three, expected) in out[LONG_BANDS..].as_chunks::<3>().0.iter().zip(expected) {
                    for &actual in three {
                        assert!(near(actual, expected * share), "{actual}, not {expected}");
                    }
                }
            }
            assert!(out[channels..].iter().flatten().all(|&value| value == -1.0));
        }
    }
}

#[test]
fn short_blocks_without_an_attack_are_limited() {
    if !can_run() {
        return;
    }
    let mut random = Random(31);
    for _ in 0..100 {
        let before: ByBand = std::array::from_fn(|_| value(&mut random));
        let factors = [1.0, 0.5, 0.25];
        let mut after = before;
        // SAFETY: the processor has been asked.
        unsafe { limit_without_attack(&mut after, factors) };
        assert_eq!(after[..LONG_BANDS], before[..LONG_BANDS]);
        for (n, (&after, &before)) in after.iter().zip(&before).enumerate().skip(LONG_BANDS) {
            let limited = (f64::from(before) * 0.8) as f32;
            assert_eq!(after, limited * factors[(n - LONG_BANDS) % 3]);
        }
    }
}

#[test]
fn the_kernel_finds_the_entropy_of_its_twin() {
    if !can_run() {
        return;
    }
    let mut random = Random(37);
    for round in 0..300 {
        let energy: ByBand = std::array::from_fn(|_| value(&mut random));
        let threshold: ByBand = std::array::from_fn(|_| match round % 3 {
            0 => 1e-10 * value(&mut random),
            _ => value(&mut random),
        });
        let lowest = 0.5 + random.fraction();
        // SAFETY: the processor has been asked.
        let actual = unsafe { entropy(&energy, &threshold, lowest) };
        let expected = twin::entropy(&energy, &threshold, lowest);
        assert!(near(actual, expected), "{actual}, not {expected}");
    }
}
