//! What E-AC-3 says once for all blocks of a frame: `audfrm` (ATSC A/52, E2.2.3 and E2.3.2).

use super::exponents::Strategy;
use super::fault::Fault;
use super::frame_bits::FrameBits;
use super::header::{Header, Syntax};
use super::{COUPLING, FULL, LFE, MAX_BLOCKS, PLACES};

/// Where the signal-to-noise offsets stand (`snroffststr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnrOffsets {
    /// In the blocks, as AC-3 has them: with fast gains.
    Plain,
    /// Here, one for all channels and blocks.
    Frame { coarse: u32, fine: u32 },
    /// In the blocks, one for all channels.
    Block,
    /// In the blocks, one for each channel.
    Channel,
}

/// `cplstre` and `cplinu` of a block.
#[derive(Clone, Copy, Debug, Default)]
pub struct CouplingUse {
    pub new_strategy: bool,
    pub in_use: bool,
}

/// Which fields the blocks have, and those that come before all of them.
#[derive(Clone)]
pub struct AudioFrame {
    /// `blkswe`.
    pub block_switch: bool,
    /// `dithflage`.
    pub dither_flags: bool,
    /// `bamode`.
    pub bit_allocation: bool,
    /// `frmfgaincode`.
    pub fast_gain: bool,
    /// `dbaflde`.
    pub delta: bool,
    /// `skipflde`.
    pub skip: bool,
    pub snr_offsets: SnrOffsets,
    pub coupling: [CouplingUse; MAX_BLOCKS],
    /// Of each block, by the channels' places.
    pub strategies: [[Strategy; PLACES]; MAX_BLOCKS],
    /// Which channels use the adaptive hybrid transform, by their places.
    pub hybrid: [bool; PLACES],
    /// `spxattencod`.
    pub attenuation: [Option<u32>; FULL],
}

impl AudioFrame {
    /// Of AC-3, whose blocks have all fields, and the strategies too.
    pub const PLAIN: AudioFrame = AudioFrame {
        block_switch: true,
        dither_flags: true,
        bit_allocation: true,
        fast_gain: true,
        delta: true,
        skip: true,
        snr_offsets: SnrOffsets::Plain,
        coupling: [CouplingUse {
            new_strategy: false,
            in_use: false,
        }; MAX_BLOCKS],
        strategies: [[Strategy::Reuse; PLACES]; MAX_BLOCKS],
        hybrid: [false; PLACES],
        attenuation: [None; FULL],
    };

    /// Reads what stands between the header and the first block; nothing in AC-3.
    pub fn read(bits: &mut FrameBits<'_>, header: &Header) -> Result<AudioFrame, Fault> {
        let mut frame = AudioFrame::PLAIN;
        if header.syntax == Syntax::Plain {
            return Ok(frame);
        }
        let six_blocks = header.blocks == MAX_BLOCKS;
        let (own_strategies, may_be_hybrid) = match six_blocks {
            true => (bits.flag()?, bits.flag()?),
            false => (true, false),
        };
        let snr_offsets = bits.read(2)?;
        let transients = bits.flag()?;
        frame.block_switch = bits.flag()?;
        frame.dither_flags = bits.flag()?;
        frame.bit_allocation = bits.flag()?;
        frame.fast_gain = bits.flag()?;
        frame.delta = bits.flag()?;
        frame.skip = bits.flag()?;
        let attenuation = bits.flag()?;
        frame.read_coupling(bits, header)?;
        match own_strategies {
            true => frame.read_strategies(bits, header)?,
            false => frame.read_frame_strategies(bits, header)?,
        }
        if header.lfeon {
            for strategies in &mut frame.strategies[..header.blocks] {
                strategies[LFE] = Strategy::of(bits.read(1)?);
            }
        }
        if header.for_converters && (six_blocks || bits.flag()?) {
            bits.skip(5 * header.full_channels())?; // convexpstr
        }
        if may_be_hybrid {
            frame.read_hybrid(bits, header)?;
        }
        frame.snr_offsets = match snr_offsets {
            0 => SnrOffsets::Frame {
                coarse: bits.read(6)?,
                fine: bits.read(4)?,
            },
            1 => SnrOffsets::Block,
            2 => SnrOffsets::Channel,
            _ => return Err(Fault::Impossible("SNR offset strategy")),
        };
        if transients {
            // Pre-noise is left as it is: what processing it takes reaches back into PCM of the frame before.
            for _ in 0..header.full_channels() {
                bits.optional(18)?; // transprocloc, transproclen
            }
        }
        if attenuation {
            for channel in 0..header.full_channels() {
                frame.attenuation[channel] = bits.optional(5)?;
            }
        }
        if header.blocks > 1 && bits.flag()? {
            let words = header.frame_bytes / 2;
            let place_bits = 4 + words.next_power_of_two().trailing_zeros() as usize;
            bits.skip((header.blocks - 1) * place_bits)?; // blkstrtinfo
        }
        Ok(frame)
    }

    fn read_coupling(&mut self, bits: &mut FrameBits<'_>, header: &Header) -> Result<(), Fault> {
        if header.acmod < 2 {
            return Ok(());
        }
        let mut in_use = false;
        for (block, coupling) in self.coupling[..header.blocks].iter_mut().enumerate() {
            let new_strategy = block == 0 || bits.flag()?;
            if new_strategy {
                in_use = bits.flag()?;
            }
            *coupling = CouplingUse {
                new_strategy,
                in_use,
            };
        }
        Ok(())
    }

    /// Block by block, as AC-3's are.
    fn read_strategies(&mut self, bits: &mut FrameBits<'_>, header: &Header) -> Result<(), Fault> {
        for block in 0..header.blocks {
            let strategies = &mut self.strategies[block];
            if self.coupling[block].in_use {
                strategies[COUPLING] = Strategy::of(bits.read(2)?);
            }
            for strategy in &mut strategies[..header.full_channels()] {
                *strategy = Strategy::of(bits.read(2)?);
            }
        }
        Ok(())
    }

    /// One code for all blocks of a channel.
    fn read_frame_strategies(
        &mut self,
        bits: &mut FrameBits<'_>,
        header: &Header,
    ) -> Result<(), Fault> {
        let coupled = self.coupling.iter().any(|coupling| coupling.in_use);
        let coupling = coupled.then_some(COUPLING);
        for place in coupling.into_iter().chain(0..header.full_channels()) {
            let strategies = Strategy::of_frame(bits.read(5)?);
            for (block, strategy) in self.strategies.iter_mut().zip(strategies) {
                block[place] = strategy;
            }
        }
        Ok(())
    }

    /// A channel whose exponents are sent once in the frame may use the hybrid transform.
    fn read_hybrid(&mut self, bits: &mut FrameBits<'_>, header: &Header) -> Result<(), Fault> {
        let sent =
            |strategies: &[Strategy; PLACES], place: usize| strategies[place] != Strategy::Reuse;
        if self.coupling.iter().all(|coupling| coupling.in_use) {
            let blocks = self.coupling.iter().zip(&self.strategies);
            let renewed =
                blocks.filter(|(coupling, block)| coupling.new_strategy || sent(block, COUPLING));
            if renewed.count() == 1 {
                self.hybrid[COUPLING] = bits.flag()?;
            }
        }
        let lfe = header.lfeon.then_some(LFE);
        for place in (0..header.full_channels()).chain(lfe) {
            let renewed = self.strategies.iter().filter(|block| sent(block, place));
            if renewed.count() == 1 {
                self.hybrid[place] = bits.flag()?;
            }
        }
        Ok(())
    }
}
