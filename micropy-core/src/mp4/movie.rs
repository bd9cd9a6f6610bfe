//! The file as a whole: which boxes are where, and which tracks there are.

use std::sync::Arc;

use super::boxes::{BoxHeader, BoxReader, Fields, read_first_header};
use super::compressed_movie;
use super::fragment::{Defaults, Fragments, TopLevel, indexed_duration};
use super::metadata::{FoundMetadata, Place};
use super::packets::Packets;
use super::sample_table::{Cursor, SampleTable, Sizes};
use super::track::{Budget, Trak, language};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::source::{Source, read_full_at};
use crate::timeline::{EditList, MediaClock, Timeline, rescale};
use crate::warning::{LeftOut, Warning};

/// The most tracks of one file.
const MAX_TRACKS: usize = 1024;

/// The most boxes before `moov`, and between it and the first fragment.
const MAX_OUTER_BOXES: usize = 4096;

/// The most warnings kept.
const MAX_WARNINGS: usize = 100;

/// The most boxes looked at behind `moov`, for metadata.
const MAX_BOXES_BEHIND: usize = 64;

/// The most bytes of a `sidx` box: it counts its 12-byte references in 16 bits.
const INDEX_LIMIT: u64 = 1 << 20;

/// What `moov` says of the file, and, in fragmented files, what precedes the first fragment.
#[derive(Debug, Default)]
pub struct Movie {
    /// Major brand of `ftyp`, such as `isom`, `M4A `, `qt  `.
    pub brand: Option<[u8; 4]>,
    /// The audio tracks, in file order.
    pub audio: Vec<AudioTrack>,
    /// The text tracks that audio tracks name as their chapters.
    pub text: Vec<TextTrack>,
    /// The video tracks that audio tracks name as the pictures of their chapters.
    pub pictures: Vec<TextTrack>,
    /// How many tracks are not audio.
    pub other_tracks: usize,
    /// Why of one of those it is not known what it is.
    pub unknown_track: Option<Error>,
    /// There is an `mvex`: there are packets in movie fragments.
    pub fragmented: bool,
    /// Tags, covers and Nero's chapters.
    pub(super) metadata: FoundMetadata,
    /// What was wrong but could be ignored.
    pub warnings: Vec<Warning>,
    /// There is media before `moov`, which a stream spools.
    spools: bool,
    /// What fragments leave unsaid, by track.
    pub(super) defaults: Arc<[(u32, Defaults)]>,
    /// What follows `moov`, from the first fragment on.
    behind: Option<TopLevel>,
}

/// One audio track.
#[derive(Debug)]
pub struct AudioTrack {
    /// Offset of its `trak` box: what its metadata are kept under.
    pub(super) at: u64,
    /// `track_ID`.
    pub id: u32,
    /// `track_enabled` of `tkhd`.
    pub enabled: bool,
    /// ISO 639-2/T code, if it is not `und`.
    pub language: Option<String>,
    /// Units per second of all times of the track; never 0.
    pub timescale: u32,
    /// How the audio is coded; an error if the sample entry cannot be used (encrypted, unknown), so that another track
    /// of the file still can.
    pub codec: Result<CodecParameters>,
    /// What of the media is presented, and when.
    pub edits: EditList,
    /// Sum of the sample durations in `timescale` units: exact in a plain file. In a fragmented one it is what is known
    /// before the fragments are read (`mehd`, `sidx`), if anything.
    pub duration: Option<u64>,
    /// The same as its `sidx` alone says it: unlike `mehd`, of this very track.
    pub indexed: Option<u64>,
    /// Number of samples, if known before the fragments are read.
    pub samples: Option<u64>,
    /// The tracks that hold its chapters' titles or pictures (`tref`/`chap`).
    pub chapters: Vec<u32>,
    pub(super) table: Arc<SampleTable>,
    /// Its edits end with `table`, though fragments follow: they are taken to go on.
    goes_on: bool,
}

/// What has to be the same of a track where its movie is described again.
#[derive(Clone, Debug)]
pub(super) struct Described {
    /// `track_ID`.
    pub id: u32,
    timescale: u32,
    samples: u64,
    codec: Option<CodecParameters>,
}

