//! The options of a conversion from outside: trims, fades, loudness, copies, chapters.

use std::io::{self, Read};
use std::time::Duration;

use crate::support::clip;
use crate::support::movie::{Moov, pcm_movie};
use crate::support::mp3_check::check;
use crate::support::music::music;
use crate::support::programs::{aac_movie, assert_silent, coded_movie, presented, run};
use micropy_core::{
    Channels, Converter, EmptyPart, Error, Key, Options, PartOutcome, Report, Source, StreamSink,
    StreamSource, TagOptions, Warning, probe,
};

const RATE: u32 = 44_100;

fn convert(options: Options, source: impl Source) -> (Vec<u8>, Report) {
    let mut mp3 = Vec::new();
    let report = Converter::new(options).convert(source, &mut mp3).unwrap();
    check(&mp3).unwrap();
    assert_silent(&mp3, "the MP3");
    (mp3, report)
}

fn error(options: Options, source: impl Source) -> Error {
    Converter::new(options)
        .convert(source, Vec::new())
        .unwrap_err()
}

/// Duration of this many PCM samples.
fn time(samples: u64) -> Duration {
    Duration::from_nanos((samples * 1_000_000_000).div_ceil(RATE.into()))
}

/// Power of `b` over that of its difference from `a`, in dB.
fn likeness(a: &[f32], b: &[f32]) -> f64 {
    let power = |x: f32| f64::from(x) * f64::from(x);
    let noise: f64 = a.iter().zip(b).map(|(&a, &b)| power(a - b)).sum();
    let signal: f64 = b.iter().copied().map(power).sum();
    10.0 * (signal / noise.max(1e-12)).log10()
}

fn level(pcm: &[f32]) -> f64 {
    let power: f64 = pcm.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    (power / pcm.len() as f64).sqrt()
}

#[test]
fn a_trim_is_exact_to_the_pcm_sample() {
    let planes = music(1, RATE, 1, 12 * RATE as usize);
    let file = pcm_movie(&planes, RATE, Moov::First);
    for (start, len) in [
        (0, 5000),
        (1, 6911),
        (44_099, 100_000),
        (200_003, 329_197),
        (500_000, 1 << 32),
    ] {
        let options = Options::new()
            .cbr(320)
            .start(time(start))
            .duration(time(len));
        let (mp3, report) = convert(options, file.as_slice());
        let there = (planes[0].len() as u64 - start).min(len);
        assert_eq!(report.output_samples, there, "{start} + {len}");
        let Some(pcm) = presented(&mp3) else { return };
        assert_eq!(pcm.len() as u64, there, "{start} + {len}");
        if there < 10_000 {
            continue;
        }
        let wanted = &planes[0][start as usize..(start + there) as usize];
        let right = likeness(&pcm, wanted);
        let late = likeness(&pcm[1..], wanted);
        let early = likeness(&pcm, &wanted[1..]);
        assert!(right > 15.0, "{start}: {right:.1} dB");
        assert!(
            right > late + 3.0 && right > early + 3.0,
            "{start}: {right:.1}, {late:.1}, {early:.1} dB"
        );
    }
}

/// Counts the bytes read from a slice.
struct Counted<'a> {
    bytes: &'a [u8],
    read: &'a mut usize,
}

impl Source for Counted<'_> {
    fn size(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read_at(offset, buf)?;
        *self.read += n;
        Ok(n)
    }
    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_comes_before_a_trim_is_not_read_and_does_not_matter() {
    let planes = music(2, RATE, 2, 60 * RATE as usize);
    let Some(file) = aac_movie(&planes, RATE, "+faststart") else {
        return;
    };
    let start = Duration::from_millis(48_300);
    let mut read = 0;
    let counted = Counted {
        bytes: &file,
        read: &mut read,
    };
    let (late, report) = convert(Options::new().cbr(192).start(start), counted);
    assert!(read < file.len() / 3, "{read} of {} bytes", file.len());
    let (whole, whole_report) = convert(Options::new().cbr(192), file.as_slice());
    let skipped = (whole_report.output_samples - report.output_samples) as usize;
    assert_eq!(skipped, 48_300 * RATE as usize / 1000);
    let (Some(late), Some(whole)) = (presented(&late), presented(&whole)) else {
        return;
    };
    let wanted = &whole[2 * skipped..];
    let likeness = likeness(&late[2000..], &wanted[2000..]);
    assert!(likeness > 15.0, "{likeness:.1} dB");
}

