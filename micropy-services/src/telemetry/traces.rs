//! Traces: what all services did for one upload (OpenTelemetry).
//!
//! The spans have a target of their own. Unless [`Telemetry`] collects them, nothing listens to that target: no span is
//! made, and no message gets a key.
//!
//! The context of a trace travels in the body of a message, as `traceparent` and `tracestate` (W3C Trace
//! Context): an original converter passes on the keys of a body, and no headers.

#[cfg(not(feature = "otlp"))]
use super::absent as exporter;
#[cfg(feature = "otlp")]
use super::otlp as exporter;

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use micropy_core::ports::jobs::{Topic, Topics};
use micropy_core::ports::{BackendError, Id};
use serde_json::{Map, Value};
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span, Subscriber, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Directive, LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use crate::accounts::Connections;
use crate::job::message::Body;

/// The target of all spans, and of nothing else.
const TARGET: &str = "micropy_trace";
/// Requested every few seconds by orchestrators: not worth a trace.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Bytes kept of text that comes from outside.
const MAX_TEXT: usize = 256;

/// Set where spans are collected.
static MESSAGING: OnceLock<Messaging> = OnceLock::new();

/// How spans name the queues.
#[derive(Clone, Debug)]
pub struct Messaging {
    /// `messaging.system`, such as `rabbitmq`.
    pub system: &'static str,
    /// The queue of each topic.
    pub queues: Topics<String>,
}

/// Collects spans and sends them to a collector, or does nothing.
pub struct Telemetry(Option<exporter::Exporter>);

impl Telemetry {
    /// Collects nothing.
    pub fn off() -> Self {
        Telemetry(None)
    }

    /// Sends the spans of the services that are together called `service` to the collector at `endpoint`, the
    /// base URL of OTLP over HTTP. The collector need not be up yet. The SDK reads `OTEL_SERVICE_NAME` and
    /// `OTEL_RESOURCE_ATTRIBUTES` from the environment, and they override `service`.
    ///
    /// # Errors
    /// When the endpoint is not such a URL, or this build has no feature `otlp`.
    pub fn open(endpoint: &str, service: &'static str, messaging: Messaging) -> io::Result<Self> {
        let exporter = exporter::Exporter::open(endpoint, service)?;
        // A process opens it only once.
        let _ = MESSAGING.set(messaging);
        Ok(Telemetry(Some(exporter)))
    }

    /// The layer that collects the spans, for the process's subscriber.
    pub fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let spans = filter_fn(|metadata| metadata.target() == TARGET);
        Some(self.0.as_ref()?.layer().with_filter(spans))
    }

    /// The filter that keeps the spans out of the log.
    pub fn unlogged() -> Directive {
        // A name and a level are always a directive.
        let directive = format!("{TARGET}={}", LevelFilter::OFF).parse::<Directive>();
        directive.unwrap_or_else(|e| unreachable!("{e}"))
    }

    /// Sends what is collected. Spans that the collector has not taken in time are lost.
    pub fn close(self, within: Duration) {
        if let Some(exporter) = self.0 {
            exporter.close(within);
        }
    }
}

/// A router that makes a span of each request, in the trace that the client names.
pub(crate) fn traced(router: Router) -> Router {
    match MESSAGING.get() {
        Some(_) => router.layer(middleware::from_fn(serve)),
        None => router,
    }
}

/// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>, "HTTP server".
async fn serve(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if PROBES.contains(&path) {
        return next.run(request).await;
    }
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map(MatchedPath::as_str);
    let span = info_span!(
        target: TARGET,
        parent: None,
        "request",
        otel.name = route.map_or(method.to_owned(), |route| format!("{method} {route}")),
        otel.kind = "server",
        otel.status_code = Empty,
        "http.request.method" = method,
        "http.route" = route,
        "http.response.status_code" = Empty,
        "url.path" = truncated(path),
        "url.scheme" = "http",
        "error.type" = Empty,
    );
    exporter::continue_request(&span, request.headers());
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status.as_str());
    }
    response
}

