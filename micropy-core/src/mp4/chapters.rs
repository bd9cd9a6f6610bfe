//! Chapters: Nero's list (`moov/udta/chpl`) and QuickTime's text track (QuickTime File Format, "Chapter
//! lists").

use std::time::Duration;

use super::boxes::Fields;
use super::movie::{AudioTrack, Movie, TrackSample, read_track_samples};
use super::text;
use crate::error::Result;
use crate::source::Source;
use crate::tags::Chapter;
use crate::timeline::Timeline;

/// The most chapters kept of one file.
const MAX_CHAPTERS: usize = 1 << 14;

/// The most bytes kept of one title.
const MAX_TITLE: usize = 1024;

impl Movie {
    /// The chapters in the text track of `self.audio[track]`, on the presentation's time line; empty if it has none.
    /// Prefer these to Nero's, whose count and titles end at 255. Where the file ends before some of the titles, and
    /// Nero's list has them, it is empty too.
    ///
    /// A stream spools from the first byte of the media on to read them.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read).
    pub fn chapters(&self, source: &mut dyn Source, track: usize) -> Result<Vec<Chapter>> {
        let named = self
            .audio
            .get(track)
            .map_or(&[][..], |audio| &audio.chapters);
        let Some(titles) = self.text.iter().find(|text| named.contains(&text.id)) else {
            return Ok(Vec::new());
        };
        let samples = read_track_samples(source, self, titles)?;
        let is_cut_off = samples.iter().any(|sample| sample.data.is_empty());
        if is_cut_off && self.metadata(None).chapters.len() >= samples.len() {
            return Ok(Vec::new());
        }
        Ok(from_text_track(
            &samples,
            titles.timescale,
            &titles.timeline,
        ))
    }

    /// The presented length of the longest audio track, if known.
    pub(super) fn duration(&self) -> Duration {
        let longest = self.audio.iter().filter_map(AudioTrack::presented).max();
        longest.unwrap_or_default()
    }
}

impl AudioTrack {
    fn presented(&self) -> Option<Duration> {
        let duration = self.duration?;
        // What is known of a fragmented file is how long it is presented.
        let len = match self.samples {
            Some(_) => Timeline::of_units(self.edits.clone(), self.timescale, duration).len()?,
            None => duration,
        };
        Some(time(len, self.timescale))
    }
}

/// The payload of `chpl`, in version 0 with a count of 8 bits, in version 1 of 32; starts in units of
/// 100 ns. Each chapter ends where the next begins.
pub fn nero(mut fields: Fields<'_>) -> Result<Vec<Chapter>> {
    let (version, _) = fields.version_and_flags()?;
    let count = match version {
        0 => u32::from(fields.u8()?),
        _ => {
            let _reserved = fields.u8()?;
            fields.u32()?
        }
    };
    let mut chapters = Vec::new();
    for _ in 0..count.min(MAX_CHAPTERS as u32) {
        let start = fields.u64()?;
        let len = fields.u8()?;
        let start = time(start, 10_000_000);
        let title = title(fields.take(usize::from(len))?);
        chapters.push(Chapter::new(start, start, title));
    }
    chapters.sort_by_key(|chapter| chapter.start);
    for i in 1..chapters.len() {
        chapters[i - 1].end = chapters[i].start;
    }
    Ok(chapters)
}

/// Extends the last chapter, whose end Nero does not store, to `end`.
pub fn end_last_with(chapters: &mut [Chapter], end: Duration) {
    if let Some(last) = chapters.last_mut() {
        last.end = last.end.max(end);
    }
}

/// One chapter for each sample, with a title or without, when the text track's own `timeline` presents it.
fn from_text_track(samples: &[TrackSample], timescale: u32, timeline: &Timeline) -> Vec<Chapter> {
    let presenter = timeline.presenter();
    let presented = |sample: &TrackSample| {
        let end = sample.time.saturating_add(u64::from(sample.duration));
        let title = sample_title(&sample.data);
        let places = presenter.presented(sample.time..end).into_iter();
        places.map(move |place| {
            let (start, end) = (time(place.start, timescale), time(place.end, timescale));
            Chapter::new(start, end, title.clone())
        })
    };
    let mut chapters: Vec<_> = samples
        .iter()
        .flat_map(presented)
        .take(MAX_CHAPTERS)
        .collect();
    chapters.sort_by_key(|chapter| chapter.start);
    chapters
}

