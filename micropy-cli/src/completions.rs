//! `micropy completions`: what a shell completes when one types.

use clap_complete::{Shell, generate};

use crate::{Exit, message};

/// The arguments of `micropy completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the completions of the commands of `program`.
pub fn run(args: &Args, program: &mut clap::Command) -> Exit {
    // The crate panics where it cannot write, so it writes where it can.
    let mut script = Vec::new();
    generate(args.shell, program, "micropy", &mut script);
    message::output(&script)
}
