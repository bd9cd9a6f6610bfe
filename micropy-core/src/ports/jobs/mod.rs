//! The ledger of jobs: what was asked for, by whom, and how it went.

mod entry;
mod watch;

pub use entry::Entry;
pub use watch::Watchers;

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::Stream;

use super::{BackendError, Id, Timestamp};

/// What the ledger could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such job.
    #[error("no such job")]
    NotFound,
    /// The job is in no state for this, or the lease is lost.
    #[error("{0}")]
    Rejected(String),
    /// Out of reach for now.
    #[error("the job ledger cannot be reached: {0}")]
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

/// How far a job has come.
///
/// ```text
/// Receiving ─▶ Queued ─▶ Running ─▶ Done
///     │          │ ▲        ├─────▶ Failed ───┐
///     └──────────┴─│────────┴─────▶ Cancelled ┤
///                  └──────────────────────────┘ retry
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// The upload is on its way.
    Receiving,
    /// Waiting for a worker.
    Queued,
    /// A worker is at it.
    Running,
    /// There is an MP3.
    Done,
    /// There will be none; the job says why.
    Failed,
    /// Its owner called it off.
    Cancelled,
}

impl State {
    /// All of them, in the order a job goes through them.
    pub const ALL: [State; 6] = [
        State::Receiving,
        State::Queued,
        State::Running,
        State::Done,
        State::Failed,
        State::Cancelled,
    ];

    /// Nothing more will happen by itself.
    pub fn is_final(self) -> bool {
        matches!(self, State::Done | State::Failed | State::Cancelled)
    }

    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            State::Receiving => "receiving",
            State::Queued => "queued",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a state is one of receiving, queued, running, done, failed, cancelled")]
pub struct NotAState;

impl FromStr for State {
    type Err = NotAState;

    fn from_str(text: &str) -> Result<Self, NotAState> {
        State::ALL
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or(NotAState)
    }
}

/// One conversion somebody asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name.
    pub id: Id,
    /// E-mail address of the user it belongs to.
    pub owner: String,
    /// Set by the client to tell a repeated request; unique among the owner's jobs.
    pub key: Option<String>,
    /// Jobs that were sent together share one.
    pub batch: Option<Id>,
    /// The video's file name as the owner knows it.
    pub file_name: String,
    /// The video in the video storage; unique among all jobs.
    pub source: Id,
    /// Length of the video in bytes.
    pub source_bytes: u64,
    /// How to convert it: a JSON object the ledger does not look into.
    pub options: String,
    /// How far it has come.
    pub state: State,
    /// How often work on it was started.
    pub attempts: u32,
    /// How much of the present attempt is done, 0 to 1.
    pub progress: f32,
    /// The MP3, when done.
    pub output: Option<Output>,
    /// Why there is none, in words for its owner, when failed.
    pub failure: Option<String>,
    /// When it was asked for.
    pub created: Timestamp,
    /// When the present attempt, or the last one, was started.
    pub started: Option<Timestamp>,
    /// When it came into a final state.
    pub finished: Option<Timestamp>,
    /// When anything about it last changed.
    pub updated: Timestamp,
    /// When its owner was told how it ended.
    pub notified: Option<Timestamp>,
}

impl Job {
    /// A job as it begins, in [`State::Receiving`].
    pub fn new(id: Id, owner: impl Into<String>, source: Id, now: Timestamp) -> Self {
        Job {
            id,
            owner: owner.into(),
            key: None,
            batch: None,
            file_name: String::new(),
            source,
            source_bytes: 0,
            options: "{}".into(),
            state: State::Receiving,
            attempts: 0,
            progress: 0.0,
            output: None,
            failure: None,
            created: now,
            started: None,
            finished: None,
            updated: now,
            notified: None,
        }
    }
}

/// What a conversion made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The MP3 in the MP3 storage.
    pub mp3: Id,
    /// Its length in bytes.
    pub bytes: u64,
    /// What the engine reports: a JSON object the ledger does not look into.
    pub report: String,
}

/// How a worker ends a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is an MP3.
    Done(Output),
    /// There will be none, for this reason.
    Failed(String),
}

/// The queues that messages about jobs go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Videos to be converted.
    Video,
    /// MP3s whose owners are to be told.
    Mp3,
    /// Jobs that failed, whose owners are to be told.
    Failed,
}

impl Topic {
    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Topic::Video => "video",
            Topic::Mp3 => "mp3",
            Topic::Failed => "failed",
        }
    }
}

/// One of something, such as a queue, for each topic.
#[derive(Clone, Copy, Debug)]
pub struct Topics<T> {
    /// That of [`Topic::Video`].
    pub video: T,
    /// That of [`Topic::Mp3`].
    pub mp3: T,
    /// That of [`Topic::Failed`].
    pub failed: T,
}

impl<T> Topics<T> {
    /// Makes one for each topic.
    pub fn each(mut make: impl FnMut(Topic) -> T) -> Self {
        Topics {
            video: make(Topic::Video),
            mp3: make(Topic::Mp3),
            failed: make(Topic::Failed),
        }
    }

    /// That of `topic`.
    pub fn of(&self, topic: Topic) -> &T {
        match topic {
            Topic::Video => &self.video,
            Topic::Mp3 => &self.mp3,
            Topic::Failed => &self.failed,
        }
    }
}

/// A message that becomes durable together with a change of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub topic: Topic,
    /// What it says.
    pub payload: Vec<u8>,
}

/// How long an owed message is left to whoever was given it.
pub const HOLD: Duration = Duration::from_secs(30);

