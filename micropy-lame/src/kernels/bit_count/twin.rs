// SPDX-License-Identifier: LGPL-2.0-or-later
//! Counting in plain Rust, from the syntax of the Huffman code in ISO/IEC 11172-3, 2.4.1.7, and the tables B.7.

use super::{Bands, Block, Coding, LARGEST, TOO_MANY_BITS};
use crate::kernels::huffman_tables::{LINBITS, QUAD_TABLE_A, QUAD_TABLE_B, QuadTable, pair_table};
use crate::kernels::quantization::LINES;

/// The bits of a pair in a table, with signs and linbits; `None` where it cannot code it.
fn pair_bits(table: usize, x: i32, y: i32) -> Option<i32> {
    // LAME calls table 16, with its one linbit, table 14 for values up to 15.
    let number = if table == 14 { 16 } else { table };
    let Some(codes) = pair_table(number) else {
        return (table == 0 && x == 0 && y == 0).then_some(0);
    };
    let mut bits = i32::from(x != 0) + i32::from(y != 0);
    for value in [x, y] {
        if number >= 16 && value >= 15 {
            let linbits = LINBITS[number - 16];
            if value - 15 >= 1 << linbits {
                return None;
            }
            bits += linbits as i32;
        }
    }
    let (x, y) = match number {
        16.. => (x.min(15) as usize, y.min(15) as usize),
        _ => (x as usize, y as usize),
    };
    if x >= codes.side || y >= codes.side {
        return None;
    }
    Some(bits + i32::from(codes.lengths[x * codes.side + y]))
}

fn bits_in(table: usize, lines: &[i32]) -> i32 {
    let pairs = lines.as_chunks::<2>().0.iter();
    pairs
        .map(|&[x, y]| pair_bits(table, x, y).expect("the table has the pair"))
        .sum()
}

/// The table LAME takes for a region, and its bits: the best of those made for its largest value.
fn choose(lines: &[i32]) -> (i32, i32) {
    let largest = lines.iter().copied().max().unwrap_or(0);
    let candidates: &[usize] = match largest {
        0 => &[0],
        1 => &[1],
        2 => &[2, 3],
        3 => &[5, 6],
        4 | 5 => &[7, 8, 9],
        6 | 7 => &[10, 11, 12],
        8..=15 => &[13, 14, 15],
        LARGEST.. if largest > LARGEST => return (-1, TOO_MANY_BITS),
        _ => {
            let fits = |table: &usize| largest - 15 < 1 << LINBITS[*table - 16];
            let second = (24..32).find(fits).expect("13 linbits are enough");
            let first = (second - 8..24).find(fits).expect("13 linbits are enough");
            &[first, second]
        }
    };
    let best = candidates
        .iter()
        .min_by_key(|&&table| bits_in(table, lines))
        .expect("there is one");
    (*best as i32, bits_in(*best, lines))
}

fn quad_bits(table: &QuadTable, lines: &[i32]) -> i32 {
    let quads = lines.as_chunks::<4>().0.iter();
    quads
        .map(|&[v, w, x, y]| {
            let lengths = i32::from(table.lengths[(8 * v + 4 * w + 2 * x + y) as usize]);
            lengths + v + w + x + y
        })
        .sum()
}

fn put_quads(coding: &mut Coding, lines: &[i32]) {
    let [a, b] = [&QUAD_TABLE_A, &QUAD_TABLE_B].map(|table| quad_bits(table, lines));
    coding.count1table_select = i32::from(a > b);
    coding.count1_bits = a.min(b);
}

