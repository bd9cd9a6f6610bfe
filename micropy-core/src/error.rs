//! Errors, distinguished by what the caller can do about them.

use std::error::Error as _;
use std::time::Duration;
use std::{fmt, io};

use crate::warning::Warning;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a conversion or a probe failed.
///
/// The variants say what can be done about it: an [`Error::Read`] may be tried again, an [`Error::Malformed`] needs
/// another file, an [`Error::Unsupported`] another program, and an [`Error::InvalidOption`] another call.
///
/// An error of the operating system is the [`source`](std::error::Error::source) and not part of the message;
/// [`Error::with_causes`] shows both.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source could not be read.
    #[error("cannot read the input")]
    Read(#[source] io::Error),

    /// The sink could not be written.
    #[error("cannot write the output")]
    Write(#[source] io::Error),

    /// The bytes are not what the format asks for.
    #[error("malformed {what} at byte {at}: {why}")]
    #[non_exhaustive]
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
    #[non_exhaustive]
    NotMp4 {
        /// What was found instead.
        why: String,
    },

    /// The file is sound but uses something this build cannot convert.
    #[error("unsupported: {what}")]
    #[non_exhaustive]
    Unsupported {
        /// What is not supported, by its name in the standards.
        what: String,
    },

    /// There is no audio track, or not the one that was asked for.
    #[error("no audio track{}", if .0.is_empty() { String::new() } else { format!(": {}", .0) })]
    NoAudioTrack(String),

    /// The part or chapter that was asked for holds no audio: it begins after the audio ends, or the edit list skips
    /// everything that is there.
    #[error("{}", empty_part(*.start, .missing))]
    #[non_exhaustive]
    EmptyPart {
        /// Where the part begins.
        start: Duration,
        /// Why sound is missing that the file declares for the part; none where it declares none.
        missing: Vec<Warning>,
    },

    /// Even at the lowest bitrate, the MP3 would be larger than it may be.
    #[error("{}", too_long(*.length, *.bytes, *.fits))]
    #[non_exhaustive]
    TooLong {
        /// How long the audio is, or the longest part of it.
        length: Duration,
        /// The most bytes that the MP3 may have.
        bytes: u64,
        /// The most audio that fits; zero where the tags alone do not.
        fits: Duration,
    },

    /// One of several files that were to be joined failed.
    #[error("{name}: {error}")]
    #[non_exhaustive]
    InInput {
        /// The file, as the caller named it.
        name: String,
        /// What is wrong with it.
        #[source]
        error: Box<Error>,
    },

    /// Chapters were asked for, and there are none.
    #[error("there are no chapters to split at")]
    NoChapters,

    /// The audio track is encrypted (ISO/IEC 23001-7 or FairPlay).
    #[error("the audio track is encrypted ({scheme}): decrypt it first")]
    #[non_exhaustive]
    Encrypted {
        /// The protection scheme, such as `cenc`.
        scheme: String,
    },

    /// The file asks for more than a limit allows.
    #[error("{what} at byte {at} is over the limit of {limit}")]
    #[non_exhaustive]
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

    /// The operating system refused a thread: it has too many, or too little memory. Later it may grant one.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),

    /// A bug in this library: please report it with the file.
    #[error("internal error: {0}; please report it")]
    Internal(String),

    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// The message of [`Error::EmptyPart`].
fn empty_part(start: Duration, missing: &[Warning]) -> String {
    let start_seconds = start.as_secs_f64();
    match missing.first() {
        Some(why) => format!("no audio from {start_seconds:.3} s on: {why}"),
        None if start.is_zero() => "no audio: the edit list skips all that is there".into(),
        None => {
            format!("the audio ends before the start that was asked for ({start_seconds:.3} s)")
        }
    }
}

/// The message of [`Error::TooLong`].
fn too_long(length: Duration, bytes: u64, fits: Duration) -> String {
    let seconds = length.as_secs_f64();
    match fits.as_secs() {
        0 => format!("{bytes} bytes do not hold the tags and a second of audio"),
        fits => format!(
            "{seconds:.0} s of audio do not fit into {bytes} bytes: at the lowest bitrate, {fits} s do; divide the audio \
             into parts of that length"
        ),
    }
}

impl Error {
    /// Displays the error with what caused it: for people, and logs that show nothing else.
    ///
    /// ```
    /// use std::io;
    /// let error = micropy_core::Error::Read(io::Error::other("the cable is out"));
    /// assert_eq!(error.to_string(), "cannot read the input");
    /// assert_eq!(error.with_causes().to_string(), "cannot read the input: the cable is out");
    /// ```
    pub fn with_causes(&self) -> impl fmt::Display + '_ {
        WithCauses(self)
    }

    /// A [`Error::Malformed`] at `at`.
    pub(crate) fn malformed(at: u64, what: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Malformed {
            at,
            what: what.into(),
            why: why.into(),
        }
    }

    /// This error of the file `name`, one of several. A cancellation is of no file.
    pub(crate) fn in_input(self, name: &str) -> Self {
        match self {
            Error::Cancelled | Error::InvalidOption(_) | Error::Internal(_) => self,
            error => Error::InInput {
                name: name.to_owned(),
                error: Box::new(error),
            },
        }
    }

    /// An [`Error::Unsupported`].
    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Error::Unsupported { what: what.into() }
    }
}

/// Shows an error and its chain of sources.
struct WithCauses<'a>(&'a Error);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let mut cause = self.0.source();
        // Its message holds that of the error of the file.
        if let Error::InInput { error, .. } = self.0 {
            cause = error.source();
        }
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
