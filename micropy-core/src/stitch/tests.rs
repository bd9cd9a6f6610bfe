//! Encodes the same sound in one go and in spans, with LAME, and compares.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::process::Command;

use micropy_lame::{Bitrate, Encoder, Settings};

use super::*;
use crate::mp3::frame::FrameSplitter;
use crate::mp3::info_tag::{self, FrameStats, InfoTag, Trim};
use mp3_check::check;
use music::{Random, music};

#[path = "../../tests/support/mp3_check.rs"]
pub mod mp3_check;
#[path = "../../tests/support/music.rs"]
pub mod music;

/// How many of B's frames A sees.
const HEAD: usize = 190;
const WARM_UP: usize = 8;
/// MP3 frames of a span: a multiple of 49, so that at 44.1 kHz and its fractions the padding of CBR is in
/// phase.
const SPAN: usize = 4 * 49;

/// Encodes PCM from one position to the end, frame by frame.
struct Encoding<'a> {
    /// Until the end.
    encoder: Option<Encoder>,
    planes: &'a [Vec<f32>],
    at: usize,
    frames: FrameSplitter,
}

impl<'a> Encoding<'a> {
    fn new(settings: Settings, planes: &'a [Vec<f32>], at: usize) -> Self {
        Encoding {
            encoder: Some(Encoder::new(&settings).unwrap()),
            planes,
            at,
            frames: FrameSplitter::new(),
        }
    }

    /// Encodes some more; false at the end.
    fn advance(&mut self) -> bool {
        let Some(mut encoder) = self.encoder.take() else {
            return false;
        };
        let mut bytes = Vec::new();
        let block = self.at..(self.at + 1152).min(self.planes[0].len());
        if block.is_empty() {
            encoder.flush(&mut bytes).unwrap();
        } else {
            self.at = block.end;
            let left = &self.planes[0][block.clone()];
            let right = self.planes.get(1).map(|plane| &plane[block]);
            encoder.encode(left, right, &mut bytes).unwrap();
            self.encoder = Some(encoder);
        }
        self.frames.push(&bytes);
        true
    }
}

impl Iterator for Encoding<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        loop {
            match self.frames.next_frame().unwrap() {
                None if self.advance() => {}
                frame => return frame,
            }
        }
    }
}

/// One kind of MP3.
#[derive(Clone, Copy)]
struct Kind(Bitrate, u32, u8);

impl Kind {
    fn settings(self) -> Settings {
        Settings {
            sample_rate: self.1,
            channels: self.2,
            bitrate: self.0,
            quality: 3,
        }
    }

    fn rate(self) -> RateControl {
        match self.0 {
            Bitrate::Cbr(_) => RateControl::Cbr,
            Bitrate::Abr(_) => RateControl::Abr,
            Bitrate::Vbr(_) => RateControl::Vbr,
        }
    }

    fn frame_len(self) -> usize {
        if self.1 < 32_000 { 576 } else { 1152 }
    }

    fn music(self, seed: u64, frames: usize) -> Vec<Vec<f32>> {
        music(seed, self.1, self.2.into(), frames * self.frame_len())
    }

    fn encode<'a>(self, planes: &'a [Vec<f32>], from_frame: usize) -> Encoding<'a> {
        Encoding::new(self.settings(), planes, from_frame * self.frame_len())
    }
}

/// The output of spans, and the seam at each start.
struct Stitched {
    bytes: Vec<u8>,
    /// The start in frames, and the seam; `None`: the span before went on.
    seams: Vec<(usize, Option<Seam>)>,
}

