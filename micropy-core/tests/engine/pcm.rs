//! PCM out: what programs read, what WAVE files hold, and what waveforms show.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::support::movie::{Moov, pcm_movie};
use crate::support::music::music;
use crate::support::programs::{aac_movie, probed, run};
use crate::support::{clip, media};
use micropy_core::{
    CancelToken, Channels, Converter, Division, Error, Options, OutputFormat, PcmReader, PeakBits,
    Report, SampleFormat, SeekSink, Source, StreamSink, StreamSource, Warning, Waveform, peaks,
    probe,
};

const S16: SampleFormat = SampleFormat::S16;
const F32: SampleFormat = SampleFormat::F32;

/// Every clip that can be decoded, with the PCM samples that it presents and their rate.
fn clips() -> Vec<(String, u64, u32)> {
    let list = String::from_utf8(clip("expected.tsv")).unwrap();
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let clips = lines.filter_map(|line| {
        let mut fields = line.split('\t');
        let name = fields.next()?.to_owned();
        let samples = fields.next()?.parse().ok()?;
        Some((name, samples, fields.next()?.parse().ok()?))
    });
    let sound = clips.filter(|(name, ..)| cfg!(feature = "fdk-aac") || !needs_fdk(name));
    sound
        .filter(|(name, ..)| media().join(name).exists())
        .collect()
}

fn needs_fdk(name: &str) -> bool {
    name.starts_with("he-aac") || name.starts_with("surround")
}

fn convert(options: Options, source: impl Source) -> (Vec<u8>, Report) {
    let mut file = Vec::new();
    let report = Converter::new(options).convert(source, &mut file).unwrap();
    assert_eq!(report.output_bytes, file.len() as u64);
    (file, report)
}

