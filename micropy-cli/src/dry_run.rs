//! `--dry-run`: what would be made, and of what.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use micropy_core::{
    Bitrate, Codec, Converter, Division, Error, Options, OutputFormat, Probe, Prober, Source as _,
};
use serde_json::json;

use crate::batch::Task;
use crate::convert::{Batch, Failure};
use crate::existing::Existing;
use crate::log::Verbosity;
use crate::output::{Output, behind_links};
use crate::{Exit, input, message, system, text};

/// Prints what a run would make. Nothing is written, and of each input only as much is read as `micropy probe` reads.
/// Where silence is to be left out, it is looked for. `creates_folders`: a run would create folders for files.
pub fn run(batch: &Batch<'_>, tasks: &[Task], creates_folders: bool) -> Exit {
    let mut worst = Exit::Done;
    for task in tasks {
        let input = task.input.path.as_path();
        let looked = look(batch, task, creates_folders);
        if batch.interrupt.token().is_cancelled() {
            return Exit::Interrupted;
        }
        match looked {
            Ok(plan) if batch.args.json => {
                let line = json!({
                    "input": input::shown(input).to_string(),
                    "output": task.output.name(),
                    "dry_run": true,
                    "kept": plan.kept,
                    "mp3s": plan.mp3s,
                    "codec": plan.codec,
                    "duration_seconds": plan.duration.map(|d| d.as_secs_f64()),
                });
                match writeln!(io::stdout(), "{line}") {
                    Err(error) if !system::is_closed_pipe(&error) => {
                        message::problem(format_args!("standard output: cannot write: {error}"));
                        return Exit::Failed;
                    }
                    _ => {}
                }
            }
            Ok(plan) if batch.args.verbosity() > Verbosity::Quiet => {
                let what = plan.sentence();
                message::line(format_args!(
                    "{} → {}  {what}",
                    input::shown(input),
                    task.output.name()
                ));
            }
            Ok(_) => {}
            Err(failure) => {
                message::problem(failure.message(input, &task.output));
                worst = worst.max(failure.exit());
            }
        }
    }
    worst
}

/// What would become of an input.
#[derive(Debug, Default)]
struct Plan {
    /// Why nothing would be made.
    kept: Option<&'static str>,
    /// How many MP3s it would make.
    mp3s: usize,
    codec: Option<String>,
    duration: Option<Duration>,
    /// The bitrate, in words.
    bitrate: String,
}

impl Plan {
    fn kept(why: &'static str) -> Self {
        Plan {
            kept: Some(why),
            ..Plan::default()
        }
    }

    fn sentence(&self) -> String {
        if let Some(why) = self.kept {
            return format!("would be kept: {why}");
        }
        let mut sentence = match self.mp3s {
            1 => "would be made of".to_owned(),
            mp3s => format!("{mp3s} MP3s would be made of"),
        };
        if let Some(duration) = self.duration {
            sentence += &format!(" {} of", text::duration(duration));
        }
        let codec = self.codec.as_deref().unwrap_or("its audio");
        format!("{sentence} {codec}, {}", self.bitrate)
    }
}

