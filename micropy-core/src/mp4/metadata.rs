//! The metadata of a file: iTunes' `ilst`, QuickTime's `keys` and © strings, 3GPP's `titl` and so on (QuickTime File
//! Format, "User data atoms" and "Metadata"; 3GPP TS 26.244, 8).
//!
//! It is read box by box: one that is too large or malformed is left out, and costs only itself. Pictures, which may be
//! a thousand times as large as everything else, count on their own.

use std::collections::{HashMap, HashSet};

use super::boxes::{BoxHeader, BoxReader, Fields, FourCc, SliceBox};
use super::movie::Movie;
use super::{chapters, id32, text};
use crate::error::{Error, Result};
use crate::tags::{Chapter, Cover, FrameId, Gapless, Key, Metadata, genre_name};
use crate::warning::{LeftOut, Warning};

/// The most values kept of one file.
const MAX_VALUES: usize = 4096;

/// The most pictures kept of one file.
const MAX_COVERS: usize = 16;

/// The most boxes looked at in one file's metadata.
const MAX_BOXES: usize = 1 << 16;

/// The most warnings kept about metadata.
const MAX_WARNINGS: usize = 16;

/// The most bytes read of one file's tags and chapters.
const TEXT_LIMIT: u64 = 8 << 20;

/// The most bytes read of one file's covers together.
const COVER_LIMIT: u64 = Cover::MAX_SIZE as u64;

impl Movie {
    /// The metadata of the file, with Nero's chapters (`chpl`) if it has them, and what `self.audio[track]` adds of its
    /// own. QuickTime's chapters are a track: see [`Movie::chapters`].
    pub fn metadata(&self, track: Option<usize>) -> Metadata {
        let track = track.and_then(|track| self.audio.get(track));
        let mut metadata = self.metadata.merged(track.map(|track| track.at));
        chapters::end_last_with(&mut metadata.chapters, self.duration());
        metadata
    }
}

/// A box with metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `meta` beside `moov`.
    FileMeta,
    /// `moov/udta`: `meta` with `ilst` (iTunes), © strings (QuickTime), `titl`… (3GPP), `chpl` (Nero).
    MovieUdta,
    /// `moov/meta`: `keys` with `ilst` (QuickTime).
    MovieMeta,
    /// `udta` in the `trak` at this offset, with the same as that of the movie.
    TrackUdta(u64),
    /// `meta` in the `trak` at this offset.
    TrackMeta(u64),
}

impl Place {
    /// The offset of the `trak` that it is in.
    fn track(self) -> Option<u64> {
        match self {
            Place::FileMeta | Place::MovieUdta | Place::MovieMeta => None,
            Place::TrackUdta(at) | Place::TrackMeta(at) => Some(at),
        }
    }
}

/// Where in the movie, or in a track, a value was found. Of a key that has values in several places, the first by this
/// order counts, those of the movie before those of the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// iTunes' items.
    UdtaMeta,
    /// QuickTime's keys.
    MovieMeta,
    FileMeta,
    /// Strings directly in `udta`, which old programs left there.
    UdtaStrings,
}

/// The metadata of a file as it is read.
#[derive(Debug)]
pub struct FoundMetadata {
    /// The offset of the `trak` that is read; `None`: not in one.
    track: Option<u64>,
    groups: Vec<(Option<u64>, Origin, Group)>,
    covers: Vec<(Option<u64>, Cover)>,
    /// Nero's.
    chapters: Vec<Chapter>,
    gapless: Vec<(Option<u64>, Gapless)>,
    warnings: Vec<(Option<u64>, Warning)>,
    values: usize,
    /// What may still be read.
    boxes_left: usize,
    text_left: u64,
    covers_left: u64,
}

impl Default for FoundMetadata {
    fn default() -> Self {
        FoundMetadata {
            track: None,
            groups: Vec::new(),
            covers: Vec::new(),
            chapters: Vec::new(),
            gapless: Vec::new(),
            warnings: Vec::new(),
            values: 0,
            boxes_left: MAX_BOXES,
            text_left: TEXT_LIMIT,
            covers_left: COVER_LIMIT,
        }
    }
}

/// How to read the payload of an `ilst` item.
enum Form {
    Text(Key),
    /// A whole number, as text if it is not 0.
    Number(Key),
    /// A whole number of which 0 is one, too: an episode, a kind of medium.
    Code(Key),
    /// Number and total: `trkn`, `disk`.
    Pair(Key),
    /// A number in ID3v1's list of genres, plus 1.
    Genre,
    MovementIndex,
    MovementCount,
    Cover,
}

/// The `ilst` items that are tags. The frames for podcasts are iTunes' own; where ID3 has no frame, the name is the one
/// that tag editors show.
fn form(item: FourCc) -> Option<Form> {
    use Form::{Code, Number, Pair, Text};
    let own = |name: &str| Key::Other(name.into());
    let frame = |id| FrameId::new(id).map(|id| Text(Key::Frame(id)));
    Some(match &item.0 {
        b"\xA9nam" => Text(Key::Title),
        b"\xA9ART" => Text(Key::Artist),
        b"aART" => Text(Key::AlbumArtist),
        b"\xA9alb" => Text(Key::Album),
        b"\xA9wrt" | b"\xA9com" => Text(Key::Composer),
        b"\xA9con" => Text(Key::Conductor),
        b"\xA9gen" => Text(Key::Genre),
        b"gnre" => Form::Genre,
        b"\xA9day" => Text(Key::Date),
        b"trkn" => Pair(Key::Track),
        b"disk" => Pair(Key::Disc),
        b"\xA9grp" => Text(Key::Grouping),
        b"\xA9cmt" => Text(Key::Comment),
        b"\xA9lyr" => Text(Key::Lyrics),
        b"cprt" | b"\xA9cpy" => Text(Key::Copyright),
        b"\xA9pub" | b"\xA9lab" => Text(Key::Publisher),
        b"\xA9isr" => Text(Key::Isrc),
        b"tmpo" => Number(Key::Bpm),
        b"cpil" => Number(Key::Compilation),
        b"sonm" => Text(Key::TitleSort),
        b"soar" => Text(Key::ArtistSort),
        b"soal" => Text(Key::AlbumSort),
        b"soaa" => Text(Key::AlbumArtistSort),
        b"soco" => Text(Key::ComposerSort),
        b"desc" | b"\xA9des" | b"\xA9st3" | b"\xA9inf" => Text(Key::Description),
        b"\xA9mvn" => Text(Key::MovementName),
        b"\xA9mvi" => Form::MovementIndex,
        b"\xA9mvc" => Form::MovementCount,
        b"\xA9wrk" => Text(own("WORK")),
        b"\xA9nrt" => Text(own("NARRATOR")),
        b"\xA9arg" => Text(own("ARRANGER")),
        b"\xA9dir" => Text(own("DIRECTOR")),
        b"\xA9prd" => Text(own("PRODUCER")),
        b"\xA9aut" | b"\xA9prf" => Text(Key::Artist),
        b"\xA9ope" => return frame("TOPE"),
        b"\xA9trk" => Text(Key::Track),
        b"\xA9key" => return frame("TKWD"),
        b"\xA9phg" => return frame("TPRO"),
        b"\xA9swf" => Text(own("SONGWRITER")),
        b"\xA9src" => Text(own("SOURCECREDITS")),
        b"\xA9enc" => Text(Key::EncodedBy),
        b"\xA9too" | b"\xA9swr" => Text(Key::Encoder),
        b"covr" => Form::Cover,
        // Podcasts.
        b"pcst" => Number(Key::Podcast),
        b"ldes" => return frame("TDES"),
        b"catg" => return frame("TCAT"),
        b"keyw" => return frame("TKWD"),
        b"egid" => return frame("TGID"),
        b"purl" => return frame("WFED"),
        // Television.
        b"tvsh" => Text(own("TVSHOW")),
        b"sosn" => Text(own("TVSHOWSORT")),
        b"tvnn" => Text(own("TVNETWORK")),
        b"tven" => Text(own("TVEPISODEID")),
        b"tvsn" => Code(own("TVSEASON")),
        b"tves" => Code(own("TVEPISODE")),
        // The library and the shop.
        b"stik" => Code(own("ITUNESMEDIATYPE")),
        b"rtng" => Code(own("ITUNESADVISORY")),
        b"hdvd" => Code(own("ITUNESHDVIDEO")),
        b"pgap" => Number(own("ITUNESGAPLESS")),
        b"shwm" => Number(own("SHOWMOVEMENT")),
        b"rate" => Text(own("RATING")),
        b"purd" => Text(own("ITUNESPURCHASEDATE")),
        b"apID" => Text(own("ITUNESACCOUNT")),
        b"ownr" => Text(own("ITUNESOWNER")),
        b"xid " => Text(own("ITUNESXID")),
        b"akID" => Code(own("ITUNESACCOUNTTYPE")),
        b"sfID" => Number(own("ITUNESCOUNTRYID")),
        b"cnID" => Number(own("ITUNESCATALOGID")),
        b"atID" => Number(own("ITUNESARTISTID")),
        b"plID" => Number(own("ITUNESALBUMID")),
        b"geID" => Number(own("ITUNESGENREID")),
        b"cmID" => Number(own("ITUNESCOMPOSERID")),
        _ => return None,
    })
}

