//! What a track says of its coding, before anything is decoded: the word that `mp4` hands to `decode`.

use std::fmt;

/// How the audio of a track is coded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// MPEG-4 AAC of any object type (`mp4a`, object type indication 0x40, 0x66–0x68).
    Aac,
    /// MPEG-1/2 layer III (`mp4a` with 0x69 or 0x6B, `.mp3`).
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
    /// Linear or companded PCM.
    Pcm(PcmLayout),
    /// Anything else, by its name in the standards or its four-character code.
    Other(String),
}

/// How one PCM sample of an uncompressed track is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PcmLayout {
    /// Bits per sample: 8, 16, 24, 32 or 64.
    pub bits: u8,
    /// IEEE floating point rather than integer.
    pub float: bool,
    /// Big-endian bytes.
    pub big_endian: bool,
    /// Two's complement rather than offset binary (8 bit).
    pub signed: bool,
    /// Logarithmic rather than linear (8 bit).
    pub companding: Option<Companding>,
}

/// How ITU-T G.711 makes 13 or 14 bits eight.
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
            Codec::Aac => "AAC",
            Codec::Mp3 => "MP3",
            Codec::Alac => "ALAC",
            Codec::Flac => "FLAC",
            Codec::Opus => "Opus",
            Codec::Ac3 => "AC-3",
            Codec::Eac3 => "E-AC-3",
            Codec::Pcm(_) => "PCM",
            Codec::Other(name) => name,
        })
    }
}

/// What the sample entry of an audio track says, uninterpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecParameters {
    /// The coding.
    pub codec: Codec,
    /// Channels by the sample entry; the decoder's own configuration is more to be trusted.
    pub channels: u16,
    /// Hz by the sample entry; likewise.
    pub sample_rate: u32,
    /// The decoder's configuration: AudioSpecificConfig (AAC), the `alac` cookie, the `dfLa` metadata
    /// blocks, the `dOps` body, the `dac3`/`dec3` body; empty where the codec has none.
    pub config: Vec<u8>,
    /// Byte offset in the source of the sample entry, where that configuration stands.
    pub at: u64,
}
