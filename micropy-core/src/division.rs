//! A presentation divided into parts, each converted into a file of its own: chapters, or spans of time.

use std::fmt;
use std::time::Duration;

use crate::audio::Audio;
use crate::conversion::Part;
use crate::convert::{Converter, Session, Trimmed};
use crate::envelope::Quiet;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::peaks::Waveform;
use crate::report::{Report, duration_of, samples_of};
use crate::sink::Sink;
use crate::source::Source;
use crate::tags::{Chapter, chapter_file_names, fit_chapters, part_file_names};
use crate::warning::Warning;

/// Where audio is divided into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Division {
    /// Where its chapters begin, or the nearest place where a PCM sample of the output falls on one of the source.
    Chapters,
    /// Into parts of this length, at least a second; the last one is what is left. Where that is less than a second, it
    /// belongs to the one before.
    Lengths(Duration),
    /// Into parts of at most this length, which end in pauses: each in the middle of the quietest half second of its
    /// last quarter. The audio is decoded once more for it.
    Pauses(Duration),
}

/// The shortest part.
const SHORTEST: Duration = Duration::from_secs(1);

/// The most parts: a file of a few bytes can declare a hundred years.
const MOST_PARTS: u64 = 10_000;

impl Division {
    /// Refuses parts that are too short.
    fn check(self) -> Result<()> {
        match self {
            Division::Lengths(length) | Division::Pauses(length) if length < SHORTEST => {
                Err(Error::InvalidOption(format!(
                    "cannot divide into parts of {} s: choose a second or more",
                    length.as_secs_f64()
                )))
            }
            _ => Ok(()),
        }
    }

    /// The parts of `whole`, on its own time line: each begins where the one before it ends.
    fn of(
        self,
        session: &mut Session<'_>,
        options: &Options,
        audio: &Audio,
        whole: &Part,
        source: &mut dyn Source,
    ) -> Result<Vec<Chapter>> {
        let (len, rate, grid, cuts) = match self {
            Division::Chapters => {
                // Chapters are on the presentation's time line.
                let start = whole.start.saturating_add(audio.left_out(options));
                let chapters = fit_chapters(&audio.metadata().chapters, start, length(whole));
                let chapters = adjoining(chapters);
                if chapters.len() < 2 {
                    return Ok(chapters);
                }
                let rate = session.rate(options, whole, source)?;
                return Ok(on_grid(chapters, whole.start, rate, grid(options, rate)));
            }
            Division::Lengths(part) => {
                let length = session.length(options, whole, source)?;
                let (len, rate) = (length.samples, length.rate);
                (len, rate, grid(options, rate), equal(len, rate, part)?)
            }
            Division::Pauses(part) => {
                let drawn = session.draw(options, whole, source, Quiet::step)?;
                let rate = drawn.report.output_sample_rate;
                let len = drawn.report.output_samples;
                let quiet = Quiet::new(&drawn.envelope, drawn.step);
                let grid = grid(options, rate);
                (len, rate, grid, in_pauses(len, rate, part, grid, &quiet)?)
            }
        };
        let begin = samples_of(whole.start, rate);
        let mut parts: Vec<Chapter> = Vec::with_capacity(cuts.len() + 1);
        let mut start = Duration::ZERO;
        for cut in cuts {
            let cut = cut / grid * grid;
            let at = duration_of(begin.saturating_add(cut.min(len)), rate);
            let end = at.saturating_sub(whole.start);
            if end > start {
                parts.push(Chapter::new(start, end, ""));
                start = end;
            }
        }
        parts.push(Chapter::new(start, length(whole), ""));
        Ok(parts)
    }
}

/// How long `part` is; [`Duration::MAX`]: to the end of the audio.
fn length(part: &Part) -> Duration {
    let end = part.end.unwrap_or(Duration::MAX);
    end.saturating_sub(part.start)
}

