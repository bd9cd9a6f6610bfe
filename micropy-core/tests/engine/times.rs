//! The times that containers give to packets and fragments, where they do not follow each other: nothing is lost in
//! silence, and nothing is put in where nothing is missing.

use std::io::Read;
use std::time::Duration;

use crate::support::clip;
use crate::support::remux::Remux;
use micropy_core::{
    Converter, Error, Options, OutputFormat, Report, SampleFormat, StreamSource, Warning, probe,
};

const RAW: OutputFormat = OutputFormat::Raw(SampleFormat::S16);

/// The report of a file, by one worker and by several, from memory and from a pipe, and the length by the probe.
fn convert(file: &[u8], options: &Options, what: &str) -> Report {
    let (mut mp3, mut other, mut piped) = (Vec::new(), Vec::new(), Vec::new());
    let mut alone = Converter::new(options.clone().jobs(1));
    let report = alone
        .convert(file, &mut mp3)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    Converter::new(options.clone().jobs(4))
        .convert(file, &mut other)
        .unwrap();
    assert!(other == mp3, "{what}: 4 jobs write another MP3");
    let pipe: Box<dyn Read + Send> = Box::new(std::io::Cursor::new(file.to_vec()));
    alone.convert(StreamSource::new(pipe), &mut piped).unwrap();
    assert!(piped == mp3, "{what}: a pipe gives another MP3");
    let found = probe(file).unwrap();
    assert_eq!(
        found.tracks[0].samples,
        Some(report.input_samples),
        "{what}: the probe"
    );
    report
}

/// The same of a file of which nothing is missing.
fn whole(file: &[u8], options: &Options, what: &str) -> u64 {
    let report = convert(file, options, what);
    assert!(report.complete, "{what}: {:?}", report.warnings);
    assert_eq!(report.warnings, [], "{what}");
    report.output_samples
}

/// From the middle on it is as long as the rest of the whole.
fn check_a_late_start(file: &[u8], options: &Options, whole: u64, what: &str) {
    for part in [3, 5, 7] {
        let start = whole * part / 8;
        // To the PCM sample at 44.1 kHz.
        let late = Duration::from_secs_f64(start as f64 / 44_100.0);
        let report = Converter::new(options.clone().start(late))
            .convert(file, Vec::new())
            .unwrap();
        let expected = whole - start;
        assert!(
            report.output_samples.abs_diff(expected) <= 1,
            "{what}: from {start} on"
        );
    }
}

fn gaps(report: &Report) -> usize {
    let is_filled = |w: &&Warning| matches!(w, Warning::Gap { filled: true, .. });
    report.warnings.iter().filter(is_filled).count()
}

/// 90 packets of AAC at 44.1 kHz.
fn aac() -> Remux {
    Remux::of(&clip("moov-last-stereo-44100.mp4")).first(90)
}

fn cbr() -> Options {
    Options::new().cbr(64)
}

#[test]
fn a_single_packet_that_is_missing_between_fragments_is_silence() {
    let aac = aac();
    let with = |keep: fn(u64) -> bool, scale: u64| {
        let mut track = aac.clone();
        track.timescale = (44_100 * scale / 44_100) as u32 * 44_100;
        let mut file = track.init();
        for i in (0..90).filter(|&i| keep(i)) {
            let at = i as usize;
            let len = 1024 * scale;
            file.extend(track.fragment(at..at + 1, len as u32, i * len, true));
        }
        file
    };
    for scale in [1, 2] {
        assert_eq!(whole(&with(|_| true, scale), &cbr(), "all"), 90 * 1024);
        for (what, keep, missing, len) in [
            ("one", (|i| i != 40) as fn(u64) -> bool, 1, 90),
            ("the second", |i| i != 1, 1, 90),
            ("every second", |i| i % 2 == 0, 44, 89),
            ("two of three", |i| i % 3 == 0, 29, 88),
        ] {
            let file = with(keep, scale);
            let report = convert(&file, &cbr(), what);
            assert_eq!(report.output_samples, len * 1024, "{what}");
            assert!(!report.complete, "{what}");
            assert_eq!(
                gaps(&report),
                missing.min(16),
                "{what}: {:?}",
                report.warnings
            );
            check_a_late_start(&file, &cbr(), len * 1024, what);
        }
    }
}

