// SPDX-License-Identifier: LGPL-2.0-or-later
//! Writing of a granule's Huffman code: ISO/IEC 11172-3, 2.4.1.7 (`Huffmancodebits`), through an accumulator of 64
//! bits.

use super::huffman_tables::{LINBITS, QUAD_TABLE_A, QUAD_TABLE_B, pair_table};
use super::instructions::_pext_u32;
use super::quantization::LINES;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod twin;

/// What one granule can take at most: 288 pairs of 17 bits of code, two signs and twice 13 linbits; and a start and an
/// end.
pub const MOST_BYTES: usize = LINES / 2 * 45 / 8 + 16;

/// A granule to write.
pub struct Granule<'a> {
    pub quantized: &'a [i32; LINES],
    /// The spectrum, for the signs.
    pub xr: &'a [f32; LINES],
    /// The ends of the three regions of pairs, ascending.
    pub ends: [usize; 3],
    pub table_select: [i32; 3],
    /// The end of the quadruples.
    pub count1: usize,
    /// Table A or B for them.
    pub count1table_select: i32,
}

/// A pair's code without signs and linbits, and its length.
#[derive(Clone, Copy)]
struct Code {
    bits: u16,
    len: u8,
}

/// The codes of each table: index 16 · first + second. The tables 16 to 23 stand at 14, those from 24 on at 4.
static CODES: [[Code; 256]; 16] = {
    let mut codes = [[Code { bits: 0, len: 0 }; 256]; 16];
    let mut at = 0;
    while at < 16 {
        let number = match at {
            4 => 24,
            14 => 16,
            number => number,
        };
        if let Some(table) = pair_table(number) {
            let mut pair = 0;
            while pair < 256 {
                let (first, second) = (pair / 16, pair % 16);
                if first < table.side && second < table.side {
                    codes[at][pair] = Code {
                        bits: table.codes[first * table.side + second],
                        len: table.lengths[first * table.side + second],
                    };
                }
                pair += 1;
            }
        }
        at += 1;
    }
    codes
};

/// Bits on their way into bytes.
struct Writer<'a> {
    /// The bits that are not a whole byte yet, from the highest one on.
    accumulator: u64,
    /// How many they are: below 8.
    len: u32,
    out: &'a mut [u8; MOST_BYTES],
    at: usize,
}

impl Writer<'_> {
    /// Adds up to 56 bits; what stands above them in `bits` must be zero. Eight bytes are written each time, of which
    /// those that are not whole yet are written again: a branch would be predicted badly.
    #[inline]
    fn put(&mut self, bits: u64, len: u32) {
        let end = self.len + len;
        // In two steps, for there may be nothing at all.
        self.accumulator |= bits << (63 - end) << 1;
        self.out[self.at..][..8].copy_from_slice(&self.accumulator.to_be_bytes());
        let whole = end / 8;
        self.at += whole as usize;
        self.accumulator <<= 8 * whole;
        self.len = end % 8;
    }
}

/// Writes the code of `granule` into `out`, after `before.1` (below 8) bits that stand in `before.0`, and fills the
/// last byte up with zeros. Returns how many bits the code has.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn write(granule: &Granule<'_>, before: (u8, u32), out: &mut [u8; MOST_BYTES]) -> usize {
    let mut writer = Writer {
        accumulator: 0,
        len: 0,
        out,
        at: 0,
    };
    writer.put(before.0.into(), before.1);
    let mut start = 0;
    for (&end, &table) in granule.ends.iter().zip(&granule.table_select) {
        if start < end {
            write_pairs(&mut writer, granule, table, start, end);
            start = end;
        }
    }
    write_quads(&mut writer, granule, start);
    8 * writer.at + writer.len as usize - before.1 as usize
}

/// 1 for a negative line.
#[inline]
fn sign(xr: f32) -> u32 {
    xr.to_bits() >> 31
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn write_pairs(
    writer: &mut Writer<'_>,
    granule: &Granule<'_>,
    table: i32,
    start: usize,
    end: usize,
) {
    let lines = granule.quantized[start..end].as_chunks::<2>().0;
    let xr = granule.xr[start..end].as_chunks::<2>().0;
    let pairs = lines.iter().zip(xr);
    match table {
        0 => (),
        1..16 => {
            let codes = &CODES[table as usize];
            for (&[x, y], xr) in pairs {
                let code = codes[(16 * x + y) as usize & 0xff];
                let (x_signs, y_signs) = (u32::from(x != 0), u32::from(y != 0));
                let bits = u32::from(code.bits) << x_signs | sign(xr[0]) & x_signs;
                let bits = bits << y_signs | sign(xr[1]) & y_signs;
                writer.put(bits.into(), u32::from(code.len) + x_signs + y_signs);
            }
        }
        _ => {
            let codes = &CODES[if table < 24 { 14 } else { 4 }];
            let linbits = LINBITS[(table as usize - 16) & 15];
            for (&[x, y], xr) in pairs {
                let (x15, y15) = (x.min(15), y.min(15));
                let code = codes[(16 * x15 + y15) as usize & 0xff];
                let (x_signs, y_signs) = (u32::from(x != 0), u32::from(y != 0));
                let x_linbits = if x >= 15 { linbits } else { 0 };
                let y_linbits = if y >= 15 { linbits } else { 0 };
                let after = ((x - x15) as u32) << x_signs | sign(xr[0]) & x_signs;
                let after = after << y_linbits | (y - y15) as u32;
                let after = after << y_signs | sign(xr[1]) & y_signs;
                let len = x_linbits + x_signs + y_linbits + y_signs;
                let bits = u64::from(code.bits) << len | u64::from(after);
                writer.put(bits, u32::from(code.len) + len);
            }
        }
    }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn write_quads(writer: &mut Writer<'_>, granule: &Granule<'_>, start: usize) {
    let table = match granule.count1table_select {
        0 => &QUAD_TABLE_A,
        _ => &QUAD_TABLE_B,
    };
    let end = granule.count1.max(start);
    let lines = granule.quantized[start..end].as_chunks::<4>().0;
    let xr = granule.xr[start..end].as_chunks::<4>().0;
    for (&[v, w, x, y], xr) in lines.iter().zip(xr) {
        let values = (8 * v + 4 * w + 2 * x + y) as u32 & 15;
        let signs = sign(xr[0]) << 3 | sign(xr[1]) << 2 | sign(xr[2]) << 1 | sign(xr[3]);
        let count = values.count_ones();
        let bits = u32::from(table.codes[values as usize]) << count | _pext_u32(signs, values);
        writer.put(
            bits.into(),
            u32::from(table.lengths[values as usize]) + count,
        );
    }
}
