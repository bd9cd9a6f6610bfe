//! A client of the service.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

pub const EMAIL: &str = "ann@example.com";
pub const PASSWORD: &str = "correct horse battery";

/// A user who has logged in.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pub url: String,
    token: String,
}

impl Client {
    /// Registers the user of these tests.
    pub async fn register(url: &str) -> Self {
        let http = reqwest::Client::new();
        let answer = http
            .post(format!("{url}/api/v1/auth/register"))
            .json(&json!({ "email": EMAIL, "password": PASSWORD }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 201);
        let answer: Value = answer.json().await.unwrap();
        Client {
            http,
            url: url.to_owned(),
            token: answer["token"].as_str().unwrap().to_owned(),
        }
    }

    /// The same user with the same token, at the address of a new process.
    pub fn at(&self, url: &str) -> Self {
        Client {
            http: reqwest::Client::new(),
            url: url.to_owned(),
            token: self.token.clone(),
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    /// Uploads a form. Returns the response, unless the server died.
    pub async fn upload(
        &self,
        name: &str,
        video: impl Into<reqwest::Body>,
    ) -> reqwest::Result<Response> {
        let part = reqwest::multipart::Part::stream(video.into()).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new().part("file", part);
        self.request(Method::POST, "/api/v1/uploads")
            .multipart(form)
            .send()
            .await
    }

    /// Uploads a video, which must be accepted. Returns the id of its job.
    pub async fn accepted(&self, name: &str, video: impl Into<reqwest::Body>) -> String {
        let answer = self.upload(name, video).await.unwrap();
        let status = answer.status();
        let told = answer.text().await.unwrap();
        assert_eq!(status, 201, "{told}");
        job_of(&serde_json::from_str(&told).unwrap()).unwrap()
    }

    pub async fn job(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/v1/jobs/{id}")).await;
        assert_eq!(answer.status(), 200, "job {id} is lost");
        answer.json().await.unwrap()
    }

    /// Waits until the job satisfies `condition`.
    pub async fn wait(&self, id: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let job = self.job(id).await;
            if condition(&job) {
                return job;
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "still {job}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn done(&self, id: &str) -> Value {
        let job = self.wait(id, is_over).await;
        assert_eq!(job["state"], "done", "{job}");
        job
    }

    /// The bytes of a job's MP3.
    pub async fn mp3(&self, id: &str) -> Vec<u8> {
        let answer = self.get(&format!("/api/v1/jobs/{id}/mp3")).await;
        assert_eq!(answer.status(), 200, "the MP3 of {id}");
        answer.bytes().await.unwrap().to_vec()
    }
}

/// The id of the job in the response to an upload of one file.
pub fn job_of(answer: &Value) -> Option<String> {
    Some(answer["files"][0]["job"]["id"].as_str()?.to_owned())
}

pub fn is_over(job: &Value) -> bool {
    ["done", "failed", "cancelled"]
        .iter()
        .any(|state| job["state"] == *state)
}

pub fn is_running(job: &Value) -> bool {
    job["state"] == "running"
}
