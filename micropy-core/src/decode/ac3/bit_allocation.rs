//! How many bits each mantissa has: a model of hearing that the decoder follows exactly as the encoder did (ATSC A/52,
//! 7.2).
//!
//! All is in integers, 128 to 6.02 dB.

use super::exponents::Exponents;
use super::fault::Fault;
use super::frame_bits::FrameBits;
use super::{BINS, COUPLING};

/// Bands of about a critical bandwidth.
pub const BANDS: usize = 50;

/// Table 7.6, `slowdec`.
const SLOW_DECAY: [i32; 4] = [0x0f, 0x11, 0x13, 0x15];
/// Table 7.7, `fastdec`.
const FAST_DECAY: [i32; 4] = [0x3f, 0x53, 0x67, 0x7b];
/// Table 7.8, `slowgain`.
const SLOW_GAIN: [i32; 4] = [0x540, 0x4d8, 0x478, 0x410];
/// Table 7.9, `dbpbtab`.
const DB_PER_BIT: [i32; 4] = [0x000, 0x700, 0x900, 0xb00];
/// Table 7.10, `floortab`; the last is 0xf800.
const FLOOR: [i32; 8] = [0x2f0, 0x2b0, 0x270, 0x230, 0x1f0, 0x170, 0x0f0, -0x800];
/// Table 7.11, `fastgain`.
const FAST_GAIN: [i32; 8] = [0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380, 0x400];

/// Table 7.12, `bndtab`: each band's first bin; after the last, its end.
const BAND_START: [u8; BANDS + 1] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
    26, 27, 28, 31, 34, 37, 40, 43, 46, 49, 55, 61, 67, 73, 79, 85, 97, 109, 121, 133, 157, 181,
    205, 229, 253,
];

/// Table 7.13, `masktab`: each bin's band.
const BAND_OF_BIN: [u8; BINS] = {
    let mut bands = [BANDS as u8 - 1; BINS];
    let mut band = 0;
    while band < BANDS {
        let mut bin = BAND_START[band] as usize;
        while bin < BAND_START[band + 1] as usize {
            bands[bin] = band as u8;
            bin += 1;
        }
        band += 1;
    }
    bands
};

/// Table 7.14, `latab`: what to add to the greater of two levels to have their sum, by half their difference.
/// Beyond this it is nothing.
#[rustfmt::skip]
const LOG_ADD: [u8; 210] = [
    64, 63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 52, 51, 50, 49, 48, 47, 47,
    46, 45, 44, 44, 43, 42, 41, 41, 40, 39, 38, 38, 37, 36, 36, 35, 35, 34, 33, 33,
    32, 32, 31, 30, 30, 29, 29, 28, 28, 27, 27, 26, 26, 25, 25, 24, 24, 23, 23, 22,
    22, 21, 21, 21, 20, 20, 19, 19, 19, 18, 18, 18, 17, 17, 17, 16, 16, 16, 15, 15,
    15, 14, 14, 14, 13, 13, 13, 13, 12, 12, 12, 12, 11, 11, 11, 11, 10, 10, 10, 10,
    10,  9,  9,  9,  9,  9,  8,  8,  8,  8,  8,  8,  7,  7,  7,  7,  7,  7,  6,  6,
     6,  6,  6,  6,  6,  6,  5,  5,  5,  5,  5,  5,  5,  5,  4,  4,  4,  4,  4,  4,
     4,  4,  4,  4,  4,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  1,  1,
     1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,
     1,  1,  1,  1,  1,  1,  1,  1,  1,  1,
];

