//! A file opened for conversion: its audio track and its metadata.

use std::collections::VecDeque;
use std::time::Duration;

use crate::codec::{Codec, CodecParameters};
use crate::decode::{self, Format, INSPECTED_PACKETS};
use crate::error::{Error, Result};
use crate::language;
use crate::mp4::{AfterPreamble, AudioTrack, Movie, Packet, Packets};
use crate::options::{Options, TrackChoice};
use crate::pcm::Pcm;
use crate::source::Source;
use crate::tags::{Gapless, Metadata};
use crate::timeline::{Lag, MediaClock, MediaEnd, Timeline};
use crate::warning::Warning;

/// The audio track that is converted.
#[derive(Debug)]
pub struct Audio {
    preamble: u64,
    movie: Movie,
    index: usize,
    parameters: CodecParameters,
    metadata: Metadata,
    warnings: Vec<Warning>,
}

/// The first packets of a track, and the reader of those that follow.
pub struct Beginning {
    /// What the track decodes to.
    pub format: Format,
    /// The packets that were read to find that out, with their bytes; at least one.
    pub ahead: VecDeque<(Packet, Vec<u8>)>,
    /// The packets after those.
    pub packets: Packets,
    /// When the first packet decodes, in units of the track's timescale: later than 0 where fragments of a stream begin
    /// in its middle.
    time: u64,
}

impl Beginning {
    /// What is presented of `track`, without the silence of a late start. Its media ends at `end`, if that is known.
    pub fn timeline(
        &self,
        track: &AudioTrack,
        parameters: &CodecParameters,
        gapless: Option<Gapless>,
        end: Option<MediaEnd>,
    ) -> Timeline {
        // Edits count from when the first packet is presented.
        let offset = self.packets.composition().first.unwrap_or(0);
        let edits = track.edits.from(self.time, offset);
        let clock = self.clock(track, parameters);
        let timeline = Timeline::new(clock, edits, gapless, track.samples, end);
        match self.time {
            0 => timeline.after(decode::pre_skip(parameters), end),
            // A stream that is joined in the middle.
            _ => timeline,
        }
    }

    /// How the media time of `track` becomes PCM samples.
    pub fn clock(&self, track: &AudioTrack, parameters: &CodecParameters) -> MediaClock {
        let format = &self.format;
        MediaClock {
            timescale: track.timescale,
            sample_rate: format.sample_rate,
            packet_len: format.packet_len,
            vary: decode::lengths(parameters, format).is_some_and(|lengths| lengths.vary),
            instant: decode::instant(&parameters.codec, format),
        }
    }

    /// Where fragments cannot say that the sound starts late, ffmpeg has its first packet last until the second begins: the
    /// time in between is no pause.
    fn shorten_first(&mut self, clock: &MediaClock) {
        let Some((first, _)) = self.ahead.front_mut() else {
            return;
        };
        let Some(len) = clock.packet_len else {
            return;
        };
        if Lag::has_pause(clock, first.duration, len.into()) {
            first.duration = clock.units_within(len.into()) as u32;
        }
    }
}

impl Audio {
    /// Reads everything before the packets, and chooses the track.
    pub fn read(choice: &TrackChoice, source: &mut dyn Source) -> Result<Audio> {
        let mut file = AfterPreamble::find(source).map_err(Error::Read)?;
        let preamble = file.len();
        let source: &mut dyn Source = &mut file;
        let mut movie = Movie::read(source)?;
        let index = choose(&movie, choice)?;
        let parameters = match &movie.audio[index].codec {
            Ok(parameters) => parameters.clone(),
            Err(Error::Unsupported { what }) => {
                let error = Error::unsupported(what);
                return Err(with_another_track(error, &movie.audio, index));
            }
            Err(_) => movie.audio.swap_remove(index).codec?,
        };
        decode::check(&parameters).map_err(|e| with_another_track(e, &movie.audio, index))?;
        let mut warnings = std::mem::take(&mut movie.warnings);
        if *choice == TrackChoice::Default {
            warnings.extend(passed_over(&movie.audio, index));
        }
        if movie.audio[index].edits.has_other_speed() {
            warnings.push(Warning::OtherSpeed);
        }
        let mut metadata = movie.metadata(Some(index));
        warnings.append(&mut metadata.warnings);
        let chapters = movie.chapters(source, index)?;
        if !chapters.is_empty() {
            metadata.chapters = chapters;
        }
        warnings.extend(movie.add_pictures(source, index, &mut metadata.chapters)?);
        Ok(Audio {
            preamble,
            movie,
            index,
            parameters,
            metadata,
            warnings,
        })
    }

