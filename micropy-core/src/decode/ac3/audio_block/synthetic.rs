//! Streams of random choices: every field of a frame is drawn by lot, within what the standard allows, and so are
//! the mantissas. It sounds like nothing, and uses every tool and every table that a decoder has.
//!
//! A block's mantissas can only be written once their bits are known: the decoder is asked for them.

use super::super::crc;
use super::super::header::Header;
use super::*;

/// xorshift64*, so that every run is the same.
pub struct Lots(u64);

impl Lots {
    pub fn new(seed: u64) -> Self {
        Lots(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as u32 % limit
    }

    fn one_in(&mut self, limit: u32) -> bool {
        self.below(limit) == 0
    }
}

/// What all frames of a stream have in common.
#[derive(Clone, Debug)]
pub struct Kind {
    pub enhanced: bool,
    pub acmod: u8,
    pub lfeon: bool,
    pub rate_code: u32,
    /// `bsid`; 16 in E-AC-3.
    pub bsid: u32,
    /// `numblkscod` of E-AC-3.
    pub block_code: u32,
    /// A dependent substream with this map, after each frame.
    pub dependent: Option<(u8, u16)>,
    /// Whether spectral extension, and the hybrid transform, are used.
    pub extension: bool,
    pub hybrid: bool,
    /// Whether coupling is enhanced: then, a frame ends where that is said.
    pub enhanced_coupling: bool,
    /// Leaves out what ffmpeg 5.1 reads otherwise than the standard has it: SNR offsets in the blocks (`snroffste` is
    /// not sent in the first), and fast gains that are not sent again in a later block (they are the default ones).
    pub as_ffmpeg: bool,
}

/// A frame that is being written.
struct Frame<'k> {
    kind: &'k Kind,
    lots: Lots,
    bits: Vec<bool>,
    bytes: usize,
    /// The upper limit of `csnroffst`.
    loudest: u32,
    attempt: u32,
    /// Some mantissa of the hybrid transform has no bits: there, ffmpeg 5.1 has noise even where none is asked for. Or
    /// it is a vector of table E4.4, whose first ffmpeg lacks, so that all others are one off.
    unlike_ffmpeg: bool,
    /// The first of the stream. In its first block, one channel alone has short transforms: where the first such block
    /// comes later, ffmpeg 5.1 mixes up the channels' overlap there.
    first: bool,
    /// `strmtyp`.
    dependent: bool,
    acmod: u8,
    lfeon: bool,
}

/// A stream of `frames` frames.
pub fn stream(kind: &Kind, seed: u64, frames: u64) -> Vec<u8> {
    let mut stream = Vec::new();
    for index in 0..frames {
        stream.extend(whole_frame(kind, seed << 20 | index << 8, index == 0, None));
        if let Some(dependent) = kind.dependent {
            let seed = seed << 20 | index << 8 | 1 << 7;
            stream.extend(whole_frame(kind, seed, index == 0, Some(dependent)));
        }
    }
    stream
}

/// Tries until all fits.
fn whole_frame(kind: &Kind, seed: u64, first: bool, dependent: Option<(u8, u16)>) -> Vec<u8> {
    for attempt in 0.. {
        let mut frame = Frame {
            kind,
            lots: Lots::new(seed + attempt),
            bits: Vec::new(),
            bytes: if kind.enhanced { 4096 } else { 0 },
            loudest: 40u32.saturating_sub(attempt as u32).max(2),
            attempt: attempt as u32,
            unlike_ffmpeg: false,
            first,
            dependent: dependent.is_some(),
            acmod: dependent.map_or(kind.acmod, |(acmod, _)| acmod),
            lfeon: kind.lfeon && dependent.is_none(),
        };
        frame.header(dependent.map(|(_, map)| map));
        frame.audio();
        let comparable = !(kind.as_ffmpeg && frame.unlike_ffmpeg);
        if comparable && frame.bits.len() + 18 <= 8 * frame.bytes {
            return frame.finish();
        }
    }
    unreachable!("a frame of little sound fits")
}

