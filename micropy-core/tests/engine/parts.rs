//! Parts, sizes, silence, and files joined: no PCM sample is lost or comes twice.

use std::io::Write;
use std::time::Duration;

use crate::support::clip;
use crate::support::movie::{Moov, pcm_movie};
use crate::support::mp3_check::check;
use crate::support::music::music;
use crate::support::programs::{aac_movie, assert_silent, presented, probed};
use micropy_core::{
    CancelToken, Channels, Converter, Division, Error, Options, OutputFormat, Report, SampleFormat,
    Source, StreamSink, StreamSource, Warning,
};

const RATE: u32 = 44_100;
const RAW: OutputFormat = OutputFormat::Raw(SampleFormat::S16);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn convert(options: Options, source: impl Source) -> (Vec<u8>, Report) {
    let mut file = Vec::new();
    let report = Converter::new(options).convert(source, &mut file).unwrap();
    (file, report)
}

fn mp3(options: Options, source: impl Source) -> (Vec<u8>, Report) {
    let (mp3, report) = convert(options, source);
    check(&mp3).unwrap();
    assert_silent(&mp3, "the MP3");
    assert_eq!(mp3.len() as u64, report.output_bytes);
    (mp3, report)
}

/// Every part, with its name.
fn parts(
    options: Options,
    source: impl Source,
    division: Division,
) -> Vec<(String, Vec<u8>, Report)> {
    let mut parts = Converter::new(options).parts(source, division).unwrap();
    let names = parts.file_names("talk");
    let mut made = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let mut file = Vec::new();
        let outcome = parts.convert(index, &mut file).unwrap();
        made.push((name, file, outcome.report().unwrap()));
    }
    made
}

fn joined(parts: &[(String, Vec<u8>, Report)]) -> Vec<u8> {
    parts.iter().flat_map(|(_, file, _)| file.clone()).collect()
}

/// What ffprobe shows of an MP3.
fn shown(mp3: &[u8], entries: &str) -> Option<String> {
    let mut file = tempfile::NamedTempFile::with_suffix(".mp3").unwrap();
    file.write_all(mp3).unwrap();
    probed(file.path(), entries)
}

/// The chapters of an MP3: start, end and title.
fn chapters(mp3: &[u8]) -> Option<Vec<(f64, f64, String)>> {
    let list = shown(mp3, "chapter=start_time,end_time:chapter_tags=title")?;
    let chapter = |line: &str| {
        let mut fields = line.splitn(3, ',');
        let mut time = || fields.next().unwrap().parse().unwrap();
        let (start, end) = (time(), time());
        (start, end, fields.next().unwrap_or_default().to_owned())
    };
    Some(list.lines().map(chapter).collect())
}

/// Sound with a pause of half a second behind each of these seconds.
fn with_pauses(sound: &[f64]) -> Vec<f32> {
    let mut samples = Vec::new();
    for (number, &length) in sound.iter().enumerate() {
        let tone = 300.0 + 50.0 * number as f64;
        samples.extend((0..(length * f64::from(RATE)) as usize).map(|n| {
            let angle = std::f64::consts::TAU * tone * n as f64 / f64::from(RATE);
            (0.4 * angle.cos()) as f32
        }));
        samples.resize(samples.len() + RATE as usize * 6 / 10, 0.0);
    }
    samples
}

#[test]
fn equal_parts_hold_every_pcm_sample_once() {
    let planes = music(3, RATE, 2, 12 * RATE as usize + 777);
    let file = pcm_movie(&planes, RATE, Moov::Last);
    let options = Options::new().format(RAW);
    let whole = convert(options.clone(), file.as_slice()).0;
    for length in [1.0, 2.5, 1.234_567, 5.0, 100.0] {
        let made = parts(
            options.clone(),
            file.as_slice(),
            Division::Lengths(seconds(length)),
        );
        assert!(joined(&made) == whole, "{length}");
        let usual = (length * f64::from(RATE)).round();
        for (_, _, report) in &made[..made.len() - 1] {
            assert!(
                (report.output_samples as f64 - usual).abs() <= 1.0,
                "{length}"
            );
        }
        // Less than a second is no part of its own.
        assert!(made.last().unwrap().2.output_samples >= u64::from(RATE));
    }
    let trimmed = options.start(seconds(1.5)).duration(seconds(7.7));
    let whole = convert(trimmed.clone(), file.as_slice()).0;
    let made = parts(trimmed, file.as_slice(), Division::Lengths(seconds(2.0)));
    assert_eq!(made.len(), 4);
    assert!(joined(&made) == whole);
}

