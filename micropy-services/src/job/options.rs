//! The options of a conversion, as clients send them and the ledger keeps them.

use std::time::Duration;

use micropy_core::{Channels, Division, Options, TrackChoice};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Bytes of the value of an option, as text.
pub const MAX_VALUE: usize = 2000;
/// Files that are joined into one MP3 at most: each keeps its tables in memory, ...
pub const MOST_JOINED: usize = 100;
/// ... and bytes of their names, which the ledger keeps and lists of jobs show.
const JOINED_NAMES: usize = 8 << 10;
/// Characters of an unknown option's name in a message.
const MAX_NAME: usize = 40;

/// How to convert a video. The defaults keep the source's quality: variable bitrate of quality 2, the source's sample
/// rate and channels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct ConversionOptions {
    /// Constant bitrate in kbit/s, 8 to 320.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 8, maximum = 320)]
    pub bitrate: Option<u16>,
    /// Average bitrate in kbit/s, 8 to 320.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 8, maximum = 320)]
    pub abr: Option<u16>,
    /// Variable bitrate by quality, 0 (best) to 9.999 (smallest).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0, maximum = 9.999)]
    pub vbr: Option<f32>,
    /// LAME's effort, 0 (slowest, best) to 9 (fastest).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 9)]
    pub quality: Option<u8>,
    /// Sample rate of the MP3 in Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 8000, maximum = 48000)]
    pub sample_rate: Option<u32>,
    /// Mix down to one channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mono: Option<bool>,
    /// Seconds to skip at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    pub start: Option<f64>,
    /// Seconds to convert from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(exclusive_minimum = 0)]
    pub duration: Option<f64>,
    /// Length of the fade-in in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    pub fade_in: Option<f64>,
    /// Length of the fade-out in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    pub fade_out: Option<f64>,
    /// Target loudness in LUFS, -60 to -5; -16 is usual for podcasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = -60, maximum = -5)]
    pub normalize: Option<f64>,
    /// Measure the loudness and write it as ReplayGain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_gain: Option<bool>,
    /// Begin with silence where the audio starts later than the video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_start: Option<bool>,
    /// Copy tags, cover and chapters. The default is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<bool>,
    /// The audio track with this number, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 65535)]
    pub track: Option<u16>,
    /// The audio track in this language, by its code of ISO 639-1 or 639-2: two or three letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(
        min_length = 2,
        max_length = 3,
        pattern = "^[A-Za-z]{2,3}$",
        example = "eng"
    )]
    #[schema(
        min_length = 2,
        max_length = 3,
        pattern = "^[A-Za-z]{2,3}$",
        example = "eng"
    )]
    pub language: Option<String>,
    /// Options by what the MP3 is for; others given beside it win. `speech`: mono, 64 kbit/s on average. `podcast`:
    /// -16 LUFS, 44.1 kHz, 96 kbit/s. `music`: the best quality. `small`: mono, 24 kHz, 32 kbit/s on average.
    /// `moviepy`: 44.1 kHz, stereo, 128 kbit/s, as moviepy makes by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub preset: Option<Preset>,
    /// One MP3 for each part, in one ZIP file. `chapters`: where its chapters begin; `length`: each of `split_length`
    /// seconds; `silence`: each of at most so many, ended at the quietest place of its last quarter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub split: Option<Split>,
    /// Seconds of a part, with `split` by `length` or `silence`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1)]
    pub split_length: Option<f64>,
    /// The most bytes that the MP3 may have, tags included; with `split`, each of them. Bitrate, channels and sample
    /// rate follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1)]
    pub fit: Option<u64>,
    /// Leave out silence at the start and the end: what lies below -50 dBFS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trim_silence: Option<bool>,
    /// Join the files of the request into one MP3, one after the other without a gap, with a chapter for each. Track and
    /// late start apply to each file; part, silence, fades, loudness and size to the whole. Not with `split`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<bool>,
    /// The files that are joined, which the upload holds one behind another. A form tells them by itself, and a resumable
    /// upload in its metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(ignore)]
    pub videos: Option<Vec<JoinedVideo>>,
    /// A URL that is called when the job is done or has failed, beside your webhooks. What is sent there is signed with
    /// the secret that you get by `POST /api/v1/auth/webhooks` without a `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(
        max_length = 2000,
        pattern = "^https?://[^@/?#]+",
        example = "https://example.com/hooks/micropy"
    )]
    #[schema(
        max_length = 2000,
        pattern = "^https?://[^@/?#]+",
        example = "https://example.com/hooks/micropy"
    )]
    pub webhook: Option<String>,
}

