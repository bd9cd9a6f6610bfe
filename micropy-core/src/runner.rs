//! A running encoder: PCM in, frames out.

use micropy_lame::{Bitrate, Encoder, Settings};

use crate::error::{Error, Result};
use crate::mp3::RateControl;
use crate::mp3::frame::{Frame, FrameError, FrameSplitter};
use crate::pcm::Pcm;
use crate::span::Span;
use crate::stitch::Tail;

/// An encoder that began with a span, and the frames it has made.
pub struct Runner {
    /// The span it began with.
    pub span: usize,
    /// That span's first frame.
    pub first_frame: u64,
    rate_control: RateControl,
    encoder: Encoder,
    splitter: FrameSplitter,
    /// The last output of the encoder.
    piece: Vec<u8>,
    /// Frames that no seam can change any more.
    settled: Stretch,
    /// Frames after those.
    tail: Tail,
    /// Complete frames so far.
    count: u64,
}

impl Runner {
    /// A fresh encoder that begins with `span`.
    pub fn new(span: &Span, settings: &Settings) -> Result<Self> {
        Ok(Runner {
            span: span.index,
            first_frame: span.first_frame,
            rate_control: rate_control(settings.bitrate),
            encoder: Encoder::new(settings)?,
            splitter: FrameSplitter::new(),
            piece: Vec::new(),
            settled: Stretch::default(),
            tail: Tail::new(),
            count: 0,
        })
    }

    /// How the encoder spends its bits.
    pub fn rate_control(&self) -> RateControl {
        self.rate_control
    }

    /// Encodes `pcm` and returns the frames that it completes, each with its number in the output.
    pub fn encode(&mut self, pcm: &Pcm) -> Result<impl Iterator<Item = (u64, Frame)> + use<>> {
        let right = (pcm.channels() > 1).then(|| pcm.plane(1));
        self.encoder.encode(pcm.plane(0), right, &mut self.piece)?;
        let frames = split(&mut self.splitter, &mut self.piece)?;
        let first = self.first_frame + self.count;
        self.count += frames.len() as u64;
        Ok((first..).zip(frames))
    }

    /// Appends the next frame.
    pub fn keep(&mut self, frame: Frame) {
        self.tail.push(frame);
        self.settle();
    }

    /// Takes out the frames that a seam may still change. Return them with [`Runner::put_back`], or end with
    /// [`Runner::end_with`].
    pub fn take_tail(&mut self) -> Tail {
        std::mem::take(&mut self.tail)
    }

    /// Puts back what [`Runner::take_tail`] took out, with any frames added since.
    pub fn put_back(&mut self, tail: Tail) {
        self.tail = tail;
        self.settle();
    }

    /// All its frames, of which `tail` are the last, as joined at a seam.
    pub fn end_with(mut self, tail: Tail) -> Stretch {
        tail.into_frames()
            .for_each(|frame| self.settled.push(frame.bytes()));
        self.settled
    }

    /// All its frames, if the file ends here.
    pub fn finish(mut self) -> Result<Stretch> {
        self.encoder.flush(&mut self.piece)?;
        for frame in split(&mut self.splitter, &mut self.piece)? {
            self.tail.push(frame);
        }
        self.splitter.finish()?;
        self.tail
            .into_frames()
            .for_each(|frame| self.settled.push(frame.bytes()));
        Ok(self.settled)
    }

    fn settle(&mut self) {
        while let Some(frame) = self.tail.pop_settled() {
            self.settled.push(frame.bytes());
        }
    }
}

/// How an encoder with this setting spends its bits.
pub fn rate_control(bitrate: Bitrate) -> RateControl {
    match bitrate {
        Bitrate::Cbr(_) => RateControl::Cbr,
        Bitrate::Abr(_) => RateControl::Abr,
        Bitrate::Vbr(_) => RateControl::Vbr,
    }
}

/// Takes the frames that an encoder's `piece` completes out of the stream.
fn split(splitter: &mut FrameSplitter, piece: &mut Vec<u8>) -> Result<Vec<Frame>> {
    splitter.push(piece);
    piece.clear();
    let mut frames = Vec::new();
    while let Some(frame) = splitter.next_frame()? {
        frames.push(frame);
    }
    Ok(frames)
}

/// A run of frames, as bytes.
#[derive(Debug, Default)]
pub struct Stretch {
    /// Pieces of some frames each: a single buffer would be copied as it grows, and take twice the memory.
    pieces: Vec<Vec<u8>>,
    /// Where each frame ends: which piece, and the offset in it.
    ends: Vec<(u32, u32)>,
}

impl Stretch {
    /// Bytes of a piece: over forty of the largest frames.
    const PIECE: usize = 64 << 10;

    fn push(&mut self, frame: &[u8]) {
        let full = |piece: &Vec<u8>| piece.len() + frame.len() > Self::PIECE;
        if self.pieces.last().is_none_or(full) {
            self.pieces.push(Vec::with_capacity(Self::PIECE));
        }
        let last = self.pieces.len() - 1;
        self.pieces[last].extend_from_slice(frame);
        self.ends
            .push((last as u32, self.pieces[last].len() as u32));
    }

    /// The frames from number `from` on.
    pub fn iter_from(&self, from: usize) -> impl Iterator<Item = &[u8]> {
        (from..self.ends.len()).map(|i| {
            let (piece, end) = self.ends[i];
            let before = i.checked_sub(1).map(|last| self.ends[last]);
            let start = before
                .filter(|&(last, _)| last == piece)
                .map_or(0, |(_, end)| end);
            &self.pieces[piece as usize][start as usize..end as usize]
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
