//! `micropy-server backup` and `micropy-server restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::once;
use crate::compose::{self, Copied};

/// The arguments of both.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the backup
    folder: PathBuf,

    #[command(flatten)]
    settings: once::SettingsArgs,
}

/// Copies the embedded stores into a folder, while a service may be using them.
pub fn run(args: Args) -> ExitCode {
    once::run(args.settings, async |settings| {
        let copied = compose::back_up(settings, &args.folder).await?;
        Ok(said("backed up", copied))
    })
}

/// Puts a backup where the settings say.
pub fn restore(args: Args) -> ExitCode {
    once::run(args.settings, async |settings| {
        let copied = compose::restore(settings, &args.folder).await?;
        Ok(said("restored", copied))
    })
}

fn said(done: &str, Copied { videos, mp3s }: Copied) -> String {
    format!("{done} the database, {videos} videos and {mp3s} MP3s\n")
}
