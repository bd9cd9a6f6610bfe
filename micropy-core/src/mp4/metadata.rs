//! The metadata of a file: iTunes' `ilst`, QuickTime's `keys` and © strings, 3GPP's `titl` and so on (QuickTime File
//! Format, "User data atoms" and "Metadata"; 3GPP TS 26.244, 8).

use std::collections::HashSet;

use super::boxes::{Fields, FourCc, SliceBox};
use super::movie::{Movie, Place, RawBox, RawMetadata};
use super::{chapters, text};
use crate::error::Result;
use crate::tags::{Cover, FrameId, Gapless, Key, Metadata, Tags, genre_name};
use crate::warning::{LeftOut, Warning};

/// The most values kept of one file.
const MAX_VALUES: usize = 4096;

/// The most pictures kept of one file.
const MAX_COVERS: usize = 16;

/// The most `meta` boxes read.
const MAX_METAS: usize = 16;

/// The most warnings kept about metadata.
const MAX_WARNINGS: usize = 16;

impl Movie {
    /// The metadata of the file, with Nero's chapters (`chpl`) if it has them. QuickTime's chapters are a track: see
    /// [`Movie::chapters`].
    pub fn metadata(&self) -> Metadata {
        let mut metadata = read(&self.metadata);
        chapters::end_last_with(&mut metadata.chapters, self.duration());
        metadata
    }
}

fn read(raw: &RawMetadata) -> Metadata {
    let mut reader = Reader::default();
    // `meta` first: it is more reliable than old strings beside it.
    for raw in &raw.boxes {
        match raw.place {
            Place::FileMeta | Place::MovieMeta => reader.meta(&whole(raw)),
            Place::MovieUdta => reader.metas_of_udta(&whole(raw)),
        }
    }
    for raw in &raw.boxes {
        if raw.place == Place::MovieUdta {
            reader.udta(&whole(raw));
        }
    }
    reader.metadata
}

fn whole(raw: &RawBox) -> SliceBox<'_> {
    let kind = match raw.place {
        Place::FileMeta | Place::MovieMeta => FourCc(*b"meta"),
        Place::MovieUdta => FourCc(*b"udta"),
    };
    SliceBox {
        kind,
        at: raw.at,
        payload_at: raw.at,
        payload: &raw.payload,
    }
}

/// How to read the payload of an `ilst` item.
enum Form {
    Text(Key),
    /// A whole number, as text if it is not 0.
    Number(Key),
    /// Number and total: `trkn`, `disk`.
    Pair(Key),
    /// A number in ID3v1's list of genres, plus 1.
    Genre,
    MovementIndex,
    MovementCount,
    Cover,
}

/// The `ilst` items that mean something outside iTunes' own library (so not the account that bought the file). The
/// frames for podcasts are iTunes' own.
fn form(item: FourCc) -> Option<Form> {
    use Form::{Number, Pair, Text};
    let other = |name: &str| Text(Key::Other(name.into()));
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
        b"\xA9pub" => Text(Key::Publisher),
        b"tmpo" => Number(Key::Bpm),
        b"cpil" => Number(Key::Compilation),
        b"sonm" => Text(Key::TitleSort),
        b"soar" => Text(Key::ArtistSort),
        b"soal" => Text(Key::AlbumSort),
        b"soaa" => Text(Key::AlbumArtistSort),
        b"soco" => Text(Key::ComposerSort),
        b"desc" | b"\xA9des" => Text(Key::Description),
        b"ldes" => return frame("TDES"),
        b"catg" => return frame("TCAT"),
        b"keyw" => return frame("TKWD"),
        b"egid" => return frame("TGID"),
        b"purl" => return frame("WFED"),
        b"\xA9mvn" => Text(Key::MovementName),
        b"\xA9mvi" => Form::MovementIndex,
        b"\xA9mvc" => Form::MovementCount,
        b"\xA9wrk" => other("WORK"),
        b"\xA9nrt" => other("NARRATOR"),
        b"tvsh" => other("TVSHOW"),
        b"\xA9enc" => Text(Key::EncodedBy),
        b"\xA9too" | b"\xA9swr" => Text(Key::Encoder),
        b"covr" => Form::Cover,
        _ => return None,
    })
}

