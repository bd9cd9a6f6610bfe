//! How to watch the services: traces, metrics and health.

#[cfg(not(feature = "otlp"))]
mod absent;
mod health;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod traces;

pub use health::Health;
pub use metrics::Metrics;
pub use traces::{Messaging, Telemetry};

pub(crate) use traces::{
    call, inject_into_message, mailing, processing, publishing, record_failure, record_job, step,
    traced,
};
