//! The Info tag: a silent frame before the others. It says how many frames there are, where they are, and how much
//! to cut off at both ends.
//!
//! It is Xing's VBR header with LAME's extension: in no standard, but read by every player. The tag follows the side
//! information, which is all zeros:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | `Info` (constant bitrate) or `Xing` |
//! | 4 | 4 | which of the next four are present: 1 frames, 2 bytes, 4 TOC, 8 quality |
//! | 8 | 4 | frames, not counting this one |
//! | 12 | 4 | bytes, including this frame |
//! | 16 | 100 | TOC: the position at each per cent of the time, in 256ths of the bytes |
//! | 116 | 4 | quality, 0 to 100 |
//! | 120 | 9 | the encoder's name; players use what follows if it begins with `LAME` |
//! | 129 | 1 | revision of the tag (0) and method: 1 CBR, 2 ABR, 4 VBR (mtrh) |
//! | 130 | 1 | lowpass in 100 Hz |
//! | 131 | 4 | peak, 1.0 = 2²³ |
//! | 135 | 2 | track gain: name 001, originator 011 (computed), sign, 9 bits of 0.1 dB |
//! | 137 | 2 | album gain, which one file cannot know |
//! | 139 | 1 | LAME's flags |
//! | 140 | 1 | bitrate: the constant or average one, or the lowest; 255 for all above |
//! | 141 | 3 | delay and padding in samples, 12 bits each |
//! | 144 | 1 | misc: rate of the source, channel mode, noise shaping |
//! | 145 | 1 | gain applied to the MP3 (0) |
//! | 146 | 2 | LAME's preset |
//! | 148 | 4 | bytes again |
//! | 152 | 2 | CRC of all later frames |
//! | 154 | 2 | CRC of this frame up to here |
//!
//! If a field is missing, those after it move forward. We always write all.

use std::ops::Range;

use super::RateControl;
use crate::frame_header::{ChannelMode, FrameHeader, HeaderError, Layer};
use crate::tags::ReplayGain;

/// Bytes of a tag with all fields.
const TAG_LEN: usize = 156;

/// The fields delay and padding have 12 bits each.
pub const MAX_TRIM: u16 = 0xFFF;

/// What the tag says of an encode, apart from its frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    /// How bits were spent.
    pub rate: RateControl,
    /// kbit/s: the constant or average bitrate, or the lowest that VBR may use.
    pub bitrate: u16,
    /// The quality, 0 to 100.
    pub quality: u8,
    /// LAME's flags: threshold of hearing, psychoacoustic model, joint stereo.
    pub flags: u8,
    /// LAME's preset: the bitrate, or 500 − 10 · the VBR scale.
    pub preset: u16,
    /// Where high frequencies were cut off, in Hz.
    pub lowpass: u32,
    /// The encoder, such as `LAME3.100`; cut to nine bytes.
    pub encoder: String,
}

/// What to cut off the decoded PCM, in PCM samples per channel: frames · samples per frame = delay + length +
/// padding. More than 4095 cannot be expressed and is written as 4095.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// At the start.
    pub delay: u16,
    /// At the end.
    pub padding: u16,
}

/// The contents of an Info tag.
#[derive(Clone, Debug, PartialEq)]
pub struct InfoTag {
    /// `Xing` rather than `Info`: the bitrate is not constant.
    pub variable: bool,
    /// Frames, not counting the tag's own.
    pub frames: Option<u32>,
    /// Bytes, including the tag's frame.
    pub bytes: Option<u32>,
    /// The position at each per cent of the time, in 256ths of the bytes.
    pub toc: Option<[u8; 100]>,
    /// The quality, 0 to 100.
    pub quality: Option<u32>,
    /// LAME's extension.
    pub extension: Option<Extension>,
}

