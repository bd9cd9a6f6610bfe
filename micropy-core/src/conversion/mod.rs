//! One conversion: a survey of the part where one is needed, then its frames, copied or encoded.

pub mod encoder;
mod observer;
mod outcome;
mod pcm;
mod setup;
mod tag;

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use crate::audio::{Audio, Beginning};
use crate::copy::{self, Copier};
use crate::envelope::Grid;
use crate::error::{Error, Result};
use crate::loudness::Loudness;
use crate::options::{Options, OutputFormat};
use crate::peaks::Drawing;
use crate::pipeline::{Engine, Observer};
use crate::progress::{CancelToken, Progress};
use crate::render::{CEILING_DBTP, Findings};
use crate::report::{MeasuredLoudness, Report, duration_of};
use crate::sink::Sink;
use crate::source::Source;
use crate::span::{Advance, Extent};
use crate::tags::{Metadata, ReplayGain};
use crate::warning::Warning;
use crate::writer::{Foreseen, Mp3Writer};
use observer::{FrameWriter, Watch};
use outcome::Outcome;
pub use pcm::{Drawn, Length, PcmStream};
use setup::Setup;

/// Which part of the audio becomes the MP3, and what the file says of it.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where it begins on the presentation.
    pub start: Duration,
    /// Where it ends; `None`: where the audio ends.
    pub end: Option<Duration>,
    /// Its tags; chapters on the file's time line.
    pub metadata: Metadata,
}

impl Part {
    /// What `options` ask for of `audio`.
    pub fn wanted(options: &Options, audio: &Audio) -> Part {
        let duration = options.duration;
        Part {
            start: options.start,
            end: duration.map(|length| options.start.saturating_add(length)),
            metadata: audio.metadata().clone(),
        }
    }

    /// Whether it is all of the audio.
    fn is_whole(&self) -> bool {
        self.start.is_zero() && self.end.is_none()
    }
}

/// What was found in a first pass over the part.
pub struct Survey {
    extent: Extent,
    loudness: Option<Loudness>,
}

impl Survey {
    /// Whether the packets may have to be read twice. `twice`: the sink cannot be rewritten, or that is not known
    /// yet.
    pub fn may_be_needed(options: &Options, twice: bool) -> bool {
        // MP3 that is copied is decoded for its loudness alone, in a pass of its own.
        options.replay_gain && (twice || !options.change_audio())
            || options.normalize.is_some()
            || options.trim_silence
            || options.fit.is_some()
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
    /// Passes over the audio that were made before.
    pub passes: u8,
    /// Draws the waveform of what comes out, in the pass that makes it.
    pub drawing: Option<&'a mut Drawing>,
}

impl Conversion<'_> {
    /// Makes it from `source` into `sink`.
    pub fn run(&mut self, source: &mut dyn Source, sink: &mut dyn Sink) -> Result<Report> {
        let report = match self.options.format {
            OutputFormat::Mp3 => self.make_mp3(source, sink)?,
            OutputFormat::Wav(_) | OutputFormat::Raw(_) => self.write_pcm(source, sink)?,
        };
        match self.options.fit {
            Some(most) if report.output_bytes > most => Err(Error::Internal(format!(
                "the MP3 has {} bytes and was to have {most} at most",
                report.output_bytes
            ))),
            _ => Ok(report),
        }
    }

    fn make_mp3(&mut self, source: &mut dyn Source, sink: &mut dyn Sink) -> Result<Report> {
        let mut beginning = self.audio.begin(source)?;
        let copies = self.part.is_whole()
            && copy::applies(self.options, &beginning.format, &self.timeline(&beginning));
        let measure = self.options.normalize.is_some()
            || self.options.replay_gain && (copies || !sink.can_rewrite());
        let mut survey = None;
        if measure || !self.options.fade_out.is_zero() {
            // Frames that are copied are decoded in no other pass.
            survey = Some(self.survey(beginning, source, measure, copies)?);
            beginning = self.audio.begin(source)?;
        }
        if copies {
            self.copy(beginning, survey.as_ref(), source, sink)
        } else {
            self.encode(beginning, survey.as_ref(), source, sink)
        }
    }

