//! From packets to PCM: which decoder serves a track, and what it will give.

use crate::codec::CodecParameters;
use crate::error::Result;
use crate::pcm::Pcm;

/// What the decoder of a track will give, known before the first packet is decoded for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The coding with its profile, for people: `AAC-LC`, `HE-AAC v2`, `Opus`.
    pub name: String,
    /// Hz of the PCM (SBR doubles the core's).
    pub sample_rate: u32,
    /// Channels of the PCM.
    pub channels: u16,
    /// PCM samples per channel that every packet gives, where the codec fixes it (AAC: 1024, 960, 2048).
    pub packet_len: Option<u32>,
    /// Packets to decode and throw away after a restart before the output is that of a decoder that has
    /// run from the start (but for noise substitution).
    pub roll: u32,
}

/// A decoder of one track. Made anew at each span: a decoder's state is never carried over a seam.
pub trait Decoder: Send {
    /// Decodes one packet and appends its PCM to `pcm` (of `Format::channels` channels, in the order of
    /// [`Layout`](crate::decode)). On an error nothing is appended, and the next packet may be tried.
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError>;
}

/// A packet that cannot be decoded: it is replaced by silence and counted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// Finds out what `parameters` and the first packet (implicit SBR shows only there) will decode to.
pub fn inspect(_parameters: &CodecParameters, _first_packet: &[u8]) -> Result<Format> {
    unimplemented!()
}

/// A new decoder for a track that [`inspect`] has seen.
pub fn decoder(_parameters: &CodecParameters, _format: &Format) -> Result<Box<dyn Decoder>> {
    unimplemented!()
}
