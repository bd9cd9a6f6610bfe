//! `micropy convert`: correct MP3s, files and exit codes.

use std::fs;

use crate::audio::{Decoded, assert_clean, decode, mpg123_len, worst_snr};
use crate::run::{Folder, clip_path, clip_table, installed};

/// The plain AAC-LC clips, and the highest bitrate that MP3 has at their rate.
const CLIPS: [(&str, &str); 9] = [
    ("moov-first-stereo-44100.mp4", "320"),
    ("moov-last-stereo-44100.mp4", "320"),
    ("mono-44100.m4a", "320"),
    ("stereo-48000.mp4", "320"),
    ("stereo-32000.mp4", "320"),
    ("stereo-24000.mp4", "160"),
    ("mono-22050.mp4", "160"),
    ("mono-16000.m4a", "160"),
    ("mono-8000.mp4", "64"),
];

/// Far above what a shifted, swapped or missing piece leaves (under 5 dB), below what LAME itself reaches
/// on these clips (over 16 dB, and over 37 dB at 320 kbit/s).
const LEAST_SNR: f64 = 12.0;

#[test]
fn mp3s_are_clean_exact_and_sound_like_the_source() {
    if !installed(
        "mp3s_are_clean_exact_and_sound_like_the_source",
        &["ffmpeg", "mpg123"],
    ) {
        return;
    }
    let table = clip_table();
    for (name, bitrate) in CLIPS {
        let (_, samples, rate, channels) = table
            .iter()
            .find(|row| row.0 == name)
            .expect("a row of the table");
        let samples = samples.expect("a clip that converts") as usize;
        let folder = Folder::with(&[name]);
        let run = folder.micropy(&format!(
            "convert {name} -o out.mp3 --bitrate {bitrate} --json"
        ));
        assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);

        let report = &run.json()[0];
        assert_eq!(report["complete"], true, "{name}: {report}");
        assert_eq!(report["output_samples"], samples, "{name}: {report}");

        let out = folder.path("out.mp3");
        assert_clean(&out);
        let decoded = decode(&out, *rate, *channels);
        assert_eq!(decoded.len(), samples, "{name}: as ffmpeg decodes it");
        assert_eq!(
            mpg123_len(&out, *channels),
            samples,
            "{name}: as mpg123 decodes it"
        );
        let snr = worst_snr(&decode(&clip_path(name), *rate, *channels), &decoded);
        assert!(snr > LEAST_SNR, "{name}: {snr:.1} dB");
    }
}

/// The measure used above sees the faults that it is there to see.
#[test]
fn the_measure_of_sound_sees_swapped_channels_and_a_lost_packet() {
    if !installed(
        "the_measure_of_sound_sees_swapped_channels_and_a_lost_packet",
        &["ffmpeg"],
    ) {
        return;
    }
    let source = decode(&clip_path("moov-first-stereo-44100.mp4"), 44_100, 2);
    let altered = |pcm: Vec<f32>| Decoded {
        channels: 2,
        rate: 44_100,
        pcm,
    };
    let swapped = source
        .pcm
        .as_chunks::<2>()
        .0
        .iter()
        .flat_map(|pair| [pair[1], pair[0]])
        .collect();
    assert!(worst_snr(&source, &altered(swapped)) < 5.0);
    let mut shorter = source.pcm.clone();
    let middle = shorter.len() / 4 * 2;
    shorter.drain(middle..middle + 2 * 1024);
    assert!(worst_snr(&source, &altered(shorter)) < 5.0);
    assert!(worst_snr(&source, &source) > 80.0);
}

#[test]
fn the_output_stands_beside_the_input_by_default() {
    let folder = Folder::with(&["mono-22050.mp4"]);
    let run = folder.micropy("convert mono-22050.mp4");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(folder.names(), ["mono-22050.mp3", "mono-22050.mp4"]);
}

#[test]
fn a_summary_line_names_the_output_and_the_speed() {
    let folder = Folder::with(&["mono-22050.mp4"]);
    let run = folder.micropy("convert mono-22050.mp4");
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &run.stderr;
    assert!(said.contains("mono-22050.mp3"), "{said}");
    assert!(said.contains('×'), "{said}");
}

#[test]
fn the_number_of_jobs_does_not_change_a_byte() {
    let folder = Folder::with(&["song.mp4"]);
    for setting in ["--bitrate 128", "--vbr 2", "--abr 96"] {
        let made = [1, 2, 5].map(|jobs| {
            let run = folder.micropy(&format!(
                "convert song.mp4 -o out.mp3 --force --jobs {jobs} {setting}"
            ));
            assert_eq!(run.code, Some(0), "{}", run.stderr);
            fs::read(folder.path("out.mp3")).expect("the output")
        });
        assert!(made[0] == made[1] && made[1] == made[2], "{setting:?}");
    }
}

