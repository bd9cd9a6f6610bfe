//! AC-3 and E-AC-3 (ETSI TS 102 366), which differ in their headers and share the rest.

use oxideav_core::{CodecId, Frame, Packet, TimeBase};

use super::bits::Bits;
use super::{DecodeError, Decoder, Format};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm, Speaker};

/// PCM samples per channel of an audio block.
const BLOCK_LEN: u32 = 256;

/// Each block overlaps the one before it, and nothing reaches further back.
const ROLL: u32 = 1;

const SAMPLE_RATES: [u32; 3] = [48000, 44100, 32000];

/// The beginning of a syncframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    enhanced: bool,
    sample_rate: u32,
    blocks: u32,
    acmod: u8,
    lfeon: bool,
    /// Of the one programme that is decoded, without what dependent substreams add to its 5.1 channels.
    main: bool,
    /// Bytes; `None` in AC-3, which has one syncframe in a packet.
    frame_bytes: Option<usize>,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Header> {
        let mut bits = Bits::new(bytes);
        if bits.read(16)? != 0x0b77 {
            return None;
        }
        match Bits::at(bytes, 40).read(5)? {
            0..=8 => Header::plain(bytes),
            11..=16 => Header::enhanced(bits),
            _ => None, // 9 and 10 are reserved
        }
    }

    fn plain(bytes: &[u8]) -> Option<Header> {
        let sample_rate = *SAMPLE_RATES.get(Bits::at(bytes, 32).read(2)? as usize)?;
        let mut bits = Bits::at(bytes, 48);
        let acmod = bits.read(3)? as u8;
        let centre_level = acmod & 1 != 0 && acmod != 1;
        for told in [centre_level, acmod & 4 != 0, acmod == 2] {
            if told {
                bits.read(2)?;
            }
        }
        Some(Header {
            enhanced: false,
            sample_rate,
            blocks: 6,
            acmod,
            lfeon: bits.read(1)? == 1,
            main: true,
            frame_bytes: None,
        })
    }

    fn enhanced(mut bits: Bits<'_>) -> Option<Header> {
        let (stream_type, substream) = (bits.read(2)?, bits.read(3)?);
        let frame_bytes = (bits.read(11)? as usize + 1) * 2;
        let (rate, code) = (bits.read(2)?, bits.read(2)?);
        let (sample_rate, blocks) = match SAMPLE_RATES.get(rate as usize) {
            Some(&rate) => (rate, [1, 2, 3, 6][code as usize]),
            None => (SAMPLE_RATES.get(code as usize)? / 2, 6),
        };
        Some(Header {
            enhanced: true,
            sample_rate,
            blocks,
            acmod: bits.read(3)? as u8,
            lfeon: bits.read(1)? == 1,
            main: stream_type != 1 && substream == 0,
            frame_bytes: Some(frame_bytes),
        })
    }

    /// The loudspeakers in the order of the decoder's output.
    fn order(self) -> Vec<Speaker> {
        use Speaker::*;
        let front: &[Speaker] = match self.acmod {
            1 => &[FrontCenter],
            3 | 5 | 7 => &[FrontLeft, FrontRight, FrontCenter],
            _ => &[FrontLeft, FrontRight],
        };
        let back: &[Speaker] = match self.acmod {
            4 | 5 => &[BackCenter],
            6 | 7 => &[BackLeft, BackRight],
            _ => &[],
        };
        let lfe: &[Speaker] = if self.lfeon { &[LowFrequency] } else { &[] };
        // Without a centre the decoder leaves the channels as they are coded: the LFE at the end.
        match self.acmod {
            4 | 6 => [front, back, lfe].concat(),
            _ => [front, lfe, back].concat(),
        }
    }
}

/// The syncframes of the main programme. What no header can be read from ends the list.
fn main_frames(mut packet: &[u8]) -> Vec<(Header, &[u8])> {
    let mut frames = Vec::new();
    while let Some(header) = Header::parse(packet) {
        let frame_bytes = header.frame_bytes.unwrap_or(packet.len());
        let (frame, rest) = packet.split_at(frame_bytes.min(packet.len()));
        if header.main {
            frames.push((header, frame));
        }
        packet = rest;
    }
    frames
}

