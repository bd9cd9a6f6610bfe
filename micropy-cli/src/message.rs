//! Lines for people, on standard error.
//!
//! `eprintln!` panics when standard error is a closed pipe. Nobody is there to read a message then, and the files still
//! have to be converted.

use std::fmt::Display;
use std::io::{self, Write as _};

use crate::{Exit, system};

/// Prints one line.
pub fn line(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints what went wrong.
pub fn problem(text: impl Display) {
    line(format_args!("micropy: {text}"));
}

/// Prints to standard output what a command was asked for. A reader that wants no more is no error.
pub fn output(bytes: &[u8]) -> Exit {
    match io::stdout().write_all(bytes) {
        Err(error) if !system::is_closed_pipe(&error) => {
            problem(format_args!("standard output: cannot write: {error}"));
            Exit::Failed
        }
        _ => Exit::Done,
    }
}
