//! From packets to PCM: which decoder serves a track, and what it will give.

mod aac;
mod aac_config;
mod bits;
mod symphonia;

use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm};

/// What the decoder of a track will give, known before the first packet is decoded for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The coding with its profile, for people: `AAC-LC`, `HE-AAC v2`, `Opus`.
    pub name: String,
    /// Hz of the PCM (SBR doubles the core's).
    pub sample_rate: u32,
    /// Channels of the PCM, in the order of the planes.
    pub layout: Layout,
    /// PCM samples per channel that every packet gives, where the codec fixes it (AAC: 1024, 960, 2048).
    pub packet_len: Option<u32>,
    /// Packets to decode and throw away after a restart before the output is that of a decoder that has
    /// run from the start (but for noise substitution).
    pub roll: u32,
}

/// A decoder of one track. Made anew at each span: a decoder's state is never carried over a seam.
pub trait Decoder: Send {
    /// Decodes one packet and appends its PCM to `pcm` (of the channels of `Format::layout`). On an error
    /// nothing is appended, and the next packet may be tried.
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError>;
}

/// A packet that cannot be decoded: it is replaced by silence and counted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// As many of a track's first packets as [`inspect`] wants to see.
pub const INSPECTED_PACKETS: usize = 8;

/// Finds out what `parameters` and the first packets (up to [`INSPECTED_PACKETS`]; implicit SBR shows
/// only there) will decode to.
pub fn inspect(parameters: &CodecParameters, first_packets: &[impl AsRef<[u8]>]) -> Result<Format> {
    match &parameters.codec {
        Codec::Aac => aac::inspect(&parameters.config, first_packets),
        other => Err(Error::unsupported(format!("{other} audio"))),
    }
}

/// A new decoder for a track that [`inspect`] has seen.
pub fn decoder(parameters: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    match &parameters.codec {
        Codec::Aac => aac::decoder(&parameters.config, format),
        other => Err(Error::unsupported(format!("{other} audio"))),
    }
}
