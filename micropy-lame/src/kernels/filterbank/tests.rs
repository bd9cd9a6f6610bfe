// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{Filterbank, Lines, SUBBANDS, samples, twin};
use crate::kernels::block::Block;
use crate::kernels::materials::{DENORMAL, all, distance, processor_can};

const GRANULE: usize = 576;

/// Every block type after every other that may come before it, and mixed blocks.
const BLOCKS: [(Block, bool); 12] = [
    (Block::Long, false),
    (Block::Start, false),
    (Block::Short, false),
    (Block::Short, false),
    (Block::Stop, false),
    (Block::Start, true),
    (Block::Short, true),
    (Block::Stop, true),
    (Block::Start, false),
    (Block::Short, true),
    (Block::Stop, false),
    (Block::Long, true),
];

fn factors() -> [[f32; SUBBANDS]; 3] {
    let mut low_pass = [1.0; SUBBANDS];
    low_pass[22] = 0.75;
    low_pass[23] = 0.2;
    low_pass[24..].fill(0.0);
    let mut band_pass = [0.0; SUBBANDS];
    band_pass[1..13].fill(1.0);
    [[1.0; SUBBANDS], low_pass, band_pass]
}

/// The spectra of frames of so many granules, from the second channel of a filterbank.
fn kernel(pcm: &[f32], factors: &[f32; SUBBANDS], granules: usize) -> Vec<[f32; 576]> {
    let mut filterbank = Box::new(Filterbank::silent());
    let mut spectra = Vec::new();
    for (frame, blocks) in BLOCKS.chunks(granules).enumerate() {
        let mut frames = vec![[f32::NAN; 576]; granules];
        let mut lines = frames
            .iter_mut()
            .zip(blocks)
            .map(|(spectrum, &(block, mixed))| Lines {
                block,
                mixed,
                spectrum,
            });
        let mut lines = lines.by_ref().collect::<Vec<_>>();
        let pcm = &pcm[frame * granules * GRANULE..][..samples(granules)];
        // SAFETY: the caller has asked the processor.
        unsafe { filterbank.analyse(1, pcm, factors, &mut lines) };
        spectra.extend(frames);
    }
    spectra
}

#[test]
fn equals_the_standard_for_all_blocks_and_bands() {
    if !processor_can() {
        return;
    }
    for (name, pcm) in all() {
        let expected = |factors: &[f32; SUBBANDS]| {
            let mut twin = twin::Filterbank::new();
            let granules = BLOCKS.iter().enumerate().map(|(granule, &(block, mixed))| {
                twin.analyse(&pcm[granule * GRANULE..], factors, block, mixed)
            });
            granules.collect::<Vec<_>>()
        };
        // What is left when subbands are cut off is known no better than the whole.
        let whole = expected(&[1.0; SUBBANDS]);
        for factors in factors() {
            let expected = expected(&factors);
            for granules in [1, 2] {
                let spectra = kernel(&pcm, &factors, granules);
                for (at, (spectrum, expected)) in spectra.iter().zip(&expected).enumerate() {
                    let norm = whole[at].iter().map(|x| x * x).sum::<f64>().sqrt();
                    let distance = distance(spectrum, expected, norm.max(DENORMAL));
                    assert!(
                        distance < 1e-6,
                        "{name}, granule {at} of {granules}: {distance:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn channels_do_not_mix() {
    if !processor_can() {
        return;
    }
    let (_, pcm) = all().swap_remove(0);
    let silence = vec![0.0; samples(2)];
    let mut filterbank = Box::new(Filterbank::silent());
    for _ in 0..2 {
        for (channel, pcm) in [(0, &pcm), (1, &silence)] {
            let mut spectra = [[f32::NAN; 576]; 2];
            let mut lines = spectra.each_mut().map(|spectrum| Lines {
                block: Block::Long,
                mixed: false,
                spectrum,
            });
            // SAFETY: the processor has been asked.
            unsafe { filterbank.analyse(channel, pcm, &[1.0; SUBBANDS], &mut lines) };
            let silent = spectra.as_flattened().iter().all(|&line| line == 0.0);
            assert_eq!(silent, channel == 1);
        }
    }
}
