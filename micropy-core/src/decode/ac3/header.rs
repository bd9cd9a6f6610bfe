//! What stands in front of a syncframe's audio: `syncinfo` and `bsi` (ATSC A/52, 5.3 and 5.4; for E-AC-3, E2.2 and
//! E2.3).
//!
//! AC-3's syntax is used by `bsid` up to 8, and by 9 and 10, which the standard reserves and encoders use for a half
//! and a quarter of the sample rate; E-AC-3's by 11 to 16.

use super::fault::Fault;
use super::frame_bits::FrameBits;

/// Bits of the sync word.
const SYNC_WORD: u32 = 0x0b77;

/// `fscod`, table 5.6.
const SAMPLE_RATES: [u32; 3] = [48000, 44100, 32000];

/// `frmsizecod`, table 5.18: kbit/s at the full sample rate.
const BITRATES: [u32; 19] = [
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640,
];

/// `numblkscod`.
const BLOCKS: [usize; 4] = [1, 2, 3, 6];

/// Which of the two syntaxes the frame is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Syntax {
    /// AC-3.
    Plain,
    /// E-AC-3.
    Enhanced,
}

/// The kind of substream (`strmtyp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// A programme, or the main channels of one.
    Independent,
    /// More channels for the independent substream before it.
    Dependent,
}

/// A syncframe's header, as far as decoding needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub syntax: Syntax,
    pub stream: Stream,
    /// `substreamid`; 0 in AC-3.
    pub substream: u8,
    /// Bytes of the whole syncframe.
    pub frame_bytes: usize,
    /// `fscod` (of E-AC-3's reduced rates, `fscod2`): the column of the standard's tables.
    pub rate_code: usize,
    /// How often the sample rate is halved against that column's.
    pub rate_shift: u32,
    /// Audio blocks of 256 PCM samples.
    pub blocks: usize,
    /// `acmod`: which full-bandwidth channels there are.
    pub acmod: u8,
    /// Whether there is a low-frequency channel too.
    pub lfeon: bool,
    /// Of a dependent substream: where its channels belong.
    pub channel_map: Option<u16>,
    /// Whether the stream was not made by a converter: fields for such are there.
    pub for_converters: bool,
    /// `numblkscod`.
    pub block_code: u32,
    /// The place of the first bit after the header.
    pub end: usize,
}

impl Header {
    /// Reads the header that `bytes` begin with. They may end before the frame does.
    pub fn parse(bytes: &[u8]) -> Result<Header, Fault> {
        let mut bits = FrameBits::at(bytes, 0);
        if bits.read(16) != Ok(SYNC_WORD) {
            return Err(Fault::NoSyncframe);
        }
        match FrameBits::at(bytes, 40).read(5)? {
            bsid @ 0..=10 => Header::plain(bits, bsid),
            11..=16 => Header::enhanced(bits),
            _ => Err(Fault::Unsupported("a later bit stream identification")),
        }
    }

    fn plain(mut bits: FrameBits<'_>, bsid: u32) -> Result<Header, Fault> {
        bits.skip(16)?; // crc1
        let rate_code = bits.read(2)? as usize;
        let size_code = bits.read(6)? as usize;
        bits.skip(5 + 3)?; // bsid, bsmod
        let acmod = bits.read(3)? as u8;
        if has_centre(acmod) && acmod != 1 {
            bits.skip(2)?; // cmixlev
        }
        if has_surround(acmod) {
            bits.skip(2)?; // surmixlev
        }
        if acmod == 2 {
            bits.skip(2)?; // dsurmod
        }
        let lfeon = bits.flag()?;
        for _ in 0..programmes(acmod) {
            bits.skip(5)?; // dialnorm
            bits.optional(8)?; // compr
            bits.optional(8)?; // langcod
            bits.optional(7)?; // mixlevel, roomtyp
        }
        bits.skip(2)?; // copyrightb, origbs
        bits.optional(14)?; // timecod1 or xbsi1
        bits.optional(14)?; // timecod2 or xbsi2
        additional(&mut bits)?;
        Ok(Header {
            syntax: Syntax::Plain,
            stream: Stream::Independent,
            substream: 0,
            frame_bytes: 2 * frame_words(rate_code, size_code)?,
            rate_code,
            rate_shift: bsid.saturating_sub(8),
            blocks: 6,
            acmod,
            lfeon,
            channel_map: None,
            for_converters: false,
            block_code: 3,
            end: bits.position(),
        })
    }