impl Frame<'_> {
    fn put(&mut self, value: u32, count: u32) {
        self.bits
            .extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    }

    fn flag(&mut self, value: bool) -> bool {
        self.bits.push(value);
        value
    }

    /// `count` random bits.
    fn any(&mut self, count: u32) -> u32 {
        let value = self.lots.below(1 << count);
        self.put(value, count);
        value
    }

    /// `times` fields of `count` random bits.
    fn many(&mut self, times: usize, count: u32) {
        for _ in 0..times {
            self.any(count);
        }
    }

    /// A number below `limit` in `count` bits.
    fn put_below(&mut self, limit: u32, count: u32) -> u32 {
        let value = self.lots.below(limit);
        self.put(value, count);
        value
    }

    /// A flag that is set once in `limit` times.
    fn lot(&mut self, limit: u32) -> bool {
        let set = self.lots.one_in(limit);
        self.flag(set)
    }

    /// An optional field of random bits.
    fn optional(&mut self, count: u32) {
        if self.lot(2) {
            self.any(count);
        }
    }

    fn programmes(&self) -> usize {
        programmes(self.acmod)
    }

    fn header(&mut self, map: Option<u16>) {
        self.put(0x0b77, 16);
        let (acmod, lfeon) = (u32::from(self.acmod), self.lfeon);
        let centre = acmod & 1 != 0 && acmod != 1;
        if !self.kind.enhanced {
            self.put(0, 16); // crc1, later
            self.put(self.kind.rate_code, 2);
            let size_code = 36 + self.lots.below(2); // 640 kbit/s
            self.put(size_code, 6);
            self.put(self.kind.bsid, 5);
            self.any(3);
            self.put(acmod, 3);
            for told in [centre, acmod & 4 != 0, acmod == 2] {
                if told {
                    self.any(2);
                }
            }
            self.flag(lfeon);
            for _ in 0..self.programmes() {
                self.any(5);
                self.optional(8);
                self.optional(8);
                self.optional(7);
            }
            self.any(2);
            self.optional(14);
            self.optional(14);
        } else {
            let six = self.kind.block_code == 3;
            self.put(u32::from(self.dependent), 2);
            self.put(0, 3);
            self.put(self.bytes as u32 / 2 - 1, 11);
            self.put(self.kind.rate_code, 2);
            self.put(self.kind.block_code, 2);
            self.put(acmod, 3);
            self.flag(lfeon);
            self.put(self.kind.bsid, 5);
            for _ in 0..self.programmes() {
                self.any(5);
                self.optional(8);
            }
            if let Some(map) = map {
                self.put(1, 1);
                self.put(map.into(), 16);
            }
            if self.lot(2) {
                self.mixing(centre);
            }
            if self.lot(2) {
                self.any(5);
                if acmod == 2 {
                    self.any(4);
                }
                if acmod >= 6 {
                    self.any(2);
                }
                for _ in 0..self.programmes() {
                    self.optional(8);
                }
                self.any(1);
            }
            if !self.dependent && !six {
                self.any(1); // convsync
            }
        }
        if self.lot(4) {
            let len = self.put_below(8, 6);
            for _ in 0..=len {
                self.any(8);
            }
        }
    }

    fn mixing(&mut self, centre: bool) {
        let acmod = self.acmod;
        if acmod > 2 {
            self.any(2);
        }
        if centre {
            self.any(6);
        }
        if acmod & 4 != 0 {
            self.any(6);
        }
        if self.lfeon {
            self.optional(5);
        }
        if self.dependent {
            return;
        }
        for _ in 0..self.programmes() {
            self.optional(6);
        }
        self.optional(6);
        match self.any(2) {
            0 => {}
            1 => self.put(0, 5),
            2 => self.put(0, 12),
            _ => {
                let len = self.any(5);
                for _ in 0..len + 2 {
                    self.any(8);
                }
            }
        }
        if acmod < 2 {
            for _ in 0..self.programmes() {
                self.optional(14);
            }
        }
        if self.lot(2) {
            let blocks = [1, 2, 3, 6][self.kind.block_code as usize];
            if blocks == 1 {
                self.any(5);
            } else {
                (0..blocks).for_each(|_| self.optional(5));
            }
        }
    }

    /// What has been written so far, with nothing behind it.
    fn so_far(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = packed(&self.bits).collect();
        bytes.resize(bytes.len() + 8192, 0);
        bytes
    }

    fn audio(&mut self) {
        let header = Header::parse(&self.so_far()).expect("a header was written");
        assert_eq!(header.end, self.bits.len());
        self.bytes = header.frame_bytes;
        let mut plan = Plan::default();
        if header.syntax == Syntax::Enhanced {
            self.audio_frame(&header, &mut plan);
        } else {
            plan.block_switch = true;
            plan.dither_flags = true;
            plan.bit_allocation = true;
            plan.delta = true;
            plan.skip = true;
        }
        for block in 0..header.blocks {
            self.side_information(&header, &mut plan, block);
            if self.kind.enhanced_coupling {
                break;
            }
            self.mantissas(&header, block);
        }
    }

    /// `audfrm`.
    fn audio_frame(&mut self, header: &Header, plan: &mut Plan) {
        let full = header.full_channels();
        let six = header.blocks == 6;
        let own_strategies = !six || self.lot(2);
        let hybrid = six && {
            let hybrid = self.kind.hybrid;
            self.flag(hybrid)
        };
        plan.snr_strategy = self.put_below(if self.kind.as_ffmpeg { 1 } else { 3 }, 2);
        let transients = self.lot(4);
        let block_switch = self.first || self.lots.one_in(2);
        plan.block_switch = self.flag(block_switch);
        self.flag(true); // dithflage: noise cannot be compared
        plan.dither_flags = true;
        plan.bit_allocation = self.lot(2);
        plan.fast_gain = self.lot(2);
        plan.delta = self.lot(2);
        plan.skip = self.lot(2);
        let attenuation = self.kind.extension && self.lots.one_in(2);
        self.flag(attenuation);
        if header.acmod > 1 {
            for block in 0..header.blocks {
                let new = block == 0 || self.lot(3);
                let before = block > 0 && plan.coupling[block - 1].1;
                let in_use = if new {
                    // ffmpeg has no fast gain for coupling that begins later, unless one is sent.
                    let no_change = block > 0 && self.kind.as_ffmpeg && !plan.fast_gain;
                    let keep = no_change || (hybrid && before && self.lots.one_in(2));
                    let in_use = match keep {
                        true => before,
                        false => self.kind.enhanced_coupling || self.lots.one_in(2),
                    };
                    self.flag(in_use)
                } else {
                    before
                };
                plan.coupling[block] = (new, in_use);
            }
        }
        if own_strategies {
            for block in 0..header.blocks {
                let (new, in_use) = plan.coupling[block];
                let strategy = |frame: &mut Self| match block == 0 || new || frame.lots.one_in(3) {
                    true => frame.lots.below(3) + 1,
                    false => 0,
                };
                // For the hybrid transform, some are to be sent once alone.
                let once = hybrid && block > 0 && !new;
                if in_use {
                    let code = if once { 0 } else { strategy(self) };
                    self.put(code, 2);
                    plan.strategies[block][COUPLING] = code;
                }
                for channel in 0..full {
                    let once = once
                        || (hybrid
                            && block > 0
                            && channel == 0
                            && plan.coupling.iter().all(|c| !c.1));
                    let code = if once { 0 } else { strategy(self) };
                    self.put(code, 2);
                    plan.strategies[block][channel] = code;
                }
            }
        } else {
            // Where the strategy of coupling changes, new exponents are needed.
            let needed = (1..6).filter(|&block| plan.coupling[block].0);
            let needed = needed.fold(0, |all, block| all | 1 << (5 - block));
            let coupled = plan.coupling.iter().any(|coupling| coupling.1);
            for place in coupled.then_some(COUPLING).into_iter().chain(0..full) {
                let random = if hybrid && self.lots.one_in(2) {
                    0
                } else {
                    self.lots.below(32)
                };
                let code = random | needed;
                self.put(code, 5);
                for (block, strategy) in Strategy::of_frame(code).into_iter().enumerate() {
                    plan.strategies[block][place] = strategy as u32;
                }
            }
        }
        if header.lfeon {
            for block in 0..header.blocks {
                let sent = block == 0 || (!hybrid && self.lots.one_in(3));
                self.flag(sent);
                plan.strategies[block][LFE] = sent.into();
            }
        }
        if header.for_converters && (six || self.lot(2)) {
            self.many(full, 5);
        }
        if hybrid {
            let renewed = |place: usize| {
                let blocks = plan.strategies.iter().zip(&plan.coupling);
                blocks
                    .filter(|(strategies, coupling)| {
                        strategies[place] != 0 || (place == COUPLING && coupling.0)
                    })
                    .count()
            };
            let all_coupled = plan.coupling.iter().all(|coupling| coupling.1);
            let coupling = all_coupled.then_some(COUPLING);
            let lfe = header.lfeon.then_some(LFE);
            for place in coupling.into_iter().chain(0..full).chain(lfe) {
                if renewed(place) == 1 {
                    let uses = !self.lots.one_in(4);
                    self.flag(uses);
                }
            }
        }
        if plan.snr_strategy == 0 {
            let coarse = match hybrid && self.kind.as_ffmpeg {
                true => 20 + self.lots.below(8) + self.attempt % 32,
                false => self.lots.below(self.loudest - 1) + 1,
            };
            self.put(coarse, 6);
            self.any(4);
        }
        if transients {
            (0..full).for_each(|_| self.optional(18));
        }
        if attenuation {
            (0..full).for_each(|_| self.optional(5));
        }
        if header.blocks > 1 && self.lot(4) {
            let words = header.frame_bytes / 2;
            let bits = 4 + (words as f64).log2().ceil() as u32;
            self.many(header.blocks - 1, bits);
        }
    }

    fn side_information(&mut self, header: &Header, plan: &mut Plan, block: usize) {
        let enhanced = header.syntax == Syntax::Enhanced;
        let full = header.full_channels();
        if plan.block_switch {
            for channel in 0..full {
                let short = match self.first && block == 0 {
                    true => channel == 0,
                    false => self.lots.one_in(3),
                };
                self.flag(short);
            }
        }
        if plan.dither_flags {
            self.put(0, full as u32);
        }
        for _ in 0..programmes(header.acmod) {
            if self.lot(4) {
                let exponent = self.lots.below(3).wrapping_sub(1) & 7;
                self.put(exponent, 3);
                self.any(5);
            }
        }
        if enhanced {
            self.spectral_extension(header, plan, block);
        }
        self.coupling(header, plan, block);
        if header.acmod == 2 && ((enhanced && block == 0) || self.sent(block, 3)) {
            let bands = match (plan.coupled, plan.extended) {
                (Some(0), _) => 2,
                (Some(1..=2), _) => 3,
                (None, Some(0..=1)) => 3,
                _ => 4,
            };
            self.any(bands);
        }
        self.exponents(header, plan, block);
        if plan.bit_allocation && self.sent(block, 3) {
            self.any(2 + 2 + 2 + 2 + 3);
        }
        self.snr_offsets(header, plan, block);
        if plan.coupled.is_some() {
            let implied = enhanced && plan.leak_due;
            let sent = implied || {
                let due = plan.leak_due || self.lots.one_in(3);
                self.flag(due)
            };
            if sent {
                self.any(6);
            }
            plan.leak_due = false;
        }
        if plan.delta
            && if plan.changed {
                self.flag(true)
            } else {
                self.lot(3)
            }
        {
            self.delta(header, plan);
        }
        if plan.skip && self.lot(8) {
            let bytes = self.put_below(20, 9);
            self.many(bytes as usize, 8);
        }
    }

    /// A flag that the first block sets.
    fn sent(&mut self, block: usize, limit: u32) -> bool {
        let set = block == 0 || self.lots.one_in(limit);
        self.flag(set)
    }

    fn spectral_extension(&mut self, header: &Header, plan: &mut Plan, block: usize) {
        let full = header.full_channels();
        // New exponents are needed where it changes: it stays through the frame.
        let new = block == 0;
        if block > 0 {
            self.flag(false);
        }
        if new {
            let in_use = self.kind.extension && !self.lots.one_in(4);
            if !self.flag(in_use) {
                return;
            }
            for channel in 0..full {
                plan.extends[channel] = header.acmod == 1 || self.lot(2);
            }
            let begin = self.lots.below(6);
            self.put_below((begin + 2).min(4), 2); // spxstrtf
            self.put(begin, 3);
            plan.extended = Some(begin);
            let first = begin + 2;
            let end = loop {
                let code = self.lots.below(8);
                let end = if code < 3 { code + 5 } else { 2 * code + 3 };
                // The highest band has two sub-bands, so that there is no noise in it.
                if end >= first + 2 {
                    self.put(code, 3);
                    break end;
                }
            };
            self.flag(true); // spxbndstrce
            plan.extension_bands = 1;
            for sub_band in first + 1..end {
                let merged = sub_band + 1 == end || self.lots.one_in(2);
                self.flag(merged);
                plan.extension_bands += usize::from(!merged);
            }
        }
        if plan.extended.is_none() {
            return;
        }
        for channel in 0..full {
            if plan.extends[channel] && (block == 0 || self.lot(3)) {
                self.put(31, 5); // spxblnd: no noise
                self.any(2);
                for _ in 0..plan.extension_bands {
                    self.any(4);
                    self.any(2);
                }
            }
        }
    }

    fn coupling(&mut self, header: &Header, plan: &mut Plan, block: usize) {
        let enhanced = header.syntax == Syntax::Enhanced;
        let full = header.full_channels();
        let (new, in_use) = if enhanced {
            plan.coupling[block]
        } else {
            let new = self.sent(block, 4);
            let in_use = header.acmod > 1
                && if new {
                    let in_use = self.lots.one_in(2);
                    self.flag(in_use)
                } else {
                    plan.coupled.is_some()
                };
            if new && header.acmod < 2 {
                self.flag(false);
            }
            (new, in_use)
        };
        plan.changed = new;
        if new {
            plan.deltas[COUPLING] = false;
        }
        if new {
            plan.couples = [false; FULL];
            plan.coupled = None;
        }
        if new && in_use {
            if enhanced {
                self.flag(self.kind.enhanced_coupling); // ecplinu
            }
            if enhanced && header.acmod == 2 {
                plan.couples[..2].fill(true);
            } else {
                for channel in 0..full {
                    plan.couples[channel] = self.lots.below(3) > 0;
                    self.flag(plan.couples[channel]);
                }
            }
            plan.phase_flags = header.acmod == 2 && self.lot(2);
            let (begin, end) = match plan.extended {
                Some(code) => (self.lots.below(code + 1), code + 1),
                None => {
                    let end = self.lots.below(16) + 3;
                    (self.lots.below(end.min(16)), end)
                }
            };
            self.put(begin, 4);
            if plan.extended.is_none() {
                self.put(end - 3, 4);
            }
            plan.coupled = Some(begin);
            plan.coupling_bins = (37 + 12 * begin as usize, 37 + 12 * end as usize);
            plan.coupling_bands = 1;
            if !enhanced || self.flag(true) {
                for _ in begin + 1..end {
                    let merged = self.lot(2);
                    plan.coupling_bands += usize::from(!merged);
                }
            }
            plan.leak_due |= !plan.was_coupled || block == 0;
            if !plan.was_coupled {
                plan.coordinates_due = [true; FULL];
            }
        }
        if new {
            plan.was_coupled = in_use;
        }
        if !in_use {
            plan.coordinates_due = [true; FULL];
            plan.leak_due = true;
            return;
        }
        let mut any = false;
        for channel in 0..full {
            if !plan.couples[channel] {
                plan.coordinates_due[channel] = true;
                continue;
            }
            let due = std::mem::take(&mut plan.coordinates_due[channel]);
            // With other bands, the ones before are of no use.
            let sent = (enhanced && due) || {
                let sent = due || new || self.lots.one_in(3);
                self.flag(sent)
            };
            if sent {
                any = true;
                self.any(2);
                for _ in 0..plan.coupling_bands {
                    self.any(4);
                    self.any(4);
                }
            }
        }
        if any && plan.phase_flags {
            self.many(plan.coupling_bands, 1);
        }
    }

    fn exponents(&mut self, header: &Header, plan: &mut Plan, block: usize) {
        let full = header.full_channels();
        let enhanced = header.syntax == Syntax::Enhanced;
        if !enhanced {
            let due = block == 0 || plan.changed;
            let coupling = plan.coupled.is_some().then_some(COUPLING);
            for place in coupling.into_iter().chain(0..full) {
                let sent = due || self.lots.one_in(3);
                let code = if sent { self.lots.below(3) + 1 } else { 0 };
                self.put(code, 2);
                plan.strategies[block][place] = code;
            }
            if header.lfeon {
                plan.strategies[block][LFE] = self.sent(block, 3).into();
            }
        }
        let strategies = plan.strategies[block];
        let mut ends = [0; FULL];
        for channel in 0..full {
            if strategies[channel] == 0 {
                continue;
            }
            ends[channel] = if plan.couples[channel] && plan.coupled.is_some() {
                plan.coupling_bins.0
            } else if plan.extends[channel] {
                25 + 12 * (plan.extended.unwrap_or_default() as usize + 2)
            } else {
                73 + 3 * self.put_below(61, 6) as usize
            };
        }
        let run = |code: u32| 1usize << (code - 1);
        if plan.coupled.is_some() && strategies[COUPLING] > 0 {
            let first = self.put_below(13, 4) << 1;
            let run = run(strategies[COUPLING]);
            let groups = (plan.coupling_bins.1 - plan.coupling_bins.0) / (3 * run);
            self.exponent_groups(first, groups);
        }
        for channel in (0..full).filter(|&channel| strategies[channel] > 0) {
            let first = self.any(4);
            let run = run(strategies[channel]);
            self.exponent_groups(first, (ends[channel] - 1 + 3 * (run - 1)) / (3 * run));
            self.any(2);
        }
        if header.lfeon && strategies[LFE] > 0 {
            let first = self.any(4);
            self.exponent_groups(first, 2);
        }
    }

    fn exponent_groups(&mut self, first: u32, groups: usize) {
        let mut exponent = first as i32;
        for _ in 0..groups {
            let mut code = 0;
            for _ in 0..3 {
                let digit = loop {
                    // A flat spectrum has mantissas of about as many bits each.
                    let flat = self.kind.hybrid && !self.lots.one_in(12);
                    let digit = if flat { 2 } else { self.lots.below(5) as i32 };
                    if (0..=24).contains(&(exponent + digit - 2)) {
                        break digit;
                    }
                };
                exponent += digit - 2;
                code = 5 * code + digit as u32;
            }
            self.put(code, 7);
        }
    }

    fn snr_offsets(&mut self, header: &Header, plan: &Plan, block: usize) {
        let enhanced = header.syntax == Syntax::Enhanced;
        let coupling = plan.coupled.is_some().then_some(COUPLING);
        let lfe = header.lfeon.then_some(LFE);
        let places = coupling
            .into_iter()
            .chain(0..header.full_channels())
            .chain(lfe)
            .count();
        if !enhanced || plan.snr_strategy > 0 {
            // A channel's first offsets must come with it.
            let due = block == 0 || plan.changed || self.lots.one_in(3);
            let sent = (enhanced && block == 0) || self.flag(due);
            if sent {
                let coarse = self.lots.below(self.loudest - 1) + 1;
                self.put(coarse, 6);
                match plan.snr_strategy {
                    1 if enhanced => self.many(1, 4),
                    _ => {
                        for _ in 0..places {
                            self.any(4);
                            if !enhanced {
                                self.any(3);
                            }
                        }
                    }
                }
            }
        }
        if enhanced {
            let own = self.kind.as_ffmpeg || self.lots.one_in(2);
            if plan.fast_gain && self.flag(own) {
                self.many(places, 3);
            }
            if header.for_converters {
                self.optional(10);
            }
        }
    }

    fn delta(&mut self, header: &Header, plan: &mut Plan) {
        let coupling = plan.coupled.is_some().then_some(COUPLING);
        let places: Vec<usize> = coupling
            .into_iter()
            .chain(0..header.full_channels())
            .collect();
        let modes: Vec<u32> = places
            .iter()
            .map(|&place| match self.lots.below(3) {
                // A coupling channel with another range needs others.
                0 if plan.deltas[place] && !plan.changed => 0,
                0 | 1 => 1,
                _ => 2,
            })
            .collect();
        modes.iter().for_each(|&mode| self.put(mode, 2));
        for (place, _) in places.iter().zip(&modes).filter(|(_, mode)| **mode == 1) {
            plan.deltas[*place] = true;
            let mut band = match *place {
                COUPLING => bit_allocation::band_of(plan.coupling_bins.0) as u32,
                _ => 0,
            };
            let segments = self.any(3) + 1;
            for _ in 0..segments {
                let room = 50u32 - band;
                let offset = self.put_below(room.min(16), 5);
                let len = self.put_below((room - offset).min(6), 4);
                self.any(3);
                band += offset + len;
            }
        }
    }

    /// Writes a block's mantissas, with as many bits as the decoder says.
    fn mantissas(&mut self, header: &Header, block: usize) {
        let so_far = self.so_far();
        let mut decoder = Blocks::new(&so_far, header).unwrap();
        let mut scratch = Box::new(Block::SILENCE);
        for _ in 0..block {
            decoder.next(&mut scratch).unwrap();
        }
        decoder.read_switches().unwrap();
        decoder.read_spectral_extension().unwrap();
        decoder.read_coupling().unwrap();
        decoder.read_rematrixing().unwrap();
        decoder.read_exponents().unwrap();
        decoder.read_bit_allocation().unwrap();
        decoder.read_snr_offsets().unwrap();
        decoder.read_leak().unwrap();
        decoder.read_delta().unwrap();
        decoder.skip_fill().unwrap();
        decoder.allocate();
        assert_eq!(decoder.bits.position(), self.bits.len(), "block {block}");

        let mut grouped = [0; 3];
        let mut coupling_is_due = true;
        for channel in 0..header.full_channels() {
            self.channel(&decoder, channel, block, &mut grouped);
            if decoder.coupling.couples(channel) && std::mem::take(&mut coupling_is_due) {
                self.channel(&decoder, COUPLING, block, &mut grouped);
            }
        }
        if header.lfeon {
            self.channel(&decoder, LFE, block, &mut grouped);
        }
    }

    fn channel(
        &mut self,
        decoder: &Blocks<'_>,
        place: usize,
        block: usize,
        grouped: &mut [u32; 3],
    ) {
        let channel = &decoder.channels[place];
        let bins = channel.exponents.start..channel.exponents.end;
        let pointers = channel.pointers[bins].to_vec();
        if decoder.frame.hybrid[place] {
            if block == 0 {
                self.hybrid(&pointers);
            }
            return;
        }
        for pointer in pointers {
            match pointer {
                0 => {}
                1 | 2 | 4 => {
                    let (slot, of, limit, bits) = match pointer {
                        1 => (0, 3, 27, 5),
                        2 => (1, 3, 125, 7),
                        _ => (2, 2, 121, 7),
                    };
                    if grouped[slot] == 0 {
                        self.put_below(limit, bits);
                    }
                    grouped[slot] = (grouped[slot] + 1) % of;
                }
                3 => {
                    self.put_below(7, 3);
                }
                5 => {
                    self.put_below(15, 4);
                }
                _ => {
                    let bits = [5, 6, 7, 8, 9, 10, 11, 12, 14, 16][usize::from(pointer) - 6];
                    self.any(bits);
                }
            }
        }
    }

    fn hybrid(&mut self, pointers: &[u8]) {
        self.unlike_ffmpeg |= pointers.iter().any(|pointer| matches!(pointer, 0 | 4));
        let mode = self.any(2);
        let end = [8, 12, 17, 17][mode as usize];
        let gained = pointers.iter().filter(|&&p| (8..end).contains(&p)).count();
        let mut shifts = Vec::new();
        match mode {
            0 => {}
            1 | 2 => {
                for _ in 0..gained {
                    shifts.push(if self.lot(2) { mode } else { 0 });
                }
            }
            _ => {
                for _ in 0..gained.div_ceil(3) {
                    let code = self.put_below(27, 5);
                    shifts.extend([code / 9, code / 3 % 3, code % 3]);
                }
            }
        }
        let mut shifts = shifts.into_iter();
        for &pointer in pointers {
            if pointer < 8 {
                self.any([0, 2, 3, 4, 5, 7, 8, 9][usize::from(pointer)]);
                continue;
            }
            let bits = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16][usize::from(pointer) - 8];
            let shift = if pointer < end {
                shifts.next().unwrap()
            } else {
                0
            };
            for _ in 0..6 {
                let short = self.any(bits - shift);
                if shift > 0 && short == 1 << (bits - shift - 1) {
                    self.any(if shift == 1 { bits - 1 } else { bits });
                }
            }
        }
    }

    /// Fills the frame up and puts the checksums in.
    fn finish(mut self) -> Vec<u8> {
        self.bits.resize(8 * self.bytes, false);
        let mut bytes = self.so_far();
        bytes.truncate(self.bytes);
        seal(&mut bytes, self.kind.enhanced);
        bytes
    }
}