/// One of the files that are joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinedVideo {
    /// Its name, which its chapter gets where the file has no title.
    pub name: String,
    /// Its length.
    #[schema(minimum = 1)]
    pub bytes: u64,
}

/// Refuses a list of files to be joined that no upload can hold, or the ledger should not. Returns their bytes together.
pub fn check_videos(videos: &[JoinedVideo]) -> Result<u64, String> {
    if videos.is_empty() || videos.len() > MOST_JOINED {
        return Err(format!("videos: 1 to {MOST_JOINED} files are joined"));
    }
    if videos.iter().map(|video| video.name.len()).sum::<usize>() > JOINED_NAMES {
        return Err("videos: their names are too long".into());
    }
    if let Some(empty) = videos.iter().position(|video| video.bytes == 0) {
        return Err(format!("videos: file {} is empty", empty + 1));
    }
    let sum = videos
        .iter()
        .try_fold(0, |sum: u64, video| sum.checked_add(video.bytes));
    sum.ok_or_else(|| "videos: they are too long".into())
}

/// A set of options by name: those of [`micropy_core::Preset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    Speech,
    Podcast,
    Music,
    Small,
    // Its name before.
    #[serde(alias = "original")]
    Moviepy,
}

impl From<Preset> for micropy_core::Preset {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::Speech => Self::Speech,
            Preset::Podcast => Self::Podcast,
            Preset::Music => Self::Music,
            Preset::Small => Self::Small,
            Preset::Moviepy => Self::Moviepy,
        }
    }
}

/// How to cut a video into several MP3s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    Chapters,
    Length,
    Silence,
}

impl ConversionOptions {
    /// These options with one of them changed, by name. The value is JSON or text.
    pub fn with(&self, name: &str, value: &str) -> Result<Self, String> {
        if value.len() > MAX_VALUE {
            return Err(format!("{}: too long for an option", shortened(name)));
        }
        let mut options = serde_json::to_value(self).map_err(|e| e.to_string())?;
        options[name] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        serde_json::from_value(options).map_err(|e| {
            match shortened(name) {
                whole if whole == name => format!("{name}: {e}"),
                // The reason would repeat the name.
                start => format!("{start}\u{2026}: not an option"),
            }
        })
    }

    /// The options for the engine. An error says what is wrong, in words for the client.
    pub fn engine_options(&self) -> Result<Options, String> {
        let preset = self.preset.map(micropy_core::Preset::from);
        let mut options = match (preset, self.fit) {
            (None, _) => Options::new(),
            // The size decides on the bitrate, unless the client has, too.
            (Some(preset), Some(bytes)) => preset.options_to_fit(bytes),
            (Some(preset), None) => preset.options(),
        };
        options = match (self.bitrate, self.abr, self.vbr) {
            (None, None, None) => options,
            (Some(kbps), None, None) => options.cbr(kbps),
            (None, Some(kbps), None) => options.abr(kbps),
            (None, None, Some(quality)) => options.vbr(quality),
            _ => return Err("bitrate, abr and vbr exclude each other".into()),
        };
        if let Some(quality) = self.quality {
            options.quality = Some(quality);
        }
        if let Some(rate) = self.sample_rate {
            options.sample_rate = Some(rate);
        }
        options.channels = match (self.mono, options.channels) {
            (Some(true), _) => Some(Channels::Mono),
            // Of a preset that is mono.
            (Some(false), Some(Channels::Mono)) => None,
            (_, channels) => channels,
        };
        if let Some(start) = self.start {
            options.start = seconds("start", start)?;
        }
        if let Some(duration) = self.duration {
            options.duration = Some(seconds("duration", duration)?);
        }
        if let Some(length) = self.fade_in {
            options.fade_in = seconds("fade_in", length)?;
        }
        if let Some(length) = self.fade_out {
            options.fade_out = seconds("fade_out", length)?;
        }
        options.normalize = self.normalize.or(options.normalize);
        options.replay_gain = self.replay_gain == Some(true);
        options.late_start = self.late_start == Some(true);
        options.tags.copy = self.tags != Some(false);
        options.fit = self.fit;
        options.trim_silence = self.trim_silence == Some(true);
        self.division()?;
        self.check_join()?;
        options.track = match (self.track, &self.language) {
            (None, None) => TrackChoice::Default,
            (Some(number), None) => TrackChoice::Index(number.into()),
            (None, Some(language)) if is_language_code(language) => {
                TrackChoice::Language(language.clone())
            }
            (None, Some(_)) => {
                return Err("language is a code of two or three letters, such as eng".into());
            }
            _ => return Err("track and language exclude each other".into()),
        };
        options.check().map_err(|e| e.to_string())?;
        Ok(options)
    }

