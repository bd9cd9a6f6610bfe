//! The checksums of a syncframe (ATSC A/52, 7.10.1).

use super::fault::Fault;
use super::header::{Header, Syntax};

/// x¹⁶ + x¹⁵ + x² + 1.
const GENERATOR: u16 = 0x8005;

/// What each byte leaves when it is divided on its own.
const REMAINDERS: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = remainder & 0x8000 != 0;
            remainder <<= 1;
            if carry {
                remainder ^= GENERATOR;
            }
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};

/// The remainder of `bytes`: 0 where a right checksum stands in them.
pub fn remainder(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |remainder, &byte| {
        remainder << 8 ^ REMAINDERS[usize::from((remainder >> 8) as u8 ^ byte)]
    })
}

/// Checks a whole frame: `crc1` makes the first five eighths of an AC-3 frame divisible, `crc2` all of it. E-AC-3
/// has the latter alone. The sync word is not covered.
pub fn check(header: &Header, frame: &[u8]) -> Result<(), Fault> {
    let covered = frame.get(2..).ok_or(Fault::Truncated)?;
    let mut right = remainder(covered) == 0;
    if header.syntax == Syntax::Plain {
        let words = frame.len() / 2;
        let five_eighths = (words / 2 + words / 8) * 2;
        right &= frame.get(2..five_eighths).map(remainder) == Some(0);
    }
    right.then_some(()).ok_or(Fault::Checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Division bit by bit.
    fn by_shifting(bytes: &[u8]) -> u16 {
        let mut register = 0u16;
        for byte in bytes {
            for bit in (0..8).rev() {
                let carry = register >> 15 != u16::from(byte >> bit & 1);
                register <<= 1;
                if carry {
                    register ^= GENERATOR;
                }
            }
        }
        register
    }

    #[test]
    fn bytewise_division_is_bitwise_division() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * i * 7 + i / 3) as u8).collect();
        for len in [0, 1, 2, 3, 17, 1000] {
            assert_eq!(remainder(&bytes[..len]), by_shifting(&bytes[..len]));
        }
    }

    #[test]
    fn a_checksum_makes_the_remainder_zero() {
        let mut bytes = b"any bytes at all".to_vec();
        bytes.extend(remainder(&bytes).to_be_bytes());
        assert_eq!(remainder(&bytes), 0);
        bytes[3] ^= 1;
        assert_ne!(remainder(&bytes), 0);
    }
}
