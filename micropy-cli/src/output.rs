//! Where each MP3 goes.

use std::path::{Path, PathBuf, is_separator};

use crate::system;

/// The place of an MP3, or of several.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, which appears when it is whole.
    File(PathBuf),
    /// A device or a named pipe: written into, never replaced.
    Stream(PathBuf),
    /// A folder with a file for each chapter.
    Chapters(PathBuf),
}

impl Output {
    /// The output that `path` names.
    fn at(path: PathBuf) -> Self {
        if system::is_stdout(&path) {
            Output::Stdout
        } else if system::is_stream(&path) {
            Output::Stream(path)
        } else {
            Output::File(path)
        }
    }

    /// Its path, where it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Output::Stdout => None,
            Output::File(path) | Output::Stream(path) | Output::Chapters(path) => Some(path),
        }
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        self.path()
            .map_or("standard output".into(), |path| path.display().to_string())
    }
}

/// Where the user wants the MP3s.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// `--output`.
    pub output: Option<&'a Path>,
    /// `--split-chapters`.
    pub split_chapters: Option<&'a Path>,
}

/// The output of each input, in order. Creates the folders that are missing. An error says what the command line asks
/// for that cannot be.
pub fn outputs(inputs: &[PathBuf], wanted: Wanted<'_>) -> Result<Vec<Output>, String> {
    if inputs.iter().filter(|input| is_dash(input)).count() > 1 {
        return Err("standard input can be converted only once".into());
    }
    let several = inputs.len() > 1;
    let mut outputs: Vec<Output> = Vec::with_capacity(inputs.len());
    for input in inputs {
        let output = match (wanted.split_chapters, wanted.output) {
            (Some(dir), _) if several => {
                Output::Chapters(dir.join(mp3_name(input)).with_extension(""))
            }
            (Some(dir), _) => Output::Chapters(dir.to_owned()),
            (None, Some(output)) if is_dash(output) && several => {
                return Err("only one file can go to standard output".into());
            }
            (None, Some(output)) if is_dash(output) => Output::Stdout,
            (None, Some(output)) if several || names_folder(output) => {
                create_folder(output)?;
                Output::at(output.join(mp3_name(input)))
            }
            (None, Some(output)) => Output::at(output.to_owned()),
            (None, None) if is_dash(input) => Output::Stdout,
            (None, None) => Output::at(input.with_extension("mp3")),
        };
        if let Output::Chapters(dir) = &output {
            create_folder(dir)?;
        }
        outputs.push(output);
    }
    refuse_collisions(inputs, &outputs)?;
    Ok(outputs)
}

/// No two inputs may have one output, and no output may be an input.
fn refuse_collisions(inputs: &[PathBuf], outputs: &[Output]) -> Result<(), String> {
    for (i, output) in outputs.iter().enumerate() {
        let Some(path) = output.path() else { continue };
        if let Some(twin) = outputs[..i].iter().position(|o| o.path() == Some(path)) {
            return Err(format!(
                "{} and {} would both become {}",
                inputs[twin].display(),
                inputs[i].display(),
                path.display()
            ));
        }
        if let Some(input) = inputs.iter().find(|input| is_same_file(input, path)) {
            return Err(format!(
                "{} is an input and would be overwritten",
                input.display()
            ));
        }
    }
    Ok(())
}

/// Whether `path` stands for standard input or output.
pub fn is_dash(path: &Path) -> bool {
    path == Path::new("-")
}

fn create_folder(path: &Path) -> Result<(), String> {
    let created = std::fs::create_dir_all(path);
    created.map_err(|e| format!("cannot create the folder {}: {e}", path.display()))
}

/// Whether two paths lead to one file.
fn is_same_file(a: &Path, b: &Path) -> bool {
    a == b
        || match (a.canonicalize(), b.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        }
}

/// Whether `path` means a folder: it is one, or it ends in a separator.
fn names_folder(path: &Path) -> bool {
    path.is_dir() || path.to_string_lossy().ends_with(is_separator)
}

fn mp3_name(input: &Path) -> PathBuf {
    if is_dash(input) {
        return "stdin.mp3".into();
    }
    PathBuf::from(input.file_name().unwrap_or(input.as_os_str())).with_extension("mp3")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_separator_means_a_folder() {
        assert!(names_folder(Path::new("no-such-folder/")));
        assert!(!names_folder(Path::new("no-such-folder")));
        assert_eq!(
            names_folder(Path::new("no-such-folder\\")),
            cfg!(windows),
            "only Windows separates by a backslash"
        );
    }
}