/// LAME's extension of Xing's tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// The encoder's name.
    pub encoder: [u8; 9],
    /// 1 CBR, 2 ABR, 3 to 5 VBR, 8 and 9 two-pass.
    pub method: u8,
    /// In Hz, to 100 Hz; 0 is unknown.
    pub lowpass: u32,
    /// Track gain (to 0.1 dB, within ±51.0) and peak, where they were computed.
    pub replay_gain: Option<ReplayGain>,
    /// LAME's flags.
    pub flags: u8,
    /// kbit/s, 255 for all above.
    pub bitrate: u8,
    /// What to cut off at both ends.
    pub trim: Trim,
    /// Rate of the source, channel mode, noise shaping.
    pub misc: u8,
    /// LAME's preset.
    pub preset: u16,
    /// Bytes, including the tag's frame.
    pub music_len: u32,
    /// CRC of all later frames; 0 if the tag was written before them.
    pub music_crc: u16,
}

impl InfoTag {
    /// The tag of the frames that `audio` has counted, the first of which has the header `first`.
    pub fn new(
        first: FrameHeader,
        encoding: &Encoding,
        audio: &FrameStats,
        trim: Trim,
        replay_gain: Option<ReplayGain>,
    ) -> Self {
        let frame_len = Self::header(first, encoding.rate).frame_len();
        let bytes = u32::try_from(audio.bytes.saturating_add(frame_len as u64)).ok();
        let mut encoder = [0; 9];
        for (to, from) in encoder.iter_mut().zip(encoding.encoder.bytes()) {
            *to = from;
        }
        InfoTag {
            variable: encoding.rate != RateControl::Cbr,
            frames: u32::try_from(audio.frames).ok(),
            bytes,
            toc: Some(audio.toc(frame_len)),
            quality: Some(encoding.quality.into()),
            extension: Some(Extension {
                encoder,
                method: match encoding.rate {
                    RateControl::Cbr => 1,
                    RateControl::Abr => 2,
                    RateControl::Vbr => 4,
                },
                lowpass: encoding.lowpass,
                replay_gain,
                flags: encoding.flags,
                bitrate: u8::try_from(encoding.bitrate).unwrap_or(u8::MAX),
                trim,
                misc: misc(first),
                preset: encoding.preset,
                music_len: bytes.unwrap_or(u32::MAX),
                music_crc: audio.crc,
            }),
        }
    }

    /// The header of the tag's frame, where the audio's first frame has the header `first`.
    ///
    /// With a constant bitrate it has that bitrate, from which players compute the length. With a variable bitrate,
    /// or if the frame would be too small for the tag, it has the lowest bitrate that is large enough.
    pub fn header(first: FrameHeader, rate: RateControl) -> FrameHeader {
        let with = |bitrate| FrameHeader::new(first.sample_rate(), bitrate, first.channel_mode());
        let fits = |h: &FrameHeader| h.frame_len() >= h.main_data_offset() + TAG_LEN;
        let lowest = match rate {
            RateControl::Cbr => first.bitrate(),
            _ => 0,
        };
        let bitrates = first.version().bitrates(Layer::Three).iter();
        bitrates
            .filter(|&&bitrate| bitrate >= lowest)
            .filter_map(|&bitrate| with(bitrate))
            .find(fits)
            .unwrap_or(first)
    }

    /// The tag in a frame with `header`, from [`InfoTag::header`].
    pub fn to_frame(&self, header: FrameHeader) -> Vec<u8> {
        let mut frame = header.to_bytes().to_vec();
        frame.resize(header.main_data_offset(), 0);
        self.write(&mut frame);
        frame.resize(header.frame_len(), 0);
        frame
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(if self.variable { b"Xing" } else { b"Info" });
        let present = u32::from(self.frames.is_some())
            | u32::from(self.bytes.is_some()) << 1
            | u32::from(self.toc.is_some()) << 2
            | u32::from(self.quality.is_some()) << 3;
        to.extend(present.to_be_bytes());
        to.extend(self.frames.iter().flat_map(|n| n.to_be_bytes()));
        to.extend(self.bytes.iter().flat_map(|n| n.to_be_bytes()));
        to.extend(self.toc.iter().flatten());
        to.extend(self.quality.iter().flat_map(|n| n.to_be_bytes()));
        if let Some(extension) = &self.extension {
            extension.write(to);
        }
    }
}

