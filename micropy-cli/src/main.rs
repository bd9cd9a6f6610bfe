//! The program `micropy`.

use std::process::ExitCode;

fn main() -> ExitCode {
    micropy_cli::main(std::env::args_os()).into()
}
