//! The ledger of jobs: what was asked for, by whom, and how it went.
//!
//! Five traits, by who calls them: [`Jobs`] takes one job through its states, [`JobOutbox`] hands out messages that no
//! queue has yet, [`JobViews`] lists, counts and watches, [`LedgerIdentity`] tells ledgers apart, [`SweepLease`] lets
//! one sweeper sweep. A [`Ledger`] is all of them.

mod entry;
mod identity;
mod job;
mod lifecycle;
mod outbox;
mod sweep_lease;
mod views;
mod watch;

pub use entry::{Entry, has_ended};
pub use identity::LedgerIdentity;
pub use job::{Job, NotAState, Outcome, Output, State};
pub use lifecycle::{Begin, Created, Ended, Jobs, LONGEST_TERM, Lease, Notice};
pub use outbox::{CLAIM_TIME, IN_LINE, JobOutbox, Message, Owed, Topic, Topics};
pub use sweep_lease::{SweepLease, Turn};
pub use views::{Census, Filter, JobStream, JobViews, LINE_LENGTH, LINE_SAMPLES, Line, Usage};
pub use watch::Watchers;

use super::BackendError;

/// Why the ledger refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such job.
    #[error("no such job")]
    NotFound,
    /// The job's state forbids this, or the lease is lost.
    #[error("{0}")]
    Rejected(String),
    /// Out of reach for now.
    #[error("the job ledger cannot be reached: {0}")]
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

/// A whole ledger, for those who need all of its sides. Implemented for everything that has them.
pub trait Ledger: Jobs + JobOutbox + JobViews + LedgerIdentity + SweepLease {}

impl<L: Jobs + JobOutbox + JobViews + LedgerIdentity + SweepLease + ?Sized> Ledger for L {}
