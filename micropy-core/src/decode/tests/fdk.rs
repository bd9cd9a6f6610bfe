//! What the FDK library decodes.

use super::*;
use crate::codec::AacProfile;

const HE_AAC: [(&str, &str, usize); 7] = [
    ("he-aac-v1-implicit.m4a", "HE-AAC", 2),
    ("he-aac-v1-compatible.m4a", "HE-AAC", 2),
    ("he-aac-v1-hierarchical.m4a", "HE-AAC", 2),
    ("he-aac-v1-hierarchical-mono.m4a", "HE-AAC", 1),
    ("he-aac-v2-implicit.m4a", "HE-AAC v2", 2),
    ("he-aac-v2-compatible.m4a", "HE-AAC v2", 2),
    ("he-aac-v2-hierarchical.m4a", "HE-AAC v2", 2),
];

#[test]
fn sbr_and_ps_are_found_however_they_are_signalled() {
    for (clip, name, channels) in HE_AAC {
        let format = Track::clip(clip).format();
        assert_eq!(format.codec.to_string(), name, "{clip}");
        assert_eq!(format.sample_rate, 44100, "{clip}");
        assert_eq!(format.packet_len, Some(2048), "{clip}");
        assert_eq!(format.layout.channels(), channels, "{clip}");
    }
}

/// Two pairs of one tag.
#[test]
fn a_program_config_element_that_the_decoder_does_not_take_is_named() {
    let mut track = Track::clip("moov-first-stereo-44100.mp4");
    // One pair in front, one at the back, both of tag 0.
    track.parameters.config = configured_by(&[(true, 0)], &[], &[(true, 0)], &[]);
    let error = inspect(&track.parameters, &track.packets).unwrap_err();
    assert!(
        error.to_string().contains("program_config_element"),
        "{error}"
    );
}

/// The AudioSpecificConfig of AAC-LC at 48 kHz with a program_config_element of these elements: whether each is a pair,
/// and its tag.
fn configured_by(
    front: &[(bool, u32)],
    side: &[(bool, u32)],
    back: &[(bool, u32)],
    lfe: &[u32],
) -> Vec<u8> {
    let mut bits = String::from("0001000110000000");
    let mut put = |value: usize, width: usize| bits += &format!("{value:0width$b}");
    // Tag, profile and rate.
    put(0b00_0001_0011, 10);
    put(front.len(), 4);
    put(side.len(), 4);
    put(back.len(), 4);
    put(lfe.len(), 2);
    put(0, 3 + 4 + 3);
    for &(pair, tag) in [front, side, back].concat().iter() {
        put(usize::from(pair), 1);
        put(tag as usize, 4);
    }
    lfe.iter().for_each(|&tag| put(tag as usize, 4));
    let len = bits.len().next_multiple_of(8) + 8;
    bytes(&format!("{bits:0<len$}"))
}

/// Hz, by channel: encoders leave nothing but the lowest in an LFE, which is the fourth.
const TONES: [u32; 8] = [400, 200, 300, 100, 500, 600, 700, 800];

/// Which of the first `count` tones is the loudest, at 48 kHz.
fn loudest_tone(samples: &[f32], count: usize) -> usize {
    let power = |tone: &usize| {
        let step = f64::from(TONES[*tone]) * std::f64::consts::TAU / 48_000.0;
        let (mut re, mut im) = (0.0, 0.0);
        for (i, &sample) in samples.iter().enumerate() {
            re += f64::from(sample) * (step * i as f64).cos();
            im += f64::from(sample) * (step * i as f64).sin();
        }
        re * re + im * im
    };
    (0..count)
        .max_by(|a, b| power(a).total_cmp(&power(b)))
        .unwrap()
}

/// AAC by ffmpeg whose channels are these tones, in WAVE order.
fn tones(layout: &str, channels: usize, directory: &Path) -> Track {
    let path = directory.join(format!("{layout}.m4a"));
    let tones = TONES[..channels].iter();
    let planes: Vec<String> = tones.map(|hz| format!("0.3*sin({hz}*2*PI*t)")).collect();
    let source = format!("aevalsrc={}:c={layout}:s=48000:d=0.5", planes.join("|"));
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", &source])
        .args(["-c:a", "aac", "-aac_pns", "0", "-b:a", "400k"])
        .arg(&path)
        .status()
        .expect("ffmpeg is installed");
    assert!(status.success());
    Track::open(&path)
}

