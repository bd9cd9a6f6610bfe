//! Spectral extension: high frequencies are made of a copy of lower ones, mixed with noise and scaled band by band
//! (ATSC A/52, E3.6). E-AC-3 alone has it.

use super::bands;
use super::dither::Dither;
use super::fault::Fault;
use super::frame_bits::FrameBits;
use super::header::Header;
use super::mantissas::SCALE;
use super::{FULL, Spectrum};

/// The first bin of sub-band 0; each has 12.
const FIRST_BIN: usize = 25;

/// Sub-bands that there can be.
const SUB_BANDS: usize = 17;

/// `defspxbndstrc`: which sub-bands are of one band with the one below, where this is not sent.
const DEFAULT_MERGED: [bool; SUB_BANDS] = {
    let mut merged = [false; SUB_BANDS];
    let mut sub_band = 8;
    while sub_band < SUB_BANDS {
        merged[sub_band] = true;
        sub_band += 2;
    }
    merged
};

/// What one channel's bands are made of.
#[derive(Clone, Copy)]
struct Blend {
    /// The gain of the copy in each band, and that of noise as loud as it.
    copy: [f32; SUB_BANDS],
    noise: [f32; SUB_BANDS],
}

/// The state of spectral extension in a block; much of it stays for the next.
#[derive(Clone)]
pub struct SpectralExtension {
    /// `spxinu`.
    pub in_use: bool,
    /// `chinspx`.
    channels: [bool; FULL],
    /// `spxbegf`.
    begin_code: usize,
    /// The bin that copying starts from.
    copy_start: usize,
    /// The sub-bands that are made.
    begin: usize,
    end: usize,
    merged: [bool; SUB_BANDS],
    /// The bands' bins, and how many bands there are.
    sizes: [usize; SUB_BANDS],
    bands: usize,
    blends: [Option<Blend>; FULL],
}

impl SpectralExtension {
    /// At the start of a frame.
    pub fn new() -> Self {
        SpectralExtension {
            in_use: false,
            channels: [false; FULL],
            begin_code: 0,
            copy_start: 0,
            begin: 0,
            end: 0,
            merged: DEFAULT_MERGED,
            sizes: [0; SUB_BANDS],
            bands: 0,
            blends: [None; FULL],
        }
    }

    /// `spxbegf`, while the extension is in use.
    pub fn begin_code(&self) -> Option<usize> {
        self.in_use.then_some(self.begin_code)
    }

    /// Whether `channel` is extended.
    pub fn extends(&self, channel: usize) -> bool {
        self.in_use && self.channels.get(channel) == Some(&true)
    }

    /// The first bin that is made.
    pub fn begin_bin(&self) -> usize {
        FIRST_BIN + 12 * self.begin
    }

    /// Reads a new strategy (after `spxstre`).
    pub fn read_strategy(
        &mut self,
        bits: &mut FrameBits<'_>,
        header: &Header,
    ) -> Result<(), Fault> {
        self.in_use = bits.flag()?;
        if !self.in_use {
            self.channels = [false; FULL];
            self.blends = [None; FULL];
            return Ok(());
        }
        for channel in 0..header.full_channels() {
            self.channels[channel] = header.acmod == 1 || bits.flag()?;
        }
        self.copy_start = FIRST_BIN + 12 * bits.read(2)? as usize;
        self.begin_code = bits.read(3)? as usize;
        self.begin = match self.begin_code {
            code @ 0..6 => code + 2,
            code => 2 * code - 3,
        };
        self.end = match bits.read(3)? as usize {
            code @ 0..3 => code + 5,
            code => 2 * code + 3,
        };
        if self.begin >= self.end || self.copy_start >= self.begin_bin() {
            return Err(Fault::Impossible("range of spectral extension"));
        }
        let sub_bands = self.begin..self.end;
        if bits.flag()? {
            bands::read_merged(bits, sub_bands.clone(), &mut self.merged)?;
        }
        self.bands = bands::group(sub_bands, &self.merged, 12, &mut self.sizes);
        Ok(())
    }

