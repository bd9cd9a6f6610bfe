//! `--dry-run`: what would be made, and of what.

use std::io::{self, Write as _};
use std::time::Duration;

use micropy_core::{Bitrate, Codec, Division, Error, Options, OutputFormat, Probe, Prober};
use serde_json::json;

use crate::batch::Task;
use crate::convert::{Batch, Failure};
use crate::existing::Existing;
use crate::log::Verbosity;
use crate::output::Output;
use crate::{Exit, input, message, system, text};

/// Prints what a run would make. Nothing is written, and of each input only as much is read as `micropy probe` reads.
pub fn run(batch: &Batch<'_>, tasks: &[Task]) -> Exit {
    let mut worst = Exit::Done;
    for task in tasks {
        let input = task.input.path.as_path();
        let looked = look(batch, task);
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

fn look(batch: &Batch<'_>, task: &Task) -> Result<Plan, Failure> {
    let input = task.input.path.as_path();
    let existing = batch.args.existing();
    if let Output::File(path) = &task.output {
        if let Some(why) = existing.reason_to_keep(input, path) {
            let kept = Some(why);
            return Ok(Plan {
                kept,
                ..Plan::default()
            });
        }
        if existing == Existing::Refuse && path.exists() {
            return Err(Failure::create(path)(io::ErrorKind::AlreadyExists.into()));
        }
    }
    let prober = Prober::new().cancel(batch.interrupt.token().clone());
    let found = prober.probe(batch.open(input)?).map_err(Failure::Convert)?;
    plan(&found, batch, &task.output)
}

/// What a conversion of a file with this in it would make.
fn plan(found: &Probe, batch: &Batch<'_>, output: &Output) -> Result<Plan, Failure> {
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
    let mp3s = match output {
        Output::Chapters(_) if found.chapters.is_empty() => {
            return Err(Failure::Convert(Error::NoChapters));
        }
        Output::Chapters(_) => found.chapters.len(),
        Output::Parts { .. } => match (batch.args.division(), duration) {
            (Some(Division::Lengths(length)), Some(duration)) => {
                duration.as_nanos().div_ceil(length.as_nanos().max(1)) as usize
            }
            _ => 1,
        },
        _ => 1,
    };
    Ok(Plan {
        kept: None,
        mp3s,
        codec: track.codec.as_ref().map(Codec::to_string),
        duration,
        bitrate: match options.bitrate.unwrap_or(Options::DEFAULT_BITRATE) {
            _ if options.format != OutputFormat::Mp3 => {
                format!("as {}", options.format.extension())
            }
            _ if options.fit.is_some() => "at the bitrate that fits".into(),
            Bitrate::Cbr(kbps) => format!("at {kbps} kbit/s"),
            Bitrate::Abr(kbps) => format!("at {kbps} kbit/s on average"),
            Bitrate::Vbr(quality) => format!("at variable bitrate of quality {quality}"),
        },
    })
}
