//! Packets are as long as they are, whatever durations a container gives them.

use std::time::Duration;

use crate::support::clip;
use crate::support::remux::Remux;
use micropy_core::{Converter, Options, OutputFormat, Report, SampleFormat, Warning, probe};

/// A track with the true length of its packets, at its timescale.
struct Track {
    name: &'static str,
    remux: Remux,
    len: u32,
    /// PCM samples at its start that are no sound.
    skipped: u32,
    /// No decoder state is carried from packet to packet, so that parts are bit for bit those of the whole.
    lossless: bool,
}

/// `count` packets of a clip, over and over, without its last one, which may be shorter.
fn repeated(name: &str, count: usize) -> Remux {
    let mut remux = Remux::of(&clip(name));
    remux.packets.pop();
    let packets = remux.packets.iter().cycle().take(count).cloned();
    remux.packets = packets.collect();
    remux
}

/// Two seconds and more of uncompressed audio of so many bytes an instant, in packets of 1000 instants.
fn uncompressed(name: &str, instant: usize) -> Remux {
    let mut remux = Remux::of(&clip(name));
    let bytes = remux.packets.concat();
    let enough = 2 * remux.timescale as usize * instant;
    let bytes = bytes.repeat(enough.div_ceil(bytes.len()));
    remux.packets = bytes
        .chunks_exact(1000 * instant)
        .map(<[u8]>::to_vec)
        .collect();
    remux
}

fn tracks() -> Vec<Track> {
    let track = |name, remux, len, lossless| Track {
        name,
        remux,
        len,
        skipped: if name == "Opus" { 312 } else { 0 },
        lossless,
    };
    vec![
        track("Opus", repeated("opus.mp4", 200), 960, false),
        track("FLAC", repeated("flac.mp4", 60), 4608, true),
        track("ALAC", repeated("alac.m4a", 60), 4096, true),
        track("AC-3", repeated("ac3.mp4", 90), 1536, false),
        track("PCM", uncompressed("quicktime-sowt.mov", 2), 1000, true),
        track("floats", uncompressed("quicktime-fl32.mov", 4), 1000, true),
        track("µ-law", uncompressed("quicktime-ulaw.mov", 1), 1000, true),
    ]
}

/// What a file decodes to, by one worker and by several.
fn decoded(file: &[u8], options: Options, what: &str) -> (Vec<u8>, Report) {
    let options = options.format(OutputFormat::Raw(SampleFormat::F32));
    let (mut alone, mut others) = (Vec::new(), Vec::new());
    let report = Converter::new(options.clone().jobs(1))
        .convert(file, &mut alone)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    Converter::new(options.jobs(3))
        .convert(file, &mut others)
        .unwrap();
    assert!(alone == others, "{what}: 3 jobs decode something else");
    (alone, report)
}

