//! What a converter and its worker process send to each other, over a socket that is the process's standard input.
//!
//! The converter begins with a [`Task`]. The process asks for bytes of the video, reports progress, and ends with the
//! result; each [`Message`] is one line of JSON. The response to [`Message::Read`] is the bytes and nothing else.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::Report;
use crate::job::product::Product;

/// Bytes of the longest line.
pub const MAX_LINE: u64 = 1 << 20;
/// Ranges in one line, at most.
pub const MAX_RANGES: usize = 8192;
/// Bytes of the largest read.
pub const MAX_READ: usize = 1 << 20;

/// What the process has to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    /// The job's options, as the ledger keeps them.
    pub options: String,
    /// Threads that the engine may use.
    pub threads: NonZeroUsize,
    /// Length of the video.
    pub video_bytes: u64,
    /// Whether to say which bytes will be read: each read is a round trip to somewhere else.
    pub announce: bool,
    /// Bytes that the process may allocate.
    pub memory: u64,
    /// CPU time that it may use, of all cores together.
    pub cpu: Duration,
    /// Bytes of the largest file that it may write.
    pub output: u64,
}

/// What the process sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Message {
    /// It needs these bytes of the video.
    Read(Range<u64>),
    /// It will need these bytes next, most likely.
    WillRead(Vec<Range<u64>>),
    /// It is making progress.
    Progress(Progress),
    /// It is done: the result is in its standard output.
    Converted(Box<Converted>),
    /// It failed.
    Failed(Failure),
}

/// How far the conversion is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The fraction that is done, from 0 to 1; 0 where the length is unknown.
    pub fraction: f32,
    /// The pass over the audio, and the seconds done in it. A position that does not change is no progress.
    pub position: (u64, f64),
}

/// A conversion that succeeded.
#[derive(Debug, Serialize, Deserialize)]
pub struct Converted {
    /// What is in the output.
    pub product: Product,
    /// Length of the audio.
    pub audio: Duration,
    /// The report for the job's owner.
    pub report: Report,
}

/// A conversion that failed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Why, in words for people.
    pub reason: String,
    /// Whether it would fail again.
    pub cause: Cause,
}

/// What a failure is due to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The video or the options: every attempt fails.
    Input,
    /// Something that may be different next time.
    Transient,
    /// A disk that is full or fails.
    Disk,
}

impl Failure {
    /// A failure that is due to the video or the options.
    pub fn input(reason: impl Into<String>) -> Self {
        Failure {
            reason: reason.into(),
            cause: Cause::Input,
        }
    }
}
