//! MPEG-1 and MPEG-2 audio, layers I to III (ISO/IEC 11172-3, 13818-3): in MP4 mostly MP3.

use symphonia_bundle_mp3::MpaDecoder;
use symphonia_core::codecs::audio::AudioCodecId;
use symphonia_core::codecs::audio::well_known::{CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3};

use super::frames::{self, Lengths};
use super::layer_2::{self, Allowed};
use super::symphonia::{Symphonia, parameters};
use super::{DecodeError, Decoder, Format};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::frame_header::{FrameHeader, HeaderError, Layer, Version, from_first_frame};
use crate::pcm::{Layout, Pcm};

/// How many frames the main data of this one may reach back over at most, if all are as small.
fn reservoir_frames(header: FrameHeader) -> u32 {
    if header.layer() != Layer::Three {
        return 0;
    }
    let main_data_begin_max = match header.version() {
        Version::Mpeg1 => 511,
        Version::Mpeg2 | Version::Mpeg25 => 255,
    };
    let overhead = FrameHeader::LEN + header.side_info_len();
    let main_data = header.frame_len().saturating_sub(overhead).max(1) as u32;
    u32::div_ceil(main_data_begin_max, main_data)
}

/// The most frames of roll: at 8 kbit/s this is a second decoded twice.
const MAX_ROLL: u32 = 40;

/// What the track decodes to.
pub fn inspect(_track: &CodecParameters, first_packets: &[&[u8]]) -> Result<Format> {
    let packets: Vec<Vec<FrameHeader>> = first_packets.iter().map(|p| headers(p)).collect();
    let headers = || packets.iter().flatten();
    let first = headers().next().ok_or_else(|| {
        match first_packets.iter().any(|packet| is_of_free_format(packet)) {
            true => {
                Error::unsupported("MP3 of free format, whose frames do not say how long they are")
            }
            false => Error::malformed(0, "MPEG audio packet", "no frame header"),
        }
    })?;
    let lens: Vec<u32> = packets
        .iter()
        .filter(|frames| !frames.is_empty())
        .map(|frames| frames.iter().map(|header| header.samples()).sum())
        .collect();
    // Where packets are cut anywhere, only decoding them tells what they hold.
    let in_parts = first_packets.iter().filter(|packet| {
        let mut frames = Frames::of(from_first_frame(packet));
        frames.any(|frame| frame.is_err())
    });
    let are_whole = in_parts.count() < 2;
    let reservoir = headers().map(|h| reservoir_frames(*h)).max();
    Ok(Format {
        codec: match first.layer() {
            Layer::One => Codec::Mp1,
            Layer::Two => Codec::Mp2,
            Layer::Three => Codec::Mp3,
        },
        sample_rate: first.sample_rate(),
        layout: match first.channels() {
            1 => Layout::MONO,
            _ => Layout::STEREO,
        },
        packet_len: frames::packet_len(&lens).filter(|_| are_whole),
        // One more for the overlap of the transform, and one for the filter bank.
        roll: reservoir.map_or(2, |frames| (frames + 2).min(MAX_ROLL)),
    })
}

/// How long its packets are.
pub fn lengths(_track: &CodecParameters, format: &Format) -> Option<Lengths> {
    let frame_len = match format.codec {
        Codec::Mp1 => 384,
        Codec::Mp3 if format.sample_rate < 32_000 => 576,
        _ => 1152,
    };
    let tell = |packet: &[u8], frame_len| {
        let frames = headers(packet).len();
        u32::try_from(frames).ok()?.checked_mul(frame_len)
    };
    Some(Lengths::of_frames(tell, frame_len))
}

/// The decoder for it.
pub fn decoder(_track: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    let codec = match format.codec {
        Codec::Mp1 => CODEC_ID_MP1,
        Codec::Mp2 => CODEC_ID_MP2,
        _ => CODEC_ID_MP3,
    };
    Ok(Box::new(MpegAudio {
        codec,
        sample_rate: format.sample_rate,
        usual: open(codec)?,
        other: None,
        paired: None,
        decoded: Pcm::default(),
    }))
}

fn open(codec: AudioCodecId) -> Result<Symphonia> {
    let parameters = parameters(codec, []);
    Symphonia::new(MpaDecoder::try_new(&parameters, &Default::default()))
}

/// Frames of one track, each cut to the length that its header gives: Symphonia asks for that.
struct MpegAudio {
    codec: AudioCodecId,
    /// Hz of the track: frames at another rate would sound too low or too high.
    sample_rate: u32,
    usual: Symphonia,
    /// For frames of the other number of channels: a stream may change in the middle.
    other: Option<Symphonia>,
    /// For frames of one channel in layer II that [became the first of two](Allowed::Paired).
    paired: Option<Symphonia>,
    /// What one of these has decoded.
    decoded: Pcm,
}

