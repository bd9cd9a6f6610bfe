//! Webhooks: where users want their programs to be told of jobs, and what was sent there.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micropy_core::ports::Id;
use micropy_core::ports::notifier::SigningSecret;
use micropy_core::ports::webhooks::{self, Delivery, DeliveryState, Endpoint};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::{self, Path, Query};
use super::jobs::{MAX_PAGE, PAGE, PAGE_BYTES};
use super::problem::Problem;
use super::session::Session;
use super::view::rfc3339;
use super::{Gateway, Shared};
use crate::http;
use crate::job::options::ConversionOptions;

/// Webhooks that one user may have.
const MAX_WEBHOOKS: usize = 20;
/// Deliveries that are kept of a webhook: so many that are pending, and so many that have ended. They count against no
/// quota. Most have a few kilobytes; one with the longest report, some 25.
pub const MAX_DELIVERIES: usize = 2000;
/// Bytes of the longest URL.
const MAX_URL: usize = 2000;
/// Bytes of a secret.
const SECRET: usize = 32;
/// Deliveries that are read from the store at once.
const STEP: usize = 50;

/// A webhook, without its secret.
#[derive(Serialize, ToSchema)]
pub struct WebhookView {
    id: String,
    /// Where all your jobs are announced. None: the secret signs what is sent to URLs that single jobs name.
    url: Option<String>,
    /// In the format of RFC 3339.
    created: String,
}

impl WebhookView {
    pub fn of(endpoint: Endpoint) -> Self {
        WebhookView {
            id: endpoint.id.to_string(),
            url: endpoint.url,
            created: rfc3339(endpoint.created),
        }
    }
}

/// The webhooks of a user.
#[derive(Serialize, ToSchema)]
pub struct WebhookList {
    webhooks: Vec<WebhookView>,
}

/// A new webhook.
#[derive(Serialize, ToSchema)]
pub struct NewWebhook {
    #[serde(flatten)]
    kept: WebhookView,
    /// What verifies the signatures, by any library of Standard Webhooks. It is shown this once.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

/// The webhook to be.
#[derive(Deserialize, ToSchema)]
pub struct WantedWebhook {
    /// Where all your jobs are announced: `http` or `https`. Without it you get the secret for webhooks that single jobs
    /// name, which replaces the one before.
    #[schema(example = "https://example.com/hooks/micropy", max_length = 2000)]
    url: Option<String>,
}

/// What was sent, or is to be sent, to a webhook.
#[derive(Serialize, ToSchema)]
pub struct DeliveryView {
    /// The `webhook-id` of the message.
    id: String,
    /// The webhook whose secret signs it.
    webhook: String,
    /// The job that it is about.
    job: String,
    url: String,
    #[schema(pattern = "^job\\.(done|failed)$")]
    event: String,
    #[schema(pattern = "^(pending|delivered|failed)$")]
    state: &'static str,
    /// How often it was sent.
    attempts: u32,
    /// When it is sent next, while it is pending. All times are in the format of RFC 3339.
    due: Option<String>,
    /// What came of the last attempt.
    answer: Option<String>,
    created: String,
    updated: String,
}

impl DeliveryView {
    pub fn of(delivery: Delivery) -> Self {
        let is_pending = delivery.state == DeliveryState::Pending;
        DeliveryView {
            id: delivery.id.to_string(),
            webhook: delivery.endpoint.to_string(),
            job: delivery.job.to_string(),
            url: delivery.url,
            event: delivery.event,
            state: delivery.state.name(),
            attempts: delivery.attempts,
            due: is_pending.then(|| rfc3339(delivery.due)),
            answer: delivery.answer,
            created: rfc3339(delivery.created),
            updated: rfc3339(delivery.updated),
        }
    }
}

/// A page of deliveries, newest first.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it describes in the document what is written delivery by delivery"
)]
struct DeliveryPage {
    deliveries: Vec<DeliveryView>,
    /// The `before` of the next page, if there is one.
    next: Option<String>,
}

/// List your webhooks.
#[utoipa::path(
    get, path = "/api/v1/auth/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    responses((status = 200, body = WebhookList))
)]
pub async fn list(
    State(gateway): State<Shared>,
    session: Session,
) -> Result<Json<WebhookList>, Problem> {
    let endpoints = gateway.ports.webhooks.endpoints(&session.email).await?;
    let webhooks = endpoints.into_iter().map(WebhookView::of).collect();
    Ok(Json(WebhookList { webhooks }))
}

