//! What a caller may ask of a conversion.

use std::num::NonZeroUsize;
use std::time::Duration;

pub use micropy_lame::Bitrate;

use crate::error::{Error, Result};
use crate::tags::TagOptions;

/// Channels of the MP3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One.
    Mono,
    /// Two.
    Stereo,
}

impl Channels {
    /// As a number.
    pub fn count(self) -> u16 {
        match self {
            Channels::Mono => 1,
            Channels::Stereo => 2,
        }
    }
}

/// Which audio track of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrackChoice {
    /// The first enabled track that can be decoded, else the first that can.
    #[default]
    Default,
    /// By place among the audio tracks, from 0.
    Index(usize),
    /// The first in a language, as its ISO 639-2 code (`eng`, `deu`).
    Language(String),
}

/// How a file is converted. Made with [`Options::new`] and the methods that take and give it:
///
/// ```
/// use micropy_core::Options;
/// let options = Options::new().cbr(128).jobs(2);
/// ```
///
/// The default is variable bitrate of quality 2, at the rate and channels of the source (more than two
/// channels are mixed down to two).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Bits to spend.
    pub bitrate: Bitrate,
    /// LAME's own effort: 0 (best, slow) to 9 (worst, fast); 3 is LAME's default.
    pub quality: u8,
    /// Hz of the MP3; `None`: the source's, or the nearest that MP3 has.
    pub sample_rate: Option<u32>,
    /// Channels of the MP3; `None`: the source's.
    pub channels: Option<Channels>,
    /// The track to convert.
    pub track: TrackChoice,
    /// What to skip at the start.
    pub start: Duration,
    /// How much to convert from there; `None`: to the end.
    pub duration: Option<Duration>,
    /// What the MP3 says of itself.
    pub tags: TagOptions,
    /// Worker threads; `None`: one for each core.
    pub jobs: Option<NonZeroUsize>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            bitrate: Bitrate::Vbr(2.0),
            quality: 3,
            sample_rate: None,
            channels: None,
            track: TrackChoice::Default,
            start: Duration::ZERO,
            duration: None,
            tags: TagOptions::default(),
            jobs: None,
        }
    }
}

impl Options {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Constant bitrate in kbit/s: 32–320 at 32 kHz and above, 8–160 below (8–64 below 16 kHz).
    #[must_use]
    pub fn cbr(mut self, kbps: u16) -> Self {
        self.bitrate = Bitrate::Cbr(kbps);
        self
    }

    /// Average bitrate in kbit/s, 8–310.
    #[must_use]
    pub fn abr(mut self, kbps: u16) -> Self {
        self.bitrate = Bitrate::Abr(kbps);
        self
    }

    /// Variable bitrate by quality, 0 (best) to 9.999, fractions allowed.
    #[must_use]
    pub fn vbr(mut self, quality: f32) -> Self {
        self.bitrate = Bitrate::Vbr(quality);
        self
    }

    /// LAME's effort, 0 (best) to 9 (fastest).
    #[must_use]
    pub fn quality(mut self, quality: u8) -> Self {
        self.quality = quality;
        self
    }

    /// Sample rate of the MP3 in Hz: 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100 or 48000.
    #[must_use]
    pub fn sample_rate(mut self, hz: u32) -> Self {
        self.sample_rate = Some(hz);
        self
    }

    /// Channels of the MP3.
    #[must_use]
    pub fn channels(mut self, channels: Channels) -> Self {
        self.channels = Some(channels);
        self
    }

    /// The track to convert.
    #[must_use]
    pub fn track(mut self, track: TrackChoice) -> Self {
        self.track = track;
        self
    }

    /// Skips so much at the start; exact to the PCM sample.
    #[must_use]
    pub fn start(mut self, start: Duration) -> Self {
        self.start = start;
        self
    }

    /// Converts so much and no more; exact to the PCM sample.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// What becomes of tags, cover and chapters.
    #[must_use]
    pub fn tags(mut self, tags: TagOptions) -> Self {
        self.tags = tags;
        self
    }

    /// Worker threads; 0 means one for each core. The MP3 is the same for every number.
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = NonZeroUsize::new(jobs);
        self
    }

    /// Refuses what no file could satisfy. What depends on the sample rate of the file, the encoder checks.
    pub fn check(&self) -> Result<()> {
        let refuse = |why: String| Err(Error::InvalidOption(why));
        if let Some(hz) = self.sample_rate
            && !micropy_lame::SAMPLE_RATES.contains(&hz)
        {
            return refuse(format!(
                "MP3 has no sample rate of {hz} Hz: choose one of {:?}",
                micropy_lame::SAMPLE_RATES
            ));
        }
        check_bitrate(self.bitrate, self.sample_rate)?;
        if self.quality > 9 {
            return refuse(format!("quality is 0 to 9, not {}", self.quality));
        }
        if self.duration.is_some_and(|d| d.is_zero()) {
            return refuse("the duration is zero: nothing to convert".into());
        }
        Ok(())
    }
}

/// Refuses a bitrate that MP3 does not have at `sample_rate`, or, where that is the file's, at any.
fn check_bitrate(bitrate: Bitrate, sample_rate: Option<u32>) -> Result<()> {
    let rates: Vec<u32> = match sample_rate {
        Some(hz) => vec![hz],
        None => micropy_lame::SAMPLE_RATES.to_vec(),
    };
    let mut allowed: Vec<u16> = rates
        .iter()
        .filter_map(|hz| micropy_lame::bitrates(*hz))
        .flatten()
        .copied()
        .collect();
    allowed.sort_unstable();
    allowed.dedup();
    let (lowest, highest) = (
        allowed.first().copied().unwrap_or_default(),
        allowed.last().copied().unwrap_or_default(),
    );
    let place = sample_rate.map_or(String::new(), |hz| format!(" at {hz} Hz"));
    let why = match bitrate {
        Bitrate::Cbr(kbps) if !allowed.contains(&kbps) => {
            format!("MP3 has no bitrate of {kbps} kbit/s{place}: choose one of {allowed:?}")
        }
        // LAME averages no higher than 310.
        Bitrate::Abr(kbps) if kbps < lowest || kbps > highest.min(310) => format!(
            "an average bitrate is {lowest} to {} kbit/s{place}, not {kbps}",
            highest.min(310)
        ),
        Bitrate::Vbr(quality) if !(0.0..10.0).contains(&quality) => {
            format!("the quality of a variable bitrate is 0 (best) to 9.999, not {quality}")
        }
        _ => return Ok(()),
    };
    Err(Error::InvalidOption(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_file_could_satisfy_is_refused() {
        let cbr = |kbps| Options::new().cbr(kbps);
        for good in [
            Options::new(),
            cbr(8),
            cbr(320),
            cbr(160).sample_rate(22_050),
            Options::new().abr(310),
            Options::new().vbr(9.999),
            Options::new().quality(9),
        ] {
            assert!(good.check().is_ok(), "{good:?}");
        }
        for bad in [
            cbr(0),
            cbr(33),
            cbr(1000),
            cbr(320).sample_rate(22_050),
            cbr(8).sample_rate(44_100),
            Options::new().abr(7),
            Options::new().abr(311),
            Options::new().vbr(10.0),
            Options::new().vbr(f32::NAN),
            Options::new().vbr(-0.1),
            Options::new().quality(10),
            Options::new().sample_rate(12_345),
            Options::new().duration(Duration::ZERO),
        ] {
            let refused = bad.check();
            assert!(matches!(refused, Err(Error::InvalidOption(_))), "{bad:?}");
        }
    }
}
