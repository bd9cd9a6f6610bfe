//! PCM in a file: WAVE (Multimedia Programming Interface and Data Specifications 1.0; RF64 of EBU Tech 3306 where it is
//! larger than 4 GiB), or nothing but the PCM samples.
//!
//! ```text
//! RIFF size WAVE   RF64 ffffffff WAVE
//!                  ds64 28  size of the file, of the data; PCM samples; no table
//! fmt  16 …        fmt  16 …
//! data size …      data ffffffff …
//! ```

use crate::error::{Error, Result};
use crate::options::{OutputFormat, SampleFormat};
use crate::pcm::Pcm;
use crate::sink::Sink;

/// Format tags of `fmt `: integers, and floats.
const WAVE_FORMAT_PCM: u16 = 1;
const WAVE_FORMAT_IEEE_FLOAT: u16 = 3;

/// Bytes of the payload of `ds64`, and of the `JUNK` that keeps room for it.
const DS64: u32 = 28;

/// Stands for a size that has no place in 32 bits, or is not known yet.
const UNKNOWN: u32 = u32::MAX;

/// Writes PCM to a sink.
pub struct PcmWriter<'a> {
    sink: &'a mut dyn Sink,
    samples: SampleFormat,
    rate: u32,
    channels: usize,
    /// There is room for `ds64`.
    roomy: bool,
    /// Bytes of the header.
    header: u64,
    /// PCM samples per channel so far.
    position: u64,
    buffer: Vec<u8>,
}

impl<'a> PcmWriter<'a> {
    /// Begins a file of `channels` channels of `rate` Hz. A sink that cannot be rewritten gets the header of `declared`
    /// PCM samples per channel; without them one of unknown size, which readers take to go on to the end.
    pub fn new(
        sink: &'a mut dyn Sink,
        format: OutputFormat,
        rate: u32,
        channels: usize,
        declared: Option<u64>,
    ) -> Result<Self> {
        let samples = match format {
            OutputFormat::Wav(samples) | OutputFormat::Raw(samples) => samples,
            OutputFormat::Mp3 => {
                return Err(Error::Internal("an MP3 is not written as PCM".into()));
            }
        };
        let mut writer = PcmWriter {
            sink,
            samples,
            rate,
            channels,
            roomy: false,
            header: 0,
            position: 0,
            buffer: Vec::new(),
        };
        if let OutputFormat::Wav(_) = format {
            let fits = |len| writer.riff_size(len).is_some();
            writer.roomy = !declared.is_some_and(fits);
            let header = writer.header(declared);
            writer.header = header.len() as u64;
            writer.sink.write_all(&header).map_err(Error::Write)?;
        }
        Ok(writer)
    }

    /// Appends `pcm`.
    pub fn write(&mut self, pcm: &Pcm) -> Result<()> {
        self.buffer.clear();
        for i in 0..pcm.len() {
            let place = (self.position + i as u64).wrapping_mul(self.channels as u64);
            for (channel, plane) in (0..).zip(pcm.planes()) {
                match self.samples {
                    SampleFormat::F32 => self.buffer.extend(plane[i].to_le_bytes()),
                    SampleFormat::S16 => {
                        let rounded = to_16_bits(plane[i], place.wrapping_add(channel));
                        self.buffer.extend(rounded.to_le_bytes());
                    }
                }
            }
        }
        self.position += pcm.len() as u64;
        self.sink.write_all(&self.buffer).map_err(Error::Write)
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.header.saturating_add(self.data_len(self.position))
    }

    /// Writes the header again with the sizes that are known now, if the sink can be rewritten, and finishes the sink.
    pub fn finish(self) -> Result<()> {
        if self.header > 0 && self.sink.can_rewrite() {
            let header = self.header(Some(self.position));
            let back = self.bytes();
            self.sink.rewrite(back, &header).map_err(Error::Write)?;
        }
        self.sink.finish().map_err(Error::Write)
    }

    /// Bytes of `len` PCM samples per channel.
    fn data_len(&self, len: u64) -> u64 {
        len.saturating_mul((self.channels * self.samples.bytes()) as u64)
    }