    /// Bytes of the source before the first box: offsets in the file count from there.
    pub fn preamble(&self) -> u64 {
        self.preamble
    }

    /// The track.
    pub fn track(&self) -> &AudioTrack {
        &self.movie.audio[self.index]
    }

    /// How much later than the presentation an MP3 begins: by the silence of a late start, unless that is kept.
    pub fn left_out(&self, options: &Options) -> Duration {
        match options.late_start {
            true => Duration::ZERO,
            false => self.track().edits.delay(),
        }
    }

    /// Its coding.
    pub fn parameters(&self) -> &CodecParameters {
        &self.parameters
    }

    /// Tags, cover and chapters of the file.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Replaces what the file says of itself.
    pub fn set_metadata(&mut self, metadata: Metadata) {
        self.metadata = metadata;
    }

    /// The warnings so far.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Goes to the first packet.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there is not one whole packet; otherwise what the decoder says of a track that it
    /// cannot decode.
    pub fn begin(&self, source: &mut dyn Source) -> Result<Beginning> {
        begin(&self.movie, self.index, &self.parameters, source)
            .map_err(|e| with_another_track(e, &self.movie.audio, self.index))
    }
}

/// Packets in front of the first that can be inspected, and their bytes: encrypted ones, or others of another sample
/// entry. Memory holds them.
const MOST_AHEAD: usize = 1 << 13;
const MOST_BYTES_AHEAD: usize = 4 << 20;

/// As [`Audio::begin`], for any track of `movie`.
pub fn begin(
    movie: &Movie,
    index: usize,
    parameters: &CodecParameters,
    source: &mut dyn Source,
) -> Result<Beginning> {
    let mut packets = movie.packets(source, index)?;
    let mut ahead = VecDeque::new();
    let mut cut_at = None;
    let can_be_read = |packet: &Packet| {
        let other = parameters.other(packet.entry);
        other.is_none_or(|other| other.parameters.is_ok())
    };
    let (mut inspected, mut bytes) = (0, 0);
    while inspected < INSPECTED_PACKETS
        && ahead.len() < MOST_AHEAD
        && bytes < MOST_BYTES_AHEAD
        && cut_at.is_none()
    {
        let mut data = Vec::new();
        match packets.next(source, &mut data)? {
            Some(packet) => {
                cut_at = (packet.read < packet.size).then_some(packet.offset);
                inspected += usize::from(can_be_read(&packet));
                bytes += data.len();
                ahead.push_back((packet, data));
            }
            None => break,
        }
    }
    let whole = ahead
        .iter()
        .filter(|(packet, _)| packet.read == packet.size);
    let readable = whole.clone().filter(|(packet, _)| can_be_read(packet));
    let mut first: Vec<&[u8]> = Vec::new();
    let own = readable.clone();
    let own = own.filter(|(packet, _)| parameters.other(packet.entry).is_none());
    first.extend(own.map(|(_, data)| data.as_slice()));
    if first.is_empty() {
        first.extend(readable.map(|(_, data)| data.as_slice()));
    }
    if let Some((packet, _)) = whole.clone().next().filter(|_| first.is_empty()) {
        return Err(not_readable(parameters, packet));
    }
    if first.is_empty() {
        let declared = packets.missing().packets;
        return Err(match cut_at {
            Some(at) => Error::malformed(
                at,
                "media",
                format!("the file ends before it: none of its {declared} packets is there"),
            ),
            None => Error::NoAudioTrack("there is one, but it has no packets".into()),
        });
    }
    let format = decode::inspect(parameters, &first).map_err(|e| match e {
        // Decoders see packets, but not where they are.
        Error::Malformed { at: 0, what, why } => Error::malformed(ahead[0].0.offset, what, why),
        e => e,
    })?;
    let track = &movie.audio[index];
    let format = match times_are_certain(movie.fragmented, track, parameters, &format, &ahead)? {
        true => format,
        false => format.of_unknown_lengths(),
    };
    let mut beginning = Beginning {
        format,
        time: ahead.front().map_or(0, |(packet, _)| packet.time),
        ahead,
        packets,
    };
    if movie.fragmented && track.samples.is_none_or(|samples| samples == 0) {
        let clock = beginning.clock(track, parameters);
        beginning.shorten_first(&clock);
    }
    Ok(beginning)
}

/// The error of a track of which only packets like `packet` were found, whose sample entry cannot be read.
fn not_readable(parameters: &CodecParameters, packet: &Packet) -> Error {
    let own = parameters.other(packet.entry);
    if let Some(scheme) = own.and_then(|own| own.encrypted.clone()) {
        return Error::Encrypted { scheme };
    }
    let why = own.and_then(|own| own.parameters.as_ref().err());
    Error::malformed(
        packet.offset,
        "packet",
        format!(
            "sample entry {}: {}",
            packet.entry,
            why.map_or("it cannot be read", String::as_str)
        ),
    )
}

