//! `micropy convert`: files in, MP3s out.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use micropy_core::{
    Converter, Division, EmptyPart, Error, FileSink, Joined, Options, PartOutcome, Progress,
    Report, Sink, Source, StreamSink,
};

use crate::bar::{Bar, Share};
use crate::batch::{self, Ended, Leaving, Task};
use crate::existing::{Existing, NoTime, check_link};
use crate::interrupt::Interrupt;
use crate::log::{Log, Teller, Verbosity};
use crate::options::{AudioArgs, TagArgs, options};
use crate::output::{
    Output, Wanted, chapters_name, check_folders, create_folders, creates_folders,
    is_named_as_output, is_several, joined_output, outputs, place, refuse_url,
};
use crate::parts::PartArgs;
use crate::tree::{self, Input};
use crate::waveform::WaveformArgs;
use crate::{Exit, dry_run, input, json, message, system, text, watch};

/// The arguments of `micropy convert`.
#[derive(Debug, clap::Args)]
#[command(after_help = HABITS)]
pub struct Args {
    /// Files, URLs (http, https, s3, gs, az) and named pipes to convert, and folders with --recursive or --watch; `-`
    /// is standard input
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    /// Where the MP3 goes: a file, a folder, a named pipe or device, or `-` for standard output
    /// [default: beside the input; in the current folder for a URL; standard output for a pipe]
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Option<PathBuf>,

    /// Convert the videos in folders and in the folders below, and mirror these in OUTPUT
    #[arg(short = 'r', visible_short_alias = 'R', long)]
    pub recursive: bool,

    /// Convert the videos in folders, then wait for more, until Ctrl-C; implies --update
    #[arg(long, conflicts_with_all = ["dry_run", "split_chapters", "split", "join", "no_clobber"])]
    pub watch: bool,

    /// Print what would be made, and write nothing
    #[arg(long, conflicts_with_all = ["join", "split_at"])]
    pub dry_run: bool,

    /// Write each chapter to an MP3 of its own in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    split_chapters: Option<PathBuf>,

    #[command(flatten)]
    pub waveform: WaveformArgs,

    /// Worker threads; the MP3 is the same for every number [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,

    /// Print one JSON report per MP3 on standard output
    #[arg(long)]
    pub json: bool,

    /// Overwrite existing files, which keep their mode
    #[arg(short = 'y', long, conflicts_with_all = ["no_clobber", "update"])]
    force: bool,

    /// Keep existing files, and go on: their inputs are skipped
    #[arg(short, long, conflicts_with = "update")]
    no_clobber: bool,

    /// Skip inputs whose MP3 is newer and whole, and overwrite the others
    #[arg(short, long, conflicts_with_all = ["split_chapters", "split", "join"])]
    update: bool,

    /// Print problems alone
    #[arg(long, conflicts_with = "verbose")]
    quiet: bool,

    /// Print how each MP3 was made, and what was skipped
    #[arg(short, long)]
    verbose: bool,

    // Last: what follows a group with a heading would stand under that heading in the help.
    #[command(flatten)]
    audio: AudioArgs,

    #[command(flatten)]
    tags: TagArgs,

    #[command(flatten)]
    parts: PartArgs,
}

/// Words that other programs have taught people.
const HABITS: &str = "\
These words of ffmpeg and LAME mean the same here: -ss, -to, -t, -b:a, -q:a, -ar, -ac, -vn, -map 0:a:N, -metadata, -V2,
--resample, -m m, --tt, --ta, --tl. Others are refused with the flag to type instead.";

impl Args {
    /// How each input is divided by time, if it is.
    pub fn division(&self) -> Option<Division> {
        self.parts.division()
    }

    /// Whether each input is divided, by time or at its chapters.
    pub fn divides(&self) -> bool {
        self.split_chapters.is_some() || self.division().is_some()
    }

    /// What to do with files that exist.
    pub fn existing(&self) -> Existing {
        match (self.force, self.no_clobber, self.update || self.watch) {
            (true, _, _) => Existing::Replace,
            (_, true, _) => Existing::Keep,
            (_, _, true) => Existing::Update,
            _ => Existing::Refuse,
        }
    }

    /// How much to tell.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

/// What all conversions of one command line share.
pub struct Batch<'a> {
    pub args: &'a Args,
    pub options: Options,
    pub interrupt: Interrupt,
}

