//! One sweeper at a time.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::ports::{Id, Timestamp};

/// Whose turn it is to sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The caller's, until its lease ends.
    Own {
        /// The end of the lease before this one; none if nobody has swept yet. If that is long ago, nobody swept
        /// meanwhile, or the clock has leapt.
        previous: Option<Timestamp>,
    },
    /// Somebody else's, at least until then.
    Other(Timestamp),
}

/// The lease under which stores and ledger are swept.
#[async_trait]
pub trait SweepLease: Send + Sync {
    /// Gives or renews the lease to `holder`, for `duration` from now by the ledger's clock, unless another has it. A
    /// `duration` of zero gives it back. Of two at once, one has it.
    async fn lease_sweep(&self, holder: Id, duration: Duration) -> Result<Turn, Error>;
}
