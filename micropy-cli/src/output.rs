//! Where each MP3 goes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use micropy_core::file_stem;

use crate::input::{beside, is_dash, is_pipe, is_stdin, is_url, shown};
use crate::system;
use crate::tree::Input;

/// The place of an MP3, or of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, which appears when it is whole.
    File(PathBuf),
    /// A device or a named pipe: written into, never replaced.
    Stream(PathBuf),
    /// A folder with a file for each chapter.
    Chapters(PathBuf),
    /// A folder, for files that are named by this stem and numbers.
    Parts {
        /// The folder.
        folder: PathBuf,
        /// What the names begin with.
        stem: String,
    },
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
            Output::Parts { folder, .. } => Some(folder),
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
    /// Each input is divided by time.
    pub parts: bool,
    /// The extension of names that are not given.
    pub extension: &'a str,
}

/// The inputs with their outputs, in order. A file that was found twice, behind a link, and has one output is there
/// once. An error says what the command line asks for that cannot be.
pub fn outputs(inputs: Vec<Input>, wanted: Wanted<'_>) -> Result<Vec<(Input, Output)>, String> {
    refuse_stdin_twice(&inputs)?;
    let several = is_several(&inputs);
    let outputs: Result<Vec<Output>, String> = inputs
        .iter()
        .map(|input| output(input, wanted, several))
        .collect();
    let outputs = outputs?;
    refuse_inputs_as_outputs(&inputs, &outputs)?;
    let mut made: HashMap<PathBuf, PathBuf> = HashMap::with_capacity(outputs.len());
    let mut pairs = Vec::with_capacity(outputs.len());
    for (input, output) in inputs.into_iter().zip(outputs) {
        let Some(path) = written(&output) else {
            pairs.push((input, output));
            continue;
        };
        match made.get(&place(&path)) {
            None => {
                made.insert(place(&path), input.path.clone());
                pairs.push((input, output));
            }
            Some(twin) if is_same(twin, &input.path) => {}
            Some(twin) => {
                return Err(format!(
                    "{} and {} would both become {}",
                    shown(twin),
                    shown(&input.path),
                    path.display()
                ));
            }
        }
    }
    Ok(pairs)
}

/// Where all inputs go together.
pub fn joined_output(inputs: &[Input], wanted: Wanted<'_>) -> Result<Output, String> {
    refuse_stdin_twice(inputs)?;
    let mut pipes = HashSet::new();
    let streams = inputs.iter().filter(|input| system::is_stream(&input.path));
    if let Some(twice) = streams
        .into_iter()
        .find(|input| !pipes.insert(place(&input.path)))
    {
        return Err(format!(
            "{} is a pipe, and can be joined only once",
            shown(&twice.path)
        ));
    }
    let first = inputs.first().ok_or("there is nothing to join")?;
    let output = output(first, wanted, false)?;
    refuse_inputs_as_outputs(inputs, std::slice::from_ref(&output))?;
    Ok(output)
}

/// Nobody sends the same bytes twice: the second time would wait for ever.
fn refuse_stdin_twice(inputs: &[Input]) -> Result<(), String> {
    let inputs = inputs.iter().filter(|input| is_stdin(&input.path));
    match inputs.count() > 1 {
        true => Err("standard input can be converted only once".into()),
        false => Ok(()),
    }
}

/// Refuses a place that is not on this machine.
pub fn refuse_url(output: Option<&Path>) -> Result<(), String> {
    match output.filter(|path| is_url(path)) {
        Some(url) => Err(format!(
            "{} is a URL: only files and folders of this machine can be written",
            shown(url)
        )),
        None => Ok(()),
    }
}

/// Whether `path` has the extension of what is made here.
pub fn is_named_as_output(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        ["mp3", "wav", "pcm"]
            .iter()
            .any(|made| made.eq_ignore_ascii_case(extension))
    })
}

/// Refuses a folder that is called like a file: there is none yet, and it is a slip. `what`: for what it would be.
pub fn refuse_file_as_folder(path: &Path, what: &str) -> Result<(), String> {
    match folder(path, cfg!(windows)).is_none() && is_named_as_output(path) {
        true => Err(format!(
            "{0} is the name of a file: {what} go into a folder. Type {0}/ if it is to be called so",
            path.display()
        )),
        false => Ok(()),
    }
}

/// Whether there are, or may be, several outputs, which stand in a folder.
pub fn is_several(inputs: &[Input]) -> bool {
    inputs.len() > 1 || inputs.iter().any(|input| input.root.is_some())
}