#[test]
fn mp3s_of_parts_are_as_long_as_the_whole_together() {
    let Some(file) = aac_movie(&music(4, 48_000, 2, 48_000 * 13 + 55), 48_000, "+faststart") else {
        return;
    };
    let lengths = Division::Lengths(seconds(3.333));
    let pauses = Division::Pauses(seconds(4.0));
    for (options, division) in [
        (Options::new(), pauses),
        (Options::new().sample_rate(44_100), lengths),
        (
            Options::new().sample_rate(22_050).start(seconds(0.123_45)),
            pauses,
        ),
        (Options::new().fit(60_000), lengths),
    ] {
        let made = parts(options.clone(), file.as_slice(), division);
        let sum: u64 = made.iter().map(|(_, _, r)| r.output_samples).sum();
        let rate = made[0].2.output_sample_rate;
        let plain = Options::new().sample_rate(rate).start(options.start);
        let (_, whole) = convert(plain, file.as_slice());
        assert_eq!(sum, whole.output_samples, "{options:?} {division:?}");
        for (name, mp3, report) in &made {
            check(mp3).unwrap();
            assert_silent(mp3, name);
            assert!(report.complete);
        }
    }
}

#[test]
fn chapters_are_as_long_as_the_whole_together_at_any_rate() {
    // Neither marker stands where samples of both rates fall together. Their times are in units of 100 ns.
    let mut file = clip("chapters-nero.m4b");
    for (old, new) in [(8_000_000_u64, 7_900_000_u64), (17_000_000, 16_903_137)] {
        let at = file.windows(8).position(|bytes| bytes == old.to_be_bytes());
        let at = at.unwrap();
        file[at..at + 8].copy_from_slice(&new.to_be_bytes());
    }
    for rate in [16_000, 44_100, 48_000, 32_000] {
        let options = Options::new().format(RAW).sample_rate(rate);
        let (whole, _) = convert(options.clone(), file.as_slice());
        let made = parts(options, file.as_slice(), Division::Chapters);
        assert_eq!(made.len(), 3);
        assert_eq!(joined(&made).len(), whole.len(), "{rate} Hz");
    }
}

#[test]
fn parts_end_in_pauses_and_are_not_longer_than_asked() {
    let sound = with_pauses(&[2.9, 2.9, 2.9, 3.1, 2.9, 1.0]);
    let file = pcm_movie(std::slice::from_ref(&sound), RATE, Moov::First);
    let options = Options::new().format(RAW);
    let division = Division::Pauses(seconds(4.0));
    let made = parts(options.clone(), file.as_slice(), division);
    assert!(joined(&made) == convert(options, file.as_slice()).0);
    let mut end = 0;
    for (_, _, report) in &made[..made.len() - 1] {
        assert!(report.output_samples <= 4 * u64::from(RATE));
        end += report.output_samples as usize;
        let around = &sound[end - RATE as usize / 5..end + RATE as usize / 5];
        assert!(around.iter().all(|&sample| sample == 0.0), "at {end}");
    }
    assert_eq!(made.len(), 6);
    // Where there is no pause, a part ends at the quietest place, and still in time.
    let noise = music(9, RATE, 1, 20 * RATE as usize);
    let file = pcm_movie(&noise, RATE, Moov::First);
    for (_, _, report) in parts(Options::new().format(RAW), file.as_slice(), division) {
        assert!(report.output_samples <= 4 * u64::from(RATE));
    }
}

