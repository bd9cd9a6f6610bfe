//! How those who run it look after a service that has no other routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use micropy_core::ports::jobs::Census;
use tokio_util::sync::CancellationToken;

use crate::Ports;
use crate::telemetry::metrics::Metrics;

/// What the routes tell of.
pub struct Health {
    /// None for a service that stands on none.
    pub ports: Option<Ports>,
    pub metrics: Arc<Metrics>,
    pub stop: CancellationToken,
}

type Shared = Arc<Health>;

/// `/healthz`, `/readyz` and `/metrics`.
pub fn router(health: Shared) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Shared>) -> Response {
    readiness(health.ports.as_ref(), &health.stop).await
}

async fn metrics(State(health): State<Shared>) -> Result<Response, Response> {
    let census = census(health.ports.as_ref()).await?;
    let now = health.ports.as_ref().map(|ports| ports.clock.now());
    Ok(exposition(
        health.metrics.text(&census, now.unwrap_or_default()),
    ))
}

/// Whether a service takes requests or work: what its `/readyz` answers.
pub async fn readiness(ports: Option<&Ports>, stop: &CancellationToken) -> Response {
    if stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match census(ports).await {
        Ok(_) => "ready\n".into_response(),
        Err(response) => response,
    }
}

/// What Prometheus reads.
pub fn exposition(text: String) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], text).into_response()
}

/// The ledger as it stands; an empty one for a service that has none.
async fn census(ports: Option<&Ports>) -> Result<Census, Response> {
    let Some(ports) = ports else {
        return Ok(Census::default());
    };
    ports.jobs.census().await.map_err(|e| {
        tracing::warn!(error = %e, "not ready");
        let words = "the job ledger is out of reach\n";
        (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
    })
}