/// Add a webhook, which is called whenever one of your jobs is done or has failed.
///
/// Messages are signed by the Standard Webhooks specification, and sent again for three days until they are accepted
/// with a status of 200 to 299.
#[utoipa::path(
    post, path = "/api/v1/auth/webhooks", tag = "webhooks", operation_id = "add_webhook",
    request_body = WantedWebhook,
    responses(
        (status = 201, body = NewWebhook),
        (status = 400, description = "Not JSON, or an unusable URL", body = Problem),
        (status = 409, description = "You have as many webhooks as one may have", body = Problem),
        body::JsonProblems,
    )
)]
pub async fn add(
    State(gateway): State<Shared>,
    session: Session,
    body::Json(WantedWebhook { url }): body::Json<WantedWebhook>,
) -> Result<Response, Problem> {
    gateway.check_confirmed(&session)?;
    if let Some(url) = &url {
        check_url(url).map_err(Problem::bad_request)?;
    }
    let _turn = gateway.admission.lock(&session.email).await;
    let webhooks = &gateway.ports.webhooks;
    let own = webhooks.endpoints(&session.email).await?;
    // The one without a URL is given another secret where it is there.
    let is_new = url.is_some() || own.iter().all(|endpoint| endpoint.url.is_some());
    if is_new && own.len() >= MAX_WEBHOOKS {
        let detail = format!("You have {MAX_WEBHOOKS} webhooks already.");
        return Err(Problem::conflict(detail));
    }
    let mut random = [0; SECRET];
    // The operating system's generator does not fail on a system that still works.
    getrandom::fill(&mut random).unwrap_or_else(|e| panic!("no random numbers: {e}"));
    let secret = format!("whsec_{}", STANDARD.encode(random));
    let endpoint = Endpoint {
        id: gateway.ports.new_id(),
        owner: session.email.clone(),
        url,
        secret: SigningSecret::new(&*secret),
        created: gateway.ports.clock.now(),
    };
    let kept = webhooks.add_endpoint(&endpoint).await?;
    // Whoever removes an account removes its webhooks after it, and may have come too early for this one.
    if gateway.has_just_ended(&session).await {
        webhooks.remove_endpoint(&session.email, kept.id).await?;
        return Err(Problem::session_ended());
    }
    let kept = WebhookView::of(kept);
    Ok((StatusCode::CREATED, Json(NewWebhook { kept, secret })).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct WebhookId {
    /// The id of the webhook
    id: String,
}

/// Remove a webhook with its deliveries.
#[utoipa::path(
    delete, path = "/api/v1/auth/webhooks/{id}", tag = "webhooks", operation_id = "remove_webhook",
    params(WebhookId),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "You have no such webhook", body = Problem),
    )
)]
pub async fn remove(
    State(gateway): State<Shared>,
    session: Session,
    Path(WebhookId { id }): Path<WebhookId>,
) -> Result<StatusCode, Problem> {
    let id: Id = id.parse().map_err(|_| Problem::not_found())?;
    let webhooks = &gateway.ports.webhooks;
    webhooks.remove_endpoint(&session.email, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The deliveries to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeliverySelection {
    /// Only those about this job.
    #[param(pattern = "^[0-9a-fA-F]{24}$")]
    job: Option<String>,
    /// Only deliveries older than this one: the `next` of the previous page.
    #[param(pattern = "^[0-9a-fA-F]{24}$")]
    before: Option<String>,
    /// How many at most, up to 500. The default is 50. Where they would be more than a megabyte, there are fewer.
    #[param(maximum = 65535)]
    limit: Option<u16>,
}

/// List what was sent to your webhooks, newest first.
#[utoipa::path(
    get, path = "/api/v1/deliveries", tag = "webhooks", operation_id = "list_deliveries",
    params(DeliverySelection),
    responses((status = 200, body = DeliveryPage), (status = 400, body = Problem))
)]
pub async fn deliveries(
    State(gateway): State<Shared>,
    session: Session,
    Query(selection): Query<DeliverySelection>,
) -> Result<Response, Problem> {
    let id = |text: Option<String>| match text {
        Some(text) => text
            .parse::<Id>()
            .map(Some)
            .map_err(|_| Problem::bad_request(format!("{text:?} is not an id"))),
        None => Ok(None),
    };
    let (job, before) = (id(selection.job)?, id(selection.before)?);
    let limit = selection.limit.map_or(PAGE, usize::from);
    let limit = limit.clamp(1, MAX_PAGE);
    let turn = gateway.readers.wait(session.email.clone()).await;
    let mut page = String::from("{\"deliveries\":[");
    let next = gateway
        .write_deliveries(&mut page, &session.email, job, before, limit, PAGE_BYTES)
        .await?;
    let next = serde_json::json!(next.map(|id| id.to_string()));
    page += &format!("],\"next\":{next}}}");
    let body = http::hold_text(page, turn);
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct DeliveryId {
    /// The id of the delivery
    id: String,
}

/// Send a message to a webhook again, with the same id and the same content.
#[utoipa::path(
    post, path = "/api/v1/deliveries/{id}/resend", tag = "webhooks", operation_id = "resend_delivery",
    params(DeliveryId),
    responses(
        (status = 200, body = DeliveryView),
        (status = 404, description = "You have no such delivery", body = Problem),
        (status = 409, description = "Too many others to this webhook are pending", body = Problem),
    )
)]
pub async fn resend(
    State(gateway): State<Shared>,
    session: Session,
    Path(DeliveryId { id }): Path<DeliveryId>,
) -> Result<Json<DeliveryView>, Problem> {
    gateway.check_confirmed(&session)?;
    let id: Id = id.parse().map_err(|_| Problem::not_found())?;
    let webhooks = &gateway.ports.webhooks;
    let delivery = webhooks.resend(&session.email, id, MAX_DELIVERIES);
    let delivery = delivery.await?;
    Ok(Json(DeliveryView::of(delivery)))
}