#[test]
fn parts_have_tags_and_the_chapters_that_lie_in_them() {
    let file = clip("chapters.m4b");
    let made = parts(
        Options::new(),
        file.as_slice(),
        Division::Lengths(seconds(1.0)),
    );
    let names: Vec<&str> = made.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["talk 01.mp3", "talk 02.mp3", "talk 03.mp3"]);
    let whole = micropy_core::probe(file.as_slice()).unwrap();
    for (index, (name, mp3, report)) in made.iter().enumerate() {
        let Some(track) = shown(mp3, "format_tags=track") else {
            return;
        };
        assert_eq!(track, format!("{}/3\n", index + 1));
        let (begin, end) = (index as f64, index as f64 + report.duration().as_secs_f64());
        let expected = whole.chapters.iter().enumerate().filter(|(i, chapter)| {
            let last = i + 1 == whole.chapters.len();
            chapter.start.as_secs_f64() < end && (last || chapter.end.as_secs_f64() > begin)
        });
        let expected: Vec<(f64, &str)> = expected
            .map(|(_, chapter)| {
                let start = (chapter.start.as_secs_f64() - begin).max(0.0);
                (start, chapter.title.as_str())
            })
            .collect();
        let found = chapters(mp3).unwrap();
        assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
        for ((start, _, title), expected) in found.iter().zip(&expected) {
            assert_eq!(title, expected.1, "{name}");
            assert!((start - expected.0).abs() < 0.0011, "{start} {expected:?}");
        }
    }
}

#[test]
fn parts_of_fragments_and_of_what_breaks_off() {
    let file = clip("fragmented-dash.mp4");
    let made = parts(
        Options::new(),
        file.as_slice(),
        Division::Lengths(seconds(1.0)),
    );
    assert_eq!(made.len(), 3);
    let sum: u64 = made
        .iter()
        .map(|(_, _, report)| report.output_samples)
        .sum();
    assert_eq!(sum, 132_300);
    let stream = StreamSource::new(file.as_slice());
    let piped = parts(Options::new(), stream, Division::Lengths(seconds(1.0)));
    assert!(joined(&piped) == joined(&made));

    let file = clip("moov-first-stereo-44100.mp4");
    let cut = &file[..file.len() * 2 / 5];
    let mut parts = Converter::new(Options::new())
        .parts(cut, Division::Lengths(seconds(1.0)))
        .unwrap();
    let first = parts.convert(0, Vec::new()).unwrap();
    let last = parts.convert(1, Vec::new()).unwrap();
    let incomplete = [first, last].map(|outcome| match outcome {
        micropy_core::PartOutcome::Converted(report) => !report.complete,
        micropy_core::PartOutcome::Empty(part) => !part.is_complete(),
    });
    assert!(incomplete[1], "{incomplete:?}");
}

#[test]
fn parts_that_cannot_be_are_refused() {
    let file = clip("mono-8000.mp4");
    for division in [
        Division::Lengths(Duration::ZERO),
        Division::Lengths(seconds(0.99)),
        Division::Pauses(seconds(0.5)),
    ] {
        let refused = Converter::new(Options::new()).parts(file.as_slice(), division);
        assert!(
            matches!(refused, Err(Error::InvalidOption(_))),
            "{division:?}"
        );
    }
}

