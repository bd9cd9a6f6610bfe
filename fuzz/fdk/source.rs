//! Lays out the source of the FDK decoder for the sanitizers.
//!
//! ```text
//! micropy-fuzz-fdk source DIR [--loose] [--without FAULT]   the sources, mended but for one fault
//! micropy-fuzz-fdk faults                                   the names of the faults
//! ```
//!
//! In every copy, pointers into arrays of a larger structure are made references to the arrays: AddressSanitizer does not
//! see where one member of a structure ends, `-fsanitize=bounds` does. `--loose` takes out the checks that keep nearly
//! all mutations away from what they guard, without being what makes it safe: lengths that a hostile packet simply has
//! right.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

#[path = "../../micropy-fdk/build/edits.rs"]
mod edits;
#[allow(dead_code, reason = "shared with the build of micropy-fdk")]
#[path = "../../micropy-fdk/build/source.rs"]
mod source;

use edits::Edit;

const VISIBLE: &[Edit] = &[
    Edit {
        file: "libSBRdec/src/lpp_tran.cpp",
        from: "PATCH_PARAM *patchParam = pSettings->patchParam;",
        times: 3,
        to: "PATCH_PARAM (&patchParam)[sizeof(pSettings->patchParam) / sizeof(PATCH_PARAM)] = pSettings->patchParam;",
    },
    Edit {
        file: "libAACdec/src/rvlc.cpp",
        from: "*pScfEsc--",
        times: 8,
        to: "pAacDecoderChannelInfo->pComData->overlay.aac.aRvlcScfEsc[pScfEsc-- - \
             pAacDecoderChannelInfo->pComData->overlay.aac.aRvlcScfEsc]",
    },
];

const LOOSE: &[Edit] = &[
    // A packet of USAC whose length is not that of what it holds.
    Edit {
        file: "libAACdec/src/aacdecoder.cpp",
        from: "(unreadBits > 7)",
        times: 2,
        to: "(unreadBits > 1 << 30)",
    },
    // The same for an SBR extension, and its CRC.
    Edit {
        file: "libSBRdec/src/sbrdecoder.cpp",
        from: "if (valBits > alignBits) {",
        times: 1,
        to: "if (0) {",
    },
    Edit {
        file: "libSBRdec/src/sbrdecoder.cpp",
        from: "fDoDecodeSbrData = SbrCrcCheck(",
        times: 2,
        to: "SbrCrcCheck(",
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["faults"] => {
            edits::FAULTS.iter().for_each(|f| println!("{}", f.name));
            Ok(())
        }
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
    source::lay_out(Path::new(&fresh), without)?;
    let loose = if loose { LOOSE } else { &[] };
    for edit in VISIBLE.iter().chain(loose) {
        source::apply(edit, Path::new(&fresh))?;
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
