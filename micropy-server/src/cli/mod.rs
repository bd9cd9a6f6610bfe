//! The command line of the program `micropy-server`.

mod adopt;
mod backup;
mod once;
mod queue;
mod serve;
mod sweep;
mod user;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use micropy_services::worker;

use crate::compose::Service;
use crate::settings;

/// The exit code of a wrong command line or setting, as clap has it.
const USAGE: u8 = 2;

/// The service: MP4 video in, MP3 audio out. Runs all of it in one process, or one part of it
#[derive(Debug, Parser)]
#[command(
    name = "micropy-server",
    version,
    args_conflicts_with_subcommands = true,
    after_help = settings::HELP
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
    #[command(after_help = settings::HELP)]
    Serve(serve::Args),
    /// Run the gateway and the sweeper
    #[command(after_help = settings::HELP)]
    Gateway(serve::Args),
    /// Run the auth service alone
    #[command(after_help = settings::HELP)]
    Auth(serve::Args),
    /// Run converters alone
    #[command(after_help = settings::HELP)]
    Converter(serve::Args),
    /// Run the notification service alone
    #[command(after_help = settings::HELP)]
    Notification(serve::Args),
    /// Run the sweeper alone: it removes what is past its time, and restarts jobs whose message was lost
    #[command(after_help = settings::HELP)]
    Sweeper(serve::Args),
    /// Bind the videos and MP3s to this ledger of jobs, whatever they belonged to before
    ///
    /// A service does not start beside files that belong to another ledger than its own: a new one, another service's,
    /// or one restored from a backup. If the right ledger is lost, this makes the files this one's. Those that
    /// it does not know will then be removed. Stop the service first.
    #[command(after_help = settings::HELP)]
    Adopt(once::SettingsArgs),
    /// Copy everything that is kept on this machine into an empty folder, while the service may be running
    ///
    /// Nothing that was accepted before is missing in it: users, jobs, messages, videos, MP3s, mails and the secret.
    /// What servers keep is backed up with their own tools: docs/backup.md.
    #[command(after_help = settings::HELP)]
    Backup(backup::Args),
    /// Put a backup in place of a data folder that is empty or missing; then start the service
    #[command(after_help = settings::HELP)]
    Restore(backup::Args),
    /// Print which jobs and files a sweeper would remove
    #[command(after_help = settings::HELP)]
    Sweep(sweep::Args),
    /// List, replay and drop messages that could not be handled, such as mails that no server took
    #[command(after_help = settings::HELP)]
    Queue(queue::Args),
    /// Add, list, disable and remove the service's users
    User(user::Args),
    /// Print docs/settings.md
    #[command(hide = true)]
    SettingsPage,
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
        Some(Command::Sweeper(args)) => serve::run(args, &[Service::Sweeper]),
        Some(Command::Adopt(args)) => adopt::run(args),
        Some(Command::Backup(args)) => backup::run(args),
        Some(Command::Restore(args)) => backup::restore(args),
        Some(Command::Sweep(args)) => sweep::run(args),
        Some(Command::Queue(args)) => queue::run(args),
        Some(Command::User(args)) => user::run(args),
        Some(Command::SettingsPage) => {
            print!("{}", settings::page());
            ExitCode::SUCCESS
        }
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::settings::declared;

    #[test]
    fn clap_finds_no_contradiction() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_service_takes_every_setting_as_a_flag() {
        let services = [
            "",
            "serve",
            "gateway",
            "auth",
            "converter",
            "notification",
            "sweeper",
        ];
        for service in services {
            for setting in declared() {
                let value = match (&*setting.value_name, &*setting.default) {
                    (_, default) if !default.is_empty() => default,
                    ("ADDRESS", _) => "127.0.0.1:1",
                    ("MODE", _) => "verify",
                    ("BOOL", _) => "true",
                    ("NETWORKS", _) => "10.0.0.0/8",
                    ("TIME", _) => "5min",
                    _ => "x",
                };
                let mut words = vec!["micropy-server"];
                words.extend(Some(service).filter(|name| !name.is_empty()));
                let flag = format!("--{}", setting.flag);
                words.extend([&*flag, value]);
                let cli = Cli::try_parse_from(&words).unwrap_or_else(|e| panic!("{words:?}: {e}"));
                let args = match cli.command {
                    None => cli.serve,
                    Some(
                        Command::Serve(args)
                        | Command::Gateway(args)
                        | Command::Auth(args)
                        | Command::Converter(args)
                        | Command::Notification(args)
                        | Command::Sweeper(args),
                    ) => args,
                    Some(other) => panic!("{words:?}: {other:?}"),
                };
                let expected = vec![(setting.name.clone(), value.to_owned())];
                assert_eq!(args.flags.0, expected, "{words:?}");
            }
        }
    }

    #[test]
    fn the_users_command_takes_its_settings_after_the_action() {
        let words = "micropy-server user list --data-dir here --users-url-file there";
        let cli = Cli::try_parse_from(words.split(' ')).unwrap();
        let Some(Command::User(args)) = cli.command else {
            panic!("{cli:?}");
        };
        let flag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [flag("data_dir", "here"), flag("users_url_file", "there")];
        assert_eq!(args.settings.flags.0, expected);
    }
}
