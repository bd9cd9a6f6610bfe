//! `micropy`: MP4 video to MP3 audio, from the command line and as a service.

mod cli;
mod compose;
mod config;
mod gateway;
#[cfg(test)]
mod hostile;
mod services;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse()).into()
}
