//! Runs the engine over whole files and holds what it writes against one encoder that hears the same PCM:
//! that of decoders restarted at each span.

use std::collections::VecDeque;

use micropy_lame::Bitrate;

use super::*;
use crate::codec::CodecParameters;
use crate::decode::{self, Format};
use crate::downmix::Downmix;
use crate::fade::Fade;
use crate::mp3::frame::Frames;
use crate::mp4::Movie;
use crate::span::{Mapping, Plan};
use crate::stitch::tests::mp3_check::check;
use crate::stitch::tests::music::{Random, music};
use crate::timeline::{Clock, Presented};
use movie::{Moov, pcm_movie};
use programs::{aac_movie, decoded};

#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../tests/support/movie.rs"]
mod movie;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../tests/support/programs.rs"]
mod programs;

/// The audio of a file, to be encoded in its own rate and channels.
struct Track<'a> {
    file: &'a [u8],
    parameters: CodecParameters,
    format: Format,
    mapping: Mapping,
}

impl<'a> Track<'a> {
    fn open(file: &'a [u8]) -> Self {
        let mut source = file;
        let mut movie = Movie::read(&mut source).unwrap();
        let mut packets = movie.packets(&mut source, 0).unwrap();
        let track = movie.audio.swap_remove(0);
        let parameters = track.codec.unwrap();
        let mut first = Vec::new();
        for _ in 0..decode::INSPECTED_PACKETS {
            first.push(Vec::new());
            let last = first.last_mut().unwrap();
            packets.next(&mut source, last).unwrap().unwrap();
        }
        let format = decode::inspect(&parameters, &first).unwrap();
        let clock = Clock {
            timescale: track.timescale,
            sample_rate: format.sample_rate,
            packet_len: format.packet_len,
        };
        let mapping = Mapping {
            clock,
            presented: Presented::new(&clock, &track.edit, None, track.samples),
            silence: 0,
            resampler: None,
            roll: (0, 0),
        };
        Track {
            file,
            parameters,
            format,
            mapping,
        }
    }

    fn settings(&self, bitrate: Bitrate) -> micropy_lame::Settings {
        micropy_lame::Settings {
            sample_rate: self.format.sample_rate,
            channels: self.format.layout.channels() as u8,
            bitrate,
            quality: 3,
        }
    }

    fn recipe(&self) -> Recipe {
        let layout = self.format.layout;
        let downmix = match layout.channels() {
            1 => Downmix::mono(layout, true),
            _ => Downmix::stereo(layout, true),
        };
        Recipe {
            parameters: self.parameters.clone(),
            format: self.format.clone(),
            mapping: self.mapping.clone(),
            sample_rate: self.format.sample_rate,
            downmix,
            gain: None,
            fade: Fade::default(),
            measure: false,
        }
    }

    fn frame_len(&self) -> usize {
        if self.format.sample_rate < 32_000 {
            576
        } else {
            1152
        }
    }

    fn spans(&self, plan: Plan) -> SpanReader {
        let mut source = self.file;
        let packets = Movie::read(&mut source)
            .unwrap()
            .packets(&mut source, 0)
            .unwrap();
        let frame_len = self.frame_len() as u64;
        SpanReader::new(
            VecDeque::new(),
            packets,
            self.mapping.clone(),
            plan,
            frame_len,
            self.format.roll,
            self.format.in_order(&self.parameters).unwrap(),
        )
    }

    /// What the engine writes with so many workers.
    fn in_spans(&self, bitrate: Bitrate, plan: Plan, jobs: usize) -> Vec<u8> {
        let recipe = self.recipe();
        let findings = Findings::default();
        let engine = Engine {
            recipe: &recipe,
            encoder: Some(self.settings(bitrate)),
            jobs: NonZeroUsize::new(jobs).unwrap(),
            findings: &findings,
        };
        let mut written = Written::default();
        let mut source = self.file;
        engine
            .run(&mut self.spans(plan), &mut source, &mut written)
            .unwrap();
        assert_eq!(findings.faults().count(), 0);
        written.0
    }

    /// The PCM of all spans, by a decoder restarted at each, and what one encoder makes of it.
    fn serial(&self, bitrate: Bitrate, plan: Plan) -> (Pcm, Vec<u8>) {
        let recipe = self.recipe();
        let mut source = self.file;
        let mut spans = self.spans(plan);
        let mut all = Pcm::new(recipe.downmix.channels());
        let mut runner = None;
        while let Some(span) = spans.next(&mut source).unwrap() {
            let span = Arc::new(span);
            let runner =
                runner.get_or_insert_with(|| Runner::new(&span, &self.settings(bitrate)).unwrap());
            let mut renderer = Renderer::new(&recipe, span, None).unwrap();
            let mut pcm = Pcm::default();
            let mut more = true;
            while more {
                more = renderer.render(&mut pcm).unwrap();
                all.extend_from(&pcm, 0, pcm.len());
                for (_, frame) in runner.encode(&pcm).unwrap() {
                    runner.keep(frame);
                }
            }
        }
        let frames = runner.unwrap().finish().unwrap();
        (all, frames.iter_from(0).flatten().copied().collect())
    }
}