/// Has each chapter begin where the one before it ends, and the first at the start: no PCM sample is left out.
fn adjoining(mut chapters: Vec<Chapter>) -> Vec<Chapter> {
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

/// Moves the places where chapters meet to multiples of `grid` PCM samples from `begin`, the start of them all. None but
/// the last becomes empty by it.
fn on_grid(mut chapters: Vec<Chapter>, begin: Duration, rate: u32, grid: u64) -> Vec<Chapter> {
    if grid < 2 {
        return chapters;
    }
    let first = samples_of(begin, rate);
    let end = chapters.last().map_or(Duration::MAX, |last| last.end);
    let mut last = 0_u64;
    for index in 1..chapters.len() {
        let (before, after) = chapters.split_at_mut(index);
        let (Some(before), Some(chapter)) = (before.last_mut(), after.first_mut()) else {
            break;
        };
        let marker = samples_of(begin.saturating_add(chapter.start), rate).saturating_sub(first);
        let nearest = marker.saturating_add(grid / 2) / grid * grid;
        last = nearest.max(last.saturating_add(grid));
        let place = duration_of(first.saturating_add(last), rate).saturating_sub(begin);
        before.end = place.min(end);
        chapter.start = place.min(end);
    }
    chapters
}

/// Where parts of the length `part` meet in `len` PCM samples.
fn equal(len: u64, rate: u32, part: Duration) -> Result<Vec<u64>> {
    let shortest = samples_of(SHORTEST, rate);
    let part_len = samples_of(part, rate).max(shortest).max(1);
    check_count(len.div_ceil(part_len), part)?;
    let cuts = (1..).map(|number: u32| {
        let nanos = part.as_nanos() * u128::from(number);
        let time = u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos);
        samples_of(time, rate)
    });
    Ok(cuts
        .take_while(|cut| cut.saturating_add(shortest) <= len)
        .collect())
}

/// Where parts of at most the length `part` meet in pauses, at multiples of `grid`.
fn in_pauses(len: u64, rate: u32, part: Duration, grid: u64, quiet: &Quiet) -> Result<Vec<u64>> {
    let shortest = samples_of(SHORTEST, rate);
    let most = samples_of(part, rate).max(shortest).max(1);
    check_count(len.div_ceil(most), part)?;
    let mut cuts = Vec::new();
    let mut at = 0;
    while len.saturating_sub(at) > most {
        // What is left for the last part is not a scrap.
        let rest = len - at;
        let last = at + most.min(rest - shortest.min(rest / 2));
        let first = match last - at > most / 4 * 3 {
            true => at + most / 4 * 3,
            false => at + (last - at) / 2,
        };
        let cut = quiet.quietest(first..last).clamp(first, last) / grid * grid;
        // A part that is narrower than the grid would not end.
        at = cut.max(at + 1);
        cuts.push(at);
    }
    Ok(cuts)
}

fn check_count(parts: u64, length: Duration) -> Result<()> {
    match parts > MOST_PARTS {
        true => Err(Error::InvalidOption(format!(
            "parts of {} s would be {parts}: at most {MOST_PARTS} can be made",
            length.as_secs_f64()
        ))),
        false => Ok(()),
    }
}

/// Parts meet at multiples of so many PCM samples of the source, where PCM samples of the output fall on them: so the
/// resampled parts are as long as the whole together.
fn grid(options: &Options, rate: u32) -> u64 {
    // Which rate fits is not known yet: 25 Hz are in all of those that MP3 has.
    let common = match options.fit {
        Some(_) => gcd(rate, 25),
        None => gcd(rate, options.output_rate(rate)),
    };
    u64::from(rate / common.max(1)).max(1)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What became of a part.
#[derive(Clone, Debug, PartialEq)]
pub enum PartOutcome {
    /// It is an MP3, or what else was asked for.
    Converted(Report),
    /// There is no audio for it, and no file: the audio ends before it or, as [`EmptyPart::missing`] says, breaks off
    /// there.
    Empty(EmptyPart),
}

impl PartOutcome {
    /// The report of the MP3, if there is one.
    pub fn report(self) -> Option<Report> {
        match self {
            PartOutcome::Converted(report) => Some(report),
            PartOutcome::Empty(_) => None,
        }
    }
}

/// A part without audio. It displays as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmptyPart {
    /// Where it begins, on the presentation's time line.
    pub start: Duration,
    /// Why sound is missing that the file declares for it. None where the file declares none: its marker stands at or
    /// after the end of the audio, and nothing is lost.
    pub missing: Vec<Warning>,
}

impl EmptyPart {
    /// Whether nothing is lost: the file declares no audio for it.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

impl From<EmptyPart> for Error {
    fn from(EmptyPart { start, missing }: EmptyPart) -> Self {
        Error::EmptyPart { start, missing }
    }
}

impl fmt::Display for EmptyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start.as_secs_f64();
        match self.is_complete() {
            true => write!(
                f,
                "no MP3: the audio ends before this part begins ({start:.3} s)"
            ),
            false => write!(
                f,
                "no MP3: the audio of this part, from {start:.3} s on, is missing"
            ),
        }
    }
}

