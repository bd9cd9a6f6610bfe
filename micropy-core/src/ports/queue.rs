//! Messages between services.

use std::time::Duration;

use async_trait::async_trait;

use super::BackendError;

/// Why a queue refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The queue itself does not exist.
    #[error("no such queue")]
    NotFound,
    /// The queue does not accept this message, or the delivery is no longer ours.
    #[error("{0}")]
    Rejected(String),
    /// Out of reach for now.
    #[error("the queue cannot be reached: {0}")]
    Unavailable(BackendError),
    /// The backend failed in a way only an operator can mend.
    #[error("{adapter} failed: {cause}")]
    Backend {
        /// Which adapter.
        adapter: &'static str,
        /// Its own error.
        cause: BackendError,
    },
}

/// A queue of messages, each delivered to one receiver at a time until one of them acknowledges it.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Adds a message; returns when it is durable.
    async fn publish(&self, payload: Vec<u8>) -> Result<(), Error>;

    /// Waits for the next message.
    ///
    /// Messages arrive in the order they were published as long as none is delivered twice. Dropping the future before
    /// it is ready loses nothing.
    async fn receive(&self) -> Result<Box<dyn Delivery>, Error>;
}

/// A message delivered to one receiver.
///
/// No other receiver is given the message as long as this lives. When it is dropped, or its process is killed, the
/// message is delivered again, at the latest when the adapter's lease on it runs out.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// The content, as published.
    fn payload(&self) -> &[u8];

    /// The delivery count of the message, from 1, as far as the backend knows: a hint for backoff. A receiver that
    /// limits attempts counts them itself, in the ledger.
    fn attempt(&self) -> u32;

    /// Done: removes the message.
    async fn ack(self: Box<Self>) -> Result<(), Error>;

    /// Not done: delivers the message again, not before `after` has passed.
    async fn retry(self: Box<Self>, after: Duration) -> Result<(), Error>;

    /// Hopeless: the message is never delivered again, but kept with `reason` for an operator.
    async fn dead(self: Box<Self>, reason: &str) -> Result<(), Error>;
}
