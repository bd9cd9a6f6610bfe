//! AC-3 and E-AC-3 (ATSC A/52, which is ETSI TS 102 366), which differ in how a frame is written and share the rest.
//!
//! A packet is one or more syncframes. Each is decoded on its own: [header](header::Header), [audio
//! frame](audio_frame::AudioFrame), then block by block [side information, exponents, bits and
//! mantissas](audio_block::Blocks) to frequencies, and from these [PCM](transform::Overlap). Only the overlap of the
//! last block is kept for the next frame. A frame whose checksum is wrong, or that cannot be decoded, fades out into
//! silence and is reported.
//!
//! Enhanced coupling is refused by name; transient pre-noise processing is left out, as ffmpeg leaves it out.

mod audio_block;
mod audio_frame;
mod bands;
mod bit_allocation;
mod coupling;
mod crc;
mod dither;
mod dynamic_range;
mod exponents;
mod fault;
mod frame_bits;
mod header;
mod hybrid_transform;
mod mantissas;
mod rematrix;
mod spectral_extension;
mod substreams;
mod transform;

#[cfg(test)]
mod tests;

use audio_block::{Block, Blocks};
use fault::Fault;
use substreams::{Syncframe, Together};
use transform::Overlap;

use super::frames::{self, Lengths};
use super::reconfigured::mix;
use super::{DecodeError, Decoder, Format};
use crate::codec::CodecParameters;
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm, Speaker};

/// PCM samples per channel of an audio block.
const BLOCK_LEN: usize = 256;

/// Frequencies of an audio block.
const BINS: usize = 256;

/// Audio blocks of a syncframe, at most, and PCM samples per channel of so many.
const MAX_BLOCKS: usize = 6;
const FRAME_LEN: usize = MAX_BLOCKS * BLOCK_LEN;

/// Full-bandwidth channels of a substream, at most.
const FULL: usize = 5;

/// Places of a substream's channels: the full-bandwidth ones, the LFE, and the coupling channel, which is not heard.
const LFE: usize = FULL;
const COUPLING: usize = FULL + 1;
const PLACES: usize = FULL + 2;

/// Those that are heard.
const OUTPUTS: usize = FULL + 1;

/// The peak of the noise in place of mantissas without bits (7.3.4).
const DITHER_LEVEL: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// The frequencies of one channel in a block.
type Spectrum = [f32; BINS];

/// Each block overlaps the one before it, and nothing reaches further back.
const ROLL: u32 = 1;

/// What the track decodes to, by the first packet that can be read. A track is refused if one of its first packets
/// uses what is not supported.
pub fn inspect(track: &CodecParameters, first_packets: &[&[u8]]) -> Result<Format> {
    let programmes = first_packets
        .iter()
        .map(|packet| substreams::programme(packet));
    let programmes: Vec<_> = programmes.collect();
    let mut blocks = vec![Block::SILENCE; MAX_BLOCKS];
    for frame in programmes.iter().flatten().flatten().flatten() {
        if let Err(fault @ Fault::Unsupported(_)) = decode_frame(frame, &mut blocks) {
            return Err(Error::unsupported(format!("AC-3 audio: {fault}")));
        }
    }
    let first_fault = programmes
        .iter()
        .find_map(|programme| programme.as_ref().err());
    let why = first_fault.map_or_else(|| Fault::NoSyncframe.to_string(), Fault::to_string);
    let sets = programmes.iter().flatten().next().ok_or_else(|| {
        let why = format!("none of the first packets can be read: {why}");
        Error::malformed(track.at, "AC-3 audio", why)
    })?;
    let first = &sets[0];
    let lens = programmes.iter().flatten().map(|sets| packet_len(sets));
    let lens: Vec<u32> = lens.collect();
    Ok(Format {
        codec: substreams::codec(first),
        sample_rate: first[0].header.sample_rate(),
        layout: Layout::of(&speakers(first)),
        packet_len: frames::packet_len(&lens),
        roll: ROLL,
    })
}

/// How long its packets are.
pub fn lengths(_track: &CodecParameters, _format: &Format) -> Option<Lengths> {
    Some(Lengths {
        tell: |packet, _| {
            let sets = substreams::programme(packet).ok()?;
            let mut frames = sets.iter().flatten();
            let bytes: usize = frames.clone().map(|frame| frame.bytes.len()).sum();
            // Otherwise it is damaged, and frames may be missing.
            let is_whole = bytes == packet.len()
                && frames.all(|frame| crc::check(&frame.header, frame.bytes).is_ok());
            is_whole.then(|| packet_len(&sets))
        },
        unit: 0,
        step: FRAME_LEN as u32,
        vary: true,
        doubtful: false,
    })
}

