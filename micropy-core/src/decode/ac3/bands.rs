//! Bands of sub-bands, as coupling and spectral extension share them out (ATSC A/52, 5.4.3.12 and E2.3.3).

use std::ops::Range;

use super::fault::Fault;
use super::frame_bits::FrameBits;

/// Reads which of `sub_bands` are of one band with the one below; the first has none below.
pub fn read_merged(
    bits: &mut FrameBits<'_>,
    sub_bands: Range<usize>,
    merged: &mut [bool],
) -> Result<(), Fault> {
    for merged in &mut merged[sub_bands.start + 1..sub_bands.end] {
        *merged = bits.flag()?;
    }
    Ok(())
}

/// Writes the size of each band to `sizes`, where a sub-band counts `width`. Returns the number of bands.
pub fn group(sub_bands: Range<usize>, merged: &[bool], width: usize, sizes: &mut [usize]) -> usize {
    let (first, mut bands) = (sub_bands.start, 0);
    for sub_band in sub_bands {
        if sub_band == first || !merged[sub_band] {
            sizes[bands] = 0;
            bands += 1;
        }
        sizes[bands - 1] += width;
    }
    bands
}
