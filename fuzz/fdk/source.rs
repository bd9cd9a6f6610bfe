//! Lays out the source of the FDK decoder for the sanitizers.
//!
//! ```text
//! micropy-fuzz-fdk source DIR [--loose] [--without FAULT]   the sources, mended but for one fault
//! micropy-fuzz-fdk faults                                   the names of the faults
//! ```
//!
//! In every copy, pointers into arrays of a larger structure are made references to the arrays: AddressSanitizer does
//! not see where one member of a structure ends, `-fsanitize=bounds` does. `--loose` takes out the checks that keep
//! nearly all mutations away from what they guard, without being what makes it safe: lengths that a hostile packet
//! simply has right.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

#[path = "../../micropy-fdk/build/patches.rs"]
mod patches;
#[allow(dead_code, reason = "shared with the build of micropy-fdk")]
#[path = "../../micropy-fdk/build/source.rs"]
mod source;

use patches::Edit;

const PATCHES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../micropy-fdk/patches");

/// The file, what is replaced, how often it is there, and what takes its place.
type Replacement = (&'static str, &'static str, usize, &'static str);

const VISIBLE: &[Replacement] = &[
    (
        "libSBRdec/src/lpp_tran.cpp",
        "PATCH_PARAM *patchParam = pSettings->patchParam;",
        3,
        "PATCH_PARAM (&patchParam)[sizeof(pSettings->patchParam) / sizeof(PATCH_PARAM)] = pSettings->patchParam;",
    ),
    (
        "libAACdec/src/rvlc.cpp",
        "*pScfEsc--",
        8,
        "pAacDecoderChannelInfo->pComData->overlay.aac.aRvlcScfEsc[pScfEsc-- - \
             pAacDecoderChannelInfo->pComData->overlay.aac.aRvlcScfEsc]",
    ),
];

const LOOSE: &[Replacement] = &[
    // A packet of USAC whose length is not that of what it holds.
    (
        "libAACdec/src/aacdecoder.cpp",
        "(unreadBits > 7)",
        2,
        "(unreadBits > 1 << 30)",
    ),
    // The same for an SBR extension, and its CRC.
    (
        "libSBRdec/src/sbrdecoder.cpp",
        "if (valBits > alignBits) {",
        1,
        "if (0) {",
    ),
    (
        "libSBRdec/src/sbrdecoder.cpp",
        "fDoDecodeSbrData = SbrCrcCheck(",
        2,
        "SbrCrcCheck(",
    ),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["faults"] => patches::read(Path::new(PATCHES))
            .map(|faults| faults.iter().for_each(|f| println!("{}", f.name))),
        ["source", to] => lay_out(to, None, false),
        ["source", to, "--loose"] => lay_out(to, None, true),
        ["source", to, "--without", fault] => lay_out(to, Some(fault), false),
        ["source", to, "--loose", "--without", fault] => lay_out(to, Some(fault), true),
        _ => {
            eprintln!("micropy-fuzz-fdk source DIR [--loose] [--without FAULT]");
            eprintln!("micropy-fuzz-fdk faults");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("micropy-fuzz-fdk: {e}");
            ExitCode::from(2)
        }
    }
}

/// Files that come out as they were keep their time, so that `make` and its like compile only what changed.
fn lay_out(to: &str, without: Option<&str>, loose: bool) -> Result<(), Box<dyn Error>> {
    let (to, fresh) = (Path::new(to), format!("{to}.new"));
    _ = fs::remove_dir_all(&fresh);
    source::lay_out(Path::new(&fresh), Path::new(PATCHES), without)?;
    let loose = if loose { LOOSE } else { &[] };
    for &(file, from, times, to) in VISIBLE.iter().chain(loose) {
        let edit = Edit {
            file: file.to_owned(),
            from: from.to_owned(),
            times,
            to: to.to_owned(),
        };
        source::apply(&edit, Path::new(&fresh))?;
    }
    replace_changed(Path::new(&fresh), to)?;
    fs::remove_dir_all(&fresh)?;
    Ok(())
}

fn replace_changed(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            replace_changed(&entry.path(), &target)?;
        } else {
            let bytes = fs::read(entry.path())?;
            if fs::read(&target).ok().as_ref() != Some(&bytes) {
                fs::write(target, bytes)?;
            }
        }
    }
    Ok(())
}