/// The text of a `text` or `tx3g` sample: 16 bits of length, the text, and boxes about its style.
fn sample_title(data: &[u8]) -> String {
    let Some((len, rest)) = data.split_first_chunk::<2>() else {
        return String::new();
    };
    let len = usize::from(u16::from_be_bytes(*len));
    title(&rest[..len.min(rest.len())])
}

fn title(bytes: &[u8]) -> String {
    let text = text::guess(bytes).replace('\0', " ");
    let text = text.trim();
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=text.len().min(MAX_TITLE)).rev().find(fits);
    text[..end.unwrap_or_default()].to_owned()
}

/// `ticks` of 1/`timescale` s, to the nanosecond.
pub(super) fn time(ticks: u64, timescale: u32) -> Duration {
    let timescale = u64::from(timescale.max(1));
    let fraction = (ticks % timescale) * 1_000_000_000 / timescale;
    Duration::from_secs(ticks / timescale) + Duration::from_nanos(fraction)
}

#[cfg(test)]
mod tests {
    use super::super::boxes::FourCc;
    use super::*;
    use crate::timeline::{Edit, EditList};

    fn chpl(head: &[u8], chapters: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = head.to_vec();
        for (start, title) in chapters {
            bytes.extend(start.to_be_bytes());
            bytes.push(title.len() as u8);
            bytes.extend(*title);
        }
        bytes
    }

    fn read_nero(bytes: &[u8]) -> Result<Vec<Chapter>> {
        nero(Fields::new(FourCc(*b"chpl"), 0, bytes))
    }

    /// Milliseconds and titles.
    fn told(chapters: &[Chapter]) -> Vec<(u128, u128, &str)> {
        let told = |c: &'_ Chapter| (c.start.as_millis(), c.end.as_millis());
        chapters
            .iter()
            .map(|c| (told(c).0, told(c).1, c.title.as_str()))
            .collect()
    }

    #[test]
    fn neros_list_has_two_versions() {
        let list: [(u64, &[u8]); 2] = [(0, b"One"), (15_000_000, "Zwölf".as_bytes())];
        let expected = [(0, 1500, "One"), (1500, 9000, "Zwölf")];
        for head in [&[0, 0, 0, 0, 2][..], &[1, 0, 0, 0, 0, 0, 0, 0, 2]] {
            let mut chapters = read_nero(&chpl(head, &list)).unwrap();
            end_last_with(&mut chapters, Duration::from_secs(9));
            assert_eq!(told(&chapters), expected);
        }
    }

    #[test]
    fn neros_list_may_exceed_255_chapters_and_be_unordered() {
        let list: Vec<(u64, &[u8])> = (0..300)
            .rev()
            .map(|i| (i * 10_000_000, &b"x"[..]))
            .collect();
        let chapters = read_nero(&chpl(&[1, 0, 0, 0, 0, 0, 0, 1, 44], &list)).unwrap();
        assert_eq!(chapters.len(), 300);
        assert!(chapters.is_sorted_by_key(|c| c.start));
    }

    #[test]
    fn a_list_that_is_cut_off_is_refused_with_its_byte() {
        let whole = chpl(&[0, 0, 0, 0, 1], &[(0, b"One")]);
        for len in 0..whole.len() {
            assert!(read_nero(&whole[..len]).is_err(), "{len}");
        }
    }

    fn sample(time: u64, duration: u32, data: &[u8]) -> TrackSample {
        let data = [
            &(data.len() as u16).to_be_bytes(),
            data,
            b"\0\0\0\x0cencd\0\0\x01\0",
        ]
        .concat();
        TrackSample {
            at: 0,
            time,
            duration,
            data,
        }
    }

    /// Edits in milliseconds of a text track of three seconds.
    fn timeline(edits: &[(u64, Option<u64>)]) -> Timeline {
        let edits = edits.iter().map(|&(duration, media_time)| Edit {
            duration,
            media_time,
            at_full_speed: true,
        });
        Timeline::of_units(
            EditList::new(edits.collect(), 1000, 1000, false),
            1000,
            3000,
        )
    }

