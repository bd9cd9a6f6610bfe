//! Commands that do one thing and end.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use super::failed;
use crate::settings::{Flags, Layers, Settings};

/// Why a command failed, in a sentence.
pub type Failure = Box<dyn std::error::Error>;

/// The arguments that all of them have: the settings.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// TOML file with settings [env: MICROPY_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    pub flags: Flags,
}

/// Does `work` with the settings, and prints what it says.
pub fn run<D: Display>(
    args: SettingsArgs,
    work: impl AsyncFnOnce(Settings) -> Result<D, Failure>,
) -> ExitCode {
    let done = || -> Result<D, Failure> {
        let layers = Layers::read(args.flags, args.config.as_deref())?;
        let settings = Settings::from_layers(&layers)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(work(settings))
    };
    match done() {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(e) => failed(&e),
    }
}
