//! What was typed, and which command it means.

mod convert;
mod exit;
mod text;

pub use exit::Exit;

use clap::{Parser, Subcommand};

/// MP4 video to MP3 audio: exact, and on all cores.
#[derive(Debug, Parser)]
#[command(name = "micropy", version, about, after_help = exit::HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Convert MP4, M4A, MOV or 3GP files to MP3.
    Convert(Box<convert::Args>),
}

/// Runs what was typed.
pub fn run(cli: Cli) -> Exit {
    match cli.command {
        Command::Convert(args) => convert::run(*args),
    }
}