    #[test]
    fn a_text_track_has_titles_in_utf_8_or_utf_16() {
        let samples = [
            sample(0, 1000, "Größe".as_bytes()),
            sample(1000, 500, b"\xFE\xFF\x59\x27"),
            sample(1500, 500, b"\xFF\xFE\x27\x59"),
        ];
        let chapters = from_text_track(&samples, 1000, &timeline(&[]));
        assert_eq!(
            told(&chapters),
            [(0, 1000, "Größe"), (1000, 1500, "大"), (1500, 2000, "大")]
        );
    }

    #[test]
    fn the_text_tracks_own_edit_list_applies() {
        let samples = [
            sample(0, 1000, b"a"),
            sample(1000, 1000, b"b"),
            sample(2000, 1000, b"c"),
        ];
        let told_by = |edits: &[(u64, Option<u64>)]| {
            told(&from_text_track(&samples, 1000, &timeline(edits)))
                .iter()
                .map(|&(start, end, title)| (start, end, title.to_owned()))
                .collect::<Vec<_>>()
        };
        let expected = [(100, 700, "a"), (700, 1700, "b"), (1700, 2200, "c")];
        assert_eq!(
            told_by(&[(100, None), (2100, Some(400))]),
            expected.map(|(start, end, title)| (start, end, title.to_owned()))
        );
        // Played in another order, with a gap, and one of them twice.
        let edits = [(500, Some(2000)), (200, None), (1500, Some(500))];
        let expected = [(0, 500, "c"), (700, 1200, "a"), (1200, 2200, "b")];
        assert_eq!(
            told_by(&edits),
            expected.map(|(start, end, title)| (start, end, title.to_owned()))
        );
    }

    #[test]
    fn a_sample_without_a_title_is_a_chapter() {
        let samples = [
            sample(0, 10, b""),
            sample(10, 10, b"a"),
            sample(20, 10, b" "),
        ];
        assert_eq!(
            told(&from_text_track(&samples, 1000, &timeline(&[]))),
            [(0, 10, ""), (10, 20, "a"), (20, 30, "")]
        );
    }

    #[test]
    fn a_title_is_as_long_as_its_sample_or_the_limit_allows() {
        assert_eq!(sample_title(b"\0\x09abc"), "abc");
        assert_eq!(sample_title(b"\0"), "");
        assert_eq!(sample_title(b""), "");
        let long = sample(0, 1, "é".repeat(600).as_bytes());
        assert_eq!(sample_title(&long.data), "é".repeat(512));
    }

    #[test]
    fn times_are_exact_to_the_pcm_sample() {
        for n in [0, 1, 44_099, 44_100, 123_456_789] {
            let back = time(n, 44_100).as_nanos() * 44_100;
            assert_eq!((back + 500_000_000) / 1_000_000_000, u128::from(n));
        }
        assert_eq!(time(5, 0), Duration::from_secs(5));
        assert!(time(u64::MAX, 1) < Duration::MAX);
    }

    /// The audiobook among the clips: ffmpeg wrote its chapters as a text track, as Nero's list, and as both.
    #[test]
    fn the_same_chapters_are_found_both_ways() {
        let expected = [
            (0, 800, "Opening"),
            (800, 1700, "Zweites – Größe"),
            (1700, 3000, "The end"),
        ];
        for (name, nero, quicktime) in [
            ("chapters.m4b", true, true),
            ("chapters-quicktime.m4b", false, true),
            ("chapters-nero.m4b", true, false),
        ] {
            let file = std::fs::read(format!("tests/media/{name}")).unwrap();
            let movie = Movie::read(&mut &file[..]).unwrap();
            let from_list = movie.metadata(None).chapters;
            let from_track = movie.chapters(&mut &file[..], 0).unwrap();
            for (chapters, is_there) in [(from_list, nero), (from_track, quicktime)] {
                let expected = if is_there { &expected[..] } else { &[] };
                assert_eq!(told(&chapters), expected, "{name}");
            }
        }
    }
}
