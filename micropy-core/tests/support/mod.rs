//! What the tests of the library share.

#![allow(dead_code, reason = "no test uses all of it")]

pub mod movie;
pub mod mp3_check;
pub mod music;
pub mod programs;
pub mod remux;
pub mod work;
pub mod zeros;

use std::path::{Path, PathBuf};

use micropy_core::Source;

/// The folder of the clips that come with the library.
pub fn media() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media")
}

/// The bytes of one of them.
pub fn clip(name: &str) -> Vec<u8> {
    let path = media().join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