/// What the track decodes to, by the first packet that can be read.
pub fn inspect(track: &CodecParameters, first_packets: &[&[u8]]) -> Result<Format> {
    let frames = first_packets.iter().map(|packet| main_frames(packet));
    let frames = frames.into_iter().find(|frames| !frames.is_empty());
    let frames = frames.ok_or_else(|| {
        let why = "none of the first packets begins with a syncframe";
        Error::malformed(track.at, "AC-3 audio", why)
    })?;
    let header = frames[0].0;
    Ok(Format {
        codec: if header.enhanced {
            Codec::Eac3
        } else {
            Codec::Ac3
        },
        sample_rate: header.sample_rate,
        layout: Layout::of(&header.order()),
        packet_len: Some(frames.iter().map(|(h, _)| h.blocks * BLOCK_LEN).sum()),
        roll: ROLL,
    })
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    let parameters = oxideav_core::CodecParameters::audio(CodecId::new("ac3"));
    let inner = oxideav_ac3::decoder::make_decoder(&parameters)
        .map_err(|why| Error::malformed(track.at, "AC-3 audio", why.to_string()))?;
    Ok(Box::new(Ac3 {
        inner,
        layout: format.layout,
        sample_rate: format.sample_rate,
        packet_len: format.packet_len,
        interleaved: Vec::new(),
    }))
}

struct Ac3 {
    inner: Box<dyn oxideav_core::Decoder>,
    layout: Layout,
    sample_rate: u32,
    packet_len: Option<u32>,
    /// Of one packet, 16 bits each, little-endian.
    interleaved: Vec<u8>,
}

impl Decoder for Ac3 {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let frames = main_frames(packet);
        let (first, _) = *frames
            .first()
            .ok_or_else(|| DecodeError("no syncframe".into()))?;
        let order = first.order();
        if Layout::of(&order) != self.layout || first.sample_rate != self.sample_rate {
            return Err(DecodeError("other channels or another rate".into()));
        }
        self.interleaved.clear();
        for (header, frame) in frames {
            if header.order() != order {
                return Err(DecodeError("the channels change within a packet".into()));
            }
            self.decode_frame(header, frame, order.len())?;
        }
        let channels = order.len();
        let len = self.interleaved.len() / (2 * channels);
        if self.packet_len.is_some_and(|told| told as usize != len) {
            return Err(DecodeError(format!("{len} PCM samples")));
        }
        let planes = order.iter().filter_map(|&s| self.layout.plane_of(s));
        for (channel, plane) in planes.enumerate() {
            let coded = self.interleaved.chunks_exact(2).skip(channel);
            let samples = coded.step_by(channels);
            pcm.planes_mut()[plane]
                .extend(samples.map(|s| f32::from(i16::from_le_bytes([s[0], s[1]])) / 32768.0));
        }
        Ok(())
    }
}

impl Ac3 {
    fn decode_frame(
        &mut self,
        header: Header,
        frame: &[u8],
        channels: usize,
    ) -> Result<(), DecodeError> {
        let packet = Packet::new(
            0,
            TimeBase::new(1, i64::from(self.sample_rate)),
            frame.to_vec(),
        );
        let sent = self.inner.send_packet(&packet);
        let decoded = sent.and_then(|()| self.inner.receive_frame());
        match decoded.map_err(|why| DecodeError(why.to_string()))? {
            Frame::Audio(audio) => {
                let interleaved = audio.data.first().map_or(&[][..], Vec::as_slice);
                if interleaved.len() != (header.blocks * BLOCK_LEN) as usize * channels * 2 {
                    return Err(DecodeError("PCM of another length than is told".into()));
                }
                self.interleaved.extend_from_slice(interleaved);
                Ok(())
            }
            _ => Err(DecodeError("no audio".into())),
        }
    }
}