/// ffmpeg lists a pair before the single front element, and an LFE as a single one at the sides: neither is in the
/// standard.
#[test]
fn channels_of_ffmpegs_program_config_elements_go_to_their_loudspeakers() {
    use crate::pcm::Speaker::*;
    let directory = tempfile::tempdir().unwrap();
    let front = [FrontLeft, FrontRight, FrontCenter];
    let with_lfe = [FrontLeft, FrontRight, FrontCenter, LowFrequency];
    let back = [BackLeft, BackRight];
    for (layout, speakers) in [
        ("3.1", with_lfe.to_vec()),
        ("4.1", [&with_lfe[..], &[BackCenter]].concat()),
        ("5.0(side)", [&front[..], &[SideLeft, SideRight]].concat()),
        ("5.1(side)", [&with_lfe[..], &back].concat()),
        ("hexagonal", [&front[..], &back, &[BackCenter]].concat()),
        ("6.1(back)", [&with_lfe[..], &back, &[BackCenter]].concat()),
        (
            "7.1(wide)",
            [&with_lfe[..], &[SideLeft, SideRight], &back].concat(),
        ),
        ("quad", [&front[..2], &back].concat()),
        ("quad(side)", [&front[..2], &[SideLeft, SideRight]].concat()),
    ] {
        let track = tones(layout, speakers.len(), directory.path());
        assert_eq!(track.parameters.config[1] & 0x78, 0, "{layout}");
        let found = track.format().layout;
        assert_eq!(found, Layout::of(&speakers), "{layout}");
        let decoded = track.decode_from(0);
        for (tone, &speaker) in speakers.iter().enumerate() {
            let plane = decoded.plane(found.plane_of(speaker).unwrap());
            let heard = loudest_tone(&plane[4096..], speakers.len());
            assert_eq!(heard, tone, "{layout}: {speaker:?}");
        }
    }
}

/// The library gives the channels of a program_config_element that is like a channel configuration in WAVE order.
#[test]
fn channels_of_a_standard_program_config_element_go_to_their_loudspeakers() {
    let directory = tempfile::tempdir().unwrap();
    let (single, pair) = (|tag| (false, tag), |tag| (true, tag));
    let front = [single(0), pair(0)];
    for (layout, channels, config) in [
        ("3.0", 3, configured_by(&front, &[], &[], &[])),
        ("4.0", 4, configured_by(&front, &[], &[single(1)], &[])),
        ("5.0", 5, configured_by(&front, &[], &[pair(1)], &[])),
        ("5.1", 6, configured_by(&front, &[], &[pair(1)], &[0])),
        ("5.1", 6, configured_by(&front, &[pair(1)], &[], &[0])),
    ] {
        let mut track = tones(layout, channels, directory.path());
        track.parameters.config = config;
        let decoded = track.decode_from(0);
        for (tone, plane) in decoded.planes().iter().enumerate() {
            assert_eq!(loudest_tone(&plane[4096..], channels), tone, "{layout}");
        }
    }
}

/// In fixed-point arithmetic and 16 bits. The low-power filterbank of SBR would be at 26 dB.
/// Of mono, ffmpeg makes two channels, in case that parametric stereo comes.
#[test]
fn agrees_with_ffmpeg() {
    for (clip, _, _) in HE_AAC.into_iter().filter(|&(_, _, channels)| channels == 2) {
        assert_snr(&Track::clip(clip), None, 50.0);
    }
}

