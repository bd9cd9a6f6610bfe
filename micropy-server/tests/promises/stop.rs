//! What SIGTERM does.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::Method;

use super::client::{Client, is_running};
use super::server::{Server, log_text};
use super::video::{converted, made};

/// Longer than the grace period of the service in these tests.
const PATIENCE: Duration = Duration::from_secs(6);
const GRACE: (&str, &str) = ("MICROPY_GRACE", "3s");

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_released_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let long = made(folder, 600);
    let server = Server::start(folder, &[GRACE]);
    let user = Client::register(&server.url).await;
    let id = user.accepted("long.mp4", long.clone()).await;
    user.wait(&id, is_running).await;
    assert!(server.terminate(PATIENCE).success(), "{}", log_text(folder));

    let server = Server::start(folder, &[]);
    let client = user.at(&server.url);
    let job = client.done(&id).await;
    assert_eq!(
        job["attempts"], 1,
        "an attempt that we broke off is none: {job}"
    );
    assert!(client.mp3(&id).await == converted(&long));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_beyond_the_grace_period_is_cut_off_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let video = made(folder, 20);
    let server = Server::start(folder, &[GRACE]);
    let user = Client::register(&server.url).await;
    let whole = user.accepted("whole.mp4", video.clone()).await;
    let created = user
        .request(Method::POST, "/api/v1/tus")
        .header("tus-resumable", "1.0.0")
        .header("upload-length", video.len())
        .send()
        .await
        .unwrap();
    let id = created.headers()["x-micropy-job-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/v1/tus/{id}");

    // Half of it at once, and then byte by byte, for far longer than the grace period.
    let half = video.len() / 2;
    let slow = stream::unfold((0, video.clone()), move |(at, video)| async move {
        let end = if at == 0 { half } else { at + 1 };
        if at > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let piece = Bytes::copy_from_slice(video.get(at..end)?);
        Some((Ok::<_, std::io::Error>(piece), (end, video)))
    });
    let patch = user
        .request(Method::PATCH, &path)
        .header("tus-resumable", "1.0.0")
        .header("upload-offset", 0)
        .header("content-type", "application/offset+octet-stream")
        .body(reqwest::Body::wrap_stream(slow));
    let patch = tokio::spawn(patch.send());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(server.terminate(PATIENCE).success(), "{}", log_text(folder));
    assert!(patch.await.unwrap().is_err(), "it was cut off");

    let server = Server::start(folder, &[]);
    let client = user.at(&server.url);
    let tus = |method| {
        client
            .request(method, &path)
            .header("tus-resumable", "1.0.0")
    };
    let head = tus(Method::HEAD).send().await.unwrap();
    let offset: usize = head.headers()["upload-offset"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        half <= offset && offset < video.len(),
        "{offset} of {}",
        video.len()
    );
    let rest = tus(Method::PATCH)
        .header("upload-offset", offset)
        .header("content-type", "application/offset+octet-stream")
        .body(video[offset..].to_vec());
    assert_eq!(rest.send().await.unwrap().status(), 204);
    let expected = converted(&video);
    for id in [&whole, &id] {
        client.done(id).await;
        assert!(client.mp3(id).await == expected, "job {id}");
    }
}
