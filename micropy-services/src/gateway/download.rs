//! MP3s, and ZIP files of them, on their way out: whole or a range (RFC 9110, section 14), as the client asks.

use std::ops::Range;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use micropy_core::ports::Id;
use serde::Deserialize;

use super::body::{JobId, Path, Query};
use super::problem::Problem;
use super::session::Session;
use super::{Gateway, Shared};
use crate::job::product::Product;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Disposition {
    /// `1`: as a file to be saved, not to be played.
    #[param(maximum = 255)]
    download: Option<u8>,
}

/// The MP3 of a job, or the ZIP file of its chapters' MP3s; ranges, ETags and HEAD are understood.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/mp3", tag = "jobs",
    params(JobId, Disposition),
    responses(
        (status = 200, description = "The MP3, or the ZIP file",
            content((serde_json::Value = "audio/mpeg"), (serde_json::Value = "application/zip"))),
        (status = 206, description = "The range that was asked for",
            content((serde_json::Value = "audio/mpeg"), (serde_json::Value = "application/zip"))),
        (status = 304, description = "The client has it"),
        (status = 400, description = "Not such a query", body = Problem),
        (status = 404, description = "No such job, or no MP3 yet", body = Problem),
        (status = 416, description = "No such range", body = Problem),
    )
)]
pub async fn mp3(
    State(gateway): State<Shared>,
    session: Session,
    Path(JobId { id }): Path<JobId>,
    Query(disposition): Query<Disposition>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = gateway.own_job(&session, &id).await?;
    let kind = if disposition.download == Some(1) {
        "attachment"
    } else {
        "inline"
    };
    let output = job.output.ok_or_else(Problem::not_found)?;
    let product = Product::of(&output);
    let name = content_disposition(kind, &product.file_name(&job.file_name));
    serve(&gateway, output.mp3, product, &name, &method, &headers).await
}

/// Answers with what a job made.
pub async fn serve(
    gateway: &Gateway,
    mp3: Id,
    product: Product,
    disposition: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let head = gateway.ports.mp3s.head(mp3).await?;
    // An MP3 never changes, so its id tells all.
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
    // Ranges are a matter of GET alone (section 14.2).
    let wanted = match *method {
        Method::HEAD => Wanted::All,
        _ => wanted(headers, &etag, head.bytes),
    };
    let (status, range) = match wanted {
        Wanted::All => (StatusCode::OK, 0..head.bytes),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => {
            let problem =
                Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "There is no such range.");
            let range = [(CONTENT_RANGE, format!("bytes */{}", head.bytes))];
            return Ok((range, problem).into_response());
        }
    };
    let length = [(CONTENT_LENGTH, (range.end - range.start).to_string())];
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => Body::from_stream(gateway.ports.mp3s.get(head.id, range.clone()).await?),
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

pub fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
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
enum Wanted {
    All,
    Part(Range<u64>),
    /// A range behind the end.
    Nothing,
}

/// What a client asks for of `length` bytes. Several ranges at once, and what is no range at all, get the
/// whole, as RFC 9110 allows.
fn wanted(headers: &HeaderMap, etag: &str, length: u64) -> Wanted {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(IF_RANGE).is_some_and(|known| known != etag) {
        return Wanted::All;
    }
    let Some(range) = text(RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
        return Wanted::All;
    };
    let Some((first, last)) = range.split_once('-') else {
        return Wanted::All;
    };
    let range = match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), "") => first..length,
        (Ok(first), last) => match last.parse::<u64>() {
            Ok(last) if last >= first => first..last.saturating_add(1).min(length),
            _ => return Wanted::All,
        },
        (Err(_), last) if first.trim().is_empty() => match last.parse::<u64>() {
            Ok(0) => return Wanted::Nothing,
            Ok(last) => length.saturating_sub(last)..length,
            Err(_) => return Wanted::All,
        },
        _ => return Wanted::All,
    };
    if range.start >= length {
        Wanted::Nothing
    } else {
        Wanted::Part(range)
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

    fn asked(range: &str) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, range.parse().unwrap());
        wanted(&headers, "\"tag\"", 100)
    }

    #[test]
    fn ranges_are_those_of_rfc_9110() {
        assert_eq!(asked("bytes=0-0"), Wanted::Part(0..1));
        assert_eq!(asked("bytes=10-19"), Wanted::Part(10..20));
        assert_eq!(asked("bytes=90-"), Wanted::Part(90..100));
        assert_eq!(asked("bytes=90-1000"), Wanted::Part(90..100));
        assert_eq!(asked("bytes=-10"), Wanted::Part(90..100));
        assert_eq!(asked("bytes=-1000"), Wanted::Part(0..100));
        for behind in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(asked(behind), Wanted::Nothing, "{behind}");
        }
        for odd in [
            "bytes=5-4",
            "bytes=a-b",
            "bytes=",
            "bytes=-",
            "lines=1-2",
            "bytes=0-1,3-4",
        ] {
            assert_eq!(asked(odd), Wanted::All, "{odd}");
        }
    }

    #[test]
    fn a_range_of_another_version_gets_the_whole() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, "bytes=0-1".parse().unwrap());
        headers.insert(IF_RANGE, "\"old\"".parse().unwrap());
        assert_eq!(wanted(&headers, "\"tag\"", 100), Wanted::All);
        headers.insert(IF_RANGE, "\"tag\"".parse().unwrap());
        assert_eq!(wanted(&headers, "\"tag\"", 100), Wanted::Part(0..2));
    }

    #[test]
    fn any_file_name_can_be_told() {
        assert_eq!(
            content_disposition("attachment", "K\u{fc}che \"1\".mp3"),
            "attachment; filename=\"K_che _1_.mp3\"; filename*=UTF-8''K%C3%BCche%20%221%22.mp3"
        );
    }
}