/// Whether packets of various lengths are as long as the container says. False for files remuxed from a container that
/// counts milliseconds, and for recorders that store arrival times.
fn times_are_certain(
    fragmented: bool,
    track: &AudioTrack,
    parameters: &CodecParameters,
    format: &Format,
    ahead: &VecDeque<(Packet, Vec<u8>)>,
) -> Result<bool> {
    let is_uncompressed = decode::instant(&parameters.codec, format).is_some();
    if is_uncompressed || format.packet_len.is_some() || format.has_unknown_lengths() {
        return Ok(true);
    }
    // Encoders of Vorbis alone change the length all the time.
    if fragmented || format.codec != Codec::Vorbis && !track.is_evenly_timed() {
        return Ok(false);
    }
    let clock = MediaClock {
        timescale: track.timescale,
        sample_rate: format.sample_rate,
        packet_len: None,
        vary: false,
        instant: None,
    };
    let mut decoder = decode::decoder(parameters, format)?;
    let mut pcm = Pcm::new(format.layout.channels());
    let mut time = 0u64;
    let rounding = u64::from(clock.timescale != clock.sample_rate);
    // The last one may be cut short, and the first of Vorbis gives nothing.
    let last = ahead.len().saturating_sub(1);
    for (index, (packet, data)) in ahead.iter().take(last).enumerate() {
        let begun = clock.samples(time);
        time = time.saturating_add(packet.duration.into());
        let declared = clock.samples(time) - begun;
        pcm.clear();
        let decoded = decoder.decode(data, &mut pcm);
        let len = pcm.len() as u64;
        if decoded.is_ok() && (index > 0 || len > 0) && len.abs_diff(declared) > rounding {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether there is a decoder for the track, and something to decode.
fn can_be_decoded(track: &AudioTrack) -> bool {
    let has_decoder = track
        .codec
        .as_ref()
        .is_ok_and(|parameters| decode::check(parameters).is_ok());
    has_decoder && track.samples != Some(0)
}

/// What to say of a default track that is not the first.
pub fn passed_over(tracks: &[AudioTrack], chosen: usize) -> Option<Warning> {
    let first = tracks
        .iter()
        .position(|t| t.enabled && t.samples != Some(0))?;
    if first >= chosen {
        return None;
    }
    let what = match &tracks[first].codec {
        Ok(parameters) => match decode::check(parameters) {
            Ok(()) => return None,
            Err(Error::Unsupported { what }) => what,
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    Some(Warning::TrackPassedOver {
        track: first,
        what,
        chosen,
    })
}

/// An error of track `index`, which cannot be decoded, with the one that could be.
fn with_another_track(error: Error, tracks: &[AudioTrack], index: usize) -> Error {
    let Error::Unsupported { what } = error else {
        return error;
    };
    let mut others = tracks.iter().enumerate().filter(|(i, _)| *i != index);
    match others.find(|(_, track)| can_be_decoded(track)) {
        Some((other, _)) => {
            Error::unsupported(format!("{what}; audio track {other} can be converted"))
        }
        None => Error::Unsupported { what },
    }
}

/// The audio track that `choice` means.
pub fn choose(movie: &Movie, choice: &TrackChoice) -> Result<usize> {
    let tracks = &movie.audio;
    if tracks.is_empty() {
        return Err(Error::NoAudioTrack(
            match (movie.other_tracks, &movie.unknown_track) {
                (0, _) => "the file has no tracks at all".into(),
                (1, None) => "its only track is not audio".into(),
                (1, Some(fault)) => {
                    format!("of its only track it is not known what it is: {fault}")
                }
                (n, None) => format!("none of its {n} tracks is audio"),
                (n, Some(fault)) => {
                    format!("none of its {n} tracks is known to be audio: {fault}")
                }
            },
        ));
    }
    let found = match choice {
        TrackChoice::Default => {
            let best = |wanted: fn(&AudioTrack) -> bool| tracks.iter().position(wanted);
            best(|t| t.enabled && can_be_decoded(t))
                .or_else(|| best(can_be_decoded))
                .or_else(|| best(|t| t.codec.is_ok()))
                .or(Some(0))
        }
        TrackChoice::Index(index) => (*index < tracks.len()).then_some(*index),
        TrackChoice::Language(language) => tracks.iter().position(|t| {
            t.language
                .as_deref()
                .is_some_and(|spoken| language::is_same(spoken, language))
        }),
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