/// Converts all inputs. One that fails does not stop the others.
pub fn run(args: Args) -> Exit {
    match start(&args) {
        Ok(exit) => exit,
        Err(problem) => {
            message::problem(problem);
            Exit::Usage
        }
    }
}

/// Does what the command line means; an error says what is wrong with it.
fn start(args: &Args) -> Result<Exit, String> {
    refuse_url(args.output.as_deref())?;
    refuse_url(args.split_chapters.as_deref())?;
    let options = options(&args.audio, &args.tags, args.parts.fit(), args.jobs)?;
    let options = args.parts.apply(options, args.output.as_deref())?;
    let batch = Batch {
        args,
        options,
        interrupt: Interrupt::watch(),
    };
    if args.watch {
        watch::refuse(args)?;
        return Ok(watch::run(&batch));
    }
    let (inputs, problems) = inputs(args)?;
    let wanted = batch.wanted();
    if args.parts.join() {
        let output = joined_output(&inputs, wanted)?;
        refuse_two_on_stdout(args, &[&output])?;
        args.waveform.check(&[&output])?;
        create_folders(&[&output], wanted, false)?;
        return Ok(told(&problems).max(batch.join(&inputs, &output)));
    }
    let several = is_several(&inputs);
    let pairs = outputs(inputs, wanted)?;
    let made: Vec<&Output> = pairs.iter().map(|(_, output)| output).collect();
    refuse_two_on_stdout(args, &made)?;
    args.waveform.check(&made)?;
    match args.dry_run {
        true => check_folders(&made, wanted, several)?,
        false => create_folders(&made, wanted, several)?,
    }
    let tasks: Vec<Task> = pairs.into_iter().map(Task::new).collect();
    if args.dry_run {
        let exit = dry_run::run(&batch, &tasks, creates_folders(wanted, several));
        return Ok(exit.max(told(&problems)));
    }
    let found = told(&problems);
    Ok(found.max(batch::run(&batch, &tasks, true)))
}

/// Standard output takes the MP3 or the reports.
fn refuse_two_on_stdout(args: &Args, outputs: &[&Output]) -> Result<(), String> {
    match args.json && outputs.contains(&&Output::Stdout) {
        true => Err("--json and the MP3 cannot both go to standard output".into()),
        false => Ok(()),
    }
}

/// Prints these problems, if there are any.
fn told(problems: &[String]) -> Exit {
    problems.iter().for_each(message::problem);
    match problems {
        [] => Exit::Done,
        _ => Exit::Failed,
    }
}

/// The inputs, with those that folders hold, and what could not be looked into.
fn inputs(args: &Args) -> Result<(Vec<Input>, Vec<String>), String> {
    let mut inputs = Vec::with_capacity(args.inputs.len());
    let mut problems = Vec::new();
    for path in &args.inputs {
        if !path.is_dir() {
            inputs.push(Input::named(path));
            continue;
        }
        if !args.recursive {
            return Err(format!(
                "{} is a folder: use --recursive to convert the videos in it",
                path.display()
            ));
        }
        let found = tree::videos(path, true);
        if found.videos.is_empty() && found.problems.is_empty() {
            problems.push(format!("{}: no video in it", path.display()));
        }
        problems.extend(found.problems);
        inputs.extend(
            found
                .videos
                .into_iter()
                .map(|video| Input::found(video, path)),
        );
    }
    // ffmpeg and LAME take the output as the last word.
    if let [.., last] = inputs.as_slice()
        && inputs.len() > 1
        && args.output.is_none()
        && is_named_as_output(&last.path)
        && !input::is_url(&last.path)
        && !last.path.exists()
    {
        let last = last.path.display();
        return Err(format!(
            "{last} is no file: if the output is to be called so, type `-o {last}`"
        ));
    }
    Ok((inputs, problems))
}