    /// Reads the part once without encoding it; `draw`: draws its waveform if it is decoded for its loudness.
    fn survey(
        &mut self,
        beginning: Beginning,
        source: &mut dyn Source,
        measure: bool,
        draw: bool,
    ) -> Result<Survey> {
        let jobs = self.jobs();
        let mut setup = self.set_up(beginning, None, measure)?;
        let findings = Findings::default();
        if measure {
            if draw {
                setup.recipe.envelope = self.waveform_grid(setup.declared);
            }
            let mut watch = self.watch(setup.recipe.sample_rate, setup.declared, (0, 2));
            let engine = Engine {
                recipe: &setup.recipe,
                encoder: None,
                jobs,
                findings: &findings,
            };
            engine.run(&mut setup.reader, source, &mut watch)?;
            if draw {
                let len = setup.reader.extent().output_len;
                self.keep_waveform(&findings, setup.recipe.sample_rate, len);
            }
        } else {
            let mut watch = self.watch(setup.recipe.sample_rate, setup.declared, (0, 2));
            while !matches!(setup.reader.advance(source)?, Advance::End) {
                watch.tick(0)?;
            }
        }
        Ok(Survey {
            extent: setup.reader.extent().clone(),
            loudness: measure.then(|| findings.loudness().clone()),
        })
    }

    /// Decodes the part and encodes it on all cores.
    fn encode(
        &mut self,
        beginning: Beginning,
        survey: Option<&Survey>,
        source: &mut dyn Source,
        sink: &mut dyn Sink,
    ) -> Result<Report> {
        let measure = self.options.replay_gain && sink.can_rewrite();
        let Setup {
            mut recipe,
            mut reader,
            declared,
        } = self.set_up(beginning, survey, measure)?;
        if declared == Some(0) {
            return Err(self.empty_part_error(Vec::new()));
        }
        recipe.envelope = self.waveform_grid(declared);
        let rate = recipe.sample_rate;
        let settings = self.options.encoder(rate, recipe.downmix.channels() as u8);
        let gain = recipe.gain.map_or(1.0, f64::from);
        let surveyed = survey.and_then(|survey| survey.loudness.as_ref());
        // How loud the MP3 will be: the survey's loudness after gain and limiter.
        let expected = surveyed.map(|loudness| match recipe.gain {
            Some(_) => loudness.amplified(gain).limited(CEILING_DBTP.into()),
            None => loudness.clone(),
        });
        let id3 = self
            .tag(expected.as_ref().and_then(replay_gain_of))
            .encode(declared.map(|len| duration_of(len, rate)))?;
        let findings = Findings::default();
        let engine = Engine {
            recipe: &recipe,
            encoder: Some(settings),
            jobs: self.jobs(),
            findings: &findings,
        };
        let mut frames = FrameWriter {
            writer: Mp3Writer::new(
                sink,
                &id3,
                encoder::describe(&settings)?,
                encoder::foresee(declared, rate),
            )?,
            watch: self.watch(rate, declared, passes(survey)),
        };
        // It may hold a large cover.
        let tag_bytes = id3.len();
        drop(id3);
        engine.run(&mut reader, source, &mut frames)?;

        let writer = frames.writer;
        let extent = reader.extent().clone();
        self.keep_waveform(&findings, rate, extent.output_len);
        let measured = measure.then(|| findings.loudness().clone());
        let loudness = surveyed.or(measured.as_ref());
        let replay_gain = measured.as_ref().or(expected.as_ref());
        let replay_gain = replay_gain.and_then(replay_gain_of);
        let outcome = Outcome {
            ends_early: self.part.end.is_some(),
            copied: false,
            timescale: self.audio.track().timescale,
            indexed: self.audio.track().indexed,
            trim: Some(encoder::trim(writer.frames(), extent.output_len, rate)),
            untrimmed: 0,
            output_channels: recipe.downmix.channels() as u16,
            output_sample_rate: rate,
            format: recipe.format,
            faults: findings.faults().clone(),
            packets: reader.packets(),
            presented: Some(reader.timeline()),
            extent,
            declared,
            loudness: loudness.map(|loudness| measured_loudness(loudness, gain)),
            replay_gain: replay_gain.filter(|_| self.options.replay_gain),
            tag_bytes,
        };
        if outcome.extent.output_len == 0 {
            return Err(self.empty_part_error(outcome.missing_sound(self.audio.warnings())));
        }
        self.complete(writer, outcome)
    }

