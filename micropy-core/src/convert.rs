//! From a file to an MP3, and what goes before: to find the part that is wanted, and the options with which it fits.

use std::borrow::Cow;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;

use crate::audio::Audio;
use crate::conversion::{Conversion, Drawn, Length, Part, Survey};
use crate::division::{Division, Parts};
use crate::envelope::Quiet;
use crate::error::{Error, Result};
use crate::fit::{self, Mp3};
use crate::mp4::AfterPreamble;
use crate::options::Options;
use crate::pcm_reader::PcmReader;
use crate::peaks::{Drawing, PeakBits, Waveform};
use crate::progress::{CancelToken, Progress};
use crate::report::{Report, duration_of, samples_of};
use crate::sink::{FileSink, Sink};
use crate::source::{Cancellable, FileSource, Source};
use crate::warning::Warning;

/// Converts the audio of MP4 files to MP3.
///
/// ```no_run
/// use micropy_core::{Converter, Options};
///
/// # fn main() -> micropy_core::Result<()> {
/// let report = Converter::new(Options::new().vbr(2.0)).convert_file("talk.mp4", "talk.mp3")?;
/// println!("{:?} of {}", report.duration(), report.codec);
/// # Ok(())
/// # }
/// ```
pub struct Converter<'a> {
    pub(crate) options: Options,
    cancel: CancelToken,
    on_progress: Box<dyn FnMut(Progress) + Send + 'a>,
    pub(crate) drawing: Option<Drawing>,
}

impl std::fmt::Debug for Converter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Converter")
            .field("options", &self.options)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

impl<'a> Converter<'a> {
    /// A converter with these options.
    pub fn new(options: Options) -> Self {
        Converter {
            options,
            cancel: CancelToken::new(),
            on_progress: Box::new(|_| {}),
            drawing: None,
        }
    }

    /// Calls `callback` several times a second while converting, on the caller's thread.
    #[must_use]
    pub fn on_progress(mut self, callback: impl FnMut(Progress) + Send + 'a) -> Self {
        self.on_progress = Box::new(callback);
        self
    }

