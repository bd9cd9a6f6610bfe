// SPDX-License-Identifier: LGPL-2.0-or-later
//! What the kernels lose against the same build of LAME without them: nothing that can be measured.
//!
//! The signal-to-noise ratio tells how much differs from the original, the noise-to-mask ratio how much of that may be
//! heard, by a plain model of masking in the frequency domain. To measure other material as well, name a folder of
//! files of interleaved stereo PCM, 16 bits, little-endian, 44.1 kHz, `*.s16`, in `MICROPY_QUALITY`.
#![cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with the other tests")]
mod support;

use std::f64::consts::TAU;
use std::{env, fs};

use micropy_lame::{Bitrate, Build, Encoder, Settings, builds};
use support::{Stereo, decode, music, noise, snr, speech};

/// The most that both ratios may differ by, in dB.
const LIMIT: f64 = 0.02;

/// The most that the size may differ by at variable bitrates.
const SIZE_LIMIT: f64 = 0.001;

const BITRATES: [Bitrate; 5] = [
    Bitrate::Cbr(128),
    Bitrate::Cbr(192),
    Bitrate::Abr(160),
    Bitrate::Vbr(2.0),
    Bitrate::Vbr(5.0),
];

/// The fastest build of LAME's own code.
const WITHOUT_KERNELS: Build = if cfg!(target_arch = "aarch64") {
    Build::Baseline
} else {
    Build::Avx2
};

struct Measured {
    snr: f64,
    nmr: f64,
    bytes: usize,
}

fn measure(build: Build, bitrate: Bitrate, audio: &Stereo) -> Measured {
    let settings = Settings {
        sample_rate: 44_100,
        channels: 2,
        bitrate,
        quality: 3,
    };
    let mut encoder = Encoder::with_build(build, &settings).unwrap();
    let mut mp3 = Vec::new();
    encoder
        .encode(&audio.left, Some(&audio.right), &mut mp3)
        .unwrap();
    let scale = encoder.scale();
    encoder.flush(&mut mp3).unwrap();
    let mut decoded = decode(&mp3);
    for plane in [&mut decoded.left, &mut decoded.right] {
        plane.iter_mut().for_each(|sample| *sample /= scale);
    }
    Measured {
        snr: snr(audio, &decoded),
        nmr: noise_to_mask(audio, &decoded),
        bytes: mp3.len(),
    }
}

#[test]
fn kernels_lose_nothing() {
    if !builds().contains(&Build::Kernels) {
        println!("skipped: this processor or compiler has no build with kernels");
        return;
    }
    let mut by_choice = [Vec::new(), Vec::new()];
    for (name, audio) in materials() {
        for bitrate in BITRATES {
            let [kernels, lame] =
                [Build::Kernels, WITHOUT_KERNELS].map(|build| measure(build, bitrate, &audio));
            let (worse, louder) = (lame.snr - kernels.snr, kernels.nmr - lame.nmr);
            let size = kernels.bytes as f64 / lame.bytes as f64 - 1.0;
            println!(
                "{name}, {bitrate:?}: signal to noise {:.3} dB ({:+.4}), noise to mask {:.3} dB ({louder:+.4}), {} bytes ({:+.3} %)",
                kernels.snr,
                -worse,
                kernels.nmr,
                kernels.bytes,
                100.0 * size
            );
            if matches!(bitrate, Bitrate::Vbr(_)) {
                assert!(worse < LIMIT && louder < LIMIT, "{name}, {bitrate:?}");
                assert!(size.abs() < SIZE_LIMIT, "{name}, {bitrate:?}");
            } else {
                by_choice[0].push(worse);
                by_choice[1].push(louder);
            }
        }
    }
    for (ratio, differences) in ["signal to noise", "noise to mask"].iter().zip(by_choice) {
        let (mean, error) = mean(&differences);
        println!("{ratio} at constant and average bitrates: {mean:.4} ± {error:.4} dB worse");
        assert!(mean - 2.0 * error < LIMIT, "{ratio}: {differences:.4?}");
    }
}

