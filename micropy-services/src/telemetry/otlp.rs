//! Sending spans to a collector (OTLP over HTTP, in Protocol Buffers).
//!
//! The SDK sends in batches, on a thread of its own, and drops what a collector does not take in time. Nothing waits
//! for it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, Key};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, Tracer};
use opentelemetry_sdk::{Resource, trace};
use serde_json::{Map, Value};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::registry::LookupSpan;

/// How long a collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the longest tracestate. It is kept with every message, so it may be no longer than the standard asks for
/// (W3C Trace Context, section 3.3.1.5).
const MAX_TRACESTATE: usize = 512;
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Sends spans to a collector.
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// `endpoint` is the collector's base URL.
    pub fn open(endpoint: &str, service: &'static str) -> io::Result<Self> {
        if !endpoint.starts_with("http://") {
            return Err(wrong(
                "otlp_endpoint is the URL of a collector near by, such as http://127.0.0.1:4318"
                    .into(),
            ));
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|e| wrong(format!("otlp_endpoint: {e}")))?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(service))
            .with_batch_exporter(Reporting {
                exporter,
                fails: AtomicBool::new(false),
            })
            .build();
        Ok(Exporter(provider))
    }

    pub fn layer<S>(&self) -> OpenTelemetryLayer<S, Tracer>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("micropy"))
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
    }

    pub fn close(self, within: Duration) {
        // That a collector is unreachable was logged.
        let _ = self.0.shutdown_with_timeout(within);
    }
}

fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// The name of the service. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, which the SDK reads, override ours.
fn resource(service: &'static str) -> Resource {
    let given = Resource::builder().build();
    let name = given.get(&Key::from_static_str("service.name"));
    let named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let resource = Resource::builder().with_attribute(opentelemetry::KeyValue::new(
        "service.version",
        env!("CARGO_PKG_VERSION"),
    ));
    match named {
        true => resource.build(),
        false => resource.with_service_name(service).build(),
    }
}

/// Logs once that the collector fails, and once that it is back.
#[derive(Debug)]
struct Reporting {
    exporter: SpanExporter,
    fails: AtomicBool,
}

impl trace::SpanExporter for Reporting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        match (&sent, self.fails.swap(sent.is_err(), Ordering::Relaxed)) {
            (Err(e), false) => {
                tracing::warn!(error = %e, "the collector of traces fails; they are dropped until it is back");
            }
            (Ok(()), true) => tracing::info!("the collector of traces is back"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Continues the trace that a request names.
pub fn continue_request(span: &Span, headers: &HeaderMap) {
    set_parent(span, &Headers(headers));
}

/// Continues the trace that a message names.
pub fn continue_message(span: &Span, body: &Map<String, Value>) {
    set_parent(span, &Fields(body));
}

fn set_parent(span: &Span, carrier: &dyn Extractor) {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), carrier);
    // It fails only for a span that nobody collects.
    let _ = span.set_parent(parent);
}

/// Writes a span's trace into the headers of a request.
pub fn inject_into_request(span: &Span, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut NewHeaders(headers));
}

/// Writes a span's trace into the body of a message.
pub fn inject_into_message(span: &Span, body: &mut Map<String, Value>) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut NewFields(body));
}

fn allowed<'a>(key: &str, value: &'a str) -> Option<&'a str> {
    (key != TRACESTATE || value.len() <= MAX_TRACESTATE).then_some(value)
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.get_all(key).iter();
        let value = values.next()?.to_str().ok()?;
        // Two headers name no trace (section 3.2): this client starts a new one.
        match values.next() {
            Some(_) => None,
            None => allowed(key, value),
        }
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct NewHeaders<'a>(&'a mut HeaderMap);

impl Injector for NewHeaders<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = match key {
            TRACEPARENT => HeaderName::from_static(TRACEPARENT),
            TRACESTATE if !value.is_empty() => HeaderName::from_static(TRACESTATE),
            _ => return,
        };
        if let Ok(value) = HeaderValue::from_str(&value) {
            self.0.insert(name, value);
        }
    }
}

struct Fields<'a>(&'a Map<String, Value>);

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        allowed(key, self.0.get(key)?.as_str()?)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

struct NewFields<'a>(&'a mut Map<String, Value>);

impl Injector for NewFields<'_> {
    fn set(&mut self, key: &str, value: String) {
        match value.is_empty() {
            true => drop(self.0.remove(key)),
            false => drop(self.0.insert(key.to_owned(), value.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt as _;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(carrier: &dyn Extractor) -> Context {
        TraceContextPropagator::new().extract_with_context(&Context::new(), carrier)
    }

    #[test]
    fn a_trace_survives_a_body() {
        let body = serde_json::json!({ TRACEPARENT: PARENT, TRACESTATE: "a=1", "other": [1] });
        let context = read(&Fields(body.as_object().unwrap()));
        let mut sent = Map::new();
        TraceContextPropagator::new().inject_context(&context, &mut NewFields(&mut sent));
        let sent = Value::Object(sent);
        assert_eq!(
            sent,
            serde_json::json!({ TRACEPARENT: PARENT, TRACESTATE: "a=1" })
        );
    }

    #[test]
    fn the_state_of_another_trace_is_removed() {
        let context = read(&Fields(
            serde_json::json!({ TRACEPARENT: PARENT })
                .as_object()
                .unwrap(),
        ));
        let mut sent = serde_json::json!({ TRACEPARENT: "00-x", TRACESTATE: "a=1" });
        let sent = sent.as_object_mut().unwrap();
        TraceContextPropagator::new().inject_context(&context, &mut NewFields(sent));
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[TRACEPARENT], PARENT);
    }

    #[test]
    fn a_malformed_parent_names_no_trace() {
        for parent in [
            Value::Null,
            1.into(),
            "".into(),
            "00-x".into(),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01".into(),
            "-".repeat(100_000).into(),
        ] {
            let body = serde_json::json!({ TRACEPARENT: parent });
            let context = read(&Fields(body.as_object().unwrap()));
            assert!(!context.span().span_context().is_valid(), "{body}");
        }
    }

    #[test]
    fn a_client_can_neither_grow_messages_nor_name_two_traces() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        let long = format!("a={}", "x".repeat(MAX_TRACESTATE));
        headers.append(TRACESTATE, HeaderValue::try_from(long).unwrap());
        let context = read(&Headers(&headers));
        let span = context.span();
        assert!(span.span_context().is_valid());
        assert_eq!(span.span_context().trace_state().header(), "");
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        let context = read(&Headers(&headers));
        assert!(!context.span().span_context().is_valid());
    }
}
