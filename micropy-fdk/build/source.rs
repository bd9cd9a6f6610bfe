//! Finds the library's source and lays out the mended decoder.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::patches::{self, Edit};

/// The package whose source we compile; the version is pinned in `Cargo.toml`.
const PACKAGE: &str = "fdk-aac-sys";
const VERSION: &str = "0.5.0";

/// The parts of the library that decoding takes.
pub const PARTS: [&str; 9] = [
    "libAACdec",
    "libArithCoding",
    "libDRCdec",
    "libFDK",
    "libMpegTPDec",
    "libPCMutils",
    "libSACdec",
    "libSBRdec",
    "libSYS",
];

/// Copies the sources of the decoder to `to` and mends them there with the patches of a folder. A fault that is left in
/// shows the sanitizers' build that a packet reaches it; ours leaves none.
///
/// # Errors
/// Where the package is not found, or does not have the text that the patches expect, or no fault is called `without`.
pub fn lay_out(to: &Path, patches: &Path, without: Option<&str>) -> Result<(), Box<dyn Error>> {
    let source = find()?.join("aac");
    for part in PARTS {
        for folder in ["include", "src"] {
            copy_folder(&source.join(part).join(folder), &to.join(part).join(folder))?;
        }
    }
    let faults = patches::read(patches)?;
    if let Some(name) = without
        && faults.iter().all(|fault| fault.name != name)
    {
        return Err(format!("no fault is called {name}").into());
    }
    for fault in faults.iter().filter(|f| without != Some(&f.name)) {
        for edit in &fault.edits {
            apply(edit, to).map_err(|e| format!("{}: {e}", fault.name))?;
        }
    }
    Ok(())
}

/// Copies the files of a folder, so that they can be edited.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).map_err(|e| format!("{}: {e}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::write(target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Replaces the expected text, which has to be there as often as the edit says.
///
/// # Errors
/// Where it is not.
pub fn apply(edit: &Edit, root: &Path) -> Result<(), Box<dyn Error>> {
    let path = root.join(&edit.file);
    // Some comments are not UTF-8; what is edited is ASCII.
    let text = String::from_utf8_lossy(&fs::read(&path)?).replace("\r\n", "\n");
    let found = text.matches(&edit.from).count();
    if found != edit.times {
        return Err(format!(
            "{}: expected {:?} {} times, found it {found} times: is this {PACKAGE} {VERSION}?",
            edit.file, edit.from, edit.times
        )
        .into());
    }
    fs::write(path, text.replace(&edit.from, &edit.to))?;
    Ok(())
}

/// Finds the package: beside us in a registry or a vendor folder, in Cargo's registries, or where Cargo says.
fn find() -> Result<PathBuf, Box<dyn Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let versioned = format!("{PACKAGE}-{VERSION}");
    let beside = [
        here.with_file_name(&versioned),
        here.with_file_name(PACKAGE),
    ];
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let sources = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let in_registries = sources
        .into_iter()
        .flatten()
        .flatten()
        .map(|registry| registry.path().join(&versioned));
    let found = beside
        .into_iter()
        .chain(in_registries)
        .find(|p| is_package(p));
    match found {
        Some(package) => Ok(package),
        None => package_by_cargo(&here),
    }
}

fn is_package(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    manifest.contains(&format!("version = \"{VERSION}\""))
        && folder.join("aac/libAACdec/src/aacdecoder.cpp").is_file()
}

/// Asks Cargo where it keeps the package; it has it, since we depend on it.
fn package_by_cargo(here: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--offline"])
        .args(["--filter-platform", &env::var("TARGET")?])
        .arg("--manifest-path")
        .arg(here.join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', " ");
        return Err(format!("the source of {PACKAGE} {VERSION} is not found: {why}").into());
    }
    String::from_utf8(output.stdout)?
        .split('"')
        .filter(|text| text.ends_with("Cargo.toml") && text.contains(PACKAGE))
        .map(|manifest| PathBuf::from(manifest.replace("\\\\", "\\")))
        .filter_map(|manifest| manifest.parent().map(Path::to_owned))
        .find(|package| is_package(package))
        .ok_or_else(|| format!("`cargo metadata` names no {PACKAGE} {VERSION}").into())
}
