//! Videos to upload, and the MP3s to expect.

use std::path::Path;
use std::process::Command;

use micropy_core::{Converter, Options};
use sha2::{Digest, Sha256};

/// An MP4 of `seconds`, made by ffmpeg.
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

/// The same video with a `free` box at its end that makes it unique.
pub fn marked(video: &[u8], mark: u64) -> Vec<u8> {
    let mut marked = video.to_vec();
    marked.extend(16_u32.to_be_bytes());
    marked.extend(b"free");
    marked.extend(mark.to_be_bytes());
    marked
}

/// The header of an `mdat` box of `bytes`, its own 16 included.
pub fn big_box(bytes: u64) -> Vec<u8> {
    [&1_u32.to_be_bytes(), b"mdat", &bytes.to_be_bytes()[..]].concat()
}

/// The MP3 that the engine makes. Other tests check its length and sound.
pub fn converted(video: &[u8]) -> Vec<u8> {
    let mut mp3 = Vec::new();
    let report = Converter::new(Options::new()).convert(video, &mut mp3);
    assert!(report.unwrap().complete);
    mp3
}

pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}
