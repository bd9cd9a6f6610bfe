//! What an AAC packet tells without being decoded: the ADTS header that some writers leave on (ISO/IEC 14496-3, 1.A.2)
//! and the first elements of its raw_data_block (4.4.2.1).

use super::DecodeError;
use super::aac_config::ProgramConfig;
use super::bits::Bits;

/// `id_syn_ele` (table 4.85).
mod id {
    pub const SCE: u32 = 0;
    pub const CPE: u32 = 1;
    pub const CCE: u32 = 2;
    pub const LFE: u32 = 3;
    pub const DSE: u32 = 4;
    pub const PCE: u32 = 5;
    pub const FIL: u32 = 6;
}

/// The first element of a packet that carries sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelElement {
    /// single_channel_element or lfe_channel_element: one channel.
    Single,
    /// channel_pair_element: two.
    Pair,
    /// coupling_channel_element.
    Coupling,
}

/// What a packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub first: ChannelElement,
    /// A program_config_element stands before it.
    pub program_config: bool,
}

/// The raw_data_blocks in a packet: all of it is one, or each follows an ADTS header. No raw_data_block begins as a
/// header does: it would end before its first element.
pub fn raw_data_blocks(packet: &[u8]) -> RawDataBlocks<'_> {
    RawDataBlocks {
        rest: Some(packet),
        framed: false,
    }
}

/// The iterator of [`raw_data_blocks`]. It ends at the first error.
pub struct RawDataBlocks<'a> {
    /// What follows the last block; `None`: nothing.
    rest: Option<&'a [u8]>,
    /// There was a header.
    framed: bool,
}

impl<'a> Iterator for RawDataBlocks<'a> {
    type Item = Result<&'a [u8], DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        match adts_frame_len(rest) {
            None if self.framed => None,
            None => Some(Ok(rest)),
            Some(len) => {
                self.framed = true;
                let Some((frame, rest)) = rest.split_at_checked(len) else {
                    return Some(Err(DecodeError(format!(
                        "an ADTS frame of {len} bytes where {} are left",
                        rest.len()
                    ))));
                };
                let block = raw_data_block(frame);
                // A length without progress would never end.
                self.rest = block.is_ok().then_some(rest);
                Some(block)
            }
        }
    }
}

/// `aac_frame_length` of the ADTS header that `bytes` begin with, if they do.
fn adts_frame_len(bytes: &[u8]) -> Option<usize> {
    let &[a, b, _profile_and_rate, d, e, f, _] = bytes.first_chunk()?;
    // syncword and layer
    let begins = a == 0xFF && b & 0xF6 == 0xF0;
    begins.then(|| usize::from(d & 3) << 11 | usize::from(e) << 3 | usize::from(f) >> 5)
}

/// The raw_data_block of an ADTS frame.
fn raw_data_block(frame: &[u8]) -> Result<&[u8], DecodeError> {
    let Some(&[_, b, _, _, _, _, g]) = frame.first_chunk() else {
        return Err(DecodeError("an ADTS frame shorter than its header".into()));
    };
    if g & 3 != 0 {
        return Err(DecodeError(format!(
            "an ADTS frame of {} blocks",
            (g & 3) + 1
        )));
    }
    let protection_absent = b & 1 == 1;
    let header_len = if protection_absent { 7 } else { 9 };
    frame
        .get(header_len..)
        .ok_or_else(|| DecodeError("an ADTS header without a frame".into()))
}

/// What a raw_data_block begins with. A block without sound is damaged: it would pass for silence.
pub fn beginning(block: &[u8]) -> Result<Beginning, DecodeError> {
    read_beginning(&mut Bits::new(block))
        .flatten()
        .ok_or_else(|| DecodeError("an AAC packet without a channel element".into()))
}

