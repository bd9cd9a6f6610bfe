//! What is tried: codecs, rates, channels, bitrates.

use crate::judge::Agreement;

/// How ffmpeg encodes one codec, and how far the decoders may differ.
pub struct Axes {
    pub name: &'static str,
    /// The encoder and its options.
    pub encoder: &'static str,
    /// `mp4`, `m4a` or `mov`.
    pub extension: &'static str,
    /// ffmpeg's decoder and its options, where the usual one is not the reference.
    pub decoder: Option<&'static str>,
    pub rates: &'static [u32],
    pub layouts: &'static [(&'static str, usize)],
    /// In kbit/s; 0: the encoder has none.
    pub bitrates: &'static [u32],
    pub agreement: Agreement,
    /// Our decoder gives 16 bits, which end at full scale.
    pub clips: bool,
    /// PCM samples at the start that edit lists leave out, where the decoders begin differently.
    pub unheard: usize,
    pub length: Length,
}

/// How long a conversion has to be.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// The source's, to the sample.
    Exact,
    /// Up to so many PCM samples longer: the file does not say where its padding begins.
    Padded(u64),
    /// Up to so many PCM samples longer or shorter: the encoder leaves out the end.
    Near(u64),
}

pub const MONO_TO_7_1: &[(&str, usize)] = &[
    ("stereo", 2),
    ("mono", 1),
    ("5.1", 6),
    ("3.0", 3),
    ("7.1", 8),
    ("4.0", 4),
    ("5.0", 5),
];
/// Of MOV, where ffmpeg 5.1 names the layout of 7.1 MPEG 7.1 C, sides before backs, and writes another. What the
/// layouts mean stands in the tests of `channel_layout.rs`.
const MONO_TO_5_1: &[(&str, usize)] = &[
    ("stereo", 2),
    ("mono", 1),
    ("5.1", 6),
    ("3.0", 3),
    ("4.0", 4),
    ("5.0", 5),
];
pub const MONO_AND_STEREO: &[(&str, usize)] = &[("stereo", 2), ("mono", 1)];

/// Two decoders in floating point.
pub const FLOAT: Agreement = Agreement::Below {
    signal: 90.0,
    full_scale: 120.0,
};

/// Noise of the decoder's own stands in for mantissas without bits.
pub const DITHERED: Agreement = Agreement::Below {
    signal: 15.0,
    full_scale: 60.0,
};

/// What most codecs have in common.
const LOSSY: Axes = Axes {
    name: "",
    encoder: "",
    extension: "mp4",
    decoder: None,
    rates: &[],
    layouts: &[],
    bitrates: &[0],
    agreement: FLOAT,
    clips: false,
    unheard: 0,
    length: Length::Exact,
};

/// The same of those that lose nothing, or of which every decoder has to make the same.
const LOSSLESS: Axes = Axes {
    extension: "mov",
    agreement: Agreement::Exact,
    ..LOSSY
};

