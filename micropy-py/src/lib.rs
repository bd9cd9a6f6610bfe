//! Micropy for Python: arguments to the engine's options, its results and errors back.
//!
//! Signatures, types and words for people stand in `python/micropy`; this crate is what it calls.

mod error;
mod file;
mod options;
mod outcome;

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use micropy_core::{
    CancelToken, Converter, Division, Error, FileSink, FileSource, PartOutcome, PeakBits, Prober,
    Progress, SeekSink, SeekSource, Source, StreamSink, StreamSource, Waveform,
};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::error::Faults;
use crate::file::PyFile;

/// Ends a conversion from another thread: `cancel()` it, and the conversion raises `Cancelled`.
///
/// One token may be given to many conversions.
#[pyclass(frozen, module = "micropy", name = "CancelToken")]
#[derive(Default)]
struct PyCancelToken(CancelToken);

#[pymethods]
impl PyCancelToken {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Cancel every conversion that holds this token, now and later.
    fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether `cancel` was called.
    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn __repr__(&self) -> &'static str {
        match self.0.is_cancelled() {
            true => "CancelToken(cancelled)",
            false => "CancelToken()",
        }
    }
}

/// What to read.
enum Input {
    Path(PathBuf),
    Url(String),
    Bytes(PyBackedBytes),
    Seek(Py<PyAny>),
    Stream(Py<PyAny>),
}

impl Input {
    /// `("path" | "url" | "bytes" | "seek" | "stream", object)`.
    fn new(kind: &str, object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(match kind {
            "path" => Input::Path(object.extract()?),
            "url" => Input::Url(object.extract()?),
            "bytes" => Input::Bytes(object.extract()?),
            "seek" => Input::Seek(object.clone().unbind()),
            _ => Input::Stream(object.clone().unbind()),
        })
    }

    fn open<'a>(&'a self, faults: &Faults) -> Result<Box<dyn Source + 'a>, Error> {
        let file = |object| PyFile::new(object, faults.clone());
        Ok(match self {
            Input::Path(path) => Box::new(FileSource::open(path).map_err(Error::Read)?),
            Input::Url(url) => {
                let watched = faults.clone();
                let options = micropy_remote::Options::new()
                    .cancel(faults.token())
                    .while_waiting(move || watched.watch());
                let opened = micropy_remote::open(url, options);
                Box::new(opened.map_err(|error| match faults.token().is_cancelled() {
                    true => Error::Cancelled,
                    false => Error::Read(error.into()),
                })?)
            }
            Input::Bytes(bytes) => Box::new(bytes.as_ref()),
            Input::Seek(object) => Box::new(SeekSource::new(file(object)).map_err(Error::Read)?),
            Input::Stream(object) => Box::new(StreamSource::new(file(object))),
        })
    }
}

/// Where to write.
enum Output {
    Path { path: PathBuf, overwrite: bool },
    Memory,
    Seek(Py<PyAny>),
    Stream(Py<PyAny>),
}

impl Output {
    fn new(kind: &str, object: &Bound<'_, PyAny>, overwrite: bool) -> PyResult<Self> {
        Ok(match kind {
            "path" => Output::Path {
                path: object.extract()?,
                overwrite,
            },
            "bytes" => Output::Memory,
            "seek" => Output::Seek(object.clone().unbind()),
            _ => Output::Stream(object.clone().unbind()),
        })
    }
}

/// How often Ctrl-C and a `progress` are looked at, at most.
const TICK: Duration = Duration::from_millis(50);

/// A converter that tells `progress`, and ends when it raises or a signal's handler does.
fn converter(
    options: micropy_core::Options,
    progress: Option<Py<PyAny>>,
    faults: &Faults,
) -> Converter<'static> {
    let mut last: Option<Instant> = None;
    let told = faults.clone();
    Converter::new(options)
        .cancel(faults.token())
        .on_progress(move |now: Progress| {
            told.look();
            let is_last = now.total.is_some_and(|total| now.done >= total);
            if !is_last && last.is_some_and(|last| last.elapsed() < TICK) {
                return;
            }
            last = Some(Instant::now());
            Python::attach(|py| {
                let called = py.check_signals().and_then(|()| match &progress {
                    None => Ok(()),
                    Some(callback) => callback
                        .call1(
                            py,
                            (
                                now.done.as_secs_f64(),
                                now.total.map(|total| total.as_secs_f64()),
                                now.pass,
                                now.passes,
                            ),
                        )
                        .map(|_| ()),
                });
                if let Err(raised) = called {
                    told.raise(raised);
                }
            });
        })
}