/// The QuickTime metadata keys (`mdta`) that are tags, without `com.apple.quicktime.`.
fn quicktime_key(name: &str) -> Option<Form> {
    Some(Form::Text(match name {
        "displayname" => Key::Title,
        "author" => Key::Artist,
        "creationdate" => Key::Date,
        "software" => Key::Encoder,
        "information" => Key::Description,
        "artwork" => return Some(Form::Cover),
        "title" | "artist" | "album" | "comment" | "composer" | "copyright" | "description"
        | "genre" | "publisher" | "year" => Key::from_free_name(name),
        _ => return None,
    }))
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

    /// As text: UTF-8 (1, 4), UTF-16 (2, 5), a number (21, 22), or bytes of no declared type without control
    /// characters. `None`: it is not text.
    fn text(&self) -> Option<String> {
        match self.kind {
            2 | 5 => Some(text::utf16(self.bytes)),
            13 | 14 | 27 => None,
            21 | 22 => self.number().map(|n| n.to_string()),
            0 if self
                .bytes
                .iter()
                .any(|b| b.is_ascii_control() && !b.is_ascii_whitespace()) =>
            {
                None
            }
            _ => Some(text::utf8(self.bytes)),
        }
    }

    /// As an integer of one to eight bytes.
    fn number(&self) -> Option<i64> {
        let (&first, rest) = self.bytes.split_first()?;
        let first = match self.kind {
            22 => i64::from(first),
            _ => i64::from(first.cast_signed()),
        };
        (rest.len() < 8).then(|| rest.iter().fold(first, |n, &b| n << 8 | i64::from(b)))
    }

    /// `number/total` of `trkn` and `disk`, without a total of 0.
    fn pair(&self) -> Option<String> {
        let mut fields = Fields::new(FourCc(*b"data"), self.at, self.bytes);
        let _reserved = fields.u16().ok()?;
        let number = fields.u16().ok()?;
        match (number, fields.u16().unwrap_or(0)) {
            (0, _) => None,
            (number, 0) => Some(number.to_string()),
            (number, total) => Some(format!("{number}/{total}")),
        }
    }

    fn genre(&self) -> Option<String> {
        let number = u8::try_from(self.number()?.checked_sub(1)?).ok()?;
        genre_name(number)
    }
}

/// The values of one `meta`, or of the strings of one `udta`, before they are merged with the others.
#[derive(Default)]
struct Group {
    tags: Tags,
    /// `----` items, which may repeat an ordinary item.
    free: Vec<(String, String)>,
    movement: (Option<i64>, Option<i64>),
}

#[derive(Default)]
struct Reader {
    metadata: Metadata,
}

impl Reader {
    /// A `meta` box, with version and flags (ISO) or without (QuickTime).
    fn meta(&mut self, meta: &SliceBox<'_>) {
        let skip = if meta.payload.starts_with(&[0; 4]) {
            4
        } else {
            0
        };
        let children = self.children(meta, skip);
        let keys = children.iter().find(|child| child.kind.0 == *b"keys");
        let keys = keys.map(|keys| read_keys(keys)).unwrap_or_default();
        let mut group = Group::default();
        for ilst in children.iter().filter(|child| child.kind.0 == *b"ilst") {
            for item in self.children(ilst, 0) {
                self.item(&mut group, &item, &keys);
            }
        }
        self.merge(group);
    }

    fn metas_of_udta(&mut self, udta: &SliceBox<'_>) {
        let metas = udta.children(0).flatten();
        let metas = metas.filter(|child| child.kind.0 == *b"meta");
        metas.take(MAX_METAS).for_each(|meta| self.meta(&meta));
    }

    /// The strings and Nero's chapters of a `udta` box.
    fn udta(&mut self, udta: &SliceBox<'_>) {
        let mut group = Group::default();
        for child in self.children(udta, 0) {
            if child.kind.0 == *b"chpl" {
                match chapters::nero(child.fields()) {
                    Ok(chapters) => self.metadata.chapters = chapters,
                    Err(e) => self.warn(Warning::left_out(LeftOut::Chapters, child.at, e)),
                }
            } else if child.payload.get(4..8) == Some(b"data") {
                self.item(&mut group, &child, &[]);
            } else if let Some((key, value)) = udta_string(&child)
                && group.tags.get(&key).is_none()
            {
                group.tags.push(key, &value);
            }
        }
        self.merge(group);
    }