impl Extension {
    /// Appends the extension to `to`, which begins with the tag's frame, and the CRC of all of it.
    fn write(&self, to: &mut Vec<u8>) {
        let (peak, track_gain) = self.replay_gain.map_or((0, 0), gain_fields);
        let delay = self.trim.delay.min(MAX_TRIM);
        let padding = self.trim.padding.min(MAX_TRIM);
        to.extend(self.encoder);
        to.extend([self.method, (self.lowpass / 100).min(255) as u8]);
        to.extend(peak.to_be_bytes());
        to.extend(track_gain.to_be_bytes());
        to.extend([0, 0, self.flags, self.bitrate]);
        to.extend([
            (delay >> 4) as u8,
            (delay << 4) as u8 | (padding >> 8) as u8,
            padding as u8,
        ]);
        to.extend([self.misc, 0]);
        to.extend(self.preset.to_be_bytes());
        to.extend(self.music_len.to_be_bytes());
        to.extend(self.music_crc.to_be_bytes());
        let crc = crc16(0, to);
        to.extend(crc.to_be_bytes());
    }
}

/// A peak of 1.0.
const FULL_SCALE: f64 = (1 << 23) as f64;
const TRACK_GAIN: u16 = 0b001 << 13;
const COMPUTED: u16 = 0b011 << 10;
const NEGATIVE: u16 = 1 << 9;

/// The fields peak and track gain.
fn gain_fields(of: ReplayGain) -> (u32, u16) {
    let tenths = (of.gain * 10.0).round().clamp(-510.0, 510.0) as i16;
    let sign = if tenths < 0 { NEGATIVE } else { 0 };
    let gain = TRACK_GAIN | COMPUTED | sign | tenths.unsigned_abs();
    ((of.peak.abs() * FULL_SCALE).round() as u32, gain)
}

/// LAME's misc byte: 2 bits rate of the source (up to 32, 44.1, 48 kHz, above), 1 bit unwise settings, 3 bits
/// channel mode, 2 bits noise shaping, which LAME leaves at 0.
fn misc(header: FrameHeader) -> u8 {
    let source = match header.sample_rate() {
        48_000 => 2,
        44_100 => 1,
        _ => 0,
    };
    let mode = match header.channel_mode() {
        ChannelMode::Mono => 0,
        ChannelMode::Stereo => 1,
        ChannelMode::DualChannel => 2,
        ChannelMode::JointStereo => 3,
    };
    source << 6 | mode << 2
}

/// What a tag says of the frames after it, gathered while they are written.
#[derive(Clone, Debug)]
pub struct FrameStats {
    frames: u64,
    bytes: u64,
    crc: u16,
    /// Where the frames 0, `stride`, 2 · `stride`… begin, in bytes from the first.
    points: Vec<u64>,
    stride: u64,
}

impl Default for FrameStats {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameStats {
    /// The most seek points kept. At least half of them are there for any length, so interpolation between two is
    /// far more precise than the TOC.
    const MAX_POINTS: usize = 2048;

    /// No frames yet.
    pub fn new() -> Self {
        FrameStats {
            frames: 0,
            bytes: 0,
            crc: 0,
            points: Vec::new(),
            stride: 1,
        }
    }

