//! `--watch`: files that arrive, and files that are still being written.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

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

/// Moves a copy of a clip into a folder, where it is whole at once.
fn arrive(folder: &Folder, clip: &str, path: &str) {
    folder.put(clip, "arriving");
    fs::rename(folder.path("arriving"), folder.path(path)).expect("a move");
}

#[test]
fn the_mp3_of_one_video_is_not_replaced_by_anothers() {
    if !on_unix("the_mp3_of_one_video_is_not_replaced_by_anothers") {
        return;
    }
    let folder = Folder::with(&[]);
    fs::create_dir(folder.path("one")).expect("a folder");
    fs::create_dir(folder.path("two")).expect("a folder");
    let watching = Watching::start(&folder, "one two -o out");
    arrive(&folder, "mono-22050.mp4", "one/a.mp4");
    appears(&folder, "out/a.mp3");
    let made = fs::read(folder.path("out/a.mp3")).expect("the MP3");
    // The first in the alphabet, from another folder, and in the place of one that is gone.
    arrive(&folder, "mono-16000.m4a", "one/a.m4a");
    arrive(&folder, "mono-16000.m4a", "two/a.mp4");
    arrive(&folder, "mono-16000.m4a", "one/b.m4a");
    appears(&folder, "out/b.mp3");
    fs::remove_file(folder.path("one/a.mp4")).expect("it is there");
    arrive(&folder, "mono-16000.m4a", "one/a.mov");
    arrive(&folder, "mono-16000.m4a", "one/c.m4a");
    appears(&folder, "out/c.mp3");
    assert!(fs::read(folder.path("out/a.mp3")).expect("the MP3") == made);
    // Its own video may come again, whatever its time.
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    folder.put("mono-16000.m4a", "again");
    let file = File::options().write(true).open(folder.path("again"));
    file.and_then(|file| file.set_modified(old))
        .expect("a time");
    fs::rename(folder.path("again"), folder.path("one/a.mp4")).expect("a move");
    let since = Instant::now();
    while fs::read(folder.path("out/a.mp3")).expect("the MP3") == made {
        assert!(since.elapsed() < Duration::from_secs(30), "it is not made");
        sleep(Duration::from_millis(20));
    }
    let (code, said) = watching.end();
    assert_eq!(code, Some(0), "{said}");
    for told in [
        "one/a.m4a: it and one/a.mp4 would both become out/a.mp3",
        "two/a.mp4: it and one/a.mp4 would both become out/a.mp3",
        "one/a.mov: it would replace out/a.mp3, which was made of one/a.mp4",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
}

#[test]
fn an_mp3_of_an_earlier_watch_stays_its_videos() {
    if !on_unix("an_mp3_of_an_earlier_watch_stays_its_videos") {
        return;
    }
    let folder = Folder::with(&[]);
    folder.put("mono-22050.mp4", "in/a.mp4");
    let run = folder.micropy("convert in/a.mp4 -o out/");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let made = fs::read(folder.path("out/a.mp3")).expect("the MP3");
    // The clock of a file system is not finer than this.
    sleep(Duration::from_millis(50));
    folder.put("mono-16000.m4a", "in/a.m4a");
    folder.put("mono-16000.m4a", "in/b.m4a");
    let watching = Watching::start(&folder, "in -o out");
    appears(&folder, "out/b.mp3");
    let (code, said) = watching.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(fs::read(folder.path("out/a.mp3")).expect("the MP3") == made);
    let told = "in/a.m4a: it and in/a.mp4 would both become out/a.mp3";
    assert!(said.contains(told), "{said}");
}

#[test]
fn a_cut_video_that_is_completed_with_its_old_time_is_converted_again() {
    if !on_unix("a_cut_video_that_is_completed_with_its_old_time_is_converted_again") {
        return;
    }
    let folder = Folder::with(&[]);
    fs::create_dir(folder.path("in")).expect("a folder");
    let whole = clip("moov-first-stereo-44100.mp4");
    let watching = Watching::start(&folder, "in -o out");
    folder.write("a.part", &whole[..whole.len() / 2]);
    fs::rename(folder.path("a.part"), folder.path("in/a.mp4")).expect("a move");
    appears(&folder, "out/a.mp3");
    let half = fs::metadata(folder.path("out/a.mp3")).expect("it").len();
    folder.write("a.part", &whole);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let file = File::options().write(true).open(folder.path("a.part"));
    file.and_then(|file| file.set_modified(old))
        .expect("a time");
    fs::rename(folder.path("a.part"), folder.path("in/a.mp4")).expect("a move");
    let since = Instant::now();
    while fs::metadata(folder.path("out/a.mp3")).expect("it").len() <= half {
        assert!(since.elapsed() < Duration::from_secs(30), "it stays half");
        sleep(Duration::from_millis(20));
    }
    let (code, said) = watching.end();
    assert_eq!(code, Some(0), "{said}");
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
