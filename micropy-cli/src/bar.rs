//! One progress bar, for one file or for all of a batch.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use micropy_core::Progress;

use crate::input::beside;
use crate::text;

/// Steps of the bar.
const STEPS: f64 = 1000.0;

/// The bar of a batch. On a terminal; nothing in a pipe.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    files: usize,
    /// The weight of all files.
    weight: f64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is done, by weight.
    done: f64,
    /// Seconds of audio that are done.
    seconds: f64,
    files: usize,
    failed: usize,
}

impl Bar {
    /// A bar for inputs of these weights. `quiet`: it is not shown.
    pub fn new(inputs: &[(&Path, u64)], quiet: bool) -> Self {
        let bar = match quiet || !io::stderr().is_terminal() {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(STEPS as u64),
        };
        let style =
            ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3} %  {msg}  {eta} left");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("━━╌"));
        }
        bar.set_prefix(match inputs {
            [(input, _)] => {
                let input = beside(input);
                let name = input.file_name();
                name.map_or_else(
                    || "input".into(),
                    |name| name.to_string_lossy().into_owned(),
                )
            }
            files => format!("0/{}", files.len()),
        });
        Bar {
            bar,
            files: inputs.len(),
            // None is for nothing: what has no size, such as a pipe, counts a little.
            weight: inputs.iter().map(|(_, weight)| weight.max(&1)).sum::<u64>() as f64,
            state: Mutex::default(),
        }
    }

    /// The part of the bar that an input of this weight has.
    pub fn share(&self, weight: u64) -> Share<'_> {
        Share {
            bar: self,
            weight: weight.max(1) as f64,
            shown: Mutex::default(),
        }
    }

    /// Prints what `print` prints, without the bar in between.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, state: &State, step: &str, done: &str) {
        let speed = state.seconds / self.bar.elapsed().as_secs_f64().max(1e-3);
        if self.weight > 0.0 {
            self.bar
                .set_position((state.done / self.weight * STEPS) as u64);
        }
        let failed = match state.failed {
            0 => String::new(),
            failed => format!("{failed} failed, "),
        };
        self.bar
            .set_message(format!("{failed}{step}{done}at {speed:.0}×"));
    }
}

/// One input's part of the bar.
#[derive(Debug)]
pub struct Share<'a> {
    bar: &'a Bar,
    weight: f64,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    /// The part of the input, of how many, that is being converted: chapters are parts.
    part: (usize, usize),
    fraction: f64,
    /// Seconds of audio in the parts before this one, and in this one.
    seconds: (f64, f64),
}

impl Share<'_> {
    /// From now on, progress is that of this part of `parts`.
    pub fn begin_part(&self, part: usize, parts: usize) {
        let mut shown = self.shown();
        shown.part = (part, parts);
        shown.seconds.0 += std::mem::take(&mut shown.seconds.1);
    }

    /// Shows how far the conversion is.
    pub fn show(&self, progress: &Progress) {
        let done = progress.done.as_secs_f64();
        let passed = f64::from(progress.pass) * progress.total.unwrap_or_default().as_secs_f64();
        let seconds = (passed + done) / f64::from(progress.passes.max(1));
        let mut shown = self.shown();
        let (part, parts) = shown.part;
        let fraction = (part as f64 + progress.fraction().unwrap_or(0.0)) / parts.max(1) as f64;
        let mut state = self.bar.state();
        state.done += (fraction - shown.fraction) * self.weight;
        state.seconds += seconds - shown.seconds.1;
        shown.fraction = fraction;
        shown.seconds.1 = seconds;
        if self.bar.files > 1 {
            return self.bar.draw(&state, "", "");
        }
        let step = match progress.passes {
            2.. if progress.pass == 0 => "measuring ",
            _ => "",
        };
        let done = text::duration(progress.done) + " ";
        self.bar.draw(&state, step, &done);
    }

    /// The input is done, well or not.
    pub fn finish(self, failed: bool) {
        let fraction = self.shown().fraction;
        let mut state = self.bar.state();
        state.done += (1.0 - fraction) * self.weight;
        state.files += 1;
        state.failed += usize::from(failed);
        if self.bar.files > 1 {
            self.bar
                .bar
                .set_prefix(format!("{}/{}", state.files, self.bar.files));
            self.bar.draw(&state, "", "");
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
