//! The four bytes before every frame of MPEG audio (ISO/IEC 11172-3 §2.4.1.3, ISO/IEC 13818-3 §2.4.1.3).
//!
//! `decode` reads frames of all three layers; `mp3` reads and writes those of layer III.
//!
//! ```text
//! AAAAAAAA AAABBCCD EEEEFFGH IIJJKLMM
//! A sync word     B version    C layer      D no CRC      E bitrate index   F sample rate index
//! G padding       H private    I mode       J mode extension (joint stereo)
//! K copyright     L original   M emphasis
//! ```

use std::fmt;

/// Bitrates in kbit/s by bitrate index: ISO/IEC 11172-3 §2.4.2.3 for MPEG-1, layers I to III; ISO/IEC
/// 13818-3 §2.4.2.3 for the lower sampling frequencies (and, by custom, for MPEG-2.5), layer I, then layers II
/// and III. Index 0 is the free format and 15 is forbidden: both are 0 here.
const BITRATES: [[u16; 16]; 5] = [
    [
        0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0,
    ],
    [
        0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0,
    ],
    [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0,
    ],
    [
        0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0,
    ],
    [
        0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0,
    ],
];

/// Sample rates of MPEG-1 in Hz by index (ISO/IEC 11172-3 §2.4.2.3). MPEG-2 has half of each, MPEG-2.5
/// (Fraunhofer's extension, in no standard) a quarter.
const SAMPLE_RATES: [u32; 3] = [44_100, 48_000, 32_000];

const NO_CRC: u32 = 1 << 16;
const BITRATE: u32 = 0xF << 12;
const PADDING: u32 = 1 << 9;

/// The three codings of MPEG audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// MP1.
    One,
    /// MP2.
    Two,
    /// MP3.
    Three,
}

/// The standard that a frame follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// ISO/IEC 11172-3: 32, 44.1 and 48 kHz.
    Mpeg1,
    /// ISO/IEC 13818-3: 16, 22.05 and 24 kHz.
    Mpeg2,
    /// 8, 11.025 and 12 kHz.
    Mpeg25,
}

impl Version {
    /// The version and the sample rate index of a rate in Hz; `None` if MP3 has no such rate.
    pub fn of_sample_rate(rate: u32) -> Option<(Version, u8)> {
        [
            (Version::Mpeg1, 0),
            (Version::Mpeg2, 1),
            (Version::Mpeg25, 2),
        ]
        .into_iter()
        .find_map(|(version, shift)| {
            let index = SAMPLE_RATES.iter().position(|r| r >> shift == rate)?;
            Some((version, index as u8))
        })
    }

    /// The bitrates of `layer` in kbit/s, ascending.
    pub fn bitrates(self, layer: Layer) -> &'static [u16] {
        let row = match (self, layer) {
            (Version::Mpeg1, Layer::One) => 0,
            (Version::Mpeg1, Layer::Two) => 1,
            (Version::Mpeg1, Layer::Three) => 2,
            (_, Layer::One) => 3,
            (_, Layer::Two | Layer::Three) => 4,
        };
        &BITRATES[row][1..15]
    }
}

/// How the channels are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelMode {
    /// Two channels, each on its own.
    Stereo,
    /// Two channels, which the mode extension may combine frame by frame.
    JointStereo,
    /// Two programmes of one channel.
    DualChannel,
    /// One channel.
    Mono,
}

/// Why four bytes are not the header of a frame of known length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The first eleven bits are not all ones.
    #[error("no sync word")]
    NoSync,
    /// Version bits 01.
    #[error("reserved MPEG version")]
    ReservedVersion,
    /// Layer bits 00.
    #[error("reserved layer")]
    ReservedLayer,
    /// A frame of layer I or II where MP3 is expected.
    #[error("not layer III")]
    NotLayer3,
    /// Bitrate index 0: the frame does not say how long it is.
    #[error("free-format bitrate")]
    FreeFormat,
    /// Bitrate index 15.
    #[error("forbidden bitrate index")]
    ForbiddenBitrate,
    /// Sample rate index 3.
    #[error("reserved sample rate index")]
    ReservedSampleRate,
}

