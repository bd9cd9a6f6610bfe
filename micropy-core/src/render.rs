//! The PCM of one span: decode, mix down, resample, fade, limit. Every stage is restarted for each span with as
//! much roll as it needs, so that both encoders at a seam hear the same.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codec::CodecParameters;
use crate::decode::{self, Decoder, Format};
use crate::downmix::Downmix;
use crate::envelope::{Envelope, Grid};
use crate::error::Result;
use crate::fade::Fade;
use crate::limiter::Limiter;
use crate::loudness::{Loudness, Meter};
use crate::pcm::Pcm;
use crate::resample;
use crate::span::{Piece, Span, SpanPacket};
use crate::warning::Warning;

/// What a timescale of milliseconds may be off by, as a part of a second: less than packets of one codec differ by.
const ROUNDED: usize = 500;

/// PCM samples of silence made at a time.
const BLOCK: u64 = 4096;

/// What is done to every span.
pub struct Recipe {
    /// The track's coding.
    pub parameters: CodecParameters,
    /// What its decoder gives.
    pub format: Format,
    /// From the presentation to the output, if their rates differ.
    pub resampler: Option<resample::Resampler>,
    /// Hz of the output.
    pub sample_rate: u32,
    /// From the decoder's channels to the output's.
    pub downmix: Downmix,
    /// A gain (a factor), with a limiter after it.
    pub gain: Option<f32>,
    /// The fades at both ends.
    pub fade: Fade,
    /// Measure the loudness of what comes out.
    pub measure: bool,
    /// Draw the envelope of what comes out.
    pub envelope: Option<Grid>,
}

/// The true-peak ceiling after a change of level, in dBTP: decoders of the MP3 may go a little above it.
pub const CEILING_DBTP: f32 = -1.0;

impl Recipe {
    /// PCM samples of the output that the stages need before and after a span.
    pub fn roll(measure: bool, limit: bool, sample_rate: u32) -> (u64, u64) {
        let limiter = if limit { Limiter::roll(sample_rate) } else { 0 };
        let meter = if measure { Meter::roll(sample_rate) } else { 0 };
        (limiter + meter, limiter)
    }
}

/// What was found while spans were rendered.
#[derive(Debug, Default)]
pub struct Findings {
    faults: Mutex<Faults>,
    loudness: Mutex<Loudness>,
    envelope: Mutex<Envelope>,
}

/// What is wrong with a packet, and what became of its sound.
#[derive(Clone, Debug)]
enum Fault {
    /// It was replaced by silence.
    Concealed(String),
    /// Its end was cut off.
    Cut(String),
}

/// Counts of packets that were decoded, and of those that could not be or not whole.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Packets that were decoded.
    sound: u64,
    count: u64,
    /// How many of them were cut.
    cut: u64,
    /// PCM samples that were cut off.
    cut_len: u64,
    /// The first, by byte offset.
    first: BTreeMap<u64, Fault>,
}

impl Faults {
    /// The most that are warned of one by one; the others are only counted.
    const DETAILED: usize = 8;

    /// Notes the packet at byte `offset`, which is replaced by silence.
    pub fn conceal(&mut self, offset: u64, why: String) {
        self.add(offset, Fault::Concealed(why));
    }

    /// Notes the packet at byte `offset`, of whose PCM samples the last `len` are cut off.
    pub fn cut(&mut self, offset: u64, len: u64, why: String) {
        self.cut += 1;
        self.cut_len += len;
        self.add(offset, Fault::Cut(why));
    }

    fn add(&mut self, offset: u64, fault: Fault) {
        self.count += 1;
        self.first.insert(offset, fault);
        if self.first.len() > Self::DETAILED {
            self.first.pop_last();
        }
    }

    /// Counts packets that were decoded.
    pub fn add_sound(&mut self, packets: u64) {
        self.sound += packets;
    }

    /// How many packets were decoded.
    pub fn sound(&self) -> u64 {
        self.sound
    }

    /// How many packets could not be decoded, or not whole.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many PCM samples that is, of packets of `packet_len`.
    pub fn len(&self, packet_len: u64) -> u64 {
        (self.count - self.cut) * packet_len + self.cut_len
    }

    /// The first, with its byte offset.
    pub fn first(&self) -> Option<(u64, &str)> {
        let first = self.first.first_key_value();
        first.map(|(offset, Fault::Concealed(why) | Fault::Cut(why))| (*offset, why.as_str()))
    }

