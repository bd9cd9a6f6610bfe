//! Where each video comes from.

use std::io;
use std::path::Path;

use micropy_core::{CancelToken, FileSource, Source, StreamSource};

use crate::pipe::Pipe;
use crate::system;

/// Opens an input: a file, in which the engine seeks, or a pipe, which it reads until `cancel` is cancelled.
pub fn open(input: &Path, cancel: &CancelToken) -> io::Result<Box<dyn Source>> {
    let pipe = if is_stdin(input) {
        Pipe::stdin(cancel.clone())?
    } else if system::is_stream(input) {
        Pipe::open(input, cancel.clone())?
    } else {
        return Ok(Box::new(FileSource::open(input)?));
    };
    Ok(Box::new(StreamSource::new(pipe)))
}

/// Whether `path` stands for standard input or output.
pub fn is_dash(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether `path` is standard input, by one of its names. Where that is a file, the file's own name does as well.
pub fn is_stdin(path: &Path) -> bool {
    is_dash(path) || system::is_stdin(path) && !path.is_file()
}

/// Whether an input has no place beside which its MP3 could stand.
pub fn is_pipe(path: &Path) -> bool {
    is_stdin(path) || system::is_stream(path)
}
