//! The user of a request, by a bearer token or the session cookie.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use micropy_core::ports::jobs::Job;
use micropy_core::ports::{Id, auth, jobs};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::body::{JobId, Path};
use super::problem::Problem;
use super::{Gateway, Shared};
use crate::accounts::{LoginError, Secret};

/// How often a session is looked at while a request lasts.
const LOOK: Duration = Duration::from_secs(2);
/// Name of the session cookie.
pub const COOKIE_NAME: &str = "micropy_session";

/// An authenticated user.
#[derive(Clone, Debug)]
pub struct Session {
    pub email: String,
    /// The token of the request.
    pub token: Secret,
}

/// Whether a session has ended, found out while a request lasts.
pub struct Watched {
    /// Cancelled when it has.
    pub ended: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

/// Why a request has no session.
enum NoSession {
    Missing,
    Invalid,
    NotAdmin,
    /// The token could not be checked.
    Unchecked(auth::Error),
}

impl FromRequestParts<Shared> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Problem> {
        identify(parts, gateway)
            .await
            .map_err(|reason| match reason {
                NoSession::Missing => Problem::unauthorized("Please sign in."),
                NoSession::Invalid => Problem::session_ended(),
                NoSession::NotAdmin => Problem::forbidden("You are not authorized."),
                NoSession::Unchecked(e) => e.into(),
            })
    }
}

/// A session on a route of the original gateway, which rejects requests in the original's words.
pub struct CompatSession(pub Session);

impl FromRequestParts<Shared> for CompatSession {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Response> {
        let session = identify(parts, gateway).await.map_err(|reason| {
            let (status, text) = match reason {
                NoSession::Missing => (StatusCode::UNAUTHORIZED, "missing credentials"),
                NoSession::Invalid => (StatusCode::FORBIDDEN, "not authorized"),
                NoSession::NotAdmin => (StatusCode::UNAUTHORIZED, "not authorized"),
                NoSession::Unchecked(e) => return LoginError::Users(e).into_response(),
            };
            (status, text).into_response()
        });
        session.map(CompatSession)
    }
}

/// A job of the user, by the id in the path. To everybody else there is no such job.
pub struct OwnJob(pub Job);

impl FromRequestParts<Shared> for OwnJob {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Problem> {
        let session = Session::from_request_parts(parts, gateway).await?;
        let Path(JobId { id }) = Path::from_request_parts(parts, gateway).await?;
        gateway.own_job(&session, &id).await.map(OwnJob)
    }
}

impl Gateway {
    /// A job of the user. To everybody else there is no such job.
    pub(super) async fn own_job(&self, session: &Session, id: &str) -> Result<Job, Problem> {
        let id: Id = id.parse().map_err(|_| Problem::not_found())?;
        let job = self.ports.jobs.get(id).await?;
        match job.owner == session.email {
            true => Ok(job),
            false => Err(jobs::Error::NotFound.into()),
        }
    }

    /// Whether a session is known to have ended. While nobody can be asked, it goes on.
    pub(super) async fn has_ended(&self, session: &Session) -> bool {
        let claims = self.accounts.check(session.token.reveal()).await;
        claims.is_ok_and(|claims| claims.is_none())
    }

    /// Looks after a session until the result is dropped: a request may last for hours, and its token may end meanwhile.
    pub(super) fn watch(&self, session: &Session) -> Watched {
        let ended = CancellationToken::new();
        let (gateway, session) = (self.clone(), session.clone());
        let cancelled = ended.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                if gateway.has_ended(&session).await {
                    return cancelled.cancel();
                }
            }
        });
        Watched {
            ended,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

async fn identify(parts: &Parts, gateway: &Shared) -> Result<Session, NoSession> {
    let token = match bearer(&parts.headers)? {
        Some(token) => token,
        None => {
            let token = cookie(&parts.headers).ok_or(NoSession::Missing)?;
            if !is_own_page(parts) {
                return Err(NoSession::Invalid);
            }
            token
        }
    };
    let claims = gateway.accounts.check(token).await;
    let claims = claims
        .map_err(NoSession::Unchecked)?
        .ok_or(NoSession::Invalid)?;
    if !claims.admin {
        return Err(NoSession::NotAdmin);
    }
    Ok(Session {
        email: claims.username,
        token: Secret::new(token),
    })
}

/// The tokens that a request carries, valid or not; without the cookie where another page sends it.
pub fn tokens(parts: &Parts) -> impl Iterator<Item = &str> {
    let cookie = cookie(&parts.headers).filter(|_| is_own_page(parts));
    let bearer = bearer(&parts.headers).ok().flatten();
    bearer.into_iter().chain(cookie)
}

/// The token of an `Authorization` header. The scheme is ignored, as in the original.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, NoSession> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let header = header.to_str().map_err(|_| NoSession::Invalid)?;
    match header.split_once(' ') {
        Some((_, token)) => Ok(Some(token.trim())),
        None => Err(NoSession::Missing),
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut pairs = cookies
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(name, _)| name.trim() == COOKIE_NAME)
        .map(|(_, value)| value.trim())
}

/// Whether a request that changes something comes from our own page, as far as the browser tells. The cookie is
/// `SameSite=Strict` as well; this protects browsers that do not know that.
fn is_own_page(parts: &Parts) -> bool {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return true;
    }
    let site = parts
        .headers
        .get("sec-fetch-site")
        .map(|value| value.as_bytes());
    matches!(site, None | Some(b"same-origin" | b"none"))
}
