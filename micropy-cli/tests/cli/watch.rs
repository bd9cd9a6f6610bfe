//! `--watch`: files that arrive, and files that are still being written.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::interrupt::{assert_runs, end_of, send};
use crate::run::{Folder, clip, clip_path, on_unix};

/// A program that watches, ended with the test.
struct Watching {
    child: Child,
}

impl Watching {
    fn start(folder: &Folder, words: &str) -> Self {
        let child = folder
            .command(&format!("convert --watch {words}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("micropy starts");
        Watching { child }
    }

    /// Ends it by Ctrl-C; the exit code, and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        assert_runs(&mut self.child, "it watches");
        send(&self.child, "INT");
        let status = end_of(&mut self.child, "Ctrl-C");
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut said).expect("text");
        (status.code(), said)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long it takes until a file is there, which must not be long.
fn appears(folder: &Folder, name: &str) -> Duration {
    let since = Instant::now();
    while !folder.path(name).is_file() {
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "{name} does not appear"
        );
        sleep(Duration::from_millis(20));
    }
    since.elapsed()
}

#[test]
fn what_is_there_and_what_is_moved_in_is_converted() {
    if !on_unix("what_is_there_and_what_is_moved_in_is_converted") {
        return;
    }
    let folder = Folder::with(&["mono-22050.mp4"]);
    folder.put("mono-16000.m4a", "in/old.m4a");
    folder.put("mono-16000.m4a", "in/done.m4a");
    folder.put("mono-16000.m4a", "in/below/not-asked-for.m4a");
    folder.micropy("convert in/done.m4a -o out/");
    let done = fs::metadata(folder.path("out/done.mp3"))
        .and_then(|m| m.modified())
        .expect("a time");
    let watching = Watching::start(&folder, "in -o out");
    appears(&folder, "out/old.mp3");
    fs::rename(folder.path("mono-22050.mp4"), folder.path("in/new.mp4")).expect("a move");
    let took = appears(&folder, "out/new.mp3");
    assert!(
        took < Duration::from_millis(1900),
        "what is moved in is whole: {took:?}"
    );
    let (code, said) = watching.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(folder.files("out"), ["done.mp3", "new.mp3", "old.mp3"]);
    let now = fs::metadata(folder.path("out/done.mp3"))
        .and_then(|m| m.modified())
        .expect("a time");
    assert_eq!(now, done, "what is up to date stays");
    assert!(said.contains("in/new.mp4 → out/new.mp3"), "{said}");
}

#[test]
fn a_file_that_is_being_written_is_left_alone() {
    if !on_unix("a_file_that_is_being_written_is_left_alone") {
        return;
    }
    let folder = Folder::with(&[]);
    fs::create_dir_all(folder.path("in/deep")).expect("a folder");
    let watching = Watching::start(&folder, "-r in -o out");
    let video = clip("moov-first-stereo-44100.mp4");
    let mut file = File::create(folder.path("in/deep/slow.mp4")).expect("a file");
    // Its moov is there from the first piece on: only that it grows says that it is not whole.
    let pieces = 6;
    for piece in video.chunks(video.len().div_ceil(pieces)) {
        file.write_all(piece).expect("it can be written");
        sleep(Duration::from_millis(700));
        assert!(!folder.path("out/deep/slow.mp3").exists());
    }
    drop(file);
    appears(&folder, "out/deep/slow.mp3");
    // Of this one, moov comes last, and the writer pauses for longer than a file has to be steady.
    let video = clip("moov-last-stereo-44100.mp4");
    let half = video.len() / 2;
    folder.write("in/paused.mp4", &video[..half]);
    sleep(Duration::from_millis(3500));
    assert!(!folder.path("out/paused.mp3").exists());
    let mut file = File::options()
        .append(true)
        .open(folder.path("in/paused.mp4"))
        .expect("the file");
    file.write_all(&video[half..]).expect("it can be written");
    drop(file);
    appears(&folder, "out/paused.mp3");
    let (code, said) = watching.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("warning"), "{said}");
    assert!(
        said.contains("in/paused.mp4: waits until it changes"),
        "{said}"
    );
    for (made, clip) in [
        ("deep/slow", "moov-first-stereo-44100.mp4"),
        ("paused", "moov-last-stereo-44100.mp4"),
    ] {
        fs::copy(clip_path(clip), folder.path("same.mp4")).expect("a copy");
        let run = folder.micropy("convert same.mp4 -y");
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let read = |name: &str| fs::read(folder.path(name)).expect("the MP3");
        assert!(
            read(&format!("out/{made}.mp3")) == read("same.mp3"),
            "{made}"
        );
    }
}

#[test]
fn a_new_folder_a_failure_and_a_changed_file_are_seen() {
    if !on_unix("a_new_folder_a_failure_and_a_changed_file_are_seen") {
        return;
    }
    let folder = Folder::with(&["video-only.mp4"]);
    fs::create_dir(folder.path("in")).expect("a folder");
    let watching = Watching::start(&folder, "-r in -o out");
    folder.put("mono-22050.mp4", "series/one/a.mp4");
    fs::rename(folder.path("series"), folder.path("in/series")).expect("a move");
    appears(&folder, "out/series/one/a.mp3");
    fs::rename(folder.path("video-only.mp4"), folder.path("in/silent.mp4")).expect("a move");
    sleep(Duration::from_millis(500));
    // Replaced by a video with sound.
    folder.put("mono-16000.m4a", "sound.mp4");
    fs::rename(folder.path("sound.mp4"), folder.path("in/silent.mp4")).expect("a move");
    appears(&folder, "out/silent.mp3");
    let (code, said) = watching.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said.matches("silent.mp4: no audio track").count(),
        1,
        "{said}"
    );
}

#[test]
fn only_folders_are_watched() {
    let folder = Folder::with(&["mono-22050.mp4"]);
    fs::create_dir(folder.path("in")).expect("a folder");
    for (words, told) in [
        ("mono-22050.mp4 -o out", "no folder"),
        ("in -o -", "--output"),
        ("in -o out --dry-run", "cannot be used with"),
    ] {
        let run = folder.micropy(&format!("convert --watch {words}"));
        assert_eq!(run.code, Some(2), "{words}: {}", run.stderr);
        assert!(run.stderr.contains(told), "{words}: {}", run.stderr);
    }
}