impl Gateway {
    /// Appends a user's deliveries to a part of a JSON array: up to `limit`, or until the text has so many bytes. Returns
    /// the last one's id where there are more.
    pub(super) async fn write_deliveries(
        &self,
        text: &mut String,
        owner: &str,
        job: Option<Id>,
        mut before: Option<Id>,
        limit: usize,
        bytes: usize,
    ) -> Result<Option<Id>, webhooks::Error> {
        let webhooks = &self.ports.webhooks;
        let mut written = 0;
        loop {
            let step = STEP.min(limit - written);
            // One more tells whether there is another page.
            let found = webhooks.deliveries(owner, job, before, step + 1).await?;
            let mut found = found.into_iter();
            for delivery in found.by_ref().take(step) {
                before = Some(delivery.id);
                if !text.ends_with('[') {
                    text.push(',');
                }
                // Plain structs always serialise.
                let view = serde_json::to_string(&DeliveryView::of(delivery));
                *text += &view.unwrap_or_else(|e| unreachable!("{e}"));
                written += 1;
                if text.len() >= bytes {
                    break;
                }
            }
            if found.as_slice().is_empty() {
                return Ok(None);
            }
            if written == limit || text.len() >= bytes {
                return Ok(before);
            }
        }
    }

    /// Refuses a webhook that a job names and that could not be called, or not be signed.
    pub(super) async fn check_webhook(
        &self,
        session: &Session,
        options: &ConversionOptions,
    ) -> Result<(), Problem> {
        let Some(url) = &options.webhook else {
            return Ok(());
        };
        check_url(url).map_err(|why| Problem::bad_request(format!("webhook: {why}")))?;
        let endpoints = self.ports.webhooks.endpoints(&session.email).await?;
        match endpoints.iter().any(|endpoint| endpoint.url.is_none()) {
            true => Ok(()),
            false => Err(Problem::bad_request(
                "webhook: make a secret first, by POST /api/v1/auth/webhooks without a url: what is sent is signed with it.",
            )),
        }
    }
}

/// Whether a URL may be called; otherwise why not. Where it leads is looked at when it is.
pub fn check_url(url: &str) -> Result<(), String> {
    let parsed = url.parse::<Uri>().ok();
    let authority = parsed.as_ref().and_then(Uri::authority);
    let scheme = parsed.as_ref().and_then(Uri::scheme_str);
    match (scheme, authority) {
        _ if url.len() > MAX_URL => Err(format!("the URL has more than {MAX_URL} bytes")),
        (Some("http" | "https"), Some(host)) if host.as_str().contains('@') => {
            Err("the URL holds a user or a password".into())
        }
        (Some("http" | "https"), Some(host)) if !host.host().is_empty() => Ok(()),
        _ => Err("it is not a URL that begins with https:// or http://".into()),
    }
}