    /// Ends with [`Error::Cancelled`] once `token` is cancelled; [`CancelToken`] says how soon.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = token;
        self
    }

    /// Draws the waveform of what is made, in at most `points` points, a million at most; [`Converter::waveform`]
    /// returns it. It is drawn of the PCM that the MP3 is made of, after cuts, fades and changes of loudness. So it costs
    /// little, and the MP3's bytes are the same. One that is too fine is refused as the conversion begins.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    ///
    /// use micropy_core::{Converter, Options, PeakBits};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let points = NonZeroU32::new(800).ok_or("no points")?;
    /// let mut converter = Converter::new(Options::new()).draw_waveform(points, PeakBits::Eight);
    /// # let folder = tempfile::tempdir()?;
    /// # let mp3 = folder.path().join("talk.mp3");
    /// converter.convert_file("tests/media/moov-first-stereo-44100.mp4", mp3)?;
    /// let waveform = converter.waveform().ok_or("its frames were copied")?;
    /// assert!(waveform.points.len() > 700 && waveform.to_string().starts_with("{\"version\":2,"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn draw_waveform(mut self, points: NonZeroU32, bits: PeakBits) -> Self {
        self.drawing = Some(Drawing::new(points, bits));
        self
    }

    /// The waveform of the last conversion. `None` where none was asked for, or no PCM was seen: MP3 frames that are
    /// copied are not decoded, unless for their loudness.
    pub fn waveform(&self) -> Option<Waveform> {
        self.drawing.as_ref()?.waveform()
    }

    /// Converts the file `input` to the file `output`, which appears only when it is whole, and replaces one that
    /// exists.
    ///
    /// # Errors
    /// As [`Converter::convert`]; [`Error::Write`] where `output` is a device or a named pipe: write to those
    /// with [`Converter::convert`] and a [`StreamSink`](crate::StreamSink).
    pub fn convert_file(
        &mut self,
        input: impl AsRef<Path>,
        output: impl AsRef<Path>,
    ) -> Result<Report> {
        let source = FileSource::open(input).map_err(Error::Read)?;
        let file = FileSink::create(output.as_ref(), true).map_err(Error::Write)?;
        self.convert(source, file)
    }

    /// Converts what `source` holds into `sink`, and finishes it: a [`FileSink`] then has its name.
    ///
    /// # Errors
    /// Every [`Error`]. What was written to the sink by then is not an MP3.
    pub fn convert(&mut self, mut source: impl Source, mut sink: impl Sink) -> Result<Report> {
        let audio = self.open(&mut source, !sink.can_rewrite())?;
        self.convert_audio(&audio, &mut source, &mut sink)
    }

    /// Converts `audio`, which was opened from `source`.
    pub(crate) fn convert_audio(
        &mut self,
        audio: &Audio,
        source: &mut dyn Source,
        sink: &mut dyn Sink,
    ) -> Result<Report> {
        if let Some(drawing) = &mut self.drawing {
            drawing.clear();
        }
        let (mut session, options) = self.session(audio);
        let trimmed = session.trim(options, Part::wanted(options, audio), source)?;
        let part = &trimmed.part;
        let options = session.fit(options, part, 1, &|_| part.clone(), source)?;
        let report = session.on(&options, part, source, |conversion, source| {
            conversion.run(source, sink)
        })?;
        Ok(trimmed.explain(report))
    }

    /// The options with which it would convert what `source` holds. With [`Options::fit`], bitrate, channels and sample
    /// rate are those that it would choose. Nothing is converted; where silence is to be left out, the audio is decoded
    /// to find it.
    ///
    /// # Errors
    /// [`Error::TooLong`] for what does not fit; otherwise as [`Converter::convert`].
    pub fn fitted(&mut self, mut source: impl Source) -> Result<Options> {
        let audio = self.open(&mut source, true)?;
        let (mut session, options) = self.session(&audio);
        let trimmed = session.trim(options, Part::wanted(options, &audio), &mut source)?;
        let part = &trimmed.part;
        let fitted = session.fit(options, part, 1, &|_| part.clone(), &mut source)?;
        Ok(fitted.into_owned())
    }

    /// The token that cancels it.
    pub(crate) fn token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Opens what `source` holds, to convert each of its chapters into an MP3 of its own.
    ///
    /// # Errors
    /// As [`Converter::parts`].
    pub fn chapters<S: Source>(self, source: S) -> Result<Parts<'a, S>> {
        self.parts(source, Division::Chapters)
    }

    /// Opens what `source` holds, to convert each part of it into a file of its own. Together they hold every PCM
    /// sample once.
    ///
    /// # Errors
    /// [`Error::NoChapters`] if it is to be divided at its chapters and there are none in what the options ask for;
    /// [`Error::InvalidOption`] for parts that are too short or too many; otherwise as [`Converter::convert`].
    pub fn parts<S: Source>(self, source: S, division: Division) -> Result<Parts<'a, S>> {
        Parts::open(self, source, division)
    }

    /// Opens what `source` holds, to read its PCM: decoded, cut, mixed, resampled and levelled as the options say.
    ///
    /// # Errors
    /// As [`Converter::convert`].
    pub fn pcm<S: Source>(self, source: S) -> Result<PcmReader<'a, S>> {
        PcmReader::open(self, source)
    }

    /// What works on `audio`, and the options.
    pub(crate) fn session<'s>(&'s mut self, audio: &'s Audio) -> (Session<'s>, &'s Options) {
        let session = Session {
            audio,
            cancel: &self.cancel,
            on_progress: &mut *self.on_progress,
            passes: 0,
            drawing: self.drawing.as_mut(),
        };
        (session, &self.options)
    }

    /// Reads everything before the packets. `twice`: the packets may be needed more than once, whatever the sink.
    pub(crate) fn open(&self, source: &mut dyn Source, twice: bool) -> Result<Audio> {
        self.options.check()?;
        self.drawing.as_ref().map_or(Ok(()), Drawing::check)?;
        let mut source = Cancellable::new(source, &self.cancel);
        let kept = match Survey::may_be_needed(&self.options, twice) {
            true => source.keep_from(0).map_err(Error::Read),
            false => Ok(()),
        };
        kept.and_then(|()| Audio::read(&self.options.track, &mut source))
            .map_err(|error| self.cancel.explain(error))
    }
}

/// Works on the audio of one file.
pub(crate) struct Session<'s> {
    audio: &'s Audio,
    cancel: &'s CancelToken,
    on_progress: &'s mut dyn FnMut(Progress),
    /// Passes over the audio so far.
    passes: u8,
    drawing: Option<&'s mut Drawing>,
}

