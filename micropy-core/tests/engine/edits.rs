//! Edit lists and the times of fragments: what is presented is in the MP3, to the PCM sample, and what is missing is
//! told.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::support::movie::{Moov, edited_movie};
use crate::support::mp3_check::check;
use crate::support::music::{Random, music};
use crate::support::programs::{presented, run};
use crate::support::{clip, media};
use micropy_core::{
    Converter, Error, Options, PcmReader, Report, Source, StreamSource, Warning, probe,
};

fn convert(options: Options, source: impl Source) -> (Vec<u8>, Report) {
    let mut mp3 = Vec::new();
    let report = Converter::new(options).convert(source, &mut mp3).unwrap();
    let stream = check(&mp3).unwrap();
    let tag = stream.tag.unwrap();
    let told = stream.frames.len() as u64 * u64::from(stream.samples_per_frame)
        - u64::from(tag.delay + tag.padding);
    assert_eq!(told, report.output_samples, "the Info tag");
    (mp3, report)
}

fn samples(file: &[u8]) -> u64 {
    let (_, report) = convert(Options::new().cbr(64), file);
    assert!(report.complete, "{:?}", report.warnings);
    let found = probe(file).unwrap();
    assert_eq!(
        found.tracks[0].samples,
        Some(report.input_samples),
        "the probe"
    );
    report.output_samples
}

fn atom(kind: &[u8], payload: &[u8]) -> Vec<u8> {
    let size = (8 + payload.len()) as u32;
    [&size.to_be_bytes()[..], kind, payload].concat()
}

/// What becomes of a box of some kind and payload; none: it stays.
type Change<'a> = dyn FnMut(&[u8], &[u8]) -> Option<Vec<u8>> + 'a;

/// The boxes of `file`, each changed by `change` if that gives something for its kind and payload; those around it
/// grow and shrink with it. Offsets in the file stay right if nothing changes its length before the media.
fn rebuilt(file: &[u8], change: &mut Change<'_>) -> Vec<u8> {
    let mut result = Vec::new();
    let mut rest = file;
    while let Some((size, _)) = rest.split_first_chunk::<4>() {
        let (whole, after) = rest.split_at(u32::from_be_bytes(*size) as usize);
        rest = after;
        let (kind, payload) = (&whole[4..8], &whole[8..]);
        let inner = [
            b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf",
        ];
        result.extend(match change(kind, payload) {
            Some(changed) => changed,
            None if inner.iter().any(|k| *k == kind) => atom(kind, &rebuilt(payload, change)),
            None => whole.to_vec(),
        });
    }
    result
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// An `elst` of durations and media times, −1 for an empty edit.
fn elst(edits: &[(u32, i32)]) -> Vec<u8> {
    let mut payload = words(&[0, edits.len() as u32]);
    for &(duration, time) in edits {
        payload.extend(words(&[duration, time.cast_unsigned(), 1 << 16]));
    }
    atom(b"elst", &payload)
}

/// `file` with another edit list for each of its tracks that has one.
fn edited(file: &[u8], edits: &[(u32, i32)]) -> Vec<u8> {
    rebuilt(file, &mut |kind, _| (kind == b"elst").then(|| elst(edits)))
}

/// Three seconds at 44.1 kHz and 1024 PCM samples before them, in three segments of 45,056, 45,056 and 43,212.
fn segments() -> Vec<u8> {
    clip("fragmented-dash.mp4")
}

/// Where each media segment begins: at its `styp`.
fn cuts(file: &[u8]) -> Vec<usize> {
    let is_start = |&at: &usize| file[at..].starts_with(b"styp");
    let starts = (0..file.len()).filter(is_start).map(|at| at - 4);
    starts.chain([file.len()]).collect()
}

/// The initialization segment, then the media segments with these numbers.
fn joined(numbers: &[usize]) -> Vec<u8> {
    let file = segments();
    let cuts = cuts(&file);
    let mut joined = file[..cuts[0]].to_vec();
    for &number in numbers {
        joined.extend(&file[cuts[number]..cuts[number + 1]]);
    }
    joined
}

#[test]
fn the_length_of_a_fragmented_file_is_exact() {
    let file = segments();
    assert_eq!(samples(&file), 132_300);
    // 3,000 ms end 11 PCM samples before the media does: the movie's clock cannot say it better.
    assert_eq!(samples(&edited(&file, &[(3000, 1013)])), 132_311);
    // The length that `mehd` gives is not that of the media: an edit that ends before it ends there.
    for mehd in [2985, 3000, 3024] {
        let with_mehd = rebuilt(&edited(&file, &[(2985, 1024)]), &mut |kind, payload| {
            let mehd = atom(b"mehd", &words(&[0, mehd]));
            (kind == b"mvex").then(|| atom(b"mvex", &[&mehd, payload].concat()))
        });
        assert_eq!(samples(&with_mehd), 131_639, "mehd {mehd}");
        assert_eq!(samples(&edited(&with_mehd, &[(0, 1024)])), 132_300);
    }
    assert_eq!(samples(&edited(&file, &[(2985, 1024)])), 131_639);
}

#[test]
fn an_empty_track_beside_the_audio_changes_nothing() {
    let file = clip("moov-last-stereo-44100.mp4");
    // 2,267 ms are 26 PCM samples less than there are.
    for length in [2267, 2268] {
        let file = edited(&file, &[(length, 1024)]);
        assert_eq!(samples(&file), 100_001);
        let mut empty = None;
        let _ = rebuilt(&file, &mut |kind, payload| {
            if kind == b"trak" && payload.windows(4).any(|w| w == b"soun") {
                empty = Some(atom(
                    b"trak",
                    &rebuilt(payload, &mut |kind, _| match kind {
                        b"stsz" => Some(atom(kind, &words(&[0, 0, 0]))),
                        b"stts" | b"stsc" | b"stco" => Some(atom(kind, &words(&[0, 0]))),
                        _ => None,
                    }),
                ));
            }
            None
        });
        let empty = empty.unwrap();
        for first in [false, true] {
            let beside = rebuilt(&file, &mut |kind, payload| {
                (kind == b"moov").then(|| match first {
                    // After `mvhd`.
                    true => {
                        let (mvhd, rest) = payload.split_at(108);
                        atom(kind, &[mvhd, &empty, rest].concat())
                    }
                    false => atom(kind, &[payload, &empty].concat()),
                })
            });
            let (_, report) = convert(Options::new().cbr(64), beside.as_slice());
            assert!(report.complete, "{:?}", report.warnings);
            assert_eq!(report.output_samples, 100_001, "{length}, {first}");
        }
    }
}

/// A pipe that gives a few bytes at a time.
struct Pipe<'a>(&'a [u8]);

