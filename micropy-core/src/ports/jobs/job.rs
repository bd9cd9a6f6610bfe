//! A job, and the states it goes through.

use std::fmt;
use std::str::FromStr;

use super::Topic;
use crate::ports::{Id, Timestamp};

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
    /// The upload has begun.
    Receiving,
    /// Waiting for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// There is an MP3.
    Done,
    /// There is no MP3; the job says why.
    Failed,
    /// Its owner cancelled it.
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

    /// Whether the job stays in this state unless somebody asks otherwise.
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

/// One conversion that somebody asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name.
    pub id: Id,
    /// E-mail address of the user it belongs to.
    pub owner: String,
    /// Chosen by the client so that a repeated request is recognised; unique among the owner's jobs.
    pub key: Option<String>,
    /// Identifies what the request with the key asked for: text that the ledger does not interpret.
    pub fingerprint: Option<String>,
    /// Shared by jobs that were submitted together.
    pub batch: Option<Id>,
    /// The video's file name as the owner knows it.
    pub file_name: String,
    /// The video in the video storage; unique among all jobs.
    pub source: Id,
    /// Length of the video in bytes: what it takes in the storage.
    pub source_bytes: u64,
    /// The URL that the video is read from, which is then in no storage.
    pub origin: Option<String>,
    /// How to convert it: a JSON object that the ledger does not interpret.
    pub options: String,
    /// How far it has come.
    pub state: State,
    /// How often work on it was started, without what was nobody's fault: outages and interruptions.
    pub attempts: u32,
    /// How often work on it was put off because a service that it needs was unavailable.
    pub outages: u32,
    /// How often a worker was given it, whatever came of that.
    pub deliveries: u32,
    /// How often its owner has asked for it again. A message that requested it before that is void.
    pub retries: u32,
    /// How often its conversion was requested again since it was last begun, because its message seemed lost.
    pub repeats: u32,
    /// How much of the present attempt is done, 0 to 1.
    pub progress: f32,
    /// The MP3, when done.
    pub output: Option<Output>,
    /// When failed: why, in words for its owner.
    pub failure: Option<String>,
    /// When it was asked for.
    pub created: Timestamp,
    /// When its conversion was last requested of the queue; none while it waits for its owner's turn.
    pub requested: Option<Timestamp>,
    /// When the present attempt, or the last one, was started; none if it was never begun.
    pub started: Option<Timestamp>,
    /// When it reached a final state.
    pub finished: Option<Timestamp>,
    /// When anything about it last changed.
    pub updated: Timestamp,
    /// When its owner was told how it ended.
    pub notified: Option<Timestamp>,
    /// Its [`retries`](Job::retries) when how it ended was last planned to be announced to its owner's programs.
    pub announced: Option<u32>,
}

impl Job {
    /// A new job, in [`State::Receiving`].
    pub fn new(id: Id, owner: impl Into<String>, source: Id, now: Timestamp) -> Self {
        Job {
            id,
            owner: owner.into(),
            key: None,
            fingerprint: None,
            batch: None,
            file_name: String::new(),
            source,
            source_bytes: 0,
            origin: None,
            options: "{}".into(),
            state: State::Receiving,
            attempts: 0,
            outages: 0,
            deliveries: 0,
            retries: 0,
            repeats: 0,
            progress: 0.0,
            output: None,
            failure: None,
            created: now,
            requested: None,
            started: None,
            finished: None,
            updated: now,
            notified: None,
            announced: None,
        }
    }

    /// Whether it is planned to tell its owner's programs how it ended since it was last asked for.
    pub fn is_announced(&self) -> bool {
        self.announced == Some(self.retries)
    }

    /// The queue of the messages that request its conversion.
    pub fn request_topic(&self) -> Topic {
        match self.origin {
            None => Topic::Video,
            Some(_) => Topic::Import,
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
    /// The engine's report: a JSON object that the ledger does not interpret.
    pub report: String,
}

/// How a worker ends a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is an MP3.
    Done(Output),
    /// There will be no MP3, for this reason.
    Failed(String),
}