#[test]
fn the_last_packet_of_every_fragment_is_missing() {
    let aac = aac();
    let mut file = aac.init();
    for i in 0..9 {
        file.extend(aac.fragment(10 * i..10 * i + 9, 1024, 10_240 * i as u64, true));
    }
    let report = convert(&file, &cbr(), "tens");
    assert_eq!(report.output_samples, 89 * 1024);
    assert_eq!((gaps(&report), report.complete), (8, false));
}

/// A muxer rounds durations to milliseconds, but not the times of fragments; or those have some jitter.
#[test]
fn rounded_durations_and_jitter_between_fragments_are_no_gaps() {
    let mut aac = aac();
    let mut jitter = aac.init();
    for i in 0..9 {
        let late = [0, 300, 0, 200, 450, 0, 100, 0, 400][i];
        jitter.extend(aac.fragment(10 * i..10 * i + 10, 1024, 10_240 * i as u64 + late, true));
    }
    assert_eq!(whole(&jitter, &cbr(), "jitter"), 90 * 1024);
    aac.timescale = 1000;
    let mut rounded = aac.init();
    for i in 0..2 {
        rounded.extend(aac.fragment(45 * i..45 * i + 45, 23, 1045 * i as u64, true));
    }
    // The rounding of the last one may be padding.
    let len = whole(&rounded, &cbr(), "milliseconds");
    assert!((90 * 1024 - 60..=90 * 1024).contains(&len), "{len}");
}

/// ffmpeg has no other way to write it without an edit list (`-movflags empty_moov+frag_keyframe`).
#[test]
fn a_first_packet_that_lasts_until_late_sound_begins_is_no_gap() {
    let aac = aac();
    let mut file = aac.init();
    file.extend(aac.fragment(0..1, 1024 + 13_230, 0, true));
    file.extend(aac.fragment(1..45, 1024, 1024 + 13_230, true));
    file.extend(aac.fragment(45..90, 1024, 45 * 1024 + 13_230, true));
    assert_eq!(whole(&file, &cbr(), "late"), 90 * 1024);
    // Behind any other packet it is one.
    let mut paused = aac.init();
    paused.extend(aac.fragment(0..1, 1024, 0, true));
    paused.extend(aac.fragment(1..2, 1024 + 13_230, 1024, true));
    paused.extend(aac.fragment(2..90, 1024, 2048 + 13_230, true));
    let report = convert(&paused, &cbr(), "paused");
    assert_eq!(report.output_samples, 90 * 1024 + 13_230);
    assert_eq!((gaps(&report), report.complete), (1, false));
}

#[test]
fn short_pauses_count_once_they_add_up() {
    let every_second: Vec<(u32, u32)> = (0..90).map(|i| (1, 1024 << (i % 2))).collect();
    let file = aac().plain(&every_second);
    let report = convert(&file, &cbr(), "AAC");
    // Behind the last packet nothing is missing, and after every fifth pause they come to a tenth of a second.
    assert_eq!(report.output_samples, (90 + 40) * 1024);
    assert_eq!((gaps(&report), report.complete), (8, false));
    check_a_late_start(&file, &cbr(), (90 + 40) * 1024, "AAC");
    // A recorder's clock that is late makes up for it.
    let jitter: Vec<(u32, u32)> = (0..90)
        .map(|i| (1, [1024, 2048, 600, 424][i % 4]))
        .collect();
    let file = aac().plain(&jitter);
    assert_eq!(whole(&file, &cbr(), "jitter"), 90 * 1024);
}

