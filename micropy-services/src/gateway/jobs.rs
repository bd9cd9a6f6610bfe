//! Jobs: list, show, cancel, retry, delete.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use micropy_core::ports::jobs::{self, Filter, State as JobState, Topic};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::{JobId, Query};
use super::problem::Problem;
use super::session::{OwnJob, Session};
use super::view::JobView;
use super::{Gateway, Shared};
use crate::job::intake::IntakeError;
use crate::job::message::Body;
use crate::telemetry;

/// Jobs on a page, unless the client asks for more or fewer.
const PAGE: usize = 50;
const MAX_PAGE: usize = 500;

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
    /// How many at most, up to 500. The default is 50.
    #[param(maximum = 65535)]
    limit: Option<u16>,
}

/// A page of jobs, newest first.
#[derive(Serialize, ToSchema)]
pub struct JobPage {
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
) -> Result<Json<JobPage>, Problem> {
    let filter = selection.filter()?;
    let limit = selection.limit.map_or(PAGE, usize::from);
    let limit = limit.clamp(1, MAX_PAGE);
    let _turn = gateway.readers.wait(session.email.clone()).await;
    // One more job tells whether there is another page.
    let mut jobs = gateway
        .ports
        .jobs
        .list(&session.email, &filter, limit + 1)
        .await?;
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let next = jobs.last().filter(|_| more).map(|job| job.id.to_string());
    Ok(Json(JobPage {
        jobs: jobs.into_iter().map(|job| gateway.view(job)).collect(),
        next,
    }))
}

/// Show a job.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(JobId),
    responses((status = 200, body = JobView), (status = 404, body = Problem))
)]
pub async fn show(State(gateway): State<Shared>, OwnJob(job): OwnJob) -> Json<JobView> {
    Json(gateway.view(job))
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
    if job.state == JobState::Receiving {
        gateway.writers.interrupt(job.id).await;
        gateway.ports.videos.delete(job.source).await?;
    }
    Ok(Json(gateway.view(gateway.ports.jobs.get(job.id).await?)))
}

/// Retry a job that failed or was cancelled.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/retry", tag = "jobs",
    params(JobId),
    responses(
        (status = 200, body = JobView),
        (status = 404, description = "No such job, or its video is gone", body = Problem),
        (status = 409, description = "It is not finished, or it succeeded", body = Problem),
    )
)]
pub async fn retry(
    State(gateway): State<Shared>,
    session: Session,
    OwnJob(job): OwnJob,
) -> Result<Json<JobView>, Problem> {
    gateway.check_confirmed(&session)?;
    gateway.ports.videos.head(job.source).await?;
    let publishing = telemetry::publishing(Topic::Video, job.id);
    let message = publishing.in_scope(|| Body::of(&job).another_request());
    let owed = gateway.ports.jobs.retry(job.id, message).await?;
    gateway.ports.try_send(owed).await;
    Ok(Json(gateway.view(gateway.ports.jobs.get(job.id).await?)))
}

impl Gateway {
    /// Deletes all jobs of a user with their files.
    pub async fn remove_all_jobs(&self, owner: &str) -> Result<(), Problem> {
        loop {
            let jobs = self
                .ports
                .jobs
                .list(owner, &Filter::default(), MAX_PAGE)
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

/// Delete a job with its video and its MP3. A job that is not finished is cancelled.
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
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::http::Request;
    use axum::http::header::AUTHORIZATION;
    use micropy_core::ports::auth::Change;
    use micropy_core::ports::jobs::Job;
    use micropy_core::ports::memory::MemoryAuth;
    use micropy_core::ports::time::{ManualClock, Timestamp};
    use micropy_core::ports::{Auth as _, Clock as _, Id};
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
