//! Queues of messages: adapters of [`Queue`](micropy_core::ports::Queue).

#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "sqlite")]
pub mod sqlite;
