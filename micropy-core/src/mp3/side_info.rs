//! The side information of a frame (ISO/IEC 11172-3 §2.4.1.7, ISO/IEC 13818-3 §2.4.1.7): where its main
//! data begins, how long it is, and how each granule is windowed.
//!
//! ```text
//! bits              MPEG-1                MPEG-2, 2.5
//! main_data_begin   9                     8
//! private_bits      5 mono, 3 stereo      1 mono, 2 stereo
//! scfsi             4 per channel         none
//! granule           59 per channel, × 2   63 per channel
//! ```
//!
//! A granule begins with part2_3_length (12 bits), big_values (9), global_gain (8), scalefac_compress (4
//! in MPEG-1, else 9), window_switching_flag (1); where that is set, block_type (2) and mixed_block_flag
//! (1) follow.

use crate::frame_header::{FrameHeader, Version};

/// The most bytes of side information: MPEG-1, two channels.
const MAX_LEN: usize = 32;

/// The window of a granule in one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// 0 long, 1 start, 2 three short, 3 stop.
    pub block_type: u8,
    /// The lowest two subbands keep the long window (block type 2 only).
    pub mixed: bool,
}

/// The side information of one frame.
#[derive(Clone, Debug)]
pub struct SideInfo {
    header: FrameHeader,
    bytes: [u8; MAX_LEN],
}

impl SideInfo {
    /// Takes the side information of a frame from `bytes`, which begin with it.
    ///
    /// Returns `None` if there are fewer than [`FrameHeader::side_info_len`].
    pub fn parse(header: FrameHeader, bytes: &[u8]) -> Option<Self> {
        let raw = bytes.get(..header.side_info_len())?;
        let mut bytes = [0; MAX_LEN];
        bytes[..raw.len()].copy_from_slice(raw);
        Some(SideInfo { header, bytes })
    }

    /// How many main-data bytes before this frame's own (headers and side information not counted) its
    /// main data begins: at most 511 in MPEG-1, else 255.
    pub fn main_data_begin(&self) -> usize {
        self.bits(0, self.main_data_begin_bits()) as usize
    }

    /// Bits of main data: scale factors and Huffman codes of all granules and channels.
    pub fn main_data_bits(&self) -> usize {
        let channels = self.header.channels();
        (0..self.header.granules() * channels)
            .map(|i| self.bits(self.granule_at(i), 12) as usize)
            .sum()
    }

    /// The window of the last granule in each channel, which decides how the next frame overlaps.
    pub fn last_windows(&self) -> impl Iterator<Item = Window> + '_ {
        let channels = self.header.channels();
        let first = (self.header.granules() - 1) * channels;
        (first..first + channels).map(|i| self.window(i))
    }

    /// Whether both describe the same main data, wherever it begins.
    pub fn same_audio(&self, other: &SideInfo) -> bool {
        let begin = self.main_data_begin_bits();
        let mask = u16::MAX >> begin;
        let leading = |s: &SideInfo| u16::from_be_bytes([s.bytes[0], s.bytes[1]]) & mask;
        leading(self) == leading(other) && self.bytes[2..] == other.bytes[2..]
    }

    /// The window of granule and channel `i`, both counted in one sequence.
    fn window(&self, i: usize) -> Window {
        let scalefac_compress = match self.header.version() {
            Version::Mpeg1 => 4,
            _ => 9,
        };
        let switching = self.granule_at(i) + 12 + 9 + 8 + scalefac_compress;
        if self.bits(switching, 1) == 0 {
            return Window {
                block_type: 0,
                mixed: false,
            };
        }
        Window {
            block_type: self.bits(switching + 1, 2) as u8,
            mixed: self.bits(switching + 3, 1) == 1,
        }
    }

    fn main_data_begin_bits(&self) -> usize {
        match self.header.version() {
            Version::Mpeg1 => 9,
            _ => 8,
        }
    }

    /// The first bit of granule and channel `i`, both counted in one sequence.
    fn granule_at(&self, i: usize) -> usize {
        let (before, each) = match (self.header.version(), self.header.channels()) {
            (Version::Mpeg1, 1) => (9 + 5 + 4, 59),
            (Version::Mpeg1, _) => (9 + 3 + 8, 59),
            (_, 1) => (8 + 1, 63),
            (_, _) => (8 + 2, 63),
        };
        before + i * each
    }

    /// `count` ≤ 12 bits from bit `at`, which are within the side information.
    fn bits(&self, at: usize, count: usize) -> u32 {
        let byte = |i: usize| u32::from(self.bytes.get(at / 8 + i).copied().unwrap_or(0));
        let window = byte(0) << 16 | byte(1) << 8 | byte(2);
        window >> (24 - at % 8 - count) & ((1 << count) - 1)
    }
}

