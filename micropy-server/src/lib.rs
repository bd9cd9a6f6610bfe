//! All of the program `micropy-server`. It is a library only so that a fuzzer can drive what reads bytes from outside:
//! what others embed is `micropy-core`.

mod cli;
mod compose;
/// What a fuzzer drives.
#[cfg(fuzzing)]
pub mod hostile {
    pub use crate::settings::hostile::settings;
}
mod page;
mod settings;

use std::process::ExitCode;

use clap::Parser as _;

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    keep_memory_private();
    cli::run(cli::Cli::parse())
}

/// The settings, with their secrets, lie in this process's memory and environment: other processes of the same user
/// must not read those, and no core dump must hold them.
#[cfg(target_os = "linux")]
fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    if let Err(e) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("micropy-server: other processes of this user can read its memory: {e}");
    }
}
