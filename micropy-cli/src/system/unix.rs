//! What Unix calls a device, a named pipe and the standard output.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Whether `path` is another name of standard input.
pub fn is_stdin(path: &Path) -> bool {
    const NAMES: [&str; 3] = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
    NAMES.iter().any(|name| path == Path::new(name))
}

/// Whether `path` is another name of standard output. A shell that redirects standard output to a file has created that
/// file already, so it is not "an existing file" that must be kept.
pub fn is_stdout(path: &Path) -> bool {
    const NAMES: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
    NAMES.iter().any(|name| path == Path::new(name))
}

/// Whether `path` is a device or a named pipe: something to read from or write into, never to replace.
pub fn is_stream(path: &Path) -> bool {
    let found = path.metadata();
    found.is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// When a file came to be as it is: its content, its name, its mode (`st_ctime`). Nobody can set it, so it also says
/// when a file was put in the place of another with the time that it had elsewhere.
pub fn changed(file: &Metadata) -> Option<SystemTime> {
    let seconds = u64::try_from(file.ctime()).ok()?;
    let nanos = u32::try_from(file.ctime_nsec()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// Whether a write failed because the reader of the pipe has gone.
pub fn is_closed_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
