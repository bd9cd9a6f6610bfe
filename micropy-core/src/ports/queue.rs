//! Messages between services.

use std::time::Duration;

use async_trait::async_trait;

use super::BackendError;

/// What a queue could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The queue itself is not there.
    #[error("no such queue")]
    NotFound,
    /// The queue takes no such message, or the delivery is no longer ours.
    #[error("{0}")]
    Rejected(String),
    /// Out of reach for now.
    #[error("the queue cannot be reached: {0}")]
    Unavailable(#[source] BackendError),
    /// The backend failed in a way only an operator can mend.
    #[error("{adapter} failed: {source}")]
    Backend {
        /// Which adapter.
        adapter: &'static str,
        /// What it said.
        source: BackendError,
    },
}

/// One queue of messages, each handed to one receiver at a time until one of them is done with it.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Puts a message in; returns when it is durable.
    async fn publish(&self, payload: Vec<u8>) -> Result<(), Error>;

    /// Waits for the next message.
    ///
    /// Messages come in the order they were published as long as none is delivered twice. Dropping the
    /// future before it is ready loses nothing.
    async fn receive(&self) -> Result<Box<dyn Delivery>, Error>;
}

/// A message in the hands of one receiver.
///
/// No other receiver holds it as long as this lives. Dropped, or with its process killed, it comes back,
/// at the latest when the adapter's hold on it runs out.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// What was published.
    fn payload(&self) -> &[u8];

    /// The how-manieth delivery of this message this is, from 1, as far as the backend knows: a hint for
    /// backoff. What may happen only so often is counted by the receiver, in the ledger.
    fn attempt(&self) -> u32;

    /// Done: the message is gone for good.
    async fn ack(self: Box<Self>) -> Result<(), Error>;

    /// Not done: it comes again, not before `after`.
    async fn retry(self: Box<Self>, after: Duration) -> Result<(), Error>;

    /// Never to be delivered again, and kept aside with `reason` for an operator.
    async fn dead(self: Box<Self>, reason: &str) -> Result<(), Error>;
}