/// The output of one input. `several`: it may not be the only one.
pub fn output(input: &Input, wanted: Wanted<'_>, several: bool) -> Result<Output, String> {
    let path = input.path.as_path();
    // What was found in a folder has the same place in the folder of the MP3s.
    let mirrored = |folder: &Path| match input.folder_below_root() {
        Some(below) => folder.join(below),
        None => folder.to_owned(),
    };
    if wanted.parts {
        let folder = match wanted.output {
            Some(output) if is_dash(output) => {
                return Err(
                    "several files cannot go to standard output: --output names a folder".into(),
                );
            }
            Some(output) if output.is_file() => {
                return Err(format!(
                    "{} is a file: with --split, --output names a folder",
                    output.display()
                ));
            }
            Some(output) => {
                refuse_file_as_folder(output, "parts")?;
                mirrored(output)
            }
            None if is_pipe(path) => PathBuf::new(),
            None => beside(path).with_file_name(""),
        };
        let stem = chapters_name(path);
        return Ok(Output::Parts { folder, stem });
    }
    if let Some(dir) = wanted.split_chapters {
        refuse_file_as_folder(dir, "chapters")?;
    }
    if let Some(output) = wanted.output.filter(|_| several) {
        refuse_file_as_folder(output, "several files")?;
    }
    Ok(match (wanted.split_chapters, wanted.output) {
        (Some(dir), _) if several => Output::Chapters(mirrored(dir).join(chapters_name(path))),
        (Some(dir), _) => Output::Chapters(dir.to_owned()),
        (None, Some(output)) if is_dash(output) && several => {
            return Err("only one file can go to standard output".into());
        }
        (None, Some(output)) if is_dash(output) => Output::Stdout,
        (None, Some(output)) => match folder(output, cfg!(windows)) {
            Some(folder) => Output::at(mirrored(&folder).join(file_name(path, wanted.extension))),
            None if several => Output::at(mirrored(output).join(file_name(path, wanted.extension))),
            None => Output::at(output.to_owned()),
        },
        (None, None) if is_pipe(path) && several => {
            return Err(format!(
                "only one file can go to standard output: say with --output where the MP3 of {} goes",
                shown(path)
            ));
        }
        (None, None) if is_pipe(path) => Output::Stdout,
        (None, None) => Output::at(beside(path).with_file_name(file_name(path, wanted.extension))),
    })
}

/// What `output` is written to, where that has a path: of parts, what their names begin with.
fn written(output: &Output) -> Option<PathBuf> {
    match output {
        Output::Parts { folder, stem } => Some(folder.join(stem)),
        _ => output.path().map(Path::to_owned),
    }
}

/// No output may be an input.
fn refuse_inputs_as_outputs(inputs: &[Input], outputs: &[Output]) -> Result<(), String> {
    let originals: HashMap<PathBuf, &Path> = inputs
        .iter()
        .map(|input| (place(&input.path), input.path.as_path()))
        .collect();
    let mut places = outputs.iter().filter_map(written);
    match places.find_map(|path| originals.get(&place(&path))) {
        Some(input) => Err(format!(
            "{} is an input and would be overwritten",
            shown(input)
        )),
        None => Ok(()),
    }
}

/// One path for all ways to write the place of a file, which need not exist. A file that is written by the name of a
/// link has the place of what the link leads to.
pub fn place(path: &Path) -> PathBuf {
    let path = behind_links(path);
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let place = match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => std::path::absolute(&path).unwrap_or(path),
    };
    // Here `a.mp3` and `A.mp3` are one file.
    match cfg!(any(windows, target_os = "macos")) {
        true => place.to_string_lossy().to_lowercase().into(),
        false => place,
    }
}

/// Whether both are one input, by whatever name.
pub fn is_same(a: &Path, b: &Path) -> bool {
    a == b || !is_url(a) && !is_url(b) && place(a) == place(b)
}

/// The file that is written where `path` is: behind symbolic links, whether it exists or not.
pub fn behind_links(path: &Path) -> PathBuf {
    /// As many as Linux follows.
    const MOST: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST {
        let Ok(target) = path.read_link() else {
            break;
        };
        // An absolute target replaces the folder.
        path = match path.parent() {
            Some(folder) => folder.join(target),
            None => target,
        };
    }
    path
}

/// Creates the folders that `wanted` names, and those below, where they are missing. `several`: as in [`output`]. The
/// folder of a file that was named is not created: it may be a slip.
pub fn create_folders(
    outputs: &[&Output],
    wanted: Wanted<'_>,
    several: bool,
) -> Result<(), String> {
    for folder in folders(outputs, wanted, several) {
        let created = std::fs::create_dir_all(folder);
        created.map_err(|e| format!("cannot create the folder {}: {e}", folder.display()))?;
    }
    Ok(())
}

/// As [`create_folders`], but for a run that writes nothing: refuses folders that could not be created, because a file
/// stands in the way.
pub fn check_folders(outputs: &[&Output], wanted: Wanted<'_>, several: bool) -> Result<(), String> {
    for folder in folders(outputs, wanted, several) {
        let mut above = folder.ancestors().filter(|above| *above != Path::new(""));
        if let Some(there) = above.find(|above| above.exists())
            && !there.is_dir()
        {
            let (folder, there) = (folder.display(), there.display());
            return Err(format!(
                "cannot create the folder {folder}: {there} is a file"
            ));
        }
    }
    Ok(())
}

