//! Every decoder against ffmpeg's, on what encoders make of all kinds of sound at all rates, channels and bitrates, and
//! on files of others.
//!
//! Each run tries every rate, layout and bitrate of every codec at least once, each with another kind of sound.
//! `MICROPY_DIFFERENTIAL=all` tries every combination, which takes an hour or two, and HE-AAC by Fraunhofer's encoder:
//!
//! ```sh
//! MICROPY_DIFFERENTIAL=all cargo test --all-features --test differential -- --nocapture
//! ```
//!
//! The judge compares the PCM before it is encoded as MP3, channel by channel, and the length of what a conversion
//! makes of the same file.

#![cfg(feature = "stages")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

mod axes;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../src/mp4/tests/build.rs"]
mod build;
mod case;
#[cfg(feature = "fdk-aac")]
mod he_aac;
mod judge;
mod material;
mod real;
#[path = "../support/mod.rs"]
mod support;

use axes::{AXES, Axes};
use case::Case;
use support::programs::run;

/// Whether every combination is to be tried.
fn every() -> bool {
    std::env::var("MICROPY_DIFFERENTIAL").is_ok_and(|value| value == "all")
}

fn has_ffmpeg() -> bool {
    run("ffmpeg", &["-version"], &[]).is_some()
}

/// Judges the cases of the codecs whose names begin with `name`.
fn differ(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    if !has_ffmpeg() {
        return;
    }
    let mut wrong = Vec::new();
    for axes in AXES.iter().filter(|axes| axes.name.starts_with(name)) {
        let cases = Case::all_of(axes, every());
        wrong.extend(judge_all(axes, &cases, |case| case.judge(folder.path())));
    }
    assert_right(&wrong);
}

/// What is wrong with these cases, of which ffmpeg has to encode most.
fn judge_all(
    axes: &Axes,
    cases: &[Case],
    judge: impl Fn(&Case) -> Option<Result<(), String>>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut judged = 0;
    for case in cases {
        let Some(judgement) = judge(case) else {
            eprintln!("ffmpeg does not encode {case}");
            continue;
        };
        judged += 1;
        if let Err(why) = judgement {
            eprintln!("{case}: {why}");
            wrong.push(format!("{case}: {why}"));
        }
    }
    assert!(
        2 * judged > cases.len(),
        "{}: ffmpeg encoded only {judged} of {} cases",
        axes.name,
        cases.len()
    );
    wrong
}

fn assert_right(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn aac() {
    differ("aac");
}

#[test]
fn ac3() {
    differ("ac3");
}

#[test]
fn eac3() {
    differ("eac3");
}

#[test]
fn mp3() {
    differ("mp3");
}

#[test]
fn mp2() {
    differ("mp2");
}

#[test]
fn vorbis() {
    differ("vorbis");
}

#[test]
fn opus() {
    differ("opus");
}

#[test]
fn lossless() {
    differ("flac");
    differ("alac");
}

#[test]
fn adpcm() {
    differ("ima");
    differ("ms-adpcm");
}

#[test]
fn pcm() {
    differ("pcm");
}

/// Matroska counts milliseconds. What is copied from it into MP4 has durations that are right on average, and packets
/// that are longer or shorter.
#[test]
fn packets_whose_durations_are_not_their_lengths() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for codec in ["flac", "alac", "vorbis", "opus"] {
        for axes in AXES.iter().filter(|axes| axes.name == codec) {
            // Of a single packet, no other tells how certain its time is.
            let mut cases = Case::all_of(axes, every());
            cases.retain(Case::has_several_packets);
            wrong.extend(judge_all(axes, &cases, |case| {
                case.judge_from_matroska(folder.path())
            }));
        }
    }
    assert_right(&wrong);
}

#[test]
fn files_of_others() {
    if !has_ffmpeg() {
        return;
    }
    let mut wrong = Vec::new();
    for (folder, least) in real::clips_and_corpus() {
        let (judged, faults) = real::judge_all(&folder);
        assert!(judged >= least, "{}: only {judged}", folder.display());
        wrong.extend(faults);
    }
    assert_right(&wrong);
}

/// Those of the repository's clips are among the [`files_of_others`].
#[cfg(feature = "fdk-aac")]
#[test]
fn he_aac_by_its_own_encoder() {
    if !every() || !has_ffmpeg() {
        return;
    }
    let encoder = he_aac::encoder().expect("scripts/he-aac is built");
    let folder = tempfile::tempdir().unwrap();
    let (judged, wrong) = he_aac::judge_all(&encoder, folder.path());
    assert!(judged > 300, "{judged}");
    assert_right(&wrong);
}
