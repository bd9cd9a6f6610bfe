// SPDX-License-Identifier: LGPL-2.0-or-later
//! Writing of the Huffman code in plain Rust, bit by bit, as in the syntax of ISO/IEC 11172-3, 2.4.1.7
//! (`Huffmancodebits`).

use super::Granule;
use crate::kernels::huffman_tables::{LINBITS, QUAD_TABLE_A, QUAD_TABLE_B, pair_table};

fn put(bits: &mut Vec<bool>, value: u32, len: u32) {
    bits.extend((0..len).rev().map(|at| value >> at & 1 == 1));
}

/// The bits of a granule.
pub fn write(granule: &Granule<'_>) -> Vec<bool> {
    let mut bits = Vec::new();
    let mut start = 0;
    for (&end, &number) in granule.ends.iter().zip(&granule.table_select) {
        let Some(table) = pair_table(number as usize) else {
            start = end;
            continue;
        };
        for at in (start..end).step_by(2) {
            let lines = at..at + 2;
            let values = &granule.quantized[lines.clone()];
            let most = table.side as i32 - 1;
            let index = values[0].min(most) as usize * table.side + values[1].min(most) as usize;
            put(
                &mut bits,
                table.codes[index].into(),
                table.lengths[index].into(),
            );
            for (&value, xr) in values.iter().zip(&granule.xr[lines]) {
                if number >= 16 && value >= 15 {
                    put(&mut bits, value as u32 - 15, LINBITS[number as usize - 16]);
                }
                if value != 0 {
                    bits.push(xr.is_sign_negative());
                }
            }
        }
        start = end;
    }
    let table = [&QUAD_TABLE_A, &QUAD_TABLE_B][granule.count1table_select as usize];
    for at in (start..granule.count1).step_by(4) {
        let lines = at..at + 4;
        let values = &granule.quantized[lines.clone()];
        let index = values
            .iter()
            .fold(0, |index, &value| 2 * index + value as usize);
        put(
            &mut bits,
            table.codes[index].into(),
            table.lengths[index].into(),
        );
        for (&value, xr) in values.iter().zip(&granule.xr[lines]) {
            if value != 0 {
                bits.push(xr.is_sign_negative());
            }
        }
    }
    bits
}
