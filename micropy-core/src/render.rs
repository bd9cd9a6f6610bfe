//! The PCM of one span: decode, mix, resample, trim. Nothing is carried over from another span, so both
//! neighbours of a seam hear the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::CodecParameters;
use crate::decode::{self, Decoder, Format};
use crate::error::Result;
use crate::pcm::Pcm;
use crate::span::{Mapping, Span, SpanPacket};

/// What is done to every span alike.
pub struct Recipe {
    /// The track's coding.
    pub parameters: CodecParameters,
    /// What its decoder gives.
    pub format: Format,
    /// How the output lies on the decoder's PCM.
    pub mapping: Mapping,
    /// Channels of the output: 1 or 2.
    pub channels: usize,
}

/// Packets that could not be decoded and were replaced by silence.
#[derive(Debug, Default)]
pub struct Faults {
    count: AtomicU64,
    first: Mutex<Vec<String>>,
}

impl Faults {
    /// As many are told one by one; the others are only counted.
    const TOLD: usize = 8;

    fn add(&self, packet: &SpanPacket, why: &decode::DecodeError) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.len() < Self::TOLD {
            first.push(format!(
                "packet at byte {}: {why}; replaced by silence",
                packet.offset
            ));
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// What the first of them were.
    pub fn told(&self) -> Vec<String> {
        let mut told = self
            .first
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
    decoder: Box<dyn Decoder>,
    /// Where faults are noted; only the span's own pass has it, not its neighbour's.
    faults: Option<&'a Faults>,
    next_packet: usize,
    decoded: Pcm,
    /// PCM samples of the output still to make.
    left: u64,
}

impl<'a> Renderer<'a> {
    /// Starts on `span` with a fresh decoder.
    pub fn new(recipe: &'a Recipe, span: Arc<Span>, faults: Option<&'a Faults>) -> Result<Self> {
        Ok(Renderer {
            recipe,
            decoder: decode::decoder(&recipe.parameters, &recipe.format)?,
            faults,
            next_packet: 0,
            decoded: Pcm::new(recipe.format.layout.channels()),
            left: span.output.end - span.output.start,
            span,
        })
    }

    /// Replaces `out` by the PCM that follows, of the output's channels; false once the span is whole.
    pub fn render(&mut self, out: &mut Pcm) -> Result<bool> {
        out.reset(self.recipe.channels);
        while out.is_empty() && self.left > 0 {
            if !self.decode_next(out) {
                // The packets gave less than they promised.
                out.resize(usize::try_from(self.left.min(8192)).unwrap_or(8192));
                self.left -= out.len() as u64;
            }
        }
        Ok(self.left > 0)
    }

    /// Decodes one packet and appends what of it belongs to the span; false when there is none left.
    fn decode_next(&mut self, out: &mut Pcm) -> bool {
        let span = Arc::clone(&self.span);
        let Some((packet, data)) = span.packets().nth(self.next_packet) else {
            return false;
        };
        self.next_packet += 1;
        self.decoded.clear();
        if let Err(why) = self.decoder.decode(data, &mut self.decoded)
            && let Some(faults) = self.faults
            && self.owns(packet)
        {
            faults.add(packet, &why);
        }
        self.decoded.resize(packet.len as usize);
        let wanted = self.recipe.mapping.needs(&span.output);
        let from = wanted
            .start
            .clamp(packet.start, packet.start + u64::from(packet.len));
        let to = wanted.end.clamp(from, packet.start + u64::from(packet.len));
        out.extend_from(
            &self.decoded,
            (from - packet.start) as usize,
            (to - from) as usize,
        );
        self.left -= to - from;
        true
    }

    /// Whether `packet` counts as this span's, rather than as its neighbour's.
    fn owns(&self, packet: &SpanPacket) -> bool {
        let wanted = self.recipe.mapping.needs(&self.span.output);
        let end = packet.start + u64::from(packet.len);
        let first = self.span.index == 0;
        (if first {
            end > wanted.start
        } else {
            packet.start >= wanted.start
        }) && packet.start < wanted.end
    }
}