    /// The statistics of `frames` frames of a constant bitrate by LAME, the first of which has the header `first`:
    /// all but the CRC. For a pipe, where a tag cannot be written later.
    ///
    /// Computed in constant time: a file of a few bytes can declare more frames than could ever be counted.
    pub fn predicted(first: FrameHeader, frames: u64) -> Self {
        let rate = u128::from(first.sample_rate());
        let exact = 125 * u128::from(first.samples()) * u128::from(first.bitrate());
        // Every frame is a fraction of a byte short of `exact / rate` bytes. LAME starts with a lag of one such
        // fraction and pads a frame by one byte whenever the lag is used up: so n frames have as many bytes of
        // padding as n − 1 fractions need.
        let fraction = exact % rate;
        let place = |frame: u64| {
            let n = u128::from(frame);
            let padded = (n.saturating_sub(1) * fraction).div_ceil(rate);
            u64::try_from(n * (exact / rate) + padded).unwrap_or(u64::MAX)
        };
        let least = frames.div_ceil(Self::MAX_POINTS as u64).max(1);
        // No number of frames leads to a power of two that is too large for the type.
        let stride = least.checked_next_power_of_two().unwrap_or(1 << 63);
        let points = (0..Self::MAX_POINTS as u64).map_while(|i| i.checked_mul(stride));
        FrameStats {
            frames,
            bytes: place(frames),
            crc: 0,
            points: points
                .take_while(|&frame| frame < frames)
                .map(place)
                .collect(),
            stride,
        }
    }

    /// Counts the next frames, which are complete.
    pub fn add(&mut self, mut frames: &[u8]) -> Result<(), HeaderError> {
        self.crc = crc16(self.crc, frames);
        while let Some(&header) = frames.first_chunk() {
            let len = FrameHeader::parse_layer_3(header)?
                .frame_len()
                .min(frames.len());
            self.count(len as u64);
            frames = &frames[len..];
        }
        Ok(())
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn count(&mut self, len: u64) {
        if self.frames.is_multiple_of(self.stride) {
            if self.points.len() == Self::MAX_POINTS {
                self.thin_out();
            }
            self.points.push(self.bytes);
        }
        self.frames += 1;
        self.bytes += len;
    }

    /// Drops every second seek point. The current frame is the 2048th of the old stride, so one of the new.
    fn thin_out(&mut self) {
        let mut i = 0;
        self.points.retain(|_| {
            i += 1;
            i % 2 == 1
        });
        self.stride *= 2;
    }

    /// The TOC with a tag's frame of `tag_len` bytes before the audio.
    fn toc(&self, tag_len: usize) -> [u8; 100] {
        let tag_len = tag_len as u128;
        let bytes = u128::from(self.bytes) + tag_len;
        std::array::from_fn(|percent| {
            let frame = u128::from(self.frames) * percent as u128 / 100;
            let at = tag_len + u128::from(self.place(frame as u64));
            (256 * at / bytes).min(255) as u8
        })
    }

    /// Where the frame begins: between two seek points, as if all frames there had one length.
    fn place(&self, frame: u64) -> u64 {
        let point = frame / self.stride;
        let span: Range<u64> = match self.points.get(point as usize..) {
            Some([from, to, ..]) => *from..*to,
            Some([from]) => *from..self.bytes,
            _ => return self.bytes,
        };
        let first = point * self.stride;
        let frames = self.stride.min(self.frames - first);
        let bytes = u128::from(span.end - span.start) * u128::from(frame - first);
        span.start + (bytes / u128::from(frames)) as u64
    }
}

/// Continues a CRC-16 (reflected polynomial 0xA001, known as CRC-16/ARC) over `bytes`, eight at a time: every byte of
/// the MP3 goes through it.
fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    /// What a byte adds to the CRC once so many further bytes have come.
    static TABLES: [[u16; 256]; 8] = {
        let mut tables = [[0; 256]; 8];
        let mut i = 0;
        while i < 256 {
            let mut crc = i as u16;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 {
                    crc >> 1 ^ 0xA001
                } else {
                    crc >> 1
                };
                bit += 1;
            }
            tables[0][i] = crc;
            i += 1;
        }
        let mut i = 256;
        while i < 8 * 256 {
            let before = tables[i / 256 - 1][i % 256];
            tables[i / 256][i % 256] = before >> 8 ^ tables[0][before as usize & 0xff];
            i += 1;
        }
        tables
    };
    let (eights, rest) = bytes.as_chunks::<8>();
    let crc = eights.iter().fold(crc, |crc, &eight| {
        let [low, high] = crc.to_le_bytes();
        let [a, b, c, d, e, f, g, h] = eight.map(usize::from);
        let with_crc = TABLES[7][a ^ usize::from(low)] ^ TABLES[6][b ^ usize::from(high)];
        let middle = TABLES[5][c] ^ TABLES[4][d] ^ TABLES[3][e];
        with_crc ^ middle ^ TABLES[2][f] ^ TABLES[1][g] ^ TABLES[0][h]
    });
    rest.iter().fold(crc, |crc, &byte| {
        crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    impl InfoTag {
        /// Reads the tag in a frame; `None` if there is none. Fields are taken as they are.
        pub fn parse(frame: &[u8]) -> Option<Self> {
            let header = FrameHeader::parse_layer_3(*frame.first_chunk()?).ok()?;
            let mut rest = TagReader(frame.get(header.main_data_offset()..)?);
            let variable = match &rest.take::<4>()? {
                b"Xing" => true,
                b"Info" => false,
                _ => return None,
            };
            let present = rest.u32()?;
            let has = |bit: u32| present & bit != 0;
            Some(InfoTag {
                variable,
                frames: if has(1) { Some(rest.u32()?) } else { None },
                bytes: if has(2) { Some(rest.u32()?) } else { None },
                toc: if has(4) { Some(rest.take()?) } else { None },
                quality: if has(8) { Some(rest.u32()?) } else { None },
                extension: Extension::parse(rest),
            })
        }
    }

    impl Extension {
        fn parse(mut rest: TagReader<'_>) -> Option<Self> {
            let encoder = rest.take()?;
            let [revision_and_method, lowpass] = rest.take()?;
            let peak = rest.u32()?;
            let track_gain = rest.u16()?;
            let _album_gain = rest.u16()?;
            let [flags, bitrate, delay, between, padding, misc, _mp3_gain] = rest.take()?;
            Some(Extension {
                encoder,
                method: revision_and_method & 0xF,
                lowpass: u32::from(lowpass) * 100,
                replay_gain: parse_gain(peak, track_gain),
                flags,
                bitrate,
                trim: Trim {
                    delay: u16::from(delay) << 4 | u16::from(between) >> 4,
                    padding: u16::from(between & 0xF) << 8 | u16::from(padding),
                },
                misc,
                preset: rest.u16()?,
                music_len: rest.u32()?,
                music_crc: rest.u16()?,
            })
        }
    }

    fn parse_gain(peak: u32, gain: u16) -> Option<ReplayGain> {
        if gain & 0b111 << 13 != TRACK_GAIN {
            return None;
        }
        let tenths = f64::from(gain & 0x1FF);
        let sign = if gain & NEGATIVE != 0 { -1.0 } else { 1.0 };
        Some(ReplayGain {
            gain: sign * tenths / 10.0,
            peak: f64::from(peak) / FULL_SCALE,
        })
    }

    /// The rest of a tag's fields, most significant byte first.
    struct TagReader<'a>(&'a [u8]);

    impl TagReader<'_> {
        fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
            let (field, rest) = self.0.split_first_chunk()?;
            self.0 = rest;
            Some(*field)
        }

