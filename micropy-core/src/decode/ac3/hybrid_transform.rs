//! The adaptive hybrid transform: a second transform across the six blocks of a frame, for sounds that hardly change
//! (ATSC A/52, E3.4). E-AC-3 alone has it.
//!
//! In the first block of the frame stand a channel's mantissas of all six: short code words for vectors of six
//! values, or six numbers, whose word length adapts to how large they are.

mod codebooks;

use codebooks::*;

use super::fault::Fault;
use super::frame_bits::FrameBits;
use super::{BINS, MAX_BLOCKS};

/// Table E3.1, `hebaptab`, which takes the place of `baptab`.
pub const POINTERS: [u8; 64] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 9, 9, 9, 10, 10, 10, 10, 11, 11, 11, 11, 12, 12, 12, 12,
    13, 13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 15, 16, 16, 16, 16, 17, 17, 17, 17, 18, 18, 18, 18,
    18, 18, 18, 18, 19, 19, 19, 19, 19, 19, 19, 19, 19,
];

/// The first `hebap` whose mantissas are numbers.
const FIRST_SCALAR: u8 = 8;

/// Table E3.2: bits of a mantissa whose `hebap` is 8 or more.
const BITS: [u32; 12] = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16];

/// Table E3.6: how a number x becomes a mantissa, x + a·x + b, in units of 2⁻¹⁵.
struct Remap {
    /// `a` where the gain is 1; b is 0.
    plain: i16,
    /// `a`, and b where x is negative, of a large number where the gain is 2; else, b is half of full scale.
    by_two: (i16, i16),
    /// The same where the gain is 4; else, b is a quarter.
    by_four: (i16, i16),
}

/// By `hebap`, from 8 on. The gain is never more than 1 above 16.
#[rustfmt::skip]
const REMAP: [Remap; 12] = [
    Remap { plain: 4681, by_two: (-10923, -5461), by_four: (-4681, -1170) },
    Remap { plain: 2185, by_two: (-14043, -11703), by_four: (-6554, -4915) },
    Remap { plain: 1057, by_two: (-15292, -14199), by_four: (-7399, -6606) },
    Remap { plain: 520, by_two: (-15855, -15327), by_four: (-7802, -7412) },
    Remap { plain: 258, by_two: (-16124, -15864), by_four: (-7998, -7805) },
    Remap { plain: 129, by_two: (-16255, -16126), by_four: (-8096, -7999) },
    Remap { plain: 64, by_two: (-16320, -16255), by_four: (-8144, -8096) },
    Remap { plain: 32, by_two: (-16352, -16320), by_four: (-8168, -8144) },
    Remap { plain: 16, by_two: (-16368, -16352), by_four: (-8180, -8168) },
    Remap { plain: 8, by_two: (0, 0), by_four: (0, 0) },
    Remap { plain: 2, by_two: (0, 0), by_four: (0, 0) },
    Remap { plain: 0, by_two: (0, 0), by_four: (0, 0) },
];

/// The mantissas of a channel in all six blocks.
pub type Mantissas = [[f32; BINS]; MAX_BLOCKS];

/// Reads the mantissas of the bins `start..end`, whose `hebap` are in `pointers`.
pub fn read(
    bits: &mut FrameBits<'_>,
    pointers: &[u8; BINS],
    (start, end): (usize, usize),
    mantissas: &mut Mantissas,
) -> Result<(), Fault> {
    let gain_mode = bits.read(2)?;
    // Pointers from here on have no gain.
    let gain_end = match gain_mode {
        0 => FIRST_SCALAR,
        1 => 12,
        _ => 17,
    };
    let has_gain = |pointer: u8| (FIRST_SCALAR..gain_end).contains(&pointer);
    let gained = pointers[start..end].iter().filter(|&&p| has_gain(p));
    let gains = read_gains(bits, gain_mode, gained.count())?;
    let mut gains = gains.iter().copied();
    for bin in start..end {
        let pointer = pointers[bin];
        let transformed = match pointer {
            0 => [0.0; MAX_BLOCKS],
            1..FIRST_SCALAR => read_vector(bits, pointer)?,
            _ => {
                let gain = match has_gain(pointer) {
                    true => gains.next().unwrap_or_default(),
                    false => Gain::One,
                };
                let mut numbers = [0.0; MAX_BLOCKS];
                for number in &mut numbers {
                    *number = read_number(bits, pointer, gain)?;
                }
                numbers
            }
        };
        for (block, value) in mantissas.iter_mut().zip(inverse(transformed)) {
            block[bin] = value;
        }
    }
    Ok(())
}

/// By how much the encoder made six mantissas larger before it rounded them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Gain {
    #[default]
    One,
    Two,
    Four,
}

/// Reads the gains of `count` bins, in order.
fn read_gains(bits: &mut FrameBits<'_>, mode: u32, count: usize) -> Result<[Gain; BINS], Fault> {
    let mut gains = [Gain::One; BINS];
    match mode {
        0 => {}
        1 | 2 => {
            let large = if mode == 1 { Gain::Two } else { Gain::Four };
            for gain in &mut gains[..count] {
                if bits.flag()? {
                    *gain = large;
                }
            }
        }
        _ => {
            for three in gains[..count].chunks_mut(3) {
                let code = bits.read(5)?;
                if code >= 27 {
                    return Err(Fault::Impossible("mantissa gain"));
                }
                for (gain, digit) in three.iter_mut().zip([code / 9, code / 3 % 3, code % 3]) {
                    *gain = [Gain::One, Gain::Two, Gain::Four][digit as usize];
                }
            }
        }
    }
    Ok(gains)
}

