// SPDX-License-Identifier: LGPL-2.0-or-later
//! Counting of the Huffman code's bits, and the choice of regions and tables: ISO/IEC 11172-3, C.1.5.4.4.5 to
//! C.1.5.4.4.8.
//!
//! A granule's values are split, from the top: zeros, quadruples of values up to 1 (count1), pairs (big values) in up
//! to three regions, each with the table that codes it in the fewest bits.

use super::huffman_tables::{LINBITS, QUAD_TABLE_A, pair_table};
use super::instructions::*;
use super::lanes::{store_u16x16, u8x16_twice, u8x32, u16x16};
use super::quantization::{LINES, Packed};

#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod twin;

/// Scalefactor bands of a long block, with the one above the last scalefactor.
pub const LONG_BANDS: usize = 22;

/// What LAME takes for "cannot be coded" (`LARGE_BITS`).
pub const TOO_MANY_BITS: i32 = 100_000;

/// The largest value that linbits can code: 15 + 2^13 − 1.
pub const LARGEST: i32 = 8206;

/// The part of a granule's side information that counting decides, named as in the standard, 2.4.1.7. The glue has the
/// same struct.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coding {
    /// Bits of the Huffman code.
    pub part2_3_length: i32,
    /// Lines in pairs; twice the standard's field.
    pub big_values: i32,
    /// The end of the quadruples, in lines.
    pub count1: i32,
    /// Bits of the quadruples.
    pub count1_bits: i32,
    pub count1table_select: i32,
    pub table_select: [i32; 3],
    pub region0_count: i32,
    pub region1_count: i32,
}

/// How a block splits its lines: `block_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Long: three regions.
    Normal,
    /// Long before or after short: two regions.
    Transition,
    /// Three short ones: two regions.
    Short,
}

/// Where the regions may meet.
pub struct Bands<'a> {
    /// The starts of a long block's scalefactor bands.
    pub long: &'a [i32; LONG_BANDS + 1],
    /// LAME's first choice of `region0_count` and `region1_count` for big values up to line i: at i − 2 and i − 1.
    pub first_division: &'a [u8; LINES],
    /// The end of region 0 of short blocks.
    pub short_region0: i32,
    pub block: Block,
}

/// A pair's lengths, signs included, in each table. Lane = table, but for three: 0 is the tables 24 to 31, 4 is 16 to
/// 23, both without linbits; 14 is 4 with one bit more for each 15, so that their difference counts the values that
/// take linbits.
#[repr(align(64))]
struct Lengths([[u16; 16]; 256]);

const ESC_24: usize = 0;
const ESC_16: usize = 4;
const ESC_16_AND_ONE: usize = 14;

static LENGTHS: Lengths = Lengths({
    let mut lengths = [[0; 16]; 256];
    let mut pair = 0;
    while pair < 256 {
        let mut lane = 0;
        while lane < 16 {
            let table = match lane {
                ESC_24 => 24,
                ESC_16 | ESC_16_AND_ONE => 16,
                table => table,
            };
            lengths[pair][lane] = length(table, pair / 16, pair % 16);
            lane += 1;
        }
        lengths[pair][ESC_16_AND_ONE] += (pair / 16 == 15) as u16 + (pair % 16 == 15) as u16;
        pair += 1;
    }
    lengths
});

/// The length of a pair's code and signs; 0 where the table has no such pair.
const fn length(table: usize, first: usize, second: usize) -> u16 {
    match pair_table(table) {
        Some(table) if first < table.side && second < table.side => {
            table.lengths[first * table.side + second] as u16
                + (first != 0) as u16
                + (second != 0) as u16
        }
        _ => 0,
    }
}

/// The same for values up to 3, a byte each: index 4 · first + second.
const fn small_lengths(table: usize) -> [u8; 16] {
    let mut lengths = [0; 16];
    let mut pair = 0;
    while pair < 16 {
        lengths[pair] = length(table, pair / 4, pair % 4) as u8;
        pair += 1;
    }
    lengths
}