#[test]
fn silence_at_both_ends_is_left_out_to_the_pcm_sample() {
    let quiet = |len: usize| (0..len).map(|n| (n as f32 * 0.3).sin() * 0.003);
    let mut sound: Vec<f32> = quiet(12_345).collect();
    sound.extend(with_pauses(&[0.7, 0.9]));
    // The pause at the end, and hiss.
    let end = sound.len() - RATE as usize * 6 / 10;
    sound.extend(quiet(5000));
    let file = pcm_movie(std::slice::from_ref(&sound), RATE, Moov::First);
    let options = Options::new().format(RAW);
    let whole = convert(options.clone(), file.as_slice()).0;
    let samples: Vec<i16> = whole
        .as_chunks()
        .0
        .iter()
        .map(|&b| i16::from_le_bytes(b))
        .collect();
    // −50 dBFS in 16 bits.
    let loud = |&sample: &i16| f64::from(sample).abs() >= 32768.0 * 10f64.powf(-2.5);
    let first = samples.iter().position(loud).unwrap();
    let last = samples.iter().rposition(loud).unwrap();
    assert!(
        (12_345..12_400).contains(&first) && last < end,
        "{first} {last}"
    );
    for jobs in [1, 3] {
        let trimmed = options.clone().trim_silence(true).jobs(jobs);
        let (trimmed, report) = convert(trimmed, file.as_slice());
        assert!(trimmed == whole[2 * first..2 * (last + 1)]);
        assert!(report.complete && report.warnings.is_empty());
    }
    let (_, report) = mp3(Options::new().trim_silence(true), file.as_slice());
    assert_eq!(report.output_samples, (last + 1 - first) as u64);
    let part = options
        .start(seconds(0.5))
        .duration(seconds(1.0))
        .trim_silence(true);
    let part = convert(part, file.as_slice()).0;
    let pause = 12_345 + RATE as usize * 7 / 10;
    assert!(part.len() as u64 >= 2 * (pause as u64 - 22_050) - 200);
    assert!(part.len() < 2 * RATE as usize);
}

#[test]
fn silence_throughout_stays_with_a_warning() {
    let file = pcm_movie(&[vec![0.001; 30_000]], RATE, Moov::First);
    let (_, report) = mp3(Options::new().trim_silence(true), file.as_slice());
    assert_eq!(report.output_samples, 30_000);
    assert!(matches!(report.warnings[..], [Warning::OnlySilence { .. }]));
    assert!(report.complete);
}

#[test]
fn what_breaks_off_behind_silence_is_not_complete() {
    let mut sound = with_pauses(&[1.0]);
    sound.resize(4 * RATE as usize, 0.0);
    let file = pcm_movie(&[sound], RATE, Moov::First);
    let cut = &file[..file.len() * 3 / 4];
    let (_, report) = convert(Options::new().trim_silence(true), cut);
    assert!(report.output_samples <= RATE.into());
    assert!(!report.complete && !report.warnings.is_empty());
}

