//! Metadata: tags, cover, chapters.
//!
//! These types belong to no container: `mp4` fills them, `mp3::id3` writes them, `probe` shows them. Neither container
//! knows the other.

use std::collections::HashMap;

use crate::warning::Warning;

mod chapter;
mod cover;
mod key;

pub use chapter::{Chapter, chapter_file_names, fit_chapters, part_file_names};
pub use cover::Cover;
pub use key::{FrameId, Key};

/// The tags of a file, in its order. A key may have several values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    items: Vec<(Key, String)>,
}

impl Tags {
    /// No tags.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// All values with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &str)> {
        self.items.iter().map(|(key, value)| (key, value.as_str()))
    }

    /// The first value of `key`.
    pub fn get(&self, key: &Key) -> Option<&str> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// The values of `key`.
    pub fn values<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a str> {
        self.iter()
            .filter(move |(k, _)| *k == key)
            .map(|(_, value)| value)
    }

    /// Adds a value. White space and NULs around it are dropped, and an empty value is ignored.
    pub fn push(&mut self, key: Key, value: &str) {
        let value = value.trim_matches(|c: char| c == '\0' || c.is_whitespace());
        if !value.is_empty() {
            // In ID3 a NUL inside would end the name or the value, or begin another.
            let key = match key {
                Key::Other(name) if name.contains('\0') => {
                    Key::from_free_name(name.trim_matches('\0').replace('\0', " ").trim())
                }
                key => key,
            };
            self.items.push((key, value.replace('\0', " ")));
        }
    }

    /// Makes `value` the only one of `key`; an empty one removes the key.
    pub fn set(&mut self, key: Key, value: &str) {
        self.remove(&key);
        self.push(key, value);
    }

    /// Removes every value of `key`.
    pub fn remove(&mut self, key: &Key) {
        self.items.retain(|(k, _)| k != key);
    }

    /// Applies edits: each key replaces its values so far. A key given twice has two values; an empty value removes
    /// the key.
    pub fn edit(&mut self, edits: &[(Key, String)]) {
        self.items
            .retain(|(key, _)| edits.iter().all(|(k, _)| k != key));
        for (key, value) in edits {
            self.push(key.clone(), value);
        }
    }

    /// Each key once, with all its values.
    pub fn grouped(&self) -> Vec<(&Key, Vec<&str>)> {
        let mut groups: Vec<(&Key, Vec<&str>)> = Vec::new();
        let mut place = HashMap::new();
        for (key, value) in self.iter() {
            let at = *place.entry(key).or_insert(groups.len());
            match groups.get_mut(at) {
                Some((_, values)) => values.push(value),
                None => groups.push((key, vec![value])),
            }
        }
        groups
    }

    /// Drops the tags about loudness (`REPLAYGAIN_*`, `R128_*`, `iTunNORM`): they are wrong once the level has
    /// changed.
    pub(crate) fn forget_loudness(&mut self) {
        self.items.retain(|(key, _)| !key.is_loudness());
    }

    /// Replaces the tags about loudness.
    pub(crate) fn set_replay_gain(&mut self, measured: ReplayGain) {
        self.forget_loudness();
        let mut say = |name: &str, value: String| self.push(Key::Other(name.into()), &value);
        say("REPLAYGAIN_TRACK_GAIN", format!("{:.2} dB", measured.gain));
        say("REPLAYGAIN_TRACK_PEAK", format!("{:.6}", measured.peak));
    }

    /// The tags of chapter `number` (from 1) of `total`, cut out of a file with these tags: its own title and track
    /// number, the file's title as album unless it has one, and nothing that identifies the whole recording.
    #[must_use]
    pub(crate) fn of_chapter(&self, chapter: &Chapter, number: usize, total: usize) -> Tags {
        let title = match chapter.title.as_str() {
            "" => format!("Chapter {number}"),
            title => title.to_owned(),
        };
        self.of_an_album(&title, number, total)
    }

    /// The tags of part `number` (from 1) of `total`, cut out of a file with these tags: its title with the number
    /// behind it, and otherwise as for a chapter.
    #[must_use]
    pub(crate) fn of_part(&self, number: usize, total: usize) -> Tags {
        let title = match self.get(&Key::Title) {
            Some(title) => format!("{title} ({number}/{total})"),
            None => format!("Part {number}"),
        };
        self.of_an_album(&title, number, total)
    }

    /// These tags for track `number` of `total` of what was one file: its title becomes the album unless it has one,
    /// and nothing is left that identifies the whole recording.
    fn of_an_album(&self, title: &str, number: usize, total: usize) -> Tags {
        let mut tags = self.clone();
        if tags.get(&Key::Album).is_none() {
            tags.set(Key::Album, self.get(&Key::Title).unwrap_or_default());
        }
        for whole in [
            Key::TitleSort,
            Key::Isrc,
            Key::MusicBrainzTrackId,
            Key::Lyrics,
        ] {
            tags.remove(&whole);
        }
        tags.set(Key::Title, title);
        tags.set(Key::Track, &format!("{number}/{total}"));
        tags
    }
}

