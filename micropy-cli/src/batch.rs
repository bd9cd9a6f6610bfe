//! Several inputs at once, on all cores.

use std::cell::Cell;
use std::io;
use std::ops::AddAssign;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use micropy_core::{Report, Sink};

use crate::bar::Bar;
use crate::convert::Batch;
use crate::log::{Log, Verbosity};
use crate::output::Output;
use crate::tree::Input;
use crate::{Exit, text};

/// One input and where its MP3 goes.
#[derive(Clone, Debug)]
pub struct Task {
    pub input: Input,
    pub output: Output,
    /// The input is known to be another than the one that the output was made of, whatever their times say.
    pub is_changed: bool,
}

impl Task {
    pub fn new((input, output): (Input, Output)) -> Self {
        Task {
            input,
            output,
            is_changed: false,
        }
    }
}

/// How the turn of an input ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub exit: Exit,
    pub counts: Counts,
}

/// What became of inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// MP3s that were made.
    pub converted: usize,
    /// Those of them that lack what the input lacks.
    pub incomplete: usize,
    /// MP3s that were there already.
    pub kept: usize,
    /// Inputs that failed.
    pub failed: usize,
    /// The length of the MP3s that were made.
    pub audio: Duration,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.converted += more.converted;
        self.incomplete += more.incomplete;
        self.kept += more.kept;
        self.failed += more.failed;
        self.audio += more.audio;
    }
}

impl Ended {
    /// There is an MP3.
    pub fn converted(exit: Exit, report: &Report) -> Self {
        let counts = Counts {
            converted: 1,
            incomplete: usize::from(!report.complete),
            audio: report.duration(),
            ..Counts::default()
        };
        Ended { exit, counts }
    }

    /// The MP3 was there already.
    pub fn kept() -> Self {
        let counts = Counts {
            kept: 1,
            ..Counts::default()
        };
        let exit = Exit::Done;
        Ended { exit, counts }
    }

    /// No MP3 was made.
    pub fn without_mp3(exit: Exit) -> Self {
        let counts = Counts {
            failed: usize::from(matches!(exit, Exit::Failed | Exit::Usage)),
            ..Counts::default()
        };
        Ended { exit, counts }
    }

    /// This and another part of the same input.
    pub fn and(mut self, other: Ended) -> Self {
        self.exit = self.exit.max(other.exit);
        self.counts += other.counts;
        self
    }
}

