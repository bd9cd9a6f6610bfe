//! FLAC.

use symphonia_bundle_flac::FlacDecoder;
use symphonia_core::codecs::audio::well_known::CODEC_ID_FLAC;

use super::symphonia::{Symphonia, parameters};
use super::{Decoder, Format};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};

/// Length of the STREAMINFO metadata block and of the header before it.
const STREAMINFO_LEN: usize = 34;
const BLOCK_HEADER_LEN: usize = 4;

/// What the track decodes to. Packets may vary in length.
pub fn inspect(track: &CodecParameters, _first_packets: &[&[u8]]) -> Result<Format> {
    open(track)?.format(Codec::Flac)
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, _format: &Format) -> Result<Box<dyn Decoder>> {
    Ok(Box::new(open(track)?))
}

fn open(track: &CodecParameters) -> Result<Symphonia> {
    let stream_info = stream_info(&track.config)
        .ok_or_else(|| Error::malformed(track.at, "dfLa", "it does not begin with STREAMINFO"))?;
    let parameters = parameters(CODEC_ID_FLAC, stream_info);
    Symphonia::new(FlacDecoder::try_new(&parameters, &Default::default()))
}

/// The first metadata block, which must be STREAMINFO (type 0; the top bit marks the last block).
fn stream_info(blocks: &[u8]) -> Option<&[u8]> {
    let is_stream_info = blocks.first()? & 0x7f == 0;
    let block = blocks.get(BLOCK_HEADER_LEN..BLOCK_HEADER_LEN + STREAMINFO_LEN)?;
    is_stream_info.then_some(block)
}