impl FromIterator<(Key, String)> for Tags {
    fn from_iter<I: IntoIterator<Item = (Key, String)>>(items: I) -> Self {
        let mut tags = Tags::new();
        for (key, value) in items {
            tags.push(key, &value);
        }
        tags
    }
}

impl IntoIterator for Tags {
    type Item = (Key, String);
    type IntoIter = std::vec::IntoIter<(Key, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

/// Everything in a file beside its tracks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Title, artist and so on.
    pub tags: Tags,
    /// Pictures, the front cover first.
    pub covers: Vec<Cover>,
    /// Chapters by their start, on the file's presentation time line.
    pub chapters: Vec<Chapter>,
    /// iTunes' numbers for gapless playback (`iTunSMPB`). They describe the packets of this file, so they are never
    /// copied as a tag.
    pub gapless: Option<Gapless>,
    /// What could not be read.
    pub warnings: Vec<Warning>,
}

/// What `iTunSMPB` says of the decoded track, in PCM samples per channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gapless {
    /// To drop at the start.
    pub delay: u64,
    /// To drop at the end.
    pub padding: u64,
    /// What is between.
    pub length: u64,
}

/// The tags, cover and chapters of the MP3. Built with [`TagOptions::new`] and its methods:
///
/// ```
/// use micropy_core::{Id3Version, Key, TagOptions};
/// let tags = TagOptions::new().edit(Key::Artist, "Nina").version(Id3Version::V23);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TagOptions {
    /// Copy tags, cover and chapters from the source.
    pub copy: bool,
    /// Values that replace the source's: see [`Tags::edit`].
    pub edits: Vec<(Key, String)>,
    /// A front cover that replaces the source's pictures.
    pub cover: Option<Cover>,
    /// The version of ID3v2 to write.
    pub version: Id3Version,
}

impl Default for TagOptions {
    /// Everything is copied, into ID3v2.4.
    fn default() -> Self {
        TagOptions {
            copy: true,
            edits: Vec::new(),
            cover: None,
            version: Id3Version::V24,
        }
    }
}

impl TagOptions {
    /// The default options: everything is copied, into ID3v2.4.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to copy tags, cover and chapters from the source.
    #[must_use]
    pub fn copy(mut self, copy: bool) -> Self {
        self.copy = copy;
        self
    }

    /// Replaces the source's values of `key`. Given twice, the key has both values; an empty value removes it.
    #[must_use]
    pub fn edit(mut self, key: Key, value: impl Into<String>) -> Self {
        self.edits.push((key, value.into()));
        self
    }

    /// Replaces the source's pictures by this front cover.
    #[must_use]
    pub fn cover(mut self, cover: Cover) -> Self {
        self.cover = Some(cover);
        self
    }

    /// The version of ID3v2 to write.
    #[must_use]
    pub fn version(mut self, version: Id3Version) -> Self {
        self.version = version;
        self
    }

    /// The metadata of the MP3, from that of its source. `encoder` names the program and the encoder library that
    /// make it, in place of the source's.
    pub(crate) fn apply(&self, source: &Metadata, encoder: &str) -> Metadata {
        let mut result = match self.copy {
            true => source.clone(),
            false => Metadata::default(),
        };
        if self.copy {
            result.tags.set(Key::Encoder, encoder);
        }
        result.tags.edit(&self.edits);
        if let Some(cover) = &self.cover {
            result.covers = vec![cover.clone()];
        }
        result
    }
}

/// A version of ID3v2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Id3Version {
    /// ID3v2.3, for players that do not know ID3v2.4.
    V23,
    /// ID3v2.4.
    #[default]
    V24,
}

/// Measured loudness as ReplayGain 2.0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplayGain {
    /// The gain in dB that brings the track to −18 LUFS.
    pub gain: f64,
    /// The highest true peak; 1.0 is full scale.
    pub peak: f64,
}

