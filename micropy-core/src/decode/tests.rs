//! Every decoder on the shipped clips, against ffmpeg's decoding of the same packets.

use std::path::{Path, PathBuf};
use std::process::Command;

#[cfg(feature = "fdk-aac")]
mod fdk;

use super::*;
use crate::codec::Description;
use crate::mp4::Movie;
use crate::source::SeekSource;

/// The packets of a clip's audio track.
struct Track {
    path: PathBuf,
    parameters: CodecParameters,
    packets: Vec<Vec<u8>>,
}

impl Track {
    fn clip(name: &str) -> Track {
        Track::open(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/media")
                .join(name),
        )
    }

    /// A clip encoded again without noise substitution, which depends on all packets before.
    fn without_noise_substitution(name: &str, directory: &Path) -> Track {
        let path = directory.join(name);
        let status = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(Track::clip(name).path)
            .args(["-vn", "-c:a", "aac", "-aac_pns", "0"])
            .arg(&path)
            .status()
            .expect("ffmpeg is installed");
        assert!(status.success());
        Track::open(&path)
    }

    fn open(path: &Path) -> Track {
        let mut source = SeekSource::open(path).unwrap();
        let mut movie = Movie::read(&mut source).unwrap();
        let mut reader = movie.packets(&mut source, 0).unwrap();
        let mut packets = Vec::new();
        let mut packet = Vec::new();
        while reader.next(&mut source, &mut packet).unwrap().is_some() {
            packets.push(std::mem::take(&mut packet));
        }
        Track {
            path: path.into(),
            parameters: movie.audio.swap_remove(0).codec.unwrap(),
            packets,
        }
    }

    fn format(&self) -> Format {
        inspect(&self.parameters, &self.packets).unwrap()
    }

    /// The packets from `first` on, decoded by a new decoder.
    fn decode_from(&self, first: usize) -> Pcm {
        let format = self.format();
        let mut decoder = decoder(&self.parameters, &format).unwrap();
        let mut pcm = Pcm::new(format.layout.channels());
        for packet in &self.packets[first..] {
            decoder.decode(packet, &mut pcm).unwrap();
        }
        pcm
    }

    /// Where each packet's PCM begins, and where the last one's ends.
    fn packet_starts(&self) -> Vec<usize> {
        let format = self.format();
        let mut decoder = decoder(&self.parameters, &format).unwrap();
        let mut pcm = Pcm::new(format.layout.channels());
        let mut starts = vec![0];
        for packet in &self.packets {
            decoder.decode(packet, &mut pcm).unwrap();
            starts.push(pcm.len());
        }
        starts
    }

    /// The worst difference, of full scale in dB, between a decoder run from the start and one restarted
    /// at packet `first`, from `roll` packets after it.
    fn restart_error(&self, first: usize, roll: usize) -> f64 {
        let starts = self.packet_starts();
        let (from, to) = (starts[first], starts[first + roll]);
        let (whole, restarted) = (self.decode_from(0), self.decode_from(first));
        assert_eq!(restarted.len(), whole.len() - from);
        let mut worst = 0f32;
        for (whole, restarted) in whole.planes().iter().zip(restarted.planes()) {
            for (a, b) in whole[to..].iter().zip(&restarted[to - from..]) {
                worst = worst.max((a - b).abs());
            }
        }
        20.0 * f64::from(worst).max(1e-10).log10()
    }

    /// The same packets decoded by ffmpeg without the edit list, with this decoder (or its own).
    fn by_ffmpeg(&self, decoder: Option<&str>) -> Pcm {
        let channels = self.format().layout.channels();
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args([
            "-v",
            "error",
            "-ignore_editlist",
            "1",
            "-flags2",
            "skip_manual",
        ]);
        if let Some(decoder) = decoder {
            ffmpeg.args(["-c:a", decoder]);
        }
        ffmpeg.arg("-i").arg(&self.path);
        ffmpeg.args(["-map", "0:a:0", "-f", "f32le", "-"]);
        let output = ffmpeg.output().expect("ffmpeg is installed");
        let mut pcm = Pcm::new(channels);
        for (i, sample) in output.stdout.chunks_exact(4).enumerate() {
            let sample = f32::from_le_bytes(sample.try_into().unwrap());
            pcm.planes_mut()[i % channels].push(sample);
        }
        pcm
    }
}

