//! MPEG-1 and MPEG-2 audio, layers I to III (ISO/IEC 11172-3, 13818-3): in MP4 mostly MP3.

use symphonia_bundle_mp3::MpaDecoder;
use symphonia_core::codecs::audio::well_known::{CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3};

use super::symphonia::{Symphonia, parameters};
use super::{DecodeError, Decoder, Format};
use crate::codec::CodecParameters;
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm};

/// The four bytes before a frame, as far as they say where it ends and what it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    layer: u8,
    mpeg1: bool,
    sample_rate: u32,
    mono: bool,
    /// Bytes, these four among them.
    frame_bytes: usize,
}

impl Header {
    const LEN: usize = 4;

    /// `None`: not a frame, or one of free format, which does not tell its length.
    fn parse(bytes: &[u8]) -> Option<Header> {
        let word = u32::from_be_bytes(*bytes.first_chunk()?);
        let field = |shift: u32, width: u32| (word >> shift & ((1 << width) - 1)) as usize;
        if field(21, 11) != 0x7ff {
            return None;
        }
        let rate_shift = [2, u32::MAX, 1, 0][field(19, 2)]; // MPEG-2.5, reserved, MPEG-2, MPEG-1
        let layer = [0, 3, 2, 1][field(17, 2)];
        if rate_shift == u32::MAX || layer == 0 || matches!(field(12, 4), 0 | 15) {
            return None;
        }
        let mpeg1 = rate_shift == 0;
        let sample_rate = [44100, 48000, 32000].get(field(10, 2))? >> rate_shift;
        let kbps = kilobits(mpeg1, layer, field(12, 4));
        let padding = field(9, 1) as u32;
        let frame_bytes = match layer {
            1 => (12_000 * kbps / sample_rate + padding) * 4,
            3 if !mpeg1 => 72_000 * kbps / sample_rate + padding,
            _ => 144_000 * kbps / sample_rate + padding,
        };
        Some(Header {
            layer,
            mpeg1,
            sample_rate,
            mono: field(6, 2) == 3,
            frame_bytes: frame_bytes as usize,
        })
    }

    /// PCM samples per channel.
    fn frame_len(self) -> u32 {
        match self.layer {
            1 => 384,
            3 if !self.mpeg1 => 576,
            _ => 1152,
        }
    }

    /// Frames that the main data of this one may reach back over, at most, if all are as small as it.
    fn reservoir_frames(self) -> u32 {
        if self.layer != 3 {
            return 0;
        }
        let (main_data_begin_max, side_info) = match (self.mpeg1, self.mono) {
            (true, false) => (511, 32),
            (true, true) => (511, 17),
            (false, false) => (255, 17),
            (false, true) => (255, 9),
        };
        let main_data = self.frame_bytes.saturating_sub(Self::LEN + side_info);
        (main_data_begin_max as u32).div_ceil(main_data.max(1) as u32)
    }
}

/// ISO/IEC 11172-3, 2.4.2.3 and 13818-3, 2.4.2.3.
fn kilobits(mpeg1: bool, layer: u8, index: usize) -> u32 {
    let row: [u32; 14] = match (mpeg1, layer) {
        (true, 1) => [
            32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
        ],
        (true, 2) => [
            32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
        ],
        (true, _) => [
            32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
        ],
        (false, 1) => [
            32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
        ],
        (false, _) => [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    };
    row[index - 1]
}

/// More frames of roll than this are not worth it: at 8 kbit/s a second would be decoded twice.
const MAX_ROLL: u32 = 40;

/// What the track decodes to.
pub fn inspect(_track: &CodecParameters, first_packets: &[&[u8]]) -> Result<Format> {
    let headers: Vec<Header> = first_packets
        .iter()
        .filter_map(|p| Header::parse(p))
        .collect();
    let first = headers
        .first()
        .ok_or_else(|| Error::malformed(0, "MPEG audio packet", "no frame header"))?;
    let reservoir = headers.iter().map(|h| h.reservoir_frames()).max();
    Ok(Format {
        name: format!("MP{}", first.layer),
        sample_rate: first.sample_rate,
        layout: if first.mono {
            Layout::MONO
        } else {
            Layout::STEREO
        },
        packet_len: Some(first.frame_len()),
        // One more for the overlap of the transform, one for the filter bank.
        roll: reservoir.map_or(2, |frames| (frames + 2).min(MAX_ROLL)),
    })
}

/// The decoder for it.
pub fn decoder(_track: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    let codec = match format.name.as_str() {
        "MP1" => CODEC_ID_MP1,
        "MP2" => CODEC_ID_MP2,
        _ => CODEC_ID_MP3,
    };
    let parameters = parameters(codec, []);
    Ok(Box::new(Frames(Symphonia::new(MpaDecoder::try_new(
        &parameters,
        &Default::default(),
    ))?)))
}

/// Symphonia wants a frame to be exactly as long as its header says: padding after it is cut off.
struct Frames(Symphonia);

impl Decoder for Frames {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let frame = Header::parse(packet)
            .and_then(|header| packet.get(..header.frame_bytes))
            .ok_or_else(|| DecodeError("no whole MPEG audio frame".into()))?;
        self.0.decode(frame, pcm)
    }
}
