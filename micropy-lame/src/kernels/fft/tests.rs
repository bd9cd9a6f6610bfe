// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{Energies, LONG, LONG_LINES, Room, SHORT, SHORT_HOP, SHORT_LINES, long, short, twin};
use crate::kernels::materials::{all, distance, processor_can};

/// Energies are squares: below that amplitude they may be denormals.
const FLOOR: f64 = 1e-14;

fn room() -> Box<Room> {
    // SAFETY: all fields are numbers.
    Box::new(unsafe { std::mem::zeroed() })
}

/// A block of one material on the left, of the next one on the right.
fn pairs() -> Vec<(String, [f32; LONG], [f32; LONG])> {
    let all = all();
    let block = |pcm: &[f32], at: usize| std::array::from_fn(|i| pcm[at + i]);
    let pair = |n: usize, at: usize| {
        let ((left, l), (right, r)) = (&all[n], &all[(n + 1) % all.len()]);
        (format!("{left} and {right}"), block(l, at), block(r, at))
    };
    (0..all.len())
        .flat_map(|n| [pair(n, 0), pair(n, 2_400)])
        .collect()
}

/// Compares the amplitudes of all four channels.
fn check(
    name: &str,
    lines: &[Energies],
    left: &[f32],
    right: &[f32],
    window: impl Fn(f64) -> f64 + Copy,
) {
    let wide = |pcm: &[f32]| pcm.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let (left, right) = (wide(left), wide(right));
    let both = |sign: f64| {
        let pairs = left.iter().zip(&right);
        pairs
            .map(|(l, r)| (l + sign * r) / 2.0_f64.sqrt())
            .collect::<Vec<_>>()
    };
    let (middle, side) = (both(1.0), both(-1.0));
    // What left and right cancel out in, middle or side, is known no better than they are.
    let loudness = |pcm: &[f64]| twin::energies(pcm, window).iter().sum::<f64>().sqrt();
    let loudest = loudness(&left).max(loudness(&right));
    for (channel, pcm) in [&left, &right, &middle, &side].into_iter().enumerate() {
        let expected = twin::energies(pcm, window);
        let amplitudes = lines
            .iter()
            .map(|line| line[channel].sqrt())
            .collect::<Vec<_>>();
        let expected = expected
            .iter()
            .map(|energy| energy.sqrt())
            .collect::<Vec<_>>();
        let norm = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
        let distance = distance(&amplitudes, &expected, FLOOR);
        let limit = if channel < 2 {
            1e-6
        } else {
            1e-6 * (loudest / norm.max(FLOOR)).max(1.0)
        };
        assert!(distance < limit, "{name}, channel {channel}: {distance:e}");
    }
}

#[test]
fn long_blocks_equal_the_definition() {
    if !processor_can() {
        return;
    }
    let weights = std::array::from_fn(|k| 1.0 / (k as f32 + 10.0));
    for (name, left, right) in pairs() {
        let mut lines = [[f32::NAN; 4]; LONG_LINES];
        // SAFETY: the processor has been asked.
        let sums = unsafe { long(&left, Some(&right), &weights, &mut room(), &mut lines) };
        check(&name, &lines, &left, &right, twin::blackman);
        for channel in 0..2 {
            let terms = weights.iter().zip(&lines);
            let expected = terms
                .map(|(w, line)| f64::from(w * line[channel]))
                .sum::<f64>();
            let error = (f64::from(sums[channel]) - expected).abs();
            assert!(
                error <= 1e-5 * expected + 1e-30,
                "{name}: {sums:?}, not {expected}"
            );
        }
    }
}

#[test]
fn short_blocks_equal_the_definition() {
    if !processor_can() {
        return;
    }
    for (name, left, right) in pairs() {
        let mut lines = [[[f32::NAN; 4]; SHORT_LINES]; 3];
        // SAFETY: the processor has been asked.
        unsafe { short(&left, Some(&right), &mut room(), &mut lines) };
        for (block, lines) in lines.iter().enumerate() {
            let at = SHORT_HOP * (block + 1);
            let name = format!("{name}, block {block}");
            let (left, right) = (&left[at..at + SHORT], &right[at..at + SHORT]);
            check(&name, lines, left, right, twin::hann);
        }
    }
}

#[test]
fn a_silent_channel_stays_silent() {
    if !processor_can() {
        return;
    }
    let (_, loud, _) = &pairs()[2];
    let silence = [0.0; LONG];
    let mut lines = [[f32::NAN; 4]; LONG_LINES];
    let mut blocks = [[[f32::NAN; 4]; SHORT_LINES]; 3];
    for (left, right, silent) in [
        (loud, Some(&silence), 1),
        (&silence, Some(loud), 0),
        (loud, None, 1),
    ] {
        // SAFETY: the processor has been asked.
        unsafe {
            long(left, right, &[1.0; LONG / 2], &mut room(), &mut lines);
            short(left, right, &mut room(), &mut blocks);
        }
        assert!(lines.iter().all(|line| line[silent] == 0.0));
        assert!(blocks.as_flattened().iter().all(|line| line[silent] == 0.0));
    }
}
