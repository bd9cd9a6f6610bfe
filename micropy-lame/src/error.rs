//! What can go wrong between a caller and LAME.

use crate::builds::Build;
use crate::settings::{SAMPLE_RATES, bitrates};

/// Why LAME would not take the settings or the audio.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// MP3 has nine sample rates ([`SAMPLE_RATES`]); resample before encoding.
    #[error("MP3 has no sample rate of {0} Hz; it has {list} Hz", list = listed(&SAMPLE_RATES))]
    SampleRate(u32),

    /// MP3 is mono or stereo.
    #[error("MP3 carries 1 or 2 channels, not {0}")]
    Channels(u8),

    /// A constant bitrate must be one of those [`bitrates`] lists for the sample rate.
    #[error(
        "there is no constant bitrate of {kbps} kbit/s at {sample_rate} Hz; there are {list} kbit/s",
        list = listed(bitrates(*sample_rate).unwrap_or_default())
    )]
    Bitrate {
        /// The bitrate asked for, in kbit/s.
        kbps: u16,
        /// In Hz.
        sample_rate: u32,
    },

    /// An average bitrate must lie between the lowest and the highest of [`bitrates`].
    #[error(
        "an average of {kbps} kbit/s cannot be had at {sample_rate} Hz; {} to {} kbit/s can",
        bitrates(*sample_rate).and_then(<[u16]>::first).unwrap_or(&0),
        bitrates(*sample_rate).and_then(<[u16]>::last).unwrap_or(&0)
    )]
    AverageBitrate {
        /// The bitrate asked for, in kbit/s.
        kbps: u16,
        /// In Hz.
        sample_rate: u32,
    },

    /// The VBR scale goes from 0 (best) to 9.999 (smallest).
    #[error("the VBR quality must be between 0 and 9.999, not {0}")]
    VbrQuality(f32),

    /// The algorithm's quality goes from 0 (slowest) to 9 (fastest).
    #[error("the encoder's quality must be between 0 (slowest) and 9 (fastest), not {0}")]
    Quality(u8),

    /// Stereo needs two planes of equal length, mono exactly one.
    #[error(
        "the encoder was set up for {channels} channel(s) and given {left} samples on the left and {} on the right",
        right.map_or_else(|| "none".to_owned(), |n| n.to_string())
    )]
    Planes {
        /// Channels the encoder was set up for.
        channels: u8,
        /// Length of the left plane, in samples.
        left: usize,
        /// Length of the right plane, in samples, if one was given.
        right: Option<usize>,
    },

    /// The build asked for was not compiled, or this processor cannot run it.
    #[error("there is no {0} build of LAME for this processor")]
    Build(Build),

    /// The system has no memory left for an encoder.
    #[error("no memory left for a LAME encoder")]
    OutOfMemory,

    /// LAME itself failed where valid input should not let it; the encoder is of no more use.
    #[error("LAME's {function} failed with code {code}")]
    Lame {
        /// The function of LAME's API.
        function: &'static str,
        /// What it returned.
        code: i32,
    },
}

fn listed<N: ToString>(numbers: &[N]) -> String {
    numbers
        .iter()
        .map(N::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
