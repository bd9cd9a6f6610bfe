//! The making of one MP3: what the stages are set up with, in which order they run, what is said of it.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use crate::audio::{Audio, Beginning};
use crate::copy::{self, Copier};
use crate::decode::Format;
use crate::downmix::Downmix;
use crate::error::{Error, Result};
use crate::fade::Fade;
use crate::loudness::Loudness;
use crate::mp3::id3;
use crate::mp3::info_tag::{self, Trim};
use crate::mp4::Packet;
use crate::options::{Bitrate, Channels, Options};
use crate::pipeline::{Engine, Observer};
use crate::progress::{CancelToken, Progress};
use crate::render::{CEILING_DBTP, Faults, Findings, Recipe};
use crate::report::{MeasuredLoudness, Report, duration_of, samples_of};
use crate::resample::{self, Resampler};
use crate::runner::rate_control;
use crate::sink::Sink;
use crate::source::Source;
use crate::span::{Advance, Extent, Mapping, Plan, SpanReader};
use crate::tags::{Metadata, ReplayGain, fit_chapters};
use crate::timeline::{Clock, Presented};
use crate::writer::{Foreseen, Writer};

/// The longest silence that is made of an empty edit before the audio: some bytes can declare years of it.
const LATEST_START: Duration = Duration::from_secs(24 * 60 * 60);

/// Which part of the audio becomes the MP3, and what the file says of it.
pub struct Part {
    /// Where it begins on the presentation.
    pub start: Duration,
    /// Where it ends; `None`: with the audio.
    pub end: Option<Duration>,
    /// Its tags; chapters on the file's time line.
    pub metadata: Metadata,
}

/// What was found in a first pass over the part.
pub struct Survey {
    extent: Extent,
    loudness: Option<Loudness>,
}

impl Survey {
    /// Whether the packets may be gone through once more. `twice`: the sink cannot be rewritten, or nobody
    /// knows yet.
    pub fn may_be_needed(options: &Options, twice: bool) -> bool {
        // MP3 that is copied is decoded for its loudness alone, in a pass of its own.
        options.replay_gain && (twice || !options.change_audio())
            || options.normalize.is_some()
            || !options.fade_out.is_zero()
    }
}

/// One MP3 to be made.
pub struct Conversion<'a> {
    pub options: &'a Options,
    pub audio: &'a Audio,
    pub part: &'a Part,
    pub cancel: &'a CancelToken,
    pub on_progress: &'a mut dyn FnMut(Progress),
}

