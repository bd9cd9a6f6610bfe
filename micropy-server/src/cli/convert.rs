//! `micropy convert`: files in, MP3s out.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ArgGroup;
use indicatif::{ProgressBar, ProgressStyle};
use micropy_core::{
    Bitrate, CancelToken, Channels, Converter, Error, FileSink, Options, Progress, Report,
    SeekSource, Sink, Source, StreamSink, StreamSource,
};
use serde_json::json;

use super::{Exit, text};

/// What may stand behind `micropy convert`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("bits").args(["bitrate", "abr", "vbr"]))]
pub struct Args {
    /// Files to convert; `-` is the standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Where the MP3 goes: a file, a folder, or `-` for the standard output [default: beside the input]
    #[arg(short, long, value_name = "OUTPUT")]
    output: Option<PathBuf>,

    /// Constant bitrate in kbit/s: 32 to 320 (8 to 160 below 32 kHz)
    #[arg(long, value_name = "KBPS")]
    bitrate: Option<u16>,

    /// Average bitrate in kbit/s: 32 to 320 (8 to 160 below 32 kHz)
    #[arg(long, value_name = "KBPS")]
    abr: Option<u16>,

    /// Variable bitrate by quality: 0 (best) to 9.999 (smallest) [default: 2]
    #[arg(long, value_name = "QUALITY")]
    vbr: Option<f32>,

    /// LAME's effort: 0 (slowest, best) to 9 (fastest)
    #[arg(long, value_name = "0..9", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=9))]
    quality: u8,

    /// Sample rate of the MP3 in Hz [default: the source's, or the nearest that MP3 has]
    #[arg(long, value_name = "HZ")]
    sample_rate: Option<u32>,

    /// One channel, whatever the source has
    #[arg(long)]
    mono: bool,

    /// Worker threads; the MP3 is the same for every number [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,

    /// Print one JSON report per file on the standard output
    #[arg(long)]
    json: bool,

    /// Overwrite existing files
    #[arg(long)]
    force: bool,
}

/// One conversion that was asked for.
struct Task<'a> {
    input: &'a Path,
    output: Output,
}

enum Output {
    Stdout,
    File(PathBuf),
}

impl Output {
    fn name(&self) -> String {
        match self {
            Output::Stdout => "standard output".into(),
            Output::File(path) => path.display().to_string(),
        }
    }
}

/// Converts all inputs, each on its own: one that fails does not keep the others from being done.
pub fn run(args: Args) -> Exit {
    let tasks = match tasks(&args) {
        Ok(tasks) => tasks,
        Err(message) => {
            eprintln!("micropy: {message}");
            return Exit::Usage;
        }
    };
    let cancel = CancelToken::new();
    let handler = cancel.clone();
    if let Err(error) = ctrlc::set_handler(move || handler.cancel()) {
        eprintln!("micropy: cannot watch for Ctrl-C: {error}");
    }
    let mut worst = Exit::Done;
    for task in &tasks {
        worst = worst.max(convert(&args, task, &cancel));
        if cancel.is_cancelled() {
            return Exit::Interrupted;
        }
    }
    worst
}