/// Table 7.15, `hth`: the threshold of hearing in each band at 48, 44.1 and 32 kHz.
#[rustfmt::skip]
const HEARING_THRESHOLD: [[i32; BANDS]; 3] = [
    [
        0x4d0, 0x4d0, 0x440, 0x400, 0x3e0, 0x3c0, 0x3b0, 0x3b0, 0x3a0, 0x3a0,
        0x3a0, 0x3a0, 0x3a0, 0x390, 0x390, 0x390, 0x380, 0x380, 0x370, 0x370,
        0x360, 0x360, 0x350, 0x350, 0x340, 0x340, 0x330, 0x320, 0x310, 0x300,
        0x2f0, 0x2f0, 0x2f0, 0x2f0, 0x300, 0x310, 0x340, 0x390, 0x3e0, 0x420,
        0x460, 0x490, 0x4a0, 0x460, 0x440, 0x440, 0x520, 0x800, 0x840, 0x840,
    ],
    [
        0x4f0, 0x4f0, 0x460, 0x410, 0x3e0, 0x3d0, 0x3c0, 0x3b0, 0x3b0, 0x3a0,
        0x3a0, 0x3a0, 0x3a0, 0x3a0, 0x390, 0x390, 0x390, 0x380, 0x380, 0x380,
        0x370, 0x370, 0x360, 0x360, 0x350, 0x350, 0x340, 0x340, 0x320, 0x310,
        0x300, 0x2f0, 0x2f0, 0x2f0, 0x2f0, 0x300, 0x320, 0x350, 0x390, 0x3e0,
        0x420, 0x450, 0x4a0, 0x490, 0x460, 0x440, 0x480, 0x630, 0x840, 0x840,
    ],
    [
        0x580, 0x580, 0x4b0, 0x450, 0x420, 0x3f0, 0x3e0, 0x3d0, 0x3c0, 0x3b0,
        0x3b0, 0x3b0, 0x3a0, 0x3a0, 0x3a0, 0x3a0, 0x3a0, 0x3a0, 0x3a0, 0x3a0,
        0x390, 0x390, 0x390, 0x390, 0x380, 0x380, 0x380, 0x370, 0x360, 0x350,
        0x340, 0x330, 0x320, 0x310, 0x300, 0x2f0, 0x2f0, 0x2f0, 0x300, 0x310,
        0x330, 0x350, 0x3c0, 0x410, 0x470, 0x4a0, 0x460, 0x440, 0x450, 0x4e0,
    ],
];

/// Table 7.16, `baptab`.
pub const POINTERS: [u8; 64] = [
    0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9,
    10, 10, 10, 10, 11, 11, 11, 11, 12, 12, 12, 12, 13, 13, 13, 13, 14, 14, 14, 14, 14, 14, 14, 14,
    15, 15, 15, 15, 15, 15, 15, 15, 15,
];

/// What the encoder chose for all channels of a block.
#[derive(Clone, Copy)]
pub struct Parameters {
    slow_decay: i32,
    fast_decay: i32,
    slow_gain: i32,
    db_per_bit: i32,
    floor: i32,
}

impl Parameters {
    /// What E-AC-3 uses where nothing is sent.
    pub const DEFAULT: Parameters = Parameters {
        slow_decay: SLOW_DECAY[2],
        fast_decay: FAST_DECAY[1],
        slow_gain: SLOW_GAIN[1],
        db_per_bit: DB_PER_BIT[2],
        floor: FLOOR[7],
    };

    /// `sdcycod`, `fdcycod`, `sgaincod`, `dbpbcod` and `floorcod`.
    pub fn read(bits: &mut FrameBits<'_>) -> Result<Parameters, Fault> {
        Ok(Parameters {
            slow_decay: SLOW_DECAY[bits.read(2)? as usize],
            fast_decay: FAST_DECAY[bits.read(2)? as usize],
            slow_gain: SLOW_GAIN[bits.read(2)? as usize],
            db_per_bit: DB_PER_BIT[bits.read(2)? as usize],
            floor: FLOOR[bits.read(3)? as usize],
        })
    }
}

/// `fgaincod`.
pub fn fast_gain(code: u32) -> i32 {
    FAST_GAIN[(code & 7) as usize]
}