/// Energy of `reference` over that of the difference, in dB, over their common length.
fn snr(reference: &[f32], other: &[f32]) -> f64 {
    let energy = |samples: &mut dyn Iterator<Item = f64>| samples.map(|s| s * s).sum::<f64>();
    let signal = energy(&mut reference.iter().map(|&s| s.into()));
    let differences = reference.iter().zip(other);
    let noise = energy(&mut differences.map(|(&a, &b)| f64::from(a) - f64::from(b)));
    10.0 * (signal / noise.max(1e-30)).log10()
}

fn assert_snr(track: &Track, decoder: Option<&str>, least: f64) {
    let (ours, theirs) = (track.decode_from(0), track.by_ffmpeg(decoder));
    assert_eq!(ours.len(), theirs.len(), "{}", track.path.display());
    for (channel, (ours, theirs)) in ours.planes().iter().zip(theirs.planes()).enumerate() {
        let snr = snr(theirs, ours);
        assert!(
            snr >= least,
            "{} channel {channel}: {snr:.1} dB",
            track.path.display()
        );
    }
}

#[test]
fn lossless_codecs_decode_bit_exactly() {
    for clip in [
        "alac.m4a",
        "flac.mp4",
        "quicktime-fl32.mov",
        "quicktime-in24.mov",
        "quicktime-sowt.mov",
        "quicktime-twos.mov",
        "quicktime-ulaw.mov",
    ] {
        let track = Track::clip(clip);
        let (ours, theirs) = (track.decode_from(0), track.by_ffmpeg(None));
        assert!(!ours.is_empty());
        assert!(ours == theirs, "{clip}");
    }
}

#[test]
fn aac_lc_and_mp3_agree_with_ffmpeg() {
    for clip in [
        "moov-first-stereo-44100.mp4",
        "stereo-96000.m4a",
        "mono-8000.mp4",
        "mono-22050.mp4",
        "mp3.mp4",
    ] {
        assert_snr(&Track::clip(clip), None, 90.0);
    }
}

/// Both are the reference decoder in 16-bit arithmetic.
#[test]
fn opus_agrees_with_libopus() {
    assert_snr(&Track::clip("opus.mp4"), Some("libopus"), 60.0);
}

/// AC-3 leaves it to the decoder which noise stands in for mantissas without bits.
#[test]
fn ac3_agrees_with_ffmpeg() {
    assert_snr(&Track::clip("ac3.mp4"), None, 30.0);
    assert_snr(&Track::clip("eac3.mp4"), None, 30.0);
}

#[test]
fn formats_come_from_the_bitstream() {
    let format = |clip: &str| {
        let format = Track::clip(clip).format();
        let channels = format.layout.channels();
        (
            format.codec.to_string(),
            format.sample_rate,
            channels,
            format.packet_len,
        )
    };
    let expect = |name: &str, rate, channels, len| (name.to_string(), rate, channels, len);
    assert_eq!(
        format("mono-22050.mp4"),
        expect("AAC-LC", 22050, 1, Some(1024))
    );
    assert_eq!(format("ac3.mp4"), expect("AC-3", 48000, 2, Some(1536)));
    assert_eq!(format("eac3.mp4"), expect("E-AC-3", 48000, 2, Some(1536)));
    assert_eq!(format("aac.3gp"), expect("AAC-LC", 16000, 1, Some(1024)));
    assert_eq!(format("mp3.mp4"), expect("MP3", 44100, 2, Some(1152)));
    assert_eq!(format("alac.m4a"), expect("ALAC", 44100, 2, Some(4096)));
    assert_eq!(format("flac.mp4"), expect("FLAC", 44100, 2, Some(4608)));
    assert_eq!(format("opus.mp4"), expect("Opus", 48000, 2, Some(960)));
    assert_eq!(format("quicktime-ulaw.mov"), expect("µ-law", 8000, 1, None));
}

/// An ADTS header before each raw_data_block, as some writers leave it.
fn with_adts_headers(packets: &mut [Vec<u8>], rate_index: u8, channels: u8) {
    for packet in packets {
        let len = packet.len() as u16 + 7;
        let header = [
            0xFF,
            0xF1,
            0x40 | rate_index << 2,
            channels << 6 | (len >> 11) as u8,
            (len >> 3) as u8,
            (len << 5) as u8 | 0x1F,
            0xFC,
        ];
        packet.splice(0..0, header);
    }
}

