//! `micropy-server sweep --dry-run`: what a sweeper would remove.

use std::path::PathBuf;
use std::process::ExitCode;

use micropy_core::ports::Id;
use micropy_services::sweeper::Survey;

use super::failed;
use crate::compose;
use crate::settings::{Flags, Layers, Settings};

/// The arguments of `micropy-server sweep`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print what would be removed, and remove nothing. What is to be removed, a running sweeper removes
    #[arg(long, required = true)]
    dry_run: bool,

    /// TOML file with settings [env: MICROPY_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    pub flags: Flags,
}

/// Prints a line for each job and file that would be removed, and a sum of each kind.
pub fn run(args: Args) -> ExitCode {
    match try_run(args) {
        Ok(survey) => {
            print(&survey);
            ExitCode::SUCCESS
        }
        Err(e) => failed(&e),
    }
}

fn try_run(args: Args) -> Result<Survey, Box<dyn std::error::Error>> {
    let layers = Layers::read(args.flags, args.config.as_deref())?;
    let settings = Settings::from_layers(&layers)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(compose::survey(settings))?)
}

fn print(survey: &Survey) {
    let kinds: [(&str, &str, &[Id]); 3] = [
        (
            "job",
            "finished jobs past their retention",
            &survey.finished,
        ),
        ("video", "videos of no job", &survey.videos),
        ("mp3", "MP3s of no job", &survey.mp3s),
    ];
    for (kind, _, found) in kinds {
        for id in found {
            println!("{kind} {id}");
        }
    }
    for (_, what, found) in kinds {
        println!("{} {what}", found.len());
    }
}
