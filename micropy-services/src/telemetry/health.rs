//! Whether a service is alive and ready, and its metrics, over HTTP: for those who run it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use micropy_core::ports::jobs::{self, Census};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::Ports;

/// `/healthz`, `/readyz` and `/metrics`, to be served at an address of their own: users have no use for them.
#[derive(Clone)]
pub struct Health {
    ports: Option<Ports>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
}

impl Health {
    /// The health of services that use `ports`, if any. They are not ready once `shutdown` is cancelled.
    pub fn new(ports: Option<Ports>, metrics: Arc<Metrics>, shutdown: CancellationToken) -> Self {
        Health {
            ports,
            metrics,
            shutdown,
        }
    }

    /// The routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self.clone())
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    readiness(health.ports.as_ref(), &health.shutdown).await
}

async fn metrics(State(health): State<Health>) -> Result<Response, Response> {
    let census = census(health.ports.as_ref()).await?;
    let now = health.ports.as_ref().map(|ports| ports.clock.now());
    Ok(exposition(
        health.metrics.text(&census, now.unwrap_or_default()),
    ))
}

/// The response of `/readyz`: whether a service takes requests or work.
async fn readiness(ports: Option<&Ports>, shutdown: &CancellationToken) -> Response {
    if shutdown.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    let Some(ports) = ports else {
        return "ready\n".into_response();
    };
    // One row, however many jobs there are.
    match ports.jobs.identity().await {
        Ok(_) => "ready\n".into_response(),
        Err(e) => unavailable(&e),
    }
}

/// The response of `/metrics`.
fn exposition(text: String) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], text).into_response()
}

/// The counts of the ledger; empty for a service that uses none.
async fn census(ports: Option<&Ports>) -> Result<Census, Response> {
    let Some(ports) = ports else {
        return Ok(Census::default());
    };
    ports.jobs.census().await.map_err(|e| unavailable(&e))
}

fn unavailable(e: &jobs::Error) -> Response {
    tracing::warn!(error = %e, "not ready");
    let text = "the job ledger is unavailable\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}
