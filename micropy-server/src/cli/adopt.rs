//! `micropy-server adopt`: binds the stores to another ledger, on purpose.

use std::path::PathBuf;
use std::process::ExitCode;

use super::failed;
use crate::compose;
use crate::settings::{Flags, Layers, Settings};

/// The arguments of `micropy-server adopt`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TOML file with settings [env: MICROPY_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    pub flags: Flags,
}

/// Binds the stores that the settings name to the ledger that they name. No service may be using an embedded ledger.
pub fn run(args: Args) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&e),
    }
}

fn try_run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let layers = Layers::read(args.flags, args.config.as_deref())?;
    let settings = Settings::from_layers(&layers)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(compose::adopt(settings))?;
    println!(
        "videos and MP3s belong to this ledger now: files that it does not know will be removed"
    );
    Ok(())
}
