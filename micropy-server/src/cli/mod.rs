//! What was typed, and which command it means.

mod serve;
mod user;

pub use micropy_cli::Exit;

use clap::{Parser, Subcommand};

use crate::compose::Service;
use micropy_services::worker::child as worker;

/// MP4 video to MP3 audio: exact, and on all cores.
#[derive(Debug, Parser)]
#[command(name = "micropy", version, about, after_help = micropy_cli::HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Files(micropy_cli::Command),
    /// Run the service: gateway, auth, converter and notification in one process.
    Serve(serve::Args),
    /// Run the gateway alone.
    Gateway(serve::Args),
    /// Run the auth service alone.
    Auth(serve::Args),
    /// Run converters alone.
    Converter(serve::Args),
    /// Run the notification service alone.
    Notification(serve::Args),
    /// Add and list the service's users.
    User(user::Args),
    /// Convert one video for the converter service, which starts this itself.
    #[command(hide = true)]
    WorkerExec,
}

/// Runs what was typed.
pub fn run(cli: Cli) -> Exit {
    match cli.command {
        Command::Files(command) => micropy_cli::run(command),
        Command::Serve(args) => serve::run(args, &Service::ALL),
        Command::Gateway(args) => serve::run(args, &[Service::Gateway]),
        Command::Auth(args) => serve::run(args, &[Service::Auth]),
        Command::Converter(args) => serve::run(args, &[Service::Converter]),
        Command::Notification(args) => serve::run(args, &[Service::Notification]),
        Command::User(args) => user::run(args),
        Command::WorkerExec => match worker::run() {
            Ok(()) => Exit::Done,
            Err(e) => {
                eprintln!("micropy worker-exec: {e}");
                Exit::Failed
            }
        },
    }
}