/// The genre with this number, by the list of ID3v1 and its Winamp extensions.
pub(crate) fn genre_name(number: u8) -> Option<String> {
    let tag = id3::v1::Tag {
        genre_id: number,
        ..id3::v1::Tag::new()
    };
    tag.genre().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tags(items: &[(Key, &str)]) -> Tags {
        items
            .iter()
            .map(|(k, v)| (k.clone(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn an_edit_replaces_adds_a_second_value_and_removes() {
        let mut t = tags(&[
            (Key::Artist, "old"),
            (Key::Artist, "older"),
            (Key::Comment, "spam"),
            (Key::Title, "kept"),
        ]);
        t.edit(&[
            (Key::Artist, "new".into()),
            (Key::Artist, "second".into()),
            (Key::Comment, String::new()),
        ]);
        assert_eq!(
            t,
            tags(&[
                (Key::Title, "kept"),
                (Key::Artist, "new"),
                (Key::Artist, "second")
            ])
        );
    }

    #[test]
    fn a_value_has_no_nul_and_is_not_empty() {
        let t = tags(&[(Key::Title, " \0a\0b\0\0"), (Key::Artist, "\0 ")]);
        assert_eq!(t.iter().collect::<Vec<_>>(), [(&Key::Title, "a b")]);
        let names = tags(&[
            (Key::Other("mood\0".into()), "calm"),
            (Key::Other("\0my\0own".into()), "a"),
        ]);
        let own = Key::Other("my own".into());
        let expected = [(&Key::Mood, "calm"), (&own, "a")];
        assert_eq!(names.iter().collect::<Vec<_>>(), expected, "nor has a name");
    }

    #[test]
    fn a_chapter_is_a_track_of_the_book() {
        let chapter = Chapter::new(Duration::ZERO, Duration::from_secs(1), "The Storm");
        let book = tags(&[
            (Key::Title, "Typhoon"),
            (Key::Artist, "Conrad"),
            (Key::TitleSort, "Typhoon"),
            (Key::Track, "1"),
        ]);
        assert_eq!(
            book.of_chapter(&chapter, 2, 6),
            tags(&[
                (Key::Artist, "Conrad"),
                (Key::Album, "Typhoon"),
                (Key::Title, "The Storm"),
                (Key::Track, "2/6")
            ])
        );
        let named = tags(&[(Key::Title, "Typhoon"), (Key::Album, "Sea Tales")]);
        let untitled = Chapter {
            title: String::new(),
            ..chapter
        };
        assert_eq!(
            named.of_chapter(&untitled, 1, 6),
            tags(&[
                (Key::Album, "Sea Tales"),
                (Key::Title, "Chapter 1"),
                (Key::Track, "1/6")
            ])
        );
    }

    #[test]
    fn a_part_has_the_title_of_the_whole_and_its_number() {
        let talk = tags(&[(Key::Title, "Typhoon"), (Key::Artist, "Conrad")]);
        assert_eq!(
            talk.of_part(2, 6),
            tags(&[
                (Key::Artist, "Conrad"),
                (Key::Album, "Typhoon"),
                (Key::Title, "Typhoon (2/6)"),
                (Key::Track, "2/6")
            ])
        );
        let untitled = Tags::new().of_part(1, 2);
        assert_eq!(untitled.get(&Key::Title), Some("Part 1"));
    }

    #[test]
    fn loudness_tags_of_any_program_are_dropped() {
        let other = |name: &str| Key::Other(name.to_owned());
        let mut t = tags(&[
            (other("replaygain_track_gain"), "-7 dB"),
            (other("REPLAYGAIN_ALBUM_PEAK"), "1"),
            (other("iTunNORM"), " 00000000"),
            (other("gain"), "kept"),
        ]);
        t.forget_loudness();
        assert_eq!(t, tags(&[(other("gain"), "kept")]));
    }

    #[test]
    fn measured_loudness_replaces_the_old() {
        let mut t = tags(&[(Key::Other("replaygain_track_gain".into()), "+1 dB")]);
        t.set_replay_gain(ReplayGain {
            gain: -7.034,
            peak: 0.9885531,
        });
        let written: Vec<_> = t
            .iter()
            .map(|(key, value)| (key.to_string(), value))
            .collect();
        assert_eq!(
            written,
            [
                ("TXXX:REPLAYGAIN_TRACK_GAIN".to_owned(), "-7.03 dB"),
                ("TXXX:REPLAYGAIN_TRACK_PEAK".to_owned(), "0.988553")
            ]
        );
    }

    #[test]
    fn values_of_a_key_are_grouped_at_the_first() {
        let t = tags(&[(Key::Artist, "a"), (Key::Title, "t"), (Key::Artist, "b")]);
        assert_eq!(
            t.grouped(),
            [(&Key::Artist, vec!["a", "b"]), (&Key::Title, vec!["t"])]
        );
    }

    #[test]
    fn without_copying_only_the_edits_are_left() {
        let source = Metadata {
            tags: tags(&[(Key::Title, "a"), (Key::Encoder, "Lavf")]),
            covers: Vec::from_iter(Cover::new(b"\xFF\xD8\xFF".to_vec())),
            ..Metadata::default()
        };
        let copied = TagOptions::default().apply(&source, "Micropy");
        assert_eq!(
            copied.tags,
            tags(&[(Key::Title, "a"), (Key::Encoder, "Micropy")])
        );
        assert_eq!(copied.covers, source.covers);

        let bare = TagOptions {
            copy: false,
            edits: vec![(Key::Title, "b".into())],
            ..TagOptions::default()
        };
        let edited = bare.apply(&source, "Micropy");
        assert_eq!(edited.tags, tags(&[(Key::Title, "b")]));
        assert_eq!(edited.covers, []);
    }

    #[test]
    fn genres_have_the_numbers_of_id3v1() {
        assert_eq!(genre_name(0).as_deref(), Some("Blues"));
        assert_eq!(genre_name(17).as_deref(), Some("Rock"));
        assert_eq!(genre_name(255), None);
    }
}
