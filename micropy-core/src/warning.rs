//! What a user should know of a source that was converted all the same.

use std::fmt;

use crate::error::Error;

/// What a user should know of a source that was converted all the same. It displays as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Warning {
    /// A structure of the container is malformed; it was passed over.
    #[non_exhaustive]
    Malformed {
        /// Byte offset of the structure in the source.
        at: u64,
        /// The structure, such as a box.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A structure of the container is over a limit; it was passed over.
    #[non_exhaustive]
    Limit {
        /// Byte offset of the structure in the source.
        at: u64,
        /// What is too large or too many.
        what: String,
        /// The limit, in the unit that `what` names.
        limit: u64,
    },
    /// Tags, a cover or chapters could not be read.
    #[non_exhaustive]
    LeftOut {
        /// Which of them.
        what: LeftOut,
        /// Byte offset in the source.
        at: u64,
        /// What is wrong with them.
        why: String,
    },
    /// A track has a timescale of 0.
    #[non_exhaustive]
    Timescale {
        /// `track_ID`.
        track: u32,
        /// Byte offset of its box in the source.
        at: u64,
        /// The units per second that were assumed.
        assumed: u32,
    },
    /// A track changes its coding on the way; all of it was decoded by its first sample entry.
    #[non_exhaustive]
    CodingChange {
        /// `track_ID`.
        track: u32,
        /// Byte offset of its box in the source.
        at: u64,
    },
    /// A packet could not be decoded and was replaced by silence of its length.
    #[non_exhaustive]
    Concealed {
        /// Byte offset of the packet in the source.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
    /// More packets were replaced by silence than those warned of one by one.
    #[non_exhaustive]
    MoreConcealed {
        /// How many more.
        packets: u64,
    },
    /// The source ends before its audio does.
    #[non_exhaustive]
    BreaksOff {
        /// Byte offset at which the audio ends.
        at: u64,
        /// Packets up to there.
        packets: u64,
        /// Packets that the container declares.
        expected_packets: u64,
    },
    /// A copied MP3 is longer than what the source presents: its Info tag cannot cut the end alone.
    #[non_exhaustive]
    Untrimmed {
        /// PCM samples per channel that are too many.
        samples: u64,
    },
}

/// What of a file's metadata could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeftOut {
    /// Tags from some place on.
    Tags,
    /// A cover picture.
    Cover,
    /// The chapters.
    Chapters,
}

impl Warning {
    /// The warning of a structure that was passed over because of `error`.
    pub(crate) fn passed_over(error: Error) -> Self {
        match error {
            Error::Malformed { at, what, why } => Warning::Malformed { at, what, why },
            Error::Limit { at, what, limit } => Warning::Limit { at, what, limit },
            // Whatever else reads a container can say does not depend on a place in it.
            other => Warning::Malformed {
                at: 0,
                what: "file".into(),
                why: other.to_string(),
            },
        }
    }

    /// The warning of metadata at byte `at` that were left out because of `error`.
    pub(crate) fn left_out(what: LeftOut, at: u64, error: Error) -> Self {
        match error {
            Error::Malformed {
                at,
                what: part,
                why,
            } => Warning::LeftOut {
                what,
                at,
                why: format!("malformed {part}: {why}"),
            },
            error => Warning::LeftOut {
                what,
                at,
                why: error.to_string(),
            },
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Malformed { at, what, why } => {
                write!(f, "malformed {what} at byte {at}: {why}")
            }
            Warning::Limit { at, what, limit } => {
                write!(f, "{what} at byte {at} is over the limit of {limit}")
            }
            Warning::LeftOut { what, at, why } => write!(f, "{what} at byte {at} left out: {why}"),
            Warning::Timescale { track, at, assumed } => write!(
                f,
                "track {track} at byte {at} has a timescale of 0: {assumed} is assumed"
            ),
            Warning::CodingChange { track, at } => write!(
                f,
                "track {track} at byte {at} changes its coding: all of it is decoded as it begins"
            ),
            Warning::Concealed { at, why } => {
                write!(f, "packet at byte {at}: {why}; replaced by silence")
            }
            Warning::MoreConcealed { packets } => {
                write!(f, "{packets} more packets were replaced by silence")
            }
            Warning::BreaksOff {
                at,
                packets,
                expected_packets,
            } => write!(
                f,
                "the media breaks off at byte {at}: {packets} of {expected_packets} packets are there"
            ),
            Warning::Untrimmed { samples } => write!(
                f,
                "the last {samples} PCM samples are not presented in the source; a copied MP3 that \
                 nothing is cut from at the start cannot tell that"
            ),
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeftOut::Tags => "tags",
            LeftOut::Cover => "cover",
            LeftOut::Chapters => "chapters",
        })
    }
}