fn look(batch: &Batch<'_>, task: &Task, creates_folders: bool) -> Result<Plan, Failure> {
    let input = task.input.path.as_path();
    if let Some((_, why)) = batch.reason_to_keep(task)? {
        return Ok(Plan::kept(why));
    }
    if let Output::File(path) = &task.output {
        check_file(batch, path, creates_folders)?;
        batch.waveform_file(&task.output)?;
    }
    let mut source = batch.open(input)?;
    let again = batch.args.divides() || batch.options.fit.is_some();
    if again {
        // What is read for the first look is needed for the second.
        let kept = source.keep_from(0);
        kept.map_err(|error| Failure::Convert(Error::Read(error)))?;
    }
    let prober = Prober::new().cancel(batch.interrupt.token().clone());
    let found = prober.probe(&mut source).map_err(Failure::Convert)?;
    let plan = plan(&found, batch)?;
    let converter =
        || Converter::new(batch.options.clone()).cancel(batch.interrupt.token().clone());
    let (folder, stem, division) = match &task.output {
        Output::Chapters(folder) => (folder, "", Division::Chapters),
        Output::Parts { folder, stem } => {
            let division = batch.args.division().unwrap_or(Division::Chapters);
            (folder, stem.as_str(), division)
        }
        _ if again => {
            let fitted = converter().fitted(source).map_err(Failure::Convert)?;
            let bitrate = words(&fitted);
            return Ok(Plan { bitrate, ..plan });
        }
        _ => return Ok(plan),
    };
    let parts = converter().parts(source, division);
    let parts = parts.map_err(Failure::Convert)?;
    // Chapters may have their markers at the end, or behind it: these have no audio.
    let end = plan.duration.unwrap_or(Duration::MAX);
    let sounding = parts.list().iter().filter(|part| part.start < end);
    let names = parts.file_names(stem);
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let there = paths.iter().filter(|path| path.exists()).count();
    if batch.args.existing() == Existing::Keep && there == paths.len() {
        return Ok(Plan::kept("it exists"));
    }
    let kept = match batch.args.existing() {
        Existing::Keep => there,
        _ => {
            for path in &paths {
                check_file(batch, path, true)?;
            }
            0
        }
    };
    Ok(Plan {
        mp3s: sounding.count().saturating_sub(kept),
        ..plan
    })
}

/// Whether a file could be made: as far as that can be told without making one.
fn check_file(batch: &Batch<'_>, path: &Path, creates_folders: bool) -> Result<(), Failure> {
    let fails = |kind: io::ErrorKind| Err(Failure::create(path)(kind.into()));
    if path.is_dir() {
        return fails(io::ErrorKind::IsADirectory);
    }
    if path.exists() && !batch.args.existing().may_replace() {
        return fails(io::ErrorKind::AlreadyExists);
    }
    batch.check_link(path)?;
    let written = behind_links(path);
    let folder = match written.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => return Ok(()),
    };
    // A link's folder is never created.
    let creates = creates_folders && !path.is_symlink();
    match folder.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => fails(io::ErrorKind::NotADirectory),
        Err(_) if creates => Ok(()),
        Err(error) => fails(error.kind()),
    }
}

/// What a conversion of a file with this in it would make.
fn plan(found: &Probe, batch: &Batch<'_>) -> Result<Plan, Failure> {
    let options = &batch.options;
    let fails = |why: &str| Failure::Foreseen(Exit::Failed, why.into());
    let track = match found.tracks.as_slice() {
        [] => return Err(fails("no audio track")),
        tracks => found.track(&options.track).ok_or_else(|| {
            let last = tracks.len() - 1;
            fails(&format!(
                "no such audio track: they are numbered 0 to {last}, see `micropy probe`"
            ))
        })?,
    };
    if let Some(problem) = &track.problem {
        return Err(fails(problem));
    }
    let rest = track
        .duration
        .map(|whole| whole.saturating_sub(options.start));
    let duration = match (rest, options.duration) {
        (Some(rest), Some(wanted)) => Some(rest.min(wanted)),
        (rest, _) => rest,
    };
    if duration.is_some_and(|duration| duration.is_zero()) {
        let why = "the audio ends before the start that was asked for";
        return Err(Failure::Foreseen(Exit::Usage, why.into()));
    }
    Ok(Plan {
        kept: None,
        mp3s: 1,
        codec: track.codec.as_ref().map(Codec::to_string),
        duration,
        bitrate: words(options),
    })
}

/// The bitrate, in words.
fn words(options: &Options) -> String {
    match options.bitrate.unwrap_or(Options::DEFAULT_BITRATE) {
        _ if options.format != OutputFormat::Mp3 => {
            format!("as {}", options.format.extension())
        }
        Bitrate::Cbr(kbps) => format!("at {kbps} kbit/s"),
        _ if options.fit.is_some() => "at the bitrate that fits".into(),
        Bitrate::Abr(kbps) => format!("at {kbps} kbit/s on average"),
        Bitrate::Vbr(quality) => format!("at variable bitrate of quality {quality}"),
    }
}