/// A valid header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader(u32);

impl FrameHeader {
    /// Bytes of a header.
    pub const LEN: usize = 4;

    /// Reads and validates a header.
    pub fn parse(bytes: [u8; FrameHeader::LEN]) -> Result<Self, HeaderError> {
        let header = FrameHeader(u32::from_be_bytes(bytes));
        if header.field(21, 11) != 0x7FF {
            return Err(HeaderError::NoSync);
        }
        if header.field(19, 2) == 0b01 {
            return Err(HeaderError::ReservedVersion);
        }
        if header.field(17, 2) == 0b00 {
            return Err(HeaderError::ReservedLayer);
        }
        match header.bitrate_index() {
            0 => return Err(HeaderError::FreeFormat),
            15 => return Err(HeaderError::ForbiddenBitrate),
            _ => {}
        }
        if header.field(10, 2) == 0b11 {
            return Err(HeaderError::ReservedSampleRate);
        }
        Ok(header)
    }

    /// Reads and validates the header of an MP3 frame.
    pub fn parse_layer_3(bytes: [u8; FrameHeader::LEN]) -> Result<Self, HeaderError> {
        match FrameHeader::parse(bytes)? {
            header if header.layer() == Layer::Three => Ok(header),
            _ => Err(HeaderError::NotLayer3),
        }
    }

    /// An unpadded layer III header without CRC, marked as an original, of `sample_rate` Hz and `bitrate` kbit/s;
    /// `None` where MP3 has no such rate.
    pub fn new(sample_rate: u32, bitrate: u16, mode: ChannelMode) -> Option<Self> {
        let (version, rate_index) = Version::of_sample_rate(sample_rate)?;
        let bitrate_index = 1 + version
            .bitrates(Layer::Three)
            .iter()
            .position(|&b| b == bitrate)? as u32;
        let version_bits = match version {
            Version::Mpeg1 => 0b11,
            Version::Mpeg2 => 0b10,
            Version::Mpeg25 => 0b00,
        };
        let layer_3 = 0b01;
        let original = 1 << 2;
        Some(FrameHeader(
            0x7FF << 21
                | version_bits << 19
                | layer_3 << 17
                | NO_CRC
                | bitrate_index << 12
                | u32::from(rate_index) << 10
                | (mode as u32) << 6
                | original,
        ))
    }

    /// The four bytes.
    pub fn to_bytes(self) -> [u8; FrameHeader::LEN] {
        self.0.to_be_bytes()
    }

    /// The same header with the next higher bitrate, so with a longer slot; `None` at the highest.
    pub fn raised(self) -> Option<Self> {
        (self.bitrate_index() < 14).then(|| FrameHeader(self.0 + (1 << 12)))
    }

    /// The same header without a CRC after it.
    pub fn without_crc(self) -> Self {
        FrameHeader(self.0 | NO_CRC)
    }

    /// Whether both describe the same audio: equal but for bitrate and padding, which only size the slot.
    pub fn same_audio(self, other: FrameHeader) -> bool {
        (self.0 ^ other.0) & !(BITRATE | PADDING) == 0
    }

    /// The version.
    pub fn version(self) -> Version {
        match self.field(19, 2) {
            0b11 => Version::Mpeg1,
            0b10 => Version::Mpeg2,
            _ => Version::Mpeg25,
        }
    }

    /// The layer.
    pub fn layer(self) -> Layer {
        match self.field(17, 2) {
            0b11 => Layer::One,
            0b10 => Layer::Two,
            _ => Layer::Three,
        }
    }

    /// Whether a CRC-16 follows the header.
    pub fn has_crc(self) -> bool {
        self.0 & NO_CRC == 0
    }

    /// The bitrate in kbit/s.
    pub fn bitrate(self) -> u16 {
        self.version().bitrates(self.layer())[self.bitrate_index() as usize - 1]
    }