impl Read for Pipe<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(1000);
        self.0.read(&mut buf[..len])
    }
}

#[test]
fn edits_are_played_the_same_by_any_number_of_workers_and_from_a_pipe() {
    let twice = [
        (2000, 1024),
        (250, -1),
        (1500, 40_000),
        (400, 40_000),
        (900, 1024),
    ];
    let forward = [
        (300, -1),
        (400, 1024),
        (100, -1),
        (300, 40_000),
        (500, 90_000),
    ];
    let planes = music(90, 8_000, 1, 8_000 * 20);
    let in_samples = |edits: &[(u32, i32)]| -> Vec<(u32, i32)> {
        edits.iter().map(|&(len, at)| (len * 32, at)).collect()
    };
    for (edits, millis) in [(&twice[..], 5050), (&forward, 1300)] {
        for (name, file, rate, scale) in [
            ("fragments", edited(&segments(), edits), 44_100, 1),
            (
                "PCM",
                edited_movie(&planes, 8_000, Moov::First, &in_samples(edits)),
                8_000,
                4,
            ),
        ] {
            let options = Options::new().cbr(64);
            let (mp3, report) = convert(options.clone().jobs(1), file.as_slice());
            assert!(report.complete, "{name}: {:?}", report.warnings);
            assert_eq!(
                report.output_samples,
                millis * scale * rate / 1000,
                "{name}"
            );
            let (other, _) = convert(options.clone().jobs(5), file.as_slice());
            assert!(other == mp3, "{name}: 5 jobs");
            let (piped, _) = convert(options.clone(), StreamSource::new(Pipe(&file)));
            assert!(piped == mp3, "{name}: a pipe gives a different MP3");
            let resampled = options
                .clone()
                .cbr(128)
                .sample_rate(32_000)
                .normalize(-20.0);
            let (mp3, report) = convert(resampled.clone().jobs(1), file.as_slice());
            let expected = (millis * scale * 32) as f64;
            assert!((report.output_samples as f64 - expected).abs() < 1.0);
            let (other, _) = convert(resampled.jobs(4), file.as_slice());
            assert!(other == mp3, "{name}: resampled by 4 workers");
        }
    }
}

/// How much of `pcm`, two channels at 44.1 kHz, is silent between these milliseconds.
fn silent(pcm: &[f32], range: std::ops::Range<usize>) -> bool {
    let at = |millis: usize| 2 * millis * 441 / 10;
    let part = &pcm[at(range.start)..at(range.end)];
    part.iter().map(|s| s * s).sum::<f32>() / (part.len() as f32) < 1e-8
}

#[test]
fn a_gap_between_edits_is_silence_and_a_repeat_is_heard_twice() {
    let edits = [(1000, 1024), (500, -1), (1000, 1024)];
    let (mp3, report) = convert(
        Options::new().cbr(192),
        edited(&segments(), &edits).as_slice(),
    );
    assert_eq!(report.output_samples, 44_100 * 5 / 2);
    let Some(pcm) = presented(&mp3) else { return };
    assert!(silent(&pcm, 1030..1470));
    assert!(!silent(&pcm, 900..990) && !silent(&pcm, 1510..1600));
    let (first, second) = (&pcm[2 * 4410..2 * 39_690], &pcm[2 * (66_150 + 4410)..]);
    let both = first.iter().zip(second);
    let (mut signal, mut noise) = (0f64, 0f64);
    for (&a, &b) in both {
        signal += f64::from(a).powi(2);
        noise += f64::from(a - b).powi(2);
    }
    assert!(noise < signal / 100.0, "{noise} of {signal}");
}

#[test]
fn mp3_with_several_edits_is_encoded_anew() {
    let file = clip("mp3.mp4");
    let (_, report) = convert(Options::new(), file.as_slice());
    assert!(report.copied);
    for (edits, millis) in [
        (&[(500, 1105), (500, 1105)][..], 1000),
        (&[(500, 1105), (500, -1), (500, 40_000)], 1500),
    ] {
        let (_, report) = convert(Options::new(), edited(&file, edits).as_slice());
        assert!(!report.copied && report.complete);
        assert_eq!(report.output_samples, millis * 441 / 10);
    }
}

