// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{Bands, Block, Coding, TOO_MANY_BITS, count, divide, twin};
use crate::kernels::huffman_tables::{QUAD_TABLE_A, QUAD_TABLE_B, pair_table};
use crate::kernels::quantization::{LINES, Packed};
use crate::kernels::spectra::{LONG, Random, SHORT_REGION0, can_run, quantized};

const BLOCKS: [Block; 3] = [Block::Normal, Block::Transition, Block::Short];

/// A division that is allowed for each end of the big values.
fn first_division() -> [u8; LINES] {
    let mut random = Random(5);
    let mut division = [0; LINES];
    for end in division.as_chunks_mut::<2>().0 {
        end[0] = random.below(16) as u8;
        end[1] = random.below(8.min(21 - usize::from(end[0]))) as u8;
    }
    division
}

fn counted(lines: &[i32; LINES], end: usize, bands: &Bands<'_>) -> [(i32, Coding); 2] {
    let (mut kernel, mut plain) = (Coding::default(), Coding::default());
    let mut packed = Packed::new();
    // SAFETY: the processor has been asked.
    let bits = unsafe {
        packed.pack(lines, end);
        packed.values[end..].fill(0);
        count(lines, &packed, end, bands, &mut kernel)
    };
    let expected = twin::count(lines, end, bands, &mut plain);
    [(bits, kernel), (expected, plain)]
}

#[test]
fn the_kernel_counts_and_divides_as_its_twin() {
    if !can_run() {
        return;
    }
    let first_division = first_division();
    let mut random = Random(9);
    let mut divided = 0;
    for (n, mut lines) in quantized(3000).enumerate() {
        let end = if n % 3 == 0 {
            LINES
        } else {
            2 * random.below(LINES / 2 + 1)
        };
        let bands = Bands {
            long: &LONG,
            first_division: &first_division,
            short_region0: SHORT_REGION0,
            block: BLOCKS[n / 4 % 3],
        };
        let [(bits, kernel), (expected, plain)] = counted(&lines, end, &bands);
        assert_eq!((bits, kernel), (expected, plain), "granule {n} to {end}");
        // Counting does not look beyond `end`; dividing looks at what LAME has set to zero there.
        lines[end..].fill(0);
        let start = Coding {
            part2_3_length: bits,
            ..kernel
        };
        let (mut kernel, mut plain) = (start, start);
        // SAFETY: the processor has been asked.
        unsafe { divide(&lines, &bands, &mut kernel) };
        twin::divide(&lines, &bands, &mut plain);
        assert_eq!(kernel, plain, "granule {n} to {end}, from {start:?}");
        assert!(kernel.part2_3_length <= bits);
        divided += usize::from(kernel != start);
    }
    assert!(divided > 300, "only {divided} divisions were improved");
}

#[test]
fn a_value_that_no_table_codes_costs_too_much() {
    if !can_run() {
        return;
    }
    let mut lines = [0; LINES];
    lines[100] = 8207;
    for block in BLOCKS {
        let bands = Bands {
            long: &LONG,
            first_division: &[3; LINES],
            short_region0: SHORT_REGION0,
            block,
        };
        let [(bits, _), _] = counted(&lines, LINES, &bands);
        assert!(bits >= TOO_MANY_BITS, "{block:?}: {bits}");
    }
}

/// No code may begin another, and all of them together leave no room.
#[test]
fn every_table_is_a_complete_prefix_code() {
    let check = |name: &str, codes: &[u16], lengths: &[u8]| {
        assert_eq!(codes.len(), lengths.len(), "{name}");
        let mut taken = 0_u32;
        for (n, (&code, &len)) in codes.iter().zip(lengths).enumerate() {
            assert!(
                code < 1 << len.min(15) || len > 15,
                "{name}: {code} has {len} bits"
            );
            taken += 1 << (20 - len);
            for (&other, &other_len) in codes.iter().zip(lengths).skip(n + 1) {
                let common = len.min(other_len);
                assert_ne!(
                    u32::from(code) >> (len - common),
                    u32::from(other) >> (other_len - common),
                    "{name}: {code} and {other}"
                );
            }
        }
        assert_eq!(taken, 1 << 20, "{name}");
    };
    for number in 1..32 {
        if let Some(table) = pair_table(number) {
            assert_eq!(table.codes.len(), table.side * table.side);
            check(&format!("table {number}"), table.codes, table.lengths);
        }
    }
    check("table A", &QUAD_TABLE_A.codes, &QUAD_TABLE_A.lengths);
    check("table B", &QUAD_TABLE_B.codes, &QUAD_TABLE_B.lengths);
}
