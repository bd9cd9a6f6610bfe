//! An MP3 file from its first byte to its last: ID3, the Info tag's frame, the audio's frames.

use crate::error::{Error, Result};
use crate::mp3::RateControl;
use crate::mp3::header::Header;
use crate::mp3::info_tag::{Audio, Encoding, InfoTag, Trim};
use crate::sink::Sink;
use crate::tags::ReplayGain;

/// What is known of an MP3 before its frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// Frames, the Info tag's not counted.
    pub frames: u64,
    /// What decoders leave out.
    pub trim: Trim,
}

/// Writes one MP3.
pub struct Writer<'a> {
    sink: &'a mut dyn Sink,
    encoding: Encoding,
    foreseen: Option<Foreseen>,
    /// Bytes written.
    bytes: u64,
    /// The Info tag's frame, once the first of the audio's has shown what it looks like.
    info: Option<Info>,
    audio: Audio,
}

/// The frame of the Info tag.
struct Info {
    /// Where it was written.
    at: u64,
    header: Header,
    /// Of the audio's first frame.
    first: Header,
}

impl<'a> Writer<'a> {
    /// Begins an MP3 with `id3`.
    pub fn new(
        sink: &'a mut dyn Sink,
        id3: &[u8],
        encoding: Encoding,
        foreseen: Option<Foreseen>,
    ) -> Result<Self> {
        sink.write_all(id3).map_err(Error::Write)?;
        Ok(Writer {
            sink,
            encoding,
            foreseen,
            bytes: id3.len() as u64,
            info: None,
            audio: Audio::new(),
        })
    }

    /// Appends a whole frame.
    pub fn frame(&mut self, frame: &[u8]) -> Result<()> {
        if self.info.is_none() {
            self.begin(frame)?;
        }
        self.audio
            .add(frame)
            .map_err(|e| Error::Encode(e.to_string()))?;
        self.write(frame)
    }

    /// Frames so far, the Info tag's not counted.
    pub fn frames(&self) -> u64 {
        self.audio.frames()
    }

    /// Completes the Info tag, where the sink can be rewritten, and returns the length of the file in
    /// bytes.
    pub fn finish(self, trim: Trim, replay_gain: Option<ReplayGain>) -> Result<u64> {
        if let Some(info) = self.info.filter(|_| self.sink.can_rewrite()) {
            let tag = InfoTag::new(info.first, &self.encoding, &self.audio, trim, replay_gain);
            self.sink
                .rewrite(info.at, &tag.to_frame(info.header))
                .map_err(Error::Write)?;
        }
        self.sink.finish().map_err(Error::Write)?;
        Ok(self.bytes)
    }

    /// Writes the Info tag's frame before the audio's first: what will be rewritten, or all that can be
    /// known by now.
    fn begin(&mut self, frame: &[u8]) -> Result<()> {
        let bytes = frame.first_chunk().copied().unwrap_or_default();
        let first = Header::parse(bytes).map_err(|e| Error::Encode(e.to_string()))?;
        let header = InfoTag::header(first, self.encoding.rate);
        let tag = self.foretell(first);
        self.info = Some(Info {
            at: self.bytes,
            header,
            first,
        });
        self.write(&tag.to_frame(header))
    }

    /// The Info tag as far as it is known before the audio: for a constant bitrate everything but the CRC
    /// of the music.
    fn foretell(&self, first: Header) -> InfoTag {
        let Some(Foreseen { frames, trim }) = self.foreseen else {
            let unknown = Trim {
                delay: 0,
                padding: 0,
            };
            let mut tag = InfoTag::new(first, &self.encoding, &Audio::new(), unknown, None);
            (tag.frames, tag.bytes, tag.toc) = (None, None, None);
            return tag;
        };
        if self.encoding.rate == RateControl::Cbr {
            let audio = Audio::foretold(first, frames);
            return InfoTag::new(first, &self.encoding, &audio, trim, None);
        }
        let mut tag = InfoTag::new(first, &self.encoding, &Audio::new(), trim, None);
        tag.frames = u32::try_from(frames).ok();
        (tag.bytes, tag.toc) = (None, None);
        tag
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes).map_err(Error::Write)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}
