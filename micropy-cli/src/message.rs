//! Lines for people, on standard error.
//!
//! `eprintln!` panics when standard error is a closed pipe. Nobody is there to read a message then, and the files still
//! have to be converted.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints one line.
pub fn line(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints what went wrong.
pub fn problem(text: impl Display) {
    line(format_args!("micropy: {text}"));
}
