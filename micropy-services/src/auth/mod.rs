//! The auth service: issues tokens for credentials and validates tokens, by the routes of the original auth service.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use micropy_core::ports::auth::Error;

use serde::Deserialize;

use crate::accounts::{Accounts, Credentials, LoginError, RegisterError};
use crate::http::ClientAddress;

/// The auth service. It does nothing in the background: whoever serves its [`router`](AuthService::router) runs it.
///
/// ```
/// # use std::sync::Arc;
/// # use micropy_core::ports::time::{ManualClock, Timestamp};
/// use axum::body::Body;
/// use axum::http::{Request, StatusCode};
/// use micropy_core::ports::memory::MemoryAuth;
/// use micropy_services::accounts::{LocalAccounts, Secret};
/// use micropy_services::auth::AuthService;
/// use tower::ServiceExt as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let clock = Arc::new(ManualClock::new(Timestamp::default()));
/// let users = Arc::new(MemoryAuth::default());
/// let secret = Secret::new("32 bytes that nobody can guess …");
/// let accounts = Arc::new(LocalAccounts::new(users, clock, &secret));
/// let router = AuthService::new(accounts).router();
///
/// let login = Request::post("/login").body(Body::empty()).unwrap();
/// let response = router.oneshot(login).await.unwrap();
/// assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
/// # }
/// ```
pub struct AuthService {
    accounts: Arc<dyn Accounts>,
}

impl AuthService {
    /// An auth service for `accounts`.
    pub fn new(accounts: Arc<dyn Accounts>) -> Self {
        AuthService { accounts }
    }

    /// Its routes: `/login`, `/validate`, `/register`, `/healthz` and `/readyz`.
    pub fn router(&self) -> Router {
        let alive = get(|| async { "ok\n" });
        Router::new()
            .route("/login", post(login))
            .route("/validate", post(validate))
            .route("/register", post(register))
            .route("/healthz", alive.clone())
            .route("/readyz", alive)
            .with_state(Shared(self.accounts.clone()))
    }
}

/// The state of the routes.
#[derive(Clone)]
pub(crate) struct Shared(pub Arc<dyn Accounts>);

/// `POST /login`: responds with the bare token. The gateway has the same route.
pub(crate) async fn login(
    State(Shared(accounts)): State<Shared>,
    ClientAddress(from): ClientAddress,
    headers: HeaderMap,
) -> Result<String, LoginError> {
    accounts
        .login(Credentials::from_basic(&headers), from)
        .await
}

/// The body of a registration.
#[derive(Deserialize)]
struct Account {
    email: String,
    password: String,
}

/// `POST /register`, for our gateway: responds with the bare token of the new user.
async fn register(
    State(Shared(accounts)): State<Shared>,
    ClientAddress(from): ClientAddress,
    Json(Account { email, password }): Json<Account>,
) -> Response {
    let registered = accounts
        .register(Credentials { email, password }, from)
        .await;
    match registered {
        Ok(token) => (StatusCode::CREATED, token).into_response(),
        Err(e @ RegisterError::Off) => (StatusCode::FORBIDDEN, e.to_string()).into_response(),
        Err(RegisterError::Unacceptable(why)) => (StatusCode::BAD_REQUEST, why).into_response(),
        Err(RegisterError::Users(Error::Rejected(why))) => {
            (StatusCode::CONFLICT, why.to_string()).into_response()
        }
        Err(RegisterError::Users(e)) => LoginError::Users(e).into_response(),
    }
}

/// `POST /validate`: responds with the claims of a valid token. The scheme before the token is ignored, as in the
/// original.
async fn validate(State(Shared(accounts)): State<Shared>, headers: HeaderMap) -> Response {
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let Some((_, token)) = header.and_then(|header| header.split_once(' ')) else {
        return (StatusCode::UNAUTHORIZED, "missing credentials").into_response();
    };
    match accounts.check(token.trim()).await {
        Ok(Some(claims)) => {
            let json = ascii(&serde_json::to_string(&claims).unwrap_or_default());
            ([(CONTENT_TYPE, "application/json")], json).into_response()
        }
        Ok(None) => (StatusCode::FORBIDDEN, "not authorized").into_response(),
        Err(e) => LoginError::Users(e).into_response(),
    }
}

/// Escapes every character beyond ASCII in JSON: Python clients guess the charset.
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
            LoginError::Refused(text) => (StatusCode::UNAUTHORIZED, text).into_response(),
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
