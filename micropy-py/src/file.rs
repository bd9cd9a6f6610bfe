//! Python's file objects as readers and writers. The GIL is taken for one call, and given back.

use std::io::{self, Read, Seek, SeekFrom, Write};

use pyo3::exceptions::{PyBlockingIOError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyInt};

use crate::error::Faults;

/// Bytes asked of `read` and given to `write` at once: few calls, little memory.
const CHUNK: usize = 256 << 10;

/// An object with `read` or `write`, and perhaps `seek`.
pub struct PyFile<'a> {
    object: &'a Py<PyAny>,
    faults: Faults,
    /// Written, but not yet handed on.
    pending: Vec<u8>,
}

impl<'a> PyFile<'a> {
    pub fn new(object: &'a Py<PyAny>, faults: Faults) -> Self {
        PyFile {
            object,
            faults,
            pending: Vec::new(),
        }
    }

    /// Calls into Python; what is raised there ends the conversion.
    fn call<T>(&self, f: impl for<'py> FnOnce(&Bound<'py, PyAny>) -> PyResult<T>) -> io::Result<T> {
        // Before the first packet there is no progress at which this would be asked.
        self.faults.look();
        Python::attach(|py| f(self.object.bind(py)).map_err(|raised| self.faults.fail(raised)))
    }

    /// Hands on what is pending.
    fn hand_on(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        self.call(|object| {
            let mut rest = &pending[..];
            while !rest.is_empty() {
                let returned = object.call_method1("write", (PyBytes::new(object.py(), rest),))?;
                // Raw files say how many they took; many other objects say nothing, or True.
                if !returned.is_exact_instance_of::<PyInt>() {
                    break;
                }
                let taken = returned.extract().ok();
                let Some(count) = taken.filter(|count| (1..=rest.len()).contains(count)) else {
                    return Err(PyValueError::new_err(format!(
                        "write() took {returned} of {} bytes",
                        rest.len()
                    )));
                };
                rest = &rest[count..];
            }
            Ok(())
        })
    }
}

impl Read for PyFile<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = buf.len().min(CHUNK);
        self.call(|object| {
            let data = object.call_method1("read", (wanted,))?;
            if data.is_none() {
                return Err(PyBlockingIOError::new_err(
                    "read() returned None: a file that does not block cannot be converted",
                ));
            }
            let data: PyBackedBytes = data.extract().map_err(|_| {
                let name = data.get_type();
                PyTypeError::new_err(format!(
                    "read() must return bytes, not {name}: open the file in binary mode"
                ))
            })?;
            if data.len() > wanted {
                return Err(PyValueError::new_err(format!(
                    "read({wanted}) returned {} bytes",
                    data.len()
                )));
            }
            buf[..data.len()].copy_from_slice(&data);
            Ok(data.len())
        })
    }
}

impl Write for PyFile<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(buf);
        if self.pending.len() >= CHUNK {
            self.hand_on()?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_on()?;
        self.call(|object| match object.getattr_opt("flush")? {
            Some(flush) => flush.call0().map(|_| ()),
            None => Ok(()),
        })
    }
}

impl Seek for PyFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.hand_on()?;
        self.call(|object| {
            let position = match to {
                SeekFrom::Start(at) => object.call_method1("seek", (at,))?,
                SeekFrom::Current(0) => object.call_method0("tell")?,
                SeekFrom::Current(by) => object.call_method1("seek", (by, 1))?,
                SeekFrom::End(by) => object.call_method1("seek", (by, 2))?,
            };
            // Some objects (SpooledTemporaryFile before Python 3.11) return nothing.
            let position = match position.is_none() {
                true => object.call_method0("tell")?,
                false => position,
            };
            position.extract().map_err(|_| {
                PyValueError::new_err(format!(
                    "seek() returned {position:?}, which is no position"
                ))
            })
        })
    }
}