    /// One item of `ilst`: its name is a four-character code or, with `keys`, an index into them.
    fn item(&mut self, group: &mut Group, item: &SliceBox<'_>, keys: &[String]) {
        let children = self.children(item, 0);
        let values = children.iter().filter(|child| child.kind.0 == *b"data");
        let values: Vec<_> = values.filter_map(|data| Value::read(data).ok()).collect();
        let index = u32::from_be_bytes(item.kind.0).wrapping_sub(1) as usize;
        if item.kind.0 == *b"----" {
            self.free_item(group, &children, &values);
        } else if let Some(key) = keys.get(index) {
            self.keyed_item(group, key, &values);
        } else if let Some(form) = form(item.kind) {
            self.values(group, &form, &values);
        }
    }

    fn values(&mut self, group: &mut Group, form: &Form, values: &[Value<'_>]) {
        for value in values {
            let (key, text) = match form {
                Form::Text(key) => (key, value.text()),
                Form::Pair(key) => (key, value.pair()),
                Form::Number(key) => {
                    let number = value.number().filter(|&n| n > 0);
                    (key, number.map(|n| n.to_string()))
                }
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
                    self.cover(value);
                    continue;
                }
            };
            group.push(key.clone(), text);
        }
    }

    fn cover(&mut self, value: &Value<'_>) {
        if self.metadata.covers.len() >= MAX_COVERS {
            return;
        }
        match Cover::new(value.bytes.to_vec()) {
            Ok(cover) => self.metadata.covers.push(cover),
            Err(e) => self.warn(Warning::left_out(LeftOut::Cover, value.at, e)),
        }
    }

    /// A `----` item: `name` says what the text is.
    fn free_item(&mut self, group: &mut Group, children: &[SliceBox<'_>], values: &[Value<'_>]) {
        let name = children.iter().find(|child| child.kind.0 == *b"name");
        let Some(name) = name.and_then(|name| name.payload.get(4..)) else {
            return;
        };
        let name = text::utf8_or_latin_1(name);
        for value in values.iter().filter_map(Value::text) {
            if name == "iTunSMPB" {
                self.metadata.gapless = gapless(&value);
            } else if group.len() < MAX_VALUES {
                group.free.push((name.clone(), value));
            }
        }
    }

    /// An item whose key is a name: QuickTime's own, or a plain one as ffmpeg writes it.
    fn keyed_item(&mut self, group: &mut Group, key: &str, values: &[Value<'_>]) {
        if let Some(name) = key.strip_prefix("com.apple.quicktime.") {
            if let Some(form) = quicktime_key(name) {
                self.values(group, &form, values);
            }
        } else if !key.contains('.') {
            match Key::from_free_name(key) {
                // Properties of the file.
                Key::Other(name) if name.ends_with("_brand") || name.ends_with("_version") => {}
                Key::Other(name) if name.ends_with("_brands") => {}
                key => self.values(group, &Form::Text(key), values),
            }
        }
    }

    /// Adds the values of keys that no earlier group has. A free name that repeats an ordinary item stays a custom key.
    fn merge(&mut self, group: Group) {
        let keys =
            |tags: &Tags| -> HashSet<Key> { tags.iter().map(|(key, _)| key.clone()).collect() };
        let before = keys(&self.metadata.tags);
        let (tags, free) = group.finish();
        let here = keys(&tags);
        let free = free
            .into_iter()
            .map(|(name, value)| match Key::from_free_name(&name) {
                key if here.contains(&key) => (Key::Other(name), value),
                key => (key, value),
            });
        for (key, value) in tags.into_iter().chain(free) {
            if !before.contains(&key) {
                self.metadata.tags.push(key, &value);
            }
        }
    }

    /// The boxes inside `outer` up to the first that does not fit.
    fn children<'a>(&mut self, outer: &SliceBox<'a>, skip: usize) -> Vec<SliceBox<'a>> {
        let mut children = Vec::new();
        for child in outer.children(skip) {
            match child {
                Ok(child) => children.push(child),
                Err(e) => self.warn(Warning::left_out(LeftOut::Tags, outer.at, e)),
            }
        }
        children
    }

    fn warn(&mut self, warning: Warning) {
        if self.metadata.warnings.len() < MAX_WARNINGS {
            self.metadata.warnings.push(warning);
        }
    }
}

impl Group {
    fn len(&self) -> usize {
        self.tags.len() + self.free.len()
    }

