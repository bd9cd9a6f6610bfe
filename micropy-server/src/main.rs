//! The program `micropy-server`: Micropy as a service.

use std::process::ExitCode;

fn main() -> ExitCode {
    micropy_server::main()
}
