// SPDX-License-Identifier: LGPL-2.0-or-later
//! What the psychoacoustic model keeps with an encoder.

use super::block::Block;
use super::fft::{self, Energies};
use super::masking::{self, Bands, Earlier, MAX_BANDS, Masking, Model, Output, Spectrum};

/// LAME starts with thresholds that limit nothing.
const UNLIMITED: f32 = 1e20;

/// The bands of a sample rate, the masking of earlier granules, and room for the spectra. All zero, it is of no use
/// yet.
#[repr(C)]
pub struct Psychoacoustics {
    long: Bands,
    short: Bands,
    masking: [Masking; 2],
    spectrum: Spectrum,
    room: fft::Room,
    long_lines: [Energies; fft::LONG_LINES],
    short_lines: [[Energies; fft::SHORT_LINES]; 3],
}

/// What a long block tells.
pub struct LongBlock {
    /// The energy of each channel above line 10.
    pub energy: [f32; 4],
    /// The energy of left and right, weighted by line.
    pub weighted: [f32; 2],
}

impl Psychoacoustics {
    /// Prepares for a sample rate; tells whether the bands are sound.
    pub fn lay_out(&mut self, long: &Model<'_>, short: &Model<'_>) -> bool {
        self.masking = [[[UNLIMITED; 4]; MAX_BANDS]; 2];
        self.long.lay_out(long, fft::LONG_LINES) && self.short.lay_out(short, fft::SHORT_LINES)
    }

    /// Energies and thresholds by band of left, right, middle and side, for the samples of a long block. `previous` are
    /// the block types of left and right in the granule before, `lowest` is LAME's `masking_lower`, `weights` are
    /// LAME's `eql_w`.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    pub fn long(
        &mut self,
        pcm: (&[f32; fft::LONG], Option<&[f32; fft::LONG]>),
        previous: [Block; 2],
        lowest: f32,
        weights: &[f32; fft::LONG / 2],
        output: Output<'_>,
    ) -> LongBlock {
        let lines = &mut self.long_lines;
        let weighted = fft::long(pcm.0, pcm.1, weights, &mut self.room, lines);
        let earlier = Earlier {
            blocks: previous,
            masking: &mut self.masking,
        };
        let spectrum = &mut self.spectrum;
        LongBlock {
            energy: masking::long(&self.long, lines, earlier, lowest, spectrum, output),
            weighted,
        }
    }

    /// Transforms the three short blocks in the samples of a long one.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    pub fn transform_short(&mut self, left: &[f32; fft::LONG], right: Option<&[f32; fft::LONG]>) {
        fft::short(left, right, &mut self.room, &mut self.short_lines);
    }

    /// Energies and thresholds by band of one of the short blocks last transformed.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
    pub fn short(&mut self, block: usize, lowest: f32, output: Output<'_>) {
        let lines = &self.short_lines[block];
        masking::short(&self.short, lines, lowest, &mut self.spectrum, output);
    }
}