#[test]
fn adts_headers_in_packets_change_nothing() {
    let clean = Track::clip("moov-first-stereo-44100.mp4").decode_from(0);
    let mut track = Track::clip("moov-first-stereo-44100.mp4");
    with_adts_headers(&mut track.packets, 4, 2);
    assert!(track.decode_from(0).planes() == clean.planes());
}

/// The same packets, so many together in each.
fn joined(track: &Track, together: usize) -> Track {
    Track {
        path: track.path.clone(),
        parameters: track.parameters.clone(),
        packets: track.packets.chunks(together).map(<[_]>::concat).collect(),
    }
}

#[test]
fn several_frames_in_a_packet_are_all_decoded() {
    let mut aac = Track::clip("moov-first-stereo-44100.mp4");
    with_adts_headers(&mut aac.packets, 4, 2);
    let mut he_aac = Track::clip("he-aac-v1-implicit.m4a");
    with_adts_headers(&mut he_aac.packets, 7, 2);
    for (track, frame_len) in [(aac, 1024), (he_aac, 2048), (Track::clip("mp3.mp4"), 1152)] {
        let right = track.decode_from(0);
        for together in [2, 3] {
            let track = joined(&track, together);
            let format = track.format();
            assert_eq!(format.packet_len, Some(frame_len * together as u32));
            assert!(track.decode_from(0).planes() == right.planes());
        }
    }
}

/// Silence takes the place of the damaged one alone.
#[test]
fn a_damaged_frame_among_several_in_a_packet_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let clip = "moov-first-stereo-44100.mp4";
    let mut track = Track::without_noise_substitution(clip, directory.path());
    let right = track.decode_from(0);
    with_adts_headers(&mut track.packets, 4, 2);
    track.packets[4][7..].fill(0xFF);
    let track = joined(&track, 3);
    let mut decoder = decoder(&track.parameters, &track.format()).unwrap();
    let mut pcm = Pcm::new(2);
    let decoded: Vec<bool> = track.packets[..3]
        .iter()
        .map(|packet| decoder.decode(packet, &mut pcm).is_ok())
        .collect();
    assert_eq!(decoded, [true, false, true]);
    assert_eq!(pcm.len(), 9 * 1024);
    for (ours, right) in pcm.planes().iter().zip(right.planes()) {
        assert!(ours[..4 * 1024] == right[..4 * 1024]);
        assert!(ours[4 * 1024..5 * 1024].iter().all(|&sample| sample == 0.0));
        assert!(ours[6 * 1024..9 * 1024] == right[6 * 1024..9 * 1024]);
    }
}

/// Each packet is decoded by the sample entry that it is of.
#[test]
fn a_track_of_several_sample_entries_is_decoded_by_each_packets_own() {
    let stereo = Track::clip("moov-first-stereo-44100.mp4");
    let at = 20;
    for (clip, others) in [
        ("mono-44100.m4a", "mono"),
        ("alac.m4a", "stereo"),
        ("mp3.mp4", "stereo"),
    ] {
        let other = Track::clip(clip);
        let mut parameters = stereo.parameters.clone();
        let description = Description::new(2, Ok(other.parameters.clone()));
        parameters.others.push(description);
        let format = inspect(&parameters, &stereo.packets).unwrap();
        assert_eq!((format.packet_len, format.roll), (None, ROLL_TO_THE_START));
        let mut decoder = decoder(&parameters, &format).unwrap();
        let mut pcm = Pcm::new(2);
        for (entry, packets) in [
            (1, &stereo.packets[..at]),
            (2, &other.packets[..at.min(other.packets.len())]),
        ] {
            decoder.follow(entry);
            for packet in packets {
                decoder.decode(packet, &mut pcm).unwrap();
            }
        }
        let (first, second) = (stereo.decode_from(0), other.decode_from(0));
        for (channel, ours) in pcm.planes().iter().enumerate() {
            let (before, after) = ours.split_at(1024 * at);
            assert!(before == &first.plane(channel)[..1024 * at], "{clip}");
            let channel = if others == "mono" { 0 } else { channel };
            assert!(after == &second.plane(channel)[..after.len()], "{clip}");
        }
    }
    let mut parameters = stereo.parameters.clone();
    let other = Track::clip("stereo-48000.mp4").parameters;
    parameters.others.push(Description::new(2, Ok(other)));
    let format = inspect(&parameters, &stereo.packets).unwrap();
    let mut decoder = decoder(&parameters, &format).unwrap();
    decoder.follow(2);
    let error = decoder.decode(&stereo.packets[0], &mut Pcm::new(2));
    let error = error.unwrap_err().to_string();
    assert_eq!(
        error,
        "sample entry 2: AAC-LC at 48000 Hz, where the track begins with 44100 Hz"
    );
}

