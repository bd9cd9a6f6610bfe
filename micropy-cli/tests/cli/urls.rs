//! Inputs that are URLs: what is shown of them, and where they cannot stand.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use crate::run::{Folder, clip};

const CLIP: &str = "mono-22050.mp4";

/// A URL with a password and a signature, behind which nobody answers.
const SECRET: &str = "http://ann:PASSWORD@127.0.0.1:9/x.mp3?sig=SIGNATURE";

/// Serves these bytes for as long as the test runs; returns where, as `host:port`.
fn serve(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let request = BufReader::new(stream.try_clone().expect("the stream"));
            let mut lines = request.lines().map_while(Result::ok);
            if lines.by_ref().all(|line| !line.is_empty()) {
                continue;
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                bytes.len()
            );
            // A client may have seen enough.
            let _ = stream.write_all(&[head.as_bytes(), &bytes].concat());
        }
    });
    address
}

fn shows_no_secret(text: &str) -> bool {
    !text.contains("PASSWORD") && !text.contains("SIGNATURE")
}

#[test]
fn no_message_shows_a_password_or_a_signature() {
    let folder = Folder::with(&[CLIP]);
    for (words, code) in [
        (format!("convert --watch {SECRET} -o out"), 2),
        (format!("convert -i {SECRET} out.mp3"), 2),
        (format!("convert -i {CLIP} {SECRET}"), 2),
        (format!("convert {CLIP} -o {SECRET}"), 2),
        (format!("convert {CLIP} --split-chapters {SECRET}"), 2),
        (format!("convert {CLIP} --cover {SECRET}"), 2),
    ] {
        let run = folder.micropy(&words);
        assert_eq!(run.code, Some(code), "{words}: {}", run.stderr);
        assert!(shows_no_secret(&run.stderr), "{words}: {}", run.stderr);
        assert!(run.stderr.contains("http"), "{words}: {}", run.stderr);
    }
    assert_eq!(folder.names(), [CLIP]);
    // With a warning about what is behind it.
    let whole = clip("moov-first-stereo-44100.mp4");
    let address = serve(whole[..whole.len() / 2].to_vec());
    let url = format!("http://ann:PASSWORD@{address}/cut.mp4?sig=SIGNATURE");
    for (words, told) in [
        (format!("probe --peaks 4 {url}"), "warning"),
        (format!("convert {url}"), "warning"),
    ] {
        let run = folder.micropy(&words);
        assert_eq!(run.code, Some(3), "{words}: {}", run.stderr);
        assert!(run.stderr.contains(told), "{words}: {}", run.stderr);
        assert!(shows_no_secret(&run.stderr), "{words}: {}", run.stderr);
    }
}

#[test]
fn a_url_is_no_missing_output() {
    let folder = Folder::with(&[CLIP]);
    let address = serve(clip(CLIP));
    let run = folder.micropy(&format!("convert {CLIP} http://{address}/talk.mp3"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(folder.names(), ["mono-22050.mp3", CLIP, "talk.mp3"]);
}

#[test]
fn outputs_are_on_this_machine() {
    let folder = Folder::with(&[CLIP, "chapters.m4b"]);
    for words in [
        "mono-22050.mp4 -o s3://bucket/dir/",
        "mono-22050.mp4 -o https://host/a.mp3",
        "mono-22050.mp4 -o az://container/a.mp3 --dry-run",
        "mono-22050.mp4 --split 1s -o gs://bucket/dir",
        "chapters.m4b --split-chapters s3://bucket/dir",
        "--join mono-22050.mp4 chapters.m4b -o s3://bucket/all.mp3",
        "--watch . -o s3://bucket/dir",
    ] {
        let run = folder.micropy(&format!("convert {words}"));
        assert_eq!(run.code, Some(2), "{words}: {}", run.stderr);
        assert!(run.stderr.contains("is a URL"), "{words}: {}", run.stderr);
        assert_eq!(folder.names(), ["chapters.m4b", CLIP], "{words}");
    }
    let run = folder.micropy("man https://host/man1");
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert_eq!(folder.names(), ["chapters.m4b", CLIP]);
}

/// There is no time to compare, so the MP3 may be newer than anything.
#[test]
fn update_does_not_replace_the_mp3_of_a_url_or_a_pipe() {
    let folder = Folder::with(&[]);
    let address = serve(clip(CLIP));
    let update = format!("convert -u http://{address}/talk.mp4");
    let run = folder.micropy(&update);
    assert_eq!(run.code, Some(0), "there is none yet: {}", run.stderr);
    folder.write("talk.mp3", b"mine");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let file = File::options().write(true).open(folder.path("talk.mp3"));
    file.and_then(|file| file.set_modified(old))
        .expect("a time");
    let piped = folder.micropy_fed("convert -u - -o talk.mp3", clip(CLIP));
    for run in [
        folder.micropy(&update),
        folder.micropy(&format!("{update} --dry-run")),
        piped,
    ] {
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("no time to compare"), "{}", run.stderr);
    }
    assert_eq!(fs::read(folder.path("talk.mp3")).expect("it"), b"mine");
}
