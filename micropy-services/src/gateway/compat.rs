//! The routes of the original gateway, in its words.

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::http::header::{ACCEPT, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use micropy_core::ports::jobs::{self, Job};
use serde::Deserialize;

use super::problem::Problem;
use super::session::CompatSession;
use super::uploads::{Form, Taken, Uploaded};
use super::{Shared, download};
use crate::job::options::Conversion;
use crate::job::product::Product;

const JOB_ID: HeaderName = HeaderName::from_static("x-micropy-job-id");

/// `POST /upload`: files under any field names; `success!` when all of them are taken.
pub async fn upload(
    State(gateway): State<Shared>,
    CompatSession(session): CompatSession,
    Query(conversion): Query<Conversion>,
    request: Request,
) -> Response {
    let json = wants_json(request.headers());
    let batch = gateway.ports.new_id();
    let taken = match Form::read(request, conversion, false) {
        Ok(form) => gateway.take_form(&session, form, batch).await,
        Err(problem) => Err(problem),
    };
    let taken = match taken {
        Ok(taken) => taken,
        Err(problem) if problem.status() == StatusCode::BAD_REQUEST => {
            return (StatusCode::BAD_REQUEST, "exactly 1 file required").into_response();
        }
        Err(problem) => return refusal(&problem),
    };
    // The original knows one answer for the whole request: all or nothing.
    if let Some(problem) = taken
        .iter()
        .find_map(|file| file.result.as_ref().err())
        .cloned()
    {
        gateway.take_back(&taken, batch).await;
        return refusal(&problem);
    }
    let headers = headers(&taken);
    if json {
        (headers, Json(Uploaded::new(batch, taken))).into_response()
    } else {
        (headers, "success!").into_response()
    }
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}

/// One id for each job, and where the first one is.
fn headers(taken: &[Taken]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let jobs: Vec<&Job> = taken
        .iter()
        .filter_map(|file| file.result.as_ref().ok())
        .collect();
    for job in &jobs {
        if let Ok(id) = HeaderValue::from_str(&job.id.to_string()) {
            headers.append(JOB_ID, id);
        }
    }
    let location = jobs.first().map(|job| format!("/api/v1/jobs/{}", job.id));
    if let Some(Ok(location)) = location.map(|location| location.parse()) {
        headers.insert(LOCATION, location);
    }
    headers
}

fn refusal(problem: &Problem) -> Response {
    let words = match problem.status() {
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE => {
            "internal server error".to_owned()
        }
        _ => problem
            .detail
            .clone()
            .unwrap_or_else(|| problem.title.clone()),
    };
    let mut response = (problem.status(), words).into_response();
    problem.decorate(&mut response);
    response
}

#[derive(Deserialize)]
pub struct Wanted {
    fid: Option<String>,
}

/// `GET /download?fid=…`: an MP3, or a ZIP file of chapters, to its owner.
pub async fn download(
    State(gateway): State<Shared>,
    CompatSession(session): CompatSession,
    Query(wanted): Query<Wanted>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(fid) = wanted.fid.filter(|fid| !fid.is_empty()) else {
        return (StatusCode::BAD_REQUEST, "fid is required").into_response();
    };
    let missing = || (StatusCode::NOT_FOUND, "not found").into_response();
    let Ok(mp3) = fid.parse() else {
        return missing();
    };
    let product = match gateway.ports.jobs.by_mp3(mp3).await {
        Ok(job) if job.owner == session.email => {
            job.output.as_ref().map_or(Product::Mp3, Product::of)
        }
        Err(jobs::Error::NotFound) if gateway.unowned_downloads => Product::Mp3,
        Ok(_) | Err(jobs::Error::NotFound) => return missing(),
        Err(e) => return refusal(&e.into()),
    };
    let name = format!("inline; filename={mp3}.{}", product.extension());
    match download::serve(&gateway, mp3, product, &name, &method, &headers).await {
        Ok(response) => response,
        Err(problem) => refusal(&problem),
    }
}
