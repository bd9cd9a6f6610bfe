//! What a conversion did.

use std::time::Duration;

use crate::codec::Codec;
use crate::tags::{Cover, Tags};
use crate::warning::Warning;

/// What a conversion did. Counts of PCM samples are per channel.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The source's coding with its profile.
    pub codec: Codec,
    /// The source's MP3 frames were copied as they are.
    pub copied: bool,
    /// Hz of the source's decoded audio.
    pub input_sample_rate: u32,
    /// Channels of the source.
    pub input_channels: u16,
    /// PCM samples of the source that were converted (after edit list and trim).
    pub input_samples: u64,
    /// Bytes of compressed audio that were read.
    pub input_bytes: u64,
    /// Packets from the track's first to the last that was converted.
    pub packets: u64,
    /// Packets that the source declares up to there; more than [`Report::packets`] if it breaks off.
    pub expected_packets: u64,
    /// Packets that could not be decoded and were replaced by silence of their length, or hold more than that and were
    /// cut.
    pub concealed_packets: u64,
    /// Hz of the MP3.
    pub output_sample_rate: u32,
    /// Channels of the MP3.
    pub output_channels: u16,
    /// PCM samples that the MP3 decodes to once delay and padding are cut off.
    pub output_samples: u64,
    /// Bytes of the MP3, tags included.
    pub output_bytes: u64,
    /// Bytes of its ID3 tag: text, cover, chapters.
    pub tag_bytes: u64,
    /// Title, artist and so on, as its ID3 tag has them; none in PCM.
    pub tags: Tags,
    /// The front cover in its ID3 tag.
    pub cover: Option<Cover>,
    /// MP3 frames, not counting the Info tag's.
    pub frames: u64,
    /// False where the source breaks off before its end, packets are missing, or more of them than a small share had to
    /// be replaced by silence: the MP3 is what was there, and [`Report::warnings`] say why.
    pub complete: bool,
    /// Length that the container declares for the part that was asked for, if it does. For a source that breaks off
    /// it is more than [`Report::duration`].
    pub expected_duration: Option<Duration>,
    /// How loud the source is, if it was measured.
    pub loudness: Option<MeasuredLoudness>,
    /// What a user should know of.
    pub warnings: Vec<Warning>,
}

/// Loudness by EBU R 128 (ITU-R BS.1770-4) of what was converted, before any gain.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct MeasuredLoudness {
    /// Integrated loudness in LUFS; `None` for silence.
    pub integrated: Option<f64>,
    /// Highest true peak in dBTP; −∞ for digital silence.
    pub true_peak: f64,
    /// The gain in dB that was applied to normalize it.
    pub gain: f64,
}

impl Report {
    /// Length of the MP3.
    pub fn duration(&self) -> Duration {
        duration_of(self.output_samples, self.output_sample_rate)
    }

    /// Mean bitrate of the MP3's audio in bit/s, without its ID3 tag.
    pub fn mean_bitrate(&self) -> f64 {
        let seconds = self.duration().as_secs_f64();
        if seconds > 0.0 {
            (self.output_bytes - self.tag_bytes) as f64 * 8.0 / seconds
        } else {
            0.0
        }
    }
}

/// `samples` at `rate` Hz as time, rounded down to the nanosecond.
pub(crate) fn duration_of(samples: u64, rate: u32) -> Duration {
    let rate = u64::from(rate.max(1));
    let nanos = u128::from(samples % rate) * 1_000_000_000 / u128::from(rate);
    Duration::new(samples / rate, u32::try_from(nanos).unwrap_or(0))
}

/// `time` in PCM samples at `rate` Hz, rounded to the nearest.
pub(crate) fn samples_of(time: Duration, rate: u32) -> u64 {
    let samples = (time.as_nanos() * u128::from(rate) + 500_000_000) / 1_000_000_000;
    u64::try_from(samples).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_samples_convert_both_ways() {
        for samples in [0, 1, 44_099, 44_100, 396_900, 10_000_000_001] {
            assert_eq!(samples_of(duration_of(samples, 44_100), 44_100), samples);
        }
        assert_eq!(samples_of(Duration::MAX, 48_000), u64::MAX);
    }
}
