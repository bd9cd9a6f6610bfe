//! A file of one audio track alone, with what the conversion reads beside it: tags, and the titles and pictures of
//! chapters.
//!
//! Boxes are copied as they are, but for those that say where media is. The media keep their order: what is between
//! them in the file is left out, and no more. In a fragmented file, each fragment keeps media of its own.

use std::ops::Range;
use std::sync::Arc;

use super::boxes::{Boxes, Fields, SliceBox};
use super::fragment::{TrackFragment, read_run};
use super::movie::{Movie, TextTrack};
use super::outline::{Outline, Piece, Sparse};
use super::packets::Packets;
use super::sample_table::{Cursor, SampleTable};
use crate::codec::{CodecParameters, Description};
use crate::error::{Error, Result};
use crate::progress::CancelToken;

/// The most samples of the track.
const MAX_SAMPLES: u64 = 1 << 24;

/// The most stretches of the file that its media are in.
const MAX_RANGES: usize = 1 << 20;

/// A piece of a [`SoundOnly`](crate::SoundOnly).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SoundPiece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes of the file that the outline is of.
    Range(Range<u64>),
}

impl SoundPiece {
    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        match self {
            SoundPiece::Bytes(bytes) => bytes.len() as u64,
            SoundPiece::Range(range) => range.end.saturating_sub(range.start),
        }
    }
}

/// The new file: `movie.audio[track]` of the file that `outline` is of, and no more.
///
/// # Errors
/// [`Error::Unsupported`], [`Error::Malformed`] and [`Error::Limit`] where the track cannot stand alone.
pub fn alone(outline: &Outline, movie: &Movie, track: usize) -> Result<Vec<SoundPiece>> {
    let kept = Kept::of(movie, track);
    let mut new = NewFile::default();
    let mut boxes = outline.boxes().iter();
    let mut behind = Vec::new();
    let mut moov = None;
    for outer in boxes.by_ref() {
        match &outer.kind().0 {
            b"moov" if moov.is_none() => {
                moov = Some(outer);
                if movie.fragmented {
                    break;
                }
            }
            b"ftyp" | b"meta" | b"udta" => {
                let copy = make(&outer.kind().0, outline.payload(outer));
                match moov {
                    None => new.append(&copy),
                    Some(_) => behind.extend(copy),
                }
            }
            _ => {}
        }
    }
    let moov = moov.ok_or_else(|| Error::malformed(outline.size(), "file", "it has no `moov`"))?;
    let boxes_of_moov = || Boxes::new(outline.payload(moov), moov.header.payload);

    let mut media = Media::default();
    kept.add_media(&mut media, outline.size())?;
    media.sort();
    let write = |begin, wide| {
        let place = |at| Some(begin + media.place(at)?);
        kept.moov(
            boxes_of_moov(),
            &Offsets {
                place: &place,
                wide,
            },
        )
    };
    // How long it is does not depend on where the media begin.
    let [narrow, wide] = [write(0, false)?, write(0, true)?].map(|moov| moov.len() as u64);
    let header = media.header().len() as u64;
    let begins = |moov: u64| new.len + moov + behind.len() as u64 + header;
    let is_wide = begins(narrow) + media.len() > u32::MAX.into();
    let begin = begins(if is_wide { wide } else { narrow });
    new.append(&write(begin, is_wide)?);
    new.append(&behind);
    new.append_media(&media);

    for outer in boxes.filter(|outer| outer.kind().0 == *b"moof") {
        let boxes = Boxes::new(outline.payload(outer), outer.header.payload);
        let fragment = Fragment::read(boxes, outer.header.at, &kept, movie)?;
        if fragment.tracks.is_empty() {
            continue;
        }
        let mut media = Media::default();
        for run in fragment.runs() {
            media.add(run.data.clone(), outline.size())?;
        }
        media.sort();
        let len = fragment.moof(|_| Some(0))?.len() as u64;
        let begin = len + media.header().len() as u64;
        let moof = fragment.moof(|at| i32::try_from(begin + media.place(at)?).ok())?;
        new.append(&moof);
        new.append_media(&media);
    }
    Ok(new.end())
}

/// The file that `pieces` make.
pub fn file(pieces: &[SoundPiece]) -> Sparse<'_> {
    let mut file = Sparse::default();
    for piece in pieces {
        file.push(match piece {
            SoundPiece::Bytes(bytes) => Piece::Bytes(bytes),
            SoundPiece::Range(range) => Piece::Hole(range.clone()),
        });
    }
    file
}

