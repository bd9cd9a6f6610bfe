//! The progress of a conversion, and how to end it early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;

/// The progress of a conversion.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Audio done so far in this pass.
    pub done: Duration,
    /// Audio to be done in each pass; `None` if the file does not say beforehand.
    pub total: Option<Duration>,
    /// Which pass over the audio this is, from 0.
    pub pass: u8,
    /// How many passes there are: two if the audio has to be measured before it is encoded.
    pub passes: u8,
}

impl Progress {
    /// The fraction done of all passes, from 0.0 to 1.0; `None` if the length is not known beforehand (movie
    /// fragments).
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

/// Ends a conversion or a probe from another thread or a signal handler: it returns [`Error::Cancelled`] within a
/// fraction of a second, also while a stream is skipped or spooled.
///
/// A call that blocks is not interrupted: while the reader behind a source has nothing to give (a silent pipe or
/// socket), or the writer behind a sink accepts nothing, the conversion waits too. A reader that may wait long
/// should hold the token as well, wait with a timeout, and fail once the token is cancelled. Whatever its error is
/// then, the conversion returns [`Error::Cancelled`].
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    cancelled: AtomicBool,
    /// A token that cancels this one as well.
    parent: Option<CancelToken>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that this one cancels, and that can be cancelled alone.
    #[cfg(feature = "tokio")]
    pub(crate) fn child(&self) -> Self {
        CancelToken(Arc::new(Flag {
            cancelled: AtomicBool::new(false),
            parent: Some(self.clone()),
        }))
    }

    /// Cancels every conversion that holds this token, now and later.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// The true reason for `error`: a source that fails once the token is cancelled fails because of it.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match error {
            Error::Read(_) if self.is_cancelled() => Error::Cancelled,
            error => error,
        }
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        let Flag { cancelled, parent } = &*self.0;
        cancelled.load(Ordering::Relaxed) || parent.as_ref().is_some_and(CancelToken::is_cancelled)
    }
}
