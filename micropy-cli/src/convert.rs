//! `micropy convert`: files in, MP3s out.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use micropy_core::{
    Converter, Error, FileSink, Options, Progress, Report, SeekSource, Source, StreamSink,
    StreamSource,
};

use crate::interrupt::Interrupt;
use crate::options::{AudioArgs, TagArgs, options};
use crate::stdin::Stdin;
use crate::{Exit, json, text};

/// What may stand behind `micropy convert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files to convert; `-` is the standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Where the MP3 goes: a file, a folder, a named pipe or device, or `-` for the standard output
    /// [default: beside the input]
    #[arg(short, long, value_name = "OUTPUT")]
    output: Option<PathBuf>,

    #[command(flatten)]
    audio: AudioArgs,

    #[command(flatten)]
    tags: TagArgs,

    /// Write each chapter into an MP3 of its own in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    split_chapters: Option<PathBuf>,

    /// Worker threads; the MP3 is the same for every number [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,

    /// Print one JSON report per MP3 on the standard output
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
    /// A device or a named pipe: written to as it is, never replaced.
    Stream(PathBuf),
    /// A file for each chapter.
    Chapters(PathBuf),
}

impl Output {
    /// What stands under this name, or will.
    fn at(path: PathBuf) -> Self {
        // A shell that sends the standard output to a file has made that file already.
        const STDOUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
        if cfg!(unix) && STDOUT.iter().any(|name| path == Path::new(name)) {
            return Output::Stdout;
        }
        match path.metadata() {
            Ok(found) if !found.is_file() && !found.is_dir() => Output::Stream(path),
            _ => Output::File(path),
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Output::Stdout => None,
            Output::File(path) | Output::Stream(path) | Output::Chapters(path) => Some(path),
        }
    }

    fn name(&self) -> String {
        self.path()
            .map_or("standard output".into(), |path| path.display().to_string())
    }
}

/// What holds for all tasks.
struct Desk<'a> {
    args: &'a Args,
    options: Options,
    interrupt: Interrupt,
}

