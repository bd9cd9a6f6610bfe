//! The ID3v2 tag before the audio (<https://id3.org/id3v2.4.0-structure>, `-frames`; id3v2-chapters-1.0).
//!
//! The `id3` crate lays out the bytes of text. This module decides which frame holds what in each version, and writes
//! pictures, which may be large, straight into the tag.

use std::iter;
use std::time::Duration;

use id3::frame::{Comment, ExtendedText, Lyrics, TableOfContents, UniqueFileIdentifier, Unknown};
use id3::{Content, Encoder, Encoding, Frame, Tag, Version};

use crate::error::{Error, Result};
use crate::tags::{Chapter, Cover, Id3Version, Key, Metadata};

/// Empty bytes after the frames: room for a tag editor to work without moving the audio.
const PADDING: usize = 1024;

/// The sizes of a tag and its frames have 28 bits.
const MAX_SIZE: usize = 1 << 28;

/// A table of contents counts its entries in one byte.
const MAX_ENTRIES: usize = 255;

/// Bytes of the header of the tag, and of each frame.
const HEADER: usize = 10;

/// The language of comments and lyrics, which MP4 does not give: "not known" in ID3v2.4.
const LANGUAGE: &str = "XXX";

/// The tag for `metadata`, with some padding after it; no bytes if there is nothing to tag. The same metadata always
/// gives the same bytes.
///
/// # Errors
/// [`Error::InvalidOption`] if the tag is too large for ID3v2 (256 MiB).
pub fn encode(metadata: &Metadata, version: Id3Version) -> Result<Vec<u8>> {
    let tag = encode_bare(metadata, version)?;
    match tag.len() {
        0 => Ok(tag),
        len => pad(tag, len + PADDING),
    }
}

/// As [`encode`], in exactly `size` bytes: to write it again in place, once the audio has been measured.
///
/// # Errors
/// [`Error::InvalidOption`] also if `size` bytes cannot hold it.
pub fn encode_within(metadata: &Metadata, version: Id3Version, size: usize) -> Result<Vec<u8>> {
    pad(encode_bare(metadata, version)?, size)
}

fn encode_bare(metadata: &Metadata, version: Id3Version) -> Result<Vec<u8>> {
    let writer = TagWriter { version };
    let text = writer.encoded(writer.text(metadata))?;
    let pictures: usize = metadata.covers.iter().map(picture_len).sum();
    let chapters: usize = metadata.chapters.iter().map(chapter_len).sum();
    // At once: a tag that grows is copied again and again.
    let mut tag = Vec::with_capacity(HEADER + text.len() + pictures + chapters + PADDING);
    tag.extend(match version {
        Id3Version::V23 => *b"ID3\x03\0\0\0\0\0\0",
        Id3Version::V24 => *b"ID3\x04\0\0\0\0\0\0",
    });
    tag.extend(text);
    for (i, cover) in metadata.covers.iter().enumerate() {
        // Only their descriptions distinguish them, and no player reads those.
        let description = match i {
            0 => String::new(),
            _ => (i + 1).to_string(),
        };
        writer.push_picture(&mut tag, FRONT_COVER, &description, cover)?;
    }
    writer.push_chapters(&mut tag, &metadata.chapters)?;
    if tag.len() == HEADER {
        tag.clear();
    }
    Ok(tag)
}

/// The picture types of `APIC`.
const OTHER: u8 = 0;
const FRONT_COVER: u8 = 3;

/// At least the bytes of its frame.
fn picture_len(cover: &Cover) -> usize {
    HEADER + 32 + cover.data().len()
}

/// About the bytes of its frames.
fn chapter_len(chapter: &Chapter) -> usize {
    let picture = chapter.picture.as_ref().map_or(0, picture_len);
    5 * HEADER + 64 + chapter.title.len() + picture
}

/// Pads `tag` to `size` bytes.
fn pad(mut tag: Vec<u8>, size: usize) -> Result<Vec<u8>> {
    if tag.len() >= MAX_SIZE || size >= MAX_SIZE {
        return Err(too_large(tag.len(), MAX_SIZE));
    }
    if tag.len() > size {
        return Err(too_large(tag.len(), size));
    }
    tag.resize(size, 0);
    if let Some(field) = tag.get_mut(6..10) {
        let behind_header = size - HEADER;
        for (i, byte) in field.iter_mut().rev().enumerate() {
            *byte = (behind_header >> (7 * i)) as u8 & 0x7F;
        }
    }
    Ok(tag)
}

