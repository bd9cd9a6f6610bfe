//! Sending spans to a collector (OTLP over HTTP, in Protocol Buffers).
//!
//! The SDK sends in batches, on a thread of its own, and drops what a collector does not take in time:
//! nothing waits for it.

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

/// How long a collector has to take a batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What a tracestate may have at least is what it may have here: it is kept with every message (W3C Trace
/// Context, section 3.3.1.5).
const LONGEST_TRACESTATE: usize = 512;
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The way to a collector.
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// `endpoint` is the collector's base URL; traces have their path below it.
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
        // A collector that is away was reported.
        let _ = self.0.shutdown_with_timeout(within);
    }
}

fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Who sends: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, which the SDK reads, count more than our
/// own name.
fn resource(service: &'static str) -> Resource {
    let said = Resource::builder().build();
    let name = said.get(&Key::from_static_str("service.name"));
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

/// Says once that a collector is away, and once that it is back.
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

/// Makes a span a part of the trace that the request's client names.
pub fn continue_request(span: &Span, headers: &HeaderMap) {
    follow(span, &Headers(headers));
}

/// Makes a span a part of the trace that a message's body names.
pub fn continue_message(span: &Span, body: &Map<String, Value>) {
    follow(span, &Fields(body));
}

fn follow(span: &Span, carrier: &dyn Extractor) {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), carrier);
    // Only a span that nobody collects has no parent.
    let _ = span.set_parent(parent);
}

/// Names a span's trace in the headers of a request.
pub fn name_request(span: &Span, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut NewHeaders(headers));
}

/// Names a span's trace in the body of a message.
pub fn name_message(span: &Span, body: &mut Map<String, Value>) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut NewFields(body));
}

fn allowed<'a>(key: &str, value: &'a str) -> Option<&'a str> {
    (key != TRACESTATE || value.len() <= LONGEST_TRACESTATE).then_some(value)
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.get_all(key).iter();
        let value = values.next()?.to_str().ok()?;
        // Two of them are no name (section 3.2): a client that repeats itself starts a trace of its own.
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
    fn a_body_names_the_trace_it_was_read_from() {
        let body = serde_json::json!({ TRACEPARENT: PARENT, TRACESTATE: "a=1", "other": [1] });
        let context = read(&Fields(body.as_object().unwrap()));
        let mut told = Map::new();
        TraceContextPropagator::new().inject_context(&context, &mut NewFields(&mut told));
        let told = Value::Object(told);
        assert_eq!(
            told,
            serde_json::json!({ TRACEPARENT: PARENT, TRACESTATE: "a=1" })
        );
    }

    #[test]
    fn a_state_of_another_trace_does_not_stay() {
        let context = read(&Fields(
            serde_json::json!({ TRACEPARENT: PARENT })
                .as_object()
                .unwrap(),
        ));
        let mut told = serde_json::json!({ TRACEPARENT: "00-x", TRACESTATE: "a=1" });
        let told = told.as_object_mut().unwrap();
        TraceContextPropagator::new().inject_context(&context, &mut NewFields(told));
        assert_eq!(told.len(), 1);
        assert_eq!(told[TRACEPARENT], PARENT);
    }

    #[test]
    fn what_is_no_name_of_a_trace_names_none() {
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
    fn a_client_cannot_grow_messages_nor_name_two_traces() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        let long = format!("a={}", "x".repeat(LONGEST_TRACESTATE));
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