    /// What the user should know of them.
    pub fn warnings(&self) -> Vec<Warning> {
        let detailed = self.first.iter().map(|(&at, fault)| match fault.clone() {
            Fault::Concealed(why) => Warning::Concealed { at, why },
            Fault::Cut(why) => Warning::Cut { at, why },
        });
        let mut warnings: Vec<Warning> = detailed.collect();
        let packets = self.count - warnings.len() as u64;
        if packets > 0 {
            warnings.push(Warning::MoreConcealed { packets });
        }
        warnings
    }
}

impl Findings {
    /// What could not be decoded.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was measured.
    pub fn loudness(&self) -> MutexGuard<'_, Loudness> {
        self.loudness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was drawn.
    pub fn envelope(&self) -> MutexGuard<'_, Envelope> {
        self.envelope.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes one span's PCM, packet by packet. It holds the recipe and the findings by a reference `R` and `F`.
pub struct Renderer<R, F> {
    recipe: R,
    span: Arc<Span>,
    /// Where faults, loudness and envelope are noted: by the span's own encoder, not by its neighbour's.
    findings: Option<F>,
    decoder: Box<dyn Decoder>,
    /// The piece that comes next or is being made, how much of it is still to come, and its next packet.
    piece: usize,
    left: u64,
    next_packet: usize,
    /// The decoder is to begin anew: in another place of the media, or behind packets that are missing.
    stale: bool,
    /// The span's own packets that were decoded.
    sound: u64,
    resampler: Option<resample::Run>,
    limiter: Option<Limiter>,
    meter: Option<Meter>,
    envelope: Option<Envelope>,
    /// Position in the output of the next PCM to be faded.
    faded: u64,
    /// Position in the output of the next PCM to leave the stages.
    position: u64,
    stages: Stages,
}

/// The PCM between the stages.
#[derive(Default)]
struct Stages {
    decoded: Pcm,
    mixed: Pcm,
    resampled: Pcm,
    limited: Pcm,
}

impl<'a> Renderer<&'a Recipe, &'a Findings> {
    /// Starts on `span` with fresh stages.
    pub fn new(
        recipe: &'a Recipe,
        span: Arc<Span>,
        findings: Option<&'a Findings>,
    ) -> Result<Self> {
        Renderer::begin(recipe, span, findings)
    }
}

impl Renderer<Arc<Recipe>, Arc<Findings>> {
    /// The same with a share in what it needs, for a caller who keeps it from call to call.
    pub fn shared(recipe: Arc<Recipe>, span: Arc<Span>, findings: Arc<Findings>) -> Result<Self> {
        Renderer::begin(recipe, span, Some(findings))
    }
}

impl<R: Deref<Target = Recipe>, F: Deref<Target = Findings>> Renderer<R, F> {
    fn begin(recipe: R, span: Arc<Span>, findings: Option<F>) -> Result<Self> {
        let channels = recipe.downmix.channels();
        let rate = recipe.sample_rate;
        let resampler = recipe.resampler.as_ref();
        let start = span.work.start;
        let measure = recipe.measure && findings.is_some();
        let grid = recipe.envelope.filter(|_| findings.is_some());
        Ok(Renderer {
            decoder: decode::span_decoder(&recipe.parameters, &recipe.format)?,
            piece: 0,
            left: span.pieces.first().map_or(0, |piece| piece.len),
            next_packet: 0,
            stale: false,
            sound: 0,
            resampler: resampler.map(|r| r.run(span.input_start, start, channels)),
            limiter: recipe
                .gain
                .map(|gain| Limiter::new(rate, channels, gain, CEILING_DBTP)),
            meter: match measure {
                true => Some(Meter::new(rate, channels, start, span.output.start)?),
                false => None,
            },
            envelope: grid.map(Envelope::new),
            faded: start,
            position: start,
            stages: Stages::default(),
            recipe,
            span,
            findings,
        })
    }

    /// Replaces `out` by the next PCM, in the output's channels; false once the span is whole.
    pub fn render(&mut self, out: &mut Pcm) -> Result<bool> {
        out.reset(self.recipe.downmix.channels());
        while out.is_empty() && self.position < self.span.output.end {
            let more = self.decode_next()?;
            if more {
                self.mix_and_resample();
            } else {
                self.end_input();
            }
            self.level(!more);
            self.cut(out)?;
        }
        let more = self.position < self.span.output.end;
        if !more && let Some(findings) = self.findings.take() {
            findings.faults().add_sound(self.sound);
            if let Some(meter) = self.meter.take() {
                findings.loudness().merge(meter.finish());
            }
            if let Some(envelope) = self.envelope.take() {
                findings.envelope().merge(envelope);
            }
        }
        Ok(more)
    }

