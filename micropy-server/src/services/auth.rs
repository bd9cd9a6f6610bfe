//! The auth service: tokens for credentials, and whether a token is good, on a port of its own, as the
//! original services ask for it.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use micropy_core::ports::auth::Error;

use super::login::{Credentials, Login, LoginError};

/// The auth service's routes.
pub fn router(login: Login) -> Router {
    Router::new()
        .route("/login", post(sign_in))
        .route("/validate", post(validate))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(login)
}

/// `POST /login`: the answer's body is the bare token. The gateway has the same.
pub async fn sign_in(
    State(login): State<Login>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<String, LoginError> {
    login
        .login(Credentials::from_basic(&headers), from.ip())
        .await
}

/// `POST /validate`: the claims of a good token. Whatever stands before the token, a scheme or not, is not
/// looked at, as in the original.
async fn validate(State(login): State<Login>, headers: HeaderMap) -> Response {
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let Some((_, token)) = header.and_then(|header| header.split_once(' ')) else {
        return (StatusCode::UNAUTHORIZED, "missing credentials").into_response();
    };
    match login.check(token.trim()) {
        Some(claims) => {
            let json = ascii(&serde_json::to_string(&claims).unwrap_or_default());
            ([(CONTENT_TYPE, "application/json")], json).into_response()
        }
        None => (StatusCode::FORBIDDEN, "not authorized").into_response(),
    }
}

/// JSON in which every character beyond ASCII is escaped: Python clients guess the charset.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

impl IntoResponse for LoginError {
    fn into_response(self) -> Response {
        match self {
            LoginError::Missing => {
                let basic = [(WWW_AUTHENTICATE, "Basic realm=\"micropy\"")];
                (StatusCode::UNAUTHORIZED, basic, "missing credentials").into_response()
            }
            LoginError::Invalid => {
                (StatusCode::UNAUTHORIZED, "invalid credentials").into_response()
            }
            LoginError::TooMany(wait) => {
                let after = [(RETRY_AFTER, (wait.as_secs() + 1).to_string())];
                (
                    StatusCode::TOO_MANY_REQUESTS,
                    after,
                    "too many failed logins",
                )
                    .into_response()
            }
            LoginError::Users(e) => {
                tracing::error!(error = %e, "the users cannot be asked");
                let status = match e {
                    Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                let after = [(RETRY_AFTER, "5")];
                (status, after, "internal server error").into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_beyond_ascii_is_escaped() {
        assert_eq!(
            ascii("{\"a\":\"k\u{fc}\u{1f511}\"}"),
            "{\"a\":\"k\\u00fc\\ud83d\\udd11\"}"
        );
    }
}