/// The search of builds without this decoder agrees with it, whatever stands behind the end of a packet.
#[test]
fn implicit_sbr_is_found_with_and_without_the_decoder() {
    for (clip, has_sbr) in [
        ("he-aac-v1-implicit.m4a", true),
        ("he-aac-v2-implicit.m4a", true),
        ("moov-first-stereo-44100.mp4", false),
        ("mono-22050.mp4", false),
        ("stereo-24000.mp4", false),
    ] {
        for padding in [&[][..], &[0; 3], &[0xFF; 5], b"padding"] {
            let mut track = Track::clip(clip);
            for packet in &mut track.packets {
                packet.extend_from_slice(padding);
            }
            let format = track.format();
            let is_he = format.codec != Codec::Aac(AacProfile::Lc);
            assert_eq!(is_he, has_sbr, "{clip}, padded with {padding:?}");
            let aac = aac_config::AacConfig::parse(&track.parameters.config).unwrap();
            let packets: Vec<&[u8]> = track.packets[..INSPECTED_PACKETS]
                .iter()
                .map(Vec::as_slice)
                .collect();
            let channels = aac.layout.unwrap().channels();
            let found = sbr::is_in_most(&packets, channels, || aac::plain_decoder(&aac).ok());
            assert_eq!(found, has_sbr, "{clip}, padded with {padding:?}");
        }
    }
}

/// The planes are in the order of the layout.
#[test]
fn surround_channels_are_where_ffmpeg_has_them() {
    for (clip, layout) in [
        ("surround-5-1.mp4", Layout::SURROUND_5_1),
        ("surround-7-1.mp4", Layout::SURROUND_7_1),
    ] {
        let track = Track::clip(clip);
        assert_eq!(track.format().layout, layout);
        let (ours, theirs) = (track.decode_from(0), track.by_ffmpeg(None));
        assert_eq!(ours.len(), theirs.len());
        for (channel, (ours, theirs)) in ours.planes().iter().zip(theirs.planes()).enumerate() {
            assert!(snr(theirs, ours) > 15.0, "{clip} channel {channel}");
        }
    }
}

/// Energy of the highest octave, roughly: the fourth difference.
fn treble(samples: &[f32]) -> f64 {
    let difference = |w: &[f32]| w[0] - 4.0 * w[1] + 6.0 * w[2] - 4.0 * w[3] + w[4];
    samples
        .windows(5)
        .map(|w| f64::from(difference(w)).powi(2))
        .sum()
}

/// A decoder gives no treble before its first SBR header, and no stereo before its first PS header. Both come about
/// every half a second.
#[test]
fn the_roll_reaches_back_to_the_headers() {
    for (clip, _, _) in HE_AAC {
        let track = Track::clip(clip);
        let roll = track.format().roll as usize;
        let first = track.packets.len() - roll - 4;
        let whole = track.decode_from(0);
        let restarted = track.decode_from(first);
        let at = whole.len() - 4 * 2048;
        let (whole, restarted) = (
            treble(&whole.plane(0)[at..]),
            treble(&restarted.plane(0)[at - first * 2048..]),
        );
        let change = 10.0 * (restarted / whole).log10();
        assert!(change.abs() < 3.0, "{clip}: treble by {change:.1} dB");
    }
}

#[test]
fn he_aac_survives_damage() {
    assert_survives("he-aac-v1-implicit.m4a");
    assert_survives("he-aac-v2-hierarchical.m4a");
}

#[test]
fn surround_survives_damage() {
    assert_survives("surround-5-1.mp4");
}

#[test]
fn damaged_configurations_are_survived() {
    let mut random = Random(11);
    let track = Track::clip("he-aac-v2-hierarchical.m4a");
    for _ in 0..mutations() / 4 {
        let mut parameters = track.parameters.clone();
        parameters.config = mutate(&parameters.config, &mut random);
        if let Ok(format) = inspect(&parameters, &track.packets)
            && let Ok(mut decoder) = decoder(&parameters, &format)
        {
            let mut pcm = Pcm::new(format.layout.channels());
            let _ = decoder.decode(&track.packets[0], &mut pcm);
        }
    }
}

