//! Splits what an encoder writes, piece by piece, into frames.

use super::reservoir::{Reservoir, ReservoirError};
use super::side_info::SideInfo;
use crate::frame_header::{FrameHeader, HeaderError};

/// Why the bytes of a stream are not a sequence of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MP3 frame at byte {at}: {fault}")]
pub struct FrameError {
    /// Offset of the frame in the stream.
    pub at: u64,
    /// What is wrong with it.
    pub fault: FrameFault,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// Its header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Its place in the bit reservoir.
    #[error(transparent)]
    Reservoir(#[from] ReservoirError),
    /// The slot is too short for header and side information, or the stream ends within it.
    #[error("cut short")]
    Truncated,
}

/// One frame, with all that is needed to decode it, apart from the overlap with its neighbours.
#[derive(Clone, Debug)]
pub struct Frame {
    header: FrameHeader,
    side_info: SideInfo,
    /// From its header up to the next frame's.
    bytes: Vec<u8>,
    /// The main-data bytes of this frame that lie in earlier slots.
    reserved: Box<[u8]>,
}

impl Frame {
    /// The header.
    pub fn header(&self) -> FrameHeader {
        self.header
    }

    /// The side information.
    pub fn side_info(&self) -> &SideInfo {
        &self.side_info
    }

    /// The frame as it is in the stream: header, side information and slot.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The last `main_data_begin` main-data bytes before this frame: the beginning of its own main data.
    pub fn reserved(&self) -> &[u8] {
        &self.reserved
    }

    /// The slot without header and side information: main data of this frame and of later ones.
    pub fn slot(&self) -> &[u8] {
        &self.bytes[self.header.main_data_offset()..]
    }

    /// The slot, to replace the main data there.
    pub fn slot_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.header.main_data_offset()..]
    }

    /// Replaces the header by `header`, which differs in bitrate only, and cuts or pads the slot to its length.
    pub fn set_header(&mut self, header: FrameHeader) {
        debug_assert!(header.same_audio(self.header) && !header.has_crc());
        self.header = header;
        self.bytes[..FrameHeader::LEN].copy_from_slice(&header.to_bytes());
        self.bytes.resize(header.frame_len(), 0);
    }

    /// Whether both decode to the same: headers and side information are equal, apart from where the main data
    /// begins, and the main data is equal bit for bit.
    pub fn same_audio(&self, other: &Frame) -> bool {
        self.header.same_audio(other.header)
            && self.side_info.same_audio(&other.side_info)
            && self.main_data().eq(other.main_data())
    }

    /// The main data, with zeros after the last bit of its last byte.
    fn main_data(&self) -> impl Iterator<Item = u8> + '_ {
        let bits = self.side_info.main_data_bits();
        let bytes = self.reserved.iter().chain(self.slot());
        bytes
            .take(bits.div_ceil(8))
            .enumerate()
            .map(move |(i, &byte)| match bits - 8 * i {
                1..8 => byte & !(0xFF >> (bits - 8 * i)),
                _ => byte,
            })
    }
}

/// Splits a stream into its frames. The stream begins with a frame whose main data is all its own, as any
/// encoder's does.
#[derive(Debug, Default)]
pub struct FrameSplitter {
    /// Bytes of the stream; those before `start` are done.
    buffer: Vec<u8>,
    start: usize,
    /// Offset of `start` in the stream.
    at: u64,
    reservoir: Reservoir,
}