    /// Copies the frames as they are.
    fn copy(
        &mut self,
        beginning: Beginning,
        survey: Option<&Survey>,
        source: &mut dyn Source,
        sink: &mut dyn Sink,
    ) -> Result<Report> {
        let format = beginning.format.clone();
        let rate = format.sample_rate;
        let clock = self.clock(&beginning);
        let timeline = self.timeline(&beginning);
        let declared = timeline.len().filter(|_| timeline.is_settled());
        let loudness = survey.and_then(|survey| survey.loudness.as_ref());
        let replay_gain = loudness.and_then(replay_gain_of);
        let id3 = self
            .tag(replay_gain)
            .encode(declared.map(|len| duration_of(len, rate)))?;
        let mut copier = Copier::new(beginning, clock, timeline)?;
        let mut watch = self.watch(rate, declared, passes(survey));
        let foreseen: Foreseen = copier.foresee(declared);
        let mut writer = Mp3Writer::new(sink, &id3, copier.encoding(), foreseen)?;
        let tag_bytes = id3.len();
        drop(id3);
        while let Some(frame) = copier.next(source)? {
            writer.frame(&frame)?;
            if writer.frames().is_multiple_of(64) {
                watch.tick(writer.frames() * copier.frame_len())?;
            }
        }
        watch.tick(writer.frames() * copier.frame_len())?;
        let end = copier.end();
        writer.set_rate(copier.encoding().rate);
        let outcome = Outcome {
            ends_early: self.part.end.is_some(),
            copied: true,
            timescale: self.audio.track().timescale,
            indexed: self.audio.track().indexed,
            trim: end.trim,
            untrimmed: end.untrimmed,
            output_channels: format.layout.channels() as u16,
            output_sample_rate: rate,
            format,
            faults: copier.faults().clone(),
            packets: copier.packets(),
            presented: None,
            extent: end.extent,
            declared,
            loudness: loudness.map(|loudness| measured_loudness(loudness, 1.0)),
            replay_gain,
            tag_bytes,
        };
        self.complete(writer, outcome)
    }

    /// Completes the tags of an MP3 whose frames are written, and reports it.
    fn complete(&self, writer: Mp3Writer<'_>, outcome: Outcome<'_>) -> Result<Report> {
        outcome.check()?;
        let frames = writer.frames();
        let length = duration_of(outcome.extent.output_len, outcome.output_sample_rate);
        let tag = self.tag(outcome.replay_gain);
        let metadata = tag.known(length);
        let id3 = tag.encode_within(&metadata, outcome.tag_bytes)?;
        let bytes = writer.finish(&id3, outcome.trim, outcome.replay_gain)?;
        Ok(Report {
            tags: metadata.tags,
            cover: metadata.covers.into_iter().next(),
            ..outcome.report(self.audio.warnings(), frames, bytes)
        })
    }

    /// How the waveform of `declared` PCM samples is drawn, if it is.
    fn waveform_grid(&self, declared: Option<u64>) -> Option<Grid> {
        self.drawing.as_ref().map(|drawing| drawing.grid(declared))
    }

    /// Keeps the waveform, if one was drawn, of `len` PCM samples at `rate` Hz.
    fn keep_waveform(&mut self, findings: &Findings, rate: u32, len: u64) {
        if let Some(drawing) = &mut self.drawing {
            drawing.add(std::mem::take(&mut *findings.envelope()), rate, len);
        }
    }

    /// The error of a part that holds no audio, with the reasons why sound is missing that the file declares for it.
    fn empty_part_error(&self, missing: Vec<Warning>) -> Error {
        Error::EmptyPart {
            start: self.part.start,
            missing,
        }
    }

    fn jobs(&self) -> NonZeroUsize {
        let cores = || thread::available_parallelism().ok();
        self.options
            .jobs
            .or_else(cores)
            .unwrap_or(NonZeroUsize::MIN)
    }

    fn watch(&mut self, rate: u32, total: Option<u64>, (pass, passes): (u8, u8)) -> Watch<'_> {
        Watch {
            cancel: self.cancel,
            on_progress: &mut *self.on_progress,
            rate,
            total: total.map(|len| duration_of(len, rate)),
            pass: self.passes + pass,
            passes: self.passes + passes,
        }
    }
}

/// The number of the pass that writes, from 0, and how many passes there are.
fn passes(survey: Option<&Survey>) -> (u8, u8) {
    match survey {
        Some(_) => (1, 2),
        None => (0, 1),
    }
}

/// This loudness as ReplayGain.
fn replay_gain_of(loudness: &Loudness) -> Option<ReplayGain> {
    loudness.track_gain().map(|gain| ReplayGain {
        gain,
        peak: loudness.true_peak(),
    })
}

fn measured_loudness(source: &Loudness, gain: f64) -> MeasuredLoudness {
    MeasuredLoudness {
        integrated: source.integrated(),
        true_peak: 20.0 * source.true_peak().log10(),
        gain: 20.0 * gain.log10(),
    }
}

#[cfg(test)]
mod tests;
