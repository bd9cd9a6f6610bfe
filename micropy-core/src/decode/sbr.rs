//! Implicit spectral band replication: HE-AAC whose configuration only says AAC-LC.

use super::bits::Bits;

const ID_DSE: u32 = 4;
const ID_FIL: u32 = 6;
const ID_END: u32 = 7;

/// `extension_type` of SBR data, without and with a CRC (ISO/IEC 14496-3, table 4.121).
const EXT_SBR_DATA: [u32; 2] = [13, 14];

/// Whether most of these AAC packets of one or two channels carry SBR data.
///
/// The fill element with SBR data follows the one channel element, whose end is known only after decoding its Huffman
/// codes. But the elements after it extend to the last byte of the packet, so its place is found by trying all. About
/// one packet of random bits in a thousand passes, hence the majority.
pub fn is_in_most(packets: &[&[u8]]) -> bool {
    let with_sbr = packets.iter().filter(|p| carries_sbr(p)).count();
    with_sbr * 2 > packets.len()
}

fn carries_sbr(packet: &[u8]) -> bool {
    (0..packet.len() * 8).any(|at| ends_with_sbr(Bits::at(packet, at)) == Some(true))
}

/// Whether `bits` are a fill element with SBR data, then other fill and data elements, then the end.
fn ends_with_sbr(mut bits: Bits<'_>) -> Option<bool> {
    if bits.read(3)? != ID_FIL {
        return None;
    }
    let len = fill_len(&mut bits)?;
    if len == 0 || !EXT_SBR_DATA.contains(&bits.read(4)?) {
        return None;
    }
    bits.skip(8 * len - 4)?;
    loop {
        match bits.read(3)? {
            ID_FIL => {
                let len = fill_len(&mut bits)?;
                bits.skip(8 * len)?;
            }
            ID_DSE => skip_data(&mut bits)?,
            ID_END => {
                let padding = bits.left() as u32;
                return Some(padding < 8 && bits.read(padding)? == 0);
            }
            _ => return None,
        }
    }
}

/// Bytes of a fill_element (table 4.11).
fn fill_len(bits: &mut Bits<'_>) -> Option<usize> {
    match bits.read(4)? {
        15 => Some(14 + bits.read(8)? as usize),
        count => Some(count as usize),
    }
}

/// A data_stream_element (table 4.10).
fn skip_data(bits: &mut Bits<'_>) -> Option<()> {
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
