//! Presets: options by what the MP3 is for.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::options::{Channels, Options};

/// A set of options with a name, chosen by what the MP3 is for.
///
/// ```
/// use micropy_core::Preset;
///
/// # fn main() -> micropy_core::Result<()> {
/// let preset: Preset = "speech".parse()?;
/// let louder = preset.options().normalize(-18.0);
/// assert_eq!(louder.bitrate, Preset::Speech.options().bitrate);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// Talks, lectures, meetings.
    Speech,
    /// An episode to publish.
    Podcast,
    /// Music to keep.
    Music,
    /// As little as possible, with every word still clear.
    Small,
    /// What moviepy makes by default.
    Moviepy,
}

impl Preset {
    /// All of them, in the order in which to show them.
    pub const ALL: [Preset; 5] = [
        Preset::Speech,
        Preset::Podcast,
        Preset::Music,
        Preset::Small,
        Preset::Moviepy,
    ];

    /// Its name, as users type it.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Speech => "speech",
            Preset::Podcast => "podcast",
            Preset::Music => "music",
            Preset::Small => "small",
            Preset::Moviepy => "moviepy",
        }
    }

    /// What it is for and what it sets, in one line.
    pub fn description(self) -> &'static str {
        match self {
            Preset::Speech => "talks and lectures: mono, 64 kbit/s on average",
            Preset::Podcast => "an episode to publish: -16 LUFS, 44.1 kHz, constant 96 kbit/s",
            Preset::Music => "music to keep: variable bitrate of the best quality (0)",
            Preset::Small => "smallest with every word clear: mono, 24 kHz, 32 kbit/s on average",
            Preset::Moviepy => {
                "what moviepy makes by default: 44.1 kHz, stereo, constant 128 kbit/s"
            }
        }
    }

    /// What it sets. Everything else is as in [`Options::new`].
    pub fn options(self) -> Options {
        let options = Options::new();
        match self {
            // One voice needs one channel; 64 kbit/s exist at every sample rate that MP3 has.
            Preset::Speech => options.channels(Channels::Mono).abr(64),
            // Directories ask for 44.1 kHz, and players that seek by arithmetic for a constant bitrate.
            Preset::Podcast => options.normalize(-16.0).sample_rate(44_100).cbr(96),
            Preset::Music => options.vbr(0.0),
            // Consonants lie below 12 kHz. At half the rate, 32 kbit/s are enough for them.
            Preset::Small => options.channels(Channels::Mono).sample_rate(24_000).abr(32),
            Preset::Moviepy => Options::moviepy_defaults(),
        }
    }

    /// What it sets for an MP3 of at most so many bytes: as [`Preset::options`], but for the bitrate, on which the size
    /// decides.
    ///
    /// ```
    /// use micropy_core::Preset;
    ///
    /// let options = Preset::Podcast.options_to_fit(25_000_000);
    /// assert_eq!((options.normalize, options.bitrate), (Some(-16.0), None));
    /// assert!(options.check().is_ok());
    /// ```
    pub fn options_to_fit(self, bytes: u64) -> Options {
        Options {
            bitrate: None,
            fit: Some(bytes),
            ..self.options()
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = Error;

    /// # Errors
    /// [`Error::InvalidOption`], which lists the names.
    fn from_str(name: &str) -> Result<Self> {
        // Its name before.
        let name = if name == "original" { "moviepy" } else { name };
        let found = Preset::ALL.into_iter().find(|preset| preset.name() == name);
        found.ok_or_else(|| {
            let names = Preset::ALL.map(Preset::name).join(", ");
            // What a stranger sends is not repeated at full length.
            let name: String = name.chars().take(40).collect();
            Error::InvalidOption(format!("there is no preset {name}: choose from {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name_and_asks_for_nothing_impossible() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse::<Preset>().unwrap(), preset);
            assert!(preset.options().check().is_ok(), "{preset}");
            assert!(preset.options_to_fit(1).check().is_ok(), "{preset}");
            assert!(!preset.description().is_empty());
        }
        assert_eq!("original".parse::<Preset>().unwrap(), Preset::Moviepy);
        let refused = "loud".parse::<Preset>().unwrap_err().to_string();
        assert!(
            refused.contains("loud") && refused.contains("speech, podcast"),
            "{refused}"
        );
        let long = "x".repeat(60_000).parse::<Preset>().unwrap_err();
        assert!(long.to_string().len() < 200);
    }

    /// A preset has to work for every source: at the rates of MPEG-2.5 some bitrates do not exist.
    #[test]
    fn each_works_at_every_sample_rate() {
        for preset in Preset::ALL {
            let options = preset.options();
            for rate in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000] {
                let rate = options.sample_rate.unwrap_or(rate);
                let channels = options
                    .channels
                    .map_or(2, |channels| channels.count() as u8);
                let settings = options.encoder(rate, channels);
                assert!(settings.check().is_ok(), "{preset} at {rate} Hz");
            }
        }
    }
}
