//! The options of a conversion.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

pub use micropy_lame::Bitrate;

use crate::error::{Error, Result};
use crate::resample;
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

/// How a PCM sample is stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SampleFormat {
    /// Integers of 16 bits, little-endian. PCM samples that need more are rounded with dither.
    S16,
    /// IEEE floats of 32 bits, little-endian, full scale ±1: what the decoder gave, unrounded.
    F32,
}

impl SampleFormat {
    /// Bytes of a PCM sample.
    pub fn bytes(self) -> usize {
        match self {
            SampleFormat::S16 => 2,
            SampleFormat::F32 => 4,
        }
    }
}

/// What is made of the audio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputFormat {
    /// An MP3.
    #[default]
    Mp3,
    /// A WAVE file; RF64 where it is larger than 4 GiB. It has no tags.
    Wav(SampleFormat),
    /// The PCM samples of all channels in turn, without a header.
    Raw(SampleFormat),
}

impl OutputFormat {
    /// The extension of a file of it: `mp3`, `wav` or `pcm`.
    pub fn extension(self) -> &'static str {
        match self {
            OutputFormat::Mp3 => "mp3",
            OutputFormat::Wav(_) => "wav",
            OutputFormat::Raw(_) => "pcm",
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
    /// By its index among the audio tracks, from 0.
    Index(usize),
    /// The first in a language, by its ISO 639-2 code (`eng`, `deu`).
    Language(String),
}

/// How a file is converted. Built with [`Options::new`] and its methods:
///
/// ```
/// use micropy_core::Options;
/// let options = Options::new().cbr(128).jobs(2);
/// ```
///
/// The default is variable bitrate of quality 2, at the rate and channels of the source (more than two
/// channels are mixed down to two). A source that is MP3 already is copied frame by frame, unless an option asks
/// for another MP3.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// What is made: an MP3, or PCM, for which bitrate and quality say nothing.
    pub format: OutputFormat,
    /// The bitrate; `None`: [`Options::DEFAULT_BITRATE`], or the source's own if it is MP3.
    pub bitrate: Option<Bitrate>,
    /// LAME's own effort: 0 (best, slow) to 9 (worst, fast); `None`: [`Options::DEFAULT_QUALITY`].
    pub quality: Option<u8>,
    /// Hz of the output; `None`: the source's, or the nearest that MP3 has.
    pub sample_rate: Option<u32>,
    /// Channels of the MP3; `None`: the source's.
    pub channels: Option<Channels>,
    /// Mix more than two channels down at full level, which may clip, rather than scaled so that nothing clips.
    pub unscaled_downmix: bool,
    /// The track to convert.
    pub track: TrackChoice,
    /// What to skip at the start.
    pub start: Duration,
    /// How much to convert from there; `None`: to the end.
    pub duration: Option<Duration>,
    /// Put silence before audio that starts later than the video.
    pub late_start: bool,
    /// Leave out silence at the start and at the end: PCM samples below −50 dBFS.
    pub trim_silence: bool,
    /// The most bytes that the MP3 may have, tags included: bitrate, channels and sample rate follow.
    pub fit: Option<u64>,
    /// Length of the fade from silence at the start.
    pub fade_in: Duration,
    /// Length of the fade to silence at the end.
    pub fade_out: Duration,
    /// Target loudness in LUFS (EBU R 128), with true peaks limited to −1 dBTP; `None`: as it is.
    pub normalize: Option<f64>,
    /// Measure the loudness and write it as ReplayGain.
    pub replay_gain: bool,
    /// Tags, cover and chapters of the MP3.
    pub tags: TagOptions,
    /// Worker threads; `None`: one for each core. More than 1,024 count as that many.
    pub jobs: Option<NonZeroUsize>,
}

impl Options {
    /// The bitrate where [`Options::bitrate`] is `None`.
    pub const DEFAULT_BITRATE: Bitrate = Bitrate::Vbr(2.0);

    /// LAME's effort where [`Options::quality`] is `None`: LAME's own default.
    pub const DEFAULT_QUALITY: u8 = 3;

    /// The targets that [`Options::normalize`] accepts, in LUFS.
    pub const LOUDNESS: RangeInclusive<f64> = -60.0..=-5.0;

    /// The sample rates in Hz that PCM may be given; one of the source's own may be another.
    pub const PCM_RATES: RangeInclusive<u32> = 1000..=384_000;

    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// What moviepy's `write_audiofile` makes by default: 44.1 kHz, stereo, a constant 128 kbit/s.
    pub fn moviepy_defaults() -> Self {
        Options::new()
            .cbr(128)
            .sample_rate(44_100)
            .channels(Channels::Stereo)
    }

