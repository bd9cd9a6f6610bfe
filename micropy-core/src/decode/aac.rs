//! AAC: chooses the decoder for each kind.

use symphonia_codec_aac::AacDecoder;
use symphonia_core::codecs::audio::well_known::CODEC_ID_AAC;

use super::aac_config::{AacConfig, Extension, object_type};
use super::symphonia::{Symphonia, parameters};
use super::{Decoder, Format, fdk, sbr};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};

/// What the track decodes to.
pub fn inspect(track: &CodecParameters, first_packets: &[&[u8]]) -> Result<Format> {
    let aac = parse(track)?;
    match aac.layout {
        Some(layout)
            if is_plain(&aac) && !(may_have_sbr(&aac) && sbr::is_in_most(first_packets)) =>
        {
            Ok(Format {
                codec: Codec::Aac(aac.profile(false, false)),
                sample_rate: aac.core_rate,
                layout,
                packet_len: Some(aac.frame_len),
                roll: 1,
            })
        }
        _ => fdk::inspect(track, &aac, first_packets),
    }
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    let aac = parse(track)?;
    if is_plain(&aac) && format.sample_rate == aac.core_rate && Some(format.layout) == aac.layout {
        let parameters = parameters(CODEC_ID_AAC, aac.plain());
        let decoder = AacDecoder::try_new(&parameters, &Default::default());
        return Ok(Box::new(Symphonia::new(decoder)?));
    }
    fdk::decoder(track, &aac, format)
}

fn parse(track: &CodecParameters) -> Result<AacConfig> {
    AacConfig::parse(&track.config)
        .map_err(|why| Error::malformed(track.at, "AudioSpecificConfig", why))
}

/// Whether Symphonia decodes it, which is the faster decoder.
fn is_plain(aac: &AacConfig) -> bool {
    aac.object_type == object_type::LC
        && aac.frame_len == 1024
        && aac.channel_configuration != 0
        && !matches!(aac.sbr, Extension::Present(_))
        && aac.layout.is_some_and(|l| l.channels() <= 2)
}

fn may_have_sbr(aac: &AacConfig) -> bool {
    aac.sbr == Extension::Unsaid
}
