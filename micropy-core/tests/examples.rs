//! Runs the examples as their readers do: memory to memory, progress and cancelling, a source over HTTP.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "its `main` is for people")]
#[path = "../examples/http_range.rs"]
mod http_range;
#[allow(dead_code, reason = "its `main` is for people")]
#[path = "../examples/memory.rs"]
mod memory;
#[allow(dead_code, reason = "its `main` is for people")]
#[path = "../examples/progress.rs"]
mod progress;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use micropy_core::{CancelToken, Converter, Error, Options};

use http_range::HttpSource;

fn clip(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/media")
        .join(name)
}

fn mp3_of(path: &Path) -> Vec<u8> {
    memory::mp3_of(&fs::read(path).unwrap(), Options::new())
        .unwrap()
        .0
}

#[test]
fn a_video_in_memory_becomes_what_its_file_becomes() {
    let input = clip("moov-last-stereo-44100.mp4");
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("talk.mp3");
    let of_file = Converter::new(Options::new())
        .convert_file(&input, &output)
        .unwrap();
    let (mp3, report) = memory::mp3_of(&fs::read(&input).unwrap(), Options::new()).unwrap();
    assert!(mp3 == fs::read(&output).unwrap());
    assert_eq!(report.output_samples, of_file.output_samples);
}

#[test]
fn progress_goes_forward_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("talk.mp3");
    let mut told = Vec::new();
    let input = clip("moov-first-stereo-44100.mp4");
    progress::convert(&input, &output, &CancelToken::new(), |f| told.push(f)).unwrap();
    assert_eq!(told.last(), Some(&1.0));
    assert!(told.is_sorted(), "{told:?}");
}

#[test]
fn a_cancelled_conversion_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("talk.mp3");
    let cancel = CancelToken::new();
    let input = clip("moov-first-stereo-44100.mp4");
    let result = progress::convert(&input, &output, &cancel, |_| cancel.cancel());
    // Short as the clip is, its last call of all may come when everything is done.
    match result {
        Err(Error::Cancelled) => assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0),
        other => panic!("{other:?}"),
    }
}

/// Serves `file` by ranges and counts the bytes.
fn serve(file: Vec<u8>, ranges: bool) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/talk.mp4", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut range = None;
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap();
                if let Some(of) = line.strip_prefix("Range: bytes=") {
                    let (first, last) = of.split_once('-').unwrap();
                    range = Some((first.parse().unwrap(), last.parse::<usize>().unwrap() + 1));
                }
                if line.is_empty() {
                    break;
                }
            }
            let (first, end): (usize, usize) = range.unwrap();
            let part = &file[first..end.min(file.len())];
            let status = if ranges {
                "206 Partial Content"
            } else {
                "200 OK"
            };
            count.fetch_add(part.len() as u64, Ordering::Relaxed);
            write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-range: bytes {first}-{}/{}\r\n\r\n",
                first + part.len() - 1,
                file.len()
            )
            .unwrap();
            stream.write_all(part).unwrap();
        }
    });
    (url, sent)
}

#[test]
fn of_a_video_on_a_server_only_the_audio_is_fetched() {
    let path = clip("moov-last-stereo-44100.mp4");
    let mut video = fs::read(&path).unwrap();
    // Eight megabytes that are no audio, in a box `free` between the boxes.
    let moov = video.windows(4).position(|four| four == b"moov").unwrap() - 4;
    let free = 8_000_000_usize;
    let mut box_free = u32::try_from(free).unwrap().to_be_bytes().to_vec();
    box_free.extend(b"free");
    box_free.resize(free, 0);
    video.splice(moov..moov, box_free);
    let length = video.len() as u64;
    let (url, sent) = serve(video, true);
    let mut mp3 = Vec::new();
    Converter::new(Options::new())
        .convert(HttpSource::open(&url).unwrap(), &mut mp3)
        .unwrap();
    assert!(mp3 == mp3_of(&path));
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < length / 10, "{sent} of {length} bytes");
}

#[test]
fn a_server_without_ranges_is_an_error_that_says_so() {
    let (url, _) = serve(fs::read(clip("alac.m4a")).unwrap(), false);
    let error = HttpSource::open(&url).err().unwrap();
    assert!(error.to_string().contains("200 OK"), "{error}");
}