/// However little of the beginning is cut off: players cut off at least their own delay.
#[test]
fn copied_mp3_begins_and_ends_where_the_presentation_does() {
    let file = clip("mp3.mp4");
    let (whole, _) = convert(Options::new(), edited(&file, &[(1900, 1105)]).as_slice());
    for (start, millis, lead) in [(0, 1000, 1), (1, 1000, 1), (528, 700, 1), (529, 700, 0)] {
        let one = edited(&file, &[(millis, start)]);
        let (mp3, report) = convert(Options::new(), one.as_slice());
        assert!(report.copied && report.complete, "{start}");
        assert_eq!(report.warnings, [], "{start}");
        let samples = u64::from(millis) * 441 / 10;
        assert_eq!(report.output_samples, samples, "{start}");
        let frames = (start as u64 + samples).div_ceil(1152) + lead;
        assert_eq!(report.frames, frames, "{start}");
        let (Some(pcm), Some(whole)) = (presented(&mp3), presented(&whole)) else {
            return;
        };
        assert_eq!(pcm.len() as u64, 2 * samples, "{start}");
        let later = 2 * (1105 - start as usize);
        let differ = pcm[later..]
            .iter()
            .zip(&whole)
            .filter(|(a, b)| (*a - *b).abs() > 1e-5);
        assert_eq!(differ.count(), 0, "{start}");
    }
    // 49 frames from the first PCM sample on: there is nothing to cut off.
    let mut mp3 = Vec::new();
    let exact = edited(&file, &[(1280, 0)]);
    let report = Converter::new(Options::new()).convert(exact.as_slice(), &mut mp3);
    let report = report.unwrap();
    assert!(report.copied && report.warnings.is_empty());
    assert_eq!((report.frames, report.output_samples), (49, 56_448));
}

/// The first channel of what is presented.
fn pcm_of(file: &[u8]) -> Vec<f32> {
    let mut reader = PcmReader::new(file, Options::new()).unwrap();
    let mut pcm = Vec::new();
    while let Some(planes) = reader.next_block().unwrap() {
        pcm.extend(&planes[0]);
    }
    pcm
}

/// Between what two edits present, packets are skipped; a third may present those.
#[test]
fn edits_that_go_back_behind_a_leap_present_what_they_name() {
    // Edits in milliseconds: how long, and from where on.
    // The first is longer than the other clips: so many packets are passed over at once.
    let leaps: [&[(u32, u32)]; 5] = [
        &[(50, 0), (50, 1050), (300, 400)],
        &[(150, 700), (300, 100)],
        &[(50, 0), (100, 800), (300, 400)],
        &[(100, 600), (100, 0), (250, 450)],
        &[(50, 850), (50, 400), (50, 200), (50, 300), (200, 600)],
    ];
    for (name, lead, stretch) in [
        ("opus.mp4", 312, 1),
        ("moov-last-stereo-44100.mp4", 1024, 2),
        ("mp3.mp4", 1105, 2),
    ] {
        let file = clip(name);
        let rate = if name == "opus.mp4" { 48 } else { 441 };
        let unit = if rate == 48 { 1 } else { 10 };
        let long = name.starts_with("moov");
        let length = if long { 1100 } else { 1000 };
        let whole = pcm_of(&edited(&file, &[(length * stretch, lead)]));
        for edits in leaps.iter().skip(usize::from(!long)) {
            let mut expected = Vec::new();
            let list: Vec<(u32, i32)> = edits
                .iter()
                .map(|&(length, from)| {
                    let (length, from) = (length * stretch, from * stretch);
                    let at = (from * rate / unit) as usize;
                    expected.extend(&whole[at..at + (length * rate / unit) as usize]);
                    (length, lead + at as i32)
                })
                .collect();
            let found = pcm_of(&edited(&file, &list));
            assert_eq!(found.len(), expected.len(), "{name}: {edits:?}");
            let power = |of: &dyn Fn(usize) -> f32| -> f64 {
                (0..found.len()).map(|i| f64::from(of(i)).powi(2)).sum()
            };
            // Noise that stands in for a band, and what a decoder hears of packets before, may differ.
            let (signal, error) = (power(&|i| expected[i]), power(&|i| expected[i] - found[i]));
            assert!(
                error < signal / 10.0,
                "{name}: {edits:?}: {error} of {signal}"
            );
        }
    }
}

#[test]
fn missing_segments_are_silence_and_are_told() {
    let (mp3, report) = convert(Options::new().cbr(192), joined(&[0, 2]).as_slice());
    assert!(!report.complete);
    assert_eq!(report.output_samples, 132_300);
    let told: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    assert!(
        told[0].contains("1.02 s are missing at 1.02 s") && told[0].contains("silence"),
        "{told:?}"
    );
    if let Some(pcm) = presented(&mp3) {
        assert!(silent(&pcm, 1050..1970));
        assert!(!silent(&pcm, 900..990) && !silent(&pcm, 2070..2150));
    }
    // A trim into the gap and behind it is where it would be with all segments there.
    for start in [500, 1500, 2500] {
        let start = Options::new().cbr(64).start(Duration::from_millis(start));
        let (_, whole) = convert(start.clone(), segments().as_slice());
        let (_, part) = convert(start, joined(&[0, 2]).as_slice());
        assert_eq!(part.output_samples, whole.output_samples);
    }
    // Nobody waits for an hour of silence: the gap is closed, and told.
    let mut number = 0;
    let far = rebuilt(&segments(), &mut |kind, payload| {
        (kind == b"tfdt").then(|| {
            number += 1;
            let (version, time) = payload.split_at(4);
            let time = u64::from_be_bytes(time.try_into().unwrap());
            let time = time + if number == 3 { 44_100 * 3600 } else { 0 };
            atom(kind, &[version, &time.to_be_bytes()].concat())
        })
    });
    let (_, report) = convert(Options::new().cbr(64), far.as_slice());
    assert_eq!((report.output_samples, report.complete), (132_300, false));
    let gap = |w: &Warning| matches!(w, Warning::Gap { filled: false, .. });
    assert!(report.warnings.iter().any(gap), "{:?}", report.warnings);
}