/// The mean and its standard error.
///
/// At constant and average bitrates LAME tries until the bits are spent, and the last bit of a sum decides which of the
/// trials is the best: where sounds repeat, one such choice is heard again and again. Two builds of LAME itself differ
/// by up to 1 dB on a few seconds of castanets or tones, one way or the other. So only the mean over materials tells
/// whether anything is lost.
fn mean(differences: &[f64]) -> (f64, f64) {
    let count = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let squares = differences.iter().map(|d| (d - mean).powi(2));
    let variance = squares.sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

fn materials() -> Vec<(String, Stereo)> {
    let stereo = |at: &dyn Fn(usize) -> [f32; 2]| {
        let (left, right) = (0..265_000).map(|n| at(n).into()).unzip();
        Stereo { left, right }
    };
    let sine = |n: usize, hertz: f64| (TAU * hertz * n as f64 / 44_100.0).sin() as f32;
    let hiss = noise(6.1);
    let tones = stereo(&|n| {
        // Gliding, and beating against each other.
        let glide = 1.0 + n as f64 / 530_000.0;
        let low = 0.3 * sine(n, 220.0 * glide) + 0.2 * sine(n, 1_245.0 * glide);
        let high = 0.1 * sine(n, 5_003.0 / glide) * sine(n, 0.7);
        [low + high, low - 0.1 * sine(n, 9_407.0 / glide)]
    });
    let castanets = stereo(&|n| {
        // Each stroke at another distance from the frame's start, and of another pitch.
        let (stroke, since) = (n / 7_013, n % 7_013);
        let struck = since as f32 / 44_100.0;
        let pitch = 1_900.0 + 90.0 * (stroke * 7 % 11) as f64;
        let wood = (-struck * 220.0).exp() * (hiss.left[n] + 0.7 * sine(n, pitch));
        let floor = 0.002 * hiss.right[n];
        [1.4 * wood + floor, 0.9 * wood - floor]
    });
    let cymbals = stereo(&|n| {
        let decay = (-((n % 33_000) as f32) / 9_000.0).exp();
        [hiss.left[n], hiss.right[n]].map(|noise| decay * noise)
    });
    let fading = stereo(&|n| {
        let level = (1.0 - n as f32 / 200_000.0).max(0.0);
        [level * 0.5 * sine(n, 440.0), level * hiss.right[n]]
    });
    let mut all = vec![
        ("music".to_owned(), music(20.0)),
        ("speech".to_owned(), speech(10.0)),
        ("tones".to_owned(), tones),
        ("castanets".to_owned(), castanets),
        ("cymbals".to_owned(), cymbals),
        ("a fade to silence".to_owned(), fading),
    ];
    if let Some(folder) = env::var_os("MICROPY_QUALITY") {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "s16") {
                all.push((path.display().to_string(), read(&fs::read(&path).unwrap())));
            }
        }
    }
    all
}

fn read(pcm: &[u8]) -> Stereo {
    let samples = pcm.as_chunks::<4>().0.iter().map(|&[a, b, c, d]| {
        let sample = |bytes| f32::from(i16::from_le_bytes(bytes)) / 32_768.0;
        (sample([a, b]), sample([c, d]))
    });
    let (left, right) = samples.unzip();
    Stereo { left, right }
}

const BLOCK: usize = 1024;
const BANDS: usize = 50;

/// The mean over blocks and channels of the noise relative to what the signal masks, in dB.
fn noise_to_mask(original: &Stereo, decoded: &Stereo) -> f64 {
    let model = Model::new();
    let channels = [
        (&original.left, &decoded.left),
        (&original.right, &decoded.right),
    ];
    let ratios = channels.into_iter().flat_map(|(original, decoded)| {
        let length = original.len().min(decoded.len());
        (0..length - BLOCK).step_by(BLOCK / 2).map(|at| {
            let signal = &original[at..at + BLOCK];
            let pairs = signal.iter().zip(&decoded[at..]);
            let noise = pairs.map(|(s, d)| d - s).collect::<Vec<_>>();
            model.noise_to_mask(signal, &noise)
        })
    });
    let ratios = ratios.collect::<Vec<_>>();
    ratios.iter().sum::<f64>() / ratios.len() as f64
}

