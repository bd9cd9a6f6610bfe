//! The decoder against ffmpeg's.
//!
//! What is compared: streams of ffmpeg's encoders (which have no short transforms, no hybrid transform and no spectral
//! extension), and streams of [random choices](audio_block::synthetic), which have everything. `MICROPY_AC3_FRAMES`
//! asks for more of both.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::*;
use audio_block::synthetic::{self, Kind, Lots};

/// What a stream of syncframes decodes to.
struct Decoded {
    planes: Vec<Vec<f32>>,
    /// What was wrong, by packet.
    faults: Vec<(usize, String)>,
}

/// The packets of an elementary stream: all syncframes from one of the programme's to its next.
fn packets(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(Ok(header)) = stream.get(at..).map(header::Header::parse) {
        if header.stream == header::Stream::Independent && header.substream == 0 {
            starts.push(at);
        }
        at += header.frame_bytes;
    }
    starts.push(at.min(stream.len()));
    starts
        .windows(2)
        .map(|ends| &stream[ends[0]..ends[1]])
        .collect()
}

fn parameters() -> CodecParameters {
    CodecParameters {
        codec: crate::codec::Codec::Ac3,
        channels: 0,
        sample_rate: 0,
        config: Vec::new(),
        at: 0,
    }
}

fn decode(packets: &[&[u8]]) -> Decoded {
    let format = inspect(&parameters(), &packets[..packets.len().min(8)]).unwrap();
    let mut decoder = decoder(&parameters(), &format).unwrap();
    let mut pcm = Pcm::new(format.layout.channels());
    let mut faults = Vec::new();
    for (index, packet) in packets.iter().enumerate() {
        if let Err(why) = decoder.decode(packet, &mut pcm) {
            faults.push((index, why.to_string()));
        }
    }
    Decoded {
        planes: pcm.planes().to_vec(),
        faults,
    }
}

/// `None`, said aloud, where ffmpeg is not installed.
fn ffmpeg() -> Option<Command> {
    let installed = Command::new("ffmpeg")
        .arg("-version")
        .stdout(Stdio::null())
        .status();
    if installed.is_err() {
        eprintln!("skipped: ffmpeg is not installed");
        return None;
    }
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y"]);
    Some(ffmpeg)
}

/// ffmpeg's decoding of files, all in one run: each file's planes, of as many channels as are asked for.
fn by_ffmpeg(files: &[(PathBuf, usize)]) -> Vec<Vec<Vec<f32>>> {
    let mut ffmpeg = ffmpeg().unwrap();
    for (path, _) in files {
        let demuxer = path.extension().unwrap();
        ffmpeg.arg("-f").arg(demuxer).arg("-i").arg(path);
    }
    for (index, (path, _)) in files.iter().enumerate() {
        ffmpeg.args(["-map", &index.to_string(), "-f", "f32le"]);
        ffmpeg.arg(path.with_extension("f32"));
    }
    assert!(ffmpeg.status().unwrap().success());
    let planes = |(path, channels): &(PathBuf, usize)| {
        let decoded = std::fs::read(path.with_extension("f32")).unwrap();
        let mut planes = vec![Vec::new(); *channels];
        for (i, sample) in decoded.as_chunks::<4>().0.iter().enumerate() {
            planes[i % channels].push(f32::from_le_bytes(*sample));
        }
        planes
    };
    files.iter().map(planes).collect()
}

/// Energy of `reference` over that of the difference, in dB.
fn snr(reference: &[f32], other: &[f32]) -> f64 {
    let energy = |samples: &mut dyn Iterator<Item = f64>| samples.map(|s| s * s).sum::<f64>();
    let signal = energy(&mut reference.iter().map(|&s| s.into()));
    let pairs = reference.iter().zip(other);
    let noise = energy(&mut pairs.map(|(&a, &b)| f64::from(a) - f64::from(b)));
    10.0 * (signal.max(1e-20) / noise.max(1e-30)).log10()
}

/// How many frames each stream has.
fn frames(usual: u64) -> u64 {
    let asked = std::env::var("MICROPY_AC3_FRAMES");
    asked.map_or(usual, |asked| asked.parse().unwrap())
}

fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for acmod in 0..8 {
        let lfeon = |number: u32| acmod > 0 && (u32::from(acmod) + number).is_multiple_of(2);
        let kind = Kind {
            enhanced: false,
            acmod,
            lfeon: false,
            rate_code: 0,
            bsid: 8,
            block_code: 3,
            dependent: None,
            extension: false,
            hybrid: false,
            as_ffmpeg: true,
        };
        for (rate_code, bsid) in [(0, 8), (1, 6), (2, 8), (0, 9), (1, 10)] {
            kinds.push(Kind {
                lfeon: lfeon(rate_code + bsid),
                rate_code,
                bsid,
                ..kind.clone()
            });
        }
        let tools = [
            (3, false, false),
            (0, true, false),
            (1, false, false),
            (2, true, false),
            (3, true, false),
            (3, false, true),
            (3, true, true),
        ];
        for (block_code, extension, hybrid) in tools {
            kinds.push(Kind {
                enhanced: true,
                lfeon: lfeon(block_code + u32::from(hybrid)),
                rate_code: (u32::from(acmod) + block_code) % 3,
                bsid: 16,
                block_code,
                extension,
                hybrid,
                ..kind.clone()
            });
        }
    }
    kinds
}

/// Exact but for rounding: nothing in these streams is left to the decoder. ffmpeg rounds frequencies to 24 bits, which
/// is seen where a channel is very quiet.
#[test]
fn random_streams_decode_as_by_ffmpeg() {
    if ffmpeg().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (mut files, mut all_ours) = (Vec::new(), Vec::new());
    for (index, kind) in kinds().iter().enumerate() {
        let stream = synthetic::stream(kind, index as u64 + 1, frames(8));
        let syntax = if kind.enhanced { "eac3" } else { "ac3" };
        let path = directory.path().join(format!("{index}.{syntax}"));
        std::fs::write(&path, &stream).unwrap();
        let ours = decode(&packets(&stream));
        assert_eq!(ours.faults, [], "{kind:?}");
        files.push((path, ours.planes.len()));
        all_ours.push(ours.planes);
    }
    let mut worst = f64::INFINITY;
    let all_theirs = by_ffmpeg(&files);
    for (kind, (ours, theirs)) in kinds().iter().zip(all_ours.iter().zip(&all_theirs)) {
        for (channel, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            assert_eq!(ours.len(), theirs.len(), "{kind:?}");
            let snr = snr(theirs, ours);
            let least = if kind.hybrid { 60.0 } else { 80.0 };
            assert!(snr > least, "{kind:?}, channel {channel}: {snr:.1} dB");
            worst = worst.min(snr);
        }
    }
    println!("the worst of all channels: {worst:.1} dB");
}

/// Frames of which any bit may be wrong but the checksum, so that all of the decoder meets them.
#[test]
fn sealed_damage_is_a_fault_or_sound() {
    let rounds = frames(20);
    let mut lots = Lots::new(1);
    for (seed, kind) in kinds().iter().enumerate() {
        let kind = Kind {
            as_ffmpeg: false,
            ..kind.clone()
        };
        let stream = synthetic::stream(&kind, seed as u64 + 1, 2);
        let packets = packets(&stream);
        let format = inspect(&parameters(), &packets).unwrap();
        let mut decoder = decoder(&parameters(), &format).unwrap();
        let mut pcm = Pcm::new(format.layout.channels());
        for round in 0..rounds {
            let mut frame = packets[round as usize % packets.len()].to_vec();
            for _ in 0..=lots.below(4) {
                let bits = 8 * frame.len() as u32;
                // Side information is at the beginning, mostly.
                let within = if lots.below(2) == 0 { bits } else { bits / 16 };
                let bit = 40 + lots.below(within - 40);
                frame[bit as usize / 8] ^= 0x80 >> (bit % 8);
            }
            synthetic::seal(&mut frame, kind.enhanced);
            pcm.clear();
            let _ = decoder.decode(&frame, &mut pcm);
            assert_eq!(pcm.len() as u32, format.packet_len.unwrap());
        }
    }
}
