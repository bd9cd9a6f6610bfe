//! API tokens: what users make for their programs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use micropy_core::ports::auth::{ApiToken, Scopes};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::session::Session;
use super::view::rfc3339;
use super::{Shared, body};

/// An API token, without the token itself.
#[derive(Serialize, ToSchema)]
pub struct TokenView {
    id: String,
    name: String,
    scopes: Vec<&'static str>,
    /// In the format of RFC 3339.
    created: String,
}

impl TokenView {
    pub fn of(token: ApiToken) -> Self {
        TokenView {
            id: token.id,
            name: token.name,
            scopes: token.scopes.names(),
            created: rfc3339(token.created),
        }
    }
}

/// The API tokens of a user.
#[derive(Serialize, ToSchema)]
pub struct TokenList {
    tokens: Vec<TokenView>,
}

/// A new API token.
#[derive(Serialize, ToSchema)]
pub struct NewToken {
    #[serde(flatten)]
    kept: TokenView,
    /// For `Authorization: Bearer …`. It is shown this once: only a hash of it is kept.
    token: String,
}

/// What a program may do.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Upload videos, and cancel, repeat and remove their jobs.
    Convert,
    /// See jobs, and download MP3s.
    Read,
}

/// The API token to be.
#[derive(Deserialize, ToSchema)]
pub struct WantedToken {
    /// What you call it.
    #[schema(
        example = "backup script",
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    /// What it is good for.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
}

/// List your API tokens.
#[utoipa::path(
    get, path = "/api/v1/auth/tokens", tag = "accounts", operation_id = "list_tokens",
    responses(
        (status = 200, body = TokenList),
        (status = 501, description = "The auth service has no API tokens", body = Problem),
    )
)]
pub async fn list(
    State(gateway): State<Shared>,
    session: Session,
) -> Result<Json<TokenList>, Problem> {
    let tokens = gateway.accounts.api_tokens(session.token.reveal()).await?;
    let tokens = tokens.into_iter().map(TokenView::of).collect();
    Ok(Json(TokenList { tokens }))
}

/// Make an API token for a program. Changing your password ends it.
#[utoipa::path(
    post, path = "/api/v1/auth/tokens", tag = "accounts", operation_id = "add_token",
    request_body = WantedToken,
    responses(
        (status = 201, body = NewToken),
        (status = 400, description = "Not JSON, no scope, or an unusable name", body = Problem),
        (status = 409, description = "You have as many tokens as one may have", body = Problem),
        body::JsonProblems,
        (status = 501, description = "The auth service has no API tokens", body = Problem),
    )
)]
pub async fn add(
    State(gateway): State<Shared>,
    session: Session,
    body::Json(WantedToken { name, scopes }): body::Json<WantedToken>,
) -> Result<Response, Problem> {
    let mut wanted = Scopes::default();
    for scope in scopes {
        match scope {
            Scope::Convert => wanted.convert = true,
            Scope::Read => wanted.read = true,
        }
    }
    let token = session.token.reveal();
    let made = gateway.accounts.add_api_token(token, name, wanted).await?;
    let (kept, token) = made;
    let kept = TokenView::of(kept);
    Ok((StatusCode::CREATED, Json(NewToken { kept, token })).into_response())
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub struct TokenId {
    /// The id of the API token
    id: String,
}

/// End an API token.
#[utoipa::path(
    delete, path = "/api/v1/auth/tokens/{id}", tag = "accounts", operation_id = "remove_token",
    params(TokenId),
    responses(
        (status = 204, description = "Ended"),
        (status = 404, description = "You have no such token", body = Problem),
        (status = 501, description = "The auth service has no API tokens", body = Problem),
    )
)]
pub async fn remove(
    State(gateway): State<Shared>,
    session: Session,
    body::Path(TokenId { id }): body::Path<TokenId>,
) -> Result<StatusCode, Problem> {
    let token = session.token.reveal();
    gateway.accounts.remove_api_token(token, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
