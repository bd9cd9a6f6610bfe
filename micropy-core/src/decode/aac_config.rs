//! The AudioSpecificConfig of AAC (ISO/IEC 14496-3, 1.6.2.1), and what it leaves to implicit signalling.

use super::bits::Bits;
use crate::codec::AacProfile;
use crate::pcm::{Layout, Speaker};

/// Audio object types (ISO/IEC 14496-3, table 1.17) that AAC tracks have.
pub mod object_type {
    #![allow(missing_docs)]
    pub const MAIN: u32 = 1;
    pub const LC: u32 = 2;
    pub const SSR: u32 = 3;
    pub const LTP: u32 = 4;
    pub const SBR: u32 = 5;
    pub const SCALABLE: u32 = 6;
    pub const TWIN_VQ: u32 = 7;
    pub const ER_LC: u32 = 17;
    pub const ER_LTP: u32 = 19;
    pub const ER_SCALABLE: u32 = 20;
    pub const ER_BSAC: u32 = 22;
    pub const ER_LD: u32 = 23;
    pub const PS: u32 = 29;
    pub const ESCAPE: u32 = 31;
    pub const ER_ELD: u32 = 39;
    pub const USAC: u32 = 42;
}

/// The contents of an AudioSpecificConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AacConfig {
    /// `channelConfiguration`; 0: a program_config_element describes the channels.
    pub channel_configuration: u32,
    /// Object type of the core coder (never [`object_type::SBR`] or [`object_type::PS`]).
    pub object_type: u32,
    /// Hz of the core coder.
    pub core_rate: u32,
    /// Loudspeakers of the core coder; `None` if only the decoder knows (USAC's own table).
    pub layout: Option<Layout>,
    /// PCM samples per channel of a packet of the core coder.
    pub frame_len: u32,
    /// Spectral band replication: present (with its output rate), absent, or not signalled.
    pub sbr: Extension<u32>,
    /// Parametric stereo: present, absent, or not signalled.
    pub ps: Extension<()>,
    /// The loudspeakers in the order of the decoder's channels, if it differs from that of the planes.
    pub(super) coded_order: Option<Vec<Speaker>>,
    /// The program_config_element of channel configuration 0.
    #[cfg_attr(
        not(feature = "fdk-aac"),
        allow(dead_code, reason = "only the FDK decoder is told it")
    )]
    pub(super) program_config: Option<ProgramConfig>,
}

/// Whether an extension of the core coder is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension<T> {
    /// It is used.
    Present(T),
    /// It is not used.
    Absent,
    /// Only the packets show it (implicit signalling).
    Unsaid,
}

const SAMPLING_FREQUENCIES: [u32; 13] = [
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
];

impl AacConfig {
    /// Reads the configuration; the error says which field is wrong.
    pub fn parse(bytes: &[u8]) -> Result<AacConfig, String> {
        parse(&mut Bits::new(bytes)).ok_or("it ends in the middle of a field")?
    }

    /// AAC-LC of the rate and channels that the sample entry names, for a track without a configuration.
    pub fn guessed(rate: u32, channels: u16) -> Option<AacConfig> {
        let channel_configuration = match channels {
            1..=6 => channels.into(),
            8 => 7,
            _ => return None,
        };
        let mut bits = BitWriter::default();
        bits.put(object_type::LC, 5);
        bits.put_frequency(rate);
        bits.put(channel_configuration, 4);
        bits.put(0, 3);
        AacConfig::parse(&bits.bytes()).ok()
    }

    /// The same with another channel configuration.
    pub fn with_channels(&self, channel_configuration: u32) -> AacConfig {
        AacConfig {
            channel_configuration,
            layout: channel_configuration_layout(channel_configuration),
            coded_order: coded_order(channel_configuration),
            program_config: None,
            ..self.clone()
        }
    }

    /// The profile, once the packets have shown whether there is SBR or PS.
    pub fn profile(&self, sbr: bool, ps: bool) -> AacProfile {
        match self.object_type {
            object_type::LC if ps => AacProfile::HeV2,
            object_type::LC if sbr || matches!(self.sbr, Extension::Present(_)) => AacProfile::He,
            object_type::LC => AacProfile::Lc,
            object_type::MAIN => AacProfile::Main,
            object_type::SSR => AacProfile::Ssr,
            object_type::LTP => AacProfile::Ltp,
            object_type::ER_LD => AacProfile::Ld,
            object_type::ER_ELD => AacProfile::Eld,
            object_type::USAC => AacProfile::Xhe,
            other => AacProfile::ObjectType(other),
        }
    }