    /// The sample rate in Hz.
    pub fn sample_rate(self) -> u32 {
        let shift = match self.version() {
            Version::Mpeg1 => 0,
            Version::Mpeg2 => 1,
            Version::Mpeg25 => 2,
        };
        SAMPLE_RATES[self.field(10, 2) as usize] >> shift
    }

    /// Whether the slot is one byte longer.
    pub fn is_padded(self) -> bool {
        self.0 & PADDING != 0
    }

    /// How the channels are coded.
    pub fn channel_mode(self) -> ChannelMode {
        match self.field(6, 2) {
            0 => ChannelMode::Stereo,
            1 => ChannelMode::JointStereo,
            2 => ChannelMode::DualChannel,
            _ => ChannelMode::Mono,
        }
    }

    /// The number of channels, 1 or 2.
    pub fn channels(self) -> usize {
        match self.channel_mode() {
            ChannelMode::Mono => 1,
            _ => 2,
        }
    }

    /// Granules of a layer III frame: 2 in MPEG-1, else 1.
    pub fn granules(self) -> usize {
        match self.version() {
            Version::Mpeg1 => 2,
            _ => 1,
        }
    }

    /// PCM samples per channel.
    pub fn samples(self) -> u32 {
        match self.layer() {
            Layer::One => 384,
            Layer::Two => 1152,
            Layer::Three => 576 * self.granules() as u32,
        }
    }

    /// Bytes of the whole frame, from this header to the next.
    pub fn frame_len(self) -> usize {
        // A slot has four bytes in layer I, else one; padding is one slot.
        let slot_len = match self.layer() {
            Layer::One => 4,
            Layer::Two | Layer::Three => 1,
        };
        // A frame lasts `samples / sample_rate` seconds, and 1 kbit/s is 125 bytes a second.
        let bytes_by_rate = 125 * self.samples() * u32::from(self.bitrate());
        let slots = bytes_by_rate / slot_len / self.sample_rate() + u32::from(self.is_padded());
        (slots * slot_len) as usize
    }

    /// Bytes before the side information of layer III: the header and the CRC.
    pub fn side_info_offset(self) -> usize {
        FrameHeader::LEN + if self.has_crc() { 2 } else { 0 }
    }

    /// Bytes of side information of layer III (ISO/IEC 11172-3 and 13818-3 §2.4.1.7).
    pub fn side_info_len(self) -> usize {
        match (self.version(), self.channels()) {
            (Version::Mpeg1, 1) => 17,
            (Version::Mpeg1, _) => 32,
            (_, 1) => 9,
            (_, _) => 17,
        }
    }

    /// Bytes before the main data in the slot.
    pub fn main_data_offset(self) -> usize {
        self.side_info_offset() + self.side_info_len()
    }

    fn bitrate_index(self) -> u32 {
        self.field(12, 4)
    }

    fn field(self, shift: u32, bits: u32) -> u32 {
        self.0 >> shift & ((1 << bits) - 1)
    }
}

impl fmt::Debug for FrameHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "FrameHeader({:08X}: {:?} {} Hz {} kbit/s {:?})",
            self.0,
            self.version(),
            self.sample_rate(),
            self.bitrate(),
            self.channel_mode()
        )
    }
}

/// Bytes of the ID3v2 tag that `head` begins with, header included (id3.org, ID3v2.4.0 structure, 3.1).
pub fn id3v2_len(head: &[u8]) -> Option<u64> {
    const HEADER: u64 = 10;
    let &[b'I', b'D', b'3', major, revision, flags, a, b, c, d] = head.first_chunk()? else {
        return None;
    };
    if major == 0xFF || revision == 0xFF || [a, b, c, d].iter().any(|byte| byte & 0x80 != 0) {
        return None;
    }
    let size = [a, b, c, d]
        .into_iter()
        .fold(0, |size, byte| size << 7 | u64::from(byte));
    let footer = if flags & 0x10 != 0 { 10 } else { 0 };
    Some(HEADER + size + footer)
}