impl From<webhooks::Error> for Problem {
    fn from(e: webhooks::Error) -> Self {
        match e {
            webhooks::Error::NotFound => Problem::not_found(),
            webhooks::Error::Rejected(why) => Problem::conflict(why),
            webhooks::Error::Unavailable(e) => Problem::unavailable(&e),
            e => Problem::internal(&e),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use axum::body::{Body, HttpBody as _};
    use axum::http::Request;
    use axum::http::header::AUTHORIZATION;
    use micropy_core::ports::Clock as _;
    use micropy_core::ports::memory::MemoryAuth;
    use micropy_core::ports::time::{ManualClock, Timestamp};
    use micropy_core::ports::webhooks::Outgoing;
    use tower::ServiceExt as _;

    use super::*;
    use crate::Ports;
    use crate::accounts::{Accounts as _, Credentials, LocalAccounts, Secret};

    const ANN: &str = "ann@example.com";

    /// A gateway where Ann was sent something so many times, each with the longest URL and answer, and her token.
    async fn with_long_deliveries(count: u32) -> (Gateway, String) {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let ports = Ports::in_memory(clock.clone());
        let now = clock.now();
        let deliveries = (1..=count).map(|n| {
            let mut id = [1; 12];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let delivery = Delivery {
                id: Id::from_bytes(id),
                owner: ANN.to_owned(),
                endpoint: Id::from_bytes([2; 12]),
                job: Id::from_bytes([3; 12]),
                url: "u".repeat(MAX_URL),
                event: "job.done".to_owned(),
                state: DeliveryState::Pending,
                attempts: 1,
                due: now,
                answer: Some("\u{1}".repeat(300)),
                created: now,
                updated: now,
            };
            let payload = String::new();
            Outgoing { delivery, payload }
        });
        let deliveries: Vec<_> = deliveries.collect();
        let most = deliveries.len();
        ports.webhooks.plan(&deliveries, most).await.unwrap();
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let accounts = LocalAccounts::new(Arc::new(MemoryAuth::default()), clock, &secret);
        let account = Credentials {
            email: ANN.to_owned(),
            password: "correct horse".to_owned(),
        };
        let token = accounts.register(account, [192, 0, 2, 1].into()).await;
        (Gateway::new(ports, Arc::new(accounts)), token.unwrap())
    }

    async fn listed(gateway: &Gateway, token: &str, query: &str) -> Response {
        get(
            gateway,
            token,
            &format!("/api/v1/deliveries?limit=500{query}"),
        )
        .await
    }

    async fn get(gateway: &Gateway, token: &str, path: &str) -> Response {
        let request = Request::get(path)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::empty());
        gateway.router().oneshot(request.unwrap()).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn deliveries_of_a_user_whose_client_reads_slowly_are_few_and_small() {
        let (gateway, token) = with_long_deliveries(500).await;
        let list = || listed(&gateway, &token, "");
        let mut unread = Vec::new();
        while let Ok(response) = tokio::time::timeout(Duration::from_secs(60), list()).await {
            let bytes = response.body().size_hint().exact();
            assert!(bytes.unwrap() < PAGE_BYTES as u64 + (8 << 10), "{bytes:?}");
            unread.push(response);
            assert!(unread.len() <= 2, "at a time");
        }
        assert_eq!(unread.len(), 2);
        unread.pop();
        assert_eq!(list().await.status(), StatusCode::OK, "one was dropped");
    }

    #[tokio::test]
    async fn deliveries_are_exported_in_small_pieces() {
        let (gateway, token) = with_long_deliveries(120).await;
        let export = get(&gateway, &token, "/api/v1/auth/export").await;
        let mut body = export.into_body().into_data_stream();
        let mut whole = Vec::new();
        while let Some(piece) = futures_util::StreamExt::next(&mut body).await {
            let piece = piece.unwrap();
            assert!(piece.len() < 96 << 10, "{}", piece.len());
            whole.extend_from_slice(&piece);
        }
        let exported: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        let deliveries = exported["deliveries"].as_array().unwrap();
        assert_eq!(deliveries.len(), 120);
        assert_eq!(exported["jobs"], serde_json::json!([]));
    }

    #[tokio::test]
    async fn deliveries_that_are_too_much_for_a_page_are_on_the_next() {
        let (gateway, token) = with_long_deliveries(700).await;
        let (mut seen, mut pages, mut query) = (Vec::new(), 0, String::new());
        loop {
            let page = listed(&gateway, &token, &query).await.into_body();
            let page = axum::body::to_bytes(page, usize::MAX).await.unwrap();
            let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
            let ids = page["deliveries"].as_array().unwrap().iter();
            seen.extend(ids.map(|delivery| delivery["id"].as_str().unwrap().to_owned()));
            pages += 1;
            match page["next"].as_str() {
                Some(next) => query = format!("&before={next}"),
                None => break,
            }
        }
        assert!(pages > 2, "{pages}");
        assert_eq!(seen.len(), 700);
        assert!(seen.is_sorted_by(|later, earlier| later > earlier));
    }
}
