//! An ID3v2 tag in an `ID32` box (MP4 registration authority, "ID3 in MPEG-4"; id3.org, ID3v2.3.0 and ID3v2.4.0).
//!
//! The `id3` crate, which writes our tags, allocates what a frame declares before it reads it. Here, a frame is never
//! more than the bytes that are there.

use std::borrow::Cow;

use super::boxes::SliceBox;
use super::text;
use crate::error::{Error, Result};
use crate::tags::{FrameId, Key, genre_name};

/// What a frame says.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A tag.
    Text {
        /// What it is.
        key: Key,
        /// The place of the frame, or of the name, among those that mean the key: the lowest counts.
        place: u8,
        /// Its name, for a custom one (`TXXX`).
        name: Option<String>,
        /// The text.
        value: String,
    },
    /// An attached picture.
    Picture(&'a [u8]),
}

/// Bytes of the header of the tag, and of each frame.
const HEADER: usize = 10;

/// Calls `visit` with what each frame of the `ID32` box says. Compressed and encrypted frames are passed over, and so
/// are those about the length and the form of the audio, which is another afterwards.
///
/// # Errors
/// [`Error::Malformed`] for another version than 2.3 and 2.4, or at the first frame that does not fit.
pub fn read(id32: &SliceBox<'_>, mut visit: impl FnMut(Frame<'_>)) -> Result<()> {
    let malformed = |why: &str| Error::malformed(id32.at, "ID32", why);
    // Version and flags of the box, and a language.
    let tag = id32.payload.get(6..).unwrap_or_default();
    let (header, rest) = tag
        .split_first_chunk::<HEADER>()
        .filter(|(header, _)| header.starts_with(b"ID3"))
        .ok_or_else(|| malformed("it holds no ID3v2 tag"))?;
    let &[_, _, _, version, _, flags, size @ ..] = header;
    if !matches!(version, 3 | 4) {
        return Err(malformed("its ID3v2 tag is neither of version 2.3 nor 2.4"));
    }
    let is_24 = version == 4;
    let frames = &rest[..synchsafe(size).min(rest.len())];
    let frames = match flags & 0x80 != 0 && !is_24 {
        true => without_unsynchronisation(frames),
        false => Cow::Borrowed(frames),
    };
    let mut rest = match (flags & 0x40 != 0, frames.first_chunk()) {
        (true, Some(&size)) => {
            // The size of the extended header counts its own four bytes in version 2.4 alone.
            let len = match is_24 {
                true => synchsafe(size),
                false => (u32::from_be_bytes(size) as usize).saturating_add(4),
            };
            frames.get(len..).unwrap_or_default()
        }
        _ => &frames[..],
    };
    // Behind the last frame is padding.
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER>()
        && header[0] != 0
    {
        let &[a, b, c, d, size @ .., _, flags] = header;
        let size: [u8; 4] = size;
        let len = match is_24 {
            true => synchsafe(size),
            false => u32::from_be_bytes(size) as usize,
        };
        let (content, behind) = behind
            .split_at_checked(len)
            .ok_or_else(|| malformed("one of its frames goes past its end"))?;
        if let Some(content) = plain_content(content, flags, is_24) {
            read_frame([a, b, c, d], &content, &mut visit);
        }
        rest = behind;
    }
    Ok(())
}

/// 28 bits in four bytes.
fn synchsafe(bytes: [u8; 4]) -> usize {
    bytes
        .iter()
        .fold(0, |size, &byte| size << 7 | usize::from(byte & 0x7F))
}

/// The content of a frame with these format flags; `None` if it is compressed or encrypted.
fn plain_content(content: &[u8], flags: u8, is_24: bool) -> Option<Cow<'_, [u8]>> {
    let (coded, grouped) = match is_24 {
        true => (flags & 0x0C, flags & 0x40),
        false => (flags & 0xC0, flags & 0x20),
    };
    if coded != 0 {
        return None;
    }
    let (unsynchronised, with_length) = match is_24 {
        true => (flags & 2 != 0, flags & 1 != 0),
        false => (false, false),
    };
    let skipped = usize::from(grouped != 0) + 4 * usize::from(with_length);
    let content = content.get(skipped..)?;
    Some(match unsynchronised {
        true => without_unsynchronisation(content),
        false => Cow::Borrowed(content),
    })
}

/// `bytes` without the zero that follows every 0xFF.
fn without_unsynchronisation(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut before = 0;
    let kept = bytes.iter().copied().filter(|&byte| {
        let is_added = before == 0xFF && byte == 0;
        before = byte;
        !is_added
    });
    Cow::Owned(kept.collect())
}

