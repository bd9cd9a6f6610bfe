//! From a file to MP3s: the whole of it, or a chapter each.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::audio::Audio;
use crate::conversion::{Conversion, Part, Survey};
use crate::error::{Error, Result};
use crate::mp4::AfterPreamble;
use crate::options::Options;
use crate::progress::{CancelToken, Progress};
use crate::report::Report;
use crate::sink::{FileSink, Sink};
use crate::source::{Cancellable, FileSource, Source};
use crate::tags::{Chapter, chapter_file_names, fit_chapters};
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
    options: Options,
    cancel: CancelToken,
    on_progress: Box<dyn FnMut(Progress) + Send + 'a>,
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
        let part = Part {
            start: self.options.start,
            end: self
                .options
                .duration
                .map(|d| self.options.start.saturating_add(d)),
            metadata: audio.metadata().clone(),
        };
        self.make(&audio, &part, &mut source, &mut sink)
    }

    /// Opens what `source` holds, to convert each of its chapters into an MP3 of its own.
    ///
    /// # Errors
    /// [`Error::NoChapters`] if there are none in the part that the options ask for; otherwise as
    /// [`Converter::convert`].
    pub fn chapters<S: Source>(self, mut source: S) -> Result<Chapters<'a, S>> {
        // Chapters overlap by some packets, and what their sinks can do is not known yet.
        source.keep_from(0).map_err(Error::Read)?;
        let audio = self.open(&mut source, true)?;
        // Chapters are on the presentation's time line.
        let start = self
            .options
            .start
            .saturating_add(audio.left_out(&self.options));
        let length = self.options.duration;
        let length = length.unwrap_or(Duration::MAX);
        let chapters = divide(fit_chapters(&audio.metadata().chapters, start, length));
        if chapters.is_empty() {
            return Err(Error::NoChapters);
        }
        Ok(Chapters {
            converter: self,
            source,
            audio,
            chapters,
        })
    }

    /// Reads everything before the packets. `twice`: the packets may be needed more than once, whatever the sink.
    fn open(&self, source: &mut dyn Source, twice: bool) -> Result<Audio> {
        self.options.check()?;
        let mut source = Cancellable::new(source, &self.cancel);
        let kept = match Survey::may_be_needed(&self.options, twice) {
            true => source.keep_from(0).map_err(Error::Read),
            false => Ok(()),
        };
        kept.and_then(|()| Audio::read(&self.options.track, &mut source))
            .map_err(|error| self.cancel.explain(error))
    }

    fn make(
        &mut self,
        audio: &Audio,
        part: &Part,
        source: &mut dyn Source,
        sink: &mut dyn Sink,
    ) -> Result<Report> {
        let mut conversion = Conversion {
            options: &self.options,
            audio,
            part,
            cancel: &self.cancel,
            on_progress: &mut *self.on_progress,
        };
        let mut source = Cancellable::new(source, &self.cancel);
        let mut file = AfterPreamble::at(&mut source, audio.preamble());
        let report = conversion.run(&mut file, sink);
        report.map_err(|error| self.cancel.explain(error))
    }
}

/// Has each chapter begin where the one before it ends, and the first at the start: no PCM sample is left out.
fn divide(mut chapters: Vec<Chapter>) -> Vec<Chapter> {
    let mut end = None;
    for chapter in chapters.iter_mut().rev() {
        chapter.end = end.unwrap_or(chapter.end);
        end = Some(chapter.start);
    }
    if let Some(first) = chapters.first_mut() {
        first.start = Duration::ZERO;
    }
    chapters
}

/// What became of a chapter.
#[derive(Clone, Debug, PartialEq)]
pub enum ChapterOutcome {
    /// It is an MP3.
    Converted(Report),
    /// There is no audio for it, and no MP3: the audio ends before it or, as [`EmptyChapter::missing`] says, breaks off
    /// there.
    Empty(EmptyChapter),
}

impl ChapterOutcome {
    /// The report of the MP3, if there is one.
    pub fn report(self) -> Option<Report> {
        match self {
            ChapterOutcome::Converted(report) => Some(report),
            ChapterOutcome::Empty(_) => None,
        }
    }
}

