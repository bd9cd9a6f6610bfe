//! Keyword arguments to the engine's options.

use std::time::Duration;

use micropy_core::{
    Bitrate, Channels, Cover, Error, Id3Version, Options, OutputFormat, Preset, SampleFormat,
    TrackChoice,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt};

use crate::error::exception;

/// What can be made, by name.
const FORMATS: [(&str, OutputFormat); 5] = [
    ("mp3", OutputFormat::Mp3),
    ("wav", OutputFormat::Wav(SampleFormat::S16)),
    ("wav-f32", OutputFormat::Wav(SampleFormat::F32)),
    ("s16le", OutputFormat::Raw(SampleFormat::S16)),
    ("f32le", OutputFormat::Raw(SampleFormat::F32)),
];

fn format(name: &str) -> Option<OutputFormat> {
    let found = FORMATS.iter().find(|(known, _)| *known == name);
    found.map(|&(_, format)| format)
}

/// The options that `arguments` name; Python's half has seen that there are no others.
pub fn read(arguments: &Bound<'_, PyDict>) -> PyResult<Options> {
    let py = arguments.py();
    let refuse = |why: String| exception(py, Error::InvalidOption(why));
    let get = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
        Ok(arguments.get_item(name)?.filter(|value| !value.is_none()))
    };
    // A number that its type cannot hold is out of range, not a mistake of type.
    fn number<'py, T: FromPyObjectOwned<'py>>(
        name: &str,
        value: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<T>> {
        let Some(value) = value else { return Ok(None) };
        value.extract::<T>().map(Some).map_err(|error| {
            let error: PyErr = error.into();
            match error.is_instance_of::<pyo3::exceptions::PyOverflowError>(value.py()) {
                true => exception(
                    value.py(),
                    Error::InvalidOption(format!("{name} = {value} is out of range")),
                ),
                false => error,
            }
        })
    }
    let seconds = |name: &str| -> PyResult<Option<Duration>> {
        let Some(value) = number::<f64>(name, get(name)?)? else {
            return Ok(None);
        };
        let time = Duration::try_from_secs_f64(value);
        time.map(Some)
            .map_err(|_| refuse(format!("{name} = {value} is no length of time in seconds")))
    };
    let flag_or = |name: &str, default: bool| -> PyResult<bool> {
        get(name)?.map_or(Ok(default), |value| value.is_truthy())
    };
    let flag = |name: &str| flag_or(name, false);

    let fit: Option<u64> = number("fit", get("fit")?)?;
    let mut options = match get("preset")? {
        None => Options::new(),
        Some(name) => {
            let preset: Result<Preset, Error> = name.to_string().parse();
            let preset = preset.map_err(|error| exception(py, error))?;
            // The size decides on the bitrate, unless the caller has, too.
            fit.map_or_else(|| preset.options(), |bytes| preset.options_to_fit(bytes))
        }
    };
    let cbr: Option<u16> = number("bitrate", get("bitrate")?)?;
    let abr: Option<u16> = number("abr", get("abr")?)?;
    let vbr: Option<f32> = number("vbr", get("vbr")?)?;
    options.bitrate = match (cbr, abr, vbr) {
        (None, None, None) => options.bitrate,
        (Some(kbps), None, None) => Some(Bitrate::Cbr(kbps)),
        (None, Some(kbps), None) => Some(Bitrate::Abr(kbps)),
        (None, None, Some(quality)) => Some(Bitrate::Vbr(quality)),
        _ => return Err(refuse("give one of bitrate, abr and vbr".into())),
    };
    options.quality = number("quality", get("quality")?)?.or(options.quality);
    options.sample_rate = number("sample_rate", get("sample_rate")?)?.or(options.sample_rate);
    options.channels = match number::<u8>("channels", get("channels")?)? {
        None => options.channels,
        Some(1) => Some(Channels::Mono),
        Some(2) => Some(Channels::Stereo),
        Some(count) => return Err(refuse(format!("MP3 has 1 or 2 channels, not {count}"))),
    };
    options.unscaled_downmix = flag("unscaled_downmix")?;
    options.track = match get("track")? {
        None => TrackChoice::Default,
        Some(index) if index.is_instance_of::<PyInt>() => match number("track", Some(index))? {
            Some(index) => TrackChoice::Index(index),
            None => TrackChoice::Default,
        },
        Some(language) => TrackChoice::Language(language.extract::<String>()?.to_lowercase()),
    };
    options.start = seconds("start")?.unwrap_or_default();
    options.duration = seconds("duration")?;
    if let Some(end) = seconds("end")? {
        if options.duration.is_some() {
            return Err(refuse("give one of end and duration".into()));
        }
        let length = end.checked_sub(options.start);
        options.duration = Some(length.ok_or_else(|| refuse("end lies before start".into()))?);
    }
    options.late_start = flag("late_start")?;
    options.fade_in = seconds("fade_in")?.unwrap_or_default();
    options.fade_out = seconds("fade_out")?.unwrap_or_default();
    options.trim_silence = flag("trim_silence")?;
    options.fit = fit;
    if let Some(name) = get("format")? {
        options.format = format(&name.to_string()).ok_or_else(|| {
            let known = FORMATS.map(|(name, _)| name).join(", ");
            refuse(format!("there is no format {name}, only {known}"))
        })?;
    }
    options.normalize = number("normalize", get("normalize")?)?.or(options.normalize);
    options.replay_gain = flag("replay_gain")?;
    options.tags.copy = flag_or("copy_tags", options.tags.copy)?;
    if let Some(tags) = get("tags")? {
        for (key, value) in tags.extract::<Vec<(String, String)>>()? {
            let key = key.parse().map_err(|error| exception(py, error))?;
            options.tags.edits.push((key, value));
        }
    }
    if let Some(cover) = get("cover")? {
        let cover = Cover::new(cover.extract::<Vec<u8>>()?);
        options.tags.cover = Some(cover.map_err(|error| exception(py, error))?);
    }
    if flag("id3v23")? {
        options.tags.version = Id3Version::V23;
    }
    let jobs: Option<usize> = number("jobs", get("jobs")?)?;
    if jobs == Some(0) {
        return Err(refuse("jobs = 0: nobody would convert".into()));
    }
    let options = options.jobs(jobs.unwrap_or_default());
    options.check().map_err(|error| exception(py, error))?;
    Ok(options)
}
