//! Where each video comes from.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use micropy_core::{CancelToken, FileSource, Source, StreamSource, file_stem};

use crate::pipe::Pipe;
use crate::{remote, system};

/// Opens an input: a file, in which the engine seeks, a URL, or a pipe, which it reads until `cancel` is cancelled.
pub fn open(input: &Path, cancel: &CancelToken) -> io::Result<Box<dyn Source>> {
    if let Some(url) = url(input) {
        return remote::open(url, cancel);
    }
    let pipe = if is_stdin(input) {
        Pipe::stdin(cancel.clone())?
    } else if system::is_stream(input) {
        Pipe::open(input, cancel.clone())?
    } else {
        return Ok(Box::new(FileSource::open(input)?));
    };
    Ok(Box::new(StreamSource::new(pipe)))
}

/// The URL that an input is.
fn url(input: &Path) -> Option<&str> {
    input.to_str().filter(|text| remote::is_url(text))
}

/// Whether `path` is a URL rather than a path, though not everything in it may be text.
pub fn is_url(path: &Path) -> bool {
    remote::is_url(&path.to_string_lossy())
}

/// What may be shown of what the user typed as a file: of a URL, neither user and password nor the query.
pub fn shown(path: &Path) -> impl fmt::Display {
    let text = path.to_string_lossy();
    match remote::is_url(&text) {
        true => remote::without_secrets(&text),
        false => text.into_owned(),
    }
}

/// Whether an input has a time of its last change: a file has one.
pub fn has_time(input: &Path) -> bool {
    !is_url(input) && !is_pipe(input)
}

/// The file beside which the MP3 of an input stands: of a URL, one of its name in the current folder.
pub fn beside(input: &Path) -> PathBuf {
    let Some(url) = url(input) else {
        return input.to_owned();
    };
    let name = remote::file_name(url).unwrap_or_default();
    // Neither the extension, nor what would lead elsewhere.
    let stem = Path::new(&name).file_stem().unwrap_or_default();
    let stem = file_stem(&stem.to_string_lossy()).unwrap_or_else(|| "audio".into());
    format!("{stem}.mp4").into()
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