/// A file whose parts are converted one by one, from [`Converter::parts`].
///
/// ```no_run
/// use std::time::Duration;
///
/// use micropy_core::{Converter, Division, Error, FileSink, Options, PartOutcome, SeekSource};
///
/// # fn main() -> micropy_core::Result<()> {
/// let talk = SeekSource::open("talk.mp4").map_err(Error::Read)?;
/// let ten_minutes = Division::Pauses(Duration::from_secs(600));
/// let mut parts = Converter::new(Options::new()).parts(talk, ten_minutes)?;
/// for (number, name) in parts.file_names("talk").iter().enumerate() {
///     let file = FileSink::create(name, false).map_err(Error::Write)?;
///     if let PartOutcome::Empty(part) = parts.convert(number, file)? {
///         eprintln!("{name}: {part}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Parts<'a, S> {
    converter: Converter<'a>,
    source: S,
    audio: Audio,
    division: Division,
    whole: Trimmed,
    list: Vec<Chapter>,
}

impl<'a, S: Source> Parts<'a, S> {
    /// Opens `source` and divides it.
    pub(crate) fn open(
        mut converter: Converter<'a>,
        mut source: S,
        division: Division,
    ) -> Result<Self> {
        division.check()?;
        if let Some(drawing) = &mut converter.drawing {
            drawing.join_parts();
        }
        // Parts overlap by some packets, and what their sinks can do is not known yet.
        source.keep_from(0).map_err(Error::Read)?;
        let audio = converter.open(&mut source, true)?;
        let (mut session, options) = converter.session(&audio);
        let whole = session.trim(options, Part::wanted(options, &audio), &mut source)?;
        let list = division.of(&mut session, options, &audio, &whole.part, &mut source)?;
        if list.is_empty() {
            return Err(Error::NoChapters);
        }
        let part = |index| part_of(&audio, division, &whole.part, &list, index);
        let fitted = session.fit(options, &whole.part, list.len(), &part, &mut source)?;
        let fitted = fitted.into_owned();
        converter.options = fitted;
        Ok(Parts {
            converter,
            source,
            audio,
            division,
            whole,
            list,
        })
    }

    /// The parts, on the time line of what the options ask for. Together they are all of it: the first begins at its
    /// start, each of the others where the one before it ends, and the last one ends with the audio, shown as
    /// [`Duration::MAX`], unless the options end it earlier. Only chapters have titles.
    pub fn list(&self) -> &[Chapter] {
        &self.list
    }

    /// The waveform of all parts that were converted so far, one after the other, if the converter
    /// [draws](Converter::draw_waveform) it.
    pub fn waveform(&self) -> Option<Waveform> {
        self.converter.waveform()
    }

    /// A file name for each part. A chapter has its number and its title, another part the stem that is given and its
    /// number: `01 Loomings.mp3`, `talk 01.mp3`.
    pub fn file_names(&self, stem: &str) -> Vec<String> {
        let extension = self.converter.options.format.extension();
        match self.division {
            Division::Chapters => chapter_file_names(&self.list, extension),
            _ => part_file_names(self.list.len(), stem, extension),
        }
    }

    /// Converts the part with this index into `sink`. It has the file's tags, with its own title and number, and the
    /// chapters that lie in it. Fades and loudness apply to each part on its own.
    ///
    /// A part without audio is [`PartOutcome::Empty`], and the sink is not finished: a
    /// [`FileSink`](crate::FileSink) makes no file.
    ///
    /// # Errors
    /// As [`Converter::convert`]; [`Error::InvalidOption`] if there is no such part.
    pub fn convert(&mut self, index: usize, mut sink: impl Sink) -> Result<PartOutcome> {
        let total = self.list.len();
        if index >= total {
            return Err(Error::InvalidOption(format!(
                "the parts are numbered 0 to {}",
                total - 1
            )));
        }
        let part = part_of(
            &self.audio,
            self.division,
            &self.whole.part,
            &self.list,
            index,
        );
        let (mut session, options) = self.converter.session(&self.audio);
        let made = session.on(options, &part, &mut self.source, |conversion, source| {
            conversion.run(source, &mut sink)
        });
        match made {
            Ok(report) if index + 1 == total => {
                Ok(PartOutcome::Converted(self.whole.explain(report)))
            }
            Ok(report) => Ok(PartOutcome::Converted(report)),
            Err(Error::EmptyPart { start, missing }) => {
                Ok(PartOutcome::Empty(EmptyPart { start, missing }))
            }
            Err(error) => Err(error),
        }
    }
}