/// `packet` from its first frame on: some writers put an ID3v2 tag or a few bytes of padding in front of it. A packet
/// in which no frame is found is returned as it is.
pub fn from_first_frame(packet: &[u8]) -> &[u8] {
    /// How far it is searched.
    const SEARCHED: usize = 4096;
    /// The most tags in a row.
    const MAX_TAGS: usize = 8;

    let mut rest = packet;
    for _ in 0..MAX_TAGS {
        let Some(len) = id3v2_len(rest) else { break };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        rest = rest.get(len..).unwrap_or_default();
    }
    if begins_with_a_header(rest) {
        return rest;
    }
    // Sound may hold the bits of a header, too: a frame ends where the packet does, but for
    // zeros, or where another one begins.
    let is_frame = |at: &usize| {
        let parsed = |at: usize| {
            let bytes = rest.get(at..)?.first_chunk()?;
            FrameHeader::parse(*bytes).ok()
        };
        let Some(header) = parsed(*at) else {
            return false;
        };
        let end = at + header.frame_len();
        let follows = |next: FrameHeader| {
            (next.version(), next.layer(), next.sample_rate())
                == (header.version(), header.layer(), header.sample_rate())
        };
        let ends = rest
            .get(end..)
            .is_some_and(|padding| padding.iter().all(|&byte| byte == 0));
        ends || parsed(end).is_some_and(follows)
    };
    let found = (1..rest.len().min(SEARCHED)).find(is_frame);
    found.map_or(packet, |at| &rest[at..])
}

