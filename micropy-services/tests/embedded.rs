//! Runs the example `embedded`: the services as a part of another application, nested under `/audio`.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::header::{LOCATION, SET_COOKIE};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// How long a conversion of two seconds of audio may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Application {
    process: Child,
    url: String,
}

impl Application {
    fn start() -> Self {
        let test = std::env::current_exe().unwrap();
        let target = test.parent().unwrap().parent().unwrap();
        let program = target.join("examples/embedded");
        let mut process = Command::new(&program)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}: build the examples", program.display()));
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        Application {
            process,
            url: line.trim().to_owned(),
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn json(request: RequestBuilder, status: StatusCode) -> Value {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), status);
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_nested_gateway_converts_and_its_urls_lead_back_to_it() {
    let application = Application::start();
    let at = |path: &str| format!("{}{path}", application.url);
    let http = Client::new();
    let home = http.get(at("/")).send().await.unwrap();
    assert_eq!(home.text().await.unwrap(), "This is my application.\n");

    let account = json!({"email": "ann@example.com", "password": "correct horse"});
    let register = http.post(at("/audio/api/v1/auth/register")).json(&account);
    let response = register.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("Path=/audio/;"), "{cookie}");
    let user: Value = response.json().await.unwrap();
    let token = user["token"].as_str().unwrap();

    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../micropy-core/tests/media");
    let video = std::fs::read(media.join("moov-last-stereo-44100.mp4")).unwrap();
    let form = Form::new().part("file", Part::bytes(video).file_name("talk.mp4"));
    let upload = http.post(at("/audio/api/v1/uploads")).multipart(form);
    let uploaded = json(upload.bearer_auth(token), StatusCode::CREATED).await;
    let id = uploaded["files"][0]["job"]["id"].as_str().unwrap();
    let start = Instant::now();
    let job = loop {
        let request = http.get(at(&format!("/audio/api/v1/jobs/{id}")));
        let job = json(request.bearer_auth(token), StatusCode::OK).await;
        match job["state"].as_str().unwrap() {
            "queued" | "running" => assert!(start.elapsed() < PATIENCE, "{job}"),
            _ => break job,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(job["state"], "done", "{job}");

    let url = job["mp3"]["url"].as_str().unwrap();
    assert!(url.starts_with("/audio/api/v1/jobs/"), "{url}");
    let response = http.get(at(url)).bearer_auth(token).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mp3 = response.bytes().await.unwrap();
    assert_eq!(Some(mp3.len() as u64), job["mp3"]["bytes"].as_u64());
    assert!(mp3.starts_with(b"ID3"), "{:?}", &mp3[..10]);

    let url = job["mp3"]["peaks"].as_str().unwrap();
    assert_eq!(url, format!("/audio/api/v1/jobs/{id}/peaks"));
    let peaks = json(http.get(at(url)).bearer_auth(token), StatusCode::OK).await;
    assert_eq!(peaks["sample_rate"], 44_100);
    let (length, data) = (peaks["length"].as_u64(), peaks["data"].as_array());
    assert_eq!(
        length.map(|length| 2 * length),
        data.map(|data| data.len() as u64)
    );
    assert!(length > Some(700), "{length:?}");

    let create = http.post(at("/audio/api/v1/tus")).bearer_auth(token);
    let create = create.header("tus-resumable", "1.0.0");
    let created = create.header("upload-length", "1000").send().await.unwrap();
    assert_eq!(created.status(), StatusCode::CREATED);
    let location = created.headers()[LOCATION].to_str().unwrap();
    let head = http.head(at(location)).bearer_auth(token);
    let head = head.header("tus-resumable", "1.0.0").send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK, "{location}");
    assert_eq!(head.headers()["upload-offset"], "0");

    let initializer = http.get(at("/audio/api/docs/swagger-initializer.js"));
    let initializer = initializer.send().await.unwrap().text().await.unwrap();
    assert!(
        initializer.contains("/audio/api/v1/openapi.json"),
        "{initializer}"
    );
    let document = json(http.get(at("/audio/api/v1/openapi.json")), StatusCode::OK).await;
    assert_eq!(document["servers"][0]["url"], "/audio");
}