/// Converts all inputs, each on its own: one that fails does not keep the others from being done.
pub fn run(args: Args) -> Exit {
    let meant = options(&args.audio, &args.tags, args.jobs)
        .and_then(|options| Ok((options, tasks(&args)?)));
    let (options, tasks) = match meant {
        Ok(meant) => meant,
        Err(message) => {
            eprintln!("micropy: {message}");
            return Exit::Usage;
        }
    };
    let desk = Desk {
        args: &args,
        options,
        interrupt: Interrupt::watch(),
    };
    let mut worst = Exit::Done;
    for task in &tasks {
        worst = worst.max(desk.convert(task));
        if desk.interrupt.token().is_cancelled() {
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
    let folder = |path: &Path| {
        let made = std::fs::create_dir_all(path);
        made.map_err(|e| format!("cannot make the folder {}: {e}", path.display()))
    };
    let several = args.inputs.len() > 1;
    let mut tasks = Vec::with_capacity(args.inputs.len());
    for input in &args.inputs {
        let output = match (&args.split_chapters, &args.output) {
            (Some(dir), _) if several => {
                Output::Chapters(dir.join(mp3_name(input)).with_extension(""))
            }
            (Some(dir), _) => Output::Chapters(dir.clone()),
            (None, Some(output)) if is_dash(output) && several => {
                return Err("only one file can go to the standard output".into());
            }
            (None, Some(output)) if is_dash(output) => Output::Stdout,
            (None, Some(output)) if several || names_folder(output) => {
                folder(output)?;
                Output::at(output.join(mp3_name(input)))
            }
            (None, Some(output)) => Output::at(output.clone()),
            (None, None) if is_dash(input) => Output::Stdout,
            (None, None) => Output::at(input.with_extension("mp3")),
        };
        if let Output::Chapters(dir) = &output {
            folder(dir)?;
        }
        tasks.push(Task { input, output });
    }
    if args.json
        && tasks
            .iter()
            .any(|task| matches!(task.output, Output::Stdout))
    {
        return Err("--json and the MP3 cannot both go to the standard output".into());
    }
    for (i, task) in tasks.iter().enumerate() {
        let Some(path) = task.output.path() else {
            continue;
        };
        let goes_there = |other: &&Task<'_>| other.output.path() == Some(path);
        if let Some(twin) = tasks[..i].iter().find(goes_there) {
            return Err(format!(
                "{} and {} would both become {}",
                twin.input.display(),
                task.input.display(),
                path.display()
            ));
        }
        if let Some(input) = args.inputs.iter().find(|input| is_same_file(input, path)) {
            return Err(format!(
                "{} is an input: it would be overwritten",
                input.display()
            ));
        }
    }
    Ok(tasks)
}

/// Whether both name one file, by whatever way.
fn is_same_file(a: &Path, b: &Path) -> bool {
    a == b
        || match (a.canonicalize(), b.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        }
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

impl Desk<'_> {
    /// Does one task and tells how it went.
    fn convert(&self, task: &Task<'_>) -> Exit {
        let bar = progress_bar(task.input);
        let result = match &task.output {
            Output::Chapters(folder) => self.split(task, folder, &bar),
            _ => self.transcode(task, &bar),
        };
        bar.finish_and_clear();
        match result {
            Ok(exit) => exit,
            Err(Failure::Convert(Error::Cancelled)) => {
                eprintln!("micropy: {}: cancelled", task.input.display());
                Exit::Interrupted
            }
            // Whoever read our output has had enough.
            Err(Failure::Convert(Error::Write(error)))
                if error.kind() == io::ErrorKind::BrokenPipe =>
            {
                Exit::Done
            }
            Err(failure) => {
                let (message, exit) = failure.message(task);
                eprintln!("micropy: {message}");
                exit
            }
        }
    }

    fn converter<'a>(&self, bar: &'a ProgressBar) -> Converter<'a> {
        Converter::new(self.options.clone())
            .cancel(self.interrupt.token().clone())
            .on_progress(|progress| show(bar, &progress))
    }

    /// One MP3 of one input.
    fn transcode(&self, task: &Task<'_>, bar: &ProgressBar) -> Result<Exit, Failure> {
        let started = Instant::now();
        let source = self.open(task.input)?;
        let mut converter = self.converter(bar);
        let report = match &task.output {
            Output::File(path) => {
                let mut file = self.create(path)?;
                let report = converter
                    .convert(source, &mut file)
                    .map_err(Failure::Convert)?;
                file.persist().map_err(Failure::create(path))?;
                report
            }
            Output::Stream(path) => {
                let stream = File::options().write(true).open(path);
                let stream = io::BufWriter::new(stream.map_err(Failure::create(path))?);
                let converted = converter.convert(source, StreamSink(stream));
                converted.map_err(Failure::Convert)?
            }
            _ => {
                let stdout = io::BufWriter::new(io::stdout().lock());
                let sink = StreamSink(stdout);
                converter.convert(source, sink).map_err(Failure::Convert)?
            }
        };
        bar.finish_and_clear();
        Ok(self.tell(task.input, &task.output.name(), &report, started.elapsed()))
    }

    /// One MP3 of each chapter of an input, in `folder`.
    fn split(&self, task: &Task<'_>, folder: &Path, bar: &ProgressBar) -> Result<Exit, Failure> {
        let source = self.open(task.input)?;
        let mut chapters = self
            .converter(bar)
            .chapters(source)
            .map_err(Failure::Convert)?;
        let paths: Vec<PathBuf> = chapters
            .file_names()
            .iter()
            .map(|name| folder.join(name))
            .collect();
        // Before any is written: half a book is no use.
        if !self.args.force
            && let Some(path) = paths.iter().find(|path| path.exists())
        {
            return Err(Failure::create(path)(io::ErrorKind::AlreadyExists.into()));
        }
        let mut worst = Exit::Done;
        for (index, path) in paths.iter().enumerate() {
            let started = Instant::now();
            bar.reset();
            let mut file = self.create(path)?;
            let report = chapters
                .convert(index, &mut file)
                .map_err(Failure::Convert)?;
            file.persist().map_err(Failure::create(path))?;
            let name = path.display().to_string();
            let told = bar.suspend(|| self.tell(task.input, &name, &report, started.elapsed()));
            worst = worst.max(told);
        }
        Ok(worst)
    }

    fn open(&self, input: &Path) -> Result<Box<dyn Source>, Failure> {
        if input == Path::new("-") {
            let stdin = Stdin::new(self.interrupt.token().clone()).map_err(Failure::Open)?;
            return Ok(Box::new(StreamSource::new(stdin)));
        }
        Ok(Box::new(SeekSource::open(input).map_err(Failure::Open)?))
    }

    fn create(&self, path: &Path) -> Result<FileSink, Failure> {
        let created = self.interrupt.create(path, self.args.force);
        created.map_err(Failure::create(path))
    }
}

