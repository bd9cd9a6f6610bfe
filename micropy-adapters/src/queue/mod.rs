//! Queues of messages: adapters of [`Queue`](micropy_core::ports::Queue).

#[cfg(feature = "sqlite")]
pub mod sqlite;
