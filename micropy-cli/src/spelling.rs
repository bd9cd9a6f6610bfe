//! Words of `micropy convert` as people who know ffmpeg or LAME spell them.
//!
//! A word that means the same here is replaced by ours before the command line is read. A word that means something
//! else is refused, with the one to type instead.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::input;

/// What a word is here.
enum Meaning {
    /// One of our flags, with the value that follows.
    Flag(&'static str),
    /// A tag, whose value follows.
    Tag(&'static str),
    /// It asks for what happens anyway.
    Nothing,
    /// It depends on the value that follows.
    Value(fn(&str) -> Result<Vec<String>, String>),
    /// It cannot be had by this word.
    Refused(&'static str),
}

use Meaning::{Flag, Nothing, Refused, Tag, Value};

/// What `word` is, if it is one of ffmpeg's or LAME's.
fn meaning(word: &str) -> Option<Meaning> {
    Some(match word {
        // ffmpeg's.
        "-ss" => Flag("--start"),
        "-to" => Flag("--end"),
        "-t" => Flag("--duration"),
        "-b:a" | "-ab" | "--ab" => Flag("--bitrate"),
        "-q:a" | "-aq" | "-qscale:a" => Flag("--vbr"),
        "-ar" => Flag("--sample-rate"),
        "-ac" => Flag("--channels"),
        "-compression_level" => Flag("--quality"),
        "-threads" => Flag("--jobs"),
        "-metadata" => Flag("--tag"),
        "-vn" | "-sn" | "-dn" | "-hide_banner" | "-nostdin" | "-stats" => Nothing,
        "-c:a" | "-codec:a" | "-acodec" => Value(codec),
        "-f" => Value(format),
        "-map" => Value(map),
        "-map_metadata" => Value(map_metadata),
        "-id3v2_version" => Value(id3_version),
        "-af" | "-filter:a" | "-filter_complex" => Refused(
            "there are no filters: see --normalize, --fade-in, --fade-out, --start and --end",
        ),
        "-c:v" | "-codec:v" | "-vcodec" | "-vf" | "-b:v" | "-crf" | "-preset" => {
            Refused("an MP3 has no video: leave it out")
        }
        "-loglevel" => Refused("use --quiet for problems alone, --verbose for more"),
        // LAME's.
        "--resample" => Value(resample),
        "-m" => Value(mode),
        "--tt" => Tag("title"),
        "--ta" => Tag("artist"),
        "--tl" => Tag("album"),
        "--ty" => Tag("date"),
        "--tc" => Tag("comment"),
        "--tn" => Tag("track"),
        "--tg" => Tag("genre"),
        "--id3v2-only" | "--add-id3v2" | "--noreplaygain" => Nothing,
        "--preset" => Value(preset),
        _ => return None,
    })
}

/// The words of a command line, as they are spelled here. The first is the program's name. An error says what to type.
pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, String> {
    let given: Vec<OsString> = words.into_iter().collect();
    // Only flags of the program itself may stand before the command.
    let command = given.iter().skip(1).position(|word| !is_flag(word));
    let Some(command) = command.filter(|&at| given[at + 1] == "convert") else {
        return Ok(given);
    };
    let (before, typed) = given.split_at(command + 2);
    let mut words = before.to_vec();
    let mut rest = typed.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            words.push(word.clone());
            break;
        }
        if word == "-i" {
            return Err(without_i(typed));
        }
        if word == "-v" && rest.as_slice().first().is_some_and(is_log_level) {
            return Err("ffmpeg's `-v`: use --quiet for problems alone, --verbose for more".into());
        }
        let Some(meaning) = word.to_str().and_then(meaning) else {
            words.push(word.clone());
            continue;
        };
        match meaning {
            Flag(ours) => words.push(ours.into()),
            Nothing => {}
            Refused(why) => return Err(format!("`{}`: {why}", word.display())),
            Tag(key) => {
                words.push("--tag".into());
                if let Some(value) = rest.next() {
                    let mut tag = OsString::from(format!("{key}="));
                    tag.push(value);
                    words.push(tag);
                }
            }
            Value(ours) => match rest.as_slice().first().and_then(|value| value.to_str()) {
                // Nothing follows, or no text: left to the reader of the command line.
                None => words.push(word.clone()),
                Some(value) => {
                    let found = ours(value);
                    let found =
                        found.map_err(|why| format!("`{} {value}`: {why}", word.display()))?;
                    words.extend(found.into_iter().map(OsString::from));
                    rest.next();
                }
            },
        }
    }
    words.extend(rest.cloned());
    Ok(words)
}

fn is_flag(word: &OsString) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

/// ffmpeg names the inputs by `-i` and the output last; here it is the other way round.
fn without_i(typed: &[OsString]) -> String {
    let name = |word: &OsString| input::shown(Path::new(word)).to_string();
    let inputs: Vec<String> = typed
        .windows(2)
        .filter(|pair| pair[0] == "-i")
        .map(|pair| name(&pair[1]))
        .collect();
    let inputs = match inputs.is_empty() {
        true => "INPUT".to_owned(),
        false => inputs.join(" "),
    };
    let output = match typed {
        [.., before, last] if !is_flag(last) && before != "-i" => format!(" -o {}", name(last)),
        _ => String::new(),
    };
    format!("ffmpeg's `-i` is not needed: type `micropy convert {inputs}{output}`")
}

fn is_log_level(word: &OsString) -> bool {
    const LEVELS: [&str; 9] = [
        "quiet", "panic", "fatal", "error", "warning", "info", "verbose", "debug", "trace",
    ];
    LEVELS.iter().any(|level| OsStr::new(level) == word)
}

fn codec(name: &str) -> Result<Vec<String>, String> {
    match name {
        "libmp3lame" | "mp3" => Ok(Vec::new()),
        "copy" => {
            Err("audio that is MP3 is copied by itself, all other is encoded: leave it out".into())
        }
        "pcm_s16le" => Err("use --to wav, or --to s16le for PCM without a header".into()),
        "pcm_f32le" => Err("use --to wav-f32, or --to f32le for PCM without a header".into()),
        _ => Err(format!("{WHAT_IS_MADE}: leave it out")),
    }
}

/// What there is to choose from.
const WHAT_IS_MADE: &str = "only MP3 is made here, or WAVE and PCM by --to";

fn format(name: &str) -> Result<Vec<String>, String> {
    match name {
        "mp3" => Ok(Vec::new()),
        "wav" | "s16le" | "f32le" => Ok(vec!["--to".into(), name.into()]),
        _ => Err(format!(
            "{WHAT_IS_MADE}; to overwrite files, use --force or -y"
        )),
    }
}

/// `0:a`, `0:a:1`, `a:1`.
fn map(stream: &str) -> Result<Vec<String>, String> {
    let audio = stream
        .strip_prefix("0:")
        .unwrap_or(stream)
        .strip_prefix('a');
    match audio {
        Some("") => Ok(Vec::new()),
        Some(index)
            if index
                .strip_prefix(':')
                .is_some_and(|n| n.parse::<u16>().is_ok()) =>
        {
            Ok(vec!["--track".into(), index[1..].into()])
        }
        _ => {
            Err("choose the audio track by --track: its number among them, or its language".into())
        }
    }
}

fn map_metadata(from: &str) -> Result<Vec<String>, String> {
    match from {
        "-1" => Ok(vec!["--no-tags".into()]),
        "0" => Ok(Vec::new()),
        _ => Err("tags come from the input itself; see --no-tags and --tag".into()),
    }
}

fn id3_version(version: &str) -> Result<Vec<String>, String> {
    match version {
        "3" => Ok(vec!["--id3v23".into()]),
        "4" => Ok(Vec::new()),
        _ => Err("ID3v2.4 is written, or ID3v2.3 by --id3v23".into()),
    }
}

/// LAME counts in kHz, and takes Hz as well.
fn resample(rate: &str) -> Result<Vec<String>, String> {
    let rate: f64 = rate
        .parse()
        .map_err(|_| "it is a sample rate in kHz, such as 44.1")?;
    let hz = if rate < 100.0 { rate * 1000.0 } else { rate };
    Ok(vec!["--sample-rate".into(), format!("{hz:.0}")])
}

fn mode(mode: &str) -> Result<Vec<String>, String> {
    match mode {
        "m" => Ok(vec!["--mono".into()]),
        "s" | "j" => Ok(vec!["--channels".into(), "2".into()]),
        _ => Err("use --mono or --channels 2".into()),
    }
}

/// LAME's own presets have settings of the same sound here.
fn preset(name: &str) -> Result<Vec<String>, String> {
    match name {
        "medium" => Err("LAME's preset is `-V 4` here".into()),
        "standard" => Err("LAME's preset is `-V 2` here, which is the default".into()),
        "extreme" => Err("LAME's preset is `-V 0` here, as --preset music".into()),
        "insane" => Err("LAME's preset is `--bitrate 320` here".into()),
        kbps if kbps.parse::<u16>().is_ok() => Err(format!("LAME's preset is `--abr {kbps}` here")),
        // One of ours, or a mistake, which the reader of the command line names.
        ours => Ok(vec!["--preset".into(), ours.into()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(line: &str) -> Result<String, String> {
        let words = read(line.split(' ').map(OsString::from))?;
        let words: Vec<String> = words
            .iter()
            .map(|word| word.display().to_string())
            .collect();
        Ok(words.join(" "))
    }

    #[test]
    fn words_that_mean_the_same_become_ours() {
        for (typed, ours) in [
            ("-ss 1:30 -to 2:00 a.mp4", "--start 1:30 --end 2:00 a.mp4"),
            ("a.mp4 -t 10", "a.mp4 --duration 10"),
            (
                "-vn -c:a libmp3lame -b:a 128k a.mp4",
                "--bitrate 128k a.mp4",
            ),
            (
                "-q:a 2 -ar 44100 -ac 1 a.mp4",
                "--vbr 2 --sample-rate 44100 --channels 1 a.mp4",
            ),
            (
                "-map 0:a:1 -map_metadata -1 a.mp4",
                "--track 1 --no-tags a.mp4",
            ),
            ("-map 0:a -id3v2_version 3 -f mp3 a.mp4", "--id3v23 a.mp4"),
            (
                "--resample 44.1 -m m a.mp4",
                "--sample-rate 44100 --mono a.mp4",
            ),
            (
                "--tt Harbour --ta Nina a.mp4",
                "--tag title=Harbour --tag artist=Nina a.mp4",
            ),
            ("-metadata title=x a.mp4", "--tag title=x a.mp4"),
            ("--preset speech a.mp4", "--preset speech a.mp4"),
            ("-f wav a.mp4", "--to wav a.mp4"),
            ("-f s16le a.mp4", "--to s16le a.mp4"),
            ("-f f32le a.mp4", "--to f32le a.mp4"),
            // What is not theirs stays.
            (
                "-b 128k -V2 -q 2 -o x.mp3 a.mp4",
                "-b 128k -V2 -q 2 -o x.mp3 a.mp4",
            ),
            ("-v a.mp4", "-v a.mp4"),
            ("a.mp4 -- -ss -i", "a.mp4 -- -ss -i"),
            ("a.mp4 -ss", "a.mp4 --start"),
            ("a.mp4 -f", "a.mp4 -f"),
        ] {
            let whole = spelled(&format!("micropy convert {typed}"));
            assert_eq!(whole, Ok(format!("micropy convert {ours}")), "{typed}");
        }
    }

    #[test]
    fn other_commands_are_left_alone() {
        for line in [
            "micropy",
            "micropy probe -i",
            "micropy -V",
            "micropy probe convert -ss",
        ] {
            assert_eq!(spelled(line), Ok(line.to_owned()));
        }
    }

    #[test]
    fn words_that_are_refused_name_what_to_type() {
        for (typed, told) in [
            ("-i a.mp4 b.mp3", "`micropy convert a.mp4 -o b.mp3`"),
            ("-i a.mp4", "`micropy convert a.mp4`"),
            ("-i", "`micropy convert INPUT`"),
            (
                "-y -i a.mp4 -vn -b:a 128k b.mp3",
                "`micropy convert a.mp4 -o b.mp3`",
            ),
            ("a.mp4 -af loudnorm", "--normalize"),
            ("a.mp4 -c:a copy", "copied by itself"),
            (
                "-i https://ann:word@h/a.mp4?sig=s b.mp3",
                "`micropy convert https://h/a.mp4?… -o b.mp3`",
            ),
            ("a.mp4 -c:a aac", "only MP3"),
            ("a.mp4 -c:a pcm_s16le", "--to wav"),
            ("a.mp4 -c:a pcm_f32le", "--to wav-f32"),
            ("a.mp4 -f flac", "--to"),
            ("a.mp4 -v error", "--quiet"),
            ("a.mp4 -c:v copy", "no video"),
            ("a.mp4 -map 0:v", "--track"),
            ("a.mp4 --preset extreme", "`-V 0`"),
            ("a.mp4 --preset 128", "`--abr 128`"),
        ] {
            let refused = spelled(&format!("micropy convert {typed}")).unwrap_err();
            assert!(refused.contains(told), "{typed}: {refused}");
        }
    }
}
