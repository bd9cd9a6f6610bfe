//! Routes for running the service: health, metrics, and what it allows.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::problem::Problem;
use crate::telemetry;

/// Check that the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operation", security(()), responses((status = 200, body = String)))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Check that the service takes requests.
#[utoipa::path(
    get, path = "/readyz", tag = "operation", security(()),
    responses((status = 200, body = String), (status = 503, body = String, description = "A backend is unavailable, or the service shuts down"))
)]
pub async fn readyz(State(gateway): State<Shared>) -> Response {
    telemetry::readiness(Some(&gateway.ports), &gateway.shutdown).await
}

/// Metrics for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", security(()),
    responses(
        (status = 200, content_type = "application/openmetrics-text"),
        (status = 503, description = "The ledger is unavailable; see Retry-After", body = Problem),
    )
)]
pub async fn metrics(State(gateway): State<Shared>) -> Result<Response, Problem> {
    let census = gateway.ports.jobs.census().await?;
    let text = gateway.metrics.text(&census, gateway.ports.clock.now());
    Ok(telemetry::exposition(text))
}

/// The version and the limits of the service.
#[derive(Serialize, ToSchema)]
pub struct About {
    version: &'static str,
    /// Whether people may register themselves.
    registration: bool,
    /// Bytes of the largest video.
    max_upload: u64,
    /// Videos in one request.
    max_files: usize,
}

/// Get the version and the limits of the service.
#[utoipa::path(get, path = "/api/v1/about", tag = "operation", security(()), responses((status = 200, body = About)))]
pub async fn about(State(gateway): State<Shared>) -> Json<About> {
    Json(About {
        version: env!("CARGO_PKG_VERSION"),
        registration: gateway.accounts.registration(),
        max_upload: gateway.limits.upload,
        max_files: gateway.limits.files,
    })
}
