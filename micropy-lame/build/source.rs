//! Finds LAME's source, which mp3lame-sys's package holds.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package whose LAME we compile; the version is pinned in `Cargo.toml`.
const PACKAGE: &str = "mp3lame-sys";
const VERSION: &str = "0.1.11";
const LAME: &str = "lame-3.100";

/// Finds the folder `lame-3.100` in mp3lame-sys's package.
pub fn source() -> Result<PathBuf, Box<dyn Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let package = beside(&here)
        .into_iter()
        .chain(in_registries())
        .find(|package| is_package(package));
    match package {
        Some(package) => Ok(package.join(LAME)),
        None => Ok(package_by_cargo(&here)?.join(LAME)),
    }
}

/// Where the package is when we come from a registry or a vendor folder ourselves: those lay packages out side by side.
fn beside(here: &Path) -> Vec<PathBuf> {
    let names = [format!("{PACKAGE}-{VERSION}"), PACKAGE.to_owned()];
    names
        .into_iter()
        .map(|name| here.with_file_name(name))
        .collect()
}

/// Where the package is when we are a path or a checkout.
fn in_registries() -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let sources = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let registries = sources.into_iter().flatten().flatten();
    registries
        .map(|registry| registry.path().join(format!("{PACKAGE}-{VERSION}")))
        .collect()
}

fn is_package(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    manifest.contains(&format!("version = \"{VERSION}\""))
        && folder.join(LAME).join("libmp3lame/lame.c").is_file()
}

/// Asks Cargo where else it keeps the package, such as a vendor folder; it has it, since we depend on it.
fn package_by_cargo(here: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--offline"])
        .args(["--filter-platform", &env::var("TARGET")?])
        .arg("--manifest-path")
        .arg(here.join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', " ")
            .into());
    }
    let metadata = String::from_utf8(output.stdout)?;
    metadata
        .split('"')
        .filter(|text| text.ends_with("Cargo.toml") && text.contains(PACKAGE))
        .map(|manifest| PathBuf::from(manifest.replace("\\\\", "\\")))
        .filter_map(|manifest| manifest.parent().map(Path::to_owned))
        .find(|package| is_package(package))
        .ok_or_else(|| format!("`cargo metadata` names no {PACKAGE} {VERSION}").into())
}
