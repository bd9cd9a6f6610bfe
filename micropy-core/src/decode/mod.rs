//! From packets to PCM: which decoder a track needs, and what it decodes to.

#[cfg(feature = "aac")]
mod aac;
#[cfg(feature = "aac")]
mod aac_config;
#[cfg(feature = "aac")]
mod aac_packet;
#[cfg(feature = "ac3")]
mod ac3;
#[cfg(feature = "adpcm")]
mod adpcm;
#[cfg(feature = "alac")]
mod alac;
#[cfg(any(feature = "aac", feature = "ac3", feature = "alac", feature = "mp3"))]
mod bits;
mod described;
#[cfg(feature = "fdk-aac")]
mod fdk;
#[cfg(all(feature = "aac", not(feature = "fdk-aac")))]
#[path = "fdk_absent.rs"]
mod fdk;
#[cfg(feature = "fdk-aac")]
mod fdk_config;
#[cfg(feature = "flac")]
mod flac;
mod frames;
mod in_order;
#[cfg(feature = "mp3")]
mod layer_2;
#[cfg(feature = "pcm")]
mod linear_pcm;
#[cfg(feature = "mp3")]
mod mpeg_audio;
#[cfg(feature = "opus")]
mod opus;
mod reconfigured;
#[cfg(all(feature = "aac", any(test, not(feature = "fdk-aac"))))]
mod sbr;
#[cfg(any(
    feature = "aac",
    feature = "alac",
    feature = "flac",
    feature = "mp3",
    feature = "vorbis"
))]
mod symphonia;
#[cfg(feature = "vorbis")]
mod vorbis;

#[cfg(test)]
mod tests;

pub use frames::Lengths;
pub use in_order::InOrder;

use described::Described;

use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm};

/// What a track decodes to, known before its first packet is decoded for the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The coding with its profile.
    pub codec: Codec,
    /// Hz of the PCM (SBR doubles the core's).
    pub sample_rate: u32,
    /// Channels of the PCM, in the order of the planes.
    pub layout: Layout,
    /// PCM samples per channel of every packet, if the codec fixes it (AAC: 1024, 960, 2048).
    pub packet_len: Option<u32>,
    /// Packets to decode and throw away after a restart until the output is that of a decoder that has run from the
    /// start (apart from noise substitution). [`ROLL_TO_THE_START`] if it never is.
    pub roll: u32,
}

/// The [`Format::roll`] of a codec whose packets all depend on those before them: they are decoded once, [in
/// order](Format::in_order), before they are split into spans.
pub const ROLL_TO_THE_START: u32 = u32::MAX;

impl Format {
    /// The decoder of the whole track before it is split into spans, if no decoder can be restarted in between.
    pub fn in_order(&self, parameters: &CodecParameters) -> Result<Option<InOrder>> {
        if self.roll != ROLL_TO_THE_START {
            return Ok(None);
        }
        Ok(Some(InOrder::of(parameters, self)?))
    }

    /// The same where what the container says of the packets' times is no more than about right: milliseconds of
    /// another container, or a recorder's clock. Each packet is then as long as what it decodes to.
    #[must_use]
    pub fn of_unknown_lengths(self) -> Format {
        Format {
            packet_len: None,
            roll: ROLL_TO_THE_START,
            ..self
        }
    }

    /// Whether only decoding tells how long packets are.
    pub fn has_unknown_lengths(&self) -> bool {
        self.packet_len.is_none() && self.roll == ROLL_TO_THE_START
    }

    /// Bytes that a span carries for each PCM sample of all channels, if its packets are decoded beforehand.
    pub fn carried(&self) -> Option<u64> {
        (self.roll == ROLL_TO_THE_START).then(|| in_order::bytes_per_sample(self.layout.channels()))
    }
}

/// A decoder of one track. Each span has a new one: no decoder state crosses a seam.
pub trait Decoder: Send {
    /// Decodes one packet and appends its PCM to `pcm`, in the channels of [`Format::layout`]. On an error nothing is
    /// appended, or a fade-out into the silence that replaces the packet. The next packet may be tried.
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError>;

    /// The packets to come are of this sample entry. Only a track of several needs to be told.
    fn follow(&mut self, _entry: u32) {}
}

/// A packet that cannot be decoded: it is replaced by silence and counted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// How many of a track's first packets [`inspect`] looks at.
pub const INSPECTED_PACKETS: usize = 8;

/// Finds out what a track decodes to, from `parameters` and its first packets (up to [`INSPECTED_PACKETS`]): only they
/// show implicit SBR.
pub fn inspect(parameters: &CodecParameters, first_packets: &[impl AsRef<[u8]>]) -> Result<Format> {
    let packets = first_packets.iter().take(INSPECTED_PACKETS);
    let packets: Vec<&[u8]> = packets.map(AsRef::as_ref).collect();
    let format = (family(&parameters.codec)?.inspect)(parameters, &packets)?;
    Ok(match parameters.others[..] {
        [] => format,
        [_, ..] => format.of_unknown_lengths(),
    })
}

/// Whether the track can be decoded, as far as `parameters` tell: [`inspect`] may still find otherwise.
pub fn check(parameters: &CodecParameters) -> Result<()> {
    (family(&parameters.codec)?.check)(parameters)
}

/// A new decoder for a track that [`inspect`] has seen.
pub fn decoder(parameters: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    let decoder = (family(&parameters.codec)?.decoder)(parameters, format)?;
    Ok(match parameters.others[..] {
        [] => decoder,
        [_, ..] => Box::new(Described::new(decoder, parameters, format)),
    })
}

/// A new decoder for what the spans of such a track carry: its packets, or what [`Format::in_order`] made of them.
pub fn span_decoder(parameters: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    match format.roll {
        ROLL_TO_THE_START => Ok(Box::new(in_order::Decoded)),
        _ => decoder(parameters, format),
    }
}