/// The cut is in what belongs to another track: all of the audio up to there is whole.
#[test]
fn a_file_that_ends_inside_a_box_of_no_audio_is_told() {
    let (whole, _) = convert(Options::new().cbr(64), joined(&[0, 1]).as_slice());
    let cut = |kind: &[u8], there: usize| {
        let header = [&10_000u32.to_be_bytes()[..], kind].concat();
        [joined(&[0, 1]), header, vec![7; there]].concat()
    };
    for (kind, there, told) in [
        (b"mdat", 5000, true),
        (b"mdat", 0, true),
        (b"free", 20, true),
        (b"junk", 5000, true),
        // A tag that some program appended.
        (b"junk", 100, false),
    ] {
        let file = cut(kind, there);
        let (mp3, report) = convert(Options::new().cbr(64), file.as_slice());
        assert!(mp3 == whole);
        assert_eq!(report.complete, !told, "{there} bytes of {kind:?}");
        let warnings: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
        let says = |w: &String| w.contains("the file ends inside it");
        assert_eq!(warnings.iter().any(says), told, "{warnings:?}");
        let (_, report) = convert(Options::new().cbr(64), StreamSource::new(Pipe(&file)));
        assert!(!report.complete, "{there} bytes of {kind:?} in a pipe");
    }
    // What is there to its last byte is whole.
    let (_, report) = convert(Options::new().cbr(64), cut(b"mdat", 9992).as_slice());
    assert!(report.complete, "{:?}", report.warnings);
    let file = cut(b"mdat", 9992);
    let (_, report) = convert(Options::new().cbr(64), StreamSource::new(Pipe(&file)));
    assert!(report.complete, "{:?}", report.warnings);
}

#[test]
fn segments_that_are_repeated_are_heard_once() {
    let (whole, expected) = convert(Options::new().cbr(64), segments().as_slice());
    for numbers in [
        &[0, 1, 1, 2][..],
        &[0, 0, 1, 2],
        &[0, 1, 2, 0],
        &[0, 1, 0, 1, 2, 2],
        &[0, 1, 2, 0, 1, 2],
    ] {
        let file = joined(numbers);
        let (mp3, report) = convert(Options::new().cbr(64), file.as_slice());
        assert!(mp3 == whole && report.complete, "{numbers:?}");
        assert_eq!(report.packets, expected.packets, "{numbers:?}");
        let told = |w: &Warning| matches!(w, Warning::Repeated { .. });
        assert!(
            !report.warnings.is_empty() && report.warnings.iter().all(told),
            "{numbers:?}: {:?}",
            report.warnings
        );
        let (piped, _) = convert(Options::new().cbr(64), StreamSource::new(Pipe(&file)));
        assert!(piped == mp3, "{numbers:?}");
        assert_eq!(samples(&file), 132_300, "{numbers:?}");
        // What is in front of it is not read, and neither is what it may repeat.
        let late = Options::new().cbr(64).start(Duration::from_millis(2500));
        let (_, part) = convert(late.clone(), file.as_slice());
        let (_, piped) = convert(late.clone(), StreamSource::new(Pipe(&file)));
        let (_, whole) = convert(late, segments().as_slice());
        let lengths = [&part, &piped, &whole].map(|report| report.output_samples);
        assert_eq!(lengths, [22_050; 3], "{numbers:?}");
    }
    let (_, report) = convert(Options::new().cbr(64), joined(&[0, 1, 0, 1, 2]).as_slice());
    assert_eq!(
        report.warnings[0].to_string(),
        "2.04 s from 0.00 s on are in the file more than once: the repeats were left out"
    );
}

/// The same times and sizes are no repeat where the bytes are others: a second recording is heard, too.
#[test]
fn a_second_recording_behind_the_first_is_no_repeat() {
    let other: Vec<u8> = {
        let mut file = joined(&[0]);
        let media = file.windows(4).rposition(|bytes| bytes == b"mdat").unwrap() + 4;
        let audio = file.len() - 40..file.len() - 30;
        assert!(audio.start > media);
        file[audio].iter_mut().for_each(|byte| *byte ^= 0x55);
        file[cuts(&segments())[0]..].to_vec()
    };
    for (numbers, length) in [(&[0, 1, 2][..], 133_120), (&[0, 2], 133_120)] {
        let file = [joined(numbers), other.clone()].concat();
        for source in [
            &mut file.as_slice() as &mut dyn Source,
            &mut StreamSource::new(Pipe(&file)),
        ] {
            let (_, report) = convert(Options::new().cbr(64), source);
            assert_eq!(report.output_samples, length + 45_056, "{numbers:?}");
            let told = |w: &Warning| matches!(w, Warning::OutOfOrder { .. });
            assert!(report.warnings.iter().any(told), "{:?}", report.warnings);
            assert!(!report.complete);
        }
    }
}

