//! The decoders of the Symphonia project.

use symphonia_core::audio::{Audio, GenericAudioBufferRef};
use symphonia_core::codecs::audio::{AudioCodecParameters, AudioDecoder};
use symphonia_core::packet::PacketRef;
use symphonia_core::units::{Duration, Timestamp};

use super::{DecodeError, Decoder};
use crate::error::{Error, Result};
use crate::pcm::Pcm;

/// A Symphonia decoder behind our trait.
pub struct Symphonia {
    inner: Box<dyn AudioDecoder>,
    /// Where 32-bit integers become floats.
    converted: Vec<Vec<f32>>,
}

impl Symphonia {
    /// AAC-LC of one or two channels; the AudioSpecificConfig is written anew, without the extensions
    /// that the crate does not read.
    pub fn aac_lc(core_rate: u32, channels: usize) -> Result<Self> {
        use symphonia_core::codecs::audio::well_known::CODEC_ID_AAC;
        let mut parameters = AudioCodecParameters::new();
        parameters
            .for_codec(CODEC_ID_AAC)
            .with_extra_data(aac_lc_config(core_rate, channels));
        let inner = symphonia_codec_aac::AacDecoder::try_new(&parameters, &Default::default())
            .map_err(|e| Error::unsupported(e.to_string()))?;
        Ok(Symphonia {
            inner: Box::new(inner),
            converted: Vec::new(),
        })
    }
}

/// An AudioSpecificConfig with an explicit frequency: object type 2, index 15, 24 bits of Hz, channels,
/// three flags of zero.
fn aac_lc_config(core_rate: u32, channels: usize) -> Box<[u8]> {
    let bits = 2u64 << 35 | 15 << 31 | u64::from(core_rate) << 7 | (channels as u64) << 3;
    bits.to_be_bytes()[3..].into()
}

impl Decoder for Symphonia {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, packet);
        let decoded = self
            .inner
            .decode_ref(&packet)
            .map_err(|e| DecodeError(e.to_string()))?;
        if decoded.num_planes() != pcm.channels() {
            return Err(DecodeError(format!(
                "{} channels instead of {}",
                decoded.num_planes(),
                pcm.channels()
            )));
        }
        match decoded {
            GenericAudioBufferRef::F32(buffer) => {
                for (to, from) in pcm.planes_mut().iter_mut().zip(buffer.iter_planes()) {
                    to.extend_from_slice(from);
                }
            }
            other => {
                other.copy_to_vecs_planar(&mut self.converted);
                for (to, from) in pcm.planes_mut().iter_mut().zip(&self.converted) {
                    to.extend_from_slice(from);
                }
            }
        }
        Ok(())
    }
}
