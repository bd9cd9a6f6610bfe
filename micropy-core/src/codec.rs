//! How audio is coded: what `mp4` hands to `decode`, and what [`probe`](crate::probe()) and
//! [`Report`](crate::Report) show the caller.

use std::fmt;

use crate::error::Error;
use crate::pcm::Speaker;

/// How the audio of a track is coded.
///
/// It displays as people name it: `AAC-LC`, `HE-AAC v2`, `MP3`, `PCM 16 bit`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// MPEG-4 AAC (`mp4a`, object type indication 0x40, 0x66–0x68).
    Aac(AacProfile),
    /// MPEG-1/2 layer I.
    Mp1,
    /// MPEG-1/2 layer II.
    Mp2,
    /// MPEG-1/2 layer III (`mp4a` with 0x69 or 0x6B, `.mp3`). Only the packets tell layers I and II from it.
    Mp3,
    /// Apple Lossless (`alac`).
    Alac,
    /// FLAC (`fLaC`).
    Flac,
    /// Opus (`Opus`).
    Opus,
    /// Dolby AC-3 (`ac-3`).
    Ac3,
    /// Dolby Digital Plus (`ec-3`).
    Eac3,
    /// Vorbis (`mp4a` with 0xDD, `msVo`).
    Vorbis,
    /// Adaptive differential PCM (`ima4`, `ms\0\x11`, `ms\0\x02`).
    Adpcm(Adpcm),
    /// Linear or companded PCM.
    Pcm(PcmFormat),
    /// Anything else, by its name in the standards or its four-character code.
    Other(String),
}

/// Which kind of AAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AacProfile {
    /// Not known: the track cannot be decoded.
    Unknown,
    /// AAC Main.
    Main,
    /// Low complexity, the usual one.
    Lc,
    /// Scalable sampling rate.
    Ssr,
    /// Long-term prediction.
    Ltp,
    /// Low delay (AAC-LD).
    Ld,
    /// Enhanced low delay (AAC-ELD).
    Eld,
    /// HE-AAC: low complexity with spectral band replication.
    He,
    /// HE-AAC v2: HE-AAC with parametric stereo.
    HeV2,
    /// xHE-AAC (USAC).
    Xhe,
    /// Another audio object type (ISO/IEC 14496-3, table 1.17).
    ObjectType(u32),
}

/// Which kind of ADPCM: four bits for each PCM sample, the step between whose levels follows the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Adpcm {
    /// The IMA's, in QuickTime's packets of 64 PCM samples.
    ImaQuickTime,
    /// The IMA's, in the blocks of WAVE files (format 0x11).
    ImaWave,
    /// Microsoft's (WAVE format 2).
    Microsoft,
}

/// How one PCM sample of an uncompressed track is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PcmFormat {
    /// Bits per PCM sample: 8, 16, 24, 32 or 64.
    pub bits: u8,
    /// IEEE floating point rather than integer.
    pub float: bool,
    /// Big-endian bytes.
    pub big_endian: bool,
    /// Two's complement rather than offset binary.
    pub signed: bool,
    /// Bytes of one PCM sample: more than its bits need where it lies in a larger container.
    pub width: u8,
    /// In a larger container, the bits are the high ones.
    pub high: bool,
    /// Logarithmic rather than linear (8 bit).
    pub companding: Option<Companding>,
}

/// The law of ITU-T G.711 that packs 13 or 14 bits into eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Companding {
    /// A-law, of Europe.
    ALaw,
    /// µ-law, of North America and Japan.
    MuLaw,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::Aac(profile) => return profile.fmt(f),
            Codec::Mp1 => "MP1",
            Codec::Mp2 => "MP2",
            Codec::Mp3 => "MP3",
            Codec::Alac => "ALAC",
            Codec::Flac => "FLAC",
            Codec::Opus => "Opus",
            Codec::Ac3 => "AC-3",
            Codec::Eac3 => "E-AC-3",
            Codec::Vorbis => "Vorbis",
            Codec::Adpcm(Adpcm::ImaQuickTime | Adpcm::ImaWave) => "IMA ADPCM",
            Codec::Adpcm(Adpcm::Microsoft) => "Microsoft ADPCM",
            Codec::Pcm(format) => return format.fmt(f),
            Codec::Other(name) => name,
        })
    }
}

