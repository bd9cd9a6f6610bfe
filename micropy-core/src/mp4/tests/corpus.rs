//! Compares with an independent reader: the packets that `ffprobe -show_packets` finds in files of others.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::packets_of;
use crate::codec::{Codec, PcmFormat};
use crate::error::Error;
use crate::mp4::{Movie, Packet};
use crate::source::{SeekSource, StreamSource};
use crate::warning::Warning;

/// The folder of real files, if there is one.
fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("MICROPY_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = named.unwrap_or(beside);
    let there = folder.is_dir();
    if !there {
        eprintln!("skipped: no corpus at {}", folder.display());
    }
    there.then_some(folder)
}

/// Offset, size and decode time (if known) of the packets of the audio stream `index` among the audio streams.
/// `has-tags.m4a` has composition offsets, so its presentation times differ.
fn ffprobe(file: &Path, index: usize) -> Vec<(u64, u32, Option<u64>)> {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            &format!("a:{index}"),
            "-show_packets",
        ])
        // We apply the edit list ourselves; ffprobe would drop what it leaves out.
        .args([
            "-ignore_editlist",
            "1",
            "-show_entries",
            "packet=dts,size,pos",
            "-of",
            "csv=p=0",
        ])
        .arg(file)
        .output()
        .expect("ffprobe (of ffmpeg) has to be installed for this test");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(',');
            let time = fields.next()?.parse().ok();
            let size = fields.next()?.parse().ok()?;
            let offset = fields.next()?.parse().ok()?;
            Some((offset, size, time))
        })
        .collect()
}

#[test]
fn packets_are_those_of_ffprobe() {
    let Some(folder) = corpus() else { return };
    /// Sound files, and how many audio tracks they have.
    const FILES: [(&str, usize); 22] = [
        ("Simbai & Elke Bay - Energy.m4a", 1),
        ("a.m4a", 1),
        ("ac3.mp4", 1),
        ("afconvert-aac-0.5s.mp4", 1),
        ("alac.m4a", 1),
        ("apple-voice-memo.m4a", 1),
        ("beep-flac-audio.mp4", 1),
        ("beep-opus-audio.mp4", 1),
        ("bigbuckbunny-51.mp4", 1),
        ("eac3.mp4", 1),
        ("edts.mp4", 1),
        ("ep7.m4b", 1),
        ("extended_audio_object_type.mp4", 1),
        ("has-tags.m4a", 1),
        ("heaac-fraunhofer.mp4", 1),
        ("multiple-aac-tracks.mp4", 2),
        ("no-tags.3g2", 1),
        ("pymediainfo-sample.mp4", 1),
        ("rotate-buck-bunny.mp4", 1),
        ("sample-multi-track.3gp", 1),
        ("trailer-mp3-in-mp4.mp4", 1),
        ("world.mp4", 1),
    ];
    for (name, tracks) in FILES {
        compare(&folder.join(name), tracks);
    }
}

/// Compares the packets of all audio tracks of a file with those of ffprobe, and those read from a pipe
/// with those read from the file.
fn compare(path: &Path, tracks: usize) {
    let name = path.display();
    let mut source = SeekSource::open(path).unwrap();
    let movie = Movie::read(&mut source).unwrap();
    assert_eq!(movie.audio.len(), tracks, "{name}");
    for track in 0..tracks {
        let (packets, reader) = packets_of(&mut source, &movie, track).unwrap();
        assert!(reader.missing().is_empty() && !packets.is_empty(), "{name}");
        let theirs = ffprobe(path, track);
        assert_eq!(packets.len(), theirs.len(), "{name}, track {track}");
        for ((ours, _), (offset, size, time)) in packets.iter().zip(theirs) {
            assert_eq!(
                (ours.offset, ours.size),
                (offset, size),
                "{name}, track {track}"
            );
            let time = time.unwrap_or(ours.time);
            // Where ffmpeg writes a fragment for every frame, some have no duration there, and the time of their end.
            let ends = ours.time + u64::from(ours.duration);
            let is_end = name.to_string().ends_with("quicktime.mov") && ends == time;
            assert!(ours.time == time || is_end, "{name} at byte {offset}");
        }
        let in_order = |pair: &[(Packet, Vec<u8>)]| {
            pair[1].0.time >= pair[0].0.time + u64::from(pair[0].0.duration)
        };
        assert!(packets.windows(2).all(in_order), "{name}");
        let mut pipe = StreamSource::new(File::open(path).unwrap());
        let from_pipe = Movie::read(&mut pipe).unwrap();
        assert_eq!(
            packets_of(&mut pipe, &from_pipe, track).unwrap().0,
            packets,
            "{name}"
        );
    }
}

/// What ffmpeg makes of two seconds of sound and picture with the arguments `args`.
fn ffmpeg(folder: &Path, name: &str, args: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let status = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=d=2:s=64x64:r=25",
        ])
        .args(["-f", "lavfi", "-i", "sine=d=2:r=44100"])
        .args(args)
        .arg(&path)
        .status()
        .expect("ffmpeg has to be installed for this test");
    assert!(status.success(), "{name}");
    path
}

