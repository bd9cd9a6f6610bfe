//! The PCM of one span: decode, mix down, resample, level, fade. Every stage is restarted for each span
//! with as much roll as it needs, so both neighbours of a seam hear the same.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::CodecParameters;
use crate::decode::{self, Decoder, Format};
use crate::downmix::Downmix;
use crate::error::Result;
use crate::fade::Fade;
use crate::limiter::Limiter;
use crate::loudness::{Loudness, Meter};
use crate::pcm::Pcm;
use crate::resample;
use crate::span::{Mapping, Span, SpanPacket};

/// PCM samples of silence that are made at a time.
const BLOCK: u64 = 4096;

/// What is done to every span alike.
pub struct Recipe {
    /// The track's coding.
    pub parameters: CodecParameters,
    /// What its decoder gives.
    pub format: Format,
    /// How the output lies on the decoder's PCM.
    pub mapping: Mapping,
    /// Hz of the output.
    pub sample_rate: u32,
    /// From the decoder's channels to the output's.
    pub downmix: Downmix,
    /// A factor for the level, with a limiter behind it.
    pub gain: Option<f32>,
    /// At both ends.
    pub fade: Fade,
    /// Measure the loudness of what comes out.
    pub measure: bool,
}

/// The ceiling of a changed level, in dB of true peak: a decoder of the MP3 may go a little above it.
const CEILING_DBTP: f32 = -1.0;

impl Recipe {
    /// PCM samples of the output that its stages need before and behind a span.
    pub fn roll(measure: bool, limit: bool, sample_rate: u32) -> (u64, u64) {
        let limiter = if limit { Limiter::roll(sample_rate) } else { 0 };
        let meter = if measure { Meter::roll(sample_rate) } else { 0 };
        (limiter + meter, limiter)
    }
}

/// What came up while spans were rendered.
#[derive(Debug, Default)]
pub struct Findings {
    /// Packets that could not be decoded and were replaced by silence.
    concealed: AtomicU64,
    told: Mutex<Vec<String>>,
    loudness: Mutex<Loudness>,
}

impl Findings {
    /// As many faults are told one by one; the others are only counted.
    const TOLD: usize = 8;

    fn add_fault(&self, packet: &SpanPacket, why: &decode::DecodeError) {
        self.concealed.fetch_add(1, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < Self::TOLD {
            told.push(format!(
                "packet at byte {}: {why}; replaced by silence",
                packet.offset
            ));
        }
    }

    /// Packets that could not be decoded.
    pub fn concealed(&self) -> u64 {
        self.concealed.load(Ordering::Relaxed)
    }

    /// What was wrong with some of them.
    pub fn told(&self) -> Vec<String> {
        let mut told = self
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        told.sort();
        told
    }
}

/// Makes one span's PCM, packet by packet.
pub struct Renderer<'a> {
    recipe: &'a Recipe,
    span: Arc<Span>,
    /// Where faults and loudness are noted; the span's own pass has it, not its neighbour's.
    findings: Option<&'a Findings>,
    decoder: Box<dyn Decoder>,
    next_packet: usize,
    /// PCM samples of silence before the first packet's.
    silence: u64,
    resampler: Option<resample::Run>,
    limiter: Option<Limiter>,
    meter: Option<Meter>,
    /// Place in the output of the PCM that comes next out of the stages.
    position: u64,
    stages: Stages,
}

/// What the stages hand on.
#[derive(Default)]
struct Stages {
    decoded: Pcm,
    mixed: Pcm,
    resampled: Pcm,
    limited: Pcm,
}

impl<'a> Renderer<'a> {
    /// Starts on `span` with everything afresh.
    pub fn new(
        recipe: &'a Recipe,
        span: Arc<Span>,
        findings: Option<&'a Findings>,
    ) -> Result<Self> {
        let channels = recipe.downmix.channels();
        let rate = recipe.sample_rate;
        let resampler = recipe.mapping.resampler.as_ref();
        let start = span.work.start;
        let measure = recipe.measure && findings.is_some();
        Ok(Renderer {
            decoder: decode::decoder(&recipe.parameters, &recipe.format)?,
            next_packet: 0,
            silence: span.silence,
            resampler: resampler.map(|r| r.run(span.input_start, start, channels)),
            limiter: recipe
                .gain
                .map(|gain| Limiter::new(rate, channels, gain, CEILING_DBTP)),
            meter: match measure {
                true => Some(Meter::new(rate, channels, start, span.output.start)?),
                false => None,
            },
            position: start,
            stages: Stages::default(),
            recipe,
            span,
            findings,
        })
    }