#[test]
fn what_comes_before_a_trim_is_not_read_whatever_the_codec() {
    let planes = music(3, RATE, 2, 60 * RATE as usize);
    let coded = |encoder| coded_movie(&planes, RATE, encoder, "+faststart");
    let (Some(flac), Some(alac), Some(opus)) =
        (coded("flac"), coded("alac"), coded("libopus -b:a 96k"))
    else {
        return;
    };
    let pcm = pcm_movie(&planes, RATE, Moov::First);
    let start = Duration::from_millis(54_300);
    for (what, file) in [("FLAC", flac), ("ALAC", alac), ("Opus", opus), ("PCM", pcm)] {
        let mut read = 0;
        let counted = Counted {
            bytes: &file,
            read: &mut read,
        };
        let (late, report) = convert(Options::new().cbr(192).start(start), counted);
        // A tenth is wanted; the beginning is looked at.
        assert!(read < file.len() / 5, "{what}: {read} of {}", file.len());
        let (whole, whole_report) = convert(Options::new().cbr(192), file.as_slice());
        let skipped = (whole_report.output_samples - report.output_samples) as usize;
        let (Some(late), Some(whole)) = (presented(&late), presented(&whole)) else {
            return;
        };
        let likeness = likeness(&late[2000..], &whole[2 * skipped + 2000..]);
        assert!(likeness > 15.0, "{what}: {likeness:.1} dB");
    }
}

#[test]
fn a_part_past_the_end_of_the_audio_is_empty() {
    let start = Duration::from_secs(10);
    for name in ["stereo-48000.mp4", "fragmented-cmaf.m4a"] {
        let error = error(Options::new().start(start), clip(name).as_slice());
        assert!(
            matches!(error, Error::EmptyPart { start: at, .. } if at == start),
            "{name}: {error}"
        );
    }
}

#[test]
fn fades_begin_and_end_in_silence_even_if_the_length_is_unknown() {
    let planes = music(3, RATE, 1, 6 * RATE as usize);
    let plain = pcm_movie(&planes, RATE, Moov::Last);
    let fragmented = aac_movie(&planes, RATE, "frag_keyframe+empty_moov+default_base_moof");
    for file in [Some(plain), fragmented].into_iter().flatten() {
        let seconds = Duration::from_secs;
        let options = Options::new().cbr(320);
        let faded = options.clone().fade_in(seconds(1)).fade_out(seconds(2));
        let (mp3, report) = convert(faded.clone(), file.as_slice());
        let (unfaded, _) = convert(options, file.as_slice());
        let (Some(pcm), Some(unfaded)) = (presented(&mp3), presented(&unfaded)) else {
            return;
        };
        assert_eq!(pcm.len() as u64, report.output_samples);
        let ratio = |from: f64, to: f64| {
            let at = |t: f64| (t * f64::from(RATE)) as usize;
            let end = at(to).min(pcm.len());
            level(&pcm[at(from)..end]) / level(&unfaded[at(from)..end])
        };
        assert!(ratio(0.0, 0.1) < 0.1, "{}", ratio(0.0, 0.1));
        assert!((ratio(0.45, 0.55) - 0.5).abs() < 0.1);
        assert!((ratio(2.0, 3.5) - 1.0).abs() < 0.02);
        assert!((ratio(4.9, 5.1) - 0.5).abs() < 0.1, "{}", ratio(4.9, 5.1));
        let pipe = StreamSource::new(Pipe(&file));
        let (piped, _) = convert(faded, pipe);
        assert!(piped == mp3, "a pipe gives another MP3");
    }
}

/// Gives a slice piece by piece.
struct Pipe<'a>(&'a [u8]);

impl Read for Pipe<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let piece = buf.len().min(5000);
        self.0.read(&mut buf[..piece])
    }
}

