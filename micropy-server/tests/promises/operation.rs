//! What operators rely on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Client, EMAIL};
use super::kill::wait_for_count;
use super::server::{Server, log_text, micropy};
use super::video::made;

#[tokio::test(flavor = "multi_thread")]
async fn probes_metrics_and_logs_report_a_job() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &[]);
    let user = Client::register(&server.url).await;
    let health = Server::health_url(folder);
    for probe in ["/healthz", "/readyz"] {
        let answer = reqwest::get(format!("{health}{probe}")).await.unwrap();
        assert_eq!(answer.status(), 200, "{probe}");
    }
    let id = user.accepted("good.mp4", made(folder, 5)).await;
    user.done(&id).await;
    user.wait(&id, |job| !job["mailed"].is_null()).await;
    let broken = [&8_u32.to_be_bytes()[..], b"ftyp"].concat();
    let bad = user.accepted("bad.mp4", broken).await;
    let bad = user.wait(&bad, super::client::is_over).await;
    assert_eq!(bad["state"], "failed");

    let metrics = reqwest::get(format!("{health}/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        "micropy_jobs_total{outcome=\"done\"} 1",
        "micropy_jobs_total{outcome=\"failed\"} 1",
        "micropy_job_duration_seconds_count 2",
        "micropy_queue_oldest_seconds 0.0",
        "micropy_realtime_factor_count 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in\n{metrics}");
    }

    let log = log_text(folder);
    let logged: Vec<(String, String)> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect(line))
        .filter(|line| line["job_id"] == *id)
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            (text("target"), text("message"))
        })
        .collect();
    for service in ["gateway", "converter", "notification"] {
        let found = logged.iter().any(|(target, _)| target.contains(service));
        assert!(found, "{service} logs the job: {logged:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_jobs_and_their_files_are_removed_after_their_retention() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &[]);
    let user = Client::register(&server.url).await;
    let id = user.accepted("good.mp4", made(folder, 2)).await;
    user.done(&id).await;
    // Whoever is killed keeps the sweeper's lease for a while.
    server.terminate(Duration::from_secs(30));
    let server = Server::start(folder, &[("MICROPY_RETENTION", "1ms")]);
    for kind in ["videos", "mp3s"] {
        wait_for_count(&folder.join("data").join(kind).join("whole"), 0).await;
    }
    let path = format!("/api/v1/jobs/{id}");
    assert_eq!(user.at(&server.url).get(&path).await.status(), 404);
}

/// Sends the beginning of a request. Returns how long the server waits before it closes the connection.
fn stall(url: &str, request: &str) -> Duration {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(15)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    if let Err(e) = stream.read_to_end(&mut answer) {
        let kind = e.kind();
        assert_eq!(
            kind,
            std::io::ErrorKind::ConnectionReset,
            "not cut off: {request}"
        );
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stall_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let limits = [
        ("MICROPY_HEADER_TIMEOUT", "1s"),
        ("MICROPY_BODY_TIMEOUT", "1s"),
    ];
    let server = Server::start(folder.path(), &limits);
    for request in [
        "",
        "GET /healthz HTTP/1.1\r\nhost: x\r\n",
        "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: 99\r\n\r\n{",
    ] {
        let url = server.url.clone();
        let took = tokio::task::spawn_blocking(move || stall(&url, request));
        let took = took.await.unwrap();
        assert!(took < Duration::from_secs(5), "{took:?} for {request:?}");
    }
}

fn user(folder: &Path, args: &[&str], password: &str) -> Output {
    let mut child = micropy()
        .args(["user", "--data-dir"])
        .arg(folder.join("data"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(password.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_managed_while_the_service_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &[]);
    let login = async |password: &str| {
        let account = serde_json::json!({ "email": EMAIL, "password": password });
        let url = format!("{}/api/v1/auth/login", server.url);
        let answer = reqwest::Client::new().post(url).json(&account).send().await;
        answer.unwrap().status().as_u16()
    };
    assert_eq!(login("first password").await, 401);
    assert!(
        user(
            folder,
            &["add", EMAIL, "--password-stdin"],
            "first password\n"
        )
        .status
        .success()
    );
    assert_eq!(login("first password").await, 200);
    let twice = user(
        folder,
        &["add", EMAIL, "--password-stdin"],
        "first password\n",
    );
    assert!(!twice.status.success());
    assert!(
        user(
            folder,
            &["passwd", EMAIL, "--password-stdin"],
            "second password"
        )
        .status
        .success()
    );
    assert_eq!(
        (
            login("first password").await,
            login("second password").await
        ),
        (401, 200)
    );
    assert_eq!(
        user(folder, &["list"], "").stdout,
        format!("{EMAIL}\n").into_bytes()
    );
    let nobody = user(
        folder,
        &["passwd", "bob@example.com", "--password-stdin"],
        "some password",
    );
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no user bob@example.com"));
}

#[test]
fn secrets_are_read_from_files_and_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let secret = "0123456789abcdef0123456789abcdef";
    let serve = |args: &[&str]| {
        micropy()
            .arg("serve")
            .args(args)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .env("JWT_SECRET_FILE", &path)
            .output()
            .unwrap()
    };
    std::fs::write(&path, format!("{secret}\n")).unwrap();
    let printed = serve(&["--print-config"]);
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(
        printed.contains("jwt_secret") && !printed.contains(secret),
        "{printed}"
    );
    std::fs::write(&path, "weak").unwrap();
    let refused = serve(&["--listen", "0.0.0.0:0"]);
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && why.contains("has 4 bytes"),
        "{why}"
    );
}