/// Its first byte and the file say another number of PCM samples, and damage would look the same.
#[test]
fn what_a_packet_holds_beyond_its_duration_is_cut_off_and_told() {
    let mut opus = Remux::of(&clip("opus.mp4")).first(50);
    let plain = opus.plain(&[(50, 960)]);
    assert_eq!(whole(&plain, &cbr(), "as they are"), 50 * 960 - 312);
    // Two frames in one packet (RFC 6716, 3.2.5): their number, the length of the first, and both.
    let [first, second] = [25, 26].map(|i| opus.packets[i].clone());
    let len = first.len() - 1;
    let len = match len {
        ..252 => vec![len as u8],
        _ => vec![252 + (len % 4) as u8, ((len - 252) / 4) as u8],
    };
    let of_two = [&[first[0] | 3, 0x82][..], &len, &first[1..], &second[1..]].concat();
    opus.packets[25] = of_two;
    let report = convert(&opus.plain(&[(50, 960)]), &cbr(), "cut");
    assert_eq!(report.output_samples, 50 * 960 - 312);
    assert_eq!((report.concealed_packets, report.complete), (1, false));
    let [Warning::Cut { .. }, Warning::MuchConcealed { duration, .. }] = &report.warnings[..]
    else {
        panic!("{:?}", report.warnings);
    };
    assert_eq!(*duration, Duration::from_millis(20));
    let told: Vec<String> = report.warnings.iter().map(Warning::to_string).collect();
    assert!(
        told[0].ends_with(
            "it holds 1920 PCM samples, 960 more than the first packets; its end was cut off"
        ),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("1 of 50 packets could not be decoded whole: 0.02 s of sound"),
        "{told:?}"
    );
    // Where its duration says so, too, it is whole.
    let report = convert(
        &opus.plain(&[(25, 960), (1, 1920), (24, 960)]),
        &cbr(),
        "long",
    );
    assert_eq!(report.output_samples, 51 * 960 - 312);
    assert_eq!(report.warnings, []);
}

/// `packets` joined: from number `from` on, so many in each.
fn joined(track: &Remux, from: usize, together: usize) -> Remux {
    let (first, rest) = track.packets.split_at(from);
    let mut packets = first.to_vec();
    packets.extend(rest.chunks(together).map(|packets| packets.concat()));
    let mut joined = track.clone();
    joined.packets = packets;
    joined
}

#[test]
fn later_packets_may_hold_more_frames_than_the_first() {
    let mp3 = Remux::of(&clip("mp3.mp4")).first(77);
    // Each with an ADTS header.
    let mut adts = aac().first(77);
    for packet in &mut adts.packets {
        let len = packet.len() + 7;
        let header = [
            0xFF,
            0xF1,
            0x50,
            0x80 | (len >> 11) as u8,
            (len >> 3) as u8,
            (len << 5) as u8 | 0x1F,
            0xFC,
        ];
        packet.splice(0..0, header);
    }
    for (name, track, len, options) in [
        ("MP3, copied", &mp3, 1152, Options::new()),
        ("MP3", &mp3, 1152, cbr()),
        ("AAC", &adts, 1024, cbr()),
    ] {
        for (from, together) in [(20, 2), (20, 3), (77, 1), (75, 2)] {
            let what = format!("{name}: {together} from {from} on");
            let file = joined(track, from, together);
            let rest = (77 - from) / together;
            let mut durations = vec![(from as u32, len), (rest as u32, len * together as u32)];
            let last = (77 - from - rest * together) as u32;
            durations.push((u32::from(last > 0), last * len));
            durations.retain(|&(count, _)| count > 0);
            let plain = file.plain(&durations);
            assert_eq!(
                whole(&plain, &options, &what),
                77 * u64::from(len),
                "{what}"
            );
            check_a_late_start(&plain, &cbr(), 77 * u64::from(len), &what);
            // In fragments nothing is known beforehand.
            let mut fragments = file.init();
            let rest_at = (from as u64) * u64::from(len);
            fragments.extend(file.fragment(0..from, len, 0, true));
            let end = from + rest;
            fragments.extend(file.fragment(from..end, len * together as u32, rest_at, true));
            let last_at = rest_at + (rest * together) as u64 * u64::from(len);
            fragments.extend(file.fragment(end..file.packets.len(), last * len, last_at, true));
            assert_eq!(
                whole(&fragments, &options, &what),
                77 * u64::from(len),
                "{what}"
            );
        }
        // Fewer later on.
        let what = format!("{name}: fewer");
        let mut file = joined(&track.clone().first(40), 0, 2);
        file.packets.extend_from_slice(&track.packets[40..]);
        let plain = file.plain(&[(20, 2 * len), (37, len)]);
        assert_eq!(
            whole(&plain, &options, &what),
            77 * u64::from(len),
            "{what}"
        );
        check_a_late_start(&plain, &cbr(), 77 * u64::from(len), &what);
    }
}

