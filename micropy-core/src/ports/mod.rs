//! What the services stand on: five ports, each a small trait with its contract.
//!
//! A port knows no codec, no network and no clock; an adapter (a folder on disk, SQLite, a broker) fulfils
//! it. [`memory`] holds a reference of each port, and `conformance` (feature of the same name) the
//! suites that every adapter must pass, ours and anyone else's.
//!
//! | port | keeps |
//! |---|---|
//! | [`Storage`] | the bytes of videos and MP3s |
//! | [`Queue`] | messages between services |
//! | [`Jobs`] | the ledger: what was asked for, by whom, and how it went |
//! | [`Auth`] | users and their passwords |
//! | [`Notifier`] | nothing: it tells people |
//!
//! Every error enum of a port answers "what should the caller do?": `NotFound` and `Rejected` stay so
//! when tried again, `Unavailable` may pass, `Backend` needs an operator.

pub mod auth;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod id;
pub mod jobs;
pub mod memory;
pub mod notifier;
pub mod queue;
pub mod storage;
pub mod time;

pub use auth::Auth;
pub use id::Id;
pub use jobs::Jobs;
pub use notifier::Notifier;
pub use queue::Queue;
pub use storage::Storage;
pub use time::{Clock, Timestamp};

/// What an adapter's own error is kept as.
pub type BackendError = Box<dyn std::error::Error + Send + Sync>;
