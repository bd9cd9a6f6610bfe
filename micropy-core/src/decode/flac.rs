//! FLAC.

use symphonia_bundle_flac::FlacDecoder;
use symphonia_core::codecs::audio::well_known::CODEC_ID_FLAC;

use super::frames::{Lengths, told_len};
use super::symphonia::{Symphonia, parameters};
use super::{DecodeError, Decoder, Format};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::pcm::Pcm;

/// Length of the STREAMINFO metadata block and of the header before it.
const STREAMINFO_LEN: usize = 34;
const BLOCK_HEADER_LEN: usize = 4;

/// What the track decodes to. Packets may vary in length.
pub fn inspect(track: &CodecParameters, first_packets: &[&[u8]]) -> Result<Format> {
    let bits = bits_per_sample(track)?;
    if first_packets.iter().any(|frame| is_too_wide(frame, bits)) {
        return Err(Error::unsupported("FLAC of 32 bits in joint stereo"));
    }
    Ok(Format {
        packet_len: told_len(first_packets, block_size),
        ..open(track)?.format(Codec::Flac)?
    })
}

/// How long its packets are.
pub fn lengths(_track: &CodecParameters, _format: &Format) -> Option<Lengths> {
    Some(Lengths {
        tell: |packet, _| block_size(packet),
        unit: 0,
        step: 1,
        vary: true,
        doubtful: false,
    })
}

/// PCM samples per channel of a frame, by its header (RFC 9639, 9.1), whose checksum has to be right.
fn block_size(frame: &[u8]) -> Option<u32> {
    let &[0xFF, 0xF8 | 0xF9, fields, _, first, ..] = frame else {
        return None;
    };
    // The number of the frame or of its first PCM sample is coded as in UTF-8, in up to seven bytes.
    let number_len = match first.leading_ones() {
        0 => 1,
        count @ 2..=7 => count as usize,
        _ => return None,
    };
    let rest = frame.get(4 + number_len..)?;
    let (size_len, size) = match fields >> 4 {
        0 => return None,
        1 => (0, 192),
        code @ 2..=5 => (0, 576 << (code - 2)),
        6 => (1, u32::from(*rest.first()?) + 1),
        7 => (2, u32::from(u16::from_be_bytes(*rest.first_chunk()?)) + 1),
        code => (0, 256 << (code - 8)),
    };
    let rate_len = match fields & 0x0F {
        12 => 1,
        13 | 14 => 2,
        _ => 0,
    };
    let (header, rest) = frame.split_at_checked(4 + number_len + size_len + rate_len)?;
    (rest.first() == Some(&crc_8(header))).then_some(size)
}

/// The checksum of a frame's header: x⁸ + x² + x + 1, from 0 (RFC 9639, 9.1.8).
fn crc_8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc: u8, _| match crc >> 7 {
            0 => crc << 1,
            _ => crc << 1 ^ 0x07,
        })
    })
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    Ok(Box::new(Flac {
        inner: open(track)?,
        bits: bits_per_sample(track)?,
        sample_rate: format.sample_rate,
    }))
}

struct Flac {
    inner: Symphonia,
    /// By STREAMINFO.
    bits: u8,
    /// Hz of the track: frames at another rate would sound too low or too high.
    sample_rate: u32,
}

impl Decoder for Flac {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        if is_too_wide(packet, self.bits) {
            return Err(DecodeError("FLAC of 32 bits in joint stereo".into()));
        }
        if let Some(rate) = sample_rate(packet).filter(|&rate| rate != self.sample_rate) {
            return Err(DecodeError(format!(
                "a frame at {rate} Hz, where the track is of {} Hz",
                self.sample_rate
            )));
        }
        self.inner.decode(packet, pcm)
    }
}

/// Whether a frame codes the difference of two channels of 32 bits, which has 33: the decoder has no room for that. The
/// frame's header (RFC 9639, 9.1) gives the channels' assignment and the bits, if they are not those of STREAMINFO.
fn is_too_wide(frame: &[u8], stream_bits: u8) -> bool {
    let Some(&[_, _, _, fields]) = frame.first_chunk() else {
        return false;
    };
    let bits = match fields >> 1 & 7 {
        0 => stream_bits,
        7 => 32,
        _ => 0,
    };
    let is_joint = (8..=10).contains(&(fields >> 4));
    bits == 32 && is_joint
}

/// Hz of a frame, where its header (RFC 9639, 9.1.2) says one of the usual rates.
fn sample_rate(frame: &[u8]) -> Option<u32> {
    let &[_, _, fields] = frame.first_chunk()?;
    Some(match fields & 0x0F {
        1 => 88_200,
        2 => 176_400,
        3 => 192_000,
        4 => 8000,
        5 => 16_000,
        6 => 22_050,
        7 => 24_000,
        8 => 32_000,
        9 => 44_100,
        10 => 48_000,
        11 => 96_000,
        _ => return None,
    })
}

/// Bits of a PCM sample less one are five bits of STREAMINFO, behind the rate and the channels (RFC 9639, 8.2).
fn bits_per_sample(track: &CodecParameters) -> Result<u8> {
    let stream_info = stream_info(&track.config)
        .ok_or_else(|| Error::malformed(track.at, "dfLa", "it does not begin with STREAMINFO"))?;
    Ok(((stream_info[12] & 1) << 4 | stream_info[13] >> 4) + 1)
}

fn open(track: &CodecParameters) -> Result<Symphonia> {
    let stream_info = stream_info(&track.config)
        .ok_or_else(|| Error::malformed(track.at, "dfLa", "it does not begin with STREAMINFO"))?;
    let parameters = parameters(CODEC_ID_FLAC, stream_info);
    Symphonia::new(FlacDecoder::try_new(&parameters, &Default::default()))
}

/// The first metadata block, which must be STREAMINFO (type 0; the top bit marks the last block).
fn stream_info(blocks: &[u8]) -> Option<&[u8]> {
    let is_stream_info = blocks.first()? & 0x7f == 0;
    let block = blocks.get(BLOCK_HEADER_LEN..BLOCK_HEADER_LEN + STREAMINFO_LEN)?;
    is_stream_info.then_some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_32_bits_are_too_wide() {
        // A fixed block size of 4096 at 44.1 kHz: channels and bits in the fourth byte.
        let frame = |assignment: u8, bits: u8| [0xFF, 0xF8, 0xC9, assignment << 4 | bits << 1];
        for assignment in 8..=10 {
            assert!(is_too_wide(&frame(assignment, 7), 16));
            assert!(is_too_wide(&frame(assignment, 0), 32));
            assert!(!is_too_wide(&frame(assignment, 0), 24));
            assert!(!is_too_wide(&frame(assignment, 4), 32));
        }
        assert!(!is_too_wide(&frame(1, 7), 32));
        assert!(!is_too_wide(&[0xFF], 32));
    }

    #[test]
    fn frames_say_their_rate() {
        for (fields, rate) in [
            (0xC9, Some(44_100)),
            (0xCA, Some(48_000)),
            (0xC0, None),
            (0xCC, None),
        ] {
            assert_eq!(sample_rate(&[0xFF, 0xF8, fields, 0]), rate);
        }
        assert_eq!(sample_rate(&[0xFF]), None);
    }
}
