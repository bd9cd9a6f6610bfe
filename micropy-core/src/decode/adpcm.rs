//! Adaptive differential PCM: four bits for each PCM sample, whose unit grows and shrinks with the signal. The IMA's
//! kind (*Recommended Practices for Enhancing Digital Audio Compatibility in Multimedia Systems*, 3.00) comes in
//! QuickTime's packets and in the blocks of WAVE files; Microsoft's (*Multimedia Data Standards Update*, 1994) in
//! blocks.

use super::{DecodeError, Decoder, Format, ROLL_TO_THE_START, frames};
use crate::codec::{Adpcm, Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm};

/// What the track decodes to.
pub fn inspect(track: &CodecParameters, first_packets: &[&[u8]]) -> Result<Format> {
    let kind = kind(track)?;
    let layout = Layout::usual(track.channels)
        .filter(|layout| kind != Adpcm::Microsoft || layout.channels() <= 2)
        .ok_or_else(|| {
            Error::unsupported(format!("{} of {} channels", track.codec, track.channels))
        })?;
    if track.sample_rate == 0 {
        return Err(Error::malformed(track.at, "sample entry", "a rate of 0 Hz"));
    }
    let coded = Blocks::new(kind, layout.channels(), track);
    let lens: Vec<u32> = first_packets
        .iter()
        .map(|packet| coded.of(packet).map(|block| coded.samples(block)).sum())
        .collect();
    Ok(Format {
        codec: track.codec.clone(),
        sample_rate: track.sample_rate,
        layout,
        packet_len: frames::packet_len(&lens).filter(|&len| len > 0),
        roll: match kind {
            // Nine bits of the level are in each packet. The others come from all packets before.
            Adpcm::ImaQuickTime => ROLL_TO_THE_START,
            _ => 0,
        },
    })
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, format: &Format) -> Result<Box<dyn Decoder>> {
    let channels = format.layout.channels();
    let blocks = Blocks::new(kind(track)?, channels, track);
    Ok(match blocks.kind {
        Adpcm::ImaQuickTime => Box::new(ImaQuickTime {
            blocks,
            channels: vec![Ima::default(); channels],
        }),
        Adpcm::ImaWave => Box::new(InBlocks(blocks, ima_wave)),
        Adpcm::Microsoft => Box::new(InBlocks(blocks, microsoft)),
    })
}

fn kind(track: &CodecParameters) -> Result<Adpcm> {
    match track.codec {
        Codec::Adpcm(kind) => Ok(kind),
        _ => Err(Error::unsupported(format!("{} as ADPCM", track.codec))),
    }
}

/// How a packet is divided into blocks, each of which is decoded on its own.
struct Blocks {
    kind: Adpcm,
    channels: usize,
    /// Bytes of a block; 0: a packet is one.
    bytes: usize,
}

impl Blocks {
    fn new(kind: Adpcm, channels: usize, track: &CodecParameters) -> Self {
        // QuickTime's have a size of their own.
        let block = track.block.filter(|_| kind != Adpcm::ImaQuickTime);
        Blocks {
            kind,
            channels,
            bytes: block.map_or(0, |block| block.bytes as usize),
        }
    }

    fn of<'a>(&self, packet: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = match self.bytes {
            0 => packet.len().max(1),
            bytes => bytes,
        };
        packet.chunks(bytes)
    }

    /// PCM samples per channel of a block; 0 where it is shorter than its header.
    fn samples(&self, block: &[u8]) -> u32 {
        let (header, first) = match self.kind {
            Adpcm::ImaQuickTime => return (block.len() / (34 * self.channels) * 64) as u32,
            Adpcm::ImaWave => (4, 1),
            Adpcm::Microsoft => (7, 2),
        };
        match block.len().checked_sub(header * self.channels) {
            Some(data) if self.kind == Adpcm::ImaWave => {
                // Eight PCM samples of each channel in turn.
                (first + data / (4 * self.channels) * 8) as u32
            }
            Some(data) => (first + 2 * data / self.channels) as u32,
            None => 0,
        }
    }
}

/// Blocks that begin with the whole state of the decoder.
struct InBlocks(Blocks, fn(&[u8], usize, &mut Pcm));

impl Decoder for InBlocks {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let InBlocks(blocks, decode) = self;
        let mut sound = false;
        for block in blocks.of(packet) {
            let samples = blocks.samples(block) as usize;
            if samples > 0 {
                decode(block, samples, pcm);
                sound = true;
            }
        }
        match sound {
            true => Ok(()),
            false => Err(DecodeError("less than one block of ADPCM".into())),
        }
    }
}

/// Levels of 16 bits are the PCM samples.
fn push(plane: &mut Vec<f32>, level: i32) {
    plane.push(level as f32 / 32768.0);
}

