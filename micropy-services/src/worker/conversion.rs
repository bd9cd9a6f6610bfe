//! The work itself: a video read, one MP3 written, or one for each chapter.

use std::fs::File;
use std::io::{self, Seek};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use micropy_core::{Converter, Error, Options, Report, SeekSink, Source};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::protocol::{Cause, Failed, Made, Progress};
use crate::job::options::Split;
use crate::job::product::Product;

/// Chapters that are split: a small file can claim thousands of them.
const MOST_CHAPTERS: usize = 1000;
/// Bytes of all their tags together: each chapter repeats the cover.
const MOST_TAGS: u64 = 1 << 30;

/// What is to be done.
pub struct Work {
    pub options: Options,
    pub split: Option<Split>,
}

impl Work {
    /// Does it, into `product`, an empty file; `progress` hears how much is done, from 0 to 1.
    pub fn run(
        self,
        source: impl Source,
        product: File,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Made, Failed> {
        match self.split {
            None => self.whole(source, product, progress),
            Some(Split::Chapters) => self.chapters(source, product, progress),
        }
    }

    fn whole(
        self,
        source: impl Source,
        product: File,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Made, Failed> {
        let mut sink = SeekSink::new(product).map_err(Error::Write)?;
        let report = Converter::new(self.options)
            .on_progress(|step| progress(told(&step, 0, 1)))
            .convert(source, &mut sink)?;
        Ok(Made {
            product: Product::Mp3,
            audio: report.duration(),
            report: describe(&[report], None),
        })
    }

    /// The MP3s go into a ZIP file one after the other, as they are: there is nothing left in them to
    /// compress. Each is written to a file of its own first, as its Info tag is completed at its end.
    fn chapters(
        self,
        source: impl Source,
        product: File,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Made, Failed> {
        let done = Mutex::new((0, 1));
        let lock = || done.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chapters = Converter::new(self.options)
            .on_progress(|step| {
                let (before, all) = *lock();
                progress(told(&step, before, all));
            })
            .chapters(source)?;
        let names = chapters.file_names();
        if names.len() > MOST_CHAPTERS {
            return Err(Failed::refused(format!(
                "there are {} chapters, and no more than {MOST_CHAPTERS} are split",
                names.len()
            )));
        }
        let mut zip = ZipWriter::new(product);
        let mut reports: Vec<Report> = Vec::new();
        for (index, name) in names.iter().enumerate() {
            *lock() = (index, names.len());
            let mut sink = tempfile::tempfile()
                .and_then(SeekSink::new)
                .map_err(Error::Write)?;
            match chapters.convert(index, &mut sink) {
                Ok(report) => reports.push(report),
                // The video breaks off: nothing is there of the chapters behind that place.
                Err(Error::EmptyPart { .. }) if reports.iter().any(|report| !report.complete) => {
                    break;
                }
                Err(e) => return Err(e.into()),
            }
            if reports.iter().map(|report| report.tag_bytes).sum::<u64>() > MOST_TAGS {
                return Err(Failed::refused(
                    "the cover is too large to be repeated in every chapter: convert without tags",
                ));
            }
            add(&mut zip, name, sink.into_inner()).map_err(Error::Write)?;
        }
        zip.finish().map_err(|e| Error::Write(e.into()))?;
        Ok(Made {
            product: Product::Zip,
            audio: reports.iter().map(Report::duration).sum(),
            report: describe(&reports, Some(reports.len())),
        })
    }
}

/// A step of the engine, in a file of which there are `all`, `before` of them done.
fn told(step: &micropy_core::Progress, before: usize, all: usize) -> Progress {
    let fraction = (before as f64 + step.fraction().unwrap_or(0.0)) / all as f64;
    Progress {
        fraction: fraction as f32,
        place: (
            before as u64 * 256 + u64::from(step.pass),
            step.done.as_secs_f64(),
        ),
    }
}

/// What is wrong with the file stays wrong; a disk or the machine's memory may be less full the next time.
impl From<Error> for Failed {
    fn from(e: Error) -> Self {
        let (reason, cause) = match e {
            Error::Read(e) => (format!("the video cannot be read: {e}"), Cause::Chance),
            Error::Write(e) => (format!("the MP3 cannot be written: {e}"), Cause::Disk),
            e @ Error::Thread(_) => (e.with_causes().to_string(), Cause::Chance),
            Error::Internal(e) => (e, Cause::Chance),
            e => (e.to_string(), Cause::Video),
        };
        Failed { reason, cause }
    }
}

fn add(zip: &mut ZipWriter<File>, name: &str, mut mp3: File) -> io::Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(mp3.stream_position()? > u32::MAX.into());
    mp3.rewind()?;
    zip.start_file(name, options)?;
    io::copy(&mut mp3, zip)?;
    Ok(())
}

/// What the job's owner is told of the conversion: of all chapters together, where it was split.
fn describe(reports: &[Report], chapters: Option<usize>) -> String {
    let first = reports.first();
    let audio: Duration = reports.iter().map(Report::duration).sum();
    let bits = |report: &Report| (report.output_bytes - report.tag_bytes) as f64 * 8.0;
    let mean_bitrate = reports.iter().map(bits).sum::<f64>() / audio.as_secs_f64();
    let mut warnings: Vec<String> = Vec::new();
    for warning in reports.iter().flat_map(|report| &report.warnings) {
        let warning = warning.to_string();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    let mut told = serde_json::json!({
        "codec": first.map(|report| report.codec.to_string()),
        "duration": audio.as_secs_f64(),
        "sample_rate": first.map(|report| report.output_sample_rate),
        "channels": first.map(|report| report.output_channels),
        "mean_bitrate": if audio.is_zero() { 0.0 } else { mean_bitrate.round() },
        "samples": reports.iter().map(|report| report.output_samples).sum::<u64>(),
        "complete": reports.iter().all(|report| report.complete),
        "warnings": warnings,
    });
    if let Some(chapters) = chapters {
        told["chapters"] = chapters.into();
    }
    told.to_string()
}