/// The fast gain of E-AC-3 where none is sent.
pub const DEFAULT_FAST_GAIN: i32 = FAST_GAIN[4];

/// How far the encoder moved the mask, band by band from the channel's first (`deltbae` and what follows it).
pub type Delta = [i32; BANDS];

/// Not at all.
pub const NO_DELTA: Delta = [0; BANDS];

/// Reads `deltnseg` and the segments.
pub fn read_delta(bits: &mut FrameBits<'_>) -> Result<Delta, Fault> {
    let mut delta = NO_DELTA;
    let mut band = 0;
    for _ in 0..=bits.read(3)? {
        band += bits.read(5)? as usize;
        let len = bits.read(4)? as usize;
        let code = bits.read(3)? as i32;
        let step = if code >= 4 { code - 3 } else { code - 4 } * 128;
        let segment = delta
            .get_mut(band..band + len)
            .ok_or(Fault::Impossible("delta bit allocation"))?;
        segment.iter_mut().for_each(|delta| *delta += step);
        band += len;
    }
    Ok(delta)
}

/// The band of a bin.
pub fn band_of(bin: usize) -> usize {
    usize::from(BAND_OF_BIN[bin])
}

/// What a channel's bits follow from.
pub struct Request<'a> {
    pub parameters: &'a Parameters,
    pub exponents: &'a Exponents,
    /// The column of [`HEARING_THRESHOLD`].
    pub rate_code: usize,
    /// How often the sample rate is halved against the column's.
    pub rate_shift: u32,
    /// `csnroffst` and `fsnroffst` in one.
    pub snr_offset: i32,
    pub fast_gain: i32,
    pub delta: &'a Delta,
    /// `cplfleak` and `cplsleak`, which the coupling channel begins with.
    pub leak: (i32, i32),
    /// [`POINTERS`] or those of the adaptive hybrid transform.
    pub table: &'a [u8; 64],
}

/// `snroffset`.
pub fn snr_offset(coarse: u32, fine: u32) -> i32 {
    (((coarse as i32 - 15) << 4) + fine as i32) << 2
}

/// A level in each band. There is one more, so that the band after the last can be looked at.
type Levels = [i32; BANDS + 1];

