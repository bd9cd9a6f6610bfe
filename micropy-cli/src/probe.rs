//! `micropy probe`: what is in a file.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use micropy_core::{CancelToken, Error, Options, PeakBits, Peaks, Probe, ProbedTrack};

use crate::waveform::peak_bits;
use crate::{Exit, input, json, message, system, text};

/// The arguments of `micropy probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, URLs (http, https, s3, gs, az) and named pipes to look into; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,

    /// Print one JSON value per file
    #[arg(long)]
    json: bool,

    /// Print the waveform in at most so many points, as JSON in the form of audiowaveform
    #[arg(long, value_name = "POINTS", conflicts_with = "json")]
    peaks: Option<NonZeroU32>,

    /// With --peaks: values of 8 or 16 bits
    #[arg(long, value_name = "8|16", default_value = "8", value_parser = peak_bits(), requires = "peaks")]
    bits: PeakBits,
}

/// Prints what is in each file.
pub fn run(args: Args) -> Exit {
    let mut worst = Exit::Done;
    for input in &args.inputs {
        let written = match args.peaks.map(|points| draw(input, points, args.bits)) {
            Some(drawn) => drawn.map(|peaks| {
                if !peaks.report.complete {
                    worst = worst.max(Exit::Incomplete);
                }
                for warning in &peaks.report.warnings {
                    message::problem(format_args!("{}: warning: {warning}", input::shown(input)));
                }
                Found::Peaks(peaks)
            }),
            None => look(input).map(Found::File),
        };
        let written = match written {
            Ok(Found::Peaks(peaks)) => writeln!(io::stdout(), "{peaks}"),
            Ok(Found::File(found)) if args.json => {
                let mut line = json::probe(&found);
                line["file"] = input::shown(input).to_string().into();
                writeln!(io::stdout(), "{line}")
            }
            Ok(Found::File(found)) => write(input, &found, &mut io::stdout().lock()),
            Err(error) => {
                message::problem(format_args!(
                    "{}: {}",
                    input::shown(input),
                    error.with_causes()
                ));
                worst = worst.max(Exit::Failed);
                continue;
            }
        };
        match written {
            Ok(()) => {}
            // The reader of our output wants no more.
            Err(error) if system::is_closed_pipe(&error) => break,
            Err(error) => {
                message::problem(format_args!("standard output: cannot write: {error}"));
                return Exit::Failed;
            }
        }
    }
    worst
}

/// What is printed of a file.
enum Found {
    File(Probe),
    Peaks(Peaks),
}

fn draw(input: &Path, points: NonZeroU32, bits: PeakBits) -> Result<Peaks, Error> {
    let source = input::open(input, &CancelToken::new()).map_err(Error::Read)?;
    micropy_core::peaks(source, Options::new(), points, bits)
}

fn look(input: &Path) -> Result<Probe, Error> {
    let source = input::open(input, &CancelToken::new()).map_err(Error::Read)?;
    micropy_core::probe(source)
}

fn write(input: &Path, found: &Probe, out: &mut impl Write) -> io::Result<()> {
    let mut facts = Vec::new();
    facts.extend(found.brand.clone());
    facts.extend(found.fragmented.then(|| "fragmented".to_owned()));
    facts.extend(found.size.map(text::bytes));
    writeln!(out, "{}  {}", input::shown(input), facts.join(", "))?;
    for (index, track) in found.tracks.iter().enumerate() {
        let chosen = match found.default_track == Some(index) && found.tracks.len() > 1 {
            true => "  (default)",
            false => "",
        };
        writeln!(out, "  audio {index}  {}{chosen}", description(track))?;
    }
    match (found.tracks.len(), found.other_tracks) {
        (0, others) => writeln!(out, "  no audio track ({others} others)")?,
        (_, 0) => {}
        (_, others) => writeln!(out, "  {others} other tracks")?,
    }
    for (key, value) in found.tags.iter() {
        writeln!(out, "  {key}: {}", value.lines().next().unwrap_or_default())?;
    }
    for cover in &found.covers {
        let size = text::bytes(cover.data().len() as u64);
        writeln!(out, "  cover: {}, {size}", cover.mime())?;
    }
    for chapter in &found.chapters {
        let start = text::duration(chapter.start);
        write!(out, "  chapter at {start}: {}", chapter.title)?;
        match &chapter.picture {
            Some(picture) => {
                let size = text::bytes(picture.data().len() as u64);
                writeln!(out, " ({}, {size})", picture.mime())?;
            }
            None => writeln!(out)?,
        }
    }
    for warning in &found.warnings {
        writeln!(out, "  warning: {warning}")?;
    }
    Ok(())
}

fn description(track: &ProbedTrack) -> String {
    let mut facts = Vec::new();
    facts.extend(track.codec.as_ref().map(ToString::to_string));
    facts.extend(track.sample_rate.map(|hz| format!("{hz} Hz")));
    facts.extend(track.channels.map(|count| match count {
        1 => "mono".to_owned(),
        2 => "stereo".to_owned(),
        count => format!("{count} channels"),
    }));
    facts.extend(track.duration.map(text::duration));
    facts.extend(track.samples.map(|n| format!("{n} samples")));
    facts.extend(
        track
            .bitrate
            .map(|bits| format!("{} kbit/s", (bits + 500) / 1000)),
    );
    facts.extend(track.language.clone());
    facts.extend((!track.enabled).then(|| "disabled".to_owned()));
    facts.extend(track.problem.clone());
    facts.join(", ")
}
