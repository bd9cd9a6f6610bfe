//! `micropy convert` and `micropy probe`: the commands that work on files, for every program that has them.
//!
//! The binary `micropy` adds the service's commands to them ([`Command`] is flattened into its own);
//! `python -m micropy` has these alone, and calls [`main`].

mod convert;
mod exit;
mod interrupt;
mod json;
mod options;
mod probe;
mod stdin;
mod text;

use std::ffi::OsString;
use std::io::Write as _;

use clap::{Parser, Subcommand};

pub use exit::{Exit, HELP};

/// What may be done with files.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Convert MP4, M4A, MOV or 3GP files to MP3.
    Convert(Box<convert::Args>),
    /// Tell what is in a file: tracks, length, tags, chapters.
    Probe(probe::Args),
}

/// Does what was typed.
pub fn run(command: Command) -> Exit {
    match command {
        Command::Convert(args) => convert::run(*args),
        Command::Probe(args) => probe::run(args),
    }
}

/// MP4 video to MP3 audio: exact, and on all cores.
#[derive(Debug, Parser)]
#[command(name = "micropy", version, after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The whole of a program with these commands alone. The first of `words` is what the program is called.
///
/// Nothing is left in buffers: the process may end without Rust's own clearing up.
pub fn main(words: impl IntoIterator<Item = OsString>) -> Exit {
    let exit = match Cli::try_parse_from(words) {
        Ok(cli) => run(cli.command),
        Err(told) => {
            // Help and version are told this way too, and are no mistake.
            let _ = told.print();
            match told.exit_code() {
                0 => Exit::Done,
                _ => Exit::Usage,
            }
        }
    };
    let _ = std::io::stdout().flush();
    exit
}
