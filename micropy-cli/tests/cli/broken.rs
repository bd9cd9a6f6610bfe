//! Broken input: refused with a sentence, in little memory, without a panic.

use std::process::Command;

use crate::audio::assert_clean;
use crate::run::{Folder, Run, clip, clip_table, installed, on_unix, program};

/// Address space a run may use, in KiB: some hundred times what a conversion needs, a small part of what
/// the sizes written in the broken files ask for.
const MEMORY: u32 = 600_000;

/// Converts `bytes` under the memory limit and asserts what holds for any input at all.
fn convert(bytes: &[u8]) -> (Folder, Run) {
    let folder = Folder::with(&[]);
    folder.write("broken.mp4", bytes);
    let command = format!(
        "ulimit -v {MEMORY} && exec {} convert broken.mp4 -o out.mp3 --jobs 1 --json",
        program().join(" ")
    );
    let output = Command::new("sh")
        .args(["-c", &command])
        .current_dir(folder.path(""))
        .output()
        .expect("sh starts");
    let run = Run {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    match run.code {
        Some(0) => assert_eq!(folder.names(), ["broken.mp4", "out.mp3"]),
        Some(1) => {
            assert!(
                run.stderr.contains("broken.mp4"),
                "the message names the file: {}",
                run.stderr
            );
            assert_eq!(folder.names(), ["broken.mp4"], "nothing is left behind");
        }
        Some(3) => {
            assert_eq!(run.json()[0]["complete"], false);
            assert_eq!(folder.names(), ["broken.mp4", "out.mp3"]);
        }
        _ => panic!("exit code {:?}: {}", run.code, run.stderr),
    }
    (folder, run)
}

/// A box of `kind` around `content`.
fn iso_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len() + 8).expect("a small box");
    [&size.to_be_bytes(), &kind[..], content].concat()
}

/// `bytes` with another number `offset` bytes into the content of the first box of a kind.
fn patched(bytes: &[u8], kind: &[u8; 4], offset: usize, value: u32) -> Vec<u8> {
    let name = bytes
        .windows(4)
        .position(|window| window == kind)
        .expect("the box is there");
    with_number(bytes, name + 4 + offset, value)
}

/// `bytes` with another size for the first box of a kind.
fn resized(bytes: &[u8], kind: &[u8; 4], size: u32) -> Vec<u8> {
    let name = bytes
        .windows(4)
        .position(|window| window == kind)
        .expect("the box is there");
    with_number(bytes, name - 4, size)
}

/// `bytes` with a 32-bit number replaced.
fn with_number(bytes: &[u8], at: usize, value: u32) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[at..at + 4].copy_from_slice(&value.to_be_bytes());
    out
}

#[test]
fn empty_and_random_bytes_are_refused() {
    if !on_unix("empty_and_random_bytes_are_refused") {
        return;
    }
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |len: usize| -> Vec<u8> {
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect()
    };
    let mut inputs = vec![
        Vec::new(),
        vec![0],
        vec![0; 100_000],
        random(7),
        random(1000),
        random(200_000),
    ];
    // Random content where a movie should be.
    inputs.push(
        [
            iso_box(b"ftyp", b"isom\0\0\x02\0isom"),
            iso_box(b"moov", &random(5000)),
        ]
        .concat(),
    );
    for input in inputs {
        let (_, run) = convert(&input);
        assert_eq!(run.code, Some(1), "{} bytes", input.len());
    }
}

