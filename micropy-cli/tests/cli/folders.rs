//! Folders of videos: `--recursive`, `--update`, `--dry-run`.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use crate::run::{Folder, clip, on_unix};

/// A folder `in` with videos in two levels, and what is none.
fn tree() -> Folder {
    let folder = Folder::with(&[]);
    folder.put("mono-22050.mp4", "in/a.mp4");
    folder.put("mono-16000.m4a", "in/talks/b.M4A");
    folder.put("moov-first-stereo-44100.mp4", "in/talks/2026/c.mov");
    folder.put("mono-22050.mp4", "in/.hidden.mp4");
    folder.put("mono-22050.mp4", "in/.git/d.mp4");
    folder.write("in/notes.txt", b"no video");
    folder.write("in/talks/old.mp3", b"no video either");
    folder
}

#[test]
fn a_tree_is_mirrored() {
    let folder = tree();
    for (words, output) in [
        ("-r in -o out", "out"),
        ("-R in/ -o new/", "new"),
        ("--recursive ./in -o deep/er", "deep/er"),
    ] {
        let run = folder.micropy(&format!("convert {words}"));
        assert_eq!(run.code, Some(0), "{words}: {}", run.stderr);
        assert_eq!(
            folder.files(output),
            ["a.mp3", "talks/2026/c.mp3", "talks/b.mp3"],
            "{words}"
        );
        assert!(
            run.stderr.contains("3 converted"),
            "{words}: {}",
            run.stderr
        );
    }
    // Beside them, where no folder is named.
    let run = folder.micropy("convert -r in");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let same =
        |a: &str, b: &str| fs::read(folder.path(a)).unwrap() == fs::read(folder.path(b)).unwrap();
    assert!(same("in/talks/b.mp3", "out/talks/b.mp3"));
    let alone = folder.micropy("convert in/talks/2026/c.mov -o c.mp3");
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    assert!(same("c.mp3", "out/talks/2026/c.mp3"));
}

#[test]
fn a_folder_needs_the_flag_and_has_to_have_videos() {
    let folder = tree();
    let run = folder.micropy("convert in -o out");
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("--recursive"), "{}", run.stderr);
    fs::create_dir(folder.path("empty")).expect("a folder");
    let run = folder.micropy("convert -r empty -o out");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("no video"), "{}", run.stderr);
    let run = folder.micropy("convert -r in -o -");
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(!folder.path("out").exists());
}

#[test]
fn two_inputs_with_one_output_are_refused_before_anything_is_written() {
    let folder = tree();
    folder.put("mono-22050.mp4", "in/talks/b.mp4");
    for words in [
        "-r in -o out",
        "-r in in/../in -o out",
        "-r in -o out --force",
        "-r in -o out --dry-run",
    ] {
        let run = folder.micropy(&format!("convert {words}"));
        assert_eq!(run.code, Some(2), "{words}: {}", run.stderr);
        assert!(
            run.stderr.contains("would both become"),
            "{words}: {}",
            run.stderr
        );
        assert_eq!(folder.names(), ["in"], "{words}");
    }
}

#[test]
fn links_are_followed_and_loops_end() {
    if !on_unix("links_are_followed_and_loops_end") {
        return;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        let folder = tree();
        symlink("..", folder.path("in/talks/up")).expect("a link");
        symlink("nothing.mp4", folder.path("in/dangling.mp4")).expect("a link");
        folder.put("mono-22050.mp4", "elsewhere/e.mp4");
        symlink("../elsewhere", folder.path("in/linked")).expect("a link");
        let run = folder.micropy("convert -r in -o out");
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let expected = ["a.mp3", "linked/e.mp3", "talks/2026/c.mp3", "talks/b.mp3"];
        assert_eq!(folder.files("out"), expected);
    }
}

#[test]
fn update_makes_what_is_missing_older_or_cut_and_nothing_else() {
    let folder = tree();
    let update = |flag: &str| folder.micropy(&format!("convert -r in -o out {flag} --verbose"));
    let run = update("--update");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let whole = fs::read(folder.path("out/a.mp3")).expect("the MP3");
    let time_of = |name: &str| {
        fs::metadata(folder.path(name))
            .and_then(|m| m.modified())
            .expect("a time")
    };
    let times = ["out/a.mp3", "out/talks/b.mp3", "out/talks/2026/c.mp3"].map(time_of);

    let run = update("-u");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("0 converted, 3 kept"), "{}", run.stderr);
    assert_eq!(
        ["out/a.mp3", "out/talks/b.mp3", "out/talks/2026/c.mp3"].map(time_of),
        times
    );

    // One is cut, of another the video has changed since, the third is gone.
    fs::write(folder.path("out/a.mp3"), &whole[..whole.len() * 2 / 3]).expect("it can be written");
    let later = SystemTime::now() + Duration::from_secs(60);
    let video = File::options()
        .write(true)
        .open(folder.path("in/talks/b.M4A"));
    video
        .and_then(|file| file.set_modified(later))
        .expect("a time");
    let run = update("-u");
    assert!(run.stderr.contains("2 converted, 1 kept"), "{}", run.stderr);
    assert!(fs::read(folder.path("out/a.mp3")).expect("the MP3") == whole);
    fs::remove_file(folder.path("out/talks/2026/c.mp3")).expect("it is there");
    let run = update("-u");
    // The video's time is still in the future.
    assert!(run.stderr.contains("2 converted, 1 kept"), "{}", run.stderr);
    assert!(folder.path("out/talks/2026/c.mp3").is_file());
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let folder = tree();
    folder.put("video-only.mp4", "in/silent.mp4");
    let run = folder.micropy("convert -r in -o out --dry-run --preset speech");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_eq!(folder.names(), ["in"]);
    for told in [
        "2.0 s of AAC",
        "64 kbit/s on average",
        "silent.mp4: no audio track",
    ] {
        assert!(run.stderr.contains(told), "{told}: {}", run.stderr);
    }
    fs::remove_file(folder.path("in/silent.mp4")).expect("it is there");
    let told = folder.micropy("convert -r in -o out --dry-run --json");
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let outputs: Vec<_> = told
        .json()
        .iter()
        .map(|line| line["duration_seconds"].clone())
        .collect();
    assert_eq!(outputs.len(), 3);
    assert_eq!(outputs[0], 2.0);
    assert_eq!(folder.names(), ["in"]);
    // What a run would refuse, a dry run refuses.
    fs::create_dir(folder.path("out")).expect("a folder");
    folder.write("out/a.mp3", b"precious");
    let run = folder.micropy("convert in/a.mp4 -o out --dry-run");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("--force"), "{}", run.stderr);
    for (flag, told) in [("-n", "would be kept"), ("-y", "would be made")] {
        let run = folder.micropy(&format!("convert in/a.mp4 -o out --dry-run {flag}"));
        assert_eq!(run.code, Some(0), "{flag}: {}", run.stderr);
        assert!(run.stderr.contains(told), "{flag}: {}", run.stderr);
    }
    folder.write("book.m4b", &clip("chapters-nero.m4b"));
    let run = folder.micropy("convert book.m4b --split-chapters book --dry-run");
    assert!(run.stderr.contains("3 MP3s"), "{}", run.stderr);
    assert!(!folder.path("book").exists());
}
