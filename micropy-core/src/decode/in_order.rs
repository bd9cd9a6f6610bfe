//! Tracks in which no decoder can be restarted: every packet depends on those before it.
//!
//! USAC does have independent packets (`usacIndependencyFlag`, ISO/IEC 23003-3). But a decoder started at one never
//! gives the same PCM as one run from the start: the noise that it fills in depends on everything before, and after
//! some of these packets the level is far off until the next.
//!
//! Nor can packets be split into spans where only decoding them tells how many PCM samples they hold, since what the
//! container says of their times contradicts it ([`Format::of_unknown_lengths`]).
//!
//! So one decoder decodes the packets once, in order, before they are split into spans, and the spans carry PCM.
//! Nothing is decoded twice, and memory does not grow with the track.
//!
//! A decoded packet is a byte that says whether it could be decoded, then its PCM, channel by channel, as little-endian
//! `f32`, or the reason as text.

use super::{DecodeError, Decoder, Format};
use crate::codec::CodecParameters;
use crate::error::Result;
use crate::pcm::Pcm;

const SOUND: u8 = 0;
const FAULT: u8 = 1;

/// The one decoder of such a track.
pub struct InOrder {
    decoder: Box<dyn Decoder>,
    pcm: Pcm,
    /// What its decoder was made from.
    track: Option<(CodecParameters, Format)>,
}

impl InOrder {
    /// Decodes with `decoder`, whose output has this many channels.
    pub fn new(decoder: Box<dyn Decoder>, channels: usize) -> Self {
        InOrder {
            decoder,
            pcm: Pcm::new(channels),
            track: None,
        }
    }

    /// A decoder of such a track, which can begin again.
    pub fn of(parameters: &CodecParameters, format: &Format) -> Result<Self> {
        let decoder = super::decoder(parameters, format)?;
        let mut in_order = InOrder::new(decoder, format.layout.channels());
        in_order.track = Some((parameters.clone(), format.clone()));
        Ok(in_order)
    }

    /// Begins again with the first packet.
    pub fn restart(&mut self) -> Result<()> {
        if let Some((parameters, format)) = &self.track {
            self.decoder = super::decoder(parameters, format)?;
        }
        Ok(())
    }

    /// Decodes the next packet, which is of this sample entry, and appends the result to `decoded`. Returns how many
    /// PCM samples per channel it gave; `None`: it could not be decoded.
    pub fn decode(&mut self, entry: u32, packet: &[u8], decoded: &mut Vec<u8>) -> Option<u64> {
        self.pcm.clear();
        self.decoder.follow(entry);
        match self.decoder.decode(packet, &mut self.pcm) {
            Ok(()) => {
                decoded.push(SOUND);
                let samples = self.pcm.planes().iter().flatten();
                decoded.extend(samples.flat_map(|sample| sample.to_le_bytes()));
                Some(self.pcm.len() as u64)
            }
            Err(DecodeError(why)) => {
                decoded.push(FAULT);
                decoded.extend(why.into_bytes());
                None
            }
        }
    }
}

/// Bytes of one PCM sample of all channels in a decoded packet.
pub fn bytes_per_sample(channels: usize) -> u64 {
    size_of::<f32>() as u64 * channels as u64
}

/// Reads what [`InOrder`] has decoded.
pub struct Decoded;

impl Decoder for Decoded {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let (samples, _) = match packet {
            [SOUND, samples @ ..] => samples.as_chunks(),
            [_, why @ ..] => return Err(DecodeError(String::from_utf8_lossy(why).into_owned())),
            [] => return Err(DecodeError("it was not decoded".into())),
        };
        let len = samples.len() / pcm.channels().max(1);
        for (plane, samples) in pcm.planes_mut().iter_mut().zip(samples.chunks(len.max(1))) {
            plane.extend(samples.iter().map(|&bytes| f32::from_le_bytes(bytes)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes the bytes of a packet as PCM of two channels; refuses an empty packet.
    struct Bytes;

    impl Decoder for Bytes {
        fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
            if packet.is_empty() {
                return Err(DecodeError("nothing in it".into()));
            }
            for (plane, sign) in pcm.planes_mut().iter_mut().zip([1.0, -0.5]) {
                plane.extend(packet.iter().map(|&byte| f32::from(byte) * sign));
            }
            Ok(())
        }
    }

    #[test]
    fn what_was_decoded_in_order_reads_back() {
        let mut in_order = InOrder::new(Box::new(Bytes), 2);
        for packet in [&[1, 2, 3][..], &[7], &[0; 2048]] {
            let (mut expected, mut pcm) = (Pcm::new(2), Pcm::new(2));
            Bytes.decode(packet, &mut expected).unwrap();
            let mut decoded = Vec::new();
            in_order.decode(1, packet, &mut decoded);
            Decoded.decode(&decoded, &mut pcm).unwrap();
            assert_eq!(pcm, expected);
            assert_eq!(
                decoded.len() as u64,
                1 + bytes_per_sample(2) * packet.len() as u64
            );
        }
    }

    #[test]
    fn a_packet_that_could_not_be_decoded_keeps_its_reason() {
        let mut decoded = Vec::new();
        InOrder::new(Box::new(Bytes), 2).decode(1, &[], &mut decoded);
        let mut pcm = Pcm::new(2);
        let error = Decoded.decode(&decoded, &mut pcm).unwrap_err();
        assert_eq!(error.to_string(), "nothing in it");
        assert!(pcm.is_empty());
    }
}
