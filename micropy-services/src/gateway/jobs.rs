//! Jobs: list, show, cancel, retry, delete.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use micropy_core::ports::Id;
use micropy_core::ports::jobs::{self, Filter, State as JobState};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::body::{JobId, Query};
use super::problem::Problem;
use super::session::{OwnJob, Session};
use super::view::JobView;
use super::{Gateway, Shared};
use crate::job::intake::{IntakeError, STEP};
use crate::job::message::Body;
use crate::{http, telemetry};

/// Jobs on a page of a list, or deliveries, unless the client asks for more or fewer.
pub(super) const PAGE: usize = 50;
pub(super) const MAX_PAGE: usize = 500;
/// Bytes of a page: what is beyond them is on the next one, whatever the client asks for.
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// The jobs to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Selection {
    /// Only jobs in these states, separated by commas.
    #[param(
        example = "queued,running",
        pattern = r"^(\s*(receiving|queued|running|done|failed|cancelled)\s*)?(,(\s*(receiving|queued|running|done|failed|cancelled)\s*)?)*$"
    )]
    state: Option<String>,
    /// Only jobs of this batch.
    #[param(pattern = "^[0-9a-fA-F]{24}$")]
    batch: Option<String>,
    /// Only jobs older than this one: the `next` of the previous page.
    #[param(pattern = "^[0-9a-fA-F]{24}$")]
    before: Option<String>,
    /// How many at most, up to 500. The default is 50. Where they would be more than a megabyte, there are fewer.
    #[param(maximum = 65535)]
    limit: Option<u16>,
}

/// A page of jobs, newest first.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it describes in the document what is written job by job"
)]
struct JobPage {
    jobs: Vec<JobView>,
    /// The `before` of the next page, if there is one.
    next: Option<String>,
}

impl Selection {
    fn filter(&self) -> Result<Filter, Problem> {
        let id = |text: &Option<String>| match text {
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| Problem::bad_request(format!("{text:?} is not an id"))),
            None => Ok(None),
        };
        let names = self.state.iter().flat_map(|states| states.split(','));
        let states = names
            .filter(|name| !name.is_empty())
            .map(|name| name.trim().parse());
        Ok(Filter {
            states: states
                .collect::<Result<_, jobs::NotAState>>()
                .map_err(|e| Problem::bad_request(e.to_string()))?,
            batch: id(&self.batch)?,
            before: id(&self.before)?,
        })
    }
}

/// List your jobs, newest first.
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "jobs",
    params(Selection),
    responses((status = 200, body = JobPage), (status = 400, body = Problem))
)]
pub async fn list(
    State(gateway): State<Shared>,
    session: Session,
    Query(selection): Query<Selection>,
) -> Result<Response, Problem> {
    let filter = selection.filter()?;
    let limit = selection.limit.map_or(PAGE, usize::from);
    let limit = limit.clamp(1, MAX_PAGE);
    let turn = gateway.readers.wait(session.email.clone()).await;
    let mut page = String::from("{\"jobs\":[");
    let next = gateway
        .write_jobs(&mut page, &session.email, filter, limit, PAGE_BYTES)
        .await?;
    let next = serde_json::json!(next.map(|id| id.to_string()));
    page += &format!("],\"next\":{next}}}");
    let body = http::hold_text(page, turn);
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Show a job.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(JobId),
    responses((status = 200, body = JobView), (status = 404, body = Problem))
)]
pub async fn show(State(gateway): State<Shared>, OwnJob(job): OwnJob) -> Json<JobView> {
    Json(gateway.view(job).await)
}

/// Cancel a job that is not finished.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs",
    params(JobId),
    responses(
        (status = 200, body = JobView),
        (status = 404, body = Problem),
        (status = 409, description = "It is finished", body = Problem),
    )
)]
pub async fn cancel(
    State(gateway): State<Shared>,
    OwnJob(job): OwnJob,
) -> Result<Json<JobView>, Problem> {
    gateway.ports.jobs.cancel(job.id).await?;
    gateway.count_voided(&job);
    if job.state == JobState::Receiving {
        gateway.writers.interrupt(job.id).await;
        gateway.ports.videos.delete(job.source).await?;
    }
    let job = gateway.ports.jobs.get(job.id).await?;
    Ok(Json(gateway.view(job).await))
}

