//! Errors for programs and people: problem details (RFC 9457).

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use micropy_core::ports::{auth, jobs, queue, storage};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Rejection;
use crate::job::intake::IntakeError;

/// Seconds after which a client may try again what is unavailable.
const RETRY_SECONDS: u64 = 5;

/// An error response: problem details.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// HTTP status code.
    #[schema(example = 404)]
    pub status: u16,
    /// The kind of problem.
    #[schema(example = "Not Found")]
    pub title: String,
    /// What is wrong, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem with the title of its status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Problem").into(),
            detail: Some(detail.into()),
            retry_after: None,
        }
    }

    /// 400: the request is malformed.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 409: not in this state.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 403: not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: nothing is there, or nothing that the user may see.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is nothing here.")
    }

    /// 401: not signed in.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 401: signed in no longer.
    pub(super) fn session_ended() -> Self {
        Self::unauthorized("Your session has ended. Please sign in again.")
    }

    /// 403: the user may not store more.
    pub(super) fn quota(detail: impl Into<String>) -> Self {
        Problem {
            title: "Quota exceeded".into(),
            ..Self::forbidden(detail)
        }
    }

    /// 422: the request is not the one that the key was used for.
    pub(super) fn key_reused() -> Self {
        Rejection::KeyReused.into()
    }

    /// 503: the job of the request that this one repeats was there when it began, and is no longer.
    pub(super) fn first_removed() -> Self {
        Self::busy("The job of this Idempotency-Key was removed meanwhile. Please try again.")
    }

    /// 429: too many attempts.
    pub(crate) fn too_many(seconds: u64, detail: impl Into<String>) -> Self {
        Problem {
            retry_after: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
        }
    }

    /// 503: try again.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Problem {
            retry_after: Some(RETRY_SECONDS),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    /// 503: a backend is unavailable.
    pub(super) fn unavailable(e: &dyn std::fmt::Display) -> Self {
        tracing::warn!(error = %e, "a backend is unavailable");
        Self::busy("The service cannot do this right now. Please try again.")
    }

    /// 500: the log has the reason, the client does not get it.
    pub(super) fn internal(e: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %e, "a backend failed");
        Problem {
            detail: None,
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "")
        }
    }

    /// The status code of the response.
    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Adds the headers that every response with this problem needs.
    pub(super) fn add_headers(&self, response: &mut Response) {
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
        self.add_headers(&mut response);
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
            storage::Error::Interrupted(e) => Rejection::of(&e).unwrap_or(Rejection::Broken).into(),
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

impl From<IntakeError> for Problem {
    fn from(e: IntakeError) -> Self {
        match e {
            IntakeError::KeyReused => Problem::key_reused(),
            IntakeError::Storage(e) => e.into(),
            IntakeError::Jobs(e) => e.into(),
            IntakeError::Queue(e) => e.into(),
            IntakeError::Webhooks(e) => e.into(),
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

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let status = match rejection {
            Rejection::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Rejection::Quota => return Problem::quota(rejection.to_string()),
            Rejection::SessionEnded => return Problem::session_ended(),
            Rejection::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Rejection::NotMp4 => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Rejection::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            // The status that tus names for it.
            Rejection::Checksum => StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST),
            Rejection::Superseded => StatusCode::CONFLICT,
            Rejection::Broken => StatusCode::BAD_REQUEST,
        };
        let mut problem = Problem::new(status, rejection.to_string());
        if rejection == Rejection::Checksum {
            problem.title = "Checksum Mismatch".into();
        }
        problem
    }
}