#[test]
fn frames_of_mpeg_audio_count_whatever_the_durations_say() {
    let mp3 = Remux::of(&clip("mp3.mp4")).first(76);
    let in_turn = |lens: &[usize]| {
        let mut track = mp3.clone();
        let mut rest = &mp3.packets[..];
        track.packets.clear();
        for &len in lens.iter().cycle() {
            let (now, later) = rest.split_at(len.min(rest.len()));
            track.packets.push(now.concat());
            rest = later;
            if rest.is_empty() {
                return track;
            }
        }
        track
    };
    for lens in [&[1, 2][..], &[1, 1, 1, 1, 1, 1, 1, 1, 1, 3], &[2, 1, 3]] {
        let track = in_turn(lens);
        let count = track.packets.len() as u32;
        for durations in [vec![(count, 1152)], vec![(count, 1100)], vec![(count, 600)]] {
            for (how, options) in [("copied", Options::new()), ("decoded", cbr())] {
                let what = format!("{lens:?}, {durations:?}, {how}");
                let file = track.plain(&durations);
                let mut mp3 = Vec::new();
                let report = Converter::new(options)
                    .convert(file.as_slice(), &mut mp3)
                    .unwrap();
                assert_eq!(report.output_samples, 76 * 1152, "{what}");
                assert_eq!(report.warnings, [], "{what}");
            }
        }
    }
    // Cut anywhere: what cannot be put together is told.
    let bytes = mp3.packets.concat();
    let mut cut = mp3.clone();
    cut.packets = bytes.chunks(300).map(<[u8]>::to_vec).collect();
    let count = cut.packets.len() as u32;
    for (how, options) in [("copied", Options::new()), ("decoded", cbr())] {
        let file = cut.plain(&[(count, 1152)]);
        let report = Converter::new(options)
            .convert(file.as_slice(), Vec::new())
            .unwrap();
        assert!(
            !report.complete && report.concealed_packets > 0,
            "{how}: {report:?}"
        );
    }
}

/// Edits count from when sound is presented: here 1024 later than it is decoded.
#[test]
fn composition_offsets_do_not_cut_off_the_beginning() {
    let mut aac = aac();
    aac.movie_timescale = 44_100;
    for (offset, expected) in [(None, 89), (Some(1024), 90)] {
        aac.composition = offset;
        aac.edits = vec![(90 * 1024, 1024)];
        let plain = aac.plain(&[(90, 1024)]);
        assert_eq!(
            whole(&plain, &cbr(), "plain"),
            expected * 1024,
            "{offset:?}"
        );
        aac.edits = vec![(0, 1024)];
        let mut file = aac.init();
        file.extend(aac.fragment(0..50, 1024, 0, true));
        file.extend(aac.fragment(50..90, 1024, 50 * 1024, true));
        assert_eq!(
            whole(&file, &cbr(), "fragments"),
            expected * 1024,
            "{offset:?}"
        );
    }
    // Without edits there is nothing to count, and where they differ, that is told.
    aac.edits.clear();
    let mut file = aac.init();
    file.extend(aac.fragment(0..50, 1024, 0, true));
    aac.composition = Some(2048);
    file.extend(aac.fragment(50..90, 1024, 50 * 1024, true));
    let report = convert(&file, &cbr(), "varying");
    assert_eq!((report.output_samples, report.complete), (90 * 1024, true));
    assert_eq!(report.warnings, [Warning::CompositionOffsets]);
}