/// For a largest value of 1, 2, 3: the two tables to compare, and their lengths.
static SMALL: [([i32; 2], [[u8; 16]; 2]); 3] = [
    ([1, 1], [small_lengths(1), small_lengths(1)]),
    ([2, 3], [small_lengths(2), small_lengths(3)]),
    ([5, 6], [small_lengths(5), small_lengths(6)]),
];

/// The lengths of quadruples in table A, signs included. In table B each takes four bits and its signs.
static QUAD_A: [u8; 16] = {
    let mut lengths = QUAD_TABLE_A.lengths;
    let mut quad = 0;
    while quad < 16 {
        lengths[quad] += (quad as u8).count_ones() as u8;
        quad += 1;
    }
    lengths
};

/// The tables that can code a largest value of 0 to 15, in LAME's order of preference; some twice.
static CANDIDATES: [[u8; 3]; 16] = {
    let mut candidates = [[13, 14, 15]; 16];
    (candidates[0], candidates[1]) = ([1, 1, 1], [1, 1, 1]);
    (candidates[2], candidates[3]) = ([2, 3, 3], [5, 6, 6]);
    (candidates[4], candidates[5]) = ([7, 8, 9], [7, 8, 9]);
    (candidates[6], candidates[7]) = ([10, 11, 12], [10, 11, 12]);
    candidates
};

/// For what exceeds 15, by its number of bits: the first tables of 16 to 23 and of 24 to 31 with so many linbits. LAME
/// tries none below 16 + n where 24 + n is the first of the latter.
static ESCAPES: [[u8; 2]; 14] = {
    let mut escapes = [[23, 31]; 14];
    let mut bits = 0;
    while bits < 14 {
        let mut second = 24;
        while LINBITS[second - 16] < bits as u32 {
            second += 1;
        }
        let mut first = second - 8;
        while LINBITS[first - 16] < bits as u32 {
            first += 1;
        }
        escapes[bits] = [first as u8, second as u8];
        bits += 1;
    }
    escapes
};

/// Counts the bits of `quantized`, of which `packed` is the packed form and lines from `lines` on (even) are zero, and
/// says in `coding` how they are coded. Fields without meaning for the block stay as they are. Returns
/// [`TOO_MANY_BITS`] where a value is too large.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn count(
    quantized: &[i32; LINES],
    packed: &Packed,
    lines: usize,
    bands: &Bands<'_>,
    coding: &mut Coding,
) -> i32 {
    let count1 = end_above(&packed.values, lines, 0).next_multiple_of(2);
    coding.count1 = count1 as i32;
    let quads = (count1 - end_above(&packed.values, count1, 1)) & !3;
    let end = count1 - quads;
    let [a, b] = if quads > 0 {
        count_quads(&packed.values, end, count1)
    } else {
        [0; 2]
    };
    coding.count1table_select = i32::from(a > b);
    let mut bits = a.min(b);
    coding.count1_bits = bits;
    coding.big_values = end as i32;
    if end == 0 {
        return bits;
    }
    let (first, second) = match bands.block {
        Block::Short => (bands.short_region0 as usize, end),
        Block::Normal => {
            let region0 = bands.first_division[end - 2];
            let region1 = bands.first_division[end - 1];
            coding.region0_count = i32::from(region0);
            coding.region1_count = i32::from(region1);
            let second = bands.long[usize::from(region0) + usize::from(region1) + 2] as usize;
            if second < end {
                coding.table_select[2] = region(quantized, packed, second, end, &mut bits);
            }
            (bands.long[usize::from(region0) + 1] as usize, second)
        }
        Block::Transition => {
            coding.region0_count = 7;
            coding.region1_count = LONG_BANDS as i32 - 1 - 7 - 1;
            (bands.long[8] as usize, end)
        }
    };
    let (first, second) = (first.min(end), second.min(end));
    if first > 0 {
        coding.table_select[0] = region(quantized, packed, 0, first, &mut bits);
    }
    if first < second {
        coding.table_select[1] = region(quantized, packed, first, second, &mut bits);
    }
    bits
}