#[test]
fn segments_in_the_wrong_order_are_sorted_in_a_file_and_told_in_a_pipe() {
    let (whole, _) = convert(Options::new().cbr(64), segments().as_slice());
    for numbers in [
        &[0, 2, 1][..],
        &[1, 0, 2],
        &[2, 1, 0],
        &[1, 2, 0],
        &[0, 2, 1, 2],
        &[2, 0, 1, 1],
    ] {
        let file = joined(numbers);
        let (mp3, report) = convert(Options::new().cbr(64), file.as_slice());
        assert!(
            mp3 == whole && report.complete,
            "{numbers:?}: {:?}",
            report.warnings
        );
        let told = |w: &Warning| matches!(w, Warning::Sorted { .. });
        assert!(report.warnings.iter().any(told), "{:?}", report.warnings);
        assert_eq!(samples(&file), 132_300, "{numbers:?}");
        let (_, report) = convert(Options::new().cbr(64), StreamSource::new(Pipe(&file)));
        let told = |w: &Warning| matches!(w, Warning::OutOfOrder { .. });
        assert!(report.warnings.iter().any(told), "{:?}", report.warnings);
        assert!(!report.complete, "{numbers:?}");
    }
    // What is played twice is read twice.
    let twice = [(1500, 1024), (1500, 22_050)];
    let (in_order, _) = convert(
        Options::new().cbr(64),
        edited(&segments(), &twice).as_slice(),
    );
    let (sorted, _) = convert(
        Options::new().cbr(64),
        edited(&joined(&[0, 2, 1]), &twice).as_slice(),
    );
    assert!(sorted == in_order);
    let (sorted, _) = convert(
        Options::new().cbr(64),
        edited(&joined(&[0, 1, 0, 2]), &twice).as_slice(),
    );
    assert!(sorted == in_order);
}

/// The gap is told where it is, and so is the fragment that comes too late: neither sentence denies the other.
#[test]
fn a_segment_behind_the_next_one_is_told_truthfully() {
    let file = joined(&[0, 2, 1]);
    let (_, report) = convert(Options::new().cbr(64), StreamSource::new(Pipe(&file)));
    let told: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "1.02 s are missing at 1.02 s: what follows begins at 2.04 s; silence takes their place",
            "a fragment that begins at 1.02 s follows one that ends at 3.02 s: they overlap or are in the wrong order, \
             and were converted as they stand",
        ]
    );
    // The padding behind the last segment lies in the middle now: nothing is cut off the sound at the end for it.
    assert_eq!(report.output_samples, 133_120 + 45_056);
    assert_eq!(report.expected_packets, report.packets);
}

/// The Opus clip, a second of 51 packets, with the times that such runs of durations give, and all of it presented.
fn opus_timed(durations: &[(u32, u32)], milliseconds: u32) -> Vec<u8> {
    let file = edited(&clip("opus.mp4"), &[(milliseconds, 312)]);
    rebuilt(&file, &mut |kind, _| {
        let runs = durations.iter().flat_map(|&(count, delta)| [count, delta]);
        let runs: Vec<u32> = [0, durations.len() as u32]
            .into_iter()
            .chain(runs)
            .collect();
        (kind == b"stts").then(|| atom(b"stts", &words(&runs)))
    })
}

/// An encoder that sends nothing in silence, or a recorder that paused: the packet in front of it lasts as long.
#[test]
fn a_pause_between_packets_is_silence_and_is_told() {
    let paused = [(25, 960), (1, 960 + 19_200), (24, 960), (1, 312)];
    let (mp3, report) = convert(
        Options::new().cbr(192),
        opus_timed(&paused, 1400).as_slice(),
    );
    let told: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["0.40 s are missing at 0.52 s: what follows begins at 0.92 s; silence takes their place"]
    );
    assert_eq!(
        (report.output_samples, report.complete),
        (48_000 + 19_200, false)
    );
    if let Some(pcm) = presented(&mp3) {
        let loudest = |range: std::ops::Range<usize>| {
            let samples = pcm[2 * 48 * range.start..2 * 48 * range.end].iter();
            samples.fold(0f32, |loudest, sample| loudest.max(sample.abs()))
        };
        assert!(loudest(540..890) < 1e-3, "{}", loudest(540..890));
        assert!(loudest(400..500) > 0.01 && loudest(930..1300) > 0.01);
    }
    // The sound behind the pause is what it is without one.
    let (_, part) = convert(
        Options::new().cbr(64).start(Duration::from_millis(1000)),
        opus_timed(&paused, 1400).as_slice(),
    );
    assert_eq!(part.output_samples, 48_000 / 5 * 2);
}

/// `file` without edit lists, all packets of `len` timescale units but the one before number `count`, which lasts
/// `more`.
fn paused(file: &[u8], len: u32, count: u32, more: u32) -> Vec<u8> {
    rebuilt(file, &mut |kind, payload| match kind {
        b"edts" => Some(Vec::new()),
        b"stts" if payload.get(12..16) == Some(&len.to_be_bytes()[..]) => {
            let all = u32::from_be_bytes(payload[8..12].try_into().unwrap());
            let mut runs = vec![count, len, 1, len + more, all - count - 1, len];
            let rest = payload[16..].as_chunks::<4>().0;
            runs.extend(rest.iter().map(|word| u32::from_be_bytes(*word)));
            let head = [0, runs.len() as u32 / 2];
            Some(atom(b"stts", &words(&[&head[..], &runs].concat())))
        }
        _ => None,
    })
}

