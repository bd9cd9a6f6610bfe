//! What may be asked of an MP3 encoder.

use crate::Error;

/// How many bits the encoder may spend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bitrate {
    /// Constant: every frame has this bitrate, in kbit/s; one of [`bitrates`].
    Cbr(u16),
    /// Variable, with this average in kbit/s; anything between the first and the last of [`bitrates`].
    Abr(u16),
    /// Variable, with constant quality on LAME's scale from 0.0 (best) to 9.999 (smallest), as `lame -V` (method
    /// `vbr_mtrh`).
    Vbr(f32),
}

/// Everything an [`Encoder`](crate::Encoder) is set up with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// In Hz, one of [`SAMPLE_RATES`]; the MP3 has the same.
    pub sample_rate: u32,
    /// 1 is mono, 2 is joint stereo.
    pub channels: u8,
    /// How many bits to spend.
    pub bitrate: Bitrate,
    /// How hard to search, from 0 (slowest, best) to 9 (fastest), as `lame -q`; with [`Bitrate::Vbr`], 0 to 4 are the
    /// same.
    pub quality: u8,
}

/// All sample rates of MP3, in Hz: three each of MPEG-1, MPEG-2 (ISO/IEC 11172-3 and 13818-3) and the unofficial
/// MPEG-2.5.
pub const SAMPLE_RATES: [u32; 9] = [
    48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
];

/// ISO/IEC 11172-3, table 2.4.2.3, Layer III.
const MPEG_1: [u16; 14] = [
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
];

/// ISO/IEC 13818-3, table 2.4.2.3, Layer III.
const MPEG_2: [u16; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

/// LAME writes no more than 64 kbit/s in MPEG-2.5.
const MPEG_2_5: [u16; 8] = [8, 16, 24, 32, 40, 48, 56, 64];

/// The bitrates of MP3 at this sample rate, in kbit/s, ascending; `None` when MP3 has no such sample rate.
#[must_use]
pub fn bitrates(sample_rate: u32) -> Option<&'static [u16]> {
    match sample_rate {
        48_000 | 44_100 | 32_000 => Some(&MPEG_1),
        24_000 | 22_050 | 16_000 => Some(&MPEG_2),
        12_000 | 11_025 | 8_000 => Some(&MPEG_2_5),
        _ => None,
    }
}

impl Settings {
    /// Whether an [`Encoder`](crate::Encoder) can be set up so.
    ///
    /// # Errors
    /// What is wrong: LAME would round what it cannot do to what it can; a caller should rather hear of it.
    pub fn check(&self) -> Result<(), Error> {
        let sample_rate = self.sample_rate;
        let allowed = bitrates(sample_rate).ok_or(Error::SampleRate(sample_rate))?;
        if !matches!(self.channels, 1 | 2) {
            return Err(Error::Channels(self.channels));
        }
        if self.quality > 9 {
            return Err(Error::Quality(self.quality));
        }
        match self.bitrate {
            Bitrate::Cbr(kbps) if !allowed.contains(&kbps) => {
                Err(Error::Bitrate { kbps, sample_rate })
            }
            Bitrate::Abr(kbps) if kbps < allowed[0] || kbps > allowed[allowed.len() - 1] => {
                Err(Error::AverageBitrate { kbps, sample_rate })
            }
            Bitrate::Vbr(scale) if !(0.0..=9.999).contains(&scale) => Err(Error::VbrQuality(scale)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Settings = Settings {
        sample_rate: 44_100,
        channels: 2,
        bitrate: Bitrate::Cbr(128),
        quality: 3,
    };

    #[test]
    fn each_setting_is_checked_and_named() {
        let message = |settings: Settings| settings.check().unwrap_err().to_string();
        let sample_rate = message(Settings {
            sample_rate: 96_000,
            ..GOOD
        });
        assert_eq!(
            sample_rate,
            "MP3 has no sample rate of 96000 Hz; it has 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000 Hz"
        );
        let bitrate = message(Settings {
            sample_rate: 11_025,
            bitrate: Bitrate::Cbr(128),
            ..GOOD
        });
        assert_eq!(
            bitrate,
            "there is no constant bitrate of 128 kbit/s at 11025 Hz; there are 8, 16, 24, 32, 40, 48, 56, 64 kbit/s"
        );
        let average = message(Settings {
            bitrate: Bitrate::Abr(321),
            ..GOOD
        });
        assert_eq!(
            average,
            "an average of 321 kbit/s cannot be had at 44100 Hz; 32 to 320 kbit/s can"
        );
        for bad in [-0.001, 10.0, f32::NAN, f32::INFINITY] {
            let vbr = Settings {
                bitrate: Bitrate::Vbr(bad),
                ..GOOD
            };
            assert!(matches!(vbr.check(), Err(Error::VbrQuality(_))), "V{bad}");
        }
        for channels in [0, 3] {
            let settings = Settings { channels, ..GOOD };
            assert_eq!(settings.check(), Err(Error::Channels(channels)));
        }
        let quality = Settings {
            quality: 10,
            ..GOOD
        };
        assert_eq!(quality.check(), Err(Error::Quality(10)));
    }
}