    fn enhanced(mut bits: FrameBits<'_>) -> Result<Header, Fault> {
        let stream_type = bits.read(2)?;
        let stream = match stream_type {
            0 | 2 => Stream::Independent,
            1 => Stream::Dependent,
            _ => return Err(Fault::Impossible("stream type")),
        };
        let substream = bits.read(3)? as u8;
        let frame_bytes = 2 * (bits.read(11)? as usize + 1);
        let rate = bits.read(2)? as usize;
        let code = bits.read(2)?;
        let (rate_code, rate_shift, block_code) = match rate {
            3 => (code as usize, 1, 3),
            rate => (rate, 0, code),
        };
        if rate_code >= SAMPLE_RATES.len() {
            return Err(Fault::Impossible("sample rate"));
        }
        let mut header = Header {
            syntax: Syntax::Enhanced,
            stream,
            substream,
            frame_bytes,
            rate_code,
            rate_shift,
            blocks: BLOCKS[block_code as usize],
            acmod: bits.read(3)? as u8,
            lfeon: bits.flag()?,
            channel_map: None,
            for_converters: stream_type == 0,
            block_code,
            end: 0,
        };
        bits.skip(5)?; // bsid
        for _ in 0..programmes(header.acmod) {
            bits.skip(5)?; // dialnorm
            bits.optional(8)?; // compr
        }
        if stream == Stream::Dependent {
            header.channel_map = bits.optional(16)?.map(|map| map as u16);
        }
        if bits.flag()? {
            header.mixing(&mut bits)?;
        }
        if bits.flag()? {
            header.information(&mut bits, rate != 3)?;
        }
        if stream_type == 0 && block_code != 3 {
            bits.skip(1)?; // convsync
        }
        if stream_type == 2 {
            let six_blocks = block_code == 3;
            if six_blocks || bits.flag()? {
                bits.skip(6)?; // frmsizecod
            }
        }
        additional(&mut bits)?;
        header.end = bits.position();
        Ok(header)
    }

    /// Passes over how this programme is to be mixed (after `mixmdate`).
    fn mixing(&self, bits: &mut FrameBits<'_>) -> Result<(), Fault> {
        if self.acmod > 2 {
            bits.skip(2)?; // dmixmod
        }
        if has_centre(self.acmod) && self.acmod != 1 {
            bits.skip(6)?; // ltrtcmixlev, lorocmixlev
        }
        if has_surround(self.acmod) {
            bits.skip(6)?; // ltrtsurmixlev, lorosurmixlev
        }
        if self.lfeon {
            bits.optional(5)?; // lfemixlevcod
        }
        if !self.for_converters {
            return Ok(());
        }
        for _ in 0..programmes(self.acmod) {
            bits.optional(6)?; // pgmscl
        }
        bits.optional(6)?; // extpgmscl
        match bits.read(2)? {
            0 => {}
            1 => bits.skip(5)?,  // premixcmpsel, drcsrc, premixcmpscl
            2 => bits.skip(12)?, // mixdata
            _ => {
                let bytes = bits.read(5)? as usize + 2;
                bits.skip(8 * bytes)?; // mixdata
            }
        }
        if self.acmod < 2 {
            for _ in 0..programmes(self.acmod) {
                bits.optional(14)?; // panmean, paninfo
            }
        }
        if bits.flag()? {
            if self.blocks == 1 {
                bits.skip(5)?; // blkmixcfginfo
            } else {
                for _ in 0..self.blocks {
                    bits.optional(5)?; // blkmixcfginfo
                }
            }
        }
        Ok(())
    }