/// Joins spans that begin at `starts`, in frames: the first is of `spans[0]`, and so on.
fn stitch(kind: Kind, mut spans: Vec<Encoding<'_>>, starts: &[usize], head_len: usize) -> Stitched {
    let mut spans = spans.drain(..);
    let mut out = Vec::new();
    // What the output should decode to.
    let mut expected: Vec<Frame> = Vec::new();
    let mut seams = Vec::new();
    let mut left = spans.next().unwrap();
    let mut tail = Tail::new();
    let mut at = 0;
    for (&start, mut right) in starts.iter().zip(spans) {
        for frame in left.by_ref().take(start - at) {
            expected.push(frame.clone());
            tail.push(frame);
            while let Some(frame) = tail.pop_settled() {
                out.extend_from_slice(frame.bytes());
            }
        }
        at = start;
        let head: Vec<Frame> = right.by_ref().take(head_len).collect();
        let mut search = SeamSearch::new(tail, &head, kind.rate(), WARM_UP);
        let verdict = loop {
            let Some(frame) = left.next() else {
                break Verdict::NoSeam;
            };
            at += 1;
            expected.push(frame.clone());
            match search.offer(frame) {
                Verdict::GoOn => {}
                verdict => break verdict,
            }
        };
        let Verdict::Seam(seam) = verdict else {
            tail = search.into_tail();
            seams.push((start, None));
            continue;
        };
        seams.push((start, Some(seam)));
        for frame in search.join(seam).into_frames() {
            out.extend_from_slice(frame.bytes());
        }
        expected.truncate(start + seam.k);
        tail = Tail::new();
        for frame in head.iter().skip(seam.k) {
            expected.push(frame.clone());
            tail.push(frame.clone());
        }
        at = start + head.len();
        left = right;
    }
    for frame in left {
        expected.push(frame.clone());
        tail.push(frame);
    }
    for frame in tail.into_frames() {
        out.extend_from_slice(frame.bytes());
    }
    // Whatever was moved or overwritten, every frame still has its own main data.
    let got = split(&out);
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert!(got.same_audio(expected), "frame {i}");
    }
    Stitched { bytes: out, seams }
}

/// Encodes `planes` in spans that begin at the frames `starts`.
fn in_spans(kind: Kind, planes: &[Vec<f32>], starts: &[usize]) -> Stitched {
    let spans = std::iter::once(0)
        .chain(starts.iter().copied())
        .map(|start| kind.encode(planes, start))
        .collect();
    stitch(kind, spans, starts, HEAD)
}

/// All frames of a whole stream.
pub fn split(bytes: &[u8]) -> Vec<Frame> {
    let mut splitter = FrameSplitter::new();
    splitter.push(bytes);
    let all = std::iter::from_fn(|| splitter.next_frame().unwrap()).collect();
    splitter.finish().unwrap();
    all
}

/// The bytes of all frames, with zeros where there is no main data: LAME fills such places with its name and with bits
/// that alternate from frame to frame.
fn without_stuffing(frames: &[Frame]) -> Vec<u8> {
    let slots: Vec<u8> = frames.iter().flat_map(Frame::slot).copied().collect();
    let mut used = vec![0u8; slots.len()];
    let mut slot_start = 0;
    for frame in frames {
        let begin = slot_start - frame.side_info().main_data_begin();
        for bit in 0..frame.side_info().main_data_bits() {
            used[begin + bit / 8] |= 0x80 >> (bit % 8);
        }
        slot_start += frame.slot().len();
    }
    let mut rest = slots.iter().zip(used).map(|(byte, used)| byte & used);
    let mut out = Vec::new();
    for frame in frames {
        let before_slot = frame.bytes().len() - frame.slot().len();
        out.extend_from_slice(&frame.bytes()[..before_slot]);
        out.extend(rest.by_ref().take(frame.slot().len()));
    }
    out
}

