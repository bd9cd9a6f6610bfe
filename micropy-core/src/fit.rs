//! An MP3 of at most so many bytes: which bitrate, channels and sample rate it gets.
//!
//! At a constant bitrate the size follows from the number of PCM samples, to the byte. So the size is promised before
//! the first frame is made, and the highest bitrate that keeps the promise is chosen.

use std::time::Duration;

use crate::conversion::{Length, encoder};
use crate::error::{Error, Result};
use crate::frame_header::{ChannelMode, FrameHeader};
use crate::mp3::RateControl;
use crate::mp3::info_tag::{FrameStats, InfoTag};
use crate::options::{Bitrate, Channels, Options};
use crate::report::duration_of;
use crate::resample::mp3_rate;
use crate::timeline::rescale;

/// Bitrates of MP3 in kbit/s, at any sample rate, from the highest.
const BITRATES: [u16; 18] = [
    320, 256, 224, 192, 160, 144, 128, 112, 96, 80, 64, 56, 48, 40, 32, 24, 16, 8,
];

/// From this bitrate on, two channels sound better than one of the same size.
const LEAST_STEREO: u16 = 96;

/// More does not make one channel better.
const MOST_MONO: u16 = 160;

/// The highest sample rate that makes sense at a bitrate of one channel: at less than so many kbit/s, LAME would cut
/// off what lies above half of it anyway (`lowpass` in its `lame.c`).
const SAMPLE_RATES: [(u16, u32); 5] = [
    (64, 48_000),
    (48, 32_000),
    (32, 24_000),
    (16, 16_000),
    (0, 8_000),
];

/// Two channels need so much of the bits of one, for they have much in common.
const STEREO_SHARE: (u16, u16) = (3, 2);

/// An MP3 that has to fit.
#[derive(Clone, Copy, Debug)]
pub struct Mp3 {
    /// PCM samples per channel before any change of rate.
    pub samples: u64,
    /// Bytes of its ID3 tag.
    pub tag: u64,
}

/// How an MP3 is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setting {
    kbps: u16,
    channels: u16,
    rate: u32,
}

impl Setting {
    /// Bytes of an MP3 of `samples` PCM samples at the setting's rate, without its ID3 tag.
    fn bytes(self, samples: u64) -> Option<u64> {
        let mode = match self.channels {
            1 => ChannelMode::Mono,
            _ => ChannelMode::JointStereo,
        };
        let first = FrameHeader::new(self.rate, self.kbps, mode)?;
        let frames = encoder::frames_for(samples, encoder::frame_len(self.rate));
        let info = InfoTag::header(first, RateControl::Cbr).frame_len() as u64;
        FrameStats::predicted(first, frames)
            .bytes()
            .checked_add(info)
    }
}

/// `options` with the highest bitrate at which each of the MP3s has at most `bytes` bytes.
///
/// # Errors
/// [`Error::TooLong`] if there is none.
pub fn choose(options: &Options, bytes: u64, source: &Length, mp3s: &[Mp3]) -> Result<Options> {
    let fits = |setting: Setting, mp3: &Mp3| {
        let samples = rescale(mp3.samples, setting.rate, source.rate);
        let size = setting.bytes(samples);
        size.is_some_and(|size| size.saturating_add(mp3.tag) <= bytes)
    };
    let settings = settings(options, source);
    let chosen = settings
        .iter()
        .find(|&&setting| mp3s.iter().all(|mp3| fits(setting, mp3)));
    if let Some(setting) = chosen {
        return Ok(Options {
            bitrate: Some(Bitrate::Cbr(setting.kbps)),
            channels: Some(match setting.channels {
                1 => Channels::Mono,
                _ => Channels::Stereo,
            }),
            sample_rate: Some(setting.rate),
            ..options.clone()
        });
    }
    let Some(&lowest) = settings.last() else {
        return Err(Error::InvalidOption(format!(
            "MP3 has no bitrate at {} Hz",
            options.output_rate(source.rate)
        )));
    };
    let too_long = mp3s.iter().find(|mp3| !fits(lowest, mp3));
    let Some(mp3) = too_long
        .into_iter()
        .chain(mp3s)
        .max_by_key(|mp3| mp3.samples)
    else {
        return Err(Error::Internal("nothing has to fit".into()));
    };
    // Whole seconds, and down: what is suggested has to fit.
    let second = u64::from(lowest.kbps) * 125;
    let mut seconds = bytes.saturating_sub(mp3.tag) / second;
    let second_fits = |seconds: u64| {
        let samples = seconds.saturating_mul(source.rate.into());
        fits(lowest, &Mp3 { samples, ..*mp3 })
    };
    while seconds > 0 && !second_fits(seconds) {
        seconds -= 1;
    }
    Err(Error::TooLong {
        length: duration_of(mp3.samples, source.rate),
        bytes,
        fits: Duration::from_secs(seconds),
    })
}