    /// How the video is cut into several MP3s, if it is to be.
    pub fn division(&self) -> Result<Option<Division>, String> {
        let length = self
            .split_length
            .map(|length| seconds("split_length", length));
        Ok(match (self.split, length.transpose()?) {
            (None, None) => None,
            (Some(Split::Chapters), None) => Some(Division::Chapters),
            (Some(Split::Length | Split::Silence), Some(length)) if length.as_secs() < 1 => {
                return Err("split_length is a second or more".into());
            }
            (Some(Split::Length), Some(length)) => Some(Division::Lengths(length)),
            (Some(Split::Silence), Some(length)) => Some(Division::Pauses(length)),
            (Some(_), None) => return Err("split by length or silence needs split_length".into()),
            (_, Some(_)) => return Err("split_length goes with split by length or silence".into()),
        })
    }

    /// Refuses what does not go together with joining.
    fn check_join(&self) -> Result<(), String> {
        match (self.join == Some(true), &self.videos) {
            (false, Some(_)) => Err("videos goes with join".into()),
            (true, _) if self.split.is_some() => Err("join and split exclude each other".into()),
            (_, Some(videos)) => check_videos(videos).map(drop),
            (_, None) => Ok(()),
        }
    }

    /// Refuses files to be joined that are not together the `bytes` of an upload.
    pub fn check_length(&self, bytes: u64) -> Result<(), String> {
        match &self.videos {
            None if self.join == Some(true) => {
                Err("videos: join needs the name and the bytes of each file, as JSON".into())
            }
            None => Ok(()),
            Some(videos) => match check_videos(videos)? {
                sum if sum == bytes => Ok(()),
                sum => Err(format!(
                    "videos: they have {sum} bytes, and the upload has {bytes}"
                )),
            },
        }
    }

