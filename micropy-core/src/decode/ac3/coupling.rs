//! Coupling: above some frequency several channels share one, scaled for each of them band by band (ATSC A/52, 7.4).

use super::bands;
use super::dither::Dither;
use super::exponents::Exponents;
use super::fault::Fault;
use super::frame_bits::FrameBits;
use super::header::{Header, Syntax};
use super::mantissas::SCALE;
use super::{BINS, DITHER_LEVEL, FULL, Spectrum};

/// The first bin that can be coupled.
const FIRST_BIN: usize = 37;

/// Sub-bands of 12 bins.
const SUB_BANDS: usize = 18;

/// E-AC-3's `defcplbndstrc`, table E2.12: which sub-bands are of one band with the one below, where this is not sent.
const DEFAULT_MERGED: [bool; SUB_BANDS] = {
    const JOIN: [usize; 8] = [8, 10, 11, 13, 14, 15, 16, 17];
    let mut merged = [false; SUB_BANDS];
    let mut i = 0;
    while i < JOIN.len() {
        merged[JOIN[i]] = true;
        i += 1;
    }
    merged
};

/// The state of coupling in a block; much of it stays for the next.
#[derive(Clone)]
pub struct Coupling {
    /// `cplinu`.
    pub in_use: bool,
    /// `chincpl`.
    pub channels: [bool; FULL],
    /// The sub-bands in use.
    begin: usize,
    end: usize,
    merged: [bool; SUB_BANDS],
    /// The bands' sub-bands, and how many bands there are.
    sizes: [usize; SUB_BANDS],
    bands: usize,
    /// `cplco`; `None` until the first are sent.
    coordinates: [Option<[f32; SUB_BANDS]>; FULL],
    /// `phsflginu`.
    phase_flags_in_use: bool,
    phase_flags: [bool; SUB_BANDS],
}

impl Coupling {
    /// At the start of a frame.
    pub fn new() -> Self {
        Coupling {
            in_use: false,
            channels: [false; FULL],
            begin: 0,
            end: 0,
            merged: DEFAULT_MERGED,
            sizes: [0; SUB_BANDS],
            bands: 0,
            coordinates: [None; FULL],
            phase_flags_in_use: false,
            phase_flags: [false; SUB_BANDS],
        }
    }

    /// `cplbegf`, while coupling is in use.
    pub fn begin_code(&self) -> Option<usize> {
        self.in_use.then_some(self.begin)
    }

    /// The bins that are coupled.
    pub fn bins(&self) -> (usize, usize) {
        (FIRST_BIN + 12 * self.begin, FIRST_BIN + 12 * self.end)
    }

    /// Whether `channel` is coupled.
    pub fn couples(&self, channel: usize) -> bool {
        self.in_use && self.channels.get(channel) == Some(&true)
    }

    /// Switches coupling off.
    pub fn leave(&mut self, header: &Header) {
        self.in_use = false;
        self.channels = [false; FULL];
        if header.syntax == Syntax::Enhanced {
            self.coordinates = [None; FULL];
        }
    }

    /// Reads a new strategy that uses coupling: what follows `cplinu`. `extension_begin` is `spxbegf`, where spectral
    /// extension is in use.
    pub fn read_strategy(
        &mut self,
        bits: &mut FrameBits<'_>,
        header: &Header,
        extension_begin: Option<usize>,
    ) -> Result<(), Fault> {
        let enhanced = header.syntax == Syntax::Enhanced;
        if header.acmod < 2 {
            return Err(Fault::Impossible("coupling of single channels"));
        }
        if enhanced && bits.flag()? {
            return Err(Fault::Unsupported("enhanced coupling"));
        }
        self.in_use = true;
        for channel in 0..header.full_channels() {
            self.channels[channel] = (enhanced && header.acmod == 2) || bits.flag()?;
        }
        self.phase_flags_in_use = header.acmod == 2 && bits.flag()?;
        if !self.phase_flags_in_use {
            self.phase_flags = [false; SUB_BANDS];
        }
        self.begin = bits.read(4)? as usize;
        // `cplendf` + 3: where spectral extension takes over, or as sent.
        self.end = match extension_begin {
            Some(code @ 0..6) => code + 1,
            Some(code) => 2 * code - 4,
            None => bits.read(4)? as usize + 3,
        };
        if self.begin >= self.end {
            return Err(Fault::Impossible("range of coupling"));
        }
        let sub_bands = self.begin..self.end;
        if !enhanced || bits.flag()? {
            bands::read_merged(bits, sub_bands.clone(), &mut self.merged)?;
        }
        self.bands = bands::group(sub_bands, &self.merged, 1, &mut self.sizes);
        Ok(())
    }

    /// Reads the coordinates, where new ones are sent.
    pub fn read_coordinates(
        &mut self,
        bits: &mut FrameBits<'_>,
        header: &Header,
    ) -> Result<(), Fault> {
        let mut any = false;
        for channel in 0..header.full_channels() {
            let coordinates = &mut self.coordinates[channel];
            if !self.channels[channel] {
                if header.syntax == Syntax::Enhanced {
                    *coordinates = None;
                }
                continue;
            }
            let implied = header.syntax == Syntax::Enhanced && coordinates.is_none();
            if implied || bits.flag()? {
                any = true;
                let master = 3 * bits.read(2)?;
                let coordinates = coordinates.insert([0.0; SUB_BANDS]);
                for coordinate in &mut coordinates[..self.bands] {
                    let (exponent, mantissa) = (bits.read(4)?, bits.read(4)?);
                    let value = match exponent {
                        15 => mantissa as f32 / 16.0,
                        _ => (mantissa + 16) as f32 / 32.0,
                    };
                    *coordinate = value * SCALE[(exponent + master) as usize];
                }
            }
            if coordinates.is_none() {
                return Err(Fault::Impossible("coupling without coordinates"));
            }
        }
        if any && self.phase_flags_in_use {
            for flag in &mut self.phase_flags[..self.bands] {
                *flag = bits.flag()?;
            }
        }
        Ok(())
    }

    /// Fills in the coupled bins of `channel`. Where the shared mantissa got no bits, each channel gets noise of its
    /// own, if it wants any.
    pub fn decouple(
        &self,
        channel: usize,
        shared: &Shared<'_>,
        mut dither: Option<&mut Dither>,
        spectrum: &mut Spectrum,
    ) {
        let Some(coordinates) = &self.coordinates[channel] else {
            return;
        };
        let mut bin = self.bins().0;
        for (band, coordinate) in coordinates[..self.bands].iter().enumerate() {
            let mut coordinate = 8.0 * coordinate;
            if channel == 1 && self.phase_flags[band] {
                coordinate = -coordinate;
            }
            for _ in 0..12 * self.sizes[band] {
                let mut value = shared.spectrum[bin];
                if shared.pointers[bin] == 0
                    && let Some(dither) = &mut dither
                {
                    let exponent = usize::from(shared.exponents.values[bin]);
                    value = dither.next() * DITHER_LEVEL * SCALE[exponent];
                }
                spectrum[bin] = coordinate * value;
                bin += 1;
            }
        }
    }
}

/// The coupling channel.
pub struct Shared<'a> {
    pub spectrum: &'a Spectrum,
    pub pointers: &'a [u8; BINS],
    pub exponents: &'a Exponents,
}
