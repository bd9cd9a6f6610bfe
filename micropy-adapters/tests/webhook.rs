//! Webhooks over real connections: what an endpoint gets, and what is made of its answer.

#![cfg(feature = "webhook")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use micropy_adapters::notifier::webhook::WebhookNotifier;
use micropy_core::ports::conformance;
use micropy_core::ports::notifier::{Error, Notification, Notifier, SigningSecret};
use micropy_core::ports::time::{ManualClock, Timestamp};
use micropy_remote::Guard;

/// An endpoint that answers each request with `answer`: its URL, and the requests that it gets.
fn endpoint(answer: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?a=1", listener.local_addr().unwrap());
    let (tell, told) = channel();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = BufReader::new(connection.unwrap());
            let (mut request, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                connection.read_line(&mut line).unwrap();
                let lower = line.to_ascii_lowercase();
                if let Some(bytes) = lower.strip_prefix("content-length:") {
                    length = bytes.trim().parse().unwrap();
                }
                request += &line;
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            connection.read_exact(&mut body).unwrap();
            request += &String::from_utf8(body).unwrap();
            let _ = connection.get_mut().write_all(answer.as_bytes());
            if tell.send(request).is_err() {
                return;
            }
        }
    });
    (url, told)
}

fn news(to: &str) -> Notification {
    Notification {
        key: "65a1b2c3d4e5f60718293a4b".into(),
        to: to.into(),
        subject: "job.done".into(),
        text: r#"{"type":"job.done"}"#.into(),
        html: None,
        secret: Some(SigningSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
    }
}

fn notifier(allowed: &str) -> WebhookNotifier {
    let clock = ManualClock::new(Timestamp::from_millis(1_614_265_330_999));
    WebhookNotifier::new(allowed.parse().unwrap(), Arc::new(clock))
}

#[tokio::test]
async fn the_suite_of_its_port() {
    let (url, _requests) = endpoint("HTTP/1.1 204 No Content\r\n\r\n");
    conformance::notifier::run_with(&notifier("127.0.0.0/8"), news(&url)).await;
}

#[tokio::test]
async fn an_endpoint_gets_a_signed_message() {
    let (url, requests) = endpoint("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let sent = notifier("127.0.0.1").notify(&news(&url)).await;
    sent.unwrap();
    let request = requests.recv().unwrap();
    assert!(
        request.starts_with("POST /hook?a=1 HTTP/1.1\r\n"),
        "{request}"
    );
    for line in [
        "content-type: application/json",
        "webhook-id: 65a1b2c3d4e5f60718293a4b",
        "webhook-timestamp: 1614265330",
        "webhook-signature: v1,",
    ] {
        assert!(
            request.to_ascii_lowercase().contains(line),
            "{line}: {request}"
        );
    }
    assert!(
        request.ends_with("\r\n\r\n{\"type\":\"job.done\"}"),
        "{request}"
    );
}

#[tokio::test]
async fn an_answer_says_whether_to_try_again() {
    for (answer, passes, said) in [
        (
            "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
            true,
            "status 500",
        ),
        (
            "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
            true,
            "status 404",
        ),
        (
            "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
            false,
            "wants no more",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            true,
            "not followed",
        ),
        ("nonsense\r\n\r\n", true, ""),
    ] {
        let (url, _requests) = endpoint(answer);
        let refused = notifier("127.0.0.1").notify(&news(&url)).await.unwrap_err();
        assert!(refused.to_string().contains(said), "{answer}: {refused}");
        assert_eq!(
            matches!(refused, Error::Unavailable(_)),
            passes,
            "{refused:?}"
        );
    }
    let nowhere = notifier("127.0.0.1")
        .notify(&news("http://127.0.0.1:1/"))
        .await;
    assert!(matches!(nowhere, Err(Error::Unavailable(_))), "{nowhere:?}");
}

#[tokio::test]
async fn what_is_not_public_is_not_called() {
    let (url, requests) = endpoint("HTTP/1.1 204 No Content\r\n\r\n");
    let named = url.replace("127.0.0.1", "localhost");
    let mapped = url.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    for url in [
        &url,
        &named,
        &mapped,
        "file:///etc/passwd",
        "s3://bucket/key",
    ] {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let guarded = WebhookNotifier::new(Guard::new(), clock);
        let refused = guarded.notify(&news(url)).await;
        assert!(
            matches!(refused, Err(Error::Rejected(_))),
            "{url}: {refused:?}"
        );
    }
    assert!(requests.try_recv().is_err(), "nobody has connected");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_left() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let began = Instant::now();
    let patient = notifier("127.0.0.1").patience(Duration::from_secs(1));
    let left = patient.notify(&news(&url)).await;
    assert!(matches!(left, Err(Error::Unavailable(_))), "{left:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
}
