//! What Unix calls a device, a named pipe and the standard output.

use std::io;
use std::path::Path;

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

/// Whether a write failed because the reader of the pipe has gone.
pub fn is_closed_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