/// Puts the checksums into a frame.
pub fn seal(frame: &mut [u8], enhanced: bool) {
    if !enhanced {
        let words = frame.len() / 2;
        let five_eighths = (words / 2 + words / 8) * 2;
        let remainder = |word: u16| {
            let mut covered = frame[2..five_eighths].to_vec();
            covered[..2].copy_from_slice(&word.to_be_bytes());
            crc::remainder(&covered)
        };
        // The remainder is linear in the first word: what each of its bits does, reduced until no two share a highest
        // bit.
        let without = remainder(0);
        let mut basis: Vec<(u16, u16)> = Vec::new();
        let reduce = |mut part: (u16, u16), basis: &[(u16, u16)]| {
            for &(image, word) in basis {
                if part.0 ^ image < part.0 {
                    part = (part.0 ^ image, part.1 ^ word);
                }
            }
            part
        };
        for bit in 0..16 {
            let part = reduce((remainder(1 << bit) ^ without, 1 << bit), &basis);
            basis.push(part);
            basis.sort_by(|a, b| b.cmp(a));
        }
        let (left, word) = reduce((without, 0), &basis);
        assert_eq!(left, 0);
        frame[2..4].copy_from_slice(&word.to_be_bytes());
    }
    let end = frame.len() - 2;
    let checksum = crc::remainder(&frame[2..end]);
    frame[end..].copy_from_slice(&checksum.to_be_bytes());
}

