//! Registration, login and logout.

use axum::Json;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::session::{COOKIE_NAME, Session};
use super::{Shared, body};
use crate::accounts::{Credentials, LIFETIME, LoginError, RegisterError};
use crate::http::ClientAddress;

/// An account, to log in or to register.
#[derive(Deserialize, ToSchema)]
pub struct Account {
    /// Case-sensitive.
    #[schema(
        example = "ann@example.com",
        max_length = 254,
        pattern = r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$"
    )]
    email: String,
    /// At least 8 characters when registering.
    #[schema(format = Password, min_length = 8, max_length = 254)]
    password: String,
}

impl From<Account> for Credentials {
    fn from(Account { email, password }: Account) -> Self {
        Credentials { email, password }
    }
}

impl From<RegisterError> for Problem {
    fn from(e: RegisterError) -> Self {
        match e {
            RegisterError::Off => Problem::forbidden(e.to_string()),
            RegisterError::Unacceptable(why) => Problem::bad_request(why),
            RegisterError::Users(e) => e.into(),
        }
    }
}

/// A user who has logged in.
#[derive(Serialize, ToSchema)]
pub struct SignedIn {
    email: String,
    /// A JSON Web Token for `Authorization: Bearer …`. Browsers also get it as a cookie.
    token: String,
    /// Seconds until the token expires.
    expires_in: i64,
}

/// The current user.
#[derive(Serialize, ToSchema)]
pub struct Me {
    email: String,
}

/// Register, and log in.
#[utoipa::path(
    post, path = "/api/v1/auth/register", tag = "accounts", security(()),
    request_body = Account,
    responses(
        (status = 201, body = SignedIn),
        (status = 400, description = "Not an e-mail address, or a password that is too short", body = Problem),
        (status = 403, description = "Registration is switched off", body = Problem),
        (status = 409, description = "The address is registered already", body = Problem),
        body::JsonProblems,
        (status = 503, description = "The users are unavailable; see Retry-After", body = Problem),
    )
)]
pub async fn register(
    State(gateway): State<Shared>,
    ClientAddress(from): ClientAddress,
    body::Json(account): body::Json<Account>,
) -> Result<Response, Problem> {
    let email = account.email.clone();
    let token = gateway.accounts.register(account.into(), from).await?;
    Ok((StatusCode::CREATED, signed_in(&gateway, email, token)).into_response())
}

/// Log in.
#[utoipa::path(
    post, path = "/api/v1/auth/login", tag = "accounts", security(()),
    request_body = Account,
    responses(
        (status = 200, body = SignedIn),
        (status = 400, description = "Not JSON", body = Problem),
        (status = 401, description = "Wrong address or password", body = Problem),
        body::JsonProblems,
        (status = 429, description = "Too many failed logins; see Retry-After", body = Problem,
            headers(("Retry-After" = u64))),
        (status = 503, description = "The users are unavailable; see Retry-After", body = Problem),
    )
)]
pub async fn login(
    State(gateway): State<Shared>,
    ClientAddress(from): ClientAddress,
    body::Json(account): body::Json<Account>,
) -> Result<Response, Problem> {
    let email = account.email.clone();
    let token = gateway
        .accounts
        .login(Some(account.into()), from)
        .await
        .map_err(|e| match e {
            LoginError::Missing | LoginError::Invalid | LoginError::Refused(_) => {
                Problem::unauthorized("Wrong address or password.")
            }
            LoginError::TooMany(wait) => Problem::too_many(wait.as_secs() + 1),
            LoginError::Users(e) => e.into(),
        })?;
    Ok(signed_in(&gateway, email, token).into_response())
}

/// Get a new token before the current one expires.
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", tag = "accounts",
    responses(
        (status = 200, body = SignedIn),
        (status = 501, description = "Tokens come from an auth service that does not renew them", body = Problem),
    )
)]
pub async fn refresh(State(gateway): State<Shared>, session: Session) -> Result<Response, Problem> {
    let token = gateway.accounts.renew(&session.email).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "The auth service does not renew tokens: sign in again when yours has expired.",
        )
    })?;
    Ok(signed_in(&gateway, session.email, token).into_response())
}

/// Log out: removes the browser's cookie. A copy of the token stays valid until it expires.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = "accounts", security(()),
    responses((status = 204, description = "Logged out"))
)]
pub async fn logout(State(gateway): State<Shared>) -> Response {
    let mut headers = HeaderMap::new();
    set_cookie(&gateway, &mut headers, "", 0);
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Get the current user.
#[utoipa::path(
    get, path = "/api/v1/auth/me", tag = "accounts",
    responses((status = 200, body = Me))
)]
pub async fn me(session: Session) -> Json<Me> {
    Json(Me {
        email: session.email,
    })
}

fn signed_in(gateway: &Shared, email: String, token: String) -> impl IntoResponse + use<> {
    let mut headers = HeaderMap::new();
    set_cookie(gateway, &mut headers, &token, LIFETIME);
    let body = SignedIn {
        email,
        token,
        expires_in: LIFETIME,
    };
    (headers, Json(body))
}

fn set_cookie(gateway: &Shared, headers: &mut HeaderMap, token: &str, seconds: i64) {
    let secure = if gateway.secure_cookies {
        "; Secure"
    } else {
        ""
    };
    let base = &gateway.base;
    let cookie = format!(
        "{COOKIE_NAME}={token}; Path={base}/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"
    );
    // A token is base64 and dots.
    if let Ok(value) = cookie.parse() {
        headers.insert(SET_COOKIE, value);
    }
}