/// A chapter without audio. It displays as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmptyChapter {
    /// Where it begins, on the presentation's time line.
    pub start: Duration,
    /// Why sound is missing that the file declares for it. None where the file declares none: its marker stands at or
    /// after the end of the audio, and nothing is lost.
    pub missing: Vec<Warning>,
}

impl EmptyChapter {
    /// Whether nothing is lost: the file declares no audio for it.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

impl From<EmptyChapter> for Error {
    fn from(EmptyChapter { start, missing }: EmptyChapter) -> Self {
        Error::EmptyPart { start, missing }
    }
}

impl fmt::Display for EmptyChapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start.as_secs_f64();
        match self.is_complete() {
            true => write!(
                f,
                "no MP3: the audio ends before the chapter begins ({start:.3} s)"
            ),
            false => write!(
                f,
                "no MP3: the audio of the chapter, from {start:.3} s on, is missing"
            ),
        }
    }
}

/// A file whose chapters are converted one by one, with [`Converter::chapters`].
///
/// ```no_run
/// use micropy_core::{ChapterOutcome, Converter, Error, FileSink, Options, SeekSource};
///
/// # fn main() -> micropy_core::Result<()> {
/// let book = SeekSource::open("book.m4b").map_err(Error::Read)?;
/// let mut chapters = Converter::new(Options::new()).chapters(book)?;
/// for (number, name) in chapters.file_names().iter().enumerate() {
///     let file = FileSink::create(name, false).map_err(Error::Write)?;
///     if let ChapterOutcome::Empty(chapter) = chapters.convert(number, file)? {
///         eprintln!("{name}: {chapter}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Chapters<'a, S> {
    converter: Converter<'a>,
    source: S,
    audio: Audio,
    chapters: Vec<Chapter>,
}

impl<S: Source> Chapters<'_, S> {
    /// The chapters, on the time line of the part that the options ask for. Together they are all of it: the first begins
    /// at its start, each of the others where the one before it ends, and the last one ends with the audio, shown as
    /// [`Duration::MAX`], unless the options end it earlier.
    pub fn list(&self) -> &[Chapter] {
        &self.chapters
    }

    /// A file name for each chapter: its number, its title, `.mp3`.
    pub fn file_names(&self) -> Vec<String> {
        chapter_file_names(&self.chapters)
    }

    /// Converts the chapter with this index into `sink`. It has the file's tags, with its own title and number.
    /// Fades and loudness apply to each chapter on its own.
    ///
    /// A chapter without audio is [`ChapterOutcome::Empty`], and the sink is not finished: a [`FileSink`] makes no file.
    ///
    /// # Errors
    /// As [`Converter::convert`]; [`Error::InvalidOption`] if there is no such chapter.
    pub fn convert(&mut self, index: usize, mut sink: impl Sink) -> Result<ChapterOutcome> {
        let total = self.chapters.len();
        let chapter = self.chapters.get(index).ok_or_else(|| {
            Error::InvalidOption(format!("the chapters are numbered 0 to {}", total - 1))
        })?;
        let offset = self.converter.options.start;
        let Range { start, end } =
            offset.saturating_add(chapter.start)..offset.saturating_add(chapter.end);
        let whole = self.audio.metadata();
        let mut metadata = whole.clone();
        metadata.tags = whole.tags.of_chapter(chapter, index + 1, total);
        metadata.chapters.clear();
        if let Some(picture) = &chapter.picture {
            metadata.covers = vec![picture.clone()];
        }
        let part = Part {
            start,
            end: (end < Duration::MAX).then_some(end),
            metadata,
        };
        let made = self
            .converter
            .make(&self.audio, &part, &mut self.source, &mut sink);
        match made {
            Ok(report) => Ok(ChapterOutcome::Converted(report)),
            Err(Error::EmptyPart { start, missing }) => {
                Ok(ChapterOutcome::Empty(EmptyChapter { start, missing }))
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A conversion may be prepared on one thread and run on another.
    #[test]
    fn converters_and_chapters_can_be_sent() {
        fn can_be_sent<T: Send>() {}
        can_be_sent::<Converter<'_>>();
        can_be_sent::<Chapters<'_, FileSource>>();
    }
}
