//! Takes the place of the exporter in a build without the feature `otlp`.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::http::HeaderMap;
use serde_json::{Map, Value};
use tracing::Span;
use tracing_subscriber::layer::Identity;

/// An exporter that cannot exist.
pub struct Exporter(Infallible);

impl Exporter {
    pub fn open(_: &str, _: &str) -> io::Result<Self> {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "otlp_endpoint needs a build with the feature otlp: cargo build --release --features otlp",
        ))
    }

    pub fn layer(&self) -> Identity {
        match self.0 {}
    }

    pub fn close(self, _: Duration) {
        match self.0 {}
    }
}

pub fn continue_request(_: &Span, _: &HeaderMap) {}

pub fn continue_message(_: &Span, _: &Map<String, Value>) {}

pub fn inject_into_request(_: &Span, _: &mut HeaderMap) {}

pub fn inject_into_message(_: &Span, _: &mut Map<String, Value>) {}
