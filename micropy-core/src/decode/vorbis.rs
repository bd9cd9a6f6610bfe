//! Vorbis I, in `mp4a` and in QuickTime's `msVo`.

use symphonia_codec_vorbis::VorbisDecoder;
use symphonia_core::codecs::audio::well_known::CODEC_ID_VORBIS;

use super::symphonia::{Symphonia, parameters};
use super::{Decoder, Format};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::pcm::Layout;

/// Bytes of the identification header (Vorbis I, 4.2.2).
const IDENTIFICATION_LEN: usize = 30;

/// The most values of a setup header's codebooks, each of which the decoder keeps in four bytes; and the most entries.
/// Encoders have a tenth of these at most. A few bytes can declare millions.
const MAX_VALUES: u64 = 1 << 20;
const MAX_ENTRIES: u64 = 1 << 16;

/// What the track decodes to. Packets vary in length.
pub fn inspect(track: &CodecParameters, _first_packets: &[&[u8]]) -> Result<Format> {
    let headers = headers(track)?;
    let identification = headers.identification;
    let channels = identification[11];
    let rate = identification[12..16].try_into().map(u32::from_le_bytes);
    // Its channels are in the order of the planes.
    let layout = Layout::usual(channels.into())
        .ok_or_else(|| Error::unsupported(format!("Vorbis audio of {channels} channels")))?;
    open(&headers)?;
    Ok(Format {
        codec: Codec::Vorbis,
        sample_rate: rate
            .ok()
            .filter(|&rate| rate > 0)
            .ok_or_else(|| malformed(track, "a rate of 0 Hz"))?,
        layout,
        packet_len: None,
        // A packet overlaps the one before it. The first one gives nothing.
        roll: 1,
    })
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, _format: &Format) -> Result<Box<dyn Decoder>> {
    Ok(Box::new(open(&headers(track)?)?))
}

fn open(headers: &Headers<'_>) -> Result<Symphonia> {
    let both = [headers.identification, headers.setup].concat();
    let parameters = parameters(CODEC_ID_VORBIS, both);
    Symphonia::new(VorbisDecoder::try_new(&parameters, &Default::default()))
}

fn malformed(track: &CodecParameters, why: &str) -> Error {
    Error::malformed(track.at, "Vorbis configuration", why)
}

struct Headers<'a> {
    identification: &'a [u8],
    setup: &'a [u8],
}

/// The headers of the track's configuration, if the decoder can be given them.
fn headers(track: &CodecParameters) -> Result<Headers<'_>> {
    let [identification, _comment, setup] =
        three_headers(&track.config).ok_or_else(|| malformed(track, "it is not three headers"))?;
    if identification.len() != IDENTIFICATION_LEN || !identification.starts_with(b"\x01vorbis") {
        return Err(malformed(track, "no identification header"));
    }
    let (values, entries) = codebooks(setup)
        .ok_or_else(|| malformed(track, "the codebooks of its setup header are cut short"))?;
    for (what, count, limit) in [
        ("values", values, MAX_VALUES),
        ("entries", entries, MAX_ENTRIES),
    ] {
        if count > limit {
            return Err(Error::Limit {
                at: track.at,
                what: format!("the number of {what} in Vorbis codebooks ({count})"),
                limit,
            });
        }
    }
    Ok(Headers {
        identification,
        setup,
    })
}

/// The three headers, each after its length in 16 bits, or after both lengths in Xiph's lacing.
fn three_headers(config: &[u8]) -> Option<[&[u8]; 3]> {
    if let Some([0, len]) = config.first_chunk().copied()
        && usize::from(len) == IDENTIFICATION_LEN
    {
        let mut rest = config;
        let mut next = || {
            let (len, after) = rest.split_first_chunk()?;
            let (header, after) = after.split_at_checked(u16::from_be_bytes(*len).into())?;
            rest = after;
            Some(header)
        };
        return Some([next()?, next()?, next()?]);
    }
    let [2, laced @ ..] = config else {
        return None;
    };
    let mut laced = laced;
    let mut len = || {
        let mut sum = 0;
        loop {
            let (&byte, rest) = laced.split_first()?;
            laced = rest;
            sum += usize::from(byte);
            if byte < 255 {
                return Some(sum);
            }
        }
    };
    let (first, second) = (len()?, len()?);
    let (first, rest) = laced.split_at_checked(first)?;
    let (second, third) = rest.split_at_checked(second)?;
    Some([first, second, third])
}

/// How many values the codebooks of a setup header expand to, and how many entries they have (Vorbis I, 3.2.1).
fn codebooks(setup: &[u8]) -> Option<(u64, u64)> {
    let mut bits = LowBits {
        bytes: setup.strip_prefix(b"\x05vorbis")?,
        position: 0,
    };
    let (mut values, mut all_entries) = (0u64, 0u64);
    for _ in 0..=bits.read(8)? {
        let _sync = bits.read(24)?;
        let dimensions = bits.read(16)?;
        let entries = bits.read(24)?;
        skip_codeword_lengths(&mut bits, entries)?;
        all_entries += u64::from(entries);
        let lookup = match bits.read(4)? {
            0 => continue,
            1 => lookup_values(entries, dimensions),
            _ => u64::from(entries) * u64::from(dimensions),
        };
        values += u64::from(entries) * u64::from(dimensions);
        // The minimum and the delta.
        bits.skip(64)?;
        let value_bits = bits.read(4)? + 1;
        let _sequence = bits.read(1)?;
        bits.skip(lookup.checked_mul(value_bits.into())?)?;
    }
    Some((values, all_entries))
}