impl Conversion<'_> {
    /// Makes it, of what `source` holds, into `sink`.
    pub fn run(&mut self, source: &mut dyn Source, sink: &mut dyn Sink) -> Result<Report> {
        let mut beginning = self.audio.begin(source)?;
        let clock = self.clock(&beginning);
        let copies = copy::applies(self.options, &beginning.format, &self.presented(&clock));
        let measure = self.options.normalize.is_some()
            || self.options.replay_gain && (copies || !sink.can_rewrite());
        let mut survey = None;
        if measure || !self.options.fade_out.is_zero() {
            survey = Some(self.survey(beginning, source, measure)?);
            beginning = self.audio.begin(source)?;
        }
        if copies {
            self.copy(beginning, survey.as_ref(), source, sink)
        } else {
            self.encode(beginning, survey.as_ref(), source, sink)
        }
    }

    /// Goes over the part without encoding it.
    fn survey(
        &mut self,
        beginning: Beginning,
        source: &mut dyn Source,
        measure: bool,
    ) -> Result<Survey> {
        let mut rendering = self.rendering(beginning, None, measure)?;
        let rate = rendering.recipe.sample_rate;
        let jobs = self.jobs();
        let mut watch = self.watch(rate, rendering.declared, (0, 2));
        let findings = Findings::default();
        if measure {
            let engine = Engine {
                recipe: &rendering.recipe,
                encoder: None,
                jobs,
                findings: &findings,
            };
            engine.run(&mut rendering.reader, source, &mut watch)?;
        } else {
            while !matches!(rendering.reader.advance(source)?, Advance::End) {
                watch.tick(0)?;
            }
        }
        Ok(Survey {
            extent: rendering.reader.extent().clone(),
            loudness: measure.then(|| findings.loudness().clone()),
        })
    }

    fn encode(
        &mut self,
        beginning: Beginning,
        survey: Option<&Survey>,
        source: &mut dyn Source,
        sink: &mut dyn Sink,
    ) -> Result<Report> {
        let measure = self.options.replay_gain && sink.can_rewrite();
        let Rendering {
            recipe,
            mut reader,
            declared,
        } = self.rendering(beginning, survey, measure)?;
        let rate = recipe.sample_rate;
        let channels = recipe.downmix.channels();
        let encoder = self.options.encoder(rate, channels as u8);
        if declared == Some(0) {
            return Err(self.nothing());
        }
        let gain = recipe.gain.map_or(1.0, f64::from);
        let known = survey.and_then(|s| s.loudness.as_ref());
        let level = known.map(|loudness| match recipe.gain {
            Some(_) => loudness.amplified(gain).limited(CEILING_DBTP.into()),
            None => loudness.clone(),
        });
        let tag = self.tag(level.as_ref().and_then(replay_gain));
        let id3 = tag.encode(declared.map(|len| duration_of(len, rate)))?;
        let foreseen = match declared {
            Some(len) => {
                let frames = frames_for(len, frame_len(rate));
                Foreseen {
                    frames: Some(frames),
                    trim: Some(trim_of(frames, len, rate)),
                    evenly: true,
                }
            }
            None => Foreseen {
                frames: None,
                trim: Some(Trim {
                    delay: ENCODER_DELAY as u16,
                    padding: 0,
                }),
                evenly: false,
            },
        };
        let findings = Findings::default();
        let engine = Engine {
            recipe: &recipe,
            encoder: Some(encoder),
            jobs: self.jobs(),
            findings: &findings,
        };
        let passes = if survey.is_some() { (1, 2) } else { (0, 1) };
        let mut desk = Desk {
            writer: Writer::new(sink, &id3, describe(&encoder)?, foreseen)?,
            watch: self.watch(rate, declared, passes),
        };
        engine.run(&mut reader, source, &mut desk)?;

        let writer = desk.writer;
        let extent = reader.extent();
        if extent.output_len == 0 {
            return Err(self.nothing());
        }
        let faults = findings.faults().clone();
        check_faults(&faults)?;
        let frames = writer.frames();
        let measured = measure.then(|| findings.loudness().clone());
        let level = measured.as_ref().or(level.as_ref()).and_then(replay_gain);
        let level = level.filter(|_| self.options.replay_gain);
        let trim = trim_of(frames, extent.output_len, rate);
        let length = duration_of(extent.output_len, rate);
        let bytes = writer.finish(
            &self.tag(level).encode_within(length, id3.len())?,
            Some(trim),
            level,
        )?;
        let source_loudness = known.or(measured.as_ref());
        let mut warnings = self.audio.warnings().to_vec();
        warnings.extend_from_slice(reader.packets().warnings());
        warnings.extend(faults.told());
        let missing = reader.packets().missing();
        warnings.extend(cut(extent, missing.packets));
        Ok(Report {
            codec: recipe.format.name.clone(),
            copied: false,
            input_sample_rate: recipe.format.sample_rate,
            input_channels: recipe.format.layout.channels() as u16,
            input_samples: extent.input_len,
            input_bytes: extent.audio_bytes,
            packets: extent.packets,
            expected_packets: extent.packets + missing.packets,
            concealed_packets: faults.count(),
            output_sample_rate: rate,
            output_channels: channels as u16,
            output_samples: extent.output_len,
            output_bytes: bytes,
            tag_bytes: id3.len() as u64,
            frames,
            complete: extent.cut_at.is_none() && missing.is_nothing(),
            expected_duration: declared.map(|len| duration_of(len, rate)),
            loudness: source_loudness.map(|loudness| told(loudness, gain)),
            warnings,
        })
    }

    /// Takes the frames over as they are.
    fn copy(
        &mut self,
        beginning: Beginning,
        survey: Option<&Survey>,
        source: &mut dyn Source,
        sink: &mut dyn Sink,
    ) -> Result<Report> {
        let clock = self.clock(&beginning);
        let format = beginning.format.clone();
        let track = self.audio.track();
        let declared = track.samples.zip(track.duration).map(|(packets, units)| {
            let presented = self.presented(&clock);
            presented.len_within(clock.media_len(packets, units))
        });
        let mut copier = Copier::new(beginning, clock, self.presented(&clock))?;
        let loudness = survey.and_then(|s| s.loudness.as_ref());
        let level = loudness.and_then(replay_gain);
        let rate = format.sample_rate;
        let id3 = self
            .tag(level)
            .encode(declared.map(|len| duration_of(len, rate)))?;
        let foreseen = copier.foresee(declared);
        let passes = if survey.is_some() { (1, 2) } else { (0, 1) };
        let mut watch = self.watch(rate, declared, passes);
        let mut writer = Writer::new(sink, &id3, copier.encoding(), foreseen)?;
        while let Some(frame) = copier.next(source)? {
            writer.frame(&frame)?;
            if writer.frames().is_multiple_of(64) {
                watch.tick(writer.frames() * copier.frame_len())?;
            }
        }
        watch.tick(writer.frames() * copier.frame_len())?;
        check_faults(copier.faults())?;
        let end = copier.end();
        let frames = writer.frames();
        writer.set_rate(copier.encoding().rate);
        let length = duration_of(end.output_len, rate);
        let bytes = writer.finish(
            &self.tag(level).encode_within(length, id3.len())?,
            end.trim,
            level,
        )?;
        let missing = copier.packets().missing();
        let mut warnings = self.audio.warnings().to_vec();
        warnings.extend_from_slice(copier.packets().warnings());
        warnings.extend(copier.faults().told());
        warnings.extend(cut(&end.extent, missing.packets));
        warnings.extend(end.warning);
        Ok(Report {
            codec: format.name,
            copied: true,
            input_sample_rate: rate,
            input_channels: format.layout.channels() as u16,
            input_samples: end.extent.input_len,
            input_bytes: end.extent.audio_bytes,
            packets: end.extent.packets,
            expected_packets: end.extent.packets + missing.packets,
            concealed_packets: copier.faults().count(),
            output_sample_rate: rate,
            output_channels: format.layout.channels() as u16,
            output_samples: end.output_len,
            output_bytes: bytes,
            tag_bytes: id3.len() as u64,
            frames,
            complete: end.extent.cut_at.is_none() && missing.is_nothing(),
            expected_duration: declared.map(|len| duration_of(len, rate)),
            loudness: loudness.map(|loudness| told(loudness, 1.0)),
            warnings,
        })
    }

    fn clock(&self, beginning: &Beginning) -> Clock {
        Clock {
            timescale: self.audio.track().timescale,
            sample_rate: beginning.format.sample_rate,
            packet_len: beginning.format.packet_len,
        }
    }

    /// What of the decoder's output the file presents.
    fn presented(&self, clock: &Clock) -> Presented {
        let track = self.audio.track();
        let gapless = self.audio.metadata().gapless;
        Presented::new(clock, &track.edit, gapless, track.samples)
    }

    /// Length of the silence before a late start, in PCM samples of `clock`: what the file says, and what of
    /// it the options keep.
    fn late_start(&self, clock: &Clock) -> (u64, u64) {
        let late = clock.samples(self.audio.track().edit.delay);
        (late, if self.options.late_start { late } else { 0 })
    }

    /// Sets up everything up to the PCM of the output.
    fn rendering(
        &self,
        beginning: Beginning,
        survey: Option<&Survey>,
        measure: bool,
    ) -> Result<Rendering> {
        let options = self.options;
        let clock = self.clock(&beginning);
        let Beginning {
            format,
            ahead,
            packets,
        } = beginning;
        let (_, silence) = self.late_start(&clock);
        let (presented, silence) = self.trim(self.presented(&clock), silence, &clock);
        self.check_late_start(silence, clock.sample_rate)?;
        let scaled = !options.unscaled_downmix;
        let downmix = match options.channels {
            Some(Channels::Mono) => Downmix::mono(format.layout, scaled),
            None if format.layout.channels() == 1 => Downmix::mono(format.layout, scaled),
            Some(Channels::Stereo) | None => Downmix::stereo(format.layout, scaled),
        };
        let rate = options
            .sample_rate
            .unwrap_or_else(|| resample::mp3_rate(format.sample_rate));
        let resampler = match rate == format.sample_rate {
            true => None,
            false => Some(Resampler::new(format.sample_rate, rate)?),
        };
        let loudness = survey.and_then(|survey| survey.loudness.as_ref());
        let integrated = loudness.and_then(Loudness::integrated);
        // Silence has no loudness, and stays silence.
        let gain = options
            .normalize
            .zip(integrated)
            .map(|(target, measured)| 10f64.powf((target - measured) / 20.0) as f32);
        let mapping = Mapping {
            clock,
            presented,
            silence,
            resampler,
            roll: Recipe::roll(measure, gain.is_some(), rate),
        };
        let track = self.audio.track();
        let declared = track.samples.zip(track.duration).map(|(samples, units)| {
            let input = presented.len_within(clock.media_len(samples, units));
            mapping.output_len(input)
        });
        let fade_out = samples_of(options.fade_out, rate);
        let end = survey.map(|s| s.extent.output_len).or(declared);
        let fade = Fade {
            rise: samples_of(options.fade_in, rate),
            fall: match end {
                Some(end) if fade_out > 0 => end.saturating_sub(fade_out)..end,
                _ => 0..0,
            },
        };
        let frame_len = frame_len(rate);
        let frames = declared.map(|len| frames_for(len, frame_len));
        let bytes = self.frame_bytes(&clock, &format, &ahead, rate);
        let plan = Plan::new(frames, unit(rate), bytes);
        let reader = SpanReader::new(
            ahead,
            packets,
            mapping.clone(),
            plan,
            frame_len,
            format.roll,
            format.in_order(self.audio.parameters())?,
        );
        Ok(Rendering {
            recipe: Recipe {
                parameters: self.audio.parameters().clone(),
                format,
                mapping,
                sample_rate: rate,
                downmix,
                gain,
                fade,
                measure,
            },
            reader,
            declared,
        })
    }

    /// Bytes that spans carry for each frame of an output at `rate` Hz, on average: by the sample table, or, where
    /// the length stands in movie fragments still to come, by the first packets.
    fn frame_bytes(
        &self,
        clock: &Clock,
        format: &Format,
        ahead: &VecDeque<(Packet, Vec<u8>)>,
        rate: u32,
    ) -> u64 {
        let track = self.audio.track();
        let known = track.samples.zip(track.duration);
        let (bytes, samples) = match (format.carried(), known) {
            (Some(bytes), _) => (bytes, 1),
            (None, Some((packets, units))) => (track.bytes(), clock.media_len(packets, units)),
            (None, None) => {
                let sum =
                    |of: fn(&Packet) -> u32| ahead.iter().map(|(p, _)| u64::from(of(p))).sum();
                let len = clock.media_len(ahead.len() as u64, sum(|packet| packet.duration));
                (sum(|packet| packet.size), len)
            }
        };
        let second = u128::from(bytes) * u128::from(clock.sample_rate) / u128::from(samples.max(1));
        let frame = second * u128::from(frame_len(rate)) / u128::from(rate);
        u64::try_from(frame).unwrap_or(u64::MAX)
    }

    /// What of `silence` and the presented part behind it lies in the part.
    fn trim(&self, presented: Presented, silence: u64, clock: &Clock) -> (Presented, u64) {
        let start = samples_of(self.part.start, clock.sample_rate);
        let end = self.part.end.map(|end| samples_of(end, clock.sample_rate));
        let skip = start.saturating_sub(silence);
        let rest = presented.length.map(|length| length.saturating_sub(skip));
        let wanted = end.map(|end| end.saturating_sub(silence).saturating_sub(skip));
        let silence_end = end.map_or(silence, |end| end.min(silence));
        let presented = Presented {
            start: presented.start.saturating_add(skip),
            length: match (rest, wanted) {
                (Some(rest), Some(wanted)) => Some(rest.min(wanted)),
                (rest, wanted) => rest.or(wanted),
            },
        };
        (presented, silence_end.saturating_sub(start))
    }

    /// Refuses a late start that would make the MP3 hours and days of silence: of audio it is no beginning.
    fn check_late_start(&self, silence: u64, rate: u32) -> Result<()> {
        let late = duration_of(silence, rate);
        if late > LATEST_START {
            return Err(Error::Limit {
                at: self.audio.parameters().at,
                what: format!(
                    "the silence before an audio track that starts late ({} seconds)",
                    late.as_secs()
                ),
                limit: LATEST_START.as_secs(),
            });
        }
        Ok(())
    }

    /// The error of a part in which nothing lies.
    fn nothing(&self) -> Error {
        if self.part.start.is_zero() {
            return Error::NoAudioTrack("none of the audio is presented (edit list)".into());
        }
        Error::InvalidOption(format!(
            "the audio ends before the start that was asked for ({:.3} s)",
            self.part.start.as_secs_f64()
        ))
    }

    fn jobs(&self) -> NonZeroUsize {
        let cores = || thread::available_parallelism().ok();
        self.options
            .jobs
            .or_else(cores)
            .unwrap_or(NonZeroUsize::MIN)
    }

    fn tag(&self, replay_gain: Option<ReplayGain>) -> Tag<'_> {
        let track = self.audio.track();
        let late = match self.options.late_start {
            true => Duration::ZERO,
            false => duration_of(track.edit.delay, track.timescale),
        };
        Tag {
            options: self.options,
            metadata: &self.part.metadata,
            start: self.part.start.saturating_add(late),
            replay_gain,
        }
    }

    fn watch(&mut self, rate: u32, total: Option<u64>, (pass, passes): (u8, u8)) -> Watch<'_> {
        Watch {
            cancel: self.cancel,
            on_progress: &mut *self.on_progress,
            rate,
            total: total.map(|len| duration_of(len, rate)),
            pass,
            passes,
        }
    }
}