/// What [`super::count`] returns and writes.
pub fn count(
    quantized: &[i32; LINES],
    lines: usize,
    bands: &Bands<'_>,
    coding: &mut Coding,
) -> i32 {
    let lines = &quantized[..lines];
    let mut end = lines.len();
    while end > 1 && lines[end - 1] == 0 && lines[end - 2] == 0 {
        end -= 2;
    }
    coding.count1 = end as i32;
    let count1 = end;
    while end > 3 && lines[end - 4..end].iter().all(|&value| value <= 1) {
        end -= 4;
    }
    coding.big_values = end as i32;
    put_quads(coding, &lines[end..count1]);
    if end == 0 {
        return coding.count1_bits;
    }
    let band = |band: i32| (bands.long[band as usize] as usize).min(end);
    let (first, second) = match bands.block {
        Block::Short => ((bands.short_region0 as usize).min(end), end),
        Block::Normal => {
            coding.region0_count = bands.first_division[end - 2].into();
            coding.region1_count = bands.first_division[end - 1].into();
            let first = coding.region0_count + 1;
            (band(first), band(first + coding.region1_count + 1))
        }
        Block::Transition => {
            (coding.region0_count, coding.region1_count) = (7, 13);
            (band(8), end)
        }
    };
    let mut bits = coding.count1_bits;
    for (n, region) in [0..first, first..second, second..end]
        .into_iter()
        .enumerate()
    {
        if !region.is_empty() {
            let (table, more) = choose(&lines[region]);
            coding.table_select[n] = table;
            bits += more;
        }
    }
    bits
}

/// What [`super::divide`] does: the first of the best divisions in LAME's order, which stops at the first end of region
/// 1 before which two regions alone need as many bits as are needed already.
pub fn divide(quantized: &[i32; LINES], bands: &Bands<'_>, coding: &mut Coding) {
    if bands.block == Block::Normal {
        let before = *coding;
        divide_normal(quantized, bands, &before, coding);
    }
    let end = coding.big_values as usize;
    let count1 = coding.count1 as usize + 2;
    if end == 0 || quantized[end - 2].max(quantized[end - 1]) > 1 || count1 > LINES {
        return;
    }
    let mut better = *coding;
    let mut start = count1;
    while start > end {
        start -= 4;
    }
    better.count1 = count1 as i32;
    better.big_values = start as i32;
    put_quads(&mut better, &quantized[start..count1]);
    if bands.block == Block::Normal {
        let with_quads = better;
        if divide_normal(quantized, bands, &with_quads, &mut better) {
            *coding = better;
        }
        return;
    }
    let first = (bands.long[8] as usize).min(start);
    let mut bits = better.count1_bits;
    for (n, region) in [0..first, first..start].into_iter().enumerate() {
        if !region.is_empty() {
            let (table, more) = choose(&quantized[region]);
            better.table_select[n] = table;
            bits += more;
        }
    }
    if bits < coding.part2_3_length {
        better.part2_3_length = bits;
        *coding = better;
    }
}

fn divide_normal(
    quantized: &[i32; LINES],
    bands: &Bands<'_>,
    split: &Coding,
    best: &mut Coding,
) -> bool {
    let end = split.big_values as usize;
    // Regions 0 and 1 end before the big values of the granule as it was counted.
    let mut improved = false;
    for stop in 2..=22 {
        let second = bands.long[stop] as usize;
        if second >= end {
            break;
        }
        let mut two = (TOO_MANY_BITS, 0, [0; 2]);
        for region0 in 0..16.min(stop - 1) {
            let region1 = stop - 2 - region0;
            if region1 > 7 {
                continue;
            }
            let first = bands.long[region0 + 1] as usize;
            let ((table0, bits0), (table1, bits1)) = (
                choose(&quantized[..first]),
                choose(&quantized[first..second]),
            );
            if bits0 + bits1 < two.0 {
                two = (bits0 + bits1, region0, [table0, table1]);
            }
        }
        let bits = two.0 + split.count1_bits;
        if best.part2_3_length <= bits {
            break;
        }
        let (table2, bits2) = choose(&quantized[second..end]);
        if bits + bits2 < best.part2_3_length {
            best.part2_3_length = bits + bits2;
            best.region0_count = two.1 as i32;
            best.region1_count = (stop - 2 - two.1) as i32;
            best.table_select = [two.2[0], two.2[1], table2];
            improved = true;
        }
    }
    improved
}
