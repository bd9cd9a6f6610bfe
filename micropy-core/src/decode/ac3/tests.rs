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
        block: None,
        speakers: None,
        at: 0,
        entry: 1,
        others: Vec::new(),
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
            enhanced_coupling: false,
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

/// The standard's way to 7.1: a dependent substream with the surround channels anew, and those behind.
#[test]
fn seven_one_decodes_as_by_ffmpeg() {
    if ffmpeg().is_none() {
        return;
    }
    let kind = with_dependent(6, &[3, 4, 6]);
    let stream = synthetic::stream(&kind, 1, frames(8));
    let ours = decode(&packets(&stream));
    assert_eq!(ours.faults, []);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.eac3");
    std::fs::write(&path, &stream).unwrap();
    let theirs = by_ffmpeg(&[(path, 8)]);
    for (channel, (ours, theirs)) in ours.planes.iter().zip(&theirs[0]).enumerate() {
        let snr = snr(theirs, ours);
        assert!(snr > 80.0, "channel {channel}: {snr:.1} dB");
    }
}

/// 5.1 and LFE, and a dependent substream of that mode for these places of `chanmap`.
fn with_dependent(acmod: u8, locations: &[u32]) -> Kind {
    let map = locations.iter().fold(0, |map, bit| map | 0x8000 >> bit);
    Kind {
        enhanced: true,
        acmod: 7,
        lfeon: true,
        bsid: 16,
        dependent: Some((acmod, map)),
        ..kinds()[0].clone()
    }
}

/// What a dependent substream adds leaves the other channels as they are.
#[test]
fn dependent_substreams_go_to_their_loudspeakers() {
    use Speaker::*;
    let front = [FrontLeft, FrontRight, FrontCenter, LowFrequency];
    let cases: [(u8, u32, [Speaker; 2], &[Speaker]); 4] = [
        (2, 6, [SideLeft, SideRight], &[BackLeft, BackRight]),
        (1, 7, [SideLeft, SideRight], &[BackCenter]),
        (
            2,
            5,
            [BackLeft, BackRight],
            &[FrontLeftOfCenter, FrontRightOfCenter],
        ),
        (2, 13, [BackLeft, BackRight], &[]), // heights
    ];
    for (acmod, location, surround, added) in cases {
        let stream = synthetic::stream(&with_dependent(acmod, &[location]), 1, 4);
        let packets = packets(&stream);
        let alone: Vec<&[u8]> = packets
            .iter()
            .map(|packet| &packet[..header::Header::parse(packet).unwrap().frame_bytes])
            .collect();
        let (both, alone) = (decode(&packets), decode(&alone));
        let layout = Layout::of(&[&front[..], &surround[..], added].concat());
        assert_eq!(inspect(&parameters(), &packets).unwrap().layout, layout);
        let plane = |decoded: &Decoded, layout: Layout, speaker| {
            decoded.planes[layout.plane_of(speaker).unwrap()].clone()
        };
        let five_one = [&front[..], &[BackLeft, BackRight]].concat();
        for (from, to) in five_one
            .into_iter()
            .zip([&front[..], &surround[..]].concat())
        {
            let same = plane(&alone, Layout::SURROUND_5_1, from) == plane(&both, layout, to);
            assert!(same, "{from:?} is not {to:?}");
        }
        for &speaker in added {
            assert!(
                plane(&both, layout, speaker)
                    .iter()
                    .any(|&sample| sample != 0.0)
            );
        }
    }
}

/// What ffmpeg's encoders are given. Every channel has another sound, so that a wrong order is seen.
const MATERIAL: [(&str, &str); 6] = [
    ("silence", "0"),
    ("near silence", "0.0003*sin(2*PI*(N*110+330)*t)"),
    ("full scale", "sin(2*PI*(N*130+200)*t)"),
    ("transients", "0.9*lt(mod(t+N*0.01,0.05),0.0007)"),
    (
        "tones",
        "0.2*sin(2*PI*(N*50+440)*t)+0.2*sin(2*PI*(N*90+3100)*t)+0.1*sin(2*PI*9000*t)",
    ),
    ("noise", "0.5*(random(N)-0.5)"),
];

const LAYOUTS: [(&str, usize, [u32; 2]); 7] = [
    ("mono", 1, [64, 192]),
    ("stereo", 2, [96, 320]),
    ("3.0", 3, [160, 384]),
    ("4.0", 4, [224, 512]),
    ("quad(side)", 4, [224, 512]),
    ("5.0(side)", 5, [256, 640]),
    ("5.1(side)", 6, [256, 640]),
];

const OPTIONS: [&[&str]; 4] = [
    &[],
    &["-channel_coupling", "0"],
    &["-stereo_rematrixing", "0", "-dheadphone_mode", "on"],
    &[
        "-cpl_start_band",
        "4",
        "-mixing_level",
        "90",
        "-room_type",
        "small",
    ],
];

