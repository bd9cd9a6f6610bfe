//! Chapters.

use std::time::Duration;

use super::Cover;
use crate::file_name::file_stem;

/// A chapter: a named stretch of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chapter {
    /// Where it begins.
    pub start: Duration,
    /// Where it ends. For the last chapter of an MP4 this is only as reliable as the movie header.
    pub end: Duration,
    /// Its name; may be empty.
    pub title: String,
    /// Its picture, in podcasts and audiobooks that have one for each chapter.
    pub picture: Option<Cover>,
}

impl Chapter {
    /// A chapter of this name from `start` to `end`, without a picture.
    pub fn new(start: Duration, end: Duration, title: impl Into<String>) -> Self {
        Chapter {
            start,
            end,
            title: title.into(),
            picture: None,
        }
    }
}

/// The chapters of the part `[start, start + length)` of the presentation, on that part's own time line: shifted and
/// clamped, without empty ones. The last one ends where the part ends, since the end that MP4 files give for it is a
/// guess.
pub fn fit_chapters(chapters: &[Chapter], start: Duration, length: Duration) -> Vec<Chapter> {
    let mut fitted: Vec<Chapter> = Vec::with_capacity(chapters.len());
    for (i, chapter) in chapters.iter().enumerate() {
        let end = match i + 1 == chapters.len() {
            true => length,
            false => chapter.end.saturating_sub(start).min(length),
        };
        let start = chapter.start.saturating_sub(start);
        if start < end {
            fitted.push(Chapter {
                start,
                end,
                ..chapter.clone()
            });
        }
    }
    fitted
}

/// An MP3 file name for each chapter: a number, so that the names sort and differ, then as much of the title as
/// every file system accepts.
pub fn chapter_file_names(chapters: &[Chapter]) -> Vec<String> {
    let digits = chapters.len().to_string().len().max(2);
    let name = |(i, chapter): (usize, &Chapter)| {
        let number = format!("{:0digits$}", i + 1);
        let stem = file_stem(&format!("{number} {}", chapter.title));
        format!("{}.mp3", stem.unwrap_or(number))
    };
    chapters.iter().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chapter(start: u64, end: u64, title: &str) -> Chapter {
        Chapter::new(
            Duration::from_millis(start),
            Duration::from_millis(end),
            title,
        )
    }

    fn fit(chapters: &[Chapter], start: u64, length: u64) -> Vec<(u64, u64)> {
        fit_chapters(
            chapters,
            Duration::from_millis(start),
            Duration::from_millis(length),
        )
        .iter()
        .map(|c| (c.start.as_millis() as u64, c.end.as_millis() as u64))
        .collect()
    }

    #[test]
    fn a_part_has_the_chapters_that_overlap_it() {
        let book = [
            chapter(0, 1000, "a"),
            chapter(1000, 2000, "b"),
            chapter(2000, 3000, "c"),
        ];
        assert_eq!(fit(&book, 0, 3000), [(0, 1000), (1000, 2000), (2000, 3000)]);
        assert_eq!(fit(&book, 500, 2000), [(0, 500), (500, 1500), (1500, 2000)]);
        assert_eq!(fit(&book, 1000, 500), [(0, 500)]);
        assert_eq!(
            fit(&book, 5000, 500),
            [(0, 500)],
            "the last one lasts as long as there is audio"
        );
        assert_eq!(fit(&book, 0, 0), []);
        assert_eq!(fit(&[], 0, 1000), []);
    }

    #[test]
    fn the_last_chapter_ends_with_the_audio_whatever_the_file_says() {
        assert_eq!(
            fit(&[chapter(0, 10, "a"), chapter(10, 10, "b")], 0, 500),
            [(0, 10), (10, 500)]
        );
        assert_eq!(
            fit(&[chapter(0, 10, "a"), chapter(10, 900, "b")], 0, 500),
            [(0, 10), (10, 500)]
        );
    }

    #[test]
    fn names_are_sorted_and_unique() {
        let titles = [
            "Intro",
            "AC/DC: \"Back\"?",
            "",
            "..",
            "Intro",
            "con",
            "...Größe 大",
        ];
        let chapters: Vec<_> = titles.iter().map(|t| chapter(0, 1, t)).collect();
        assert_eq!(
            chapter_file_names(&chapters),
            [
                "01 Intro.mp3",
                "02 AC_DC_ _Back__.mp3",
                "03.mp3",
                "04.mp3",
                "05 Intro.mp3",
                "06 con.mp3",
                "07 ...Größe 大.mp3"
            ]
        );
    }

    #[test]
    fn a_name_fits_every_file_system_and_numbers_are_as_wide_as_needed() {
        let chapters = vec![chapter(0, 1, &"é".repeat(1000)); 1000];
        let names = chapter_file_names(&chapters);
        assert!(names.iter().all(|n| n.len() <= 255));
        assert_eq!(&names[0][..5], "0001 ");
        assert!(names.is_sorted());
    }
}