/// One beyond the last value above `limit`, of the first `lines` rounded up to 32.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn end_above(values: &[u8], lines: usize, limit: i8) -> usize {
    let limit = _mm256_set1_epi8(limit);
    for block in (0..lines.div_ceil(32)).rev() {
        let above = _mm256_cmpgt_epi8(u8x32(&values[32 * block..]), limit);
        let above = _mm256_movemask_epi8(above) as u32;
        if above != 0 {
            return 32 * block + 32 - above.leading_zeros() as usize;
        }
    }
    0
}

/// The bits of the quadruples from `start` to `end` in table A and in table B.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn count_quads(values: &[u8], start: usize, end: usize) -> [i32; 2] {
    let lengths = u8x16_twice(&QUAD_A);
    let zero = _mm256_setzero_si256();
    let (mut in_a, mut ones) = (zero, zero);
    for at in (start..end).step_by(32) {
        let beyond = beyond(end - at);
        let values = _mm256_subs_epu8(u8x32(&values[at..]), beyond);
        let index = _mm256_maddubs_epi16(values, _mm256_set1_epi32(0x0102_0408));
        let index = _mm256_madd_epi16(index, _mm256_set1_epi16(1));
        // A byte with its highest bit set looks up zero.
        let only_first = _mm256_set1_epi32(0x8080_8000_u32 as i32);
        let index = _mm256_or_si256(_mm256_or_si256(index, only_first), beyond);
        let lengths = _mm256_shuffle_epi8(lengths, index);
        in_a = _mm256_add_epi64(in_a, _mm256_sad_epu8(lengths, zero));
        ones = _mm256_add_epi64(ones, _mm256_sad_epu8(values, zero));
    }
    let [in_a, ones] = sums(in_a, ones);
    [in_a, ones + (end - start) as i32]
}

/// The sums of the four numbers in each vector.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn sums(a: __m256i, b: __m256i) -> [i32; 2] {
    let pairs = _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let both = _mm_add_epi64(
        _mm256_castsi256_si128(pairs),
        _mm256_extracti128_si256::<1>(pairs),
    );
    [_mm_cvtsi128_si32(both), _mm_extract_epi32::<2>(both)]
}

/// 0x80 in the bytes from `left` on.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn beyond(left: usize) -> __m256i {
    static MARKS: [u8; 64] = {
        let mut marks = [0; 64];
        let mut at = 32;
        while at < 64 {
            marks[at] = 0x80;
            at += 1;
        }
        marks
    };
    u8x32(&MARKS[32 - left.min(32)..])
}

/// The largest packed value of the lines from `start` to `end`: 15 may stand for more.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn largest_packed(values: &[u8], start: usize, end: usize) -> usize {
    let mut largest = _mm256_setzero_si256();
    for at in (start..end).step_by(32) {
        // Values are 15 at most: subtracting 128 with saturation clears them.
        let values = _mm256_subs_epu8(u8x32(&values[at..]), beyond(end - at));
        largest = _mm256_max_epu8(largest, values);
    }
    let half = _mm_max_epu8(
        _mm256_castsi256_si128(largest),
        _mm256_extracti128_si256::<1>(largest),
    );
    let half = _mm_max_epu8(half, _mm_srli_epi16::<8>(half));
    // There is an instruction for the smallest of eight words, but none for the largest.
    let low_byte = _mm_set1_epi16(255);
    let inverted = _mm_xor_si128(_mm_and_si128(half, low_byte), low_byte);
    (255 - (_mm_cvtsi128_si32(_mm_minpos_epu16(inverted)) & 255)) as usize
}

/// The largest value of the lines from `start` to `end`, of any size.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn largest(quantized: &[i32; LINES], packed: &Packed, start: usize, end: usize) -> i32 {
    match largest_packed(&packed.values, start, end) {
        15 => largest_of(&quantized[start..end]),
        largest => largest as i32,
    }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn largest_of(values: &[i32]) -> i32 {
    let mut largest = 0;
    for &value in values {
        largest = largest.max(value);
    }
    largest
}