        fn u16(&mut self) -> Option<u16> {
            self.take().map(u16::from_be_bytes)
        }

        fn u32(&mut self) -> Option<u32> {
            self.take().map(u32::from_be_bytes)
        }
    }

    fn encoding(rate: RateControl) -> Encoding {
        Encoding {
            rate,
            bitrate: 128,
            quality: 57,
            flags: 0x34,
            preset: 128,
            lowpass: 17_000,
            encoder: "LAME3.100".into(),
        }
    }

    const TRIM: Trim = Trim {
        delay: 576,
        padding: 1234,
    };

    #[test]
    fn verify_the_crc_against_its_published_check_value() {
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
        assert_eq!(crc16(crc16(0, b"1234"), b"56789"), 0xBB3D);
        let bytes: Vec<u8> = (0..=255).collect();
        let one_by_one = bytes.iter().fold(7, |crc, &byte| crc16(crc, &[byte]));
        assert_eq!(crc16(7, &bytes), one_by_one);
    }

    #[test]
    fn verify_the_layout_byte_by_byte() {
        let first = FrameHeader::new(44_100, 128, ChannelMode::JointStereo).unwrap();
        let mut audio = FrameStats::new();
        let mut frame = vec![0; first.frame_len()];
        frame[..4].copy_from_slice(&first.to_bytes());
        for _ in 0..1000 {
            audio.add(&frame).unwrap();
        }
        let gain = ReplayGain {
            peak: 0.5,
            gain: -7.3,
        };
        let tag = InfoTag::new(first, &encoding(RateControl::Cbr), &audio, TRIM, Some(gain));
        let frame = tag.to_frame(InfoTag::header(first, RateControl::Cbr));

        assert_eq!(frame.len(), 417);
        assert_eq!(
            frame[..36],
            [&[0xFF, 0xFB, 0x90, 0x44][..], &[0; 32]].concat()
        );
        let tag = &frame[36..];
        assert_eq!(&tag[..8], b"Info\0\0\0\x0F");
        assert_eq!(tag[8..12], 1000u32.to_be_bytes());
        assert_eq!(tag[12..16], 417_417u32.to_be_bytes());
        let toc: Vec<u8> = (0..100)
            .map(|i| (256 * (10 * i + 1) / 1001) as u8)
            .collect();
        assert_eq!(tag[16..116], toc);
        assert_eq!(tag[116..120], [0, 0, 0, 57]);
        assert_eq!(&tag[120..129], b"LAME3.100");
        assert_eq!(tag[129..131], [1, 170]);
        assert_eq!(tag[131..135], [0, 0x40, 0, 0]); // 0.5 · 2²³
        assert_eq!(tag[135..139], [0x2E, 73, 0, 0]); // 001 011 1 001001001
        assert_eq!(tag[139..141], [0x34, 128]);
        assert_eq!(tag[141..144], [0x24, 0x04, 0xD2]); // 576, 1234
        assert_eq!(tag[144..146], [0x4C, 0]); // 44.1 kHz, joint stereo
        assert_eq!(tag[146..148], 128u16.to_be_bytes());
        assert_eq!(tag[148..152], 417_417u32.to_be_bytes());
        assert_eq!(tag[154..156], crc16(0, &frame[..190]).to_be_bytes());
        assert_eq!(tag[156..], vec![0; 417 - 36 - 156]);
    }

    #[test]
    fn a_written_tag_reads_back() {
        for (rate_hz, mode) in [
            (48_000, ChannelMode::Mono),
            (44_100, ChannelMode::Stereo),
            (22_050, ChannelMode::JointStereo),
            (8_000, ChannelMode::Mono),
        ] {
            for rate in [RateControl::Cbr, RateControl::Abr, RateControl::Vbr] {
                let first = FrameHeader::new(rate_hz, 64, mode).unwrap();
                let audio = FrameStats::predicted(first, 777);
                let gain = ReplayGain {
                    peak: 1.25,
                    gain: 3.2,
                };
                let tag = InfoTag::new(first, &encoding(rate), &audio, TRIM, Some(gain));
                let frame = tag.to_frame(InfoTag::header(first, rate));
                assert_eq!(InfoTag::parse(&frame), Some(tag));
            }
        }
    }

    /// As `predicted` computes it, but frame by frame.
    fn counted(first: FrameHeader, frames: u64) -> FrameStats {
        let mut audio = FrameStats::new();
        let rate = u64::from(first.sample_rate());
        let exact = 125 * u64::from(first.samples()) * u64::from(first.bitrate());
        let fraction = exact % rate;
        let mut lag = fraction;
        for _ in 0..frames {
            let padded = lag < fraction;
            lag = lag + if padded { rate } else { 0 } - fraction;
            audio.count(exact / rate + u64::from(padded));
        }
        audio
    }

    #[test]
    fn the_prediction_equals_the_count() {
        for (rate_hz, bitrate) in [(44_100, 128), (48_000, 320), (22_050, 8), (11_025, 56)] {
            let first = FrameHeader::new(rate_hz, bitrate, ChannelMode::Stereo).unwrap();
            for frames in [0, 1, 2, 50, 2047, 2048, 2049, 4096, 4097, 22_970, 1_000_003] {
                let (told, counted) =
                    (FrameStats::predicted(first, frames), counted(first, frames));
                assert_eq!(told.bytes, counted.bytes, "{rate_hz} Hz, {frames} frames");
                assert_eq!(told.stride, counted.stride, "{frames} frames");
                assert_eq!(told.points, counted.points, "{frames} frames");
                assert_eq!(told.frames, frames);
            }
        }
    }

    #[test]
    fn any_number_of_frames_is_predicted_at_once() {
        let first = FrameHeader::new(32_000, 320, ChannelMode::Stereo).unwrap();
        for frames in [1 << 33, 90_000_000_000_000, u64::MAX / 1152, u64::MAX] {
            let audio = FrameStats::predicted(first, frames);
            assert!(audio.points.len() <= FrameStats::MAX_POINTS);
            let tag = InfoTag::new(first, &encoding(RateControl::Cbr), &audio, TRIM, None);
            assert_eq!((tag.frames, tag.bytes), (None, None));
            let toc = tag.toc.unwrap();
            assert!(toc.is_sorted() && toc[0] == 0);
        }
    }

    #[test]
    fn a_plain_xing_tag_has_no_extension() {
        let first = FrameHeader::new(44_100, 128, ChannelMode::Stereo).unwrap();
        let tag = InfoTag {
            variable: true,
            frames: Some(10),
            bytes: None,
            toc: None,
            quality: None,
            extension: None,
        };
        let mut frame = tag.to_frame(first);
        frame.truncate(36 + 12);
        assert_eq!(InfoTag::parse(&frame), Some(tag));
        for len in 0..frame.len() {
            assert_eq!(InfoTag::parse(&frame[..len]), None);
        }
        frame[36] = b'Y';
        assert_eq!(InfoTag::parse(&frame), None);
    }

    #[test]
    fn the_tags_frame_is_large_enough_and_of_the_audios_bitrate_if_constant() {
        for rate_hz in [
            8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
        ] {
            for mode in [ChannelMode::Mono, ChannelMode::JointStereo] {
                let (version, _) = crate::frame_header::Version::of_sample_rate(rate_hz).unwrap();
                for &bitrate in version.bitrates(Layer::Three) {
                    let first = FrameHeader::new(rate_hz, bitrate, mode).unwrap();
                    let cbr = InfoTag::header(first, RateControl::Cbr);
                    let vbr = InfoTag::header(first, RateControl::Vbr);
                    let needed = first.main_data_offset() + TAG_LEN;
                    assert!(vbr.frame_len() >= needed && vbr.bitrate() <= cbr.bitrate());
                    if first.frame_len() >= needed {
                        assert_eq!(cbr.bitrate(), bitrate);
                    } else {
                        assert_eq!(cbr, vbr);
                    }
                }
            }
        }
    }

    #[test]
    fn verify_the_toc_of_a_long_stream_against_all_places() {
        // Quiet for a third, then busy: 40 minutes and 4 days, in frames; and hardly anything.
        for frames in [90_000u64, 13_000_000, 5, 1, 0] {
            let len = |i: u64| {
                if i < frames / 3 {
                    104
                } else {
                    300 + i * 7919 % 745
                }
            };
            let mut audio = FrameStats::new();
            let mut at = 417;
            let mut places = Vec::new();
            let mut percent = 0;
            for i in 0..frames {
                while percent < 100 && percent * frames / 100 == i {
                    places.push(at);
                    percent += 1;
                }
                audio.count(len(i));
                at += len(i);
            }
            assert!(audio.points.len() <= FrameStats::MAX_POINTS);
            let toc = audio.toc(417);
            for (&place, &said) in places.iter().zip(&toc) {
                assert!((place * 256 / at).min(255).abs_diff(said.into()) <= 1);
            }
            assert!(toc.is_sorted());
        }
    }
}
