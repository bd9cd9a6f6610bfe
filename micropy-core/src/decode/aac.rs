//! AAC: chooses the decoder for each kind.

use symphonia_codec_aac::AacDecoder;
use symphonia_core::codecs::audio::well_known::CODEC_ID_AAC;

use super::aac_config::{AacConfig, Extension, object_type};
use super::aac_packet::{self, Beginning, ChannelElement};
use super::frames::{self, Lengths};
use super::symphonia::{Symphonia, parameters};
use super::{DecodeError, Decoder, Format, fdk, reconfigured};
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

/// How long its packets are, where they can hold several blocks.
pub fn lengths(track: &CodecParameters, format: &Format) -> Option<Lengths> {
    let aac = configuration(track).ok().filter(has_raw_data_blocks)?;
    let tell = |packet: &[u8], block_len| {
        let blocks = aac_packet::raw_data_blocks(packet).flatten().count();
        u32::try_from(blocks).ok()?.checked_mul(block_len)
    };
    Some(Lengths::of_frames(tell, block_len(&aac, format)))
}

/// PCM samples of a block. SBR doubles the rate and the length together.
fn block_len(aac: &AacConfig, format: &Format) -> u32 {
    let block_len =
        u64::from(aac.frame_len) * u64::from(format.sample_rate) / u64::from(aac.core_rate.max(1));
    u32::try_from(block_len).unwrap_or(aac.frame_len)
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    let aac = configuration(track)?.with_channels_of_format(format);
    if !has_raw_data_blocks(&aac) {
        return fdk::decoder(track, &aac, format);
    }
    let block_len = block_len(&aac, format);
    let is_plain =
        is_plain(&aac) && format.sample_rate == aac.core_rate && Some(format.layout) == aac.layout;
    let of_block = Format {
        packet_len: Some(block_len),
        ..format.clone()
    };
    Ok(Box::new(Blocks {
        decoder: Changing::new(track, aac, of_block, is_plain)?,
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
    /// The same with as many channels as the packets have, where they contradict it: some writers say mono of stereo,
    /// and what joins recordings keeps the configuration of the first.
    fn with_channels_of(self, blocks: &[&[u8]]) -> AacConfig {
        if !has_raw_data_blocks(&self) || self.channel_configuration == 0 {
            return self;
        }
        let are_mostly = |element: ChannelElement| {
            let begin = |block: &&&[u8]| {
                aac_packet::beginning(block).is_ok_and(|beginning| beginning.first == element)
            };
            2 * blocks.iter().filter(begin).count() > blocks.len()
        };
        // A pair comes first in stereo alone.
        if are_mostly(ChannelElement::Pair) {
            return self.or_with_channels(2);
        }
        if !are_mostly(ChannelElement::Single) {
            return self;
        }
        let fits = |aac: &AacConfig| match aac.channel_configuration {
            1 => plain_decoder(aac).is_ok_and(|mut decoder| {
                // Of a damaged packet, Symphonia's decoder would keep a pair.
                let single = |block: &&[u8]| {
                    let beginning = aac_packet::beginning(block);
                    beginning.is_ok_and(|beginning| beginning.first == ChannelElement::Single)
                };
                let decodes = |block: &&&[u8]| {
                    single(block) && decoder.decode(block, &mut Pcm::new(1)).is_ok()
                };
                2 * blocks.iter().filter(decodes).count() > blocks.len()
            }),
            // Two channels may also be two single elements.
            2 => false,
            _ => fdk::has_channels_of(aac, blocks),
        };
        let mut others = BEGIN_WITH_A_SINGLE.map(|channels| self.with_channels(channels));
        match fits(&self) {
            true => self,
            false => match others.iter_mut().find(|other| fits(other)) {
                Some(other) => other.clone(),
                None => self,
            },
        }
    }

    /// What [`Self::with_channels_of`] made of it, as the format shows.
    fn with_channels_of_format(self, format: &Format) -> AacConfig {
        if !has_raw_data_blocks(&self) || self.channel_configuration == 0 {
            return self;
        }
        if format.codec == Codec::Aac(AacProfile::HeV2) {
            return self.or_with_channels(1);
        }
        let mut others = [2].into_iter().chain(BEGIN_WITH_A_SINGLE);
        match self.layout == Some(format.layout) {
            true => self,
            false => match others.find_map(|channels| {
                let other = self.with_channels(channels);
                (other.layout == Some(format.layout)).then_some(other)
            }) {
                Some(other) => other,
                None => self,
            },
        }
    }

    /// With these channels, unless they are its own.
    fn or_with_channels(self, channels: u32) -> AacConfig {
        match self.channel_configuration == channels {
            true => self,
            false => self.with_channels(channels),
        }
    }
}

/// The channel configurations whose packets begin with a single_channel_element, the usual ones first.
const BEGIN_WITH_A_SINGLE: [u32; 6] = [1, 6, 3, 5, 4, 7];

/// A decoder of raw_data_blocks: headers come off, and a block without sound is damaged.
struct Blocks {
    decoder: Changing,
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

/// The usual decoder of a track, Symphonia's for AAC-LC of one channel or two. What single packets ask beyond that,
/// others give.
struct Changing {
    track: CodecParameters,
    aac: AacConfig,
    format: Format,
    usual: Box<dyn Decoder>,
    /// It is Symphonia's.
    is_plain: bool,
    /// What the packets begin with that it was given. Symphonia's decoder keeps the elements of its first packet, even
    /// of one that it refuses, and refuses all others.
    given: Option<ChannelElement>,
    /// For packets of other channels: a stream may change in the middle.
    others: Vec<Other>,
    /// For packets with a program_config_element or coupling channels, which Symphonia does not know.
    coupled: Option<Box<dyn Decoder>>,
    /// What one of the others has decoded.
    decoded: Pcm,
}

/// A decoder of another channel configuration.
struct Other {
    channel_configuration: u32,
    layout: Layout,
    decoder: Box<dyn Decoder>,
}

impl Changing {
    fn new(
        track: &CodecParameters,
        aac: AacConfig,
        format: Format,
        is_plain: bool,
    ) -> Result<Self> {
        Ok(Changing {
            usual: match is_plain {
                true => Box::new(plain_decoder(&aac)?),
                false => fdk::decoder(track, &aac, &format)?,
            },
            track: track.clone(),
            aac,
            format,
            is_plain,
            given: None,
            others: Vec::new(),
            coupled: None,
            decoded: Pcm::default(),
        })
    }

    fn other(&self, channel_configuration: u32) -> Result<Other> {
        let aac = self.aac.with_channels(channel_configuration);
        let layout = aac.layout.unwrap_or(Layout::STEREO);
        let has_sbr = self.format.sample_rate != aac.core_rate;
        let decoder: Box<dyn Decoder> = match channel_configuration {
            _ if has_sbr => {
                let format = Format {
                    layout,
                    ..self.format.clone()
                };
                fdk::decoder(&self.track, &aac, &format)?
            }
            1 | 2 if is_plain(&aac) => Box::new(plain_decoder(&aac)?),
            _ => fdk::core_decoder(&aac)?,
        };
        // Every packet of many channels is tried as one channel first, and damage may leave so much of it.
        let channels = self.format.layout.channels();
        let decoder = match layout.channels() < channels && channels > 2 {
            true => fdk::whole_packets(&aac, decoder),
            false => decoder,
        };
        Ok(Other {
            channel_configuration,
            layout,
            decoder,
        })
    }

    /// Decodes a packet of another channel configuration into the track's channels.
    fn decode_other(
        &mut self,
        channel_configuration: u32,
        block: &[u8],
        pcm: &mut Pcm,
    ) -> Result<(), DecodeError> {
        let mut others = self.others.iter();
        let known = others.position(|o| o.channel_configuration == channel_configuration);
        let index = match known {
            Some(index) => index,
            None => {
                let other = self.other(channel_configuration);
                self.others
                    .push(other.map_err(|e| DecodeError(e.to_string()))?);
                self.others.len() - 1
            }
        };
        let other = &mut self.others[index];
        self.decoded.reset(other.layout.channels());
        other.decoder.decode(block, &mut self.decoded)?;
        reconfigured::place(&self.decoded, other.layout, pcm, self.format.layout);
        Ok(())
    }

    /// Decodes a packet that begins with `first` as one of the track's own channel configuration.
    fn decode_usual(
        &mut self,
        first: ChannelElement,
        block: &[u8],
        pcm: &mut Pcm,
    ) -> Result<(), DecodeError> {
        if self.is_plain && self.given.is_some_and(|given| given != first) {
            self.renew()?;
        }
        self.given = Some(first);
        let decoded = self.usual.decode(block, pcm);
        // What followed the first element may have been another than in the packets to come.
        if self.is_plain && first == ChannelElement::Single && decoded.is_err() {
            self.renew()?;
        }
        decoded
    }

    /// Replaces Symphonia's decoder by a new one.
    fn renew(&mut self) -> Result<(), DecodeError> {
        let new = plain_decoder(&self.aac).map_err(|e| DecodeError(e.to_string()))?;
        self.usual = Box::new(new);
        self.given = None;
        Ok(())
    }

    /// The first of these channel configurations that a packet, which begins with `first`, can be decoded as; 0: the
    /// track's own. Without any, the first error.
    fn decode_as(
        &mut self,
        configurations: &[u32],
        first: ChannelElement,
        block: &[u8],
        pcm: &mut Pcm,
    ) -> Result<(), DecodeError> {
        let start = pcm.len();
        let mut why_not = None;
        let own = self.aac.channel_configuration;
        for &configuration in configurations
            .iter()
            .filter(|&&other| other == 0 || other != own)
        {
            let decoded = match configuration {
                0 => self.decode_usual(first, block, pcm),
                other => self.decode_other(other, block, pcm),
            };
            match decoded {
                Ok(()) => return Ok(()),
                Err(why) => {
                    pcm.resize(start);
                    why_not.get_or_insert(why);
                }
            }
        }
        why_not.map_or(Ok(()), Err)
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

impl Decoder for Changing {
    fn decode(&mut self, block: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let Beginning {
            first,
            program_config,
        } = aac_packet::beginning(block)?;
        // By a program_config_element, any element may come first.
        let described = self.aac.channel_configuration == 0;
        let channels = self.aac.layout.map_or(0, Layout::channels);
        let configurations: &[u32] = match first {
            _ if self.is_plain && (program_config || first == ChannelElement::Coupling) => {
                return self.decode_coupled(block, pcm);
            }
            ChannelElement::Coupling => &[0],
            ChannelElement::Pair if channels == 2 => &[0],
            ChannelElement::Pair if described => &[0, 2],
            ChannelElement::Pair => &[2],
            // Two single elements are two channels as well, and Symphonia's decoder would take one for both.
            ChannelElement::Single if channels == 2 => &[1, 0, 3, 4, 5, 6, 7],
            ChannelElement::Single => &[0, 1, 3, 4, 5, 6, 7],
        };
        self.decode_as(configurations, first, block, pcm)
    }
}
