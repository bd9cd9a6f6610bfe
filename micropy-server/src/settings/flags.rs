//! The settings as flags of a command.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches};

use super::{Kind, Settings, declared};

/// The settings that were given as flags: the name of each, and its value.
#[derive(Clone, Debug, Default)]
pub struct Flags(pub Vec<(String, String)>);

/// Explains the flags below a command's help.
pub const HELP: &str = "\
Each setting is also a variable (MICROPY_LISTEN) and a key in the file (listen). Flags count before variables, and those \
before the file.

Secrets and URLs can be read from a file: --jwt-secret-file FILE, or MICROPY_JWT_SECRET_FILE=FILE.";

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let mut command = Settings::augment_args(command);
        for setting in declared().iter().filter(|s| s.kind != Kind::Plain) {
            // A command line can be seen by everybody on the machine.
            command = command.arg(
                Arg::new(&*setting.file_key)
                    .long(&*setting.file_flag)
                    .value_name("FILE")
                    .hide(true),
            );
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Vec::new();
        for setting in declared() {
            for name in [&setting.name, &setting.file_key] {
                if let Some(value) = typed(matches, name)? {
                    flags.push((name.clone(), value));
                }
            }
        }
        Ok(Flags(flags))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The value of a flag that is on the command line.
fn typed(matches: &ArgMatches, name: &str) -> Result<Option<String>, clap::Error> {
    let is_known = matches.try_contains_id(name).is_ok();
    if !is_known || matches.value_source(name) != Some(ValueSource::CommandLine) {
        return Ok(None);
    }
    let Some(value) = matches.get_raw(name).and_then(|mut values| values.next()) else {
        return Ok(None);
    };
    match value.to_str() {
        Some(value) => Ok(Some(value.to_owned())),
        None => Err(clap::Error::raw(
            ErrorKind::InvalidUtf8,
            format!(
                "the value of --{} is not UTF-8 text\n",
                name.replace('_', "-")
            ),
        )),
    }
}
