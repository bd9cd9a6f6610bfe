//! Compiles the decoder half of the Fraunhofer FDK AAC library, with fixes.
//!
//! The package fdk-aac-sys holds the library's source as Android published it in March 2020. Its decoder has faults
//! since mended by the library's authors that a hostile packet reaches: reads and writes out of bounds, divisions by
//! zero, shifts by more bits than there are, assertions that end the process. `patches` has those fixes. Each is
//! checked against the text that it expects, and the build fails where that text is not found: a decoder without them
//! is never linked.

#[path = "build/patches.rs"]
mod patches;
#[path = "build/source.rs"]
mod source;

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=patches");
    if env::var_os("DOCS_RS").is_some() || is_for_clippy() {
        return Ok(());
    }
    let ours = PathBuf::from(env::var("OUT_DIR")?).join("aac");
    source::lay_out(&ours, Path::new("patches"), None)?;
    let mut files = vec![PathBuf::from("build/guard.cpp")];
    let mut cc = cc::Build::new();
    for part in source::PARTS {
        cc.include(ours.join(part).join("include"));
        for entry in fs::read_dir(ours.join(part).join("src"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "cpp") {
                files.push(path);
            }
        }
    }
    files.sort();
    // Not as C++: without exceptions and type information nothing of its library is needed, and a compiler that is set
    // for C alone (musl-gcc) takes it by the files' names.
    cc.files(files)
        .warnings(false)
        .cargo_warnings(false)
        .debug(false)
        .opt_level(3)
        .define("FDK_FALLTHROUGH", "")
        // Fixed-point arithmetic on damaged packets overflows: it shall wrap, and not be undefined.
        .flag_if_supported("-fwrapv")
        .flag_if_supported("-fno-exceptions")
        .flag_if_supported("-fno-rtti");
    for flag in env::var("MICROPY_FDK_CFLAGS")
        .unwrap_or_default()
        .split_whitespace()
    {
        cc.flag(flag);
    }
    println!("cargo::rerun-if-env-changed=MICROPY_FDK_CFLAGS");
    cc.try_compile("micropy_fdk")?;
    Ok(())
}

/// Whether Clippy runs this build: it links nothing, and nothing that it builds is used by another build.
fn is_for_clippy() -> bool {
    env::var_os("RUSTC_WORKSPACE_WRAPPER")
        .is_some_and(|wrapper| Path::new(&wrapper).file_stem() == Some("clippy-driver".as_ref()))
}
