//! The names of tags.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The name of a tag: the vocabulary that MP4 and ID3 share.
///
/// A key parses from and displays as its plain name (`title`, `album_artist`; case, `_`, `-` and spaces do not
/// matter), the identifier of its ID3v2.4 frame (`TPE3`), or `TXXX:Name` for a custom name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // The table below says it, and better.
pub enum Key {
    Title,
    Artist,
    Album,
    AlbumArtist,
    Composer,
    Lyricist,
    Conductor,
    Remixer,
    Genre,
    Date,
    OriginalDate,
    Track,
    Disc,
    Grouping,
    Description,
    Comment,
    Lyrics,
    Copyright,
    Publisher,
    Isrc,
    Bpm,
    InitialKey,
    Mood,
    Media,
    Language,
    Compilation,
    Movement,
    MovementName,
    TitleSort,
    ArtistSort,
    AlbumSort,
    AlbumArtistSort,
    ComposerSort,
    MusicBrainzTrackId,
    Podcast,
    EncodedBy,
    Encoder,
    /// Another text or link frame of ID3v2.4.
    Frame(FrameId),
    /// A custom name, of the user or the tagging program.
    Other(String),
}

/// Key, plain name, ID3v2.4 frame (<https://id3.org/id3v2.4.0-frames>; `TCMP`, `TSO2`, `TSOC`, `MVIN`, `MVNM` and
/// `PCST` are iTunes' own), other names in use, the better ones first.
const NAMES: &[(Key, &str, &str, &[&str])] = &[
    (Key::Title, "title", "TIT2", &["name"]),
    (Key::Artist, "artist", "TPE1", &["performer"]),
    (Key::Album, "album", "TALB", &[]),
    (Key::AlbumArtist, "album_artist", "TPE2", &["band"]),
    (Key::Composer, "composer", "TCOM", &["writer"]),
    (Key::Lyricist, "lyricist", "TEXT", &[]),
    (Key::Conductor, "conductor", "TPE3", &[]),
    (Key::Remixer, "remixer", "TPE4", &[]),
    (Key::Genre, "genre", "TCON", &[]),
    (Key::Date, "date", "TDRC", &["year", "TYER"]),
    (
        Key::OriginalDate,
        "original_date",
        "TDOR",
        &["original_year", "TORY", "orig_year"],
    ),
    (Key::Track, "track", "TRCK", &["track_number"]),
    (Key::Disc, "disc", "TPOS", &["disk", "disc_number"]),
    (Key::Grouping, "grouping", "TIT1", &["content_group"]),
    (Key::Description, "description", "TIT3", &["subtitle"]),
    (Key::Comment, "comment", "COMM", &["comments"]),
    (Key::Lyrics, "lyrics", "USLT", &[]),
    (Key::Copyright, "copyright", "TCOP", &[]),
    (Key::Publisher, "publisher", "TPUB", &["label"]),
    (Key::Isrc, "isrc", "TSRC", &[]),
    (Key::Bpm, "bpm", "TBPM", &["tempo"]),
    (Key::InitialKey, "initial_key", "TKEY", &["key"]),
    (Key::Mood, "mood", "TMOO", &[]),
    (Key::Media, "media", "TMED", &[]),
    (Key::Language, "language", "TLAN", &[]),
    (Key::Compilation, "compilation", "TCMP", &[]),
    (Key::Movement, "movement", "MVIN", &["movement_number"]),
    (Key::MovementName, "movement_name", "MVNM", &[]),
    (Key::TitleSort, "title_sort", "TSOT", &["sort_name"]),
    (Key::ArtistSort, "artist_sort", "TSOP", &["sort_artist"]),
    (Key::AlbumSort, "album_sort", "TSOA", &["sort_album"]),
    (
        Key::AlbumArtistSort,
        "album_artist_sort",
        "TSO2",
        &["sort_album_artist"],
    ),
    (
        Key::ComposerSort,
        "composer_sort",
        "TSOC",
        &["sort_composer"],
    ),
    (Key::MusicBrainzTrackId, "musicbrainz_track_id", "UFID", &[]),
    (Key::Podcast, "podcast", "PCST", &[]),
    (Key::EncodedBy, "encoded_by", "TENC", &[]),
    (Key::Encoder, "encoder", "TSSE", &["encoding_tool"]),
];

impl Key {
    /// The ID3v2.4 frame that holds it.
    pub(crate) fn frame(&self) -> &str {
        match self {
            Key::Frame(id) => id.as_str(),
            Key::Other(_) => "TXXX",
            _ => self.row().map_or("TXXX", |row| row.2),
        }
    }

    /// The key for a free name: a known key if it is the name of one, otherwise [`Key::Other`].
    pub(crate) fn from_free_name(name: &str) -> Key {
        Key::ranked(name).0
    }

    /// As [`Key::from_free_name`], with the place of the name among those of the key: where two of them are given, the
    /// lower one counts.
    pub(crate) fn ranked(name: &str) -> (Key, u8) {
        named(name).unwrap_or_else(|| (Key::Other(name.to_owned()), 0))
    }