    /// The configuration of the core coder without any extension.
    pub fn plain(&self) -> Vec<u8> {
        let mut bits = BitWriter::default();
        bits.put(self.object_type, 5);
        bits.put_frequency(self.core_rate);
        bits.put(self.channel_configuration, 4);
        self.put_general_audio(&mut bits);
        bits.bytes()
    }

    /// GASpecificConfig: frameLengthFlag, dependsOnCoreCoder, extensionFlag.
    pub(super) fn put_general_audio(&self, bits: &mut BitWriter) {
        bits.put(u32::from(self.frame_len == 960), 1);
        bits.put(0, 2);
    }
}

/// Writes a configuration bit by bit, most significant first.
#[derive(Default)]
pub(super) struct BitWriter {
    bits: Vec<bool>,
}

impl BitWriter {
    pub(super) fn put(&mut self, value: u32, width: u32) {
        self.bits
            .extend((0..width).rev().map(|bit| value >> bit & 1 == 1));
    }

    pub(super) fn put_frequency(&mut self, rate: u32) {
        match SAMPLING_FREQUENCIES.iter().position(|&f| f == rate) {
            Some(index) => self.put(index as u32, 4),
            None => {
                self.put(15, 4);
                self.put(rate, 24);
            }
        }
    }

    /// Fills the last byte with zeros.
    #[cfg(feature = "fdk-aac")]
    pub(super) fn align(&mut self) {
        self.bits.resize(self.bits.len().next_multiple_of(8), false);
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            let byte = bits.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
            byte << (8 - bits.len())
        };
        self.bits.chunks(8).map(byte).collect()
    }
}

/// `None`: the bytes have ended.
fn parse(bits: &mut Bits<'_>) -> Option<Result<AacConfig, String>> {
    let mut object_type = read_object_type(bits)?;
    let mut core_rate = read_frequency(bits)?;
    let channel_configuration = bits.read(4)?;
    let (mut sbr, mut ps) = (Extension::Unsaid, Extension::Unsaid);
    if matches!(object_type, object_type::SBR | object_type::PS) {
        if object_type == object_type::PS {
            ps = Extension::Present(());
        }
        sbr = Extension::Present(read_frequency(bits)?);
        object_type = read_object_type(bits)?;
        if object_type == object_type::ER_BSAC {
            bits.skip(4)?;
        }
    }
    let mut layout = channel_configuration_layout(channel_configuration);
    let mut coded_order = coded_order(channel_configuration);
    let mut program_config = None;
    let mut frame_len = 1024;
    match object_type {
        object_type::USAC => {
            let usac = read_usac_config(bits)?;
            (core_rate, frame_len, layout) = (usac.sample_rate, usac.frame_len, usac.layout);
            sbr = Extension::Absent;
        }
        object_type::MAIN..=object_type::LTP
        | object_type::SCALABLE
        | object_type::TWIN_VQ
        | object_type::ER_LC
        | object_type::ER_LTP..=object_type::ER_LD => {
            if bits.flag()? {
                frame_len = 960;
            }
            if object_type == object_type::ER_LD {
                frame_len /= 2;
            }
            if bits.flag()? {
                // coreCoderDelay. Some writers set the flag but leave out the delay.
                bits.skip(14.min(bits.left()))?;
            }
            let extension = bits.flag().unwrap_or(false);
            if channel_configuration == 0 {
                let program = ProgramConfig::read(bits)?;
                coded_order = program.decoded_order();
                layout = coded_order.as_deref().map(Layout::of);
                program_config = Some(program);
            }
            if matches!(
                object_type,
                object_type::SCALABLE | object_type::ER_SCALABLE
            ) {
                bits.skip(3)?; // layerNr
            }
            if extension {
                skip_extension(bits, object_type)?;
            }
        }
        object_type::ER_ELD => {
            if bits.flag()? {
                frame_len = 480;
            } else {
                frame_len = 512;
            }
        }
        _ => {}
    }
    if sbr == Extension::Unsaid {
        read_backward_compatible_extension(bits, &mut sbr, &mut ps);
    }
    if core_rate == 0 || sbr == Extension::Present(0) {
        return Some(Err("the sampling frequency is reserved or 0".into()));
    }
    if layout.is_none() && matches!(channel_configuration, 8..=10 | 15) {
        return Some(Err(format!(
            "channel configuration {channel_configuration} is reserved"
        )));
    }
    Some(Ok(AacConfig {
        channel_configuration,
        object_type,
        core_rate,
        layout,
        frame_len,
        sbr,
        ps,
        coded_order,
        program_config,
    }))
}