/// Silences `frame`, which has this header: its side information then declares no main data. The slot stays, since
/// later frames may have main data there.
pub fn silence(header: FrameHeader, frame: &mut [u8]) {
    let side_info = header.side_info_offset()..header.main_data_offset();
    frame[side_info.clone()].fill(0);
    if header.has_crc() {
        let crc = crc(&[&frame[2..FrameHeader::LEN], &frame[side_info]]);
        frame[FrameHeader::LEN..FrameHeader::LEN + 2].copy_from_slice(&crc.to_be_bytes());
    }
}

/// The CRC of a frame: over the second half of the header and the side information (ISO/IEC 11172-3
/// §2.4.3.1; polynomial 0x8005, all ones at the start).
fn crc(parts: &[&[u8]]) -> u16 {
    let bytes = parts.iter().copied().flatten();
    bytes.fold(0xFFFF, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            crc << 1 ^ if crc & 0x8000 != 0 { 0x8005 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame_header::ChannelMode;

    /// Packs `(value, bits)` most significant bit first, as the standard writes its bit streams.
    fn pack(fields: &[(u32, usize)]) -> Vec<u8> {
        let bits: Vec<u8> = fields
            .iter()
            .flat_map(|&(value, n)| (0..n).rev().map(move |i| (value >> i & 1) as u8))
            .collect();
        bits.chunks(8)
            .map(|b| b.iter().fold(0, |byte, bit| byte << 1 | bit) << (8 - b.len()))
            .collect()
    }

    #[test]
    fn verify_mpeg_1_stereo_against_the_bit_layout() {
        let header = FrameHeader::new(44_100, 128, ChannelMode::JointStereo).unwrap();
        let granule = |length, window: [(u32, usize); 3]| {
            let mut fields = vec![(length, 12), (288, 9), (210, 8), (15, 4)];
            fields.extend(window);
            fields.extend([(0, 19), (1, 1), (0, 1), (1, 1)]);
            fields
        };
        let long = [(0, 1), (3, 2), (1, 1)]; // the two bits are table_select here
        let mut fields = vec![(511, 9), (5, 3), (0b1010, 4), (0b0101, 4)];
        for g in [
            granule(4095, [(1, 1), (2, 2), (1, 1)]),
            granule(1, long),
            granule(100, [(1, 1), (3, 2), (0, 1)]),
            granule(1000, long),
        ] {
            fields.extend(g);
        }
        let bytes = pack(&fields);
        assert_eq!(bytes.len(), header.side_info_len());

        let info = SideInfo::parse(header, &bytes).unwrap();
        assert_eq!(info.main_data_begin(), 511);
        assert_eq!(info.main_data_bits(), 4095 + 1 + 100 + 1000);
        assert_eq!(
            info.window(0),
            Window {
                block_type: 2,
                mixed: true
            }
        );
        let windows: Vec<_> = info.last_windows().map(|w| w.block_type).collect();
        assert_eq!(windows, [3, 0]);

        let mut moved = bytes.clone();
        moved[0] = 0;
        moved[1] &= 0x7F;
        let moved = SideInfo::parse(header, &moved).unwrap();
        assert_eq!(moved.main_data_begin(), 0);
        assert!(info.same_audio(&moved));
        for bit in 9..256 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 0x80 >> (bit % 8);
            let other = SideInfo::parse(header, &other).unwrap();
            assert!(!info.same_audio(&other), "bit {bit}");
        }
        assert!(SideInfo::parse(header, &bytes[..31]).is_none());
    }

    #[test]
    fn verify_mpeg_2_mono_against_the_bit_layout() {
        let header = FrameHeader::new(22_050, 64, ChannelMode::Mono).unwrap();
        let bytes = pack(&[
            (255, 8),
            (1, 1),
            (2345, 12),
            (288, 9),
            (210, 8),
            (511, 9),
            (1, 1),
            (1, 2),
            (0, 1),
            (0, 19),
            (1, 1),
            (1, 1),
        ]);
        assert_eq!(bytes.len(), header.side_info_len());
        let info = SideInfo::parse(header, &bytes).unwrap();
        assert_eq!((info.main_data_begin(), info.main_data_bits()), (255, 2345));
        let window = Window {
            block_type: 1,
            mixed: false,
        };
        assert_eq!(info.last_windows().collect::<Vec<_>>(), [window]);
        let mut moved = bytes.clone();
        moved[0] = 3;
        assert!(info.same_audio(&SideInfo::parse(header, &moved).unwrap()));
        moved[1] ^= 0x80;
        assert!(!info.same_audio(&SideInfo::parse(header, &moved).unwrap()));
    }
}