/// A stream with no noise in place of mantissas: `dithflag` is 0, in E-AC-3 where it was not even sent.
pub fn without_noise(mut stream: &[u8]) -> Vec<u8> {
    let mut quiet = Vec::new();
    while let Ok(header) = Header::parse(stream) {
        let (frame, after) = stream.split_at(header.frame_bytes);
        let enhanced = header.syntax == Syntax::Enhanced;
        let full = header.full_channels();
        let mut decoder = Blocks::new(frame, &header).unwrap();
        let sent = decoder.frame.dither_flags;
        let mut flags = Vec::new();
        let mut scratch = Box::new(Block::SILENCE);
        for _ in 0..header.blocks {
            let switches = if decoder.frame.block_switch { full } else { 0 };
            flags.push(decoder.bits.position() + switches);
            decoder.next(&mut scratch).unwrap();
        }
        let mut bits = Vec::new();
        for at in 0..8 * (frame.len() - 2) {
            if flags.contains(&at) && !sent {
                bits.extend(vec![false; full]);
            }
            let flag = sent && flags.iter().any(|&from| (from..from + full).contains(&at));
            bits.push(!flag && frame[at / 8] >> (7 - at % 8) & 1 == 1);
        }
        let mut bytes = frame.len();
        if enhanced && !sent {
            // expstre, ahte, snroffststr, transproce, blkswe
            let before = if header.blocks == 6 { 2 } else { 0 } + 2 + 1 + 1;
            bits[header.end + before] = true; // dithflage
            bytes += 8;
            let words = bytes as u32 / 2 - 1;
            for bit in 0..11 {
                bits[21 + bit] = words >> (10 - bit) & 1 == 1; // frmsiz
            }
        }
        bits.resize(8 * bytes, false);
        let start = quiet.len();
        quiet.extend(packed(&bits));
        seal(&mut quiet[start..], enhanced);
        stream = after;
    }
    quiet
}