    /// The options as the ledger keeps them.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|e| unreachable!("{e}"))
    }

    /// The options as a worker process gets them: without what is no matter of the conversion. A URL may hold secrets.
    pub fn for_worker(json: &str) -> String {
        match Self::from_json(json) {
            Ok(options) => Self {
                webhook: None,
                ..options
            }
            .to_json(),
            // The worker says what is wrong with them.
            Err(_) => json.to_owned(),
        }
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

/// Whether it may be a code of ISO 639-1 or 639-2.
fn is_language_code(text: &str) -> bool {
    (2..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// A name from outside, for a message.
fn shortened(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

fn seconds(name: &str, value: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(value).map_err(|_| format!("{name} is a number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Options, String> {
        ConversionOptions::from_json(json)
            .map_err(|e| e.to_string())?
            .engine_options()
    }

    #[test]
    fn options_reach_the_engine() {
        assert_eq!(parse("{}").unwrap(), Options::new());
        assert_eq!(
            parse(r#"{"bitrate": 192}"#).unwrap(),
            Options::new().cbr(192)
        );
        for preset in [r#"{"preset": "moviepy"}"#, r#"{"preset": "original"}"#] {
            assert_eq!(parse(preset).unwrap(), Options::moviepy_defaults());
        }
        let trimmed = parse(r#"{"start": 1.5, "duration": 2, "mono": true}"#).unwrap();
        assert_eq!(trimmed.start, Duration::from_millis(1500));
        assert_eq!(trimmed.duration, Some(Duration::from_secs(2)));
        assert_eq!(trimmed.channels, Some(Channels::Mono));
        let shaped = parse(
            r#"{"fade_in": 1, "fade_out": 2.5, "normalize": -16, "replay_gain": true, "tags": false, "track": 1}"#,
        )
        .unwrap();
        assert_eq!(shaped.fade_in, Duration::from_secs(1));
        assert_eq!(shaped.fade_out, Duration::from_millis(2500));
        assert_eq!(shaped.normalize, Some(-16.0));
        assert!(shaped.replay_gain && !shaped.tags.copy && !shaped.late_start);
        assert_eq!(shaped.track, TrackChoice::Index(1));
        let sized = parse(r#"{"fit": 25000000, "trim_silence": true}"#).unwrap();
        assert_eq!(sized, Options::new().fit(25_000_000).trim_silence(true));
    }

    #[test]
    fn a_video_is_divided_as_it_is_asked_for() {
        let division = |json: &str| {
            ConversionOptions::from_json(json)
                .unwrap()
                .division()
                .unwrap()
        };
        let ten_minutes = Duration::from_secs(600);
        for (json, expected) in [
            ("{}", None),
            (r#"{"split": "chapters"}"#, Some(Division::Chapters)),
            (
                r#"{"split": "length", "split_length": 600}"#,
                Some(Division::Lengths(ten_minutes)),
            ),
            (
                r#"{"split": "silence", "split_length": 600}"#,
                Some(Division::Pauses(ten_minutes)),
            ),
        ] {
            assert_eq!(division(json), expected, "{json}");
        }
    }

    #[test]
    fn presets_are_those_of_the_engine_and_other_options_win() {
        for preset in micropy_core::Preset::ALL {
            let options = parse(&format!(r#"{{"preset": "{preset}"}}"#));
            assert_eq!(options.unwrap(), preset.options(), "{preset}");
        }
        let speech = micropy_core::Preset::Speech.options();
        let stereo = parse(r#"{"preset": "speech", "mono": false}"#).unwrap();
        assert_eq!((stereo.channels, stereo.bitrate), (None, speech.bitrate));
        let loud = parse(r#"{"normalize": -14, "preset": "podcast", "vbr": 4}"#).unwrap();
        assert_eq!(loud.normalize, Some(-14.0));
        assert_eq!(loud.bitrate, Some(micropy_core::Bitrate::Vbr(4.0)));
        let sized = parse(r#"{"preset": "podcast", "fit": 25000000}"#).unwrap();
        assert_eq!((sized.bitrate, sized.fit), (None, Some(25_000_000)));
        assert_eq!(sized.normalize, Some(-16.0));
    }

    #[test]
    fn contradictory_and_unknown_options_are_rejected() {
        for bad in [
            r#"{"bitrate": 128, "vbr": 2}"#,
            r#"{"bitrate": 1000}"#,
            r#"{"vbr": 11}"#,
            r#"{"start": -1}"#,
            r#"{"duration": 1e300}"#,
            r#"{"sample_rate": 12345}"#,
            r#"{"normalize": 4}"#,
            r#"{"fade_in": -1}"#,
            r#"{"track": 0, "language": "eng"}"#,
            r#"{"language": ""}"#,
            r#"{"language": "e"}"#,
            r#"{"language": "engl"}"#,
            r#"{"language": "e g"}"#,
            r#"{"language": "é"}"#,
            r#"{"split": "minutes"}"#,
            r#"{"split": "length"}"#,
            r#"{"split": "silence", "split_length": 0.5}"#,
            r#"{"split": "chapters", "split_length": 60}"#,
            r#"{"split_length": 60}"#,
            r#"{"fit": 1000000, "bitrate": 64}"#,
            r#"{"fit": 1000000, "bitrate": 64, "preset": "podcast"}"#,
            r#"{"fit": "25MB"}"#,
            r#"{"join": true, "split": "chapters"}"#,
            r#"{"join": true, "split": "length", "split_length": 60}"#,
            r#"{"join": true, "videos": []}"#,
            r#"{"join": true, "videos": [{"name": "a.mp4", "bytes": 0}]}"#,
            r#"{"join": true, "videos": [{"name": "a.mp4", "bytes": -1}]}"#,
            r#"{"join": true, "videos": [{"name": "a.mp4"}]}"#,
            r#"{"join": true, "videos": [{"name": "a.mp4", "bytes": 1, "offset": 7}]}"#,
            r#"{"join": false, "videos": [{"name": "a.mp4", "bytes": 1}]}"#,
            r#"{"videos": [{"name": "a.mp4", "bytes": 1}]}"#,
            r#"{"bitrat": 128}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_that_are_joined_fill_the_upload_and_no_more_than_the_ledger_has_room_for() {
        let join = |videos: Vec<JoinedVideo>| ConversionOptions {
            join: Some(true),
            videos: Some(videos),
            ..ConversionOptions::default()
        };
        let video = |name: &str, bytes| JoinedVideo {
            name: name.to_owned(),
            bytes,
        };
        let two = join(vec![video("a.mp4", 7), video("b.mp4", 5)]);
        assert!(two.engine_options().is_ok() && two.check_length(12).is_ok());
        assert!(two.check_length(11).is_err() && two.check_length(13).is_err());
        for wrong in [
            vec![video("a.mp4", u64::MAX), video("b.mp4", 1)],
            vec![video("a.mp4", 0), video("b.mp4", 12)],
            vec![video("a", 1); MOST_JOINED + 1],
            vec![video("a", 1); 10_000],
            vec![video(&"a".repeat(200), 1); MOST_JOINED],
            vec![],
        ] {
            let wrong = join(wrong);
            assert!(wrong.engine_options().is_err());
            for bytes in [0, 12, 10_000] {
                assert!(wrong.check_length(bytes).is_err());
            }
        }
        let unnamed = ConversionOptions {
            join: Some(true),
            ..ConversionOptions::default()
        };
        assert!(unnamed.engine_options().is_ok(), "a form names its files");
        assert!(unnamed.check_length(12).is_err());
        assert!(ConversionOptions::default().check_length(12).is_ok());
    }

    #[test]
    fn options_can_be_set_by_name() {
        let options = ConversionOptions::default();
        let options = options.with("bitrate", "128").unwrap();
        let options = options.with("language", "deu").unwrap();
        let options = options.with("mono", "true").unwrap();
        let options = options.with("split", "chapters").unwrap();
        let whole = ConversionOptions {
            bitrate: Some(128),
            language: Some("deu".into()),
            mono: Some(true),
            split: Some(Split::Chapters),
            ..ConversionOptions::default()
        };
        assert_eq!(options, whole);
        assert!(options.with("bitrate", "high").is_err());
        let unknown = options.with("bitrat", "128").unwrap_err();
        assert!(unknown.contains("`bitrat`"), "{unknown}");
        assert!(
            unknown.contains("`fade_out`"),
            "it lists the known options: {unknown}"
        );
    }
    #[test]
    fn what_is_too_long_is_refused_in_few_words() {
        let long = "a".repeat(60_000);
        let options = ConversionOptions::default();
        for (name, value) in [("language", &*long), (&*long, "1"), ("preset", &*long)] {
            let refused = options.with(name, value).unwrap_err();
            assert!(
                refused.starts_with(&name[..6]) && refused.len() < 100,
                "{refused}"
            );
        }
        let json = format!(r#"{{"language": "{long}"}}"#);
        assert!(parse(&json).unwrap_err().starts_with("language is a code"));
    }
}
