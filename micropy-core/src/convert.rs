//! One conversion from end to end: the only file that names all stages.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::decode::{self, INSPECTED_PACKETS};
use crate::downmix::Downmix;
use crate::error::{Error, Result};
use crate::fade::Fade;
use crate::mp3::id3;
use crate::mp3::info_tag::{self, Trim};
use crate::mp4::{AudioTrack, Movie};
use crate::options::{Bitrate, Channels, Options, TrackChoice};
use crate::pipeline::{Engine, Observer, rate_control};
use crate::progress::{CancelToken, Progress};
use crate::render::{Findings, Recipe};
use crate::report::{Report, duration_of, samples_of};
use crate::resample::{self, Resampler};
use crate::sink::{FileSink, Sink};
use crate::source::{SeekSource, Source};
use crate::span::{Mapping, Plan, SpanReader};
use crate::tags::{Metadata, fit_chapters};
use crate::timeline::{Clock, Presented};
use crate::writer::{Foreseen, Writer};

/// Converts the audio of MP4 files to MP3.
///
/// ```no_run
/// use micropy_core::{Converter, Options};
///
/// # fn main() -> micropy_core::Result<()> {
/// let report = Converter::new(Options::new().vbr(2.0)).convert_file("talk.mp4", "talk.mp3")?;
/// println!("{:?} of {}", report.duration(), report.codec);
/// # Ok(())
/// # }
/// ```
pub struct Converter<'a> {
    options: Options,
    cancel: CancelToken,
    on_progress: Option<Box<dyn FnMut(Progress) + 'a>>,
}

impl std::fmt::Debug for Converter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Converter")
            .field("options", &self.options)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

impl<'a> Converter<'a> {
    /// A converter with these options.
    pub fn new(options: Options) -> Self {
        Converter {
            options,
            cancel: CancelToken::new(),
            on_progress: None,
        }
    }

    /// Calls `callback` several times a second while converting, on the caller's thread.
    #[must_use]
    pub fn on_progress(mut self, callback: impl FnMut(Progress) + 'a) -> Self {
        self.on_progress = Some(Box::new(callback));
        self
    }

    /// Ends with [`Error::Cancelled`] when `token` is cancelled.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = token;
        self
    }

    /// Converts the file `input` to the file `output`, which appears only when it is whole and replaces
    /// one that exists.
    ///
    /// # Errors
    /// As [`Converter::convert`].
    pub fn convert_file(
        &mut self,
        input: impl AsRef<Path>,
        output: impl AsRef<Path>,
    ) -> Result<Report> {
        let source = SeekSource::open(input).map_err(Error::Read)?;
        let mut file = FileSink::create(output.as_ref(), true).map_err(Error::Write)?;
        let report = self.convert(source, &mut file)?;
        file.persist().map_err(Error::Write)?;
        Ok(report)
    }

    /// Converts what `source` holds into `sink`.
    ///
    /// # Errors
    /// Every [`Error`]; what was written to the sink by then is no MP3.
    pub fn convert(&mut self, mut source: impl Source, mut sink: impl Sink) -> Result<Report> {
        self.options.check()?;
        let movie = Movie::read(&mut source)?;
        let index = choose(&movie, &self.options.track)?;
        let conversion = Conversion::open(&self.options, movie, index, &mut source)?;
        let mut ignore = |_: Progress| {};
        let on_progress: &mut dyn FnMut(Progress) = match &mut self.on_progress {
            Some(callback) => callback,
            None => &mut ignore,
        };
        conversion.run(&mut source, &mut sink, &self.cancel, on_progress)
    }
}

