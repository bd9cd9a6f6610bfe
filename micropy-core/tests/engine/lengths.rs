//! How long files of all muxers' kinds are: to the PCM sample what went into the encoder, whatever the timescales.

use std::ffi::OsStr;

use crate::support::music::{Random, music};
use crate::support::programs::run;
use micropy_core::{Converter, Options, probe};

/// `len` PCM samples of a tone and noise at `rate` Hz, encoded and muxed by ffmpeg with these options.
fn made(rate: u32, len: usize, options: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.mp4");
    let planes = music(len as u64, rate, 1, len);
    let pcm: Vec<u8> = planes[0].iter().flat_map(|s| s.to_le_bytes()).collect();
    let options = format!("-v error -f f32le -ar {rate} -ac 1 -i - {options} -bitexact");
    let args: Vec<&OsStr> = options
        .split_whitespace()
        .map(OsStr::new)
        .chain([path.as_os_str()])
        .collect();
    let output = run("ffmpeg", &args, &pcm)?;
    assert!(
        output.status.success(),
        "{options}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(std::fs::read(path).unwrap())
}

/// PCM samples that the whole of a file gives, by the conversion and by the probe.
fn samples(file: &[u8], what: &str) -> u64 {
    let report = Converter::new(Options::new().cbr(64))
        .convert(file, Vec::new())
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(report.complete, "{what}: {:?}", report.warnings);
    assert_eq!(report.warnings, [], "{what}");
    let found = probe(file).unwrap();
    assert_eq!(
        found.tracks[0].samples,
        Some(report.input_samples),
        "{what}"
    );
    report.input_samples
}

/// What ffmpeg's muxer writes with an edit list: the encoder's delay before it, and no more than the source behind.
#[test]
fn aac_is_as_long_as_its_source_at_any_timescale_of_the_movie() {
    let mut random = Random::new(0x7EA);
    for muxer in [
        "",
        "-movflags frag_keyframe+delay_moov -frag_duration 150000",
        "-movflags dash+delay_moov+frag_keyframe -frag_duration 250000",
        "-movflags frag_keyframe+delay_moov+separate_moof -frag_duration 100000",
    ] {
        for timescale in [1, 24, 600, 1000, 1001, 30_000, 44_100, 90_000, i32::MAX] {
            let rate = [44_100, 48_000, 22_050, 8000][random.between(0, 4)];
            let len = random.between(1, 40_000);
            let options = format!("-c:a aac -b:a 48k -movie_timescale {timescale} {muxer}");
            let what = format!("{rate} Hz, {len}, {options}");
            let Some(file) = made(rate, len, &options) else {
                return;
            };
            assert_eq!(samples(&file, &what), len as u64, "{what}");
        }
    }
}

/// Without an edit list nothing tells the encoder's delay from the source: all of the media is presented.
#[test]
fn without_an_edit_list_all_of_the_media_is_presented() {
    let mut random = Random::new(0x7EB);
    for muxer in [
        "-use_editlist 0",
        "-movflags frag_keyframe+empty_moov -frag_duration 150000",
        "-movflags frag_keyframe+empty_moov+default_base_moof -frag_duration 90000",
        "-movflags cmaf -frag_duration 200000",
        "-movflags frag_every_frame+empty_moov+omit_tfhd_offset",
        "-movflags frag_keyframe+frag_custom",
    ] {
        for _ in 0..3 {
            let rate = [44_100, 48_000, 16_000][random.between(0, 3)];
            let len = random.between(1, 30_000);
            let options = format!("-c:a aac -b:a 48k {muxer}");
            let what = format!("{rate} Hz, {len}, {options}");
            let Some(file) = made(rate, len, &options) else {
                return;
            };
            assert_eq!(samples(&file, &what), 1024 + len as u64, "{what}");
        }
    }
}

/// Those that lose nothing have no delay either.
#[test]
fn lossless_codecs_are_as_long_as_their_source() {
    let mut random = Random::new(0x7EC);
    for codec in ["alac", "flac -strict -2"] {
        for muxer in [
            "",
            "-movie_timescale 24",
            "-movflags frag_keyframe+empty_moov -frag_duration 150000",
            "-movflags frag_keyframe+delay_moov -frag_duration 150000",
        ] {
            let rate = [44_100, 48_000, 96_000][random.between(0, 3)];
            let len = random.between(1, 60_000);
            let options = format!("-c:a {codec} {muxer}");
            let what = format!("{rate} Hz, {len}, {options}");
            let Some(file) = made(rate, len, &options) else {
                return;
            };
            assert_eq!(samples(&file, &what), len as u64, "{what}");
        }
    }
}