/// Which of two items that mean one key counts: that of the lower rank, whatever their order.
fn rank(item: FourCc) -> u8 {
    match &item.0 {
        b"gnre" | b"\xA9com" | b"\xA9cpy" | b"\xA9des" | b"\xA9lab" | b"\xA9swr" | b"\xA9aut"
        | b"\xA9trk" | b"\xA9key" => 1,
        b"\xA9st3" | b"\xA9prf" => 2,
        b"\xA9inf" => 3,
        _ => 0,
    }
}

/// The name that an item is kept under where a better one has its key: people may not be the same.
fn other_name(item: FourCc) -> Option<&'static str> {
    match &item.0 {
        b"\xA9aut" => Some("AUTHOR"),
        b"\xA9prf" => Some("PERFORMER"),
        _ => None,
    }
}

/// The rank of names, below that of all items of their own.
const NAMED: u8 = 10;

/// The QuickTime metadata keys (`mdta`) that are tags, without `com.apple.quicktime.`, with their rank, and the name
/// that a value is kept under where a better one has the key. What a camera says of itself and of its place is no tag
/// of a sound.
fn quicktime_key(name: &str) -> Option<(Form, u8, Option<&'static str>)> {
    let own = |name: &str| Key::Other(name.into());
    let frame = |id| FrameId::new(id).map(|id| (Form::Text(Key::Frame(id)), 0, None));
    let (key, rank, other_name) = match name {
        "displayname" => (Key::Title, 1, None),
        "author" => (Key::Artist, 1, Some("AUTHOR")),
        "performer" => (Key::Artist, 2, Some("PERFORMER")),
        "creationdate" => (Key::Date, 0, None),
        "year" => (Key::Date, 1, None),
        "software" => (Key::Encoder, 0, None),
        "information" => (Key::Description, 1, None),
        "encodedby" => (Key::EncodedBy, 0, None),
        "track" | "tracknumber" => (Key::Track, 0, None),
        "director" => (own("DIRECTOR"), 0, None),
        "producer" => (own("PRODUCER"), 0, None),
        "arranger" => (own("ARRANGER"), 0, None),
        "songwriter" => (own("SONGWRITER"), 0, None),
        "credits" => (own("CREDITS"), 0, None),
        "rating.user" => (own("RATING"), 0, None),
        "originalartist" => return frame("TOPE"),
        "keywords" => return frame("TKWD"),
        "phonogramrights" => return frame("TPRO"),
        "artwork" => return Some((Form::Cover, 0, None)),
        "title" | "artist" | "album" | "comment" | "composer" | "copyright" | "description"
        | "genre" | "publisher" => (Key::from_free_name(name), 0, None),
        _ => return None,
    };
    Some((Form::Text(key), rank, other_name))
}

/// The value of a `data` box.
struct Value<'a> {
    /// Its well-known type.
    kind: u32,
    at: u64,
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    fn read(data: &SliceBox<'a>) -> Result<Value<'a>> {
        let mut fields = data.fields();
        let kind = fields.u32()? & 0x00FF_FFFF;
        let _locale = fields.u32()?;
        Ok(Value {
            kind,
            at: data.at,
            bytes: fields.rest(),
        })
    }

    /// As text: UTF-8 (1, 4), UTF-16 (2, 5), a number, or bytes of no declared type without control characters. `None`:
    /// it is not text.
    fn text(&self) -> Option<String> {
        match self.kind {
            2 | 5 => Some(text::utf16(self.bytes)),
            13 | 14 | 27 => None,
            21 | 22 | 65..=67 | 74..=78 => self.number().map(|n| n.to_string()),
            23 => Some(f32::from_be_bytes(*self.bytes.first_chunk()?).to_string()),
            24 => Some(f64::from_be_bytes(*self.bytes.first_chunk()?).to_string()),
            kind => {
                // Some programs count the NUL that ends a string.
                let bytes = text::without_trailing_nuls(self.bytes);
                let control = |b: &u8| b.is_ascii_control() && !b.is_ascii_whitespace();
                (kind != 0 || !bytes.iter().any(control)).then(|| text::utf8(bytes))
            }
        }
    }

    /// As an integer of one to eight bytes: unsigned (22, 75 to 78), otherwise signed.
    fn number(&self) -> Option<i64> {
        let (&first, rest) = self.bytes.split_first()?;
        let first = match self.kind {
            22 | 75..=78 => i64::from(first),
            _ => i64::from(first.cast_signed()),
        };
        (rest.len() < 8).then(|| rest.iter().fold(first, |n, &b| n << 8 | i64::from(b)))
    }

    /// As a number that is never negative, whatever its type says: an identifier, a count. Some write its digits.
    fn count(&self) -> Option<u64> {
        match self.kind {
            1 | 2 | 4 | 5 => self.text()?.trim_matches(['\0', ' ']).parse().ok(),
            _ if (1..=8).contains(&self.bytes.len()) => {
                Some(self.bytes.iter().fold(0, |n, &b| n << 8 | u64::from(b)))
            }
            _ => None,
        }
    }

    /// `number/total` of `trkn` and `disk`, without a total of 0. The number alone may be 0: `0/12`.
    fn pair(&self) -> Option<String> {
        let mut fields = Fields::new(FourCc(*b"data"), self.at, self.bytes);
        let _reserved = fields.u16().ok()?;
        let number = fields.u16().ok()?;
        match (number, fields.u16().unwrap_or(0)) {
            (0, 0) => None,
            (number, 0) => Some(number.to_string()),
            (number, total) => Some(format!("{number}/{total}")),
        }
    }

    fn genre(&self) -> Option<String> {
        let number = u8::try_from(self.number()?.checked_sub(1)?).ok()?;
        genre_name(number)
    }
}

/// One value of one item.
#[derive(Clone, Debug)]
struct Item {
    key: Key,
    /// Of several items that mean one key, those of the lowest rank count.
    rank: u8,
    /// The name that it is kept under where another item counts.
    name: Option<String>,
    value: String,
}

/// The values of one `meta`, or of the strings of one `udta`, before they are merged with the others.
#[derive(Clone, Debug, Default)]
struct Group {
    items: Vec<Item>,
    movement: (Option<i64>, Option<i64>),
}

/// What an item of `ilst` is called, besides its four-character code.
#[derive(Clone, Copy, Default)]
struct Keys<'a> {
    /// The names that the items' codes count, from 1.
    names: &'a [String],
}

impl Keys<'_> {
    fn get(&self, item: FourCc) -> Option<&String> {
        let index = u32::from_be_bytes(item.0).wrapping_sub(1) as usize;
        self.names.get(index)
    }

    fn is_cover(&self, item: FourCc) -> bool {
        let is_artwork = |name: &String| name == "com.apple.quicktime.artwork";
        item.0 == *b"covr" || self.get(item).is_some_and(is_artwork)
    }
}

impl FoundMetadata {
    /// Reads the metadata box `header`. What cannot be read becomes a warning.
    ///
    /// # Errors
    /// [`Error::Read`] alone.
    pub fn read(
        &mut self,
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
        place: Place,
    ) -> Result<()> {
        self.track = place.track();
        let read = match place {
            Place::FileMeta => self.read_meta(reader, header, Origin::FileMeta),
            Place::MovieMeta | Place::TrackMeta(_) => {
                self.read_meta(reader, header, Origin::MovieMeta)
            }
            Place::MovieUdta | Place::TrackUdta(_) => self.read_udta(reader, header),
        };
        read.or_else(|e| self.leave_out(LeftOut::Tags, header.at, e))
    }