impl Described {
    fn of(track: &AudioTrack) -> Self {
        Described {
            id: track.id,
            timescale: track.timescale,
            samples: track.table.samples(),
            codec: track.codec.as_ref().ok().cloned(),
        }
    }

    fn says_the_same(&self, other: &Described) -> bool {
        let codecs = self.codec.as_ref().zip(other.codec.as_ref());
        (self.timescale, self.samples) == (other.timescale, other.samples)
            && codecs.is_some_and(|(own, others)| own.says_the_same(others))
    }
}

/// A track that goes with the chapters of another: their titles, or their pictures.
#[derive(Debug)]
pub struct TextTrack {
    /// `track_ID`.
    pub id: u32,
    /// Units per second of all times of the track; never 0.
    pub timescale: u32,
    /// When its media is presented, in units of the timescale.
    pub timeline: Timeline,
    pub(super) table: Arc<SampleTable>,
}

/// What is collected while `moov` is read.
#[derive(Default)]
struct Moov {
    timescale: u32,
    /// `fragment_duration` of `mehd`.
    fragments_duration: Option<u64>,
    defaults: Vec<(u32, Defaults)>,
    traks: Vec<Trak>,
    budget: Budget,
    /// Why there may be no tracks: `rmra`.
    unsupported: Option<&'static str>,
    /// It is what a compressed movie header expanded to.
    expanded: bool,
}

impl Movie {
    /// Reads the file up to and including `moov`, wherever it is.
    ///
    /// A stream with its media before `moov` spools them.
    ///
    /// # Errors
    ///
    /// [`Error::NotMp4`] if the first bytes are of another format; [`Error::Malformed`] if `moov` is missing, cut off
    /// before its audio, or malformed.
    pub fn read(source: &mut dyn Source) -> Result<Movie> {
        let mut movie = Movie::default();
        let mut header = read_first_header(source)?;
        let mut boxes = 0;
        while header.kind.0 != *b"moov" {
            boxes += 1;
            check_outer_boxes(boxes, &header)?;
            movie.read_before_moov(source, &header)?;
            let mut top = TopLevel::new(header.end);
            header = top.peek(source)?.ok_or_else(|| no_moov(&header))?;
        }
        let moov = movie.read_moov(source, &header, Moov::default())?;
        movie.assemble(moov);
        match movie.fragmented {
            true => movie.read_up_to_first_fragment(source, header.end)?,
            false => movie.read_behind_moov(source, header.end)?,
        }
        Ok(movie)
    }

    /// Starts reading the packets of `self.audio[track]`.
    ///
    /// # Errors
    ///
    /// [`Error::NoAudioTrack`] if there is no such track.
    pub fn packets(&self, source: &mut dyn Source, track: usize) -> Result<Packets> {
        let track = self
            .audio
            .get(track)
            .ok_or_else(|| Error::NoAudioTrack(format!("there are {}", self.audio.len())))?;
        let lowest = track.table.lowest_offset();
        if track.edits.turns_back() {
            // Packets are read again.
            let fragments = self.behind.map(|top| top.unread());
            if let Some(first) = lowest.into_iter().chain(fragments).min() {
                source.keep_from(first).map_err(Error::Read)?;
            }
        } else if let Some(lowest) = lowest.filter(|_| !track.table.ascends()) {
            source.keep_from(lowest).map_err(Error::Read)?;
        }
        let fragments = self.behind.map(|top| {
            let defaults = Arc::clone(&self.defaults);
            let fragments = Fragments::new(top, Described::of(track), defaults);
            match track.goes_on {
                true => fragments.behind_the_edits(track.at),
                false => fragments,
            }
        });
        let cursor = Cursor::new(Arc::clone(&track.table), 0);
        Ok(Packets::new(
            cursor,
            fragments,
            track.group(),
            track.timescale,
        ))
    }
}

impl Movie {
    /// Keeps a stream from the first byte of audio, titles and pictures on, so that all of them can be read.
    pub(super) fn keep_media(&self, source: &mut dyn Source) -> Result<()> {
        match self.media_begin() {
            Some(lowest) => source.keep_from(lowest).map_err(Error::Read),
            None => Ok(()),
        }
    }

    /// Where the first chunk of audio, titles or pictures begins.
    fn media_begin(&self) -> Option<u64> {
        let others = self.text.iter().chain(&self.pictures).map(|t| &t.table);
        let tables = self.audio.iter().map(|t| &t.table).chain(others);
        tables.filter_map(|table| table.lowest_offset()).min()
    }
}

