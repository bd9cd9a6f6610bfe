// SPDX-License-Identifier: LGPL-2.0-or-later
//! The bits that scalefactors take in MPEG-1: ISO/IEC 11172-3, 2.4.2.7, `scalefac_compress` and `preflag`.

use super::instructions::*;
use super::lanes::{i32x8, store_i32x8};
use super::noise::{BANDS, PRETAB};

#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod twin;

/// `slen1` and `slen2` by `scalefac_compress`.
pub const SLEN: [[u32; 2]; 16] = [
    [0, 0],
    [0, 1],
    [0, 2],
    [0, 3],
    [3, 0],
    [1, 1],
    [1, 2],
    [1, 3],
    [2, 1],
    [2, 2],
    [2, 3],
    [3, 1],
    [3, 2],
    [3, 3],
    [4, 2],
    [4, 3],
];

/// The largest scalefactors that can be coded, in the lower and in the upper bands.
const LARGEST: [i32; 2] = [15, 7];

/// How scalefactors are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Bits of all of them.
    pub part2_length: u8,
    pub scalefac_compress: u8,
}

/// The shortest code for each pair of largest scalefactors, when so many bands have `slen1` and `slen2`. Of two equally
/// short ones, the first, as in LAME.
const fn shortest(bands: [u32; 2]) -> [[Length; LARGEST[1] as usize + 1]; LARGEST[0] as usize + 1] {
    const NONE: Length = Length {
        part2_length: u8::MAX,
        scalefac_compress: 0,
    };
    let mut table = [[NONE; 8]; 16];
    let mut pair = 0;
    while pair < 16 * 8 {
        let (low, high) = (pair / 8, pair % 8);
        let mut compress = 0;
        while compress < 16 {
            let [slen1, slen2] = SLEN[compress];
            let bits = (bands[0] * slen1 + bands[1] * slen2) as u8;
            if low < 1 << slen1 && high < 1 << slen2 && bits < table[low][high].part2_length {
                table[low][high] = Length {
                    part2_length: bits,
                    scalefac_compress: compress as u8,
                };
            }
            compress += 1;
        }
        pair += 1;
    }
    table
}

static LONG: [[Length; 8]; 16] = shortest([11, 10]);
static SHORT: [[Length; 8]; 16] = shortest([18, 18]);

/// How the scalefactors of a long block are coded; `None` where one is too large. Where `preflag` is not set and all
/// scalefactors are large enough, sets it and takes its table off them.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn of_long(scalefac: &mut [i32; BANDS], preflag: &mut bool) -> Option<Length> {
    // Vectors overlap: 11 bands, then 10.
    let mut upper = [i32x8(&scalefac[11..]), i32x8(&scalefac[13..])];
    if !*preflag {
        let pretab = [i32x8(&PRETAB[11..]), i32x8(&PRETAB[13..])];
        let short = _mm256_or_si256(
            _mm256_cmpgt_epi32(pretab[0], upper[0]),
            _mm256_cmpgt_epi32(pretab[1], upper[1]),
        );
        if _mm256_testz_si256(short, short) == 1 {
            *preflag = true;
            for (upper, pretab) in upper.iter_mut().zip(pretab) {
                *upper = _mm256_sub_epi32(*upper, pretab);
            }
            store_i32x8(upper[0], &mut scalefac[11..]);
            store_i32x8(upper[1], &mut scalefac[13..]);
        }
    }
    let lower = _mm256_max_epi32(i32x8(scalefac), i32x8(&scalefac[3..]));
    look_up(&LONG, lower, _mm256_max_epi32(upper[0], upper[1]))
}

/// The same of three short blocks.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn of_short(scalefac: &[i32; BANDS]) -> Option<Length> {
    // 18 bands, twice.
    let largest = |from: usize| {
        let sixteen = _mm256_max_epi32(i32x8(&scalefac[from..]), i32x8(&scalefac[from + 8..]));
        _mm256_max_epi32(sixteen, i32x8(&scalefac[from + 10..]))
    };
    look_up(&SHORT, largest(0), largest(18))
}

/// The entry for the largest of each vector.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn look_up(table: &[[Length; 8]; 16], lower: __m256i, upper: __m256i) -> Option<Length> {
    let fours = _mm256_max_epi32(
        _mm256_unpacklo_epi32(lower, upper),
        _mm256_unpackhi_epi32(lower, upper),
    );
    let two = _mm_max_epi32(
        _mm256_castsi256_si128(fours),
        _mm256_extracti128_si256::<1>(fours),
    );
    let one = _mm_max_epi32(two, _mm_unpackhi_epi64(two, two));
    let (lower, upper) = (_mm_cvtsi128_si32(one), _mm_extract_epi32::<1>(one));
    let (lower, upper) = (lower.max(0), upper.max(0));
    if lower > LARGEST[0] || upper > LARGEST[1] {
        return None;
    }
    Some(table[lower as usize][upper as usize])
}
