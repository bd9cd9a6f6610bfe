// SPDX-License-Identifier: LGPL-2.0-or-later
//! One granule's work of each stage, for benchmarks.

use super::allowed_noise::{self, allowed_noise};
use super::attack::{FILTERED, GRANULE, high_pass};
use super::bit_count::{Bands, Block, Coding, count, divide};
use super::fft;
use super::filterbank::{self, Filterbank, Lines};
use super::huffman::{self, MOST_BYTES};
use super::noise::{BANDS, Quantized, noise};
use super::powers::Powers;
use super::quantization::{LINES, Packed, powers_of_lines, quantize};
use super::scalefactor_search::{self, find_gains};
use super::spectra::{LONG, SHORT_REGION0, Tables, can_run, powers_of_34, spectra};

/// Granules of which each call takes the next: the branches of a single one would be learnt by heart.
const GRANULES: usize = 64;

/// A stage that can be run again and again.
pub struct Measured {
    /// In the words of the standard.
    pub name: &'static str,
    /// Does the work of one granule of one channel.
    pub run: Box<dyn FnMut()>,
}

/// A spectrum, quantized at a gain that leaves it music's values, and coded.
struct Sample {
    xr: [f32; LINES],
    xr34: [f32; LINES],
    gain: usize,
    quantized: [i32; LINES],
    coding: Coding,
    allowed: [f32; BANDS],
}

/// What all granules share.
struct Layout {
    powers: Powers<'static>,
    width: [i32; BANDS],
    first_division: [u8; LINES],
}

impl Layout {
    fn bands(&self) -> Bands<'_> {
        Bands {
            long: &LONG,
            first_division: &self.first_division,
            short_region0: SHORT_REGION0,
            block: Block::Normal,
        }
    }

    /// Quantizes and counts.
    fn count(&self, xr34: &[f32; LINES], gain: usize, quantized: &mut [i32; LINES]) -> Coding {
        let (mut packed, mut coding) = (Packed::new(), Coding::default());
        let step = self.powers.quantities[gain];
        let adjust = self.powers.adj43.first_chunk().expect("longer than eight");
        // SAFETY: the processor has been asked.
        unsafe {
            quantize(xr34, LINES, step, adjust, quantized, &mut packed);
            coding.part2_3_length = count(quantized, &packed, LINES, &self.bands(), &mut coding);
        }
        coding
    }

    fn sample(&self, xr: [f32; LINES]) -> Sample {
        let xr34 = powers_of_34(&xr);
        let peak = xr34.iter().copied().fold(0.0, f32::max);
        let fits = |&gain: &usize| peak * self.powers.quantities[gain] <= 40.0;
        let gain = (0..256).find(fits).unwrap_or(255);
        let mut quantized = [0; LINES];
        let coding = self.count(&xr34, gain, &mut quantized);
        let mut rest = &xr[..];
        let allowed = self.width.map(|width| {
            let (band, after) = rest.split_at(width as usize);
            rest = after;
            0.02 * band.iter().map(|xr| xr * xr).sum::<f32>() + 1e-9
        });
        Sample {
            xr,
            xr34,
            gain,
            quantized,
            coding,
            allowed,
        }
    }
}

