//! The parallel engine from outside: one file and one set of options give the same MP3, whatever the number of workers,
//! the source and the sink, and every MP3 is sound.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::thread;
use std::time::Duration;

use crate::support::clip;
use crate::support::movie::{Moov, pcm_movie};
use crate::support::mp3_check::{Stream, check};
use crate::support::music::music;
use crate::support::programs::{aac_movie, assert_silent};
use crate::support::work::{cpu_time, within};
use micropy_core::{
    CancelToken, Channels, Converter, Error, FileSink, Options, Prober, Report, SeekSink,
    SeekSource, Sink, Source, StreamSink, StreamSource,
};

/// Numbers of workers. The window holds twice as many spans, so for some of these it holds the whole file.
const JOBS: [usize; 4] = [1, 2, 3, 7];

fn convert(options: &Options, source: impl Source) -> (Vec<u8>, Report) {
    let mut mp3 = Vec::new();
    let report = Converter::new(options.clone())
        .convert(source, &mut mp3)
        .unwrap();
    (mp3, report)
}

/// Checks an MP3 with our checker and with two decoders, and compares it with the report.
fn assert_sound(mp3: &[u8], report: &Report, what: &str) -> Stream {
    let stream = check(mp3).unwrap_or_else(|why| panic!("{what}: {why}"));
    assert_eq!(stream.frames.len() as u64, report.frames, "{what}");
    assert_eq!(mp3.len() as u64, report.output_bytes, "{what}");
    let tag = stream.tag.as_ref().unwrap();
    let samples = stream.frames.len() as u64 * u64::from(stream.samples_per_frame);
    let kept = samples - u64::from(tag.delay) - u64::from(tag.padding);
    assert_eq!(kept, report.output_samples, "{what}");
    assert_silent(mp3, what);
    stream
}

/// Converts with every number of jobs: the same bytes, and sound.
fn assert_the_same(file: &[u8], settings: &[(&str, Options)]) {
    for (what, options) in settings {
        let (first, report) = convert(&options.clone().jobs(JOBS[0]), file);
        assert!(report.complete && report.warnings.is_empty(), "{what}");
        let stream = assert_sound(&first, &report, what);
        let constant = what.starts_with("CBR");
        assert_eq!(stream.bitrates.len() == 1, constant, "{what}");
        let tag = stream.tag.unwrap();
        assert!(tag.variable != constant && tag.audio_crc, "{what}");
        for jobs in &JOBS[1..] {
            let (mp3, _) = convert(&options.clone().jobs(*jobs), file);
            assert!(
                mp3 == first,
                "{what}: {jobs} jobs write a different file from one"
            );
        }
    }
}

/// Over three spans of music, as a movie.
fn movie(seed: u64, rate: u32, channels: usize) -> Vec<u8> {
    let frame_len = if rate < 32_000 { 576 } else { 1152 };
    pcm_movie(
        &music(seed, rate, channels, 1300 * frame_len),
        rate,
        Moov::First,
    )
}

fn options() -> Options {
    Options::new()
}

#[test]
fn any_number_of_jobs_writes_the_same_cbr() {
    let settings = [
        ("CBR 64", options().cbr(64)),
        ("CBR 128", options().cbr(128)),
        ("CBR 320", options().cbr(320)),
    ];
    assert_the_same(&movie(1, 44_100, 2), &settings);
}

#[test]
fn any_number_of_jobs_writes_the_same_vbr() {
    let settings = [
        ("V0", options().vbr(0.0)),
        ("V2", options().vbr(2.0)),
        ("V9", options().vbr(9.0)),
    ];
    assert_the_same(&movie(2, 48_000, 2), &settings);
}

#[test]
fn any_number_of_jobs_writes_the_same_abr_and_mono() {
    assert_the_same(&movie(3, 32_000, 2), &[("ABR 128", options().abr(128))]);
    let settings = [
        ("CBR 64 mono", options().cbr(64)),
        ("V4 mono", options().vbr(4.0)),
    ];
    assert_the_same(&movie(4, 44_100, 1), &settings);
}