fn read_vector(bits: &mut FrameBits<'_>, pointer: u8) -> Result<[f32; MAX_BLOCKS], Fault> {
    let vector = match pointer {
        1 => VECTORS_1[bits.read(2)? as usize],
        2 => VECTORS_2[bits.read(3)? as usize],
        3 => VECTORS_3[bits.read(4)? as usize],
        4 => VECTORS_4[bits.read(5)? as usize],
        5 => VECTORS_5[bits.read(7)? as usize],
        6 => VECTORS_6[bits.read(8)? as usize],
        _ => VECTORS_7[bits.read(9)? as usize],
    };
    Ok(vector.map(q15))
}

/// A number that is small after its gain has a shorter word; the lowest of these says that a longer one follows
/// (E3.4.4.2).
fn read_number(bits: &mut FrameBits<'_>, pointer: u8, gain: Gain) -> Result<f32, Fault> {
    let row = usize::from(pointer - FIRST_SCALAR).min(BITS.len() - 1);
    let (len, remap) = (BITS[row], &REMAP[row]);
    let (shorter_by, long_len, (a, b_negative), b_positive) = match gain {
        Gain::One => {
            let number = fraction(bits.read_signed(len)?, len);
            return Ok(number + q15(remap.plain) * number);
        }
        Gain::Two => (1, len - 1, remap.by_two, 0.5),
        Gain::Four => (2, len, remap.by_four, 0.25),
    };
    let short_len = len - shorter_by;
    let short = bits.read_signed(short_len)?;
    if short != -1 << (short_len - 1) {
        return Ok(fraction(short, len));
    }
    let number = fraction(bits.read_signed(long_len)?, long_len);
    let b = if number < 0.0 {
        q15(b_negative)
    } else {
        b_positive
    };
    Ok(number + q15(a) * number + b)
}

/// A signed number as a fraction of full scale in `len` bits.
fn fraction(number: i32, len: u32) -> f32 {
    number as f32 / (1u32 << (len - 1)) as f32
}

fn q15(value: i16) -> f32 {
    f32::from(value) / 32768.0
}

/// The inverse discrete cosine transform of type II of six values (E3.4.5), scaled so that a value that is the same in
/// all blocks is the first of them.
fn inverse(transformed: [f32; MAX_BLOCKS]) -> [f32; MAX_BLOCKS] {
    // √2·cos(jπ/12)
    const C1: f32 = 1.366_025_4;
    const C2: f32 = 1.224_744_9;
    const C3: f32 = 1.0;
    const C4: f32 = std::f32::consts::FRAC_1_SQRT_2;
    const C5: f32 = 0.366_025_4;
    let [x0, x1, x2, x3, x4, x5] = transformed;
    let even = [
        x0 + C2 * x2 + C4 * x4,
        x0 - 2.0 * C4 * x4,
        x0 - C2 * x2 + C4 * x4,
    ];
    let odd = [
        C1 * x1 + C3 * x3 + C5 * x5,
        C3 * (x1 - x3 - x5),
        C5 * x1 - C3 * x3 + C1 * x5,
    ];
    [
        even[0] + odd[0],
        even[1] + odd[1],
        even[2] + odd[2],
        even[2] - odd[2],
        even[1] - odd[1],
        even[0] - odd[0],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_transform_is_its_sum() {
        let x = [0.3, -0.7, 0.2, 0.9, -0.4, 0.1];
        let fast = inverse(x);
        for (block, fast) in fast.into_iter().enumerate() {
            let angle = |j: usize| (j * (2 * block + 1)) as f64 * std::f64::consts::PI / 12.0;
            let term = |j: usize| 2f64.sqrt() * f64::from(x[j]) * angle(j).cos();
            let slow = f64::from(x[0]) + (1..6).map(term).sum::<f64>();
            assert!((f64::from(fast) - slow).abs() < 1e-6, "{fast} {slow}");
        }
    }

    /// Small numbers, and the shortest large ones, are multiples of two over all levels.
    #[test]
    fn numbers_are_evenly_spaced() {
        let number = |packed: u32, pointer, gain| {
            read_number(&mut FrameBits::at(&packed.to_be_bytes(), 0), pointer, gain).unwrap()
        };
        for code in -3..=3i32 {
            let expected = 2.0 * code as f32 / 7.0;
            let value = number((code as u32) << 29, 8, Gain::One);
            assert!((value - expected).abs() < 1e-4, "{value} {expected}");
        }
        // Three bits short of their gain of 2: small are −1 to 1 quarters, −2 is the escape.
        assert_eq!(number(0b01 << 30, 8, Gain::Two), 0.25);
        for (code, expected) in [(0, 0.5), (1, 5.0 / 6.0), (2, -5.0 / 6.0), (3, -0.5)] {
            let value = number(0b10 << 30 | code << 28, 8, Gain::Two);
            assert!((value - expected).abs() < 1e-3, "{value} {expected}");
        }
    }
}