/// The stages that need nothing of LAME's; none where the processor cannot run them.
#[must_use]
pub fn stages() -> Vec<Measured> {
    if !can_run() {
        return Vec::new();
    }
    let mut width = [0; BANDS];
    for (to, ends) in width.iter_mut().zip(LONG.windows(2)) {
        *to = ends[1] - ends[0];
    }
    let layout: &'static Layout = Box::leak(Box::new(Layout {
        powers: Tables::get(),
        width,
        // Regions of eight bands each: LAME's choice depends on the line, which changes little here.
        first_division: [7; LINES],
    }));
    let samples: &'static [Sample] = spectra(GRANULES + 2)
        .skip(2)
        .map(|xr| layout.sample(xr))
        .collect::<Vec<_>>()
        .leak();
    let stage = |name, mut work: Box<dyn FnMut(&'static Sample)>| {
        let mut turn = samples.iter().cycle();
        let run = Box::new(move || {
            if let Some(sample) = turn.next() {
                work(sample);
            }
        });
        Measured { name, run }
    };
    // SAFETY: all fields are numbers.
    let (mut bank, mut room): (Box<Filterbank>, Box<fft::Room>) =
        unsafe { (Box::new(std::mem::zeroed()), Box::new(std::mem::zeroed())) };
    let pcm: Vec<f32> = samples
        .iter()
        .flat_map(|sample| sample.xr)
        .take(4096)
        .collect();
    let pcm: &'static [f32] = pcm.leak();
    let filtered: &'static [f32; FILTERED] = pcm.first_chunk().expect("longer than a granule");
    let block: &'static [f32; fft::LONG] = pcm.first_chunk().expect("longer than a block");
    let (mut lines, mut high) = ([[0.0; 4]; fft::LONG_LINES], [0.0; GRANULE]);
    let (mut spectrum, mut xr34, mut quantized) = ([0.0; LINES], [0.0; LINES], [0; LINES]);
    let (mut allowed, mut audible) = ([0.0; BANDS], [0; BANDS]);
    let (mut least, mut gains) = ([0; BANDS], [0; BANDS]);
    let mut distort = [0.0; BANDS];
    let mut written = [0; MOST_BYTES];
    // SAFETY, of all calls of kernels below: the processor has been asked.
    vec![
        stage(
            "attack detection",
            Box::new(move |_| unsafe { high_pass(filtered, &mut high) }),
        ),
        stage(
            "FFT of a long block, two channels",
            Box::new(move |_| unsafe {
                fft::long(
                    block,
                    Some(block),
                    &[1.0; fft::LONG / 2],
                    &mut room,
                    &mut lines,
                );
            }),
        ),
        stage(
            "polyphase filterbank and MDCT",
            Box::new(move |_| {
                let mut granules = [Lines {
                    block: super::block::Block::Long,
                    mixed: false,
                    spectrum: &mut spectrum,
                }];
                unsafe {
                    bank.analyse(0, &pcm[..filterbank::samples(1)], &[1.0; 32], &mut granules)
                }
            }),
        ),
        stage(
            "powers of the spectrum",
            Box::new(move |sample| {
                unsafe { powers_of_lines(&sample.xr, LINES, &mut xr34) };
            }),
        ),
        stage(
            "allowed noise",
            Box::new(move |sample| {
                let granule = allowed_noise::Granule {
                    xr: &sample.xr,
                    width: &layout.width,
                    bands: 22,
                    quiet: &[1.0; BANDS],
                    factor: &[1.0; BANDS],
                    energy: &sample.allowed,
                    threshold: &sample.allowed,
                };
                unsafe { allowed_noise(&granule, &mut allowed, &mut audible) };
            }),
        ),
        stage(
            "scalefactor search",
            Box::new(move |sample| {
                let granule = scalefactor_search::Granule {
                    xr: &sample.xr,
                    xr34: &sample.xr34,
                    last_line: LINES - 1,
                    width: &layout.width,
                    bands: 22,
                    allowed: &sample.allowed,
                    is_audible: &[1; BANDS],
                    is_search: true,
                };
                unsafe { find_gains(&granule, &layout.powers, &mut least, &mut gains) }
            }),
        ),
        stage(
            "quantization and bit counting",
            Box::new(move |sample| {
                layout.count(&sample.xr34, sample.gain, &mut quantized);
            }),
        ),
        stage(
            "region division",
            Box::new(move |sample| {
                let mut coding = sample.coding;
                unsafe { divide(&sample.quantized, &layout.bands(), &mut coding) }
            }),
        ),
        stage(
            "noise calculation",
            Box::new(move |sample| {
                let granule = Quantized {
                    xr: &sample.xr,
                    quantized: &sample.quantized,
                    global_gain: sample.gain as i32,
                    scalefac: &[0; BANDS],
                    scalefac_scale: 0,
                    preflag: false,
                    subblock_gain: &[0; 4],
                    width: &layout.width,
                    window: &[3; BANDS],
                    is_short: false,
                    bands: 22,
                    last_line: LINES as i32 - 1,
                };
                unsafe {
                    noise(
                        &granule,
                        &layout.powers,
                        &sample.allowed,
                        &mut distort,
                        None,
                    )
                };
            }),
        ),
        stage(
            "Huffman coding",
            Box::new(move |sample| {
                let Coding {
                    big_values,
                    count1,
                    count1table_select,
                    table_select,
                    ..
                } = sample.coding;
                let end = big_values as usize;
                let granule = huffman::Granule {
                    quantized: &sample.quantized,
                    xr: &sample.xr,
                    ends: [LONG[8], LONG[16], big_values].map(|line| end.min(line as usize)),
                    table_select,
                    count1: count1 as usize,
                    count1table_select,
                };
                unsafe { huffman::write(&granule, (0, 0), &mut written) };
            }),
        ),
    ]
}
