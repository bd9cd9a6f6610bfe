//! The engine's errors as Python's exceptions, and exceptions of callbacks on their way through the engine.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use micropy_core::{CancelToken, Error};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// How one conversion is ended from Python: by the caller's token, or by an exception that a callback
/// raised, the first of which comes out as it was.
#[derive(Clone)]
pub struct Faults {
    raised: Arc<Mutex<Option<PyErr>>>,
    /// The caller's, which other conversions may hold too.
    caller: CancelToken,
    /// This conversion's own.
    own: CancelToken,
}

impl Faults {
    pub fn new(caller: CancelToken) -> Self {
        let faults = Faults {
            raised: Arc::default(),
            caller,
            own: CancelToken::new(),
        };
        faults.look();
        faults
    }

    /// The token for the engine.
    pub fn token(&self) -> CancelToken {
        self.own.clone()
    }

    /// Ends this conversion if the caller has cancelled.
    pub fn look(&self) {
        if self.caller.is_cancelled() {
            self.own.cancel();
        }
    }

    /// The same while a server is waited for; a signal's handler ends it too.
    pub fn watch(&self) {
        self.look();
        if let Err(raised) = Python::attach(|py| py.check_signals()) {
            self.raise(raised);
        }
    }

    /// Ends this conversion with `raised`.
    pub fn raise(&self, raised: PyErr) {
        let mut first = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(raised);
        self.own.cancel();
    }

    /// The same, from within a read or a write.
    pub fn fail(&self, raised: PyErr) -> io::Error {
        self.raise(raised);
        io::Error::other("a callback raised an exception")
    }

    /// What came of it: what was raised stands above what the engine made of that.
    pub fn settle<T>(&self, py: Python<'_>, done: Result<T, Error>) -> PyResult<T> {
        let mut first = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        match first.take() {
            Some(raised) => Err(raised),
            None => done.map_err(|error| exception(py, error)),
        }
    }
}

/// The exception of `micropy` that stands for `error`.
pub fn exception(py: Python<'_>, error: Error) -> PyErr {
    build(py, error).unwrap_or_else(|failed| failed)
}

fn build(py: Python<'_>, error: Error) -> PyResult<PyErr> {
    let message = error.with_causes().to_string();
    if let Error::InInput { error, .. } = error {
        // Of its own kind, and with the name of the file.
        let raised = build(py, *error)?;
        raised.value(py).setattr("args", (message,))?;
        return Ok(raised);
    }
    let attributes = PyDict::new(py);
    let mut cause = None;
    let name = match error {
        Error::Read(error) => {
            attributes.set_item("errno", error.raw_os_error())?;
            cause = Some(PyErr::from(error));
            "ReadError"
        }
        Error::Write(error) => {
            attributes.set_item("errno", error.raw_os_error())?;
            cause = Some(PyErr::from(error));
            "WriteError"
        }
        Error::Malformed { at, what, why, .. } => {
            attributes.set_item("at", at)?;
            attributes.set_item("what", what)?;
            attributes.set_item("why", why)?;
            "MalformedError"
        }
        Error::NotMp4 { why, .. } => {
            attributes.set_item("why", why)?;
            "NotMp4"
        }
        Error::Unsupported { what, .. } => {
            attributes.set_item("what", what)?;
            "UnsupportedError"
        }
        Error::NoAudioTrack(why) => {
            attributes.set_item("why", why)?;
            "NoAudioTrack"
        }
        Error::NoChapters => "NoChapters",
        Error::Encrypted { scheme, .. } => {
            attributes.set_item("scheme", scheme)?;
            "EncryptedError"
        }
        Error::EmptyPart { start, .. } => {
            attributes.set_item("start", start.as_secs_f64())?;
            "EmptyPart"
        }
        Error::Limit {
            at, what, limit, ..
        } => {
            attributes.set_item("at", at)?;
            attributes.set_item("what", what)?;
            attributes.set_item("limit", limit)?;
            "LimitError"
        }
        Error::InvalidOption(_) => "InvalidOption",
        Error::TooLong {
            length,
            bytes,
            fits,
            ..
        } => {
            attributes.set_item("length", length.as_secs_f64())?;
            attributes.set_item("bytes", bytes)?;
            attributes.set_item("fits", fits.as_secs_f64())?;
            "TooLong"
        }
        Error::Encode(_) => "EncodeError",
        Error::Internal(_) => "InternalError",
        Error::Cancelled => "Cancelled",
        // The enum may grow before this table does.
        _ => "MicropyError",
    };
    let raised = py
        .import("micropy._errors")?
        .getattr(name)?
        .call1((message,))?;
    for (name, value) in attributes {
        raised.setattr(name.cast::<pyo3::types::PyString>()?, value)?;
    }
    let raised = PyErr::from_value(raised);
    raised.set_cause(py, cause);
    Ok(raised)
}