/// PCM samples per channel of a packet with these syncframes.
fn packet_len(sets: &[Together<'_>]) -> u32 {
    sets.iter().map(|set| pcm_len(set) as u32).sum()
}

/// The decoder for it.
pub fn decoder(_track: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    Ok(Box::new(Ac3 {
        layout: format.layout,
        sample_rate: format.sample_rate,
        packet_len: format.packet_len,
        overlaps: Speaker::ALL.map(|_| Overlap::silence()),
        blocks: Vec::new(),
        plane: Vec::new(),
    }))
}

/// All loudspeakers of these substreams.
fn speakers(together: &Together<'_>) -> Vec<Speaker> {
    let all = together.iter().flat_map(|frame| frame.speakers);
    all.flatten().collect()
}

/// PCM samples per channel of these substreams.
fn pcm_len(together: &Together<'_>) -> usize {
    together[0].header.blocks * BLOCK_LEN
}

struct Ac3 {
    layout: Layout,
    sample_rate: u32,
    packet_len: Option<u32>,
    /// By loudspeaker.
    overlaps: [Overlap; Speaker::ALL.len()],
    /// The blocks of all substreams that are heard together, one substream after the other.
    blocks: Vec<Block>,
    /// The PCM of one channel.
    plane: Vec<f32>,
}

impl Decoder for Ac3 {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let start = pcm.len();
        let (mut fault, mut in_frames) = (None, false);
        match substreams::programme(packet) {
            Ok(sets) => {
                in_frames = sets.iter().all(|set| pcm_len(set) == FRAME_LEN);
                for set in &sets {
                    if let Err(why) = self.decode_together(set, pcm) {
                        fault.get_or_insert(why);
                        self.conceal(pcm_len(set), pcm);
                    }
                }
            }
            Err(why) => fault = Some(why),
        }
        let len = pcm.len() - start;
        if let Some(expected) = self.packet_len.map(|len| len as usize)
            && len != expected
            // It may have another number of frames than the first packets.
            && !(in_frames && expected.is_multiple_of(FRAME_LEN))
        {
            fault.get_or_insert(Fault::Changed("another number of PCM samples"));
            if len < expected {
                self.conceal(expected - len, pcm);
            }
            pcm.resize(start + expected);
        }
        fault.map_or(Ok(()), |why| Err(why.into()))
    }
}

impl Ac3 {
    /// Decodes the substreams whole before anything is heard of them, so that a fault leaves nothing behind.
    fn decode_together(&mut self, set: &Together<'_>, pcm: &mut Pcm) -> Result<(), Fault> {
        let independent = &set[0].header;
        if independent.sample_rate() != self.sample_rate {
            return Err(Fault::Changed("another sample rate"));
        }
        let blocks = independent.blocks;
        if set.iter().any(|frame| frame.header.blocks != blocks) {
            return Err(Fault::Changed("dependent substreams of another length"));
        }
        let mut free = std::mem::take(&mut self.blocks);
        free.resize(set.len() * blocks, Block::SILENCE);
        let decoded = set
            .iter()
            .zip(free.chunks_mut(blocks))
            .try_for_each(|(frame, blocks)| decode_frame(frame, blocks));
        self.blocks = free;
        decoded?;

        let start = pcm.len();
        pcm.resize(start + blocks * BLOCK_LEN);
        for speaker in Speaker::ALL {
            // A dependent substream's channel takes the place of the independent one's.
            let source = set.iter().enumerate().rev().find_map(|(index, frame)| {
                let mut places = frame.speakers.iter();
                let place = places.position(|&other| other == Some(speaker))?;
                Some((index, place))
            });
            let Some((index, place)) = source else {
                continue;
            };
            let overlap = &mut self.overlaps[speaker as usize];
            self.plane.clear();
            for block in &self.blocks[index * blocks..(index + 1) * blocks] {
                overlap.add_block(&block.spectra[place], block.short[place], &mut self.plane);
            }
            mix(&self.plane, speaker, self.layout, pcm, start);
        }
        Ok(())
    }

    /// Fades what was heard last out, into silence up to `len` PCM samples.
    fn conceal(&mut self, len: usize, pcm: &mut Pcm) {
        let start = pcm.len();
        pcm.resize(start + len.max(BLOCK_LEN));
        for speaker in Speaker::ALL {
            self.plane.clear();
            self.overlaps[speaker as usize].fade_out(&mut self.plane);
            mix(&self.plane, speaker, self.layout, pcm, start);
        }
        pcm.resize(start + len);
    }
}

/// Decodes one syncframe into its blocks, the first of `blocks`.
fn decode_frame(frame: &Syncframe<'_>, blocks: &mut [Block]) -> Result<(), Fault> {
    crc::check(&frame.header, frame.bytes)?;
    let mut decoder = Blocks::new(frame.bytes, &frame.header)?;
    let mut blocks = blocks.iter_mut().take(frame.header.blocks);
    blocks.try_for_each(|block| decoder.next(block))
}
