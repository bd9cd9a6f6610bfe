//! What the owner of a job is told about its conversion.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::job::peaks::Peaks;
use crate::job::product::Product;

/// Bytes of the longest report in JSON. The ledger keeps one for each job, and lists show hundreds.
const MAX_BYTES: usize = 16 << 10;
/// The most warnings of a report, ...
const MOST_WARNINGS: usize = 50;
/// ... their bytes together, ...
const WARNINGS_BYTES: usize = 12 << 10;
/// ... and the characters of each: a thousand parts of a damaged file have ten thousand warnings.
const WARNING_CHARS: usize = 400;
/// The characters of a title, an artist and an album: what is longer is cut, here and not in the MP3.
const LABEL_CHARS: usize = 100;

/// The report of a conversion, as the ledger keeps it in JSON. Where a video was divided, it is about all parts together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The source's coding.
    pub codec: Option<String>,
    /// Seconds of audio.
    pub duration: f64,
    /// Hz of the MP3.
    pub sample_rate: Option<u32>,
    /// Channels of the MP3.
    pub channels: Option<u16>,
    /// Bit/s of the audio.
    pub mean_bitrate: f64,
    /// PCM samples of each channel.
    pub samples: u64,
    /// Whether nothing of the source is missing.
    pub complete: bool,
    /// What is wrong with the source, in words for people.
    pub warnings: Vec<String>,
    /// The title, as the MP3's tag has it; none where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The artist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artist: Option<String>,
    /// The album.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub album: Option<String>,
    /// Bytes of the front cover in the MP3's tag, if it has one that browsers show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover: Option<u64>,
    /// MP3s in a ZIP file; none where there is one MP3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chapters: Option<usize>,
    /// The waveform of what was made; none where it was copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peaks: Option<Peaks>,
}

/// A text of a tag as a line of a report: without control characters, and not too long.
pub fn label(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(LABEL_CHARS).collect()
}

impl Report {
    /// Tells of these warnings, each once, and no more of them than there is room for.
    pub fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        let (mut told, mut bytes, mut more) = (HashSet::new(), 0, 0);
        for warning in warnings {
            let warning: String = warning.chars().take(WARNING_CHARS).collect();
            if told.contains(&warning) {
                continue;
            }
            // With the quotes and the comma.
            let length = serde_json::Value::from(&*warning).to_string().len() + 1;
            if told.len() < MOST_WARNINGS && bytes + length <= WARNINGS_BYTES {
                bytes += length;
                self.warnings.push(warning.clone());
                told.insert(warning);
            } else {
                more += 1;
            }
        }
        if more > 0 {
            self.warnings.push(format!("and {more} more warnings"));
        }
    }

    /// The report in JSON, for the ledger, if it can be that of a conversion that made a `product`. A worker process
    /// that reads hostile files is not trusted with what is kept.
    pub fn into_json(self, product: Product) -> Result<String, String> {
        if (product == Product::Zip) != self.chapters.is_some() {
            return Err(format!("a report that is not that of a {product:?}"));
        }
        if !self.peaks.as_ref().is_none_or(Peaks::are_sound) {
            return Err("a waveform that is none".to_owned());
        }
        let json = serde_json::to_string(&self).map_err(|e| e.to_string())?;
        match json.len() <= MAX_BYTES {
            true => Ok(json),
            false => Err(format!("a report of {} bytes", json.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::peaks::POINTS;

    #[test]
    fn whatever_a_file_is_warned_of_the_report_fits() {
        for (count, text) in [
            (1000, "x".repeat(10_000)),
            (1000, "\u{0}".repeat(10_000)),
            (1000, "\u{1f3b5}".repeat(10_000)),
            (100_000, "truncated".to_owned()),
        ] {
            let label = || Some(label(&text));
            let mut report = Report {
                title: label(),
                artist: label(),
                album: label(),
                cover: Some(u64::MAX),
                codec: Some("HE-AAC v2".to_owned()),
                duration: f64::MAX,
                mean_bitrate: f64::MAX,
                peaks: Some(Peaks {
                    sample_rate: u32::MAX,
                    samples_per_pixel: u64::MAX,
                    values: vec![-1; 2 * POINTS.get() as usize],
                }),
                ..Report::default()
            };
            report.warn((0..count).map(|n| format!("{n}: {text}")));
            let told = report.warnings.len() - 1;
            let more = format!("and {} more warnings", count - told);
            assert_eq!(report.warnings.last(), Some(&more));
            assert!((5..=MOST_WARNINGS).contains(&told), "{told}");
            report.into_json(Product::Mp3).unwrap();
        }
    }

    #[test]
    fn each_warning_is_told_once() {
        let mut report = Report::default();
        report.warn(["a", "b", "a"].map(String::from));
        assert_eq!(report.warnings, ["a", "b"]);
    }

    #[test]
    fn a_report_is_about_what_was_made() {
        let zip = Report {
            chapters: Some(3),
            ..Report::default()
        };
        assert!(zip.clone().into_json(Product::Zip).is_ok());
        assert!(zip.into_json(Product::Mp3).is_err());
        assert!(Report::default().into_json(Product::Zip).is_err());
        let long = Report {
            codec: Some("x".repeat(MAX_BYTES)),
            ..Report::default()
        };
        assert!(long.into_json(Product::Mp3).is_err());
    }
}
