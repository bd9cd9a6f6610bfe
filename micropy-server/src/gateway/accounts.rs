//! Registering, signing in and out.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::session::{COOKIE_NAME, Session};
use super::{Shared, body};
use crate::services::login::{Credentials, LoginError};
use crate::services::token;

const SHORTEST_PASSWORD: usize = 8;
/// Longer ones only cost time.
const LONGEST: usize = 254;

/// Who wants to sign in or to register.
#[derive(Deserialize, ToSchema)]
pub struct Account {
    /// Compared letter by letter: another letter case is another account.
    #[schema(example = "ann@example.com")]
    email: String,
    /// At least 8 characters, to register.
    #[schema(format = Password)]
    password: String,
}

/// Somebody signed in.
#[derive(Serialize, ToSchema)]
pub struct SignedIn {
    email: String,
    /// A JSON Web Token, for `Authorization: Bearer …`. Browsers have it as a cookie as well.
    token: String,
    /// Seconds the token is good for.
    expires_in: i64,
}

/// Who is signed in.
#[derive(Serialize, ToSchema)]
pub struct Me {
    email: String,
}

/// Register, and sign in.
#[utoipa::path(
    post, path = "/api/v1/auth/register", tag = "accounts", security(()),
    request_body = Account,
    responses(
        (status = 201, body = SignedIn),
        (status = 400, description = "No e-mail address, or too short a password", body = Problem),
        (status = 403, description = "Registration is switched off", body = Problem),
        (status = 409, description = "The address is registered already", body = Problem),
    )
)]
pub async fn register(
    State(gateway): State<Shared>,
    body::Json(account): body::Json<Account>,
) -> Result<Response, Problem> {
    if !gateway.registration {
        return Err(Problem::forbidden("Registration is switched off here."));
    }
    check(&account)?;
    gateway
        .ports
        .users
        .register(&account.email, &account.password)
        .await?;
    let token = gateway.login.issue(&account.email);
    Ok((
        StatusCode::CREATED,
        signed_in(&gateway, account.email, token),
    )
        .into_response())
}

/// Sign in.
#[utoipa::path(
    post, path = "/api/v1/auth/login", tag = "accounts", security(()),
    request_body = Account,
    responses(
        (status = 200, body = SignedIn),
        (status = 401, description = "Wrong address or password", body = Problem),
        (status = 429, description = "Too many failed logins; Retry-After says when again", body = Problem),
    )
)]
pub async fn login(
    State(gateway): State<Shared>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    body::Json(account): body::Json<Account>,
) -> Result<Response, Problem> {
    let credentials = Credentials {
        email: account.email.clone(),
        password: account.password,
    };
    let token = gateway
        .login
        .login(Some(credentials), from.ip())
        .await
        .map_err(|e| match e {
            LoginError::Missing | LoginError::Invalid => {
                Problem::unauthorized("Wrong address or password.")
            }
            LoginError::TooMany(wait) => Problem::too_many(wait.as_secs() + 1),
            LoginError::Users(e) => e.into(),
        })?;
    Ok(signed_in(&gateway, account.email, token).into_response())
}

/// A new token, for as long as the present one is good.
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", tag = "accounts",
    responses((status = 200, body = SignedIn), (status = 401, body = Problem))
)]
pub async fn refresh(State(gateway): State<Shared>, session: Session) -> Response {
    let token = gateway.login.issue(&session.email);
    signed_in(&gateway, session.email, token).into_response()
}

/// Sign out: takes the browser's cookie away. A token that was copied is good until it expires.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = "accounts", security(()),
    responses((status = 204, description = "Signed out"))
)]
pub async fn logout(State(gateway): State<Shared>) -> Response {
    let mut headers = HeaderMap::new();
    set_cookie(&gateway, &mut headers, "", 0);
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Who is signed in.
#[utoipa::path(
    get, path = "/api/v1/auth/me", tag = "accounts",
    responses((status = 200, body = Me), (status = 401, body = Problem))
)]
pub async fn me(session: Session) -> Json<Me> {
    Json(Me {
        email: session.email,
    })
}

fn signed_in(gateway: &Shared, email: String, token: String) -> impl IntoResponse + use<> {
    let mut headers = HeaderMap::new();
    set_cookie(gateway, &mut headers, &token, token::LIFETIME);
    let body = SignedIn {
        email,
        token,
        expires_in: token::LIFETIME,
    };
    (headers, Json(body))
}

fn set_cookie(gateway: &Shared, headers: &mut HeaderMap, token: &str, seconds: i64) {
    let secure = if gateway.secure { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"
    );
    // A token is base64 and dots.
    if let Ok(value) = cookie.parse() {
        headers.insert(SET_COOKIE, value);
    }
}

fn check(account: &Account) -> Result<(), Problem> {
    let Account { email, password } = account;
    let is_address = email
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    let is_clean = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if !is_address || !is_clean || email.len() > LONGEST {
        return Err(Problem::bad_request("This is not an e-mail address."));
    }
    if password.chars().count() < SHORTEST_PASSWORD || password.len() > LONGEST {
        return Err(Problem::bad_request(format!(
            "A password has at least {SHORTEST_PASSWORD} characters."
        )));
    }
    Ok(())
}