/// Whether both files have the same titles, pictures and packets at the same times, of the same bytes of the file that
/// the outline is of: `movie.audio[track]` of `file`, and `of_new.audio[track]` of `new`. Those of `file` are whole, and
/// no warning is due.
///
/// # Errors
/// [`Error::Unsupported`] where it is not so; otherwise those of reading packets.
pub fn check_same(
    (file, movie): (&mut Sparse<'_>, &Movie),
    (new, of_new): (&mut Sparse<'_>, &Movie),
    track: usize,
    cancel: &CancelToken,
) -> Result<()> {
    let differ = |what: &str| {
        Err(Error::unsupported(format!(
            "a file whose {what} would change"
        )))
    };
    let (Some(one), Some(other)) = (movie.audio.get(track), of_new.audio.get(track)) else {
        return differ("audio tracks");
    };
    if !(movie.warnings.is_empty() && of_new.warnings.is_empty()) {
        return differ("warnings");
    }
    let is_same = (
        one.id,
        one.enabled,
        &one.language,
        one.timescale,
        &one.edits,
    ) == (
        other.id,
        other.enabled,
        &other.language,
        other.timescale,
        &other.edits,
    ) && (one.duration, one.indexed, one.samples)
        == (other.duration, other.indexed, other.samples)
        && matches!((&one.codec, &other.codec), (Ok(one), Ok(other)) if is_same_coding(one, other))
        && (movie.brand, movie.fragmented) == (of_new.brand, of_new.fragmented);
    if !(is_same && is_same_table(&one.table, &other.table)) {
        return differ("audio track");
    }
    if movie.metadata(Some(track)) != of_new.metadata(Some(track)) {
        return differ("tags or chapters");
    }
    (file.zeros, new.zeros) = (true, true);
    if movie.chapters(file, track)? != of_new.chapters(new, track)? {
        return differ("chapters");
    }
    for (one, other) in chapter_tracks(movie, track)
        .into_iter()
        .zip(chapter_tracks(of_new, track))
    {
        match (one, other) {
            (None, None) => {}
            (Some(one), Some(other)) if has_same_samples(&one.table, new, &other.table) => {}
            _ => return differ("chapters"),
        }
    }
    let (mut ones, mut others) = (movie.packets(file, track)?, of_new.packets(new, track)?);
    let mut data = Vec::new();
    while !cancel.is_cancelled() {
        data.clear();
        let (one, other) = (ones.next(file, &mut data)?, others.next(new, &mut data)?);
        let (Some(one), Some(mut other)) = (one, other) else {
            if one.is_some() || other.is_some() {
                return differ("number of packets");
            }
            break;
        };
        if one.read < one.size {
            return Err(Error::unsupported("a file that ends early"));
        }
        match new.origin(other.offset, other.size.into()) {
            Some(origin) => other.offset = origin,
            None if other.size == 0 => other.offset = one.offset,
            None => return differ("packets"),
        }
        if one != other {
            return differ("packets");
        }
    }
    if cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let says = |packets: &Packets| {
        let is_sound = packets.missing().is_empty() && packets.warnings().is_empty();
        (is_sound, packets.jumps().to_vec(), packets.composition())
    };
    match says(&ones) == says(&others) && says(&ones).0 {
        true => Ok(()),
        false => differ("packets"),
    }
}

/// Whether they differ in where they stand alone.
fn is_same_coding(one: &CodecParameters, other: &CodecParameters) -> bool {
    let is_same = |(one, other): (&Description, &Description)| {
        one.entry == other.entry
            && match (&one.parameters, &other.parameters) {
                (Ok(one), Ok(other)) => one.says_the_same(other),
                (one, other) => one.as_ref().err() == other.as_ref().err(),
            }
    };
    one.says_the_same(other)
        && one.entry == other.entry
        && one.others.len() == other.others.len()
        && one.others.iter().zip(&other.others).all(is_same)
}

/// Whether they differ in the offsets of chunks alone.
fn is_same_table(one: &SampleTable, other: &SampleTable) -> bool {
    let parts = |table: &SampleTable| (table.offsets.len(), table.composition);
    parts(one) == parts(other)
        && one.durations == other.durations
        && one.sizes == other.sizes
        && one.chunks == other.chunks
}

/// Whether they have the same samples, of the same bytes of the file that the outline is of.
fn has_same_samples(one: &Arc<SampleTable>, new: &Sparse<'_>, other: &Arc<SampleTable>) -> bool {
    let [mut ones, mut others] = [one, other].map(|table| Cursor::new(Arc::clone(table), 0));
    let mut is_same = is_same_table(one, other);
    while is_same && let Some(sample) = ones.next(1) {
        let other = others.next(1);
        let origin = other.and_then(|other| new.origin(other.offset, other.size.into()));
        is_same = sample.size == 0 || origin == Some(sample.offset);
    }
    is_same
}

/// The tracks with the titles and the pictures of the chapters of an audio track.
fn chapter_tracks(movie: &Movie, track: usize) -> [Option<&TextTrack>; 2] {
    let named = movie
        .audio
        .get(track)
        .map_or(&[][..], |audio| &audio.chapters);
    [&movie.text, &movie.pictures]
        .map(|tracks| tracks.iter().find(|found| named.contains(&found.id)))
}

/// What of a `trak` is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// All of it: the audio.
    Sound,
    /// All of it: titles or pictures.
    Chapters,
    /// It counts as an audio track before the one that is kept, and has no samples.
    Counted,
    /// Nothing.
    Dropped,
}

/// What is kept of a movie.
struct Kept<'a> {
    movie: &'a Movie,
    track: usize,
    /// The tracks with titles and pictures.
    chapters: Vec<&'a TextTrack>,
}

