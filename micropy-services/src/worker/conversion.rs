//! The conversion of one video: to one MP3, or to one for each part; or of several that are joined.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use micropy_core::{
    Converter, Division, EmptyPart, Error, Key, Options, PartOutcome, PeakBits, Report, SeekSink,
    Source, Waveform, file_stem,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::protocol::{Cause, Converted, Failure, Progress, Task};
use super::report;
use super::window::Window;
use crate::job::options::{ConversionOptions, JoinedVideo};
use crate::job::peaks::{POINTS, Peaks};
use crate::job::product::Product;

/// Parts of one video: a small file can declare thousands of chapters, or a hundred years.
const MAX_PARTS: usize = 1000;
/// Bytes of the tags of all parts together: each part repeats the cover.
const MAX_TAG_BYTES: u64 = 1 << 30;

/// Covers that the page shows: what is no picture of these kinds is not asked for.
const SHOWN: [&str; 2] = ["image/jpeg", "image/png"];

/// How to convert it.
pub struct Conversion {
    options: Options,
    /// How it is divided, and where each part's MP3 is made, if there is to be one for each part. The process that
    /// converts may not open files.
    parts: Option<(Division, File)>,
    /// The videos that it is of, one behind another, if they are to be joined.
    videos: Option<Vec<JoinedVideo>>,
}

impl Conversion {
    /// The conversion that `task` asks for.
    pub fn new(task: &Task) -> Result<Self, Failure> {
        let options = ConversionOptions::from_json(&task.options)
            .map_err(|e| Failure::input(e.to_string()))?;
        let engine = options.engine_options().map_err(Failure::input)?;
        let length = options.check_length(task.video_bytes);
        length.map_err(Failure::input)?;
        let parts = match options.division().map_err(Failure::input)? {
            None => None,
            Some(division) => Some((division, tempfile::tempfile().map_err(Error::Write)?)),
        };
        Ok(Conversion {
            options: engine.jobs(task.threads.get()),
            parts,
            videos: options.videos,
        })
    }