#[test]
fn packets_of_files_by_ffmpeg_are_those_of_ffprobe() {
    let folder = tempfile::tempdir().unwrap();
    const KINDS: [(&str, &str); 9] = [
        ("plain.mp4", ""),
        ("front.mp4", "-movflags faststart"),
        ("both.mp4", "-movflags frag_keyframe -g 10"),
        ("empty.mp4", "-movflags frag_keyframe+empty_moov -g 10"),
        (
            "base.mp4",
            "-movflags frag_keyframe+empty_moov+default_base_moof -g 10",
        ),
        (
            "apart.mp4",
            "-movflags separate_moof+frag_keyframe+empty_moov -g 10",
        ),
        (
            "omit.mp4",
            "-movflags omit_tfhd_offset+frag_keyframe+empty_moov -g 10",
        ),
        ("dash.mp4", "-movflags dash+global_sidx+frag_keyframe -g 10"),
        ("quicktime.mov", "-movflags frag_every_frame"),
    ];
    for (name, args) in KINDS {
        let args: Vec<_> = args.split_whitespace().collect();
        compare(&ffmpeg(folder.path(), name, &args), 1);
    }
}

#[test]
fn uncompressed_quicktime_sound_is_all_there() {
    const KINDS: [(&str, u8, bool, bool); 7] = [
        ("pcm_u8", 8, false, true),
        ("pcm_s16le", 16, false, false),
        ("pcm_s16be", 16, false, true),
        ("pcm_s24le", 24, false, false),
        ("pcm_s32be", 32, false, true),
        ("pcm_f32le", 32, true, false),
        ("pcm_f64be", 64, true, true),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (codec, bits, float, big_endian) in KINDS {
        let path = ffmpeg(folder.path(), &format!("{codec}.mov"), &["-c:a", codec]);
        let mut source = SeekSource::open(&path).unwrap();
        let movie = Movie::read(&mut source).unwrap();
        let layout = PcmFormat {
            bits,
            float,
            big_endian,
            signed: bits > 8,
            width: bits / 8,
            high: false,
            companding: None,
        };
        let parameters = movie.audio[0].codec.as_ref().unwrap();
        assert_eq!(parameters.codec, Codec::Pcm(layout), "{codec}");
        assert_eq!((parameters.channels, parameters.sample_rate), (1, 44_100));
        let (packets, _) = packets_of(&mut source, &movie, 0).unwrap();
        let ours: Vec<u8> = packets.into_iter().flat_map(|(_, data)| data).collect();
        let theirs = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(&path)
            .args(["-map", "0:a", "-c", "copy", "-f", "data", "-"])
            .output()
            .unwrap();
        assert_eq!(ours.len(), 88_200 * usize::from(bits / 8), "{codec}");
        assert!(ours == theirs.stdout, "{codec}");
    }
}

/// The odd files of the corpus.
#[test]
fn odd_files_are_read_as_far_as_they_go() {
    let Some(folder) = corpus() else { return };
    let read = |name: &str| Movie::read(&mut SeekSource::open(folder.join(name)).unwrap()).unwrap();
    for name in [
        "no_timescale.mp4",
        "chunk_out_of_range.mp4",
        "muted_b.mp4",
        "64bit.mp4",
    ] {
        assert!(read(name).audio.is_empty(), "{name}");
    }
    for (name, codec) in [
        ("sample-multi-track.3gp", "AMR narrow band (samr)"),
        ("extended_audio_object_type.mp4", "MPEG-4 ALS"),
        ("sine-3s-xhe-aac-44khz-mono.mp4", "AAC"),
        ("trailer-mp3-in-mp4.mp4", "MP3"),
    ] {
        let movie = read(name);
        assert_eq!(
            movie.audio[0].codec.as_ref().unwrap().codec.to_string(),
            codec
        );
    }
    let encrypted = read("short-cenc.mp4").audio.remove(0).codec;
    assert!(matches!(encrypted, Err(Error::Encrypted { scheme }) if scheme == "cenc"));

    // Emptied for a test of tags: its `stsz` boxes have no fields, so neither sound nor titles can be read.
    let mut emptied = read("nero-chapters.m4b");
    let fault = emptied.audio.remove(0).codec.unwrap_err().to_string();
    assert!(fault.starts_with("malformed stsz at byte 8668:"), "{fault}");
    assert!(emptied.text.is_empty());
    let of_chapters = |w: &Warning| {
        w.to_string()
            .starts_with("chapters at byte 15123 left out: malformed stsz:")
    };
    assert!(
        emptied.warnings.iter().any(of_chapters),
        "{:?}",
        emptied.warnings
    );

    for (name, declared) in [
        ("truncated-64bit.mp4", 14),
        ("chapters-issue-127.m4b", 677_292),
        ("invalid_userdata.mp4", 5422),
    ] {
        let mut source = SeekSource::open(folder.join(name)).unwrap();
        let movie = Movie::read(&mut source).unwrap();
        let (packets, reader) = packets_of(&mut source, &movie, 0).unwrap();
        let whole = packets.iter().filter(|(p, _)| p.read == p.size).count() as u64;
        let missing = reader.missing();
        assert!(missing.packets > 0 && !missing.uncounted, "{name}");
        assert_eq!(whole + missing.packets, declared, "{name}");
    }
}
