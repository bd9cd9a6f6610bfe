//! AAC: chooses the decoder for each kind.

use symphonia_codec_aac::AacDecoder;
use symphonia_core::codecs::audio::well_known::CODEC_ID_AAC;

use super::aac_config::{AacConfig, Extension, object_type};
use super::aac_packet::{self, Beginning, ChannelElement};
use super::symphonia::{Symphonia, parameters};
use super::{DecodeError, Decoder, Format, fdk, frames};
use crate::codec::{AacProfile, Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm};

/// What the track decodes to.
pub fn inspect(track: &CodecParameters, first_packets: &[&[u8]]) -> Result<Format> {
    let declared = configuration(track)?;
    let packets: Vec<Vec<&[u8]>> = match has_raw_data_blocks(&declared) {
        true => first_packets
            .iter()
            .map(|packet| aac_packet::raw_data_blocks(packet).flatten().collect())
            .filter(|blocks: &Vec<&[u8]>| !blocks.is_empty())
            .collect(),
        false => first_packets.iter().map(|packet| vec![*packet]).collect(),
    };
    let blocks = packets.concat();
    let aac = declared.with_channels_of(&blocks);
    let of_block = match aac.layout {
        Some(layout)
            if is_plain(&aac)
                && !(aac.sbr == Extension::Unsaid && fdk::finds_sbr(&aac, &blocks)) =>
        {
            Format {
                codec: Codec::Aac(aac.profile(false, false)),
                sample_rate: aac.core_rate,
                layout,
                packet_len: Some(aac.frame_len),
                roll: 1,
            }
        }
        _ => fdk::inspect(track, &aac, &blocks)?,
    };
    let block_len = of_block.packet_len.unwrap_or(aac.frame_len);
    let lens: Vec<u32> = packets
        .iter()
        .map(|blocks| block_len * blocks.len() as u32)
        .collect();
    Ok(Format {
        packet_len: frames::packet_len(&lens),
        ..of_block
    })
}

/// Whether there is a decoder for its profile, without a look at its packets.
pub fn check(track: &CodecParameters) -> Result<()> {
    let aac = configuration(track)?;
    match is_plain(&aac) {
        true => Ok(()),
        false => fdk::check(track, &aac),
    }
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    let aac = configuration(track)?.with_channels_of_format(format);
    if !has_raw_data_blocks(&aac) {
        return fdk::decoder(track, &aac, format);
    }
    // SBR doubles the rate and the length together.
    let block_len =
        u64::from(aac.frame_len) * u64::from(format.sample_rate) / u64::from(aac.core_rate.max(1));
    let block_len = u32::try_from(block_len).unwrap_or(aac.frame_len);
    let is_plain =
        is_plain(&aac) && format.sample_rate == aac.core_rate && Some(format.layout) == aac.layout;
    Ok(Box::new(Blocks {
        decoder: match is_plain {
            true => Box::new(Plain::new(aac)?),
            false => {
                let of_block = Format {
                    packet_len: Some(block_len),
                    ..format.clone()
                };
                fdk::decoder(track, &aac, &of_block)?
            }
        },
        block_len: block_len as usize,
    }))
}

/// The track's AudioSpecificConfig, or what its sample entry lets us guess, of a kind that some decoder knows.
fn configuration(track: &CodecParameters) -> Result<AacConfig> {
    let aac = if track.config.is_empty() {
        AacConfig::guessed(track.sample_rate, track.channels).ok_or_else(|| {
            Error::malformed(
                track.at,
                "esds",
                "it has no AudioSpecificConfig, and the sample entry does not tell the channels",
            )
        })?
    } else {
        AacConfig::parse(&track.config)
            .map_err(|why| Error::malformed(track.at, "AudioSpecificConfig", why))?
    };
    match aac.object_type {
        object_type::MAIN
        | object_type::SSR
        | object_type::LTP
        | object_type::SCALABLE
        | object_type::TWIN_VQ
        | object_type::ER_LTP
        | object_type::ER_BSAC => Err(Error::unsupported(format!(
            "{} audio",
            Codec::Aac(aac.profile(false, false))
        ))),
        _ => Ok(aac),
    }
}

/// Whether packets are made of elements with an `id_syn_ele`: those of error-resilient coders and USAC are not.
fn has_raw_data_blocks(aac: &AacConfig) -> bool {
    aac.object_type == object_type::LC
}

/// Whether Symphonia decodes it, which is the faster decoder.
fn is_plain(aac: &AacConfig) -> bool {
    aac.object_type == object_type::LC
        && aac.frame_len == 1024
        && aac.channel_configuration != 0
        && !matches!(aac.sbr, Extension::Present(_))
        && aac.layout.is_some_and(|l| l.channels() <= 2)
}

/// Symphonia's decoder of the core coder, for one channel or two.
pub fn plain_decoder(aac: &AacConfig) -> Result<Symphonia> {
    let parameters = parameters(CODEC_ID_AAC, aac.plain());
    Symphonia::new(AacDecoder::try_new(&parameters, &Default::default()))
}