/// Part `index` of `list`, which divides `whole`.
fn part_of(
    audio: &Audio,
    division: Division,
    whole: &Part,
    list: &[Chapter],
    index: usize,
) -> Part {
    let chapter = &list[index];
    let mut metadata = audio.metadata().clone();
    match division {
        Division::Chapters => {
            metadata.tags = metadata.tags.of_chapter(chapter, index + 1, list.len());
            metadata.chapters.clear();
            if let Some(picture) = &chapter.picture {
                metadata.covers = vec![picture.clone()];
            }
        }
        _ => metadata.tags = metadata.tags.of_part(index + 1, list.len()),
    }
    let end = whole.start.saturating_add(chapter.end);
    Part {
        start: whole.start.saturating_add(chapter.start),
        end: (end < Duration::MAX).then_some(end),
        metadata,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 1000;

    #[test]
    fn equal_parts_leave_no_scrap() {
        let cuts = |millis| equal(millis, RATE, Duration::from_secs(10)).unwrap();
        assert!(cuts(0).is_empty());
        assert!(cuts(10_000).is_empty());
        assert!(
            cuts(10_999).is_empty(),
            "less than a second belongs to the part before"
        );
        assert_eq!(cuts(11_000), [10_000]);
        assert_eq!(cuts(30_020), [10_000, 20_000]);
    }

    #[test]
    fn a_length_that_is_no_number_of_pcm_samples_does_not_drift() {
        let third = Duration::from_nanos(1_000_333_333);
        let cuts = equal(10_000, RATE, third).unwrap();
        assert_eq!(cuts, [1000, 2001, 3001, 4001, 5002, 6002, 7002, 8003]);
    }

    #[test]
    fn parts_end_where_it_is_quiet_and_never_too_late() {
        // A step is 50 ms. It is quiet from 3.2 s to 3.8 s, and from 6.5 s to 7.1 s.
        let quiet = |seconds: u64| {
            let levels = (0..seconds * 20).map(|step| match step {
                64..76 | 130..142 => 0.0,
                _ => 0.5,
            });
            Quiet::of_levels(levels.collect(), 50)
        };
        let cuts = |seconds: u64, grid| {
            let (len, part) = (seconds * 1000, Duration::from_secs(4));
            in_pauses(len, RATE, part, grid, &quiet(seconds)).unwrap()
        };
        assert!(cuts(4, 1).is_empty());
        assert_eq!(cuts(7, 1), [3550]);
        assert_eq!(cuts(10, 1), [3550, 6850]);
        assert_eq!(cuts(10, 300), [3300, 6600]);
        // As late as can be where all is equally loud, but with a second for the last part.
        assert_eq!(cuts(11, 1), [3550, 6850, 10_000]);
        let short = in_pauses(1500, RATE, SHORTEST, 1, &quiet(2)).unwrap();
        assert_eq!(short, [750]);
    }

    #[test]
    fn chapters_move_to_the_grid_and_none_becomes_empty() {
        let millis = Duration::from_millis;
        let list = |starts: &[u64]| -> Vec<Chapter> {
            let ends = starts.iter().skip(1).copied().chain([5000]);
            let spans = starts.iter().zip(ends);
            spans
                .map(|(&start, end)| Chapter::new(millis(start), millis(end), ""))
                .collect()
        };
        let moved = |starts: &[u64], begin| {
            let chapters = on_grid(list(starts), millis(begin), RATE, 40);
            let adjoin = chapters.windows(2).all(|pair| pair[0].end == pair[1].start);
            assert!(adjoin, "{chapters:?}");
            assert_eq!(chapters.last().unwrap().end, millis(5000));
            let starts = chapters.iter().map(|chapter| chapter.start.as_millis());
            starts.collect::<Vec<_>>()
        };
        assert_eq!(moved(&[0, 1004, 2000, 2990], 0), [0, 1000, 2000, 3000]);
        // The grid begins where they do.
        assert_eq!(moved(&[0, 1004, 2990], 13), [0, 1000, 3000]);
        // Shorter than the grid is wide.
        assert_eq!(moved(&[0, 5, 10, 90], 0), [0, 40, 80, 120]);
        assert_eq!(moved(&[0, 4999], 0), [0, 5000]);
        assert_eq!(on_grid(list(&[0, 7]), millis(0), RATE, 1), list(&[0, 7]));
    }

    #[test]
    fn a_hundred_years_are_not_divided_into_seconds() {
        let refused = equal(3_155_760_000_000, RATE, SHORTEST).unwrap_err();
        assert!(refused.to_string().contains("at most 10000"), "{refused}");
    }

    #[test]
    fn parts_meet_where_pcm_samples_of_the_output_do() {
        for (options, rate, expected) in [
            (Options::new(), 44_100, 1),
            (Options::new().sample_rate(44_100), 48_000, 160),
            (Options::new().sample_rate(16_000), 48_000, 3),
            (Options::new().fit(1), 44_100, 1764),
            (Options::new().fit(1), 48_000, 1920),
        ] {
            assert_eq!(grid(&options, rate), expected, "{options:?}");
        }
    }
}