/// AAC-LC at 48 kHz without noise substitution, which depends on the decoder.
fn encoded(channels: &str, directory: &Path) -> Track {
    let path = directory.join(format!("{channels}.m4a"));
    let source = format!(
        "aevalsrc=0.3*sin(440*2*PI*t)|0.2*sin(620*2*PI*t)|0.2*sin(810*2*PI*t)|0.4*sin(60*2*PI*t)|0.1*sin(990*2*PI*t)|\
         0.3*sin(1130*2*PI*t):c=5.1:s=48000:d=0.6,aformat=channel_layouts={channels}"
    );
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", &source])
        .args(["-c:a", "aac", "-aac_pns", "0", "-b:a", "256k"])
        .arg(&path)
        .status()
        .expect("ffmpeg is installed");
    assert!(status.success());
    Track::open(&path)
}

/// The channel configuration in an AudioSpecificConfig of two bytes or more.
fn configured(track: &Track, channels: u8) -> Track {
    let mut parameters = track.parameters.clone();
    parameters.config[1] = parameters.config[1] & !0x78 | channels << 3;
    parameters.config.truncate(2);
    Track {
        path: track.path.clone(),
        parameters,
        packets: track.packets.clone(),
    }
}

/// What joins recordings keeps the configuration of the first.
#[test]
fn the_packets_tell_the_channels_whatever_the_configuration_says() {
    let directory = tempfile::tempdir().unwrap();
    for (channels, configuration) in [("mono", 1), ("stereo", 2), ("3.0", 3), ("5.1", 6)] {
        let right = encoded(channels, directory.path());
        let format = right.format();
        let expected = right.decode_from(0);
        for wrong in [1, 2, 3, 6, 7] {
            let track = configured(&right, wrong);
            assert_eq!(track.format(), format, "{channels} said to be {wrong}");
            let decoded = track.decode_from(0);
            assert!(
                decoded.planes() == expected.planes(),
                "{channels} said to be {wrong}"
            );
        }
        assert_eq!(configured(&right, configuration).format(), format);
    }
}

/// The first packets of `first`, then those of `second` from the same place on.
fn changing(first: &Track, second: &Track, at: usize) -> Track {
    let (first_packets, second_packets) = (&first.packets[..at], &second.packets[at..]);
    Track {
        path: first.path.clone(),
        parameters: first.parameters.clone(),
        packets: [first_packets, second_packets].concat(),
    }
}

#[test]
fn a_stream_that_changes_its_channels_stays_in_those_it_began_with() {
    let directory = tempfile::tempdir().unwrap();
    let kinds = ["mono", "stereo", "quad", "3.0", "4.0", "5.0", "5.1", "7.1"];
    let tracks = kinds.map(|channels| encoded(channels, directory.path()));
    // ffmpeg describes four channels in a program_config_element.
    assert_eq!(tracks[2].parameters.config[1] & 0x78, 0);
    let at = 12;
    for (from, first) in kinds.iter().zip(&tracks) {
        for (to, second) in kinds.iter().zip(&tracks) {
            // Of such a packet, nothing but the program_config_element tells the channels.
            if from == to || *to == "quad" {
                continue;
            }
            let what = format!("{from}, then {to}");
            let track = changing(first, second, at);
            let format = track.format();
            assert_eq!(format, first.format(), "{what}");
            let mut decoder = decoder(&track.parameters, &format).unwrap();
            let mut decoded = Pcm::new(format.layout.channels());
            for (index, packet) in track.packets.iter().enumerate() {
                let result = decoder.decode(packet, &mut decoded);
                result.unwrap_or_else(|why| panic!("{what}, packet {index}: {why}"));
            }
            let before = first.decode_from(0);
            let mut after = Pcm::new(format.layout.channels());
            let layout = second.format().layout;
            reconfigured::place(&second.decode_from(0), layout, &mut after, format.layout);
            // The first packet of the new kind lacks its overlap with the one before.
            let (end, begin) = (1024 * (at - 1), 1024 * (at + 1));
            for channel in 0..decoded.channels() {
                let ours = decoded.plane(channel);
                assert!(ours[..end] == before.plane(channel)[..end], "{what}");
                let expected = &after.plane(channel)[begin..];
                let silent = expected.iter().all(|&sample| sample == 0.0);
                let near = snr(expected, &ours[begin..ours.len().min(after.len())]);
                assert!(
                    silent && ours[begin..].iter().all(|&sample| sample == 0.0) || near > 60.0,
                    "{what}, channel {channel}: {near:.1} dB"
                );
            }
        }
    }
}

