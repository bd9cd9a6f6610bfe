//! A video in memory becomes an MP3 in memory: `memory <talk.mp4 >talk.mp3`.

use std::error::Error;
use std::io::{self, Read as _, Write as _};

use micropy_core::{Converter, Options, Report};

/// The MP3 of a video, and what was done.
pub fn mp3_of(video: &[u8], options: Options) -> micropy_core::Result<(Vec<u8>, Report)> {
    let mut mp3 = Vec::new();
    let report = Converter::new(options).convert(video, &mut mp3)?;
    Ok((mp3, report))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut video = Vec::new();
    io::stdin().read_to_end(&mut video)?;
    let (mp3, report) = mp3_of(&video, Options::new().vbr(2.0))?;
    io::stdout().write_all(&mp3)?;
    for warning in &report.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(())
}
