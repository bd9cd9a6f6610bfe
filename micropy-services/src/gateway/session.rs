//! Who is asking: by a bearer token, or by the cookie that the page has.

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use micropy_core::ports::auth;

use super::Shared;
use super::problem::Problem;
use crate::accounts::login::LoginError;

/// The cookie's name.
pub const COOKIE_NAME: &str = "micropy_session";

/// Somebody who has shown who they are.
#[derive(Clone, Debug)]
pub struct Session {
    pub email: String,
}

/// Why nobody is let in.
enum Refused {
    Missing,
    Bad,
    NotAdmin,
    /// Nobody can say whether the token is good.
    Unknown(auth::Error),
}

impl FromRequestParts<Shared> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Problem> {
        identify(parts, gateway)
            .await
            .map_err(|refused| match refused {
                Refused::Missing => Problem::unauthorized("Please sign in."),
                Refused::Bad => {
                    Problem::unauthorized("Your session has ended. Please sign in again.")
                }
                Refused::NotAdmin => Problem::forbidden("You are not authorized."),
                Refused::Unknown(e) => e.into(),
            })
    }
}

/// A session on the original routes, which answer a refusal with the original's words.
pub struct CompatSession(pub Session);

impl FromRequestParts<Shared> for CompatSession {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Response> {
        let session = identify(parts, gateway).await.map_err(|refused| {
            let (status, words) = match refused {
                Refused::Missing => (StatusCode::UNAUTHORIZED, "missing credentials"),
                Refused::Bad => (StatusCode::FORBIDDEN, "not authorized"),
                Refused::NotAdmin => (StatusCode::UNAUTHORIZED, "not authorized"),
                Refused::Unknown(e) => return LoginError::Users(e).into_response(),
            };
            (status, words).into_response()
        });
        session.map(CompatSession)
    }
}

async fn identify(parts: &Parts, gateway: &Shared) -> Result<Session, Refused> {
    let token = match bearer(&parts.headers)? {
        Some(token) => token,
        None => {
            let token = cookie(&parts.headers).ok_or(Refused::Missing)?;
            if !is_own_page(parts) {
                return Err(Refused::Bad);
            }
            token
        }
    };
    let claims = gateway.accounts.check(token).await;
    let claims = claims.map_err(Refused::Unknown)?.ok_or(Refused::Bad)?;
    if !claims.admin {
        return Err(Refused::NotAdmin);
    }
    Ok(Session {
        email: claims.username,
    })
}

/// The token of an `Authorization` header; the scheme's name is not looked at, as in the original.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let header = header.to_str().map_err(|_| Refused::Bad)?;
    match header.split_once(' ') {
        Some((_, token)) => Ok(Some(token.trim())),
        None => Err(Refused::Missing),
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

/// A browser that sends the cookie along with a change says that our own page asked for it. The cookie is
/// `SameSite=Strict` too; this holds where that is not known.
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
