//! Replaces `fdk.rs` if the feature `fdk-aac` is off.

use super::aac_config::AacConfig;
use super::{Decoder, Format};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};

/// The error that names the missing feature.
pub fn inspect(
    _track: &CodecParameters,
    aac: &AacConfig,
    first_packets: &[&[u8]],
) -> Result<Format> {
    let sbr = super::sbr::is_in_most(first_packets);
    Err(unsupported(&Codec::Aac(aac.profile(sbr, false))))
}

/// The same error.
pub fn decoder(
    _track: &CodecParameters,
    _aac: &AacConfig,
    format: &Format,
) -> Result<Box<dyn Decoder>> {
    Err(unsupported(&format.codec))
}

fn unsupported(codec: &Codec) -> Error {
    Error::unsupported(format!(
        "{codec} of this kind: this build lacks the feature `fdk-aac`"
    ))
}
