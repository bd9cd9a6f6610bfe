//! The waveform of a file, as pages draw it.

use std::fmt::{self, Write};
use std::num::{NonZeroU32, NonZeroU64};

use crate::conversion::Part;
use crate::convert::Converter;
use crate::envelope::Extremes;
use crate::error::{Error, Result};
use crate::options::{Channels, Options};
use crate::report::Report;
use crate::source::Source;

/// The most points of a waveform.
pub const MOST_POINTS: u32 = 1_000_000;

/// How finely a waveform is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeakBits {
    /// −128 to 127.
    #[default]
    Eight,
    /// −32,768 to 32,767.
    Sixteen,
}

/// The waveform of a file: the lowest and the highest PCM sample of each point. All channels are mixed into one.
///
/// It displays as JSON in the form of the BBC's [audiowaveform](https://github.com/bbc/audiowaveform), version 2, which
/// players such as wavesurfer.js and peaks.js draw.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Peaks {
    /// Hz of the source.
    pub sample_rate: u32,
    /// PCM samples of a point; the last one may have fewer.
    pub samples_per_pixel: u64,
    /// The range of the values.
    pub bits: PeakBits,
    /// The lowest and the highest value of each point.
    pub points: Vec<(i16, i16)>,
    /// What was decoded, and whether it was complete.
    pub report: Report,
}

/// Draws the waveform of what `source` holds in at most `points` points, on all cores. Of the options, track, channels,
/// start, duration, late start and jobs matter.
///
/// ```no_run
/// use std::num::NonZeroU32;
///
/// use micropy_core::{Error, Options, PeakBits, SeekSource, peaks};
///
/// # fn main() -> micropy_core::Result<()> {
/// let talk = SeekSource::open("talk.mp4").map_err(Error::Read)?;
/// let points = NonZeroU32::new(1800).unwrap_or(NonZeroU32::MIN);
/// println!("{}", peaks(talk, Options::new(), points, PeakBits::Eight)?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::InvalidOption`] for more than a million points; otherwise as [`Converter::convert`].
pub fn peaks(
    source: impl Source,
    options: Options,
    points: NonZeroU32,
    bits: PeakBits,
) -> Result<Peaks> {
    Converter::new(options).peaks(source, points, bits)
}

impl Converter<'_> {
    /// As [`peaks()`], with progress and cancellation.
    ///
    /// # Errors
    /// As [`peaks()`].
    pub fn peaks(
        &mut self,
        mut source: impl Source,
        points: NonZeroU32,
        bits: PeakBits,
    ) -> Result<Peaks> {
        if points.get() > MOST_POINTS {
            return Err(Error::InvalidOption(format!(
                "a waveform of {points} points: at most {MOST_POINTS} can be drawn"
            )));
        }
        // A stream that does not say how long it is has to be read for that first.
        source.keep_from(0).map_err(Error::Read)?;
        let audio = self.open(&mut source, false)?;
        let (mut session, options) = self.session(&audio);
        let options = options.clone().channels(Channels::Mono);
        let part = Part::wanted(&options, &audio);
        let length = session.length(&options, &part, &mut source)?;
        let step = length.samples.div_ceil(points.get().into());
        let step = NonZeroU64::new(step).unwrap_or(NonZeroU64::MIN);
        let drawn = session.draw(&options, &part, &mut source, |_| step)?;
        let value = |extremes: Extremes| {
            let [min, max] = [extremes.min, extremes.max].map(|sample| bits.value(sample));
            (min, max)
        };
        Ok(Peaks {
            sample_rate: drawn.report.output_sample_rate,
            samples_per_pixel: drawn.step.get(),
            bits,
            points: drawn.envelope.steps().map(value).collect(),
            report: drawn.report,
        })
    }
}

impl PeakBits {
    /// `sample`, full scale ±1, rounded towards zero as audiowaveform does.
    fn value(self, sample: f32) -> i16 {
        // Saturates.
        let sixteen = (sample * 32768.0) as i16;
        match self {
            PeakBits::Eight => sixteen / 256,
            PeakBits::Sixteen => sixteen,
        }
    }

    fn count(self) -> u8 {
        match self {
            PeakBits::Eight => 8,
            PeakBits::Sixteen => 16,
        }
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r#"{{"version":2,"channels":1,"sample_rate":{},"samples_per_pixel":{},"bits":{},"length":{},"data":["#,
            self.sample_rate,
            self.samples_per_pixel,
            self.bits.count(),
            self.points.len()
        )?;
        for (index, (min, max)) in self.points.iter().enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            write!(f, "{min},{max}")?;
        }
        f.write_str("]}")
    }
}