/// The audio track that `choice` means.
fn choose(movie: &Movie, choice: &TrackChoice) -> Result<usize> {
    let tracks = &movie.audio;
    if tracks.is_empty() {
        return Err(Error::NoAudioTrack(match movie.other_tracks {
            0 => "the file has no tracks at all".into(),
            1 => "its only track is not audio".into(),
            n => format!("none of its {n} tracks is audio"),
        }));
    }
    let found = match choice {
        TrackChoice::Default => {
            let usable = |t: &&AudioTrack| t.codec.is_ok();
            tracks
                .iter()
                .position(|t| t.enabled && usable(&t))
                .or_else(|| tracks.iter().position(|t| usable(&t)))
                .or(Some(0))
        }
        TrackChoice::Index(index) => (*index < tracks.len()).then_some(*index),
        TrackChoice::Language(language) => tracks
            .iter()
            .position(|t| t.language.as_deref() == Some(language)),
    };
    found.ok_or_else(|| {
        let languages: Vec<&str> = tracks
            .iter()
            .map(|t| t.language.as_deref().unwrap_or("und"))
            .collect();
        Error::NoAudioTrack(match choice {
            TrackChoice::Language(language) => {
                format!(
                    "none in the language {language}; there are {}",
                    languages.join(", ")
                )
            }
            TrackChoice::Default | TrackChoice::Index(_) => {
                format!("the audio tracks are numbered 0 to {}", tracks.len() - 1)
            }
        })
    })
}

/// A file opened for conversion: everything is decided, nothing decoded yet.
struct Conversion {
    recipe: Recipe,
    encoder: micropy_lame::Settings,
    /// What the Info tag tells of the encoder.
    encoding: info_tag::Encoding,
    reader: SpanReader,
    /// The ID3 tag.
    id3: Vec<u8>,
    jobs: NonZeroUsize,
    /// PCM samples that the container declares for the output, where it does.
    declared: Option<Declared>,
    warnings: Vec<String>,
}

#[derive(Clone, Copy)]
struct Declared {
    output: u64,
}

impl Conversion {
    fn open(
        options: &Options,
        mut movie: Movie,
        index: usize,
        source: &mut dyn Source,
    ) -> Result<Self> {
        let mut warnings = std::mem::take(&mut movie.warnings);
        let mut metadata = movie.metadata();
        warnings.append(&mut metadata.warnings);
        let chapters = movie.chapters(source, index)?;
        if !chapters.is_empty() {
            metadata.chapters = chapters;
        }
        let mut packets = movie.packets(source, index)?;
        let track = movie.audio.swap_remove(index);
        let parameters = track.codec?;
        let mut ahead = VecDeque::new();
        while ahead.len() < INSPECTED_PACKETS {
            let mut data = Vec::new();
            match packets.next(source, &mut data)? {
                Some(packet) => ahead.push_back((packet, data)),
                None => break,
            }
        }
        let first: Vec<&[u8]> = ahead.iter().map(|(_, data)| data.as_slice()).collect();
        let format = decode::inspect(&parameters, &first)?;
        let clock = Clock {
            timescale: track.timescale,
            sample_rate: format.sample_rate,
            packet_len: format.packet_len,
        };
        let presented = trim(
            Presented::new(&clock, &track.edit, metadata.gapless, track.samples),
            options,
            &clock,
        );
        let layout = format.layout;
        let downmix = match options.channels {
            Some(Channels::Mono) => Downmix::mono(layout, true),
            None if layout.channels() == 1 => Downmix::mono(layout, true),
            Some(Channels::Stereo) | None => Downmix::stereo(layout, true),
        };
        let encoder = micropy_lame::Settings {
            sample_rate: options
                .sample_rate
                .unwrap_or_else(|| resample::mp3_rate(format.sample_rate)),
            channels: downmix.channels() as u8,
            bitrate: options.bitrate,
            quality: options.quality,
        };
        let resampler = match encoder.sample_rate == format.sample_rate {
            true => None,
            false => Some(Resampler::new(format.sample_rate, encoder.sample_rate)?),
        };
        let mapping = Mapping {
            clock,
            presented,
            silence: 0,
            resampler,
            roll: Recipe::roll(false, false, encoder.sample_rate),
        };
        let declared = track.samples.zip(track.duration).map(|(samples, units)| {
            let input = presented.len_within(clock.media_len(samples, units));
            Declared {
                output: mapping.output_len(input),
            }
        });
        let id3 = id3(
            options,
            metadata,
            declared.map(|d| duration_of(d.output, encoder.sample_rate)),
        )?;
        let frame_len = frame_len(encoder.sample_rate);
        let plan = Plan::new(
            declared.map(|d| frames_for(d.output, frame_len)),
            unit(encoder.sample_rate),
        );
        let reader = SpanReader::new(
            ahead,
            packets,
            mapping.clone(),
            plan,
            frame_len,
            format.roll,
        );
        Ok(Conversion {
            recipe: Recipe {
                parameters,
                format,
                mapping,
                sample_rate: encoder.sample_rate,
                downmix,
                gain: None,
                fade: Fade::default(),
                measure: false,
            },
            encoder,
            encoding: describe(&encoder)?,
            reader,
            id3,
            jobs: options
                .jobs
                .or_else(|| thread::available_parallelism().ok())
                .unwrap_or(NonZeroUsize::MIN),
            declared,
            warnings,
        })
    }

