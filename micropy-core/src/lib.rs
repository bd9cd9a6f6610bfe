//! MP4 video to MP3 audio.
//!
//! # Glossary
//!
//! One word, one meaning, in the code, the docs and the messages:
//!
//! | word | meaning here |
//! |---|---|
//! | sample | inside `mp4/` only: the ISO/IEC 14496-12 unit (one access unit) |
//! | packet | that unit once it leaves `mp4/` |
//! | PCM sample | one value of one channel |
//! | frame | an MP3 frame (2 granules in MPEG-1, 1 in MPEG-2) |
//! | chunk, fragment | ISO terms only (`stco`, `moof`) |
//! | span | one stretch of the track that is converted on its own |
//! | roll | packets decoded and thrown away before the output is right |
//! | warm-up | frames encoded and thrown away |
//! | seam | where two spans meet in the output |
//! | job | one conversion somebody asked the service for |

// docs.rs says beside each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(all(feature = "aac", feature = "opus", feature = "flac")),
    allow(dead_code, reason = "words that only the decoders left out use")
)]

mod audio;
mod codec;
mod conversion;
mod convert;
mod copy;
mod decode;
mod downmix;
mod error;
mod fade;
mod limiter;
mod loudness;
mod mp3;
mod mp4;
mod options;
mod pcm;
mod pipeline;
pub mod ports;
mod probe;
mod progress;
mod render;
mod report;
mod resample;
mod runner;
mod sink;
mod source;
mod span;
#[cfg(feature = "stages")]
#[doc(hidden)]
pub mod stages;
mod stitch;
mod tags;
mod timeline;
mod window;
mod writer;

pub use codec::{Codec, CodecParameters, Companding, PcmLayout};
pub use convert::{Chapters, Converter};
pub use error::{Error, Result};
pub use options::{Bitrate, Channels, Options, TrackChoice};
pub use probe::{Probe, ProbedTrack, probe};
pub use progress::{CancelToken, Progress};
pub use report::{MeasuredLoudness, Report};
pub use sink::{FileSink, SeekSink, Sink, StreamSink};
pub use source::{SeekSource, Source, StreamSource};
pub use tags::{
    Chapter, Cover, FrameId, Gapless, Id3Version, Key, Metadata, ReplayGain, TagOptions, Tags,
    chapter_file_names, fit_chapters,
};