/// Retry a job that failed or was cancelled.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/retry", tag = "jobs",
    params(JobId),
    responses(
        (status = 200, body = JobView),
        (status = 404, description = "No such job, or its video is gone", body = Problem),
        (status = 409, description = "It is not finished, or it succeeded", body = Problem),
        (status = 429, description = "You have cancelled too many jobs; see Retry-After", body = Problem),
    )
)]
pub async fn retry(
    State(gateway): State<Shared>,
    session: Session,
    OwnJob(job): OwnJob,
) -> Result<Json<JobView>, Problem> {
    gateway.check_confirmed(&session)?;
    gateway.check_pace(&session)?;
    if job.origin.is_none() {
        gateway.ports.videos.head(job.source).await?;
    }
    let publishing = telemetry::publishing(job.request_topic(), job.id);
    let message = publishing.in_scope(|| Body::another_request(&job));
    let owed = gateway.ports.jobs.retry(job.id, message).await?;
    gateway.ports.try_send(owed).await;
    let job = gateway.ports.jobs.get(job.id).await?;
    Ok(Json(gateway.view(job).await))
}

impl Gateway {
    /// Appends a user's jobs to a part of a JSON array: up to `limit`, or until the text has so many bytes. Returns the
    /// last one's id where there are more.
    pub(super) async fn write_jobs(
        &self,
        text: &mut String,
        owner: &str,
        mut filter: Filter,
        limit: usize,
        bytes: usize,
    ) -> Result<Option<Id>, jobs::Error> {
        let mut written = 0;
        loop {
            let step = STEP.min(limit - written);
            // One more tells whether there is another page.
            let jobs = self.ports.jobs.list(owner, &filter, step + 1).await?;
            let mut jobs = jobs.into_iter();
            for job in jobs.by_ref().take(step) {
                filter.before = Some(job.id);
                if !text.ends_with('[') {
                    text.push(',');
                }
                // Plain structs always serialise.
                let view = serde_json::to_string(&self.view(job).await);
                *text += &view.unwrap_or_else(|e| unreachable!("{e}"));
                written += 1;
                if text.len() >= bytes {
                    break;
                }
            }
            if jobs.as_slice().is_empty() {
                return Ok(None);
            }
            if written == limit || text.len() >= bytes {
                return Ok(filter.before);
            }
        }
    }

    /// Deletes all jobs of a user with their files.
    pub async fn remove_all_jobs(&self, owner: &str) -> Result<(), Problem> {
        loop {
            let jobs = self
                .ports
                .jobs
                .list(owner, &Filter::default(), STEP)
                .await?;
            if jobs.is_empty() {
                return Ok(());
            }
            for job in jobs {
                self.writers.interrupt(job.id).await;
                match self.ports.remove(job.id).await {
                    // Another request has removed it.
                    Ok(()) | Err(IntakeError::Jobs(jobs::Error::NotFound)) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
    }
}

/// Delete a job with its video, its MP3, and what was sent about it. A job that is not finished is cancelled.
#[utoipa::path(
    delete, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(JobId),
    responses((status = 204, description = "Deleted"), (status = 404, body = Problem))
)]
pub async fn delete(
    State(gateway): State<Shared>,
    OwnJob(job): OwnJob,
) -> Result<StatusCode, Problem> {
    gateway.writers.interrupt(job.id).await;
    gateway.ports.remove(job.id).await?;
    gateway.count_voided(&job);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::http::Request;
    use axum::http::header::AUTHORIZATION;
    use micropy_core::ports::auth::Change;
    use micropy_core::ports::jobs::{Job, Output};
    use micropy_core::ports::memory::MemoryAuth;
    use micropy_core::ports::storage::{Label, StorageExt as _};
    use micropy_core::ports::time::{ManualClock, Timestamp};
    use micropy_core::ports::{Auth as _, Clock as _};
    use tower::ServiceExt as _;

    use super::*;
    use crate::Ports;
    use crate::accounts::{Accounts as _, Credentials, LocalAccounts, Secret};

    const ANN: &str = "ann@example.com";

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_many_pages_waits_for_their_own_and_others_do_not() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let ports = Ports::in_memory(clock.clone());
        let users = Arc::new(MemoryAuth::default());
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let accounts = Arc::new(LocalAccounts::new(users, clock, &secret));
        let gateway = Gateway::new(ports, accounts.clone());
        let token = async |email: &str| {
            let account = Credentials {
                email: email.to_owned(),
                password: "correct horse".to_owned(),
            };
            let token = accounts.register(account, [192, 0, 2, 1].into()).await;
            token.unwrap()
        };
        let (ann, bob) = (token(ANN).await, token("bob@example.com").await);
        let listed = async |token: &str, path: &str| {
            let request = Request::get(path)
                .header(AUTHORIZATION, format!("Bearer {token}"))
                .body(Body::empty());
            let read = async {
                let response = gateway.router().oneshot(request.unwrap()).await.unwrap();
                axum::body::to_bytes(response.into_body(), 1 << 20).await
            };
            let minute = std::time::Duration::from_secs(60);
            tokio::time::timeout(minute, read).await.is_ok()
        };
        let paths = ["/api/v1/jobs", "/api/v1/auth/export", "/api/v1/archive"];
        let mut busy = Vec::new();
        let wait = || gateway.readers.wait(ANN.to_owned());
        let second = std::time::Duration::from_secs(1);
        while let Ok(turn) = tokio::time::timeout(second, wait()).await {
            busy.push(turn);
        }
        for path in paths {
            assert!(!listed(&ann, path).await, "{path}");
            assert!(listed(&bob, path).await, "{path}");
        }
        busy.clear();
        for path in paths {
            assert!(listed(&ann, path).await, "{path}");
        }
    }

