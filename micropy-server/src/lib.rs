//! All of the program `micropy`, MP4 video to MP3 audio from the command line and as a service. A library
//! only so that a fuzzer can drive what reads bytes from outside: what others embed is `micropy-core`.

mod cli;
mod compose;
mod config;
/// What a fuzzer drives.
#[cfg(fuzzing)]
pub mod hostile {
    pub use crate::config::hostile::settings;
}
mod page;

use std::process::ExitCode;

use clap::Parser as _;

/// Does what was typed.
pub fn main() -> ExitCode {
    cli::run(cli::Cli::parse()).into()
}