fn too_large(len: usize, limit: usize) -> Error {
    Error::InvalidOption(format!(
        "the tags take {len} bytes, and there is room for {limit}"
    ))
}

struct TagWriter {
    version: Id3Version,
}

impl TagWriter {
    fn crate_version(&self) -> Version {
        match self.version {
            Id3Version::V23 => Version::Id3v23,
            Id3Version::V24 => Version::Id3v24,
        }
    }

    /// The bytes of `frames`.
    fn encoded(&self, frames: Vec<Frame>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if !frames.is_empty() {
            Encoder::new()
                .version(self.crate_version())
                .encode(&Tag::from_iter(frames), &mut bytes)
                .map_err(|e| {
                    Error::InvalidOption(format!("the tags cannot be written as ID3: {e}"))
                })?;
            bytes.drain(..HEADER);
        }
        Ok(bytes)
    }

    /// The header of a frame with a body of `len` bytes: their number has four times seven bits in ID3v2.4.
    fn push_header(&self, tag: &mut Vec<u8>, id: [u8; 4], len: usize) -> Result<()> {
        if len >= MAX_SIZE {
            return Err(too_large(len, MAX_SIZE));
        }
        let bits = match self.version {
            Id3Version::V23 => 8,
            Id3Version::V24 => 7,
        };
        tag.extend(id);
        tag.extend([3, 2, 1, 0].map(|place| (len >> (bits * place)) as u8 & (0xFF >> (8 - bits))));
        tag.extend([0, 0]);
        Ok(())
    }

    fn push_picture(
        &self,
        tag: &mut Vec<u8>,
        kind: u8,
        description: &str,
        cover: &Cover,
    ) -> Result<()> {
        // Old players fail on a description in UTF-16 and, in ID3v2.4, in UTF-8: this is Latin-1.
        let head = [
            &[0],
            cover.mime().as_bytes(),
            &[0, kind],
            description.as_bytes(),
            &[0],
        ]
        .concat();
        self.push_header(tag, *b"APIC", head.len() + cover.data().len())?;
        tag.extend(head);
        tag.extend_from_slice(cover.data());
        Ok(())
    }