/// Where media is in the new file, and in how many bits that is written.
struct Offsets<'a> {
    place: &'a dyn Fn(u64) -> Option<u64>,
    wide: bool,
}

impl<'a> Kept<'a> {
    fn of(movie: &'a Movie, track: usize) -> Self {
        let chapters = chapter_tracks(movie, track).into_iter().flatten().collect();
        Kept {
            movie,
            track,
            chapters,
        }
    }

    /// Adds the media outside of movie fragments.
    fn add_media(&self, media: &mut Media, file_size: u64) -> Result<()> {
        let audio = &self.movie.audio[self.track];
        let others = self.chapters.iter().map(|text| (&text.table, 1));
        for (table, group) in std::iter::once((&audio.table, audio.group())).chain(others) {
            let mut cursor = Cursor::new(Arc::clone(table), 0);
            while let Some(sample) = cursor.next(group) {
                let end = sample.offset.saturating_add(sample.size.into());
                media.add(sample.offset..end, file_size)?;
            }
        }
        Ok(())
    }

    fn role(&self, trak: &SliceBox<'_>) -> Result<Role> {
        let audio = &self.movie.audio;
        if let Some(index) = audio.iter().position(|track| track.at == trak.at) {
            return Ok(match index.cmp(&self.track) {
                std::cmp::Ordering::Less => Role::Counted,
                std::cmp::Ordering::Equal => Role::Sound,
                std::cmp::Ordering::Greater => Role::Dropped,
            });
        }
        let id = track_id(trak)?;
        let is_kept = self.chapters.iter().any(|text| Some(text.id) == id);
        Ok(if is_kept {
            Role::Chapters
        } else {
            Role::Dropped
        })
    }

    /// The `moov` box with these contents.
    fn moov(&self, boxes: Boxes<'_>, offsets: &Offsets<'_>) -> Result<Vec<u8>> {
        let mut kept = Vec::new();
        for child in boxes {
            let child = child?;
            match &child.kind.0 {
                b"mvhd" | b"iods" | b"udta" | b"meta" => kept.extend(copy(&child)),
                b"mvex" => kept.extend(self.mvex(&child)?),
                b"trak" => match self.role(&child)? {
                    Role::Dropped => {}
                    role => kept.extend(self.trak(&child, role, offsets)?),
                },
                _ => {}
            }
        }
        Ok(make(b"moov", &kept))
    }

    fn mvex(&self, mvex: &SliceBox<'_>) -> Result<Vec<u8>> {
        let audio = &self.movie.audio[..=self.track];
        let mut kept = Vec::new();
        for child in mvex.children(0) {
            let child = child?;
            let is_kept = match &child.kind.0 {
                b"mehd" => true,
                b"trex" => {
                    let mut fields = child.fields();
                    fields.version_and_flags()?;
                    let id = fields.u32()?;
                    audio.iter().any(|track| track.id == id)
                        || self.chapters.iter().any(|text| text.id == id)
                }
                _ => false,
            };
            if is_kept {
                kept.extend(copy(&child));
            }
        }
        Ok(make(b"mvex", &kept))
    }