/// Exact but for rounding, once the noise in place of mantissas, of which everybody has another, is switched off.
#[test]
fn encoders_streams_decode_as_by_ffmpeg() {
    let Some(mut encode) = ffmpeg() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let seconds = frames(8) * 1536 / 32000;
    let seconds = (seconds as f64).max(0.3);
    let all = std::env::var("MICROPY_AC3_FRAMES").is_ok();
    let (mut cases, mut outputs) = (Vec::new(), Vec::new());
    let mut number = 0;
    for (material, sound) in MATERIAL {
        for (layout, channels, bitrates) in LAYOUTS {
            for rate in [32000, 44100, 48000] {
                for codec in ["ac3", "eac3"] {
                    for kbps in bitrates {
                        number += 1;
                        // Every one of the lists' values meets every other's, in a quick test too.
                        if !all && number % 11 != 0 {
                            continue;
                        }
                        let options = match codec {
                            "ac3" => OPTIONS[number / 11 % 4],
                            _ => OPTIONS[number / 11 % 2],
                        };
                        let sounds: Vec<String> = (0..channels)
                            .map(|channel| sound.replace('N', &channel.to_string()))
                            .collect();
                        let source = format!(
                            "aevalsrc={}:c={layout}:s={rate}:d={seconds}",
                            sounds.join("|").replace(',', "\\,")
                        );
                        encode.args(["-f", "lavfi", "-i", &source]);
                        let path = directory.path().join(format!("{}.{codec}", cases.len()));
                        let kbps = format!("{kbps}k");
                        let index = cases.len().to_string();
                        outputs.extend(
                            ["-map", &index, "-c:a", codec, "-b:a", &kbps].map(String::from),
                        );
                        outputs.extend(options.iter().map(|option| option.to_string()));
                        outputs.push(path.to_str().unwrap().into());
                        let told =
                            format!("{codec} {material} {layout} {rate} Hz {kbps} {options:?}");
                        cases.push((told, path, channels));
                    }
                }
            }
        }
    }
    assert!(encode.args(outputs).status().unwrap().success());
    let mut all_ours = Vec::new();
    let mut files = Vec::new();
    for (told, path, channels) in &cases {
        let stream = synthetic::without_noise(&std::fs::read(path).unwrap());
        std::fs::write(path, &stream).unwrap();
        let ours = decode(&packets(&stream));
        assert_eq!(ours.faults, [], "{told}");
        assert_eq!(ours.planes.len(), *channels, "{told}");
        all_ours.push(ours.planes);
        files.push((path.clone(), *channels));
    }
    let all_theirs = by_ffmpeg(&files);
    let mut worst: std::collections::BTreeMap<String, f64> = Default::default();
    for ((told, ..), (ours, theirs)) in cases.iter().zip(all_ours.iter().zip(&all_theirs)) {
        for (channel, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            assert_eq!(ours.len(), theirs.len(), "{told}");
            let peak = theirs
                .iter()
                .fold(0f32, |peak, sample| peak.max(sample.abs()));
            let snr = snr(theirs, ours);
            let mut words = told.splitn(3, ' ');
            let key = format!("{} {}", words.next().unwrap(), words.next().unwrap());
            let worst = worst.entry(key).or_insert(f64::INFINITY);
            *worst = worst.min(snr);
            // ffmpeg's rounding to 24 bits is heard first in the quietest sounds.
            let least = if peak < 0.001 { 30.0 } else { 80.0 };
            assert!(
                snr > least,
                "{told}, channel {channel}: {snr:.1} dB, peak {peak}"
            );
        }
    }
    for (kind, worst) in worst {
        println!("{kind}: {worst:.1} dB and more");
    }
}

/// A frame with a wrong checksum fades out into silence, and is told; all others are as without it.
#[test]
fn a_damaged_frame_fades_out_and_is_counted() {
    let kind = &kinds()[10];
    let stream = synthetic::stream(kind, 3, 6);
    let mut packets: Vec<Vec<u8>> = packets(&stream).into_iter().map(<[u8]>::to_vec).collect();
    let slices = |packets: &[Vec<u8>]| -> Decoded {
        decode(&packets.iter().map(Vec::as_slice).collect::<Vec<_>>())
    };
    let whole = slices(&packets);
    packets[3][500] ^= 4;
    let damaged = slices(&packets);
    assert_eq!(whole.faults, []);
    let [(3, why)] = &damaged.faults[..] else {
        panic!("{:?}", damaged.faults);
    };
    assert!(why.contains("checksum"), "{why}");
    for (whole, damaged) in whole.planes.iter().zip(&damaged.planes) {
        assert_eq!(whole.len(), damaged.len());
        assert_eq!(whole[..3 * 1536], damaged[..3 * 1536]);
        let replaced = &damaged[3 * 1536..4 * 1536];
        assert!(replaced[..128].iter().any(|&sample| sample != 0.0));
        assert!(replaced[256..].iter().all(|&sample| sample == 0.0));
        assert_eq!(whole[4 * 1536 + 256..], damaged[4 * 1536 + 256..]);
    }
}

/// Broadcasts change between stereo and surround: what the track's layout lacks is mixed into it.
#[test]
fn a_change_of_channels_is_mixed_into_the_tracks() {
    let stereo = Kind {
        acmod: 2,
        ..kinds()[0].clone()
    };
    let surround = Kind {
        acmod: 7,
        lfeon: true,
        ..stereo.clone()
    };
    for (first, second) in [(&stereo, &surround), (&surround, &stereo)] {
        let (first, second) = (
            synthetic::stream(first, 1, 2),
            synthetic::stream(second, 2, 2),
        );
        let packets = [packets(&first), packets(&second)].concat();
        let decoded = decode(&packets);
        assert_eq!(decoded.faults, []);
        for plane in &decoded.planes[..2] {
            assert_eq!(plane.len(), 4 * 1536);
            assert!(plane[3 * 1536..].iter().any(|&sample| sample != 0.0));
        }
    }
}

#[test]
fn enhanced_coupling_is_refused_by_name() {
    let kind = Kind {
        enhanced: true,
        acmod: 7,
        bsid: 16,
        enhanced_coupling: true,
        ..kinds()[0].clone()
    };
    let stream = synthetic::stream(&kind, 1, 1);
    let error = inspect(&parameters(), &packets(&stream)).unwrap_err();
    assert!(error.to_string().contains("enhanced coupling"), "{error}");
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
