//! What is done with hostile bytes. One place for it: the targets of libFuzzer (`fuzz_targets/`) and the
//! bounded run of the tests (`main.rs`) call the same [`Target::run`].
//!
//! A target answers `Err` where the library broke a promise: it called its own fault (`Error::Internal`), or
//! the MP3 that it made is none. Everything else that it may say of such bytes is right.

use std::io::Read;
use std::time::Duration;

use micropy_core::{
    Channels, Converter, Error, Options, PartOutcome, Report, StreamSink, StreamSource, probe,
    stages,
};

#[allow(dead_code, reason = "shared with the tests of the library")]
#[path = "../../micropy-core/tests/support/mp3_check.rs"]
mod mp3_check;
pub mod mutation;
#[allow(dead_code, reason = "shared with the tests of the library")]
#[path = "../../micropy-core/tests/support/music.rs"]
mod random;
pub mod seed;

/// What reads bytes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The whole of `mp4/`: boxes, sample tables, fragments, edit lists, metadata, chapters.
    Demux,
    /// Everything from a file to an MP3, with options that the first byte chooses.
    Convert,
    /// The reader of MP3 frames: headers, side information, reservoir, Info tag, seams.
    Mp3,
}

/// What was done with an input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// How much audio came out.
    pub audio: Duration,
    /// Bytes of it, all in memory.
    pub bytes: usize,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 3] = [Target::Demux, Target::Convert, Target::Mp3];

    /// By the name of its file in `fuzz_targets/`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The name of its file in `fuzz_targets/`.
    pub fn name(self) -> &'static str {
        match self {
            Target::Demux => "demux",
            Target::Convert => "convert",
            Target::Mp3 => "mp3",
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn run(self, data: &[u8]) -> Result<Outcome, String> {
        match self {
            Target::Demux => demux(data),
            Target::Convert => convert(data),
            Target::Mp3 => mp3(data),
        }
    }
}

/// The library's own faults among what it may say.
fn judge<T>(result: Result<T, Error>) -> Result<Option<T>, String> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(fault @ (Error::Internal(_) | Error::Encode(_))) => Err(fault.to_string()),
        Err(_) => Ok(None),
    }
}

/// The file, from a source that seeks and from a pipe: both say the same.
fn demux(data: &[u8]) -> Result<Outcome, String> {
    let found = judge(probe(data))?;
    // A pipe spools, which takes a file: now and then is enough.
    if data.len().is_multiple_of(8) {
        let mut piped = judge(probe(StreamSource::new(data)))?;
        if let (Some(piped), Some(found)) = (&mut piped, &found) {
            piped.size = found.size;
        }
        // Where only one of them goes back in the file, they may differ in whether they can.
        if let (Some(piped), Some(found)) = (&piped, &found)
            && piped.tracks != found.tracks
        {
            return Err(format!(
                "a pipe has {:?}, a file {:?}",
                piped.tracks, found.tracks
            ));
        }
    }
    judge(stages::demux(data))?;
    Ok(Outcome::default())
}

/// How many sets of options `convert` knows.
pub const OPTION_SETS: u8 = 10;

/// A file begins with a size, so with a zero: then it is converted with the first set of options. Any other
/// first byte chooses the set, and the file follows it.
fn convert(data: &[u8]) -> Result<Outcome, String> {
    let (set, file) = match data.split_first() {
        Some((&set, file)) if set != 0 => (set % OPTION_SETS, file),
        _ => (0, data),
    };
    let options = Options::new().quality(9).jobs(1);
    let short = Duration::from_millis(700);
    match set {
        0 => to_memory(options.vbr(9.0), file),
        1 => to_memory(options.cbr(128).jobs(2), file),
        2 => to_memory(options.vbr(9.0).normalize(-16.0), file),
        3 => to_memory(
            options.abr(24).sample_rate(8000).channels(Channels::Mono),
            file,
        ),
        4 => to_memory(
            options
                .vbr(9.9)
                .start(short / 2)
                .duration(short)
                .fade_in(short / 3)
                .fade_out(short),
            file,
        ),
        5 => to_memory(Options::moviepy_defaults().quality(9).jobs(1), file),
        6 => to_memory(
            options
                .vbr(9.0)
                .late_start(true)
                .duration(Duration::from_secs(20))
                .replay_gain(true),
            file,
        ),
        7 => chapters(options.vbr(9.0), file),
        8 => through_pipes(options.cbr(64).jobs(2), file),
        // An MP3 is copied.
        _ => to_memory(Options::new().jobs(1), file),
    }
}

fn to_memory(options: Options, file: &[u8]) -> Result<Outcome, String> {
    let mut mp3 = Vec::new();
    match judge(Converter::new(options).convert(file, &mut mp3))? {
        Some(report) => sound(&mp3, &report),
        None => Ok(Outcome::default()),
    }
}

/// Each chapter, up to the fourth.
fn chapters(options: Options, file: &[u8]) -> Result<Outcome, String> {
    let mut all = Outcome::default();
    let Some(mut chapters) = judge(Converter::new(options).chapters(file))? else {
        return Ok(all);
    };
    for index in 0..chapters.list().len().min(4) {
        let mut mp3 = Vec::new();
        let converted = chapters.convert(index, &mut mp3).map(PartOutcome::report);
        if let Some(report) = judge(converted)?.flatten() {
            let one = sound(&mp3, &report)?;
            all.audio += one.audio;
            all.bytes = all.bytes.max(one.bytes);
        }
    }
    Ok(all)
}

/// Out of one pipe into another.
fn through_pipes(options: Options, file: &[u8]) -> Result<Outcome, String> {
    let mut mp3 = Vec::new();
    let pipe: Box<dyn Read> = Box::new(file);
    let sink = StreamSink::new(&mut mp3);
    let converted = Converter::new(options).convert(StreamSource::new(pipe), sink);
    match judge(converted)? {
        // What a pipe's Info tag foretold does not come where the file breaks off.
        Some(report) if report.complete => sound(&mp3, &report),
        _ => Ok(Outcome::default()),
    }
}

/// What came out is an MP3, as long as the report says.
fn sound(mp3: &[u8], report: &Report) -> Result<Outcome, String> {
    if report.frames > 0 {
        let stream = mp3_check::check(mp3)?;
        let frames = stream.frames.len() as u64;
        if frames != report.frames {
            return Err(format!(
                "{frames} frames, the report says {}",
                report.frames
            ));
        }
    }
    Ok(Outcome {
        audio: report.duration(),
        bytes: mp3.len(),
    })
}

/// A stream of frames, taken in pieces as long as its first byte says.
fn mp3(data: &[u8]) -> Result<Outcome, String> {
    let piece = data.first().map_or(1, |&b| usize::from(b) * 5 + 1);
    stages::mp3(data, piece);
    Ok(Outcome::default())
}
