//! `micropy convert`: files in, MP3s out.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use micropy_core::{
    ChapterOutcome, Converter, EmptyChapter, Error, FileSink, Options, Progress, Report, Source,
    StreamSink,
};

use crate::interrupt::Interrupt;
use crate::options::{AudioArgs, TagArgs, options};
use crate::output::{Output, Wanted, outputs};
use crate::{Exit, input, json, message, system, text};

/// The arguments of `micropy convert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and named pipes to convert; `-` is standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Where the MP3 goes: a file, a folder, a named pipe or device, or `-` for standard output
    /// [default: beside the input; standard output if that is a pipe]
    #[arg(short, long, value_name = "OUTPUT")]
    output: Option<PathBuf>,

    #[command(flatten)]
    audio: AudioArgs,

    #[command(flatten)]
    tags: TagArgs,

    /// Write each chapter to an MP3 of its own in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    split_chapters: Option<PathBuf>,

    /// Worker threads; the MP3 is the same for every number [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,

    /// Print one JSON report per MP3 on standard output
    #[arg(long)]
    json: bool,

    /// Overwrite existing files, which keep their mode
    #[arg(long)]
    force: bool,
}

/// What all conversions of one command line share.
struct Batch<'a> {
    args: &'a Args,
    options: Options,
    interrupt: Interrupt,
}

/// Converts all inputs. One that fails does not stop the others.
pub fn run(args: Args) -> Exit {
    let (options, outputs) = match interpret(&args) {
        Ok(meaning) => meaning,
        Err(problem) => {
            message::problem(problem);
            return Exit::Usage;
        }
    };
    let batch = Batch {
        args: &args,
        options,
        interrupt: Interrupt::watch(),
    };
    let mut worst = Exit::Done;
    for (input, output) in args.inputs.iter().zip(&outputs) {
        worst = worst.max(batch.convert(input, output));
        if batch.interrupt.token().is_cancelled() {
            return Exit::Interrupted;
        }
    }
    worst
}

/// What the command line means; an error says what is wrong with it.
fn interpret(args: &Args) -> Result<(Options, Vec<Output>), String> {
    let options = options(&args.audio, &args.tags, args.jobs)?;
    let wanted = Wanted {
        output: args.output.as_deref(),
        split_chapters: args.split_chapters.as_deref(),
    };
    let outputs = outputs(&args.inputs, wanted)?;
    if args.json && outputs.contains(&Output::Stdout) {
        return Err("--json and the MP3 cannot both go to standard output".into());
    }
    Ok((options, outputs))
}