    /// Converts `source` into `output`, an empty file.
    pub fn run(
        mut self,
        source: impl Source,
        output: File,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Converted, Failure> {
        if let Some(videos) = self.videos.take() {
            return self.joined(&videos, source, output, progress);
        }
        match self.parts.take() {
            None => self.whole(source, output, progress),
            Some((division, part)) => self.divided(division, part, source, output, progress),
        }
    }

    fn whole(
        self,
        source: impl Source,
        output: File,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Converted, Failure> {
        let mut sink = SeekSink::new(output).map_err(Error::Write)?;
        let mut converter = Converter::new(self.options)
            .on_progress(|step| progress(progress_of(&step, 0, 1)))
            .draw_waveform(POINTS, PeakBits::Eight);
        let report = converter.convert(source, &mut sink)?;
        Ok(Converted {
            product: Product::Mp3,
            audio: report.duration(),
            report: describe(&[report], &[], None, converter.waveform()),
        })
    }

    fn joined(
        self,
        videos: &[JoinedVideo],
        source: impl Source,
        output: File,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Converted, Failure> {
        let mut sink = SeekSink::new(output).map_err(Error::Write)?;
        let source = RefCell::new(source);
        let mut start = 0;
        let mut inputs = Vec::with_capacity(videos.len());
        for JoinedVideo { name, bytes } in videos {
            inputs.push((chapter_name(name), Window::new(&source, start, *bytes)));
            start += bytes;
        }
        let mut converter = Converter::new(self.options)
            .on_progress(|step| progress(progress_of(&step, 0, 1)))
            .draw_waveform(POINTS, PeakBits::Eight);
        let joined = converter.join(inputs, &mut sink)?;
        Ok(Converted {
            product: Product::Mp3,
            audio: joined.report.duration(),
            report: describe(
                &[joined.report],
                &named_warnings(videos, &joined.inputs),
                None,
                converter.waveform(),
            ),
        })
    }

    /// The MP3s go into a ZIP file one after the other, stored: they do not compress further. Each is written to the
    /// file `part` first, because its Info tag is filled in last.
    fn divided(
        self,
        division: Division,
        mut part: File,
        source: impl Source,
        output: File,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Converted, Failure> {
        let done = Mutex::new((0, 1));
        let lock = || done.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = Converter::new(self.options)
            .on_progress(|step| {
                let (before, all) = *lock();
                progress(progress_of(&step, before, all));
            })
            .draw_waveform(POINTS, PeakBits::Eight)
            .parts(source, division)?;
        // The ZIP file has the name of the video.
        let names = parts.file_names("");
        if names.len() > MAX_PARTS {
            return Err(Failure::input(format!(
                "there would be {} parts; at most {MAX_PARTS} are made",
                names.len()
            )));
        }
        let mut zip = ZipWriter::new(output);
        let mut reports: Vec<Report> = Vec::new();
        let mut empty: Vec<EmptyPart> = Vec::new();
        for (index, name) in names.iter().enumerate() {
            *lock() = (index, names.len());
            part.rewind().map_err(Error::Write)?;
            part.set_len(0).map_err(Error::Write)?;
            let mut sink = SeekSink::new(&part).map_err(Error::Write)?;
            match parts.convert(index, &mut sink)? {
                PartOutcome::Converted(report) => reports.push(report),
                PartOutcome::Empty(missing) => {
                    empty.push(missing);
                    continue;
                }
            }
            if reports.iter().map(|report| report.tag_bytes).sum::<u64>() > MAX_TAG_BYTES {
                return Err(Failure::input(
                    "the cover is too large to be repeated in every part: convert without tags",
                ));
            }
            add(&mut zip, name, &part).map_err(Error::Write)?;
        }
        if reports.is_empty() {
            let error = empty.into_iter().next().map(Error::from);
            return Err(error.unwrap_or(Error::NoChapters).into());
        }
        zip.finish().map_err(|e| Error::Write(e.into()))?;
        Ok(Converted {
            product: Product::Zip,
            audio: reports.iter().map(Report::duration).sum(),
            report: describe(&reports, &[], Some(&empty), parts.waveform()),
        })
    }
}

/// The progress of the whole: `step` is of one of `all` files, of which `before` are done.
fn progress_of(step: &micropy_core::Progress, before: usize, all: usize) -> Progress {
    let fraction = (before as f64 + step.fraction().unwrap_or(0.0)) / all as f64;
    Progress {
        fraction: fraction as f32,
        position: (
            before as u64 * 256 + u64::from(step.pass),
            step.done.as_secs_f64(),
        ),
    }
}

/// What a chapter is called whose video has no title: as the command line calls it.
fn chapter_name(video: &str) -> String {
    let stem = Path::new(video).file_stem().unwrap_or_default();
    file_stem(&stem.to_string_lossy()).unwrap_or_else(|| "audio".into())
}

/// What is wrong with videos that were joined, with their names.
fn named_warnings(videos: &[JoinedVideo], reports: &[Report]) -> Vec<String> {
    let named = videos.iter().zip(reports).flat_map(|(video, report)| {
        let warnings = report.warnings.iter();
        warnings.map(|warning| format!("{}: {warning}", video.name))
    });
    named.collect()
}

/// What is wrong with the file stays wrong; a full disk or memory may have room the next time.
impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let (reason, cause) = match e {
            Error::Read(e) => (format!("the video cannot be read: {e}"), Cause::Transient),
            Error::Write(e) => (format!("the MP3 cannot be written: {e}"), Cause::Disk),
            e @ Error::Thread(_) => (e.with_causes().to_string(), Cause::Transient),
            Error::Internal(e) => (e, Cause::Transient),
            Error::InInput { name, error, .. } => {
                let Failure { reason, cause } = Failure::from(*error);
                (format!("{name}: {reason}"), cause)
            }
            e => (e.to_string(), Cause::Input),
        };
        Failure { reason, cause }
    }
}

fn add(zip: &mut ZipWriter<File>, name: &str, mut mp3: &File) -> io::Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(mp3.stream_position()? > u32::MAX.into());
    mp3.rewind()?;
    zip.start_file(name, options)?;
    io::copy(&mut mp3, zip)?;
    Ok(())
}

/// The report for the job's owner: of all parts together where the video was split, with those that hold no audio.
/// `joined`: what is wrong with videos that were joined.
fn describe(
    reports: &[Report],
    joined: &[String],
    empty: Option<&[EmptyPart]>,
    waveform: Option<Waveform>,
) -> report::Report {
    let first = reports.first();
    let audio: Duration = reports.iter().map(Report::duration).sum();
    let bits = |report: &Report| (report.output_bytes - report.tag_bytes) as f64 * 8.0;
    let mean_bitrate = reports.iter().map(bits).sum::<f64>() / audio.as_secs_f64();
    // A ZIP file has no tag. What its MP3s have in common is theirs.
    let is_one = empty.is_none();
    let label = |key| first.and_then(|report| report.tags.get(&key).map(report::label));
    let cover = first.and_then(|report| report.cover.as_ref());
    let cover = cover.filter(|cover| is_one && SHOWN.contains(&cover.mime()));
    let mut report = report::Report {
        title: label(Key::Title).filter(|_| is_one),
        artist: label(Key::Artist),
        album: label(Key::Album),
        cover: cover.map(|cover| cover.data().len() as u64),
        codec: first.map(|report| report.codec.to_string()),
        duration: audio.as_secs_f64(),
        sample_rate: first.map(|report| report.output_sample_rate),
        channels: first.map(|report| report.output_channels),
        mean_bitrate: if audio.is_zero() {
            0.0
        } else {
            mean_bitrate.round()
        },
        samples: reports.iter().map(|report| report.output_samples).sum(),
        complete: reports.iter().all(|report| report.complete)
            && empty.unwrap_or_default().iter().all(EmptyPart::is_complete),
        warnings: Vec::new(),
        chapters: empty.map(|_| reports.len()),
        peaks: waveform
            .filter(|waveform| !waveform.points.is_empty())
            .map(|waveform| Peaks::new(&waveform)),
    };
    let of_reports = reports.iter().flat_map(|report| &report.warnings);
    let of_empty = empty.unwrap_or_default().iter();
    let warnings = of_reports.chain(of_empty.flat_map(|chapter| &chapter.missing));
    let warnings = warnings.map(ToString::to_string);
    report.warn(joined.iter().cloned().chain(warnings));
    report
}
