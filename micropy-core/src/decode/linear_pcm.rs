//! Audio that is not compressed: linear PCM, and the logarithmic PCM of ITU-T G.711.

use super::frames::Lengths;
use super::{DecodeError, Decoder, Format, instant};
use crate::codec::{Codec, CodecParameters, Companding, PcmFormat};
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm};

/// What the track decodes to.
pub fn inspect(track: &CodecParameters, _first_packets: &[&[u8]]) -> Result<Format> {
    let Codec::Pcm(pcm) = track.codec else {
        return Err(Error::unsupported(format!("{} as PCM", track.codec)));
    };
    reader(pcm)?;
    let layout = match &track.speakers {
        Some(speakers) => Some(Layout::of(speakers)),
        None => Layout::usual(track.channels),
    };
    let layout =
        layout.ok_or_else(|| Error::unsupported(format!("PCM of {} channels", track.channels)))?;
    if track.sample_rate == 0 {
        return Err(Error::malformed(
            track.at,
            "PCM sample entry",
            "a rate of 0 Hz",
        ));
    }
    Ok(Format {
        codec: track.codec.clone(),
        sample_rate: track.sample_rate,
        layout,
        packet_len: None,
        roll: 0,
    })
}

/// How long its packets are.
pub fn lengths(track: &CodecParameters, format: &Format) -> Option<Lengths> {
    Some(Lengths {
        tell: |packet, instant| u32::try_from(packet.len()).ok()?.checked_div(instant),
        unit: instant(&track.codec, format)?,
        step: 1,
        vary: true,
        doubtful: false,
    })
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    let Codec::Pcm(pcm) = track.codec else {
        return Err(Error::unsupported(format!("{} as PCM", track.codec)));
    };
    let speakers = track.speakers.iter().flatten();
    Ok(Box::new(LinearPcm {
        planes: match &track.speakers {
            Some(_) => speakers
                .filter_map(|&speaker| format.layout.plane_of(speaker))
                .collect(),
            None => (0..format.layout.channels()).collect(),
        },
        width: usize::from(pcm.width),
        skipped: match pcm.high == pcm.big_endian {
            true => 0,
            false => usize::from(pcm.width - pcm.bits / 8),
        },
        read: reader(pcm)?,
    }))
}

/// Reads one PCM sample from as many bytes as it has.
type Read = fn(&[u8]) -> f32;

struct LinearPcm {
    /// The plane of each channel.
    planes: Vec<usize>,
    width: usize,
    /// Bytes of a larger container in front of the PCM sample.
    skipped: usize,
    read: Read,
}

impl Decoder for LinearPcm {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let frames = packet.chunks_exact(self.width * self.planes.len());
        if frames.len() == 0 {
            return Err(DecodeError("less than one PCM sample".into()));
        }
        for frame in frames {
            let planes = pcm.planes_mut();
            for (&to, sample) in self.planes.iter().zip(frame.chunks_exact(self.width)) {
                planes[to].push((self.read)(&sample[self.skipped..]));
            }
        }
        Ok(())
    }
}