#[test]
fn a_pause_between_packets_of_a_fixed_length_is_silence_too() {
    for (name, len) in [
        ("moov-last-stereo-44100.mp4", 1024),
        ("ac3.mp4", 1536),
        ("mp3.mp4", 1152),
    ] {
        let file = clip(name);
        let (_, whole) = convert(
            Options::new().cbr(192),
            paused(&file, len, 20, 0).as_slice(),
        );
        assert!(whole.complete, "{name}: {:?}", whole.warnings);
        let file = paused(&file, len, 20, 20 * len);
        let (mp3, report) = convert(Options::new().cbr(192).jobs(3), file.as_slice());
        let (alone, _) = convert(Options::new().cbr(192).jobs(1), file.as_slice());
        assert!(
            mp3 == alone,
            "{name}: the number of workers changes the MP3"
        );
        let gap = |w: &Warning| matches!(w, Warning::Gap { filled: true, .. });
        assert!(
            report.warnings.iter().all(gap),
            "{name}: {:?}",
            report.warnings
        );
        assert_eq!(
            (report.warnings.len(), report.complete),
            (1, false),
            "{name}"
        );
        let pause = u64::from(20 * len);
        assert_eq!(
            report.output_samples,
            whole.output_samples + pause,
            "{name}"
        );
        let found = probe(file.as_slice()).unwrap();
        assert_eq!(
            found.tracks[0].samples,
            Some(report.input_samples),
            "{name}"
        );
        if let Some(pcm) = presented(&mp3) {
            let at = |packets: u32| {
                (u64::from(packets * len) * 1000 / u64::from(report.input_sample_rate)) as usize
            };
            assert!(silent(&pcm, at(23)..at(40)), "{name}");
            assert!(
                !silent(&pcm, at(10)..at(20)) && !silent(&pcm, at(42)..at(50)),
                "{name}"
            );
        }
        // From behind the pause on it is what it was.
        let late =
            Duration::from_secs_f64(45.0 * f64::from(len) / f64::from(report.input_sample_rate));
        let (_, part) = convert(Options::new().cbr(64).start(late), file.as_slice());
        assert_eq!(
            part.output_samples,
            report.output_samples - 45 * u64::from(len),
            "{name}"
        );
    }
}

#[test]
fn a_pause_is_silence_in_a_copy() {
    let (_, whole) = convert(
        Options::new(),
        paused(&clip("mp3.mp4"), 1152, 20, 0).as_slice(),
    );
    let file = paused(&clip("mp3.mp4"), 1152, 20, 20 * 1152);
    let mut mp3 = Vec::new();
    let report = Converter::new(Options::new())
        .convert(file.as_slice(), &mut mp3)
        .unwrap();
    assert!(whole.copied && report.copied && !report.complete);
    assert_eq!(report.packets, whole.packets);
    assert_eq!(report.frames, report.packets + 20);
    if let Some(pcm) = presented(&mp3) {
        let at = |packets: usize| packets * 1152 * 1000 / report.input_sample_rate as usize;
        assert!(
            silent(&pcm, at(24)..at(38))
                && !silent(&pcm, at(10)..at(18))
                && !silent(&pcm, at(45)..at(60))
        );
    }
}

/// The last segment is missing, as after a download that broke off: only the index tells it.
#[test]
fn segments_that_only_the_index_has_are_told() {
    let indexed = |numbers: &[usize]| {
        let file = segments();
        let cuts = cuts(&file);
        let reference = |from: usize, units: u32| [(cuts[from + 1] - cuts[from]) as u32, units, 0];
        let index = [
            &[0, 1, 44_100, 0, 0, 3][..],
            &reference(0, 45_056),
            &reference(1, 45_056),
            &reference(2, 43_212),
        ];
        let joined = joined(numbers);
        let (init, media) = joined.split_at(cuts[0]);
        // The segments' own indexes cover themselves alone.
        [init, &atom(b"sidx", &words(&index.concat())), media].concat()
    };
    assert_eq!(samples(&indexed(&[0, 1, 2])), 132_300);
    let (_, report) = convert(Options::new().cbr(64), indexed(&[0, 1]).as_slice());
    let told: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["the fragments end at 2.04 s, where their index (sidx) has 3.02 s: the rest is missing"]
    );
    assert!(!report.complete);
    // What was asked for is there.
    let second = Options::new().cbr(64).duration(Duration::from_secs(1));
    let (_, part) = convert(second, indexed(&[0, 1]).as_slice());
    assert_eq!(part.warnings, []);
}

#[test]
fn the_jitter_of_a_clock_is_not_padding() {
    let file = clip("moov-last-stereo-44100.mp4");
    let all = samples(&paused(&file, 1024, 20, 0));
    let jitter = rebuilt(&paused(&file, 1024, 20, 0), &mut |kind, payload| {
        (kind == b"stts" && payload.get(12..16) == Some(&1024u32.to_be_bytes()[..])).then(|| {
            let mut payload = payload.to_vec();
            payload[12..16].copy_from_slice(&1004u32.to_be_bytes());
            atom(b"stts", &payload)
        })
    });
    assert_eq!(samples(&jitter), all);
}

