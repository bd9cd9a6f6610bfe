// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{Bands, Earlier, MAX_BANDS, Model, Output, Planes, Spectrum, long, short, twin};
use crate::kernels::block::Block;
use crate::kernels::materials::{Random, processor_can};

/// Bands as LAME might lay them out, from few wide ones to as many as it has room for.
struct Layout {
    lines: Vec<i32>,
    maskers: Vec<[i32; 2]>,
    spreading: Vec<f32>,
    limit: Vec<f32>,
    lower: Vec<f32>,
}

impl Layout {
    fn new(count: usize, total: usize, random: &mut Random) -> Self {
        let mut lines = vec![1; count];
        for extra in 0..total - count {
            // The higher the band, the wider.
            let place = (extra as f32 / (total - count) as f32).sqrt() * count as f32;
            lines[place as usize] += 1;
        }
        let mut number = |low: f32, high: f32| low + (high - low) * (0.5 + 0.5 * random.next());
        let maskers = (0..count).map(|b| {
            let below = number(0.0, 4.0) as usize;
            let above = number(0.0, 20.0) as usize;
            [
                b.saturating_sub(above) as i32,
                (b + below).min(count - 1) as i32,
            ]
        });
        let maskers = maskers.collect::<Vec<_>>();
        let spreading = maskers.iter().enumerate().flat_map(|(b, &[first, last])| {
            (first..=last).map(move |m| 0.7 * 10.0_f32.powi(-(m - b as i32).abs()).sqrt())
        });
        Self {
            lines,
            spreading: spreading.collect(),
            limit: (0..count).map(|_| number(0.1, 20.0)).collect(),
            lower: (0..count).map(|_| number(0.2, 1.5)).collect(),
            maskers,
        }
    }

    fn model(&self) -> Model<'_> {
        Model {
            lines: &self.lines,
            maskers: &self.maskers,
            spreading: &self.spreading,
            limit: &self.limit,
            lower: &self.lower,
        }
    }
}

/// The energies of lines: noise, tones, silence, steps, all of one size, denormals.
fn spectra(total: usize, random: &mut Random) -> Vec<Vec<[f32; 4]>> {
    let mut make = |at: &dyn Fn(usize, f32) -> f32| {
        (0..total)
            .map(|k| [0; 4].map(|_| at(k, random.next().abs())))
            .collect::<Vec<_>>()
    };
    vec![
        make(&|_, noise| 1e6 * noise * noise),
        make(&|k, noise| if k % 37 == 5 { 1e12 } else { 1e3 * noise }),
        make(&|_, _| 0.0),
        make(&|k, noise| if k % 64 < 32 { 1e9 * noise } else { 0.0 }),
        make(&|_, _| 7.0),
        make(&|_, noise| 1e-40 * noise),
        make(&|k, noise| 1e17 * (-(k as f32) / 20.0).exp() * noise),
    ]
}

fn zeroed<T>() -> Box<T> {
    // SAFETY: only for structs of numbers.
    Box::new(unsafe { std::mem::zeroed() })
}

/// Thresholds near a step may go either way; they are counted.
#[derive(Default)]
struct Comparison {
    compared: usize,
    differing: usize,
}

impl Comparison {
    fn compare(&mut self, actual: f32, expected: f64) {
        self.compared += 1;
        if (f64::from(actual) - expected).abs() > 1e-5 * expected.abs() + 1e-36 {
            self.differing += 1;
        }
    }

    /// # Panics
    /// When more than one in two hundred differs.
    fn check(&self, name: &str) {
        let Self {
            compared,
            differing,
        } = self;
        assert!(
            200 * differing < *compared,
            "{name}: {differing} of {compared} differ"
        );
    }
}

