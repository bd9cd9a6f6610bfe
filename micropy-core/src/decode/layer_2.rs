//! Layer II at bitrates that ISO/IEC 11172-3, 2.4.2.3 forbids for a number of channels. Encoders write such frames all
//! the same, and nothing in them is ambiguous. The decoder insists on that table, so they are rewritten for it, without
//! a change to the sound.

use super::DecodeError;
use super::bits::Bits;
use crate::frame_header::{ChannelMode, FrameHeader, Layer, Version};

/// A frame that the decoder takes.
pub enum Allowed {
    /// As it is, but at a higher bitrate: longer, with the same sound.
    Raised(Vec<u8>),
    /// Of two channels: the sound is the first one's, and the second is silent.
    Paired(Vec<u8>),
}

/// `frame` with a bitrate that is allowed; `None` where its own is.
pub fn with_allowed_bitrate(
    header: FrameHeader,
    frame: &[u8],
) -> Result<Option<Allowed>, DecodeError> {
    if header.layer() != Layer::Two || is_allowed(header) {
        return Ok(None);
    }
    match header.channel_mode() {
        ChannelMode::Mono => paired(header, frame).map(|frame| Some(Allowed::Paired(frame))),
        _ => Ok(Some(Allowed::Raised(raised(header, frame)))),
    }
}

fn is_allowed(header: FrameHeader) -> bool {
    match header.channel_mode() {
        ChannelMode::Mono => !matches!(header.bitrate(), 224 | 256 | 320 | 384),
        _ => !matches!(header.bitrate(), 32 | 48 | 56 | 80),
    }
}

/// The next higher bitrates have the same tables of bit allocation: those up to 48 kbit/s a channel share one (3-B.2c
/// or d), and those of MPEG-2 all. What the frame lacks in length then comes after its sound.
fn raised(header: FrameHeader, frame: &[u8]) -> Vec<u8> {
    let mut raised = header;
    while !is_allowed(raised)
        && let Some(next) = raised.raised()
    {
        raised = next;
    }
    let mut frame = frame.to_vec();
    frame[..FrameHeader::LEN].copy_from_slice(&raised.to_bytes());
    frame.resize(raised.frame_len(), 0);
    frame
}

/// The header of the longest frame of two channels: MPEG-1, layer II, no CRC, 384 kbit/s, 32 kHz, two programmes. Its
/// table of bit allocation (3-B.2b) is that of these frames, or continues it (3-B.2a); the rate changes nothing else.
const PAIRED: [u8; FrameHeader::LEN] = [0xFF, 0xFD, 0xE8, 0x80];
const PAIRED_LEN: usize = 1728;

/// Sub-bands with bits in tables 3-B.2a and b.
const SUB_BANDS_AT_48_KHZ: usize = 27;
const SUB_BANDS: usize = 30;

/// Bits of the allocation of `sub_band` in tables 3-B.2a and b.
fn allocation_bits(sub_band: usize) -> u32 {
    match sub_band {
        0..11 => 4,
        11..23 => 3,
        _ => 2,
    }
}

/// A frame of one channel as the first of two: the second one has no bits in any sub-band, so it takes no room but for
/// its allocations.
fn paired(header: FrameHeader, frame: &[u8]) -> Result<Vec<u8>, DecodeError> {
    debug_assert_eq!(header.version(), Version::Mpeg1);
    let sub_bands = match header.sample_rate() {
        48_000 => SUB_BANDS_AT_48_KHZ,
        _ => SUB_BANDS,
    };
    let mut bits = Bits::at(frame, 8 * header.side_info_offset());
    let mut paired = Writer {
        bytes: PAIRED.to_vec(),
        free: 0,
    };
    for sub_band in 0..SUB_BANDS {
        let width = allocation_bits(sub_band);
        let allocation = match sub_band < sub_bands {
            true => bits
                .read(width)
                .ok_or_else(|| DecodeError("a frame without bit allocation".into()))?,
            false => 0,
        };
        paired.put(allocation, width);
        paired.put(0, width);
    }
    while bits.left() > 0 {
        let width = bits.left().min(8) as u32;
        paired.put(bits.read(width).unwrap_or(0), width);
    }
    let mut frame = paired.bytes;
    // At 384 kbit/s and 32 kHz, a few bytes are too many: they are hardly ever of sound.
    if frame.iter().skip(PAIRED_LEN).any(|&byte| byte != 0) {
        return Err(DecodeError(
            "a layer II frame of one channel that is full at 384 kbit/s".into(),
        ));
    }
    frame.resize(PAIRED_LEN, 0);
    Ok(frame)
}

/// Appends bits to bytes.
struct Writer {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written yet.
    free: u32,
}

impl Writer {
    fn put(&mut self, value: u32, width: u32) {
        for bit in (0..width).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.bytes.last_mut() {
                *last |= (value >> bit & 1) as u8 * (1 << self.free);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_the_header_of_two_channels() {
        let header = FrameHeader::parse(PAIRED).unwrap();
        assert!(is_allowed(header) && !header.has_crc());
        assert_eq!((header.bitrate(), header.sample_rate()), (384, 32_000));
        assert_eq!(
            (header.layer(), header.frame_len()),
            (Layer::Two, PAIRED_LEN)
        );
        assert_eq!(header.channel_mode(), ChannelMode::DualChannel);
    }

    /// Every header of layer II: what is forbidden becomes what is allowed.
    #[test]
    fn every_forbidden_bitrate_is_replaced() {
        let mut forbidden = 0;
        for (third, fourth) in (0..=255).flat_map(|t| (0..4).map(move |mode| (t, mode << 6))) {
            for second in [0xFD, 0xFC, 0xF5, 0xE5] {
                let Ok(header) = FrameHeader::parse([0xFF, second, third, fourth]) else {
                    continue;
                };
                let mut frame = vec![0; header.frame_len()];
                frame[..4].copy_from_slice(&header.to_bytes());
                let Some(allowed) = with_allowed_bitrate(header, &frame).unwrap() else {
                    continue;
                };
                let (Allowed::Raised(rewritten) | Allowed::Paired(rewritten)) = &allowed;
                let new = FrameHeader::parse(*rewritten.first_chunk().unwrap()).unwrap();
                assert!(
                    is_allowed(new) && new.frame_len() == rewritten.len(),
                    "{header:?}"
                );
                if let Allowed::Raised(_) = allowed {
                    assert_eq!(new.sample_rate(), header.sample_rate());
                    let most = if header.version() == Version::Mpeg1 {
                        96
                    } else {
                        160
                    };
                    assert!((header.bitrate()..=most).contains(&new.bitrate()));
                }
                forbidden += 1;
            }
        }
        assert!(forbidden > 100, "{forbidden}");
    }

    #[test]
    fn a_frame_cut_in_its_allocation_is_an_error() {
        let header = FrameHeader::parse([0xFF, 0xFD, 0xE0, 0xC0]).unwrap();
        assert!(with_allowed_bitrate(header, &header.to_bytes()).is_err());
    }
}