    fn push(&mut self, key: Key, value: Option<String>) {
        if let Some(value) = value
            && self.len() < MAX_VALUES
        {
            self.tags.push(key, &value);
        }
    }

    fn finish(mut self) -> (Tags, Vec<(String, String)>) {
        let movement = match self.movement {
            (Some(index @ 1..), Some(count @ 1..)) => Some(format!("{index}/{count}")),
            (Some(index @ 1..), _) => Some(index.to_string()),
            _ => None,
        };
        self.push(Key::Movement, movement);
        (self.tags, self.free)
    }
}

/// The names of a `keys` box; those of another namespace than `mdta` are empty.
fn read_keys(keys: &SliceBox<'_>) -> Vec<String> {
    // Version, flags and the number of entries, which follows from the boxes.
    let names = keys.children(8).map_while(Result::ok).take(MAX_VALUES);
    names
        .map(|key| match &key.kind.0 {
            b"mdta" => text::utf8(key.payload),
            _ => String::new(),
        })
        .collect()
}

/// A string directly in `udta`.
fn udta_string(child: &SliceBox<'_>) -> Option<(Key, String)> {
    let mut fields = child.fields();
    if child.kind.0[0] == 0xA9 {
        let Some(Form::Text(key)) = form(child.kind) else {
            return None;
        };
        return Some((key, quicktime_string(&mut fields).ok()?));
    }
    let key = match &child.kind.0 {
        b"titl" => Key::Title,
        b"perf" => Key::Artist,
        b"auth" => Key::Composer,
        b"albm" => Key::Album,
        b"gnre" => Key::Genre,
        b"dscp" => Key::Description,
        b"cprt" => Key::Copyright,
        b"yrrc" => {
            fields.version_and_flags().ok()?;
            return Some((Key::Date, fields.u16().ok()?.to_string()));
        }
        b"date" => return Some((Key::Date, text::utf8(child.payload))),
        _ => return None,
    };
    fields.version_and_flags().ok()?;
    let _language = fields.u16().ok()?;
    Some((key, terminated(fields.rest())))
}

/// The first of the strings of a © box: 16 bits of length, 16 of language, text in UTF-8, or UTF-16 with a
/// byte order mark, or (with a Macintosh language code) Mac Roman.
fn quicktime_string(fields: &mut Fields<'_>) -> Result<String> {
    let len = fields.u16()?;
    let _language = fields.u16()?;
    let left = fields.rest().len();
    fields.take(usize::from(len).min(left)).map(text::guess)
}

/// A 3GPP string: UTF-8, or UTF-16 with a byte order mark, up to a NUL (after which an album has a track number).
fn terminated(bytes: &[u8]) -> String {
    if bytes.starts_with(&[0xFE, 0xFF]) || bytes.starts_with(&[0xFF, 0xFE]) {
        let text = text::utf16(bytes);
        return text.split('\0').next().unwrap_or_default().to_owned();
    }
    text::guess(bytes.split(|&b| b == 0).next().unwrap_or_default())
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

    fn read(boxes: &[(Place, Vec<u8>)]) -> Metadata {
        let boxes = boxes.iter().map(|(place, payload)| RawBox {
            place: *place,
            at: 1000,
            payload: payload.clone(),
        });
        super::read(&RawMetadata {
            boxes: boxes.collect(),
        })
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
        let plain: [(&[u8; 4], &str); 20] = [
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
            (b"\xA9pub", "publisher"),
            (b"\xA9enc", "encoded_by"),
        ];
        let special: [(&[u8; 4], Vec<u8>, &str, &str); 14] = [
            (b"\xA9nam", text("Tïtel"), "title", "Tïtel"),
            (b"\xA9ART", data(2, b"\0a\x59\x27"), "artist", "a大"),
            (b"\xA9alb", data(0, b"no type"), "album", "no type"),
            (b"\xA9gen", data(18, b"Audiobook"), "genre", "Audiobook"),
            (b"\xA9day", text("2006"), "date", "2006"),
            (b"trkn", data(0, b"\0\0\0\x03\0\x0c\0\0"), "track", "3/12"),
            (b"disk", data(0, b"\0\0\0\x01\0\0"), "disc", "1"),
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
        ];
        assert_eq!(values_of(&itunes(&zeros)), []);
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
                ("genre", "Rock"),
                ("description", "No NUL"),
                ("copyright", "Me"),
                ("date", "1999"),
            ])
        );
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