const IMA_STEPS: [i32; 89] = [
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66,
    73, 80, 88, 97, 107, 118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408, 449,
    494, 544, 598, 658, 724, 796, 876, 963, 1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066, 2272,
    2499, 2749, 3024, 3327, 3660, 4026, 4428, 4871, 5358, 5894, 6484, 7132, 7845, 8630, 9493,
    10442, 11487, 12635, 13899, 15289, 16818, 18500, 20350, 22385, 24623, 27086, 29794, 32767,
];

const IMA_INDEX_CHANGES: [i32; 8] = [-1, -1, -1, -1, 2, 4, 6, 8];

/// The state of one channel.
#[derive(Clone, Copy, Default)]
struct Ima {
    level: i32,
    /// Of its step, 0 to 88.
    index: i32,
}

impl Ima {
    fn step(&self) -> i32 {
        IMA_STEPS[self.index.clamp(0, 88) as usize]
    }

    /// Moves by `difference` in the direction of the sign bit of `code`, and to the next step.
    fn advance(&mut self, code: u8, difference: i32) -> i32 {
        let level = match code & 8 {
            0 => self.level + difference,
            _ => self.level - difference,
        };
        self.level = level.clamp(-32768, 32767);
        let change = IMA_INDEX_CHANGES[usize::from(code & 7)];
        self.index = (self.index + change).clamp(0, 88);
        self.level
    }

    /// As QuickTime decodes: each bit adds a part of the step, rounded down on its own.
    fn next_by_bits(&mut self, code: u8) -> i32 {
        let step = self.step();
        let parts = [(4, step), (2, step >> 1), (1, step >> 2)];
        let set = parts.iter().filter(|(bit, _)| code & bit != 0);
        let difference = (step >> 3) + set.map(|(_, part)| part).sum::<i32>();
        self.advance(code, difference)
    }

    /// As WAVE files are decoded: by one multiplication.
    fn next_by_product(&mut self, code: u8) -> i32 {
        let difference = ((2 * i32::from(code & 7) + 1) * self.step()) >> 3;
        self.advance(code, difference)
    }
}

/// `ima4`: 34 bytes of each channel in turn, for 64 PCM samples. The first two are nine bits of the level before and
/// seven of the step's index. Where they agree with what the packet before ended with, its level is the exact one.
struct ImaQuickTime {
    blocks: Blocks,
    channels: Vec<Ima>,
}

impl Decoder for ImaQuickTime {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let whole = self.blocks.samples(packet) as usize / 64;
        if whole == 0 {
            return Err(DecodeError("less than one packet of ADPCM".into()));
        }
        let (parts, _) = packet.as_chunks::<34>();
        for set in parts.chunks_exact(self.channels.len()).take(whole) {
            let channels = self.channels.iter_mut().zip(pcm.planes_mut());
            for ([high, low, codes @ ..], (ima, plane)) in set.iter().zip(channels) {
                let level = i32::from(i16::from_be_bytes([*high, low & 0x80]));
                let index = i32::from(low & 0x7F);
                if ima.index != index || (level - ima.level).abs() > 0x7F {
                    *ima = Ima {
                        level,
                        index: index.min(88),
                    };
                }
                for code in codes {
                    push(plane, ima.next_by_bits(code & 15));
                    push(plane, ima.next_by_bits(code >> 4));
                }
            }
        }
        Ok(())
    }
}

/// WAVE format 0x11: the first PCM sample and the step's index of each channel, then four bytes of each in turn.
fn ima_wave(block: &[u8], samples: usize, pcm: &mut Pcm) {
    let channels = pcm.channels();
    let end = pcm.len() + samples;
    let (words, _) = block.as_chunks::<4>();
    let (heads, codes) = words.split_at(channels);
    for (channel, (plane, head)) in pcm.planes_mut().iter_mut().zip(heads).enumerate() {
        let mut ima = Ima {
            level: i16::from_le_bytes([head[0], head[1]]).into(),
            index: i32::from(head[2]).min(88),
        };
        push(plane, ima.level);
        for code in codes.iter().skip(channel).step_by(channels).flatten() {
            push(plane, ima.next_by_product(code & 15));
            push(plane, ima.next_by_product(code >> 4));
        }
        plane.truncate(end);
    }
}

/// How a level follows from the two before it, in 256ths: the seven predictors that every file has.
const MS_COEFFICIENTS: [[i32; 2]; 7] = [
    [256, 0],
    [512, -256],
    [0, 0],
    [192, 64],
    [240, 0],
    [460, -208],
    [392, -232],
];

/// Growth of the step after each code, in 256ths.
const MS_GROWTH: [i32; 16] = [
    230, 230, 230, 230, 307, 409, 512, 614, 768, 614, 512, 409, 307, 230, 230, 230,
];