/// Integrated loudness in LUFS and true peak in dBTP, as ffmpeg measures them.
fn measured(file: &[u8]) -> Option<(f64, f64)> {
    let args = "-hide_banner -nostats -i - -af ebur128=peak=true:framelog=verbose -f null -";
    let args: Vec<&str> = args.split(' ').collect();
    let output = run("ffmpeg", &args, file)?;
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = |name: &str| {
        let line = said.lines().rev().find(|l| l.trim().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    Some((value("I:"), value("Peak:")))
}

/// Music at this level.
fn leveled(seed: u64, gain: f32) -> Vec<u8> {
    let mut planes = music(seed, RATE, 2, 40 * RATE as usize);
    planes.iter_mut().flatten().for_each(|x| *x *= gain);
    pcm_movie(&planes, RATE, Moov::First)
}

#[test]
fn normalizing_reaches_its_target_and_no_peak_passes_the_ceiling() {
    for (gain, target) in [(0.02, -23.0), (0.4, -16.0), (0.9, -30.0)] {
        let file = leveled(4, gain);
        let options = Options::new().cbr(320).normalize(target);
        let (mp3, report) = convert(options.clone().jobs(1), file.as_slice());
        let (parallel, _) = convert(options.jobs(3), file.as_slice());
        assert!(parallel == mp3, "one job and three differ");
        let told = report.loudness.unwrap();
        let Some((loudness, peak)) = measured(&mp3) else {
            return;
        };
        assert!((loudness - target).abs() < 0.5, "{gain}: {loudness} LUFS");
        // At 320 kbit/s a lossy codec adds less than half a dB to peaks.
        assert!(peak <= -0.5, "{gain}: {peak} dBTP");
        assert!((told.integrated.unwrap() + told.gain - target).abs() < 0.01);
    }
}

/// The value of a TXXX frame.
fn own_tag(mp3: &[u8], name: &str) -> Option<String> {
    let wanted: Vec<u8> = [name.as_bytes(), b"\0"].concat();
    let at = mp3.windows(wanted.len()).position(|w| w == wanted)?;
    // After the frame's header of ten bytes and the encoding.
    let size: [u8; 4] = mp3[at - 7..at - 3].try_into().unwrap();
    let end = at - 1 + u32::from_be_bytes(size) as usize;
    let value = &mp3[at + wanted.len()..end];
    Some(
        String::from_utf8_lossy(value)
            .trim_end_matches('\0')
            .to_owned(),
    )
}

#[test]
fn the_report_tells_what_the_tag_of_the_mp3_says() {
    let said = |options: Options, name: &str| {
        let (mp3, report) = convert(options, clip(name).as_slice());
        let texts = [Key::Title, Key::Artist, Key::Album];
        let texts = texts.map(|key| report.tags.get(&key).map(str::to_owned));
        // Each stands in the MP3, and so does the picture.
        let holds = |bytes: &[u8]| mp3.windows(bytes.len()).any(|window| window == bytes);
        for text in texts.iter().flatten() {
            assert!(holds(text.as_bytes()), "{text}");
        }
        let cover = report.cover;
        assert!(cover.as_ref().is_none_or(|cover| holds(cover.data())));
        (texts, cover.map(|cover| cover.mime()))
    };
    let own = [
        "Harbour at Seven",
        "The Kettle",
        "Fresh Snow \u{2013} Gr\u{f6}\u{df}e",
    ];
    let own = own.map(|text| Some(text.to_owned()));
    for (name, kind) in [
        ("tags-cover-jpeg.m4a", "image/jpeg"),
        ("tags-cover-png.m4a", "image/png"),
    ] {
        assert_eq!(said(Options::new(), name), (own.clone(), Some(kind)));
    }
    let bare = TagOptions::new().copy(false).edit(Key::Title, "Another");
    let titled = [Some("Another".to_owned()), None, None];
    let options = Options::new().tags(bare);
    assert_eq!(said(options, "tags-cover-jpeg.m4a"), (titled, None));
}

#[test]
fn replay_gain_is_what_ffmpeg_measures_and_a_pipe_gets_it_too() {
    let file = leveled(5, 0.5);
    let options = Options::new().cbr(320).replay_gain(true);
    let (mp3, report) = convert(options.clone(), file.as_slice());
    let integrated = report.loudness.unwrap().integrated.unwrap();
    let gain = own_tag(&mp3, "REPLAYGAIN_TRACK_GAIN").unwrap();
    let peak = own_tag(&mp3, "REPLAYGAIN_TRACK_PEAK").unwrap();
    assert_eq!(gain, format!("{:.2} dB", -18.0 - integrated));
    let mut piped = Vec::new();
    Converter::new(options)
        .convert(StreamSource::new(Pipe(&file)), StreamSink::new(&mut piped))
        .unwrap();
    assert_eq!(own_tag(&piped, "REPLAYGAIN_TRACK_GAIN").unwrap(), gain);
    assert_eq!(own_tag(&piped, "REPLAYGAIN_TRACK_PEAK").unwrap(), peak);
    let Some((loudness, dbtp)) = measured(&mp3) else {
        return;
    };
    assert!(
        (loudness - integrated).abs() < 0.2,
        "{loudness}, {integrated}"
    );
    let told = 20.0 * peak.parse::<f64>().unwrap().log10();
    assert!((told - dbtp).abs() < 0.5, "{told}, {dbtp} dBTP");
}

#[test]
fn a_late_start_becomes_silence_on_request() {
    let file = clip("edit-list-late.mp4");
    let (_, plain) = convert(Options::new(), file.as_slice());
    let options = Options::new().cbr(192).late_start(true);
    let (mp3, late) = convert(options.clone(), file.as_slice());
    let silence = late.output_samples - plain.output_samples;
    // 476 ms, in ticks of the movie's clock.
    assert!(silence.abs_diff(20_992) < 50, "{silence}");
    let trimmed = options
        .start(Duration::from_millis(100))
        .duration(Duration::from_millis(500));
    let (_, part) = convert(trimmed, file.as_slice());
    assert_eq!(part.output_samples, 22_050);
    let Some(pcm) = presented(&mp3) else { return };
    let before = 2 * silence as usize - 1200;
    assert!(level(&pcm[..before]) < 1e-4);
    assert!(level(&pcm[before..]) > 0.01);
}

#[test]
fn mp3_is_copied_unless_another_is_asked_for() {
    let file = clip("mp3.mp4");
    let (mp3, report) = convert(Options::new(), file.as_slice());
    assert!(report.copied && report.complete, "{report:?}");
    assert_eq!(report.output_samples, 88_200);
    let mut at = 0;
    let stream = check(&mp3).unwrap();
    assert_eq!(stream.frames.len() as u64, report.frames);
    // The frames of the source are there one after another.
    let first = stream.frames[0];
    for window in stream.frames.windows(2) {
        let frame = &mp3[window[0]..window[1]];
        let found = file[at..].windows(frame.len()).position(|w| w == frame);
        at += found.unwrap_or_else(|| panic!("frame at {}", window[0] - first));
    }
    if let Some(pcm) = presented(&mp3) {
        assert_eq!(pcm.len(), 2 * 88_200);
    }
    let piped = {
        let mut piped = Vec::new();
        let sink = StreamSink::new(&mut piped);
        Converter::new(Options::new())
            .convert(StreamSource::new(Pipe(&file)), sink)
            .unwrap();
        piped
    };
    assert!(piped[first..] == mp3[first..]);
    let seconds = Duration::from_secs(1);
    for (other, samples) in [
        (Options::new().cbr(128), 88_200),
        (Options::new().duration(seconds), 44_100),
        (Options::new().channels(Channels::Mono), 88_200),
        (Options::new().normalize(-16.0), 88_200),
    ] {
        let (_, report) = convert(other, file.as_slice());
        assert!(!report.copied);
        assert_eq!(report.output_samples, samples);
    }
    let (tagged, report) = convert(Options::new().replay_gain(true), file.as_slice());
    assert!(report.copied && own_tag(&tagged, "REPLAYGAIN_TRACK_GAIN").is_some());
}

#[test]
fn a_damaged_mp3_is_copied_with_silence_for_what_is_lost() {
    let file = clip("mp3.mp4");
    let (sound, whole) = convert(Options::new(), file.as_slice());
    let stream = check(&sound).unwrap();
    let frame = &sound[stream.frames[20]..stream.frames[21]];
    let at = file.windows(frame.len()).position(|w| w == frame).unwrap();
    let mut damaged = file.clone();
    damaged[at..at + 4].fill(0);
    let (_, report) = convert(Options::new(), damaged.as_slice());
    assert!(report.copied && report.concealed_packets >= 1);
    assert_eq!(report.output_samples, whole.output_samples);
    assert_eq!(report.frames, whole.frames);
    assert!(
        matches!(report.warnings[0], Warning::Concealed { at: place, .. } if place == at as u64),
        "{:?}",
        report.warnings
    );
}

#[test]
fn chapters_become_files_that_together_are_the_whole() {
    let file = clip("chapters.m4b");
    let (_, whole) = convert(Options::new(), file.as_slice());
    let pipe = || StreamSource::new(Pipe(&file));
    let mut from_file = Converter::new(Options::new())
        .chapters(file.as_slice())
        .unwrap();
    let mut from_pipe = Converter::new(Options::new()).chapters(pipe()).unwrap();
    let names = from_file.file_names("");
    assert!(names.len() > 1 && names[0].starts_with("01 "), "{names:?}");
    let mut samples = 0;
    for (index, name) in names.iter().enumerate() {
        let (mut mp3, mut piped) = (Vec::new(), Vec::new());
        let outcome = from_file.convert(index, &mut mp3).unwrap();
        let report = outcome.report().unwrap();
        from_pipe.convert(index, &mut piped).unwrap();
        assert!(mp3 == piped, "{name}: a pipe gives a different MP3");
        check(&mp3).unwrap();
        assert_silent(&mp3, name);
        samples += report.output_samples;
        let title = &from_file.list()[index].title;
        let says = |what: &[u8]| mp3.windows(what.len()).any(|w| w == what);
        assert!(says(title.as_bytes()), "{name}");
        assert!(
            says(format!("{}/{}", index + 1, names.len()).as_bytes()),
            "{name}"
        );
        assert!(!says(b"CTOC"), "{name}");
    }
    assert_eq!(samples, whole.output_samples);
    let beyond = from_file.convert(names.len(), Vec::new());
    assert!(matches!(beyond, Err(Error::InvalidOption(_))));
    let none = clip("mono-22050.mp4");
    let none = Converter::new(Options::new()).chapters(none.as_slice());
    assert!(matches!(none, Err(Error::NoChapters)));
}

fn atom(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let size = (8 + payload.len()) as u32;
    [&size.to_be_bytes()[..], kind, payload].concat()
}

/// The movie with `moov` in front, and with Nero's list of chapters: starts in units of 100 ns, and titles.
fn with_chapters(movie: &[u8], chapters: &[(u64, &str)]) -> Vec<u8> {
    let mut list = vec![0, 0, 0, 0, chapters.len() as u8];
    for (start, title) in chapters {
        list.extend(start.to_be_bytes());
        list.push(title.len() as u8);
        list.extend(title.as_bytes());
    }
    let udta = atom(b"udta", &atom(b"chpl", &list));
    let mut file = movie.to_vec();
    let find = |file: &[u8], kind: &[u8]| file.windows(4).position(|w| w == kind).unwrap();
    let raise = |file: &mut [u8], at: usize| {
        let old = u32::from_be_bytes(*file[at..].first_chunk().unwrap());
        file[at..at + 4].copy_from_slice(&(old + udta.len() as u32).to_be_bytes());
        old as usize
    };
    let stco = find(&file, b"stco") + 8;
    let chunks = u32::from_be_bytes(*file[stco..].first_chunk().unwrap());
    for chunk in 0..chunks as usize {
        raise(&mut file, stco + 4 + 4 * chunk);
    }
    let moov = find(&file, b"moov") - 4;
    let moov_len = raise(&mut file, moov);
    file.splice(moov + moov_len..moov + moov_len, udta.clone());
    file
}

/// Splits a book of three seconds of noise at these markers, cut off after `len` bytes; tells each chapter's PCM
/// samples.
fn split(chapters: &[(u64, &str)], len: Option<usize>) -> Vec<Result<(u64, bool), EmptyPart>> {
    let book = pcm_movie(&music(3, 8000, 1, 24_000), 8000, Moov::First);
    let book = with_chapters(&book, chapters);
    let book = &book[..len.unwrap_or(book.len())];
    let mut split = Converter::new(Options::new().cbr(32))
        .chapters(book)
        .unwrap();
    (0..split.list().len())
        .map(|index| match split.convert(index, Vec::new()).unwrap() {
            PartOutcome::Converted(report) => Ok((report.output_samples, report.complete)),
            PartOutcome::Empty(chapter) => Err(chapter),
        })
        .collect()
}

#[test]
fn a_marker_at_or_after_the_end_is_a_chapter_without_audio() {
    const SECOND: u64 = 10_000_000;
    let book = [
        (0, "a"),
        (SECOND, ""),
        (3 * SECOND, "at the end"),
        (4 * SECOND, "after it"),
    ];
    let made = split(&book, None);
    assert_eq!(made[..2], [Ok((8000, true)), Ok((16_000, true))]);
    for (made, start) in made[2..].iter().zip([3, 4]) {
        let empty = made.as_ref().unwrap_err();
        assert_eq!(empty.start, Duration::from_secs(start));
        assert!(
            empty.is_complete() && empty.to_string().contains("the audio ends before"),
            "{empty}"
        );
    }
    // One of less than half a PCM sample, in the middle.
    let made = split(&[(0, "a"), (SECOND, "b"), (SECOND + 100, "c")], None);
    assert_eq!(
        (&made[0], &made[2]),
        (&Ok((8000, true)), &Ok((16_000, true)))
    );
    assert!(made[1].as_ref().is_err_and(|empty| empty.is_complete()));
}

#[test]
fn no_audio_is_left_out_before_the_first_chapter() {
    let made = split(&[(5_000_000, "late"), (10_000_000, "b")], None);
    assert_eq!(made, [Ok((8000, true)), Ok((16_000, true))]);
}

#[test]
fn a_book_that_breaks_off_says_which_chapters_are_missing() {
    let chapters = [(0, "a"), (10_240_000, "b"), (20_480_000, "c")];
    let book = with_chapters(
        &pcm_movie(&music(3, 8000, 1, 24_000), 8000, Moov::First),
        &chapters,
    );
    let mdat = book.windows(4).position(|w| w == b"mdat").unwrap() + 4;
    // Two chunks of 4,096 PCM samples, with a thousand bytes behind each: a chapter to the sample.
    let chunk = 2 * 4096 + 1000;
    let made = split(&chapters, Some(mdat + 2 * chunk));
    assert_eq!(made[0], Ok((8192, true)));
    for made in &made[1..] {
        let empty = made.as_ref().unwrap_err();
        assert!(
            matches!(empty.missing[..], [Warning::BreaksOff { .. }]),
            "{empty:?}"
        );
        assert!(
            !empty.is_complete() && empty.to_string().contains("is missing"),
            "{empty}"
        );
    }
    // In the middle of the second.
    let made = split(&chapters, Some(mdat + 3 * chunk));
    assert_eq!(made[..2], [Ok((8192, true)), Ok((4096, false))]);
    assert!(made[2].as_ref().is_err_and(|empty| !empty.is_complete()));
}

#[test]
fn chapters_of_mp3_are_not_copies_of_the_whole() {
    let file = clip("mp3.mp4");
    let (_, whole) = convert(Options::new(), file.as_slice());
    assert!(whole.copied);
    let length = whole.duration().as_nanos() as u64 / 100;
    let list = [
        &[0, 0, 0, 0, 2][..],
        &[0; 8],
        &[1],
        b"a",
        &(length / 2).to_be_bytes(),
        &[1],
        b"b",
    ]
    .concat();
    let udta = atom(b"udta", &atom(b"chpl", &list));
    let mut book = file.clone();
    let moov = book.windows(4).position(|w| w == b"moov").unwrap() - 4;
    let size = u32::from_be_bytes(*book[moov..].first_chunk().unwrap());
    assert_eq!(moov + size as usize, book.len(), "`moov` is last");
    book[moov..moov + 4].copy_from_slice(&(size + udta.len() as u32).to_be_bytes());
    book.extend(udta);
    let mut split = Converter::new(Options::new())
        .chapters(book.as_slice())
        .unwrap();
    let mut samples = 0;
    for index in 0..2 {
        let report = split.convert(index, Vec::new()).unwrap().report().unwrap();
        assert!(!report.copied && report.output_samples < whole.output_samples * 2 / 3);
        samples += report.output_samples;
    }
    assert_eq!(samples, whole.output_samples);
}

#[test]
fn a_probe_finds_the_length_of_every_clip() {
    let mut looked_at = 0;
    for line in String::from_utf8(clip("expected.tsv")).unwrap().lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let (name, Ok(samples)) = (fields[0], fields[1].parse::<u64>()) else {
            continue;
        };
        let file = clip(name);
        let found = probe(file.as_slice()).unwrap();
        let Some(index) = found.default_track else {
            panic!("{name}: no track")
        };
        let track = &found.tracks[index];
        if track.problem.is_none() {
            assert_eq!(track.samples, Some(samples), "{name}");
            assert_eq!(track.sample_rate, fields[2].parse().ok(), "{name}");
            assert_eq!(track.channels, fields[3].parse().ok(), "{name}");
            looked_at += 1;
        }
        let piped = probe(StreamSource::new(Pipe(&file))).unwrap();
        assert_eq!(piped.tracks, found.tracks, "{name}");
        assert_eq!(piped.chapters, found.chapters, "{name}");
    }
    assert!(looked_at > 30, "{looked_at}");
    assert!(matches!(probe(&b"no film"[..]), Err(Error::NotMp4 { .. })));
}

#[test]
fn missing_audio_is_an_error_and_not_an_empty_mp3() {
    let file = clip("moov-first-stereo-44100.mp4");
    let mdat = file.windows(4).position(|w| w == b"mdat").unwrap();
    let cut = error(Options::new(), &file[..mdat + 4]);
    assert!(matches!(cut, Error::Malformed { .. }), "{cut}");
    assert!(cut.to_string().contains("none of"), "{cut}");
    let mut garbage = file.clone();
    // A packet that begins with a program config element.
    garbage[mdat + 4..].fill(0xA0);
    let garbage = error(Options::new(), garbage.as_slice());
    assert!(
        matches!(garbage, Error::Malformed { at: 1.., .. }),
        "{garbage}"
    );
}

#[test]
fn surround_is_mixed_down_by_bs_775_and_never_clips() {
    // FL FR FC LFE BL BR, a tone in one of them at a time; then all at full scale.
    let second = RATE as usize;
    let tone = |n: usize| (n as f32 * 997.0 * std::f32::consts::TAU / RATE as f32).sin();
    let planes: Vec<Vec<f32>> = (0..6)
        .map(|channel| {
            let at = |n: usize| match n / second {
                turn if turn == channel => 0.5 * tone(n),
                6 => tone(n),
                _ => 0.0,
            };
            (0..7 * second).map(at).collect()
        })
        .collect();
    let file = pcm_movie(&planes, RATE, Moov::First);
    let levels = |unscaled: bool| -> Option<Vec<(f64, f64)>> {
        let options = Options::new().cbr(320).unscaled_downmix(unscaled);
        let (mp3, report) = convert(options, file.as_slice());
        assert_eq!((report.input_channels, report.output_channels), (6, 2));
        let pcm = presented(&mp3)?;
        let turn = |turn: usize, side: usize| {
            let middle = turn * second + second / 4..turn * second + 3 * second / 4;
            level(&middle.map(|n| pcm[2 * n + side]).collect::<Vec<_>>())
        };
        if !unscaled {
            assert!(pcm[2 * 6 * second..].iter().all(|x| x.abs() < 1.05));
        }
        Some((0..7).map(|t| (turn(t, 0), turn(t, 1))).collect())
    };
    let Some(scaled) = levels(false) else {
        return;
    };
    let full = scaled[0].0;
    let half = std::f64::consts::FRAC_1_SQRT_2;
    let wanted = [
        (1.0, 0.0),
        (0.0, 1.0),
        (half, half),
        (0.0, 0.0),
        (half, 0.0),
        (0.0, half),
    ];
    for (channel, (left, right)) in wanted.into_iter().enumerate() {
        let (l, r) = (scaled[channel].0 / full, scaled[channel].1 / full);
        assert!(
            (l - left).abs() < 0.02 && (r - right).abs() < 0.02,
            "channel {channel}: {l:.3}, {r:.3}"
        );
    }
    // Of one sine at half scale, 1 / (1 + √½ + √½) is left.
    assert!(
        (full - 0.5 * half / (1.0 + 2.0 * half)).abs() < 0.005,
        "{full}"
    );
    let Some(unscaled) = levels(true) else {
        return;
    };
    assert!((unscaled[0].0 / full - (1.0 + 2.0 * half)).abs() < 0.05);
}
