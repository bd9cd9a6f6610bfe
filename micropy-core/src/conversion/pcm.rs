//! PCM of a part: as it comes, into a file, or only looked at.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::outcome::Outcome;
use super::setup::Setup;
use super::{Conversion, Survey, measured_loudness, passes};
use crate::envelope::{Envelope, Grid};
use crate::error::Result;
use crate::loudness::Loudness;
use crate::pcm::Pcm;
use crate::pipeline::{Engine, Observer};
use crate::render::{Findings, Recipe, Renderer};
use crate::report::Report;
use crate::sink::Sink;
use crate::source::Source;
use crate::span::{Advance, SpanReader};
use crate::timeline::rescale;
use crate::wav::PcmWriter;

/// The PCM of a part, in order.
pub struct PcmStream {
    recipe: Arc<Recipe>,
    findings: Arc<Findings>,
    reader: SpanReader,
    /// The span that is being rendered.
    renderer: Option<Renderer<Arc<Recipe>, Arc<Findings>>>,
    /// PCM samples that the container declares, where it does.
    declared: Option<u64>,
    /// How loud the source is, where a first pass has measured it.
    surveyed: Option<Loudness>,
    passes: (u8, u8),
    /// PCM samples per channel so far, and in how many blocks.
    done: u64,
    blocks: u64,
}

impl fmt::Debug for PcmStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcmStream")
            .field("sample_rate", &self.sample_rate())
            .field("declared", &self.declared)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl PcmStream {
    /// Hz.
    pub fn sample_rate(&self) -> u32 {
        self.recipe.sample_rate
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.recipe.downmix.channels()
    }

    /// PCM samples per channel that the container declares, where it does.
    pub fn declared(&self) -> Option<u64> {
        self.declared
    }

    /// Replaces `out` by the next PCM; false at the end. `tick` is called again and again meanwhile, and may end it.
    fn next(
        &mut self,
        source: &mut dyn Source,
        out: &mut Pcm,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<bool> {
        out.reset(self.channels());
        loop {
            tick()?;
            if let Some(renderer) = &mut self.renderer {
                if !renderer.render(out)? {
                    self.renderer = None;
                }
                if !out.is_empty() {
                    return Ok(true);
                }
                continue;
            }
            match self.reader.advance(source)? {
                Advance::Reading => {}
                Advance::Span(span) => {
                    let (recipe, findings) = (self.recipe.clone(), self.findings.clone());
                    self.renderer = Some(Renderer::shared(recipe, Arc::new(span), findings)?);
                }
                Advance::End => return Ok(false),
            }
        }
    }
}

/// The envelope of a part.
pub struct Drawn {
    pub envelope: Envelope,
    /// PCM samples of a step.
    pub step: NonZeroU64,
    /// What was drawn: its length, its rate, what is missing.
    pub report: Report,
}

/// How long a part is, before any change of rate.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// PCM samples per channel.
    pub samples: u64,
    /// Hz.
    pub rate: u32,
    /// Channels, after mixing.
    pub channels: u16,
}

