//! Everything that there is of a user, for that user.

use axum::BoxError;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use micropy_core::ports::Id;
use micropy_core::ports::jobs::Filter;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::session::{Session, while_it_lasts};
use super::tokens::TokenView;
use super::view::{JobView, rfc3339};
use super::webhooks::{DeliveryView, WebhookView};
use super::{Gateway, Shared};
use crate::accounts::AccountError;
use crate::http::hold;

/// Jobs, or deliveries, and bytes that are in memory at once.
const PAGE: usize = 50;
const PAGE_BYTES: usize = 64 << 10;

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
    /// What was sent to the webhooks, or is to be, the latest first.
    deliveries: Vec<DeliveryView>,
}

/// Export your account: your address, your API tokens without the tokens themselves, your webhooks without their
/// secrets and what was sent to them, all jobs, and where their MP3s are.
#[utoipa::path(
    get, path = "/api/v1/auth/export", tag = "accounts",
    responses(
        (status = 200, body = Export),
        (status = 429, description = "You have too many downloads; see Retry-After", body = Problem),
    )
)]
pub async fn export(State(gateway): State<Shared>, session: Session) -> Result<Response, Problem> {
    let slot = gateway.downloads.take(&session.email)?;
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
    // Jobs and deliveries follow in the same object.
    let mut head = head.to_string();
    head.truncate(head.len() - 1);
    head.push_str(",\"jobs\":");
    let lists = stream::try_unfold(Page::Jobs(None), move |page| {
        let (gateway, owner) = (gateway.clone(), session.email.clone());
        async move { gateway.page(&owner, page).await }
    });
    let head = stream::once(async move { Ok::<_, BoxError>(Bytes::from(head)) });
    let body = Body::from_stream(while_it_lasts(watched, head.chain(lists)));
    let body = hold(body, slot);
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (
            CONTENT_DISPOSITION,
            "attachment; filename=\"micropy-account.json\"",
        ),
    ];
    Ok((headers, body).into_response())
}

/// What is to be written next: what is older than that.
enum Page {
    Jobs(Option<Id>),
    Deliveries(Option<Id>),
    End,
}

impl Gateway {
    /// A page of a user's jobs or deliveries as a part of a JSON array, and the one after it.
    async fn page(&self, owner: &str, page: Page) -> Result<Option<(Bytes, Page)>, BoxError> {
        let mut text = String::from(match page {
            Page::Jobs(None) | Page::Deliveries(None) => "[",
            Page::Jobs(_) | Page::Deliveries(_) => "",
            Page::End => return Ok(None),
        });
        let turn = self.readers.wait(owner.to_owned()).await;
        let next = match page {
            Page::Jobs(before) => {
                let filter = Filter {
                    before,
                    ..Filter::default()
                };
                let next = self.write_jobs(&mut text, owner, filter, PAGE, PAGE_BYTES);
                match next.await? {
                    None => {
                        text.push_str("],\"deliveries\":");
                        Page::Deliveries(None)
                    }
                    before => Page::Jobs(before),
                }
            }
            Page::Deliveries(before) => {
                let next = self.write_deliveries(&mut text, owner, None, before, PAGE, PAGE_BYTES);
                match next.await? {
                    None => {
                        text.push_str("]}");
                        Page::End
                    }
                    before => Page::Deliveries(before),
                }
            }
            Page::End => Page::End,
        };
        drop(turn);
        Ok(Some((text.into(), next)))
    }
}
