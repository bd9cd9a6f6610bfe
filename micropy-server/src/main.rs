//! `micropy`: MP4 video to MP3 audio, from the command line and as a service.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse()).into()
}
