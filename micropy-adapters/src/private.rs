//! Folders and files that only the user of the service can read: 0700 and 0600 on Unix.
//!
//! What is there already keeps the access that its owner and group have, but others lose theirs.

#[cfg(not(unix))]
#[path = "private/other.rs"]
mod system;
#[cfg(unix)]
#[path = "private/unix.rs"]
mod system;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Makes the folder `path`, with those above it, or takes it from others.
pub fn create_folder(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => system::close_to_others(path, &metadata),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => system::folder_builder().create(path),
        Err(e) => Err(e),
    }
}

/// Makes the file `path`, or takes it from others. A file that is there is not opened.
pub fn create_file(path: &Path) -> io::Result<()> {
    match options().write(true).create_new(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            system::close_to_others(path, &fs::metadata(path)?)
        }
        made => made.map(drop),
    }
}

/// Options to open a file with, which make it private if they make it.
pub fn options() -> OpenOptions {
    system::options()
}

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
