// SPDX-License-Identifier: LGPL-2.0-or-later
//! LAME's masking of one channel, band by band and with logarithms.

use super::{AFTER_SHORT, GAIN, Model, REACH, RISE, RISE_IN_TWO, TONALITY};
use crate::kernels::block::Block;

/// The granule before: its block type, and the masking of it and of the one before.
pub struct Before<'a> {
    pub block: Block,
    pub masking: [&'a mut [f64]; 2],
}

/// Energies and thresholds by band.
pub fn thresholds(
    model: &Model<'_>,
    lines: &[f64],
    lowest: f64,
    mut before: Option<Before<'_>>,
) -> (Vec<f64>, Vec<f64>) {
    let count = model.lines.len();
    let mut rest = lines;
    let bands = model.lines.iter().map(|&lines| {
        let (band, above) = rest.split_at(lines as usize);
        rest = above;
        band
    });
    let bands = bands.collect::<Vec<_>>();
    let energy = bands
        .iter()
        .map(|band| band.iter().sum::<f64>())
        .collect::<Vec<_>>();
    let peak = bands
        .iter()
        .map(|band| band.iter().copied().fold(0.0, f64::max));
    let peak = peak.collect::<Vec<_>>();
    let tonality = (0..count)
        .map(|b| tonality(&bands, &energy, &peak, b))
        .collect::<Vec<_>>();

    let mut spreading = model.spreading;
    let mut thresholds = Vec::new();
    for b in 0..count {
        let maskers = model.maskers[b][0] as usize..model.maskers[b][1] as usize + 1;
        let (factors, rest) = spreading.split_at(maskers.len());
        spreading = rest;
        let reach = REACH.get(tonality[b]).copied().unwrap_or(-1);
        let mut masking = 0.0;
        for (masker, &factor) in maskers.clone().zip(factors) {
            let added = f64::from(factor) * energy[masker] * f64::from(TONALITY[tonality[masker]]);
            let near = (masker as i32 - b as i32).abs() <= reach;
            masking = if masker == maskers.start {
                added
            } else {
                add(masking, added, near)
            };
        }
        let sum = tonality[maskers.clone()].iter().sum::<usize>();
        let mean = (1 + 2 * sum) / (2 * maskers.len());
        let mean = f64::from(TONALITY[mean]) * 0.5;
        masking *= mean;

        let mut threshold = masking;
        if let Some(Before {
            block,
            masking: [one, two],
        }) = &mut before
        {
            let after_one = f64::from(RISE) * one[b];
            let after_two = f64::from(RISE_IN_TWO) * two[b];
            let known = |limit: f64| if limit > 0.0 { limit } else { masking };
            threshold = threshold.min(match block {
                Block::Short if after_one > 0.0 => after_one,
                Block::Short => energy[b] * f64::from(AFTER_SHORT),
                Block::Long => known(after_one).min(known(after_two)),
                Block::Start | Block::Stop => known(after_one),
            });
            two[b] = one[b];
            one[b] = masking;
        }
        threshold = threshold.min(peak[b] * f64::from(model.limit[b]) * mean);
        let lower = f64::from(model.lower[b]) * lowest;
        if lower > 1.0 {
            threshold *= lower;
        }
        threshold = threshold.min(energy[b]);
        if lower < 1.0 {
            threshold *= lower;
        }
        thresholds.push(threshold);
    }
    (energy, thresholds)
}

/// How far the strongest line of a band and its neighbours stands out, from 0 to 8.
fn tonality(bands: &[&[f64]], energy: &[f64], peak: &[f64], b: usize) -> usize {
    let around = b.saturating_sub(1)..bands.len().min(b + 2);
    let means = around
        .clone()
        .map(|b| energy[b] / bands[b].len() as f64)
        .sum::<f64>();
    if means <= 0.0 {
        return 0;
    }
    let peak = peak[around.clone()].iter().copied().fold(0.0, f64::max);
    let lines = bands[around.clone()]
        .iter()
        .map(|band| band.len())
        .sum::<usize>()
        - 1;
    let excess = 20.0 * (peak * around.len() as f64 - means) / (means * lines as f64);
    (excess.max(0.0) as usize).min(8)
}

/// The addition of simultaneous masking (N. Shibata, 2000).
fn add(a: f64, b: f64, near: bool) -> f64 {
    if a <= 0.0 || b <= 0.0 {
        return a.max(b);
    }
    let steps = (16.0 * (a.max(b) / a.min(b)).log10()) as usize;
    match (near, steps) {
        (true, 0..9) => (a + b) * f64::from(GAIN[steps]),
        (true, _) | (false, 0..24) => a + b,
        (false, _) => a.max(b),
    }
}
