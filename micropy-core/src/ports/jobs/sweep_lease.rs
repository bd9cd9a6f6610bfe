//! One sweeper at a time.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::ports::{Id, Timestamp};

/// Whose turn it is to sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The caller's, until its lease ends.
    Own {
        /// The end of the lease before this one; none if nobody has swept yet. If that is long ago, nobody swept
        /// meanwhile, or the clock has leapt.
        previous: Option<Timestamp>,
        /// What a sweeper has noted last for whoever sweeps after it; empty if none has.
        note: String,
    },
    /// Somebody else's, at least until then.
    Other(Timestamp),
}

/// The lease under which stores and ledger are swept.
#[async_trait]
pub trait SweepLease: Send + Sync {
    /// Gives or renews the lease to `holder`, for `duration` from now by the ledger's clock, unless another has it. A
    /// `duration` of zero gives it back, and one longer than [`LONGEST_TERM`](super::LONGEST_TERM) is cut to it. A
    /// lease that a clock gave which is ahead has ended. Of two at once, one has it.
    async fn lease_sweep(&self, holder: Id, duration: Duration) -> Result<Turn, Error>;

    /// Keeps `note` for whoever sweeps next. [`Error::Rejected`] if `holder` is not the last to whom the lease was
    /// given: then the note stays as it was.
    async fn note_sweep(&self, holder: Id, note: &str) -> Result<(), Error>;
}
