//! Rematrixing: stereo sent as sum and difference, band by band (ATSC A/52, 7.5).

use super::coupling::Coupling;
use super::fault::Fault;
use super::frame_bits::FrameBits;
use super::spectral_extension::SpectralExtension;
use super::{BINS, Spectrum};

/// Tables 7.25 to 7.28: where the bands begin; the last ends with the channels.
const BAND_START: [usize; 5] = [13, 25, 37, 61, BINS];

/// Which bands are sent as sum and difference.
#[derive(Clone, Default)]
pub struct Rematrix {
    flags: [bool; 4],
}

impl Rematrix {
    /// Reads a new set of flags.
    pub fn read(
        &mut self,
        bits: &mut FrameBits<'_>,
        coupling: &Coupling,
        extension: &SpectralExtension,
    ) -> Result<(), Fault> {
        let bands = match (coupling.begin_code(), extension.begin_code()) {
            (Some(0), _) => 2,
            (Some(1..=2), _) | (None, Some(0..=1)) => 3,
            _ => 4,
        };
        self.flags = [false; 4];
        for flag in &mut self.flags[..bands] {
            *flag = bits.flag()?;
        }
        Ok(())
    }

    /// Makes left and right of sum and difference, below `end`.
    pub fn apply(&self, left: &mut Spectrum, right: &mut Spectrum, end: usize) {
        for (band, _) in self.flags.iter().enumerate().filter(|(_, flag)| **flag) {
            let bins = BAND_START[band].min(end)..BAND_START[band + 1].min(end);
            for (left, right) in left[bins.clone()].iter_mut().zip(&mut right[bins]) {
                (*left, *right) = (*left + *right, *left - *right);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_end_where_they_should() {
        let rematrix = Rematrix {
            flags: [true, false, true, true],
        };
        let (mut left, mut right) = ([3.0; BINS], [1.0; BINS]);
        rematrix.apply(&mut left, &mut right, 100);
        for (bin, pair) in left.into_iter().zip(right).enumerate() {
            let matrixed = matches!(bin, 13..25 | 37..100);
            let expected = if matrixed { (4.0, 2.0) } else { (3.0, 1.0) };
            assert_eq!(pair, expected, "bin {bin}");
        }
    }
}
