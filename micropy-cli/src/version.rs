//! `micropy --version`, and what it was built with.

use std::fmt::Write as _;

use micropy_lame::{build, stages, version};

use crate::{Exit, message};

/// Prints the version. `verbose`: with the encoder that runs on this processor, and whether the FDK decoder is built
/// in.
pub fn print(verbose: bool) -> Exit {
    message::output(text(verbose).as_bytes())
}

fn text(verbose: bool) -> String {
    let mut text = format!("micropy {}\n", env!("CARGO_PKG_VERSION"));
    if verbose {
        let with_fdk = match cfg!(feature = "fdk-aac") {
            true => "yes: HE-AAC, xHE-AAC and AAC of more than two channels",
            false => "no: HE-AAC, xHE-AAC and AAC of more than two channels are refused",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "encoder: {}, build {}", version(), build());
        let _ = writeln!(text, "stages by kernels: {}", names(true));
        let _ = writeln!(text, "stages by LAME's own code: {}", names(false));
        let _ = writeln!(text, "FDK decoder: {with_fdk}");
    }
    text
}

/// The stages of the encoder whose work kernels do, or LAME's own code.
fn names(by_kernels: bool) -> String {
    let of_it = stages()
        .iter()
        .filter(|stage| stage.is_kernel == by_kernels);
    let names: Vec<&str> = of_it.map(|stage| stage.name).collect();
    match (names.is_empty(), by_kernels || !stages().is_empty()) {
        (false, _) => names.join(", "),
        (true, true) => "none".into(),
        // A build without kernels names no stages.
        (true, false) => "all".into(),
    }
}
