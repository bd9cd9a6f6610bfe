//! Pipes and terminals.

use std::fs;
use std::io::Read;
#[cfg(unix)]
use std::os::unix::fs::{FileTypeExt, symlink};
#[cfg(unix)]
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::audio::{assert_clean, mpg123_len};
use crate::interrupt::long_clip;
use crate::run::{Desk, clip, clip_table, installed};

#[test]
fn a_pipe_gives_the_mp3_that_the_file_gives() {
    for name in [
        "moov-first-stereo-44100.mp4",
        "moov-last-stereo-44100.mp4",
        "fragmented-empty-moov.mp4",
    ] {
        let desk = Desk::with(&[name]);
        let run = desk.micropy(&format!("convert {name} -o from-file.mp3"));
        assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);
        let run = desk.micropy_fed("convert - -o from-pipe.mp3", clip(name));
        assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);
        let read = |output| fs::read(desk.path(output)).expect("the output");
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
            let desk = Desk::with(&[]);
            let run = desk.micropy_fed(&format!("convert - -o - {setting}"), clip(name));
            assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);
            desk.write("out.mp3", &run.stdout);
            assert_clean(&desk.path("out.mp3"));
            let decoded = mpg123_len(&desk.path("out.mp3"), 2) as u64;
            // How many frames there will be is known beforehand; so the exact length is, too.
            assert_eq!(decoded, samples, "{name} {setting}");
        }
    }
}

#[cfg(unix)]
#[test]
fn devices_and_named_pipes_are_written_to_and_stay() {
    let name = "moov-first-stereo-44100.mp4";
    let desk = Desk::with(&[name]);
    let expected = desk.micropy(&format!("convert {name} -o -")).stdout;
    assert!(!expected.is_empty());
    let kind = |path: &Path| fs::metadata(path).expect("it is there").file_type();

    let null = Path::new("/dev/null");
    for flags in ["", "--force", "--json"] {
        let run = desk.micropy(&format!("convert {name} -o /dev/null {flags}"));
        assert_eq!(run.code, Some(0), "{flags}: {}", run.stderr);
        assert!(kind(null).is_char_device(), "{flags}");
    }
    let run = desk.micropy(&format!("convert {name} -o /dev/stdout"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout == expected);

    let pipe = desk.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo starts").success());
    symlink("pipe", desk.path("link")).expect("a link");
    for output in ["pipe", "link"] {
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).expect("it can be read")
        });
        let run = desk.micropy(&format!("convert {name} -o {output}"));
        assert_eq!(run.code, Some(0), "{output}: {}", run.stderr);
        assert!(kind(&pipe).is_fifo(), "{output}");
        assert!(reader.join().expect("it ends") == expected, "{output}");
    }
    assert_eq!(desk.names(), ["link", name, "pipe"]);
}

#[cfg(unix)]
#[test]
fn the_file_behind_a_link_is_written() {
    let name = "mono-22050.mp4";
    let desk = Desk::with(&[name]);
    fs::create_dir(desk.path("music")).expect("a folder");
    symlink("music/out.mp3", desk.path("out.mp3")).expect("a link");
    for flags in ["", "--force"] {
        let run = desk.micropy(&format!("convert {name} -o out.mp3 {flags}"));
        assert_eq!(run.code, Some(0), "{flags}: {}", run.stderr);
        let link = fs::symlink_metadata(desk.path("out.mp3")).expect("it is there");
        assert!(link.is_symlink(), "{flags}");
        let file = fs::symlink_metadata(desk.path("music/out.mp3")).expect("it is there");
        assert!(file.is_file() && file.len() > 1000, "{flags}");
    }
    let run = desk.micropy(&format!("convert {name} -o out.mp3"));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("--force"), "{}", run.stderr);
}

#[test]
fn a_broken_pipe_is_quiet() {
    let Some((desk, name)) = long_clip("a_broken_pipe_is_quiet") else {
        return;
    };
    let mut child = desk
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
fn there_is_no_progress_bar_in_a_pipe() {
    let desk = Desk::with(&["song.mp4"]);
    let run = desk.micropy("convert song.mp4");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &run.stderr;
    assert!(!said.contains(['\r', '\x1b']), "{said:?}");
}

#[test]
fn there_is_a_progress_bar_on_a_terminal() {
    if !installed("there_is_a_progress_bar_on_a_terminal", &["script"]) {
        return;
    }
    let Some((desk, name)) = long_clip("there_is_a_progress_bar_on_a_terminal") else {
        return;
    };
    // `script` gives the command a terminal; ten minutes of audio take long enough to draw on it.
    let command = format!(
        "{} convert {name} -o out.mp3 --vbr 9 --quality 9",
        env!("CARGO_BIN_EXE_micropy")
    );
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(desk.path(""))
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .expect("script starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains('\r') && said.contains('%'), "{said:?}");
}
