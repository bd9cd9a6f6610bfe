//! The pictures of chapters: a video track of JPEG or PNG samples that the audio names beside its titles (QuickTime
//! File Format, "Chapter lists"). GarageBand and the programs for podcasts write it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::chapters::time;
use super::movie::{Movie, TextTrack};
use super::sample_table::{Cursor, Sample};
use crate::error::{Error, Result};
use crate::source::{Source, read_full_at};
use crate::tags::{Chapter, Cover};
use crate::warning::{LeftOut, Warning};

/// The most pictures looked at.
const MAX_PICTURES: usize = 1 << 14;

/// The most bytes of the pictures of all chapters together: each chapter of the MP3 has one of its own.
const PICTURE_LIMIT: usize = Cover::MAX_SIZE;

/// The most warnings.
const MAX_WARNINGS: usize = 16;

impl Movie {
    /// Gives each of `chapters` the picture that `self.audio[track]` shows with it, and returns what it could not.
    ///
    /// A stream spools from the first byte of the media on to read them.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn add_pictures(
        &self,
        source: &mut dyn Source,
        track: usize,
        chapters: &mut [Chapter],
    ) -> Result<Vec<Warning>> {
        let named = self
            .audio
            .get(track)
            .map_or(&[][..], |audio| &audio.chapters);
        let Some(pictures) = self.pictures.iter().find(|p| named.contains(&p.id)) else {
            return Ok(Vec::new());
        };
        if chapters.is_empty() {
            return Ok(Vec::new());
        }
        self.keep_media(source)?;
        let shown = shown(pictures);
        let mut album = Album::default();
        for chapter in chapters {
            if let Some(sample) = shown_with(&shown, chapter) {
                chapter.picture = album.picture(source, sample)?;
            }
        }
        Ok(album.warnings)
    }
}

/// When each picture is shown first, on the presentation's time line, and where it is.
fn shown(track: &TextTrack) -> Vec<(Duration, Sample)> {
    let mut cursor = Cursor::new(Arc::clone(&track.table), 0);
    let mut shown = Vec::new();
    let presenter = track.timeline.presenter();
    while let Some(sample) = cursor.next(1)
        && shown.len() < MAX_PICTURES
    {
        let end = sample.time.saturating_add(sample.duration.into());
        let places = presenter.presented(sample.time..end).into_iter();
        let starts = places.map(|place| time(place.start, track.timescale));
        shown.extend(starts.take(MAX_PICTURES).map(|start| (start, sample)));
    }
    shown.sort_by_key(|(start, _)| *start);
    shown
}

/// The picture shown when the chapter begins, otherwise the first shown during it. Times of two tracks are rounded to
/// different units.
fn shown_with<'a>(shown: &'a [(Duration, Sample)], chapter: &Chapter) -> Option<&'a Sample> {
    const ROUNDING: Duration = Duration::from_millis(10);
    let begun = chapter.start.saturating_add(ROUNDING);
    let after = shown.partition_point(|(start, _)| *start <= begun);
    let before = after.checked_sub(1).and_then(|last| shown.get(last));
    let during = shown.get(after).filter(|(start, _)| *start < chapter.end);
    before.or(during).map(|(_, sample)| sample)
}

/// The pictures read so far, each of which may be that of several chapters.
#[derive(Default)]
struct Album {
    pictures: HashMap<(u64, u32), Option<Cover>>,
    /// Bytes of the pictures of the chapters so far.
    bytes: usize,
    warnings: Vec<Warning>,
}

impl Album {
    fn picture(&mut self, source: &mut dyn Source, sample: &Sample) -> Result<Option<Cover>> {
        let place = (sample.offset, sample.size);
        if !self.pictures.contains_key(&place) {
            let picture = match self.read(source, sample) {
                Ok(picture) => picture,
                Err(e @ Error::Read(_)) => return Err(e),
                Err(e) => {
                    self.warn(sample, e);
                    None
                }
            };
            self.pictures.insert(place, picture);
        }
        let picture = self.pictures.get(&place).cloned().flatten();
        let Some(picture) = picture else {
            return Ok(None);
        };
        let bytes = self.bytes + picture.data().len();
        if bytes > PICTURE_LIMIT {
            let error = self.over_limit(sample);
            self.warn(sample, error);
            return Ok(None);
        }
        self.bytes = bytes;
        Ok(Some(picture))
    }

    /// Reads a picture; `None`: the sample is empty, and no picture is shown.
    fn read(&self, source: &mut dyn Source, sample: &Sample) -> Result<Option<Cover>> {
        const STEP: usize = 64 << 10;
        let size = sample.size as usize;
        if size == 0 {
            return Ok(None);
        }
        if self.bytes.saturating_add(size) > PICTURE_LIMIT {
            return Err(self.over_limit(sample));
        }
        let mut data = Vec::new();
        // In steps, so that a size larger than the file costs no memory.
        while data.len() < size {
            let read = data.len();
            data.resize(read + STEP.min(size - read), 0);
            let at = sample.offset.saturating_add(read as u64);
            let n = read_full_at(source, at, &mut data[read..]).map_err(Error::Read)?;
            if read + n < data.len() {
                return Err(Error::malformed(
                    sample.offset,
                    "media",
                    "the file ends inside the picture",
                ));
            }
        }
        Cover::new(data).map(Some)
    }

    fn over_limit(&self, sample: &Sample) -> Error {
        Error::Limit {
            at: sample.offset,
            what: "the size of the chapters' pictures together".into(),
            limit: PICTURE_LIMIT as u64,
        }
    }