/// Energies spread over 50 bands of half a Bark: 27 dB a Bark downwards, 10 dB upwards, and 14 dB below that.
struct Model {
    window: Vec<f64>,
    turns: Vec<(f64, f64)>,
    band: Vec<usize>,
    spreading: [[f64; BANDS]; BANDS],
    /// The threshold in quiet (Terhardt, 1979), with full scale at 100 dB.
    quiet: [f64; BANDS],
}

impl Model {
    fn new() -> Self {
        let turn = |n: usize| TAU * n as f64 / BLOCK as f64;
        let hertz = |line: usize| line as f64 * 44_100.0 / BLOCK as f64;
        let band = (0..=BLOCK / 2).map(|line| {
            let f = hertz(line);
            let bark = 13.0 * (0.000_76 * f).atan() + 3.5 * (f / 7_500.0).powi(2).atan();
            ((bark * BANDS as f64 / 25.0) as usize).min(BANDS - 1)
        });
        let band = band.collect::<Vec<_>>();
        let mut quiet = [0.0; BANDS];
        for (line, &band) in band.iter().enumerate() {
            let khz = hertz(line).max(20.0) / 1_000.0;
            let level = 3.64 * khz.powf(-0.8) - 6.5 * (-0.6 * (khz - 3.3).powi(2)).exp()
                + 1e-3 * khz.powi(4);
            quiet[band] += 10.0_f64.powf((level - 100.0) / 10.0) * BLOCK as f64;
        }
        let spreading = std::array::from_fn(|to| {
            std::array::from_fn(|from| {
                let bark = (to as f64 - from as f64) * 25.0 / BANDS as f64;
                let slope = if bark >= 0.0 { -10.0 } else { 27.0 };
                10.0_f64.powf((slope * bark - 14.0) / 10.0)
            })
        });
        Self {
            window: (0..BLOCK).map(|n| 0.5 - 0.5 * turn(n).cos()).collect(),
            turns: (0..BLOCK).map(|n| turn(n).sin_cos()).collect(),
            band,
            spreading,
            quiet,
        }
    }

    fn noise_to_mask(&self, signal: &[f32], noise: &[f32]) -> f64 {
        let (signal, noise) = (self.bands(signal), self.bands(noise));
        let ratio = |band: usize| {
            let terms = self.spreading[band].iter().zip(&signal);
            let mask = terms.map(|(factor, energy)| factor * energy).sum::<f64>();
            noise[band] / mask.max(self.quiet[band])
        };
        let mean = (0..BANDS).map(ratio).sum::<f64>() / BANDS as f64;
        10.0 * (mean + 1e-9).log10()
    }

    fn bands(&self, samples: &[f32]) -> [f64; BANDS] {
        let windowed = samples.iter().zip(&self.window);
        let mut spectrum = windowed
            .map(|(&x, w)| (f64::from(x) * w, 0.0))
            .collect::<Vec<_>>();
        self.transform(&mut spectrum);
        let mut bands = [0.0; BANDS];
        for (&band, (re, im)) in self.band.iter().zip(spectrum) {
            bands[band] += re * re + im * im;
        }
        bands
    }

    /// The discrete Fourier transform of radix 2, in place.
    fn transform(&self, x: &mut [(f64, f64)]) {
        let bits = x.len().trailing_zeros();
        for i in 0..x.len() {
            let j = i.reverse_bits() >> (usize::BITS - bits);
            if i < j {
                x.swap(i, j);
            }
        }
        let mut half = 1;
        while half < x.len() {
            for block in x.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                    let (sin, cos) = self.turns[k * BLOCK / (2 * half)];
                    let turned = (b.0 * cos + b.1 * sin, b.1 * cos - b.0 * sin);
                    *b = (a.0 - turned.0, a.1 - turned.1);
                    *a = (a.0 + turned.0, a.1 + turned.1);
                }
            }
            half *= 2;
        }
    }
}