    /// Everything found in the movie, and in the track whose box is at `track`, by the order of its places.
    fn merged(&self, track: Option<u64>) -> Metadata {
        let counts = |of: &Option<u64>| of.is_none() || *of == track;
        let covers_of = |of: Option<u64>| -> Vec<Cover> {
            let own = self.covers.iter().filter(|(found, _)| *found == of);
            own.map(|(_, cover)| cover.clone()).collect()
        };
        let mut covers = covers_of(None);
        if covers.is_empty() {
            covers = covers_of(track);
        }
        let gapless_of = |of: Option<u64>| {
            let mut own = self.gapless.iter().rev();
            own.find(|(found, _)| *found == of).map(|&(_, it)| it)
        };
        let warnings = self.warnings.iter().filter(|(of, _)| counts(of));
        let mut metadata = Metadata {
            covers,
            chapters: self.chapters.clone(),
            gapless: gapless_of(None).or_else(|| gapless_of(track)),
            warnings: warnings.map(|(_, warning)| warning.clone()).collect(),
            ..Metadata::default()
        };
        let groups = self.groups.iter().filter(|(of, ..)| counts(of));
        let mut groups: Vec<_> = groups.collect();
        groups.sort_by_key(|(of, origin, _)| (of.is_some(), *origin));
        let mut before: HashSet<Key> = HashSet::new();
        for (_, _, group) in groups {
            let mut chosen = group.chosen();
            chosen.retain(|(key, _)| !before.contains(key));
            before.extend(chosen.iter().map(|(key, _)| key.clone()));
            for (key, value) in chosen {
                metadata.tags.push(key, &value);
            }
        }
        metadata
    }