    /// Whether it says how loud the audio is.
    pub(crate) fn is_loudness(&self) -> bool {
        let Key::Other(name) = self else { return false };
        let name = name.to_ascii_lowercase();
        name == "itunnorm" || name.starts_with("replaygain_") || name.starts_with("r128_")
    }

    fn row(&self) -> Option<&'static (Key, &'static str, &'static str, &'static [&'static str])> {
        NAMES.iter().find(|row| row.0 == *self)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Frame(id) => f.write_str(id.as_str()),
            Key::Other(name) => write!(f, "TXXX:{name}"),
            _ => f.write_str(self.row().map_or("", |row| row.1)),
        }
    }
}

impl FromStr for Key {
    type Err = Error;

    /// # Errors
    /// [`Error::InvalidOption`] for a name that [`Key`] does not list: a typo should not become a tag.
    fn from_str(name: &str) -> Result<Key> {
        if let Some(own) = name
            .strip_prefix("TXXX:")
            .filter(|own| !own.trim().is_empty())
        {
            return Ok(Key::from_free_name(own.trim()));
        }
        if let Some(key) = named(name)
            .map(|(key, _)| key)
            .or_else(|| FrameId::new(name).map(Key::Frame))
        {
            return Ok(key);
        }
        Err(Error::InvalidOption(format!(
            "no tag is called `{name}`: there are {}, the text frames of ID3v2.4 such as TPE3, and \
             TXXX:{name} for a tag of your own",
            NAMES.iter().map(|row| row.1).collect::<Vec<_>>().join(", ")
        )))
    }
}

/// The key with this plain name, frame or other name, and the place of the name in that order.
fn named(name: &str) -> Option<(Key, u8)> {
    let name = plain(name);
    NAMES.iter().find_map(|(key, own, frame, others)| {
        let mut names = [own, frame].into_iter().chain(others.iter());
        let place = names.position(|known| plain(known) == name)?;
        Some((key.clone(), place as u8))
    })
}

fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

/// The identifier of a text (`T…`) or link (`W…`) frame of ID3v2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId([u8; 4]);

impl FrameId {
    /// Four characters of `A`–`Z` and `0`–`9` that begin with `T` or `W`. Frames with more than one field
    /// (`TXXX`, `WXXX`, and the lists of people `TIPL` and `TMCL`) are not among them.
    pub fn new(id: &str) -> Option<FrameId> {
        let bytes: [u8; 4] = id.as_bytes().try_into().ok()?;
        let letters = bytes
            .iter()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let one_field = !matches!(&bytes, b"TXXX" | b"WXXX" | b"TIPL" | b"TMCL");
        (letters && one_field && matches!(bytes[0], b'T' | b'W')).then_some(FrameId(bytes))
    }

    /// The four characters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether it holds a URL rather than text.
    pub fn is_link(&self) -> bool {
        self.0[0] == b'W'
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_parses_from_each_of_its_names_and_displays_the_first() {
        for typed in [
            "album_artist",
            "AlbumArtist",
            "ALBUM ARTIST",
            "album-artist",
            "TPE2",
            "band",
        ] {
            assert_eq!(typed.parse::<Key>().unwrap(), Key::AlbumArtist, "{typed}");
        }
        assert_eq!(Key::AlbumArtist.to_string(), "album_artist");
    }

    #[test]
    fn a_displayed_key_parses_back() {
        let odd = [
            Key::Frame(FrameId::new("TOFN").unwrap()),
            Key::Other("Série".into()),
        ];
        for key in NAMES.iter().map(|row| &row.0).chain(&odd) {
            assert_eq!(key.to_string().parse::<Key>().unwrap(), *key);
        }
    }

    #[test]
    fn no_name_means_two_keys() {
        let mut seen = std::collections::HashSet::new();
        for (_, name, frame, others) in NAMES {
            for n in [name, frame].into_iter().chain(others.iter()) {
                assert!(seen.insert(plain(n)), "{n} is there twice");
            }
        }
    }

    #[test]
    fn a_frame_of_its_own_is_a_text_or_link_frame() {
        assert_eq!("WOAR".parse::<Key>().unwrap().frame(), "WOAR");
        assert_eq!("TOFN".parse::<Key>().unwrap().frame(), "TOFN");
        for wrong in [
            "TXXX", "TXXX:", "TXXX: ", "TIPL", "APIC", "tofn", "TOF", "TÖF", "", "titel",
        ] {
            let error = wrong.parse::<Key>().unwrap_err().to_string();
            assert!(error.contains("no tag is called"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_custom_name_that_is_known_is_the_known_key() {
        assert_eq!("TXXX:Label".parse::<Key>().unwrap(), Key::Publisher);
        assert_eq!(
            "TXXX:My Mood".parse::<Key>().unwrap(),
            Key::Other("My Mood".into())
        );
    }
}