/// A QuickTime movie may keep its media in other files, which nobody but its writer has.
#[test]
fn media_in_another_file_is_refused() {
    let placed = |flags: u32, place: &[u8]| {
        let entry = atom(b"url ", &[&words(&[flags]), place].concat());
        let dinf = atom(b"dinf", &atom(b"dref", &[words(&[0, 1]), entry].concat()));
        rebuilt(&clip("moov-last-stereo-44100.mp4"), &mut |kind, _| {
            (kind == b"dinf").then(|| dinf.clone())
        })
    };
    let elsewhere = placed(0, b"file:///sound.aif\0");
    let refused = Converter::new(Options::new()).convert(elsewhere.as_slice(), &mut Vec::new());
    assert!(
        matches!(&refused, Err(Error::Unsupported { what, .. }) if what.contains("another file")),
        "{refused:?}"
    );
    // Writers that forget the flag mean this file.
    for here in [placed(1, b""), placed(0, b""), placed(0, b"\0")] {
        assert_eq!(samples(&here), 100_001);
    }
}

/// A clock that was late with one packet makes up for it with those behind it: no sound is missing.
#[test]
fn a_packet_that_came_late_is_no_pause() {
    let late = [(25, 960), (1, 960 + 19_200), (20, 0), (4, 960), (1, 312)];
    let (_, report) = convert(Options::new().cbr(64), opus_timed(&late, 1000).as_slice());
    assert_eq!(report.warnings, []);
    assert_eq!(report.output_samples, 48_000);
}

/// Nobody waits for an hour of silence.
#[test]
fn a_pause_of_an_hour_is_closed_and_told() {
    let hour = [(25, 960), (1, 960 + 48_000 * 3600), (24, 960), (1, 312)];
    let file = opus_timed(&hour, 1000);
    let (_, report) = convert(Options::new().cbr(64), file.as_slice());
    let gap = |w: &Warning| matches!(w, Warning::Gap { filled: false, .. });
    assert!(
        !report.complete && report.warnings.iter().any(gap),
        "{:?}",
        report.warnings
    );
    assert_eq!(report.output_samples, 48_000);
}

/// `file` with this much added to the decode time of each fragment.
fn later(file: &[u8], units: u64) -> Vec<u8> {
    rebuilt(file, &mut |kind, payload| {
        (kind == b"tfdt").then(|| {
            let (version, time) = payload.split_at(4);
            let time = u64::from_be_bytes(time.try_into().unwrap()) + units;
            atom(kind, &[version, &time.to_be_bytes()].concat())
        })
    })
}

/// The edit list of an initialization segment leaves out the encoder's delay, which only the stream's first segment
/// has. ffmpeg cuts off as little, and gives the same start time. That the clock stands at some time is no late start:
/// it may be that of a camera that has run for years.
#[test]
fn a_stream_joined_in_the_middle_is_whole_from_its_first_packet_on() {
    let (mp3, _) = convert(Options::new().cbr(192), segments().as_slice());
    let whole = presented(&mp3);
    for (numbers, at) in [(&[1, 2][..], 45_056), (&[2], 90_112)] {
        let file = joined(numbers);
        assert_eq!(samples(&file), 1024 + 132_300 - at);
        let (late, _) = convert(Options::new().cbr(64).late_start(true), file.as_slice());
        let (mp3, _) = convert(Options::new().cbr(64), file.as_slice());
        assert!(late == mp3);
        let (mp3, _) = convert(Options::new().cbr(192), file.as_slice());
        let (Some(whole), Some(pcm)) = (&whole, presented(&mp3)) else {
            return;
        };
        // The first packet lacks its overlap with the one before.
        let skipped = 2048;
        let same = &whole[2 * (at as usize - 1024 + skipped)..];
        let (mut signal, mut noise) = (0f64, 0f64);
        for (&a, &b) in same.iter().zip(&pcm[2 * skipped..]) {
            signal += f64::from(a).powi(2);
            noise += f64::from(a - b).powi(2);
        }
        assert!(noise < signal / 100.0, "{numbers:?}: {noise} of {signal}");
    }
    for years in [1, 100] {
        let file = later(&segments(), years * 365 * 24 * 3600 * 44_100);
        assert_eq!(samples(&file), 1024 + 132_300);
    }
    // Less than the delay: the rest of it is left out.
    assert_eq!(samples(&later(&segments(), 1000)), 1000 + 132_300);
    // An edit that ends, ends where it did: 998 ms of two seconds are missing, by the movie's clock.
    let two_seconds = edited(&joined(&[1, 2]), &[(2000, 1024)]);
    assert_eq!(samples(&two_seconds), 1002 * 441 / 10);
}

#[test]
fn chapters_are_cut_where_they_begin_although_the_audio_starts_late() {
    let file = clip("chapters.m4b");
    let mut number = 0;
    let late = rebuilt(&file, &mut |kind, _| {
        // The first track is the audio.
        number += usize::from(kind == b"elst");
        (kind == b"elst" && number == 1).then(|| elst(&[(500, -1), (2500, 1024)]))
    });
    let millis = |file: &[u8], options: Options| -> Vec<u64> {
        let mut chapters = Converter::new(options).chapters(file).unwrap();
        (0..chapters.list().len())
            .map(|index| chapters.convert(index, Vec::new()).unwrap())
            .filter_map(|outcome| outcome.report())
            .map(|report| report.output_samples * 1000 / 22_050)
            .collect()
    };
    let options = Options::new().cbr(64);
    assert_eq!(millis(&file, options.clone()), [800, 900, 1300]);
    assert_eq!(millis(&late, options.clone()), [300, 900, 1300]);
    assert_eq!(millis(&late, options.late_start(true)), [800, 900, 1300]);
}

