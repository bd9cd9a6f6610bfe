//! One job on its way through its states.

use std::time::Duration;

use async_trait::async_trait;

use super::{Error, Job, Message, Outcome, Owed};
use crate::ports::{Id, Timestamp};

/// The right to work on a job until it runs out.
///
/// `fence` grows with every lease of a job. Every change by an older lease is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: Id,
    /// Which lease of this job it is.
    pub fence: u64,
}

/// The answer to [`Jobs::begin`].
#[derive(Clone, Debug, PartialEq)]
pub enum Begin {
    /// The lease is the caller's. [`Job::attempts`] already counts this attempt.
    Started(Lease, Job),
    /// Somebody else holds the lease until then, unless they renew it.
    Leased(Timestamp),
    /// There is nothing to do: the job is in a final state, its upload is not complete, or it waits for its owner's
    /// turn.
    NotQueued(Job),
}

/// The answer to [`Jobs::create`].
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// The job and its message are in the ledger. An owed message is the caller's to send.
    New(Option<Owed>),
    /// The owner already has a job with this key: here it is, unchanged.
    Existing(Box<Job>),
}

/// Why a worker gives a job back that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The attempt failed. It counts.
    Failed,
    /// A service that the work needs was unavailable. The attempt does not count, the outage does.
    Unavailable,
    /// The worker had to stop. The attempt does not count; that the job was delivered does.
    Interrupted,
}

/// The answer to [`Jobs::begin_notification`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is the caller who notifies the owner.
    Yours,
    /// Somebody else is about to, and has until then.
    Taken(Timestamp),
    /// The owner was notified.
    Sent,
}

/// The longest term of a lease or a claim; a longer one is cut to it. One that has more than twice as long to go was
/// given by a clock that is ahead, and has ended: otherwise nobody would have the job until that date.
pub const LONGEST_TERM: Duration = Duration::from_secs(10 * 60);

/// The state machine of a job. Every change is durable when its method returns, and happens completely or not at
/// all.
///
/// A [`Message`] passed along becomes durable in the same step. A ledger that shares its database with the queues
/// puts it there itself. Any other ledger *owes* it: it returns it to the caller, who publishes it and then reports
/// it as [`sent`](super::JobOutbox::sent). If the caller dies first, others find it by
/// [`claim_owed`](super::JobOutbox::claim_owed). So no crash separates a job from its message.
///
/// A message that requests a conversion may be held back: see [`IN_LINE`](super::IN_LINE). Then nothing is returned,
/// and the ledger hands it out later.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Enters `job`, in [`State::Receiving`](super::State::Receiving), or in
    /// [`State::Queued`](super::State::Queued) with its message, or without one if that is already in its queue.
    ///
    /// Of two at once with one owner and key, one is [`Created::New`]. [`Error::Rejected`] if another job has the id
    /// or the video.
    async fn create(&self, job: &Job, message: Option<Message>) -> Result<Created, Error>;

    /// Looks up a job.
    async fn get(&self, id: Id) -> Result<Job, Error>;

    /// Receiving → queued: the upload is complete. [`Error::Rejected`] in any other state.
    async fn enqueue(&self, id: Id, message: Message) -> Result<Option<Owed>, Error>;

    /// Queued → running: leases the job for `term` and counts the attempt, before any work is done. A lease that
    /// has run out is replaced, and so is one that a clock gave which is ahead: see [`LONGEST_TERM`].
    async fn begin(&self, id: Id, term: Duration) -> Result<Begin, Error>;

    /// Extends the lease to another `term` from now and records the progress. [`Error::Rejected`] if the lease is
    /// lost or the job was cancelled: stop working.
    async fn renew(&self, lease: Lease, term: Duration, progress: f32) -> Result<(), Error>;

    /// Running → queued: gives the lease back. `ended` says what is counted.
    ///
    /// [`Error::Rejected`] if the lease is lost, with one exception: of a job that somebody else has begun since, the
    /// attempt of this lease is no longer counted if it did not fail.
    async fn release(&self, lease: Lease, ended: Ended) -> Result<(), Error>;

    /// Requests the conversion of a queued or running job again whose message seems lost.
    ///
    /// [`Error::Rejected`] if the job has changed since it was `seen`: of several who ask, one asks. Also if the job waits
    /// for its owner's turn, or the ledger still owes the last message that requested it.
    async fn request(&self, seen: &Job, message: Message) -> Result<Option<Owed>, Error>;

    /// Running → done or failed. [`Error::Rejected`] if the lease is lost: then nothing of `outcome` is kept, and
    /// its MP3 is the caller's to remove.
    async fn finish(
        &self,
        lease: Lease,
        outcome: Outcome,
        message: Option<Message>,
    ) -> Result<Option<Owed>, Error>;

    /// Receiving, queued or running → cancelled; a lease on it is lost. [`Error::Rejected`] in a final state.
    async fn cancel(&self, id: Id) -> Result<(), Error>;

    /// Failed or cancelled → queued, as if never attempted and nobody notified, and counted in [`Job::retries`].
    /// [`Error::Rejected`] in any other state.
    async fn retry(&self, id: Id, message: Message) -> Result<Option<Owed>, Error>;

    /// Removes the job, in any state, and returns it; a lease on it is lost. Its objects in the storage are the
    /// caller's to remove.
    async fn delete(&self, id: Id) -> Result<Job, Error>;

    /// The same, unless the job has changed since it was `seen`: then [`Error::Rejected`], and it stays.
    async fn delete_unchanged(&self, seen: &Job) -> Result<Job, Error>;

    /// Claims the notification of the owner of a done or failed job for `notifier`, or renews its claim, for `term`: of
    /// several, one sends it. [`Error::Rejected`] in any other state.
    async fn begin_notification(
        &self,
        id: Id,
        notifier: Id,
        term: Duration,
    ) -> Result<Notice, Error>;

    /// Gives the claim of `notifier` back, if it has one: the owner could not be notified.
    async fn release_notification(&self, id: Id, notifier: Id) -> Result<(), Error>;

    /// Records that the owner of a done or failed job was notified. [`Error::Rejected`] in any other state.
    async fn notified(&self, id: Id) -> Result<(), Error>;

    /// Records that it is planned to tell the owner's programs how the job ended that had so many
    /// [`retries`](Job::retries), in any state: later ends are other news.
    async fn announced(&self, id: Id, retries: u32) -> Result<(), Error>;
}
