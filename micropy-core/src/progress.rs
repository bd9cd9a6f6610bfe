//! How far a conversion is, and how to end it early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How far a conversion is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Audio encoded so far.
    pub done: Duration,
    /// Audio to encode in all, where the file says beforehand.
    pub total: Option<Duration>,
}

impl Progress {
    /// From 0.0 to 1.0; `None` where the length is not known beforehand (movie fragments).
    pub fn fraction(&self) -> Option<f64> {
        let total = self.total?.as_secs_f64();
        Some(if total > 0.0 {
            (self.done.as_secs_f64() / total).min(1.0)
        } else {
            1.0
        })
    }
}

/// Ends a conversion from another thread or a signal handler: it returns
/// [`Error::Cancelled`](crate::Error::Cancelled) within a fraction of a second.
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

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
