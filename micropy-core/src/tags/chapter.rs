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

/// A file name for each chapter: a number, so that the names sort and differ, then as much of the title as every file
/// system accepts, then the extension.
pub fn chapter_file_names(chapters: &[Chapter], extension: &str) -> Vec<String> {
    let number = numbers(chapters.len());
    let name = |(i, chapter): (usize, &Chapter)| {
        let number = number(i);
        let stem = file_stem(&format!("{number} {}", chapter.title));
        format!("{}.{extension}", stem.unwrap_or(number))
    };
    chapters.iter().enumerate().map(name).collect()
}

/// A file name for each of `total` parts: as much of `stem` as every file system accepts, the number, the extension.
pub fn part_file_names(total: usize, stem: &str, extension: &str) -> Vec<String> {
    let number = numbers(total);
    let stem = file_stem(stem);
    let name = |i| match &stem {
        Some(stem) => format!("{stem} {}.{extension}", number(i)),
        None => format!("{}.{extension}", number(i)),
    };
    (0..total).map(name).collect()
}

/// Numbers from 1 for the indices of `total` files, all of one width.
fn numbers(total: usize) -> impl Fn(usize) -> String {
    let digits = total.to_string().len().max(2);
    move |index| format!("{:0digits$}", index + 1)
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
            chapter_file_names(&chapters, "mp3"),
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
    fn parts_are_numbered_behind_the_name_of_the_whole() {
        assert_eq!(
            part_file_names(2, "a/talk", "mp3"),
            ["a_talk 01.mp3", "a_talk 02.mp3"]
        );
        assert_eq!(part_file_names(1, "..", "wav"), ["01.wav"]);
        assert_eq!(part_file_names(100, "x", "mp3")[6], "x 007.mp3");
        let long = part_file_names(10_000, &"é".repeat(1000), "mp3");
        assert!(long.iter().all(|name| name.len() <= 255));
    }

    #[test]
    fn a_name_fits_every_file_system_and_numbers_are_as_wide_as_needed() {
        let chapters = vec![chapter(0, 1, &"é".repeat(1000)); 1000];
        let names = chapter_file_names(&chapters, "mp3");
        assert!(names.iter().all(|n| n.len() <= 255));
        assert_eq!(&names[0][..5], "0001 ");
        assert!(names.is_sorted());
    }
}