    fn trak(&self, trak: &SliceBox<'_>, role: Role, offsets: &Offsets<'_>) -> Result<Vec<u8>> {
        let mut kept = Vec::new();
        for child in trak.children(0) {
            let child = child?;
            match &child.kind.0 {
                b"mdia" => kept.extend(media_box(&child, role, offsets)?),
                b"tkhd" => {
                    kept.extend(copy(&child));
                    // Another track may have named them, which is left out.
                    if role == Role::Sound && !self.chapters.is_empty() {
                        let ids: Vec<u8> = self
                            .chapters
                            .iter()
                            .flat_map(|text| text.id.to_be_bytes())
                            .collect();
                        kept.extend(make(b"tref", &make(b"chap", &ids)));
                    }
                }
                // It may name tracks that are left out.
                b"tref" => {}
                b"edts" if role == Role::Counted => {}
                b"edts" | b"udta" | b"meta" => kept.extend(copy(&child)),
                _ => {}
            }
        }
        Ok(make(b"trak", &kept))
    }
}

/// `track_ID`, if there is a `tkhd`.
fn track_id(trak: &SliceBox<'_>) -> Result<Option<u32>> {
    for child in trak.children(0) {
        let child = child?;
        if child.kind.0 == *b"tkhd" {
            let mut fields = child.fields();
            let (version, _) = fields.version_and_flags()?;
            let _times = (fields.u32_or_u64(version)?, fields.u32_or_u64(version)?);
            return fields.u32().map(Some);
        }
    }
    Ok(None)
}

/// `mdia`, or `minf` in it.
fn media_box(outer: &SliceBox<'_>, role: Role, offsets: &Offsets<'_>) -> Result<Vec<u8>> {
    let mut kept = Vec::new();
    for child in outer.children(0) {
        let child = child?;
        match &child.kind.0 {
            b"minf" if outer.kind.0 == *b"mdia" => kept.extend(media_box(&child, role, offsets)?),
            b"stbl" if role == Role::Counted => kept.extend(empty_table(&child)?),
            b"stbl" => kept.extend(sample_table(&child, offsets)?),
            _ => kept.extend(copy(&child)),
        }
    }
    Ok(make(&outer.kind.0, &kept))
}

fn sample_table(stbl: &SliceBox<'_>, offsets: &Offsets<'_>) -> Result<Vec<u8>> {
    let mut kept = Vec::new();
    for child in stbl.children(0) {
        let child = child?;
        match &child.kind.0 {
            b"stco" => kept.extend(chunk_offsets(&child, offsets, |fields| {
                fields.u32().map(u64::from)
            })?),
            b"co64" => kept.extend(chunk_offsets(&child, offsets, Fields::u64)?),
            // Offsets of other data.
            b"saiz" | b"saio" => {}
            _ => kept.extend(copy(&child)),
        }
    }
    Ok(make(b"stbl", &kept))
}

/// `stco`, or where the offsets are wide, `co64`.
fn chunk_offsets<'a>(
    table: &SliceBox<'a>,
    offsets: &Offsets<'_>,
    read: impl Fn(&mut Fields<'a>) -> Result<u64>,
) -> Result<Vec<u8>> {
    let mut fields = table.fields();
    fields.version_and_flags()?;
    let count = fields.u32()?;
    let mut entries = [0u32.to_be_bytes(), count.to_be_bytes()].concat();
    for _ in 0..count {
        let at = read(&mut fields)?;
        let new = (offsets.place)(at)
            .ok_or_else(|| table_error(table, format!("no sample is at byte {at}")))?;
        match (offsets.wide, u32::try_from(new)) {
            (true, _) => entries.extend(new.to_be_bytes()),
            (false, Ok(new)) => entries.extend(new.to_be_bytes()),
            (false, Err(_)) => {
                return Err(table_error(
                    table,
                    format!("byte {new} does not fit into 32 bits"),
                ));
            }
        }
    }
    Ok(make(if offsets.wide { b"co64" } else { b"stco" }, &entries))
}

fn table_error(table: &SliceBox<'_>, why: String) -> Error {
    Error::malformed(table.at, table.kind.to_string(), why)
}

/// `stbl` without samples.
fn empty_table(stbl: &SliceBox<'_>) -> Result<Vec<u8>> {
    let mut kept = Vec::new();
    for child in stbl.children(0) {
        let child = child?;
        if child.kind.0 == *b"stsd" {
            kept.extend(copy(&child));
        }
    }
    for kind in [b"stts", b"stsc", b"stco"] {
        kept.extend(make(kind, &[0; 8]));
    }
    kept.extend(make(b"stsz", &[0; 12]));
    Ok(make(b"stbl", &kept))
}