/// `frames` with an Info tag before them.
fn tagged(kind: Kind, frames: &[u8]) -> Vec<u8> {
    let first = FrameHeader::parse_layer_3(*frames.first_chunk().unwrap()).unwrap();
    let mut audio = FrameStats::new();
    audio.add(frames).unwrap();
    let encoding = info_tag::Encoding {
        rate: kind.rate(),
        bitrate: first.bitrate(),
        quality: 50,
        flags: 0x34,
        preset: 0,
        lowpass: 16_000,
        encoder: "LAME3.100".into(),
    };
    let trim = Trim {
        delay: 576,
        padding: 576,
    };
    let tag = InfoTag::new(first, &encoding, &audio, trim, None);
    let mut file = tag.to_frame(InfoTag::header(first, kind.rate()));
    file.extend_from_slice(frames);
    file
}

/// Runs a decoder over `mp3`, in a file named by the argument `MP3`, and returns its output and its complaints; `None`,
/// loudly, if it is not installed.
fn run(program: &str, args: &[&str], mp3: &[u8]) -> Option<(Vec<u8>, String)> {
    let mut file = tempfile::NamedTempFile::with_suffix(".mp3").unwrap();
    file.write_all(mp3).unwrap();
    let args = args.iter().map(|&arg| match arg {
        "MP3" => file.path().as_os_str(),
        other => OsStr::new(other),
    });
    match Command::new(program).args(args).output() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            eprintln!("SKIPPED: {program} is not installed, so it cannot judge the output");
            None
        }
        output => {
            let output = output.unwrap();
            assert!(output.status.success(), "{program}");
            Some((output.stdout, String::from_utf8(output.stderr).unwrap()))
        }
    }
}

/// Checks a file with our checker and with two decoders, which must be silent.
fn assert_sound(kind: Kind, frames: &[u8]) {
    let file = tagged(kind, frames);
    let stream = check(&file).unwrap();
    assert_eq!(stream.samples_per_frame as usize, kind.frame_len());
    let tag = stream.tag.unwrap();
    assert!(tag.audio_crc && tag.variable == (kind.rate() != RateControl::Cbr));
    assert_eq!((tag.delay, tag.padding), (576, 576));
    if let Bitrate::Cbr(bitrate) = kind.0 {
        assert!(stream.bitrates.into_iter().eq([u32::from(bitrate)]));
    }
    if let Some((_, said)) = run(
        "ffmpeg",
        &["-v", "warning", "-i", "MP3", "-f", "null", "-"],
        &file,
    ) {
        assert_eq!(said, "", "ffmpeg");
    }
    if let Some((_, said)) = run("mpg123", &["-q", "-t", "MP3"], &file) {
        assert_eq!(said, "", "mpg123");
    }
}

/// Decodes to one plane of all channels interleaved.
fn decoded(mp3: &[u8]) -> Option<Vec<f32>> {
    let (pcm, _) = run(
        "ffmpeg",
        &["-v", "error", "-i", "MP3", "-f", "f32le", "-"],
        mp3,
    )?;
    let samples = pcm.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b));
    Some(samples.collect())
}

/// Encodes with this many seams, and compares the result with the serial encode byte by byte.
fn assert_exact(bitrate: u16, seed: u64, seams: usize) {
    let kind = Kind(Bitrate::Cbr(bitrate), 44_100, 2);
    let starts: Vec<usize> = (1..=seams).map(|i| i * SPAN).collect();
    let planes = kind.music(seed, SPAN * (seams + 1));
    let serial: Vec<Frame> = kind.encode(&planes, 0).collect();
    let stitched = in_spans(kind, &planes, &starts);
    for (start, seam) in &stitched.seams {
        assert!(seam.unwrap().equal >= EQUAL_FRAMES, "at {start}: {seam:?}");
    }
    let got = split(&stitched.bytes);
    assert_eq!(got.len(), serial.len());
    assert!(without_stuffing(&got) == without_stuffing(&serial));
    assert_sound(kind, &stitched.bytes);
}

#[test]
fn cbr_128_in_spans_is_the_serial_encode() {
    assert_exact(128, 1, 14);
}

#[test]
fn cbr_192_in_spans_is_the_serial_encode() {
    assert_exact(192, 2, 13);
}