    /// Makes a WAVE file or raw PCM rather than an MP3. It keeps the source's sample rate, whatever that is, unless
    /// another is asked for; more than two channels are mixed down to two.
    #[must_use]
    pub fn format(mut self, format: OutputFormat) -> Self {
        self.format = format;
        self
    }

    /// Constant bitrate in kbit/s: 32–320 at 32 kHz and above, 8–160 below (8–64 below 16 kHz).
    #[must_use]
    pub fn cbr(mut self, kbps: u16) -> Self {
        self.bitrate = Some(Bitrate::Cbr(kbps));
        self
    }

    /// Average bitrate in kbit/s, between the lowest and the highest constant one.
    #[must_use]
    pub fn abr(mut self, kbps: u16) -> Self {
        self.bitrate = Some(Bitrate::Abr(kbps));
        self
    }

    /// Variable bitrate by quality, 0 (best) to 9.999, fractions allowed.
    #[must_use]
    pub fn vbr(mut self, quality: f32) -> Self {
        self.bitrate = Some(Bitrate::Vbr(quality));
        self
    }

    /// LAME's effort, 0 (best) to 9 (fastest).
    #[must_use]
    pub fn quality(mut self, quality: u8) -> Self {
        self.quality = Some(quality);
        self
    }

    /// Sample rate of the output in Hz. MP3 has 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100 and 48000.
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

    /// Mixes more than two channels down at full level: louder, but loud passages may clip.
    #[must_use]
    pub fn unscaled_downmix(mut self, unscaled: bool) -> Self {
        self.unscaled_downmix = unscaled;
        self
    }

    /// The track to convert.
    #[must_use]
    pub fn track(mut self, track: TrackChoice) -> Self {
        self.track = track;
        self
    }

    /// Skips this much at the start, exact to the PCM sample.
    #[must_use]
    pub fn start(mut self, start: Duration) -> Self {
        self.start = start;
        self
    }

    /// Converts this much and no more, exact to the PCM sample.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Puts silence before audio that starts later than the video (an empty edit). More than a day is refused.
    #[must_use]
    pub fn late_start(mut self, silence: bool) -> Self {
        self.late_start = silence;
        self
    }

    /// Leaves out silence at the start and at the end, exact to the PCM sample: what stays begins with the first PCM
    /// sample of at least −50 dBFS, and ends with the last. The audio is decoded twice for it. Audio that is silent
    /// throughout stays as it is, with [`Warning::OnlySilence`](crate::Warning::OnlySilence).
    #[must_use]
    pub fn trim_silence(mut self, trim: bool) -> Self {
        self.trim_silence = trim;
        self
    }

    /// Makes an MP3 of at most so many bytes, tags and cover included: of the highest constant bitrate that fits. From
    /// 96 kbit/s up it has the source's channels, below that one, and below 64 kbit/s a lower sample rate, unless
    /// channels and rate are given. Where audio is divided into parts, each of them fits, and all have one bitrate.
    ///
    /// What does not fit at the lowest bitrate is refused with [`Error::TooLong`].
    #[must_use]
    pub fn fit(mut self, bytes: u64) -> Self {
        self.fit = Some(bytes);
        self
    }

    /// Fades in from silence over this length.
    #[must_use]
    pub fn fade_in(mut self, length: Duration) -> Self {
        self.fade_in = length;
        self
    }

    /// Fades out to silence over this length. The packets are read twice for it, since a file may end before its
    /// tables say.
    #[must_use]
    pub fn fade_out(mut self, length: Duration) -> Self {
        self.fade_out = length;
        self
    }

    /// Brings the audio to this loudness in LUFS, −60 to −5, with true peaks limited to −1 dBTP. The audio is
    /// decoded twice for it.
    #[must_use]
    pub fn normalize(mut self, lufs: f64) -> Self {
        self.normalize = Some(lufs);
        self
    }

    /// Measures the loudness of the MP3 and writes it into the tags as ReplayGain 2.0. On a sink that cannot be
    /// rewritten, the audio is decoded twice for it.
    #[must_use]
    pub fn replay_gain(mut self, write: bool) -> Self {
        self.replay_gain = write;
        self
    }

    /// Tags, cover and chapters of the MP3.
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

