//! What went wrong, for programs and people: problem details (RFC 9457).

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use micropy_core::ports::{auth, jobs, queue, storage};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Refusal;
use crate::job::intake;

/// Seconds after which a client may try again what is out of reach for now.
const RETRY_SECONDS: u64 = 5;

/// Problem details.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// HTTP status code.
    #[schema(example = 404)]
    pub status: u16,
    /// What kind of problem it is: the same for every problem of the kind.
    #[schema(example = "Not Found")]
    pub title: String,
    /// What is wrong here, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Problem").into(),
            detail: Some(detail.into()),
            retry_after: None,
        }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is no such thing here.")
    }

    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    pub fn quota(detail: impl Into<String>) -> Self {
        Problem {
            title: "Quota exceeded".into(),
            ..Self::forbidden(detail)
        }
    }

    pub fn too_many(seconds: u64) -> Self {
        Problem {
            retry_after: Some(seconds),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many failed attempts to sign in.",
            )
        }
    }

    /// Too much of it goes on already.
    pub fn busy(detail: impl Into<String>) -> Self {
        Problem {
            retry_after: Some(RETRY_SECONDS),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    /// Out of reach for now.
    fn unavailable(e: &dyn std::fmt::Display) -> Self {
        tracing::warn!(error = %e, "a backend is out of reach");
        Self::busy("The service cannot do this right now. Please try again.")
    }

    /// Ours to mend: the log says what it is, the client does not hear it.
    fn internal(e: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %e, "a backend failed");
        Problem {
            detail: None,
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "")
        }
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Adds what every answer with this problem carries beside the body.
    pub fn decorate(&self, response: &mut Response) {
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(&self)).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        self.decorate(&mut response);
        response
    }
}

impl From<jobs::Error> for Problem {
    fn from(e: jobs::Error) -> Self {
        match e {
            jobs::Error::NotFound => Problem::not_found(),
            jobs::Error::Rejected(why) => Problem::conflict(why),
            jobs::Error::Unavailable(e) => Problem::unavailable(&e),
            e => Problem::internal(&e),
        }
    }
}

impl From<storage::Error> for Problem {
    fn from(e: storage::Error) -> Self {
        match e {
            storage::Error::NotFound => Problem::not_found(),
            storage::Error::Rejected(why) => Problem::conflict(why),
            storage::Error::Interrupted(e) => Refusal::of(&e).unwrap_or(Refusal::Broken).into(),
            storage::Error::Full => {
                tracing::error!("the storage is full");
                let detail = "The service has no room left.";
                Problem::new(StatusCode::INSUFFICIENT_STORAGE, detail)
            }
            storage::Error::Unavailable(e) => Problem::unavailable(&e),
            e => Problem::internal(&e),
        }
    }
}

impl From<queue::Error> for Problem {
    fn from(e: queue::Error) -> Self {
        match e {
            queue::Error::Unavailable(e) => Problem::unavailable(&e),
            e => Problem::internal(&e),
        }
    }
}

impl From<intake::Error> for Problem {
    fn from(e: intake::Error) -> Self {
        match e {
            intake::Error::Storage(e) => e.into(),
            intake::Error::Jobs(e) => e.into(),
            intake::Error::Queue(e) => e.into(),
        }
    }
}

impl From<auth::Error> for Problem {
    fn from(e: auth::Error) -> Self {
        match e {
            auth::Error::NotFound => Problem::not_found(),
            auth::Error::Rejected(auth::Rejection::Taken) => {
                Problem::conflict("This address is already registered.")
            }
            auth::Error::Rejected(_) => Problem::unauthorized("Wrong address or password."),
            auth::Error::Unavailable(e) => Problem::unavailable(&e),
            e => Problem::internal(&e),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Quota => return Problem::quota(refusal.to_string()),
            Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::NotMp4 => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            // The status that tus names for it.
            Refusal::Checksum => StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST),
            Refusal::Superseded => StatusCode::CONFLICT,
            Refusal::Broken => StatusCode::BAD_REQUEST,
        };
        let mut problem = Problem::new(status, refusal.to_string());
        if refusal == Refusal::Checksum {
            problem.title = "Checksum Mismatch".into();
        }
        problem
    }
}
