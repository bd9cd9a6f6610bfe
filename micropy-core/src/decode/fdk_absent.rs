//! Replaces `fdk.rs` if the feature `fdk-aac` is off.

use super::aac_config::{AacConfig, Extension};
use super::{Decoder, Format};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::pcm::Layout;

/// Whether most packets carry SBR data, though the configuration does not say so.
pub fn finds_sbr(aac: &AacConfig, blocks: &[&[u8]]) -> bool {
    let channels = aac.layout.map_or(0, Layout::channels);
    super::sbr::is_in_most(blocks, channels, || super::aac::plain_decoder(aac).ok())
}

/// There is nothing to find that out with.
pub fn has_channels_of(_aac: &AacConfig, _blocks: &[&[u8]]) -> bool {
    false
}

/// The error that names the missing feature.
pub fn inspect(_track: &CodecParameters, aac: &AacConfig, blocks: &[&[u8]]) -> Result<Format> {
    let sbr = aac.sbr == Extension::Unsaid && finds_sbr(aac, blocks);
    Err(unsupported(&Codec::Aac(aac.profile(sbr, false))))
}

/// The same error.
pub fn check(_track: &CodecParameters, aac: &AacConfig) -> Result<()> {
    Err(unsupported(&Codec::Aac(aac.profile(false, false))))
}

/// The same error.
pub fn decoder(
    _track: &CodecParameters,
    _aac: &AacConfig,
    format: &Format,
) -> Result<Box<dyn Decoder>> {
    Err(unsupported(&format.codec))
}

/// The same error.
pub fn core_decoder(aac: &AacConfig) -> Result<Box<dyn Decoder>> {
    Err(unsupported(&Codec::Aac(aac.profile(false, false))))
}

/// No track has a decoder that would need it.
pub fn whole_packets(_aac: &AacConfig, decoder: Box<dyn Decoder>) -> Box<dyn Decoder> {
    decoder
}

fn unsupported(codec: &Codec) -> Error {
    Error::unsupported(format!(
        "{codec} of this kind: this build lacks the feature `fdk-aac`"
    ))
}