impl Conversion<'_> {
    /// Begins to decode the part.
    pub fn pcm(&mut self, source: &mut dyn Source) -> Result<PcmStream> {
        let mut beginning = self.audio.begin(source)?;
        let measure = self.options.normalize.is_some();
        let mut survey = None;
        if measure || !self.options.fade_out.is_zero() {
            survey = Some(self.survey(beginning, source, measure, false)?);
            beginning = self.audio.begin(source)?;
        }
        // Its loudness is reported, though PCM has no tags.
        let measure = self.options.replay_gain && !measure;
        let setup = self.set_up(beginning, survey.as_ref(), measure)?;
        if setup.declared == Some(0) {
            return Err(self.empty_part_error(Vec::new()));
        }
        let Setup {
            mut recipe,
            reader,
            declared,
        } = setup;
        recipe.envelope = self.waveform_grid(declared);
        Ok(PcmStream {
            recipe: Arc::new(recipe),
            findings: Arc::default(),
            reader,
            renderer: None,
            declared,
            passes: passes(survey.as_ref()),
            done: 0,
            blocks: 0,
            surveyed: survey.and_then(|survey: Survey| survey.loudness),
        })
    }

    /// Replaces `out` by the next PCM of `stream`; false at the end.
    pub fn next_pcm(
        &mut self,
        stream: &mut PcmStream,
        source: &mut dyn Source,
        out: &mut Pcm,
    ) -> Result<bool> {
        /// Blocks from one report of the progress to the next.
        const REPORTED: u64 = 64;
        let done = stream.done;
        let reports = stream.blocks.is_multiple_of(REPORTED);
        let cancel = self.cancel;
        let mut watch = self.watch(stream.sample_rate(), stream.declared, stream.passes);
        let more = stream.next(
            source,
            out,
            &mut || match reports || cancel.is_cancelled() {
                true => watch.tick(done),
                false => Ok(()),
            },
        )?;
        if !more {
            watch.tick(done)?;
        }
        stream.done += out.len() as u64;
        stream.blocks += 1;
        Ok(more)
    }

    /// The report of PCM that has come to its end, and takes so many bytes.
    pub fn report_pcm(&mut self, stream: &PcmStream, bytes: u64) -> Result<Report> {
        let measured = match &stream.surveyed {
            Some(surveyed) => Some(surveyed.clone()),
            None => stream
                .recipe
                .measure
                .then(|| stream.findings.loudness().clone()),
        };
        self.keep_waveform(&stream.findings, stream.sample_rate(), stream.done);
        let gain = stream.recipe.gain.map_or(1.0, f64::from);
        let mut outcome = self.outcome(
            &stream.recipe,
            &stream.reader,
            &stream.findings,
            stream.declared,
        );
        outcome.loudness = measured.map(|loudness| measured_loudness(&loudness, gain));
        self.report_outcome(outcome, bytes)
    }

    /// The report of PCM that nobody reads to its end: of what was decoded. What follows is not missing from it. `None`:
    /// nothing was.
    pub fn report_begun(&self, stream: &PcmStream) -> Option<Report> {
        let mut outcome = self.outcome(
            &stream.recipe,
            &stream.reader,
            &stream.findings,
            Some(stream.done),
        );
        let rate = outcome.format.sample_rate;
        outcome.ends_early = true;
        // Packets are read ahead of what is decoded.
        outcome.extent.output_len = stream.done;
        outcome.extent.input_len = rescale(stream.done, rate, stream.sample_rate());
        (stream.done > 0).then(|| outcome.report(self.audio.warnings(), 0, 0))
    }

    /// Decodes the part into a file of PCM.
    pub(super) fn write_pcm(
        &mut self,
        source: &mut dyn Source,
        sink: &mut dyn Sink,
    ) -> Result<Report> {
        let mut stream = self.pcm(source)?;
        let (rate, channels) = (stream.sample_rate(), stream.channels());
        let format = self.options.format;
        let mut writer = PcmWriter::new(sink, format, rate, channels, stream.declared())?;
        let mut pcm = Pcm::default();
        while self.next_pcm(&mut stream, source, &mut pcm)? {
            writer.write(&pcm)?;
        }
        // Refused before the sink is finished, or a file without sound would get its name.
        let report = self.report_pcm(&stream, writer.bytes())?;
        writer.finish()?;
        Ok(report)
    }

    /// Draws the envelope of the part on all cores, in steps of as many PCM samples as `step` says for their rate.
    pub fn draw(
        &mut self,
        source: &mut dyn Source,
        step: impl FnOnce(u32) -> NonZeroU64,
    ) -> Result<Drawn> {
        let beginning = self.audio.begin(source)?;
        let Setup {
            mut recipe,
            mut reader,
            declared,
        } = self.set_up(beginning, None, false)?;
        let step = step(recipe.sample_rate);
        recipe.envelope = Some(Grid::every(step));
        let findings = Findings::default();
        let engine = Engine {
            recipe: &recipe,
            encoder: None,
            jobs: self.jobs(),
            findings: &findings,
        };
        let mut watch = self.watch(recipe.sample_rate, declared, (0, 2));
        engine.run(&mut reader, source, &mut watch)?;
        let outcome = self.outcome(&recipe, &reader, &findings, declared);
        let report = self.report_outcome(outcome, 0)?;
        let envelope = std::mem::take(&mut *findings.envelope());
        Ok(Drawn {
            envelope,
            step,
            report,
        })
    }

    /// How long the part is: as long as the file says or, where it does not, as long as its packets are, which are read
    /// once for it.
    pub fn length(&mut self, source: &mut dyn Source) -> Result<Length> {
        let beginning = self.audio.begin(source)?;
        let setup = self.set_up(beginning, None, false)?;
        match setup.declared {
            Some(samples) => Ok(Length {
                samples,
                rate: setup.recipe.sample_rate,
                channels: setup.recipe.downmix.channels() as u16,
            }),
            None => self.count(setup, source),
        }
    }

    /// How long the part is by its packets, whatever the file says.
    pub fn exact_length(&mut self, source: &mut dyn Source) -> Result<Length> {
        let beginning = self.audio.begin(source)?;
        let setup = self.set_up(beginning, None, false)?;
        self.count(setup, source)
    }

    fn count(&mut self, mut setup: Setup, source: &mut dyn Source) -> Result<Length> {
        let rate = setup.recipe.sample_rate;
        let mut watch = self.watch(rate, None, (0, 2));
        while !matches!(setup.reader.advance(source)?, Advance::End) {
            watch.tick(0)?;
        }
        Ok(Length {
            samples: setup.reader.extent().output_len,
            rate,
            channels: setup.recipe.downmix.channels() as u16,
        })
    }

    fn outcome<'a>(
        &self,
        recipe: &Recipe,
        reader: &'a SpanReader,
        findings: &Findings,
        declared: Option<u64>,
    ) -> Outcome<'a> {
        Outcome {
            ends_early: self.part.end.is_some(),
            copied: false,
            timescale: self.audio.track().timescale,
            indexed: self.audio.track().indexed,
            trim: None,
            untrimmed: 0,
            output_channels: recipe.downmix.channels() as u16,
            output_sample_rate: recipe.sample_rate,
            format: recipe.format.clone(),
            faults: findings.faults().clone(),
            packets: reader.packets(),
            presented: Some(reader.timeline()),
            extent: reader.extent().clone(),
            declared,
            loudness: None,
            replay_gain: None,
            tag_bytes: 0,
        }
    }

    fn report_outcome(&self, outcome: Outcome<'_>, bytes: u64) -> Result<Report> {
        let container = self.audio.warnings();
        if outcome.extent.output_len == 0 {
            return Err(self.empty_part_error(outcome.missing_sound(container)));
        }
        outcome.check()?;
        Ok(outcome.report(container, 0, bytes))
    }
}
