//! What a user should know of a source that was converted all the same.

use std::fmt;
use std::time::Duration;

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
    /// Another audio track than the first was converted, since that one cannot be.
    #[non_exhaustive]
    TrackPassedOver {
        /// Its number among the audio tracks, from 0.
        track: usize,
        /// Its coding, or why it cannot be converted.
        what: String,
        /// The number of the track that was converted.
        chosen: usize,
    },
    /// A packet could not be decoded and was replaced by silence of its length.
    #[non_exhaustive]
    Concealed {
        /// Byte offset of the packet in the source.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A packet holds more sound than there is time for: its end was cut off.
    #[non_exhaustive]
    Cut {
        /// Byte offset of the packet in the source.
        at: u64,
        /// How much too much it is.
        why: String,
    },
    /// More packets were replaced by silence, or cut, than those warned of one by one.
    #[non_exhaustive]
    MoreConcealed {
        /// How many more.
        packets: u64,
    },
    /// So much was replaced by silence or cut off that the MP3 does not count as complete: more than one packet in a
    /// hundred, or more than a tenth of a second together.
    #[non_exhaustive]
    MuchConcealed {
        /// Packets that were replaced or cut.
        packets: u64,
        /// Packets that were converted.
        of: u64,
        /// How much sound that was.
        duration: Duration,
        /// Byte offset of the first of them in the source.
        at: u64,
    },
    /// The container declares packets for which it gives no place, or which are not wholly there.
    #[non_exhaustive]
    Missing {
        /// How many; there may be more where a fragment is damaged.
        packets: u64,
        /// Packets that were found.
        found: u64,
    },
    /// Segments are missing there, or come later than they should: a fragment begins a packet later than the one in front
    /// of it ends. Or packets are said to last longer than their sound, together by more than a tenth of a second: the
    /// recorder had pauses.
    #[non_exhaustive]
    Gap {
        /// When the sound in front of it ends, on the clock of the stream.
        at: Duration,
        /// How much time is missing.
        length: Duration,
        /// Silence takes its place in the MP3, up to a minute of it each time. Otherwise the MP3 is shorter by it.
        filled: bool,
    },
    /// A fragment begins before the one in front of it ends: they overlap, or are in the wrong order.
    #[non_exhaustive]
    OutOfOrder {
        /// When the one in front of it ends, on the clock of the stream.
        at: Duration,
        /// When it begins.
        begins: Duration,
    },
    /// Fragments are in the source twice, with the same times and the same bytes; they are in the MP3 once.
    #[non_exhaustive]
    Repeated {
        /// When they begin, on the clock of the stream.
        at: Duration,
        /// How long they are together.
        length: Duration,
    },
    /// From there on, the fragments are in another order in the source than their times: they were sorted. A pipe cannot
    /// be, and has [`Warning::Gap`] and [`Warning::OutOfOrder`] instead.
    #[non_exhaustive]
    Sorted {
        /// When the first of them begins, on the clock of the stream.
        at: Duration,
    },
    /// The container says that packets are to be heard at other times than one after the other (composition offsets that
    /// vary); they were converted one after the other.
    CompositionOffsets,
    /// The edit list presents some of the media from behind its end; silence takes its place.
    #[non_exhaustive]
    BehindTheMedia {
        /// How much.
        length: Duration,
    },
    /// The edit list asks for another speed; the audio was converted at its own.
    #[non_exhaustive]
    OtherSpeed,
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
    /// The fragments end before the index of the segments (`sidx`) does: those at the end are missing.
    #[non_exhaustive]
    EndsEarly {
        /// Where the last fragment ends.
        at: Duration,
        /// Where the index does.
        indexed: Duration,
    },
    /// A copied MP3 is longer than what the source presents: its Info tag cannot cut the end alone.
    #[non_exhaustive]
    Untrimmed {
        /// PCM samples per channel that are too many.
        samples: u64,
    },
    /// Silence was to be left out at both ends, and there is nothing else: all of it was kept.
    #[non_exhaustive]
    OnlySilence,
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

    /// Whether sound is missing from the MP3, or is not where it should be: it is then not complete.
    pub(crate) fn is_of_missing_sound(&self) -> bool {
        matches!(
            self,
            Warning::MuchConcealed { .. }
                | Warning::Missing { .. }
                | Warning::Gap { .. }
                | Warning::OutOfOrder { .. }
                | Warning::BehindTheMedia { .. }
                | Warning::BreaksOff { .. }
                | Warning::EndsEarly { .. }
        )
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
            Warning::TrackPassedOver {
                track,
                what,
                chosen,
            } => write!(
                f,
                "audio track {track} ({what}) cannot be converted: track {chosen} was"
            ),
            Warning::Concealed { at, why } => {
                write!(f, "packet at byte {at}: {why}; replaced by silence")
            }
            Warning::Cut { at, why } => write!(f, "packet at byte {at}: {why}; its end was cut off"),
            Warning::MoreConcealed { packets } => {
                write!(f, "{packets} more packets were replaced by silence or cut")
            }
            Warning::MuchConcealed {
                packets,
                of,
                duration,
                at,
            } => write!(
                f,
                "{packets} of {of} packets could not be decoded whole: {:.2} s of sound are silence in the MP3 or were \
                 cut off; the first stands at byte {at}",
                duration.as_secs_f64()
            ),
            Warning::Missing { packets: 0, found } => write!(
                f,
                "a damaged fragment follows the {found} packets that were found: what it held is missing"
            ),
            Warning::Missing { packets, found } => write!(
                f,
                "{packets} packets that the file declares are missing: {found} were found"
            ),
            Warning::Gap { at, length, filled } => write!(
                f,
                "{:.2} s are missing at {:.2} s: what follows begins at {:.2} s; {}",
                length.as_secs_f64(),
                at.as_secs_f64(),
                (*at + *length).as_secs_f64(),
                match filled {
                    true => "silence takes their place",
                    false => "the MP3 is shorter by them",
                }
            ),
            Warning::OutOfOrder { at, begins } => write!(
                f,
                "a fragment that begins at {:.2} s follows one that ends at {:.2} s: they overlap or are in the wrong \
                 order, and were converted as they stand",
                begins.as_secs_f64(),
                at.as_secs_f64()
            ),
            Warning::Repeated { at, length } => write!(
                f,
                "{:.2} s from {:.2} s on are in the file more than once: the repeats were left out",
                length.as_secs_f64(),
                at.as_secs_f64()
            ),
            Warning::Sorted { at } => write!(
                f,
                "from {:.2} s on, the fragments are not in the order of their times in the file: they were sorted",
                at.as_secs_f64()
            ),
            Warning::CompositionOffsets => f.write_str(
                "packets are to be heard at other times than one after the other (their composition offsets vary): they \
                 were converted one after the other",
            ),
            Warning::BehindTheMedia { length } => write!(
                f,
                "the edit list presents {:.2} s from behind the end of the media: silence takes their place",
                length.as_secs_f64()
            ),
            Warning::OtherSpeed => f.write_str(
                "the edit list asks for another speed: the audio was converted at its own",
            ),
            Warning::BreaksOff {
                at,
                packets,
                expected_packets,
            } => write!(
                f,
                "the media breaks off at byte {at}: {packets} of {expected_packets} packets are there"
            ),
            Warning::EndsEarly { at, indexed } => write!(
                f,
                "the fragments end at {:.2} s, where their index (sidx) has {:.2} s: the rest is missing",
                at.as_secs_f64(),
                indexed.as_secs_f64()
            ),
            Warning::Untrimmed { samples } => write!(
                f,
                "the last {samples} PCM samples are not presented in the source; a copied MP3 that \
                 nothing is cut from at the start cannot tell that"
            ),
            Warning::OnlySilence => {
                f.write_str("all of the audio is silence: none of it was left out")
            }
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
