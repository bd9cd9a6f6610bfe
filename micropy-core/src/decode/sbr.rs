//! Implicit spectral band replication: HE-AAC whose configuration only says AAC-LC.
//!
//! This is for builds without the FDK decoder, which refuse such a track: decoded as AAC-LC it would lose the upper
//! half of its band. Builds with the FDK decoder ask that decoder instead.

use std::ops::RangeInclusive;

use super::Decoder;
use super::aac_packet::{fill_len, skip_data};
use super::bits::Bits;
use crate::pcm::Pcm;

const ID_DSE: u32 = 4;
const ID_FIL: u32 = 6;
const ID_END: u32 = 7;

/// `extension_type` of SBR data, without and with a CRC (ISO/IEC 14496-3, table 4.121).
const EXT_SBR_DATA: [u32; 2] = [13, 14];

/// A raw_data_block of two channels has at most 2 · 6144 bits (4.5.3.1). No more of a packet is looked into.
const MAX_BLOCK: usize = 2 * 6144 / 8;

/// Whether most of these AAC packets carry SBR data. `new_decoder` makes a decoder of the core coder, with so many
/// channels.
///
/// The fill element with SBR data follows the channel element, whose end is known only after decoding its Huffman
/// codes. The decoder finds it: it is given longer and longer beginnings of the packet until it can decode one. That
/// one ends with the channel element, or with the elements up to the end, depending on how many bits of its last byte
/// are left. What follows the end of the packet does not matter. About one packet in twenty passes by chance, hence
/// the majority.
pub fn is_in_most<D: Decoder>(
    packets: &[&[u8]],
    channels: usize,
    new_decoder: impl Fn() -> Option<D>,
) -> bool {
    let carries_sbr = |packet: &&&[u8]| {
        new_decoder()
            .and_then(|decoder| shortest_that_decodes(packet, channels, decoder))
            .is_some_and(|len| has_sbr_at(packet, len))
    };
    2 * packets.iter().filter(carries_sbr).count() > packets.len()
}

/// Bytes of the shortest beginning of the packet that the decoder accepts.
fn shortest_that_decodes(
    packet: &[u8],
    channels: usize,
    mut decoder: impl Decoder,
) -> Option<usize> {
    (1..=packet.len().min(MAX_BLOCK)).find(|&len| {
        let mut pcm = Pcm::new(channels);
        decoder.decode(&packet[..len], &mut pcm).is_ok()
    })
}

/// Whether a fill element of SBR data begins at the end of the first `len` bytes, or is in front of the packet's end
/// there. Up to three bits of the last byte may be left: no element is as short.
fn has_sbr_at(packet: &[u8], len: usize) -> bool {
    let end = 8 * len;
    let follows = (end - 3..=end).any(|at| skip_sbr(&mut Bits::at(packet, at)).is_some());
    let before: RangeInclusive<usize> = end - 8..=end + 3;
    let is_before = |at| end_after_sbr(packet, at).is_some_and(|end| before.contains(&end));
    follows || (0..end).any(is_before)
}

/// Skips a fill element if it holds SBR data.
fn skip_sbr(bits: &mut Bits<'_>) -> Option<()> {
    if bits.read(3)? != ID_FIL {
        return None;
    }
    let len = fill_len(bits)?;
    if len == 0 || !EXT_SBR_DATA.contains(&bits.read(4)?) {
        return None;
    }
    bits.skip(8 * len - 4)
}

/// Where the packet ends, in bits, if SBR data begin at bit `at` and nothing but other fill and data elements follows.
fn end_after_sbr(packet: &[u8], at: usize) -> Option<usize> {
    /// More elements than an encoder writes.
    const MAX_ELEMENTS: usize = 16;
    let mut bits = Bits::at(packet, at);
    skip_sbr(&mut bits)?;
    for _ in 0..MAX_ELEMENTS {
        match bits.read(3)? {
            ID_FIL => {
                let len = fill_len(&mut bits)?;
                bits.skip(8 * len)?;
            }
            ID_DSE => skip_data(&mut bits)?,
            ID_END => return Some(8 * packet.len() - bits.left()),
            _ => return None,
        }
    }
    None
}