#[test]
fn cbr_320_in_spans_is_the_serial_encode() {
    assert_exact(320, 3, 13);
}

#[test]
fn mpeg_1_of_every_rate_control_can_be_stitched_anywhere() {
    assert_no_worse_anywhere(&[
        ("CBR 64", Kind(Bitrate::Cbr(64), 44_100, 2)),
        ("CBR 64 mono", Kind(Bitrate::Cbr(64), 44_100, 1)),
        ("CBR 128 48 kHz", Kind(Bitrate::Cbr(128), 48_000, 2)),
        ("ABR 128", Kind(Bitrate::Abr(128), 44_100, 2)),
    ]);
}

#[test]
fn mpeg_1_vbr_can_be_stitched_anywhere() {
    assert_no_worse_anywhere(&[
        ("V0", Kind(Bitrate::Vbr(0.0), 44_100, 2)),
        ("V2", Kind(Bitrate::Vbr(2.0), 44_100, 2)),
        ("V5 mono", Kind(Bitrate::Vbr(5.0), 44_100, 1)),
        ("V9", Kind(Bitrate::Vbr(9.0), 44_100, 2)),
    ]);
}

#[test]
fn mpeg_2_can_be_stitched_anywhere() {
    assert_no_worse_anywhere(&[
        ("CBR 64 22.05 kHz", Kind(Bitrate::Cbr(64), 22_050, 2)),
        ("V4 24 kHz", Kind(Bitrate::Vbr(4.0), 24_000, 2)),
        ("CBR 8 24 kHz", Kind(Bitrate::Cbr(8), 24_000, 1)),
        ("CBR 32 11.025 kHz", Kind(Bitrate::Cbr(32), 11_025, 1)),
        ("V5 11.025 kHz", Kind(Bitrate::Vbr(5.0), 11_025, 2)),
    ]);
}

/// Encodes in spans at random places: sound, and no worse than in one go.
fn assert_no_worse_anywhere(kinds: &[(&str, Kind)]) {
    let mut random = Random::new(11);
    for (seed, &(name, kind)) in kinds.iter().enumerate() {
        let starts: Vec<usize> = (0..2)
            .scan(0, |at, _| {
                *at += random.between(HEAD + 20, HEAD + 60);
                Some(*at)
            })
            .collect();
        let planes = kind.music(seed as u64, starts[1] + HEAD + 30);
        let serial: Vec<Frame> = kind.encode(&planes, 0).collect();
        let stitched = in_spans(kind, &planes, &starts);
        let got = split(&stitched.bytes);
        assert_eq!(got.len(), serial.len());
        let differ = (got.iter().zip(&serial)).filter(|(a, b)| !a.same_audio(b));
        println!("{name}: {} of {} frames differ", differ.count(), got.len());
        assert_sound(kind, &stitched.bytes);
        let serial: Vec<u8> = serial.iter().flat_map(Frame::bytes).copied().collect();
        assert_no_worse(kind, &planes, &serial, &stitched);
    }
}

/// In the 30 granules after a seam the noise is at most 0.5 dB above that of the serial encode.
fn assert_no_worse(kind: Kind, planes: &[Vec<f32>], serial: &[u8], stitched: &Stitched) {
    let (Some(serial), Some(got)) = (decoded(serial), decoded(&stitched.bytes)) else {
        return;
    };
    // The delays of LAME and of a decoder; LAME also lowers the level a little.
    const DELAY: usize = 576 + 529;
    let scale = Encoder::new(&kind.settings()).unwrap().scale();
    let noise = |pcm: &[f32], from: usize| -> f32 {
        let channels = planes.len();
        (from..from + 30 * 576)
            .flat_map(|i| (0..channels).map(move |c| (i, c)))
            .map(|(i, c)| (pcm[(i + DELAY) * channels + c] - planes[c][i] * scale).powi(2))
            .sum()
    };
    let mut decibels = Vec::new();
    for (start, seam) in &stitched.seams {
        let Some(seam) = seam else { continue };
        let from = (start + seam.k - 1) * kind.frame_len();
        decibels.push(10.0 * ((noise(&got, from) + 1e-6) / (noise(&serial, from) + 1e-6)).log10());
    }
    println!("  noise after the seams against serial, dB: {decibels:.2?}");
    let mean = decibels.iter().sum::<f32>() / decibels.len().max(1) as f32;
    assert!(mean < 0.5, "{mean} dB");
}