impl AacConfig {
    /// The same with as many channels as the packets have, where they contradict it: some writers say mono of stereo.
    fn with_channels_of(self, blocks: &[&[u8]]) -> AacConfig {
        if !has_raw_data_blocks(&self) {
            return self;
        }
        let are_mostly = |element: ChannelElement| {
            let begin = |block: &&&[u8]| {
                aac_packet::beginning(block).is_ok_and(|beginning| beginning.first == element)
            };
            2 * blocks.iter().filter(begin).count() > blocks.len()
        };
        match self.channel_configuration {
            1 if are_mostly(ChannelElement::Pair) => self.with_channels(2),
            // Two channels may also be two single elements, which are too many for mono.
            2 if are_mostly(ChannelElement::Single) => {
                let mono = self.with_channels(1);
                let decoded = plain_decoder(&mono).is_ok_and(|mut decoder| {
                    let decodes = |block: &&&[u8]| decoder.decode(block, &mut Pcm::new(1)).is_ok();
                    2 * blocks.iter().filter(decodes).count() > blocks.len()
                });
                if decoded { mono } else { self }
            }
            _ => self,
        }
    }

    /// What [`Self::with_channels_of`] made of it, as the format shows.
    fn with_channels_of_format(self, format: &Format) -> AacConfig {
        let is_ps = format.codec == Codec::Aac(AacProfile::HeV2);
        match self.channel_configuration {
            _ if !has_raw_data_blocks(&self) => self,
            1 if format.layout == Layout::STEREO && !is_ps => self.with_channels(2),
            2 if format.layout == Layout::MONO || is_ps => self.with_channels(1),
            _ => self,
        }
    }
}

/// A decoder of raw_data_blocks: headers come off, and a block without sound is damaged.
struct Blocks {
    decoder: Box<dyn Decoder>,
    /// PCM samples of a block.
    block_len: usize,
}

impl Decoder for Blocks {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let blocks = aac_packet::raw_data_blocks(packet);
        frames::decode(blocks, self.block_len, pcm, |block, pcm| {
            aac_packet::beginning(block)?;
            self.decoder.decode(block, pcm)
        })
    }
}

/// AAC-LC of one channel or two by Symphonia. What single packets ask beyond that, other decoders give.
struct Plain {
    aac: AacConfig,
    usual: Symphonia,
    /// For packets of the other number of channels: a stream may change in the middle.
    other: Option<Symphonia>,
    /// For packets with a program_config_element or coupling channels, which Symphonia does not know.
    coupled: Option<Box<dyn Decoder>>,
}

impl Plain {
    fn new(aac: AacConfig) -> Result<Self> {
        Ok(Plain {
            usual: plain_decoder(&aac)?,
            aac,
            other: None,
            coupled: None,
        })
    }

    fn decode_other(
        &mut self,
        channels: u32,
        block: &[u8],
        pcm: &mut Pcm,
    ) -> Result<(), DecodeError> {
        let decoder = match &mut self.other {
            Some(decoder) => decoder,
            none => none.insert(
                plain_decoder(&self.aac.with_channels(channels))
                    .map_err(|e| DecodeError(e.to_string()))?,
            ),
        };
        let mut decoded = Pcm::new(channels as usize);
        decoder.decode(block, &mut decoded)?;
        match (decoded.planes(), pcm.planes_mut()) {
            ([left, right], [mono]) => {
                mono.extend(left.iter().zip(right).map(|(l, r)| (l + r) / 2.0));
            }
            ([mono], planes) => planes.iter_mut().for_each(|plane| plane.extend(mono)),
            _ => return Err(DecodeError(format!("{channels} channels"))),
        }
        Ok(())
    }

    fn decode_coupled(&mut self, block: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let decoder = match &mut self.coupled {
            Some(decoder) => decoder,
            none => {
                none.insert(fdk::core_decoder(&self.aac).map_err(|e| DecodeError(e.to_string()))?)
            }
        };
        decoder.decode(block, pcm)
    }
}

impl Decoder for Plain {
    fn decode(&mut self, block: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        match (aac_packet::beginning(block)?, pcm.channels()) {
            (
                Beginning {
                    program_config: true,
                    ..
                },
                _,
            )
            | (
                Beginning {
                    first: ChannelElement::Coupling,
                    ..
                },
                _,
            ) => self.decode_coupled(block, pcm),
            (
                Beginning {
                    first: ChannelElement::Pair,
                    ..
                },
                1,
            ) => self.decode_other(2, block, pcm),
            // Two single elements are two channels as well.
            (
                Beginning {
                    first: ChannelElement::Single,
                    ..
                },
                2,
            ) => self
                .decode_other(1, block, pcm)
                .or_else(|_| self.usual.decode(block, pcm)),
            _ => self.usual.decode(block, pcm),
        }
    }
}
