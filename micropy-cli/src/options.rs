//! From the flags of `micropy convert` to the engine's options.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use micropy_core::{
    Bitrate, Channels, Cover, Id3Version, Key, Options, Preset, TagOptions, TrackChoice,
};

use crate::input;

/// How the MP3 sounds, and how large it is.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Audio")]
#[command(group = ArgGroup::new("bits").args(["bitrate", "abr", "vbr"]))]
pub struct AudioArgs {
    /// Options by what the MP3 is for; flags given beside it win, before or after it
    #[arg(long, value_name = "NAME", value_parser = preset())]
    preset: Option<Preset>,

    /// Constant bitrate in kbit/s, `128` or `128k`: 32 to 320 (8 to 160 below 32 kHz)
    #[arg(short, long, value_name = "KBPS", value_parser = kbps)]
    bitrate: Option<u16>,

    /// Average bitrate in kbit/s: 32 to 320 (8 to 160 below 32 kHz)
    #[arg(long, value_name = "KBPS", value_parser = kbps)]
    abr: Option<u16>,

    /// Variable bitrate by quality: 0 (best) to 9.999 (smallest) [default: 2; MP3 is copied]
    #[arg(short = 'q', visible_short_alias = 'V', long, value_name = "QUALITY")]
    vbr: Option<f32>,

    /// LAME's effort: 0 (slowest, best) to 9 (fastest) [default: 3]
    #[arg(long, value_name = "0..9", value_parser = clap::value_parser!(u8).range(0..=9))]
    quality: Option<u8>,

    /// Sample rate of the MP3 in Hz [default: the source's, or the nearest that MP3 has]
    #[arg(long, value_name = "HZ")]
    sample_rate: Option<u32>,

    /// Channels of the MP3 [default: the source's; more than two are mixed down to two]
    #[arg(long, value_name = "1|2", value_parser = clap::value_parser!(u8).range(1..=2), conflicts_with = "mono")]
    channels: Option<u8>,

    /// One channel, as `--channels 1`
    #[arg(long)]
    mono: bool,

    /// Mix surround down at full level: louder, but loud passages may clip
    #[arg(long)]
    unscaled_downmix: bool,

    /// The audio track: its number, from 0, or its language as an ISO 639 code (`en`, `eng`, `de`, `ger`)
    #[arg(long, value_name = "TRACK", value_parser = track)]
    track: Option<TrackChoice>,

    /// Start here: seconds, or `HH:MM:SS`, with a fraction if needed
    #[arg(long, value_name = "TIME", value_parser = time)]
    start: Option<Duration>,

    /// Stop here
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "duration")]
    end: Option<Duration>,

    /// Convert this much and stop
    #[arg(long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,

    /// Put silence before audio that starts later than the video
    #[arg(long)]
    late_start: bool,

    /// Fade in from silence, for this long
    #[arg(long, value_name = "TIME", value_parser = time)]
    fade_in: Option<Duration>,

    /// Fade out to silence at the end, for this long
    #[arg(long, value_name = "TIME", value_parser = time)]
    fade_out: Option<Duration>,

    /// Normalize to this loudness by EBU R 128, with true peaks limited to -1 dBTP; -16 suits podcasts
    #[arg(long, value_name = "LUFS", allow_negative_numbers = true)]
    normalize: Option<f64>,

    /// Measure the loudness and write it as ReplayGain
    #[arg(long)]
    replaygain: bool,
}

/// The MP3's tags.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Tags")]
pub struct TagArgs {
    /// Do not copy tags, cover and chapters
    #[arg(long)]
    no_tags: bool,

    /// Set a tag, such as `artist=Nina`; an empty value removes it; may be given more than once
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    edits: Vec<(Key, String)>,

    /// A picture for the front cover, instead of the source's
    #[arg(long, value_name = "FILE")]
    cover: Option<PathBuf>,

    /// Write ID3v2.3, for players that do not read ID3v2.4
    #[arg(long)]
    id3v23: bool,
}

/// What the flags mean; an error says what is wrong with them. `fit`: the most bytes that the MP3 may have.
pub fn options(
    audio: &AudioArgs,
    tags: &TagArgs,
    fit: Option<u64>,
    jobs: Option<u16>,
) -> Result<Options, String> {
    let mut options = match (audio.preset, fit) {
        (None, _) => Options::new(),
        // The size decides on the bitrate: a preset's own is none that the user has given.
        (Some(preset), Some(bytes)) => preset.options_to_fit(bytes),
        (Some(preset), None) => preset.options(),
    };
    options.fit = fit;
    options.bitrate = match (audio.bitrate, audio.abr, audio.vbr) {
        (Some(kbps), _, _) => Some(Bitrate::Cbr(kbps)),
        (_, Some(kbps), _) => Some(Bitrate::Abr(kbps)),
        (_, _, Some(quality)) => Some(Bitrate::Vbr(quality)),
        (None, None, None) => options.bitrate,
    };
    options.quality = audio.quality.or(options.quality);
    options.sample_rate = audio.sample_rate.or(options.sample_rate);
    options.channels = match (audio.mono, audio.channels) {
        (true, _) | (_, Some(1)) => Some(Channels::Mono),
        (_, Some(_)) => Some(Channels::Stereo),
        (false, None) => options.channels,
    };
    options.unscaled_downmix = audio.unscaled_downmix;
    options.track = audio.track.clone().unwrap_or_default();
    options.start = audio.start.unwrap_or_default();
    options.duration = audio.duration;
    if let Some(end) = audio.end {
        let length = end.checked_sub(options.start);
        let length = length.ok_or("--end is before --start")?;
        options.duration = Some(length);
    }
    options.late_start = audio.late_start;
    options.fade_in = audio.fade_in.unwrap_or_default();
    options.fade_out = audio.fade_out.unwrap_or_default();
    options.normalize = audio.normalize.or(options.normalize);
    options.replay_gain = audio.replaygain;
    options.tags = tag_options(tags)?;
    let options = options.jobs(jobs.map_or(0, usize::from));
    options.check().map_err(|e| e.to_string())?;
    Ok(options)
}

