//! What is in a file: tracks, length, tags, chapters.

use std::time::Duration;

use crate::audio;
use crate::codec::Codec;
use crate::decode;
use crate::error::{Error, Result};
use crate::language;
use crate::mp4::{AfterPreamble, Movie, Passed};
use crate::options::TrackChoice;
use crate::progress::CancelToken;
use crate::report::duration_of;
use crate::source::{Cancellable, Source};
use crate::tags::{Chapter, Cover, Tags};
use crate::timeline::{Lag, MediaEnd};
use crate::warning::Warning;

/// What is in a file, from [`probe`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Probe {
    /// The major brand (`ftyp`), such as `isom` or `M4A`.
    pub brand: Option<String>,
    /// The packets stand in movie fragments.
    pub fragmented: bool,
    /// Bytes of the file, if the source knows.
    pub size: Option<u64>,
    /// The audio tracks, in file order.
    pub tracks: Vec<ProbedTrack>,
    /// The index of the track that a conversion takes by default.
    pub default_track: Option<usize>,
    /// Tracks that are not audio.
    pub other_tracks: usize,
    /// Title, artist and so on.
    pub tags: Tags,
    /// Pictures, the front cover first.
    pub covers: Vec<Cover>,
    /// Chapters, on the presentation's time line.
    pub chapters: Vec<Chapter>,
    /// What a user should know of.
    pub warnings: Vec<Warning>,
}

impl Probe {
    /// The track that a conversion with this choice takes; `None` where the file has no such track.
    pub fn track(&self, choice: &TrackChoice) -> Option<&ProbedTrack> {
        match choice {
            TrackChoice::Default => self.tracks.get(self.default_track?),
            TrackChoice::Index(index) => self.tracks.get(*index),
            TrackChoice::Language(wanted) => self.tracks.iter().find(|track| {
                let spoken = track.language.as_deref();
                spoken.is_some_and(|spoken| language::is_same(spoken, wanted))
            }),
        }
    }
}

/// One audio track of a file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProbedTrack {
    /// `track_ID`.
    pub id: u32,
    /// The coding; its profile is known only where the track can be decoded.
    pub codec: Option<Codec>,
    /// Why it cannot be converted; `None`: it can.
    pub problem: Option<String>,
    /// Hz of the decoded audio.
    pub sample_rate: Option<u32>,
    /// Channels of the decoded audio.
    pub channels: Option<u16>,
    /// ISO 639-2 code of the language, if the file gives one.
    pub language: Option<String>,
    /// The file marks it as enabled.
    pub enabled: bool,
    /// Packets.
    pub packets: u64,
    /// PCM samples per channel that are presented (edit list, encoder delay and padding applied). Where packets are
    /// longer or shorter than their durations say, as in what was copied from Matroska, this is what the durations add
    /// up to.
    pub samples: Option<u64>,
    /// Their duration.
    pub duration: Option<Duration>,
    /// Mean bitrate of the packets in bit/s; `None` in a fragmented file.
    pub bitrate: Option<u64>,
}

/// Looks into the file that `source` holds. Of its media, only some packets of each track are read.
///
/// ```no_run
/// use micropy_core::{Error, SeekSource, probe};
///
/// # fn main() -> micropy_core::Result<()> {
/// let found = probe(SeekSource::open("talk.mp4").map_err(Error::Read)?)?;
/// println!("{:?}, {} chapters", found.tracks[0].duration, found.chapters.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Read`], [`Error::NotMp4`] and [`Error::Malformed`]. A track that cannot be converted is no error:
/// its [`ProbedTrack::problem`] says why.
pub fn probe(source: impl Source) -> Result<Probe> {
    Prober::new().probe(source)
}

/// [`probe()`] with options.
#[derive(Clone, Debug, Default)]
pub struct Prober {
    cancel: CancelToken,
}

impl Prober {
    /// A prober with the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends with [`Error::Cancelled`] once `token` is cancelled; [`CancelToken`] says how soon.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = token;
        self
    }

    /// Does what [`probe()`] does.
    ///
    /// # Errors
    /// As [`probe()`].
    pub fn probe(&self, mut source: impl Source) -> Result<Probe> {
        let mut source = Cancellable::new(&mut source, &self.cancel);
        look_into(&mut source).map_err(|error| self.cancel.explain(error))
    }
}

