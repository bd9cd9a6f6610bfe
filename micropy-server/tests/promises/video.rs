//! Videos to upload, and what must come of them.

use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use super::server::micropy;

/// An MP4 of so many seconds, made by ffmpeg.
pub fn made(folder: &Path, seconds: u32) -> Vec<u8> {
    let path = folder.join(format!("{seconds}s.mp4"));
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i"])
        .arg(format!("sine=frequency=440:duration={seconds}"))
        .args(["-ac", "2", "-c:a", "aac", "-b:a", "96k"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success(), "ffmpeg makes {}", path.display());
    std::fs::read(path).unwrap()
}

/// The same video, but with a `free` box at its end that no other has.
pub fn marked(video: &[u8], mark: u64) -> Vec<u8> {
    let mut marked = video.to_vec();
    marked.extend(16_u32.to_be_bytes());
    marked.extend(b"free");
    marked.extend(mark.to_be_bytes());
    marked
}

/// The header of an `mdat` box of so many bytes, to be followed by as many without its 16.
pub fn big_box(bytes: u64) -> Vec<u8> {
    [&1_u32.to_be_bytes(), b"mdat", &bytes.to_be_bytes()[..]].concat()
}

/// What the command line makes of it, whose exact length and sound other tests hold to account.
pub fn converted(folder: &Path, video: &[u8]) -> Vec<u8> {
    let (input, output) = (folder.join("expected.mp4"), folder.join("expected-out.mp3"));
    std::fs::write(&input, video).unwrap();
    let made = micropy()
        .args(["convert", "--force", "--output"])
        .args([&output, &input])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    std::fs::read(output).unwrap()
}

pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}
