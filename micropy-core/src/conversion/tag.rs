//! The ID3 tag of the MP3: what the options make of what the file says of itself.

use std::time::Duration;

use super::Conversion;
use crate::error::Result;
use crate::mp3::id3;
use crate::options::Options;
use crate::tags::{Metadata, ReplayGain, fit_chapters};

/// The ID3 tag of the MP3.
pub struct Tag<'a> {
    options: &'a Options,
    metadata: &'a Metadata,
    /// Where the MP3 begins on the time line of the chapters.
    start: Duration,
    replay_gain: Option<ReplayGain>,
}

impl Conversion<'_> {
    /// The tag of an MP3 of this loudness, where it is known yet.
    pub(super) fn tag(&self, replay_gain: Option<ReplayGain>) -> Tag<'_> {
        let late = self.audio.left_out(self.options);
        Tag {
            options: self.options,
            metadata: &self.part.metadata,
            start: self.part.start.saturating_add(late),
            replay_gain,
        }
    }
}

impl Conversion<'_> {
    /// The most bytes that the tag may take of an MP3 of this length.
    pub fn tag_bytes(&self, length: Duration) -> Result<u64> {
        let tag = self.tag(None);
        // Where the file does not say its length, the tag has room for any.
        let size = tag.encode(Some(length))?.len().max(tag.encode(None)?.len());
        Ok(size as u64)
    }
}

impl Tag<'_> {
    /// With room to write it again once the audio is known.
    pub fn encode(&self, length: Option<Duration>) -> Result<Vec<u8>> {
        // As long as any that is measured.
        let widest = ReplayGain {
            gain: -99.99,
            peak: 99.999_999,
        };
        let gain = self.replay_gain.unwrap_or(widest);
        let metadata = self.apply(length.unwrap_or(Duration::MAX), gain);
        id3::encode(&metadata, self.options.tags.version)
    }

    /// In exactly `size` bytes, with what is [known](Tag::known) now.
    pub fn encode_within(&self, metadata: &Metadata, size: usize) -> Result<Vec<u8>> {
        if size == 0 {
            return Ok(Vec::new());
        }
        id3::encode_within(metadata, self.options.tags.version, size)
    }

    /// What it says once the MP3's `length` is known.
    pub fn known(&self, length: Duration) -> Metadata {
        let silence = ReplayGain {
            gain: 0.0,
            peak: 0.0,
        };
        self.apply(length, self.replay_gain.unwrap_or(silence))
    }

    fn apply(&self, length: Duration, replay_gain: ReplayGain) -> Metadata {
        let mut metadata = self.metadata.clone();
        metadata.chapters = fit_chapters(&metadata.chapters, self.start, length);
        if self.options.normalize.is_some() {
            metadata.tags.forget_loudness();
        }
        let encoder = format!(
            "Micropy {}, {}",
            env!("CARGO_PKG_VERSION"),
            micropy_lame::version()
        );
        let mut result = self.options.tags.apply(&metadata, &encoder);
        if self.options.replay_gain {
            result.tags.set_replay_gain(replay_gain);
        }
        result
    }
}