    /// Reads the coordinates, where new ones are sent.
    pub fn read_coordinates(
        &mut self,
        bits: &mut FrameBits<'_>,
        header: &Header,
    ) -> Result<(), Fault> {
        let end_bin = (FIRST_BIN + 12 * self.end) as f32;
        for channel in 0..header.full_channels() {
            if !self.channels[channel] {
                self.blends[channel] = None;
                continue;
            }
            if self.blends[channel].is_some() && !bits.flag()? {
                continue;
            }
            let mut blend = Blend {
                copy: [0.0; SUB_BANDS],
                noise: [0.0; SUB_BANDS],
            };
            let noise_offset = bits.read(5)? as f32 / 32.0;
            let master = 3 * bits.read(2)?;
            let mut bin = self.begin_bin();
            for band in 0..self.bands {
                let (exponent, mantissa) = (bits.read(4)?, bits.read(2)?);
                let value = match exponent {
                    15 => mantissa as f32 / 4.0,
                    _ => (mantissa + 4) as f32 / 8.0,
                };
                let coordinate = 32.0 * value * SCALE[(exponent + master) as usize];
                // The higher the band is, the more of it is noise.
                let centre = bin as f32 + 0.5 * self.sizes[band] as f32;
                let noise = (centre / end_bin - noise_offset).clamp(0.0, 1.0);
                blend.copy[band] = coordinate * (1.0 - noise).sqrt();
                blend.noise[band] = coordinate * noise.sqrt();
                bin += self.sizes[band];
            }
            self.blends[channel] = Some(blend);
        }
        Ok(())
    }

    /// Makes the high frequencies of `channel`. `attenuation` is `spxattencod`, where the seams of the copy are to be
    /// softened.
    pub fn apply(
        &self,
        channel: usize,
        attenuation: Option<u32>,
        dither: &mut Dither,
        spectrum: &mut Spectrum,
    ) {
        let Some(blend) = &self.blends[channel] else {
            return;
        };
        let begin = self.begin_bin();
        let mut wraps = [false; SUB_BANDS];
        let mut from = self.copy_start;
        let mut to = begin;
        for (&size, wraps) in self.sizes[..self.bands].iter().zip(&mut wraps) {
            if from + size > begin {
                from = self.copy_start;
                *wraps = true;
            }
            for _ in 0..size {
                if from == begin {
                    from = self.copy_start;
                }
                spectrum[to] = spectrum[from];
                (from, to) = (from + 1, to + 1);
            }
        }

        let levels = self.levels(spectrum);
        if let Some(code) = attenuation {
            let mut bin = begin;
            for (band, &size) in self.sizes[..self.bands].iter().enumerate() {
                if band == 0 || wraps[band] {
                    notch(code, &mut spectrum[bin - 2..bin + 3]);
                }
                bin += size;
            }
        }

        let mut bin = begin;
        for (band, &size) in self.sizes[..self.bands].iter().enumerate() {
            // Noise uniform within ±1 is √3 quieter than its peak.
            let noise = blend.noise[band] * levels[band] * 3f32.sqrt();
            for value in &mut spectrum[bin..bin + size] {
                *value *= blend.copy[band];
                if noise > 0.0 {
                    *value += noise * dither.next();
                }
            }
            bin += size;
        }
    }

    /// The root mean square of each band.
    fn levels(&self, spectrum: &Spectrum) -> [f32; SUB_BANDS] {
        let mut levels = [0.0; SUB_BANDS];
        let mut bin = self.begin_bin();
        for (level, &size) in levels.iter_mut().zip(&self.sizes[..self.bands]) {
            let band = &spectrum[bin..bin + size];
            let energy: f32 = band.iter().map(|value| value * value).sum();
            *level = (energy / size as f32).sqrt();
            bin += size;
        }
        levels
    }
}

/// Softens a seam, the third of five bins (`spxattentab`).
fn notch(code: u32, bins: &mut [f32]) {
    let step = -((code + 1) as f32) / 15.0;
    for (bin, power) in bins.iter_mut().zip([1.0, 2.0, 3.0, 2.0, 1.0]) {
        *bin *= (step * power).exp2();
    }
}
