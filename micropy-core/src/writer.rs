//! Writes an MP3 from its first byte to its last: the ID3 tag, the Info tag's frame, the audio's frames.

use crate::error::{Error, Result};
use crate::frame_header::FrameHeader;
use crate::mp3::RateControl;
use crate::mp3::info_tag::{Encoding, FrameStats, InfoTag, Trim};
use crate::sink::Sink;
use crate::tags::ReplayGain;

/// What is known of an MP3 before its frames are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// How many frames, not counting the Info tag's, if that is known.
    pub frames: Option<u64>,
    /// What decoders leave out; `None`: nothing, not even their own delay.
    pub trim: Option<Trim>,
    /// They are padded as LAME pads frames of a constant bitrate.
    pub evenly: bool,
}

/// Bytes that go to the sink at once, or a frame more: two seconds of MP3 at 128 kbit/s.
const BATCH: usize = 32 << 10;

/// Writes one MP3.
pub struct Mp3Writer<'a> {
    sink: &'a mut dyn Sink,
    /// Bytes that are still to go there.
    pending: Vec<u8>,
    encoding: Encoding,
    foreseen: Foreseen,
    /// Bytes of the MP3 so far.
    bytes: u64,
    /// The Info tag's frame, once the first frame of the audio has shown its format.
    info: Option<Info>,
    audio: FrameStats,
}

/// The frame of the Info tag.
struct Info {
    /// Where it is in the MP3.
    at: u64,
    header: FrameHeader,
    /// The header of the audio's first frame.
    first: FrameHeader,
}

impl<'a> Mp3Writer<'a> {
    /// Begins an MP3 with `id3`.
    pub fn new(
        sink: &'a mut dyn Sink,
        id3: &[u8],
        encoding: Encoding,
        foreseen: Foreseen,
    ) -> Result<Self> {
        // It may hold a large cover, and there may long be no frame.
        sink.write_all(id3).map_err(Error::Write)?;
        Ok(Mp3Writer {
            sink,
            pending: Vec::with_capacity(BATCH),
            encoding,
            foreseen,
            bytes: id3.len() as u64,
            info: None,
            audio: FrameStats::new(),
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

    /// Frames so far, not counting the Info tag's.
    pub fn frames(&self) -> u64 {
        self.audio.frames()
    }

    /// Corrects how the Info tag describes the frames' bitrates.
    pub fn set_rate(&mut self, rate: RateControl) {
        self.encoding.rate = rate;
    }

    /// Writes `id3`, which is as long as the first, and the Info tag again with what is known now, if the sink can
    /// be rewritten. Finishes the sink, and returns the length of the MP3 in bytes.
    pub fn finish(
        mut self,
        id3: &[u8],
        trim: Option<Trim>,
        replay_gain: Option<ReplayGain>,
    ) -> Result<u64> {
        self.flush()?;
        if self.sink.can_rewrite() {
            if !id3.is_empty() {
                self.sink.rewrite(self.bytes, id3).map_err(Error::Write)?;
            }
            if let Some(info) = self.info {
                let tag = info_tag(info.first, &self.encoding, &self.audio, trim, replay_gain);
                self.sink
                    .rewrite(self.bytes - info.at, &tag.to_frame(info.header))
                    .map_err(Error::Write)?;
            }
        }
        self.sink.finish().map_err(Error::Write)?;
        Ok(self.bytes)
    }

    /// Writes the Info tag's frame before the audio's first, to be rewritten at the end if possible.
    fn begin(&mut self, frame: &[u8]) -> Result<()> {
        let bytes = frame.first_chunk().copied().unwrap_or_default();
        let first = FrameHeader::parse_layer_3(bytes).map_err(|e| Error::Encode(e.to_string()))?;
        let header = InfoTag::header(first, self.encoding.rate);
        let tag = self.predict(first);
        self.info = Some(Info {
            at: self.bytes,
            header,
            first,
        });
        self.write(&tag.to_frame(header))
    }

    /// The Info tag as far as it is known before the audio: for a constant bitrate, everything but the CRC of the
    /// music.
    fn predict(&self, first: FrameHeader) -> InfoTag {
        let Foreseen {
            frames,
            trim,
            evenly,
        } = self.foreseen;
        if let Some(frames) = frames
            && evenly
            && self.encoding.rate == RateControl::Cbr
        {
            let audio = FrameStats::predicted(first, frames);
            return info_tag(first, &self.encoding, &audio, trim, None);
        }
        let mut tag = info_tag(first, &self.encoding, &FrameStats::new(), trim, None);
        tag.frames = frames.and_then(|frames| u32::try_from(frames).ok());
        (tag.bytes, tag.toc) = (None, None);
        tag
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.pending.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        match self.pending.len() >= BATCH {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Passes the pending bytes on to the sink.
    fn flush(&mut self) -> Result<()> {
        let written = match self.pending.is_empty() {
            true => Ok(()),
            false => self.sink.write_all(&self.pending),
        };
        self.pending.clear();
        written.map_err(Error::Write)
    }
}

/// The tag of `audio`; without LAME's extension if nothing is to be cut off.
fn info_tag(
    first: FrameHeader,
    encoding: &Encoding,
    audio: &FrameStats,
    trim: Option<Trim>,
    replay_gain: Option<ReplayGain>,
) -> InfoTag {
    let none = Trim {
        delay: 0,
        padding: 0,
    };
    let mut tag = InfoTag::new(first, encoding, audio, trim.unwrap_or(none), replay_gain);
    if trim.is_none() {
        tag.extension = None;
    }
    tag
}