    fn warn(&mut self, sample: &Sample, error: Error) {
        if self.warnings.len() < MAX_WARNINGS {
            let warning = Warning::left_out(LeftOut::Cover, sample.offset, error);
            self.warnings.push(warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::build::*;
    use super::*;
    use crate::source::StreamSource;

    const JPEG: &[u8] = b"\xFF\xD8\xFF\xE0 a picture";
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n another";

    /// A visual sample entry of this kind.
    fn entry(kind: &[u8; 4]) -> Vec<u8> {
        stsd(&make(kind, &[&[0; 6], &[0, 1], &[0; 70]]))
    }

    /// An audio track that names track 2, of titles, and track 3, of `pictures`; chapters last 1024 units each.
    fn podcast(kind: &[u8; 4], pictures: &[&[u8]]) -> Vec<u8> {
        let titles = [b"\0\x03one".as_slice(), b"\0\x03two", b"\0\x05three"];
        let media = Media::new();
        let len = |samples: &[&[u8]]| samples.iter().map(|s| s.len()).sum::<usize>();
        let sizes = |samples: &[&[u8]]| samples.iter().map(|s| s.len() as u32).collect::<Vec<_>>();
        let bytes = [&media.bytes[..], &titles.concat(), &pictures.concat()].concat();
        let audio_len = media.bytes.len();
        let tref = make(b"tref", &[&make(b"chap", &[&words(&[2, 3])])]);
        let media = Media {
            bytes,
            chunks: media.chunks,
        };
        faststart(&media, |at| {
            let titles_at = at + audio_len;
            let pictures_at = titles_at + len(&titles);
            let text = [
                stsd(&make(b"text", &[&[0; 51]])),
                sample_tables(&sizes(&titles), 3, &[titles_at as u32]),
            ];
            let count = pictures.len() as u32;
            let video = [
                entry(kind),
                sample_tables(&sizes(pictures), count, &[pictures_at as u32]),
            ];
            let aac = [stsd(&audio_entry(b"mp4a", &esds())), media.tables(at)].concat();
            let tracks = [
                trak(3, b"vide", &[], &video.concat()),
                trak(2, b"text", &[], &text.concat()),
                trak(1, b"soun", &tref, &aac),
            ];
            make(b"moov", &[&mvhd(1000), &tracks.concat()])
        })
    }

    /// The pictures of the chapters, and the warnings about them.
    fn read(source: &mut dyn Source) -> (Vec<Option<Vec<u8>>>, Vec<Warning>) {
        let movie = Movie::read(source).unwrap();
        let mut chapters = movie.chapters(source, 0).unwrap();
        let warnings = movie.add_pictures(source, 0, &mut chapters).unwrap();
        let data = |chapter: &Chapter| chapter.picture.as_ref().map(|p| p.data().to_vec());
        (chapters.iter().map(data).collect(), warnings)
    }

    #[test]
    fn each_chapter_has_the_picture_shown_with_it() {
        for kind in [b"jpeg", b"png ", b"mp4v"] {
            let file = podcast(kind, &[JPEG, PNG, JPEG]);
            let expected = [JPEG, PNG, JPEG].map(|picture| Some(picture.to_vec()));
            assert_eq!(read(&mut &file[..]), (expected.to_vec(), vec![]));
            let piped = read(&mut StreamSource::new(&file[..]));
            assert_eq!(piped, (expected.to_vec(), vec![]), "from a pipe");
        }
        // The last one stays.
        let file = podcast(b"jpeg", &[JPEG, PNG]);
        let expected = [JPEG, PNG, PNG].map(|picture| Some(picture.to_vec()));
        assert_eq!(read(&mut &file[..]).0, expected);
        // Video is none.
        let file = podcast(b"avc1", &[JPEG, PNG]);
        assert_eq!(read(&mut &file[..]), (vec![None; 3], vec![]));
    }

    #[test]
    fn what_is_no_picture_costs_only_itself() {
        let large = [JPEG, &vec![0; Cover::MAX_SIZE - 1000]].concat();
        let file = podcast(b"jpeg", &[b"", b"<html>", &large]);
        let (pictures, warnings) = read(&mut &file[..]);
        assert_eq!(pictures, [None, None, Some(large.clone())]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].to_string().contains("neither JPEG"),
            "{warnings:?}"
        );
        let file = podcast(b"jpeg", &[&large, &large, JPEG]);
        let (pictures, warnings) = read(&mut &file[..]);
        assert_eq!(pictures, [Some(large), None, Some(JPEG.to_vec())]);
        assert!(warnings[0].to_string().contains("together"), "{warnings:?}");
        let cut = read(&mut &file[..file.len() - JPEG.len() - 10]);
        assert_eq!(cut.1.len(), 2, "{:?}", cut.1);
    }

    #[test]
    fn a_picture_is_shown_from_its_time_on() {
        let sample = |offset| Sample {
            offset,
            size: 1,
            time: 0,
            duration: 1,
            entry: 1,
        };
        let at = Duration::from_millis;
        let shown = [(at(1000), sample(1)), (at(2010), sample(2))];
        for (start, end, expected) in [
            (0, 500, None),
            (0, 1000, None),
            (0, 1500, Some(1)),
            (1000, 2000, Some(1)),
            (2000, 3000, Some(2)),
            (9000, 9001, Some(2)),
        ] {
            let chapter = Chapter::new(at(start), at(end), "");
            let found = shown_with(&shown, &chapter).map(|sample| sample.offset);
            assert_eq!(found, expected, "{start}");
        }
    }
}
