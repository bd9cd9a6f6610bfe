//! Apple Lossless.

use symphonia_codec_alac::AlacDecoder;
use symphonia_core::codecs::audio::well_known::CODEC_ID_ALAC;

use super::symphonia::{Symphonia, parameters};
use super::{Decoder, Format};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};

/// Length of ALACSpecificConfig, and with the channel layout that may follow it.
const COOKIE_LENS: [usize; 2] = [24, 48];

/// What the track decodes to. A packet holds `frameLength` PCM samples, the last one fewer.
pub fn inspect(track: &CodecParameters, _first_packets: &[&[u8]]) -> Result<Format> {
    open(track)?.format(Codec::Alac)
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, _format: &Format) -> Result<Box<dyn Decoder>> {
    Ok(Box::new(open(track)?))
}

fn open(track: &CodecParameters) -> Result<Symphonia> {
    let cookie = &track.config;
    if !COOKIE_LENS.contains(&cookie.len()) {
        return Err(malformed(track, format!("{} bytes", cookie.len())));
    }
    let bit_depth = cookie[5];
    if ![16, 20, 24, 32].contains(&bit_depth) {
        return Err(malformed(track, format!("{bit_depth} bits per sample")));
    }
    let parameters = parameters(CODEC_ID_ALAC, cookie.as_slice());
    Symphonia::new(AlacDecoder::try_new(&parameters, &Default::default()))
}

fn malformed(track: &CodecParameters, why: String) -> Error {
    Error::malformed(track.at, "ALAC cookie", why)
}
