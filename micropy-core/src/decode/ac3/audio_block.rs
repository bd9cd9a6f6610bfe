//! The audio blocks of a frame: from its bits to the frequencies of 256 PCM samples at a time, `audblk` (ATSC A/52,
//! 5.3.3 and 5.4.3; for E-AC-3 E2.2.4 and E2.3.3).

use super::audio_frame::{AudioFrame, SnrOffsets};
use super::bit_allocation::{self, DEFAULT_FAST_GAIN, Delta, Parameters, Request};
use super::coupling::{Coupling, Shared};
use super::dither::Dither;
use super::dynamic_range;
use super::exponents::{Exponents, Strategy};
use super::fault::Fault;
use super::frame_bits::FrameBits;
use super::header::{Header, Syntax, programmes};
use super::hybrid_transform;
use super::mantissas::{Mantissas, SCALE};
use super::rematrix::Rematrix;
use super::spectral_extension::SpectralExtension;
use super::{BINS, COUPLING, DITHER_LEVEL, FULL, LFE, MAX_BLOCKS, OUTPUTS, PLACES, Spectrum};

/// Frequencies of the LFE channel.
const LFE_BINS: usize = 7;

/// What a block decodes to.
#[derive(Clone)]
pub struct Block {
    /// By the channels' places, the LFE last.
    pub spectra: [Spectrum; OUTPUTS],
    /// `blksw`: the channel has two short transforms.
    pub short: [bool; OUTPUTS],
}

impl Block {
    /// Silence.
    pub const SILENCE: Block = Block {
        spectra: [[0.0; BINS]; OUTPUTS],
        short: [false; OUTPUTS],
    };
}

/// What is kept of a channel from block to block.
struct Channel {
    exponents: Exponents,
    /// `fsnroffst`.
    fine_snr_offset: u32,
    fast_gain: i32,
    /// What was sent last, and whether it applies.
    delta: Delta,
    has_delta: bool,
    pointers: [u8; BINS],
    /// Whether the pointers have to be made anew.
    stale: bool,
    /// Its mantissas of all blocks, if it uses the hybrid transform.
    hybrid: Option<Box<hybrid_transform::Mantissas>>,
    /// `dithflag`.
    dither: bool,
    spectrum: Spectrum,
}

impl Channel {
    const NEW: Channel = Channel {
        exponents: Exponents::NONE,
        fine_snr_offset: 0,
        fast_gain: DEFAULT_FAST_GAIN,
        delta: bit_allocation::NO_DELTA,
        has_delta: false,
        pointers: [0; BINS],
        stale: true,
        hybrid: None,
        dither: false,
        spectrum: [0.0; BINS],
    };
}

/// Decodes the blocks of one frame. Nothing is kept from the frame before: the first block brings all.
pub struct Blocks<'a> {
    header: &'a Header,
    frame: AudioFrame,
    bits: FrameBits<'a>,
    dither: Dither,
    block: usize,
    /// By place: up to five full-bandwidth channels, the LFE, and the coupling channel.
    channels: Box<[Channel; PLACES]>,
    short: [bool; OUTPUTS],
    /// `dynrng` of each programme.
    gains: [f32; 2],
    coupling: Coupling,
    extension: SpectralExtension,
    rematrix: Rematrix,
    parameters: Option<Parameters>,
    /// `csnroffst`.
    coarse_snr_offset: Option<u32>,
    /// `cplfleak` and `cplsleak`.
    leak: Option<(i32, i32)>,
}

impl<'a> Blocks<'a> {
    /// Reads up to the first block of `frame`, whose header that is.
    pub fn new(frame: &'a [u8], header: &'a Header) -> Result<Self, Fault> {
        let mut bits = FrameBits::at(frame, header.end);
        Ok(Blocks {
            header,
            frame: AudioFrame::read(&mut bits, header)?,
            bits,
            dither: Dither::of_frame(frame),
            block: 0,
            channels: Box::new([const { Channel::NEW }; PLACES]),
            short: [false; OUTPUTS],
            gains: [1.0; 2],
            coupling: Coupling::new(),
            extension: SpectralExtension::new(),
            rematrix: Rematrix::default(),
            parameters: None,
            coarse_snr_offset: None,
            leak: None,
        })
    }