/// A message that the ledger holds and no queue has yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its name, for [`Jobs::sent`].
    pub id: Id,
    /// The message.
    pub message: Message,
}

/// The right to work on a job until it runs out.
///
/// `fence` grows with every lease of a job: whoever holds an older one changes nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: Id,
    /// Which lease of this job it is.
    pub fence: u64,
}

/// What came of asking for a lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Begin {
    /// It is ours. [`Job::attempts`] counts this one already.
    Started(Lease, Job),
    /// Somebody else has it until then, unless they renew it.
    Held(Timestamp),
    /// There is nothing to do: the job is in a final state, or its upload is not whole.
    Over(Job),
}

/// What came of creating a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// It is in the ledger, and so is its message: the caller's to send, if the ledger owes it.
    New(Option<Owed>),
    /// Its owner has one with this key: that one, untouched.
    Existing(Box<Job>),
}

/// Which of an owner's jobs to list, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these states; all of them where empty.
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

/// The whole ledger at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many jobs are in each state; states without a job may be absent.
    pub states: Vec<(State, u64)>,
    /// When the job that waits longest was asked for.
    pub oldest_queued: Option<Timestamp>,
}

/// Jobs as they change; see [`Jobs::watch`].
pub type JobStream = Pin<Box<dyn Stream<Item = Job> + Send>>;

/// The ledger. Every change is durable when its method returns, and happens wholly or not at all.
///
/// A [`Message`] given along becomes durable in the same step. A ledger that shares its store with the
/// queues puts it there itself; any other owes it: it returns it to the caller, who publishes it and then
/// says that it was [`sent`](Jobs::sent). What the caller did not live to send is among the
/// [`owed`](Jobs::owed) once [`HOLD`] is over. So no crash separates a job from its message.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Enters `job`, which is [`State::Receiving`], or [`State::Queued`] with its message, or without one
    /// where that is in its queue already. Of two at once with one owner and key, one is
    /// [`Created::New`]. [`Error::Rejected`] where another job has the id or the video.
    async fn create(&self, job: &Job, message: Option<Message>) -> Result<Created, Error>;

    /// A job.
    async fn get(&self, id: Id) -> Result<Job, Error>;

    /// The job whose MP3 this is.
    async fn of_mp3(&self, mp3: Id) -> Result<Job, Error>;

    /// Receiving → queued: the upload is whole. [`Error::Rejected`] in any other state.
    async fn enqueue(&self, id: Id, message: Message) -> Result<Option<Owed>, Error>;

    /// Takes the job for `term`, and counts the attempt, before any work.
    async fn begin(&self, id: Id, term: Duration) -> Result<Begin, Error>;

    /// Holds the lease for another `term` and notes the progress. [`Error::Rejected`] where the lease is
    /// lost, or the job was cancelled: stop working.
    async fn renew(&self, lease: Lease, term: Duration, progress: f32) -> Result<(), Error>;

    /// Running → queued: gives the lease back. `counted` says whether the attempt still counts.
    /// [`Error::Rejected`] where the lease is lost.
    async fn release(&self, lease: Lease, counted: bool) -> Result<(), Error>;

    /// Running → done or failed. [`Error::Rejected`] where the lease is lost: nothing of `outcome` is
    /// kept, and what was made for it is the caller's to remove.
    async fn finish(
        &self,
        lease: Lease,
        outcome: Outcome,
        message: Option<Message>,
    ) -> Result<Option<Owed>, Error>;

    /// Receiving, queued or running → cancelled; a lease on it is lost. [`Error::Rejected`] in a final
    /// state.
    async fn cancel(&self, id: Id) -> Result<(), Error>;

    /// Failed or cancelled → queued, with the attempts counted from 0 again and nobody told of anything. [`Error::Rejected`] in any
    /// other state.
    async fn retry(&self, id: Id, message: Message) -> Result<Option<Owed>, Error>;

    /// Removes the job, in any state; a lease on it is lost. Returns what it was. What it stored is the
    /// caller's to remove.
    async fn delete(&self, id: Id) -> Result<Job, Error>;

    /// Notes that the owner of a done or failed job was told. [`Error::Rejected`] in any other state.
    async fn notified(&self, id: Id) -> Result<(), Error>;

    /// Up to `limit` of an owner's jobs, newest first.
    async fn list(&self, owner: &str, filter: &Filter, limit: usize) -> Result<Vec<Job>, Error>;

    /// Up to `limit` jobs in one of `states` that have not changed since `before`, oldest change first.
    async fn stale(
        &self,
        states: &[State],
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Job>, Error>;

    /// Those of `objects` that are some job's video or MP3.
    async fn referenced(&self, objects: &[Id]) -> Result<Vec<Id>, Error>;

    /// What a user has in the ledger.
    async fn usage(&self, owner: &str) -> Result<Usage, Error>;

    /// The whole ledger at a glance.
    async fn census(&self) -> Result<Census, Error>;

    /// Up to `limit` messages that no queue has yet and nobody is sending, oldest first. They are the
    /// caller's to send: nobody else is given them until [`HOLD`] is over.
    async fn owed(&self, limit: usize) -> Result<Vec<Owed>, Error>;

    /// These are in their queues now.
    async fn sent(&self, owed: &[Id]) -> Result<(), Error>;

    /// The owner's jobs as they change from now on: every job at least once after its last change, not
    /// every state in between.
    async fn watch(&self, owner: &str) -> Result<JobStream, Error>;
}