/// A and B that never make the same frame, because B hears a little noise.
fn apart(kind: Kind, seed: u64, start: usize, head_len: usize) -> Stitched {
    let planes = kind.music(seed, start + HEAD + 30);
    let mut random = Random::new(seed);
    let other: Vec<Vec<f32>> = planes
        .iter()
        .map(|plane| plane.iter().map(|s| s + 0.003 * random.noise()).collect())
        .collect();
    let spans = vec![kind.encode(&planes, 0), kind.encode(&other, start)];
    stitch(kind, spans, &[start], head_len)
}

#[test]
fn without_equal_frames_the_seam_is_still_sound() {
    let (mut reserved_enough, mut raised) = (0, 0);
    for (seed, kind) in [
        Kind(Bitrate::Cbr(128), 44_100, 2),
        Kind(Bitrate::Vbr(2.0), 44_100, 2),
        Kind(Bitrate::Vbr(4.0), 44_100, 1),
        Kind(Bitrate::Abr(128), 48_000, 2),
        Kind(Bitrate::Vbr(6.0), 22_050, 2),
        Kind(Bitrate::Abr(32), 16_000, 1),
    ]
    .into_iter()
    .enumerate()
    {
        // The fewer of B's frames A sees, the less choice it has.
        for head_len in [WARM_UP + 1, WARM_UP + 2, 40] {
            let start = 60 + seed;
            let stitched = apart(kind, seed as u64, start, head_len);
            match stitched.seams[0].1 {
                Some(seam) => {
                    assert!(seam.equal < EQUAL_FRAMES && seam.k >= WARM_UP);
                    raised += usize::from(seam.raise.is_some());
                    reserved_enough += usize::from(seam.raise.is_none());
                }
                None => assert_eq!(head_len, WARM_UP + 1),
            }
            assert_sound(kind, &stitched.bytes);
        }
    }
    println!("{reserved_enough} by rule 2, {raised} by rule 3");
    assert!(reserved_enough > 0 && raised > 0);
}

#[test]
fn without_any_seam_the_left_span_goes_on() {
    let kind = Kind(Bitrate::Cbr(128), 44_100, 2);
    let planes = kind.music(5, 300);
    // All of B that A sees is warm-up.
    let spans = vec![kind.encode(&planes, 0), kind.encode(&planes, 49)];
    let stitched = stitch(kind, spans, &[49], WARM_UP);
    assert_eq!(stitched.seams, [(49, None)]);
    let serial: Vec<u8> = kind
        .encode(&planes, 0)
        .flat_map(|f| f.bytes().to_vec())
        .collect();
    assert_eq!(stitched.bytes, serial);
}