/// Converts all inputs, as many at once as there are cores, and tells how it went. `sum_up`: failures are told last,
/// after a line that sums up.
pub fn run(batch: &Batch<'_>, tasks: &[Task], sum_up: bool) -> Exit {
    let started = Instant::now();
    let verbosity = batch.args.verbosity();
    let sizes: Vec<(&Path, u64)> = tasks.iter().map(|task| size(&task.input)).collect();
    let bar = Bar::new(&sizes, verbosity == Verbosity::Quiet);
    let several = tasks.len() > 1;
    let log = Log::new(&bar, verbosity, several && sum_up);
    let all = Mutex::new(Ended::without_mp3(Exit::Done));
    let turns = Turns::new(tasks.len(), cores(batch));
    let work = || {
        while let Some((index, jobs)) = turns.next() {
            let place = Place::taken(&turns);
            if batch.interrupt.token().is_cancelled() {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                *all = all.and(Ended::without_mp3(Exit::Interrupted));
                return;
            }
            let share = bar.share(sizes[index].1);
            let teller = log.of(index);
            let ended = batch.convert(&tasks[index], jobs, &share, &teller, &|| place.leave());
            share.finish(ended.exit == Exit::Failed);
            drop(place);
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            *all = all.and(ended);
        }
    };
    thread::scope(|scope| {
        for number in 1..turns.threads() {
            let thread = thread::Builder::new().name(format!("micropy file {number}"));
            // Without another thread, those there are do its work.
            if thread.spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    bar.clear();
    let Ended { exit, counts } = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    let summary = several && sum_up && !batch.args.json;
    let summary = summary.then(|| summary_of(&counts, started.elapsed()));
    exit.max(log.finish(summary))
}

/// Worker threads for all inputs together.
pub fn cores(batch: &Batch<'_>) -> usize {
    let given = batch.options.jobs.map(usize::from);
    given.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Hands out the inputs, each with a number of jobs.
struct Turns {
    inputs: usize,
    cores: usize,
    counts: Mutex<Taken>,
    /// An input is done.
    done: Condvar,
}

/// How many inputs were begun, and of how many nothing is left to compute.
#[derive(Default)]
struct Taken {
    begun: usize,
    done: usize,
}

impl Turns {
    fn new(inputs: usize, cores: usize) -> Self {
        Turns {
            inputs,
            cores,
            counts: Mutex::default(),
            done: Condvar::new(),
        }
    }

    /// How many inputs are converted at once.
    fn at_once(&self) -> usize {
        self.cores.min(self.inputs)
    }

    /// As many again wait until their MP3 is on the disk. Of a short clip that takes a good part of the time.
    fn threads(&self) -> usize {
        (2 * self.at_once()).min(self.inputs)
    }

    fn counts(&self) -> MutexGuard<'_, Taken> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next input and its jobs: one while all cores have an input of their own. The last inputs, which are fewer,
    /// share the cores. Waits while all cores are taken.
    fn next(&self) -> Option<(usize, usize)> {
        let is_full = |counts: &mut Taken| {
            counts.begun < self.inputs && counts.begun.saturating_sub(counts.done) >= self.at_once()
        };
        let counts = self.done.wait_while(self.counts(), is_full);
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        if counts.begun >= self.inputs {
            return None;
        }
        counts.begun += 1;
        let left = self.inputs.saturating_sub(counts.done).max(1);
        Some((counts.begun - 1, self.cores.div_ceil(self.cores.min(left))))
    }

    fn done(&self) {
        self.counts().done += 1;
        // Those that wait for the last input end, too.
        self.done.notify_all();
    }
}

/// The cores of an input, until nothing of it is left to compute.
struct Place<'a> {
    turns: &'a Turns,
    is_left: Cell<bool>,
}

impl<'a> Place<'a> {
    fn taken(turns: &'a Turns) -> Self {
        Place {
            turns,
            is_left: Cell::new(false),
        }
    }

    fn leave(&self) {
        if !self.is_left.replace(true) {
            self.turns.done();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A sink that says when its MP3 is whole, and only has to be put on the disk.
pub struct Leaving<'a, S> {
    pub sink: S,
    pub leave: &'a dyn Fn(),
}

impl<S: Sink> Sink for Leaving<'_, S> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)
    }
    fn can_rewrite(&self) -> bool {
        self.sink.can_rewrite()
    }
    fn rewrite(&mut self, back: u64, bytes: &[u8]) -> io::Result<()> {
        self.sink.rewrite(back, bytes)
    }
    fn finish(&mut self) -> io::Result<()> {
        (self.leave)();
        self.sink.finish()
    }
}

/// What an input weighs in the bar of all: its bytes.
fn size(input: &Input) -> (&Path, u64) {
    let path = input.path.as_path();
    let bytes = path.metadata().ok().filter(|found| found.is_file());
    (path, bytes.map_or(0, |found| found.len()))
}

fn summary_of(counts: &Counts, took: Duration) -> String {
    let mut facts = vec![format!("{} converted", counts.converted)];
    for (count, what) in [
        (counts.incomplete, "incomplete"),
        (counts.kept, "kept"),
        (counts.failed, "failed"),
    ] {
        if count > 0 {
            facts.push(format!("{count} {what}"));
        }
    }
    let speed = counts.audio.as_secs_f64() / took.as_secs_f64().max(1e-6);
    let (audio, took) = (text::duration(counts.audio), text::duration(took));
    format!(
        "{}: {audio} of audio in {took} ({speed:.0}× real time)",
        facts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_inputs_take_a_core_each_and_the_last_ones_share_them() {
        let turns = Turns::new(10, 4);
        assert_eq!(turns.at_once(), 4);
        let first: Vec<_> = (0..4).map_while(|_| turns.next()).collect();
        assert_eq!(first, [(0, 1), (1, 1), (2, 1), (3, 1)]);
        (0..6).for_each(|_| turns.done());
        // Four are left: these and those at work.
        assert_eq!(turns.next(), Some((4, 1)));
        turns.done();
        assert_eq!(turns.next(), Some((5, 2)));
        (0..2).for_each(|_| turns.done());
        assert_eq!(turns.next(), Some((6, 4)));
        assert_eq!(
            (turns.next(), turns.next(), turns.next()),
            (Some((7, 4)), Some((8, 4)), Some((9, 4)))
        );
        assert_eq!(turns.next(), None);
    }

    #[test]
    fn one_input_has_all_cores() {
        let turns = Turns::new(1, 16);
        assert_eq!(
            (turns.at_once(), turns.next(), turns.next()),
            (1, Some((0, 16)), None)
        );
        assert_eq!(Turns::new(0, 16).next(), None);
    }

    #[test]
    fn an_input_that_waits_for_the_disk_lets_another_begin() {
        let turns = Turns::new(3, 1);
        assert_eq!((turns.at_once(), turns.threads()), (1, 2));
        assert_eq!(turns.next(), Some((0, 1)));
        let place = Place::taken(&turns);
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let turns = &turns;
            scope.spawn(move || {
                while let Some(turn) = turns.next() {
                    sender.send(turn).expect("it is received");
                    turns.done();
                }
            });
            let soon = receiver.recv_timeout(Duration::from_millis(200));
            assert!(soon.is_err(), "{soon:?} began beside the first");
            place.leave();
            let patience = Duration::from_secs(20);
            assert_eq!(receiver.recv_timeout(patience), Ok((1, 1)));
            assert_eq!(receiver.recv_timeout(patience), Ok((2, 1)));
            // It is left once, whatever happens then.
            drop(place);
        });
        assert_eq!(turns.counts().done, 3);
        assert_eq!(turns.next(), None);
    }

    #[test]
    fn a_summary_names_only_what_there_is() {
        let mut counts = Counts {
            converted: 3,
            audio: Duration::from_secs(120),
            ..Counts::default()
        };
        let took = Duration::from_secs(1);
        assert_eq!(
            summary_of(&counts, took),
            "3 converted: 2:00.0 of audio in 1.0 s (120× real time)"
        );
        counts.failed = 2;
        counts.kept = 4;
        let said = summary_of(&counts, took);
        assert!(
            said.starts_with("3 converted, 4 kept, 2 failed: "),
            "{said}"
        );
    }
}