impl Movie {
    fn read_before_moov(&mut self, source: &mut dyn Source, header: &BoxHeader) -> Result<()> {
        match &header.kind.0 {
            b"ftyp" => {
                let mut reader = BoxReader::new(source, header);
                self.brand = reader.head::<4>(header).ok();
            }
            b"meta" | b"udta" => self.read_file_metadata(source, header)?,
            // The media that `moov`, still to come, points to.
            b"mdat" => {
                source.keep_from(header.payload).map_err(Error::Read)?;
                self.spools = true;
            }
            b"moof" => {
                return Err(header.malformed(
                    "a media segment without its initialization segment (`moov`) before it",
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn read_file_metadata(&mut self, source: &mut dyn Source, header: &BoxHeader) -> Result<()> {
        let place = match &header.kind.0 {
            b"meta" => Place::FileMeta,
            _ => Place::MovieUdta,
        };
        let mut reader = BoxReader::new(source, header);
        self.metadata.read(&mut reader, header, place)
    }

    /// Whether the `moov` box `header` describes a track in the same way again.
    pub(super) fn describes(
        source: &mut dyn Source,
        header: &BoxHeader,
        described: &Described,
    ) -> Result<bool> {
        let mut movie = Movie::default();
        let moov = movie.read_moov(source, header, Moov::default())?;
        movie.assemble(moov);
        let own = movie.audio.iter().find(|track| track.id == described.id);
        Ok(own.is_some_and(|track| Described::of(track).says_the_same(described)))
    }

    /// Reads the metadata that come after `moov`. A stream that does not spool is read up to its media alone: what is
    /// behind them comes too late.
    fn read_behind_moov(&mut self, source: &mut dyn Source, at: u64) -> Result<()> {
        /// Bytes of the longest box header.
        const HEADER: u64 = 16;
        let end = match (source.size(), self.spools) {
            (Some(size), _) => size,
            (None, true) => u64::MAX,
            (None, false) => self.media_begin().unwrap_or(at),
        };
        let mut top = TopLevel::new(at);
        let mut next = at;
        for _ in 0..MAX_BOXES_BEHIND {
            if end.saturating_sub(next) < HEADER {
                break;
            }
            // The audio does not depend on what is here.
            let Ok(Some(header)) = top.peek(source) else {
                break;
            };
            if matches!(&header.kind.0, b"meta" | b"udta") && header.end <= end {
                self.read_file_metadata(source, &header)?;
            }
            // In front of fragments it is sent again and again.
            if header.kind.0 == *b"moov" && !self.fragmented {
                self.warn(
                    header.malformed("another movie begins behind the first: it was left out"),
                )?;
                break;
            }
            top.skip(&header);
            next = header.end;
        }
        Ok(())
    }

    fn read_moov(
        &mut self,
        source: &mut dyn Source,
        header: &BoxHeader,
        mut moov: Moov,
    ) -> Result<Moov> {
        let mut reader = BoxReader::new(source, header);
        let mut at = header.payload;
        loop {
            let child = match reader.child(header, at) {
                Ok(Some(child)) => child,
                Ok(None) => break,
                // Everything needed may have come before it.
                Err(e @ Error::Malformed { .. }) if moov.traks.iter().any(Trak::is_audio) => {
                    self.warn(e)?;
                    break;
                }
                Err(e) => return Err(e),
            };
            self.read_moov_child(&mut reader, &child, &mut moov)?;
            at = child.end;
        }
        match moov.unsupported {
            Some(what) if moov.traks.is_empty() => Err(Error::unsupported(what)),
            _ => Ok(moov),
        }
    }

    fn read_moov_child(
        &mut self,
        reader: &mut BoxReader<'_>,
        child: &BoxHeader,
        moov: &mut Moov,
    ) -> Result<()> {
        match &child.kind.0 {
            b"udta" => self.metadata.read(reader, child, Place::MovieUdta)?,
            b"meta" => self.metadata.read(reader, child, Place::MovieMeta)?,
            b"mvhd" => moov.read_mvhd(reader, child).or_else(|e| self.warn(e))?,
            b"mvex" => {
                self.fragmented = true;
                moov.read_mvex(reader, child).or_else(|e| self.warn(e))?;
            }
            b"trak" if moov.traks.len() >= MAX_TRACKS => {
                return Err(Error::Limit {
                    at: child.at,
                    what: "the number of tracks".into(),
                    limit: MAX_TRACKS as u64,
                });
            }
            b"trak" => {
                let trak = Trak::read(reader, child, &mut moov.budget, &mut self.metadata)?;
                moov.traks.push(trak);
            }
            b"cmov" if !moov.expanded => {
                let bytes = compressed_movie::expand(reader, child)?;
                self.read_expanded(child, &bytes, moov)?;
            }
            b"rmra" => moov.unsupported = Some("a reference movie without media (rmra)"),
            _ => {}
        }
        Ok(())
    }

    /// Reads the `moov` box that `cmov` expanded to. Places in it are counted from its own beginning.
    fn read_expanded(&mut self, cmov: &BoxHeader, bytes: &[u8], moov: &mut Moov) -> Result<()> {
        let mut source = bytes;
        let header = read_first_header(&mut source).ok();
        let header = header
            .filter(|header| header.kind.0 == *b"moov")
            .ok_or_else(|| cmov.malformed("it does not expand to a `moov` box"))?;
        let outer = Moov {
            expanded: true,
            ..std::mem::take(moov)
        };
        *moov = self
            .read_moov(&mut source, &header, outer)
            .map_err(|e| match e {
                Error::Malformed { at, what, why } => cmov.malformed(format!(
                    "malformed {what} at byte {at} of what it expands to: {why}"
                )),
                e => e,
            })?;
        Ok(())
    }

    /// Turns `error` into a warning, unless the source itself failed.
    fn warn(&mut self, error: Error) -> Result<()> {
        if matches!(error, Error::Read(_)) {
            return Err(error);
        }
        self.add_warning(Warning::passed_over(error));
        Ok(())
    }

    /// Warns of what was passed over in a track that is used.
    fn warn_of(&mut self, trak: &mut Trak) {
        for fault in trak.passed_over.drain(..) {
            self.add_warning(Warning::passed_over(fault));
        }
    }

    fn add_warning(&mut self, warning: Warning) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning);
        }
    }

    /// Interprets the tracks once all of `moov` is known.
    fn assemble(&mut self, mut moov: Moov) {
        let traks = std::mem::take(&mut moov.traks);
        let (audio, mut other): (Vec<_>, Vec<_>) = traks.into_iter().partition(Trak::is_audio);
        self.other_tracks = other.len();
        // Without samples, any there are must be in fragments.
        self.fragmented |= !audio.is_empty() && audio.iter().all(|trak| trak.table.samples() == 0);
        let unknown = |trak: &&mut Trak| trak.handler.is_none() && trak.fault.is_some();
        let unknown = other.iter_mut().find(unknown);
        self.unknown_track = unknown.and_then(|trak| trak.fault.take());
        let named: Vec<u32> = audio
            .iter()
            .chain(&other)
            .flat_map(|t| t.chapters.iter().copied())
            .collect();
        for trak in audio {
            let mut track = self.audio_track(trak, &moov);
            // Any track may name the chapters of the movie: in some files only the video does.
            if track.chapters.is_empty() {
                track.chapters.clone_from(&named);
            }
            self.audio.push(track);
        }
        self.defaults = std::mem::take(&mut moov.defaults).into();
        for mut trak in other {
            let is_text = trak.is_text();
            if !(is_text || trak.is_picture()) || !named.contains(&trak.id) {
                continue;
            }
            self.warn_of(&mut trak);
            let elsewhere = trak.check_place().err();
            let fault = trak.fault.take().or(elsewhere);
            match fault {
                None if is_text => self.text.push(text_track(trak, &moov)),
                None => self.pictures.push(text_track(trak, &moov)),
                Some(fault) => {
                    self.add_warning(Warning::left_out(LeftOut::Chapters, trak.at, fault));
                }
            }
        }
    }

    fn audio_track(&mut self, mut trak: Trak, moov: &Moov) -> AudioTrack {
        let defaults = Defaults::of(trak.id, &moov.defaults);
        let codec = trak.coding(self.fragmented.then_some(defaults.entry.max(1)));
        self.warn_of(&mut trak);
        let sample_rate = codec.as_ref().map_or(0, |c| c.sample_rate);
        let timescale = match trak.timescale {
            0 => {
                let timescale = if sample_rate == 0 {
                    44_100
                } else {
                    sample_rate
                };
                self.add_warning(Warning::Timescale {
                    track: trak.id,
                    at: trak.at,
                    assumed: timescale,
                });
                timescale
            }
            timescale => timescale,
        };
        let duration = match self.fragmented {
            false => Some(trak.table.duration()),
            true => moov
                .fragments_duration
                .filter(|&d| d > 0)
                .map(|d| rescale(d, timescale, moov.timescale)),
        };
        let mut edits = EditList::new(trak.edits, moov.timescale, timescale, self.fragmented);
        let is_hybrid = self.fragmented && trak.table.samples() > 0;
        AudioTrack {
            goes_on: is_hybrid && edits.open_at(trak.table.duration()),
            at: trak.at,
            id: trak.id,
            enabled: trak.enabled,
            language: language(trak.language),
            timescale,
            edits,
            duration,
            indexed: None,
            samples: (!self.fragmented).then(|| trak.table.samples()),
            chapters: trak.chapters,
            table: trak.table,
            codec,
        }
    }

    /// Reads on after `moov`, up to the first fragment or media, for the segment index.
    fn read_up_to_first_fragment(&mut self, source: &mut dyn Source, at: u64) -> Result<()> {
        let mut top = TopLevel::new(at);
        for boxes in 0.. {
            let header = match top.peek(source) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(e) => {
                    self.warn(e)?;
                    return Ok(());
                }
            };
            check_outer_boxes(boxes, &header)?;
            match &header.kind.0 {
                b"moof" | b"mdat" => break,
                b"sidx" => self.read_sidx(source, &header)?,
                _ => {}
            }
            top.skip(&header);
        }
        self.behind = Some(top);
        Ok(())
    }

    fn read_sidx(&mut self, source: &mut dyn Source, header: &BoxHeader) -> Result<()> {
        let payload = match BoxReader::new(source, header).payload(header, INDEX_LIMIT) {
            Ok(payload) => payload,
            Err(e) => return self.warn(e),
        };
        for track in self.audio.iter_mut().filter(|t| t.indexed.is_none()) {
            let sidx = Fields::new(header.kind, header.payload, &payload);
            track.indexed = indexed_duration(sidx, track.id, track.timescale).unwrap_or(None);
            track.duration = track.duration.or(track.indexed);
        }
        Ok(())
    }
}

impl Moov {
    fn read_mvhd(&mut self, reader: &mut BoxReader<'_>, header: &BoxHeader) -> Result<()> {
        let payload = reader.payload(header, 4096)?;
        let mut fields = Fields::new(header.kind, header.payload, &payload);
        let (version, _) = fields.version_and_flags()?;
        let _times = (fields.u32_or_u64(version)?, fields.u32_or_u64(version)?);
        self.timescale = fields.u32()?;
        Ok(())
    }