fn skip_codeword_lengths(bits: &mut LowBits<'_>, entries: u32) -> Option<()> {
    let is_ordered = bits.read(1)? == 1;
    if is_ordered {
        let _first_length = bits.read(5)?;
        let mut left = entries;
        // A run may be empty: each takes bits all the same.
        while left > 0 {
            left = left.checked_sub(bits.read(u32::BITS - left.leading_zeros())?)?;
        }
        return Some(());
    }
    let is_sparse = bits.read(1)? == 1;
    if !is_sparse {
        return bits.skip(5 * u64::from(entries));
    }
    for _ in 0..entries {
        if bits.read(1)? == 1 {
            bits.skip(5)?;
        }
    }
    Some(())
}

/// The greatest number whose power of `dimensions` is at most `entries` (Vorbis I, 9.2.3).
fn lookup_values(entries: u32, dimensions: u32) -> u64 {
    let fits = |n: u32| {
        n.checked_pow(dimensions)
            .is_some_and(|power| power <= entries)
    };
    match dimensions {
        0 => 0,
        // Without a search: there may be millions.
        1 => entries.into(),
        _ => (1..).take_while(|&n| fits(n)).last().unwrap_or(0).into(),
    }
}

/// Reads bits least significant first, as Vorbis packs them (Vorbis I, 2.1).
struct LowBits<'a> {
    bytes: &'a [u8],
    position: u64,
}

impl LowBits<'_> {
    /// The next `count` bits (at most 32) as a number.
    fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for bit in 0..count {
            let byte = self.bytes.get((self.position / 8) as usize)?;
            value |= u32::from(byte >> (self.position % 8) & 1) << bit;
            self.position += 1;
        }
        Some(value)
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.position = self.position.checked_add(count)?;
        (self.position <= 8 * self.bytes.len() as u64).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_laced_or_have_their_lengths() {
        let headers = [&[1; 30][..], &[3; 300], &[5; 40]];
        let laced = [&[2, 30, 255, 45][..], &headers.concat()].concat();
        assert_eq!(three_headers(&laced), Some(headers));
        let prefixed: Vec<Vec<u8>> = headers
            .iter()
            .map(|header| [&(header.len() as u16).to_be_bytes(), *header].concat())
            .collect();
        assert_eq!(three_headers(&prefixed.concat()), Some(headers));
        for len in 0..laced.len() - 40 {
            assert_eq!(three_headers(&laced[..len]), None, "{len}");
        }
    }

    #[test]
    fn verify_lookup_values() {
        for (entries, dimensions, expected) in [
            (0, 1, 0),
            (6561, 8, 3),
            (6560, 8, 2),
            (81, 4, 3),
            (10_000_000, 2, 3162),
            (1 << 23, 1, 1 << 23),
            (5, 65_535, 1),
            (5, 0, 0),
        ] {
            assert_eq!(lookup_values(entries, dimensions), expected);
        }
    }

    /// Bits, least significant first.
    fn pack(fields: &[(u32, u32)]) -> Vec<u8> {
        let bits: Vec<u8> = fields
            .iter()
            .flat_map(|&(value, width)| (0..width).map(move |bit| (value >> bit & 1) as u8))
            .collect();
        let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit);
        bits.chunks(8).map(byte).collect()
    }

    /// A few bytes that make a decoder expand 128 Ki entries of 32 values, 256 times: 4 GiB.
    #[test]
    fn codebooks_that_declare_gigabytes_are_refused() {
        let book = [
            (0x56_43_42, 24),
            (32, 16),
            (1 << 17, 24),
            // Ordered, from length 17 on: all entries at once.
            (1, 1),
            (16, 5),
            (1 << 17, 18),
            // A lookup table of one value.
            (1, 4),
            (0, 32),
            (0, 32),
            (0, 4),
            (0, 1),
            (0, 1),
        ];
        let fields = [&[(255, 8)], &book.repeat(256)[..]].concat();
        let setup = [&b"\x05vorbis"[..], &pack(&fields)].concat();
        assert!(setup.len() < 8192);
        assert_eq!(codebooks(&setup), Some((1 << 30, 1 << 25)));
        let mut identification = b"\x01vorbis".to_vec();
        identification.resize(IDENTIFICATION_LEN, 0);
        let track = CodecParameters {
            codec: Codec::Vorbis,
            channels: 2,
            sample_rate: 44_100,
            config: [&[2, 30, 0][..], &identification, &setup].concat(),
            block: None,
            speakers: None,
            at: 77,
            entry: 1,
            others: Vec::new(),
        };
        let error = inspect(&track, &[]).unwrap_err();
        assert!(matches!(error, Error::Limit { at: 77, .. }), "{error}");
    }
}
