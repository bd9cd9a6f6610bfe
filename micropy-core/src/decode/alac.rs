//! Apple Lossless.

use symphonia_codec_alac::AlacDecoder;
use symphonia_core::codecs::audio::well_known::CODEC_ID_ALAC;

use super::bits::Bits;
use super::frames::{Lengths, told_len};
use super::symphonia::{Symphonia, parameters};
use super::{DecodeError, Decoder, Format};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::pcm::Pcm;

/// Length of ALACSpecificConfig, with the channel layout that may follow it, and without. What stands behind it is not
/// of the cookie.
const COOKIE_LENS: [usize; 2] = [48, 24];

/// What the track decodes to. A packet holds `frameLength` PCM samples, the last one fewer.
pub fn inspect(track: &CodecParameters, first_packets: &[&[u8]]) -> Result<Format> {
    let format = open(track)?.format(Codec::Alac)?;
    let packet_len = told_len(first_packets, |packet| {
        packet_len(packet, frame_len(track)?)
    });
    Ok(Format {
        packet_len,
        ..format
    })
}

/// How long its packets are.
pub fn lengths(track: &CodecParameters, _format: &Format) -> Option<Lengths> {
    Some(Lengths {
        tell: packet_len,
        unit: frame_len(track)?,
        step: 1,
        vary: true,
        doubtful: false,
    })
}

/// `frameLength` of the cookie.
fn frame_len(track: &CodecParameters) -> Option<u32> {
    let bytes = track.config.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes)).filter(|&len| len > 0)
}

/// PCM samples per channel of a packet: `frame_len`, or what the header of its first element says, behind the kind (3
/// bits), the instance tag (4) and 12 unused bits (Apple's `ALACDecoder::Decode`).
fn packet_len(packet: &[u8], frame_len: u32) -> Option<u32> {
    /// Single channels, pairs and low-frequency channels begin with that header.
    const WITH_HEADER: [u32; 3] = [0, 1, 3];
    let mut bits = Bits::new(packet);
    let kind = bits.read(3)?;
    bits.skip(4 + 12)?;
    let is_partial = bits.flag()?;
    // The shift of the bits, and whether they are compressed.
    bits.skip(2 + 1)?;
    if !WITH_HEADER.contains(&kind) {
        return None;
    }
    let len = match is_partial {
        true => bits.read(32)?,
        false => frame_len,
    };
    (1..=frame_len).contains(&len).then_some(len)
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, _format: &Format) -> Result<Box<dyn Decoder>> {
    let decoder = open(track)?;
    let cookie = &track.config;
    Ok(match cookie[CHANNELS] {
        7 => Reordered::boxed(decoder, &PLANES_OF_7),
        8 => Reordered::boxed(decoder, &PLANES_OF_8),
        _ => Box::new(decoder),
    })
}

/// Where `numChannels` stands in the cookie.
const CHANNELS: usize = 9;

/// Of 7 channels, coded as C L R Ls Rs Cs LFE, Symphonia counts the surrounds after the back centre, as if they were at
/// the sides; but it gives them the positions in front of it. For each plane of the layout, FL FR FC LFE BL BR BC, this
/// is where Symphonia puts it.
const PLANES_OF_7: [usize; 7] = [0, 1, 2, 3, 5, 6, 4];

/// Of 8 channels, coded as C Lc Rc L R Ls Rs LFE, the surrounds and the pair beside the centre have changed places in
/// the same way. The planes of the layout are FL FR FC LFE BL BR FLC FRC.
const PLANES_OF_8: [usize; 8] = [0, 1, 2, 3, 6, 7, 4, 5];

/// A decoder whose planes are in another order than those of its layout.
struct Reordered {
    decoder: Symphonia,
    /// Its plane for each plane of the layout.
    planes: &'static [usize],
    decoded: Pcm,
}

impl Reordered {
    fn boxed(decoder: Symphonia, planes: &'static [usize]) -> Box<dyn Decoder> {
        Box::new(Reordered {
            decoder,
            planes,
            decoded: Pcm::new(planes.len()),
        })
    }
}

impl Decoder for Reordered {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        self.decoded.clear();
        self.decoder.decode(packet, &mut self.decoded)?;
        for (plane, &from) in pcm.planes_mut().iter_mut().zip(self.planes) {
            plane.extend_from_slice(self.decoded.plane(from));
        }
        Ok(())
    }
}

fn open(track: &CodecParameters) -> Result<Symphonia> {
    let cookie = COOKIE_LENS
        .into_iter()
        .find_map(|len| track.config.get(..len));
    let Some(cookie) = cookie else {
        return Err(malformed(track, format!("{} bytes", track.config.len())));
    };
    let bit_depth = cookie[5];
    if ![16, 20, 24, 32].contains(&bit_depth) {
        return Err(malformed(track, format!("{bit_depth} bits per sample")));
    }
    let parameters = parameters(CODEC_ID_ALAC, cookie);
    Symphonia::new(AlacDecoder::try_new(&parameters, &Default::default()))
}

fn malformed(track: &CodecParameters, why: String) -> Error {
    Error::malformed(track.at, "ALAC cookie", why)
}