#[test]
fn an_existing_file_is_overwritten_only_by_force() {
    let folder = Folder::with(&["mono-22050.mp4"]);
    folder.write("mono-22050.mp3", b"precious");
    let run = folder.micropy("convert mono-22050.mp4");
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("mono-22050.mp3") && run.stderr.contains("--force"),
        "{}",
        run.stderr
    );
    assert_eq!(
        fs::read(folder.path("mono-22050.mp3")).expect("still there"),
        b"precious"
    );

    let run = folder.micropy("convert mono-22050.mp4 --force");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_ne!(
        fs::read(folder.path("mono-22050.mp3")).expect("still there"),
        b"precious"
    );
    assert_eq!(folder.names(), ["mono-22050.mp3", "mono-22050.mp4"]);
}

#[test]
fn the_input_is_never_its_own_output() {
    let folder = Folder::with(&["mono-22050.mp4"]);
    fs::create_dir(folder.path("folder")).expect("a folder");
    let outputs = [
        "mono-22050.mp4",
        "./mono-22050.mp4",
        "folder/../mono-22050.mp4",
    ];
    refuses_to_overwrite_the_input(&folder, &outputs);
}

/// Asserts that `mono-22050.mp4` is not converted into any of these, which all are that file.
pub fn refuses_to_overwrite_the_input(folder: &Folder, outputs: &[&str]) {
    let before = fs::read(folder.path("mono-22050.mp4")).expect("the clip");
    for output in outputs {
        let run = folder.micropy(&format!("convert mono-22050.mp4 -o {output} --force"));
        assert!(
            matches!(run.code, Some(1 | 2)),
            "{output}: {:?}: {}",
            run.code,
            run.stderr
        );
        let after = fs::read(folder.path("mono-22050.mp4")).expect("still there");
        assert_eq!(after, before, "{output}");
    }
}

#[test]
fn several_inputs_go_into_a_folder() {
    let folder = Folder::with(&["mono-22050.mp4", "stereo-48000.mp4", "mono-16000.m4a"]);
    fs::create_dir(folder.path("out")).expect("a folder");
    let run =
        folder.micropy("convert mono-22050.mp4 stereo-48000.mp4 mono-16000.m4a -o out --json");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.json().len(), 3, "one report for each");
    for name in ["mono-22050.mp3", "stereo-48000.mp3", "mono-16000.mp3"] {
        assert!(folder.path("out").join(name).exists(), "{name}");
    }
}

#[test]
fn a_trailing_slash_names_a_folder_that_is_created() {
    let folder = Folder::with(&["mono-22050.mp4"]);
    let run = folder.micropy("convert mono-22050.mp4 -o new/");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(folder.path("new").join("mono-22050.mp3").is_file());
}

#[test]
fn one_bad_input_among_several_does_not_stop_the_others() {
    let folder = Folder::with(&["mono-22050.mp4", "video-only.mp4", "mono-16000.m4a"]);
    fs::create_dir(folder.path("out")).expect("a folder");
    let run = folder.micropy("convert mono-22050.mp4 video-only.mp4 mono-16000.m4a -o out");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("video-only.mp4"), "{}", run.stderr);
    let mut made: Vec<_> = fs::read_dir(folder.path("out"))
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a plain name")
        })
        .collect();
    made.sort();
    assert_eq!(made, ["mono-16000.mp3", "mono-22050.mp3"]);
}

#[test]
fn two_inputs_that_would_make_one_output_are_refused() {
    let folder = Folder::with(&["mono-22050.mp4"]);
    fs::create_dir(folder.path("a")).expect("a folder");
    fs::create_dir(folder.path("out")).expect("a folder");
    fs::copy(
        folder.path("mono-22050.mp4"),
        folder.path("a/mono-22050.mp4"),
    )
    .expect("a copy");
    let run = folder.micropy("convert mono-22050.mp4 a/mono-22050.mp4 -o out");
    assert_ne!(run.code, Some(0), "one of the two would be lost");
}

#[test]
fn mono_and_sample_rate_are_obeyed_and_the_length_stays_exact() {
    if !installed(
        "mono_and_sample_rate_are_obeyed_and_the_length_stays_exact",
        &["mpg123"],
    ) {
        return;
    }
    let folder = Folder::with(&["stereo-48000.mp4"]);
    let run = folder.micropy("convert stereo-48000.mp4 -o mono.mp3 --mono --bitrate 64");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(mpg123_len(&folder.path("mono.mp3"), 1), 96_000);
    let run = folder.micropy("convert stereo-48000.mp4 -o low.mp3 --sample-rate 24000");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(mpg123_len(&folder.path("low.mp3"), 2), 48_000);
    assert_clean(&folder.path("low.mp3"));
}