#[test]
fn at_the_end_of_the_track_only_equal_frames_make_a_seam() {
    for kind in [
        Kind(Bitrate::Vbr(2.0), 44_100, 2),
        Kind(Bitrate::Abr(128), 44_100, 2),
        Kind(Bitrate::Vbr(6.0), 22_050, 2),
    ] {
        // B is shorter than the head that A is shown, and begins with a little noise, so that both stay apart.
        let planes = kind.music(9, 120);
        let mut random = Random::new(9);
        let noisy: Vec<Vec<f32>> = planes
            .iter()
            .map(|plane| plane.iter().map(|s| s + 0.003 * random.noise()).collect())
            .collect();
        let left: Vec<Frame> = kind.encode(&planes, 0).collect();
        let head: Vec<Frame> = kind.encode(&noisy, 49).collect();
        for all in [false, true] {
            let mut tail = Tail::new();
            left[..49]
                .iter()
                .cloned()
                .for_each(|frame| tail.push(frame));
            let mut search = SeamSearch::new(tail, &head, kind.rate(), WARM_UP).of_all(all);
            let mut verdict = Verdict::GoOn;
            for frame in &left[49..] {
                assert_eq!(verdict, Verdict::GoOn);
                verdict = search.offer(frame.clone());
            }
            if all {
                assert_eq!(verdict, Verdict::NoSeam);
                let rest: Vec<u8> = search
                    .into_tail()
                    .into_frames()
                    .flat_map(bytes_of)
                    .collect();
                assert!(rest == left.iter().cloned().flat_map(bytes_of).collect::<Vec<u8>>());
            } else {
                assert!(matches!(verdict, Verdict::Seam(seam) if seam.equal < EQUAL_FRAMES));
            }
        }
    }
}

fn bytes_of(frame: Frame) -> Vec<u8> {
    frame.bytes().to_vec()
}

#[test]
fn a_frame_past_the_head_is_not_lost() {
    let kind = Kind(Bitrate::Cbr(128), 44_100, 2);
    let planes = kind.music(10, 20);
    let left: Vec<Frame> = kind.encode(&planes, 0).collect();
    let mut search = SeamSearch::new(Tail::new(), &[], kind.rate(), WARM_UP);
    assert_eq!(search.offer(left[0].clone()), Verdict::NoSeam);
    assert_eq!(search.into_tail().into_frames().len(), 1);
}

#[test]
fn the_tail_holds_what_a_seam_may_change_and_no_more() {
    let kind = Kind(Bitrate::Cbr(8), 24_000, 1);
    let planes = kind.music(6, 300);
    let mut tail = Tail::new();
    let mut settled = 0;
    for frame in kind.encode(&planes, 0) {
        tail.push(frame);
        while tail.pop_settled().is_some() {
            settled += 1;
        }
        let kept: usize = tail.frames.iter().map(|f| f.slot().len()).sum();
        assert_eq!(kept, tail.main_data);
        assert!(kept < MAX_MAIN_DATA_BEGIN + 11);
        assert!(settled == 0 || kept >= MAX_MAIN_DATA_BEGIN);
    }
    assert!(settled > 200);
}

#[test]
fn the_info_tag_of_a_pipe_comes_true() {
    for (kind, frames) in [
        (Kind(Bitrate::Cbr(128), 44_100, 2), 200),
        (Kind(Bitrate::Cbr(56), 22_050, 1), 200),
        (Kind(Bitrate::Cbr(24), 11_025, 1), 200),
        (Kind(Bitrate::Cbr(64), 48_000, 1), 50),
    ] {
        let planes = kind.music(8, frames);
        let serial: Vec<Frame> = kind.encode(&planes, 0).collect();
        let mut audio = FrameStats::new();
        for frame in &serial {
            audio.add(frame.bytes()).unwrap();
        }
        let first = serial[0].header();
        let predicted = FrameStats::predicted(first, serial.len() as u64);
        assert_eq!(predicted.bytes(), audio.bytes());
        let encoding = info_tag::Encoding {
            rate: RateControl::Cbr,
            bitrate: first.bitrate(),
            quality: 50,
            flags: 0,
            preset: 0,
            lowpass: 0,
            encoder: "LAME3.100".into(),
        };
        let trim = Trim {
            delay: 576,
            padding: 0,
        };
        let before = InfoTag::new(first, &encoding, &predicted, trim, None);
        let mut after = InfoTag::new(first, &encoding, &audio, trim, None);
        assert_ne!(before, after);
        after.extension.as_mut().unwrap().music_crc = 0;
        assert_eq!(before, after);
    }
}