#[test]
fn an_mp3_fits_and_is_as_good_as_can_be() {
    let Some(file) = aac_movie(&music(6, RATE, 2, 20 * RATE as usize), RATE, "+faststart") else {
        return;
    };
    let mut last = u64::MAX;
    for bytes in [
        900_000, 500_000, 250_000, 170_000, 120_000, 90_000, 60_000, 30_000,
    ] {
        let (file_bytes, report) = mp3(Options::new().fit(bytes), file.as_slice());
        assert!(
            report.output_bytes <= bytes,
            "{bytes}: {}",
            report.output_bytes
        );
        assert!(report.output_bytes < last && report.complete);
        // The next bitrate would be too large, up to 320 kbit/s: two of them are never more than twice apart.
        let audio = report.output_bytes - report.tag_bytes;
        assert!(
            2 * audio + report.tag_bytes + 2000 > bytes,
            "{bytes}: {audio}"
        );
        last = report.output_bytes;
        if let Some(pcm) = presented(&file_bytes) {
            let channels = u64::from(report.output_channels);
            assert_eq!(pcm.len() as u64, report.output_samples * channels);
        }
        let mut pipe = StreamSink::new(Vec::new());
        let piped = Converter::new(Options::new().fit(bytes)).convert(file.as_slice(), &mut pipe);
        assert_eq!(piped.unwrap().output_bytes, report.output_bytes);
    }
    let refused = Converter::new(Options::new().fit(15_000)).convert(file.as_slice(), Vec::new());
    let Err(Error::TooLong { length, fits, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(length, seconds(20.0));
    // The tags of a part are a little longer.
    let parts = Division::Lengths(fits - seconds(1.0));
    let parts = self::parts(Options::new().fit(15_000), file.as_slice(), parts);
    assert!(parts.iter().all(|(_, mp3, _)| mp3.len() <= 15_000));
    let refused = Options::new().fit(15_000).cbr(32);
    let refused = Converter::new(refused).convert(file.as_slice(), Vec::new());
    assert!(matches!(refused, Err(Error::InvalidOption(_))));
}

#[test]
fn covers_chapters_and_fragments_fit_as_well() {
    for (name, bytes) in [
        ("tags-cover-png.m4a", 40_000),
        ("chapters.m4b", 30_000),
        ("fragmented-cmaf.m4a", 30_000),
        ("fragmented-dash.mp4", 40_000),
        ("mp3.mp4", 20_000),
        ("opus.mp4", 12_000),
    ] {
        let file = clip(name);
        let (_, report) = mp3(Options::new().fit(bytes), file.as_slice());
        assert!(
            report.output_bytes <= bytes,
            "{name}: {}",
            report.output_bytes
        );
        assert!(
            report.output_bytes > bytes / 3,
            "{name}: {}",
            report.output_bytes
        );
    }
    let file = clip("chapters.m4b");
    for division in [Division::Chapters, Division::Lengths(seconds(1.0))] {
        let made = parts(Options::new().fit(10_000), file.as_slice(), division);
        assert!(made.len() > 1);
        let bitrates: Vec<_> = made
            .iter()
            .map(|(_, mp3, _)| check(mp3).unwrap().bitrates)
            .collect();
        for (bitrates_of_part, (name, mp3, _)) in bitrates.iter().zip(&made) {
            assert!(mp3.len() <= 10_000, "{name}: {}", mp3.len());
            assert_eq!(bitrates_of_part, &bitrates[0], "{name}");
            assert_silent(mp3, name);
        }
    }
}

fn join(options: Options, names: &[&str]) -> (Vec<u8>, micropy_core::Joined) {
    let inputs: Vec<Vec<u8>> = names.iter().map(|name| clip(name)).collect();
    let inputs = names.iter().zip(&inputs);
    let inputs = inputs.map(|(name, file)| ((*name).to_owned(), file.as_slice()));
    let mut file = Vec::new();
    let joined = Converter::new(options)
        .join(inputs.collect(), &mut file)
        .unwrap();
    assert_eq!(file.len() as u64, joined.report.output_bytes);
    (file, joined)
}

#[test]
fn joined_files_hold_the_pcm_of_each_one_after_the_other() {
    let names = [
        "alac.m4a",
        "mono-44100.m4a",
        "flac.mp4",
        "moov-last-stereo-44100.mp4",
    ];
    let format = OutputFormat::Raw(SampleFormat::F32);
    let options = Options::new().format(format).channels(Channels::Stereo);
    let each: Vec<u8> = names
        .iter()
        .flat_map(|name| convert(options.clone(), clip(name).as_slice()).0)
        .collect();
    for jobs in [1, 4] {
        let (whole, joined) = join(Options::new().format(format).jobs(jobs), &names);
        assert!(whole == each, "{jobs} jobs");
        assert_eq!(joined.report.output_samples as usize * 8, each.len());
        assert!(joined.report.complete && joined.inputs.len() == names.len());
        assert_eq!(joined.report.codec.to_string(), "ALAC");
    }
    let part = Options::new().format(format);
    let part = part.start(seconds(0.75)).duration(seconds(2.0));
    let (part, _) = join(part, &names);
    let from = 8 * (RATE as usize * 3 / 4);
    assert!(part == each[from..from + 8 * 2 * RATE as usize]);
}

#[test]
fn joined_files_become_chapters_of_one_mp3() {
    let names = ["mono-8000.mp4", "stereo-48000.mp4", "tags-cover-png.m4a"];
    for options in [
        Options::new(),
        Options::new().normalize(-16.0),
        Options::new().fit(70_000),
    ] {
        let (mp3, joined) = join(options.clone(), &names);
        check(&mp3).unwrap();
        assert_silent(&mp3, "the MP3");
        let report = &joined.report;
        let rate = report.output_sample_rate;
        if options.fit.is_none() {
            assert_eq!((rate, report.output_channels), (48_000, 2));
            // 2 s, 2 s and 1 s.
            assert_eq!(report.output_samples, 5 * 48_000);
        }
        assert!(report.output_bytes <= options.fit.unwrap_or(u64::MAX));
        let Some(found) = chapters(&mp3) else {
            return;
        };
        let times: Vec<(f64, f64)> = found.iter().map(|c| (c.0, c.1)).collect();
        assert_eq!(times, [(0.0, 2.0), (2.0, 4.0), (4.0, 5.0)]);
        assert_eq!(found[0].2, "mono-8000.mp4");
        let titled = micropy_core::probe(clip(names[2]).as_slice()).unwrap();
        let title = titled.tags.get(&micropy_core::Key::Title).unwrap();
        assert_eq!(found[2].2.trim_matches('"'), title);
    }
}

#[test]
fn a_file_that_was_only_begun_is_reported_as_far_as_it_was_read() {
    let names = ["mono-44100.m4a", "stereo-48000.mp4", "alac.m4a"];
    for (options, begun) in [
        (Options::new().duration(seconds(0.5)), 1),
        (Options::new().duration(seconds(2.5)), 2),
        (Options::new().duration(seconds(0.5)).normalize(-16.0), 1),
        (Options::new().start(seconds(2.5)).duration(seconds(0.5)), 2),
    ] {
        let (_, joined) = join(options.clone(), &names);
        let report = &joined.report;
        assert_eq!(report.codec.to_string(), "AAC-LC", "{options:?}");
        assert!(report.complete && report.warnings.is_empty(), "{report:?}");
        assert_eq!(joined.inputs.len(), begun, "{options:?}");
        assert!(report.packets > 0 && report.packets == report.expected_packets);
        for input in &joined.inputs {
            assert!(input.complete && input.packets > 0 && input.input_bytes > 0);
            assert!(input.input_samples > 0 && input.output_samples > 0);
        }
        let whole = 2 * 44_100;
        assert!(joined.inputs[0].input_samples <= whole);
    }
}

#[test]
fn a_file_that_cannot_be_joined_is_named() {
    let (good, bad) = (clip("alac.m4a"), b"not a movie".to_vec());
    let inputs = [("good", &good), ("bad", &bad)];
    let inputs = inputs.map(|(name, file)| (name.to_owned(), file.as_slice()));
    let refused = Converter::new(Options::new()).join(inputs.into(), Vec::new());
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, Error::InInput { name, .. } if name == "bad"),
        "{refused}"
    );
    assert!(
        refused
            .with_causes()
            .to_string()
            .starts_with("bad: not an MP4"),
        "{refused}"
    );
    let none = Converter::new(Options::new()).join(Vec::<(String, &[u8])>::new(), Vec::new());
    assert!(matches!(none, Err(Error::InvalidOption(_))));
    let token = CancelToken::new();
    token.cancel();
    let cancelled = Converter::new(Options::new())
        .cancel(token)
        .join(vec![("good".into(), good.as_slice())], Vec::new());
    assert!(matches!(cancelled, Err(Error::Cancelled)));
}

#[test]
fn what_breaks_off_is_joined_as_far_as_it_goes() {
    let whole = clip("moov-first-stereo-44100.mp4");
    let cut = &whole[..whole.len() / 2];
    let format = OutputFormat::Raw(SampleFormat::F32);
    let there = convert(Options::new().format(format), cut).0;
    let inputs = vec![("cut".to_owned(), cut), ("whole".to_owned(), &whole[..])];
    let mut file = Vec::new();
    let joined = Converter::new(Options::new().format(format))
        .join(inputs, &mut file)
        .unwrap();
    assert!(!joined.report.complete);
    assert!(!joined.inputs[0].complete && joined.inputs[1].complete);
    assert!(file[..there.len()] == there);
    assert_eq!(file.len(), there.len() + 8 * 88_200);
}
