//! Seams: where the frames of one span end in the output and those of the next begin.
//!
//! Each span is encoded by an encoder of its own, started in the middle of the track. Given the same PCM, its
//! frames converge on those that the encoder of the span before would have made. So the left encoder (A) goes on
//! past its end, alongside the first frames of the right one (B), until both make the same; there B takes over.
//! Where that never happens, a frame where both have the same windows still gives a sound stream.
//!
//! ```text
//! A  …──────────────┬──0──1──2─ … ─k−1─┐          frames are counted from B's start
//! B                 └··0··1··2· … ·k−1·┴──k──k+1──…
//! ```
//!
//! The choice depends on the frames alone, so the same spans always give the same bytes.
//!
//! 1. The first `k` after the warm-up before which [`EQUAL_FRAMES`] frames decode to the same in A and B.
//!    With a constant bitrate the frames must begin their main data equally early, too, and so must `k`.
//! 2. Where the window has none: the `k` with the longest row of equal frames before it, the last of such,
//!    since B has come nearest to A there. It may be a row of none, if only the windows at the end of the
//!    frame `k−1` are equal, and A has reserved as many bytes before `k` as B needs.
//! 3. Unless the bitrate is constant, A may also reserve fewer: the slot of its frame `k−1` is made longer.
//! 4. Where there is no such frame either, A goes on through the whole of B ([`Verdict::NoSeam`]), and the
//!    next seam is between A and C. It does so without rules 2 and 3 where B is the end of the track and so short
//!    that A has come through it already.
//!
//! A joined stream holds A up to the header of `k`, and B from there, untouched. B's frame `k` begins in the slots
//! before it, which are A's: the bytes that A had reserved there for its own frame `k` are replaced by B's.

use std::collections::VecDeque;

use crate::frame_header::FrameHeader;
use crate::mp3::RateControl;
use crate::mp3::frame::Frame;
use crate::mp3::reservoir::MAX_MAIN_DATA_BEGIN;

/// Equal frames in a row that are taken as proof that both encoders stay equal. Eight are too few: at CBR 32 and
/// 22.05 kHz, and at CBR 128 and 48 kHz, encoders have agreed for eight frames and parted again.
pub const EQUAL_FRAMES: usize = 16;

/// The last frames of a span, as far as a seam may still change or replace them.
#[derive(Debug, Default)]
pub struct Tail {
    frames: VecDeque<Frame>,
    /// Bytes in the slots of `frames`.
    main_data: usize,
}

impl Tail {
    /// The tail of a span that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next frame of the span.
    pub fn push(&mut self, frame: Frame) {
        self.main_data += frame.slot().len();
        self.frames.push_back(frame);
    }

    /// Takes out the first frame, if it is further from the end than any main data reaches back.
    pub fn pop_settled(&mut self) -> Option<Frame> {
        let rest = self.main_data - self.frames.front()?.slot().len();
        if rest < MAX_MAIN_DATA_BEGIN {
            return None;
        }
        self.main_data = rest;
        self.frames.pop_front()
    }

    /// All frames: the span is the last, or joined to the next.
    pub fn into_frames(self) -> impl ExactSizeIterator<Item = Frame> {
        self.frames.into_iter()
    }

    /// Cuts off the frames from `len` on.
    fn truncate(&mut self, len: usize) {
        let cut: usize = self.frames.drain(len..).map(|f| f.slot().len()).sum();
        self.main_data -= cut;
    }

    /// Puts `header`, of another bitrate, before the last frame.
    fn set_last_header(&mut self, header: FrameHeader) {
        if let Some(frame) = self.frames.back_mut() {
            self.main_data -= frame.slot().len();
            frame.set_header(header);
            self.main_data += frame.slot().len();
        }
    }

    /// Replaces as many of the last main-data bytes by `bytes`.
    fn overwrite_main_data(&mut self, mut bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.main_data);
        for frame in self.frames.iter_mut().rev() {
            let slot = frame.slot_mut();
            let n = slot.len().min(bytes.len());
            let (rest, last) = bytes.split_at(bytes.len() - n);
            let at = slot.len() - n;
            slot[at..].copy_from_slice(last);
            bytes = rest;
            if bytes.is_empty() {
                break;
            }
        }
    }
}

/// Where B takes over from A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seam {
    /// B's first frame in the output, counted from B's start.
    pub k: usize,
    /// How many frames directly before `k` decode to the same in A and B; [`EQUAL_FRAMES`] or more where
    /// the encoders have become equal (rule 1), fewer where the seam is only sound (rules 2 and 3).
    pub equal: usize,
    /// The header of a higher bitrate that A's frame `k−1` needs (rule 3).
    raise: Option<FrameHeader>,
}

/// What the next frame of A leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next frame of A is needed.
    GoOn,
    /// A is done: [`SeamSearch::join`] it here.
    Seam(Seam),
    /// There is no seam with B: A goes on through the whole of it, from [`SeamSearch::into_tail`].
    NoSeam,
}