/// Some writers say mono of stereo, and the other way round: the packets are right.
#[test]
fn the_packets_tell_the_channels_where_the_configuration_is_wrong() {
    for (clip, wrong) in [("moov-first-stereo-44100.mp4", 1), ("mono-44100.m4a", 2)] {
        let right = Track::clip(clip).decode_from(0);
        let mut track = Track::clip(clip);
        let config = &mut track.parameters.config;
        config[1] = config[1] & !0x78 | wrong << 3;
        assert!(track.decode_from(0).planes() == right.planes(), "{clip}");
    }
}

#[test]
fn a_stream_may_change_its_channels() {
    let mono = Track::clip("mono-44100.m4a");
    let mut track = Track::clip("moov-first-stereo-44100.mp4");
    let at = track.packets.len() / 2;
    track
        .packets
        .splice(at.., mono.packets[at..].iter().cloned());
    let pcm = track.decode_from(0);
    let [left, right] = pcm.planes() else {
        panic!("stereo")
    };
    assert!(left[..1024 * at] != right[..1024 * at]);
    assert!(left[1024 * (at + 1)..] == right[1024 * (at + 1)..]);
    assert!(left[1024 * (at + 1)..].iter().any(|&s| s.abs() > 0.01));
}

#[test]
fn a_packet_without_sound_is_damaged() {
    let track = Track::clip("moov-first-stereo-44100.mp4");
    let format = track.format();
    let mut decoder = decoder(&track.parameters, &format).unwrap();
    for packet in [&[][..], &[0xE0], &[0xFF; 40], &[0; 1]] {
        let mut pcm = Pcm::new(2);
        assert!(decoder.decode(packet, &mut pcm).is_err(), "{packet:?}");
        assert_eq!(pcm.len(), 0);
    }
}

#[test]
fn a_missing_configuration_is_guessed() {
    let right = Track::clip("moov-first-stereo-44100.mp4").decode_from(0);
    let mut track = Track::clip("moov-first-stereo-44100.mp4");
    track.parameters.config.clear();
    assert!(track.decode_from(0).planes() == right.planes());
}

/// No decoder here knows them: the profile is named, not a library's number.
#[test]
fn aac_profiles_without_a_decoder_are_named() {
    for (object_type, name) in [(1, "AAC Main"), (3, "AAC-SSR"), (4, "AAC-LTP")] {
        let mut track = Track::clip("moov-first-stereo-44100.mp4");
        let config = &mut track.parameters.config;
        config[0] = config[0] & 7 | object_type << 3;
        let error = inspect(&track.parameters, &track.packets).unwrap_err();
        assert_eq!(error.to_string(), format!("unsupported: {name} audio"));
    }
}

#[test]
fn after_its_roll_a_restarted_decoder_gives_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let aac = Track::without_noise_substitution("moov-first-stereo-44100.mp4", directory.path());
    for first in [1, 30] {
        assert!(aac.restart_error(first, 1) <= -120.0);
        assert!(
            aac.restart_error(first, 0) > -60.0,
            "this clip proves nothing"
        );
    }
    for (clip, tolerance) in [
        ("mp3.mp4", -120.0),
        ("alac.m4a", -120.0),
        ("flac.mp4", -120.0),
        ("quicktime-in24.mov", -120.0),
        ("opus.mp4", -80.0),
    ] {
        let track = Track::clip(clip);
        let roll = track.format().roll as usize;
        for first in [1, track.packets.len() / 3] {
            let error = track.restart_error(first, roll);
            assert!(
                error <= tolerance,
                "{clip} from packet {first}: {error:.0} dB"
            );
        }
    }
}

/// The noise that stands in for mantissas without bits follows from each frame alone.
#[test]
fn after_its_roll_ac3_is_the_same_to_the_bit() {
    for clip in ["ac3.mp4", "eac3.mp4"] {
        let track = Track::clip(clip);
        assert_eq!(track.format().roll, 1);
        for first in [1, track.packets.len() / 3] {
            let [none, one] = [0, 1].map(|roll| track.restart_error(first, roll));
            assert!(none > -60.0, "{clip} proves nothing: {none:.0} dB");
            assert_eq!(one, -200.0, "{clip} from packet {first}");
        }
    }
}

