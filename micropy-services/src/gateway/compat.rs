//! The routes of the original gateway, with its responses.

use axum::extract::{Query, Request, State};
use axum::http::header::{ACCEPT, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use micropy_core::ports::jobs::{self, Job};
use serde::Deserialize;

use super::problem::Problem;
use super::session::CompatSession;
use super::uploads::{Form, Received};
use super::{Gateway, Shared, download};
use crate::job::options::ConversionOptions;
use crate::job::product::Product;

const JOB_ID: HeaderName = HeaderName::from_static("x-micropy-job-id");

/// `POST /upload`: files in fields of any name; responds `success!` when all of them are accepted.
pub async fn upload(
    State(gateway): State<Shared>,
    CompatSession(session): CompatSession,
    Query(options): Query<ConversionOptions>,
    request: Request,
) -> Response {
    if let Err(problem) = gateway.check_confirmed(&session) {
        return rejection(&problem);
    }
    if let Err(problem) = gateway.check_stores().await {
        return rejection(&problem);
    }
    let json = wants_json(request.headers());
    let batch = gateway.ports.new_id();
    let received = async {
        let form = Form::read(request, options, false)?;
        let slot = gateway.uploads.take(&session.email)?;
        let received = gateway.receive_form(&session, form, batch).await?;
        Ok::<_, Problem>((received, slot))
    };
    let (received, slot) = match received.await {
        Ok(received) => received,
        Err(problem) if problem.status() == StatusCode::BAD_REQUEST => {
            return (StatusCode::BAD_REQUEST, "exactly 1 file required").into_response();
        }
        Err(problem) => return rejection(&problem),
    };
    // The original has one response for the whole request: all or nothing.
    if let Some(problem) = received
        .iter()
        .find_map(|file| file.result.as_ref().err())
        .cloned()
    {
        gateway.remove_received(&received, batch).await;
        return rejection(&problem);
    }
    let headers = headers(&gateway, &received);
    if json {
        let uploaded = gateway.uploaded(batch, received).await;
        (headers, uploaded.response(slot)).into_response()
    } else {
        (headers, "success!").into_response()
    }
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}

/// The ids of the jobs, and the location of the first.
fn headers(gateway: &Gateway, received: &[Received]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let jobs: Vec<&Job> = received
        .iter()
        .filter_map(|file| file.result.as_ref().ok())
        .collect();
    for job in &jobs {
        if let Ok(id) = HeaderValue::from_str(&job.id.to_string()) {
            headers.append(JOB_ID, id);
        }
    }
    let location = jobs
        .first()
        .map(|job| gateway.url(format_args!("/api/v1/jobs/{}", job.id)));
    if let Some(Ok(location)) = location.map(|location| location.parse()) {
        headers.insert(LOCATION, location);
    }
    headers
}

fn rejection(problem: &Problem) -> Response {
    let text = match problem.status() {
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE => {
            "internal server error".to_owned()
        }
        _ => problem
            .detail
            .clone()
            .unwrap_or_else(|| problem.title.clone()),
    };
    let mut response = (problem.status(), text).into_response();
    problem.add_headers(&mut response);
    response
}

#[derive(Deserialize)]
pub struct Wanted {
    fid: Option<String>,
}

/// `GET /download?fid=…`: an MP3, or a ZIP file of chapters, for its owner.
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
        Err(e) => return rejection(&e.into()),
    };
    let name = format!("inline; filename={mp3}.{}", product.extension());
    match download::serve(&gateway, &session, mp3, product, &name, &method, &headers).await {
        Ok(response) => response,
        Err(problem) => rejection(&problem),
    }
}
