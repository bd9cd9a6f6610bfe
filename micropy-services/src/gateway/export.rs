//! Everything that there is of a user, for that user.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use micropy_core::ports::Id;
use micropy_core::ports::jobs::{Error, Filter};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::session::{Session, while_it_lasts};
use super::tokens::TokenView;
use super::view::{JobView, rfc3339};
use super::webhooks::WebhookView;
use super::{Gateway, Shared};
use crate::accounts::AccountError;

/// Jobs that are in memory at once.
const PAGE: usize = 200;

/// Everything that there is of a user.
#[derive(Serialize, ToSchema)]
pub struct Export {
    /// When it was made, in the format of RFC 3339.
    exported: String,
    email: String,
    /// Whether the address is confirmed.
    confirmed: bool,
    tokens: Vec<TokenView>,
    webhooks: Vec<WebhookView>,
    /// All jobs, the latest first, with where to download their MP3s.
    jobs: Vec<JobView>,
}

/// Export your account: your address, your API tokens without the tokens themselves, your webhooks without their
/// secrets, all jobs, and where their MP3s are.
#[utoipa::path(
    get, path = "/api/v1/auth/export", tag = "accounts",
    responses((status = 200, body = Export))
)]
pub async fn export(State(gateway): State<Shared>, session: Session) -> Result<Response, Problem> {
    let tokens = match gateway.accounts.api_tokens(session.token.reveal()).await {
        Ok(tokens) => tokens,
        Err(AccountError::Unsupported) => Vec::new(),
        Err(e) => return Err(e.into()),
    };
    let tokens: Vec<TokenView> = tokens.into_iter().map(TokenView::of).collect();
    let webhooks = gateway.ports.webhooks.endpoints(&session.email).await?;
    let webhooks: Vec<WebhookView> = webhooks.into_iter().map(WebhookView::of).collect();
    let head = serde_json::json!({
        "exported": rfc3339(gateway.ports.clock.now()),
        "email": session.email,
        "confirmed": session.is_verified,
        "tokens": tokens,
        "webhooks": webhooks,
    });
    let watched = gateway.watch(&session);
    // The jobs follow in the same object.
    let mut head = head.to_string();
    head.truncate(head.len() - 1);
    head.push_str(",\"jobs\":[");
    let jobs = stream::try_unfold(Page::First, move |page| {
        let (gateway, owner) = (gateway.clone(), session.email.clone());
        async move { gateway.page(&owner, page).await }
    });
    let head = stream::once(async move { Ok::<_, Error>(Bytes::from(head)) });
    let body = Body::from_stream(while_it_lasts(watched, head.chain(jobs)));
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (
            CONTENT_DISPOSITION,
            "attachment; filename=\"micropy-account.json\"",
        ),
    ];
    Ok((headers, body).into_response())
}

/// What is to be written next.
enum Page {
    First,
    Before(Id),
    End,
}

impl Gateway {
    /// A page of a user's jobs as a part of a JSON array, and the one after it.
    async fn page(&self, owner: &str, page: Page) -> Result<Option<(Bytes, Page)>, Error> {
        let before = match page {
            Page::First => None,
            Page::Before(id) => Some(id),
            Page::End => return Ok(None),
        };
        let filter = Filter {
            before,
            ..Filter::default()
        };
        let turn = self.readers.wait(owner.to_owned()).await;
        let jobs = self.ports.jobs.list(owner, &filter, PAGE).await?;
        drop(turn);
        let next = match jobs.last() {
            Some(last) if jobs.len() == PAGE => Page::Before(last.id),
            _ => Page::End,
        };
        let mut text = String::new();
        for (n, job) in jobs.into_iter().enumerate() {
            if before.is_some() || n > 0 {
                text.push(',');
            }
            // Plain structs always serialise.
            text += &serde_json::to_string(&self.view(job)).unwrap_or_else(|e| unreachable!("{e}"));
        }
        if matches!(next, Page::End) {
            text.push_str("]}");
        }
        Ok(Some((text.into(), next)))
    }
}
