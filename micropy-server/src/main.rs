//! `micropy`: MP4 video to MP3 audio, from the command line and as a service.

use std::process::ExitCode;

fn main() -> ExitCode {
    micropy_server::main()
}