#[test]
fn any_number_of_jobs_writes_the_same_mpeg_2() {
    let settings = [
        ("CBR 64 22.05 kHz", options().cbr(64)),
        ("V5 22.05 kHz", options().vbr(5.0)),
        ("ABR 48 22.05 kHz", options().abr(48)),
    ];
    assert_the_same(&movie(5, 22_050, 2), &settings);
    assert_the_same(&movie(6, 24_000, 1), &[("CBR 8 24 kHz", options().cbr(8))]);
}

#[test]
fn any_number_of_jobs_writes_the_same_mpeg_2_5() {
    let settings = [
        ("CBR 32 11.025 kHz", options().cbr(32)),
        ("V7 11.025 kHz", options().vbr(7.0)),
    ];
    assert_the_same(&movie(7, 11_025, 2), &settings);
    assert_the_same(&movie(8, 8_000, 1), &[("CBR 16 8 kHz", options().cbr(16))]);
}

#[test]
fn any_number_of_jobs_resamples_and_mixes_down_the_same() {
    let settings = [
        (
            "CBR 96 mono 44.1 kHz of 48",
            options()
                .cbr(96)
                .sample_rate(44_100)
                .channels(Channels::Mono),
        ),
        ("V5 22.05 kHz of 48", options().vbr(5.0).sample_rate(22_050)),
        (
            "V6 from 1.234 s on",
            options().vbr(6.0).start(Duration::from_millis(1234)),
        ),
    ];
    assert_the_same(&movie(9, 48_000, 2), &settings);
}

#[test]
fn any_number_of_jobs_decodes_aac_the_same() {
    let planes = music(10, 44_100, 2, 44_100 * 40);
    if let Some(file) = aac_movie(&planes, 44_100, "+faststart") {
        let settings = [
            ("CBR 128 of AAC", options().cbr(128)),
            ("V2 of AAC", options().vbr(2.0)),
        ];
        assert_the_same(&file, &settings);
    }
}

#[test]
fn any_number_of_jobs_reads_fragments_the_same() {
    // Their length is not known beforehand, so their spans grow.
    let planes = music(11, 22_050, 1, 22_050 * 70);
    let flags = "+frag_keyframe+empty_moov+default_base_moof";
    if let Some(file) = aac_movie(&planes, 22_050, flags) {
        let settings = [
            ("CBR 40 of fragments", options().cbr(40)),
            ("V5 of fragments", options().vbr(5.0)),
        ];
        assert_the_same(&file, &settings);
    }
}

/// Gives a third of the bytes asked for, or one, or all, or is interrupted, as sources may.
struct ShortReads<'a> {
    bytes: &'a [u8],
    reads: usize,
}

impl Source for ShortReads<'_> {
    fn size(&self) -> Option<u64> {
        self.bytes.size()
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        let len = match self.reads % 3 {
            0 => buf.len().min(1),
            1 => buf.len().div_ceil(3),
            _ => buf.len(),
        };
        self.bytes.read_at(offset, &mut buf[..len])
    }
    fn keep_from(&mut self, offset: u64) -> io::Result<()> {
        self.bytes.keep_from(offset)
    }
}

/// A pipe gives what it has, in pieces of its own.
struct Pipe<'a> {
    rest: &'a [u8],
    pieces: std::iter::Cycle<std::vec::IntoIter<usize>>,
}

fn pipe(bytes: &[u8]) -> StreamSource<Pipe<'_>> {
    StreamSource::new(Pipe {
        rest: bytes,
        pieces: vec![1, 4096, 65_536, 777].into_iter().cycle(),
    })
}

impl Read for Pipe<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.pieces.next().unwrap().min(buf.len());
        self.rest.read(&mut buf[..len])
    }
}

