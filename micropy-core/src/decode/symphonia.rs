//! Adapts the decoders of the Symphonia project to our trait.

use symphonia_core::audio::{Audio, AudioBuffer, Channels, GenericAudioBufferRef};
use symphonia_core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder};
use symphonia_core::packet::PacketRef;
use symphonia_core::units::{Duration, Timestamp};

use super::{DecodeError, Decoder, Format};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm};

/// A Symphonia decoder.
pub struct Symphonia(Box<dyn AudioDecoder>);

impl Symphonia {
    /// Wraps any of its decoders.
    pub fn new(
        decoder: symphonia_core::errors::Result<impl AudioDecoder + 'static>,
    ) -> Result<Self> {
        match decoder {
            Ok(decoder) => Ok(Symphonia(Box::new(decoder))),
            Err(e) => Err(Error::unsupported(e.to_string())),
        }
    }

    /// What a track decodes to, as the decoder read it from its configuration, for a codec whose packets are
    /// independent and may vary in length.
    pub fn format(&self, codec: Codec) -> Result<Format> {
        let parameters = self.0.codec_params();
        let layout = match &parameters.channels {
            Some(channels) if channels.count() <= 2 => Layout::usual(channels.count() as u16),
            Some(Channels::Positioned(positions)) => Layout::from_wave_mask(positions.bits()),
            Some(channels) => Layout::usual(channels.count() as u16),
            None => None,
        };
        match (parameters.sample_rate, layout) {
            (Some(sample_rate), Some(layout)) if sample_rate > 0 => Ok(Format {
                codec,
                sample_rate,
                layout,
                packet_len: None,
                roll: 0,
            }),
            _ => Err(Error::unsupported(
                "an audio configuration without rate or channels",
            )),
        }
    }
}

/// What Symphonia's decoders are made from.
pub fn parameters(codec: AudioCodecId, config: impl Into<Box<[u8]>>) -> AudioCodecParameters {
    let mut parameters = AudioCodecParameters::new();
    parameters.for_codec(codec).with_extra_data(config.into());
    parameters
}

impl Decoder for Symphonia {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, packet);
        let decoded = self
            .0
            .decode_ref(&packet)
            .map_err(|e| DecodeError(e.to_string()))?;
        if decoded.num_planes() != pcm.channels() {
            let (found, expected) = (decoded.num_planes(), pcm.channels());
            return Err(DecodeError(format!("{found} channels, not {expected}")));
        }
        match decoded {
            GenericAudioBufferRef::F32(buffer) => append(buffer, pcm, |s| s),
            // Integers are left-aligned in 32 bits: those of up to 24 bits stay exact.
            GenericAudioBufferRef::S32(buffer) => {
                append(buffer, pcm, |s| s as f32 / (1u32 << 31) as f32)
            }
            _ => return Err(DecodeError("an unexpected sample format".into())),
        }
        Ok(())
    }
}

fn append<S: symphonia_core::audio::sample::Sample>(
    from: &AudioBuffer<S>,
    to: &mut Pcm,
    convert: impl Fn(S) -> f32,
) {
    for (to, from) in to.planes_mut().iter_mut().zip(from.iter_planes()) {
        to.extend(from.iter().map(|&s| convert(s)));
    }
}