impl Batch<'_> {
    /// Converts one input and reports how it went.
    fn convert(&self, input: &Path, output: &Output) -> Exit {
        let bar = progress_bar(input);
        let result = match output {
            Output::Chapters(folder) => self.split(input, folder, &bar),
            _ => self.transcode(input, output, &bar),
        };
        bar.finish_and_clear();
        match result {
            Ok(exit) => exit,
            Err(Failure::Convert(Error::Cancelled)) => {
                message::problem(format_args!("{}: cancelled", input.display()));
                Exit::Interrupted
            }
            // The reader of our output wants no more.
            Err(Failure::Convert(Error::Write(error))) if system::is_closed_pipe(&error) => {
                Exit::Done
            }
            Err(failure) => {
                message::problem(failure.message(input, output));
                failure.exit()
            }
        }
    }

    fn converter<'a>(&self, bar: &'a ProgressBar) -> Converter<'a> {
        Converter::new(self.options.clone())
            .cancel(self.interrupt.token().clone())
            .on_progress(|progress| show(bar, &progress))
    }

    /// Makes one MP3 of one input.
    fn transcode(&self, input: &Path, output: &Output, bar: &ProgressBar) -> Result<Exit, Failure> {
        let started = Instant::now();
        let source = self.open(input)?;
        let mut converter = self.converter(bar);
        let report = match output {
            Output::File(path) => {
                let converted = converter.convert(source, self.create(path)?);
                converted.map_err(Failure::of(path))?
            }
            Output::Stream(path) => {
                let stream = File::options().write(true).open(path);
                let stream = BufWriter::new(stream.map_err(Failure::create(path))?);
                let converted = converter.convert(source, StreamSink::new(stream));
                converted.map_err(Failure::Convert)?
            }
            _ => {
                let stdout = BufWriter::new(io::stdout().lock());
                let sink = StreamSink::new(stdout);
                converter.convert(source, sink).map_err(Failure::Convert)?
            }
        };
        bar.finish_and_clear();
        Ok(self.report(input, &output.name(), &report, started.elapsed()))
    }

    /// Makes one MP3 of each chapter of an input, in `folder`.
    fn split(&self, input: &Path, folder: &Path, bar: &ProgressBar) -> Result<Exit, Failure> {
        let source = self.open(input)?;
        let mut chapters = self
            .converter(bar)
            .chapters(source)
            .map_err(Failure::Convert)?;
        let paths: Vec<PathBuf> = chapters
            .file_names()
            .iter()
            .map(|name| folder.join(name))
            .collect();
        // Checked before any is written: half a book is no use.
        if !self.args.force
            && let Some(path) = paths.iter().find(|path| path.exists())
        {
            return Err(Failure::create(path)(io::ErrorKind::AlreadyExists.into()));
        }
        let mut worst = Exit::Done;
        let mut empty = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            let started = Instant::now();
            bar.reset();
            let converted = chapters.convert(index, self.create(path)?);
            match converted.map_err(Failure::of(path))? {
                ChapterOutcome::Empty(chapter) => empty.push((path, chapter)),
                ChapterOutcome::Converted(report) => {
                    let name = path.display().to_string();
                    let exit =
                        bar.suspend(|| self.report(input, &name, &report, started.elapsed()));
                    worst = worst.max(exit);
                }
            }
        }
        if empty.len() == paths.len() {
            let error = empty.into_iter().next().map(|(_, first)| first.into());
            return Err(Failure::Convert(error.unwrap_or(Error::NoChapters)));
        }
        bar.finish_and_clear();
        Ok(worst.max(self.report_empty(input, &empty, worst)))
    }

    /// Prints which chapters hold no audio, and returns whether it is missing. `others`: how the other chapters ended.
    fn report_empty(&self, input: &Path, empty: &[(&PathBuf, EmptyChapter)], others: Exit) -> Exit {
        let input = input.display();
        for (path, chapter) in empty {
            let path = path.display();
            match chapter.is_complete() {
                true => message::line(format_args!("{input}: {path}: {chapter}")),
                false => message::problem(format_args!("{input}: warning: {path}: {chapter}")),
            }
        }
        let Some((_, first)) = empty.iter().find(|(_, chapter)| !chapter.is_complete()) else {
            return Exit::Done;
        };
        // The report of a chapter that breaks off in the middle has said so already.
        if others < Exit::Incomplete {
            for warning in &first.missing {
                message::problem(format_args!("{input}: warning: {warning}"));
            }
            if self.args.json {
                let mut line = json::empty(first);
                line["input"] = input.to_string().into();
                // A reader that wants no more reports still wants its files.
                let _ = writeln!(io::stdout(), "{line}");
            }
        }
        Exit::Incomplete
    }

    fn open(&self, input: &Path) -> Result<Box<dyn Source>, Failure> {
        input::open(input, self.interrupt.token()).map_err(Failure::Open)
    }

    fn create(&self, path: &Path) -> Result<FileSink, Failure> {
        let created = self.interrupt.create(path, self.args.force);
        created.map_err(Failure::create(path))
    }

    /// Prints what became of one MP3, and returns whether it is complete.
    fn report(&self, input: &Path, output: &str, report: &Report, took: Duration) -> Exit {
        for warning in &report.warnings {
            message::problem(format_args!("{}: warning: {warning}", input.display()));
        }
        let speed = report.duration().as_secs_f64() / took.as_secs_f64().max(1e-6);
        if self.args.json {
            let mut line = json::report(report);
            line["input"] = input.to_string_lossy().into();
            line["output"] = output.into();
            line["elapsed_seconds"] = took.as_secs_f64().into();
            line["speed"] = speed.into();
            match writeln!(io::stdout(), "{line}") {
                // A reader that wants no more reports still wants its files.
                Err(error) if !system::is_closed_pipe(&error) => {
                    message::problem(format_args!(
                        "{output}: converted, but its report cannot be written: {error}"
                    ));
                    return Exit::Failed;
                }
                _ => {}
            }
        } else {
            message::line(format_args!(
                "{} → {output}  {} of {}{}, {:.0} kbit/s, {}, in {} ({speed:.0}× real time)",
                input.display(),
                text::duration(report.duration()),
                report.codec,
                if report.copied { " (copied)" } else { "" },
                report.mean_bitrate() / 1000.0,
                text::bytes(report.output_bytes),
                text::duration(took),
            ));
        }
        match report.complete {
            true => Exit::Done,
            false => Exit::Incomplete,
        }
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

    /// A conversion into the file `path`, under whose name another may have appeared meanwhile.
    fn of(path: &Path) -> impl FnOnce(Error) -> Failure {
        |error| match error {
            Error::Write(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Failure::Create(path.to_owned(), error)
            }
            error => Failure::Convert(error),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Failure::Convert(Error::InvalidOption(_)) => Exit::Usage,
            Failure::Convert(Error::EmptyPart { start, missing, .. })
                if !start.is_zero() && missing.is_empty() =>
            {
                Exit::Usage
            }
            _ => Exit::Failed,
        }
    }

    /// The sentence for the user.
    fn message(&self, input: &Path, output: &Output) -> String {
        let input = input.display();
        match self {
            Failure::Open(error) => format!("{input}: cannot open: {error}"),
            Failure::Create(path, error) if error.kind() == io::ErrorKind::AlreadyExists => {
                format!(
                    "{} already exists: use --force to overwrite it",
                    path.display()
                )
            }
            Failure::Create(path, error) => {
                format!("{}: cannot create: {error}", path.display())
            }
            Failure::Convert(Error::Write(error)) => {
                format!("{}: cannot write: {error}", output.name())
            }
            Failure::Convert(error) => format!("{input}: {}", error.with_causes()),
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