#[test]
fn an_edit_by_a_clock_of_whole_seconds_is_meant() {
    let mut aac = aac();
    aac.movie_timescale = 1;
    aac.edits = vec![(1, 1024)];
    assert_eq!(
        whole(&aac.plain(&[(90, 1024)]), &cbr(), "one second"),
        44_100
    );
    // 2.09 s are rounded up.
    aac.edits = vec![(3, 0)];
    assert_eq!(whole(&aac.plain(&[(90, 1024)]), &cbr(), "all"), 90 * 1024);
}

#[test]
fn times_of_32_bits_begin_again_with_0() {
    let aac = aac();
    for begin in [0, (1 << 32) - 50_000, (1 << 32) - 10_240] {
        for missing in [9, 4] {
            let mut file = aac.init();
            for i in (0..9).filter(|&i| i != missing) {
                let time = begin + 10_240 * i as u64;
                file.extend(aac.fragment(10 * i..10 * i + 10, 1024, time, false));
            }
            let what = format!("from {begin} without {missing}");
            let report = convert(&file, &cbr(), &what);
            assert_eq!(report.output_samples, 90 * 1024, "{what}");
            assert_eq!(
                gaps(&report),
                report.warnings.len(),
                "{what}: {:?}",
                report.warnings
            );
            assert_eq!(report.complete, missing == 9, "{what}");
        }
    }
}

/// A gap in front of a part is no fault of it, and one in it is, however many came before.
#[test]
fn a_part_is_complete_where_nothing_of_it_is_missing() {
    let aac = aac();
    let missing = [
        ("one", (|i| (20..40).contains(&i)) as fn(u64) -> bool),
        ("two", |i| (20..22).contains(&i) || i == 70),
        ("many", |i| i < 80 && i % 2 == 1),
    ];
    for (what, is_missing) in missing {
        let mut file = aac.init();
        for i in (0..90).filter(|&i| !is_missing(i)) {
            file.extend(aac.fragment(i as usize..i as usize + 1, 1024, 1024 * i, true));
        }
        // Packets of each part.
        for part in [
            0..15,
            16..30,
            42..60,
            42..72,
            60..69,
            76..84,
            82..88,
            82..90,
        ] {
            let time = |packets: u64| Duration::from_secs_f64(packets as f64 * 1024.0 / 44_100.0);
            let options = cbr().start(time(part.start));
            let options = options.duration(time(part.end) - time(part.start));
            for options in [options.clone(), options.format(RAW)] {
                let report = Converter::new(options)
                    .convert(&file[..], Vec::new())
                    .unwrap();
                let lacks = part.clone().any(is_missing);
                assert_eq!(
                    report.complete, !lacks,
                    "{what}, {part:?}: {:?}",
                    report.warnings
                );
                assert_eq!(gaps(&report) > 0, lacks, "{what}, {part:?}");
            }
        }
    }
}

#[test]
fn a_negative_duration_is_told_and_changes_nothing() {
    for durations in [
        [(40, 1024), (1, u32::MAX), (49, 1024)],
        [(88, 1024), (1, 1024), (1, u32::MAX - 1023)],
    ] {
        let report = convert(&aac().plain(&durations), &cbr(), "negative");
        assert_eq!((report.output_samples, report.complete), (90 * 1024, true));
        let [warning] = &report.warnings[..] else {
            panic!("{:?}", report.warnings);
        };
        let told = warning.to_string();
        assert!(
            told.contains("malformed stts") && told.contains("lasts for -1"),
            "{told}"
        );
    }
}