impl Request<'_> {
    /// Fills in the bit allocation pointers of the channel `coded`.
    pub fn allocate(&self, coded: usize, pointers: &mut [u8; BINS]) {
        let (start, end) = (self.exponents.start, self.exponents.end.min(BINS));
        if start >= end {
            return;
        }
        let mut density = [0; BINS];
        for (density, &exponent) in density[start..end]
            .iter_mut()
            .zip(&self.exponents.values[start..end])
        {
            *density = 3072 - (i32::from(exponent) << 7);
        }
        let bands = (band_of(start), band_of(end - 1) + 1);
        let levels = integrate(&density, start, end);
        let excitation = match coded {
            COUPLING => self.coupled_excitation(&levels, bands),
            _ => self.excitation(&levels, bands.1),
        };
        for band in bands.0..bands.1 {
            let delta = self.delta[band - bands.0];
            let mask = self.mask(band, levels[band], excitation[band], delta);
            let from = usize::from(BAND_START[band]).max(start);
            let to = usize::from(BAND_START[band + 1]).min(end);
            for (pointer, density) in pointers[from..to].iter_mut().zip(&density[from..to]) {
                let address = ((density - mask) >> 5).clamp(0, 63);
                *pointer = self.table[address as usize];
            }
        }
    }

    /// 7.2.2.4 for a full-bandwidth channel or the LFE.
    fn excitation(&self, levels: &Levels, end: usize) -> Levels {
        let mut excitation = [0; BANDS + 1];
        let lfe = end == 7;
        let mut low = 0;
        for band in 0..2 {
            low = low_compensation(low, levels, band);
            excitation[band] = levels[band] - self.fast_gain - low;
        }
        let (mut fast, mut slow) = (0, 0);
        let mut next = 7;
        for band in 2..7 {
            let last_of_lfe = lfe && band == 6;
            if !last_of_lfe {
                low = low_compensation(low, levels, band);
            }
            fast = levels[band] - self.fast_gain;
            slow = levels[band] - self.parameters.slow_gain;
            excitation[band] = fast - low;
            if !last_of_lfe && levels[band] <= levels[band + 1] {
                next = band + 1;
                break;
            }
        }
        for band in next..end.min(22) {
            if !(lfe && band == 6) {
                low = low_compensation(low, levels, band);
            }
            self.leak(&mut fast, &mut slow, levels[band]);
            excitation[band] = (fast - low).max(slow);
        }
        for band in 22..end {
            self.leak(&mut fast, &mut slow, levels[band]);
            excitation[band] = fast.max(slow);
        }
        excitation
    }

    /// 7.2.2.4 for the coupling channel.
    fn coupled_excitation(&self, levels: &Levels, bands: (usize, usize)) -> Levels {
        let mut excitation = [0; BANDS + 1];
        let (mut fast, mut slow) = ((self.leak.0 << 8) + 768, (self.leak.1 << 8) + 768);
        for band in bands.0..bands.1 {
            self.leak(&mut fast, &mut slow, levels[band]);
            excitation[band] = fast.max(slow);
        }
        excitation
    }

    /// Both masks fall off towards higher bands, until a level stands above them.
    fn leak(&self, fast: &mut i32, slow: &mut i32, level: i32) {
        let parameters = self.parameters;
        let fast_decay = parameters.fast_decay >> self.rate_shift;
        let slow_decay = parameters.slow_decay >> self.rate_shift;
        *fast = (*fast - fast_decay).max(level - self.fast_gain);
        *slow = (*slow - slow_decay).max(level - parameters.slow_gain);
    }

    /// 7.2.2.5 to 7.2.2.7: what is below this is not heard, moved by how many bits are there.
    fn mask(&self, band: usize, level: i32, excitation: i32, delta: i32) -> i32 {
        let Parameters {
            db_per_bit, floor, ..
        } = *self.parameters;
        let mut mask = excitation;
        if level < db_per_bit {
            mask += (db_per_bit - level) >> 2;
        }
        let threshold = HEARING_THRESHOLD[self.rate_code][band >> self.rate_shift];
        mask = mask.max(threshold) + delta;
        ((mask - self.snr_offset - floor).max(0) & 0x1fe0) + floor
    }
}

/// 7.2.2.3: the sum of each band's power.
fn integrate(density: &[i32; BINS], start: usize, end: usize) -> Levels {
    let mut levels = [0; BANDS + 1];
    let mut bin = start;
    while bin < end {
        let band = band_of(bin);
        let band_end = usize::from(BAND_START[band + 1]).min(end);
        let mut level = density[bin];
        for &density in &density[bin + 1..band_end] {
            level = log_add(level, density);
        }
        levels[band] = level;
        bin = band_end;
    }
    levels
}

fn log_add(a: i32, b: i32) -> i32 {
    let address = (a - b).unsigned_abs() as usize / 2;
    a.max(b) + LOG_ADD.get(address).map_or(0, |&more| i32::from(more))
}

/// `calc_lowcomp`: low frequencies with a steep spectrum above them mask less.
fn low_compensation(so_far: i32, levels: &Levels, band: usize) -> i32 {
    let (level, next) = (levels[band], levels[band + 1]);
    let steep = match band {
        0..7 => 384,
        7..20 => 320,
        _ => return (so_far - 128).max(0),
    };
    if level + 256 == next {
        steep
    } else if level > next {
        (so_far - 64).max(0)
    } else {
        so_far
    }
}

#[cfg(test)]
mod tests {
    use super::super::audio_block::synthetic::Lots;
    use super::*;