/// One movie fragment, with the one track that is kept.
struct Fragment<'a> {
    /// `mfhd`.
    header: Vec<u8>,
    tracks: Vec<Vec<Part<'a>>>,
}

/// A part of a `traf` box.
enum Part<'a> {
    /// A whole box.
    Copy(Vec<u8>),
    Run(Run<'a>),
}

/// A `trun` box.
struct Run<'a> {
    flags: u32,
    version: u8,
    count: u32,
    /// What follows its offset.
    rest: &'a [u8],
    /// Where its samples are in the file.
    data: Range<u64>,
}

const DATA_OFFSET: u32 = 0x1;
const BASE_DATA_OFFSET: u32 = 0x1;
const DEFAULT_BASE_IS_MOOF: u32 = 0x2_0000;

impl<'a> Fragment<'a> {
    fn read(
        boxes: Boxes<'a>,
        moof_at: u64,
        kept: &Kept<'_>,
        movie: &Movie,
    ) -> Result<Fragment<'a>> {
        let wanted = movie.audio[kept.track].id;
        let mut fragment = Fragment {
            header: Vec::new(),
            tracks: Vec::new(),
        };
        // Where the data of a track fragment without an offset begins: after that of the one before.
        let mut data_end = moof_at;
        for child in boxes {
            let child = child?;
            match &child.kind.0 {
                b"mfhd" => fragment.header = copy(&child),
                b"traf" => {
                    let mut header = None;
                    let mut parts = Vec::new();
                    let mut end = data_end;
                    for child in child.children(0) {
                        let child = child?;
                        match (&child.kind.0, &header) {
                            (b"tfhd", _) => {
                                let read = TrackFragment::read(
                                    child.fields(),
                                    moof_at,
                                    data_end,
                                    &movie.defaults,
                                )?;
                                end = read.base;
                                header = Some(read);
                                parts.push(Part::Copy(based_on_moof(&child)?));
                            }
                            (b"trun", Some(header)) => {
                                let run = Run::read(&child, header, end)?;
                                end = run.data.end;
                                parts.push(Part::Run(run));
                            }
                            (b"trun", None) => {
                                return Err(table_error(&child, "it comes before `tfhd`".into()));
                            }
                            (b"tfdt" | b"sgpd" | b"sbgp", _) => {
                                parts.push(Part::Copy(copy(&child)))
                            }
                            _ => {}
                        }
                    }
                    data_end = end;
                    if header.is_some_and(|header| header.id == wanted) {
                        fragment.tracks.push(parts);
                    }
                }
                _ => {}
            }
        }
        Ok(fragment)
    }

    fn runs(&self) -> impl Iterator<Item = &Run<'a>> {
        self.tracks.iter().flatten().filter_map(|part| match part {
            Part::Run(run) if run.count > 0 => Some(run),
            _ => None,
        })
    }

    /// The `moof` box. `place` says where in the new file, counted from the box, a byte of the file is.
    fn moof(&self, place: impl Fn(u64) -> Option<i32>) -> Result<Vec<u8>> {
        let mut kept = self.header.clone();
        for parts in &self.tracks {
            let mut track = Vec::new();
            for part in parts {
                match part {
                    Part::Copy(bytes) => track.extend(bytes),
                    Part::Run(run) => {
                        let offset = match run.count {
                            0 => Some(0),
                            _ => place(run.data.start),
                        };
                        let offset = offset
                            .ok_or_else(|| Error::unsupported("a fragment of more than 2 GiB"))?;
                        let flags = run.flags | DATA_OFFSET;
                        let fields =
                            [u32::from(run.version) << 24 | flags, run.count].map(u32::to_be_bytes);
                        let fields =
                            [fields.as_flattened(), &offset.to_be_bytes(), run.rest].concat();
                        track.extend(make(b"trun", &fields));
                    }
                }
            }
            kept.extend(make(b"traf", &track));
        }
        Ok(make(b"moof", &kept))
    }
}