/// How to read a PCM sample of this format.
fn reader(pcm: PcmFormat) -> Result<Read> {
    Ok(match (pcm.bits, pcm.float, pcm.big_endian) {
        (8, ..) if pcm.companding == Some(Companding::ALaw) => |b| a_law(b[0]),
        (8, ..) if pcm.companding == Some(Companding::MuLaw) => |b| mu_law(b[0]),
        (8, false, _) => integer::<1, true>(pcm.signed),
        (16, false, true) => integer::<2, true>(pcm.signed),
        (16, false, false) => integer::<2, false>(pcm.signed),
        (24, false, true) => integer::<3, true>(pcm.signed),
        (24, false, false) => integer::<3, false>(pcm.signed),
        (32, false, true) => integer::<4, true>(pcm.signed),
        (32, false, false) => integer::<4, false>(pcm.signed),
        (32, true, true) => |b| finite(f32::from_be_bytes([b[0], b[1], b[2], b[3]])),
        (32, true, false) => |b| finite(f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        (64, true, true) => |b| finite(f64::from_bits(bits64(b)) as f32),
        (64, true, false) => |b| finite(f64::from_bits(bits64(b).swap_bytes()) as f32),
        (bits, ..) => return Err(Error::unsupported(format!("PCM of {bits} bits"))),
    })
}

/// Integers of `WIDTH` bytes, in two's complement or, where they have no sign, in offset binary.
fn integer<const WIDTH: usize, const BIG_ENDIAN: bool>(signed: bool) -> Read {
    match signed {
        true => |b| fraction::<WIDTH, BIG_ENDIAN>(b, 0),
        // The same with the highest bit inverted.
        false => |b| fraction::<WIDTH, BIG_ENDIAN>(b, 0x80),
    }
}

/// An integer as a part of full scale, once the bits of `inverted` are inverted in its highest byte.
fn fraction<const WIDTH: usize, const BIG_ENDIAN: bool>(bytes: &[u8], inverted: u8) -> f32 {
    let mut left_aligned = [0; 4];
    left_aligned[..WIDTH].copy_from_slice(&bytes[..WIDTH]);
    if !BIG_ENDIAN {
        left_aligned[..WIDTH].reverse();
    }
    left_aligned[0] ^= inverted;
    i32::from_be_bytes(left_aligned) as f32 / (1u32 << 31) as f32
}

fn bits64(big_endian: &[u8]) -> u64 {
    big_endian
        .iter()
        .fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

/// Neither infinities nor NaN may reach a filter with state.
fn finite(sample: f32) -> f32 {
    if sample.is_finite() { sample } else { 0.0 }
}

/// ITU-T G.711, table 2: 14 bits in segments that double.
fn mu_law(byte: u8) -> f32 {
    let bits = !byte;
    let magnitude = ((i32::from(bits & 0x0f) << 3) + 0x84) << (bits >> 4 & 7);
    sign(bits & 0x80 == 0, magnitude - 0x84)
}

/// ITU-T G.711, table 1: 13 bits, even bits inverted.
fn a_law(byte: u8) -> f32 {
    let bits = byte ^ 0x55;
    let mantissa = i32::from(bits & 0x0f) << 4;
    let magnitude = match bits >> 4 & 7 {
        0 => mantissa + 8,
        segment => (mantissa + 0x108) << (segment - 1),
    };
    sign(bits & 0x80 != 0, magnitude)
}

fn sign(positive: bool, magnitude: i32) -> f32 {
    let magnitude = magnitude as f32 / 32768.0;
    if positive { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(pcm: PcmFormat, bytes: &[u8]) -> Vec<f32> {
        let track = CodecParameters {
            codec: Codec::Pcm(pcm),
            channels: 1,
            sample_rate: 48_000,
            config: Vec::new(),
            speakers: None,
            block: None,
            at: 0,
            entry: 1,
            others: Vec::new(),
        };
        let format = inspect(&track, &[]).unwrap();
        let mut decoded = Pcm::new(1);
        let mut decoder = decoder(&track, &format).unwrap();
        decoder.decode(bytes, &mut decoded).unwrap();
        decoded.plane(0).to_vec()
    }

    #[test]
    fn bits_stand_at_either_end_of_a_larger_container() {
        const QUARTER: [f32; 2] = [0.25, -0.25];
        for (big_endian, high, bytes) in [
            (true, true, [0x20, 0, 0, 99, 0xE0, 0, 0, 99]),
            (true, false, [99, 0x20, 0, 0, 99, 0xE0, 0, 0]),
            (false, true, [99, 0, 0, 0x20, 99, 0, 0, 0xE0]),
            (false, false, [0, 0, 0x20, 99, 0, 0, 0xE0, 99]),
        ] {
            let pcm = PcmFormat {
                bits: 24,
                float: false,
                big_endian,
                signed: true,
                width: 4,
                high,
                companding: None,
            };
            assert_eq!(decoded(pcm, &bytes), QUARTER, "{pcm:?}");
        }
    }

    #[test]
    fn offset_binary_is_zero_in_the_middle() {
        for bits in [8u8, 16, 24, 32] {
            for big_endian in [true, false] {
                let width = usize::from(bits / 8);
                let mut bytes = vec![0; 3 * width];
                for (at, high) in [(0, 0x80), (1, 0xC0), (2, 0x00)] {
                    let first = if big_endian { 0 } else { width - 1 };
                    bytes[at * width + first] = high;
                }
                let pcm = PcmFormat {
                    bits,
                    float: false,
                    big_endian,
                    signed: false,
                    width: bits / 8,
                    high: false,
                    companding: None,
                };
                assert_eq!(decoded(pcm, &bytes), [0.0, 0.5, -1.0], "{pcm:?}");
            }
        }
    }
}