    /// A gateway where Ann has so many jobs, each with a report as large as one may be, and her token.
    async fn with_large_reports(count: u32) -> (Gateway, String) {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let ports = Ports::in_memory(clock.clone());
        let warnings = vec!["w".repeat(240); 50];
        let report = serde_json::json!({"codec": "aac", "warnings": warnings}).to_string();
        for n in 1..=count {
            let id = |kind: u8| {
                let mut id = [kind; 12];
                id[..4].copy_from_slice(&n.to_be_bytes());
                Id::from_bytes(id)
            };
            let output = Output {
                mp3: id(3),
                bytes: 1,
                report: report.clone(),
            };
            let job = Job {
                state: JobState::Done,
                output: Some(output),
                ..Job::new(id(1), ANN, id(2), ports.clock.now())
            };
            ports.jobs.create(&job, None).await.unwrap();
        }
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let users = Arc::new(MemoryAuth::default());
        let accounts = Arc::new(LocalAccounts::new(users, clock, &secret));
        let account = Credentials {
            email: ANN.to_owned(),
            password: "correct horse".to_owned(),
        };
        let token = accounts.register(account, [192, 0, 2, 1].into()).await;
        (Gateway::new(ports, accounts), token.unwrap())
    }

    async fn get(gateway: &Gateway, token: &str, path: &str) -> Response {
        let request = Request::get(path).header(AUTHORIZATION, format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        gateway.router().oneshot(request).await.unwrap()
    }

    async fn json(response: Response) -> serde_json::Value {
        let read = axum::body::to_bytes(response.into_body(), usize::MAX);
        serde_json::from_slice(&read.await.unwrap()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn lists_of_a_user_whose_client_reads_slowly_are_few_and_small() {
        let (gateway, token) = with_large_reports(300).await;
        let list = || get(&gateway, &token, "/api/v1/jobs?limit=500");
        let minute = std::time::Duration::from_secs(60);
        let mut unread = Vec::new();
        while let Ok(response) = tokio::time::timeout(minute, list()).await {
            let bytes = axum::body::HttpBody::size_hint(response.body()).exact();
            assert!(bytes.unwrap() < PAGE_BYTES as u64 + (32 << 10), "{bytes:?}");
            unread.push(response);
            assert!(unread.len() <= 2, "at a time");
        }
        assert_eq!(unread.len(), 2);
        unread.pop();
        assert_eq!(list().await.status(), StatusCode::OK, "one was dropped");
    }

    #[tokio::test]
    async fn what_is_too_much_for_a_page_is_on_the_next() {
        let (gateway, token) = with_large_reports(300).await;
        let (mut seen, mut pages) = (Vec::new(), 0);
        let mut path = "/api/v1/jobs?limit=500".to_owned();
        loop {
            let page = json(get(&gateway, &token, &path).await).await;
            let ids = page["jobs"].as_array().unwrap().iter();
            seen.extend(ids.map(|job| job["id"].as_str().unwrap().to_owned()));
            pages += 1;
            match page["next"].as_str() {
                Some(next) => path = format!("/api/v1/jobs?limit=500&before={next}"),
                None => break,
            }
        }
        assert!(pages > 3, "{pages}");
        assert_eq!(seen.len(), 300);
        assert!(seen.is_sorted_by(|later, earlier| later > earlier));
        let page = json(get(&gateway, &token, "/api/v1/jobs?limit=3").await).await;
        assert_eq!(page["jobs"].as_array().unwrap().len(), 3);
        assert_eq!(page["next"], page["jobs"][2]["id"]);
    }

    #[tokio::test]
    async fn an_export_is_a_download_and_is_made_in_small_pieces() {
        let (gateway, token) = with_large_reports(120).await;
        let export = || get(&gateway, &token, "/api/v1/auth/export");
        let response = export().await;
        let mut body = response.into_body().into_data_stream();
        let mut whole = Vec::new();
        while let Some(piece) = futures_util::StreamExt::next(&mut body).await {
            let piece = piece.unwrap();
            assert!(piece.len() < 96 << 10, "{}", piece.len());
            whole.extend_from_slice(&piece);
        }
        drop(body);
        let exported: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(exported["email"], ANN);
        assert_eq!(exported["jobs"].as_array().unwrap().len(), 120);
        let mut unread = Vec::new();
        loop {
            let response = export().await;
            match response.status() {
                StatusCode::OK => unread.push(response),
                refused => break assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS),
            }
        }
        assert!(unread.len() <= 32, "{}", unread.len());
        let (gateway, token) = with_large_reports(0).await;
        let exported = json(get(&gateway, &token, "/api/v1/auth/export").await).await;
        assert_eq!(exported["jobs"], serde_json::json!([]));
        assert_eq!(exported["deliveries"], serde_json::json!([]));
    }

    #[tokio::test]
    async fn who_makes_thousands_of_requests_void_may_not_make_more_for_a_while() {
        let (gateway, token) = with_large_reports(0).await;
        let post = async |path: String| {
            let request = Request::post(path).header(AUTHORIZATION, format!("Bearer {token}"));
            let request = request.body(Body::empty()).unwrap();
            gateway.router().oneshot(request).await.unwrap()
        };
        let ports = &gateway.ports;
        let job = ports.draft(crate::job::intake::Submission {
            owner: ANN.to_owned(),
            key: None,
            batch: None,
            file_name: "a.mp4".to_owned(),
            options: "{}".to_owned(),
        });
        let video = futures_util::stream::iter([Ok(bytes::Bytes::from_static(b"0123456789"))]);
        let label = Label::default();
        let stored = ports.videos.put(job.source, &label, Box::pin(video));
        stored.await.unwrap();
        let job = Job {
            state: JobState::Queued,
            ..job
        };
        let id = ports.submit(job).await.unwrap().id;
        // Most have been counted already.
        for _ in 5..super::super::quota::VOIDED {
            let counted = gateway.voided.take_of(ANN, ports.clock.now());
            counted.unwrap();
        }
        let mut pairs = 0;
        let refused = loop {
            let cancelled = post(format!("/api/v1/jobs/{id}/cancel")).await;
            assert_eq!(
                cancelled.status(),
                StatusCode::OK,
                "nobody is kept from that"
            );
            let retried = post(format!("/api/v1/jobs/{id}/retry")).await;
            match retried.status() {
                StatusCode::OK => pairs += 1,
                _ => break retried,
            }
            assert!(pairs < 5);
        };
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(pairs, 4);
        let request = Request::post("/api/v1/tus")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header("tus-resumable", "1.0.0")
            .header("upload-length", "10");
        let request = request.body(Body::empty()).unwrap();
        let upload = gateway.router().oneshot(request).await.unwrap();
        assert_eq!(upload.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(get(&gateway, &token, "/api/v1/jobs").await.status(), 200);
    }

    #[tokio::test]
    async fn nothing_is_retried_for_an_address_that_is_not_confirmed() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let ports = Ports::in_memory(clock.clone());
        let [id, video] = [1, 2].map(|byte| Id::from_bytes([byte; 12]));
        let job = Job::new(id, ANN, video, ports.clock.now());
        ports.jobs.create(&job, None).await.unwrap();
        let users = Arc::new(MemoryAuth::default());
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let accounts = || {
            let accounts = LocalAccounts::new(users.clone(), clock.clone(), &secret);
            Arc::new(accounts.require_confirmation(true))
        };
        let ann = Credentials {
            email: ANN.to_owned(),
            password: "correct horse".to_owned(),
        };
        let token = accounts().register(ann, [192, 0, 2, 1].into()).await;
        let token = token.unwrap();
        let retry = async || {
            let request = Request::post(format!("/api/v1/jobs/{id}/retry"))
                .header(AUTHORIZATION, format!("Bearer {token}"))
                .body(Body::empty());
            let router = Gateway::new(ports.clone(), accounts()).router();
            router.oneshot(request.unwrap()).await.unwrap().status()
        };
        assert_eq!(retry().await, 403);
        let (confirmed, now) = (Change::Verified(true), clock.now());
        users.change(ANN, confirmed, now).await.unwrap();
        assert_eq!(retry().await, 404, "its video is gone");
    }
}