fn read_object_type(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.read(5)? {
        object_type::ESCAPE => Some(32 + bits.read(6)?),
        short => Some(short),
    }
}

/// 0 stands for a reserved index.
fn read_frequency(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.read(4)? {
        15 => bits.read(24),
        index => Some(
            SAMPLING_FREQUENCIES
                .get(index as usize)
                .copied()
                .unwrap_or(0),
        ),
    }
}

/// ISO/IEC 14496-3, table 1.19 (and 23001-8 for 11, 12 and 14).
fn channel_configuration_layout(configuration: u32) -> Option<Layout> {
    use Speaker::*;
    Some(match configuration {
        1 => Layout::MONO,
        2 => Layout::STEREO,
        3 => Layout::of(&[FrontLeft, FrontRight, FrontCenter]),
        4 => Layout::of(&[FrontLeft, FrontRight, FrontCenter, BackCenter]),
        5 => Layout::of(&[FrontLeft, FrontRight, FrontCenter, BackLeft, BackRight]),
        6 => Layout::SURROUND_5_1,
        7 | 12 => Layout::SURROUND_7_1,
        11 => Layout::of(&[
            FrontLeft,
            FrontRight,
            FrontCenter,
            LowFrequency,
            BackLeft,
            BackRight,
            BackCenter,
        ]),
        _ => return None,
    })
}

/// By the standard, configuration 7 has its second pair in front, outside the first. Encoders have always used it for
/// plain 7.1, with the second pair at the sides. It is read that way here, as by ffmpeg. In the library's WAVE order
/// that pair comes first, and the first pair last.
const CONFIGURATION_7: [Speaker; 8] = [
    Speaker::SideLeft,
    Speaker::SideRight,
    Speaker::FrontCenter,
    Speaker::LowFrequency,
    Speaker::BackLeft,
    Speaker::BackRight,
    Speaker::FrontLeft,
    Speaker::FrontRight,
];

fn coded_order(channel_configuration: u32) -> Option<Vec<Speaker>> {
    (channel_configuration == 7).then(|| CONFIGURATION_7.to_vec())
}

fn skip_extension(bits: &mut Bits<'_>, object_type: u32) -> Option<()> {
    match object_type {
        object_type::ER_BSAC => bits.skip(5 + 11)?, // numOfSubFrame, layer_length
        object_type::ER_LC
        | object_type::ER_LTP
        | object_type::ER_SCALABLE
        | object_type::ER_LD => bits.skip(3)?, // resilience flags
        _ => {}
    }
    bits.skip(1) // extensionFlag3
}

/// Reads the extension that may follow where a decoder without SBR stops reading (1.6.6). A missing or cut extension is
/// not an error.
fn read_backward_compatible_extension(
    bits: &mut Bits<'_>,
    sbr: &mut Extension<u32>,
    ps: &mut Extension<()>,
) -> Option<()> {
    if bits.left() < 16 || bits.read(11)? != 0x2b7 || read_object_type(bits)? != object_type::SBR {
        return None;
    }
    if !bits.flag()? {
        *sbr = Extension::Absent;
        *ps = Extension::Absent;
        return Some(());
    }
    *sbr = Extension::Present(read_frequency(bits)?);
    if bits.left() >= 12 && bits.read(11)? == 0x548 {
        *ps = if bits.flag()? {
            Extension::Present(())
        } else {
            Extension::Absent
        };
    }
    Some(())
}

