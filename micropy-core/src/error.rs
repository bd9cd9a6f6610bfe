//! What can go wrong, told apart by what the caller should do about it.

use std::io;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a conversion or a probe did not happen.
///
/// Variants answer "what should I do?": an [`Error::Read`] may be tried again, an
/// [`Error::Malformed`] needs another file, an [`Error::Unsupported`] another program, an
/// [`Error::InvalidOption`] another call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source could not be read.
    #[error("cannot read the input: {0}")]
    Read(#[source] io::Error),

    /// The sink could not be written.
    #[error("cannot write the output: {0}")]
    Write(#[source] io::Error),

    /// The bytes are not what the format asks for.
    #[error("malformed {what} at byte {at}: {why}")]
    Malformed {
        /// Byte offset in the source of the structure that is wrong.
        at: u64,
        /// The structure: a box such as `stsz`, a packet, an MP3 frame.
        what: String,
        /// What is wrong with it.
        why: String,
    },

    /// The file is not an ISO base media file (MP4, M4A, MOV, 3GP) at all.
    #[error("not an MP4, M4A, MOV or 3GP file: {why}")]
    NotMp4 {
        /// What was found instead.
        why: String,
    },

    /// The file is sound but uses something this build cannot convert.
    #[error("unsupported: {what}")]
    Unsupported {
        /// What is not supported, by its name in the standards.
        what: String,
    },

    /// There is no audio track, or not the one asked for.
    #[error("no audio track{}", if .0.is_empty() { String::new() } else { format!(": {}", .0) })]
    NoAudioTrack(String),

    /// Chapters were asked for, and there are none.
    #[error("there are no chapters to split at")]
    NoChapters,

    /// The audio track is encrypted (ISO/IEC 23001-7 or FairPlay).
    #[error("the audio track is encrypted ({scheme}): decrypt it first")]
    Encrypted {
        /// The protection scheme, such as `cenc`.
        scheme: String,
    },

    /// The file asks for more than a limit allows.
    #[error("{what} at byte {at} is over the limit of {limit}")]
    Limit {
        /// Byte offset in the source.
        at: u64,
        /// What is too large or too many.
        what: String,
        /// The limit, in the unit that `what` names.
        limit: u64,
    },

    /// An option is out of range, or contradicts another.
    #[error("{0}")]
    InvalidOption(String),

    /// The MP3 encoder refused or failed.
    #[error("the MP3 encoder failed: {0}")]
    Encode(String),

    /// The system gives no thread to work in: it has too many, or too little memory. Later it may.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),

    /// A fault of this library: please report it with the file.
    #[error("internal error: {0}; please report it")]
    Internal(String),

    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// A [`Error::Malformed`] at `at`.
    pub(crate) fn malformed(at: u64, what: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Malformed {
            at,
            what: what.into(),
            why: why.into(),
        }
    }

    /// An [`Error::Unsupported`].
    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Error::Unsupported { what: what.into() }
    }
}
