//! Systems without Unix modes: a folder inherits who may read it from the one above.

use std::fs::{DirBuilder, Metadata, OpenOptions};
use std::io;
use std::path::Path;

pub(super) fn folder_builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    builder
}

pub(super) fn options() -> OpenOptions {
    OpenOptions::new()
}

pub(super) fn close_to_others(_path: &Path, _metadata: &Metadata) -> io::Result<()> {
    Ok(())
}