fn read_frame(id: [u8; 4], content: &[u8], visit: &mut impl FnMut(Frame<'_>)) {
    let Some((&encoding, text)) = content.split_first() else {
        return;
    };
    let mut say = |key, place, name, value| {
        let frame = Frame::Text {
            key,
            place,
            name,
            value,
        };
        visit(frame);
    };
    match &id {
        b"TLEN" | b"TSIZ" | b"TDLY" | b"TFLT" => {}
        b"TXXX" => {
            let (name, value) = split(encoding, text);
            let name = decoded(encoding, name);
            let (key, place) = Key::ranked(&name);
            for value in strings(encoding, value) {
                say(key.clone(), place, Some(name.clone()), value);
            }
        }
        b"COMM" | b"USLT" => {
            // A language, then a description.
            let (description, value) = split(encoding, text.get(3..).unwrap_or_default());
            let is_comment = id == *b"COMM";
            // iTunes keeps numbers for its player under such names.
            if !(is_comment && decoded(encoding, description).starts_with("iTun")) {
                let key = if is_comment {
                    Key::Comment
                } else {
                    Key::Lyrics
                };
                say(key, 0, None, decoded(encoding, value));
            }
        }
        b"UFID" => {
            if let Some(id) = content.strip_prefix(b"http://musicbrainz.org\0") {
                say(Key::MusicBrainzTrackId, 0, None, decoded(LATIN_1, id));
            }
        }
        b"APIC" => {
            let (_media_type, rest) = split(LATIN_1, text);
            let (_description, picture) = split(encoding, rest.get(1..).unwrap_or_default());
            visit(Frame::Picture(picture));
        }
        [b'T' | b'W', ..] => {
            let Ok(name) = str::from_utf8(&id) else {
                return;
            };
            let (key, place) = match (Key::ranked(name), FrameId::new(name)) {
                ((Key::Other(_), _), Some(id)) => (Key::Frame(id), 0),
                ((Key::Other(_), _), None) => return,
                (known, _) => known,
            };
            // A link has no encoding.
            let values = match id[0] {
                b'W' => strings(LATIN_1, content),
                _ => strings(encoding, text),
            };
            for value in values {
                let value = match key {
                    Key::Genre => genre(&value),
                    _ => value,
                };
                say(key.clone(), place, None, value);
            }
        }
        _ => {}
    }
}

/// The encoding byte of ISO-8859-1. 1 is UTF-16 with a byte order mark, 2 is without, 3 is UTF-8.
const LATIN_1: u8 = 0;

fn is_utf16(encoding: u8) -> bool {
    matches!(encoding, 1 | 2)
}

/// What is before the first NUL, and what is behind it.
fn split(encoding: u8, bytes: &[u8]) -> (&[u8], &[u8]) {
    let (len, width) = match is_utf16(encoding) {
        true => {
            let (units, _) = bytes.as_chunks::<2>();
            let at = units.iter().position(|unit| *unit == [0, 0]);
            (at.map(|at| 2 * at), 2)
        }
        false => (bytes.iter().position(|&byte| byte == 0), 1),
    };
    match len {
        Some(len) => (&bytes[..len], &bytes[len + width..]),
        None => (bytes, &[]),
    }
}

/// The strings between NULs.
fn strings(encoding: u8, mut bytes: &[u8]) -> Vec<String> {
    let mut strings = Vec::new();
    while !bytes.is_empty() {
        let (string, behind) = split(encoding, bytes);
        if !string.is_empty() {
            strings.push(decoded(encoding, string));
        }
        bytes = behind;
    }
    strings
}

fn decoded(encoding: u8, bytes: &[u8]) -> String {
    match encoding {
        LATIN_1 => bytes.iter().copied().map(char::from).collect(),
        1 | 2 => text::utf16(bytes),
        _ => text::utf8(bytes),
    }
}

/// A genre may be its number in ID3v1's list, in version 2.3 in parentheses and with a name behind it.
fn genre(value: &str) -> String {
    let (number, name) = match value
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
    {
        Some(parts) => parts,
        None => (value, ""),
    };
    match number.parse().ok().and_then(genre_name) {
        Some(_) if !name.is_empty() => name.to_owned(),
        Some(listed) => listed,
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mp4::boxes::FourCc;

    fn frame(id: &[u8; 4], flags: u8, content: &[u8]) -> Vec<u8> {
        let size = [0, 0, (content.len() >> 7) as u8, content.len() as u8 & 0x7F];
        [&id[..], &size, &[0, flags], content].concat()
    }

    fn tag(version: u8, flags: u8, frames: &[Vec<u8>]) -> Vec<u8> {
        let frames = frames.concat();
        let size = [0, 0, (frames.len() >> 7) as u8, frames.len() as u8 & 0x7F];
        let head = [0, 0, 0, 0, 0x15, 0xC7];
        [&head[..], b"ID3", &[version, 0, flags], &size, &frames].concat()
    }

    /// What is found, as keys and values, pictures as `picture`.
    fn found(payload: &[u8]) -> (Vec<(String, String)>, Result<()>) {
        let id32 = SliceBox {
            kind: FourCc(*b"ID32"),
            at: 100,
            payload_at: 108,
            payload,
        };
        let mut found = Vec::new();
        let read = read(&id32, |frame| {
            found.push(match frame {
                Frame::Text { key, value, .. } => (key.to_string(), value),
                Frame::Picture(bytes) => ("picture".into(), format!("{bytes:?}")),
            });
        });
        (found, read)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn each_kind_of_frame_is_read() {
        let payload = tag(
            4,
            0,
            &[
                frame(b"TIT2", 0, b"\x03Title\0"),
                frame(b"TPE1", 0, b"\x01\xFF\xFEa\0\0\0\xFF\xFEb\0"),
                frame(b"TALB", 0, b"\0caf\xE9"),
                frame(b"TCON", 0, b"\x0317\0(9)\0(17)Krautrock\0Folk"),
                frame(b"TRCK", 1, b"\0\0\0\x04\x033/9"),
                frame(b"TXXX", 0, b"\x03My own\0c"),
                frame(b"TXXX", 0, b"\x03Label\0d"),
                frame(b"COMM", 0, b"\x03engabout\0e"),
                frame(b"COMM", 0, b"\x03engiTunNORM\0 0001"),
                frame(b"USLT", 0, b"\x02eng\0\0\0f"),
                frame(b"UFID", 0, b"http://musicbrainz.org\x001f"),
                frame(b"WOAR", 0, b"http://a"),
                frame(b"TOPE", 0, b"\x03g"),
                frame(b"TLEN", 0, b"\x031000"),
                frame(b"TMOO", 0x08, b"\x03compressed"),
                frame(b"APIC", 2, b"\x03image/jpeg\0\x03front\0\xFF\0\xD8\xFF\0"),
                vec![0; 30],
            ],
        );
        let (found, read) = found(&payload);
        assert!(read.is_ok());
        let expected = [
            ("title", "Title"),
            ("artist", "a"),
            ("artist", "b"),
            ("album", "café"),
            ("genre", "Rock"),
            ("genre", "Metal"),
            ("genre", "Krautrock"),
            ("genre", "Folk"),
            ("track", "3/9"),
            ("TXXX:My own", "c"),
            ("publisher", "d"),
            ("comment", "e"),
            ("lyrics", "f"),
            ("musicbrainz_track_id", "1f"),
            ("WOAR", "http://a"),
            ("TOPE", "g"),
            ("picture", "[255, 216, 255]"),
        ];
        assert_eq!(found, pairs(&expected));
    }

    #[test]
    fn version_2_3_has_other_sizes_and_one_unsynchronisation() {
        let mut long = frame(b"TIT2", 0, &[b'a'; 200]);
        long[4..8].copy_from_slice(&200u32.to_be_bytes());
        long[10] = 0;
        let album = frame(b"TALB", 0, b"\x01\xFF\0\xFEb\0");
        let mut payload = tag(3, 0x80, &[long, album]);
        // Its size is counted before the zero was added.
        let size = payload.windows(4).position(|w| w == b"TALB").unwrap() + 7;
        payload[size] -= 1;
        let (found, read) = found(&payload);
        assert!(read.is_ok(), "{read:?}");
        assert_eq!(found[1], ("album".into(), "b".into()));
        assert_eq!(found[0].1.len(), 199);
    }

    #[test]
    fn what_does_not_fit_is_an_error_after_what_does() {
        let mut broken = frame(b"TALB", 0, b"\x03b");
        broken[5] = 0x7F;
        let (kept, read) = found(&tag(4, 0, &[frame(b"TIT2", 0, b"\x03a"), broken]));
        assert_eq!(kept, pairs(&[("title", "a")]));
        let told = read.unwrap_err().to_string();
        assert!(told.contains("goes past its end"), "{told}");
        for payload in [
            &tag(2, 0, &[])[..],
            b"\0\0\0\0\0\0nothing of it",
            b"",
            b"\0\0\0",
        ] {
            assert!(found(payload).1.is_err(), "{payload:?}");
        }
    }

    #[test]
    fn no_byte_makes_it_panic() {
        let frames = [
            frame(b"TIT2", 0, b"\x01\xFF\xFEa\0"),
            frame(b"TXXX", 3, b"\0\0\0\x03\x03a\0b"),
            frame(b"COMM", 0, b"\x03engx\0y"),
            frame(b"APIC", 0, b"\x02image/png\0\x03\0\0xyz"),
        ];
        for version in [3, 4] {
            for flags in [0, 0x40, 0x80] {
                let whole = tag(version, flags, &frames);
                for at in 0..whole.len() {
                    for byte in [0, 1, 0x7F, 0x80, 0xFF] {
                        let mut bytes = whole.clone();
                        bytes[at] = byte;
                        found(&bytes).1.ok();
                    }
                    found(&whole[..at]).1.ok();
                }
            }
        }
    }
}
