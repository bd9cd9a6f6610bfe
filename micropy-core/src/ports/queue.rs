//! Messages between services.

use std::time::Duration;

use async_trait::async_trait;

use super::{BackendError, Timestamp};

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

/// The longest that a message may have to wait before it is delivered again: a longer pause is cut to it. One that is
/// not due for more than twice as long was given back by a clock that was ahead, and is due.
pub const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

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

    /// Not done: delivers the message again, not before `after`, or [`LONGEST_DELAY`], has passed.
    async fn retry(self: Box<Self>, after: Duration) -> Result<(), Error>;

    /// Hopeless: the message is never delivered again, but kept with `reason` for an operator.
    async fn dead(self: Box<Self>, reason: &str) -> Result<(), Error>;
}

/// A message that is never delivered again; see [`Delivery::dead`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The content, as published.
    pub payload: Vec<u8>,
    /// Why it is dead.
    pub reason: String,
    /// How often it was delivered.
    pub deliveries: u32,
    /// When it died, to the second at least; none if the backend does not know.
    pub died: Option<Timestamp>,
}

/// The dead letters of a queue, for an operator.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Up to `limit` of them, oldest first. They stay where they are.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Error>;

    /// Puts up to `limit` of them back into the queue, oldest first, as if they were new. Returns how many.
    ///
    /// A crash meanwhile may leave a message in both places, never in none. Those that die again meanwhile stay dead.
    async fn replay(&self, limit: usize) -> Result<usize, Error>;

    /// Removes up to `limit` of them for good, oldest first. Returns how many.
    async fn drop_dead(&self, limit: usize) -> Result<usize, Error>;
}