impl Session<'_> {
    /// Does `work` on `part` of what `source` holds.
    pub fn on<T>(
        &mut self,
        options: &Options,
        part: &Part,
        source: &mut dyn Source,
        work: impl FnOnce(&mut Conversion<'_>, &mut dyn Source) -> Result<T>,
    ) -> Result<T> {
        let mut conversion = Conversion {
            options,
            audio: self.audio,
            part,
            cancel: self.cancel,
            on_progress: &mut *self.on_progress,
            passes: self.passes,
            drawing: self.drawing.as_deref_mut(),
        };
        let mut source = Cancellable::new(source, self.cancel);
        let mut file = AfterPreamble::at(&mut source, self.audio.preamble());
        work(&mut conversion, &mut file).map_err(|error| self.cancel.explain(error))
    }

    /// Leaves out the silence at both ends of `part`, if the options ask for that.
    pub fn trim(
        &mut self,
        options: &Options,
        part: Part,
        source: &mut dyn Source,
    ) -> Result<Trimmed> {
        if !options.trim_silence {
            return Ok(Trimmed::untouched(part));
        }
        let drawn = self.draw(options, &part, source, Quiet::step)?;
        Ok(Trimmed::new(part, &drawn))
    }

    /// Draws the envelope of `part` at the source's own rate, in steps of as many PCM samples as `step` says for that.
    pub fn draw(
        &mut self,
        options: &Options,
        part: &Part,
        source: &mut dyn Source,
        step: impl FnOnce(u32) -> NonZeroU64,
    ) -> Result<Drawn> {
        let as_it_is = options.as_it_is();
        let drawn = self.on(&as_it_is, part, source, |conversion, source| {
            conversion.draw(source, step)
        })?;
        self.passes += 1;
        Ok(drawn)
    }

    /// How long `part` is, at the source's own rate.
    pub fn length(
        &mut self,
        options: &Options,
        part: &Part,
        source: &mut dyn Source,
    ) -> Result<Length> {
        let as_it_is = options.as_it_is();
        self.on(&as_it_is, part, source, |conversion, source| {
            conversion.length(source)
        })
    }

    /// The source's own rate in Hz.
    pub fn rate(&mut self, options: &Options, part: &Part, source: &mut dyn Source) -> Result<u32> {
        self.on(options, part, source, |conversion, source| {
            Ok(conversion.audio.begin(source)?.format.sample_rate)
        })
    }

    /// The options with which each of the `count` parts of `whole` fits, if they are to.
    pub fn fit<'o>(
        &mut self,
        options: &'o Options,
        whole: &Part,
        count: usize,
        part: &dyn Fn(usize) -> Part,
        source: &mut dyn Source,
    ) -> Result<Cow<'o, Options>> {
        let Some(bytes) = options.fit else {
            return Ok(Cow::Borrowed(options));
        };
        let length = self.length(options, whole, source)?;
        let place = |time| samples_of(time, length.rate);
        let end = place(whole.start).saturating_add(length.samples);
        let mut mp3s = Vec::with_capacity(count.min(1000));
        for index in 0..count {
            let part = part(index);
            let part_end = part.end.map_or(end, |time| place(time).min(end));
            let samples = part_end.saturating_sub(place(part.start));
            let time = duration_of(samples, length.rate);
            let tag = self.on(options, &part, source, |conversion, _| {
                conversion.tag_bytes(time)
            })?;
            mp3s.push(Mp3 { samples, tag });
        }
        fit::choose(options, bytes, &length, &mp3s).map(Cow::Owned)
    }
}

/// A part without the silence at its ends.
#[derive(Debug)]
pub(crate) struct Trimmed {
    pub part: Part,
    /// What to tell of the part itself.
    warning: Option<Warning>,
    /// What the file declares for it and does not have.
    missing: Vec<Warning>,
}

impl Trimmed {
    fn untouched(part: Part) -> Self {
        Trimmed {
            part,
            warning: None,
            missing: Vec::new(),
        }
    }

    /// `part`, of which `drawn` is the envelope, cut to what sounds.
    fn new(part: Part, drawn: &Drawn) -> Self {
        let Some(sounding) = drawn.envelope.sounding() else {
            return Trimmed {
                warning: Some(Warning::OnlySilence),
                ..Trimmed::untouched(part)
            };
        };
        let rate = drawn.report.output_sample_rate;
        let begin = samples_of(part.start, rate);
        // Sound up to the end goes on as far as the part does.
        let end = match sounding.end < drawn.report.output_samples {
            true => Some(duration_of(begin.saturating_add(sounding.end), rate)),
            false => part.end,
        };
        let warnings = drawn.report.warnings.iter();
        let missing = warnings.filter(|warning| warning.is_of_missing_sound());
        Trimmed {
            warning: None,
            missing: missing.cloned().collect(),
            part: Part {
                start: duration_of(begin.saturating_add(sounding.start), rate),
                end,
                ..part
            },
        }
    }

    /// Adds to the report of the part what the first pass has found. The second cannot see that sound is missing behind
    /// silence that is left out.
    pub fn explain(&self, mut report: Report) -> Report {
        report.warnings.extend(self.warning.clone());
        if report.complete {
            report.warnings.extend_from_slice(&self.missing);
            report.complete = self.missing.is_empty();
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A conversion may be prepared on one thread and run on another.
    #[test]
    fn converters_parts_and_readers_can_be_sent() {
        fn can_be_sent<T: Send>() {}
        can_be_sent::<Converter<'_>>();
        can_be_sent::<Parts<'_, FileSource>>();
        can_be_sent::<PcmReader<'_, FileSource>>();
    }
}