#[test]
fn every_source_gives_the_same_mp3() {
    let planes = music(12, 22_050, 2, 22_050 * 40);
    let options = options().vbr(4.0).jobs(2);
    let folder = tempfile::tempdir().unwrap();
    let mut expected = None;
    for moov in [Moov::First, Moov::Last] {
        let file = pcm_movie(&planes, 22_050, moov);
        let path = folder.path().join("in.mov");
        std::fs::write(&path, &file).unwrap();
        let expected = expected.get_or_insert_with(|| convert(&options, file.as_slice()).0);
        let short = ShortReads {
            bytes: &file,
            reads: 0,
        };
        let from_file = SeekSource::new(File::open(&path).unwrap()).unwrap();
        for (what, (mp3, report)) in [
            ("a slice", convert(&options, file.as_slice())),
            ("a file", convert(&options, from_file)),
            ("a pipe", convert(&options, pipe(&file))),
            ("short reads", convert(&options, short)),
        ] {
            assert!(mp3 == *expected, "{what}, moov {moov:?}");
            assert!(report.complete && report.output_samples == 22_050 * 40);
        }
        let out = folder.path().join("out.mp3");
        let mut converter = Converter::new(options.clone());
        converter.convert_file(&path, &out).unwrap();
        assert!(std::fs::read(&out).unwrap() == *expected);
    }
}

#[test]
fn every_sink_gets_the_same_mp3_as_far_as_possible() {
    let file = pcm_movie(&music(13, 24_000, 1, 24_000 * 35), 24_000, Moov::First);
    for (what, options) in [
        ("CBR", options().cbr(32).jobs(2)),
        ("VBR", options().vbr(5.0).jobs(2)),
    ] {
        let (expected, report) = convert(&options, file.as_slice());
        let mut converter = Converter::new(options.clone());

        let before = b"what was there before";
        let mut cursor = Cursor::new(before.to_vec());
        cursor.set_position(before.len() as u64);
        let mut seek = SeekSink::new(cursor).unwrap();
        converter.convert(file.as_slice(), &mut seek).unwrap();
        let written = seek.into_inner().into_inner();
        assert!(written.starts_with(before) && written[before.len()..] == expected);

        let mut memory = before.to_vec();
        for _ in 0..2 {
            converter.convert(file.as_slice(), &mut memory).unwrap();
        }
        assert!(memory == [before, &expected[..], &expected].concat());

        let mut piped = StreamSink::new(Vec::new());
        converter.convert(file.as_slice(), &mut piped).unwrap();
        let piped = piped.into_inner();
        assert_eq!(piped.len(), expected.len());
        let audio = check(&expected).unwrap().frames[0];
        let id3 = id3_len(&expected);
        assert!(piped[..id3] == expected[..id3] && piped[audio..] == expected[audio..]);
        let differ: Vec<usize> = (id3..audio).filter(|&i| piped[i] != expected[i]).collect();
        if what == "CBR" {
            // All but the CRC of the music, and so the CRC of the tag, is known beforehand.
            let crcs = id3 + 4 + 9 + 152..id3 + 4 + 9 + 156;
            assert!(differ.iter().all(|at| crcs.contains(at)), "{differ:?}");
            assert_sound(&piped, &report, "CBR through a pipe");
        } else {
            assert!(!differ.is_empty());
        }
        assert_silent(&piped, "through a pipe");
    }
}

#[test]
fn frames_reach_the_sink_many_at_a_time() {
    #[derive(Default)]
    struct Counted {
        writes: usize,
        bytes: usize,
    }
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes += 1;
            self.bytes += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let file = pcm_movie(&music(16, 8_000, 1, 8_000 * 60), 8_000, Moov::First);
    let mut sink = StreamSink::new(Counted::default());
    Converter::new(options().cbr(64).jobs(2))
        .convert(file.as_slice(), &mut sink)
        .unwrap();
    let Counted { writes, bytes } = sink.into_inner();
    // Beside the tag, and what is left at the end.
    assert!(writes <= 2 + bytes / (32 << 10), "{writes} for {bytes}");
}

fn id3_len(mp3: &[u8]) -> usize {
    assert!(mp3.starts_with(b"ID3"));
    let size = mp3[6..10]
        .iter()
        .fold(0, |len, &byte| len << 7 | usize::from(byte));
    10 + size
}

