//! Dynamic range control: the gain that the encoder asks for in each block (ATSC A/52, 7.7.1).
//!
//! It is applied in full, as the standard has decoders do unless the listener asks otherwise. `compr` and `dialnorm`
//! are for receivers that match programmes' levels to each other, and are not applied.

use super::fault::Fault;
use super::frame_bits::FrameBits;

/// The gain of a `dynrng` word: three bits of exponent, −4 to 3, and five of mantissa.
pub fn gain(word: u8) -> f32 {
    let exponent = i32::from(word as i8 >> 5);
    let mantissa = f32::from(0x20 | word & 0x1f) / 64.0;
    mantissa * ((exponent + 1) as f32).exp2()
}

/// Reads the gains of the block's programmes, two in dual mono. A gain that is not sent stays.
pub fn read(bits: &mut FrameBits<'_>, gains: &mut [f32]) -> Result<(), Fault> {
    for told in gains {
        if let Some(word) = bits.optional(8)? {
            *told = gain(word as u8);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table 7.29's ends, and no change.
    #[test]
    fn gains_reach_from_minus_24_to_24_db() {
        let db = |word| 20.0 * gain(word).log10();
        assert_eq!(gain(0), 1.0);
        assert!((db(0b0111_1111) - 23.95).abs() < 0.01);
        assert!((db(0b1000_0000) + 24.08).abs() < 0.01);
        assert!((db(0b0010_0000) - 6.02).abs() < 0.01);
    }
}
