// SPDX-License-Identifier: LGPL-2.0-or-later
//! The filterbank as ISO/IEC 11172-3 writes it down.

use std::f64::consts::PI;

use super::{FULL_SCALE, SLOTS, SUBBANDS, samples, window};
use crate::kernels::block::Block;

/// A filterbank for one channel.
pub struct Filterbank {
    before: [[f64; SUBBANDS]; SLOTS],
}

impl Filterbank {
    pub fn new() -> Self {
        Self {
            before: [[0.0; SUBBANDS]; SLOTS],
        }
    }

    /// The spectrum of a granule, whose samples are the last of the [`samples`] of one granule.
    pub fn analyse(
        &mut self,
        pcm: &[f32],
        factors: &[f32; SUBBANDS],
        block: Block,
        mixed: bool,
    ) -> [f64; SUBBANDS * SLOTS] {
        let pcm = &pcm[..samples(1)];
        let mut now = [[0.0; SUBBANDS]; SLOTS];
        for (slot, out) in now.iter_mut().enumerate() {
            *out = polyphase(&pcm[32 * slot..][..512]);
            for (band, sample) in out.iter_mut().enumerate() {
                // 2.4.3.4.10.3 compensates in the decoder for the inversion of frequencies; here it is made.
                let inverted = slot % 2 == 1 && band % 2 == 1;
                *sample *= f64::from(factors[band]) * if inverted { -1.0 } else { 1.0 };
            }
        }
        let mut spectrum = [0.0; SUBBANDS * SLOTS];
        for (band, lines) in spectrum.as_chunks_mut::<SLOTS>().0.iter_mut().enumerate() {
            let time = self.before.iter().chain(&now).map(|slot| slot[band]);
            let time = time.collect::<Vec<_>>();
            let block = if mixed && band < 2 {
                Block::Long
            } else {
                block
            };
            *lines = mdct(&time, block);
        }
        let aliased = match (block, mixed) {
            (Block::Short, false) => 0,
            (Block::Short, true) => 1,
            _ => SUBBANDS - 1,
        };
        for band in 1..=aliased {
            reduce_aliases(&mut spectrum, SLOTS * band);
        }
        self.before = now;
        spectrum
    }
}

/// Figure C.4: the newest of 512 samples is X[0].
fn polyphase(pcm: &[f32]) -> [f64; SUBBANDS] {
    let z = |n: usize| window(n) * f64::from(pcm[511 - n]) / FULL_SCALE;
    let y = |k: usize| (0..8).map(|j| z(k + 64 * j)).sum::<f64>();
    let y = std::array::from_fn::<_, 64, _>(y);
    std::array::from_fn(|i| {
        let m = |k: usize| ((2 * i + 1) as f64 * (k as f64 - 16.0) * PI / 64.0).cos();
        (0..64).map(|k| m(k) * y[k]).sum()
    })
}

/// 2.4.3.4.10.2 and .3, turned round: the windows and the cosines are those of the inverse transform.
fn mdct(time: &[f64], block: Block) -> [f64; SLOTS] {
    let sine = |i: usize, n: usize| (PI / n as f64 * (i as f64 + 0.5)).sin();
    let long = |i: usize| match (block, i) {
        (Block::Start, 18..24) | (Block::Stop, 12..18) => 1.0,
        (Block::Start, 24..30) => sine(i - 18, 12),
        (Block::Start, 30..) | (Block::Stop, ..6) => 0.0,
        (Block::Stop, 6..12) => sine(i - 6, 12),
        _ => sine(i, 36),
    };
    let transform = |time: &[f64], window: &dyn Fn(usize) -> f64, line: usize| {
        let n = time.len();
        let cosine =
            |i: usize| (PI / (2 * n) as f64 * ((2 * i + 1 + n / 2) * (2 * line + 1)) as f64).cos();
        let sum = (0..n).map(|i| time[i] * window(i) * cosine(i)).sum::<f64>();
        4.0 / n as f64 * sum
    };
    std::array::from_fn(|line| match block {
        Block::Short => {
            let time = &time[6 + 6 * (line % 3)..][..12];
            transform(time, &|i| sine(i, 12), line / 3)
        }
        _ => transform(time, &long, line),
    })
}

/// Figure A.5, for the analysis.
fn reduce_aliases(spectrum: &mut [f64], border: usize) {
    const C: [f64; 8] = [
        -0.6, -0.535, -0.33, -0.185, -0.095, -0.041, -0.0142, -0.0037,
    ];
    for (i, c) in C.into_iter().enumerate() {
        let (cs, ca) = (1.0 / (1.0 + c * c).sqrt(), c / (1.0 + c * c).sqrt());
        let (below, above) = (spectrum[border - 1 - i], spectrum[border + i]);
        spectrum[border - 1 - i] = below * cs + above * ca;
        spectrum[border + i] = above * cs - below * ca;
    }
}