/// A channel element that a program_config_element lists.
#[cfg_attr(
    not(feature = "fdk-aac"),
    allow(dead_code, reason = "only the FDK decoder is told the tags")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// channel_pair_element; otherwise single_channel_element.
    pub pair: bool,
    /// element_instance_tag
    pub tag: u32,
}

/// A program_config_element (4.5.1.2).
#[cfg_attr(
    not(feature = "fdk-aac"),
    allow(dead_code, reason = "only the FDK decoder is told the tags")
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProgramConfig {
    pub front: Vec<Element>,
    pub side: Vec<Element>,
    pub back: Vec<Element>,
    /// Their tags, as those below.
    pub lfe: Vec<u32>,
    pub data: Vec<u32>,
    /// With the flag cc_element_is_ind_sw before each tag.
    pub coupling: Vec<u32>,
}

impl ProgramConfig {
    /// `None`: the bytes have ended.
    pub(super) fn read(bits: &mut Bits<'_>) -> Option<ProgramConfig> {
        bits.skip(4 + 2 + 4)?; // element_instance_tag, object_type, sampling_frequency_index
        let (front, side, back) = (bits.read(4)?, bits.read(4)?, bits.read(4)?);
        let (lfe, data, coupling) = (bits.read(2)?, bits.read(3)?, bits.read(4)?);
        for mixdown_bits in [4, 4, 3] {
            if bits.flag()? {
                bits.skip(mixdown_bits)?;
            }
        }
        let mut elements = |count: u32| -> Option<Vec<Element>> {
            let element = |_| {
                Some(Element {
                    pair: bits.flag()?,
                    tag: bits.read(4)?,
                })
            };
            (0..count).map(element).collect() // at most 15
        };
        let (front, side, back) = (elements(front)?, elements(side)?, elements(back)?);
        let mut tags = |count: u32, width: u32| -> Option<Vec<u32>> {
            (0..count).map(|_| bits.read(width)).collect()
        };
        let (lfe, data, coupling) = (tags(lfe, 4)?, tags(data, 4)?, tags(coupling, 5)?);
        bits.align();
        let comment = bits.read(8)?;
        bits.skip(8 * comment as usize)?;
        Some(ProgramConfig {
            front,
            side,
            back,
            lfe,
            data,
            coupling,
        })
    }

    /// Whether its elements are in an order of ISO/IEC 13818-7, 8.5.1: in front a single one first if the channels are
    /// odd, at the sides no odd number, at the back a single one last, and otherwise pairs, or two single ones for one.
    pub(super) fn is_ordered(&self) -> bool {
        /// Whether these are pairs.
        fn are_pairs(elements: &[Element]) -> bool {
            match elements {
                [] => true,
                [first, rest @ ..] if first.pair => are_pairs(rest),
                [_, second, rest @ ..] if !second.pair => are_pairs(rest),
                _ => false,
            }
        }
        let is_odd = |elements: &[Element]| elements.iter().filter(|e| !e.pair).count() % 2 == 1;
        let front = match &self.front[..] {
            [first, rest @ ..] if is_odd(&self.front) && !first.pair => rest,
            front => front,
        };
        let back = match &self.back[..] {
            [rest @ .., last] if is_odd(&self.back) && !last.pair => rest,
            back => back,
        };
        are_pairs(front) && are_pairs(&self.side) && are_pairs(back)
    }

    /// Its single elements, its pairs, and its LFEs, each with its loudspeakers; `None`: there are none, or more than
    /// [`Speaker`] names.
    fn speakers(&self) -> Option<[Vec<Speaker>; 3]> {
        use Speaker::*;
        // From the centre outwards in front, from the sides to the centre at the back.
        let pairs = |elements: &[Element]| elements.iter().filter(|e| e.pair).count();
        let inner_front = [FrontLeftOfCenter, FrontRightOfCenter];
        let front_pairs = match pairs(&self.front) {
            2 => &[inner_front, [FrontLeft, FrontRight]][..],
            _ => &[[FrontLeft, FrontRight]][..],
        };
        let sides = [SideLeft, SideRight];
        let back_pairs = match (pairs(&self.side), pairs(&self.back)) {
            (0, 2) => &[sides, [BackLeft, BackRight]][..],
            _ => &[[BackLeft, BackRight]][..],
        };
        // ffmpeg lists an LFE as the one single element at the sides, where the standard has none.
        let single_side = match (&self.side[..], &self.lfe[..]) {
            ([only], []) if !only.pair => LowFrequency,
            _ => BackCenter,
        };
        let mut order = Order::default();
        let known = order.place(&self.front, FrontCenter, front_pairs)
            && order.place(&self.side, single_side, &[sides])
            && order.place(&self.back, BackCenter, back_pairs)
            && self.lfe.len() <= 1;
        let lfes = vec![LowFrequency; self.lfe.len()];
        let all = [&order.all[..], &lfes].concat();
        let count = Layout::of(&all).channels();
        (known && count > 0 && count == all.len()).then_some([
            order.all,
            order.singles,
            order.pairs,
        ])
    }

