//! The waveform of a file, as pages draw it: of the source alone, or drawn as the MP3 is made.

use std::fmt::{self, Write};
use std::num::{NonZeroU32, NonZeroU64};

use crate::conversion::Part;
use crate::convert::Converter;
use crate::envelope::{Envelope, Extremes, Grid};
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

/// A waveform: the lowest and the highest PCM sample of each point. All channels are mixed into one.
///
/// It displays as JSON in the form of the BBC's [audiowaveform](https://github.com/bbc/audiowaveform), version 2, which
/// players such as wavesurfer.js and peaks.js draw.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waveform {
    /// Hz of what was drawn.
    pub sample_rate: u32,
    /// PCM samples of a point; the last one may have fewer.
    pub samples_per_pixel: u64,
    /// The range of the values.
    pub bits: PeakBits,
    /// The lowest and the highest value of each point.
    pub points: Vec<(i16, i16)>,
}

/// The waveform of a file, from [`peaks()`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Peaks {
    /// The waveform, at the source's own rate.
    pub waveform: Waveform,
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
        check(points)?;
        // A stream that does not say how long it is has to be read for that first.
        source.keep_from(0).map_err(Error::Read)?;
        let audio = self.open(&mut source, false)?;
        let (mut session, options) = self.session(&audio);
        let options = options.clone().channels(Channels::Mono);
        let part = Part::wanted(&options, &audio);
        let length = session.length(&options, &part, &mut source)?;
        let step = step_of(length.samples, points);
        let drawn = session.draw(&options, &part, &mut source, |_| step)?;
        let rate = drawn.report.output_sample_rate;
        Ok(Peaks {
            waveform: Waveform::of(&drawn.envelope, points, bits, rate),
            report: drawn.report,
        })
    }
}

fn check(points: NonZeroU32) -> Result<()> {
    match points.get() > MOST_POINTS {
        true => Err(Error::InvalidOption(format!(
            "a waveform of {points} points: at most {MOST_POINTS} can be drawn"
        ))),
        false => Ok(()),
    }
}

/// The waveform of a conversion, drawn from the PCM that becomes the MP3.
#[derive(Debug)]
pub(crate) struct Drawing {
    points: NonZeroU32,
    bits: PeakBits,
    /// Several parts are drawn, one after the other.
    joins: bool,
    envelope: Envelope,
    /// Hz.
    rate: u32,
    /// PCM samples of the parts so far.
    len: u64,
}

impl Drawing {
    /// PCM samples of a step where it is not known how many there will be. Each two become one as they become many.
    const FINE: NonZeroU64 = NonZeroU64::new(32).unwrap();

    /// Steps at most: so many for each point that the points are not much fewer than what was asked for, but no more
    /// than take half a megabyte, unless the points themselves do.
    fn most_steps(&self) -> usize {
        let points = self.points.get() as usize;
        (16 * points).min(1 << 16).max(2 * points)
    }

    pub fn new(points: NonZeroU32, bits: PeakBits) -> Self {
        Drawing {
            points,
            bits,
            joins: false,
            envelope: Envelope::default(),
            rate: 0,
            len: 0,
        }
    }

    /// Refuses a waveform that is too fine.
    pub fn check(&self) -> Result<()> {
        check(self.points)
    }

    /// Draws what comes next as parts of a whole.
    pub fn join_parts(&mut self) {
        self.clear();
        self.joins = true;
    }

    /// Forgets what was drawn.
    pub fn clear(&mut self) {
        self.envelope = Envelope::default();
        self.len = 0;
    }

    /// How the envelope of the next part is drawn, of `declared` PCM samples if that is known. The waveform of a whole
    /// has the points of [`peaks()`] then.
    pub fn grid(&self, declared: Option<u64>) -> Grid {
        let declared = declared.filter(|_| !self.joins);
        let step = declared.map(|len| step_of(len, self.points));
        Grid {
            step: step.unwrap_or(Self::FINE),
            origin: self.len,
            most: self.most_steps(),
            mixed: true,
        }
    }

    /// Adds the next part: `len` PCM samples at `rate` Hz.
    pub fn add(&mut self, envelope: Envelope, rate: u32, len: u64) {
        self.envelope.merge(envelope);
        self.rate = rate;
        self.len = self.len.saturating_add(len);
    }

    /// What was drawn, if anything was.
    pub fn waveform(&self) -> Option<Waveform> {
        let drawn = self.envelope.step() > 0;
        drawn.then(|| Waveform::of(&self.envelope, self.points, self.bits, self.rate))
    }
}

/// PCM samples of a point where `len` of them are drawn in at most `points`.
fn step_of(len: u64, points: NonZeroU32) -> NonZeroU64 {
    NonZeroU64::new(len.div_ceil(points.get().into())).unwrap_or(NonZeroU64::MIN)
}

impl Waveform {
    /// `envelope`, which is at `rate` Hz, in at most `points` points.
    fn of(envelope: &Envelope, points: NonZeroU32, bits: PeakBits, rate: u32) -> Self {
        let steps: Vec<Extremes> = envelope.steps().collect();
        let group = steps.len().div_ceil(points.get() as usize).max(1);
        let point = |steps: &[Extremes]| {
            let merge = |mut point: Extremes, &step: &Extremes| {
                point.merge(step);
                point
            };
            let point = steps.iter().fold(Extremes::NONE, merge);
            (bits.value(point.min), bits.value(point.max))
        };
        Waveform {
            sample_rate: rate,
            samples_per_pixel: envelope.step().saturating_mul(group as u64),
            bits,
            points: steps.chunks(group).map(point).collect(),
        }
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

impl fmt::Display for Waveform {
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

/// As its waveform.
impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.waveform.fmt(f)
    }
}