/// Adds the fewest bits that code the pairs from line `start` to `end`, and returns the table.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn region(
    quantized: &[i32; LINES],
    packed: &Packed,
    start: usize,
    end: usize,
    bits: &mut i32,
) -> i32 {
    match largest_packed(&packed.values, start, end) {
        0 => 0,
        largest @ 1..=3 => count_small(&packed.values, start, end, largest, bits),
        largest => {
            let mut sums = [0; 16];
            let pairs = &packed.pairs[start / 2..end / 2];
            store_u16x16(sum_lengths(pairs, _mm256_setzero_si256()), &mut sums);
            let largest = match largest {
                15 => largest_of(&quantized[start..end]),
                largest => largest as i32,
            };
            best_table(&[0; 16], &sums, largest, bits)
        }
    }
}

/// Values up to 3: two tables at once, by a shuffle of bytes.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn count_small(values: &[u8], start: usize, end: usize, largest: usize, bits: &mut i32) -> i32 {
    let (tables, lengths) = &SMALL[largest - 1];
    let (first, second) = (u8x16_twice(&lengths[0]), u8x16_twice(&lengths[1]));
    let zero = _mm256_setzero_si256();
    let (mut in_first, mut in_second) = (zero, zero);
    for at in (start..end).step_by(32) {
        let index = _mm256_maddubs_epi16(u8x32(&values[at..]), _mm256_set1_epi16(0x0104));
        let only_first = _mm256_set1_epi16(0x8000_u16 as i16);
        let index = _mm256_or_si256(_mm256_or_si256(index, only_first), beyond(end - at));
        let lengths = [
            _mm256_shuffle_epi8(first, index),
            _mm256_shuffle_epi8(second, index),
        ];
        in_first = _mm256_add_epi64(in_first, _mm256_sad_epu8(lengths[0], zero));
        in_second = _mm256_add_epi64(in_second, _mm256_sad_epu8(lengths[1], zero));
    }
    let [in_first, in_second] = sums(in_first, in_second);
    if in_first > in_second {
        *bits += in_second;
        tables[1]
    } else {
        *bits += in_first;
        tables[0]
    }
}

/// `before` and the lengths of `pairs` in all tables.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn sum_lengths(pairs: &[u8], before: __m256i) -> __m256i {
    let (mut even, mut odd) = (before, _mm256_setzero_si256());
    let (twos, rest) = pairs.as_chunks::<2>();
    for &[first, second] in twos {
        even = _mm256_add_epi16(even, u16x16(&LENGTHS.0[usize::from(first)]));
        odd = _mm256_add_epi16(odd, u16x16(&LENGTHS.0[usize::from(second)]));
    }
    for &pair in rest {
        even = _mm256_add_epi16(even, u16x16(&LENGTHS.0[usize::from(pair)]));
    }
    _mm256_add_epi16(even, odd)
}

/// Adds the bits of the best table for pairs whose lengths sum up to `to` − `from` and whose largest value is
/// `largest`, and returns that table.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn best_table(from: &[u16; 16], to: &[u16; 16], largest: i32, bits: &mut i32) -> i32 {
    if largest == 0 {
        return 0;
    }
    if largest <= 15 {
        let candidates = CANDIDATES[largest as usize & 15];
        let sum = |n: usize| {
            let lane = usize::from(candidates[n]) & 15;
            i32::from(to[lane]) - i32::from(from[lane])
        };
        let (mut table, mut least) = (candidates[0], sum(0));
        for n in [1, 2] {
            let sum = sum(n);
            if least > sum {
                (table, least) = (candidates[n], sum);
            }
        }
        *bits += least;
        return i32::from(table);
    }
    if largest > LARGEST {
        *bits = TOO_MANY_BITS;
        return -1;
    }
    let sum = |lane: usize| i32::from(to[lane]) - i32::from(from[lane]);
    let exceeds = (largest - 15) as u32;
    let [first, second] = ESCAPES[(u32::BITS - exceeds.leading_zeros()) as usize];
    let with_linbits = sum(ESC_16_AND_ONE) - sum(ESC_16);
    let linbits = |table: u8| LINBITS[usize::from(table) - 16] as i32;
    let in_first = sum(ESC_16) + with_linbits * linbits(first);
    let in_second = sum(ESC_24) + with_linbits * linbits(second);
    if in_first > in_second {
        *bits += in_second;
        i32::from(second)
    } else {
        *bits += in_first;
        i32::from(first)
    }
}

