//! `micropy probe`: what is in a file.

use std::path::PathBuf;

use super::Exit;

/// What may stand behind `micropy probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to look into; `-` is the standard input
    file: PathBuf,

    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Shows what is in the file.
pub fn run(_args: Args) -> Exit {
    Exit::Failed
}
