//! For those who run the service.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::problem::Problem;
use crate::telemetry::health;

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operation", security(()), responses((status = 200, body = String)))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// The service can take requests.
#[utoipa::path(
    get, path = "/readyz", tag = "operation", security(()),
    responses((status = 200, body = String), (status = 503, body = String, description = "A backend is out of reach, or the service stops"))
)]
pub async fn readyz(State(gateway): State<Shared>) -> Response {
    health::readiness(Some(&gateway.ports), &gateway.stop).await
}

/// What Prometheus reads.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", security(()),
    responses(
        (status = 200, content_type = "application/openmetrics-text"),
        (status = 503, description = "The ledger is out of reach; Retry-After says when again", body = Problem),
    )
)]
pub async fn metrics(State(gateway): State<Shared>) -> Result<Response, Problem> {
    let census = gateway.ports.jobs.census().await?;
    let text = gateway.metrics.text(&census, gateway.ports.clock.now());
    Ok(health::exposition(text))
}

/// What this service is and allows.
#[derive(Serialize, ToSchema)]
pub struct About {
    version: &'static str,
    /// People may register themselves.
    registration: bool,
    /// Bytes of one video.
    max_upload: u64,
    /// Videos in one request.
    max_files: usize,
}

/// What this service is and allows.
#[utoipa::path(get, path = "/api/v1/about", tag = "operation", security(()), responses((status = 200, body = About)))]
pub async fn about(State(gateway): State<Shared>) -> Json<About> {
    Json(About {
        version: env!("CARGO_PKG_VERSION"),
        registration: gateway.registration,
        max_upload: gateway.limits.upload,
        max_files: gateway.limits.files,
    })
}