/// How a waveform is drawn: in so many points at most, of so many bits.
struct Drawing(NonZeroU32, PeakBits);

impl Drawing {
    fn new((points, bits): (u32, u8)) -> Result<Self, Error> {
        let points = NonZeroU32::new(points)
            .ok_or_else(|| Error::InvalidOption("a waveform of no points".into()))?;
        match bits {
            8 => Ok(Drawing(points, PeakBits::Eight)),
            16 => Ok(Drawing(points, PeakBits::Sixteen)),
            _ => Err(Error::InvalidOption("a waveform has 8 or 16 bits".into())),
        }
    }

    /// `converter`, drawing as `wanted`.
    fn on<'a>(converter: Converter<'a>, wanted: Option<(u32, u8)>) -> Result<Converter<'a>, Error> {
        Ok(match wanted.map(Drawing::new).transpose()? {
            Some(Drawing(points, bits)) => converter.draw_waveform(points, bits),
            None => converter,
        })
    }
}

/// The fields of a report, with the waveform in JSON where one was drawn.
fn drawn<'py>(
    py: Python<'py>,
    report: &micropy_core::Report,
    waveform: Option<Waveform>,
) -> PyResult<Bound<'py, PyDict>> {
    let fields = outcome::report(py, report)?;
    fields.set_item("peaks", waveform.map(|drawn| drawn.to_string()))?;
    Ok(fields)
}

/// Convert; returns the report's fields and, where there is no destination, the MP3. `peaks`: points and bits of the
/// waveform, which is in the report's fields then, as JSON.
#[pyfunction]
#[pyo3(signature = (source, destination, options, overwrite, peaks, progress, cancel))]
#[allow(
    clippy::too_many_arguments,
    reason = "they are Python's keyword arguments"
)]
fn convert<'py>(
    py: Python<'py>,
    source: (String, Bound<'py, PyAny>),
    destination: (String, Bound<'py, PyAny>),
    options: &Bound<'py, PyDict>,
    overwrite: bool,
    peaks: Option<(u32, u8)>,
    progress: Option<Py<PyAny>>,
    cancel: &PyCancelToken,
) -> PyResult<(Bound<'py, PyDict>, Option<Bound<'py, PyBytes>>)> {
    let input = Input::new(&source.0, &source.1)?;
    let output = Output::new(&destination.0, &destination.1, overwrite)?;
    let options = options::read(options)?;
    let faults = Faults::new(cancel.0.clone());
    let done = py.detach(|| {
        let mut converter = Drawing::on(converter(options, progress, &faults), peaks)?;
        let source = input.open(&faults)?;
        let mut memory = None;
        let report = match &output {
            Output::Path { path, overwrite } => {
                let file = FileSink::create(path, *overwrite).map_err(Error::Write)?;
                converter.convert(source, file)?
            }
            Output::Memory => converter.convert(source, memory.insert(Vec::new()))?,
            Output::Seek(object) => {
                let file = PyFile::new(object, faults.clone());
                let sink = SeekSink::new(file).map_err(Error::Write)?;
                converter.convert(source, sink)?
            }
            Output::Stream(object) => {
                let sink = StreamSink::new(PyFile::new(object, faults.clone()));
                converter.convert(source, sink)?
            }
        };
        Ok((report, converter.waveform(), memory))
    });
    let (report, waveform, memory) = faults.settle(py, done)?;
    let memory = memory.map(|bytes| PyBytes::new(py, &bytes));
    Ok((drawn(py, &report, waveform)?, memory))
}

/// Convert each part into a file of its own in `folder`: each chapter, or each stretch of `length` seconds, ended in a
/// pause where `pauses` says so. The names of the latter begin with `stem`. Returns the paths with the reports' fields,
/// and the fields of the parts that hold no audio.
#[pyfunction]
#[allow(
    clippy::too_many_arguments,
    reason = "they are Python's keyword arguments"
)]
fn split<'py>(
    py: Python<'py>,
    source: (String, Bound<'py, PyAny>),
    folder: PathBuf,
    length: Option<f64>,
    pauses: bool,
    stem: &str,
    options: &Bound<'py, PyDict>,
    overwrite: bool,
    progress: Option<Py<PyAny>>,
    cancel: &PyCancelToken,
) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
    let input = Input::new(&source.0, &source.1)?;
    let options = options::read(options)?;
    let faults = Faults::new(cancel.0.clone());
    let done = py.detach(|| {
        let division = division(length, pauses)?;
        let source = input.open(&faults)?;
        let mut parts = converter(options, progress, &faults).parts(source, division)?;
        let (mut made, mut empty) = (Vec::new(), Vec::new());
        for (index, name) in parts.file_names(stem).iter().enumerate() {
            let path = folder.join(name);
            let file = FileSink::create(&path, overwrite).map_err(Error::Write)?;
            match parts.convert(index, file)? {
                PartOutcome::Converted(report) => made.push((path, report)),
                PartOutcome::Empty(part) => {
                    empty.push((parts.list()[index].title.clone(), part));
                }
            }
        }
        match (made.is_empty(), empty.first()) {
            (true, Some((_, first))) => Err(first.clone().into()),
            _ => Ok((made, empty)),
        }
    });
    let (made, empty) = faults.settle(py, done)?;
    let lists = (PyList::empty(py), PyList::empty(py));
    for (path, report) in &made {
        lists.0.append((path, outcome::report(py, report)?))?;
    }
    for (title, chapter) in &empty {
        lists
            .1
            .append(outcome::empty_chapter(py, title, chapter)?)?;
    }
    Ok(lists)
}