impl fmt::Display for AacProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AacProfile::Unknown => "AAC",
            AacProfile::Main => "AAC Main",
            AacProfile::Lc => "AAC-LC",
            AacProfile::Ssr => "AAC-SSR",
            AacProfile::Ltp => "AAC-LTP",
            AacProfile::Ld => "AAC-LD",
            AacProfile::Eld => "AAC-ELD",
            AacProfile::He => "HE-AAC",
            AacProfile::HeV2 => "HE-AAC v2",
            AacProfile::Xhe => "xHE-AAC",
            AacProfile::ObjectType(number) => {
                return write!(f, "MPEG-4 audio object type {number}");
            }
        })
    }
}

impl fmt::Display for PcmFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.companding {
            Some(Companding::ALaw) => f.write_str("A-law"),
            Some(Companding::MuLaw) => f.write_str("µ-law"),
            None if self.float => write!(f, "PCM {} bit float", self.bits),
            None => write!(f, "PCM {} bit", self.bits),
        }
    }
}

/// What the sample entry of an audio track says, uninterpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecParameters {
    /// The coding.
    pub codec: Codec,
    /// Channels by the sample entry. The decoder's own configuration is more reliable.
    pub channels: u16,
    /// Hz by the sample entry. The same holds.
    pub sample_rate: u32,
    /// The decoder's configuration: AudioSpecificConfig (AAC), the `alac` cookie, the `dfLa` metadata
    /// blocks, the `dOps` body, the `dac3`/`dec3` body, the three Vorbis headers; empty where the codec has none.
    pub config: Vec<u8>,
    /// The loudspeakers of the channels in coded order, where a box beside the configuration names them all: PCM alone
    /// has no order of its own.
    pub speakers: Option<Vec<Speaker>>,
    /// The blocks of ADPCM, or the frames of a constant bitrate, where the entry gives their size.
    pub block: Option<Block>,
    /// Byte offset in the source of the sample entry, where that configuration stands.
    pub at: u64,
    /// Which sample entry it is, counted from 1.
    pub entry: u32,
    /// The other sample entries that packets of the track may be of, where they say something else.
    pub others: Vec<Description>,
}

impl CodecParameters {
    /// What the sample entry `entry` says, if it is another.
    pub fn other(&self, entry: u32) -> Option<&Description> {
        self.others.iter().find(|other| other.entry == entry)
    }

    /// Whether `other` describes the same coding, wherever it stands.
    pub fn says_the_same(&self, other: &CodecParameters) -> bool {
        let what = |p: &CodecParameters| (p.codec.clone(), p.channels, p.sample_rate, p.block);
        what(self) == what(other)
            && (&self.config, &self.speakers) == (&other.config, &other.speakers)
    }
}

/// Another sample entry of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Which one, counted from 1.
    pub entry: u32,
    /// What it says, or why it cannot be used.
    pub parameters: Result<CodecParameters, String>,
    /// The scheme by which its packets are encrypted, if they are.
    pub encrypted: Option<String>,
}

impl Description {
    /// Sample entry `entry`, of which reading gave `parameters`.
    pub fn new(entry: u32, parameters: Result<CodecParameters, Error>) -> Self {
        Description {
            entry,
            encrypted: match &parameters {
                Err(Error::Encrypted { scheme }) => Some(scheme.clone()),
                _ => None,
            },
            parameters: parameters.map_err(|why| why.to_string()),
        }
    }
}

/// What a codec of constant bitrate always codes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// PCM samples per channel; never 0.
    pub samples: u32,
    /// Bytes of all channels; never 0.
    pub bytes: u32,
}