#[test]
fn bitrates_are_obeyed() {
    let folder = Folder::with(&["song.mp4"]);
    let size = |setting: &str| {
        let run = folder.micropy(&format!("convert song.mp4 -o out.mp3 --force {setting}"));
        assert_eq!(run.code, Some(0), "{setting}: {}", run.stderr);
        fs::metadata(folder.path("out.mp3"))
            .expect("the output")
            .len()
    };
    // 12 s; the cover and the tags weigh the same in each.
    let difference = size("--bitrate 192") - size("--bitrate 128");
    assert!(difference.abs_diff(12 * 64_000 / 8) < 2_000, "{difference}");
    assert!(size("--vbr 0") > size("--vbr 4.5"));
    assert!(size("--vbr 4.5") > size("--vbr 9"));
    assert!(size("--abr 160") > size("--abr 80"));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let folder = Folder::with(&["mono-22050.mp4"]);
    for words in [
        "convert",
        "convert mono-22050.mp4 --no-such-option",
        "convert mono-22050.mp4 --bitrate 128 --vbr 2",
        "convert mono-22050.mp4 --bitrate loud",
        "convert mono-22050.mp4 --vbr 11",
        "convert mono-22050.mp4 --quality 10",
        "convert mono-22050.mp4 --jobs 0",
        "convert mono-22050.mp4 --sample-rate 44000",
        "convert - -",
        "no-such-command",
    ] {
        let run = folder.micropy(words);
        assert_eq!(run.code, Some(2), "{words}: {}", run.stderr);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{words}");
    }
    assert_eq!(folder.names(), ["mono-22050.mp4"]);
}

#[test]
fn help_and_version_go_to_stdout() {
    let folder = Folder::with(&[]);
    for words in ["--help", "--version", "-V", "--version --verbose"] {
        let run = folder.micropy(words);
        assert_eq!(run.code, Some(0));
        assert!(run.stderr.is_empty() && !run.stdout.is_empty());
    }
    let help = String::from_utf8(folder.micropy("convert --help").stdout).expect("text");
    for flag in [
        "--bitrate",
        "--abr",
        "--vbr",
        "--quality",
        "--sample-rate",
        "--mono",
        "--jobs",
        "--json",
        "--force",
    ] {
        assert!(help.contains(flag), "{flag} stands in the help");
    }
}

#[test]
fn the_version_says_what_it_was_built_with() {
    let folder = Folder::with(&[]);
    let said = |words: &str| String::from_utf8(folder.micropy(words).stdout).expect("text");
    let short = format!("micropy {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(said("--version"), short);
    for words in ["--version --verbose", "-v -V"] {
        let long = said(words);
        assert!(long.starts_with(&short), "{long}");
        let line = |name: &str| {
            let line = long.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {long}"))
        };
        assert!(line("encoder: ").starts_with("LAME3.100, build "), "{long}");
        let own = line("stages by LAME's own code: ");
        match line("encoder: ").ends_with(" with kernels") {
            true => assert!(
                line("stages by kernels: ") != "none" && own != "all",
                "{long}"
            ),
            false => assert!(
                line("stages by kernels: ") == "none" && own == "all",
                "{long}"
            ),
        }
        let has_fdk = line("FDK decoder: ").starts_with("yes");
        assert!(has_fdk || line("FDK decoder: ").starts_with("no"), "{long}");
        let he_aac = Folder::with(&["he-aac-v2-implicit.m4a"]);
        let run = he_aac.micropy("convert he-aac-v2-implicit.m4a");
        assert_eq!(run.code == Some(0), has_fdk, "{}", run.stderr);
    }
    let alone = folder.micropy("--verbose");
    assert_eq!(alone.code, Some(2), "{}", alone.stderr);
}

#[test]
fn what_cannot_be_converted_says_why() {
    let reasons = [
        ("video-only.mp4", "no audio track"),
        ("encrypted-cenc.mp4", "encrypted"),
        ("amr.3gp", "AMR"),
    ];
    for (name, reason) in reasons {
        let folder = Folder::with(&[name]);
        let run = folder.micropy(&format!("convert {name}"));
        assert_eq!(run.code, Some(1), "{name}");
        assert!(
            run.stderr.contains(name) && run.stderr.contains(reason),
            "{name}: {}",
            run.stderr
        );
        assert_eq!(folder.names(), [name], "nothing is left behind");
    }
    let folder = Folder::with(&[]);
    let run = folder.micropy("convert not-there.mp4");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("not-there.mp4"), "{}", run.stderr);
}