/// Sends a request to another service, which continues the trace.
pub(crate) async fn call(
    connections: &Connections,
    mut request: Request<Full<Bytes>>,
    time: Duration,
) -> Result<Response<Incoming>, BackendError> {
    if MESSAGING.get().is_none() {
        let sending = connections.request(request);
        return Ok(tokio::time::timeout(time, sending).await??);
    }
    let (method, url) = (method_name(request.method()), request.uri());
    let default_port = if url.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let span = info_span!(
        target: TARGET,
        "call",
        otel.name = method,
        otel.kind = "client",
        otel.status_code = Empty,
        "http.request.method" = method,
        "http.response.status_code" = Empty,
        "server.address" = url.host(),
        "server.port" = i64::from(url.port_u16().unwrap_or(default_port)),
        "url.full" = truncated(&url.to_string()),
        "error.type" = Empty,
    );
    exporter::inject_into_request(&span, request.headers_mut());
    let sending = connections.request(request).instrument(span.clone());
    let answer = tokio::time::timeout(time, sending).await;
    let wrong = match &answer {
        Ok(Ok(response)) => {
            let status = response.status();
            span.record("http.response.status_code", i64::from(status.as_u16()));
            let wrong = status.is_client_error() || status.is_server_error();
            wrong.then(|| status.as_u16().to_string())
        }
        Err(_) => Some("timeout".into()),
        Ok(Err(_)) => Some("_OTHER".into()),
    };
    if let Some(wrong) = wrong {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", wrong);
    }
    Ok(answer??)
}

/// The span of publishing a message on the queue of `topic`. The message is made inside of it.
pub(crate) fn publishing(topic: Topic, job: Id) -> Span {
    let Some(Messaging { system, queues }) = MESSAGING.get() else {
        return Span::none();
    };
    let queue = queues.of(topic);
    info_span!(
        target: TARGET,
        "publish",
        otel.name = format!("{queue} publish"),
        otel.kind = "producer",
        "messaging.system" = system,
        "messaging.destination.name" = queue,
        "messaging.operation.name" = "publish",
        "messaging.operation.type" = "send",
        job_id = %job,
    )
}

/// The span of processing a message from the queue of `topic`, in the trace that the message names.
pub(crate) fn processing(topic: Topic, body: &Body) -> Span {
    let Some(Messaging { system, queues }) = MESSAGING.get() else {
        return Span::none();
    };
    let queue = queues.of(topic);
    let span = info_span!(
        target: TARGET,
        parent: None,
        "process",
        otel.name = format!("{queue} process"),
        otel.kind = "consumer",
        otel.status_description = Empty,
        "messaging.system" = system,
        "messaging.destination.name" = queue,
        "messaging.operation.name" = "process",
        "messaging.operation.type" = "process",
        job_id = Empty,
    );
    exporter::continue_message(&span, &body.others);
    if let Some(job) = body.job() {
        span.record("job_id", display(job));
    }
    span
}

/// Records which job the current message is about: a message of an original gateway does not say.
pub(crate) fn record_job(job: Id) {
    Span::current().record("job_id", display(job));
}

/// The span of a part of the work.
pub(crate) fn step(name: &'static str) -> Span {
    info_span!(
        target: TARGET,
        "step",
        otel.name = name,
        otel.kind = "internal",
    )
}

/// The span of sending a mail.
pub(crate) fn mailing() -> Span {
    info_span!(
        target: TARGET,
        "mail",
        otel.name = "mail",
        otel.kind = "client",
        otel.status_description = Empty,
    )
}

/// Records in a span why its work failed.
pub(crate) fn record_failure(span: &Span, why: &dyn std::fmt::Display) {
    if !span.is_disabled() {
        span.record("otel.status_description", truncated(&why.to_string()));
    }
}

/// Writes the current trace into the body of a message. Without one, the body stays as it is.
pub(crate) fn inject_into_message(body: &mut Map<String, Value>) {
    if MESSAGING.get().is_some() {
        exporter::inject_into_message(&Span::current(), body);
    }
}

/// The method, or `_OTHER`: a client may send any word as a method (RFC 9110, section 9.1).
fn method_name(method: &Method) -> &'static str {
    let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ];
    let known = methods.into_iter().find(|known| method == known);
    known.unwrap_or("_OTHER")
}

/// The start of a text, up to its limit.
fn truncated(text: &str) -> &str {
    let end = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_truncated() {
        assert_eq!(truncated("/upload"), "/upload");
        let long = "é".repeat(MAX_TEXT);
        assert_eq!(truncated(&format!("x{long}")).len(), MAX_TEXT - 1);
        assert_eq!(truncated(&long).len(), MAX_TEXT);
    }

    #[test]
    fn an_unknown_method_is_other() {
        assert_eq!(method_name(&Method::PATCH), "PATCH");
        assert_eq!(method_name(&Method::from_bytes(b"BREW").unwrap()), "_OTHER");
    }
}
