//! Videos behind URLs.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use micropy_core::ports::jobs::{Job, State as JobState};
use micropy_core::ports::origins::Error;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::Shared;
use super::body;
use super::problem::Problem;
use super::session::Session;
use super::uploads::{clean_name, idempotency_key};
use super::view::JobView;
use super::webhooks::check_url;
use crate::job::intake::{Submission, fingerprint, to_the_end};
use crate::job::options::ConversionOptions;

/// The video to be converted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// Where it is: `http` or `https`, at a public address, on a server that sends ranges.
    #[schema(example = "https://example.com/talk.mp4", max_length = 2000)]
    url: String,
    /// How to convert it.
    #[serde(default, deserialize_with = "of_object")]
    options: ConversionOptions,
    /// A URL that is called when the job is done or has failed: the same as the option.
    #[schema(example = "https://example.com/orders/7", max_length = 2000)]
    webhook: Option<String>,
    /// What to call it. The default is its name in the URL.
    #[schema(max_length = 255)]
    file_name: Option<String>,
}

/// Options from an object alone: a struct is read from an array as well.
fn of_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ConversionOptions, D::Error> {
    let object = serde_json::Map::deserialize(deserializer)?;
    ConversionOptions::deserialize(serde_json::Value::Object(object)).map_err(D::Error::custom)
}

/// Convert a video behind a URL.
///
/// It is read by ranges when its turn comes, and only the audio's bytes are. It takes no room in your storage; its MP3
/// does. With an `Idempotency-Key`, a repeated request gets the job of the first one.
#[utoipa::path(
    post, path = "/api/v1/imports", tag = "uploads", operation_id = "import",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Identifies a repeated request", min_length = 1, max_length = 200),
    ),
    request_body = Import,
    responses(
        (status = 201, description = "A job, which is durable", body = JobView),
        (status = 400, description = "Not JSON, an unusable URL, or contradictory options", body = Problem),
        (status = 403, description = "The quota is used up, or the token does not have the scope", body = Problem),
        body::JsonProblems,
        (status = 501, description = "This service imports nothing", body = Problem),
        (status = 503, description = "Nothing was accepted; see Retry-After", body = Problem),
    )
)]
pub async fn import(
    State(gateway): State<Shared>,
    session: Session,
    headers: HeaderMap,
    body::Json(wanted): body::Json<Import>,
) -> Result<Response, Problem> {
    gateway.check_confirmed(&session)?;
    gateway.check_stores().await?;
    let Some(origins) = &gateway.ports.origins else {
        let detail = "This service imports no videos from URLs.";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail));
    };
    check_url(&wanted.url).map_err(|why| Problem::bad_request(format!("url: {why}")))?;
    let named = origins.file_name(&wanted.url).map_err(|e| match e {
        Error::Unavailable(e) => Problem::unavailable(&e),
        e => Problem::bad_request(format!("url: {e}")),
    })?;
    let mut options = wanted.options;
    if wanted.webhook.is_some() && options.webhook.is_some() {
        let detail = "webhook: it is named twice, also among the options";
        return Err(Problem::bad_request(detail));
    }
    options.webhook = wanted.webhook.or(options.webhook);
    options.engine_options().map_err(Problem::bad_request)?;
    if options.join == Some(true) {
        let detail = "join: one URL is one video";
        return Err(Problem::bad_request(detail));
    }
    gateway.check_webhook(&session, &options).await?;
    let name = wanted.file_name.or(named);
    let submission = Submission {
        owner: session.email.clone(),
        key: idempotency_key(&headers)?,
        batch: Some(gateway.ports.new_id()),
        file_name: clean_name(name.as_deref().unwrap_or("video.mp4")),
        options: options.to_json(),
    };
    let mut job = Job {
        origin: Some(wanted.url),
        state: JobState::Queued,
        ..gateway.ports.draft(submission)
    };
    let content = job.origin.as_deref().unwrap_or_default();
    job.fingerprint = job
        .key
        .is_some()
        .then(|| fingerprint(&job, content.as_bytes()));
    let working = gateway.clone();
    // What is accepted is a job, also when the client goes away.
    let submitted = to_the_end(async move {
        let submitting = working.ports.submit(job.clone());
        working.admit(&session, &job, None, submitting).await
    });
    let job = submitted.await?;
    Ok((StatusCode::CREATED, Json(gateway.view(job).await)).into_response())
}
