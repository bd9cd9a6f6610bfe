//! MPEG-1 and MPEG-2 audio, layers I to III (ISO/IEC 11172-3, 13818-3): in MP4 mostly MP3.

use symphonia_bundle_mp3::MpaDecoder;
use symphonia_core::codecs::audio::well_known::{CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3};

use super::symphonia::{Symphonia, parameters};
use super::{DecodeError, Decoder, Format};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::frame_header::{FrameHeader, Layer, Version};
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
    let headers: Vec<FrameHeader> = first_packets.iter().filter_map(|p| header_of(p)).collect();
    let first = headers
        .first()
        .ok_or_else(|| Error::malformed(0, "MPEG audio packet", "no frame header"))?;
    let reservoir = headers.iter().map(|h| reservoir_frames(*h)).max();
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
        packet_len: Some(first.samples()),
        // One more for the overlap of the transform, and one for the filter bank.
        roll: reservoir.map_or(2, |frames| (frames + 2).min(MAX_ROLL)),
    })
}

/// The decoder for it.
pub fn decoder(_track: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    let codec = match format.codec {
        Codec::Mp1 => CODEC_ID_MP1,
        Codec::Mp2 => CODEC_ID_MP2,
        _ => CODEC_ID_MP3,
    };
    let parameters = parameters(codec, []);
    Ok(Box::new(MpegAudio(Symphonia::new(MpaDecoder::try_new(
        &parameters,
        &Default::default(),
    ))?)))
}

/// Symphonia needs a frame to be exactly as long as its header says: padding after it is cut off.
struct MpegAudio(Symphonia);

impl Decoder for MpegAudio {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let frame = header_of(packet)
            .and_then(|header| packet.get(..header.frame_len()))
            .ok_or_else(|| DecodeError("no whole MPEG audio frame".into()))?;
        self.0.decode(frame, pcm)
    }
}

/// The header that `packet` begins with. A free-format header cannot be used: it does not give the length.
fn header_of(packet: &[u8]) -> Option<FrameHeader> {
    FrameHeader::parse(*packet.first_chunk()?).ok()
}
