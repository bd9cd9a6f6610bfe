//! The command line of the program `micropy-server`.

mod serve;
mod user;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::compose::Service;
use micropy_services::worker;

/// The exit code of a wrong command line or setting, as clap has it.
const USAGE: u8 = 2;

/// The service: MP4 video in, MP3 audio out. Runs all of it in one process, or one of its services.
#[derive(Debug, Parser)]
#[command(
    name = "micropy-server",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(flatten)]
    serve: serve::Args,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process: gateway, auth, converter, notification and sweeper (the default)
    Serve(serve::Args),
    /// Run the gateway and the sweeper
    Gateway(serve::Args),
    /// Run the auth service alone
    Auth(serve::Args),
    /// Run converters alone
    Converter(serve::Args),
    /// Run the notification service alone
    Notification(serve::Args),
    /// Add and list the service's users
    User(user::Args),
    /// Convert one video; the converter service starts this itself
    #[command(hide = true)]
    WorkerExec,
}

/// Runs what the command line asks for.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        None => serve::run(cli.serve, &Service::ALL),
        Some(Command::Serve(args)) => serve::run(args, &Service::ALL),
        Some(Command::Gateway(args)) => serve::run(args, &[Service::Gateway, Service::Sweeper]),
        Some(Command::Auth(args)) => serve::run(args, &[Service::Auth]),
        Some(Command::Converter(args)) => serve::run(args, &[Service::Converter]),
        Some(Command::Notification(args)) => serve::run(args, &[Service::Notification]),
        Some(Command::User(args)) => user::run(args),
        Some(Command::WorkerExec) => match worker::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => failed(&e),
        },
    }
}

fn usage(e: &dyn Display) -> ExitCode {
    eprintln!("micropy-server: {e}");
    ExitCode::from(USAGE)
}

fn failed(e: &dyn Display) -> ExitCode {
    eprintln!("micropy-server: {e}");
    ExitCode::FAILURE
}