    fn read_mvex(&mut self, reader: &mut BoxReader<'_>, header: &BoxHeader) -> Result<()> {
        reader.each_child(header, |reader, child| {
            if !matches!(&child.kind.0, b"mehd" | b"trex") {
                return Ok(());
            }
            let payload = reader.payload(child, 4096)?;
            let mut fields = Fields::new(child.kind, child.payload, &payload);
            if child.kind.0 == *b"mehd" {
                let (version, _) = fields.version_and_flags()?;
                self.fragments_duration = Some(fields.u32_or_u64(version)?);
            } else if self.defaults.len() < MAX_TRACKS {
                self.defaults.push(Defaults::read(fields)?);
            }
            Ok(())
        })
    }
}

impl AudioTrack {
    /// Whether all samples outside of movie fragments have one duration, of which the last has as much, or less.
    pub fn is_evenly_timed(&self) -> bool {
        match self.table.durations[..] {
            [] => true,
            [all] => all.delta > 0,
            [others, last] => last.count == 1 && (1..=others.delta).contains(&last.delta),
            _ => false,
        }
    }

    /// The duration of its last packet, where all stand outside of movie fragments.
    pub fn last_duration(&self) -> Option<u32> {
        self.table.last_duration()
    }

    /// Whether the durations of its packets outside of movie fragments leave pauses between them.
    pub fn has_pauses(&self, clock: &MediaClock) -> bool {
        self.table.has_pauses(clock)
    }