fn raw(options: Options, source: impl Source) -> Vec<f32> {
    let (bytes, _) = convert(options.format(OutputFormat::Raw(F32)), source);
    floats(&bytes)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let samples = bytes.as_chunks().0.iter();
    samples.map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// What ffmpeg makes of a clip, in a format of its own name.
fn by_ffmpeg(name: &str, format: &str) -> Option<Vec<u8>> {
    let path = media().join(name);
    let codec = format!("pcm_{format}");
    let args = ["-v", "error", "-nostdin", "-i", path.to_str().unwrap()];
    let args = [&args[..], &["-f", format, "-c:a", &codec, "-"]].concat();
    let output = run("ffmpeg", &args, &[])?;
    assert!(output.status.success(), "{name}");
    Some(output.stdout)
}

#[test]
fn lossless_audio_is_what_ffmpeg_decodes_bit_for_bit() {
    let mut compared = 0;
    for (name, bits) in [
        ("alac.m4a", 16),
        ("flac.mp4", 16),
        ("quicktime-sowt.mov", 16),
        ("quicktime-twos.mov", 16),
        ("quicktime-ulaw.mov", 16),
        ("quicktime-in24.mov", 24),
        ("quicktime-fl32.mov", 32),
        ("quicktime-lpcm-96000.mov", 32),
    ] {
        let file = clip(name);
        let Some(theirs) = by_ffmpeg(name, "f32le") else {
            return;
        };
        let options = Options::new().format(OutputFormat::Raw(F32));
        assert!(convert(options, file.as_slice()).0 == theirs, "{name}");
        if bits == 16 {
            let theirs = by_ffmpeg(name, "s16le").unwrap();
            let options = Options::new().format(OutputFormat::Raw(S16));
            assert!(convert(options, file.as_slice()).0 == theirs, "{name}");
        }
        compared += theirs.len();
    }
    assert!(compared > 500_000, "{compared}");
}

#[test]
fn a_reader_gives_as_many_samples_as_the_mp3_has() {
    let mut read = 0;
    for (name, samples, rate) in clips() {
        let file = clip(&name);
        let mut reader = PcmReader::new(file.as_slice(), Options::new()).unwrap();
        assert_eq!(reader.sample_rate(), rate, "{name}");
        let mut count = 0;
        while let Some(planes) = reader.next_block().unwrap() {
            assert!(!planes[0].is_empty(), "{name}");
            count += planes[0].len() as u64;
        }
        assert_eq!(count, samples, "{name}");
        let report = reader.report().unwrap();
        assert_eq!((report.output_samples, report.frames), (samples, 0));
        let (_, mp3) = convert(Options::new().vbr(9.0), file.as_slice());
        assert_eq!((report.complete, &report.codec), (mp3.complete, &mp3.codec));
        if mp3.output_sample_rate == rate {
            assert_eq!(mp3.output_samples, count, "{name}");
        }
        read += 1;
    }
    assert!(read > 40, "{read}");
}

#[test]
fn blocks_interleaved_reads_and_files_are_the_same_pcm() {
    let Some(file) = aac_movie(&music(1, 48_000, 2, 700_000), 48_000, "+faststart") else {
        return;
    };
    for options in [
        Options::new(),
        Options::new().sample_rate(44_100).normalize(-16.0),
        Options::new()
            .start(Duration::from_millis(1234))
            .duration(Duration::from_secs(9))
            .channels(Channels::Mono)
            .fade_in(Duration::from_secs(1))
            .fade_out(Duration::from_secs(2)),
    ] {
        let written = raw(options.clone(), file.as_slice());
        let reader = PcmReader::new(file.as_slice(), options.clone()).unwrap();
        let channels = usize::from(reader.channels());
        let declared = reader.declared_samples().unwrap() as usize;
        assert_eq!(declared * channels, written.len());
        let mut blocks = Vec::new();
        for planes in reader {
            let planes = planes.unwrap();
            blocks.extend((0..planes[0].len()).flat_map(|i| planes.iter().map(move |p| p[i])));
        }
        assert!(blocks == written, "{options:?}");
        // In stereo, an odd place stays free.
        let mut reader = PcmReader::new(file.as_slice(), options).unwrap();
        let mut interleaved = Vec::new();
        for len in [1, 7, 1000, 3, 65_537].into_iter().cycle() {
            let mut out = vec![f32::NAN; len];
            let read = reader.read_interleaved(&mut out).unwrap();
            interleaved.extend_from_slice(&out[..read]);
            assert!(out[read..].iter().all(|sample| sample.is_nan()));
            if read < len / channels * channels {
                break;
            }
        }
        assert!(interleaved == written);
        assert!(reader.report().is_some_and(|report| report.complete));
        assert_eq!(reader.read_interleaved(&mut [0.0; 8]).unwrap(), 0);
    }
}

#[test]
fn a_block_that_was_read_in_part_is_not_lost() {
    let file = clip("moov-first-stereo-44100.mp4");
    let whole = raw(Options::new(), file.as_slice());
    let mut reader = PcmReader::new(file.as_slice(), Options::new()).unwrap();
    let mut first = [0.0; 2 * 100];
    assert_eq!(reader.read_interleaved(&mut first).unwrap(), 200);
    let planes = reader.next_block().unwrap().unwrap();
    assert_eq!(planes[1][0], whole[201]);
    let len = planes[0].len();
    let planes = reader.next_block().unwrap().unwrap();
    assert_eq!(planes[0][0], whole[200 + 2 * len]);
}

/// A WAVE file as ffmpeg and ffprobe see it.
fn assert_wav(wav: &[u8], report: &Report, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    std::fs::write(&path, wav).unwrap();
    let path = path.to_str().unwrap();
    let args = ["-v", "warning", "-nostdin", "-i", path, "-f", "null", "-"];
    let Some(output) = run("ffmpeg", &args, &[]) else {
        return;
    };
    assert!(output.status.success());
    // A plain header names no loudspeakers: ffmpeg says that it guesses, of its own files too.
    let complaints = String::from_utf8(output.stderr).unwrap();
    let guess = |line: &&str| !line.starts_with("Guessed Channel Layout");
    let complaints: Vec<&str> = complaints.lines().filter(guess).collect();
    assert!(complaints.is_empty(), "{what}: {complaints:?}");
    let entries = "stream=sample_rate,channels,duration_ts";
    let found = probed(&folder.path().join("a.wav"), entries).unwrap();
    let expected = format!(
        "{},{},{}",
        report.output_sample_rate, report.output_channels, report.output_samples
    );
    assert_eq!(found.trim(), expected, "{what}");
}

#[test]
fn a_wave_file_is_read_by_others_without_a_word() {
    for name in [
        "moov-first-stereo-44100.mp4",
        "mono-8000.mp4",
        "stereo-96000.m4a",
        "fragmented-dash.mp4",
        "alac.m4a",
    ] {
        for samples in [S16, F32] {
            let options = Options::new().format(OutputFormat::Wav(samples));
            let file = clip(name);
            let (wav, report) = convert(options.clone(), file.as_slice());
            assert_wav(&wav, &report, name);
            let raw = convert(options.format(OutputFormat::Raw(samples)), file.as_slice()).0;
            assert!(wav.ends_with(&raw), "{name}");
        }
    }
}

#[test]
fn a_pipe_gets_the_sizes_that_are_known_beforehand() {
    let options = Options::new().format(OutputFormat::Wav(S16));
    let piped = |name: &str| {
        let mut pipe = StreamSink::new(Vec::new());
        let source = StreamSource::new(std::io::Cursor::new(clip(name)));
        Converter::new(options.clone())
            .convert(source, &mut pipe)
            .unwrap();
        pipe.into_inner()
    };
    let name = "moov-first-stereo-44100.mp4";
    assert!(piped(name) == convert(options.clone(), clip(name).as_slice()).0);
    // Fragments do not say how many there will be: the file is as long as the pipe.
    let (name, data) = ("fragmented-cmaf.m4a", 76..80);
    let (piped, whole) = (
        piped(name),
        convert(options.clone(), clip(name).as_slice()).0,
    );
    assert_eq!(piped[data.clone()], [0xFF; 4]);
    assert_eq!(whole[data], (4u32 * 89_224).to_le_bytes());
    assert!(piped[80..] == whole[80..]);
}

#[test]
fn dither_is_added_to_what_16_bits_cannot_hold() {
    let file = clip("moov-first-stereo-44100.mp4");
    let exact = raw(Options::new(), file.as_slice());
    let options = Options::new().format(OutputFormat::Raw(S16));
    let (rounded, _) = convert(options.clone(), file.as_slice());
    let samples = rounded.as_chunks().0.iter();
    let errors = samples
        .zip(&exact)
        .map(|(&bytes, exact)| f64::from(i16::from_le_bytes(bytes)) - f64::from(*exact) * 32768.0);
    let errors: Vec<f64> = errors.collect();
    assert_eq!(errors.len(), exact.len());
    assert!(errors.iter().all(|error| error.abs() <= 1.5));
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(mean.abs() < 0.01, "{mean}");
    assert!(
        rounded == convert(options, file.as_slice()).0,
        "each time the same"
    );
}

#[test]
fn what_breaks_off_is_read_to_there_and_said_to_be_incomplete() {
    let file = clip("moov-first-stereo-44100.mp4");
    let cut = &file[..file.len() * 2 / 3];
    let mut reader = PcmReader::new(cut, Options::new()).unwrap();
    let mut count = 0;
    while let Some(planes) = reader.next_block().unwrap() {
        count += planes[0].len() as u64;
    }
    let report = reader.report().unwrap();
    assert!(count > 10_000 && count < 88_200, "{count}");
    assert_eq!((report.output_samples, report.complete), (count, false));
    let breaks_off = |w: &Warning| matches!(w, Warning::BreaksOff { .. });
    assert!(report.warnings.iter().any(breaks_off));
}

#[test]
fn a_reader_ends_with_its_token_and_after_an_error() {
    let file = clip("moov-first-stereo-44100.mp4");
    let token = CancelToken::new();
    let reader = Converter::new(Options::new()).cancel(token.clone());
    let mut reader = reader.pcm(file.as_slice()).unwrap();
    assert!(reader.next_block().unwrap().is_some());
    token.cancel();
    assert!(matches!(reader.next_block(), Err(Error::Cancelled)));
    assert!(reader.next_block().unwrap().is_none());
    assert!(reader.report().is_none());
    let none = PcmReader::new(&b"not a movie"[..], Options::new());
    assert!(matches!(none, Err(Error::NotMp4 { .. })));
    let beyond = Options::new().start(Duration::from_secs(100));
    let beyond = PcmReader::new(file.as_slice(), beyond);
    assert!(matches!(beyond, Err(Error::EmptyPart { .. })));
}

/// The waveform by its definition: of 16-bit PCM, in steps.
fn drawn(samples: &[i16], step: usize, scale: i16) -> Vec<(i16, i16)> {
    let steps = samples.chunks(step);
    let extremes = steps.map(|s| (s.iter().min().unwrap(), s.iter().max().unwrap()));
    extremes
        .map(|(min, max)| (min / scale, max / scale))
        .collect()
}

#[test]
fn a_waveform_shows_the_lowest_and_the_highest_sample_of_each_point() {
    let planes = music(5, 44_100, 1, 400_000);
    let file = pcm_movie(&planes, 44_100, Moov::First);
    let bytes = convert(
        Options::new().format(OutputFormat::Raw(S16)),
        file.as_slice(),
    )
    .0;
    let samples = bytes.as_chunks().0.iter();
    let samples: Vec<i16> = samples.map(|&b| i16::from_le_bytes(b)).collect();
    for (points, jobs) in [(1000, 1), (1000, 3), (7, 2), (1, 2)] {
        let step = 400_000usize.div_ceil(points);
        for (bits, scale) in [(PeakBits::Eight, 256), (PeakBits::Sixteen, 1)] {
            let count = NonZeroU32::new(points as u32).unwrap();
            let found = peaks(file.as_slice(), Options::new().jobs(jobs), count, bits).unwrap();
            assert_eq!(found.waveform.samples_per_pixel, step as u64);
            assert!(
                found.waveform.points == drawn(&samples, step, scale),
                "{points}"
            );
            assert!(found.report.complete);
        }
    }
}

#[test]
fn a_waveform_is_json_of_audiowaveform() {
    for name in ["fragmented-dash.mp4", "stereo-48000.mp4"] {
        let points = NonZeroU32::new(100).unwrap();
        let file = clip(name);
        let found = peaks(file.as_slice(), Options::new(), points, PeakBits::Eight).unwrap();
        let json = found.to_string();
        let (found, report) = (found.waveform, found.report);
        let (rate, length) = (found.sample_rate, found.points.len());
        let (head, data) = json.split_once("\"data\":").unwrap();
        let step = found.samples_per_pixel;
        let sizes = format!("\"samples_per_pixel\":{step},\"bits\":8,\"length\":{length},");
        let expected = format!("{{\"version\":2,\"channels\":1,\"sample_rate\":{rate},{sizes}");
        assert_eq!(head, expected);
        let data = data
            .strip_prefix('[')
            .and_then(|data| data.strip_suffix("]}"));
        let values: Vec<i8> = data
            .unwrap()
            .split(',')
            .map(|v| v.parse().unwrap())
            .collect();
        let points = found.points.iter().flat_map(|&(min, max)| [min, max]);
        assert!(values.into_iter().map(i16::from).eq(points));
        assert_eq!(report.output_samples.div_ceil(step), length as u64);
        assert!((90..=100).contains(&length), "{name}");
        let loud = |&(min, max): &(i16, i16)| min < -10 && max > 10;
        assert!(found.points.iter().any(loud), "{name}");
    }
    let many = NonZeroU32::new(1_000_001).unwrap();
    let refused = peaks(
        clip("mono-8000.mp4").as_slice(),
        Options::new(),
        many,
        PeakBits::Eight,
    );
    assert!(matches!(refused, Err(Error::InvalidOption(_))));
}

/// The MP3 that `converter` makes of `file`, and the waveform that it draws.
fn made_and_drawn(options: &Options, file: &[u8]) -> (Vec<u8>, Option<Waveform>) {
    let points = NonZeroU32::new(800).unwrap();
    let mut converter = Converter::new(options.clone()).draw_waveform(points, PeakBits::Eight);
    assert_eq!(converter.waveform(), None);
    let mut mp3 = Vec::new();
    let sink = SeekSink::new(std::io::Cursor::new(&mut mp3)).unwrap();
    converter.convert(file, sink).unwrap();
    (mp3, converter.waveform())
}

/// What a waveform with such points shows of what `options` make of `file`, by its definition.
fn expected(options: &Options, file: &[u8], step: u64) -> Vec<(i16, i16)> {
    let mut reader = PcmReader::new(file, options.clone()).unwrap();
    let mut mixed = Vec::new();
    while let Some(planes) = reader.next_block().unwrap() {
        mixed.extend((0..planes[0].len()).map(|i| match planes {
            [left, right] => 0.5 * left[i] + 0.5 * right[i],
            mono => mono[0][i],
        }));
    }
    let samples: Vec<i16> = mixed.iter().map(|&s| (s * 32768.0) as i16).collect();
    drawn(&samples, step as usize, 256)
}

#[test]
fn a_conversion_draws_the_waveform_of_a_probe_and_the_same_mp3() {
    let points = NonZeroU32::new(800).unwrap();
    let song = aac_movie(&music(3, 44_100, 2, 44_100 * 40), 44_100, "+faststart");
    let clips = [
        "stereo-48000.mp4",
        "mono-8000.mp4",
        "moov-last-stereo-44100.mp4",
    ];
    for file in song.into_iter().chain(clips.map(clip)) {
        let options = Options::new();
        let plain = convert_to_mp3(&options, &file);
        let probed = peaks(&file[..], options.clone(), points, PeakBits::Eight).unwrap();
        for jobs in [1, 2, 5] {
            let (mp3, waveform) = made_and_drawn(&options.clone().jobs(jobs), &file);
            assert!(mp3 == plain, "{jobs} jobs");
            assert_eq!(waveform.as_ref(), Some(&probed.waveform), "{jobs} jobs");
        }
    }
}

fn convert_to_mp3(options: &Options, file: &[u8]) -> Vec<u8> {
    let mut mp3 = Vec::new();
    let sink = SeekSink::new(std::io::Cursor::new(&mut mp3)).unwrap();
    Converter::new(options.clone()).convert(file, sink).unwrap();
    mp3
}

#[test]
fn the_waveform_of_a_conversion_is_that_of_the_mp3() {
    let file = pcm_movie(&music(4, 44_100, 2, 44_100 * 6), 44_100, Moov::First);
    for options in [
        Options::new().normalize(-30.0),
        Options::new()
            .fade_in(Duration::from_secs(2))
            .fade_out(Duration::from_secs(3)),
        Options::new().sample_rate(24_000),
        Options::new()
            .channels(Channels::Mono)
            .start(Duration::from_millis(1500)),
    ] {
        let (_, waveform) = made_and_drawn(&options, &file);
        let waveform = waveform.unwrap();
        let expected = expected(&options, &file, waveform.samples_per_pixel);
        assert!(waveform.points == expected, "{options:?}");
        assert!((700..=800).contains(&expected.len()), "{}", expected.len());
        let rate = options.sample_rate.unwrap_or(44_100);
        assert_eq!(waveform.sample_rate, rate);
        let whole = peaks(&file[..], Options::new(), NonZeroU32::MIN, PeakBits::Eight).unwrap();
        assert_ne!(waveform.points, whole.waveform.points);
    }
}

#[test]
fn a_waveform_of_unknown_length_has_nearly_as_many_points() {
    for name in [
        "fragmented-empty-moov.mp4",
        "fragmented-cmaf.m4a",
        "fragmented-dash.mp4",
    ] {
        let file = clip(name);
        let mut found = Vec::new();
        for jobs in [1, 3] {
            let (_, waveform) = made_and_drawn(&Options::new().jobs(jobs), &file);
            found.push(waveform.unwrap());
        }
        let step = found[0].samples_per_pixel;
        assert_eq!(
            found[0].points,
            expected(&Options::new(), &file, step),
            "{name}"
        );
        assert!(
            (500..=800).contains(&found[0].points.len()),
            "{name}: {step}"
        );
        assert_eq!(found[0], found[1]);
    }
}

#[test]
fn the_waveform_of_parts_is_of_all_of_them() {
    let file = pcm_movie(&music(9, 44_100, 2, 44_100 * 20), 44_100, Moov::First);
    let points = NonZeroU32::new(800).unwrap();
    let converter = Converter::new(Options::new()).draw_waveform(points, PeakBits::Eight);
    let division = Division::Lengths(Duration::from_millis(6543));
    let mut parts = converter.parts(&file[..], division).unwrap();
    for index in 0..parts.list().len() {
        assert_eq!(parts.waveform().is_some(), index > 0);
        let mut mp3 = Vec::new();
        let sink = SeekSink::new(std::io::Cursor::new(&mut mp3)).unwrap();
        parts.convert(index, sink).unwrap();
    }
    let waveform = parts.waveform().unwrap();
    let expected = expected(&Options::new(), &file, waveform.samples_per_pixel);
    assert_eq!(waveform.points, expected);
    assert!((700..=800).contains(&expected.len()), "{}", expected.len());
}

#[test]
fn copied_frames_have_a_waveform_where_they_are_decoded_for_their_loudness() {
    let file = clip("mp3.mp4");
    let (copied, none) = made_and_drawn(&Options::new(), &file);
    assert_eq!(none, None);
    let loudness = Options::new().replay_gain(true);
    let (measured, waveform) = made_and_drawn(&loudness, &file);
    let probed = peaks(
        &file[..],
        Options::new(),
        NonZeroU32::new(800).unwrap(),
        PeakBits::Eight,
    );
    assert_eq!(waveform, Some(probed.unwrap().waveform));
    assert_ne!(copied, measured);
}

#[test]
fn a_conversion_with_too_fine_a_waveform_is_refused() {
    let many = NonZeroU32::new(1_000_001).unwrap();
    let mut converter = Converter::new(Options::new()).draw_waveform(many, PeakBits::Eight);
    let sink = SeekSink::new(std::io::Cursor::new(Vec::new())).unwrap();
    let refused = converter.convert(clip("mono-8000.mp4").as_slice(), sink);
    assert!(matches!(refused, Err(Error::InvalidOption(_))));
}

/// Nothing but their bytes says how long they are.
#[test]
fn pcm_without_times_is_as_long_as_it_has_instants() {
    let planes = music(11, 48_000, 2, 30_000);
    let movie = pcm_movie(&planes, 48_000, Moov::First);
    let expected = raw(Options::new(), &movie[..]);
    let stts = movie.windows(4).position(|kind| kind == b"stts").unwrap();
    for (what, at) in [("a delta of 0", stts + 16), ("no entries", stts + 8)] {
        let mut movie = movie.clone();
        movie[at..at + 4].fill(0);
        let pcm = raw(Options::new(), &movie[..]);
        assert!(
            pcm == expected,
            "{what}: {} of {}",
            pcm.len(),
            expected.len()
        );
        let samples = probe(&movie[..]).unwrap().tracks[0].samples;
        assert_eq!(samples, Some(30_000), "{what}");
    }
}