/// The inner `None`: the block ends without one.
fn read_beginning(bits: &mut Bits<'_>) -> Option<Option<Beginning>> {
    let mut program_config = false;
    loop {
        let first = match bits.read(3)? {
            id::SCE | id::LFE => ChannelElement::Single,
            id::CPE => ChannelElement::Pair,
            id::CCE => ChannelElement::Coupling,
            id::DSE => {
                skip_data(bits)?;
                continue;
            }
            id::PCE => {
                ProgramConfig::read(bits)?;
                program_config = true;
                continue;
            }
            id::FIL => {
                let len = fill_len(bits)?;
                bits.skip(8 * len)?;
                continue;
            }
            _ => return Some(None),
        };
        return Some(Some(Beginning {
            first,
            program_config,
        }));
    }
}

/// Bytes of a fill_element (table 4.11).
pub fn fill_len(bits: &mut Bits<'_>) -> Option<usize> {
    match bits.read(4)? {
        15 => Some(14 + bits.read(8)? as usize),
        count => Some(count as usize),
    }
}

/// Skips a data_stream_element (table 4.10).
pub fn skip_data(bits: &mut Bits<'_>) -> Option<()> {
    bits.skip(4)?;
    let aligned = bits.flag()?;
    let mut count = bits.read(8)? as usize;
    if count == 255 {
        count += bits.read(8)? as usize;
    }
    if aligned {
        bits.align();
    }
    bits.skip(8 * count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `syncword` … `number_of_raw_data_blocks`, without a CRC.
    fn adts(len: usize) -> [u8; 7] {
        let len = len as u16;
        [
            0xFF,
            0xF1,
            0x50,
            0x80 | (len >> 11) as u8,
            (len >> 3) as u8,
            (len << 5) as u8 | 0x1F,
            0xFC,
        ]
    }

    fn blocks(packet: &[u8]) -> Vec<&[u8]> {
        raw_data_blocks(packet).map(Result::unwrap).collect()
    }

    fn last_is_an_error(packet: &[u8]) -> bool {
        let blocks: Vec<_> = raw_data_blocks(packet).take(100).collect();
        blocks.last().is_some_and(Result::is_err)
    }

    #[test]
    fn headers_come_off_and_nothing_else_does() {
        let block = [0x21, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(blocks(&block), [block]);
        let framed = [&adts(15)[..], &block].concat();
        assert_eq!(blocks(&framed), [block]);
        assert_eq!(blocks(&block[..3]), [&block[..3]]);
        let two = [&framed[..], &framed].concat();
        assert_eq!(blocks(&two), [block, block]);
        let padded = [&two[..], &[0; 5]].concat();
        assert_eq!(blocks(&padded), [block, block]);
        assert!(last_is_an_error(&two[..two.len() - 1]), "cut");
        for len in [0, 3, 6] {
            let without_a_frame = [&adts(len)[..], &block].concat();
            assert!(last_is_an_error(&without_a_frame), "{len} bytes");
        }
        let mut of_two_blocks = framed.clone();
        of_two_blocks[6] |= 1;
        assert!(last_is_an_error(&of_two_blocks));
    }

    #[test]
    fn the_first_channel_element_is_found_behind_others() {
        let first = |block: &[u8]| beginning(block).map(|b| b.first).ok();
        assert_eq!(first(&[0x00]), Some(ChannelElement::Single));
        assert_eq!(first(&[0x20]), Some(ChannelElement::Pair));
        // FIL of one byte, then a pair: 110 0001 xxxxxxxx 001
        let fill = [0b1100_0010, 0, 0b0100_0000];
        assert_eq!(first(&fill), Some(ChannelElement::Pair));
        // DSE, aligned, of one byte, then a single channel: 100 tttt 1 00000001 | xxxxxxxx | 000
        let data = [0b1000_0001, 1, 0xAB, 0];
        assert_eq!(first(&data), Some(ChannelElement::Single));
    }

    #[test]
    fn a_packet_without_sound_is_damaged() {
        for block in [
            &[][..],
            &[0xE0],
            &[0xFF; 6],
            // FIL longer than the packet.
            &[0b1101_1110, 0, 0],
        ] {
            assert!(beginning(block).is_err(), "{block:?}");
        }
    }
}