#[derive(Default)]
struct Written(Vec<u8>);

impl Observer for Written {
    fn frames(&mut self, frames: &mut dyn Iterator<Item = &[u8]>) -> Result<()> {
        frames.for_each(|frame| self.0.extend_from_slice(frame));
        Ok(())
    }

    fn tick(&mut self, _encoded: u64) -> Result<()> {
        Ok(())
    }
}

fn split(bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Frames::new();
    frames.push(bytes);
    let all = std::iter::from_fn(|| frames.next_frame().unwrap()).collect();
    frames.finish().unwrap();
    all
}

/// Which frames decode to something else in `a` than in `b`.
fn differing(a: &[u8], b: &[u8]) -> Vec<usize> {
    let (a, b) = (split(a), split(b));
    assert_eq!(a.len(), b.len());
    (0..a.len()).filter(|&i| !a[i].same_audio(&b[i])).collect()
}

/// Music as AAC, or as PCM where there is no ffmpeg to make that.
fn recording(seed: u64, rate: u32, channels: usize, frames: usize) -> Vec<u8> {
    let frame_len = if rate < 32_000 { 576 } else { 1152 };
    let planes = music(seed, rate, channels, frames * frame_len);
    aac_movie(&planes, rate, "+faststart").unwrap_or_else(|| pcm_movie(&planes, rate, Moov::First))
}

/// Long enough that each seam is found before the next span begins.
const SPAN: u64 = 6 * 49;

/// At a constant bitrate of 128 and more, no frame is another than one encoder's.
fn assert_exact(bitrate: u16, seed: u64) {
    const SEAMS: usize = 12;
    let file = recording(seed, 44_100, 2, SPAN as usize * (SEAMS + 1) - 100);
    let track = Track::open(&file);
    let plan = Plan::every(SPAN);
    let bitrate = Bitrate::Cbr(bitrate);
    let (_, serial) = track.serial(bitrate, plan);
    let got = track.in_spans(bitrate, plan, 3);
    let frames = check(&got).unwrap().frames.len();
    let differ = differing(&got, &serial);
    println!("{bitrate:?}: {} of {frames} frames differ", differ.len());
    assert!(differ.is_empty(), "{bitrate:?}: {differ:?}");
}

#[test]
fn cbr_128_is_the_serial_encode() {
    assert_exact(128, 21);
}

#[test]
fn cbr_192_is_the_serial_encode() {
    assert_exact(192, 22);
}

#[test]
fn cbr_320_is_the_serial_encode() {
    assert_exact(320, 23);
}

/// Where encoders do not meet, frames differ, and sound no worse: in the 30 granules from the first frame on
/// that differs after a seam, the noise is on average at most 0.5 dB above the serial encode's.
fn assert_no_worse(kinds: &[(Bitrate, u32, usize)]) {
    const SEAMS: usize = 10;
    for (seed, &(bitrate, rate, channels)) in (31..).zip(kinds) {
        let file = recording(seed, rate, channels, SPAN as usize * (SEAMS + 1) - 100);
        let track = Track::open(&file);
        let plan = Plan::every(SPAN);
        let (pcm, serial) = track.serial(bitrate, plan);
        let got = track.in_spans(bitrate, plan, 3);
        check(&got).unwrap();
        let differ = differing(&got, &serial);
        let frames = split(&got).len();
        println!(
            "{bitrate:?} {rate} Hz: {} of {frames} frames differ",
            differ.len()
        );
        let (Some(serial), Some(got)) = (decoded(&serial), decoded(&got)) else {
            return;
        };
        let scale = micropy_lame::Encoder::new(&track.settings(bitrate))
            .unwrap()
            .scale();
        let noise = |decoded: &[f32], from: usize| -> f64 {
            // LAME's delay and a decoder's; LAME also turns the level down a little.
            const DELAY: usize = 576 + 529;
            let mut sum = 0.0;
            for i in from..(from + 30 * 576).min(pcm.len()) {
                for (channel, plane) in pcm.planes().iter().enumerate() {
                    let heard = decoded.get((i + DELAY) * channels + channel);
                    let error = heard.copied().unwrap_or_default() - plane[i] * scale;
                    sum += f64::from(error).powi(2);
                }
            }
            sum
        };
        let mut decibels = Vec::new();
        for seam in 1..=SEAMS {
            let span = seam * SPAN as usize..(seam + 1) * SPAN as usize;
            if let Some(first) = differ.iter().find(|&frame| span.contains(frame)) {
                let from = first.saturating_sub(1) * track.frame_len();
                let (got, serial) = (noise(&got, from), noise(&serial, from));
                decibels.push(10.0 * ((got + 1e-6) / (serial + 1e-6)).log10());
            }
        }
        println!("  noise after the seams against serial, dB: {decibels:.2?}");
        let mean = decibels.iter().sum::<f64>() / decibels.len().max(1) as f64;
        assert!(mean <= 0.5, "{bitrate:?}: {mean} dB");
    }
}