    /// Passes over what is told about the programme (after `infomdate`).
    fn information(&self, bits: &mut FrameBits<'_>, full_rate: bool) -> Result<(), Fault> {
        bits.skip(5)?; // bsmod, copyrightb, origbs
        if self.acmod == 2 {
            bits.skip(4)?; // dsurmod, dheadphonmod
        }
        if self.acmod >= 6 {
            bits.skip(2)?; // dsurexmod
        }
        for _ in 0..programmes(self.acmod) {
            bits.optional(8)?; // mixlevel, roomtyp, adconvtyp
        }
        if full_rate {
            bits.skip(1)?; // sourcefscod
        }
        Ok(())
    }

    /// Hz of the PCM.
    pub fn sample_rate(&self) -> u32 {
        SAMPLE_RATES[self.rate_code] >> self.rate_shift
    }

    /// How many full-bandwidth channels there are, 1 to 5 (table 5.8).
    pub fn full_channels(&self) -> usize {
        [2, 1, 2, 3, 3, 4, 4, 5][usize::from(self.acmod & 7)]
    }
}

/// Whether the mode has a centre channel.
fn has_centre(acmod: u8) -> bool {
    acmod & 1 != 0
}

/// Whether the mode has surround channels.
fn has_surround(acmod: u8) -> bool {
    acmod & 4 != 0
}

/// Two in dual mono (1+1), whose channels are programmes of their own.
pub fn programmes(acmod: u8) -> usize {
    if acmod == 0 { 2 } else { 1 }
}

/// Passes over `addbsi`.
fn additional(bits: &mut FrameBits<'_>) -> Result<(), Fault> {
    if let Some(len) = bits.optional(6)? {
        bits.skip(8 * (len as usize + 1))?;
    }
    Ok(())
}

/// 16-bit words of an AC-3 syncframe (table 5.18): 1,536 PCM samples at the bitrate, rounded down at 44.1 kHz, where
/// every second code has a word more.
fn frame_words(rate_code: usize, size_code: usize) -> Result<usize, Fault> {
    let rate = *SAMPLE_RATES
        .get(rate_code)
        .ok_or(Fault::Impossible("sample rate"))?;
    let kbps = *BITRATES
        .get(size_code / 2)
        .ok_or(Fault::Impossible("frame size"))?;
    let words = (kbps * 1000 * 1536 / 16 / rate) as usize;
    Ok(words + usize::from(rate == 44100) * (size_code & 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of table 5.18.
    #[test]
    fn frame_sizes_are_the_tables() {
        let rows = [
            (0, 64, 69, 96),
            (1, 64, 70, 96),
            (8, 128, 139, 192),
            (15, 224, 244, 336),
            (20, 384, 417, 576),
            (31, 896, 976, 1344),
            (37, 1280, 1394, 1920),
        ];
        for (code, at_48, at_44, at_32) in rows {
            assert_eq!(frame_words(0, code), Ok(at_48));
            assert_eq!(frame_words(1, code), Ok(at_44));
            assert_eq!(frame_words(2, code), Ok(at_32));
        }
        assert!(frame_words(0, 38).is_err() && frame_words(3, 0).is_err());
    }

    #[test]
    fn every_cut_of_a_header_is_a_fault() {
        let header = [
            0x0b, 0x77, 0, 0, 0x14, 0x40, 0x43, 0xe0, 0x04, 0, 0, 0, 0, 0,
        ];
        let whole = Header::parse(&header).unwrap();
        assert_eq!((whole.acmod, whole.frame_bytes), (2, 768));
        for len in 0..whole.end / 8 {
            assert!(Header::parse(&header[..len]).is_err());
        }
    }
}