    /// Puts the next PCM of the span's pieces into `decoded`; false if there is no more.
    fn decode_next(&mut self) -> Result<bool> {
        let decoded = &mut self.stages.decoded;
        decoded.reset(self.recipe.format.layout.channels());
        let span = Arc::clone(&self.span);
        while self.left == 0 {
            let Some(next) = span.pieces.get(self.piece + 1) else {
                return Ok(false);
            };
            self.piece += 1;
            self.left = next.len;
            self.next_packet = 0;
            self.stale = true;
        }
        let Some(piece) = span.pieces.get(self.piece) else {
            return Ok(false);
        };
        match piece.packet(self.next_packet) {
            Some((packet, data)) => {
                self.next_packet += 1;
                self.decode(piece, packet, data)?;
            }
            // Silence, or less than its packets declared.
            None => self.stages.decoded.resize(self.left.min(BLOCK) as usize),
        }
        self.left = self.left.saturating_sub(self.stages.decoded.len() as u64);
        Ok(true)
    }

    /// Decodes `packet` into `decoded`, and cuts it down to what `piece` needs.
    fn decode(&mut self, piece: &Piece, packet: &SpanPacket, data: &[u8]) -> Result<()> {
        let decoded = &mut self.stages.decoded;
        if packet.gap {
            self.stale = true;
        } else {
            if std::mem::take(&mut self.stale) {
                self.decoder = decode::span_decoder(&self.recipe.parameters, &self.recipe.format)?;
            }
            let is_last = piece.packet(self.next_packet).is_none();
            let format = &self.recipe.format;
            let result = self.decoder.decode(data, decoded);
            let (len, more) = (
                decoded.len(),
                decoded.len().saturating_sub(packet.len as usize),
            );
            // What it should not hold more than, if it does. The rest is cut off below.
            let than = match format.packet_len {
                Some(_) if more > 0 => Some("the first packets"),
                // Where packets vary in length, it may be padding at the end, and what a coarse timescale rounds off.
                None if !is_last && more > format.sample_rate as usize / ROUNDED => {
                    Some("its duration")
                }
                _ => None,
            };
            if piece.owns(packet)
                && let Some(findings) = &self.findings
            {
                let is_short = format.packet_len.is_some() && !is_last && len < packet.len as usize;
                match (result, than) {
                    (Err(why), _) => findings.faults().conceal(packet.offset, why.to_string()),
                    (Ok(()), _) if is_short => {
                        let why = format!("it holds {len} PCM samples of {}", packet.len);
                        findings.faults().conceal(packet.offset, why);
                    }
                    (Ok(()), Some(than)) => {
                        let why = format!("it holds {len} PCM samples, {more} more than {than}");
                        findings.faults().cut(packet.offset, more as u64, why);
                    }
                    (Ok(()), None) => self.sound += 1,
                }
            }
        }
        decoded.resize(packet.len as usize);
        keep(decoded, packet.start, &piece.input());
        Ok(())
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

    /// The input has ended: takes out what the stages still hold, and adds silence where the packets gave less than
    /// they declared.
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

    /// Fades `resampled` and limits it; at the end of the input, takes out all that the limiter holds.
    fn level(&mut self, ended: bool) {
        let Stages {
            resampled, limited, ..
        } = &mut self.stages;
        self.recipe.fade.apply(resampled, self.faded);
        self.faded += resampled.len() as u64;
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

    /// Measures the output of the stages, and appends to `out` the part that belongs to the span.
    fn cut(&mut self, out: &mut Pcm) -> Result<()> {
        let pcm = &mut self.stages.limited;
        let start = self.position;
        self.position += pcm.len() as u64;
        keep(pcm, start, &(start..self.span.output.end));
        if let Some(meter) = &mut self.meter {
            meter.push(pcm)?;
        }
        keep(pcm, start, &self.span.output);
        if let Some(envelope) = &mut self.envelope {
            envelope.add(start.max(self.span.output.start), pcm);
        }
        out.extend_from(pcm, 0, pcm.len());
        Ok(())
    }
}

/// Cuts `pcm`, which begins at `start`, down to `wanted`.
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