#[test]
fn a_codec_without_decoder_is_named() {
    let mut track = Track::clip("opus.mp4");
    track.parameters.codec = Codec::Other("MPEG-4 ALS".into());
    let error = inspect(&track.parameters, &track.packets).unwrap_err();
    assert!(error.to_string().contains("MPEG-4 ALS"), "{error}");
}

/// How many damaged packets each decoder gets: enough to find a panic, few enough to be quick. `MICROPY_MUTATIONS` sets
/// another number.
fn mutations() -> usize {
    let asked = std::env::var("MICROPY_MUTATIONS");
    asked.map_or(1000, |count| count.parse().unwrap())
}

/// xorshift64*, so that every run is the same.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }
}

fn mutate(packet: &[u8], random: &mut Random) -> Vec<u8> {
    let mut packet = packet.to_vec();
    match random.next(8) {
        0 => packet.truncate(random.next(packet.len() + 1)),
        1 => packet
            .iter_mut()
            .for_each(|byte| *byte = random.next(256) as u8),
        2 => packet.extend((0..random.next(5000)).map(|i| i as u8)),
        _ => {}
    }
    if !packet.is_empty() {
        for _ in 0..random.next(9) {
            let at = random.next(packet.len());
            packet[at] ^= 1 << random.next(8);
        }
    }
    packet
}

/// [`assert_survives`] of a clip encoded with these options of ffmpeg's.
fn assert_survives_as(name: &str, encoder: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name).with_extension("mov");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(Track::clip("moov-first-stereo-44100.mp4").path)
        .args(["-vn", "-c:a"])
        .args(encoder)
        .arg(&path)
        .status()
        .expect("ffmpeg is installed");
    assert!(status.success());
    assert_each_survives(name, &Track::open(&path));
}

fn assert_survives(clip: &str) {
    assert_each_survives(clip, &Track::clip(clip));
}

/// One decoder for all of them, as in a conversion, so that the next packet meets a broken state.
fn assert_each_survives(clip: &str, track: &Track) {
    let format = track.format();
    let mut decoder = decoder(&track.parameters, &format).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut pcm = Pcm::new(format.layout.channels());
    for _ in 0..mutations() {
        let packet = mutate(
            &track.packets[random.next(track.packets.len())],
            &mut random,
        );
        pcm.clear();
        let decoded = decoder.decode(&packet, &mut pcm);
        let lens: Vec<usize> = pcm.planes().iter().map(Vec::len).collect();
        assert!(lens.iter().all(|&len| len == lens[0]));
        let replaced = lens[0] == 0 || format.packet_len.is_some_and(|len| len as usize == lens[0]);
        assert!(
            decoded.is_ok() || replaced,
            "{clip}: an error, and {} PCM samples",
            lens[0]
        );
        assert!(lens[0] <= 65536, "{clip}: {} PCM samples", lens[0]);
    }
}

#[test]
fn aac_survives_damage() {
    assert_survives("moov-first-stereo-44100.mp4");
    assert_survives("mono-8000.mp4");
}

/// Some writers put padding, or a tag, before the frames of a packet.
#[test]
fn mp3_is_found_behind_padding_and_tags() {
    let track = Track::clip("mp3.mp4");
    let expected = track.decode_from(0);
    let tag = b"ID3\x04\0\0\0\0\0\x05\xFF\xFB\x90\x44\0";
    for before in [&b"\0\0"[..], tag] {
        let packets = track.packets.iter().map(|packet| [before, packet].concat());
        let padded = Track {
            path: track.path.clone(),
            parameters: track.parameters.clone(),
            packets: packets.collect(),
        };
        assert_eq!(padded.format(), track.format());
        assert!(padded.decode_from(0) == expected);
    }
}

/// It would be heard at the wrong pitch.
#[test]
fn frames_of_another_rate_are_no_sound() {
    // MPEG-1 at 48 kHz; FLAC at 48 kHz.
    for (name, at, rate) in [("mp3.mp4", 2, 0x04), ("flac.mp4", 2, 0x0A)] {
        let track = Track::clip(name);
        let mut packet = track.packets[2].clone();
        let mask = if name == "mp3.mp4" { 0x0C } else { 0x0F };
        packet[at] = packet[at] & !mask | rate;
        let mut decoder = decoder(&track.parameters, &track.format()).unwrap();
        let mut pcm = Pcm::new(2);
        for before in &track.packets[..2] {
            decoder.decode(before, &mut pcm).unwrap();
        }
        let error = decoder.decode(&packet, &mut pcm).unwrap_err().to_string();
        assert!(error.contains("a frame at 48000 Hz"), "{name}: {error}");
    }
}