/// The search for a seam between a span that has ended, A, and the next, B.
///
/// It ends at the latest with the last of B's frames that it was given. If these are [all](SeamSearch::of_all)
/// there are, A has encoded the whole of B by then.
#[derive(Debug)]
pub struct SeamSearch<'b> {
    left: Tail,
    /// How many of A's frames lie before B's start.
    before: usize,
    head: &'b [Frame],
    rate: RateControl,
    warm_up: usize,
    /// How many frames directly before the next are equal.
    equal: usize,
    /// Whether A and B have the same windows at the end of the last frame offered.
    same_windows: bool,
    /// The best seam so far by rules 2 and 3.
    fallback: Option<Seam>,
    /// B has no frames but those in `head`.
    all: bool,
}

impl<'b> SeamSearch<'b> {
    /// `left` holds the end of A, up to the frame before B's first; `head` are the first frames of B, of
    /// which the first `warm_up` are not to be used.
    pub fn new(left: Tail, head: &'b [Frame], rate: RateControl, warm_up: usize) -> Self {
        SeamSearch {
            before: left.frames.len(),
            left,
            head,
            rate,
            warm_up,
            equal: 0,
            same_windows: false,
            fallback: None,
            all: false,
        }
    }

    /// With `all`, B is the end of the track and has no more frames than A was shown. A seam is then made only where
    /// both have become equal: any other would replace A's frames, which are exact, by B's.
    pub fn of_all(mut self, all: bool) -> Self {
        self.all = all;
        self
    }

    /// Takes the next frame of A, beginning with the one at B's start.
    pub fn offer(&mut self, ours: Frame) -> Verdict {
        let k = self.left.frames.len() - self.before;
        let Some(theirs) = self.head.get(k) else {
            self.left.push(ours);
            return self.at_the_end();
        };
        let seam = self.seam_before(&ours, theirs, k);
        self.compare(&ours, theirs);
        self.left.push(ours);
        match seam {
            Some(seam) if seam.equal >= EQUAL_FRAMES => return Verdict::Seam(seam),
            Some(seam) if self.fallback.is_none_or(|f| f.equal <= seam.equal) => {
                self.fallback = Some(seam);
            }
            _ => {}
        }
        if k + 1 == self.head.len() {
            return self.at_the_end();
        }
        Verdict::GoOn
    }

    /// A up to the seam, with the beginning of B's frame `k` in its last slots. B follows from `k`.
    pub fn join(mut self, seam: Seam) -> Tail {
        let at = self.before + seam.k;
        let mut reserved = self.left.frames[at].side_info().main_data_begin();
        self.left.truncate(at);
        if let Some(header) = seam.raise {
            let before = self.left.main_data;
            self.left.set_last_header(header);
            reserved += self.left.main_data - before;
        }
        let theirs = self.head[seam.k].reserved();
        let mut bytes = vec![0; reserved - theirs.len()];
        bytes.extend_from_slice(theirs);
        self.left.overwrite_main_data(&bytes);
        self.left
    }

    /// All of A's frames that are left, as they are.
    pub fn into_tail(self) -> Tail {
        self.left
    }

    /// The seam before the frame `k`, if there can be one.
    fn seam_before(&self, ours: &Frame, theirs: &Frame, k: usize) -> Option<Seam> {
        if k < self.warm_up || !self.same_windows {
            return None;
        }
        let reserved = ours.side_info().main_data_begin();
        let needed = theirs.side_info().main_data_begin();
        let equal = match self.rate {
            RateControl::Cbr if reserved != needed => self.equal.min(EQUAL_FRAMES - 1),
            _ => self.equal,
        };
        let raise = match needed.checked_sub(reserved) {
            None | Some(0) => None,
            Some(missing) => Some(self.raised(missing)?),
        };
        Some(Seam { k, equal, raise })
    }

    /// The header with which A's last frame is at least `missing` bytes longer.
    fn raised(&self, missing: usize) -> Option<FrameHeader> {
        let header = self.left.frames.back()?.header();
        if self.rate == RateControl::Cbr || header.has_crc() {
            return None;
        }
        let enough = header.frame_len() + missing;
        std::iter::successors(header.raised(), |h| h.raised()).find(|h| h.frame_len() >= enough)
    }

    fn compare(&mut self, ours: &Frame, theirs: &Frame) {
        let begin = |frame: &Frame| frame.side_info().main_data_begin();
        let same_place = self.rate != RateControl::Cbr || begin(ours) == begin(theirs);
        self.equal = match same_place && ours.same_audio(theirs) {
            true => self.equal + 1,
            false => 0,
        };
        let windows = ours.side_info().last_windows();
        self.same_windows = windows.eq(theirs.side_info().last_windows());
    }

    fn at_the_end(&self) -> Verdict {
        match self.fallback {
            Some(seam) if !self.all => Verdict::Seam(seam),
            _ => Verdict::NoSeam,
        }
    }
}

#[cfg(test)]
pub mod tests;
