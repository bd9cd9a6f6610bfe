//! Pipes and terminals.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::audio::{assert_clean, mpg123_len};
use crate::run::{Folder, clip, clip_table, installed, long_clip, on_windows, program};

#[test]
fn a_pipe_gives_the_mp3_that_the_file_gives() {
    for name in [
        "moov-first-stereo-44100.mp4",
        "moov-last-stereo-44100.mp4",
        "fragmented-empty-moov.mp4",
    ] {
        let folder = Folder::with(&[name]);
        let run = folder.micropy(&format!("convert {name} -o from-file.mp3"));
        assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);
        let run = folder.micropy_fed("convert - -o from-pipe.mp3", clip(name));
        assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);
        let read = |output| fs::read(folder.path(output)).expect("the output");
        assert!(read("from-file.mp3") == read("from-pipe.mp3"), "{name}");
    }
}

#[test]
fn stdout_takes_the_mp3_and_nothing_else() {
    if !installed(
        "stdout_takes_the_mp3_and_nothing_else",
        &["ffmpeg", "mpg123"],
    ) {
        return;
    }
    let table = clip_table();
    for name in ["moov-first-stereo-44100.mp4", "moov-last-stereo-44100.mp4"] {
        let samples = table
            .iter()
            .find(|row| row.0 == name)
            .and_then(|row| row.1)
            .expect("a row of the table");
        for setting in ["--bitrate 128", "--vbr 2"] {
            let folder = Folder::with(&[]);
            let run = folder.micropy_fed(&format!("convert - -o - {setting}"), clip(name));
            assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);
            folder.write("out.mp3", &run.stdout);
            assert_clean(&folder.path("out.mp3"));
            let decoded = mpg123_len(&folder.path("out.mp3"), 2) as u64;
            // How many frames there will be is known beforehand; so the exact length is, too.
            assert_eq!(decoded, samples, "{name} {setting}");
        }
    }
}

#[test]
fn a_device_on_windows_is_written_to() {
    if !on_windows() {
        return;
    }
    let name = "mono-22050.mp4";
    let folder = Folder::with(&[name]);
    for output in ["NUL", "nul", "NUL --force"] {
        let run = folder.micropy(&format!("convert {name} -o {output}"));
        assert_eq!(run.code, Some(0), "{output}: {}", run.stderr);
    }
    assert_eq!(folder.names(), [name]);
}

#[test]
fn a_broken_pipe_is_quiet() {
    let Some((folder, name)) = long_clip("a_broken_pipe_is_quiet") else {
        return;
    };
    let mut child = folder
        .command(&format!("convert {name} -o -"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("micropy starts");
    let mut start = [0; 1000];
    child
        .stdout
        .take()
        .expect("a pipe")
        .read_exact(&mut start)
        .expect("the first bytes come");
    let closed = Instant::now();
    let output = child.wait_with_output().expect("micropy ends");
    assert!(
        closed.elapsed() < Duration::from_secs(20),
        "it stops soon, not at the end of the file"
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.trim().is_empty(), "{said}");
}

#[test]
fn closed_output_stops_no_conversion() {
    let folder = Folder::with(&["mono-22050.mp4", "song.mp4", "video-only.mp4"]);
    let run = |words: &str| {
        let mut child = folder
            .command(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("micropy starts");
        // Nobody reads what it says.
        drop((child.stdout.take(), child.stderr.take()));
        child.wait().expect("micropy ends").code()
    };
    assert_eq!(run("convert mono-22050.mp4 song.mp4 -o out"), Some(0));
    assert_eq!(
        run("convert mono-22050.mp4 song.mp4 -o json --json"),
        Some(0)
    );
    assert_eq!(run("convert video-only.mp4"), Some(1));
    assert_eq!(run("convert song.mp4 -o - --jobs 0"), Some(2));
    assert_eq!(run("probe song.mp4 mono-22050.mp4"), Some(0));
    for made_in in ["out", "json"] {
        for name in ["mono-22050.mp3", "song.mp3"] {
            let made = fs::metadata(folder.path(made_in).join(name));
            assert!(made.is_ok_and(|file| file.len() > 1000), "{made_in}/{name}");
        }
    }
}

#[test]
fn there_is_no_progress_bar_in_a_pipe() {
    let folder = Folder::with(&["song.mp4"]);
    let run = folder.micropy("convert song.mp4");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &run.stderr;
    assert!(!said.contains(['\r', '\x1b']), "{said:?}");
}

#[test]
fn there_is_a_progress_bar_on_a_terminal() {
    if !installed("there_is_a_progress_bar_on_a_terminal", &["script"]) {
        return;
    }
    let Some((folder, name)) = long_clip("there_is_a_progress_bar_on_a_terminal") else {
        return;
    };
    // `script` gives the command a terminal; ten minutes of audio take long enough to draw on it.
    let command = format!(
        "{} convert {name} -o out.mp3 --vbr 9 --quality 9",
        program().join(" ")
    );
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(folder.path(""))
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .expect("script starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains('\r') && said.contains('%'), "{said:?}");
}