#[test]
fn truncated_files_give_what_is_there_or_say_why_not() {
    if !on_unix("truncated_files_give_what_is_there_or_say_why_not") {
        return;
    }
    let can_judge = installed(
        "truncated_files_give_what_is_there_or_say_why_not",
        &["ffmpeg", "mpg123"],
    );
    let table = clip_table();
    for name in [
        "moov-first-stereo-44100.mp4",
        "moov-last-stereo-44100.mp4",
        "fragmented-dash.mp4",
    ] {
        let whole = clip(name);
        let samples = table
            .iter()
            .find(|row| row.0 == name)
            .and_then(|row| row.1)
            .expect("a row of the table");
        let mut partial = 0;
        for cut in (1..24)
            .map(|part| whole.len() * part / 24)
            .chain([8, 40, whole.len() - 1])
        {
            let (folder, run) = convert(&whole[..cut]);
            if run.code == Some(0) {
                assert_eq!(
                    run.json()[0]["output_samples"],
                    samples,
                    "{name} cut at {cut} calls itself complete"
                );
            }
            if run.code == Some(3) {
                partial += 1;
                if can_judge {
                    assert_clean(&folder.path("out.mp3"));
                }
            }
        }
        // Without the sample table nothing can be found; with it in front, most cuts leave audio to convert.
        let moov_at_end = name == "moov-last-stereo-44100.mp4";
        assert_eq!(
            partial == 0,
            moov_at_end,
            "{name}: {partial} cuts gave a partial MP3"
        );
    }
}

#[test]
fn absurd_sizes_and_counts_are_refused_in_little_memory() {
    if !on_unix("absurd_sizes_and_counts_are_refused_in_little_memory") {
        return;
    }
    let whole = clip("moov-last-stereo-44100.mp4");
    let sound = whole
        .windows(4)
        .rposition(|window| window == b"soun")
        .expect("an audio track");
    let (before, track) = whole.split_at(sound);
    let absurd =
        |kind: &[u8; 4], offset, value| [before, &patched(track, kind, offset, value)].concat();
    let inputs = [
        ("stsz: 2^32 − 1 samples", absurd(b"stsz", 8, u32::MAX)),
        ("stsz: 2^32 − 1 samples of 2^31 bytes", {
            let sized = patched(track, b"stsz", 4, 1 << 31);
            [before, &patched(&sized, b"stsz", 8, u32::MAX)].concat()
        }),
        ("stts: 2^32 − 1 entries", absurd(b"stts", 4, u32::MAX)),
        (
            "stts: a run of 2^32 − 1 samples",
            absurd(b"stts", 8, u32::MAX),
        ),
        ("stsc: 2^32 − 1 entries", absurd(b"stsc", 4, u32::MAX)),
        (
            "stsc: 2^32 − 1 samples in a chunk",
            absurd(b"stsc", 12, u32::MAX),
        ),
        ("stco: 2^32 − 1 chunks", absurd(b"stco", 4, u32::MAX)),
        ("stco: a chunk at 2^32 − 1", absurd(b"stco", 8, u32::MAX)),
        ("stsd: 2^32 − 1 entries", absurd(b"stsd", 4, u32::MAX)),
        (
            "moov longer than the file",
            resized(&whole, b"moov", u32::MAX),
        ),
        ("moov shorter than its head", resized(&whole, b"moov", 7)),
        (
            "mdat longer than the file",
            resized(&whole, b"mdat", u32::MAX),
        ),
    ];
    for (what, input) in inputs {
        let (_, run) = convert(&input);
        // A wrong count may leave audio that can be had; it must never be called complete in silence.
        assert_ne!(run.code, None, "{what}");
    }

    let huge = [
        &[0, 0, 0, 1],
        &b"moov"[..],
        &u64::MAX.to_be_bytes(),
        &[0; 64],
    ]
    .concat();
    let mut nested = iso_box(b"trak", &[]);
    for _ in 0..20_000 {
        nested = iso_box(b"moov", &nested);
    }
    let many = iso_box(b"moov", &iso_box(b"trak", &[]).repeat(100_000));
    for (what, input) in [
        ("a 64-bit size of 2^64 − 1", huge),
        ("20 000 boxes deep", nested),
        ("100 000 tracks", many),
    ] {
        let (_, run) = convert(&[iso_box(b"ftyp", b"isom\0\0\x02\0isom"), input].concat());
        assert_eq!(run.code, Some(1), "{what}");
    }
}