impl Batch<'_> {
    /// Where the outputs are to go.
    pub fn wanted(&self) -> Wanted<'_> {
        Wanted {
            output: self.args.output.as_deref(),
            split_chapters: self.args.split_chapters.as_deref(),
            parts: self.args.division().is_some(),
            extension: self.options.format.extension(),
        }
    }

    /// Converts one input with this many jobs, and tells how it went. Calls `leave` when nothing is left but to wait for
    /// the disk.
    pub fn convert(
        &self,
        task: &Task,
        jobs: usize,
        share: &Share<'_>,
        teller: &Teller<'_>,
        leave: &dyn Fn(),
    ) -> Ended {
        let output = &task.output;
        let turn = Turn {
            input: task.input.path.as_path(),
            is_only: self.args.inputs.len() == 1 && task.input.root.is_none(),
            jobs,
            share,
            teller,
        };
        match self.reason_to_keep(task) {
            Ok(None) => {}
            Ok(Some((path, why))) => {
                self.keep(&turn, path, why);
                return Ended::kept();
            }
            Err(failure) => return explain(failure, &turn, output),
        }
        let result = match output {
            Output::Chapters(folder) => self.split(&turn, folder, "", Division::Chapters),
            Output::Parts { folder, stem } => {
                let division = self.args.division().unwrap_or(Division::Chapters);
                self.split(&turn, folder, stem, division)
            }
            _ => self.transcode(&turn, output, leave),
        };
        result.unwrap_or_else(|failure| explain(failure, &turn, output))
    }

    /// The file that is kept rather than made, and why; `None`: it is to be made.
    pub fn reason_to_keep<'t>(
        &self,
        task: &'t Task,
    ) -> Result<Option<(&'t Path, &'static str)>, Failure> {
        let (Output::File(path), false) = (&task.output, task.is_changed) else {
            return Ok(None);
        };
        let existing = self.args.existing();
        let reason = existing.reason_to_keep(&task.input.path, path);
        let reason = reason.map_err(|NoTime| Failure::NoTime(path.clone()))?;
        let drawn = self.args.waveform.file(&task.output);
        if existing == Existing::Update && drawn.is_some_and(|drawn| !drawn.exists()) {
            return Ok(None);
        }
        Ok(reason.map(|why| (path.as_path(), why)))
    }

    /// Tells that the file `path` was there already, and stays.
    fn keep(&self, turn: &Turn<'_>, path: &Path, why: &str) {
        let (input, name) = (input::shown(turn.input), path.display());
        let line = format!("{input} → {name}  kept: {why}");
        match turn.is_only {
            true => turn.teller.say(line),
            false => turn.teller.detail(line),
        }
        if self.args.json {
            let report = json::kept(turn.input, path, why);
            turn.teller.report(&path.display().to_string(), report);
        }
    }

    fn converter<'a>(&self, turn: &'a Turn<'_>, passes: &'a mut Passes) -> Converter<'a> {
        let converter = Converter::new(self.options.clone().jobs(turn.jobs))
            .cancel(self.interrupt.token().clone())
            .on_progress(move |progress| {
                passes.note(&progress);
                turn.share.show(&progress);
            });
        self.args.waveform.draw(converter)
    }

    /// Makes one MP3 of one input.
    fn transcode(
        &self,
        turn: &Turn<'_>,
        output: &Output,
        leave: &dyn Fn(),
    ) -> Result<Ended, Failure> {
        let started = Instant::now();
        let waveform = self.waveform_file(output)?;
        let source = self.open(turn.input)?;
        let opened = started.elapsed();
        let mut passes = Passes::new();
        let mut converter = self.converter(turn, &mut passes);
        let sink = Leaving {
            sink: self.sink(output)?,
            leave,
        };
        let converted = converter.convert(source, sink);
        let report = converted.map_err(Failure::of(output))?;
        if let Some(path) = waveform {
            self.write_waveform(&path, turn.input, &mut converter)?;
        }
        drop(converter);
        let took = started.elapsed();
        let exit = self.report(turn, &output.name(), &report, took);
        turn.teller
            .detail(details(&report, turn.jobs, opened, &passes.steps(), took));
        Ok(Ended::converted(exit, &report))
    }

    /// Makes one MP3 of each part of an input, in `folder`.
    fn split(
        &self,
        turn: &Turn<'_>,
        folder: &Path,
        stem: &str,
        division: Division,
    ) -> Result<Ended, Failure> {
        let source = self.open(turn.input)?;
        let mut passes = Passes::new();
        let mut parts = self
            .converter(turn, &mut passes)
            .parts(source, division)
            .map_err(Failure::Convert)?;
        let paths: Vec<PathBuf> = parts
            .file_names(stem)
            .iter()
            .map(|name| folder.join(name))
            .collect();
        let existing = self.args.existing();
        // Checked before any is written: half a book is no use.
        if existing == Existing::Refuse
            && let Some(path) = paths.iter().find(|path| path.exists())
        {
            return Err(Failure::create(path)(io::ErrorKind::AlreadyExists.into()));
        }
        let mut places = HashSet::with_capacity(paths.len());
        if let Some(path) = paths.iter().find(|path| !places.insert(place(path))) {
            let why = format!("{} is a link to another part", path.display());
            return Err(Failure::Foreseen(Exit::Failed, why));
        }
        let mut ended = Ended::without_mp3(Exit::Done);
        let mut empty = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            if existing == Existing::Keep && path.exists() {
                self.keep(turn, path, "it exists");
                ended.counts.kept += 1;
                continue;
            }
            let started = Instant::now();
            turn.share.begin_part(index, paths.len());
            let converted = parts.convert(index, self.create(path)?);
            match converted.map_err(Failure::of_file(path))? {
                PartOutcome::Empty(part) => empty.push((path, part)),
                PartOutcome::Converted(report) => {
                    let name = path.display().to_string();
                    let exit = self.report(turn, &name, &report, started.elapsed());
                    ended = ended.and(Ended::converted(exit, &report));
                }
            }
        }
        if empty.len() == paths.len() {
            let error = empty.into_iter().next().map(|(_, first)| first.into());
            return Err(Failure::Convert(error.unwrap_or(Error::NoChapters)));
        }
        ended.exit = ended.exit.max(self.report_empty(turn, &empty, ended.exit));
        Ok(ended)
    }

    /// Joins all inputs into one MP3.
    fn join(&self, inputs: &[Input], output: &Output) -> Exit {
        let started = Instant::now();
        let name = output.name();
        let verbosity = self.args.verbosity();
        let bar = Bar::new(&[(Path::new(&name), 1)], verbosity == Verbosity::Quiet);
        let log = Log::new(&bar, verbosity, false);
        let teller = log.of(0);
        let label = format!("{} files", inputs.len());
        let turn = Turn {
            input: Path::new(&label),
            is_only: true,
            jobs: batch::cores(self),
            share: &bar.share(1),
            teller: &teller,
        };
        let exit = match self.joined(inputs, &turn, output) {
            Ok(None) => Exit::Done,
            Ok(Some(joined)) => {
                for (input, report) in inputs.iter().zip(&joined.inputs) {
                    for warning in &report.warnings {
                        let input = input::shown(&input.path);
                        teller.problem(format_args!("{input}: warning: {warning}"));
                    }
                }
                self.report(&turn, &name, &joined.report, started.elapsed())
            }
            Err(failure) => explain(failure, &turn, output).exit,
        };
        drop(teller);
        bar.clear();
        exit.max(log.finish(None))
    }

    /// `None`: the output was there already, and stays.
    fn joined(
        &self,
        inputs: &[Input],
        turn: &Turn<'_>,
        output: &Output,
    ) -> Result<Option<Joined>, Failure> {
        // Before anything is opened: all inputs may be far away.
        if let Output::File(path) = output
            && path.exists()
        {
            match self.args.existing() {
                Existing::Keep => {
                    self.keep(turn, path, "it exists");
                    return Ok(None);
                }
                Existing::Refuse => {
                    return Err(Failure::create(path)(io::ErrorKind::AlreadyExists.into()));
                }
                Existing::Update | Existing::Replace => {}
            }
        }
        let waveform = self.waveform_file(output)?;
        let mut sources = Vec::with_capacity(inputs.len());
        for Input { path, .. } in inputs {
            sources.push((chapters_name(path), self.open(path)?));
        }
        let mut passes = Passes::new();
        let mut converter = self.converter(turn, &mut passes);
        let joined = converter.join(sources, self.sink(output)?);
        let joined = joined.map_err(Failure::of(output))?;
        if let Some(path) = waveform {
            self.write_waveform(&path, turn.input, &mut converter)?;
        }
        Ok(Some(joined))
    }

    /// Prints which chapters hold no audio, and returns whether it is missing. `others`: how the other chapters ended.
    fn report_empty(&self, turn: &Turn<'_>, empty: &[(&PathBuf, EmptyPart)], others: Exit) -> Exit {
        let input = input::shown(turn.input);
        for (path, chapter) in empty {
            let path = path.display();
            match chapter.is_complete() {
                true => turn.teller.say(format_args!("{input}: {path}: {chapter}")),
                false => turn
                    .teller
                    .problem(format_args!("{input}: warning: {path}: {chapter}")),
            }
        }
        let Some((path, first)) = empty.iter().find(|(_, chapter)| !chapter.is_complete()) else {
            return Exit::Done;
        };
        // The report of a chapter that breaks off in the middle has said so already.
        if others < Exit::Incomplete {
            for warning in &first.missing {
                turn.teller
                    .problem(format_args!("{input}: warning: {warning}"));
            }
            if self.args.json {
                let mut line = json::empty(first);
                line["input"] = input.to_string().into();
                turn.teller.report(&path.display().to_string(), line);
            }
        }
        Exit::Incomplete
    }

    /// Opens an input.
    pub fn open(&self, input: &Path) -> Result<Box<dyn Source>, Failure> {
        let token = self.interrupt.token();
        input::open(input, token).map_err(|error| match token.is_cancelled() {
            true => Failure::Convert(Error::Cancelled),
            false => Failure::Open(error),
        })
    }

    /// What one MP3 is written to.
    fn sink(&self, output: &Output) -> Result<Box<dyn Sink>, Failure> {
        Ok(match output {
            Output::File(path) => Box::new(self.create(path)?),
            Output::Stream(path) => {
                let stream = File::options().write(true).open(path);
                let stream = stream.map_err(Failure::create(path))?;
                Box::new(StreamSink::new(BufWriter::new(stream)))
            }
            _ => Box::new(StreamSink::new(BufWriter::new(io::stdout().lock()))),
        })
    }

    fn create(&self, path: &Path) -> Result<FileSink, Failure> {
        self.check_link(path)?;
        let created = self
            .interrupt
            .create(path, self.args.existing().may_replace());
        created.map_err(Failure::create(path))
    }

    /// Refuses a link to a file that is none of ours, where it would be replaced.
    pub fn check_link(&self, path: &Path) -> Result<(), Failure> {
        match self.args.existing().may_replace() {
            true => check_link(path, self.options.format)
                .map_err(|target| Failure::Link(path.to_owned(), target)),
            false => Ok(()),
        }
    }

    /// Tells what became of one MP3, and returns whether it is complete.
    fn report(&self, turn: &Turn<'_>, output: &str, report: &Report, took: Duration) -> Exit {
        let input = turn.input;
        for warning in &report.warnings {
            turn.teller
                .problem(format_args!("{}: warning: {warning}", input::shown(input)));
        }
        let speed = report.duration().as_secs_f64() / took.as_secs_f64().max(1e-6);
        if self.args.json {
            let mut line = json::report(report);
            line["input"] = input::shown(input).to_string().into();
            line["output"] = output.into();
            line["elapsed_seconds"] = took.as_secs_f64().into();
            line["speed"] = speed.into();
            turn.teller.report(output, line);
        } else {
            turn.teller.say(format_args!(
                "{} → {output}  {} of {}{}, {:.0} kbit/s, {}, in {} ({speed:.0}× real time)",
                input::shown(input),
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

/// Says why there is no MP3.
fn explain(failure: Failure, turn: &Turn<'_>, output: &Output) -> Ended {
    match failure {
        Failure::Convert(Error::Cancelled) => {
            turn.teller
                .problem(format_args!("{}: cancelled", input::shown(turn.input)));
            Ended::without_mp3(Exit::Interrupted)
        }
        // The reader of our output wants no more.
        Failure::Convert(Error::Write(error)) if system::is_closed_pipe(&error) => {
            Ended::without_mp3(Exit::Done)
        }
        failure => {
            turn.teller.failure(failure.message(turn.input, output));
            Ended::without_mp3(failure.exit())
        }
    }
}

/// One input's turn in the batch.
struct Turn<'a> {
    input: &'a Path,
    /// There is no other: what is kept is told without being asked.
    is_only: bool,
    jobs: usize,
    share: &'a Share<'a>,
    teller: &'a Teller<'a>,
}

/// When each pass over the audio began.
struct Passes {
    began: Vec<Instant>,
    last: Instant,
}

impl Passes {
    fn new() -> Self {
        let now = Instant::now();
        Passes {
            began: vec![now],
            last: now,
        }
    }

    fn note(&mut self, progress: &Progress) {
        // A pass is first heard of when it has begun: it began where the one before it was last heard of.
        while self.began.len() <= usize::from(progress.pass) {
            self.began.push(self.last);
        }
        self.last = Instant::now();
    }

    /// What was done in each pass, and how long it took.
    fn steps(&self) -> Vec<(&'static str, Duration)> {
        let ends = self.began.iter().skip(1).copied().chain([Instant::now()]);
        let names = match self.began.len() {
            1 => &["converted"][..],
            _ => &["measured", "converted"],
        };
        let took = self
            .began
            .iter()
            .zip(ends)
            .map(|(&began, end)| end.duration_since(began));
        names.iter().copied().zip(took).collect()
    }
}

/// How an MP3 was made.
fn details(
    report: &Report,
    jobs: usize,
    opened: Duration,
    steps: &[(&str, Duration)],
    took: Duration,
) -> String {
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let steps: String = steps
        .iter()
        .map(|(step, took)| format!(", {step} in {}", millis(*took)))
        .collect();
    let loudness = report.loudness.map_or_else(String::new, |loudness| {
        let measured = match loudness.integrated {
            Some(lufs) => format!("{lufs:.1} LUFS"),
            None => "none, it is silent".into(),
        };
        format!("\n  loudness {measured}, gain {:+.1} dB", loudness.gain)
    });
    format!(
        "  {} Hz, {} channels → {} Hz, {} channels; {} packets, {} read; {} frames, {} of tags\n  \
         {jobs} jobs; opened in {}{steps}, {} in all{loudness}",
        report.input_sample_rate,
        report.input_channels,
        report.output_sample_rate,
        report.output_channels,
        report.packets,
        text::bytes(report.input_bytes),
        report.frames,
        text::bytes(report.tag_bytes),
        millis(opened),
        millis(took),
    )
}

/// Why one file was not converted.
pub enum Failure {
    Open(io::Error),
    Create(PathBuf, io::Error),
    /// The output is a link to a file that is not to be replaced.
    Link(PathBuf, PathBuf),
    /// The output exists, and the input has no time to compare.
    NoTime(PathBuf),
    Convert(Error),
    /// It would fail, and why.
    Foreseen(Exit, String),
}

impl Failure {
    /// The output `path` cannot be made.
    pub fn create(path: &Path) -> impl FnOnce(io::Error) -> Failure {
        |error| Failure::Create(path.to_owned(), error)
    }

    /// A conversion into `output`.
    fn of(output: &Output) -> impl FnOnce(Error) -> Failure {
        |error| match output {
            Output::File(path) => Failure::of_file(path)(error),
            _ => Failure::Convert(error),
        }
    }

    /// A conversion into the file `path`, under whose name another may have appeared meanwhile.
    pub fn of_file(path: &Path) -> impl FnOnce(Error) -> Failure {
        |error| match error {
            Error::Write(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Failure::Create(path.to_owned(), error)
            }
            error => Failure::Convert(error),
        }
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Convert(Error::InvalidOption(_) | Error::TooLong { .. }) => Exit::Usage,
            Failure::Foreseen(exit, _) => *exit,
            Failure::Convert(Error::EmptyPart { start, missing, .. })
                if !start.is_zero() && missing.is_empty() =>
            {
                Exit::Usage
            }
            _ => Exit::Failed,
        }
    }

    /// The sentence for the user.
    pub fn message(&self, input: &Path, output: &Output) -> String {
        let input = input::shown(input);
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
            Failure::Link(path, target) => format!(
                "{} is a link to {}, which holds something else: it stays as it is",
                path.display(),
                target.display()
            ),
            Failure::NoTime(path) => format!(
                "{} already exists, and {input} has no time to compare: use --force to overwrite it, --no-clobber to keep it",
                path.display()
            ),
            Failure::Convert(Error::Write(error)) => {
                format!("{}: cannot write: {error}", output.name())
            }
            Failure::Convert(error) => format!("{input}: {}", error.with_causes()),
            Failure::Foreseen(_, why) => format!("{input}: {why}"),
        }
    }
}
