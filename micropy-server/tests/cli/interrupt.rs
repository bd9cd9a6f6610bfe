//! Ctrl-C in the middle of a conversion.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::run::{Desk, clip_path, installed};

/// Ten minutes of audio, made by repeating the example; `None` (counted as skipped) without ffmpeg.
pub fn long_clip(test: &str) -> Option<(Desk, String)> {
    if !installed(test, &["ffmpeg"]) {
        return None;
    }
    let desk = Desk::with(&[]);
    let name = "long.m4a";
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-stream_loop", "49", "-i"])
        .arg(clip_path("song.mp4"))
        .args(["-map", "0:a", "-map_chapters", "-1", "-c", "copy"])
        .arg(desk.path(name))
        .status()
        .expect("ffmpeg starts");
    assert!(made.success());
    Some((desk, name.to_owned()))
}

#[test]
fn leaves_nothing_behind() {
    let Some((desk, name)) = long_clip("leaves_nothing_behind") else {
        return;
    };
    for signal in ["INT", "TERM"] {
        let mut child = desk
            .command(&format!(
                "convert {name} -o out.mp3 --bitrate 128 --quality 0 --jobs 1"
            ))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("micropy starts");
        sleep(Duration::from_millis(700));
        assert!(
            child.try_wait().expect("a status").is_none(),
            "the conversion takes longer than that"
        );
        let sent = Instant::now();
        let kill = Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status();
        assert!(kill.expect("kill starts").success());
        let status = child.wait().expect("micropy ends");
        assert!(
            sent.elapsed() < Duration::from_secs(10),
            "{signal}: it stops soon"
        );
        assert_eq!(status.code(), Some(130), "{signal}: {status}");
        assert_eq!(
            desk.names(),
            [name.as_str()],
            "{signal}: no output, whole or partial"
        );
    }
}