/// Bits as bytes.
fn packed(bits: &[bool]) -> impl Iterator<Item = u8> {
    let bytes = bits.chunks(8);
    bytes.map(|byte| (0..8).fold(0, |all, i| all << 1 | u8::from(byte.get(i) == Some(&true))))
}

/// What has been chosen so far, as far as later fields depend on it.
#[derive(Default)]
struct Plan {
    block_switch: bool,
    dither_flags: bool,
    bit_allocation: bool,
    fast_gain: bool,
    delta: bool,
    skip: bool,
    snr_strategy: u32,
    /// Of each block: whether there is a new strategy, and whether coupling is in use.
    coupling: [(bool, bool); MAX_BLOCKS],
    strategies: [[u32; PLACES]; MAX_BLOCKS],
    /// `spxbegf`.
    extended: Option<u32>,
    extends: [bool; FULL],
    extension_bands: usize,
    /// `cplbegf`.
    coupled: Option<u32>,
    was_coupled: bool,
    couples: [bool; FULL],
    coupling_bins: (usize, usize),
    coupling_bands: usize,
    coordinates_due: [bool; FULL],
    leak_due: bool,
    /// Whose delta bit allocation can be used again.
    deltas: [bool; PLACES],
    phase_flags: bool,
    /// The strategy of coupling is new in this block.
    changed: bool,
}