impl Decoder for MpegAudio {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let packet = from_first_frame(packet);
        let first = header_of(packet).ok_or_else(|| DecodeError("no MPEG audio frame".into()))?;
        let frame_len = first.samples() as usize;
        frames::decode(
            Frames::of(packet),
            frame_len,
            pcm,
            |(header, frame), pcm| self.decode_frame(header, frame, pcm),
        )
    }
}

impl MpegAudio {
    fn decode_frame(
        &mut self,
        header: FrameHeader,
        frame: &[u8],
        pcm: &mut Pcm,
    ) -> Result<(), DecodeError> {
        if header.sample_rate() != self.sample_rate {
            return Err(DecodeError(format!(
                "a frame at {} Hz, where the track begins with {} Hz",
                header.sample_rate(),
                self.sample_rate
            )));
        }
        let allowed = layer_2::with_allowed_bitrate(header, frame)?;
        let (frame, coded) = match &allowed {
            None => (frame, header.channels()),
            Some(Allowed::Raised(frame)) => (frame.as_slice(), header.channels()),
            Some(Allowed::Paired(frame)) => (frame.as_slice(), 2),
        };
        let paired = coded != header.channels();
        let decoder = match (paired, header.channels() == pcm.channels()) {
            (false, true) => return self.usual.decode(frame, pcm),
            (true, _) => &mut self.paired,
            (false, false) => &mut self.other,
        };
        let decoder = match decoder {
            Some(decoder) => decoder,
            none => none.insert(open(self.codec).map_err(|e| DecodeError(e.to_string()))?),
        };
        self.decoded.reset(coded);
        decoder.decode(frame, &mut self.decoded)?;
        match (self.decoded.planes(), pcm.planes_mut()) {
            ([left, right], [mono]) if !paired => {
                mono.extend(left.iter().zip(right).map(|(l, r)| (l + r) / 2.0));
            }
            ([first, ..], planes) => planes.iter_mut().for_each(|plane| plane.extend(first)),
            _ => {}
        }
        Ok(())
    }
}

/// The frames of a packet. What follows the last one is padding.
struct Frames<'a> {
    rest: &'a [u8],
    first: Option<FrameHeader>,
}

impl<'a> Frames<'a> {
    fn of(packet: &'a [u8]) -> Self {
        Frames {
            rest: packet,
            first: None,
        }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(FrameHeader, &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = header_of(self.rest)?;
        let first = *self.first.get_or_insert(header);
        if (header.version(), header.layer()) != (first.version(), first.layer()) {
            return None;
        }
        let Some((frame, rest)) = self.rest.split_at_checked(header.frame_len()) else {
            self.rest = &[];
            return Some(Err(DecodeError("no whole MPEG audio frame".into())));
        };
        self.rest = rest;
        Some(Ok((header, frame)))
    }
}

/// The headers of the whole frames of a packet.
fn headers(packet: &[u8]) -> Vec<FrameHeader> {
    let frames = Frames::of(from_first_frame(packet)).map_while(|frame| frame.ok());
    frames.map(|(header, _)| header).collect()
}

/// Whether a packet begins with a header of free format.
fn is_of_free_format(packet: &[u8]) -> bool {
    let header = packet
        .first_chunk()
        .map(|&header| FrameHeader::parse(header));
    header == Some(Err(HeaderError::FreeFormat))
}

/// The header that `bytes` begin with. A free-format header cannot be used: it does not give the length.
fn header_of(bytes: &[u8]) -> Option<FrameHeader> {
    FrameHeader::parse(*bytes.first_chunk()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_format_is_refused_by_name() {
        let track = CodecParameters {
            codec: Codec::Mp3,
            channels: 2,
            sample_rate: 44_100,
            config: Vec::new(),
            speakers: None,
            block: None,
            at: 0,
            entry: 1,
            others: Vec::new(),
        };
        let of = |packet: &[u8]| inspect(&track, &[packet]).unwrap_err().to_string();
        let told = of(&[0xFF, 0xFB, 0x00, 0x00, 1, 2, 3, 4]);
        assert!(told.contains("MP3 of free format"), "{told}");
        let told = of(&[0xFF, 0xFB, 0xF0, 0x00, 1, 2, 3, 4]);
        assert!(told.contains("no frame header"), "{told}");
    }
}