/// From packets to PCM, ready to run.
struct Rendering {
    recipe: Recipe,
    reader: SpanReader,
    /// PCM samples that the container declares for the output, where it does.
    declared: Option<u64>,
}

/// The ID3 tag of the MP3: what the options make of what the file says of itself.
struct Tag<'a> {
    options: &'a Options,
    metadata: &'a Metadata,
    /// Where the MP3 begins on the time line of the chapters.
    start: Duration,
    replay_gain: Option<ReplayGain>,
}

impl Tag<'_> {
    /// With room to write it again once the audio is known.
    fn encode(&self, length: Option<Duration>) -> Result<Vec<u8>> {
        // As long as any that is measured.
        let widest = ReplayGain {
            gain: -99.99,
            peak: 99.999_999,
        };
        let gain = self.replay_gain.unwrap_or(widest);
        let metadata = self.apply(length.unwrap_or(Duration::MAX), gain);
        id3::encode(&metadata, self.options.tags.version)
    }

    /// In exactly `size` bytes, with what is known now.
    fn encode_within(&self, length: Duration, size: usize) -> Result<Vec<u8>> {
        if size == 0 {
            return Ok(Vec::new());
        }
        let silence = ReplayGain {
            gain: 0.0,
            peak: 0.0,
        };
        let metadata = self.apply(length, self.replay_gain.unwrap_or(silence));
        id3::encode_within(&metadata, self.options.tags.version, size)
    }

    fn apply(&self, length: Duration, replay_gain: ReplayGain) -> Metadata {
        let mut metadata = self.metadata.clone();
        metadata.chapters = fit_chapters(&metadata.chapters, self.start, length);
        if self.options.normalize.is_some() {
            metadata.tags.forget_loudness();
        }
        let encoder = format!(
            "Micropy {}, {}",
            env!("CARGO_PKG_VERSION"),
            micropy_lame::version()
        );
        let mut said = self.options.tags.apply(&metadata, &encoder);
        if self.options.replay_gain {
            said.tags.set_replay_gain(replay_gain);
        }
        said
    }
}

