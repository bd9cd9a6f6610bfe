//! Folders, and the videos in them.

use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

/// Names that the container's files have: ISO base media, QuickTime and 3GPP.
const EXTENSIONS: [&str; 14] = [
    "mp4", "m4a", "m4v", "m4b", "m4r", "mp4v", "mov", "qt", "3gp", "3gpp", "3g2", "3gp2", "f4v",
    "f4a",
];

/// One input, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Input {
    /// Where it is.
    pub path: PathBuf,
    /// The folder that was named and that it was found in; `None`: it was named itself.
    pub root: Option<PathBuf>,
}

impl Input {
    /// An input that was named itself.
    pub fn named(path: &Path) -> Self {
        Input {
            path: path.to_owned(),
            root: None,
        }
    }

    /// An input that was found in the folder `root`.
    pub fn found(path: PathBuf, root: &Path) -> Self {
        Input {
            path,
            root: Some(root.to_owned()),
        }
    }

    /// The folder of the input, as seen from the one that was named.
    pub fn folder_below_root(&self) -> Option<&Path> {
        let below = self.path.strip_prefix(self.root.as_ref()?).ok()?;
        below.parent()
    }
}

/// What was found in a folder.
#[derive(Debug, Default)]
pub struct Found {
    /// The videos, sorted by their paths.
    pub videos: Vec<PathBuf>,
    /// What could not be looked into, and why.
    pub problems: Vec<String>,
}

/// The videos in `root`: by their names, without what is hidden. Symbolic links are followed; one that leads back to a
/// folder above it ends there. `recursive`: in the folders below as well.
pub fn videos(root: &Path, recursive: bool) -> Found {
    let depth = if recursive { usize::MAX } else { 1 };
    let walk = WalkDir::new(root).follow_links(true).max_depth(depth);
    let walk = walk.sort_by_file_name().into_iter();
    let mut found = Found::default();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry)) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_video(entry.path()) => {
                found.videos.push(entry.into_path());
            }
            Ok(_) => {}
            // Everything on the way round has been visited.
            Err(error) if error.loop_ancestor().is_some() => {}
            // A link to nothing is no video.
            Err(error) if error.depth() > 0 && is_dangling(error.path()) => {}
            Err(error) => {
                let path = error.path().unwrap_or(root).display().to_string();
                let why = match error.into_io_error() {
                    Some(error) => error.to_string(),
                    None => "it cannot be looked into".into(),
                };
                found.problems.push(format!("{path}: {why}"));
            }
        }
    }
    found
}

/// Whether a file in a folder is taken for a video, by its name.
pub fn is_video(path: &Path) -> bool {
    let Some(extension) = path.extension().and_then(|e| e.to_str()) else {
        return false;
    };
    EXTENSIONS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(extension))
}

/// Whether something below `root` is hidden, itself or with a folder that it is in.
pub fn is_hidden_below(root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).unwrap_or(path);
    below
        .components()
        .any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."))
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn is_dangling(path: Option<&Path>) -> bool {
    path.is_some_and(|path| {
        path.symlink_metadata()
            .is_ok_and(|found| found.is_symlink())
            && !path.exists()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn videos_are_told_by_their_names() {
        for name in ["a.mp4", "b.M4A", "c.Mov", "d.e.m4b", "f.3gp"] {
            assert!(is_video(Path::new(name)), "{name}");
        }
        for name in ["a.mp3", "mp4", ".mp4", "b.mkv", "c.mp4.part", "d"] {
            assert!(!is_video(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn an_input_knows_its_place_below_the_folder() {
        let input = Input::found("in/a/b/c.mp4".into(), Path::new("in"));
        assert_eq!(input.folder_below_root(), Some(Path::new("a/b")));
        let input = Input::found("./c.mp4".into(), Path::new("."));
        assert_eq!(input.folder_below_root(), Some(Path::new("")));
        assert_eq!(Input::named(Path::new("a/c.mp4")).folder_below_root(), None);
    }
}
