// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{Granule, MOST_BYTES, twin, write};
use crate::kernels::bit_count::{self, Bands, Block, Coding};
use crate::kernels::quantization::LINES;
use crate::kernels::spectra::{LONG, Random, can_run, quantized};

#[test]
fn the_kernel_writes_what_its_twin_does_and_as_much_as_was_counted() {
    if !can_run() {
        return;
    }
    let mut random = Random(23);
    for (n, lines) in quantized(1500).enumerate() {
        let bands = Bands {
            long: &LONG,
            first_division: &[5; LINES],
            short_region0: 36,
            block: Block::Normal,
        };
        let mut coding = Coding::default();
        let counted = bit_count::twin::count(&lines, LINES, &bands, &mut coding);
        let xr = lines.map(|line| line as f32 * if random.below(2) == 0 { 1.5 } else { -1.5 });
        let big = coding.big_values as usize;
        let granule = Granule {
            quantized: &lines,
            xr: &xr,
            ends: [6, 12, 22].map(|band| (LONG[band] as usize).min(big)),
            // LAME writes its table 14 as 16.
            table_select: coding
                .table_select
                .map(|table| if table == 14 { 16 } else { table }),
            count1: coding.count1 as usize,
            count1table_select: coding.count1table_select,
        };
        let before_len = n % 8;
        let before = (random.next() & ((1 << before_len) - 1)) as u8;
        let mut out = [0xaa; MOST_BYTES];
        // SAFETY: the processor has been asked.
        let bits = unsafe { write(&granule, (before, before_len as u32), &mut out) };
        assert_eq!(bits, counted as usize, "granule {n}");
        let mut expected = (0..before_len)
            .rev()
            .map(|at| before >> at & 1 == 1)
            .chain(twin::write(&granule))
            .collect::<Vec<_>>();
        assert_eq!(expected.len(), before_len + bits);
        expected.resize(expected.len().next_multiple_of(8), false);
        for (at, eight) in expected.chunks(8).enumerate() {
            let byte = eight.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
            assert_eq!(out[at], byte, "granule {n}, byte {at}");
        }
    }
}
