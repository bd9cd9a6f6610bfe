//! The file that a job produces: an MP3, or a ZIP file with one for each chapter.

use micropy_core::file_stem;
use micropy_core::ports::jobs::Output;
use serde::{Deserialize, Serialize};

/// The kind of file that a job produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// One MP3.
    Mp3,
    /// A ZIP file of MP3s, one for each chapter.
    Zip,
}

impl Product {
    /// The product of a finished job. The report tells, not the options: an original converter ignores them and makes
    /// an MP3.
    pub fn of(output: &Output) -> Self {
        #[derive(Deserialize)]
        struct Report {
            chapters: Option<usize>,
        }
        match serde_json::from_str(&output.report) {
            Ok(Report { chapters: Some(_) }) => Product::Zip,
            _ => Product::Mp3,
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Product::Mp3 => "audio/mpeg",
            Product::Zip => "application/zip",
        }
    }

    /// The extension of its name.
    pub fn extension(self) -> &'static str {
        match self {
            Product::Mp3 => "mp3",
            Product::Zip => "zip",
        }
    }

    /// The name of the file for a video's name: `talk.mp4` → `talk.mp3`. It is safe on every file system.
    pub fn file_name(self, video: &str) -> String {
        format!("{}.{}", Self::stem(video), self.extension())
    }

    /// The same without its extension, which is also the name of a folder of chapters.
    pub fn stem(video: &str) -> String {
        let stem = match video.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() && extension.len() <= 5 => stem,
            _ => video,
        };
        file_stem(stem).unwrap_or_else(|| "audio".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use micropy_core::ports::Id;

    #[test]
    fn an_mp3_is_named_after_its_video() {
        for (video, mp3) in [
            ("talk.mp4", "talk.mp3"),
            ("a.b.M4A", "a.b.mp3"),
            ("talk", "talk.mp3"),
            ("no. 5 is alive", "no. 5 is alive.mp3"),
            (".mp4", "mp4.mp3"),
            ("", "audio.mp3"),
            ("...mp4", "audio.mp3"),
            ("../../etc/passwd", "_.._etc_passwd.mp3"),
            ("a\\b\0c.mp4", "a_bc.mp3"),
            ("NUL.mp4", "_NUL.mp3"),
        ] {
            assert_eq!(Product::Mp3.file_name(video), mp3, "{video}");
        }
        assert_eq!(Product::Zip.file_name("book.m4b"), "book.zip");
        assert_eq!(Product::Zip.file_name("...m4b"), "audio.zip");
    }

    #[test]
    fn the_report_tells_the_product() {
        for (report, product) in [
            (r#"{"codec": "AAC-LC", "chapters": 3}"#, Product::Zip),
            (r#"{"codec": "AAC-LC"}"#, Product::Mp3),
            ("{}", Product::Mp3),
            ("", Product::Mp3),
        ] {
            let output = Output {
                mp3: Id::from_bytes([1; 12]),
                bytes: 1,
                report: report.into(),
            };
            assert_eq!(Product::of(&output), product, "{report}");
        }
    }
}