    fn run(
        mut self,
        source: &mut dyn Source,
        sink: &mut dyn Sink,
        cancel: &CancelToken,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<Report> {
        let findings = Findings::default();
        let rate = self.encoder.sample_rate;
        let foreseen = self.declared.map(|declared| {
            let frames = frames_for(declared.output, frame_len(rate));
            let trim = trim_of(frames, declared.output, rate);
            Foreseen { frames, trim }
        });
        let mut desk = Desk {
            writer: Writer::new(sink, &self.id3, self.encoding, foreseen)?,
            cancel,
            on_progress,
            rate,
            total: self.declared.map(|d| duration_of(d.output, rate)),
        };
        let engine = Engine {
            recipe: &self.recipe,
            encoder: self.encoder,
            jobs: self.jobs,
            findings: &findings,
        };
        engine.run(&mut self.reader, source, &mut desk)?;
        let extent = self.reader.extent();
        let frames = desk.writer.frames();
        let trim = trim_of(frames, extent.output_len, rate);
        let bytes = desk.writer.finish(trim, None)?;
        let missing = self.reader.packets().missing();
        self.warnings
            .extend_from_slice(self.reader.packets().warnings());
        self.warnings.extend(findings.told());
        if let Some(at) = extent.cut_at {
            self.warnings.push(format!(
                "the media breaks off at byte {at}: {} of {} packets are there",
                extent.packets,
                extent.packets + missing.packets,
            ));
        }
        Ok(Report {
            codec: self.recipe.format.name.clone(),
            input_sample_rate: self.recipe.format.sample_rate,
            input_channels: self.recipe.format.layout.channels() as u16,
            input_samples: extent.input_len,
            input_bytes: extent.audio_bytes,
            packets: extent.packets,
            concealed_packets: findings.concealed(),
            output_sample_rate: rate,
            output_channels: self.recipe.downmix.channels() as u16,
            output_samples: extent.output_len,
            output_bytes: bytes,
            frames,
            complete: extent.cut_at.is_none() && missing.is_nothing(),
            expected_duration: self.declared.map(|d| duration_of(d.output, rate)),
            warnings: self.warnings,
        })
    }
}

/// The ID3 tag of the MP3: what `options` make of what the file says of itself.
fn id3(options: &Options, mut metadata: Metadata, length: Option<Duration>) -> Result<Vec<u8>> {
    metadata.chapters = fit_chapters(
        &metadata.chapters,
        options.start,
        length.unwrap_or(Duration::MAX),
    );
    let encoder = format!(
        "Micropy {}, {}",
        env!("CARGO_PKG_VERSION"),
        micropy_lame::version()
    );
    let tags = options.tags.apply(&metadata, &encoder);
    id3::encode(&tags, options.tags.version)
}

/// What the Info tag tells of an encoder with these settings.
fn describe(settings: &micropy_lame::Settings) -> Result<info_tag::Encoding> {
    let encoder = micropy_lame::Encoder::new(settings)?;
    let (bitrate, preset) = match settings.bitrate {
        Bitrate::Cbr(kbps) | Bitrate::Abr(kbps) => (kbps, kbps),
        // LAME counts its presets V9 to V0 from 410 to 500.
        Bitrate::Vbr(quality) => {
            let lowest = micropy_lame::bitrates(settings.sample_rate).and_then(|b| b.first());
            (
                lowest.copied().unwrap_or_default(),
                500 - 10 * quality as u16,
            )
        }
    };
    Ok(info_tag::Encoding {
        rate: rate_control(settings.bitrate),
        bitrate,
        quality: encoder.tag_quality(),
        flags: encoder.tag_flags(),
        preset,
        lowpass: encoder.lowpass(),
        encoder: micropy_lame::version(),
    })
}

/// What decoders leave out of `frames` frames so that `samples` PCM samples remain.
fn trim_of(frames: u64, samples: u64, sample_rate: u32) -> Trim {
    let padding = (frames * frame_len(sample_rate)).saturating_sub(samples + ENCODER_DELAY);
    Trim {
        delay: ENCODER_DELAY as u16,
        padding: u16::try_from(padding).unwrap_or(u16::MAX),
    }
}

/// The presented part, less what the caller does not want of it.
fn trim(presented: Presented, options: &Options, clock: &Clock) -> Presented {
    let skip = samples_of(options.start, clock.sample_rate);
    let rest = presented.length.map(|length| length.saturating_sub(skip));
    let wanted = options.duration.map(|d| samples_of(d, clock.sample_rate));
    Presented {
        start: presented.start.saturating_add(skip),
        length: match (rest, wanted) {
            (Some(rest), Some(wanted)) => Some(rest.min(wanted)),
            (rest, wanted) => rest.or(wanted),
        },
    }
}

/// PCM samples per channel of an MP3 frame: two granules in MPEG-1, one in MPEG-2 and 2.5.
fn frame_len(sample_rate: u32) -> u64 {
    if sample_rate >= 32_000 { 1152 } else { 576 }
}

/// PCM samples that LAME puts in front, the decoder's own 529 not counted (`ENCDELAY` in its `encoder.h`).
const ENCODER_DELAY: u64 = 576;

/// PCM samples that LAME puts behind at least (`lame_encode_flush`).
const LEAST_PADDING: u64 = 576;

/// Frames that LAME makes of `samples` PCM samples.
fn frames_for(samples: u64, frame_len: u64) -> u64 {
    (samples + ENCODER_DELAY + LEAST_PADDING).div_ceil(frame_len)
}

/// Spans start at multiples of so many frames: at 44.1 kHz and its fractions the padding of a constant
/// bitrate repeats every 49.
fn unit(sample_rate: u32) -> u64 {
    if sample_rate.is_multiple_of(11_025) {
        49
    } else {
        1
    }
}

/// Where the caller's thread writes frames, tells how far it is, and hears of a cancellation.
struct Desk<'a> {
    writer: Writer<'a>,
    cancel: &'a CancelToken,
    on_progress: &'a mut dyn FnMut(Progress),
    rate: u32,
    total: Option<Duration>,
}

impl Observer for Desk<'_> {
    fn frames(&mut self, frames: &mut dyn Iterator<Item = &[u8]>) -> Result<()> {
        for frame in frames {
            self.writer.frame(frame)?;
        }
        Ok(())
    }

    fn tick(&mut self, encoded: u64) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        (self.on_progress)(Progress {
            done: duration_of(encoded, self.rate),
            total: self.total,
        });
        Ok(())
    }
}