impl<'a> Run<'a> {
    fn read(trun: &SliceBox<'a>, fragment: &TrackFragment, follows: u64) -> Result<Run<'a>> {
        let table = read_run(trun.fields(), fragment, follows)?;
        let data = table.lowest_offset().unwrap_or(follows)..table.data_end();
        let mut fields = trun.fields();
        let (version, flags) = fields.version_and_flags()?;
        let count = fields.u32()?;
        if flags & DATA_OFFSET != 0 {
            fields.u32()?;
        }
        Ok(Run {
            flags,
            version,
            count,
            rest: fields.rest(),
            data,
        })
    }
}

/// `tfhd` with offsets that count from the `moof` box.
fn based_on_moof(tfhd: &SliceBox<'_>) -> Result<Vec<u8>> {
    let mut fields = tfhd.fields();
    let (version, flags) = fields.version_and_flags()?;
    let id = fields.u32()?;
    if flags & BASE_DATA_OFFSET != 0 {
        fields.u64()?;
    }
    let flags = flags & !BASE_DATA_OFFSET | DEFAULT_BASE_IS_MOOF;
    let head = [u32::from(version) << 24 | flags, id].map(u32::to_be_bytes);
    Ok(make(
        b"tfhd",
        &[head.as_flattened(), fields.rest()].concat(),
    ))
}

/// The media of the new file: stretches of the file, in its order.
#[derive(Default)]
struct Media {
    ranges: Vec<Range<u64>>,
    /// Where each begins, counted from the first.
    places: Vec<u64>,
    samples: u64,
}

impl Media {
    fn add(&mut self, range: Range<u64>, file_size: u64) -> Result<()> {
        if range.end > file_size {
            return Err(Error::malformed(
                range.start,
                "media",
                format!("the file ends before it, at byte {file_size}"),
            ));
        }
        self.samples += 1;
        if self.samples > MAX_SAMPLES {
            return Err(limit(range.start, "the number of samples", MAX_SAMPLES));
        }
        let is_full = self.ranges.len() == MAX_RANGES;
        match self.ranges.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ if is_full => {
                return Err(limit(
                    range.start,
                    "the number of stretches",
                    MAX_RANGES as u64,
                ));
            }
            _ => self.ranges.push(range),
        }
        Ok(())
    }

    /// Once all are added.
    fn sort(&mut self) {
        self.ranges.sort_by_key(|range| range.start);
        self.ranges.dedup_by(|next, last| {
            let adjoins = next.start <= last.end;
            if adjoins {
                last.end = last.end.max(next.end);
            }
            adjoins
        });
        self.places.clear();
        let mut len = 0;
        for range in &self.ranges {
            self.places.push(len);
            len += range.end - range.start;
        }
    }

    fn len(&self) -> u64 {
        self.ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    /// The header of the `mdat` box with all of them.
    fn header(&self) -> Vec<u8> {
        match u32::try_from(self.len() + 8) {
            Ok(size) => [&size.to_be_bytes()[..], b"mdat"].concat(),
            Err(_) => {
                let size = self.len() + 16;
                [&1u32.to_be_bytes()[..], b"mdat", &size.to_be_bytes()].concat()
            }
        }
    }

    /// Where byte `at` of the file is, counted from the first of these.
    fn place(&self, at: u64) -> Option<u64> {
        let after = self.ranges.partition_point(|range| range.start <= at);
        let index = after.checked_sub(1)?;
        let range = self.ranges.get(index).filter(|range| at < range.end)?;
        Some(self.places.get(index)? + (at - range.start))
    }
}

fn limit(at: u64, what: &str, limit: u64) -> Error {
    Error::Limit {
        at,
        what: what.into(),
        limit,
    }
}

/// The new file as it is put together.
#[derive(Default)]
struct NewFile {
    pieces: Vec<SoundPiece>,
    bytes: Vec<u8>,
    len: u64,
}

impl NewFile {
    fn append(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
    }

    /// An `mdat` box with `media`, if there is any.
    fn append_media(&mut self, media: &Media) {
        if media.ranges.is_empty() {
            return;
        }
        self.append(&media.header());
        self.pieces
            .push(SoundPiece::Bytes(std::mem::take(&mut self.bytes)));
        self.pieces
            .extend(media.ranges.iter().cloned().map(SoundPiece::Range));
        self.len += media.len();
    }

    fn end(mut self) -> Vec<SoundPiece> {
        if !self.bytes.is_empty() {
            self.pieces.push(SoundPiece::Bytes(self.bytes));
        }
        self.pieces
    }
}

fn copy(source: &SliceBox<'_>) -> Vec<u8> {
    make(&source.kind.0, source.payload)
}

/// A box of `kind` with this payload, which is part of an outline: so it is smaller than 4 GiB.
fn make(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len() + 8).unwrap_or(u32::MAX);
    [&size.to_be_bytes(), kind, payload].concat()
}
