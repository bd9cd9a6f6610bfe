//! `--preset`: what the MP3s are that it makes, as ffmpeg sees them.

use std::fs;
use std::process::Command;

use crate::audio::{assert_clean, mpg123_len};
use crate::run::{Folder, installed};

/// Sample rate, channels and mean bitrate in kbit/s of an MP3.
fn stream(folder: &Folder, name: &str) -> (u32, u32, f64) {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-of",
            "json",
            "-show_entries",
            "stream=sample_rate,channels,codec_type:format=duration",
        ])
        .arg(folder.path(name))
        .output()
        .expect("ffprobe starts");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let audio = found["streams"].as_array().expect("streams").iter();
    let audio = audio
        .clone()
        .find(|stream| stream["codec_type"] == "audio")
        .expect("audio");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let seconds: f64 = text(&found["format"]["duration"])
        .parse()
        .expect("a number");
    let bytes = fs::metadata(folder.path(name)).expect("the MP3").len();
    (
        text(&audio["sample_rate"]).parse().expect("a rate"),
        audio["channels"].as_u64().expect("a number") as u32,
        bytes as f64 * 8.0 / 1000.0 / seconds,
    )
}

/// The integrated loudness that ffmpeg's meter finds.
fn lufs(folder: &Folder, name: &str) -> f64 {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-i"])
        .arg(folder.path(name))
        .args(["-af", "ebur128", "-f", "null", "-"])
        .output()
        .expect("ffmpeg starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = said
        .rsplit("Integrated loudness:")
        .next()
        .expect("a summary");
    let number = summary
        .split("I:")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn presets_make_what_they_say() {
    if !installed(
        "presets_make_what_they_say",
        &["ffmpeg", "ffprobe", "mpg123"],
    ) {
        return;
    }
    let folder = Folder::with(&["song.mp4"]);
    let mut sizes = Vec::new();
    for (preset, rate, channels, kbps) in [
        ("small", 24_000, 1, 29.0..36.0),
        ("speech", 44_100, 1, 58.0..70.0),
        ("podcast", 44_100, 2, 94.0..98.0),
        ("moviepy", 44_100, 2, 126.0..131.0),
        ("music", 44_100, 2, 131.0..330.0),
    ] {
        let name = format!("{preset}.mp3");
        // Tags and the cover are the same in each, and are not the preset's.
        let run = folder.micropy(&format!(
            "convert song.mp4 -o {name} --no-tags --preset {preset}"
        ));
        assert_eq!(run.code, Some(0), "{preset}: {}", run.stderr);
        assert_clean(&folder.path(&name));
        let (found_rate, found_channels, found_kbps) = stream(&folder, &name);
        assert_eq!((found_rate, found_channels), (rate, channels), "{preset}");
        assert!(
            kbps.contains(&found_kbps),
            "{preset}: {found_kbps:.1} kbit/s"
        );
        sizes.push(fs::metadata(folder.path(&name)).expect("the MP3").len());
    }
    assert!(sizes.is_sorted(), "{sizes:?}");
    // Directories ask for -16 LUFS, give or take one: the encoder's lowpass at 96 kbit/s takes a little of it.
    let loudness = lufs(&folder, "podcast.mp3");
    assert!((loudness + 16.0).abs() < 1.0, "{loudness} LUFS");
    let run = folder.micropy("convert song.mp4 -o exact.mp3 --preset podcast --bitrate 320");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let loudness = lufs(&folder, "exact.mp3");
    assert!((loudness + 16.0).abs() < 0.2, "{loudness} LUFS");
    // The length is exact whatever the preset.
    let samples = mpg123_len(&folder.path("speech.mp3"), 1);
    assert_eq!(mpg123_len(&folder.path("music.mp3"), 2), samples);
}

#[test]
fn flags_beside_a_preset_win_whatever_their_order() {
    let folder = Folder::with(&["moov-first-stereo-44100.mp4"]);
    let made = |words: &str| {
        let run = folder.micropy(&format!(
            "convert moov-first-stereo-44100.mp4 -o out.mp3 -y --json {words}"
        ));
        assert_eq!(run.code, Some(0), "{words}: {}", run.stderr);
        (
            fs::read(folder.path("out.mp3")).expect("the MP3"),
            run.json().remove(0),
        )
    };
    for (preset, flags) in [
        ("--preset speech", "--channels 2"),
        ("--preset speech", "--bitrate 128"),
        ("--preset podcast", "--normalize -20"),
        ("--preset small", "--sample-rate 16000"),
        ("--preset music", "-V 9"),
    ] {
        let (before, report) = made(&format!("{flags} {preset}"));
        assert!(
            before == made(&format!("{preset} {flags}")).0,
            "{preset} {flags}"
        );
        assert!(
            before != made(preset).0,
            "{preset} {flags}: the flag does something"
        );
        match flags {
            "--channels 2" => assert_eq!(report["output_channels"], 2),
            "--sample-rate 16000" => assert_eq!(report["output_sample_rate"], 16_000),
            "--bitrate 128" => assert_eq!(report["output_channels"], 1, "the rest is the preset's"),
            _ => {}
        }
    }
}

#[test]
fn presets_are_listed_with_what_they_mean() {
    let folder = Folder::with(&[]);
    let text = |words: &str| String::from_utf8(folder.micropy(words).stdout).expect("text");
    let (help, list) = (text("convert --help"), text("presets"));
    let help: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 5, "{list}");
    for line in lines {
        let (name, meaning) = line.split_once(' ').expect("a name and a meaning");
        assert!(
            help.contains(&format!("{name}: {}", meaning.trim())),
            "{line}: {help}"
        );
    }
    let run = folder.micropy("convert x.mp4 --preset loud");
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr
            .contains("speech, podcast, music, small, moviepy"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_size_decides_on_the_bitrate_and_the_rest_stays_the_presets() {
    let name = "moov-first-stereo-44100.mp4";
    let folder = Folder::with(&[name]);
    for preset in ["speech", "podcast", "music", "small", "moviepy"] {
        let run = folder.micropy(&format!(
            "convert {name} -o {preset}.mp3 --json --preset {preset} --fit 12kB"
        ));
        assert_eq!(run.code, Some(0), "{preset}: {}", run.stderr);
        let report = &run.json()[0];
        assert!(report["output_bytes"].as_u64() <= Some(12_000), "{report}");
        match preset {
            "speech" => assert_eq!(report["output_channels"], 1),
            "podcast" => assert!(report["loudness"]["gain_db"] != 0.0, "{report}"),
            "small" => assert_eq!(report["output_sample_rate"], 24_000),
            "moviepy" => assert_eq!(report["output_channels"], 2),
            _ => {}
        }
    }
    for bitrate in ["--bitrate 64", "--abr 64", "--vbr 4"] {
        let run = folder.micropy(&format!(
            "convert {name} -o x.mp3 --preset podcast --fit 1MB {bitrate}"
        ));
        assert_eq!(run.code, Some(2), "{bitrate}: {}", run.stderr);
    }
}
