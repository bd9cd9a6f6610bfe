//! `micropy man`: the manual pages.

use std::fs;
use std::path::PathBuf;

use crate::output::refuse_url;
use crate::{Exit, message};

/// The arguments of `micropy man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the pages go, such as ~/.local/share/man/man1; it is created
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes a page for `program` and one for each of its commands.
pub fn run(args: &Args, program: clap::Command) -> Exit {
    if let Err(problem) = refuse_url(Some(&args.folder)) {
        message::problem(problem);
        return Exit::Usage;
    }
    let written = fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(program, &args.folder));
    match written {
        Ok(()) => Exit::Done,
        Err(error) => {
            let folder = args.folder.display();
            message::problem(format_args!(
                "{folder}: cannot write the manual pages: {error}"
            ));
            Exit::Failed
        }
    }
}