#[test]
fn low_and_average_bitrates_sound_no_worse() {
    assert_no_worse(&[
        (Bitrate::Cbr(64), 44_100, 2),
        (Bitrate::Abr(128), 44_100, 2),
        (Bitrate::Cbr(32), 22_050, 1),
    ]);
}

#[test]
fn variable_bitrates_sound_no_worse() {
    assert_no_worse(&[
        (Bitrate::Vbr(0.0), 44_100, 2),
        (Bitrate::Vbr(2.0), 44_100, 2),
        (Bitrate::Vbr(5.0), 48_000, 1),
        (Bitrate::Vbr(9.0), 44_100, 2),
    ]);
}

/// Spans of every length, also shorter than what a left neighbour looks at or a seam needs: sound, the same
/// whatever the number of workers, and never stuck.
#[test]
fn any_plan_gives_a_sound_stream_whoever_works() {
    let mut random = Random::new(41);
    for (bitrate, rate, channels) in [
        (Bitrate::Cbr(128), 44_100_u32, 2),
        (Bitrate::Vbr(4.0), 44_100, 1),
        (Bitrate::Abr(64), 24_000, 2),
        (Bitrate::Cbr(40), 22_050, 1),
        (Bitrate::Vbr(7.0), 11_025, 2),
    ] {
        let frame_len: usize = if rate < 32_000 { 576 } else { 1152 };
        // Where spans are too short for a seam, every encoder goes on to the end: keep the file short, too.
        for (frames, longest) in [(60, 30), (500, 120), (700, 400)] {
            let every = random.between(longest / 4, longest);
            let frames = frames + random.between(0, 50);
            let len = frames * frame_len - random.between(0, frame_len);
            let planes = music(random.next_u32().into(), rate, channels, len);
            let file = pcm_movie(&planes, rate, Moov::First);
            let track = Track::open(&file);
            let plan = Plan::every(every as u64);
            let first = track.in_spans(bitrate, plan, 1);
            let stream = check(&first).unwrap_or_else(|why| panic!("{bitrate:?} {every}: {why}"));
            assert_eq!(stream.frames.len(), (len + 2 * 576).div_ceil(frame_len));
            assert!(stream.bitrates.len() == 1 || !matches!(bitrate, Bitrate::Cbr(_)));
            for jobs in [2, 7] {
                let other = track.in_spans(bitrate, plan, jobs);
                assert!(other == first, "{bitrate:?} spans of {every}, {jobs} jobs");
            }
        }
    }
}

/// Runs the engine with a broken recipe or encoder; it must come to an error by itself.
fn error_of(spoil: impl FnOnce(&mut Recipe, &mut micropy_lame::Settings)) -> Error {
    let file = pcm_movie(&music(51, 8_000, 1, 8_000 * 60), 8_000, Moov::First);
    let track = Track::open(&file);
    let mut recipe = track.recipe();
    let mut encoder = track.settings(Bitrate::Cbr(16));
    spoil(&mut recipe, &mut encoder);
    let engine = Engine {
        recipe: &recipe,
        encoder: Some(encoder),
        jobs: NonZeroUsize::new(3).unwrap(),
        findings: &Findings::default(),
    };
    let mut source = file.as_slice();
    let mut reader = track.spans(Plan::every(50));
    let result = engine.run(&mut reader, &mut source, &mut Written::default());
    result.unwrap_err()
}

#[test]
fn an_error_in_a_worker_ends_the_conversion() {
    let error = error_of(|_, encoder| encoder.channels = 2);
    assert!(matches!(error, Error::InvalidOption(_)), "{error}");
    let error = error_of(|_, encoder| encoder.bitrate = Bitrate::Cbr(320));
    assert!(matches!(error, Error::InvalidOption(_)), "{error}");
}

#[test]
fn a_panic_in_a_worker_is_an_error() {
    let error = error_of(|recipe, _| {
        // Two planes are mixed, of which the decoder gives one.
        recipe.downmix = Downmix::stereo(crate::pcm::Layout::STEREO, true);
        recipe.format.layout = crate::pcm::Layout::MONO;
    });
    assert!(matches!(error, Error::Internal(_)), "{error}");
}
