//! The bit reservoir (ISO/IEC 11172-3 §2.4.3.4, annex C.1.5.4.2): a frame's main data may begin in the slots of earlier
//! frames that left room.
//!
//! Without headers and side information, the slots form one stream of main data. It holds the main data frame by
//! frame, each beginning at a byte, with stuffing (ancillary data) in between:
//!
//! ```text
//! slots        |......k−1......|.......k.......|.....k+1.....|
//! main data    ...k−1.....|~~|....k....|.....k+1.....|~~~~~~~|
//!                            ◀─▶ main_data_begin of k
//! ```

use super::side_info::SideInfo;
use crate::frame_header::FrameHeader;

/// How far back main data can begin: `main_data_begin` has 9 bits.
pub const MAX_MAIN_DATA_BEGIN: usize = 511;

/// Why a frame's main data is not where its side information says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReservoirError {
    /// `main_data_begin` points before the first slot, or into the main data of an earlier frame.
    #[error("main_data_begin is {begin}, but only {spare} bytes before the frame are not yet used")]
    Overlap {
        /// `main_data_begin`.
        begin: usize,
        /// Bytes after the main data of the previous frame.
        spare: usize,
    },
    /// The main data extends past the end of the slot.
    #[error("{needed} bytes of main data, but only {room} up to the end of the frame")]
    Overrun {
        /// Bytes of main data.
        needed: usize,
        /// Bytes from where it begins to the end of the slot.
        room: usize,
    },
}

/// The end of the stream of main data, as far as the next frame can reach back.
#[derive(Debug, Default)]
pub struct Reservoir {
    /// The last bytes of it, at most [`MAX_MAIN_DATA_BEGIN`].
    recent: Vec<u8>,
    /// How many of them, at the end, no frame has used.
    spare: usize,
}

impl Reservoir {
    /// Takes in the next frame, whose part of the stream is `slot`, and returns the main-data bytes before
    /// the frame that belong to it: `main_data_begin` of them.
    pub fn advance(
        &mut self,
        header: FrameHeader,
        side_info: &SideInfo,
        slot: &[u8],
    ) -> Result<Box<[u8]>, ReservoirError> {
        debug_assert_eq!(slot.len() + header.main_data_offset(), header.frame_len());
        let begin = side_info.main_data_begin();
        if begin > self.spare {
            return Err(ReservoirError::Overlap {
                begin,
                spare: self.spare,
            });
        }
        let room = begin + slot.len();
        let needed = side_info.main_data_bits().div_ceil(8);
        if needed > room {
            return Err(ReservoirError::Overrun { needed, room });
        }
        let reserved = self.recent[self.recent.len() - begin..].into();
        self.recent.extend_from_slice(slot);
        let excess = self.recent.len().saturating_sub(MAX_MAIN_DATA_BEGIN);
        self.recent.drain(..excess);
        self.spare = (room - needed).min(self.recent.len());
        Ok(reserved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame_header::ChannelMode;

    /// MPEG-2 mono at 8 kbit/s and 24 kHz: 24 bytes, of them 11 of main data.
    fn advance(
        reservoir: &mut Reservoir,
        begin: u8,
        bits: u16,
        fill: u8,
    ) -> Result<Box<[u8]>, ReservoirError> {
        let header = FrameHeader::new(24_000, 8, ChannelMode::Mono).unwrap();
        let mut info = [0; 9];
        info[0] = begin;
        // After main_data_begin and one private bit: part2_3_length, 12 bits.
        info[1] = (bits >> 5) as u8;
        info[2] = (bits << 3) as u8;
        let info = SideInfo::parse(header, &info).unwrap();
        assert_eq!(info.main_data_bits(), usize::from(bits));
        reservoir.advance(header, &info, &[fill; 11])
    }

    #[test]
    fn the_next_frame_may_use_what_one_leaves() {
        let mut r = Reservoir::default();
        assert!(advance(&mut r, 0, 41, 1).unwrap().is_empty()); // 6 bytes; 5 are left
        assert_eq!(*advance(&mut r, 3, 8 * 8, 2).unwrap(), [1; 3]); // 6 are left
        assert_eq!(*advance(&mut r, 6, 17 * 8, 3).unwrap(), [2; 6]);
        let full = ReservoirError::Overlap { begin: 1, spare: 0 };
        assert_eq!(advance(&mut r, 1, 0, 4), Err(full));
    }

    #[test]
    fn main_data_past_the_slot_is_refused() {
        let mut r = Reservoir::default();
        let over = ReservoirError::Overrun {
            needed: 12,
            room: 11,
        };
        assert_eq!(advance(&mut r, 0, 89, 1), Err(over));
    }

    #[test]
    fn the_reservoir_spans_slots_and_stays_bounded() {
        let mut r = Reservoir::default();
        for fill in 0..100 {
            advance(&mut r, 0, 0, fill).unwrap();
            // Nothing is used, so all is spare: the longest reach is full slots back.
            assert!(r.recent.len() <= MAX_MAIN_DATA_BEGIN && r.spare <= 11);
        }
        // A frame without main data still ends the main data before it: only its own slot is spare.
        assert_eq!(*advance(&mut r, 11, 0, 100).unwrap(), [99; 11]);
        assert_eq!(
            *advance(&mut r, 22, 0, 101).unwrap(),
            [[99; 11], [100; 11]].concat()
        );
    }
}