/// A granule's lengths and largest values, band by band.
struct BandSums {
    /// Lengths of all pairs before each band's start.
    lengths: [[u16; 16]; LONG_BANDS + 2],
    /// The largest value of each band that ends before the big values do.
    largest: [i32; LONG_BANDS + 2],
}

/// The best division of each end of region 1 into regions 0 and 1.
#[derive(Clone, Copy)]
struct Pair {
    bits: i32,
    region0_count: i32,
    tables: [i32; 2],
}

/// `region0_count` has four bits, `region1_count` three; the counts are one less than the bands, so ends 2 to 24.
const PAIRS: usize = 15 + 7 + 1;

/// Improves `coding` of a granule: the best of all divisions into regions, and, where that saves bits, one more
/// quadruple.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
pub fn divide(quantized: &[i32; LINES], bands: &Bands<'_>, coding: &mut Coding) {
    let long = bands.long;
    let normal = bands.block == Block::Normal;
    let end = coding.big_values as usize;
    let count1 = coding.count1 as usize + 2;
    let mut packed = Packed::new();
    if normal || count1 <= LINES {
        packed.pack(quantized, count1.min(LINES));
    }
    let mut sums = BandSums {
        lengths: [[0; 16]; LONG_BANDS + 2],
        largest: [0; LONG_BANDS + 2],
    };
    let mut pairs = [Pair {
        bits: TOO_MANY_BITS,
        region0_count: 0,
        tables: [0; 2],
    }; PAIRS];
    if normal {
        let last = sum_bands(quantized, &packed, long, end, &mut sums);
        divide_in_two(long, end, &sums, &mut pairs);
        let rest = suffixes(quantized, &packed, long, end, &sums);
        let count1_bits = coding.count1_bits;
        divide_in_three(coding, count1_bits, long, end, &sums, &last, &rest, &pairs);
    }
    // One more quadruple, from two lines further up.
    if end == 0 || quantized[end - 2] > 1 || quantized[end - 1] > 1 || count1 > LINES {
        return;
    }
    let quads = (count1 - end).next_multiple_of(4);
    let end = count1 - quads;
    let [a, b] = if quads > 0 {
        count_quads(&packed.values, end, count1)
    } else {
        [0; 2]
    };
    let mut better = Coding {
        count1: count1 as i32,
        big_values: end as i32,
        count1table_select: i32::from(a > b),
        count1_bits: a.min(b),
        ..*coding
    };
    if normal {
        let mut last = [0; 16];
        let mut rest = [0; LONG_BANDS + 1];
        if end > 0 {
            let band = last_band(long, end);
            let pairs = &packed.pairs[long[band] as usize / 2..end / 2];
            store_u16x16(sum_lengths(pairs, u16x16(&sums.lengths[band])), &mut last);
            rest = suffixes(quantized, &packed, long, end, &sums);
        }
        let count1_bits = better.count1_bits;
        if divide_in_three(
            &mut better,
            count1_bits,
            long,
            end,
            &sums,
            &last,
            &rest,
            &pairs,
        ) {
            *coding = better;
        }
    } else {
        let mut bits = better.count1_bits;
        let first = (long[8] as usize).min(end);
        if first > 0 {
            better.table_select[0] = region(quantized, &packed, 0, first, &mut bits);
        }
        if first < end {
            better.table_select[1] = region(quantized, &packed, first, end, &mut bits);
        }
        if coding.part2_3_length > bits {
            better.part2_3_length = bits;
            *coding = better;
        }
    }
}

/// The last band that starts before line `end`.
#[inline]
fn last_band(long: &[i32; LONG_BANDS + 1], end: usize) -> usize {
    let mut band = 0;
    while band < LONG_BANDS && (long[band + 1] as usize) < end {
        band += 1;
    }
    band
}