/// What may be chosen, from the best to the smallest.
fn settings(options: &Options, source: &Length) -> Vec<Setting> {
    let channels = options.channels.map_or(source.channels, Channels::count);
    let either = options.channels.is_none() && channels > 1;
    let of_stereo = move |&kbps: &u16| channels > 1 && (!either || kbps >= LEAST_STEREO);
    let of_mono = move |&kbps: &u16| match channels {
        1 => kbps <= MOST_MONO,
        _ => either && kbps < LEAST_STEREO,
    };
    let stereo = BITRATES.into_iter().filter(of_stereo).map(|kbps| (kbps, 2));
    let mono = BITRATES.into_iter().filter(of_mono).map(|kbps| (kbps, 1));
    let settings = stereo.chain(mono).map(|(kbps, channels)| Setting {
        kbps,
        channels,
        rate: options
            .sample_rate
            .unwrap_or_else(|| sample_rate(kbps, channels).min(mp3_rate(source.rate))),
    });
    settings
        .filter(|setting| {
            let bitrates = micropy_lame::bitrates(setting.rate);
            bitrates.is_some_and(|bitrates| bitrates.contains(&setting.kbps))
        })
        .collect()
}

/// The highest sample rate that makes sense.
fn sample_rate(kbps: u16, channels: u16) -> u32 {
    let (of_two, of_one) = STEREO_SHARE;
    let kbps = match channels {
        1 => kbps,
        _ => kbps * of_one / of_two,
    };
    let found = SAMPLE_RATES.iter().find(|(least, _)| kbps >= *least);
    found.map_or(8_000, |&(_, rate)| rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stereo(rate: u32) -> Length {
        Length {
            samples: 0,
            rate,
            channels: 2,
        }
    }

    fn chosen(options: &Options, bytes: u64, rate: u32, seconds: u64) -> Result<Options> {
        let mp3 = Mp3 {
            samples: seconds * u64::from(rate),
            tag: 2000,
        };
        choose(options, bytes, &stereo(rate), &[mp3])
    }

    fn setting(options: &Options) -> (u16, u16, u32) {
        let Some(Bitrate::Cbr(kbps)) = options.bitrate else {
            panic!("{options:?}");
        };
        let channels = options.channels.unwrap().count();
        (kbps, channels, options.sample_rate.unwrap())
    }

    #[test]
    fn less_room_means_fewer_bits_then_one_channel_then_a_lower_rate() {
        // An hour into so many megabytes.
        for (megabytes, expected) in [
            (200, (320, 2, 44_100)),
            (90, (192, 2, 44_100)),
            (50, (96, 2, 44_100)),
            (40, (80, 1, 44_100)),
            (30, (64, 1, 44_100)),
            (25, (48, 1, 32_000)),
            (15, (32, 1, 24_000)),
            (10, (16, 1, 16_000)),
            (4, (8, 1, 8_000)),
        ] {
            let options = chosen(&Options::new(), megabytes * 1_000_000, 44_100, 3600);
            assert_eq!(setting(&options.unwrap()), expected, "{megabytes} MB");
        }
    }

    #[test]
    fn what_was_asked_for_stays() {
        let hour = |options: Options| setting(&chosen(&options, 15_000_000, 48_000, 3600).unwrap());
        assert_eq!(
            hour(Options::new().channels(Channels::Stereo)),
            (32, 2, 16_000)
        );
        assert_eq!(
            hour(Options::new().channels(Channels::Mono)),
            (32, 1, 24_000)
        );
        assert_eq!(hour(Options::new().sample_rate(44_100)), (32, 1, 44_100));
        assert_eq!(hour(Options::new().sample_rate(8_000)), (32, 1, 8_000));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_does() {
        let refused = chosen(&Options::new(), 1_000_000, 44_100, 3600).unwrap_err();
        let Error::TooLong { length, fits, .. } = refused else {
            panic!("{refused}");
        };
        assert_eq!(length, Duration::from_secs(3600));
        let fits = fits.as_secs();
        assert!(
            chosen(&Options::new(), 1_000_000, 44_100, fits).is_ok(),
            "{fits} s"
        );
        assert!(chosen(&Options::new(), 1_000_000, 44_100, fits + 2).is_err());
        let tags_alone = chosen(&Options::new(), 1000, 44_100, 1).unwrap_err();
        assert!(tags_alone.to_string().contains("the tags"), "{tags_alone}");
        let forced = chosen(&Options::new().sample_rate(44_100), 1_000_000, 44_100, 3600);
        assert!(matches!(forced, Err(Error::TooLong { fits, .. }) if fits.as_secs() < 250));
    }

    #[test]
    fn the_longest_part_decides() {
        let part = |seconds: u64| Mp3 {
            samples: seconds * 44_100,
            tag: 0,
        };
        let both = choose(
            &Options::new(),
            1_000_000,
            &stereo(44_100),
            &[part(10), part(60), part(30)],
        );
        assert_eq!(setting(&both.unwrap()), (128, 2, 44_100));
    }
}