    /// Text first, for players that read only the beginning; pictures and chapters follow.
    fn text(&self, metadata: &Metadata) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (key, values) in metadata.tags.grouped() {
            self.push_tag(&mut frames, key, &values);
        }
        frames
    }

    fn push_tag(&self, frames: &mut Vec<Frame>, key: &Key, values: &[&str]) {
        let first = values.first().copied().unwrap_or_default();
        let frame = match (key, self.version) {
            (Key::Other(name), _) => self.own_text(name, values),
            (Key::Comment, _) => self.comment(&values.join("\n")),
            (Key::Lyrics, _) => self.lyrics(&values.join("\n")),
            (Key::MusicBrainzTrackId, _) if first.len() <= 64 => musicbrainz_id(first),
            (Key::MusicBrainzTrackId, _) => self.own_text("MusicBrainz Track Id", values),
            (Key::Movement | Key::MovementName, _) => self.movement(key.frame(), first),
            (Key::Podcast, _) => self.podcast(),
            (Key::Frame(id), _) if id.is_link() => Frame::link(id.as_str(), first),
            (Key::Date, Id3Version::V23) => return self.push_date_of_2_3(frames, first),
            (Key::OriginalDate, Id3Version::V23) => self.words("TORY", &[year(first)]),
            (Key::Mood, Id3Version::V23) => self.own_text("MOOD", values),
            (Key::Date | Key::OriginalDate, Id3Version::V24) => {
                self.words(key.frame(), &[timestamp(first)])
            }
            _ => self.words(key.frame(), values),
        };
        frames.push(frame);
    }

    fn words(&self, id: &str, values: &[&str]) -> Frame {
        let text = self.join(values);
        let encoding = self.encoding(&text);
        Frame::text(id, text).set_encoding(Some(encoding))
    }

    fn own_text(&self, name: &str, values: &[&str]) -> Frame {
        let value = self.join(values);
        let encoding = self.encoding(&format!("{name}{value}"));
        let text = ExtendedText {
            description: name.to_owned(),
            value,
        };
        Frame::from(text).set_encoding(Some(encoding))
    }

    fn comment(&self, text: &str) -> Frame {
        let comment = Comment {
            lang: LANGUAGE.to_owned(),
            description: String::new(),
            text: text.to_owned(),
        };
        Frame::from(comment).set_encoding(Some(self.encoding(text)))
    }

    fn lyrics(&self, text: &str) -> Frame {
        let lyrics = Lyrics {
            lang: LANGUAGE.to_owned(),
            description: String::new(),
            text: text.to_owned(),
        };
        Frame::from(lyrics).set_encoding(Some(self.encoding(text)))
    }

    /// iTunes' `MVNM` and `MVIN`: text frames whose identifiers do not begin with `T`.
    fn movement(&self, id: &str, text: &str) -> Frame {
        let data = match self.encoding(text) {
            Encoding::UTF16 => {
                let units = iter::once(0xFEFF).chain(text.encode_utf16());
                iter::once(1)
                    .chain(units.flat_map(u16::to_le_bytes))
                    .collect()
            }
            Encoding::UTF8 => [&[3], text.as_bytes()].concat(),
            _ => [&[0], text.as_bytes()].concat(),
        };
        let version = self.crate_version();
        Frame::with_content(id, Content::Unknown(Unknown { data, version }))
    }

    /// iTunes' `PCST`, whose presence says that it is a podcast: it writes four zero bytes.
    fn podcast(&self) -> Frame {
        let (data, version) = (vec![0; 4], self.crate_version());
        Frame::with_content("PCST", Content::Unknown(Unknown { data, version }))
    }

    /// ID3v2.3 splits a date: `TYER` (yyyy), `TDAT` (ddMM), `TIME` (HHmm).
    fn push_date_of_2_3(&self, frames: &mut Vec<Frame>, date: &str) {
        frames.push(self.words("TYER", &[year(date)]));
        if let (Some(month), Some(day)) = (digits(date, 5, '-'), digits(date, 8, '-')) {
            frames.push(self.words("TDAT", &[&format!("{day}{month}")]));
            if let (Some(hour), Some(minute)) = (digits(date, 11, 'T'), digits(date, 14, ':')) {
                frames.push(self.words("TIME", &[&format!("{hour}{minute}")]));
            }
        }
    }

    /// Several values of one frame: separated by NUL in ID3v2.4, by a slash in 2.3.
    fn join(&self, values: &[&str]) -> String {
        values.join(match self.version {
            Id3Version::V23 => "/",
            Id3Version::V24 => "\0",
        })
    }

    /// ID3v2.3 has no UTF-8, and players read its Latin-1 in the code page of their user: anything beyond ASCII is
    /// UTF-16.
    fn encoding(&self, text: &str) -> Encoding {
        match self.version {
            Id3Version::V24 => Encoding::UTF8,
            Id3Version::V23 if text.is_ascii() => Encoding::Latin1,
            Id3Version::V23 => Encoding::UTF16,
        }
    }

    /// A `CHAP` frame for each chapter, and the table of contents that orders them: one level if its count allows,
    /// otherwise two.
    fn push_chapters(&self, tag: &mut Vec<u8>, chapters: &[Chapter]) -> Result<()> {
        if chapters.is_empty() {
            return Ok(());
        }
        let chapters = &chapters[..chapters.len().min(MAX_ENTRIES * MAX_ENTRIES)];
        let elements: Vec<String> = (0..chapters.len()).map(|i| format!("chp{i}")).collect();
        let mut tables = Vec::new();
        if elements.len() <= MAX_ENTRIES {
            tables.push(contents("toc", true, elements));
        } else {
            let parts = elements.chunks(MAX_ENTRIES).enumerate();
            let (names, parts): (Vec<_>, Vec<_>) = parts
                .map(|(i, part)| {
                    (
                        format!("toc{i}"),
                        contents(&format!("toc{i}"), false, part.to_vec()),
                    )
                })
                .unzip();
            tables.push(contents("toc", true, names));
            tables.extend(parts);
        }
        tag.extend(self.encoded(tables)?);
        let mut chapters = chapters.iter().enumerate();
        chapters.try_for_each(|(i, chapter)| self.push_chapter(tag, i, chapter))
    }

    /// An identifier, four times, and frames of its own (id3v2-chapters-1.0, 3.1).
    fn push_chapter(&self, tag: &mut Vec<u8>, index: usize, chapter: &Chapter) -> Result<()> {
        let begin = tag.len();
        self.push_header(tag, *b"CHAP", 0)?;
        tag.extend(format!("chp{index}\0").bytes());
        tag.extend(milliseconds(chapter.start).to_be_bytes());
        tag.extend(milliseconds(chapter.end).to_be_bytes());
        // No byte offsets: the times count.
        tag.extend([0xFF; 8]);
        if !chapter.title.is_empty() {
            let title = self.words("TIT2", &[&chapter.title]);
            tag.extend(self.encoded(vec![title])?);
        }
        if let Some(picture) = &chapter.picture {
            self.push_picture(tag, OTHER, "", picture)?;
        }
        let mut header = Vec::with_capacity(HEADER);
        self.push_header(&mut header, *b"CHAP", tag.len() - begin - HEADER)?;
        tag[begin..begin + HEADER].copy_from_slice(&header);
        Ok(())
    }
}