    /// Whether the FDK decoder takes it for a channel configuration, whose channels it gives in WAVE order: it compares
    /// how many elements and channels there are in front, at the sides and at the back.
    fn is_channel_configuration(&self) -> bool {
        let shape = |elements: &[Element]| {
            let pairs = elements.iter().filter(|element| element.pair).count();
            (elements.len(), elements.len() + pairs)
        };
        let (front, side, back) = (shape(&self.front), shape(&self.side), shape(&self.back));
        matches!(
            (front, side, back, self.lfe.len()),
            ((2, 3), (0, 0), (0, 0) | (1, 1), 0)
                | ((2, 3), (0, 0), (1, 2), 0 | 1)
                | ((2, 3), (0, 0), (2, 3 | 4), 1)
                | ((2, 3), (1, 2), (1, 2), 1)
                | ((3, 5), (0, 0), (1, 2), 1)
        )
    }

    /// The loudspeakers in the order in which the FDK decoder gives them.
    fn decoded_order(&self) -> Option<Vec<Speaker>> {
        let [all, singles, pairs] = self.speakers()?;
        let lfes = self.lfe.iter().map(|_| Speaker::LowFrequency);
        let order = match self.is_ordered() {
            true => all,
            // It takes them as singles and pairs.
            false => [singles, pairs].concat(),
        };
        let order: Vec<Speaker> = order.into_iter().chain(lfes).collect();
        Some(match self.is_ordered() && self.is_channel_configuration() {
            true => Layout::of(&order).speakers().collect(),
            false => order,
        })
    }
}

/// The loudspeakers of channel elements, in order, and apart.
#[derive(Default)]
struct Order {
    all: Vec<Speaker>,
    singles: Vec<Speaker>,
    pairs: Vec<Speaker>,
}

impl Order {
    /// Assigns loudspeakers to channel elements; false if there are too many elements.
    fn place(&mut self, elements: &[Element], single: Speaker, pairs: &[[Speaker; 2]]) -> bool {
        let mut pairs = pairs.iter();
        for element in elements {
            match if element.pair { pairs.next() } else { None } {
                Some(pair) => {
                    self.all.extend(pair);
                    self.pairs.extend(pair);
                }
                None if !element.pair && !self.all.contains(&single) => {
                    self.all.push(single);
                    self.singles.push(single);
                }
                None => return false,
            }
        }
        true
    }
}

struct Usac {
    sample_rate: u32,
    frame_len: u32,
    layout: Option<Layout>,
}

/// The start of a UsacConfig (ISO/IEC 23003-3, table 14). Rate and frame length are those of the decoder's output.
fn read_usac_config(bits: &mut Bits<'_>) -> Option<Usac> {
    let sample_rate = match bits.read(5)? {
        0x1f => bits.read(24)?,
        index => USAC_FREQUENCIES.get(index as usize).copied().unwrap_or(0),
    };
    let frame_len = match bits.read(3)? {
        0 => 768,
        1 => 1024,
        2 | 3 => 2048,
        4 => 4096,
        _ => 0,
    };
    let layout = channel_configuration_layout(bits.read(5)?);
    Some(Usac {
        sample_rate,
        frame_len,
        layout,
    })
}

/// ISO/IEC 23003-3, table 67.
const USAC_FREQUENCIES: [u32; 28] = [
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350, 0, 0,
    57600, 51200, 40000, 38400, 34150, 28800, 25600, 20000, 19200, 17075, 14400, 12800, 9600,
];