/// What one decoder of the track makes of these packets, 1024 PCM samples of each, and whether it decoded each of them.
fn decoded(track: &Track, packets: &[&[u8]]) -> (Pcm, Vec<bool>) {
    let format = track.format();
    let mut decoder = decoder(&track.parameters, &format).unwrap();
    let mut pcm = Pcm::new(format.layout.channels());
    let decode = |packet: &&[u8]| {
        let start = pcm.len();
        let is_decoded = decoder.decode(packet, &mut pcm).is_ok();
        pcm.resize(start + 1024);
        is_decoded
    };
    let are_decoded = packets.iter().map(decode).collect();
    (pcm, are_decoded)
}

/// Bits as bytes, filled up with zeros.
fn bytes(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().map(|bit| bit - b'0').collect();
    let byte = |bits: &[u8]| (0..8).fold(0, |byte, i| byte << 1 | bits.get(i).unwrap_or(&0));
    bits.chunks(8).map(byte).collect()
}

/// A silent single_channel_element.
const SINGLE: &str = "00000000000000000000000000000";
/// A silent channel_pair_element with a common_window.
const PAIR: &str = "0010000100000000000000000000000000000000000";
/// The end of a raw_data_block.
const END: &str = "111";

/// Every span has a new decoder.
#[test]
fn a_packet_of_other_elements_at_the_start_costs_the_rest_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let stereo = encoded("stereo", directory.path());
    let surround = encoded("5.1", directory.path());
    let dual_mono = bytes(&[SINGLE, SINGLE, END].concat());
    let mut damaged = stereo.packets[4].clone();
    // A channel_pair_element becomes an lfe_channel_element.
    damaged[0] ^= 0x40;
    let expected = stereo.decode_from(0);
    for (what, first, is_decoded) in [
        ("5.1", &surround.packets[4], true),
        ("dual mono", &dual_mono, true),
        ("damaged", &damaged, false),
    ] {
        let rest = stereo.packets[5..].iter().map(Vec::as_slice);
        let packets: Vec<&[u8]> = [first.as_slice()].into_iter().chain(rest).collect();
        let (pcm, are_decoded) = decoded(&stereo, &packets);
        assert_eq!(are_decoded[0], is_decoded, "{what}");
        assert!(
            are_decoded[1..].iter().all(|&it| it),
            "{what}: {are_decoded:?}"
        );
        for (ours, whole) in pcm.planes().iter().zip(expected.planes()) {
            assert!(ours[2048..] == whole[6 * 1024..], "{what}");
        }
    }
    // Nor does it where the kinds alternate.
    let packets = [
        &dual_mono,
        &stereo.packets[4],
        &surround.packets[4],
        &dual_mono,
    ];
    let packets = packets.map(Vec::as_slice);
    let (_, are_decoded) = decoded(&stereo, &[packets, packets].concat());
    assert!(are_decoded.iter().all(|&it| it), "{are_decoded:?}");
}

/// Where damage ends a packet of many channels early, its first elements alone would pass for a packet of fewer.
#[test]
fn what_is_left_of_a_surround_packet_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let surround = encoded("5.1", directory.path());
    let rest = &surround.packets[4][..100];
    for (what, elements) in [
        ("1 channel", &[SINGLE][..]),
        ("3 channels", &[SINGLE, PAIR]),
        ("5 channels", &[SINGLE, PAIR, PAIR]),
        ("2 channels", &[PAIR]),
    ] {
        let whole = bytes(&[elements, &[END]].concat().concat());
        let with = |behind: &[u8]| [&whole[..], behind].concat();
        for (behind, is_decoded) in [
            (&[][..], true),
            (&[0; 9], true),
            (rest, false),
            (&[1], false),
        ] {
            let packet = with(behind);
            let (_, are_decoded) = decoded(&surround, &[&surround.packets[3], &packet]);
            assert_eq!(
                are_decoded,
                [true, is_decoded],
                "{what}, {} behind",
                behind.len()
            );
        }
    }
}