fn tag_options(args: &TagArgs) -> Result<TagOptions, String> {
    let cover = args.cover.as_ref().map(|path| {
        let explain = |why: &dyn std::fmt::Display| format!("{}: {why}", input::shown(path));
        let data = std::fs::read(path).map_err(|e| explain(&e))?;
        Cover::new(data).map_err(|e| explain(&e))
    });
    let mut options = TagOptions::new().copy(!args.no_tags);
    options.edits = args.edits.clone();
    options.cover = cover.transpose()?;
    if args.id3v23 {
        options.version = Id3Version::V23;
    }
    Ok(options)
}

fn tag(text: &str) -> Result<(Key, String), String> {
    let (key, value) = text.split_once('=').ok_or("it has no `=`")?;
    let key = key
        .parse()
        .map_err(|e: micropy_core::Error| e.to_string())?;
    Ok((key, value.to_owned()))
}

/// The presets, each with what it means, for `--help`.
fn preset() -> impl TypedValueParser<Value = Preset> {
    let values = Preset::ALL.map(|preset| {
        let value = PossibleValue::new(preset.name()).help(preset.description());
        match preset {
            // Its name before.
            Preset::Moviepy => value.alias("original"),
            _ => value,
        }
    });
    PossibleValuesParser::new(values).try_map(|name| name.parse::<Preset>())
}

/// `128`, or `128k` as ffmpeg writes it.
fn kbps(text: &str) -> Result<u16, String> {
    let number = text.strip_suffix(['k', 'K']).unwrap_or(text);
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    match number.parse::<u32>() {
        Ok(bits) if digits && bits >= 8_000 && number.len() == text.len() => {
            let kbps = bits / 1000;
            Err(format!("it is in kbit/s: did you mean {kbps}k?"))
        }
        Ok(kbps) if digits => u16::try_from(kbps).map_err(|_| format!("{text}: too large")),
        _ => Err("it is a number of kbit/s, such as 128 or 128k".into()),
    }
}

fn track(text: &str) -> Result<TrackChoice, String> {
    if let Ok(index) = text.parse() {
        return Ok(TrackChoice::Index(index));
    }
    let is_code = matches!(text.len(), 2 | 3) && text.bytes().all(|b| b.is_ascii_alphabetic());
    match is_code {
        true => Ok(TrackChoice::Language(text.to_ascii_lowercase())),
        false => Err("neither a number nor a language code of two or three letters".into()),
    }
}

/// `90`, `90.5`, `1:30`, `1:01:30.250`.
pub fn time(text: &str) -> Result<Duration, String> {
    let refuse = || "neither seconds nor [HH:]MM:SS[.fraction]".to_owned();
    let mut parts = text.rsplit(':');
    let seconds = parts.next().unwrap_or_default();
    let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if !is_number(whole) || !is_number(fraction) {
        return Err(refuse());
    }
    let seconds: f64 = seconds.parse().map_err(|_| refuse())?;
    let mut time = Duration::try_from_secs_f64(seconds).map_err(|_| refuse())?;
    for unit in [60, 3600] {
        let Some(part) = parts.next() else { break };
        let count: u32 = part.parse().map_err(|_| refuse())?;
        let more = Duration::from_secs(unit).checked_mul(count);
        time = more
            .and_then(|more| time.checked_add(more))
            .ok_or_else(refuse)?;
    }
    match parts.next() {
        None => Ok(time),
        Some(_) => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_colon_separated() {
        let millis = |text| time(text).map(|t| t.as_millis());
        assert_eq!(millis("90"), Ok(90_000));
        assert_eq!(millis("0.25"), Ok(250));
        assert_eq!(millis("1:30"), Ok(90_000));
        assert_eq!(millis("01:01:30.250"), Ok(3_690_250));
        for wrong in ["", "-1", "x", "1:", ":1", "1:2:3:4", "1e3", "inf", "1.5:00"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_track_is_a_number_or_a_language() {
        assert_eq!(track("1"), Ok(TrackChoice::Index(1)));
        assert_eq!(track("ENG"), Ok(TrackChoice::Language("eng".into())));
        assert_eq!(track("de"), Ok(TrackChoice::Language("de".into())));
        for wrong in ["english", "e", "e1", "-1", ""] {
            assert!(track(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bitrates_are_kilobits_with_or_without_the_k() {
        for text in ["128", "128k", "128K"] {
            assert_eq!(kbps(text), Ok(128), "{text}");
        }
        assert!(kbps("128000").unwrap_err().contains("128k"));
        for wrong in [
            "", "k", "-1", "+1", "1.5", "128kk", "128 k", "99999k", "loud",
        ] {
            assert!(kbps(wrong).is_err(), "{wrong}");
        }
    }
}