pub static AXES: &[Axes] = &[
    Axes {
        name: "aac",
        // Substituted noise depends on the decoder.
        encoder: "aac -aac_pns 0",
        extension: "m4a",
        rates: &[
            44_100, 48_000, 32_000, 22_050, 8000, 96_000, 24_000, 16_000, 11_025, 12_000, 64_000,
            88_200,
        ],
        layouts: MONO_AND_STEREO,
        bitrates: &[128, 32, 256, 64],
        ..LOSSY
    },
    Axes {
        name: "aac-surround",
        encoder: "aac -aac_pns 0",
        extension: "m4a",
        rates: &[48_000, 44_100, 32_000],
        // 7.1, whose program_config_element ffmpeg 5.1 writes in no order of the standard, is heard tone by tone in the
        // unit tests of the decoder.
        layouts: &[("5.1", 6), ("3.0", 3), ("4.0", 4), ("5.0", 5)],
        bitrates: &[384, 192],
        // FDK decodes to 16 bits.
        agreement: Agreement::Below {
            signal: 60.0,
            full_scale: 80.0,
        },
        clips: true,
        unheard: 1024,
        ..LOSSY
    },
    Axes {
        name: "ac3",
        encoder: "ac3",
        rates: &[48_000, 44_100, 32_000],
        layouts: &[
            ("stereo", 2),
            ("5.1(side)", 6),
            ("mono", 1),
            ("3.0", 3),
            ("2.1", 3),
            ("quad(side)", 4),
            ("3.0(back)", 3),
            ("4.0", 4),
            ("5.0(side)", 5),
            ("4.1", 5),
            ("3.1", 4),
        ],
        bitrates: &[192, 448, 96, 640, 256],
        agreement: DITHERED,
        length: Length::Padded(1536 + 256),
        ..LOSSY
    },
    Axes {
        name: "eac3",
        encoder: "eac3",
        rates: &[48_000, 44_100, 32_000],
        layouts: &[
            ("5.1(side)", 6),
            ("stereo", 2),
            ("mono", 1),
            ("3.0", 3),
            ("quad(side)", 4),
            ("5.0(side)", 5),
        ],
        bitrates: &[192, 448, 640, 1024],
        agreement: DITHERED,
        length: Length::Padded(1536 + 256),
        ..LOSSY
    },
    Axes {
        name: "mp3",
        encoder: "libmp3lame",
        decoder: Some("mp3float"),
        rates: &[
            44_100, 48_000, 32_000, 22_050, 24_000, 16_000, 11_025, 12_000, 8000,
        ],
        layouts: MONO_AND_STEREO,
        bitrates: &[128, 64, 320, 32],
        // Below −90 dB, ffmpeg's differs from mpg123's as well.
        agreement: Agreement::Below {
            signal: 90.0,
            full_scale: 100.0,
        },
        length: Length::Padded(2 * 1152),
        ..LOSSY
    },
    Axes {
        name: "mp2",
        encoder: "mp2",
        decoder: Some("mp2float"),
        rates: &[44_100, 48_000, 32_000, 22_050, 24_000, 16_000],
        layouts: MONO_AND_STEREO,
        bitrates: &[192, 384, 64, 32, 224, 56, 256, 80, 320, 160, 128, 48],
        length: Length::Near(2 * 1152),
        ..LOSSY
    },
    Axes {
        name: "mp2-mov",
        encoder: "libtwolame",
        extension: "mov",
        decoder: Some("mp2float"),
        rates: &[44_100, 48_000, 32_000, 24_000],
        layouts: MONO_AND_STEREO,
        bitrates: &[192, 64, 96],
        length: Length::Near(2 * 1152),
        ..LOSSY
    },
    Axes {
        name: "vorbis",
        encoder: "libvorbis",
        rates: &[44_100, 48_000, 22_050, 8000, 96_000],
        layouts: MONO_TO_7_1,
        bitrates: &[128, 64, 256],
        ..LOSSY
    },
    Axes {
        name: "vorbis-mov",
        encoder: "libvorbis",
        extension: "mov",
        rates: &[44_100, 32_000],
        layouts: MONO_AND_STEREO,
        bitrates: &[96],
        ..LOSSY
    },
    Axes {
        name: "opus",
        encoder: "libopus -strict -2",
        // In 16 bits it bends what is above full scale, for as long as the signal does not cross zero. That is its
        // interface's, not the codec's; here it is cut off, as by the decoder in fixed point.
        decoder: Some("libopus -request_sample_fmt flt"),
        rates: &[48_000, 24_000, 16_000, 8000],
        layouts: &[
            ("stereo", 2),
            ("mono", 1),
            ("5.1", 6),
            ("7.1", 8),
            ("3.0", 3),
            ("quad", 4),
        ],
        bitrates: &[64, 128, 16, 256],
        // Ours decodes to 16 bits.
        agreement: Agreement::Below {
            signal: 60.0,
            full_scale: 85.0,
        },
        clips: true,
        length: Length::Padded(6000),
        ..LOSSY
    },
    Axes {
        name: "flac",
        encoder: "flac -strict -2",
        extension: "mp4",
        rates: &[44_100, 96_000, 8000, 192_000],
        layouts: MONO_TO_7_1,
        ..LOSSLESS
    },
    Axes {
        name: "flac-24",
        encoder: "flac -sample_fmt s32 -strict -2",
        extension: "mp4",
        rates: &[48_000, 44_100],
        layouts: MONO_AND_STEREO,
        ..LOSSLESS
    },
    Axes {
        name: "alac",
        encoder: "alac",
        extension: "m4a",
        rates: &[44_100, 96_000, 8000],
        layouts: &[
            ("stereo", 2),
            ("mono", 1),
            ("5.1", 6),
            ("3.0", 3),
            ("4.0", 4),
            ("5.0", 5),
        ],
        ..LOSSLESS
    },
    Axes {
        name: "alac-24",
        encoder: "alac -sample_fmt s32p",
        rates: &[48_000],
        layouts: MONO_AND_STEREO,
        ..LOSSLESS
    },
    Axes {
        name: "ima4",
        encoder: "adpcm_ima_qt",
        rates: &[44_100, 22_050, 8000],
        layouts: MONO_AND_STEREO,
        length: Length::Padded(63),
        ..LOSSLESS
    },
    Axes {
        name: "ima-wave",
        encoder: "adpcm_ima_wav",
        rates: &[44_100, 22_050, 8000],
        layouts: MONO_AND_STEREO,
        length: Length::Padded(2048),
        ..LOSSLESS
    },
    Axes {
        name: "ms-adpcm",
        encoder: "adpcm_ms",
        rates: &[44_100, 22_050, 8000],
        layouts: MONO_AND_STEREO,
        length: Length::Padded(2048),
        ..LOSSLESS
    },
    Axes {
        name: "pcm-16",
        encoder: "pcm_s16le",
        rates: &[44_100, 48_000, 8000, 96_000, 192_000],
        layouts: MONO_TO_5_1,
        ..LOSSLESS
    },
    Axes {
        name: "pcm-24",
        encoder: "pcm_s24be",
        rates: &[48_000, 44_100],
        layouts: MONO_TO_5_1,
        ..LOSSLESS
    },
    Axes {
        name: "pcm-float",
        encoder: "pcm_f32le",
        rates: &[48_000, 88_200],
        layouts: &[("stereo", 2), ("5.1", 6)],
        ..LOSSLESS
    },
];