/// Whether the folder of an output that is a file is created where it is missing.
pub fn creates_folders(wanted: Wanted<'_>, several: bool) -> bool {
    let into_folder = |path: &Path| several || folder(path, cfg!(windows)).is_some();
    wanted.output.is_some_and(into_folder)
}

/// The folders that are created where they are missing.
fn folders<'a>(outputs: &[&'a Output], wanted: Wanted<'_>, several: bool) -> BTreeSet<&'a Path> {
    let of_files = creates_folders(wanted, several);
    let folder = |output: &&'a Output| match output {
        Output::Chapters(folder) => Some(folder.as_path()),
        Output::Parts { folder, .. } => wanted.output.map(|_| folder.as_path()),
        Output::File(path) if of_files => path.parent(),
        _ => None,
    };
    let folders = outputs.iter().filter_map(folder);
    folders.filter(|folder| *folder != Path::new("")).collect()
}

/// The folder that `path` means: it is one, or it ends in a separator. `windows`: by the rules of Windows.
fn folder(path: &Path, windows: bool) -> Option<PathBuf> {
    let text = path.to_string_lossy();
    if windows && let Some(folder) = text.strip_suffix('"') {
        // `"C:\My Music\"`: the backslash before it makes the quotation mark a part of the word. No name has one.
        return Some(folder.into());
    }
    let is_separator = |c| c == '/' || windows && c == '\\';
    (path.is_dir() || text.ends_with(is_separator)).then(|| path.to_owned())
}

/// The name of what is made of `input`: the input's, with its own extension. One that would be too long is cut.
fn file_name(input: &Path, extension: &str) -> PathBuf {
    /// The longest name that file systems allow.
    const MAX_NAME: usize = 255;
    if is_stdin(input) {
        return format!("stdin.{extension}").into();
    }
    let input = beside(input);
    let name = PathBuf::from(input.file_name().unwrap_or(input.as_os_str()));
    let name = name.with_extension(extension);
    // Windows counts in UTF-16, other systems in bytes.
    let len = match cfg!(windows) {
        true => name.to_string_lossy().encode_utf16().count(),
        false => name.as_os_str().len(),
    };
    match len > MAX_NAME {
        true => format!("{}.{extension}", safe_stem(&name)).into(),
        false => name,
    }
}

/// The name of the folder for the chapters of `input`, which is one folder whatever the input is called; also what the
/// names of its parts begin with.
pub fn chapters_name(input: &Path) -> String {
    match is_stdin(input) {
        true => "stdin".into(),
        false => safe_stem(&beside(input)),
    }
}

/// The name of a file without its extension, as every file system takes it.
fn safe_stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    file_stem(&stem).unwrap_or_else(|| "audio".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chapters_stay_in_the_folder_and_names_within_255_bytes() {
        for (input, folder) in [
            ("books/Moby Dick.m4b", "Moby Dick"),
            ("...m4b", "audio"),
            ("..", "audio"),
            ("con.m4b", "_con"),
            ("-", "stdin"),
        ] {
            assert_eq!(chapters_name(Path::new(input)), folder, "{input}");
        }
        for (input, mp3) in [
            ("talk.mp4", "talk.mp3".to_owned()),
            (
                "https://h/a/a%20talk.v2.mp4?x=y.mp4",
                "a talk.v2.mp3".into(),
            ),
            ("https://h/..%2F..%2Fetc%2Fpasswd", "passwd.mp3".into()),
            ("https://h/con.mp4", "_con.mp3".into()),
            ("https://h/", "audio.mp3".into()),
            ("s3://bucket/shows/50%25.m4b", "50%25.mp3".into()),
            ("...m4b", "...mp3".to_owned()),
            (&"é".repeat(127), format!("{}.mp3", "é".repeat(120))),
            (&"x".repeat(253), format!("{}.mp3", "x".repeat(240))),
            (&("x".repeat(251) + ".mp4"), "x".repeat(251) + ".mp3"),
        ] {
            assert_eq!(
                file_name(Path::new(input), "mp3"),
                Path::new(&mp3),
                "{input}"
            );
        }
    }

    #[test]
    fn a_trailing_separator_means_a_folder() {
        for windows in [false, true] {
            let folder = |path: &str| folder(Path::new(path), windows);
            let named = |path: &str| Some(PathBuf::from(path));
            assert_eq!(folder("no-such-folder/"), named("no-such-folder/"));
            assert_eq!(folder("no/such/folder"), None);
            assert_eq!(folder("no-such-folder"), None);
            assert_eq!(
                folder(env!("CARGO_MANIFEST_DIR")),
                named(env!("CARGO_MANIFEST_DIR"))
            );
            // A part of the name elsewhere.
            let ends = |path: &str, on_windows: &str| match windows {
                true => assert_eq!(folder(path), named(on_windows), "{path}"),
                false => assert_eq!(folder(path), None, "{path}"),
            };
            ends("no-such-folder\\", "no-such-folder\\");
            ends("C:\\no such folder\\", "C:\\no such folder\\");
            ends("C:\\no such folder\"", "C:\\no such folder");
        }
    }
}