#[test]
fn fragments_behind_the_end_of_the_edits_are_presented_if_those_end_with_the_table() {
    let hybrid = |edits: &[(u32, i32)], fragments: u64| {
        let mut track = aac();
        track.movie_timescale = 44_100;
        track.edits = edits.to_vec();
        let mut file = track.in_front_of_fragments(30, 1024);
        for i in 3..3 + fragments {
            let at = 10 * i as usize;
            file.extend(track.fragment(at..at + 10, 1024, 10_240 * i, true));
        }
        file
    };
    let to_the_end = [(30 * 1024 - 1024, 1024)];
    let report = convert(&hybrid(&to_the_end, 6), &cbr(), "hybrid");
    assert_eq!((report.output_samples, report.complete), (89 * 1024, true));
    let [warning] = &report.warnings[..] else {
        panic!("{:?}", report.warnings);
    };
    assert!(
        warning
            .to_string()
            .contains("its edits end where the sample table does")
    );
    // No fragment follows, no edit says anything, or it says another time.
    for (edits, fragments, packets) in [
        (&to_the_end[..], 0, 29),
        (&[], 6, 90),
        (&[(20 * 1024, 1024)], 6, 20),
        (&[(40 * 1024, 1024)], 6, 40),
    ] {
        let len = whole(&hybrid(edits, fragments), &cbr(), "hybrid");
        assert_eq!(len, packets * 1024, "{edits:?}, {fragments}");
    }
}

/// The probe counts what a conversion makes, whatever the codec and the container.
#[test]
fn the_probe_says_what_a_conversion_gives() {
    let mut compared = 0;
    for name in [
        "moov-last-stereo-44100.mp4",
        "mono-8000.mp4",
        "he-aac-v1-implicit.m4a",
        "he-aac-v2-hierarchical.m4a",
        "surround-5-1.mp4",
        "mp3.mp4",
        "alac.m4a",
        "flac.mp4",
        "opus.mp4",
        "ac3.mp4",
        "eac3.mp4",
    ] {
        let needs_fdk = name.starts_with("he-aac") || name.starts_with("surround");
        if needs_fdk && !cfg!(feature = "fdk-aac") {
            continue;
        }
        let track = Remux::of(&clip(name));
        let count = track.packets.len();
        let short = [(count as u32 - 1, track.len), (1, track.len / 2)];
        let all = [(count as u32, track.len)];
        let half = count / 2;
        for edits in [
            &[][..],
            &[(0, 0)],
            &[(100, 700)],
            &[(60, 500), (20, -1), (50, 900)],
        ] {
            let mut track = track.clone();
            track.edits = edits.to_vec();
            let in_fragments = |begins: u64, gap: u64| {
                let mut file = track.init();
                let len = u64::from(track.len);
                file.extend(track.fragment(0..half, track.len, begins, true));
                let next = begins + (half as u64 + gap) * len;
                file.extend(track.fragment(half..count, track.len, next, true));
                file
            };
            let mut hybrid = track.in_front_of_fragments(half, track.len);
            let next = half as u64 * u64::from(track.len);
            hybrid.extend(track.fragment(half..count, track.len, next, true));
            for (what, file) in [
                ("plain", track.plain(&all)),
                ("a short last packet", track.plain(&short)),
                ("fragments", in_fragments(0, 0)),
                ("joined in the middle", in_fragments(77_000, 0)),
                ("a gap", in_fragments(0, 20)),
                ("hybrid", hybrid),
            ] {
                let what = format!("{name}, {what}, {edits:?}");
                let format = Options::new().format(RAW);
                let mut converter = Converter::new(format);
                let found = probe(&file[..]).unwrap().tracks[0].samples;
                match converter.convert(&file[..], Vec::new()) {
                    Ok(report) => assert_eq!(found, Some(report.output_samples), "{what}"),
                    Err(Error::EmptyPart { .. }) => assert_eq!(found, Some(0), "{what}"),
                    Err(error) => panic!("{what}: {error}"),
                }
                compared += 1;
            }
        }
    }
    assert!(compared >= 8 * 24, "{compared}");
}