#[test]
fn endless_edit_lists_are_refused_at_once() {
    let planes = music(91, 8_000, 1, 8_000);
    let long = vec![(u32::MAX, 0); 1500];
    let silence = [(8000, 0), (u32::MAX, -1), (8, 0)];
    let behind: Vec<_> = (0..1500).map(|i| (u32::MAX, (i % 2) * 8000)).collect();
    for edits in [&long[..], &silence, &behind] {
        for file in [
            edited_movie(&planes, 8_000, Moov::First, edits),
            edited(&segments(), edits),
        ] {
            let begun = Instant::now();
            let error = Converter::new(Options::new()).convert(file.as_slice(), Vec::new());
            assert!(
                matches!(error, Err(Error::Limit { limit: 86_400, .. })),
                "{error:?}"
            );
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
    }
}

/// Each edit presents one PCM sample, from anywhere.
#[test]
fn thousands_of_edits_cost_no_more_than_they_present() {
    let mut random = Random::new(92);
    let edits: Vec<(u32, i32)> = (0..1500)
        .map(|_| (1, random.between(0, 130_000) as i32))
        .collect();
    let begun = Instant::now();
    let file = edited(&segments(), &edits);
    let (_, report) = convert(Options::new().cbr(64).jobs(2), file.as_slice());
    assert!(report.output_samples.abs_diff(1500 * 441 / 10) < 1500);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

/// MP3 in half a second's fragments, of which the second is missing: frames of silence take its place in the copy.
#[test]
fn copied_mp3_has_silent_frames_in_place_of_missing_fragments() {
    let file = media().join("mp3.mp4");
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("fragments.mp4");
    let args = [
        "-v",
        "error",
        "-i",
        file.to_str().unwrap(),
        "-c",
        "copy",
        "-movflags",
        "frag_keyframe+empty_moov+default_base_moof",
        "-frag_duration",
        "500000",
        output.to_str().unwrap(),
    ];
    if run("ffmpeg", &args, &[]).is_none() {
        return;
    }
    let whole = std::fs::read(&output).unwrap();
    // An Info tag can cut off what a decoder adds only where something is cut off.
    let whole = rebuilt(&whole, &mut |kind, payload| {
        let edts = atom(b"edts", &elst(&[(0, 1105)]));
        (kind == b"tkhd").then(|| [atom(kind, payload), edts].concat())
    });
    let is_start = |&at: &usize| whole[at..].starts_with(b"moof");
    let moofs: Vec<usize> = (0..whole.len()).filter(is_start).map(|at| at - 4).collect();
    let without = [&whole[..moofs[1]], &whole[moofs[2]..]].concat();
    let (_, all) = convert(Options::new(), whole.as_slice());
    // The frames behind it whose main data is missing are silent too, which is more than `check` allows for.
    let mut mp3 = Vec::new();
    let report = Converter::new(Options::new())
        .convert(without.as_slice(), &mut mp3)
        .unwrap();
    assert!(all.copied && all.complete && report.copied);
    assert!(!report.complete, "the gap is told");
    assert_eq!(report.output_samples, all.output_samples);
    assert_eq!(report.frames, all.frames);
    if let Some(pcm) = presented(&mp3) {
        assert!(silent(&pcm, 650..900) && !silent(&pcm, 1150..1300));
    }
}

/// No decoder of xHE-AAC can begin in the middle: it begins anew for each step back.
#[test]
fn xhe_aac_is_decoded_again_for_a_repeat() {
    let Some(corpus) = std::env::var_os("MICROPY_CORPUS") else {
        return;
    };
    let path = std::path::Path::new(&corpus).join("sine-3s-xhe-aac-44khz-mono.mp4");
    let file = std::fs::read(path).unwrap();
    let mut timescale = 0;
    let mut has_edits = false;
    let _ = rebuilt(&file, &mut |kind, payload| {
        has_edits |= kind == b"elst";
        if kind == b"mvhd" {
            timescale = u32::from_be_bytes(payload[12..16].try_into().unwrap());
        }
        None
    });
    assert!(has_edits);
    let edits = [(timescale, 4096), (timescale / 2, -1), (timescale, 4096)];
    // Two more entries of 12 bytes, before the media.
    let file = rebuilt(&edited(&file, &edits), &mut |kind, payload| {
        (kind == b"stco").then(|| {
            let (head, offsets) = payload.split_at(8);
            let offsets = offsets.as_chunks::<4>().0.iter();
            let moved: Vec<u32> = offsets.map(|at| u32::from_be_bytes(*at) + 24).collect();
            atom(kind, &[head, &words(&moved)].concat())
        })
    });
    let options = Options::new().cbr(64);
    let (mp3, report) = convert(options.clone().jobs(1), file.as_slice());
    assert!(report.complete, "{:?}", report.warnings);
    assert_eq!(report.output_samples, 44_100 * 5 / 2);
    let (other, _) = convert(options.jobs(4), file.as_slice());
    assert!(other == mp3);
}
