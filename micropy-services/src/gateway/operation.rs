//! Routes about the service: that it is alive, and what it allows.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;

/// Check that the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operation", security(()), responses((status = 200, body = String)))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// The version and the limits of the service.
#[derive(Serialize, ToSchema)]
pub struct About {
    version: &'static str,
    /// Whether people may register themselves.
    registration: bool,
    /// Whether users have to confirm their address before they may convert anything.
    confirmation: bool,
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
        confirmation: gateway.accounts.confirmation(),
        max_upload: gateway.limits.upload,
        max_files: gateway.limits.files,
    })
}
