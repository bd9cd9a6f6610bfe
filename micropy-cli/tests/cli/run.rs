//! Runs the program, here or on another platform, and the programs that judge its output.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The words that start the program: what cargo built or, from `MICROPY_PROGRAM`, one built for another platform with
/// what runs it here, such as `wine64 micropy.exe`. They are separated by spaces.
pub fn program() -> Vec<String> {
    let given = env::var("MICROPY_PROGRAM").unwrap_or_default();
    let words: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
    match words.is_empty() {
        true => vec![env!("CARGO_BIN_EXE_micropy").to_owned()],
        false => words,
    }
}

/// Whether the program was built for Windows.
pub fn on_windows() -> bool {
    program().last().is_some_and(|word| word.ends_with(".exe"))
}

/// Whether the program was built for Unix; otherwise the test that asks is counted as skipped.
pub fn on_unix(test: &str) -> bool {
    let skip = on_windows();
    if skip {
        skipped(test, "it is about Unix");
    }
    !skip
}

/// What a run of `micropy` gave back.
#[derive(Debug)]
pub struct Run {
    /// The exit code, `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Run {
    fn new(output: Output) -> Self {
        Run {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }

    /// Stdout as JSON: one value a line.
    pub fn json(&self) -> Vec<serde_json::Value> {
        String::from_utf8_lossy(&self.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("each line of --json is a JSON value"))
            .collect()
    }
}

/// A folder of its own for one test, with copies of shipped clips in it.
pub struct Folder {
    folder: TempDir,
}

impl Folder {
    /// A folder that holds copies of these clips.
    pub fn with(clips: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        for clip in clips {
            fs::copy(clip_path(clip), folder.path().join(clip)).expect("the clip is shipped");
        }
        Folder { folder }
    }

    /// The path of `name` in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("the folder can be written");
    }

    /// Puts a copy of a shipped clip at this path in the folder, whose folders it creates.
    pub fn put(&self, clip: &str, path: &str) {
        let path = self.path(path);
        let folder = path.parent().expect("it is in a folder");
        fs::create_dir_all(folder).expect("a folder");
        fs::copy(clip_path(clip), path).expect("the clip is shipped");
    }

    /// The paths of all files below the folder `name`, sorted, with `/` between their parts.
    pub fn files(&self, name: &str) -> Vec<String> {
        fn add(root: &Path, folder: &Path, files: &mut Vec<String>) {
            for entry in fs::read_dir(folder).expect("the folder can be listed") {
                let path = entry.expect("an entry").path();
                let kind = fs::symlink_metadata(&path).expect("it is there");
                if kind.is_dir() {
                    add(root, &path, files);
                } else {
                    let below = path.strip_prefix(root).expect("it is below");
                    files.push(below.to_string_lossy().replace('\\', "/"));
                }
            }
        }
        let root = self.path(name);
        let mut files = Vec::new();
        add(&root, &root, &mut files);
        files.sort();
        files
    }

    /// The names in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .expect("the folder can be listed")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    /// A command that runs `micropy` in the folder with these words, and nothing on stdin.
    pub fn command(&self, words: &str) -> Command {
        let program = program();
        let mut command = Command::new(&program[0]);
        command
            .args(&program[1..])
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `micropy` in the folder with these words.
    pub fn micropy(&self, words: &str) -> Run {
        Run::new(self.command(words).output().expect("micropy starts"))
    }

    /// Runs `micropy` in the folder with these words, and `input` on stdin.
    pub fn micropy_fed(&self, words: &str, input: Vec<u8>) -> Run {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("micropy starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // It may stop reading early, when it has seen enough to refuse.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("micropy ends");
        feeder.join().expect("the feeder ends");
        Run::new(output)
    }
}

/// The path of a clip that the project ships.
pub fn clip_path(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let example = root.join("examples/media").join(name);
    if example.exists() {
        example
    } else {
        root.join("micropy-core/tests/media").join(name)
    }
}

/// The bytes of a clip that the project ships.
pub fn clip(name: &str) -> Vec<u8> {
    fs::read(clip_path(name)).expect("the clip is shipped")
}

/// The rows of the clips' table: name, PCM samples per channel (`None` for refused ones), rate, channels.
pub fn clip_table() -> Vec<(String, Option<u64>, u32, usize)> {
    let table = fs::read_to_string(clip_path("expected.tsv")).expect("the table is shipped");
    table
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            (
                fields[0].to_owned(),
                fields[1].parse().ok(),
                fields[2].parse().expect("a rate"),
                fields[3].parse().expect("a number of channels"),
            )
        })
        .collect()
}

/// Whether these programs are installed; where one is not, the test that asks is counted as skipped.
pub fn installed(test: &str, programs: &[&str]) -> bool {
    let missing = |program: &&&str| {
        let found = env::var_os("PATH").is_some_and(|path| {
            env::split_paths(&path).any(|folder| folder.join(program).is_file())
        });
        !found
    };
    let Some(program) = programs.iter().find(missing) else {
        return true;
    };
    skipped(test, &format!("{program} is not installed"));
    false
}

/// Counts a test as skipped, and says why.
fn skipped(test: &str, why: &str) {
    let line = format!("skipped {test}: {why}\n");
    eprint!("{line}");
    if let Some(results) = env::var_os("MICROPY_RESULTS") {
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(results);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the results can be written");
    }
}

/// Ten minutes of audio, made by repeating the example; `None` (counted as skipped) without ffmpeg.
pub fn long_clip(test: &str) -> Option<(Folder, String)> {
    if !installed(test, &["ffmpeg"]) {
        return None;
    }
    let folder = Folder::with(&[]);
    let name = "long.m4a";
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-stream_loop", "49", "-i"])
        .arg(clip_path("song.mp4"))
        .args(["-map", "0:a", "-map_chapters", "-1", "-c", "copy"])
        .arg(folder.path(name))
        .status()
        .expect("ffmpeg starts");
    assert!(made.success());
    Some((folder, name.to_owned()))
}
