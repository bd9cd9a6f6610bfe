//! `micropy-server sweep --dry-run`: what a sweeper would remove.

use std::fmt::Write as _;
use std::process::ExitCode;

use micropy_core::ports::Id;
use micropy_services::sweeper::Survey;

use super::once;
use crate::compose;

/// The arguments of `micropy-server sweep`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print what would be removed, and remove nothing. What is to be removed, a running sweeper removes
    #[arg(long, required = true)]
    dry_run: bool,

    #[command(flatten)]
    settings: once::SettingsArgs,
}

/// Prints a line for each job and file that would be removed, and a sum of each kind.
pub fn run(args: Args) -> ExitCode {
    once::run(args.settings, async |settings| {
        let survey = compose::survey(settings).await?;
        Ok(described(&survey))
    })
}

fn described(survey: &Survey) -> String {
    let kinds: [(&str, &str, &[Id]); 4] = [
        (
            "job",
            "finished jobs past their retention",
            &survey.finished,
        ),
        ("upload", "abandoned uploads", &survey.uploads),
        ("video", "videos of no job", &survey.videos),
        ("mp3", "MP3s of no job", &survey.mp3s),
    ];
    let mut text = String::new();
    // Writing to a String cannot fail.
    for (kind, _, found) in kinds {
        for id in found {
            let _ = writeln!(text, "{kind} {id}");
        }
    }
    for (_, what, found) in kinds {
        let _ = writeln!(text, "{} {what}", found.len());
    }
    text
}
