//! What is made of the inputs: parts, one file of all, a certain size, WAVE or PCM instead of MP3.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use micropy_core::{Division, Options, OutputFormat, SampleFormat};

/// Parts and sizes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Parts and sizes")]
pub struct PartArgs {
    /// Cut into parts of this length (`10m`, `1h30m`, `90`, `HH:MM:SS`), into `NAME 01.mp3`, `NAME 02.mp3` beside the
    /// input or in the folder --output
    #[arg(long, value_name = "LENGTH", value_parser = length, conflicts_with_all = ["split_chapters", "join"])]
    split: Option<Duration>,

    /// End each part in a pause: at the quietest place of its last quarter, so that none is longer than --split says
    #[arg(long, value_name = "PLACE", requires = "split")]
    split_at: Option<SplitAt>,

    /// Make the MP3 no larger than this (`25MB`, `10MiB`, `500kB`), tags and cover included; with parts, each of them.
    /// Bitrate, channels and sample rate follow
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "bits")]
    fit: Option<u64>,

    /// Leave out silence at the start and the end: what lies below -50 dBFS
    #[arg(long)]
    trim_silence: bool,

    /// Join all inputs into one MP3, which --output names, with a chapter for each
    #[arg(long, requires = "output", conflicts_with = "split_chapters")]
    join: bool,

    /// What to make [default: by the extension of --output: `wav`, `pcm`, otherwise `mp3`]
    #[arg(long, value_name = "FORMAT")]
    to: Option<To>,
}

/// Where parts end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SplitAt {
    /// In pauses
    Silence,
}

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// MP3
    Mp3,
    /// WAVE, 16 bits
    Wav,
    /// WAVE, 32-bit floats
    WavF32,
    /// PCM without a header, 16 bits, little-endian
    #[value(name = "s16le", alias = "pcm")]
    S16le,
    /// PCM without a header, 32-bit floats, little-endian
    #[value(name = "f32le")]
    F32le,
}

impl PartArgs {
    /// `options` with what these arguments ask for. `output`: where the file goes, if that was said.
    pub fn apply(&self, options: Options, output: Option<&Path>) -> Result<Options, String> {
        let options = options
            .format(self.format(output))
            .trim_silence(self.trim_silence);
        options.check().map_err(|error| error.to_string())?;
        Ok(options)
    }

    fn format(&self, output: Option<&Path>) -> OutputFormat {
        let extension = output.and_then(Path::extension).and_then(OsStr::to_str);
        let by_extension = match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("wav") => To::Wav,
            Some("pcm") => To::S16le,
            _ => To::Mp3,
        };
        match self.to.unwrap_or(by_extension) {
            To::Mp3 => OutputFormat::Mp3,
            To::Wav => OutputFormat::Wav(SampleFormat::S16),
            To::WavF32 => OutputFormat::Wav(SampleFormat::F32),
            To::S16le => OutputFormat::Raw(SampleFormat::S16),
            To::F32le => OutputFormat::Raw(SampleFormat::F32),
        }
    }

    /// The most bytes that an MP3 may have.
    pub fn fit(&self) -> Option<u64> {
        self.fit
    }

    /// How each input is divided, if it is to be divided by time.
    pub fn division(&self) -> Option<Division> {
        self.split.map(|length| match self.split_at {
            Some(SplitAt::Silence) => Division::Pauses(length),
            None => Division::Lengths(length),
        })
    }

    /// Whether all inputs become one file.
    pub fn join(&self) -> bool {
        self.join
    }
}

/// `10m`, `1h30m`, `90s`, `90`, `1:30:00`.
fn length(text: &str) -> Result<Duration, String> {
    let refuse = || "neither a length such as 10m, 1h30m or 90s nor [HH:]MM:SS".to_owned();
    if text.contains(':') || text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return crate::options::time(text).map_err(|_| refuse());
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut units = [('h', 3600.0), ('m', 60.0), ('s', 1.0)].into_iter();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c.is_ascii_alphabetic())
            .ok_or_else(refuse)?;
        let (number, unit) = rest.split_at(end);
        let unit = unit.chars().next().ok_or_else(refuse)?.to_ascii_lowercase();
        // Each at most once, from the largest.
        let (_, seconds) = units.find(|(name, _)| *name == unit).ok_or_else(refuse)?;
        let is_number = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let count: f64 = number
            .parse()
            .ok()
            .filter(|_| is_number)
            .ok_or_else(refuse)?;
        let time = Duration::try_from_secs_f64(count * seconds).map_err(|_| refuse())?;
        total = total.checked_add(time).ok_or_else(refuse)?;
        rest = &rest[end + 1..];
    }
    match text.is_empty() {
        true => Err(refuse()),
        false => Ok(total),
    }
}

/// `25MB`, `25M`, `1.5GB`, `10MiB`, `500kB`, `1000000`.
fn size(text: &str) -> Result<u64, String> {
    let refuse = || "not a size such as 25MB, 10MiB or 500kB".to_owned();
    let end = text.find(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let factor: u32 = match unit.as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(refuse()),
    };
    let is_number = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let count: f64 = number
        .parse()
        .ok()
        .filter(|_| is_number)
        .ok_or_else(refuse)?;
    // Down: a size is what must not be passed. A number that is too large is any size at all.
    Ok((count * f64::from(factor)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_units_or_colons() {
        for (text, seconds) in [
            ("10m", 600.0),
            ("1h30m", 5400.0),
            ("1h5s", 3605.0),
            ("90s", 90.0),
            ("90", 90.0),
            ("1.5", 1.5),
            ("2.5m", 150.0),
            ("1:30", 90.0),
            ("1:00:00.5", 3600.5),
            ("10M", 600.0),
        ] {
            assert_eq!(length(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for wrong in [
            "", "m", "10x", "5m5m", "5s1h", "-5m", "1e3s", "10m5", "ten", "1:", "inf", "nanm",
        ] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_of_a_thousand_or_by_the_iec() {
        for (text, bytes) in [
            ("25MB", 25_000_000),
            ("25mb", 25_000_000),
            ("25M", 25_000_000),
            ("10MiB", 10_485_760),
            ("1.5 GB", 1_500_000_000),
            ("500kB", 500_000),
            ("123", 123),
            ("1.9b", 1),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "MB", "-1MB", "1e6", "5 apples", "1,5MB", "infMB", "."] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
