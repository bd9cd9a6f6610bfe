//! P6: memory does not grow with the file.

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::client::Client;
use super::server::Server;
use super::video::{big_box, converted, made};

/// Bytes of the video around the audio; `MICROPY_BIG` for a longer run.
const BIG: u64 = 300 << 20;
/// KiB that the process may grow by.
const GROWTH: u64 = 50 << 10;
const PIECE: u64 = 256 << 10;

fn big() -> u64 {
    let Ok(text) = std::env::var("MICROPY_BIG") else {
        return BIG;
    };
    match text.strip_suffix('G') {
        Some(number) => number.parse::<u64>().unwrap() << 30,
        None => text.trim_end_matches('M').parse::<u64>().unwrap() << 20,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_video_and_its_mp3_pass_through_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let audio = made(folder, 60);
    // A worker process that needed more would fail.
    let server = Server::start(folder, &[("MICROPY_CONVERSION_MEMORY", "64MiB")]);
    let user = Client::register(&server.url).await;
    // The memory for the same audio without the video: threads, encoders, the database.
    let small = user.accepted("small.mp4", audio.clone()).await;
    user.done(&small).await;
    let before = server.begin_peak();

    // After the audio, because the sample table counts from the start of the file.
    let size = big();
    let pieces = size.div_ceil(PIECE);
    let head = [audio.clone(), big_box(16 + pieces * PIECE)].concat();
    let zeros = Bytes::from(vec![0; PIECE as usize]);
    let body = stream::iter(std::iter::once(Bytes::from(head)))
        .chain(stream::iter((0..pieces).map(move |_| zeros.clone())))
        .map(Ok::<_, std::io::Error>);
    let id = user
        .accepted("big.mp4", reqwest::Body::wrap_stream(body))
        .await;
    let job = user.done(&id).await;
    assert!(job["bytes"].as_u64().unwrap() > size);
    assert!(user.mp3(&id).await == converted(&audio));
    let grown = server.peak().saturating_sub(before);
    println!("{size} bytes: {before} KiB before, {grown} KiB more at the peak");
    assert!(grown < GROWTH, "memory grew by {grown} KiB");
}
