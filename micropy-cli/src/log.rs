//! What a batch tells: in the order of the inputs, however many are converted at once.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::bar::Bar;
use crate::{Exit, message, system};

/// How much to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Problems alone.
    Quiet,
    /// What was made, too.
    Normal,
    /// How it was made, too.
    Verbose,
}

/// One thing to tell.
#[derive(Debug)]
enum Line {
    /// For people, who asked for this verbosity or more.
    Said(Verbosity, String),
    /// What went wrong.
    Problem(String),
    /// For scripts, on standard output: what became of the MP3 of this name.
    Report(String, Value),
}

/// Tells what becomes of the inputs of a batch. What is told of one waits until all before it are done.
#[derive(Debug)]
pub struct Log<'a> {
    bar: &'a Bar,
    verbosity: Verbosity,
    /// Failures are told again where they are seen: at the end.
    failures_last: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The first input that is not done: what it tells is printed at once.
    first: usize,
    waiting: BTreeMap<usize, Waiting>,
    failures: BTreeMap<usize, String>,
    lost_reports: bool,
}

/// What an input after the first one has told so far.
#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<Line>,
    is_done: bool,
}

impl<'a> Log<'a> {
    /// A log for as many inputs as there are. `failures_last`: failures are held back until [`Log::finish`].
    pub fn new(bar: &'a Bar, verbosity: Verbosity, failures_last: bool) -> Self {
        Log {
            bar,
            verbosity,
            failures_last,
            state: Mutex::default(),
        }
    }

    /// What the input with this index tells.
    pub fn of(&self, index: usize) -> Teller<'_> {
        Teller { log: self, index }
    }

    /// Prints what waits still, then `summary`, then the failures. Returns whether all reports could be written.
    pub fn finish(self, summary: Option<String>) -> Exit {
        let mut state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        for waiting in std::mem::take(&mut state.waiting).into_values() {
            for line in waiting.lines {
                state.lost_reports |= !print(line, self.verbosity);
            }
        }
        if let Some(summary) = summary
            && self.verbosity > Verbosity::Quiet
        {
            message::line(summary);
        }
        for failure in state.failures.into_values() {
            message::problem(failure);
        }
        match state.lost_reports {
            true => Exit::Failed,
            false => Exit::Done,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, index: usize, line: Line) {
        let mut state = self.state();
        if index > state.first {
            state.waiting.entry(index).or_default().lines.push(line);
            return;
        }
        let printed = self.bar.suspend(|| print(line, self.verbosity));
        state.lost_reports |= !printed;
    }

    fn done(&self, index: usize) {
        let mut state = self.state();
        state.waiting.entry(index).or_default().is_done = true;
        // What the next ones have told meanwhile.
        loop {
            let first = state.first;
            let Some(waiting) = state.waiting.get_mut(&first) else {
                return;
            };
            let is_done = waiting.is_done;
            let lines = std::mem::take(&mut waiting.lines);
            if !lines.is_empty() {
                let verbosity = self.verbosity;
                let printed = self.bar.suspend(|| {
                    let printed = lines.into_iter().map(|line| print(line, verbosity));
                    // Each of them is printed, whatever became of those before it.
                    printed.filter(|printed| !printed).count() == 0
                });
                state.lost_reports |= !printed;
            }
            if !is_done {
                return;
            }
            state.waiting.remove(&first);
            state.first += 1;
        }
    }
}

/// Tells what becomes of one input.
#[derive(Debug)]
pub struct Teller<'a> {
    log: &'a Log<'a>,
    index: usize,
}

impl Teller<'_> {
    /// A line for people.
    pub fn say(&self, text: impl ToString) {
        self.log
            .tell(self.index, Line::Said(Verbosity::Normal, text.to_string()));
    }

    /// A line for people who want to know more.
    pub fn detail(&self, text: impl ToString) {
        self.log
            .tell(self.index, Line::Said(Verbosity::Verbose, text.to_string()));
    }

    /// Something that is wrong with the input, which was converted nevertheless.
    pub fn problem(&self, text: impl ToString) {
        self.log.tell(self.index, Line::Problem(text.to_string()));
    }

    /// Why there is no MP3.
    pub fn failure(&self, text: impl ToString) {
        if self.log.failures_last {
            self.log
                .state()
                .failures
                .insert(self.index, text.to_string());
        } else {
            self.problem(text);
        }
    }

    /// A report for scripts on the MP3 `output`.
    pub fn report(&self, output: &str, report: Value) {
        self.log
            .tell(self.index, Line::Report(output.to_owned(), report));
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        self.log.done(self.index);
    }
}

/// Prints one line; `false` where a report could not be written.
fn print(line: Line, verbosity: Verbosity) -> bool {
    match line {
        Line::Said(least, text) if verbosity >= least => message::line(text),
        Line::Said(..) => {}
        Line::Problem(text) => message::problem(text),
        Line::Report(output, report) => match writeln!(io::stdout(), "{report}") {
            // A reader that wants no more reports still wants its files.
            Err(error) if !system::is_closed_pipe(&error) => {
                message::problem(format_args!(
                    "{output}: converted, but its report cannot be written: {error}"
                ));
                return false;
            }
            _ => {}
        },
    }
    true
}