    /// The size in the `RIFF` header of a file of `len` PCM samples, without `ds64`; `None`: it has no place there.
    fn riff_size(&self, len: u64) -> Option<u32> {
        let around = match self.samples {
            SampleFormat::S16 => 36,
            SampleFormat::F32 => 50,
        };
        let size = u32::try_from(self.data_len(len).checked_add(around)?).ok()?;
        (size < UNKNOWN).then_some(size)
    }

    /// The header of a file of `len` PCM samples per channel, if that is known.
    fn header(&self, len: Option<u64>) -> Vec<u8> {
        let data = len.map(|len| self.data_len(len));
        let room = if self.roomy { 8 + DS64 } else { 0 };
        let small = len.and_then(|len| self.riff_size(len)?.checked_add(room));
        let small = small.filter(|&size| size < UNKNOWN);
        let large = data.filter(|_| small.is_none() && self.roomy);
        let mut header = Vec::new();
        header.extend(if large.is_some() { b"RF64" } else { b"RIFF" });
        header.extend(small.unwrap_or(UNKNOWN).to_le_bytes());
        header.extend(b"WAVE");
        if self.roomy {
            header.extend(if large.is_some() { b"ds64" } else { b"JUNK" });
            header.extend(DS64.to_le_bytes());
            let data = large.unwrap_or_default();
            let around = u64::from(self.riff_size(0).unwrap_or_default() + room);
            let fields = match large {
                Some(_) => [data.saturating_add(around), data, len.unwrap_or_default()],
                None => [0; 3],
            };
            header.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
            header.extend(0u32.to_le_bytes());
        }
        self.push_format(&mut header, len);
        header.extend(b"data");
        let size = data.filter(|_| small.is_some());
        let size = size.and_then(|size| u32::try_from(size).ok());
        header.extend(size.unwrap_or(UNKNOWN).to_le_bytes());
        header
    }

    /// Appends `fmt `, and the `fact` that WAVE asks for with every format but integers.
    fn push_format(&self, header: &mut Vec<u8>, len: Option<u64>) {
        let width = self.samples.bytes();
        let block = (self.channels * width) as u16;
        let (tag, extension): (u16, &[u8]) = match self.samples {
            SampleFormat::S16 => (WAVE_FORMAT_PCM, &[]),
            SampleFormat::F32 => (WAVE_FORMAT_IEEE_FLOAT, &[0, 0]),
        };
        header.extend(b"fmt ");
        header.extend((16 + extension.len() as u32).to_le_bytes());
        header.extend(tag.to_le_bytes());
        header.extend((self.channels as u16).to_le_bytes());
        header.extend(self.rate.to_le_bytes());
        header.extend((self.rate.saturating_mul(block.into())).to_le_bytes());
        header.extend(block.to_le_bytes());
        header.extend((8 * width as u16).to_le_bytes());
        header.extend(extension);
        if self.samples == SampleFormat::F32 {
            let len = len.and_then(|len| u32::try_from(len).ok());
            header.extend(b"fact");
            header.extend(4u32.to_le_bytes());
            header.extend(len.unwrap_or(UNKNOWN).to_le_bytes());
        }
    }
}

/// `sample` in 16 bits. What needs no more stays as it is: lossless sources come out bit for bit, and silence stays
/// silent. Everything else gets triangular dither of one step on either side before it is rounded, by its `place` in
/// the file alone, so that a span gives the same wherever it begins.
fn to_16_bits(sample: f32, place: u64) -> i16 {
    let scaled = f64::from(sample) * 32768.0;
    let dithered = match scaled.fract() == 0.0 {
        true => scaled,
        false => scaled + dither(place),
    };
    // Saturates, and NaN is 0.
    dithered.round_ties_even() as i16
}

