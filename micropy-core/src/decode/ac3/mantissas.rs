//! Mantissas: the frequencies' values within ±1, before their exponents shift them down (ATSC A/52, 7.3).

use super::fault::Fault;
use super::frame_bits::FrameBits;

/// Bits of the asymmetric quantizers, which `bap` 6 to 15 stand for (table 7.17).
const BITS: [u32; 16] = [0, 0, 0, 0, 0, 0, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16];

/// A symmetric quantizer of `levels` levels (tables 7.19 to 7.23). Codes beyond them, which the standard forbids, are
/// 0.
const fn symmetric<const N: usize>(levels: i32) -> [f32; N] {
    let mut values = [0.0; N];
    let mut code = 0;
    while code < levels {
        values[code as usize] = (2 * code - (levels - 1)) as f32 / levels as f32;
        code += 1;
    }
    values
}

const LEVELS_3: [f32; 3] = symmetric(3);
const LEVELS_5: [f32; 5] = symmetric(5);
const LEVELS_7: [f32; 8] = symmetric(7);
const LEVELS_11: [f32; 11] = symmetric(11);
const LEVELS_15: [f32; 16] = symmetric(15);

/// A few mantissas that share a code word, taken out one by one, last first.
#[derive(Clone, Copy, Default)]
struct Group {
    values: [f32; 2],
    left: usize,
}

/// Reads the mantissas of one block, through all channels: code words for several of them reach across channels.
#[derive(Default)]
pub struct Mantissas {
    threes: Group,
    fives: Group,
    elevens: Group,
}

impl Group {
    fn next(&mut self) -> Option<f32> {
        self.left = self.left.checked_sub(1)?;
        self.values.get(self.left).copied()
    }

    /// Keeps `second` and `third` and gives `first`.
    fn three(&mut self, [first, second, third]: [f32; 3]) -> f32 {
        *self = Group {
            values: [third, second],
            left: 2,
        };
        first
    }

    /// Keeps `second` and gives `first`.
    fn two(&mut self, [first, second]: [f32; 2]) -> f32 {
        *self = Group {
            values: [second, 0.0],
            left: 1,
        };
        first
    }
}

/// Three digits of `code` in base `N`, each to its level; 0 where the first is none.
fn digits<const N: usize>(code: u32, levels: &[f32; N]) -> [f32; 3] {
    let (code, base) = (code as usize, N);
    if code >= base * base * base {
        return [0.0; 3];
    }
    [code / (base * base), code / base % base, code % base].map(|digit| levels[digit])
}

impl Mantissas {
    /// The next mantissa of a frequency whose bit allocation pointer is `bap`; 0 where that is 0.
    pub fn next(&mut self, bits: &mut FrameBits<'_>, bap: u8) -> Result<f32, Fault> {
        Ok(match bap & 15 {
            0 => 0.0,
            1 => match self.threes.next() {
                Some(value) => value,
                None => self.threes.three(digits(bits.read(5)?, &LEVELS_3)),
            },
            2 => match self.fives.next() {
                Some(value) => value,
                None => self.fives.three(digits(bits.read(7)?, &LEVELS_5)),
            },
            3 => LEVELS_7[bits.read(3)? as usize],
            4 => match self.elevens.next() {
                Some(value) => value,
                None => {
                    let code = bits.read(7)? as usize;
                    let level = |digit: usize| LEVELS_11.get(digit).copied();
                    let pair = level(code / 11).zip(level(code % 11));
                    let (first, second) = pair.unwrap_or_default();
                    self.elevens.two([first, second])
                }
            },
            5 => LEVELS_15[bits.read(4)? as usize],
            bap => {
                let len = BITS[usize::from(bap)];
                bits.read_signed(len)? as f32 / (1u32 << (len - 1)) as f32
            }
        })
    }
}

/// 2⁻ᵉ, by which an exponent scales its mantissa.
pub const SCALE: [f32; 25] = {
    let mut scale = [1.0; 25];
    let mut exponent = 1;
    while exponent < scale.len() {
        scale[exponent] = scale[exponent - 1] * 0.5;
        exponent += 1;
    }
    scale
};

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], baps: &[u8]) -> Vec<f32> {
        let mut bits = FrameBits::at(bytes, 0);
        let mut mantissas = Mantissas::default();
        let values = baps.iter().map(|&bap| mantissas.next(&mut bits, bap));
        values.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn the_levels_are_the_tables() {
        assert_eq!(LEVELS_3, [-2.0 / 3.0, 0.0, 2.0 / 3.0]);
        assert_eq!(LEVELS_5, [-0.8, -0.4, 0.0, 0.4, 0.8]);
        assert_eq!(LEVELS_7[0], -6.0 / 7.0);
        assert_eq!(LEVELS_11[10], 10.0 / 11.0);
        assert_eq!(LEVELS_15[14], 14.0 / 15.0);
    }

    /// 5 bits hold three of three levels, 7 three of five or two of eleven, whatever comes in between.
    #[test]
    fn grouped_mantissas_wait_for_their_turn() {
        // 10110 = 22 = 2·9 + 1·3 + 1; 1111000 = 120 = 10·11 + 10; 0000001 = 1.
        let bytes = [0b1011_0111, 0b1000_0000, 0b0010_0000];
        let values = read(&bytes, &[1, 4, 2, 1, 4, 2, 1, 2, 0]);
        let (third, fifth, eleventh) = (2.0 / 3.0, 0.8, 10.0 / 11.0);
        let expected = [
            third, eleventh, -fifth, 0.0, eleventh, -fifth, 0.0, -0.4, 0.0,
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn long_mantissas_are_in_twos_complement() {
        let bytes = [0x80, 0x00, 0x7f, 0xff, 0b1000_0011, 0b1100_0000];
        assert_eq!(
            read(&bytes, &[15, 15, 6, 6]),
            [-1.0, 32767.0 / 32768.0, -1.0, 15.0 / 16.0]
        );
    }

    #[test]
    fn forbidden_codes_are_silence() {
        let ones = [0xff; 8];
        assert_eq!(read(&ones, &[1, 2, 3, 4, 5]), [0.0; 5]);
    }
}