fn contents(id: &str, top_level: bool, elements: Vec<String>) -> Frame {
    Frame::from(TableOfContents {
        element_id: id.to_owned(),
        top_level,
        ordered: true,
        elements,
        frames: Vec::new(),
    })
}

fn musicbrainz_id(id: &str) -> Frame {
    Frame::from(UniqueFileIdentifier {
        owner_identifier: "http://musicbrainz.org".to_owned(),
        identifier: id.as_bytes().to_vec(),
    })
}

fn milliseconds(time: Duration) -> u32 {
    let rounded = (time.as_nanos() + 500_000) / 1_000_000;
    u32::try_from(rounded).unwrap_or(u32::MAX)
}

/// `date` as an ID3v2.4 timestamp (`yyyy-MM-ddTHH:mm:ss` or a prefix of it). It has no time zone: UTC is assumed, so
/// of a date in another zone only the day is kept. Other text stays as it is.
fn timestamp(date: &str) -> &str {
    let is_full = |at, mark| digits(date, at, mark).is_some();
    if !(is_full(5, '-') && is_full(8, '-') && is_full(11, 'T')) {
        return date;
    }
    match date.get(19..) {
        None => date,
        Some("" | "Z") => &date[..19],
        Some(zone) if zone.starts_with('.') && zone.ends_with('Z') => &date[..19],
        Some(_) => &date[..10],
    }
}

/// The first four characters if they are a year, otherwise the whole text.
fn year(date: &str) -> &str {
    date.get(..4)
        .filter(|year| year.bytes().all(|b| b.is_ascii_digit()))
        .unwrap_or(date)
}

