//! The stages of a conversion, one by one and all together.
//!
//! ```sh
//! cargo bench -p micropy-benches
//! MICROPY_BENCH_FILE=film.mp4 cargo bench -p micropy-benches -- decode
//! ```
//!
//! Without `MICROPY_BENCH_FILE`, the stages before the encoder read a movie of PCM and a short clip of AAC.
//! `benches/compare` measures whole conversions of long files against other programs.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use micropy_benches::{Moov, music, pcm_movie};
use micropy_core::{Converter, Options, stages};
use micropy_lame::{Bitrate, Encoder, Settings};

const RATE: u32 = 44_100;

/// Files to read, by name.
fn files() -> Vec<(String, Vec<u8>)> {
    if let Some(path) = std::env::var_os("MICROPY_BENCH_FILE") {
        let file = std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        return vec![(path.display().to_string(), file)];
    }
    let planes = music(1, RATE, 2, 60 * RATE as usize);
    let aac = include_bytes!("../micropy-core/tests/media/moov-first-stereo-44100.mp4");
    vec![
        ("PCM".into(), pcm_movie(&planes, RATE, Moov::First)),
        ("AAC".into(), aac.to_vec()),
    ]
}

fn settings(bitrate: Bitrate) -> Settings {
    Settings {
        sample_rate: RATE,
        channels: 2,
        bitrate,
        quality: 3,
    }
}

const BITRATES: [(&str, Bitrate); 3] = [
    ("CBR 128", Bitrate::Cbr(128)),
    ("CBR 192", Bitrate::Cbr(192)),
    ("V2", Bitrate::Vbr(2.0)),
];

fn demux(c: &mut Criterion) {
    let mut group = c.benchmark_group("demux");
    for (name, file) in files() {
        let read = stages::demux(&file).expect("it can be read");
        group.throughput(Throughput::Elements(read.packets));
        group.bench_function(name, |b| b.iter(|| stages::demux(black_box(&file))));
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (name, file) in files() {
        let samples = stages::decode(&file).expect("it can be decoded");
        group.throughput(Throughput::Elements(samples));
        group.bench_function(name, |b| b.iter(|| stages::decode(black_box(&file))));
    }
    group.finish();
}

/// Frames of `planes` from the PCM sample `from` on.
fn frames(planes: &[Vec<f32>], from: usize, bitrate: Bitrate) -> Vec<u8> {
    let mut encoder = Encoder::new(&settings(bitrate)).expect("LAME can do this");
    let mut out = Vec::new();
    let encoded = encoder.encode(&planes[0][from..], Some(&planes[1][from..]), &mut out);
    encoded
        .and_then(|()| encoder.flush(&mut out))
        .expect("LAME encodes");
    out
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let planes = music(2, RATE, 2, 10 * RATE as usize);
    group.throughput(Throughput::Elements(planes[0].len() as u64));
    for (name, bitrate) in BITRATES {
        group.bench_function(name, |b| b.iter(|| frames(black_box(&planes), 0, bitrate)));
    }
    group.finish();
}

/// From the bytes of two encoders, of which the second began later, to the joined stream. Prints how many frames both
/// have to encode until there is a seam: what a span costs beyond its own frames.
fn stitch(c: &mut Criterion) {
    let mut group = c.benchmark_group("stitch");
    const START: usize = 49;
    let planes = music(3, RATE, 2, 700 * 1152);
    for (name, bitrate) in BITRATES {
        let left = frames(&planes, 0, bitrate);
        let right_from = |start: usize| frames(&planes, start * 1152, bitrate);
        let mut twice: Vec<usize> = (1..=8)
            .map(|seam| seam * START)
            .filter_map(|start| {
                stages::stitch(&left, &right_from(start), start, bitrate).expect("frames")
            })
            .collect();
        twice.sort_unstable();
        if let (Some(median), Some(most)) = (twice.get(twice.len() / 2), twice.last()) {
            println!("stitch/{name}: {median} frames encoded twice for a seam, at most {most}");
        }
        let right = right_from(START);
        group.bench_function(name, |b| {
            b.iter(|| stages::stitch(black_box(&left), black_box(&right), START, bitrate))
        });
    }
    group.finish();
}

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("whole");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(20));
    for (name, file) in files() {
        for jobs in [1, 2, 4] {
            let id = BenchmarkId::new(name.as_str(), format!("{jobs} jobs"));
            group.bench_with_input(id, &file, |b, file| {
                let options = Options::new().cbr(128).jobs(jobs);
                b.iter(|| {
                    let mut mp3 = Vec::new();
                    let done = Converter::new(options.clone()).convert(file.as_slice(), &mut mp3);
                    done.expect("it can be converted");
                    mp3
                });
            });
        }
    }
    group.finish();
}

#[allow(missing_docs, reason = "made by the macro")]
mod groups {
    use super::*;
    criterion_group!(benches, demux, decode, encode, stitch, whole);
}
criterion_main!(groups::benches);
