//! All of the program `micropy-server`. It is a library only so that a fuzzer can drive what reads bytes from outside:
//! what others embed is `micropy-core`.

mod cli;
mod compose;
/// What a fuzzer drives.
#[cfg(fuzzing)]
pub mod hostile {
    pub use crate::settings::hostile::settings;
}
mod page;
mod settings;

use std::process::ExitCode;

use clap::Parser as _;

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