    /// Replaces `out` by the PCM that follows, of the output's channels; false once the span is whole.
    pub fn render(&mut self, out: &mut Pcm) -> Result<bool> {
        out.reset(self.recipe.downmix.channels());
        while out.is_empty() && self.position < self.span.output.end {
            let more = self.decode_next();
            if more {
                self.mix_and_resample();
            } else {
                self.end_input();
            }
            self.level(!more);
            self.cut(out)?;
        }
        let more = self.position < self.span.output.end;
        if !more
            && let Some(meter) = self.meter.take()
            && let Some(findings) = self.findings
        {
            let mut all = findings
                .loudness
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            all.merge(meter.finish());
        }
        Ok(more)
    }

    /// Puts the next of the input into `decoded`; false when there is no more.
    fn decode_next(&mut self) -> bool {
        let decoded = &mut self.stages.decoded;
        decoded.reset(self.recipe.format.layout.channels());
        if self.silence > 0 {
            let len = self.silence.min(BLOCK);
            decoded.resize(len as usize);
            self.silence -= len;
            return true;
        }
        let span = Arc::clone(&self.span);
        let Some((packet, data)) = span.packet(self.next_packet) else {
            return false;
        };
        self.next_packet += 1;
        if let Err(why) = self.decoder.decode(data, decoded)
            && span.owns(packet)
            && let Some(findings) = self.findings
        {
            findings.add_fault(packet, &why);
        }
        decoded.resize(packet.len as usize);
        keep(decoded, packet.start, &span.input);
        true
    }

    fn mix_and_resample(&mut self) {
        let Stages {
            decoded,
            mixed,
            resampled,
            ..
        } = &mut self.stages;
        let channels = self.recipe.downmix.channels();
        if self.recipe.downmix.is_identity() {
            std::mem::swap(decoded, mixed);
        } else {
            mixed.reset(channels);
            self.recipe.downmix.apply(decoded, mixed);
        }
        match &mut self.resampler {
            Some(run) => {
                resampled.reset(channels);
                run.push(mixed, resampled);
            }
            None => std::mem::swap(mixed, resampled),
        }
    }

    /// The input is at its end: what the stages still hold comes out, and silence where the packets gave
    /// less than they promised.
    fn end_input(&mut self) {
        let resampled = &mut self.stages.resampled;
        resampled.reset(self.recipe.downmix.channels());
        if let Some(run) = self.resampler.take() {
            run.finish(self.span.work.end, resampled);
        } else if self.limiter.is_none() {
            let missing = self.span.output.end - self.position;
            resampled.resize(missing.min(BLOCK) as usize);
        }
    }

    /// Takes `resampled` through the limiter; at the end of the input, all that it holds comes out.
    fn level(&mut self, ended: bool) {
        let Stages {
            resampled, limited, ..
        } = &mut self.stages;
        let Some(mut limiter) = self.limiter.take() else {
            std::mem::swap(resampled, limited);
            return;
        };
        limited.reset(resampled.channels());
        limiter.push(resampled, limited);
        if ended {
            limiter.finish(limited);
        } else {
            self.limiter = Some(limiter);
        }
    }

    /// Fades and measures what has come out of the stages, and appends to `out` what of it belongs to the
    /// span.
    fn cut(&mut self, out: &mut Pcm) -> Result<()> {
        let pcm = &mut self.stages.limited;
        let start = self.position;
        self.position += pcm.len() as u64;
        keep(pcm, start, &(start..self.span.output.end));
        self.recipe.fade.apply(pcm, start);
        if let Some(meter) = &mut self.meter {
            meter.push(pcm)?;
        }
        keep(pcm, start, &self.span.output);
        out.extend_from(pcm, 0, pcm.len());
        Ok(())
    }
}

/// Leaves of `pcm`, which begins at `start`, what lies within `wanted`.
fn keep(pcm: &mut Pcm, start: u64, wanted: &Range<u64>) {
    let end = start + pcm.len() as u64;
    let from = wanted.start.clamp(start, end);
    let to = wanted.end.clamp(from, end);
    let (from, to) = ((from - start) as usize, (to - start) as usize);
    for plane in pcm.planes_mut() {
        plane.truncate(to);
        plane.drain(..from);
    }
}
