//! `micropy convert --peaks`: the waveform of an MP3, drawn as it is made, in a file beside it.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use micropy_core::{Converter, Error, PeakBits, Sink as _, Waveform};

use crate::Exit;
use crate::convert::{Batch, Failure};
use crate::existing::Existing;
use crate::input;
use crate::output::Output;

/// Whether to draw the waveform, and how.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct WaveformArgs {
    /// Write the waveform, too, in at most so many points, as JSON in the form of audiowaveform: to `talk.peaks.json`
    /// beside `talk.mp3`
    #[arg(long, value_name = "POINTS", conflicts_with_all = ["split_chapters", "split"])]
    peaks: Option<NonZeroU32>,

    /// With --peaks: values of 8 or 16 bits
    #[arg(long, value_name = "8|16", default_value = "8", value_parser = peak_bits(), requires = "peaks")]
    peak_bits: PeakBits,
}

/// Reads how finely a waveform is drawn.
pub fn peak_bits() -> impl TypedValueParser<Value = PeakBits> {
    PossibleValuesParser::new(["8", "16"]).map(|bits| match bits.as_str() {
        "16" => PeakBits::Sixteen,
        _ => PeakBits::Eight,
    })
}

impl WaveformArgs {
    /// Lets `converter` draw it, if it is wanted.
    pub fn draw<'a>(&self, converter: Converter<'a>) -> Converter<'a> {
        match self.peaks {
            Some(points) => converter.draw_waveform(points, self.peak_bits),
            None => converter,
        }
    }

    /// Refuses a waveform of what goes to no file: it would have no name.
    pub fn check(&self, outputs: &[&Output]) -> Result<(), String> {
        let streams = |output: &&Output| !matches!(output, Output::File(_));
        match self.peaks.is_some() && outputs.iter().any(streams) {
            true => Err(
                "--peaks writes a file beside the MP3: say with --output which file that is".into(),
            ),
            false => Ok(()),
        }
    }

    /// The file of the waveform of what goes to `output`, if one is wanted.
    pub fn file(&self, output: &Output) -> Option<PathBuf> {
        match (self.peaks, output) {
            (Some(_), Output::File(path)) => Some(path.with_extension("peaks.json")),
            _ => None,
        }
    }
}

impl Batch<'_> {
    /// The file of the waveform of what goes to `output`, if one is to be written: not where it exists and is kept. An
    /// error says that it may not be replaced.
    pub fn waveform_file(&self, output: &Output) -> Result<Option<PathBuf>, Failure> {
        let Some(path) = self.args.waveform.file(output) else {
            return Ok(None);
        };
        // Whatever it leads to was not made by us.
        if let Ok(target) = path.read_link() {
            return Err(Failure::Link(path, target));
        }
        match (path.exists(), self.args.existing()) {
            (true, Existing::Keep) => Ok(None),
            (true, Existing::Refuse) => Err(Failure::create(&path)(
                std::io::ErrorKind::AlreadyExists.into(),
            )),
            _ => Ok(Some(path)),
        }
    }

    /// Writes the waveform that `converter` has drawn of `input` to `path`. Frames that were copied were not decoded
    /// for it, and are now.
    pub fn write_waveform(
        &self,
        path: &Path,
        input: &Path,
        converter: &mut Converter<'_>,
    ) -> Result<(), Failure> {
        let WaveformArgs { peaks, peak_bits } = self.args.waveform;
        let drawn = match (converter.waveform(), peaks) {
            (Some(drawn), _) => drawn,
            (None, None) => return Ok(()),
            (None, Some(_)) if input::is_pipe(input) => {
                let why = "its MP3 was copied, and a pipe is not read again to draw the waveform";
                return Err(Failure::Foreseen(Exit::Failed, why.into()));
            }
            (None, Some(points)) => {
                let peaks = converter.peaks(self.open(input)?, points, peak_bits);
                peaks.map_err(Failure::Convert)?.waveform
            }
        };
        self.write(path, &drawn).map_err(Failure::of_file(path))
    }

    fn write(&self, path: &Path, drawn: &Waveform) -> Result<(), Error> {
        let may_replace = self.args.existing().may_replace();
        let file = self.interrupt.create(path, may_replace);
        let written = file.and_then(|mut file| {
            file.write_all(format!("{drawn}\n").as_bytes())?;
            file.finish()
        });
        written.map_err(Error::Write)
    }
}