/// What the command line means; an error is what is wrong with it.
fn tasks(args: &Args) -> Result<Vec<Task<'_>>, String> {
    let is_dash = |path: &Path| path == Path::new("-");
    if args.inputs.iter().filter(|i| is_dash(i)).count() > 1 {
        return Err("the standard input can be converted once only".into());
    }
    let tasks = match &args.output {
        Some(output) if is_dash(output) => {
            let [input] = args.inputs.as_slice() else {
                return Err("only one file can go to the standard output".into());
            };
            vec![Task {
                input,
                output: Output::Stdout,
            }]
        }
        Some(output) if args.inputs.len() > 1 || names_folder(output) => {
            std::fs::create_dir_all(output)
                .map_err(|e| format!("cannot make the folder {}: {e}", output.display()))?;
            args.inputs
                .iter()
                .map(|input| Task {
                    input,
                    output: Output::File(output.join(mp3_name(input))),
                })
                .collect()
        }
        Some(output) => vec![Task {
            input: &args.inputs[0],
            output: Output::File(output.clone()),
        }],
        None => args
            .inputs
            .iter()
            .map(|input| Task {
                input,
                output: if is_dash(input) {
                    Output::Stdout
                } else {
                    Output::File(input.with_extension("mp3"))
                },
            })
            .collect(),
    };
    for (i, task) in tasks.iter().enumerate() {
        match &task.output {
            Output::Stdout if args.json => {
                return Err("--json and the MP3 cannot both go to the standard output".into());
            }
            Output::Stdout => {}
            Output::File(path) => {
                let twin = tasks[..i]
                    .iter()
                    .find(|t| matches!(&t.output, Output::File(p) if p == path));
                if let Some(twin) = twin {
                    return Err(format!(
                        "{} and {} would both become {}",
                        twin.input.display(),
                        task.input.display(),
                        path.display()
                    ));
                }
                if path == task.input {
                    return Err(format!("{} would overwrite itself", path.display()));
                }
            }
        }
    }
    Ok(tasks)
}

/// Whether `path` means a folder: it is one, or it is written like one.
fn names_folder(path: &Path) -> bool {
    path.is_dir() || path.to_string_lossy().ends_with(std::path::MAIN_SEPARATOR)
}

fn mp3_name(input: &Path) -> PathBuf {
    if input == Path::new("-") {
        return "stdin.mp3".into();
    }
    PathBuf::from(input.file_name().unwrap_or(input.as_os_str())).with_extension("mp3")
}

fn options(args: &Args) -> Options {
    let mut options = Options::new().quality(args.quality);
    options.bitrate = match (args.bitrate, args.abr, args.vbr) {
        (Some(kbps), _, _) => Bitrate::Cbr(kbps),
        (_, Some(kbps), _) => Bitrate::Abr(kbps),
        (_, _, vbr) => Bitrate::Vbr(vbr.unwrap_or(2.0)),
    };
    if args.mono {
        options = options.channels(Channels::Mono);
    }
    options.sample_rate = args.sample_rate;
    options.jobs(args.jobs.map_or(0, usize::from))
}

