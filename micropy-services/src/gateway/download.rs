//! Downloads of MP3s and ZIP files, whole or by range (RFC 9110, section 14).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE,
};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use micropy_core::ports::{Id, storage};
use serde::Deserialize;

use super::body::{JobId, Query};
use super::problem::Problem;
use super::session::{OwnJob, Session, while_it_lasts};
use super::slots::{Slots, share};
use super::{Gateway, Shared};
use crate::http::hold;
use crate::job::product::Product;

/// A store that serves its objects itself, to whoever has a link.
#[async_trait]
pub trait Links: Send + Sync {
    /// A URL at which anybody gets the whole object, under these headers, for as long as it `lasts`.
    async fn link(
        &self,
        id: Id,
        content_type: &str,
        disposition: &str,
        lasts: Duration,
    ) -> Result<String, storage::Error>;
}

/// Where files are downloaded from, if not from the gateway.
#[derive(Clone)]
pub struct Direct {
    pub links: Arc<dyn Links>,
    pub lasts: Duration,
}

/// Downloads of one user at the same time: a player and a download manager open several.
const PER_USER: usize = 32;

/// Slots for downloads. They leave half of the server's connections to other requests.
pub fn slots(connections: usize) -> Slots {
    Slots::new("downloads", connections / 2, share(connections, PER_USER))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Disposition {
    /// `1`: save the file instead of playing it.
    #[param(maximum = 255)]
    download: Option<u8>,
}

/// Download the MP3 of a job, or the ZIP file of its chapters. Ranges, ETags and HEAD are supported.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/mp3", tag = "jobs",
    params(JobId, Disposition),
    responses(
        (status = 200, description = "The MP3, or the ZIP file",
            content((serde_json::Value = "audio/mpeg"), (serde_json::Value = "application/zip"))),
        (status = 206, description = "The requested range",
            content((serde_json::Value = "audio/mpeg"), (serde_json::Value = "application/zip"))),
        (status = 304, description = "The client has it already"),
        (status = 307, description = "With `download=1`, where the store serves downloads itself: to a link that lasts for a while",
            headers(("Location" = String))),
        (status = 400, description = "Invalid query", body = Problem),
        (status = 404, description = "No such job, or no MP3 yet", body = Problem),
        (status = 416, description = "No such range", body = Problem),
        (status = 429, description = "You have too many downloads; see Retry-After", body = Problem),
    )
)]
pub async fn mp3(
    State(gateway): State<Shared>,
    session: Session,
    OwnJob(job): OwnJob,
    Query(disposition): Query<Disposition>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let is_saved = disposition.download == Some(1);
    let kind = if is_saved { "attachment" } else { "inline" };
    let output = job.output.ok_or_else(Problem::not_found)?;
    let product = Product::of(&output);
    let name = content_disposition(kind, &product.file_name(&job.file_name));
    if let (Some(direct), true, &Method::GET) = (&gateway.direct, is_saved, &method) {
        return redirect(&gateway, direct, output.mp3, product, &name).await;
    }
    serve(
        &gateway, &session, output.mp3, product, &name, &method, &headers,
    )
    .await
}

/// Sends the client to the store. What is played comes from here all the same: a page plays nothing of another origin.
async fn redirect(
    gateway: &Gateway,
    direct: &Direct,
    mp3: Id,
    product: Product,
    disposition: &str,
) -> Result<Response, Problem> {
    // The store would say it in its own words.
    gateway.ports.mp3s.head(mp3).await?;
    let kind = product.content_type();
    let link = direct.links.link(mp3, kind, disposition, direct.lasts);
    // A link is as good as the file.
    let headers = [(LOCATION, link.await?), (CACHE_CONTROL, "no-store".into())];
    Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
}

