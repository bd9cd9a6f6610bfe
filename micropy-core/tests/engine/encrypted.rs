//! Tracks that are encrypted in part, or only said to be (ISO/IEC 23001-7).

use crate::support::clip;
use crate::support::remux::{Remux, atom, words};
use micropy_core::{
    Converter, Error, Options, OutputFormat, Report, SampleFormat, StreamSource, probe,
};

/// Packets of a fragment.
const TOGETHER: usize = 20;

/// 80 packets of AAC.
fn aac() -> Remux {
    Remux::of(&clip("moov-last-stereo-44100.mp4")).first(80)
}

/// The sample entry of `track` in protected form. Whether its samples are encrypted stands in `tenc`.
fn enca(track: &Remux, is_protected: bool) -> Vec<u8> {
    let schm = atom(
        b"schm",
        &[&words(&[0])[..], b"cenc", &words(&[0x1_0000])].concat(),
    );
    let key = [
        &words(&[0])[..],
        &[0, 0, u8::from(is_protected), 8],
        &[7; 16],
    ]
    .concat();
    let schi = atom(b"schi", &atom(b"tenc", &key));
    let sinf = atom(b"sinf", &[atom(b"frma", b"mp4a"), schm, schi].concat());
    atom(b"enca", &[&track.entry()[8..], &sinf].concat())
}

/// `track` with an encrypted sample entry in front of its own.
fn with_both(track: &Remux) -> Remux {
    let entries = [enca(track, true), track.entry().to_vec()];
    track.clone().described(&entries)
}

/// The same packets, which nobody can read.
fn scrambled(track: &Remux, from: usize, to: usize) -> Remux {
    let mut scrambled = track.clone();
    for packet in &mut scrambled.packets[from..to] {
        for (byte, key) in packet.iter_mut().zip((0u8..=255).cycle()) {
            *byte ^= key.wrapping_mul(151).wrapping_add(77);
        }
    }
    scrambled
}

/// In fragments, each of this sample entry, if it is not the default, which is the first.
fn fragmented(track: &Remux, entries: [Option<u32>; 4]) -> Vec<u8> {
    let mut file = track.init();
    for (i, entry) in entries.into_iter().enumerate() {
        let mut track = track.clone();
        track.entry = entry;
        let from = TOGETHER * i;
        file.extend(track.fragment(from..from + TOGETHER, 1024, 1024 * from as u64, true));
    }
    file
}

/// The PCM of a file, from memory and from a pipe.
fn pcm(file: &[u8]) -> Result<(Vec<u8>, Report), Error> {
    let format = OutputFormat::Raw(SampleFormat::F32);
    let mut converter = Converter::new(Options::new().format(format).jobs(2));
    let (mut pcm, mut piped) = (Vec::new(), Vec::new());
    let report = converter.convert(file, &mut pcm)?;
    let pipe = StreamSource::new(std::io::Cursor::new(file.to_vec()));
    converter.convert(pipe, &mut piped)?;
    assert!(piped == pcm, "a pipe gives other PCM");
    Ok((pcm, report))
}

/// Bytes of so many packets of PCM.
fn bytes(packets: usize) -> usize {
    packets * 1024 * 2 * size_of::<f32>()
}

fn samples(pcm: &[u8]) -> Vec<f32> {
    let (samples, _) = pcm.as_chunks();
    samples
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect()
}

fn refused(file: &[u8]) -> bool {
    let problem = probe(file).unwrap().tracks[0].problem.clone();
    let is_encrypted = |e: Error| matches!(e, Error::Encrypted { scheme, .. } if scheme == "cenc");
    problem.is_some_and(|why| why.contains("encrypted (cenc)"))
        && pcm(file).is_err_and(is_encrypted)
}

#[test]
fn what_is_clear_at_the_beginning_is_converted_and_the_rest_is_silence() {
    let track = with_both(&scrambled(&aac(), 40, 80));
    let file = fragmented(&track, [Some(2), Some(2), None, None]);
    let (pcm_of_part, report) = pcm(&file).unwrap();
    assert_eq!((report.concealed_packets, report.complete), (40, false));
    assert_eq!(pcm_of_part.len(), bytes(80));
    let told = report.warnings[0].to_string();
    assert!(
        told.contains("sample entry 1: the audio track is encrypted (cenc)"),
        "{told}"
    );
    let (clear, _) = pcm(&fragmented(&aac(), [None; 4])).unwrap();
    assert!(
        pcm_of_part[..bytes(40)] == clear[..bytes(40)],
        "the clear part"
    );
    assert!(
        pcm_of_part[bytes(41)..].iter().all(|&byte| byte == 0),
        "the rest"
    );
    assert_eq!(probe(&file[..]).unwrap().tracks[0].samples, Some(80 * 1024));
}

#[test]
fn what_is_clear_behind_encrypted_packets_is_converted() {
    let track = with_both(&scrambled(&aac(), 0, 40));
    let (clear, _) = pcm(&aac().plain(&[(80, 1024)])).unwrap();
    for file in [
        track.plain_of(&[(80, 1024)], &[(40, 1), (40, 2)]),
        fragmented(&track, [None, None, Some(2), Some(2)]),
    ] {
        let (part, report) = pcm(&file).unwrap();
        assert_eq!((report.concealed_packets, report.complete), (40, false));
        assert_eq!(part.len(), bytes(80));
        assert!(
            part[..bytes(40)].iter().all(|&byte| byte == 0),
            "the encrypted part"
        );
        // But for noise that decoders put in, which depends on what they decoded before.
        let (part, clear) = (samples(&part[bytes(42)..]), samples(&clear[bytes(42)..]));
        let power = |samples: &mut dyn Iterator<Item = f32>| samples.map(|s| s * s).sum::<f32>();
        let difference = power(&mut part.iter().zip(&clear).map(|(a, b)| a - b));
        assert!(
            difference < power(&mut clear.iter().copied()) / 100.0,
            "the clear part"
        );
    }
}

#[test]
fn a_track_without_an_encrypted_packet_is_converted() {
    let (clear, _) = pcm(&aac().plain(&[(80, 1024)])).unwrap();
    let unprotected = aac().described(&[enca(&aac(), false)]);
    for (what, file) in [
        ("both entries", fragmented(&with_both(&aac()), [Some(2); 4])),
        ("not protected", unprotected.plain(&[(80, 1024)])),
        (
            "not protected, in fragments",
            fragmented(&unprotected, [None; 4]),
        ),
    ] {
        let (pcm, report) = pcm(&file).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(report.warnings, [], "{what}");
        assert!(report.complete && pcm == clear, "{what}");
    }
}

#[test]
fn a_track_of_which_every_packet_is_encrypted_is_refused_by_the_name_of_the_scheme() {
    let scrambled = scrambled(&aac(), 0, 80);
    let alone = scrambled.clone().described(&[enca(&scrambled, true)]);
    assert!(refused(&alone.plain(&[(80, 1024)])), "in a plain file");
    assert!(refused(&fragmented(&alone, [None; 4])), "in fragments");
    let both = with_both(&scrambled);
    assert!(
        refused(&both.plain(&[(80, 1024)])),
        "beside an entry that nothing is of"
    );
    assert!(
        refused(&fragmented(&both, [None; 4])),
        "the same in fragments"
    );
}