    /// The standard's pseudo-code of 7.2.2.2 to 7.2.2.7, line by line.
    #[allow(clippy::mut_range_bound, clippy::needless_range_loop)]
    fn by_the_letter(request: &Request<'_>, coupling: bool) -> [u8; BINS] {
        let (start, end) = (request.exponents.start, request.exponents.end);
        let Parameters {
            slow_decay: sdecay,
            fast_decay: fdecay,
            slow_gain: sgain,
            db_per_bit: dbknee,
            floor,
        } = *request.parameters;
        let (sdecay, fdecay) = (sdecay >> request.rate_shift, fdecay >> request.rate_shift);
        let fgain = request.fast_gain;
        let masktab: Vec<usize> = (0..256)
            .map(|bin| {
                (0..50)
                    .rfind(|&band| bin >= usize::from(BAND_START[band]))
                    .unwrap()
            })
            .collect();
        let mut psd = [0; 256];
        for bin in start..end {
            psd[bin] = 3072 - (i32::from(request.exponents.values[bin]) << 7);
        }
        let mut bndpsd = [0; 51];
        let (mut j, mut k) = (start, masktab[start]);
        loop {
            let lastbin = usize::from(BAND_START[k + 1]).min(end);
            bndpsd[k] = psd[j];
            j += 1;
            for _ in j..lastbin {
                let c: i32 = bndpsd[k] - psd[j];
                let address = (c.abs() >> 1).min(255) as usize;
                let sum = LOG_ADD.get(address).copied().unwrap_or(0);
                bndpsd[k] = if c >= 0 { bndpsd[k] } else { psd[j] } + i32::from(sum);
                j += 1;
            }
            k += 1;
            if end <= lastbin {
                break;
            }
        }
        let bndstrt = masktab[start];
        let bndend = masktab[end - 1] + 1;
        let calc_lowcomp = |a: i32, b0: i32, b1: i32, bin: usize| -> i32 {
            if bin < 7 {
                if b0 + 256 == b1 {
                    384
                } else if b0 > b1 {
                    (a - 64).max(0)
                } else {
                    a
                }
            } else if bin < 20 {
                if b0 + 256 == b1 {
                    320
                } else if b0 > b1 {
                    (a - 64).max(0)
                } else {
                    a
                }
            } else {
                (a - 128).max(0)
            }
        };
        let mut excite = [0; 50];
        let (mut fastleak, mut slowleak, mut lowcomp) = (0, 0, 0);
        let begin;
        if !coupling {
            lowcomp = calc_lowcomp(lowcomp, bndpsd[0], bndpsd[1], 0);
            excite[0] = bndpsd[0] - fgain - lowcomp;
            lowcomp = calc_lowcomp(lowcomp, bndpsd[1], bndpsd[2], 1);
            excite[1] = bndpsd[1] - fgain - lowcomp;
            let mut from = 7;
            for bin in 2..7 {
                if bndend != 7 || bin != 6 {
                    lowcomp = calc_lowcomp(lowcomp, bndpsd[bin], bndpsd[bin + 1], bin);
                }
                fastleak = bndpsd[bin] - fgain;
                slowleak = bndpsd[bin] - sgain;
                excite[bin] = fastleak - lowcomp;
                if (bndend != 7 || bin != 6) && bndpsd[bin] <= bndpsd[bin + 1] {
                    from = bin + 1;
                    break;
                }
            }
            for bin in from..bndend.min(22) {
                if bndend != 7 || bin != 6 {
                    lowcomp = calc_lowcomp(lowcomp, bndpsd[bin], bndpsd[bin + 1], bin);
                }
                fastleak -= fdecay;
                fastleak = fastleak.max(bndpsd[bin] - fgain);
                slowleak -= sdecay;
                slowleak = slowleak.max(bndpsd[bin] - sgain);
                excite[bin] = (fastleak - lowcomp).max(slowleak);
            }
            begin = 22;
        } else {
            fastleak = (request.leak.0 << 8) + 768;
            slowleak = (request.leak.1 << 8) + 768;
            begin = bndstrt;
        }
        for bin in begin..bndend {
            fastleak -= fdecay;
            fastleak = fastleak.max(bndpsd[bin] - fgain);
            slowleak -= sdecay;
            slowleak = slowleak.max(bndpsd[bin] - sgain);
            excite[bin] = fastleak.max(slowleak);
        }
        let mut mask = [0; 50];
        for bin in bndstrt..bndend {
            if bndpsd[bin] < dbknee {
                excite[bin] += (dbknee - bndpsd[bin]) >> 2;
            }
            let hth = HEARING_THRESHOLD[request.rate_code][bin >> request.rate_shift];
            mask[bin] = excite[bin].max(hth) + request.delta[bin - bndstrt];
        }
        let mut bap = [0; BINS];
        let (mut i, mut j) = (start, masktab[start]);
        loop {
            let lastbin = usize::from(BAND_START[j + 1]).min(end);
            mask[j] -= request.snr_offset;
            mask[j] -= floor;
            if mask[j] < 0 {
                mask[j] = 0;
            }
            mask[j] &= 0x1fe0;
            mask[j] += floor;
            for _ in i..lastbin {
                let address = (psd[i] - mask[j]) >> 5;
                let address = address.clamp(0, 63);
                bap[i] = request.table[address as usize];
                i += 1;
            }
            j += 1;
            if end <= lastbin {
                return bap;
            }
        }
    }

