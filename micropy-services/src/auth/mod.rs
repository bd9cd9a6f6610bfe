//! The auth service: issues tokens for credentials and validates tokens, by the routes of the original auth service.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use micropy_core::ports::Clock;
use micropy_core::ports::auth::Error;
use serde::Deserialize;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::accounts::{
    Accounts, ClientSigner, Credentials, LoginError, PasswordChange, PasswordError, RegisterError,
    RenewError, Secret,
};
use crate::http::ClientAddress;

/// Most responses hold a token, or claims.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

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
    gateways: Option<Gateways>,
}

/// How gateways of ours are told from others.
#[derive(Clone)]
struct Gateways {
    signer: ClientSigner,
    clock: Arc<dyn Clock>,
}

impl AuthService {
    /// An auth service for `accounts`.
    pub fn new(accounts: Arc<dyn Accounts>) -> Self {
        AuthService {
            accounts,
            gateways: None,
        }
    }

    /// The secret that signs tokens: gateways that know it, too, are believed which client a request comes from.
    #[must_use]
    pub fn secret(mut self, secret: &Secret, clock: Arc<dyn Clock>) -> Self {
        let signer = ClientSigner::new(secret);
        self.gateways = Some(Gateways { signer, clock });
        self
    }

    /// Its routes: `/login` and `/validate` of the original; `/register`, `/refresh`, `/logout`, `/password` and `/remove` for
    /// our gateway; `/healthz` and `/readyz`.
    pub fn router(&self) -> Router {
        let alive = get(|| async { "ok\n" });
        let router = Router::new()
            .route("/login", post(login))
            .route("/validate", post(validate))
            .route("/register", post(register))
            .route("/refresh", post(refresh))
            .route("/logout", post(logout))
            .route("/password", post(change_password))
            .route("/remove", post(remove))
            .route("/healthz", alive.clone())
            .route("/readyz", alive)
            .with_state(Shared(self.accounts.clone()))
            .layer(SetResponseHeaderLayer::overriding(CACHE_CONTROL, NO_STORE));
        match self.gateways.clone() {
            Some(gateways) => router.layer(from_fn_with_state(gateways, believe)),
            None => router,
        }
    }
}

/// Takes the client's address from a gateway of ours.
async fn believe(State(gateways): State<Gateways>, mut request: Request, next: Next) -> Response {
    let now = gateways.clock.now();
    if let Some(client) = gateways.signer.read(request.headers(), now) {
        request.extensions_mut().insert(ClientAddress(client));
    }
    next.run(request).await
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
        Err(RegisterError::TooMany(wait)) => too_many(wait, "too many registrations"),
        Err(RegisterError::Users(Error::Rejected(why))) => {
            (StatusCode::CONFLICT, why.to_string()).into_response()
        }
        Err(RegisterError::Users(e)) => LoginError::Users(e).into_response(),
    }
}

/// `POST /validate`: responds with the claims of a valid token.
async fn validate(State(Shared(accounts)): State<Shared>, headers: HeaderMap) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    match accounts.check(token).await {
        Ok(Some(claims)) => {
            let json = ascii(&serde_json::to_string(&claims).unwrap_or_default());
            ([(CONTENT_TYPE, "application/json")], json).into_response()
        }
        Ok(None) => (StatusCode::FORBIDDEN, "not authorized").into_response(),
        Err(e) => LoginError::Users(e).into_response(),
    }
}

/// `POST /refresh`: responds with a new token for the user of a valid one.
async fn refresh(State(Shared(accounts)): State<Shared>, headers: HeaderMap) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    match accounts.renew(token).await {
        Ok(token) => token.into_response(),
        Err(RenewError::Ended) => (StatusCode::FORBIDDEN, "not authorized").into_response(),
        Err(e @ RenewError::Unsupported) => (StatusCode::NOT_FOUND, e.to_string()).into_response(),
        Err(RenewError::Users(e)) => LoginError::Users(e).into_response(),
    }
}

/// `POST /logout`: ends a token. One that is not valid has ended already.
async fn logout(State(Shared(accounts)): State<Shared>, headers: HeaderMap) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    match accounts.logout(token).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => LoginError::Users(e).into_response(),
    }
}

/// `POST /password`: gives the user of a valid token another password, and responds with a new token.
async fn change_password(
    State(Shared(accounts)): State<Shared>,
    ClientAddress(from): ClientAddress,
    headers: HeaderMap,
    change: Result<Json<PasswordChange>, JsonRejection>,
) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    let Json(change) = match change {
        Ok(change) => change,
        Err(e) => return e.into_response(),
    };
    match accounts.change_password(token, change, from).await {
        Ok(token) => token.into_response(),
        Err(e) => e.into_response(),
    }
}

/// The body of a removal.
#[derive(Deserialize)]
struct Confirmation {
    password: String,
}

/// `POST /remove`: removes the user of a valid token.
async fn remove(
    State(Shared(accounts)): State<Shared>,
    ClientAddress(from): ClientAddress,
    headers: HeaderMap,
    confirmation: Result<Json<Confirmation>, JsonRejection>,
) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    let Json(Confirmation { password }) = match confirmation {
        Ok(confirmation) => confirmation,
        Err(e) => return e.into_response(),
    };
    match accounts.remove(token, password, from).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(e) => e.into_response(),
    }
}

/// The token of an `Authorization` header. The scheme is ignored, as in the original.
fn token(headers: &HeaderMap) -> Option<&str> {
    let (_, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim())
}

fn missing_credentials() -> Response {
    (StatusCode::UNAUTHORIZED, "missing credentials").into_response()
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

fn too_many(wait: Duration, of_what: &'static str) -> Response {
    let after = [(RETRY_AFTER, (wait.as_secs() + 1).to_string())];
    (StatusCode::TOO_MANY_REQUESTS, after, of_what).into_response()
}

impl IntoResponse for PasswordError {
    fn into_response(self) -> Response {
        match self {
            PasswordError::Ended => (StatusCode::FORBIDDEN, "not authorized").into_response(),
            PasswordError::Wrong => (StatusCode::CONFLICT, self.to_string()).into_response(),
            PasswordError::TooMany(wait) => too_many(wait, "too many failed logins"),
            PasswordError::Unacceptable(why) => (StatusCode::BAD_REQUEST, why).into_response(),
            PasswordError::Unsupported => (StatusCode::NOT_FOUND, self.to_string()).into_response(),
            PasswordError::Users(e) => LoginError::Users(e).into_response(),
        }
    }
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
            LoginError::TooMany(wait) => too_many(wait, "too many failed logins"),
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
