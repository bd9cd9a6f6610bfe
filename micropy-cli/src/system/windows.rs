//! What Windows calls a device, a named pipe and a closed pipe.

use std::fs::Metadata;
use std::io;
use std::path::{Component, Path, Prefix, absolute};
use std::time::SystemTime;

/// `ERROR_PIPE_NOT_CONNECTED`: a write to a pipe whose reader has disconnected. The standard library gives it no kind.
const PIPE_NOT_CONNECTED: i32 = 233;

/// Standard input has no name here.
pub fn is_stdin(_path: &Path) -> bool {
    false
}

/// Standard output has no name here.
pub fn is_stdout(_path: &Path) -> bool {
    false
}

/// Whether `path` is a device or a named pipe: something to read from or write into, never to replace.
pub fn is_stream(path: &Path) -> bool {
    // Which names are devices depends on the version (`NUL`, `COM1`, in some `NUL.mp3` too). The system itself resolves
    // them to the device namespace, `\\.\NUL`.
    let Ok(path) = absolute(path) else {
        return false;
    };
    match path.components().next() {
        Some(Component::Prefix(prefix)) => matches!(prefix.kind(), Prefix::DeviceNS(_)),
        _ => false,
    }
}

/// When a file came to be where it is: a copy has the time of its original, but was created when it was copied.
pub fn changed(file: &Metadata) -> Option<SystemTime> {
    file.created().ok()
}

/// Whether a write failed because the reader of the pipe has gone.
pub fn is_closed_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(PIPE_NOT_CONNECTED)
}
