// SPDX-License-Identifier: LGPL-2.0-or-later
//! The length of scalefactors in plain Rust.

use super::{Length, SLEN};
use crate::kernels::noise::PRETAB;

/// Of a long block.
pub fn of_long(scalefac: &mut [i32], preflag: &mut bool) -> Option<Length> {
    let above = scalefac[..21].iter().zip(PRETAB).skip(11);
    if !*preflag && above.clone().all(|(scalefac, pretab)| *scalefac >= pretab) {
        *preflag = true;
        let above = scalefac[..21].iter_mut().zip(PRETAB).skip(11);
        above.for_each(|(scalefac, pretab)| *scalefac -= pretab);
    }
    shortest(&scalefac[..11], &scalefac[11..21])
}

/// Of three short ones.
pub fn of_short(scalefac: &[i32]) -> Option<Length> {
    shortest(&scalefac[..18], &scalefac[18..36])
}

fn shortest(lower: &[i32], upper: &[i32]) -> Option<Length> {
    let fits = |bands: &[i32], slen: u32| bands.iter().all(|&scalefac| scalefac < 1 << slen);
    let bits = |[slen1, slen2]: [u32; 2]| lower.len() as u32 * slen1 + upper.len() as u32 * slen2;
    let all = SLEN.iter().enumerate();
    let able = all.filter(|(_, [slen1, slen2])| fits(lower, *slen1) && fits(upper, *slen2));
    let (compress, &slen) = able.min_by_key(|(_, slen)| bits(**slen))?;
    Some(Length {
        part2_length: bits(slen) as u8,
        scalefac_compress: compress as u8,
    })
}