/// Runs `work` in a thread and returns its error, which must come with little work.
fn error_of<T: Send + 'static>(
    work: impl FnOnce() -> micropy_core::Result<T> + Send + 'static,
) -> Error {
    // Ample, but no conversion of these files ends as soon.
    const PROMPT: Duration = Duration::from_secs(20);
    let error = within(PROMPT, move || work().err());
    error.expect("it succeeds")
}

/// A movie of hours of noise that is not stored.
struct Hours {
    head: Vec<u8>,
    size: u64,
    /// Reading fails from here on.
    broken_at: u64,
}

impl Hours {
    fn new() -> Self {
        // The tables of a whole movie; its media is generated when it is read.
        let file = pcm_movie(&[vec![0.0; 8_000 * 3600 * 3]], 8_000, Moov::First);
        let media_at = file.windows(4).position(|w| w == b"mdat").unwrap() + 4;
        Hours {
            head: file[..media_at].to_vec(),
            size: file.len() as u64,
            broken_at: u64::MAX,
        }
    }
}

impl Source for Hours {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.broken_at {
            return Err(io::Error::other("the disk is gone"));
        }
        if offset < self.head.len() as u64 {
            return self.head.as_slice().read_at(offset, buf);
        }
        let len = buf.len().min((self.size - offset.min(self.size)) as usize);
        for (i, byte) in buf[..len].iter_mut().enumerate() {
            *byte = ((offset + i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61) as u8;
        }
        Ok(len)
    }
    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_cancelled_conversion_ends_at_once() {
    for jobs in [1, 3] {
        let error = error_of(move || {
            let token = CancelToken::new();
            let (stop, mut cancelled) = (token.clone(), None);
            let mut converter = Converter::new(options().vbr(2.0).jobs(jobs))
                .cancel(token)
                .on_progress(|progress| {
                    if !progress.done.is_zero() {
                        stop.cancel();
                        cancelled.get_or_insert_with(cpu_time);
                    }
                });
            let result = converter.convert(Hours::new(), &mut Vec::new());
            drop(converter);
            let more = cpu_time() - cancelled.unwrap();
            assert!(more < Duration::from_secs(5), "{more:?}");
            result
        });
        assert!(matches!(error, Error::Cancelled), "{error}");
    }
}

#[test]
fn a_conversion_cancelled_beforehand_writes_nothing() {
    let token = CancelToken::new();
    token.cancel();
    let mut converter = Converter::new(options()).cancel(token);
    let mut mp3 = Vec::new();
    let error = converter.convert(Hours::new(), &mut mp3).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(mp3.is_empty());
}

/// An endless pipe whose `mdat` comes before its `moov`. The token is cancelled when some of it has been read.
struct Endless {
    head: Vec<u8>,
    given: usize,
    cancel_at: usize,
    token: CancelToken,
}

impl Read for Endless {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.given >= self.cancel_at {
            self.token.cancel();
        }
        // A whole piece each time, so that the token is checked between them.
        buf.fill(0);
        let rest = self.head.get(self.given..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        self.given += buf.len();
        Ok(buf.len())
    }
}

/// A pipe with more bytes of media than anyone waits for.
fn endless(token: &CancelToken, cancel_at: usize) -> StreamSource<Endless> {
    let mut head = b"\0\0\0\x14ftypisom\0\0\0\0isom".to_vec();
    head.extend_from_slice(b"\0\0\0\x01mdat");
    head.extend_from_slice(&(1u64 << 60).to_be_bytes());
    StreamSource::new(Endless {
        head,
        given: 0,
        cancel_at,
        token: token.clone(),
    })
}

#[test]
fn a_cancelled_probe_ends() {
    for cancel_at in [0, 5 << 20] {
        let token = CancelToken::new();
        let source = endless(&token, cancel_at);
        let error = error_of(move || Prober::new().cancel(token).probe(source));
        assert!(matches!(error, Error::Cancelled), "{error}");
    }
}

#[test]
fn a_file_stands_under_its_name_once_a_conversion_has_succeeded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.mp3");
    let file = FileSink::create(&path, false).unwrap();
    let failed = Converter::new(options()).convert(&b"no film"[..], file);
    assert!(matches!(failed, Err(Error::NotMp4 { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let file = FileSink::create(&path, false).unwrap();
    let film = clip("mono-22050.mp4");
    let report = Converter::new(options()).convert(film.as_slice(), file);
    let mp3 = std::fs::read(&path).unwrap();
    assert_eq!(mp3.len() as u64, report.unwrap().output_bytes);
    check(&mp3).unwrap();
}

#[test]
fn a_cancelled_conversion_spools_no_more() {
    for cancel_at in [0, 5 << 20] {
        for options in [options(), options().replay_gain(true)] {
            let token = CancelToken::new();
            let source = endless(&token, cancel_at);
            let error = error_of(move || {
                Converter::new(options)
                    .cancel(token)
                    .convert(source, StreamSink::new(Vec::new()))
            });
            assert!(matches!(error, Error::Cancelled), "{error}");
        }
    }
    let token = CancelToken::new();
    let source = endless(&token, 5 << 20);
    let error = error_of(move || {
        let chapters = Converter::new(options()).cancel(token).chapters(source);
        chapters.map(drop)
    });
    assert!(matches!(error, Error::Cancelled), "{error}");
}

#[test]
fn a_reader_that_gives_up_with_the_token_is_cancelled() {
    /// Has nothing to give, and waits with a timeout.
    struct Silent(CancelToken);
    impl Read for Silent {
        fn read(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
            while !self.0.is_cancelled() {
                thread::sleep(Duration::from_millis(5));
            }
            Err(io::ErrorKind::TimedOut.into())
        }
    }
    let token = CancelToken::new();
    let other = token.clone();
    let error = error_of(move || {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            other.cancel();
        });
        let source = StreamSource::new(Silent(token.clone()));
        Converter::new(options())
            .cancel(token)
            .convert(source, &mut Vec::new())
    });
    assert!(matches!(error, Error::Cancelled), "{error}");
}

#[test]
fn an_error_of_the_source_ends_the_conversion() {
    for minutes in [0, 3, 60] {
        let error = error_of(move || {
            let mut source = Hours::new();
            source.broken_at = source.head.len() as u64 + minutes * 60 * 16_000;
            Converter::new(options().cbr(16).jobs(2)).convert(source, &mut Vec::new())
        });
        assert!(
            matches!(&error, Error::Read(e) if e.to_string().contains("the disk is gone")),
            "{error}"
        );
    }
}

/// Accepts this many bytes, and then no more.
struct Full {
    room: usize,
    rewrites: bool,
}

impl Sink for Full {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.room = self
            .room
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }
    fn can_rewrite(&self) -> bool {
        self.rewrites
    }
    fn rewrite(&mut self, _back: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn finish(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn an_error_of_the_sink_ends_the_conversion() {
    let is_full =
        |error: &Error| matches!(error, Error::Write(e) if e.kind() == io::ErrorKind::StorageFull);
    for room in [0, 100, 300_000] {
        let error = error_of(move || {
            let sink = Full {
                room,
                rewrites: true,
            };
            Converter::new(options().cbr(16).jobs(2)).convert(Hours::new(), sink)
        });
        assert!(is_full(&error), "{error}");
    }
    // At the very end: the Info tag cannot be completed, or the last bytes do not reach the disk.
    let file = pcm_movie(&music(14, 8_000, 1, 8_000 * 5), 8_000, Moov::First);
    for rewrites in [true, false] {
        let sink = Full {
            room: usize::MAX,
            rewrites,
        };
        let result = Converter::new(options()).convert(file.as_slice(), sink);
        assert!(is_full(&result.unwrap_err()));
    }
}

#[test]
fn a_closed_pipe_ends_the_conversion() {
    struct Closed(usize);
    impl Write for Closed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let left = self.0.checked_sub(bytes.len());
            self.0 = left.ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = error_of(|| {
        let sink = StreamSink::new(Closed(100_000));
        Converter::new(options().vbr(9.0).jobs(3)).convert(Hours::new(), sink)
    });
    assert!(
        matches!(&error, Error::Write(e) if e.kind() == io::ErrorKind::BrokenPipe),
        "{error}"
    );
}