    /// Whether some of them last as long as another number of frames of `frame_len` PCM samples than they usually hold.
    pub fn may_hold_other_than_usual(&self, frame_len: u32, clock: &MediaClock) -> bool {
        self.table.may_hold_other_than_usual(frame_len, clock)
    }

    /// Whether some of them are of other lengths than their durations say, as far as their sizes tell.
    pub fn any_packet_stands_out(&self, clock: &MediaClock) -> bool {
        self.table.any_stands_out(clock)
    }

    /// Whether some of them last no time.
    pub fn has_samples_without_time(&self) -> bool {
        self.table.has_samples_without_time()
    }

    /// Bytes of the largest of them.
    pub fn largest_packet(&self) -> u32 {
        self.table.sizes.largest()
    }

    /// Bytes of its packets outside of movie fragments.
    pub fn bytes(&self) -> u64 {
        self.table.sizes.bytes_from(0)
    }

    /// Samples in one packet: a sample of uncompressed audio is a single instant, or a few.
    pub(super) fn group(&self) -> u32 {
        const INSTANTS: u32 = 4096;
        let Ok(parameters) = &self.codec else {
            return 1;
        };
        match (&parameters.codec, &self.table.sizes) {
            (Codec::Pcm(layout), &Sizes::Constant { size, .. }) => {
                let instant = u32::from(layout.width) * u32::from(parameters.channels);
                let instants = size / instant.max(1);
                (INSTANTS / instants.max(1)).max(2)
            }
            (Codec::Pcm(_), Sizes::Each(_)) => INSTANTS,
            _ => 1,
        }
    }
}

fn text_track(trak: Trak, moov: &Moov) -> TextTrack {
    let timescale = trak.timescale.max(1);
    let edits = EditList::new(trak.edits, moov.timescale, timescale, false);
    TextTrack {
        id: trak.id,
        timescale,
        timeline: Timeline::of_units(edits, timescale, trak.table.duration()),
        table: trak.table,
    }
}

/// Refuses a file of nothing but tiny boxes, which would take minutes to walk.
fn check_outer_boxes(boxes: usize, header: &BoxHeader) -> Result<()> {
    if boxes > MAX_OUTER_BOXES {
        return Err(Error::Limit {
            at: header.at,
            what: "the number of boxes around the movie header".into(),
            limit: MAX_OUTER_BOXES as u64,
        });
    }
    Ok(())
}

/// The error of a file that ends after `last` without a `moov`.
fn no_moov(last: &BoxHeader) -> Error {
    Error::malformed(
        last.at,
        "file",
        format!(
            "it ends inside or after this `{}` box without a `moov` box: it was cut off, or never finished",
            last.kind
        ),
    )
}

/// One sample of a text track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackSample {
    /// Offset in the source.
    pub at: u64,
    /// Decode time in timescale units of the track.
    pub time: u64,
    /// Timescale units.
    pub duration: u32,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// Reads all samples of a text track, which hold the titles of chapters. Those that a file which ends early does not
/// hold are empty: their times are known all the same.
///
/// A stream spools: see [`Movie::keep_media`].
pub fn read_track_samples(
    source: &mut dyn Source,
    movie: &Movie,
    track: &TextTrack,
) -> Result<Vec<TrackSample>> {
    /// More chapters than any book has.
    const MAX_SAMPLES: usize = 1 << 14;
    /// Bytes of one title in UTF-16, with its length.
    const MAX_BYTES: u32 = 2 + 2048;

    movie.keep_media(source)?;
    let mut cursor = Cursor::new(Arc::clone(&track.table), 0);
    let mut samples = Vec::new();
    while let Some(sample) = cursor.next(1)
        && samples.len() < MAX_SAMPLES
    {
        let mut data = vec![0; sample.size.min(MAX_BYTES) as usize];
        let read = read_full_at(source, sample.offset, &mut data).map_err(Error::Read)?;
        if read < data.len() {
            data.clear();
        }
        samples.push(TrackSample {
            at: sample.offset,
            time: sample.time,
            duration: sample.duration,
            data,
        });
    }
    Ok(samples)
}