#[test]
fn mp3_survives_damage() {
    assert_survives("mp3.mp4");
}

#[test]
fn ac3_survives_damage() {
    assert_survives("ac3.mp4");
    assert_survives("eac3.mp4");
}

/// The level of a channel tells which it is.
#[test]
fn each_channel_of_alac_goes_to_its_loudspeaker() {
    use crate::pcm::Speaker::*;
    let directory = tempfile::tempdir().unwrap();
    let front = [FrontLeft, FrontRight, FrontCenter];
    let back = [BackLeft, BackRight];
    for (layout, speakers) in [
        ("3.0", front.to_vec()),
        ("4.0", [&front[..], &[BackCenter]].concat()),
        ("5.0", [&front[..], &back].concat()),
        ("5.1", [&front[..], &[LowFrequency], &back].concat()),
        (
            "6.1(back)",
            [&front[..], &[LowFrequency], &back, &[BackCenter]].concat(),
        ),
        (
            "7.1(wide)",
            [
                &front[..],
                &[LowFrequency],
                &back,
                &[FrontLeftOfCenter, FrontRightOfCenter],
            ]
            .concat(),
        ),
    ] {
        let path = directory.path().join(format!("{layout}.m4a"));
        let levels: Vec<f32> = (1..=speakers.len()).map(|n| n as f32 / 16.0).collect();
        let planes: Vec<String> = levels.iter().map(f32::to_string).collect();
        let source = format!("aevalsrc={}:c={layout}:s=8000:d=0.3", planes.join("|"));
        let status = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", &source])
            .args(["-c:a", "alac", "-sample_fmt", "s16p"])
            .arg(&path)
            .status()
            .expect("ffmpeg is installed");
        assert!(status.success());
        let track = Track::open(&path);
        assert_eq!(track.format().layout, Layout::of(&speakers), "{layout}");
        let decoded = track.decode_from(0);
        for (plane, level) in decoded.planes().iter().zip(&levels) {
            assert!(
                plane.iter().all(|sample| (sample - level).abs() < 0.001),
                "{layout}: {} where {level} should be",
                plane[0]
            );
        }
    }
}

#[test]
fn alac_survives_damage() {
    assert_survives("alac.m4a");
}

#[test]
fn flac_survives_damage() {
    assert_survives("flac.mp4");
}

#[test]
fn opus_survives_damage() {
    assert_survives("opus.mp4");
}

#[test]
fn vorbis_survives_damage() {
    assert_survives_as("vorbis", &["libvorbis"]);
}

#[test]
fn adpcm_survives_damage() {
    for encoder in ["adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms"] {
        assert_survives_as(encoder, &[encoder]);
    }
}

/// The same of two layers, of which there are no clips.
#[test]
fn layer_2_survives_damage() {
    assert_survives_as("mp2", &["mp2"]);
}

#[test]
fn surround_ac3_survives_damage() {
    for encoder in ["ac3", "eac3"] {
        assert_survives_as(encoder, &[encoder, "-ac", "6"]);
    }
}

#[test]
fn pcm_survives_damage() {
    assert_survives("quicktime-in24.mov");
    assert_survives("quicktime-fl32.mov");
}

/// Configurations are as hostile as packets.
#[test]
fn damaged_configurations_are_errors_or_formats() {
    let mut random = Random(7);
    for clip in ["mono-8000.mp4", "alac.m4a", "flac.mp4", "opus.mp4"] {
        let track = Track::clip(clip);
        for _ in 0..mutations() {
            let mut parameters = track.parameters.clone();
            parameters.config = mutate(&parameters.config, &mut random);
            let Ok(format) = inspect(&parameters, &track.packets) else {
                continue;
            };
            assert!((1..=8).contains(&format.layout.channels()));
            let Ok(mut decoder) = decoder(&parameters, &format) else {
                continue;
            };
            let mut pcm = Pcm::new(format.layout.channels());
            let _ = decoder.decode(&track.packets[0], &mut pcm);
        }
    }
}
