//! An encoder under way: PCM in, frames out.

use micropy_lame::{Encoder, Settings};

use crate::error::{Error, Result};
use crate::mp3::frame::{Frame, FrameError, Frames};
use crate::pcm::Pcm;

/// An encoder that began with a span, and the frames it has made.
pub struct Runner {
    span: usize,
    encoder: Encoder,
    splitter: Frames,
    /// What the encoder gave last.
    piece: Vec<u8>,
    /// Frames that are settled: nothing changes in them any more.
    settled: Stretch,
    /// Frames after those, taken apart.
    frames: Vec<Frame>,
}

impl Runner {
    /// A fresh encoder that begins with span `span`.
    pub fn new(span: usize, settings: &Settings) -> Result<Self> {
        Ok(Runner {
            span,
            encoder: Encoder::new(settings)?,
            splitter: Frames::new(),
            piece: Vec::new(),
            settled: Stretch::default(),
            frames: Vec::new(),
        })
    }

    /// The span it began with.
    pub fn span(&self) -> usize {
        self.span
    }

    /// How many frames are whole.
    pub fn count(&self) -> usize {
        self.settled.ends.len() + self.frames.len()
    }

    /// The frames that are not settled.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The same, to be changed at a seam.
    pub fn frames_mut(&mut self) -> &mut Vec<Frame> {
        &mut self.frames
    }

    /// Encodes `pcm`.
    pub fn encode(&mut self, pcm: &Pcm) -> Result<()> {
        let right = (pcm.channels() > 1).then(|| pcm.plane(1));
        self.encoder.encode(pcm.plane(0), right, &mut self.piece)?;
        split(&mut self.splitter, &mut self.piece, &mut self.frames)
    }

    /// Settles all frames but the last `keep`.
    pub fn settle(&mut self, keep: usize) {
        let count = self.frames.len().saturating_sub(keep);
        for frame in self.frames.drain(..count) {
            self.settled.push(frame.bytes());
        }
    }

    /// All its frames, settled, as they are.
    pub fn into_frames(mut self) -> Stretch {
        self.settle(0);
        self.settled
    }

    /// Ends the stream: all its frames to the last.
    pub fn finish(mut self) -> Result<Stretch> {
        self.encoder.flush(&mut self.piece)?;
        split(&mut self.splitter, &mut self.piece, &mut self.frames)?;
        self.splitter.finish()?;
        self.frames
            .iter()
            .for_each(|frame| self.settled.push(frame.bytes()));
        Ok(self.settled)
    }
}

/// Takes the frames out of an encoder's `piece` that are whole with it.
fn split(splitter: &mut Frames, piece: &mut Vec<u8>, frames: &mut Vec<Frame>) -> Result<()> {
    splitter.push(piece);
    piece.clear();
    while let Some(frame) = splitter.next_frame()? {
        frames.push(frame);
    }
    Ok(())
}

/// Frames that follow each other, as bytes.
#[derive(Debug, Default)]
pub struct Stretch {
    bytes: Vec<u8>,
    /// Where in `bytes` each frame ends.
    ends: Vec<usize>,
}

impl Stretch {
    fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len());
    }

    /// The frames from number `from` on.
    pub fn iter_from(&self, from: usize) -> impl Iterator<Item = &[u8]> {
        (from..self.ends.len()).map(|i| {
            let start = i.checked_sub(1).map_or(0, |last| self.ends[last]);
            &self.bytes[start..self.ends[i]]
        })
    }
}

impl From<micropy_lame::Error> for Error {
    fn from(error: micropy_lame::Error) -> Self {
        match error {
            micropy_lame::Error::Lame { .. } | micropy_lame::Error::OutOfMemory => {
                Error::Encode(error.to_string())
            }
            setting => Error::InvalidOption(setting.to_string()),
        }
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        Error::Encode(error.to_string())
    }
}
