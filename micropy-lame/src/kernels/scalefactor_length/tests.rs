// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{BANDS, of_long, of_short, twin};
use crate::kernels::noise::PRETAB;
use crate::kernels::spectra::{Random, can_run};

#[test]
fn the_kernel_counts_as_its_twin() {
    if !can_run() {
        return;
    }
    let mut random = Random(41);
    let mut with_preflag = 0;
    for round in 0..20_000 {
        let (low, high) = (1 + random.below(18), 1 + random.below(10));
        let mut kernel: [i32; BANDS] = std::array::from_fn(|band| {
            let limit = if band < 11 { low } else { high };
            let least = match round % 3 {
                0 => PRETAB.get(band).copied().unwrap_or(0),
                _ => 0,
            };
            least + random.below(limit) as i32
        });
        let mut plain = kernel;
        let (mut preflag, mut expected_preflag) = (round % 5 == 0, round % 5 == 0);
        // SAFETY: the processor has been asked.
        let length = unsafe { of_long(&mut kernel, &mut preflag) };
        let expected = twin::of_long(&mut plain, &mut expected_preflag);
        assert_eq!(
            (length, kernel, preflag),
            (expected, plain, expected_preflag)
        );
        with_preflag += u32::from(preflag);
        // SAFETY: the processor has been asked.
        let length = unsafe { of_short(&kernel) };
        assert_eq!(length, twin::of_short(&kernel));
    }
    assert!(with_preflag > 6000);
}