/// The file with these durations, plain and with a fragment for every packet.
fn files(remux: &Remux, durations: &[u32]) -> [(&'static str, Vec<u8>); 2] {
    let runs: Vec<(u32, u32)> = durations.iter().map(|&duration| (1, duration)).collect();
    let mut fragments = remux.init();
    let mut time = 0;
    for (index, &duration) in durations.iter().enumerate() {
        fragments.extend(remux.fragment(index..index + 1, duration, time, true));
        time += u64::from(duration);
    }
    [("plain", remux.plain(&runs)), ("fragments", fragments)]
}

#[test]
fn durations_that_are_about_right_change_nothing() {
    for track in tracks() {
        let rate = track.remux.timescale;
        let count = track.remux.packets.len();
        let len = track.len;
        let exact = vec![len; count];
        let jitter: Vec<u32> = (0..count)
            .map(|i| {
                if i % 2 == 0 {
                    len - len / 20
                } else {
                    len + len / 20
                }
            })
            .collect();
        let late: Vec<u32> = (0..count)
            .map(|i| {
                if i < 12 || i % 2 == 0 {
                    len
                } else {
                    len - len / 16
                }
            })
            .collect();
        let short = vec![len - len / 16; count];
        let in_units = |timescale: u32| {
            let at = |index: usize| {
                let units = index as u64 * u64::from(len) * u64::from(timescale);
                (units / u64::from(rate)) as u32
            };
            (0..count).map(|i| at(i + 1) - at(i)).collect::<Vec<u32>>()
        };
        let [(_, file), _] = files(&track.remux, &exact);
        let (whole, report) = decoded(&file, Options::new(), track.name);
        let all = count as u64 * u64::from(len) - u64::from(track.skipped);
        assert_eq!(report.output_samples, all, "{}", track.name);
        assert_eq!(report.warnings, [], "{}", track.name);
        for (pattern, timescale, durations) in [
            ("exact", rate, exact),
            ("jitter", rate, jitter),
            ("late jitter", rate, late),
            ("short", rate, short),
            ("milliseconds", 1000, in_units(1000)),
            ("600", 600, in_units(600)),
        ] {
            let mut remux = track.remux.clone();
            remux.timescale = timescale;
            for (kind, file) in files(&remux, &durations) {
                let what = format!("{}, {pattern}, {kind}", track.name);
                let (sound, report) = decoded(&file, Options::new(), &what);
                assert_eq!(report.warnings, [], "{what}");
                // What a coarse clock leaves out at the end may be padding.
                let missing = whole.len() - sound.len();
                let bytes_per_sample = whole.len() / all as usize;
                let tick = rate.div_ceil(timescale) as usize + 1;
                let most = match pattern {
                    "exact" => 0,
                    "milliseconds" | "600" => tick * bytes_per_sample,
                    _ => (len / 16 + 1) as usize * bytes_per_sample,
                };
                assert!(missing <= most, "{what}: {missing} bytes are missing");
                assert!(whole.starts_with(&sound), "{what}: another sound");
                let samples = probe(file.as_slice()).unwrap().tracks[0].samples;
                assert_eq!(samples, Some(report.input_samples), "{what}: the probe");
                // From the middle on.
                let start = Duration::from_millis(500);
                let (part, _) = decoded(&file, Options::new().start(start), &what);
                let skipped = (rate as usize).div_ceil(2) * bytes_per_sample;
                assert_eq!(
                    part.len(),
                    sound.len() - skipped,
                    "{what}: from the middle on"
                );
                if track.lossless {
                    assert!(part == sound[skipped..], "{what}: from the middle on");
                }
            }
        }
    }
}

#[test]
fn a_pause_is_silence_and_is_told_whatever_the_codec() {
    for track in tracks() {
        let rate = track.remux.timescale;
        let count = track.remux.packets.len();
        let mut durations = vec![track.len; count];
        durations[count / 2] += rate;
        for (kind, file) in files(&track.remux, &durations) {
            let what = format!("{}, {kind}", track.name);
            let (sound, report) = decoded(&file, Options::new(), &what);
            let skipped = u64::from(track.skipped);
            let expected = count as u64 * u64::from(track.len) + u64::from(rate) - skipped;
            assert_eq!(report.output_samples, expected, "{what}");
            assert!(!report.complete, "{what}");
            assert!(
                matches!(report.warnings[..], [Warning::Gap { filled: true, .. }]),
                "{what}: {:?}",
                report.warnings
            );
            let bytes_per_sample = sound.len() as u64 / expected;
            let pause = (count as u64 / 2 + 1) * u64::from(track.len) - skipped;
            let pause = pause * bytes_per_sample;
            let silence = rate as usize * bytes_per_sample as usize;
            assert!(
                sound[pause as usize..][..silence]
                    .iter()
                    .all(|&byte| byte == 0),
                "{what}: the pause is no silence"
            );
        }
    }
}

/// Its last packet has fewer PCM samples than its duration says.
#[test]
fn the_end_is_where_the_last_packet_ends() {
    for (name, len, all, samples) in [
        ("alac.m4a", 4096, 6, 5 * 4096 + 1570),
        ("flac.mp4", 4608, 5, 4 * 4608 + 3618),
    ] {
        let remux = Remux::of(&clip(name));
        assert_eq!(remux.packets.len(), all, "{name}");
        for (kind, file) in files(&remux, &vec![len; all]) {
            let what = format!("{name}, {kind}");
            let (_, report) = decoded(&file, Options::new(), &what);
            assert_eq!(
                (report.output_samples, report.complete),
                (samples, true),
                "{what}"
            );
            assert_eq!(report.warnings, [], "{what}");
        }
    }
}

/// They are no packets: some writers leave them at a splice.
#[test]
fn samples_without_bytes_that_last_no_time_are_passed_over() {
    for (name, len) in [("moov-last-stereo-44100.mp4", 1024), ("alac.m4a", 4096)] {
        let track = Remux::of(&clip(name)).first(5);
        let (expected, _) = decoded(&track.plain(&[(5, len)]), Options::new(), name);
        for at in [0, 2, 5] {
            let mut with = track.clone();
            for _ in 0..3 {
                with.packets.insert(at, Vec::new());
            }
            let runs = [(at as u32, len), (3, 0), (5 - at as u32, len)];
            let runs: Vec<(u32, u32)> = runs.into_iter().filter(|&(n, _)| n > 0).collect();
            let mut fragments = with.init();
            let mut time = 0;
            for (index, packet) in with.packets.iter().enumerate() {
                let duration = if packet.is_empty() { 0 } else { len };
                fragments.extend(with.fragment(index..index + 1, duration, time, true));
                time += u64::from(duration);
            }
            for (kind, file) in [("plain", with.plain(&runs)), ("fragments", fragments)] {
                let what = format!("{name}, {kind}, before {at}");
                let (sound, report) = decoded(&file, Options::new(), &what);
                assert_eq!(report.warnings, [], "{what}");
                assert!(sound == expected, "{what}");
            }
        }
    }
}

/// Packets of one instant of a coarse clock each, with several PCM samples in them.
#[test]
fn packets_of_uncompressed_audio_may_last_one_unit() {
    let mut track = uncompressed("quicktime-sowt.mov", 2);
    let whole = track.packets.concat();
    // 25 packets a second.
    let rate = track.timescale;
    let instants = rate as usize / 25;
    track.packets = whole
        .chunks_exact(2 * instants)
        .map(<[u8]>::to_vec)
        .collect();
    track.timescale = 25;
    let count = track.packets.len();
    assert!(count > 5);
    for (kind, file) in files(&track, &vec![1; count]) {
        let (sound, report) = decoded(&file, Options::new(), kind);
        assert_eq!(report.output_samples, (count * instants) as u64, "{kind}");
        assert_eq!(report.warnings, [], "{kind}");
        assert!(sound.iter().any(|&byte| byte != 0));
    }
}
