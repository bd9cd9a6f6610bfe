//! Runs the example `upload`: an axum handler that streams an upload into an MP3.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "its `main` is for people")]
#[path = "../examples/upload.rs"]
mod upload;

use std::path::Path;

use micropy_core::{Converter, Options, StreamSink, StreamSource};
use reqwest::{Client, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mp3", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, upload::router()).await.unwrap() });
    url
}

fn video(name: &str) -> Vec<u8> {
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../micropy-core/tests/media");
    std::fs::read(media.join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_comes_back_as_an_mp3() {
    let url = start().await;
    for name in [
        "moov-first-stereo-44100.mp4",
        "moov-last-stereo-44100.mp4",
        "fragmented-dash.mp4",
    ] {
        let request = Client::new().post(&url).body(video(name));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        assert_eq!(response.headers()["content-type"], "audio/mpeg");
        let mut expected = Vec::new();
        Converter::new(Options::new())
            .convert(
                StreamSource::new(&video(name)[..]),
                StreamSink::new(&mut expected),
            )
            .unwrap();
        assert!(response.bytes().await.unwrap() == expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_converted_is_refused_with_the_reason() {
    let url = start().await;
    for (body, why) in [
        (video("video-only.mp4"), "no audio track"),
        (b"no video at all".to_vec(), "MP4"),
        (Vec::new(), "MP4"),
    ] {
        let response = Client::new().post(&url).body(body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let text = response.text().await.unwrap();
        assert!(text.contains(why), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_upload_becomes_no_whole_mp3() {
    let url = start().await;
    let address = url
        .trim_start_matches("http://")
        .trim_end_matches("/mp3")
        .to_owned();
    for name in ["moov-first-stereo-44100.mp4", "moov-last-stereo-44100.mp4"] {
        let video = video(name);
        for sent in [0, 1000, video.len() / 2, video.len() - 1] {
            let mut connection = TcpStream::connect(&address).await.unwrap();
            let head = format!(
                "POST /mp3 HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n",
                video.len()
            );
            connection.write_all(head.as_bytes()).await.unwrap();
            connection.write_all(&video[..sent]).await.unwrap();
            connection.shutdown().await.unwrap();
            let mut response = Vec::new();
            // A reset is as good.
            let _ = connection.read_to_end(&mut response).await;
            let is_mp3 = response.starts_with(b"HTTP/1.1 200");
            let is_whole = response.ends_with(b"\r\n0\r\n\r\n");
            assert!(!(is_mp3 && is_whole), "{name}: {sent} bytes");
        }
    }
}
