//! Converts one file with the default options: `convert INPUT OUTPUT [--id3-version 2.3]`.

use std::env::args;
use std::process::ExitCode;

use micropy_core::{Converter, Id3Version, Options, TagOptions};

fn main() -> ExitCode {
    let arguments: Vec<String> = args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (input, output, version) = match words[..] {
        [input, output] => (input, output, Id3Version::V24),
        [input, output, "--id3-version", "2.3"] => (input, output, Id3Version::V23),
        _ => {
            eprintln!("usage: convert INPUT OUTPUT [--id3-version 2.3]");
            return ExitCode::from(2);
        }
    };
    let tags = TagOptions::new().version(version);
    match Converter::new(Options::new().tags(tags)).convert_file(input, output) {
        Ok(report) => {
            println!("{:?} of {}", report.duration(), report.codec);
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{input}: {}", e.with_causes());
            ExitCode::FAILURE
        }
    }
}