impl FrameSplitter {
    /// A splitter at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; `None` until it is complete.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let at = self.at;
        self.split().map_err(|fault| FrameError { at, fault })
    }

    /// Ends the stream: an error if a frame is incomplete.
    pub fn finish(self) -> Result<(), FrameError> {
        if self.start == self.buffer.len() {
            return Ok(());
        }
        Err(FrameError {
            at: self.at,
            fault: FrameFault::Truncated,
        })
    }

    fn split(&mut self) -> Result<Option<Frame>, FrameFault> {
        let rest = &self.buffer[self.start..];
        let Some(&first) = rest.first_chunk() else {
            return Ok(None);
        };
        let header = FrameHeader::parse_layer_3(first)?;
        let Some(bytes) = rest.get(..header.frame_len()) else {
            return Ok(None);
        };
        let side_info = bytes
            .get(header.side_info_offset()..)
            .and_then(|b| SideInfo::parse(header, b))
            .ok_or(FrameFault::Truncated)?;
        let slot = &bytes[header.main_data_offset()..];
        let reserved = self.reservoir.advance(header, &side_info, slot)?;
        let frame = Frame {
            header,
            side_info,
            bytes: bytes.to_vec(),
            reserved,
        };
        self.start += frame.bytes.len();
        self.at += frame.bytes.len() as u64;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame_header::ChannelMode;

    /// A frame of MPEG-2 mono at 8 kbit/s and 24 kHz: 24 bytes, of them 11 of main data.
    fn frame(begin: u8, bits: u16, slot: [u8; 11]) -> Vec<u8> {
        let mut bytes = FrameHeader::new(24_000, 8, ChannelMode::Mono)
            .unwrap()
            .to_bytes()
            .to_vec();
        bytes.extend([begin, (bits >> 5) as u8, (bits << 3) as u8]);
        bytes.extend([0; 6]);
        bytes.extend(slot);
        bytes
    }

    fn all(stream: &[u8]) -> Vec<Frame> {
        let mut splitter = FrameSplitter::new();
        splitter.push(stream);
        let mut all = Vec::new();
        while let Some(frame) = splitter.next_frame().unwrap() {
            all.push(frame);
        }
        splitter.finish().unwrap();
        all
    }

    #[test]
    fn pieces_of_any_length_give_the_same_frames() {
        let stream: Vec<u8> = (0..20)
            .flat_map(|i| frame(i % 5, 8 * u16::from(i % 5 + 6), [i; 11]))
            .collect();
        for piece in [1, 2, 23, 24, 25, 100] {
            let mut splitter = FrameSplitter::new();
            let mut got = Vec::new();
            for bytes in stream.chunks(piece) {
                splitter.push(bytes);
                while let Some(frame) = splitter.next_frame().unwrap() {
                    got.push(frame);
                }
            }
            splitter.finish().unwrap();
            assert_eq!(got.len(), 20);
            assert!(stream.chunks(24).eq(got.iter().map(Frame::bytes)));
            assert_eq!(got[19].reserved(), [18; 4]);
        }
    }

    #[test]
    fn equal_main_data_is_equal_wherever_it_begins() {
        let begun_early = all(&[
            frame(0, 0, [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]),
            frame(3, 37, [4, 0b1010_1000, 9, 9, 9, 9, 9, 9, 9, 9, 9]),
        ]
        .concat());
        let begun_late = all(&frame(0, 37, [1, 2, 3, 4, 0b1010_1111, 7, 7, 7, 7, 7, 7]));
        let one_bit_off = all(&frame(0, 37, [1, 2, 3, 4, 0b1010_0111, 7, 7, 7, 7, 7, 7]));
        assert!(begun_early[1].same_audio(&begun_late[0]));
        assert!(!begun_early[1].same_audio(&one_bit_off[0]));
        assert!(!begun_early[0].same_audio(&begun_late[0]));
    }

    #[test]
    fn a_broken_stream_is_an_error_with_its_place() {
        let mut splitter = FrameSplitter::new();
        splitter.push(&frame(0, 88, [0; 11]));
        splitter.push(&frame(1, 8, [0; 11]));
        assert!(splitter.next_frame().unwrap().is_some());
        let fault = FrameFault::Reservoir(ReservoirError::Overlap { begin: 1, spare: 0 });
        assert_eq!(
            splitter.next_frame().unwrap_err(),
            FrameError { at: 24, fault }
        );

        let mut splitter = FrameSplitter::new();
        splitter.push(&frame(0, 0, [0; 11])[..20]);
        assert!(splitter.next_frame().unwrap().is_none());
        let fault = FrameFault::Truncated;
        assert_eq!(splitter.finish(), Err(FrameError { at: 0, fault }));
    }
}