/// How long the packets of such a track are, where that is not the same for all of them and they tell.
pub fn lengths(parameters: &CodecParameters, format: &Format) -> Option<Lengths> {
    let lengths = family(&parameters.codec).ok()?.lengths?;
    if format.roll == ROLL_TO_THE_START {
        return None;
    }
    // Those of uncompressed audio have no usual length.
    let is_usual = |usual: u32, lengths: &Lengths| usual.is_multiple_of(lengths.step.max(1));
    match format.packet_len {
        Some(usual) => lengths(parameters, format).filter(|lengths| is_usual(usual, lengths)),
        None => instant(&parameters.codec, format).and_then(|_| lengths(parameters, format)),
    }
}

/// Bytes of one instant of uncompressed audio: of one PCM sample of each channel.
pub fn instant(codec: &Codec, format: &Format) -> Option<u32> {
    match codec {
        Codec::Pcm(pcm) => Some(u32::from(pcm.width) * format.layout.channels() as u32),
        _ => None,
    }
}

/// PCM samples at the start that the codec itself says are no sound.
pub fn pre_skip(parameters: &CodecParameters) -> u64 {
    match parameters.codec {
        #[cfg(feature = "opus")]
        Codec::Opus => opus::pre_skip(parameters),
        _ => 0,
    }
}

/// The modules of this folder, by the codecs that they decode.
struct Family {
    serves: fn(&Codec) -> bool,
    check: fn(&CodecParameters) -> Result<()>,
    inspect: fn(&CodecParameters, &[&[u8]]) -> Result<Format>,
    decoder: fn(&CodecParameters, &Format) -> Result<Box<dyn Decoder>>,
    /// Where packets can be of several lengths, and tell.
    lengths: Option<fn(&CodecParameters, &Format) -> Option<Lengths>>,
}

const FAMILIES: &[Family] = &[
    #[cfg(feature = "aac")]
    Family {
        serves: |codec| matches!(codec, Codec::Aac(_)),
        check: aac::check,
        inspect: aac::inspect,
        decoder: aac::decoder,
        lengths: Some(aac::lengths),
    },
    #[cfg(feature = "ac3")]
    Family {
        serves: |codec| matches!(codec, Codec::Ac3 | Codec::Eac3),
        check: |_| Ok(()),
        inspect: ac3::inspect,
        decoder: ac3::decoder,
        lengths: Some(ac3::lengths),
    },
    #[cfg(feature = "adpcm")]
    Family {
        serves: |codec| matches!(codec, Codec::Adpcm(_)),
        check: |parameters| adpcm::inspect(parameters, &[]).map(drop),
        inspect: adpcm::inspect,
        decoder: adpcm::decoder,
        lengths: None,
    },
    #[cfg(feature = "alac")]
    Family {
        serves: |codec| matches!(codec, Codec::Alac),
        check: |parameters| alac::inspect(parameters, &[]).map(drop),
        inspect: alac::inspect,
        decoder: alac::decoder,
        lengths: Some(alac::lengths),
    },
    #[cfg(feature = "flac")]
    Family {
        serves: |codec| matches!(codec, Codec::Flac),
        check: |parameters| flac::inspect(parameters, &[]).map(drop),
        inspect: flac::inspect,
        decoder: flac::decoder,
        lengths: Some(flac::lengths),
    },
    #[cfg(feature = "mp3")]
    Family {
        serves: |codec| matches!(codec, Codec::Mp3),
        check: |_| Ok(()),
        inspect: mpeg_audio::inspect,
        decoder: mpeg_audio::decoder,
        lengths: Some(mpeg_audio::lengths),
    },
    #[cfg(feature = "opus")]
    Family {
        serves: |codec| matches!(codec, Codec::Opus),
        check: |parameters| opus::inspect(parameters, &[]).map(drop),
        inspect: opus::inspect,
        decoder: opus::decoder,
        lengths: Some(opus::lengths),
    },
    #[cfg(feature = "pcm")]
    Family {
        serves: |codec| matches!(codec, Codec::Pcm(_)),
        check: |parameters| linear_pcm::inspect(parameters, &[]).map(drop),
        inspect: linear_pcm::inspect,
        decoder: linear_pcm::decoder,
        lengths: Some(linear_pcm::lengths),
    },
    #[cfg(feature = "vorbis")]
    Family {
        serves: |codec| matches!(codec, Codec::Vorbis),
        check: |parameters| vorbis::inspect(parameters, &[]).map(drop),
        inspect: vorbis::inspect,
        decoder: vorbis::decoder,
        lengths: None,
    },
];

fn family(codec: &Codec) -> Result<&'static Family> {
    let family = FAMILIES.iter().find(|family| (family.serves)(codec));
    family.ok_or_else(|| no_decoder(codec))
}

/// The error of a codec without a decoder.
fn no_decoder(codec: &Codec) -> Error {
    Error::unsupported(match feature(codec) {
        Some(feature) => format!("{codec} audio: this build lacks the feature `{feature}`"),
        None => format!("{codec} audio"),
    })
}

/// The feature of this crate for the decoder.
fn feature(codec: &Codec) -> Option<&'static str> {
    Some(match codec {
        Codec::Aac(_) => "aac",
        Codec::Mp1 | Codec::Mp2 | Codec::Mp3 => "mp3",
        Codec::Alac => "alac",
        Codec::Flac => "flac",
        Codec::Opus => "opus",
        Codec::Ac3 | Codec::Eac3 => "ac3",
        Codec::Vorbis => "vorbis",
        Codec::Adpcm(_) => "adpcm",
        Codec::Pcm(_) => "pcm",
        Codec::Other(_) => return None,
    })
}