    #[test]
    fn allocation_is_the_standards_pseudo_code() {
        let mut lots = Lots::new(11);
        for round in 0..2000 {
            let coded = [0, super::super::LFE, COUPLING][round % 3];
            let (start, end) = match coded {
                0 => (0, 37 + lots.below(217) as usize),
                COUPLING => (37, 37 + 12 * (1 + lots.below(18) as usize)),
                _ => (0, 7),
            };
            let mut exponents = Exponents {
                start,
                end,
                ..Exponents::NONE
            };
            for exponent in &mut exponents.values[start..end] {
                *exponent = lots.below(25) as u8;
            }
            let mut delta = NO_DELTA;
            for _ in 0..lots.below(5) {
                delta[lots.below(50) as usize] = 128 * (lots.below(8) as i32 - 4);
            }
            let random: Vec<u8> = (0..8).map(|_| lots.below(256) as u8).collect();
            let request = Request {
                parameters: &Parameters::read(&mut FrameBits::at(&random, 0)).unwrap(),
                exponents: &exponents,
                rate_code: lots.below(3) as usize,
                rate_shift: lots.below(3),
                snr_offset: snr_offset(lots.below(64), lots.below(16)),
                fast_gain: fast_gain(lots.below(8)),
                delta: &delta,
                leak: (lots.below(8) as i32, lots.below(8) as i32),
                table: &POINTERS,
            };
            let mut pointers = [0; BINS];
            request.allocate(coded, &mut pointers);
            assert_eq!(pointers, by_the_letter(&request, coded == COUPLING));
        }
    }

    #[test]
    fn the_sum_of_levels_is_a_sum_of_powers() {
        let power = |level: f64| (level / 64.0).exp2();
        for difference in 0..600 {
            let sum = 64.0 * (power(1000.0) + power(1000.0 - f64::from(difference))).log2();
            let table = f64::from(log_add(1000, 1000 - difference));
            assert!((table - sum).abs() <= 1.1, "{difference}: {table} {sum}");
        }
    }

    /// The bands of table 7.15 in which a decoder was wrong.
    #[test]
    fn thresholds_at_44_1_khz() {
        let threshold = HEARING_THRESHOLD[1];
        assert_eq!(
            [threshold[25], threshold[28], threshold[34]],
            [0x350, 0x320, 0x2f0]
        );
    }
}
