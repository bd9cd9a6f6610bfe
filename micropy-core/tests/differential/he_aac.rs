//! HE-AAC, which no encoder of ffmpeg's makes: Fraunhofer's does, by the program of `scripts/he-aac`.

use std::path::{Path, PathBuf};
use std::process::Command;

use micropy_core::stages;

use crate::build::{audio_entry, ftyp, make, mvhd, stsd, table, trak, words};
use crate::judge::by_ffmpeg;
use crate::material::{MATERIALS, Material, interleaved};
use crate::real::SIXTEEN_BITS;

/// Object types with the bitrates that they are for.
const PROFILES: [(u32, &[u32]); 2] = [(5, &[32_000, 48_000, 64_000]), (29, &[24_000, 40_000])];
const RATES: [u32; 4] = [44_100, 48_000, 32_000, 24_000];
/// Implicit, backward compatible, hierarchical.
const SIGNALLING: std::ops::Range<u32> = 0..3;

/// Builds the encoder; `None`: that is not possible here.
pub fn encoder() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let target = root.join("target/he-aac");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--manifest-path"])
        .arg(root.join("scripts/he-aac/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status();
    let program = target.join("release/he-aac");
    status
        .is_ok_and(|status| status.success())
        .then_some(program)
}

/// Every combination: how many were judged, and what is wrong.
pub fn judge_all(encoder: &Path, folder: &Path) -> (usize, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    for (object_type, bitrates) in PROFILES {
        for &bitrate in bitrates {
            for rate in RATES {
                for signalling in SIGNALLING {
                    for material in MATERIALS {
                        let case =
                            format!("{object_type} {signalling} {bitrate} {rate} Hz {material:?}");
                        let arguments = [object_type, signalling, bitrate].map(|n| n.to_string());
                        let Some(file) = encode(encoder, &arguments, rate, material, folder) else {
                            eprintln!("Fraunhofer's encoder does not encode {case}");
                            continue;
                        };
                        count += 1;
                        if let Err(why) = judge(&file, folder) {
                            eprintln!("{case}: {why}");
                            wrong.push(format!("{case}: {why}"));
                        }
                    }
                }
            }
        }
    }
    (count, wrong)
}

fn judge(file: &[u8], folder: &Path) -> Result<(), String> {
    let path = folder.join("he-aac.m4a");
    std::fs::write(&path, file).unwrap();
    let ours = stages::pcm(file, 0).map_err(|e| e.to_string())?;
    let mut theirs = by_ffmpeg(&path, 0, None);
    let samples = theirs.iter_mut().flatten();
    samples.for_each(|sample| *sample = sample.clamp(-1.0, 32767.0 / 32768.0));
    SIXTEEN_BITS.of(&ours, &theirs, 0)
}

/// Two seconds of two channels in an MP4 file.
fn encode(
    encoder: &Path,
    arguments: &[String],
    rate: u32,
    material: Material,
    folder: &Path,
) -> Option<Vec<u8>> {
    let planes = material.planes(rate, 2, 2 * rate as usize, 12);
    let (wav, raw) = (folder.join("in.wav"), folder.join("out.packets"));
    std::fs::write(&wav, wave(&planes, rate)).unwrap();
    let status = Command::new(encoder)
        .args(arguments)
        .args([&wav, &raw])
        .output();
    if !status.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let raw = std::fs::read(raw).unwrap();
    let mut packets = Vec::new();
    let mut rest = raw.as_slice();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (packet, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        packets.push(packet);
        rest = after;
    }
    let (config, packets) = packets.split_first()?;
    Some(movie(config, packets, rate))
}

/// 16 bits, behind the plain header that the encoder reads.
fn wave(planes: &[Vec<f32>], rate: u32) -> Vec<u8> {
    let floats = interleaved(planes);
    let (floats, _) = floats.as_chunks::<4>();
    let samples = floats.iter().flat_map(|&bytes| {
        ((f32::from_le_bytes(bytes).clamp(-1.0, 1.0) * 32767.0) as i16).to_le_bytes()
    });
    let channels = planes.len() as u32;
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0".to_vec();
    file.extend((channels as u16).to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((2 * channels * rate).to_le_bytes());
    file.extend([2 * channels as u8, 0, 16, 0]);
    file.extend(b"data\0\0\0\0");
    file.extend(samples);
    file
}

/// A file of `packets` of 2048 PCM samples each.
fn movie(config: &[u8], packets: &[&[u8]], rate: u32) -> Vec<u8> {
    let specific = [&[0x05, config.len() as u8][..], config].concat();
    let decoder = [
        &[0x04, (13 + specific.len()) as u8, 0x40, 0x15][..],
        &[0; 11],
        &specific,
    ]
    .concat();
    let es = [&[0x03, (3 + decoder.len()) as u8, 0, 1, 0][..], &decoder].concat();
    let esds = make(b"esds", &[&[0; 4], &es]);
    let sizes: Vec<u32> = packets.iter().map(|packet| packet.len() as u32).collect();
    let count = sizes.len() as u32;
    let moov = |at: usize| {
        let tables = [
            stsd(&audio_entry(b"mp4a", &esds)),
            table(b"stts", &[[count, 2048]]),
            table(b"stsc", &[[1, count, 1]]),
            make(b"stsz", &[&words(&[0, 0, count]), &words(&sizes)]),
            table(b"stco", &[[at as u32]]),
        ];
        let mut trak = trak(1, b"soun", &[], &tables.concat());
        let mdhd = trak.windows(4).position(|kind| kind == b"mdhd").unwrap();
        trak[mdhd + 16..mdhd + 20].copy_from_slice(&rate.to_be_bytes());
        make(b"moov", &[&mvhd(1000), &trak])
    };
    let at = ftyp().len() + moov(0).len() + 8;
    [ftyp(), moov(at), make(b"mdat", &[&packets.concat()])].concat()
}