/// Why one file was not converted.
enum Failure {
    Open(io::Error),
    Create(PathBuf, io::Error),
    Convert(Error),
}

impl Failure {
    fn create(path: &Path) -> impl FnOnce(io::Error) -> Failure {
        |error| Failure::Create(path.to_owned(), error)
    }

    /// The sentence for the user, and how the program ends.
    fn message(&self, task: &Task<'_>) -> (String, Exit) {
        let input = task.input.display();
        match self {
            Failure::Open(error) => (format!("{input}: cannot open: {error}"), Exit::Failed),
            Failure::Create(path, error) if error.kind() == io::ErrorKind::AlreadyExists => (
                format!(
                    "{} exists already: use --force to overwrite it",
                    path.display()
                ),
                Exit::Failed,
            ),
            Failure::Create(path, error) => (
                format!("{}: cannot create: {error}", path.display()),
                Exit::Failed,
            ),
            Failure::Convert(error @ Error::InvalidOption(_)) => {
                (format!("{input}: {error}"), Exit::Usage)
            }
            Failure::Convert(Error::Write(error)) => (
                format!("{}: cannot write: {error}", task.output.name()),
                Exit::Failed,
            ),
            Failure::Convert(error) => (format!("{input}: {error}"), Exit::Failed),
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
    let done = progress.done.as_secs_f64();
    let passed = f64::from(progress.pass) * progress.total.unwrap_or_default().as_secs_f64();
    let speed = (passed + done) / f64::from(progress.passes.max(1));
    let speed = speed / bar.elapsed().as_secs_f64().max(1e-3);
    let step = match progress.passes {
        2.. if progress.pass == 0 => "measuring ",
        _ => "",
    };
    bar.set_message(format!(
        "{step}{} at {speed:.0}×",
        text::duration(progress.done)
    ));
}

impl Desk<'_> {
    /// Tells of one MP3, and how complete it is.
    fn tell(&self, input: &Path, output: &str, report: &Report, took: Duration) -> Exit {
        for warning in &report.warnings {
            eprintln!("micropy: {}: warning: {warning}", input.display());
        }
        let speed = report.duration().as_secs_f64() / took.as_secs_f64().max(1e-6);
        if self.args.json {
            let mut line = json::report(report);
            line["input"] = input.to_string_lossy().into();
            line["output"] = output.into();
            line["elapsed_seconds"] = took.as_secs_f64().into();
            line["speed"] = speed.into();
            // A reader that has gone away does not keep the files from being converted.
            let _ = writeln!(io::stdout(), "{line}");
        } else {
            eprintln!(
                "{} → {output}  {} of {}{}, {:.0} kbit/s, {}, in {} ({speed:.0}× real time)",
                input.display(),
                text::duration(report.duration()),
                report.codec,
                if report.copied { " (copied)" } else { "" },
                report.mean_bitrate() / 1000.0,
                text::bytes(report.output_bytes),
                text::duration(took),
            );
        }
        match report.complete {
            true => Exit::Done,
            false => Exit::Incomplete,
        }
    }
}