/// Fills `sums` for the bands that start before `end`, and returns the lengths of all pairs before `end`.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn sum_bands(
    quantized: &[i32; LINES],
    packed: &Packed,
    long: &[i32; LONG_BANDS + 1],
    end: usize,
    sums: &mut BandSums,
) -> [u16; 16] {
    let mut sum = _mm256_setzero_si256();
    let mut band = 0;
    while band <= LONG_BANDS && (long[band] as usize) < end {
        store_u16x16(sum, &mut sums.lengths[band]);
        let start = long[band] as usize;
        let stop = if band < LONG_BANDS {
            end.min(long[band + 1] as usize)
        } else {
            end
        };
        sum = sum_lengths(&packed.pairs[start / 2..stop / 2], sum);
        if stop < end {
            sums.largest[band] = largest(quantized, packed, start, stop);
        }
        band += 1;
    }
    let mut last = [0; 16];
    store_u16x16(sum, &mut last);
    last
}

/// The largest value from each band's start to `end`.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn suffixes(
    quantized: &[i32; LINES],
    packed: &Packed,
    long: &[i32; LONG_BANDS + 1],
    end: usize,
    sums: &BandSums,
) -> [i32; LONG_BANDS + 1] {
    let mut rest = [0; LONG_BANDS + 1];
    let band = last_band(long, end);
    let mut so_far = largest(quantized, packed, long[band] as usize, end);
    rest[band] = so_far;
    for band in (0..band).rev() {
        so_far = so_far.max(sums.largest[band]);
        rest[band] = so_far;
    }
    rest
}

/// Finds the best `region0_count` for each end of region 1 before `end`.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
fn divide_in_two(
    long: &[i32; LONG_BANDS + 1],
    end: usize,
    sums: &BandSums,
    pairs: &mut [Pair; PAIRS],
) {
    let mut largest0 = 0;
    for region0 in 0..16 {
        if long[region0 + 1] as usize >= end {
            break;
        }
        let mut bits0 = 0;
        largest0 = largest0.max(sums.largest[region0]);
        let table0 = best_table(
            &sums.lengths[0],
            &sums.lengths[region0 + 1],
            largest0,
            &mut bits0,
        );
        let mut largest1 = 0;
        for region1 in 0..8 {
            let stop = region0 + region1 + 2;
            if stop > LONG_BANDS || long[stop] as usize >= end {
                break;
            }
            let mut bits = bits0;
            largest1 = largest1.max(sums.largest[stop - 1]);
            let table1 = best_table(
                &sums.lengths[region0 + 1],
                &sums.lengths[stop],
                largest1,
                &mut bits,
            );
            let pair = &mut pairs[region0 + region1];
            if pair.bits > bits {
                *pair = Pair {
                    bits,
                    region0_count: region0 as i32,
                    tables: [table0, table1],
                };
            }
        }
    }
}

/// Takes the division of the lines before `end` that needs the fewest bits, if fewer than `coding` has.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[expect(clippy::too_many_arguments, reason = "a loop taken out of `divide`")]
fn divide_in_three(
    coding: &mut Coding,
    count1_bits: i32,
    long: &[i32; LONG_BANDS + 1],
    end: usize,
    sums: &BandSums,
    last: &[u16; 16],
    rest: &[i32; LONG_BANDS + 1],
    pairs: &[Pair; PAIRS],
) -> bool {
    let mut better = false;
    for stop in 2..=LONG_BANDS {
        if long[stop] as usize >= end {
            break;
        }
        let pair = &pairs[stop - 2];
        let mut bits = pair.bits + count1_bits;
        if coding.part2_3_length <= bits {
            break;
        }
        let table = best_table(&sums.lengths[stop], last, rest[stop], &mut bits);
        if coding.part2_3_length <= bits {
            continue;
        }
        coding.part2_3_length = bits;
        coding.region0_count = pair.region0_count;
        coding.region1_count = stop as i32 - 2 - pair.region0_count;
        coding.table_select = [pair.tables[0], pair.tables[1], table];
        better = true;
    }
    better
}
