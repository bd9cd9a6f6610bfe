//! Ctrl-C in the middle of a conversion.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::run::{Folder, clip, long_clip, on_unix};

/// Sends a signal, `INT` or `TERM`.
pub fn send(child: &Child, signal: &str) {
    let kill = Command::new("kill")
        .args([&format!("-{signal}"), &child.id().to_string()])
        .status();
    assert!(kill.expect("kill starts").success());
}

/// Waits for the end, which must come soon.
pub fn end_of(child: &mut Child, what: &str) -> ExitStatus {
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a status") {
            return status;
        }
        if since.elapsed() > Duration::from_secs(10) {
            child.kill().expect("it is ours");
            panic!("{what}: it does not stop");
        }
        sleep(Duration::from_millis(20));
    }
}

pub fn assert_runs(child: &mut Child, what: &str) {
    assert!(
        child.try_wait().expect("a status").is_none(),
        "{what}: it has ended already"
    );
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let test = "a_signal_leaves_nothing_behind";
    if !on_unix(test) {
        return;
    }
    let Some((folder, name)) = long_clip(test) else {
        return;
    };
    // The second of two signals need not find the program alive.
    for signals in [&["INT"][..], &["TERM"], &["INT", "INT"]] {
        let what = format!("{signals:?}");
        let mut child = folder
            .command(&format!(
                "convert {name} -o out.mp3 --bitrate 128 --quality 0 --jobs 1"
            ))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("micropy starts");
        sleep(Duration::from_millis(700));
        assert_runs(&mut child, &what);
        for signal in signals {
            send(&child, signal);
        }
        let status = end_of(&mut child, &what);
        assert_eq!(status.code(), Some(130), "{what}: {status}");
        assert_eq!(
            folder.names(),
            [name.as_str()],
            "{what}: no output, whole or partial"
        );
    }
}

#[test]
fn a_signal_ends_all_files_at_once() {
    let test = "a_signal_ends_all_files_at_once";
    if !on_unix(test) {
        return;
    }
    let Some((folder, name)) = long_clip(test) else {
        return;
    };
    let names: Vec<String> = (1..=4).map(|number| format!("{number}.m4a")).collect();
    for name_of_copy in &names {
        std::fs::hard_link(folder.path(&name), folder.path(name_of_copy)).expect("a link");
    }
    let before = folder.names();
    for signals in [&["INT"][..], &["TERM", "TERM"]] {
        let what = format!("{signals:?}");
        let mut child = folder
            .command(&format!(
                "convert {} -o out --quality 0 --jobs 4",
                names.join(" ")
            ))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("micropy starts");
        // All four are at work: each has its unfinished file.
        let since = Instant::now();
        let unfinished = || std::fs::read_dir(folder.path("out")).map_or(0, Iterator::count);
        while unfinished() < 4 {
            assert!(
                since.elapsed() < Duration::from_secs(20),
                "{what}: {}",
                unfinished()
            );
            sleep(Duration::from_millis(10));
        }
        assert_runs(&mut child, &what);
        for signal in signals {
            send(&child, signal);
        }
        let status = end_of(&mut child, &what);
        assert_eq!(status.code(), Some(130), "{what}: {status}");
        assert_eq!(unfinished(), 0, "{what}: no output, whole or partial");
        std::fs::remove_dir(folder.path("out")).expect("it is empty");
        assert_eq!(folder.names(), before, "{what}");
    }
}

#[test]
fn a_signal_cancels_the_wait_for_a_silent_input() {
    if !on_unix("a_signal_cancels_the_wait_for_a_silent_input") {
        return;
    }
    let movie = clip("moov-last-stereo-44100.mp4");
    // Nothing at all, and the first half of what must be spooled.
    for given in [&[][..], &movie[..movie.len() / 2]] {
        for output in ["out.mp3", "-"] {
            let what = format!("{} bytes to {output}", given.len());
            let folder = Folder::with(&[]);
            let mut child = folder
                .command(&format!("convert - -o {output}"))
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("micropy starts");
            let mut stdin = child.stdin.take().expect("a pipe");
            stdin.write_all(given).expect("it is read");
            sleep(Duration::from_millis(500));
            assert_runs(&mut child, &what);
            send(&child, "INT");
            let status = end_of(&mut child, &what);
            assert_eq!(status.code(), Some(130), "{what}: {status}");
            assert!(folder.names().is_empty(), "{what}: {:?}", folder.names());
            drop(stdin);
        }
    }
}

#[test]
fn the_second_signal_does_not_wait_for_the_reader_of_the_output() {
    let test = "the_second_signal_does_not_wait_for_the_reader_of_the_output";
    if !on_unix(test) {
        return;
    }
    let Some((folder, name)) = long_clip(test) else {
        return;
    };
    let mut child = folder
        .command(&format!("convert {name} -o - --quality 9"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("micropy starts");
    // The frames of a span come together, and are more than a pipe holds: what follows the first is not read.
    let mut pipe = child.stdout.take().expect("a pipe");
    pipe.read_exact(&mut [0; 64 * 1024]).expect("it writes");
    sleep(Duration::from_millis(500));
    send(&child, "INT");
    sleep(Duration::from_millis(500));
    assert_runs(&mut child, "the first signal");
    send(&child, "INT");
    let status = end_of(&mut child, "the second signal");
    assert_eq!(status.code(), Some(130), "{status}");
    assert_eq!(folder.names(), [name.as_str()]);
}