/// The state of one channel.
struct Microsoft {
    coefficients: [i32; 2],
    step: i32,
    /// The last level and the one before it.
    levels: [i32; 2],
}

impl Microsoft {
    fn next(&mut self, code: u8) -> i32 {
        let signed = i32::from(code as i8) - 16 * i32::from(code >> 3);
        let [last, before] = self.levels;
        let [a, b] = self.coefficients;
        let level = (last * a + before * b) / 256 + signed * self.step;
        self.levels = [level.clamp(-32768, 32767), last];
        // A step this large reaches both ends of the scale anyway.
        self.step = ((MS_GROWTH[usize::from(code)] * self.step) >> 8).clamp(16, 1 << 20);
        self.levels[0]
    }
}

/// WAVE format 2: each field of the header for all channels, then a code of each channel in turn.
fn microsoft(block: &[u8], samples: usize, pcm: &mut Pcm) {
    let channels = pcm.channels();
    let field = |at: usize, channel: usize| {
        let at = channels + 2 * (at * channels + channel);
        i32::from(i16::from_le_bytes([block[at], block[at + 1]]))
    };
    let codes = block[7 * channels..].iter();
    let codes = codes.flat_map(|byte| [byte >> 4, byte & 15]);
    for (channel, plane) in pcm.planes_mut().iter_mut().enumerate() {
        let predictor = usize::from(block[channel]).min(MS_COEFFICIENTS.len() - 1);
        let mut state = Microsoft {
            coefficients: MS_COEFFICIENTS[predictor],
            step: field(0, channel),
            levels: [field(1, channel), field(2, channel)],
        };
        push(plane, state.levels[1]);
        push(plane, state.levels[0]);
        let own = codes.clone().skip(channel).step_by(channels);
        for code in own.take(samples - 2) {
            push(plane, state.next(code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Block;

    fn track(kind: Adpcm, channels: u16, block: Option<Block>) -> CodecParameters {
        CodecParameters {
            codec: Codec::Adpcm(kind),
            channels,
            sample_rate: 44_100,
            config: Vec::new(),
            block,
            speakers: None,
            at: 0,
            entry: 1,
            others: Vec::new(),
        }
    }

    /// Every block says how many PCM samples it gives, whatever its length.
    #[test]
    fn any_bytes_decode_to_the_length_they_declare() {
        let bytes: Vec<u8> = (0..3000u32).map(|i| (i * i % 251) as u8).collect();
        for kind in [Adpcm::ImaQuickTime, Adpcm::ImaWave, Adpcm::Microsoft] {
            for channels in 1..=2 {
                let block = Block {
                    samples: 505,
                    bytes: 512,
                };
                for block in [None, Some(block)] {
                    let track = track(kind, channels, block);
                    for len in (0..200).chain([511, 512, 513, 1024, 3000]) {
                        let packet = &bytes[..len];
                        let format = inspect(&track, &[packet]).unwrap();
                        let mut pcm = Pcm::new(channels.into());
                        let mut decoder = decoder(&track, &format).unwrap();
                        let decoded = decoder.decode(packet, &mut pcm);
                        assert_eq!(decoded.is_ok(), format.packet_len.is_some(), "{len}");
                        let expected = format.packet_len.unwrap_or(0) as usize;
                        assert!(pcm.planes().iter().all(|p| p.len() == expected), "{kind:?}");
                        let loud = |sample: &f32| !(-1.0..1.0).contains(sample);
                        assert!(!pcm.planes().iter().flatten().any(loud));
                    }
                }
            }
        }
    }

    /// By hand from the tables: a step of 7, then 8 after a code of 4 (index 0 + 2).
    #[test]
    fn verify_first_codes_of_ima() {
        let mut bits = Ima::default();
        assert_eq!(bits.next_by_bits(7), 7 + 3 + 1);
        assert_eq!((bits.index, bits.step()), (8, 16));
        let mut product = Ima::default();
        assert_eq!(product.next_by_product(7), 15 * 7 / 8);
        assert_eq!(product.next_by_product(0xF), 13 - 15 * 16 / 8);
    }

    #[test]
    fn verify_first_codes_of_microsoft() {
        let mut state = Microsoft {
            coefficients: MS_COEFFICIENTS[1],
            step: 16,
            levels: [100, 50],
        };
        assert_eq!(state.next(0xF), 2 * 100 - 50 - 16);
        assert_eq!(state.next(7), 2 * 134 - 100 + 7 * 16);
        assert_eq!(state.step, (614 * 16) >> 8);
    }

    #[test]
    fn microsoft_has_at_most_two_channels() {
        let error = inspect(&track(Adpcm::Microsoft, 3, None), &[]).unwrap_err();
        assert!(
            error.to_string().contains("Microsoft ADPCM of 3 channels"),
            "{error}"
        );
    }
}