    /// Checks the options without a file: refuses those that no file could satisfy.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub fn check(&self) -> Result<()> {
        let refuse = |why: String| Err(Error::InvalidOption(why));
        if self.duration.is_some_and(|d| d.is_zero()) {
            return refuse("the duration is zero: nothing to convert".into());
        }
        if let Some(lufs) = self.normalize
            && !Self::LOUDNESS.contains(&lufs)
        {
            return refuse(format!(
                "cannot normalize to {lufs} LUFS: choose a loudness from {} to {}",
                Self::LOUDNESS.start(),
                Self::LOUDNESS.end()
            ));
        }
        if self.fit.is_some() {
            if self.format != OutputFormat::Mp3 {
                return refuse("only an MP3 can be made to fit: PCM has one size".into());
            }
            if self.bitrate.is_some() {
                return refuse(
                    "a bitrate and a size to fit exclude each other: the size decides on the bitrate".into(),
                );
            }
        }
        if self.format != OutputFormat::Mp3 {
            return match self.sample_rate {
                Some(hz) if !Self::PCM_RATES.contains(&hz) => refuse(format!(
                    "cannot make PCM of {hz} Hz: choose a rate from {} to {}",
                    Self::PCM_RATES.start(),
                    Self::PCM_RATES.end()
                )),
                _ => Ok(()),
            };
        }
        // Where the file decides on the sample rate, one rate that fits the other options is enough.
        let given = self.sample_rate.as_slice();
        let rates = match given {
            [] => &[44_100, 22_050, 11_025],
            given => given,
        };
        let mut checked = rates.iter().map(|&rate| self.encoder(rate, 2).check());
        match checked.find_map(|result| result.ok()) {
            Some(()) => Ok(()),
            None => self.encoder(rates[0], 2).check().map_err(Error::from),
        }
    }

    /// The encoder's settings for an output of `sample_rate` Hz and this many channels.
    pub(crate) fn encoder(&self, sample_rate: u32, channels: u8) -> micropy_lame::Settings {
        micropy_lame::Settings {
            sample_rate,
            channels,
            bitrate: self.bitrate.unwrap_or(Self::DEFAULT_BITRATE),
            quality: self.quality.unwrap_or(Self::DEFAULT_QUALITY),
        }
    }

    /// Hz of the output for a source of `rate` Hz.
    pub(crate) fn output_rate(&self, rate: u32) -> u32 {
        self.sample_rate.unwrap_or_else(|| match self.format {
            OutputFormat::Mp3 => resample::mp3_rate(rate),
            OutputFormat::Wav(_) | OutputFormat::Raw(_) => rate,
        })
    }

    /// These options for the PCM of the source as it is, only mixed: what a first pass looks at.
    pub(crate) fn as_it_is(&self) -> Options {
        Options {
            format: OutputFormat::Raw(SampleFormat::F32),
            channels: self.channels,
            unscaled_downmix: self.unscaled_downmix,
            track: self.track.clone(),
            start: self.start,
            duration: self.duration,
            late_start: self.late_start,
            jobs: self.jobs,
            ..Options::default()
        }
    }

    /// Whether a source that is MP3 has to be encoded again, rather than copied.
    pub(crate) fn change_audio(&self) -> bool {
        self.bitrate.is_some()
            || self.quality.is_some()
            || !self.start.is_zero()
            || self.duration.is_some()
            || self.late_start
            || self.trim_silence
            || self.fit.is_some()
            || !self.fade_in.is_zero()
            || !self.fade_out.is_zero()
            || self.normalize.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_no_file_could_satisfy_are_refused_before_one_is_read() {
        for wrong in [
            Options::new().cbr(1000),
            Options::new().cbr(100),
            Options::new().abr(400),
            Options::new().vbr(10.0),
            Options::new().quality(10),
            Options::new().sample_rate(12_345),
            Options::new().sample_rate(44_100).cbr(8),
            Options::new().normalize(3.0),
            Options::new().normalize(f64::NAN),
            Options::new().duration(Duration::ZERO),
            Options::new().fit(1_000_000).cbr(64),
            Options::new()
                .fit(1_000_000)
                .format(OutputFormat::Wav(SampleFormat::S16)),
            Options::new()
                .format(OutputFormat::Raw(SampleFormat::F32))
                .sample_rate(999),
        ] {
            let refused = wrong.check();
            assert!(matches!(refused, Err(Error::InvalidOption(_))), "{wrong:?}");
        }
        for right in [
            Options::new(),
            Options::moviepy_defaults(),
            Options::new().cbr(8),
            Options::new().cbr(320),
            Options::new().cbr(144),
            Options::new().vbr(0.5).normalize(-16.0),
            Options::new()
                .fit(1)
                .channels(Channels::Mono)
                .sample_rate(8000),
            Options::new()
                .format(OutputFormat::Wav(SampleFormat::S16))
                .sample_rate(96_000),
        ] {
            assert!(right.check().is_ok(), "{right:?}");
        }
    }
}
