//! How far a conversion is, and how to end it early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;

/// How far a conversion is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Audio done so far in this pass.
    pub done: Duration,
    /// Audio to be done in each pass, where the file says beforehand.
    pub total: Option<Duration>,
    /// Which pass over the audio this is, from 0.
    pub pass: u8,
    /// How many there are: two where the audio has to be known before it is encoded.
    pub passes: u8,
}

impl Progress {
    /// Of all passes together, from 0.0 to 1.0; `None` where the length is not known beforehand (movie fragments).
    pub fn fraction(&self) -> Option<f64> {
        let total = self.total?.as_secs_f64();
        let of_pass = if total > 0.0 {
            (self.done.as_secs_f64() / total).min(1.0)
        } else {
            1.0
        };
        Some((f64::from(self.pass) + of_pass) / f64::from(self.passes.max(1)))
    }
}

/// Ends a conversion from another thread or a signal handler: it returns
/// [`Error::Cancelled`](crate::Error::Cancelled) within a fraction of a second, also while a stream is
/// skipped or spooled.
///
/// A call that blocks is not ended: while the reader behind a source has nothing to give (a silent pipe or
/// socket) or the writer behind a sink takes nothing, the conversion waits with it. A reader that may wait for
/// long should hold the token too, wait with a timeout, and fail once the token is cancelled: whatever its
/// error is then, the conversion returns [`Error::Cancelled`](crate::Error::Cancelled).
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token nobody has cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels every conversion that holds this token, now and later.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// What really ended a conversion with `error`: a source that fails once the token is cancelled does so
    /// because of it.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match error {
            Error::Read(_) if self.is_cancelled() => Error::Cancelled,
            error => error,
        }
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
