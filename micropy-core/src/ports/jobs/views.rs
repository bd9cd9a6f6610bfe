//! Looking at the ledger: lists, counts and changes.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::Stream;

use super::{Error, Job, State};
use crate::ports::{Id, Timestamp};

/// Which of an owner's jobs to list, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these states; all of them if empty.
    pub states: Vec<State>,
    /// Only this batch.
    pub batch: Option<Id>,
    /// Only jobs older than this one.
    pub before: Option<Id>,
}

/// What a user has in the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Jobs.
    pub jobs: u64,
    /// Bytes of videos and MP3s.
    pub bytes: u64,
}

/// The whole ledger in a few numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many jobs are in each state; states without a job may be absent.
    pub states: Vec<(State, u64)>,
    /// When the longest-waiting job was asked for.
    pub oldest_queued: Option<Timestamp>,
}

/// The most jobs of each kind that a [`Line`] names. Where those behind them stand is not told.
pub const LINE_LENGTH: usize = 500;

/// The last conversions whose times a [`Line`] tells.
pub const LINE_SAMPLES: usize = 20;

/// What the queued jobs of an owner wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The jobs of all owners that are in line, in the order in which they were requested: see
    /// [`IN_LINE`](super::IN_LINE). One that was put off is not among them.
    pub in_line: Vec<Id>,
    /// The owner's jobs that wait for their turn, in the order in which they have it.
    pub waiting: Vec<Id>,
    /// Jobs that are being converted.
    pub running: u64,
    /// How long the last conversions took.
    pub took: Vec<Duration>,
}

/// Jobs as they change; see [`JobViews::watch`].
pub type JobStream = Pin<Box<dyn Stream<Item = Job> + Send>>;

/// What can be read from the ledger. Nothing here changes a job.
#[async_trait]
pub trait JobViews: Send + Sync {
    /// The job whose MP3 this is.
    async fn by_mp3(&self, mp3: Id) -> Result<Job, Error>;

    /// The owner's job with this idempotency key.
    async fn by_key(&self, owner: &str, key: &str) -> Result<Job, Error>;

    /// Up to `limit` of an owner's jobs, newest first.
    async fn list(&self, owner: &str, filter: &Filter, limit: usize) -> Result<Vec<Job>, Error>;

    /// Up to `limit` jobs in one of `states` that have not changed since `before`, oldest change first.
    ///
    /// The next page begins behind `after`, the last job of the page before. So a caller gets past jobs that it
    /// leaves as they are.
    async fn stale(
        &self,
        states: &[State],
        before: Timestamp,
        after: Option<&Job>,
        limit: usize,
    ) -> Result<Vec<Job>, Error>;

    /// Those of `objects` that are some job's video or MP3.
    async fn referenced(&self, objects: &[Id]) -> Result<Vec<Id>, Error>;

    /// What a user has in the ledger.
    async fn usage(&self, owner: &str) -> Result<Usage, Error>;

    /// The whole ledger in a few numbers.
    async fn census(&self) -> Result<Census, Error>;

    /// What an owner's queued jobs wait for. It costs little, however many jobs there are; still, ask once for all of an
    /// owner's jobs, and again after seconds. A ledger whose owners do not take turns knows of no line, and says nothing.
    async fn line(&self, owner: &str) -> Result<Line, Error>;

    /// The owner's jobs as they change from now on: every job at least once after its last change, not
    /// necessarily every state in between. A job that is deleted is not heard of again. The stream ends when its reader
    /// falls too far behind: then [`list`](JobViews::list) says what has become of them.
    async fn watch(&self, owner: &str) -> Result<JobStream, Error>;
}
