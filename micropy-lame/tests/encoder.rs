//! The promises of `Encoder`: the same bytes always, no crash on any samples, and no build worse than LAME's own.

#![allow(clippy::unwrap_used)]

mod support;

use std::thread;

use micropy_lame::{Bitrate, Build, Encoder, SAMPLE_RATES, Settings, bitrates, builds};
use support::{Stereo, decode, music, noise, segmental_snr, snr, speech};

const CBR_128: Settings = Settings {
    sample_rate: 44_100,
    channels: 2,
    bitrate: Bitrate::Cbr(128),
    quality: 3,
};

const V2: Settings = Settings {
    bitrate: Bitrate::Vbr(2.0),
    ..CBR_128
};

/// Encodes `audio` in calls of `block` samples.
fn encode(build: Build, settings: &Settings, audio: &Stereo, block: usize) -> Vec<u8> {
    let mut encoder = Encoder::with_build(build, settings).unwrap();
    let mut mp3 = Vec::new();
    for (left, right) in audio.left.chunks(block).zip(audio.right.chunks(block)) {
        let right = (settings.channels == 2).then_some(right);
        encoder.encode(left, right, &mut mp3).unwrap();
    }
    encoder.flush(&mut mp3).unwrap();
    mp3
}

#[test]
fn the_bytes_do_not_depend_on_the_calls() {
    let audio = music(2.0);
    for settings in [CBR_128, V2] {
        let whole = encode(micropy_lame::build(), &settings, &audio, usize::MAX);
        for block in [1, 441, 1152, 4609] {
            let cut = encode(micropy_lame::build(), &settings, &audio, block);
            assert!(cut == whole, "blocks of {block} at {:?}", settings.bitrate);
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_other_threads() {
    let audio = music(2.0);
    for build in builds() {
        let alone = [CBR_128, V2].map(|settings| encode(build, &settings, &audio, 4096));
        thread::scope(|scope| {
            for n in 0..8 {
                let (audio, alone) = (&audio, &alone);
                scope.spawn(move || {
                    let mp3 = encode(build, &[CBR_128, V2][n % 2], audio, 4096);
                    assert!(mp3 == alone[n % 2], "{build}, thread {n}");
                });
            }
        });
    }
}

#[test]
fn every_setting_that_validates_encodes() {
    let audio = music(0.2);
    for sample_rate in SAMPLE_RATES {
        let kbps = bitrates(sample_rate).unwrap();
        let (low, high) = (kbps[0], kbps[kbps.len() - 1]);
        let constant = kbps.iter().map(|&kbps| Bitrate::Cbr(kbps));
        let averages = [low, low + 1, high - 1, high].map(Bitrate::Abr);
        let variable = [0.0, 0.5, 4.0, 9.0, 9.999].map(Bitrate::Vbr);
        for bitrate in constant.chain(averages).chain(variable) {
            for (channels, quality) in [(1, 0), (1, 9), (2, 3), (2, 7)] {
                let settings = Settings {
                    sample_rate,
                    channels,
                    bitrate,
                    quality,
                };
                let mp3 = encode(micropy_lame::build(), &settings, &audio, 4096);
                assert_eq!(mp3[0], 0xff, "{settings:?}");
                assert_eq!(mp3[1] & 0xe6, 0xe2, "layer III at {settings:?}");
                assert_eq!(mp3[3] >> 6 == 3, channels == 1, "mono at {settings:?}");
            }
        }
    }
}

#[test]
fn no_sample_crashes_any_build() {
    let wild = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE / 2.0,
        1e4,
        -0.0,
        1.0,
    ];
    let music = music(0.5);
    for build in builds() {
        for settings in [CBR_128, V2] {
            for wild in wild {
                let mut audio = music.clone();
                audio.left[4000..8000].fill(wild);
                audio.right[6000..]
                    .iter_mut()
                    .step_by(3)
                    .for_each(|s| *s = wild);
                let mp3 = encode(build, &settings, &audio, 4096);
                let decoded = decode(&mp3);
                assert!(decoded.left.len() >= audio.left.len(), "{build}, {wild}");
                assert!(
                    decoded.left.iter().all(|s| s.is_finite()),
                    "{build}, {wild}"
                );
            }
        }
    }
}

/// Flushing denormals to zero is a state of the thread; a library that changes it changes its caller's arithmetic.
#[test]
fn denormals_stay_what_they_were() {
    for build in builds() {
        encode(build, &CBR_128, &noise(0.1), 4096);
        let smallest = std::hint::black_box(f32::MIN_POSITIVE);
        assert!(std::hint::black_box(smallest / 2.0) > 0.0, "{build}");
    }
}

#[test]
fn no_build_sounds_worse_than_the_baseline() {
    // Long enough for a mean: over 4 s the segmental ratio moves by 0.1 dB with the order of the sums alone.
    let materials = [
        ("music", music(20.0)),
        ("speech", speech(20.0)),
        ("noise", noise(10.0)),
    ];
    for (name, audio) in &materials {
        for settings in [CBR_128, V2] {
            let measured = builds().into_iter().map(|build| {
                let mp3 = encode(build, &settings, audio, 4096);
                let decoded = decode(&mp3);
                (
                    build,
                    snr(audio, &decoded),
                    segmental_snr(audio, &decoded),
                    mp3.len(),
                )
            });
            let measured = measured.collect::<Vec<_>>();
            for row in &measured {
                println!("{name}, {:?}: {row:.3?}", settings.bitrate);
            }
            let (_, baseline, segmental, len) = measured[measured.len() - 1];
            assert!(
                baseline > 1.0,
                "{name}: {baseline} dB is not the same audio"
            );
            for &(build, this, this_segmental, this_len) in &measured {
                assert!(
                    this > baseline - 0.1,
                    "{name}, {build}: {this} dB, not {baseline}"
                );
                assert!(
                    this_segmental > segmental - 0.1,
                    "{name}, {build}: {this_segmental} dB, not {segmental}"
                );
                let size = this_len as f64 / len as f64;
                assert!(
                    (0.99..1.01).contains(&size),
                    "{name}, {build}: {size} of the size"
                );
            }
        }
    }
}

#[test]
fn all_builds_stuff_silence_with_the_same_bytes() {
    let silence = Stereo {
        left: vec![0.0; 44_100],
        right: vec![0.0; 44_100],
    };
    for kbps in [32, 128, 320] {
        let settings = Settings {
            bitrate: Bitrate::Cbr(kbps),
            ..CBR_128
        };
        let expected = encode(Build::Baseline, &settings, &silence, 1152);
        for build in builds() {
            let mp3 = encode(build, &settings, &silence, 1152);
            assert!(mp3 == expected, "{build} at {kbps} kbit/s");
        }
    }
}
