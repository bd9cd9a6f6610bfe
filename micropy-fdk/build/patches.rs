//! Reads the fixes in `patches`: unified diffs, each told by the fault that it mends.
//!
//! The text belongs to the library and is under its licence (`LICENSE-FDK-AAC`), which asks that changes be stated, and
//! when they were made: each file does so above its diff, and names the library's own commits where the fix is theirs.
//!
//! `tests/packets` has a stream of packets for each fault of which one is known; `scripts/fuzz fdk-faults` puts such
//! faults back and shows what comes of them. Where the file says nothing of packets and there is none, none was looked
//! for: what such a fix is for, its commits tell.

use std::error::Error;
use std::fs;
use std::path::Path;

/// A fault of the library, and what mends it.
pub struct Fault {
    /// What the file is called, without the number that gives its place.
    pub name: String,
    pub edits: Vec<Edit>,
}

/// A piece of text and what takes its place.
pub struct Edit {
    /// Under the folder `aac` of the package.
    pub file: String,
    pub from: String,
    /// How often it is there.
    pub times: usize,
    pub to: String,
}

/// All patches of the folder, in the order in which they apply.
///
/// # Errors
/// Where one is no unified diff.
pub fn read(folder: &Path) -> Result<Vec<Fault>, Box<dyn Error>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let (_, name) = stem.split_once('-').unwrap_or_default();
            let edits = parse(&fs::read_to_string(path)?.replace("\r\n", "\n"));
            if name.is_empty() || edits.is_empty() {
                return Err(format!("{} is no patch", path.display()).into());
            }
            Ok(Fault {
                name: name.to_owned(),
                edits,
            })
        })
        .collect()
}

/// Each hunk is an edit of its own. Where in the file it stands is told by its text alone, which is there once: the
/// line numbers move with the patches before.
fn parse(diff: &str) -> Vec<Edit> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut file = None;
    let mut inside = false;
    for line in diff.lines() {
        if let Some(path) = line.strip_prefix("--- a/") {
            file = Some(path);
            inside = false;
        } else if let (true, Some(path)) = (line.starts_with("@@ "), file) {
            edits.push(Edit {
                file: path.to_owned(),
                from: String::new(),
                times: 1,
                to: String::new(),
            });
            inside = true;
        } else if let (true, Some(edit)) = (inside, edits.last_mut()) {
            // Some editors take the blank off an empty line.
            let (sign, text) = line.split_at_checked(1).unwrap_or((" ", ""));
            for (side, other) in [(&mut edit.from, "+"), (&mut edit.to, "-")] {
                if sign != other {
                    side.push_str(text);
                    side.push('\n');
                }
            }
        }
    }
    edits
}