#[test]
fn equals_the_scalar_model() {
    if !processor_can() {
        return;
    }
    let mut random = Random(9);
    for (count, total) in [
        (64, 513),
        (63, 513),
        (47, 513),
        (22, 513),
        (5, 513),
        (2, 513),
        (41, 129),
    ] {
        let layout = Layout::new(count, total, &mut random);
        let model = layout.model();
        let mut bands = zeroed::<Bands>();
        assert!(bands.lay_out(&model, total));
        let mut spectrum = zeroed::<Spectrum>();
        let mut before = [[[1e20_f32; 4]; MAX_BANDS]; 2];
        let mut twins = [[[1e20_f64; MAX_BANDS]; 2]; 4];
        let mut comparison = Comparison::default();
        let blocks = [Block::Long, Block::Start, Block::Short, Block::Stop];
        for (round, lines) in (0..4).flat_map(|_| spectra(total, &mut random)).enumerate() {
            let previous = [blocks[round % 4], blocks[round / 3 % 4]];
            let lowest = [1.0, 0.4, 3.0][round % 3];
            let (mut energy, mut threshold) =
                ([[f32::NAN; MAX_BANDS]; 4], [[f32::NAN; MAX_BANDS]; 4]);
            let earlier = Earlier {
                blocks: previous,
                masking: &mut before,
            };
            let output = Output {
                energy: &mut energy,
                threshold: &mut threshold,
            };
            // SAFETY: the processor has been asked.
            let total = unsafe { long(&bands, &lines, earlier, lowest, &mut spectrum, output) };
            for channel in 0..4 {
                let lines = lines
                    .iter()
                    .map(|line| f64::from(line[channel]))
                    .collect::<Vec<_>>();
                let [one, two] = &mut twins[channel];
                let history = twin::Before {
                    block: previous[channel % 2],
                    masking: [one, two],
                };
                let (energies, thresholds) =
                    twin::thresholds(&model, &lines, lowest.into(), Some(history));
                let sum = lines[11..].iter().sum::<f64>();
                assert!((f64::from(total[channel]) - sum).abs() <= 1e-5 * sum + 1e-36);
                for b in 0..count {
                    let error = (f64::from(energy[channel][b]) - energies[b]).abs();
                    assert!(error <= 1e-5 * energies[b] + 1e-36);
                    comparison.compare(threshold[channel][b], thresholds[b]);
                    // A step taken otherwise must not go on to later granules.
                    before[0][b][channel] = twins[channel][0][b] as f32;
                    before[1][b][channel] = twins[channel][1][b] as f32;
                }
                let behind = energy[channel][count..]
                    .iter()
                    .chain(&threshold[channel][count..]);
                assert!(behind.copied().all(|value| value == 0.0));
            }
        }
        comparison.check(&format!("{count} bands"));
    }
}

#[test]
fn short_blocks_have_no_history() {
    if !processor_can() {
        return;
    }
    let mut random = Random(5);
    let layout = Layout::new(41, 129, &mut random);
    let mut bands = zeroed::<Bands>();
    assert!(bands.lay_out(&layout.model(), 129));
    let mut comparison = Comparison::default();
    for lines in spectra(129, &mut random) {
        let (mut energy, mut threshold): (Planes, Planes) =
            ([[0.0; MAX_BANDS]; 4], [[0.0; MAX_BANDS]; 4]);
        let output = Output {
            energy: &mut energy,
            threshold: &mut threshold,
        };
        // SAFETY: the processor has been asked.
        unsafe { short(&bands, &lines, 0.8, &mut zeroed(), output) };
        for channel in 0..4 {
            let lines = lines
                .iter()
                .map(|line| f64::from(line[channel]))
                .collect::<Vec<_>>();
            let (_, thresholds) =
                twin::thresholds(&layout.model(), &lines, f64::from(0.8_f32), None);
            for (actual, expected) in threshold[channel].iter().zip(thresholds) {
                comparison.compare(*actual, expected);
            }
        }
    }
    comparison.check("short blocks");
}

#[test]
fn unsound_bands_are_refused() {
    let layout = Layout::new(20, 513, &mut Random(1));
    let mut bands = zeroed::<Bands>();
    let mut lay_out = |model: Model<'_>, lines| bands.lay_out(&model, lines);
    assert!(lay_out(layout.model(), 513));
    assert!(!lay_out(layout.model(), 512));
    let spreading = &layout.spreading[1..];
    assert!(!lay_out(
        Model {
            spreading,
            ..layout.model()
        },
        513
    ));
    let mut maskers = layout.maskers.clone();
    maskers[3] = [2, 20];
    assert!(!lay_out(
        Model {
            maskers: &maskers,
            ..layout.model()
        },
        513
    ));
    maskers[3] = [-1, 2];
    assert!(!lay_out(
        Model {
            maskers: &maskers,
            ..layout.model()
        },
        513
    ));
    maskers[3] = [4, 3];
    assert!(!lay_out(
        Model {
            maskers: &maskers,
            ..layout.model()
        },
        513
    ));
    assert!(!lay_out(
        Model {
            lines: &[513],
            ..layout.model()
        },
        513
    ));
    assert!(!lay_out(
        Model {
            lines: &[],
            ..layout.model()
        },
        0
    ));
}
