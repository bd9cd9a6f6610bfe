//! What a converter and its worker process say to each other, over a socket that is the process's standard
//! input.
//!
//! The converter begins with a [`Task`]. The process asks for bytes of the video, tells how much is done, and
//! ends with what came of it, each in one line of JSON. The answer to [`Said::Read`] is the bytes, and nothing
//! else.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::product::Product;

/// Bytes of the longest line: a report repeats what is wrong with a file.
pub const LONGEST_LINE: u64 = 1 << 20;
/// Most bytes of one read.
pub const MOST_READ: usize = 1 << 20;

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    /// The job's options, as the ledger keeps them.
    pub options: String,
    /// Threads that the engine may use.
    pub threads: NonZeroUsize,
    /// Length of the video.
    pub video_bytes: u64,
    /// What the process may allocate.
    pub memory: u64,
    /// What it may use of all cores together.
    pub cpu: Duration,
    /// Bytes of the largest file that it may write.
    pub output: u64,
}

/// What the worker process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// It needs these bytes of the video.
    Read(Range<u64>),
    /// It is still there.
    Progress(Progress),
    /// What it made stands in its standard output.
    Made(Made),
    /// It made nothing.
    Failed(Failed),
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// How much is done, from 0 to 1; 0 where nobody knows how much there is.
    pub fraction: f32,
    /// The pass over the audio and the seconds done in it: what stays as it is does not get on.
    pub place: (u64, f64),
}

/// What came of the work.
#[derive(Debug, Serialize, Deserialize)]
pub struct Made {
    pub product: Product,
    /// Length of the audio.
    pub audio: Duration,
    /// What the job's owner is told of the conversion.
    pub report: String,
}

/// Why there is nothing.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failed {
    pub reason: String,
    pub cause: Cause,
}

/// What it comes of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The video, or what is asked of it: every attempt ends so.
    Video,
    /// Something that may not be so the next time.
    Chance,
    /// There is no room to write to.
    Disk,
}

impl Failed {
    /// Every attempt ends so.
    pub fn refused(reason: impl Into<String>) -> Self {
        Failed {
            reason: reason.into(),
            cause: Cause::Video,
        }
    }
}