/// What ReplayGain says of this loudness.
fn replay_gain(loudness: &Loudness) -> Option<ReplayGain> {
    loudness.track_gain().map(|gain| ReplayGain {
        gain,
        peak: loudness.true_peak(),
    })
}

fn told(source: &Loudness, gain: f64) -> MeasuredLoudness {
    MeasuredLoudness {
        integrated: source.integrated(),
        true_peak: 20.0 * source.true_peak().log10(),
        gain: 20.0 * gain.log10(),
    }
}

/// Refuses audio of which not one packet was right.
fn check_faults(faults: &Faults) -> Result<()> {
    match faults.first() {
        Some((at, why)) if faults.sound() == 0 => Err(Error::malformed(
            at,
            "audio",
            format!("not one of its packets can be decoded: {why}"),
        )),
        _ => Ok(()),
    }
}

/// The warning of a file that breaks off.
fn cut(extent: &Extent, missing: u64) -> Option<String> {
    extent.cut_at.map(|at| {
        format!(
            "the media breaks off at byte {at}: {} of {} packets are there",
            extent.packets,
            extent.packets + missing,
        )
    })
}

/// What the Info tag tells of an encoder with these settings.
fn describe(settings: &micropy_lame::Settings) -> Result<info_tag::Encoding> {
    let encoder = micropy_lame::Encoder::new(settings)?;
    let (bitrate, preset) = match settings.bitrate {
        Bitrate::Cbr(kbps) | Bitrate::Abr(kbps) => (kbps, kbps),
        // LAME counts its presets V9 to V0 from 410 to 500.
        Bitrate::Vbr(quality) => {
            let lowest = micropy_lame::bitrates(settings.sample_rate).and_then(|b| b.first());
            (
                lowest.copied().unwrap_or_default(),
                500 - 10 * quality as u16,
            )
        }
    };
    Ok(info_tag::Encoding {
        rate: rate_control(settings.bitrate),
        bitrate,
        quality: encoder.tag_quality(),
        flags: encoder.tag_flags(),
        preset,
        lowpass: encoder.lowpass(),
        encoder: micropy_lame::version(),
    })
}

