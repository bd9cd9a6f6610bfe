//! The program `micropy`: `convert` turns MP4 files into MP3s, `probe` says what is in a file.
//!
//! It is a library so that `python -m micropy` is the same program: both call [`main`]. A program with commands of
//! its own can add these to them: [`Command`] is a `clap` subcommand.

mod bar;
mod batch;
mod completions;
mod convert;
mod dry_run;
mod existing;
mod exit;
mod input;
mod interrupt;
mod json;
mod log;
mod manual;
mod message;
mod options;
mod output;
mod parts;
mod pipe;
mod presets;
mod probe;
#[cfg_attr(not(feature = "http"), path = "remote_absent.rs")]
mod remote;
mod spelling;
#[cfg_attr(windows, path = "system/windows.rs")]
#[cfg_attr(not(windows), path = "system/unix.rs")]
mod system;
mod text;
mod tree;
mod version;
mod watch;
mod waveform;

use std::ffi::OsString;
use std::io::Write as _;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::{Exit, HELP};

/// A command that works on files.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Convert MP4, M4A, MOV or 3GP files, or those behind URLs, to MP3
    Convert(Box<convert::Args>),
    /// Show what is in a file: tracks, length, tags, chapters
    Probe(probe::Args),
}

/// Runs a command to its end.
pub fn run(command: Command) -> Exit {
    match command {
        Command::Convert(args) => convert::run(*args),
        Command::Probe(args) => probe::run(args),
    }
}

/// MP4 video to MP3 audio: exact, and on all cores.
#[derive(Debug, Parser)]
#[command(name = "micropy", after_help = HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Own>,

    /// Print version
    #[arg(short = 'V', long)]
    version: bool,

    /// With --version: print the encoder and the decoders that were built in as well
    #[arg(short, long, requires = "version")]
    verbose: bool,
}

/// The commands of the program: those that work on files, and those about itself.
#[derive(Debug, Subcommand)]
enum Own {
    #[command(flatten)]
    OnFiles(Command),
    /// List what --preset takes, and what it means
    Presets,
    /// Print the completions of a shell, for the flags and commands of this program
    Completions(completions::Args),
    /// Write the manual pages into a folder
    Man(manual::Args),
}

impl Cli {
    fn run(self) -> Exit {
        if self.version {
            return version::print(self.verbose);
        }
        match self.command {
            Some(Own::OnFiles(command)) => run(command),
            Some(Own::Presets) => presets::run(),
            Some(Own::Completions(args)) => completions::run(&args, &mut Cli::command()),
            Some(Own::Man(args)) => manual::run(&args, Cli::command()),
            // There is no such case: clap asks for one of them.
            None => Exit::Usage,
        }
    }
}

/// Runs the whole program. The first of `words` is the program's name, as in [`std::env::args_os`].
///
/// Standard output is flushed before this returns, so a caller may end the process without Rust's own cleanup.
pub fn main(words: impl IntoIterator<Item = OsString>) -> Exit {
    let words = match spelling::read(words) {
        Ok(words) => words,
        Err(problem) => {
            message::problem(problem);
            return Exit::Usage;
        }
    };
    let exit = match Cli::try_parse_from(words) {
        Ok(cli) => cli.run(),
        Err(error) => {
            // Help and version arrive here too, with exit code 0. There is nobody to tell if this fails.
            let _ = error.print();
            match error.exit_code() {
                0 => Exit::Done,
                _ => Exit::Usage,
            }
        }
    };
    let _ = std::io::stdout().flush();
    exit
}