/// Responds with the product of a job, for as long as the session lasts.
pub async fn serve(
    gateway: &Gateway,
    session: &Session,
    mp3: Id,
    product: Product,
    disposition: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let head = gateway.ports.mp3s.head(mp3).await?;
    // An MP3 never changes, so its id identifies its content.
    let etag = format!("\"{}\"", head.id);
    let common: [(HeaderName, String); 5] = [
        (CONTENT_TYPE, product.content_type().into()),
        (CONTENT_DISPOSITION, disposition.into()),
        (ACCEPT_RANGES, "bytes".into()),
        (CACHE_CONTROL, "private, no-cache".into()),
        (ETAG, etag.clone()),
    ];
    if matches_etag(headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    // Only GET has ranges (section 14.2).
    let requested = match *method {
        Method::HEAD => Requested::All,
        _ => requested(headers, &etag, head.bytes),
    };
    let (status, range) = match requested {
        Requested::All => (StatusCode::OK, 0..head.bytes),
        Requested::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Requested::Unsatisfiable => {
            let problem =
                Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "There is no such range.");
            let range = [(CONTENT_RANGE, format!("bytes */{}", head.bytes))];
            return Ok((range, problem).into_response());
        }
    };
    let length = [(CONTENT_LENGTH, (range.end - range.start).to_string())];
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => {
            let slot = gateway.downloads.take(&session.email)?;
            let bytes = gateway.ports.mp3s.get(head.id, range.clone()).await?;
            let bytes = while_it_lasts(gateway.watch(session), bytes);
            hold(Body::from_stream(bytes), slot)
        }
    };
    let mut response = (status, common, length, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let place = format!("bytes {}-{}/{}", range.start, range.end - 1, head.bytes);
        if let Ok(place) = place.parse() {
            response.headers_mut().insert(CONTENT_RANGE, place);
        }
    }
    Ok(response)
}

/// Whether the client has the version with this ETag.
fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    known.is_some_and(|known| {
        known
            .split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Requested {
    All,
    Part(Range<u64>),
    /// A range beyond the end.
    Unsatisfiable,
}

/// The part of `length` bytes that a client requests. Several ranges at once and malformed ones get all of it, as RFC
/// 9110 allows.
fn requested(headers: &HeaderMap, etag: &str, length: u64) -> Requested {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(IF_RANGE).is_some_and(|known| known != etag) {
        return Requested::All;
    }
    let Some(range) = text(RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
        return Requested::All;
    };
    let Some((first, last)) = range.split_once('-') else {
        return Requested::All;
    };
    let range = match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), "") => first..length,
        (Ok(first), last) => match last.parse::<u64>() {
            Ok(last) if last >= first => first..last.saturating_add(1).min(length),
            _ => return Requested::All,
        },
        (Err(_), last) if first.trim().is_empty() => match last.parse::<u64>() {
            Ok(0) => return Requested::Unsatisfiable,
            Ok(last) => length.saturating_sub(last)..length,
            Err(_) => return Requested::All,
        },
        _ => return Requested::All,
    };
    if range.start >= length {
        Requested::Unsatisfiable
    } else {
        Requested::Part(range)
    }
}

/// A `Content-Disposition` with a file name of any characters (RFC 6266, RFC 8187).
pub fn content_disposition(kind: &str, name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| match c {
            '"' | '\\' | '%' => '_',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '_',
        })
        .collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(range: &str) -> Requested {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, range.parse().unwrap());
        requested(&headers, "\"tag\"", 100)
    }

    #[test]
    fn ranges_are_those_of_rfc_9110() {
        assert_eq!(range("bytes=0-0"), Requested::Part(0..1));
        assert_eq!(range("bytes=10-19"), Requested::Part(10..20));
        assert_eq!(range("bytes=90-"), Requested::Part(90..100));
        assert_eq!(range("bytes=90-1000"), Requested::Part(90..100));
        assert_eq!(range("bytes=-10"), Requested::Part(90..100));
        assert_eq!(range("bytes=-1000"), Requested::Part(0..100));
        for beyond in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(range(beyond), Requested::Unsatisfiable, "{beyond}");
        }
        for odd in [
            "bytes=5-4",
            "bytes=a-b",
            "bytes=",
            "bytes=-",
            "lines=1-2",
            "bytes=0-1,3-4",
        ] {
            assert_eq!(range(odd), Requested::All, "{odd}");
        }
    }

    #[test]
    fn a_range_of_another_version_gets_the_whole() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, "bytes=0-1".parse().unwrap());
        headers.insert(IF_RANGE, "\"old\"".parse().unwrap());
        assert_eq!(requested(&headers, "\"tag\"", 100), Requested::All);
        headers.insert(IF_RANGE, "\"tag\"".parse().unwrap());
        assert_eq!(requested(&headers, "\"tag\"", 100), Requested::Part(0..2));
    }

    #[test]
    fn any_file_name_can_be_sent() {
        assert_eq!(
            content_disposition("attachment", "K\u{fc}che \"1\".mp3"),
            "attachment; filename=\"K_che _1_.mp3\"; filename*=UTF-8''K%C3%BCche%20%221%22.mp3"
        );
    }
}
