//! Jobs: looked at, called off, tried again, removed.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use micropy_core::ports::jobs::{self, Filter, State as JobState, Topic};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::body::{JobId, Path, Query};
use super::problem::Problem;
use super::session::Session;
use super::view::JobView;
use crate::job::message::Body;
use crate::telemetry;

const PAGE: usize = 50;
const LONGEST_PAGE: usize = 500;

/// Which jobs.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Selection {
    /// Only these states, separated by commas.
    #[param(
        example = "queued,running",
        pattern = r"^(\s*(receiving|queued|running|done|failed|cancelled)\s*)?(,(\s*(receiving|queued|running|done|failed|cancelled)\s*)?)*$"
    )]
    state: Option<String>,
    /// Only this batch.
    #[param(pattern = "^[0-9a-fA-F]{24}$")]
    batch: Option<String>,
    /// Only jobs older than this one: `next` of the page before.
    #[param(pattern = "^[0-9a-fA-F]{24}$")]
    before: Option<String>,
    /// How many at most: 50, or up to 500.
    #[param(maximum = 65535)]
    limit: Option<u16>,
}

/// Jobs, newest first.
#[derive(Serialize, ToSchema)]
pub struct JobPage {
    jobs: Vec<JobView>,
    /// For `before`, where there are more.
    next: Option<String>,
}

impl Selection {
    fn filter(&self) -> Result<Filter, Problem> {
        let id = |text: &Option<String>| match text {
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| Problem::bad_request(format!("{text:?} is no id"))),
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

/// Your jobs, newest first.
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
    let limit = limit.clamp(1, LONGEST_PAGE);
    // One more than asked for tells whether there is another page.
    let mut jobs = gateway
        .ports
        .jobs
        .list(&session.email, &filter, limit + 1)
        .await?;
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let next = jobs.last().filter(|_| more).map(|job| job.id.to_string());
    Ok(Json(JobPage {
        jobs: jobs.into_iter().map(JobView::from).collect(),
        next,
    }))
}

/// A job.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(JobId),
    responses((status = 200, body = JobView), (status = 404, body = Problem))
)]
pub async fn show(
    State(gateway): State<Shared>,
    session: Session,
    Path(JobId { id }): Path<JobId>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(gateway.own_job(&session, &id).await?.into()))
}

/// Call a job off that has not ended.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs",
    params(JobId),
    responses(
        (status = 200, body = JobView),
        (status = 404, body = Problem),
        (status = 409, description = "It has ended", body = Problem),
    )
)]
pub async fn cancel(
    State(gateway): State<Shared>,
    session: Session,
    Path(JobId { id }): Path<JobId>,
) -> Result<Json<JobView>, Problem> {
    let job = gateway.own_job(&session, &id).await?;
    gateway.ports.jobs.cancel(job.id).await?;
    if job.state == JobState::Receiving {
        gateway.writers.stop(job.id).await;
        gateway.ports.videos.delete(job.source).await?;
    }
    Ok(Json(gateway.ports.jobs.get(job.id).await?.into()))
}

/// Try a job again that failed or was called off.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/retry", tag = "jobs",
    params(JobId),
    responses(
        (status = 200, body = JobView),
        (status = 404, description = "No such job, or its video is gone", body = Problem),
        (status = 409, description = "It has not ended, or is done", body = Problem),
    )
)]
pub async fn retry(
    State(gateway): State<Shared>,
    session: Session,
    Path(JobId { id }): Path<JobId>,
) -> Result<Json<JobView>, Problem> {
    let job = gateway.own_job(&session, &id).await?;
    gateway.ports.videos.head(job.source).await?;
    let publishing = telemetry::publishing(Topic::Video, job.id);
    let message = publishing.in_scope(|| Body::of(&job).asking());
    let owed = gateway.ports.jobs.retry(job.id, message).await?;
    gateway.ports.send_now_or_later(owed).await;
    Ok(Json(gateway.ports.jobs.get(job.id).await?.into()))
}

/// Remove a job with its video and its MP3; one that has not ended is called off.
#[utoipa::path(
    delete, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(JobId),
    responses((status = 204, description = "Removed"), (status = 404, body = Problem))
)]
pub async fn delete(
    State(gateway): State<Shared>,
    session: Session,
    Path(JobId { id }): Path<JobId>,
) -> Result<StatusCode, Problem> {
    let job = gateway.own_job(&session, &id).await?;
    gateway.writers.stop(job.id).await;
    gateway.ports.discard(job.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