/// What decoders leave out of `frames` frames so that `samples` PCM samples remain.
fn trim_of(frames: u64, samples: u64, sample_rate: u32) -> Trim {
    let padding = frames
        .saturating_mul(frame_len(sample_rate))
        .saturating_sub(samples.saturating_add(ENCODER_DELAY));
    Trim {
        delay: ENCODER_DELAY as u16,
        padding: u16::try_from(padding).unwrap_or(u16::MAX),
    }
}

/// PCM samples per channel of an MP3 frame: two granules in MPEG-1, one in MPEG-2 and 2.5.
fn frame_len(sample_rate: u32) -> u64 {
    if sample_rate >= 32_000 { 1152 } else { 576 }
}

/// PCM samples that LAME puts in front, the decoder's own 529 not counted (`ENCDELAY` in its `encoder.h`).
const ENCODER_DELAY: u64 = 576;

/// PCM samples that LAME puts behind at least (`lame_encode_flush`).
const LEAST_PADDING: u64 = 576;

/// Frames that LAME makes of `samples` PCM samples, of which a container can declare any number.
fn frames_for(samples: u64, frame_len: u64) -> u64 {
    samples
        .saturating_add(ENCODER_DELAY + LEAST_PADDING)
        .div_ceil(frame_len)
}

/// Spans start at multiples of so many frames: at 44.1 kHz and its fractions the padding of a constant
/// bitrate repeats every 49.
fn unit(sample_rate: u32) -> u64 {
    if sample_rate.is_multiple_of(11_025) {
        49
    } else {
        1
    }
}

/// What the caller hears of a conversion, and what a conversion hears of its caller.
struct Watch<'a> {
    cancel: &'a CancelToken,
    on_progress: &'a mut dyn FnMut(Progress),
    rate: u32,
    total: Option<Duration>,
    pass: u8,
    passes: u8,
}

impl Observer for Watch<'_> {
    fn frames(&mut self, _none: &mut dyn Iterator<Item = &[u8]>) -> Result<()> {
        Ok(())
    }

    fn tick(&mut self, encoded: u64) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        (self.on_progress)(Progress {
            done: duration_of(encoded, self.rate),
            total: self.total,
            pass: self.pass,
            passes: self.passes,
        });
        Ok(())
    }
}

/// Where the caller's thread writes frames.
struct Desk<'a, 'b> {
    writer: Writer<'a>,
    watch: Watch<'b>,
}

impl Observer for Desk<'_, '_> {
    fn frames(&mut self, frames: &mut dyn Iterator<Item = &[u8]>) -> Result<()> {
        for frame in frames {
            self.writer.frame(frame)?;
        }
        Ok(())
    }

    fn tick(&mut self, encoded: u64) -> Result<()> {
        self.watch.tick(encoded)
    }
}

#[cfg(test)]
mod tests;