fn look_into(source: &mut dyn Source) -> Result<Probe> {
    source.keep_from(0).map_err(Error::Read)?;
    let mut file = AfterPreamble::find(source).map_err(Error::Read)?;
    let source: &mut dyn Source = &mut file;
    let mut movie = Movie::read(source)?;
    let default_track = audio::choose(&movie, &TrackChoice::Default).ok();
    let metadata = movie.metadata(default_track);
    let mut chapters = metadata.chapters;
    let mut warnings = std::mem::take(&mut movie.warnings);
    warnings.extend(metadata.warnings);
    if let Some(index) = default_track {
        let named = movie.chapters(source, index)?;
        if !named.is_empty() {
            chapters = named;
        }
        warnings.extend(movie.add_pictures(source, index, &mut chapters)?);
    }
    let mut tracks = Vec::with_capacity(movie.audio.len());
    for index in 0..movie.audio.len() {
        tracks.push(track(&movie, index, metadata.gapless, source)?);
    }
    Ok(Probe {
        brand: movie
            .brand
            .map(|brand| String::from_utf8_lossy(&brand).trim_end().to_owned()),
        fragmented: movie.fragmented,
        size: source.size(),
        tracks,
        default_track,
        other_tracks: movie.other_tracks,
        tags: metadata.tags,
        covers: metadata.covers,
        chapters,
        warnings,
    })
}

fn track(
    movie: &Movie,
    index: usize,
    gapless: Option<crate::tags::Gapless>,
    source: &mut dyn Source,
) -> Result<ProbedTrack> {
    let track = &movie.audio[index];
    let mut probed = ProbedTrack {
        id: track.id,
        codec: None,
        problem: None,
        sample_rate: None,
        channels: None,
        language: track.language.clone(),
        enabled: track.enabled,
        packets: track.samples.unwrap_or_default(),
        samples: None,
        duration: None,
        bitrate: None,
    };
    let parameters = match &track.codec {
        Ok(parameters) => parameters,
        Err(problem) => {
            probed.problem = Some(problem.to_string());
            return Ok(probed);
        }
    };
    probed.codec = Some(parameters.codec.clone());
    probed.sample_rate = Some(parameters.sample_rate).filter(|&hz| hz > 0);
    probed.channels = Some(parameters.channels).filter(|&count| count > 0);
    let mut beginning = match audio::begin(movie, index, parameters, source) {
        Ok(beginning) => beginning,
        Err(error @ Error::Read(_)) => return Err(error),
        Err(problem) => {
            probed.problem = Some(problem.to_string());
            return Ok(probed);
        }
    };
    let clock = beginning.clock(track, parameters);
    let lengths = decode::lengths(parameters, &beginning.format);
    let usual = clock.packet_len.unwrap_or_default();
    let (mut packets, mut units, mut gaps, mut last) = (0u64, 0u64, 0u64, None);
    let (mut decoded, mut last_len) = (0u64, 0);
    let mut lag = Lag::default();
    let mut data = Vec::new();
    loop {
        let passed = match beginning.ahead.is_empty() {
            true => beginning.packets.skip(source, u64::MAX, &clock, &mut lag)?,
            false => Passed::default(),
        };
        packets += passed.packets;
        decoded = decoded.saturating_add(match clock.packet_len {
            Some(len) => passed.packets.saturating_mul(len.into()),
            None => clock.samples(passed.duration),
        });
        if passed.packets > 0 {
            last_len = usual;
        }
        units = units.saturating_add(passed.duration);
        last = passed.last.or(last);
        data.clear();
        let packet = match beginning.ahead.pop_front() {
            Some((packet, bytes)) => {
                data = bytes;
                Some(packet)
            }
            None => beginning.packets.next(source, &mut data)?,
        };
        let Some(packet) = packet.filter(|packet| packet.read == packet.size) else {
            break;
        };
        let silence = lag.before(&clock, packet.gap, packet.duration);
        let from = packet.time.saturating_sub(silence.units);
        if silence.units > 0 && beginning.packets.miss(from, packet.time) {
            units = units.saturating_sub(silence.counted);
            gaps = gaps.saturating_add(silence.units);
        }
        packets += 1;
        let is_usual = !Lag::stands_out(&clock, packet.duration, packet.size);
        let told = lengths.and_then(|lengths| lengths.of(&data, is_usual));
        last_len = told.unwrap_or(usual);
        decoded = decoded.saturating_add(last_len.into());
        units = units.saturating_add(packet.duration.into());
        last = Some(packet.duration);
        if last_len > 0 {
            lag.after(&clock, packet.duration, last_len.into());
        }
    }
    probed.packets = packets;
    let media_len = match clock.packet_len {
        Some(_) => clock.sound_len(decoded, last_len, units, last),
        None if clock.instant.is_some() => decoded,
        None => clock.samples(units),
    };
    let end = Some(MediaEnd {
        time: units.saturating_add(gaps),
        len: media_len.saturating_add(clock.samples(gaps)),
    });
    let timeline = beginning.timeline(track, parameters, gapless, end);
    let samples = timeline.len().unwrap_or_default();
    let format = beginning.format;
    let duration = duration_of(samples, format.sample_rate);
    probed.codec = Some(format.codec);
    probed.sample_rate = Some(format.sample_rate);
    probed.channels = Some(format.layout.channels() as u16);
    probed.samples = Some(samples);
    probed.duration = Some(duration);
    if !movie.fragmented && !duration.is_zero() {
        probed.bitrate = Some((track.bytes() as f64 * 8.0 / duration.as_secs_f64()).round() as u64);
    }
    Ok(probed)
}
