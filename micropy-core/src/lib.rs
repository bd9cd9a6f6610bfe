//! MP4 video to MP3 audio, on all cores.
//!
//! A [`Converter`] reads MP4, M4A, MOV or 3GP from a [`Source`] (a file, bytes in memory, a pipe, an object in a
//! store), decodes its audio and writes one MP3, with tags, cover and chapters, to a [`Sink`]. The MP3 decodes to
//! exactly as many PCM samples as the file presents, and its bytes are the same for every number of threads.
//!
//! ```
//! use std::time::Duration;
//!
//! use micropy_core::{Converter, Error, Options, SeekSource};
//!
//! # fn main() -> micropy_core::Result<()> {
//! let video = SeekSource::open("tests/media/moov-first-stereo-44100.mp4").map_err(Error::Read)?;
//! let mut mp3 = Vec::new();
//! let report = Converter::new(Options::new().vbr(2.0)).convert(video, &mut mp3)?;
//!
//! assert_eq!(report.duration(), Duration::from_secs(2));
//! assert!(mp3.starts_with(b"ID3") && report.warnings.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! [`Converter::convert_file`] converts one path to another, [`Converter::parts`] makes an MP3 of each chapter or span of
//! time, [`Converter::join`] one of several files. [`PcmReader`] gives PCM, [`peaks()`] the waveform, and [`probe()`]
//! looks into a file. A [`CancelToken`] ends any of them early. With the feature `tokio`, an async program converts what an
//! `AsyncRead` or a stream of chunks gives, and gets the MP3 as one.
//!
//! # How the data flows
//!
//! ```text
//! Source ─▶ boxes ─▶ sample table, fragments, edit list ─▶ packets ─▶ spans ─┬─▶ decode ▶ PCM ▶ encode ─┐
//!                                                                            ├─▶ …one worker a core…    ├─▶ seams ─▶ tags ─▶ Sink
//!                                                                            └─▶ decode ▶ PCM ▶ encode ─┘
//! ```
//!
//! The caller's thread reads the source once, forward, takes only the audio's bytes, and writes the frames in order.
//! Packets are small, and few spans are in flight at a time, so memory depends on the number of cores and not on the
//! length of the file. Everything is synchronous; there is no runtime, no network and no clock.
//!
//! # Features
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `aac` | yes | AAC-LC in mono and stereo, by [Symphonia](https://docs.rs/symphonia-codec-aac) |
//! | `ac3` | yes | AC-3 and E-AC-3 |
//! | `adpcm` | yes | IMA and Microsoft ADPCM |
//! | `alac` | yes | Apple Lossless |
//! | `flac` | yes | FLAC |
//! | `mp3` | yes | MP3, which is copied where the options change nothing |
//! | `opus` | yes | Opus |
//! | `pcm` | yes | uncompressed, A-law and µ-law |
//! | `vorbis` | yes | Vorbis |
//! | `fdk-aac` | no | HE-AAC v1 and v2, xHE-AAC and AAC of more than two channels, by the Fraunhofer FDK AAC library |
//! | `ports` | yes | what a service of conversions stands on ([`ports`]): async traits, no runtime |
//! | `tokio` | no | conversions in async programs (`AsyncSource`, `Mp3Stream`): tokio's traits, no runtime |
//! | `conformance` | no | the suites that every adapter of a port must pass (`ports::conformance`) |
//!
//! `fdk-aac` is off by default because of its licence: the *Software License for The Fraunhofer FDK AAC Codec Library
//! for Android* asks that its text and the library's source be offered with a binary, and grants no patent licence.
//! Without the feature such files end in [`Error::Unsupported`]. It compiles C++. The encoder, LAME, is always
//! there: it is compiled from C, and under the LGPL.
//!
//! The [`ports`] are the interfaces of a conversion service to its storage, queue and ledger of jobs. A program that
//! only converts can leave them out: `default-features = false` with the decoders it needs.
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
//! | span | one stretch of the track, converted on its own |
//! | part | one stretch of the presentation that becomes a file of its own: a chapter, ten minutes |
//! | division | how a presentation is cut into parts |
//! | roll | packets decoded and thrown away until the output is right |
//! | warm-up | frames encoded and thrown away until the encoder has heard enough |
//! | seam | where two spans meet in the output |
//! | job | one conversion somebody asked the service for |

// docs.rs says beside each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(all(
        feature = "aac",
        feature = "ac3",
        feature = "adpcm",
        feature = "alac",
        feature = "flac",
        feature = "mp3",
        feature = "opus",
        feature = "pcm",
        feature = "vorbis"
    )),
    allow(dead_code, reason = "words that only the decoders left out use")
)]

#[cfg(feature = "tokio")]
mod asynchronous;
mod audio;
mod codec;
mod conversion;
mod convert;
mod copy;
mod decode;
mod division;
mod downmix;
mod envelope;
mod error;
mod fade;
mod file_name;
mod fit;
mod fourier;
mod frame_header;
mod language;
mod limiter;
mod loudness;
mod mp3;
mod mp4;
mod options;
mod pcm;
mod pcm_reader;
mod peaks;
mod pipeline;
mod playlist;
#[cfg(feature = "ports")]
pub mod ports;
mod preset;
mod probe;
mod progress;
mod render;
mod report;
mod resample;
mod runner;
mod sink;
mod sound_only;
mod source;
mod span;
#[cfg(feature = "stages")]
#[doc(hidden)]
pub mod stages;
mod stitch;
mod tags;
mod timeline;
mod warning;
mod wav;
mod window;
mod writer;

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncSource, Mp3Stream};
pub use codec::{AacProfile, Adpcm, Codec, Companding, PcmFormat};
pub use convert::Converter;
pub use division::{Division, EmptyPart, PartOutcome, Parts};
pub use error::{Error, Result};
pub use file_name::file_stem;
pub use mp4::{Outline, SoundPiece};
pub use options::{Bitrate, Channels, Options, OutputFormat, SampleFormat, TrackChoice};
pub use pcm_reader::PcmReader;
pub use peaks::{PeakBits, Peaks, Waveform, peaks};
pub use playlist::Joined;
pub use preset::Preset;
pub use probe::{Probe, ProbedTrack, Prober, probe};
pub use progress::{CancelToken, Progress};
pub use report::{MeasuredLoudness, Report};
pub use sink::{FileSink, SeekSink, Sink, StreamSink};
pub use sound_only::{SoundOnly, sound_only};
pub use source::{FileSource, SeekSource, Source, StreamSource};
pub use tags::{Chapter, Cover, FrameId, Id3Version, Key, TagOptions, Tags};
pub use warning::{LeftOut, Warning};