fn begins_with_a_header(bytes: &[u8]) -> bool {
    bytes
        .first_chunk()
        .is_some_and(|bytes| FrameHeader::parse(*bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_the_first_frame_is_passed_over() {
        let header = FrameHeader::new(44_100, 128, ChannelMode::Stereo).unwrap();
        let mut frame = header.to_bytes().to_vec();
        frame.resize(header.frame_len(), 0x55);
        let two = [&frame[..], &frame].concat();
        let id3 = b"ID3\x04\0\0\0\0\0\x04\xFF\xFB\x90\x44";
        for before in [&b""[..], b"\0\0", id3, &[0; 3000]] {
            for frames in [&frame, &two] {
                let packet = [before, frames].concat();
                assert_eq!(from_first_frame(&packet), &frames[..], "{before:?}");
            }
        }
        // A header in what is no frame is none.
        let damaged = [&[0; 2], &frame[..200]].concat();
        assert_eq!(from_first_frame(&damaged), damaged);
        let far = [&[0; 5000], &frame[..]].concat();
        assert_eq!(from_first_frame(&far), far);
        let tag_alone = b"ID3\x04\0\0\0\0\x7F\x7F";
        assert_eq!(from_first_frame(tag_alone), tag_alone);
        assert_eq!(from_first_frame(b""), b"");
    }

    #[test]
    fn verify_known_headers() {
        // MPEG-1, 128 kbit/s, 44.1 kHz, joint stereo, as LAME writes it.
        let h = FrameHeader::parse([0xFF, 0xFB, 0x90, 0x64]).unwrap();
        assert_eq!((h.version(), h.bitrate()), (Version::Mpeg1, 128));
        assert_eq!((h.sample_rate(), h.samples()), (44_100, 1152));
        assert_eq!(h.channel_mode(), ChannelMode::JointStereo);
        assert_eq!((h.frame_len(), h.main_data_offset()), (417, 36));

        // The same padded; then MPEG-2, 64 kbit/s, 24 kHz, mono; MPEG-2.5, 8 kbit/s, 11.025 kHz, mono.
        let h = FrameHeader::parse([0xFF, 0xFB, 0x92, 0x64]).unwrap();
        assert_eq!(h.frame_len(), 418);
        let h = FrameHeader::parse([0xFF, 0xF3, 0x84, 0xC4]).unwrap();
        assert_eq!((h.version(), h.bitrate()), (Version::Mpeg2, 64));
        assert_eq!(
            (h.frame_len(), h.main_data_offset(), h.samples()),
            (192, 13, 576)
        );
        let h = FrameHeader::parse([0xFF, 0xE3, 0x10, 0xC4]).unwrap();
        assert_eq!((h.version(), h.sample_rate()), (Version::Mpeg25, 11_025));
        assert_eq!(h.frame_len(), 52);
    }

    #[test]
    fn verify_every_rate_is_found_again() {
        for rate in [
            8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
        ] {
            let (version, _) = Version::of_sample_rate(rate).unwrap();
            for &bitrate in version.bitrates(Layer::Three) {
                for mode in [
                    ChannelMode::Stereo,
                    ChannelMode::JointStereo,
                    ChannelMode::DualChannel,
                    ChannelMode::Mono,
                ] {
                    let h = FrameHeader::new(rate, bitrate, mode).unwrap();
                    assert_eq!(FrameHeader::parse(h.to_bytes()), Ok(h));
                    assert_eq!(
                        (h.sample_rate(), h.bitrate(), h.channel_mode()),
                        (rate, bitrate, mode)
                    );
                    assert!((24..=1440).contains(&h.frame_len()));
                }
            }
        }
        assert!(Version::of_sample_rate(96_000).is_none());
        assert!(FrameHeader::new(24_000, 320, ChannelMode::Mono).is_none());
    }

    #[test]
    fn other_bytes_are_refused() {
        for (bytes, why) in [
            ([0xFF, 0x1B, 0x90, 0x64], HeaderError::NoSync),
            ([0xFF, 0xEB, 0x90, 0x64], HeaderError::ReservedVersion),
            ([0xFF, 0xF9, 0x90, 0x64], HeaderError::ReservedLayer),
            ([0xFF, 0xFD, 0x90, 0x64], HeaderError::NotLayer3),
            ([0xFF, 0xFB, 0x00, 0x64], HeaderError::FreeFormat),
            ([0xFF, 0xFB, 0xF0, 0x64], HeaderError::ForbiddenBitrate),
            ([0xFF, 0xFB, 0x9C, 0x64], HeaderError::ReservedSampleRate),
        ] {
            assert_eq!(FrameHeader::parse_layer_3(bytes), Err(why));
        }
    }

    #[test]
    fn verify_layers_1_and_2() {
        // 384 kbit/s at 44.1 kHz: floor(12 · 384,000 / 44,100) = 104 slots of four bytes.
        let h = FrameHeader::parse([0xFF, 0xFF, 0xC0, 0x00]).unwrap();
        assert_eq!(
            (h.layer(), h.bitrate(), h.samples()),
            (Layer::One, 384, 384)
        );
        assert_eq!(h.frame_len(), 416);
        let h = FrameHeader::parse([0xFF, 0xFF, 0xC2, 0x00]).unwrap();
        assert_eq!(h.frame_len(), 420);
        // 192 kbit/s at 48 kHz: 144 · 192,000 / 48,000.
        let h = FrameHeader::parse([0xFF, 0xFD, 0xA4, 0x00]).unwrap();
        assert_eq!(
            (h.layer(), h.bitrate(), h.samples()),
            (Layer::Two, 192, 1152)
        );
        assert_eq!(h.frame_len(), 576);
        // The same index in MPEG-2, layer II: 96 kbit/s at 24 kHz.
        let h = FrameHeader::parse([0xFF, 0xF5, 0xA4, 0x00]).unwrap();
        assert_eq!((h.bitrate(), h.samples(), h.frame_len()), (96, 1152, 576));
    }

    #[test]
    fn raising_the_bitrate_changes_nothing_else() {
        let mut h = FrameHeader::parse([0xFF, 0xFB, 0x92, 0x64]).unwrap();
        let first = h;
        while let Some(next) = h.raised() {
            assert!(next.bitrate() > h.bitrate() && next.frame_len() > h.frame_len());
            assert!(next.same_audio(first) && next.is_padded());
            h = next;
        }
        assert_eq!(h.bitrate(), 320);
    }
}