fn division(length: Option<f64>, pauses: bool) -> Result<Division, Error> {
    let Some(seconds) = length else {
        return Ok(Division::Chapters);
    };
    let length = Duration::try_from_secs_f64(seconds).map_err(|_| {
        Error::InvalidOption(format!(
            "length = {seconds} is no length of time in seconds"
        ))
    })?;
    Ok(match pauses {
        true => Division::Pauses(length),
        false => Division::Lengths(length),
    })
}

/// The fields of the report of what was made, its bytes where it went into memory, and the fields of each input's
/// report.
type JoinedParts<'py> = (
    Bound<'py, PyDict>,
    Option<Bound<'py, PyBytes>>,
    Vec<Bound<'py, PyDict>>,
);

/// Join the sources, each with its name, into one; returns as `convert` does, and the fields of the report of each.
#[pyfunction]
#[allow(
    clippy::too_many_arguments,
    reason = "they are Python's keyword arguments"
)]
fn join<'py>(
    py: Python<'py>,
    sources: Vec<(String, (String, Bound<'py, PyAny>))>,
    destination: (String, Bound<'py, PyAny>),
    options: &Bound<'py, PyDict>,
    overwrite: bool,
    peaks: Option<(u32, u8)>,
    progress: Option<Py<PyAny>>,
    cancel: &PyCancelToken,
) -> PyResult<JoinedParts<'py>> {
    let inputs = sources.iter().map(|(name, (kind, object))| {
        let input = Input::new(kind, object)?;
        Ok((name.clone(), input))
    });
    let inputs = inputs.collect::<PyResult<Vec<_>>>()?;
    let output = Output::new(&destination.0, &destination.1, overwrite)?;
    let options = options::read(options)?;
    let faults = Faults::new(cancel.0.clone());
    let done = py.detach(|| {
        let mut converter = Drawing::on(converter(options, progress, &faults), peaks)?;
        let mut sources = Vec::with_capacity(inputs.len());
        for (name, input) in &inputs {
            sources.push((name.clone(), input.open(&faults)?));
        }
        let mut memory = None;
        let joined = match &output {
            Output::Path { path, overwrite } => {
                let file = FileSink::create(path, *overwrite).map_err(Error::Write)?;
                converter.join(sources, file)?
            }
            Output::Memory => converter.join(sources, memory.insert(Vec::new()))?,
            Output::Seek(object) => {
                let file = PyFile::new(object, faults.clone());
                let sink = SeekSink::new(file).map_err(Error::Write)?;
                converter.join(sources, sink)?
            }
            Output::Stream(object) => {
                let sink = StreamSink::new(PyFile::new(object, faults.clone()));
                converter.join(sources, sink)?
            }
        };
        Ok((joined, converter.waveform(), memory))
    });
    let (joined, waveform, memory) = faults.settle(py, done)?;
    let memory = memory.map(|bytes| PyBytes::new(py, &bytes));
    let inputs = joined
        .inputs
        .iter()
        .map(|report| outcome::report(py, report));
    let inputs = inputs.collect::<PyResult<Vec<_>>>()?;
    Ok((drawn(py, &joined.report, waveform)?, memory, inputs))
}

/// Draw the waveform in at most `points` points of `bits` bits; returns it as JSON.
#[pyfunction]
fn peaks(
    py: Python<'_>,
    source: (String, Bound<'_, PyAny>),
    points: u32,
    bits: u8,
    options: &Bound<'_, PyDict>,
    progress: Option<Py<PyAny>>,
    cancel: &PyCancelToken,
) -> PyResult<String> {
    let input = Input::new(&source.0, &source.1)?;
    let options = options::read(options)?;
    let faults = Faults::new(cancel.0.clone());
    let done = py.detach(|| {
        let Drawing(points, bits) = Drawing::new((points, bits))?;
        converter(options, progress, &faults).peaks(input.open(&faults)?, points, bits)
    });
    Ok(faults.settle(py, done)?.to_string())
}

/// Look into a file; returns the probe's fields.
#[pyfunction]
fn probe<'py>(
    py: Python<'py>,
    source: (String, Bound<'py, PyAny>),
    cancel: &PyCancelToken,
) -> PyResult<Bound<'py, PyDict>> {
    let input = Input::new(&source.0, &source.1)?;
    let faults = Faults::new(cancel.0.clone());
    let prober = Prober::new().cancel(faults.token());
    let done = py.detach(|| prober.probe(input.open(&faults)?));
    outcome::probe(py, &faults.settle(py, done)?)
}

/// Whether a string is a URL and not a path.
#[pyfunction]
fn _is_url(text: &str) -> bool {
    micropy_remote::is_url(text)
}

/// What may be shown of a URL.
#[pyfunction]
fn _without_secrets(url: &str) -> String {
    micropy_remote::without_secrets(url)
}

/// What the names of files made of a URL begin with: the name of the file that it names, without its extension and
/// without what no file may be called. Empty where there is none.
#[pyfunction]
fn _stem_of_url(url: &str) -> String {
    let name = micropy_remote::file_name(url).unwrap_or_default();
    let stem = Path::new(&name).file_stem().unwrap_or_default();
    micropy_core::file_stem(&stem.to_string_lossy()).unwrap_or_default()
}

/// The command line; `words` begin with what the program is called. Returns the exit code.
#[pyfunction]
fn _main(py: Python<'_>, words: Vec<OsString>) -> u8 {
    py.detach(|| micropy_cli::main(words)).code()
}

/// The native half of `micropy`.
#[pymodule]
fn _micropy(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<PyCancelToken>()?;
    module.add_function(wrap_pyfunction!(convert, module)?)?;
    module.add_function(wrap_pyfunction!(join, module)?)?;
    module.add_function(wrap_pyfunction!(peaks, module)?)?;
    module.add_function(wrap_pyfunction!(split, module)?)?;
    module.add_function(wrap_pyfunction!(probe, module)?)?;
    module.add_function(wrap_pyfunction!(_is_url, module)?)?;
    module.add_function(wrap_pyfunction!(_without_secrets, module)?)?;
    module.add_function(wrap_pyfunction!(_stem_of_url, module)?)?;
    module.add_function(wrap_pyfunction!(_main, module)?)?;
    Ok(())
}