/// The difference of two uniform values from 0 to 1, by SplitMix64 (Steele, Lea and Flood, 2014).
fn dither(place: u64) -> f64 {
    let mut bits = place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    let (one, other) = ((bits >> 32) as u32, bits as u32);
    (f64::from(one) - f64::from(other)) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(format: SampleFormat, declared: Option<u64>, len: Option<u64>) -> Vec<u8> {
        let mut sink = Vec::new();
        let format = OutputFormat::Wav(format);
        let writer = PcmWriter::new(&mut sink, format, 48_000, 2, declared).unwrap();
        let header = writer.header(len);
        assert_eq!(
            header.len() as u64,
            writer.header,
            "the room does not change"
        );
        header
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn a_small_file_has_the_header_that_everybody_reads() {
        let plain = header(SampleFormat::S16, Some(1000), Some(1000));
        assert_eq!(plain.len(), 44);
        assert_eq!(
            (&plain[..4], &plain[8..16]),
            (&b"RIFF"[..], &b"WAVEfmt "[..])
        );
        assert_eq!((u32_at(&plain, 4), u32_at(&plain, 40)), (4036, 4000));
        let float = header(SampleFormat::F32, Some(1000), Some(1000));
        assert_eq!(float.len(), 58);
        assert_eq!((u32_at(&float, 4), u32_at(&float, 54)), (8050, 8000));
        assert_eq!(&float[38..42], b"fact");
        assert_eq!(u32_at(&float, 46), 1000);
    }

    #[test]
    fn what_is_over_4_gib_is_rf64_and_says_all_sizes() {
        // The most that a plain header can say, and one more.
        let most = (u64::from(u32::MAX) - 1 - 36) / 4;
        let plain = header(SampleFormat::S16, Some(most), Some(most));
        assert_eq!((&plain[..4], plain.len()), (&b"RIFF"[..], 44));
        for len in [most + 1, 1 << 40] {
            let large = header(SampleFormat::S16, Some(len), Some(len));
            assert_eq!((&large[..4], &large[12..16]), (&b"RF64"[..], &b"ds64"[..]));
            assert_eq!((u32_at(&large, 4), u32_at(&large, 16)), (u32::MAX, 28));
            assert_eq!(u64_at(&large, 20), 4 * len + 36 + 36);
            assert_eq!((u64_at(&large, 28), u64_at(&large, 36)), (4 * len, len));
            assert_eq!((large.len(), u32_at(&large, 76)), (80, u32::MAX));
        }
    }

    #[test]
    fn what_is_not_known_beforehand_has_room_for_either() {
        let open = header(SampleFormat::S16, None, None);
        assert_eq!((&open[..4], &open[12..16]), (&b"RIFF"[..], &b"JUNK"[..]));
        assert_eq!((u32_at(&open, 4), u32_at(&open, 76)), (u32::MAX, u32::MAX));
        let small = header(SampleFormat::S16, None, Some(1000));
        assert_eq!((&small[..4], &small[12..16]), (&b"RIFF"[..], &b"JUNK"[..]));
        assert_eq!((u32_at(&small, 4), u32_at(&small, 76)), (4072, 4000));
        assert_eq!(
            &header(SampleFormat::S16, None, Some(1 << 32))[..4],
            b"RF64"
        );
    }

    #[test]
    fn sixteen_bits_stay_as_they_are() {
        for value in [i16::MIN, -12_345, -1, 0, 1, 777, i16::MAX] {
            for place in 0..100 {
                assert_eq!(to_16_bits(f32::from(value) / 32768.0, place), value);
            }
        }
        assert_eq!(to_16_bits(1.5, 0), i16::MAX);
        assert_eq!(to_16_bits(-1.5, 0), i16::MIN);
        assert_eq!(to_16_bits(f32::NAN, 0), 0);
    }

    /// Dither keeps the mean of what lies between two steps, and its error does not depend on the signal.
    #[test]
    fn what_lies_between_two_steps_is_kept_on_average() {
        const COUNT: u64 = 200_000;
        for part in [0.1, 0.25, 0.5, 0.9] {
            let sample = ((100.0 + part) / 32768.0) as f32;
            let errors = (0..COUNT).map(|n| f64::from(to_16_bits(sample, n)) - 100.0 - part);
            let (sum, squares) = errors.fold((0.0, 0.0), |(s, q), e| (s + e, q + e * e));
            let (mean, power) = (sum / COUNT as f64, squares / COUNT as f64);
            assert!(mean.abs() < 0.01, "{part}: {mean}");
            // A twelfth of rounding, two of dither.
            assert!((power - 0.25).abs() < 0.01, "{part}: {power}");
        }
    }
}
