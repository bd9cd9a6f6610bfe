//! The comparison itself.

use std::fs;
use std::time::Duration;

use micropy_lame::{Bitrate, Build, Encoder, Settings, builds};

use crate::support::{Stereo, music};

/// Samples of a stretch: ten frames.
const STRETCH: usize = 11_520;

pub fn main() {
    let mut arguments = std::env::args().skip(1);
    let repetitions = arguments
        .next()
        .map_or(5, |number| number.parse().expect("a number of repetitions"));
    let bitrates = arguments.next().unwrap_or("cbr128,cbr192,v2".into());
    let files = arguments.collect::<Vec<_>>();
    let materials = if files.is_empty() {
        vec![("synthetic music".to_owned(), music(30.0))]
    } else {
        files.into_iter().map(read).collect()
    };
    for (name, audio) in &materials {
        for bitrate in bitrates.split(',') {
            compare(name, audio, bitrate, repetitions);
        }
    }
}

fn read(path: String) -> (String, Stereo) {
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut audio = Stereo::default();
    let (frames, _) = bytes.as_chunks::<4>();
    for &[a, b, c, d] in frames {
        audio
            .left
            .push(f32::from(i16::from_le_bytes([a, b])) / 32_768.0);
        audio
            .right
            .push(f32::from(i16::from_le_bytes([c, d])) / 32_768.0);
    }
    (path, audio)
}

/// `cbr128`, `v2q0`, `abr160m`, `cbr64q5mr22050`: kind and number, then options in this order.
fn parse(text: &str) -> Settings {
    let kind = text.find(|c: char| c.is_ascii_digit()).expect("a bitrate");
    let (kind, rest) = text.split_at(kind);
    let (rest, sample_rate) = rest.split_once('r').unwrap_or((rest, "44100"));
    let (rest, channels) = rest.strip_suffix('m').map_or((rest, 2), |rest| (rest, 1));
    let (number, quality) = rest.split_once('q').unwrap_or((rest, "3"));
    let bitrate = match kind {
        "cbr" => Bitrate::Cbr(number.parse().expect("a bitrate")),
        "abr" => Bitrate::Abr(number.parse().expect("a bitrate")),
        "v" => Bitrate::Vbr(number.parse().expect("a VBR quality")),
        _ => panic!("{kind} is none of cbr, abr and v"),
    };
    Settings {
        sample_rate: sample_rate.parse().expect("a sample rate"),
        channels,
        bitrate,
        quality: quality.parse().expect("a quality"),
    }
}

fn compare(name: &str, audio: &Stereo, bitrate: &str, repetitions: usize) {
    let settings = parse(bitrate);
    let builds = builds();
    let stretches = audio.left.len().div_ceil(STRETCH);
    let mut times = vec![vec![Vec::with_capacity(repetitions); stretches]; builds.len()];
    let mut sizes = vec![0; builds.len()];
    for repetition in 0..repetitions {
        let mut encoders = builds
            .iter()
            .map(|&build| Encoder::with_build(build, &settings).expect("the settings are valid"))
            .collect::<Vec<_>>();
        sizes.fill(0);
        for (n, (left, right)) in audio
            .left
            .chunks(STRETCH)
            .zip(audio.right.chunks(STRETCH))
            .enumerate()
        {
            for turn in 0..builds.len() {
                let build = (turn + n + repetition) % builds.len();
                let mut mp3 = Vec::with_capacity(65_536);
                let right = (settings.channels == 2).then_some(right);
                let before = cpu_time();
                encoders[build]
                    .encode(left, right, &mut mp3)
                    .expect("LAME encodes");
                times[build][n].push(cpu_time() - before);
                sizes[build] += mp3.len();
            }
        }
    }
    let total = |times: &mut Vec<Vec<Duration>>| {
        times
            .iter_mut()
            .map(|stretch| {
                stretch.sort();
                stretch[stretch.len() / 2].as_secs_f64()
            })
            .sum::<f64>()
    };
    let totals = times.iter_mut().map(total).collect::<Vec<_>>();
    let reference = builds
        .iter()
        .position(|&build| build != Build::Kernels)
        .unwrap_or(0);
    for (n, build) in builds.iter().enumerate() {
        println!(
            "{name}, {bitrate}, {build}: {:.3} s, {:.3} times as fast as {}, {} bytes",
            totals[n],
            totals[reference] / totals[n],
            builds[reference],
            sizes[n],
        );
    }
}

/// What this thread has used.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock exists on Linux, and `time` is written.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
