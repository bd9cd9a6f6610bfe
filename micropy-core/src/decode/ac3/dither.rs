//! Noise in place of mantissas that got no bits (ATSC A/52, 7.3.4).
//!
//! Which noise, the standard leaves to the decoder. Here it follows from the frame's bytes alone, so a decoder that
//! was started in the middle of a stream gives exactly what one gives that has run from its beginning.

/// A source of white noise.
pub struct Dither(u64);

impl Dither {
    /// The noise of one frame.
    pub fn of_frame(frame: &[u8]) -> Dither {
        // FNV-1a, eight bytes at a time; that it is never 0 keeps the generator going.
        let (words, rest) = frame.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        let rest = rest.iter().map(|&byte| u64::from(byte));
        let hash = words.chain(rest).fold(0xcbf2_9ce4_8422_2325, |hash, word| {
            (hash ^ word)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(23)
        });
        Dither(hash | 1)
    }

    /// The next value, uniform within ±1.
    pub fn next(&mut self) -> f32 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        high as u32 as i32 as f32 / (1u32 << 31) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_is_white_and_the_frames_own() {
        let mut dither = Dither::of_frame(b"a frame");
        let values: Vec<f64> = (0..100_000).map(|_| dither.next().into()).collect();
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / 1e5;
        assert!(mean(&mut values.iter().copied()).abs() < 0.01);
        assert!((mean(&mut values.iter().map(|v| v * v)) - 1.0 / 3.0).abs() < 0.01);
        assert!(mean(&mut values.windows(2).map(|w| w[0] * w[1])).abs() < 0.01);
        assert_eq!(Dither::of_frame(b"a frame").next(), values[0] as f32);
        assert_ne!(Dither::of_frame(b"A frame").next(), values[0] as f32);
    }
}