    /// A `meta` box, with version and flags (ISO) or without (QuickTime).
    fn read_meta(
        &mut self,
        reader: &mut BoxReader<'_>,
        meta: &BoxHeader,
        origin: Origin,
    ) -> Result<()> {
        let skip = match reader.head::<4>(meta) {
            Ok([0, 0, 0, 0]) => 4,
            Ok(_) => 0,
            Err(e @ Error::Read(_)) => return Err(e),
            Err(_) => return Ok(()),
        };
        let mut group = Group::default();
        let mut names = Vec::new();
        // Items before the keys that name them.
        let mut unnamed = Vec::new();
        self.each(reader, meta, skip, |found, reader, child| {
            match &child.kind.0 {
                b"keys" if names.is_empty() => {
                    let payload = found.payload(reader, child)?;
                    names = read_keys(&slice(child, &payload));
                }
                b"ID32" => found.read_id32(reader, child, &mut group)?,
                b"ilst" => found.each(reader, child, 0, |found, reader, item| {
                    let keys = Keys { names: &names };
                    if keys.is_cover(item.kind) {
                        return found.read_cover(reader, item);
                    }
                    let is_index = item.kind.0.starts_with(&[0, 0]);
                    if form(item.kind).is_none() && item.kind.0 != *b"----" && !is_index {
                        return Ok(());
                    }
                    let payload = found.payload(reader, item)?;
                    if is_index && names.is_empty() {
                        unnamed.push((*item, payload));
                    } else {
                        found.item(&mut group, &slice(item, &payload), keys);
                    }
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })?;
        for (item, payload) in &unnamed {
            self.item(&mut group, &slice(item, payload), Keys { names: &names });
        }
        self.groups.push((self.track, origin, group));
        Ok(())
    }

    /// The `meta` boxes, the strings and Nero's chapters of a `udta` box.
    fn read_udta(&mut self, reader: &mut BoxReader<'_>, udta: &BoxHeader) -> Result<()> {
        let mut group = Group::default();
        self.each(reader, udta, 0, |found, reader, child| {
            match &child.kind.0 {
                b"meta" => return found.read_meta(reader, child, Origin::UdtaMeta),
                b"covr" => return found.read_cover(reader, child),
                b"chpl" if found.track.is_none() => {
                    let payload = found.payload(reader, child)?;
                    match chapters::nero(slice(child, &payload).fields()) {
                        Ok(chapters) => found.chapters = chapters,
                        Err(e) => found.leave_out(LeftOut::Chapters, child.at, e)?,
                    }
                }
                _ if form(child.kind).is_some() || is_3gpp_string(child.kind) => {
                    let payload = found.payload(reader, child)?;
                    let child = slice(child, &payload);
                    if child.payload.get(4..8) == Some(b"data") {
                        found.item(&mut group, &child, Keys::default());
                    }
                    for (key, rank, name, value) in udta_strings(&child) {
                        if !group.has(&key, rank) {
                            found.push(&mut group, key, rank, name, Some(value));
                        }
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        self.groups.push((self.track, Origin::UdtaStrings, group));
        Ok(())
    }

    /// Calls `visit` with each box in `outer`, `skip` bytes into its payload, up to the first that does not fit, or a
    /// 32-bit zero (with which QuickTime ends `udta`). What `visit` cannot read is left out.
    fn each(
        &mut self,
        reader: &mut BoxReader<'_>,
        outer: &BoxHeader,
        skip: u64,
        mut visit: impl FnMut(&mut Self, &mut BoxReader<'_>, &BoxHeader) -> Result<()>,
    ) -> Result<()> {
        let mut at = outer.payload + skip;
        loop {
            let child = match reader.child(outer, at) {
                Ok(Some(child)) if child.end == outer.end && reader.is_zero(&child)? => {
                    return Ok(());
                }
                Ok(Some(child)) => child,
                Ok(None) => return Ok(()),
                Err(e) => return self.leave_out(LeftOut::Tags, outer.at, e),
            };
            let Some(left) = self.boxes_left.checked_sub(1) else {
                let error = Error::Limit {
                    at: child.at,
                    what: "the number of boxes with tags".into(),
                    limit: MAX_BOXES as u64,
                };
                return self.leave_out(LeftOut::Tags, child.at, error);
            };
            self.boxes_left = left;
            visit(self, reader, &child).or_else(|e| self.leave_out(LeftOut::Tags, child.at, e))?;
            at = child.end;
        }
    }

    /// The payload of a box with text.
    fn payload(&mut self, reader: &mut BoxReader<'_>, leaf: &BoxHeader) -> Result<Vec<u8>> {
        let payload = reader.payload(leaf, self.text_left)?;
        self.text_left -= payload.len() as u64;
        Ok(payload)
    }

    /// The pictures of a `covr` item, each of which is in memory only once.
    fn read_cover(&mut self, reader: &mut BoxReader<'_>, item: &BoxHeader) -> Result<()> {
        self.each(reader, item, 0, |found, reader, data| {
            /// The type and the locale of a `data` box.
            const HEAD: u64 = 8;
            if data.kind.0 != *b"data" || found.covers.len() >= MAX_COVERS {
                return Ok(());
            }
            let picture = BoxHeader {
                payload: data.payload.saturating_add(HEAD).min(data.end),
                ..*data
            };
            let cover = reader
                .payload(&picture, found.covers_left)
                .and_then(Cover::new);
            match cover {
                Ok(cover) => {
                    found.covers_left -= cover.data().len() as u64;
                    found.covers.push((found.track, cover));
                    Ok(())
                }
                Err(e) => found.leave_out(LeftOut::Cover, data.at, e),
            }
        })
    }

    /// An ID3v2 tag, with the pictures in it.
    fn read_id32(
        &mut self,
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
        group: &mut Group,
    ) -> Result<()> {
        let payload = reader.payload(header, self.covers_left)?;
        self.covers_left -= payload.len() as u64;
        id32::read(&slice(header, &payload), |frame| match frame {
            id32::Frame::Text {
                key,
                place,
                name,
                value,
            } => {
                let rank = name.as_ref().map_or(place, |_| NAMED + place);
                self.push(group, key, rank, name.as_deref(), Some(value));
            }
            id32::Frame::Picture(bytes) => self.cover(header.at, bytes),
        })
    }

    /// One item of `ilst`: its name is a four-character code or, with `keys`, an index into them.
    fn item(&mut self, group: &mut Group, item: &SliceBox<'_>, keys: Keys<'_>) {
        let children = self.children(item);
        let values = children.iter().filter(|child| child.kind.0 == *b"data");
        let values: Vec<_> = values.filter_map(|data| Value::read(data).ok()).collect();
        if item.kind.0 == *b"----" {
            self.free_item(group, &children, &values);
        } else if let Some(key) = keys.get(item.kind) {
            self.keyed_item(group, key, &values);
        } else if let Some(form) = form(item.kind) {
            let other_name = other_name(item.kind);
            self.values(group, &form, rank(item.kind), other_name, &values);
        }
    }

    fn values(
        &mut self,
        group: &mut Group,
        form: &Form,
        rank: u8,
        name: Option<&str>,
        values: &[Value<'_>],
    ) {
        for value in values {
            let (key, text) = match form {
                Form::Text(key) => (key, value.text()),
                Form::Pair(key) => (key, value.pair()),
                Form::Number(key) => {
                    let number = value.count().filter(|&n| n > 0);
                    (key, number.map(|n| n.to_string()))
                }
                Form::Code(key) => (key, value.count().map(|n| n.to_string())),
                Form::Genre => (&Key::Genre, value.genre()),
                Form::MovementIndex => {
                    group.movement.0 = value.number();
                    continue;
                }
                Form::MovementCount => {
                    group.movement.1 = value.number();
                    continue;
                }
                Form::Cover => {
                    self.cover(value.at, value.bytes);
                    continue;
                }
            };
            self.push(group, key.clone(), rank, name, text);
        }
    }

    /// A picture in bytes that were read for text, before it was known what they are.
    fn cover(&mut self, at: u64, bytes: &[u8]) {
        if self.covers.len() >= MAX_COVERS {
            return;
        }
        match Cover::new(bytes.to_vec()) {
            Ok(cover) => self.covers.push((self.track, cover)),
            Err(e) => self.warn(Warning::left_out(LeftOut::Cover, at, e)),
        }
    }

    /// A `----` item: `name` says what the text is.
    fn free_item(&mut self, group: &mut Group, children: &[SliceBox<'_>], values: &[Value<'_>]) {
        let name = children.iter().find(|child| child.kind.0 == *b"name");
        let Some(name) = name.and_then(|name| name.payload.get(4..)) else {
            return;
        };
        let name = text::utf8_or_latin_1(text::without_trailing_nuls(name));
        for value in values.iter().filter_map(Value::text) {
            if name == "iTunSMPB" {
                let numbers = gapless(&value).map(|numbers| (self.track, numbers));
                if self.gapless.len() < MAX_VALUES {
                    self.gapless.extend(numbers);
                }
            } else {
                let (key, place) = Key::ranked(&name);
                self.push(group, key, NAMED + place, Some(&name), Some(value));
            }
        }
    }

    /// An item whose key is a name: QuickTime's own, or a plain one as ffmpeg writes it.
    fn keyed_item(&mut self, group: &mut Group, key: &str, values: &[Value<'_>]) {
        if let Some(name) = key.strip_prefix("com.apple.quicktime.") {
            if let Some((form, rank, other_name)) = quicktime_key(name) {
                self.values(group, &form, rank, other_name, values);
            }
        } else if !key.contains('.') {
            match Key::ranked(key) {
                // Properties of the file.
                (Key::Other(name), _) if name.ends_with("_brand") || name.ends_with("_version") => {
                }
                (Key::Other(name), _) if name.ends_with("_brands") => {}
                (named, place) => {
                    let form = Form::Text(named);
                    self.values(group, &form, NAMED + place, Some(key), values);
                }
            }
        }
    }

    fn push(
        &mut self,
        group: &mut Group,
        key: Key,
        rank: u8,
        name: Option<&str>,
        value: Option<String>,
    ) {
        if let Some(value) = value
            && self.values < MAX_VALUES
        {
            self.values += 1;
            group.items.push(Item {
                key,
                rank,
                name: name.map(str::to_owned),
                value,
            });
        }
    }

    /// The boxes inside `outer` up to the first that does not fit.
    fn children<'a>(&mut self, outer: &SliceBox<'a>) -> Vec<SliceBox<'a>> {
        let mut children = Vec::new();
        for child in outer.children(0) {
            match child {
                Ok(child) => children.push(child),
                Err(e) => self.warn(Warning::left_out(LeftOut::Tags, outer.at, e)),
            }
        }
        children
    }

    /// Turns `error` into a warning, unless the source itself failed.
    fn leave_out(&mut self, what: LeftOut, at: u64, error: Error) -> Result<()> {
        if matches!(error, Error::Read(_)) {
            return Err(error);
        }
        self.warn(Warning::left_out(what, at, error));
        Ok(())
    }

    fn warn(&mut self, warning: Warning) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push((self.track, warning));
        }
    }
}

impl Group {
    fn has(&self, key: &Key, rank: u8) -> bool {
        self.items
            .iter()
            .any(|item| item.key == *key && item.rank == rank)
    }

    /// The values that count, those of items before those of names. A name that means a key which a better item gives
    /// stays a custom key, unless it only repeats the value.
    fn chosen(&self) -> Vec<(Key, String)> {
        let mut best: HashMap<&Key, u8> = HashMap::new();
        for item in &self.items {
            let rank = best.entry(&item.key).or_insert(item.rank);
            *rank = item.rank.min(*rank);
        }
        let counts = |item: &Item| best.get(&item.key) == Some(&item.rank);
        let is_repeated = |item: &Item| {
            let mut others = self.items.iter();
            others.any(|other| other.key == item.key && counts(other) && other.value == item.value)
        };
        let (named, plain): (Vec<&Item>, Vec<&Item>) =
            self.items.iter().partition(|item| item.rank >= NAMED);
        let mut chosen = Vec::new();
        let mut choose = |item: &Item| match (&item.key, &item.name) {
            (key, _) if counts(item) => chosen.push((key.clone(), item.value.clone())),
            (Key::Other(_), _) | (_, None) => {}
            (_, Some(_)) if is_repeated(item) => {}
            (_, Some(name)) => chosen.push((Key::Other(name.clone()), item.value.clone())),
        };
        plain.into_iter().for_each(&mut choose);
        named.into_iter().for_each(&mut choose);
        let movement = match self.movement {
            (Some(index @ 1..), Some(count @ 1..)) => Some(format!("{index}/{count}")),
            (Some(index @ 1..), _) => Some(index.to_string()),
            _ => None,
        };
        chosen.extend(movement.map(|movement| (Key::Movement, movement)));
        chosen
    }
}

/// A box whose payload has been read.
fn slice<'a>(header: &BoxHeader, payload: &'a [u8]) -> SliceBox<'a> {
    SliceBox {
        kind: header.kind,
        at: header.at,
        payload_at: header.payload,
        payload,
    }
}

/// The names of a `keys` box; those of another namespace than `mdta` are empty.
fn read_keys(keys: &SliceBox<'_>) -> Vec<String> {
    // Version, flags and the number of entries, which follows from the boxes.
    let names = keys.children(8).map_while(Result::ok).take(MAX_VALUES);
    names
        .map(|key| match &key.kind.0 {
            b"mdta" => text::utf8(text::without_trailing_nuls(key.payload)),
            _ => String::new(),
        })
        .collect()
}

fn is_3gpp_string(kind: FourCc) -> bool {
    const STRINGS: [&[u8; 4]; 10] = [
        b"titl", b"perf", b"auth", b"albm", b"gnre", b"dscp", b"cprt", b"kywd", b"yrrc", b"date",
    ];
    STRINGS.contains(&&kind.0)
}

/// A string of `udta`: its key, its rank, the name that it is kept under where a better one has the key, the text.
type UdtaString = (Key, u8, Option<&'static str>, String);

/// The strings directly in `udta`: those of 3GPP come after QuickTime's. An album may have the number of its track.
fn udta_strings(child: &SliceBox<'_>) -> Vec<UdtaString> {
    if child.payload.get(4..8) == Some(b"data") {
        return Vec::new();
    }
    match &child.kind.0 {
        [0xA9, ..] => quicktime_udta_string(child).into_iter().collect(),
        _ => strings_of_3gpp(child).unwrap_or_default(),
    }
}

fn quicktime_udta_string(child: &SliceBox<'_>) -> Option<UdtaString> {
    let Some(Form::Text(key)) = form(child.kind) else {
        return None;
    };
    let value = quicktime_string(&mut child.fields()).ok()?;
    Some((key, rank(child.kind), other_name(child.kind), value))
}

/// The strings of 3GPP TS 26.244, 8.2.
fn strings_of_3gpp(child: &SliceBox<'_>) -> Option<Vec<UdtaString>> {
    const RANK: u8 = 5;
    let one = |key, value| Some(vec![(key, RANK, None, value)]);
    let mut fields = child.fields();
    let key = match &child.kind.0 {
        b"titl" => Key::Title,
        b"perf" => Key::Artist,
        b"auth" => Key::Composer,
        b"albm" => Key::Album,
        b"gnre" => Key::Genre,
        b"dscp" => Key::Description,
        b"cprt" => Key::Copyright,
        b"kywd" => Key::Frame(FrameId::new("TKWD")?),
        b"yrrc" => {
            fields.version_and_flags().ok()?;
            return one(Key::Date, fields.u16().ok()?.to_string());
        }
        b"date" => return Some(vec![(Key::Date, RANK + 1, None, text::utf8(child.payload))]),
        _ => return None,
    };
    fields.version_and_flags().ok()?;
    let _language = fields.u16().ok()?;
    if child.kind.0 == *b"kywd" {
        return one(key, keywords(&mut fields));
    }
    let (value, rest) = terminated(fields.rest());
    let mut strings = vec![(key, RANK, None, value)];
    let number = rest.first().filter(|&&number| number > 0);
    if let (b"albm", Some(number)) = (&child.kind.0, number) {
        strings.push((Key::Track, RANK, None, number.to_string()));
    }
    Some(strings)
}

/// The keywords of a `kywd` box: how many there are, and before each its length in bytes.
fn keywords(fields: &mut Fields<'_>) -> String {
    let count = fields.u8().unwrap_or_default();
    let words = (0..count).map_while(|_| {
        let len = fields.u8().ok()?;
        let (word, _) = terminated(fields.take(len.into()).ok()?);
        Some(word)
    });
    let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    words.join(", ")
}

/// The first of the strings of a © box: 16 bits of length, 16 of language, text in UTF-8, or UTF-16 with a
/// byte order mark, or (with a Macintosh language code) Mac Roman.
fn quicktime_string(fields: &mut Fields<'_>) -> Result<String> {
    let len = fields.u16()?;
    let _language = fields.u16()?;
    let left = fields.rest().len();
    fields.take(usize::from(len).min(left)).map(text::guess)
}

/// A 3GPP string, and what follows the NUL that ends it: UTF-8, or UTF-16 with a byte order mark.
fn terminated(bytes: &[u8]) -> (String, &[u8]) {
    if bytes.starts_with(&[0xFE, 0xFF]) || bytes.starts_with(&[0xFF, 0xFE]) {
        let (units, _) = bytes.as_chunks::<2>();
        let end = units.iter().position(|unit| *unit == [0, 0]);
        let len = 2 * end.unwrap_or(units.len());
        return (
            text::utf16(&bytes[..len]),
            bytes.get(len + 2..).unwrap_or_default(),
        );
    }
    let len = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    (
        text::guess(&bytes[..len]),
        bytes.get(len + 1..).unwrap_or_default(),
    )
}

/// iTunes' ` 00000000 <delay> <padding> <length> …` in hexadecimal digits.
fn gapless(text: &str) -> Option<Gapless> {
    let mut numbers = text
        .split_ascii_whitespace()
        .skip(1)
        .map(|digits| u64::from_str_radix(digits, 16).ok());
    let mut next = || numbers.next().flatten();
    Some(Gapless {
        delay: next()?,
        padding: next()?,
        length: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        [
            &(payload.len() as u32 + 8).to_be_bytes(),
            &kind[..],
            payload,
        ]
        .concat()
    }

    fn data(kind: u32, value: &[u8]) -> Vec<u8> {
        boxed(b"data", &[&kind.to_be_bytes(), &[0; 4], value].concat())
    }

    fn text(value: &str) -> Vec<u8> {
        data(1, value.as_bytes())
    }

    fn free(name: &str, data: &[u8]) -> Vec<u8> {
        let mean = boxed(b"mean", b"\0\0\0\0com.apple.iTunes");
        let name = boxed(b"name", &[&[0; 4], name.as_bytes()].concat());
        boxed(b"----", &[&mean, &name, data].concat())
    }

    fn ilst(items: &[Vec<u8>]) -> Vec<u8> {
        boxed(
            b"meta",
            &[&[0; 4], &boxed(b"ilst", &items.concat())[..]].concat(),
        )
    }

    /// The metadata in payloads that begin at byte 1000 or later.
    fn read(boxes: &[(Place, Vec<u8>)]) -> Metadata {
        read_for(None, boxes)
    }

    /// The same, as they are for the track whose box is at `track`.
    fn read_for(track: Option<u64>, boxes: &[(Place, Vec<u8>)]) -> Metadata {
        let mut found = FoundMetadata::default();
        for (place, payload) in boxes {
            let kind = match place {
                Place::MovieUdta | Place::TrackUdta(_) => b"udta",
                Place::FileMeta | Place::MovieMeta | Place::TrackMeta(_) => b"meta",
            };
            let file = [&[0; 1000], &payload[..]].concat();
            let header = BoxHeader {
                kind: FourCc(*kind),
                at: 992,
                payload: 1000,
                end: file.len() as u64,
            };
            let mut source = &file[..];
            let mut reader = BoxReader::new(&mut source, &header);
            found.read(&mut reader, &header, *place).unwrap();
        }
        found.merged(track)
    }

    fn itunes(items: &[Vec<u8>]) -> Metadata {
        read(&[(Place::MovieUdta, ilst(items))])
    }

    fn values_of(metadata: &Metadata) -> Vec<(String, &str)> {
        metadata
            .tags
            .iter()
            .map(|(key, value)| (key.to_string(), value))
            .collect()
    }

    fn pairs<'a>(expected: &[(&str, &'a str)]) -> Vec<(String, &'a str)> {
        expected
            .iter()
            .map(|(key, value)| ((*key).to_owned(), *value))
            .collect()
    }

    #[test]
    fn each_item_of_itunes_has_its_key() {
        let plain: [(&[u8; 4], &str); 30] = [
            (b"aART", "album_artist"),
            (b"\xA9wrt", "composer"),
            (b"\xA9con", "conductor"),
            (b"\xA9grp", "grouping"),
            (b"\xA9cmt", "comment"),
            (b"cprt", "copyright"),
            (b"soar", "artist_sort"),
            (b"soal", "album_sort"),
            (b"sonm", "title_sort"),
            (b"soaa", "album_artist_sort"),
            (b"soco", "composer_sort"),
            (b"desc", "description"),
            (b"ldes", "TDES"),
            (b"catg", "TCAT"),
            (b"keyw", "TKWD"),
            (b"\xA9wrk", "TXXX:WORK"),
            (b"\xA9nrt", "TXXX:NARRATOR"),
            (b"tvsh", "TXXX:TVSHOW"),
            (b"sosn", "TXXX:TVSHOWSORT"),
            (b"tvnn", "TXXX:TVNETWORK"),
            (b"tven", "TXXX:TVEPISODEID"),
            (b"purd", "TXXX:ITUNESPURCHASEDATE"),
            (b"apID", "TXXX:ITUNESACCOUNT"),
            (b"ownr", "TXXX:ITUNESOWNER"),
            (b"\xA9arg", "TXXX:ARRANGER"),
            (b"\xA9dir", "TXXX:DIRECTOR"),
            (b"\xA9prd", "TXXX:PRODUCER"),
            (b"\xA9isr", "isrc"),
            (b"\xA9pub", "publisher"),
            (b"\xA9enc", "encoded_by"),
        ];
        let id = data(21, b"\xF0\0\0\x01");
        let special: [(&[u8; 4], Vec<u8>, &str, &str); 28] = [
            (b"\xA9nam", text("Tïtel"), "title", "Tïtel"),
            (b"\xA9ART", data(2, b"\0a\x59\x27"), "artist", "a大"),
            (b"\xA9alb", data(0, b"no type"), "album", "no type"),
            (b"\xA9gen", data(18, b"Audiobook"), "genre", "Audiobook"),
            (b"\xA9day", text("2006"), "date", "2006"),
            (b"trkn", data(0, b"\0\0\0\x03\0\x0c\0\0"), "track", "3/12"),
            (b"disk", data(0, b"\0\0\0\x01\0\0"), "disc", "1"),
            (b"tvsn", data(21, b"\0\0\0\x03"), "TXXX:TVSEASON", "3"),
            (b"tves", data(21, b"\0\0\0\0"), "TXXX:TVEPISODE", "0"),
            (b"stik", data(21, b"\0"), "TXXX:ITUNESMEDIATYPE", "0"),
            (b"rtng", data(0, b"\x04"), "TXXX:ITUNESADVISORY", "4"),
            (b"hdvd", data(21, b"\x02"), "TXXX:ITUNESHDVIDEO", "2"),
            (b"pcst", data(21, b"\x01"), "podcast", "1"),
            (b"pgap", data(21, b"\x01"), "TXXX:ITUNESGAPLESS", "1"),
            // An identifier is never negative, whatever its type says.
            (b"cnID", id.clone(), "TXXX:ITUNESCATALOGID", "4026531841"),
            (b"atID", id.clone(), "TXXX:ITUNESARTISTID", "4026531841"),
            (b"geID", id.clone(), "TXXX:ITUNESGENREID", "4026531841"),
            (b"sfID", id, "TXXX:ITUNESCOUNTRYID", "4026531841"),
            (
                b"plID",
                data(21, b"\0\0\0\x01\0\0\0\0"),
                "TXXX:ITUNESALBUMID",
                "4294967296",
            ),
            // Some write digits.
            (b"cmID", text("12"), "TXXX:ITUNESCOMPOSERID", "12"),
            (b"rate", text("80"), "TXXX:RATING", "80"),
            (b"\xA9lyr", text("a\nb"), "lyrics", "a\nb"),
            (b"tmpo", data(21, b"\0\x78"), "bpm", "120"),
            (b"cpil", data(21, b"\x01"), "compilation", "1"),
            (b"egid", data(0, b"a"), "TGID", "a"),
            (b"purl", data(0, b"http://a"), "WFED", "http://a"),
            (b"\xA9too", text("Lavf"), "encoder", "Lavf"),
            (b"\xA9mvn", text("Allegro"), "movement_name", "Allegro"),
        ];
        let plain = plain.map(|(kind, key)| (kind, text("a"), key, "a"));
        let rows: Vec<_> = plain.into_iter().chain(special).collect();
        let items: Vec<_> = rows
            .iter()
            .map(|(kind, data, ..)| boxed(kind, data))
            .collect();
        let expected: Vec<_> = rows
            .iter()
            .map(|(_, _, key, value)| (*key, *value))
            .collect();
        let metadata = itunes(&items);
        assert_eq!(values_of(&metadata), pairs(&expected));
        assert_eq!(metadata.warnings, []);
    }

    #[test]
    fn a_genre_number_counts_from_1() {
        let genre = |number: u8| itunes(&[boxed(b"gnre", &data(0, &[0, number]))]);
        assert_eq!(values_of(&genre(1)), pairs(&[("genre", "Blues")]));
        assert_eq!(values_of(&genre(18)), pairs(&[("genre", "Rock")]));
        assert_eq!(values_of(&genre(0)), []);
    }

    #[test]
    fn a_number_of_0_is_no_tag() {
        let zeros = [
            boxed(b"cpil", &data(21, b"\0")),
            boxed(b"tmpo", &data(21, b"\0\0")),
            boxed(b"trkn", &data(0, &[0; 8])),
            boxed(b"pcst", &data(21, b"\0")),
        ];
        assert_eq!(values_of(&itunes(&zeros)), []);
    }

    #[test]
    fn the_total_of_tracks_is_kept_without_a_number() {
        let pair = data(0, b"\0\0\0\0\0\x0C\0\0");
        let found = itunes(&[boxed(b"trkn", &pair), boxed(b"disk", &pair)]);
        assert_eq!(
            values_of(&found),
            pairs(&[("track", "0/12"), ("disc", "0/12")])
        );
    }

    /// Every order of `items`, of which there are three.
    fn orders(items: [Vec<u8>; 3]) -> Vec<Vec<Vec<u8>>> {
        let [a, b, c] = &items;
        [
            [a, b, c],
            [a, c, b],
            [b, a, c],
            [b, c, a],
            [c, a, b],
            [c, b, a],
        ]
        .map(|order| order.into_iter().cloned().collect())
        .to_vec()
    }

    #[test]
    fn which_of_two_items_counts_does_not_depend_on_their_order() {
        for items in orders([
            free("ORIGYEAR", &text("1998")),
            free("ORIGINALYEAR", &text("1996")),
            free("ORIGINALDATE", &text("1996-11-21")),
        ]) {
            let found = itunes(&items);
            let dates: Vec<_> = found.tags.values(&Key::OriginalDate).collect();
            assert_eq!(dates, ["1996-11-21"]);
            let year = Key::Other("ORIGINALYEAR".into());
            assert_eq!(found.tags.get(&year), Some("1996"));
            assert_eq!(found.tags.len(), 3);
        }
        for items in orders([
            boxed(b"gnre", &data(0, &[0, 18])),
            boxed(b"\xA9gen", &text("Krautrock")),
            free("GENRE", &text("Krautrock")),
        ]) {
            assert_eq!(values_of(&itunes(&items)), pairs(&[("genre", "Krautrock")]));
        }
        for items in orders([
            boxed(b"\xA9com", &text("c")),
            boxed(b"\xA9wrt", &text("b")),
            free("Composer", &text("a")),
        ]) {
            assert_eq!(
                values_of(&itunes(&items)),
                pairs(&[("composer", "b"), ("TXXX:Composer", "a")])
            );
        }
        for items in orders([
            boxed(b"tvsh", &text("a")),
            free("TVSHOW", &text("b")),
            boxed(b"\xA9nam", &text("c")),
        ]) {
            let found = itunes(&items);
            let show = Key::Other("TVSHOW".into());
            let shows: Vec<_> = found.tags.values(&show).collect();
            assert_eq!(shows, ["a"]);
        }
        let quicktime = [
            ("com.apple.quicktime.year", text("2021")),
            ("com.apple.quicktime.creationdate", text("2021-01-31")),
            ("date", text("2020")),
        ];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let keys = keyed(&order.map(|i| quicktime[i].clone()));
            let found = read(&[(Place::MovieMeta, keys)]);
            assert_eq!(found.tags.get(&Key::Date), Some("2021-01-31"));
            assert_eq!(found.tags.values(&Key::Date).count(), 1);
        }
        let [titl, nam] = [
            boxed(b"titl", b"\0\0\0\0\x15\xC7of 3GPP\0"),
            boxed(b"\xA9nam", b"\0\x0C\0\0of QuickTime"),
        ];
        for udta in [[&titl[..], &nam].concat(), [&nam[..], &titl].concat()] {
            let found = read(&[(Place::MovieUdta, udta)]);
            assert_eq!(values_of(&found), pairs(&[("title", "of QuickTime")]));
        }
    }

    #[test]
    fn names_and_values_may_end_in_nul() {
        let found = itunes(&[
            free("replaygain_track_gain\0", &text("0.37\0")),
            free("LABEL\0\0", &data(0, b"none\0")),
            boxed(b"\xA9nam", &data(2, b"\0a\0\0")),
        ]);
        assert_eq!(
            values_of(&found),
            pairs(&[
                ("title", "a"),
                ("TXXX:replaygain_track_gain", "0.37"),
                ("publisher", "none")
            ])
        );
        let keys = keyed(&[("artist\0", text("a"))]);
        let found = read(&[(Place::MovieMeta, keys)]);
        assert_eq!(values_of(&found), pairs(&[("artist", "a")]));
    }

    #[test]
    fn numbers_have_many_types() {
        let of = |kind, bytes: &[u8]| {
            let keys = keyed(&[("com.apple.quicktime.comment", data(kind, bytes))]);
            let found = read(&[(Place::MovieMeta, keys)]);
            found.tags.get(&Key::Comment).map(str::to_owned)
        };
        for (kind, bytes, told) in [
            (21, &b"\xFF"[..], "-1"),
            (22, b"\xFF", "255"),
            (66, b"\xFF\xFE", "-2"),
            (77, b"\xFF\xFF\xFF\xFF", "4294967295"),
            (23, b"\x3F\xC0\0\0", "1.5"),
            (24, b"\x3F\xF8\0\0\0\0\0\0", "1.5"),
        ] {
            assert_eq!(of(kind, bytes).as_deref(), Some(told), "{kind}");
        }
        assert_eq!(of(23, b"\x3F"), None);
    }

    #[test]
    fn a_cover_that_is_too_large_costs_only_itself() {
        let picture = |len: usize| {
            let mut picture = b"\xFF\xD8\xFF\xE0".to_vec();
            picture.resize(len, 7);
            data(13, &picture)
        };
        let small = picture(1000);
        for len in [Cover::MAX_SIZE + 1, 18 << 20] {
            let found = itunes(&[
                boxed(b"\xA9nam", &text("before")),
                boxed(b"covr", &[picture(len), small.clone()].concat()),
                boxed(b"\xA9alb", &text("after")),
            ]);
            assert_eq!(
                values_of(&found),
                pairs(&[("title", "before"), ("album", "after")])
            );
            let covers: Vec<_> = found.covers.iter().map(|c| c.data().len()).collect();
            assert_eq!(covers, [1000]);
            let [warning] = &found.warnings[..] else {
                panic!("{:?}", found.warnings);
            };
            let told = warning.to_string();
            let says = format!("({len} bytes)");
            assert!(
                told.starts_with("cover at byte ") && told.contains(&says),
                "{told}"
            );
        }
        // The largest leaves no room for a second one.
        let found = itunes(&[boxed(b"covr", &[picture(Cover::MAX_SIZE), small].concat())]);
        assert_eq!((found.covers.len(), found.warnings.len()), (1, 1));
    }

    #[test]
    fn items_may_come_before_the_keys_that_name_them() {
        let keys_first = keyed(&[
            ("artist", text("a")),
            ("com.apple.quicktime.artwork", data(13, b"\xFF\xD8\xFF")),
        ]);
        let ilst = keys_first.windows(4).position(|w| w == b"ilst").unwrap() - 4;
        let (keys, ilst) = keys_first.split_at(ilst);
        let found = read(&[(Place::MovieMeta, [ilst, keys].concat())]);
        assert_eq!(values_of(&found), pairs(&[("artist", "a")]));
        assert_eq!(found.covers.len(), 1);
    }

    #[test]
    fn the_places_have_an_order_of_their_own() {
        let udta = ilst(&[boxed(b"\xA9nam", &text("iTunes"))]);
        let keys = keyed(&[("com.apple.quicktime.title", text("QuickTime"))]);
        let boxes = [
            (Place::FileMeta, keyed(&[("title", text("file"))])),
            (Place::MovieMeta, keys),
            (Place::MovieUdta, udta),
        ];
        let found = read(&boxes);
        assert_eq!(values_of(&found), pairs(&[("title", "iTunes")]));
    }

    #[test]
    fn movement_and_count_are_one_key() {
        let index = boxed(b"\xA9mvi", &data(21, &[2]));
        let count = boxed(b"\xA9mvc", &data(21, &[0, 4]));
        assert_eq!(
            values_of(&itunes(&[index.clone(), count])),
            pairs(&[("movement", "2/4")])
        );
        assert_eq!(values_of(&itunes(&[index])), pairs(&[("movement", "2")]));
    }

    #[test]
    fn one_item_may_have_several_values() {
        let artists = [text("a"), text("b")].concat();
        let found = itunes(&[
            boxed(b"\xA9ART", &artists),
            free("ISRC", &[text("X1"), text("X2")].concat()),
        ]);
        assert_eq!(
            values_of(&found),
            pairs(&[
                ("artist", "a"),
                ("artist", "b"),
                ("isrc", "X1"),
                ("isrc", "X2")
            ])
        );
    }

    #[test]
    fn a_free_name_is_a_known_key_or_its_own() {
        let found = itunes(&[
            free("LABEL", &text("a")),
            free("LYRICIST", &text("a")),
            free("MusicBrainz Track Id", &text("1f")),
            free("MusicBrainz Album Id", &text("2e")),
            free("title", &text("not the title")),
            free("Encoding Params", &data(0, b"vers\0\0\0\x01")),
            boxed(b"\xA9nam", &text("the title")),
        ]);
        assert_eq!(
            values_of(&found),
            pairs(&[
                ("title", "the title"),
                ("publisher", "a"),
                ("lyricist", "a"),
                ("musicbrainz_track_id", "1f"),
                ("TXXX:MusicBrainz Album Id", "2e"),
                ("TXXX:title", "not the title"),
            ])
        );
    }

    #[test]
    fn itunsmpb_is_read_and_no_tag() {
        let smpb = " 00000000 00000840 00000107 000000000004D6B9 00000000 00000000";
        let found = itunes(&[free("iTunSMPB", &text(smpb))]);
        assert!(found.tags.is_empty());
        let gapless = Gapless {
            delay: 2112,
            padding: 263,
            length: 317_113,
        };
        assert_eq!(found.gapless, Some(gapless));
        assert_eq!(itunes(&[free("iTunSMPB", &text(" 0 840"))]).gapless, None);
        assert_eq!(
            itunes(&[free("iTunSMPB", &text(" 0 840 x 9"))]).gapless,
            None
        );
    }

    #[test]
    fn covers_are_known_by_their_bytes_not_by_their_declared_type() {
        let png = b"\x89PNG\r\n\x1a\nrest";
        let jpeg = b"\xFF\xD8\xFF\xE0";
        let found = itunes(&[
            boxed(b"covr", &[data(13, png), data(0, jpeg)].concat()),
            boxed(b"covr", &data(13, b"<html>404")),
        ]);
        let covers: Vec<_> = found.covers.iter().map(|c| (c.mime(), c.data())).collect();
        assert_eq!(covers, [("image/png", &png[..]), ("image/jpeg", jpeg)]);
        assert!(
            matches!(
                found.warnings[..],
                [Warning::LeftOut {
                    what: LeftOut::Cover,
                    at: 1000..,
                    ..
                }]
            ),
            "{:?}",
            found.warnings
        );
    }

    /// `keys` and `ilst` as phones and ffmpeg write them.
    fn keyed(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let names: Vec<_> = items
            .iter()
            .map(|(name, _)| boxed(b"mdta", name.as_bytes()))
            .collect();
        let count = (items.len() as u32).to_be_bytes();
        let keys = boxed(b"keys", &[&[0; 4], &count[..], &names.concat()].concat());
        let values = items.iter().enumerate();
        let values: Vec<_> = values
            .map(|(i, (_, data))| boxed(&(i as u32 + 1).to_be_bytes(), data))
            .collect();
        [keys, boxed(b"ilst", &values.concat())].concat()
    }

    #[test]
    fn quicktimes_keys_are_names() {
        let png = b"\x89PNG\r\n\x1a\n";
        let meta = keyed(&[
            ("com.apple.quicktime.title", text("a")),
            (
                "com.apple.quicktime.creationdate",
                text("2021-01-31T19:34:02+0100"),
            ),
            ("com.apple.quicktime.location.ISO6709", text("+50.9+6.9/")),
            ("com.apple.quicktime.artwork", data(14, png)),
            ("com.android.version", text("13")),
            ("artist", text("b")),
            ("my own", text("c")),
            ("major_brand", text("isom")),
            ("compatible_brands", text("isomiso2")),
        ]);
        let with_version = [&[0; 4], &meta[..]].concat();
        for meta in [meta, with_version] {
            let found = read(&[(Place::MovieMeta, meta)]);
            assert_eq!(
                values_of(&found),
                pairs(&[
                    ("title", "a"),
                    ("date", "2021-01-31T19:34:02+0100"),
                    ("artist", "b"),
                    ("TXXX:my own", "c"),
                ])
            );
            assert_eq!(found.covers.len(), 1);
        }
    }

    #[test]
    fn quicktimes_strings_are_read_in_their_encoding() {
        let string = |language: u16, text: &[u8]| {
            [
                &(text.len() as u16).to_be_bytes(),
                &language.to_be_bytes(),
                text,
            ]
            .concat()
        };
        let udta = [
            boxed(
                b"\xA9nam",
                &[string(0, b"caf\x8e"), string(1, b"other")].concat(),
            ),
            boxed(b"\xA9ART", &string(0x55C4, "café".as_bytes())),
            boxed(b"\xA9cmt", &string(0, "already UTF-8: é".as_bytes())),
            boxed(b"\xA9alb", b"\0\xFF\0\0cut"),
            boxed(b"\xA9xyz", &string(0, b"+50.9+6.9/")),
            b"\0\0\0\0".to_vec(),
            // Behind the end of the list.
            [b"\xA9lyr", &string(0, b"what was there before")[..]].concat(),
        ];
        assert_eq!(
            values_of(&read(&[(Place::MovieUdta, udta.concat())])),
            pairs(&[
                ("title", "café"),
                ("artist", "café"),
                ("comment", "already UTF-8: é"),
                ("album", "cut"),
            ])
        );
    }

    #[test]
    fn strings_of_3gpp_are_read() {
        let string = |text: &[u8]| [&[0, 0, 0, 0, 0x15, 0xC7], text].concat();
        let udta = [
            boxed(b"titl", &string(b"Title\0")),
            boxed(b"perf", &string(b"\xFE\xFF\0a\x59\x27\0\0")),
            boxed(b"auth", &string(b"Author\0")),
            boxed(b"albm", &string(b"Album\0\x07")),
            boxed(b"gnre", &string(b"Rock\0")),
            boxed(b"dscp", &string(b"No NUL")),
            boxed(b"cprt", &string(b"Me\0")),
            boxed(b"yrrc", b"\0\0\0\0\x07\xCF"),
        ];
        assert_eq!(
            values_of(&read(&[(Place::MovieUdta, udta.concat())])),
            pairs(&[
                ("title", "Title"),
                ("artist", "a大"),
                ("composer", "Author"),
                ("album", "Album"),
                ("track", "7"),
                ("genre", "Rock"),
                ("description", "No NUL"),
                ("copyright", "Me"),
                ("date", "1999"),
            ])
        );
    }

    #[test]
    fn people_and_numbers_of_quicktime_and_3gpp_are_kept() {
        let names = [
            "artist",
            "author",
            "performer",
            "director",
            "producer",
            "arranger",
            "songwriter",
            "originalartist",
            "keywords",
            "credits",
            "encodedby",
            "phonogramrights",
            "rating.user",
            "tracknumber",
            "location.name",
            "make",
        ];
        let items: Vec<_> = names
            .iter()
            .map(|name| (format!("com.apple.quicktime.{name}"), text(name)))
            .collect();
        let items: Vec<_> = items
            .iter()
            .map(|(name, data)| (name.as_str(), data.clone()))
            .collect();
        let found = read(&[(Place::MovieMeta, keyed(&items))]);
        assert_eq!(
            values_of(&found),
            pairs(&[
                ("artist", "artist"),
                ("TXXX:AUTHOR", "author"),
                ("TXXX:PERFORMER", "performer"),
                ("TXXX:DIRECTOR", "director"),
                ("TXXX:PRODUCER", "producer"),
                ("TXXX:ARRANGER", "arranger"),
                ("TXXX:SONGWRITER", "songwriter"),
                ("TOPE", "originalartist"),
                ("TKWD", "keywords"),
                ("TXXX:CREDITS", "credits"),
                ("encoded_by", "encodedby"),
                ("TPRO", "phonogramrights"),
                ("TXXX:RATING", "rating.user"),
                ("track", "tracknumber"),
            ])
        );
        let alone = keyed(&[("com.apple.quicktime.performer", text("p"))]);
        let found = read(&[(Place::MovieMeta, alone)]);
        assert_eq!(values_of(&found), pairs(&[("artist", "p")]));

        let string = |kind, text: &[u8]| {
            let len = (text.len() as u16).to_be_bytes();
            boxed(kind, &[&len[..], &[0, 0], text].concat())
        };
        let udta = [
            string(b"\xA9ART", b"a"),
            string(b"\xA9prf", b"b"),
            string(b"\xA9aut", b"c"),
            string(b"\xA9trk", b"7"),
            string(b"\xA9ope", b"d"),
            string(b"\xA9src", b"e"),
        ];
        let found = read(&[(Place::MovieUdta, udta.concat())]);
        assert_eq!(
            values_of(&found),
            pairs(&[
                ("artist", "a"),
                ("TXXX:PERFORMER", "b"),
                ("TXXX:AUTHOR", "c"),
                ("track", "7"),
                ("TOPE", "d"),
                ("TXXX:SOURCECREDITS", "e"),
            ])
        );

        let full = |kind, text: &[u8]| boxed(kind, &[&[0, 0, 0, 0, 0x15, 0xC7], text].concat());
        let wide = b"\xFE\xFF\0A\0L\0\0\x07";
        for album in [&b"AL\0\x07"[..], wide] {
            let udta = [full(b"albm", album), full(b"kywd", b"\x02\x02a\0\x01b")];
            let found = read(&[(Place::MovieUdta, udta.concat())]);
            assert_eq!(
                values_of(&found),
                pairs(&[("album", "AL"), ("track", "7"), ("TKWD", "a, b")])
            );
        }
    }

    #[test]
    fn a_box_may_hold_an_id3_tag() {
        let jpeg = b"\xFF\xD8\xFF\xE0";
        let frame = |id: &[u8; 4], content: &[u8]| {
            [&id[..], &[0, 0, 0, content.len() as u8, 0, 0], content].concat()
        };
        let frames = [
            frame(b"TIT2", b"\x03a"),
            frame(b"TXXX", b"\x03Mood\0b"),
            frame(b"TXXX", b"\x03own\0c"),
            frame(b"APIC", &[&b"\0image/jpeg\0\x03\0"[..], jpeg].concat()),
        ]
        .concat();
        let id3 = [
            &[0, 0, 0, 0, 0x15, 0xC7][..],
            b"ID3\x04\0\0\0\0\0",
            &[frames.len() as u8],
            &frames,
        ];
        let meta = boxed(b"ID32", &id3.concat());
        for place in [Place::MovieMeta, Place::FileMeta, Place::TrackMeta(7)] {
            let found = read_for(Some(7), &[(place, meta.clone())]);
            assert_eq!(
                values_of(&found),
                pairs(&[("title", "a"), ("mood", "b"), ("TXXX:own", "c")])
            );
            assert_eq!(found.covers[0].data(), jpeg);
            assert_eq!(found.warnings, []);
        }
    }

    #[test]
    fn tags_of_a_track_are_those_of_that_track_alone() {
        let jpeg = data(13, b"\xFF\xD8\xFF\xE0");
        let of_track = ilst(&[
            boxed(b"\xA9nam", &text("track")),
            boxed(b"\xA9ART", &text("artist")),
            boxed(b"covr", &jpeg),
        ]);
        let broken = ilst(&[[0xFF; 16].to_vec()]);
        let boxes = [
            (Place::TrackUdta(5), of_track),
            (Place::TrackUdta(6), broken),
            (Place::MovieUdta, ilst(&[boxed(b"\xA9nam", &text("movie"))])),
        ];
        let own = read_for(Some(5), &boxes);
        let expected = [("title", "movie"), ("artist", "artist")];
        assert_eq!(values_of(&own), pairs(&expected));
        assert_eq!((own.covers.len(), own.warnings.len()), (1, 0));
        let other = read_for(Some(6), &boxes);
        assert_eq!(values_of(&other), pairs(&[("title", "movie")]));
        assert_eq!((other.covers.len(), other.warnings.len()), (0, 1));
    }

    #[test]
    fn itunes_tags_go_before_quicktimes_strings() {
        let strings = boxed(b"\xA9nam", b"\0\x03\0\0old");
        let udta = [strings, ilst(&[boxed(b"\xA9nam", &text("new"))])].concat();
        let keys = keyed(&[
            ("com.apple.quicktime.title", text("third")),
            ("artist", text("added")),
        ]);
        let found = read(&[(Place::MovieUdta, udta), (Place::MovieMeta, keys)]);
        assert_eq!(
            values_of(&found),
            pairs(&[("title", "new"), ("artist", "added")])
        );
    }

    #[test]
    fn a_broken_item_loses_only_what_follows_it() {
        let mut broken = boxed(b"\xA9alb", &text("lost"));
        broken[3] = 0xFF;
        let found = itunes(&[boxed(b"\xA9nam", &text("kept")), broken]);
        assert_eq!(values_of(&found), pairs(&[("title", "kept")]));
        assert!(
            matches!(
                found.warnings[..],
                [Warning::LeftOut {
                    what: LeftOut::Tags,
                    at: 1000..,
                    ..
                }]
            ),
            "{:?}",
            found.warnings
        );
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let item = free("name", &text("x").repeat(100_000));
        assert_eq!(itunes(&[item]).tags.len(), MAX_VALUES);
        let covers = boxed(b"covr", &data(13, b"\xFF\xD8\xFF").repeat(1000));
        assert_eq!(itunes(&[covers]).covers.len(), MAX_COVERS);
        let metas = ilst(&[boxed(b"\xA9nam", &data(2, b"\0a"))]).repeat(100_000);
        assert_eq!(read(&[(Place::MovieUdta, metas)]).tags.len(), 1);
    }

    /// Sets each byte of payloads with everything in them to harmful values.
    #[test]
    fn no_byte_makes_it_panic() {
        let everything = [
            ilst(&[
                boxed(b"\xA9nam", &text("Title")),
                boxed(b"trkn", &data(0, b"\0\0\0\x03\0\x0c\0\0")),
                boxed(b"gnre", &data(0, b"\0\x12")),
                boxed(b"tmpo", &data(21, b"\0\x78")),
                boxed(b"covr", &data(14, b"\x89PNG\r\n\x1a\n")),
                free("iTunSMPB", &text(" 0 840 107 4D6B9")),
                free("ISRC", &text("X")),
            ]),
            boxed(b"\xA9cmt", b"\0\x03\0\0old"),
            boxed(b"perf", b"\0\0\0\0\x15\xC7\xFE\xFF\0a\0\0"),
            boxed(b"chpl", b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x03One"),
        ]
        .concat();
        let meta = keyed(&[
            ("com.apple.quicktime.title", text("a")),
            ("artist", text("b")),
        ]);
        for (place, whole) in [(Place::MovieUdta, everything), (Place::MovieMeta, meta)] {
            for at in 0..whole.len() {
                for byte in [0, 1, 0x7F, 0x80, 0xFF, whole[at].wrapping_add(1)] {
                    let mut bytes = whole.clone();
                    bytes[at] = byte;
                    let found = read(&[(place, bytes)]);
                    assert!(found.tags.len() <= MAX_VALUES && found.warnings.len() <= MAX_WARNINGS);
                }
                read(&[(place, whole[..at].to_vec())]);
            }
        }
    }
}