    /// Decodes the next block into `block`.
    pub fn next(&mut self, block: &mut Block) -> Result<(), Fault> {
        self.read_switches()?;
        self.read_spectral_extension()?;
        self.read_coupling()?;
        self.read_rematrixing()?;
        self.read_exponents()?;
        self.read_bit_allocation()?;
        self.read_snr_offsets()?;
        self.read_leak()?;
        self.read_delta()?;
        self.skip_fill()?;
        self.allocate();
        self.read_mantissas()?;
        self.reconstruct(block);
        self.block += 1;
        Ok(())
    }

    fn enhanced(&self) -> bool {
        self.header.syntax == Syntax::Enhanced
    }

    fn full(&self) -> usize {
        self.header.full_channels()
    }

    /// The places in use, in the order of most fields: coupling, the full-bandwidth channels, the LFE.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let coupling = self.coupling.in_use.then_some(COUPLING);
        let lfe = self.header.lfeon.then_some(LFE);
        coupling.into_iter().chain(0..self.full()).chain(lfe)
    }

    /// A field that the first block has to bring.
    fn required(&self, sent: bool, what: &'static str) -> Result<bool, Fault> {
        if self.block == 0 && !sent {
            return Err(Fault::Impossible(what));
        }
        Ok(sent)
    }

    /// `blksw`, `dithflag` and `dynrng`.
    fn read_switches(&mut self) -> Result<(), Fault> {
        let full = self.full();
        for short in &mut self.short[..full] {
            *short = self.frame.block_switch && self.bits.flag()?;
        }
        for channel in &mut self.channels[..full] {
            channel.dither = !self.frame.dither_flags || self.bits.flag()?;
        }
        let programmes = programmes(self.header.acmod);
        dynamic_range::read(&mut self.bits, &mut self.gains[..programmes])
    }

    fn read_spectral_extension(&mut self) -> Result<(), Fault> {
        if !self.enhanced() {
            return Ok(());
        }
        if self.block == 0 || self.bits.flag()? {
            self.extension.read_strategy(&mut self.bits, self.header)?;
        }
        if self.extension.in_use {
            self.extension
                .read_coordinates(&mut self.bits, self.header)?;
        }
        Ok(())
    }

    fn read_coupling(&mut self) -> Result<(), Fault> {
        let (new_strategy, in_use) = if self.enhanced() {
            let coupling = self.frame.coupling[self.block];
            (coupling.new_strategy, coupling.in_use)
        } else {
            let sent = self.bits.flag()?;
            let sent = self.required(sent, "first block without a coupling strategy")?;
            (sent, sent && self.bits.flag()?)
        };
        if new_strategy {
            if in_use {
                let extension = self.extension.begin_code();
                self.coupling
                    .read_strategy(&mut self.bits, self.header, extension)?;
            } else {
                self.coupling.leave(self.header);
                self.leak = self.leak.filter(|_| !self.enhanced());
            }
            self.channels.iter_mut().for_each(|c| c.stale = true);
        }
        if self.coupling.in_use {
            self.coupling
                .read_coordinates(&mut self.bits, self.header)?;
        }
        Ok(())
    }

    fn read_rematrixing(&mut self) -> Result<(), Fault> {
        if self.header.acmod != 2 {
            return Ok(());
        }
        let sent = (self.enhanced() && self.block == 0) || self.bits.flag()?;
        if self.required(sent, "first block without rematrixing flags")? {
            self.rematrix
                .read(&mut self.bits, &self.coupling, &self.extension)?;
        }
        Ok(())
    }

    /// The strategies (of AC-3), the bandwidths and the exponents.
    fn read_exponents(&mut self) -> Result<(), Fault> {
        let full = self.full();
        if !self.enhanced() {
            let strategies = &mut self.frame.strategies[self.block];
            if self.coupling.in_use {
                strategies[COUPLING] = Strategy::of(self.bits.read(2)?);
            }
            for strategy in &mut strategies[..full] {
                *strategy = Strategy::of(self.bits.read(2)?);
            }
            if self.header.lfeon {
                strategies[LFE] = Strategy::of(self.bits.read(1)?);
            }
        }
        let strategies = self.frame.strategies[self.block];
        let sent = |place: usize| strategies[place] != Strategy::Reuse;
        for place in self.places() {
            let known = sent(place) || self.channels[place].exponents.end > 0;
            self.required(known, "first block without exponents")?;
            if !known {
                return Err(Fault::Impossible("coupling without exponents"));
            }
        }
        let coupled = self.coupling.bins();
        let mut ends = [0; FULL];
        for channel in (0..full).filter(|&channel| sent(channel)) {
            ends[channel] = if self.coupling.couples(channel) {
                coupled.0
            } else if self.extension.extends(channel) {
                self.extension.begin_bin()
            } else {
                match self.bits.read(6)? as usize {
                    code @ 0..=60 => 73 + 3 * code,
                    _ => return Err(Fault::Impossible("bandwidth")),
                }
            };
        }
        for place in self.places().filter(|&place| sent(place)) {
            let channel = &mut self.channels[place];
            let (bits, strategy) = (&mut self.bits, strategies[place]);
            match place {
                COUPLING => channel
                    .exponents
                    .read_coupled(bits, strategy, coupled.0, coupled.1)?,
                LFE => channel.exponents.read(bits, strategy, LFE_BINS)?,
                full => {
                    channel.exponents.read(bits, strategy, ends[full])?;
                    bits.skip(2)?; // gainrng
                }
            }
            channel.stale = true;
        }
        let shared = &self.channels[COUPLING].exponents;
        if self.coupling.in_use && (shared.start, shared.end) != coupled {
            return Err(Fault::Impossible("coupling range without new exponents"));
        }
        Ok(())
    }

    fn read_bit_allocation(&mut self) -> Result<(), Fault> {
        if !self.frame.bit_allocation {
            self.parameters = Some(Parameters::DEFAULT);
        } else {
            let sent = self.bits.flag()?;
            if self.required(sent, "first block without bit allocation")? {
                self.parameters = Some(Parameters::read(&mut self.bits)?);
                self.channels.iter_mut().for_each(|c| c.stale = true);
            }
        }
        Ok(())
    }

    fn read_snr_offsets(&mut self) -> Result<(), Fault> {
        let bits = &mut self.bits;
        let places = {
            let coupling = self.coupling.in_use.then_some(COUPLING);
            let lfe = self.header.lfeon.then_some(LFE);
            coupling
                .into_iter()
                .chain(0..self.header.full_channels())
                .chain(lfe)
        };
        let strategy = self.frame.snr_offsets;
        let sent = match strategy {
            SnrOffsets::Plain => {
                let sent = bits.flag()?;
                if self.block == 0 && !sent {
                    return Err(Fault::Impossible("first block without SNR offsets"));
                }
                sent
            }
            SnrOffsets::Frame { .. } => self.block == 0,
            SnrOffsets::Block | SnrOffsets::Channel => self.block == 0 || bits.flag()?,
        };
        if sent {
            let mut shared = None;
            self.coarse_snr_offset = Some(match strategy {
                SnrOffsets::Frame { coarse, fine } => {
                    shared = Some(fine);
                    coarse
                }
                _ => bits.read(6)?,
            });
            if strategy == SnrOffsets::Block {
                shared = Some(bits.read(4)?);
            }
            if let Some(fine) = shared {
                let channels = self.channels.iter_mut();
                channels.for_each(|channel| channel.fine_snr_offset = fine);
            }
            for place in places.clone() {
                let channel = &mut self.channels[place];
                if shared.is_none() {
                    channel.fine_snr_offset = bits.read(4)?;
                }
                if strategy == SnrOffsets::Plain {
                    channel.fast_gain = bit_allocation::fast_gain(bits.read(3)?);
                }
            }
            self.channels.iter_mut().for_each(|c| c.stale = true);
        }
        if strategy != SnrOffsets::Plain {
            let own = self.frame.fast_gain && bits.flag()?;
            for place in places {
                let fast_gain = match own {
                    true => bit_allocation::fast_gain(bits.read(3)?),
                    false => DEFAULT_FAST_GAIN,
                };
                let channel = &mut self.channels[place];
                channel.stale |= channel.fast_gain != fast_gain;
                channel.fast_gain = fast_gain;
            }
            if self.header.for_converters {
                bits.optional(10)?; // convsnroffst
            }
        }
        Ok(())
    }

    fn read_leak(&mut self) -> Result<(), Fault> {
        if !self.coupling.in_use {
            return Ok(());
        }
        let implied = self.enhanced() && self.leak.is_none();
        if implied || self.bits.flag()? {
            let (fast, slow) = (self.bits.read(3)? as i32, self.bits.read(3)? as i32);
            self.leak = Some((fast, slow));
            self.channels[COUPLING].stale = true;
        }
        match self.leak {
            Some(_) => Ok(()),
            None => Err(Fault::Impossible("coupling without leak terms")),
        }
    }

    /// `deltbae` and the segments.
    fn read_delta(&mut self) -> Result<(), Fault> {
        if !self.frame.delta || !self.bits.flag()? {
            return Ok(());
        }
        let places = self.places().filter(|&place| place != LFE);
        let mut modes = [0; PLACES];
        for place in places {
            modes[place] = self.bits.read(2)?;
        }
        for place in self.places().filter(|&place| place != LFE) {
            let channel = &mut self.channels[place];
            match modes[place] {
                1 => channel.delta = bit_allocation::read_delta(&mut self.bits)?,
                0 | 2 => {} // as before; none
                _ => return Err(Fault::Impossible("delta bit allocation")),
            }
            channel.has_delta = modes[place] != 2;
            channel.stale = true;
        }
        Ok(())
    }

    /// `skipfld`.
    fn skip_fill(&mut self) -> Result<(), Fault> {
        if self.frame.skip
            && let Some(bytes) = self.bits.optional(9)?
        {
            self.bits.skip(8 * bytes as usize)?;
        }
        Ok(())
    }

    /// Makes the bit allocation pointers of all channels for which something has changed.
    fn allocate(&mut self) {
        let (Some(parameters), Some(coarse)) = (&self.parameters, self.coarse_snr_offset) else {
            return;
        };
        let silent = coarse == 0
            && self
                .places()
                .all(|place| self.channels[place].fine_snr_offset == 0);
        for place in self.places() {
            let channel = &mut self.channels[place];
            if !std::mem::take(&mut channel.stale) {
                continue;
            }
            if silent {
                channel.pointers = [0; BINS];
                continue;
            }
            let request = Request {
                parameters,
                exponents: &channel.exponents,
                rate_code: self.header.rate_code,
                rate_shift: self.header.rate_shift,
                snr_offset: bit_allocation::snr_offset(coarse, channel.fine_snr_offset),
                fast_gain: channel.fast_gain,
                delta: match channel.has_delta {
                    true => &channel.delta,
                    false => &bit_allocation::NO_DELTA,
                },
                leak: self.leak.unwrap_or_default(),
                table: match self.frame.hybrid[place] {
                    true => &hybrid_transform::POINTERS,
                    false => &bit_allocation::POINTERS,
                },
            };
            request.allocate(place, &mut channel.pointers);
        }
    }

    /// All channels' mantissas, those of the coupling channel behind the first that is coupled.
    fn read_mantissas(&mut self) -> Result<(), Fault> {
        let mut mantissas = Mantissas::default();
        let mut coupling_is_due = true;
        for channel in 0..self.full() {
            self.read_channel(channel, &mut mantissas)?;
            if self.coupling.couples(channel) && std::mem::take(&mut coupling_is_due) {
                self.read_channel(COUPLING, &mut mantissas)?;
            }
        }
        if self.header.lfeon {
            self.read_channel(LFE, &mut mantissas)?;
        }
        Ok(())
    }

    fn read_channel(&mut self, place: usize, mantissas: &mut Mantissas) -> Result<(), Fault> {
        let channel = &mut self.channels[place];
        let (start, end) = (channel.exponents.start, channel.exponents.end);
        channel.spectrum = [0.0; BINS];
        let spectrum = &mut channel.spectrum[start..end];
        let scales = channel.exponents.values[start..end]
            .iter()
            .map(|&exponent| SCALE[usize::from(exponent).min(24)]);
        if self.frame.hybrid[place] {
            let hybrid = match &mut channel.hybrid {
                Some(hybrid) => hybrid,
                none => {
                    let hybrid = none.insert(Box::new([[0.0; BINS]; MAX_BLOCKS]));
                    let bins = (start, end);
                    hybrid_transform::read(&mut self.bits, &channel.pointers, bins, hybrid)?;
                    hybrid
                }
            };
            let values = &hybrid[self.block][start..end];
            for ((to, value), scale) in spectrum.iter_mut().zip(values).zip(scales) {
                *to = value * scale;
            }
        } else {
            let pointers = &channel.pointers[start..end];
            for ((to, &pointer), scale) in spectrum.iter_mut().zip(pointers).zip(scales) {
                *to = mantissas.next(&mut self.bits, pointer)? * scale;
            }
        }
        Ok(())
    }

    /// What is heard of all that: noise, coupling, rematrixing, gain, spectral extension.
    fn reconstruct(&mut self, block: &mut Block) {
        block.short = self.short;
        let full = self.full();
        let (outputs, shared) = self.channels.split_at_mut(COUPLING);
        let shared = Shared {
            spectrum: &shared[0].spectrum,
            pointers: &shared[0].pointers,
            exponents: &shared[0].exponents,
        };
        for (place, channel) in outputs[..full].iter_mut().enumerate() {
            if channel.dither {
                fill_with_noise(channel, &mut self.dither);
            }
            if self.coupling.couples(place) {
                let dither = channel.dither.then_some(&mut self.dither);
                self.coupling
                    .decouple(place, &shared, dither, &mut channel.spectrum);
            }
        }
        if self.header.acmod == 2 {
            let [left, right, ..] = outputs else { return };
            let end = left.exponents.end.min(right.exponents.end);
            self.rematrix
                .apply(&mut left.spectrum, &mut right.spectrum, end);
        }
        for (place, channel) in outputs.iter_mut().enumerate() {
            let dual = self.header.acmod == 0 && place == 1;
            let gain = self.gains[usize::from(dual)];
            if gain != 1.0 {
                channel.spectrum.iter_mut().for_each(|value| *value *= gain);
            }
            if self.extension.extends(place) {
                let attenuation = self.frame.attenuation[place];
                let spectrum = &mut channel.spectrum;
                self.extension
                    .apply(place, attenuation, &mut self.dither, spectrum);
            }
            block.spectra[place] = channel.spectrum;
        }
    }
}

/// Noise for the mantissas without bits.
fn fill_with_noise(channel: &mut Channel, dither: &mut Dither) {
    let bins = channel.exponents.start..channel.exponents.end;
    let exponents = &channel.exponents.values[bins.clone()];
    let pointers = &channel.pointers[bins.clone()];
    let spectrum = channel.spectrum[bins].iter_mut();
    for ((value, &pointer), &exponent) in spectrum.zip(pointers).zip(exponents) {
        if pointer == 0 {
            *value = dither.next() * DITHER_LEVEL * SCALE[usize::from(exponent).min(24)];
        }
    }
}

#[cfg(test)]
pub mod synthetic;
