//! Shows how far a conversion is, and ends it when Enter is pressed: `progress talk.mp4 talk.mp3`.

use std::env::args;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use micropy_core::{CancelToken, Converter, Error, Options, Report};

/// Converts a file and tells `show` the fraction that is done, where the length is known beforehand.
///
/// The callback runs on this thread, several times a second. The token may be cancelled from any other one.
pub fn convert(
    input: &Path,
    output: &Path,
    cancel: &CancelToken,
    mut show: impl FnMut(f64) + Send,
) -> micropy_core::Result<Report> {
    Converter::new(Options::new())
        .cancel(cancel.clone())
        .on_progress(|progress| {
            if let Some(fraction) = progress.fraction() {
                show(fraction);
            }
        })
        .convert_file(input, output)
}

fn main() -> ExitCode {
    let words: Vec<String> = args().skip(1).collect();
    let [input, output] = &words[..] else {
        eprintln!("usage: progress INPUT OUTPUT");
        return ExitCode::from(2);
    };
    let cancel = CancelToken::new();
    let on_enter = cancel.clone();
    thread::spawn(move || {
        // At the end of the input nobody can press Enter any more.
        if io::stdin()
            .read_line(&mut String::new())
            .is_ok_and(|n| n > 0)
        {
            on_enter.cancel();
        }
    });
    let show = |fraction| eprint!("\r{:3.0} %", 100.0 * fraction);
    match convert(input.as_ref(), output.as_ref(), &cancel, show) {
        Ok(report) => {
            eprintln!("\r{:?} of audio", report.duration());
            ExitCode::SUCCESS
        }
        // The file does not appear: what was written is gone.
        Err(Error::Cancelled) => {
            eprintln!("\rcancelled");
            ExitCode::from(130)
        }
        Err(e) => {
            eprintln!("\r{input}: {}", e.with_causes());
            ExitCode::FAILURE
        }
    }
}