/// Two digits at byte `at` of `date`, with `mark` before them.
fn digits(date: &str, at: usize, mark: char) -> Option<&str> {
    let two = date.get(at..at + 2)?;
    let marked = date.get(at - 1..at)?.starts_with(mark);
    (marked && two.bytes().all(|b| b.is_ascii_digit())).then_some(two)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tags::{FrameId, Tags};

    fn metadata(items: &[(Key, &str)]) -> Metadata {
        Metadata {
            tags: items
                .iter()
                .map(|(k, v)| (k.clone(), (*v).to_owned()))
                .collect::<Tags>(),
            ..Metadata::default()
        }
    }

    fn read_back(metadata: &Metadata, version: Id3Version) -> Tag {
        Tag::read_from2(std::io::Cursor::new(encode(metadata, version).unwrap())).unwrap()
    }

    /// The text of every frame, by its identifier.
    fn texts(items: &[(Key, &str)], version: Id3Version) -> Vec<(String, String)> {
        let text = |frame: &Frame| {
            let text = match frame.content() {
                Content::Text(text) | Content::Link(text) => text.clone(),
                Content::ExtendedText(text) => format!("{}={}", text.description, text.value),
                Content::Comment(comment) => format!("{}:{}", comment.lang, comment.text),
                Content::Lyrics(lyrics) => format!("{}:{}", lyrics.lang, lyrics.text),
                Content::UniqueFileIdentifier(id) => {
                    format!("{}={}", id.owner_identifier, id.identifier.escape_ascii())
                }
                Content::Unknown(unknown) => unknown.data.escape_ascii().to_string(),
                other => panic!("{other}"),
            };
            (frame.id().to_owned(), text)
        };
        read_back(&metadata(items), version)
            .frames()
            .map(text)
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    fn book(chapters: usize) -> Metadata {
        let at = |i: usize| Duration::from_millis(1500 * i as u64);
        Metadata {
            chapters: (0..chapters)
                .map(|i| Chapter::new(at(i), at(i + 1), format!("Kapitel {i}")))
                .collect(),
            ..Metadata::default()
        }
    }

    #[test]
    fn each_key_has_its_frame() {
        let frame = Key::Frame(FrameId::new("TOFN").unwrap());
        let link = Key::Frame(FrameId::new("WOAR").unwrap());
        let rows = [
            (Key::Title, "Tïtel 大", "TIT2", "Tïtel 大"),
            (Key::Artist, "AC/DC", "TPE1", "AC/DC"),
            (Key::AlbumArtist, "a", "TPE2", "a"),
            (Key::Album, "a", "TALB", "a"),
            (Key::Composer, "a", "TCOM", "a"),
            (Key::Lyricist, "a", "TEXT", "a"),
            (Key::Genre, "Rock", "TCON", "Rock"),
            (
                Key::Date,
                "2006-07-31T07:00:00Z",
                "TDRC",
                "2006-07-31T07:00:00",
            ),
            (Key::Track, "3/12", "TRCK", "3/12"),
            (Key::Disc, "1", "TPOS", "1"),
            (Key::Grouping, "a", "TIT1", "a"),
            (Key::Comment, "a", "COMM", "XXX:a"),
            (Key::Lyrics, "a\nb", "USLT", "XXX:a\nb"),
            (Key::Copyright, "a", "TCOP", "a"),
            (Key::Bpm, "120", "TBPM", "120"),
            (Key::Compilation, "1", "TCMP", "1"),
            (Key::ArtistSort, "a", "TSOP", "a"),
            (Key::AlbumSort, "a", "TSOA", "a"),
            (Key::TitleSort, "a", "TSOT", "a"),
            (Key::AlbumArtistSort, "a", "TSO2", "a"),
            (Key::ComposerSort, "a", "TSOC", "a"),
            (Key::Description, "a", "TIT3", "a"),
            (Key::Podcast, "1", "PCST", r"\x00\x00\x00\x00"),
            (Key::MovementName, "é", "MVNM", r"\x03\xc3\xa9"),
            (Key::Movement, "2/4", "MVIN", r"\x032/4"),
            (Key::Isrc, "DEXX1", "TSRC", "DEXX1"),
            (Key::Publisher, "a", "TPUB", "a"),
            (
                Key::MusicBrainzTrackId,
                "1f-2",
                "UFID",
                "http://musicbrainz.org=1f-2",
            ),
            (Key::Other("Catalogue".into()), "a", "TXXX", "Catalogue=a"),
            (
                Key::Encoder,
                "Micropy 1, LAME3.100",
                "TSSE",
                "Micropy 1, LAME3.100",
            ),
            (frame, "a.mp4", "TOFN", "a.mp4"),
            (link, "https://example.org/", "WOAR", "https://example.org/"),
        ];
        let items: Vec<_> = rows
            .iter()
            .map(|(key, value, ..)| (key.clone(), *value))
            .collect();
        let expected: Vec<_> = rows
            .iter()
            .map(|(_, _, frame, text)| (*frame, *text))
            .collect();
        assert_eq!(texts(&items, Id3Version::V24), pairs(&expected));
    }

    #[test]
    fn version_2_3_has_frames_of_its_own() {
        assert_eq!(
            texts(
                &[
                    (Key::Title, "Tïtel 大"),
                    (Key::Artist, "a"),
                    (Key::Artist, "b"),
                    (Key::Date, "2006-07-31T07:05:00Z"),
                    (Key::OriginalDate, "1999-01"),
                    (Key::Mood, "calm"),
                    (Key::MovementName, "é"),
                ],
                Id3Version::V23
            ),
            pairs(&[
                ("TIT2", "Tïtel 大"),
                // Written with a slash, at which the crate's reader splits it again.
                ("TPE1", "a\0b"),
                ("TYER", "2006"),
                ("TDAT", "3107"),
                ("TIME", "0705"),
                ("TORY", "1999"),
                ("TXXX", "MOOD=calm"),
                ("MVNM", r"\x01\xff\xfe\xe9\x00"),
            ])
        );
    }

    #[test]
    fn several_values_share_one_frame() {
        let items = [
            (Key::Artist, "a"),
            (Key::Comment, "one"),
            (Key::Artist, "b"),
            (Key::Comment, "two"),
        ];
        let expected = pairs(&[("TPE1", "a\0b"), ("COMM", "XXX:one\ntwo")]);
        assert_eq!(texts(&items, Id3Version::V24), expected);
    }

    #[test]
    fn a_timestamp_has_no_zone() {
        for (date, written) in [
            ("1987", "1987"),
            ("1987-05", "1987-05"),
            ("2020-01-31T23:59", "2020-01-31T23:59"),
            ("2020-01-31T23:59:58.25Z", "2020-01-31T23:59:58"),
            ("2020-01-31T23:59:58+0200", "2020-01-31"),
            (
                "circa 1850, in Köln am Rhein",
                "circa 1850, in Köln am Rhein",
            ),
        ] {
            assert_eq!(timestamp(date), written);
        }
    }

    #[test]
    fn a_year_is_four_digits_or_the_text_as_it_is() {
        for (date, written) in [
            ("2006-07", "2006"),
            ("2006", "2006"),
            ("06", "06"),
            ("été 68", "été 68"),
        ] {
            assert_eq!(year(date), written);
        }
    }

    #[test]
    fn a_cover_is_the_front_cover_byte_for_byte() {
        let jpeg: Vec<u8> = [0xFF, 0xD8, 0xFF, 0xE0]
            .into_iter()
            .chain((0..=255).cycle().take(70_000))
            .collect();
        let mut with_cover = metadata(&[]);
        with_cover.covers = vec![
            Cover::new(jpeg.clone()).unwrap(),
            Cover::new(b"\x89PNG\r\n\x1a\n".to_vec()).unwrap(),
        ];
        let png = b"\x00image/png\0\x032\0\x89PNG\r\n\x1a\n".to_vec();
        let expected = [[b"\x00image/jpeg\0\x03\0", &jpeg[..]].concat(), png];
        for version in [Id3Version::V23, Id3Version::V24] {
            let tag = read_back(&with_cover, version);
            let written = tag
                .frames()
                .map(|f| f.content().to_unknown().unwrap().data.clone());
            assert!(tag.frames().all(|f| f.id() == "APIC"));
            assert!(written.eq(expected.clone()));
        }
    }

    #[test]
    fn sizes_of_chapters_are_synchsafe_in_2_4_only() {
        let mut long = book(1);
        long.chapters[0].title = "x".repeat(300);
        // `CHAP` and, after the identifier and four times, its `TIT2`.
        let sizes = |version| {
            let bytes = encode(&long, version).unwrap();
            let size_after = |id: &[u8]| {
                let at = bytes.windows(4).position(|w| w == id).unwrap();
                bytes[at + 4..at + 8].to_vec()
            };
            (size_after(b"CHAP"), size_after(b"TIT2"))
        };
        // 5 + 16 + 10 + 301 = 332 = 2·128 + 76; 301 = 2·128 + 45.
        assert_eq!(
            sizes(Id3Version::V24),
            (vec![0, 0, 2, 76], vec![0, 0, 2, 45])
        );
        assert_eq!(
            sizes(Id3Version::V23),
            (vec![0, 0, 1, 76], vec![0, 0, 1, 45])
        );
    }

    #[test]
    fn the_picture_of_a_chapter_is_in_its_frame() {
        let mut with_pictures = book(3);
        let jpeg = [&[0xFF, 0xD8, 0xFF, 0xE0][..], &[7; 70_000]].concat();
        with_pictures.chapters[1].picture = Cover::new(jpeg.clone()).ok();
        for version in [Id3Version::V23, Id3Version::V24] {
            let tag = read_back(&with_pictures, version);
            // The frames after the titles.
            let others: Vec<_> = tag
                .chapters()
                .map(|chapter| {
                    let told = |frame: &Frame| {
                        let content = frame.content().to_unknown().unwrap();
                        (frame.id().to_owned(), content.data.clone())
                    };
                    chapter.frames.iter().skip(1).map(told).collect::<Vec<_>>()
                })
                .collect();
            let picture = [&b"\0image/jpeg\0\0\0"[..], &jpeg].concat();
            assert!(others == [vec![], vec![("APIC".to_owned(), picture)], vec![]]);
            assert!(
                tag.chapters()
                    .all(|chapter| chapter.frames[0].id() == "TIT2")
            );
        }
    }

    #[test]
    fn chapters_are_in_the_table_of_contents_in_order() {
        let tag = read_back(&book(3), Id3Version::V24);
        let toc: Vec<_> = tag.tables_of_contents().collect();
        assert_eq!(toc.len(), 1);
        assert!(toc[0].top_level && toc[0].ordered);
        assert_eq!(toc[0].elements, ["chp0", "chp1", "chp2"]);
        let last = tag.chapters().last().unwrap();
        assert_eq!((last.start_time, last.end_time), (3000, 4500));
        assert_eq!(last.frames[0].content().text(), Some("Kapitel 2"));
    }

    #[test]
    fn ten_thousand_chapters_are_nested() {
        let tag = read_back(&book(10_000), Id3Version::V24);
        let toc: Vec<_> = tag.tables_of_contents().collect();
        assert_eq!(toc[0].elements.len(), 10_000usize.div_ceil(255));
        assert_eq!(toc.iter().filter(|t| t.top_level).count(), 1);
        let leaves = toc[1..].iter().flat_map(|t| &t.elements);
        assert!(leaves.eq(tag.chapters().map(|chapter| &chapter.element_id)));
        assert_eq!(tag.chapters().count(), 10_000);
    }

    #[test]
    fn empty_metadata_is_no_tag() {
        assert!(encode(&metadata(&[]), Id3Version::V24).unwrap().is_empty());
    }

    #[test]
    fn a_tag_is_the_same_each_time_and_can_be_written_again_in_place() {
        let before = metadata(&[
            (Key::Title, "a"),
            (Key::Other("REPLAYGAIN_TRACK_GAIN".into()), "-7.00 dB"),
        ]);
        let after = metadata(&[
            (Key::Title, "a"),
            (Key::Other("REPLAYGAIN_TRACK_GAIN".into()), "-12.34 dB"),
        ]);
        let first = encode(&before, Id3Version::V24).unwrap();
        assert_eq!(first, encode(&before, Id3Version::V24).unwrap());
        let second = encode_within(&after, Id3Version::V24, first.len()).unwrap();
        assert_eq!(second.len(), first.len());
        let tag = Tag::read_from2(std::io::Cursor::new(&second)).unwrap();
        assert_eq!(tag.extended_texts().next().unwrap().value, "-12.34 dB");
        assert!(encode_within(&after, Id3Version::V24, 20).is_err());
        assert!(encode_within(&after, Id3Version::V24, MAX_SIZE).is_err());
    }

    #[test]
    fn the_header_counts_frames_and_padding() {
        let tag = encode(
            &metadata(&[(Key::Title, &"x".repeat(5000))]),
            Id3Version::V24,
        )
        .unwrap();
        assert_eq!(&tag[..6], b"ID3\x04\x00\x00");
        let size = tag[6..10]
            .iter()
            .fold(0, |size, &b| size << 7 | usize::from(b));
        assert_eq!(size, tag.len() - 10);
        assert_eq!(tag.len(), 10 + 10 + 1 + 5000 + PADDING);
    }

    #[test]
    fn times_are_rounded_to_the_millisecond() {
        assert_eq!(milliseconds(Duration::from_micros(1499)), 1);
        assert_eq!(milliseconds(Duration::from_micros(1500)), 2);
        assert_eq!(milliseconds(Duration::MAX), u32::MAX);
    }
}