/// Does one task and tells how it went.
fn convert(args: &Args, task: &Task<'_>, cancel: &CancelToken) -> Exit {
    let bar = progress_bar(task.input);
    let started = Instant::now();
    let result = transcode(args, task, cancel, &bar);
    bar.finish_and_clear();
    match result {
        Ok(report) => {
            tell(args, task, &report, started.elapsed());
            if report.complete {
                Exit::Done
            } else {
                Exit::Incomplete
            }
        }
        Err(Failure::Convert(Error::Cancelled)) => {
            eprintln!("micropy: {}: cancelled", task.input.display());
            Exit::Interrupted
        }
        // Whoever read our output has had enough.
        Err(Failure::Convert(Error::Write(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
            Exit::Done
        }
        Err(failure) => {
            let (message, exit) = failure.message(task);
            eprintln!("micropy: {message}");
            exit
        }
    }
}

/// Why one file was not converted.
enum Failure {
    Open(io::Error),
    Create(io::Error),
    Convert(Error),
}

impl Failure {
    /// The sentence for the user, and how the program ends.
    fn message(&self, task: &Task<'_>) -> (String, Exit) {
        let input = task.input.display();
        let output = task.output.name();
        match self {
            Failure::Open(error) => (format!("{input}: cannot open: {error}"), Exit::Failed),
            Failure::Create(error) if error.kind() == io::ErrorKind::AlreadyExists => (
                format!("{output} exists already: use --force to overwrite it"),
                Exit::Failed,
            ),
            Failure::Create(error) => (format!("{output}: cannot create: {error}"), Exit::Failed),
            Failure::Convert(error @ Error::InvalidOption(_)) => {
                (format!("{input}: {error}"), Exit::Usage)
            }
            Failure::Convert(Error::Write(error)) => {
                (format!("{output}: cannot write: {error}"), Exit::Failed)
            }
            Failure::Convert(error) => (format!("{input}: {error}"), Exit::Failed),
        }
    }
}

fn transcode(
    args: &Args,
    task: &Task<'_>,
    cancel: &CancelToken,
    bar: &ProgressBar,
) -> Result<Report, Failure> {
    let source: Box<dyn Source> = if task.input == Path::new("-") {
        Box::new(StreamSource::new(io::stdin().lock()))
    } else {
        Box::new(SeekSource::open(task.input).map_err(Failure::Open)?)
    };
    let mut converter = Converter::new(options(args))
        .cancel(cancel.clone())
        .on_progress(|progress| show(bar, &progress));
    match &task.output {
        Output::Stdout => {
            let stdout = io::BufWriter::new(io::stdout().lock());
            converter
                .convert(source, StreamSink(stdout))
                .map_err(Failure::Convert)
        }
        Output::File(path) => {
            let mut file = FileSink::create(path, args.force).map_err(Failure::Create)?;
            let report = converter
                .convert(source, &mut file as &mut dyn Sink)
                .map_err(Failure::Convert)?;
            file.persist().map_err(Failure::Create)?;
            Ok(report)
        }
    }
}

/// A bar on a terminal, nothing in a pipe.
fn progress_bar(input: &Path) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(1000);
    if let Ok(style) =
        ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3} %  {msg}  {eta} left")
    {
        bar.set_style(style.progress_chars("━━╌"));
    }
    bar.set_prefix(
        input
            .file_name()
            .map_or_else(|| "input".into(), |n| n.to_string_lossy().into_owned()),
    );
    bar
}

fn show(bar: &ProgressBar, progress: &Progress) {
    if let Some(fraction) = progress.fraction() {
        bar.set_position((fraction * 1000.0) as u64);
    }
    let speed = progress.done.as_secs_f64() / bar.elapsed().as_secs_f64().max(1e-3);
    bar.set_message(format!("{} at {speed:.0}×", text::duration(progress.done)));
}

fn tell(args: &Args, task: &Task<'_>, report: &Report, took: Duration) {
    for warning in &report.warnings {
        eprintln!("micropy: {}: warning: {warning}", task.input.display());
    }
    let speed = report.duration().as_secs_f64() / took.as_secs_f64().max(1e-6);
    if args.json {
        let line = json!({
            "input": task.input.to_string_lossy(),
            "output": task.output.name(),
            "codec": report.codec,
            "input_sample_rate": report.input_sample_rate,
            "input_channels": report.input_channels,
            "input_samples": report.input_samples,
            "input_bytes": report.input_bytes,
            "packets": report.packets,
            "concealed_packets": report.concealed_packets,
            "output_sample_rate": report.output_sample_rate,
            "output_channels": report.output_channels,
            "output_samples": report.output_samples,
            "output_bytes": report.output_bytes,
            "frames": report.frames,
            "duration_seconds": report.duration().as_secs_f64(),
            "expected_duration_seconds": report.expected_duration.map(|d| d.as_secs_f64()),
            "mean_bitrate": report.mean_bitrate().round(),
            "complete": report.complete,
            "warnings": report.warnings,
            "elapsed_seconds": took.as_secs_f64(),
            "speed": speed,
        });
        // A reader that has gone away does not keep the files from being converted.
        let _ = writeln!(io::stdout(), "{line}");
        return;
    }
    eprintln!(
        "{} → {}  {} of {}, {:.0} kbit/s, {}, in {} ({speed:.0}× real time)",
        task.input.display(),
        task.output.name(),
        text::duration(report.duration()),
        report.codec,
        report.mean_bitrate() / 1000.0,
        text::bytes(report.output_bytes),
        text::duration(took),
    );
}
