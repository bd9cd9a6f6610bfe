//! `micropy convert`: WAVE and PCM, parts, sizes, silence, files joined; `micropy probe --peaks`.

use std::fs;
use std::process::Command;

use crate::audio::{assert_clean, decode, mpg123_len};
use crate::run::{Folder, clip, clip_path, installed};

/// The PCM of a clip by ffmpeg, as 16 bits.
fn by_ffmpeg(name: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(clip_path(name))
        .args(["-f", "s16le", "-"])
        .output()
        .expect("ffmpeg runs");
    assert!(output.status.success());
    output.stdout
}

fn read(folder: &Folder, name: &str) -> Vec<u8> {
    fs::read(folder.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn wave_and_pcm_by_the_extension_or_by_name() {
    if !installed("wave_and_pcm_by_the_extension_or_by_name", &["ffmpeg"]) {
        return;
    }
    let pcm = by_ffmpeg("alac.m4a");
    let folder = Folder::with(&["alac.m4a"]);
    for (words, name) in [
        ("-o a.wav", "a.wav"),
        ("-o A.WAV", "A.WAV"),
        ("--to wav", "alac.wav"),
        ("--to wav -o b.bin", "b.bin"),
    ] {
        let run = folder.micropy(&format!("convert alac.m4a {words}"));
        assert_eq!(run.code, Some(0), "{words}: {}", run.stderr);
        let wav = fs::read(folder.path(name)).expect(name);
        assert!(wav.starts_with(b"RIFF") && wav[44..] == pcm, "{words}");
    }
    for (words, name) in [
        ("--to s16le", "alac.pcm"),
        ("--to pcm -o c", "c"),
        ("-o d.pcm", "d.pcm"),
    ] {
        let run = folder.micropy(&format!("convert alac.m4a {words}"));
        assert_eq!(run.code, Some(0), "{words}: {}", run.stderr);
        assert!(fs::read(folder.path(name)).expect(name) == pcm, "{words}");
    }
    // To a pipe, with the sizes that are known beforehand; from a pipe, too.
    let run = folder.micropy("convert alac.m4a --to wav -o -");
    assert!(run.stdout == fs::read(folder.path("a.wav")).expect("a.wav"));
    let run = folder.micropy_fed("convert - --to f32le", clip("alac.m4a"));
    assert_eq!(run.stdout.len(), 2 * pcm.len());
    let run = folder.micropy("convert alac.m4a -o e.wav --to mp3");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        fs::read(folder.path("e.wav"))
            .expect("e.wav")
            .starts_with(b"ID3")
    );
    let run = folder.micropy("convert alac.m4a -o f.wav --sample-rate 16000 --mono --json");
    let report = &run.json()[0];
    assert_eq!(report["output_sample_rate"], 16_000);
    assert_eq!(report["output_samples"], 8000);
    assert_eq!(
        fs::read(folder.path("f.wav")).expect("f.wav").len(),
        44 + 2 * 8000
    );
}

#[test]
fn parts_of_a_length_lie_beside_the_input_or_in_a_folder() {
    let test = "parts_of_a_length_lie_beside_the_input_or_in_a_folder";
    if !installed(test, &["ffmpeg", "mpg123"]) {
        return;
    }
    let name = "chapters.m4b";
    let folder = Folder::with(&[name]);
    let run = folder.micropy("convert chapters.m4b --split 1s --json");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let parts = ["chapters 01.mp3", "chapters 02.mp3", "chapters 03.mp3"];
    let mut samples = 0;
    for (part, report) in parts.iter().zip(run.json()) {
        assert_clean(&folder.path(part));
        let len = mpg123_len(&folder.path(part), 1);
        assert_eq!(report["output_samples"], len, "{part}");
        assert_eq!(report["output"], *part);
        samples += len;
    }
    assert_eq!(samples, 66_150);
    let run = folder.micropy("convert chapters.m4b --split 1s");
    assert_eq!(run.code, Some(1), "they exist: {}", run.stderr);
    assert!(run.stderr.contains("--force"), "{}", run.stderr);
    let run =
        folder.micropy("convert chapters.m4b --split 1:00 --split-at silence -o parts --to wav");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let part = decode(&folder.path("parts/chapters 01.wav"), 22_050, 1);
    assert_eq!(part.len(), samples);
}

#[test]
fn a_size_is_kept_or_refused_with_the_length_that_fits() {
    if !installed(
        "a_size_is_kept_or_refused_with_the_length_that_fits",
        &["ffmpeg", "mpg123"],
    ) {
        return;
    }
    let folder = Folder::with(&["moov-first-stereo-44100.mp4"]);
    for (size, bytes) in [
        ("100kB", 100_000),
        ("30KiB", 30_720),
        ("12000", 12_000),
        ("5k", 5_000),
    ] {
        let run = folder.micropy(&format!(
            "convert moov-first-stereo-44100.mp4 -o a.mp3 --force --fit {size}"
        ));
        assert_eq!(run.code, Some(0), "{size}: {}", run.stderr);
        assert_clean(&folder.path("a.mp3"));
        let len = fs::metadata(folder.path("a.mp3")).expect("a.mp3").len();
        assert!(len <= bytes, "{size}: {len}");
    }
    let run = folder.micropy("convert moov-first-stereo-44100.mp4 -o b.mp3 --fit 3kB");
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("3000 bytes"), "{}", run.stderr);
    assert!(!folder.path("b.mp3").exists());
    for wrong in [
        "--fit 1MB --bitrate 64",
        "--fit 1MB --to wav",
        "--fit big",
        "--split-at silence",
    ] {
        let run = folder.micropy(&format!("convert moov-first-stereo-44100.mp4 {wrong}"));
        assert_eq!(run.code, Some(2), "{wrong}: {}", run.stderr);
    }
}

#[test]
fn inputs_are_joined_into_one_file() {
    if !installed("inputs_are_joined_into_one_file", &["ffmpeg", "mpg123"]) {
        return;
    }
    let names = ["mono-8000.mp4", "stereo-48000.mp4"];
    let folder = Folder::with(&names);
    let run = folder.micropy("convert --join mono-8000.mp4 stereo-48000.mp4 -o all.mp3 --json");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.json()[0]["output_samples"], 4 * 48_000);
    assert_clean(&folder.path("all.mp3"));
    assert_eq!(mpg123_len(&folder.path("all.mp3"), 2), 4 * 48_000);
    let mp3 = fs::read(folder.path("all.mp3")).expect("all.mp3");
    for title in ["mono-8000", "stereo-48000"] {
        assert!(
            mp3.windows(title.len()).any(|w| w == title.as_bytes()),
            "{title}"
        );
    }
    folder.write("bad.mp4", b"not a movie");
    let run = folder.micropy("convert --join mono-8000.mp4 bad.mp4 -o none.mp3");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("bad: not an MP4"), "{}", run.stderr);
    assert!(!folder.path("none.mp3").exists());
    for wrong in [
        "--join mono-8000.mp4",
        "--join mono-8000.mp4 stereo-48000.mp4 -o stereo-48000.mp4 --force",
        "--join mono-8000.mp4 -o a.mp3 --split 10m",
    ] {
        let run = folder.micropy(&format!("convert {wrong}"));
        assert_eq!(run.code, Some(2), "{wrong}: {}", run.stderr);
    }
    assert!(fs::read(folder.path("stereo-48000.mp4")).expect("it") == clip("stereo-48000.mp4"));
}

#[test]
fn silence_is_left_out_where_that_is_asked_for() {
    let folder = Folder::with(&["moov-first-stereo-44100.mp4"]);
    let run = folder.micropy("convert moov-first-stereo-44100.mp4 -o a.mp3 --trim-silence --json");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let samples = run.json()[0]["output_samples"].as_u64().expect("a number");
    assert!(samples > 40_000 && samples <= 88_200, "{samples}");
}

#[test]
fn a_probe_draws_the_waveform() {
    let folder = Folder::with(&["moov-first-stereo-44100.mp4"]);
    let run = folder.micropy("probe --peaks 100 moov-first-stereo-44100.mp4");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let json = &run.json()[0];
    assert_eq!(json["version"], 2);
    assert_eq!(json["samples_per_pixel"], 882);
    assert_eq!((&json["length"], &json["bits"]), (&100.into(), &8.into()));
    assert_eq!(json["data"].as_array().expect("a list").len(), 200);
    let run = folder.micropy("probe --peaks 10 --bits 16 moov-first-stereo-44100.mp4");
    let data = run.json()[0]["data"].clone();
    let highest = data
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|v| v.as_i64())
        .max();
    assert!(highest > Some(127), "{data}");
    let bytes = clip("moov-first-stereo-44100.mp4");
    folder.write("cut.mp4", &bytes[..bytes.len() / 2]);
    let run = folder.micropy("probe --peaks 10 cut.mp4");
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    for wrong in ["--peaks 0", "--peaks 10 --json", "--bits 8"] {
        let run = folder.micropy(&format!("probe moov-first-stereo-44100.mp4 {wrong}"));
        assert_eq!(run.code, Some(2), "{wrong}: {}", run.stderr);
    }
}

#[test]
fn a_conversion_draws_the_waveform_of_what_it_makes() {
    let folder = Folder::with(&["moov-first-stereo-44100.mp4", "stereo-48000.mp4", "mp3.mp4"]);
    let talk = "moov-first-stereo-44100.mp4";
    let drawn = |name: &str| String::from_utf8(read(&folder, name)).expect("JSON is text");
    for bits in ["8", "16"] {
        let run = folder.micropy(&format!("convert {talk} -y --peaks 100 --peak-bits {bits}"));
        assert_eq!((run.code, run.stdout.len()), (Some(0), 0), "{}", run.stderr);
        let probed = folder.micropy(&format!("probe --peaks 100 --bits {bits} {talk}"));
        let probed = String::from_utf8(probed.stdout).expect("JSON is text");
        assert_eq!(drawn("moov-first-stereo-44100.peaks.json"), probed);
    }
    let made = read(&folder, "moov-first-stereo-44100.mp3");
    let run = folder.micropy(&format!("convert {talk} -o plain.mp3"));
    assert_eq!(
        (run.code, read(&folder, "plain.mp3") == made),
        (Some(0), true)
    );

    // Of what the MP3 holds; of MP3 that is copied, too; of joined files, all in one.
    let run = folder.micropy(&format!("convert {talk} -o cut.wav --start 1 --peaks 100"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let json: serde_json::Value = serde_json::from_str(&drawn("cut.peaks.json")).expect("JSON");
    assert_eq!(
        (&json["length"], &json["samples_per_pixel"]),
        (&100.into(), &441.into())
    );
    let run = folder.micropy("convert mp3.mp4 --peaks 100");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let probed = folder.micropy("probe --peaks 100 mp3.mp4");
    assert_eq!(drawn("mp3.peaks.json").into_bytes(), probed.stdout);
    let run = folder.micropy(&format!(
        "convert --join {talk} {talk} -o two.mp3 --peaks 200"
    ));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let two: serde_json::Value = serde_json::from_str(&drawn("two.peaks.json")).expect("JSON");
    let one: serde_json::Value =
        serde_json::from_str(&drawn("moov-first-stereo-44100.peaks.json")).expect("JSON");
    assert_eq!(
        (&two["length"], &two["samples_per_pixel"]),
        (&200.into(), &one["samples_per_pixel"])
    );

    for wrong in [
        "-o - --peaks 9",
        "--peaks 0",
        "--peaks 2000000",
        "--peak-bits 16",
        "--split 1s --peaks 9",
    ] {
        let run = folder.micropy(&format!("convert {talk} -y {wrong}"));
        assert_eq!(run.code, Some(2), "{wrong}: {}", run.stderr);
    }
}

#[test]
fn a_waveform_that_exists_is_treated_as_an_mp3_that_does() {
    let folder = Folder::with(&["mono-8000.mp4"]);
    folder.write("mono-8000.peaks.json", b"mine");
    let run = folder.micropy("convert mono-8000.mp4 --peaks 10");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains("mono-8000.peaks.json already exists"),
        "{}",
        run.stderr
    );
    assert!(!folder.path("mono-8000.mp3").exists());
    let run = folder.micropy("convert mono-8000.mp4 --peaks 10 -n");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(read(&folder, "mono-8000.peaks.json"), b"mine");
    let run = folder.micropy("convert mono-8000.mp4 --peaks 10 -y");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let drawn = read(&folder, "mono-8000.peaks.json");
    assert_ne!(drawn, b"mine");
    // An MP3 that is up to date is made again where its waveform is missing.
    std::fs::remove_file(folder.path("mono-8000.peaks.json")).expect("it is there");
    let run = folder.micropy("convert mono-8000.mp4 --update --peaks 10");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(read(&folder, "mono-8000.peaks.json"), drawn);
    let run = folder.micropy("convert mono-8000.mp4 --update --peaks 10");
    assert!(run.stderr.contains("it is up to date"), "{}", run.stderr);
    #[cfg(unix)]
    {
        std::fs::remove_file(folder.path("mono-8000.peaks.json")).expect("it is there");
        folder.write("original", b"mine");
        std::os::unix::fs::symlink("original", folder.path("mono-8000.peaks.json"))
            .expect("a link");
        let run = folder.micropy("convert mono-8000.mp4 -y --peaks 10");
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert_eq!(read(&folder, "original"), b"mine");
    }
}

#[test]
fn join_takes_standard_input_once_and_keeps_what_is_there() {
    let names = ["mono-8000.mp4", "stereo-48000.mp4"];
    let folder = Folder::with(&names);
    let run = folder.micropy_fed("convert --join - - -o all.mp3", clip(names[0]));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(
        run.stderr
            .contains("standard input can be converted only once"),
        "{}",
        run.stderr
    );
    let joined = format!("convert --join {} -o all.mp3", names.join(" "));
    folder.write("all.mp3", b"mine");
    let run = folder.micropy(&format!("{joined} -n"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stderr.contains("all.mp3  kept: it exists"),
        "{}",
        run.stderr
    );
    let run = folder.micropy(&format!("{joined} -n --json"));
    assert_eq!((run.code, run.json().len()), (Some(0), 1), "{}", run.stderr);
    assert_eq!(run.json()[0]["kept"], "it exists");
    assert_eq!(run.json()[0]["output"], "all.mp3");
    // Nothing is opened for it, nor for a refusal.
    let missing = folder.micropy("convert --join missing.mp4 -o all.mp3 -n");
    assert_eq!(missing.code, Some(0), "{}", missing.stderr);
    let missing = folder.micropy("convert --join missing.mp4 -o all.mp3");
    assert_eq!(missing.code, Some(1), "{}", missing.stderr);
    assert!(
        missing.stderr.contains("already exists"),
        "{}",
        missing.stderr
    );
    assert_eq!(fs::read(folder.path("all.mp3")).expect("it"), b"mine");
}

#[test]
fn what_was_only_begun_is_in_the_report_of_what_was_joined() {
    let folder = Folder::with(&["mono-8000.mp4", "stereo-48000.mp4"]);
    let run = folder
        .micropy("convert --join mono-8000.mp4 stereo-48000.mp4 -o all.mp3 --duration 1 --json");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let report = &run.json()[0];
    assert_eq!(report["output_samples"], 48_000, "{report}");
    assert_eq!(report["codec"], "AAC-LC", "{report}");
    assert!(report["packets"].as_u64() > Some(0), "{report}");
}

#[test]
fn parts_that_are_there_are_kept_and_told() {
    let folder = Folder::with(&["chapters.m4b"]);
    for (words, count) in [
        ("chapters.m4b --split 1s", 3),
        ("chapters.m4b --split-chapters book", 3),
    ] {
        let run = folder.micropy(&format!("convert {words}"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let run = folder.micropy(&format!("convert {words} -n"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(
            run.stderr.matches("kept: it exists").count(),
            count,
            "{}",
            run.stderr
        );
        let run = folder.micropy(&format!("convert {words} -n --json"));
        let kept: Vec<_> = run.json().iter().map(|line| line["kept"].clone()).collect();
        assert_eq!(kept, vec!["it exists"; count], "{}", run.stderr);
    }
}

#[test]
fn a_dry_run_counts_the_parts_that_a_run_makes() {
    let folder = Folder::with(&["chapters-nero.m4b"]);
    let book = "chapters-nero.m4b";
    // It lasts three seconds: less than a second belongs to the part before.
    for (number, (words, parts)) in [
        ("--split 1s -o", 3),
        ("--split 1.2s -o", 2),
        ("--split 2.5s -o", 1),
        ("--split-chapters", 3),
        ("--start 1.5 --split-chapters", 2),
    ]
    .into_iter()
    .enumerate()
    {
        let words = format!("--to f32le --json {words} parts{number}");
        let convert = |more: &str| folder.micropy(&format!("convert {book} {words} {more}"));
        let told = convert("--dry-run");
        assert_eq!(told.code, Some(0), "{words}: {}", told.stderr);
        assert_eq!(told.json()[0]["mp3s"], parts, "{words}");
        let piped = folder.micropy_fed(&format!("convert - {words} --dry-run"), clip(book));
        assert_eq!(piped.json()[0]["mp3s"], parts, "{words}: {}", piped.stderr);
        let run = convert("");
        assert_eq!(run.json().len(), parts, "{words}: {}", run.stderr);
        let again = convert("--dry-run");
        assert_eq!(again.code, Some(1), "{words}: {}", again.stderr);
        assert!(again.stderr.contains("already exists"), "{}", again.stderr);
        let kept = convert("--dry-run -n");
        assert_eq!(kept.json()[0]["kept"], "it exists", "{}", kept.stderr);
    }
}

#[test]
fn a_dry_run_fails_where_a_run_does() {
    let name = "moov-first-stereo-44100.mp4";
    let folder = Folder::with(&[name]);
    folder.write("file", b"");
    for (words, code) in [
        ("-o q.mp3 --fit 1kB", 2),
        ("-o q.mp3 --fit 1kB --trim-silence", 2),
        ("--split 1s --fit 1kB", 2),
        ("-o nodir/q.mp3", 1),
        ("-o file/q.mp3", 1),
        ("-o file/below/", 2),
        ("--split 1s -o file/below", 2),
    ] {
        let words = format!("convert {name} {words}");
        let before = folder.names();
        let told = folder.micropy(&format!("{words} --dry-run"));
        assert_eq!(told.code, Some(code), "{words}: {}", told.stderr);
        assert_eq!(folder.names(), before, "{words}");
        let run = folder.micropy(&words);
        assert_eq!(run.code, Some(code), "{words}: {}", run.stderr);
    }
    let told = folder.micropy(&format!("convert {name} -o q.mp3 --fit 20kB --dry-run"));
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.stderr.contains("at 64 kbit/s"), "{}", told.stderr);
    let run = folder.micropy(&format!("convert {name} -o new/ --dry-run"));
    assert_eq!(run.code, Some(0), "it would be made: {}", run.stderr);
}

#[test]
fn a_files_name_is_no_folder() {
    let names = ["chapters.m4b", "mono-22050.mp4"];
    let folder = Folder::with(&names);
    for words in [
        "chapters.m4b --split 1s -o talk.mp3",
        "chapters.m4b --split 1s -o talk.WAV",
        "chapters.m4b --split-chapters book.mp3",
        "chapters.m4b mono-22050.mp4 -o all.mp3",
        "-r . -o all.pcm",
        "--watch . -o all.mp3",
    ] {
        let run = folder.micropy(&format!("convert {words}"));
        assert_eq!(run.code, Some(2), "{words}: {}", run.stderr);
        assert!(
            run.stderr.contains("name of a file"),
            "{words}: {}",
            run.stderr
        );
        assert_eq!(folder.names(), names, "{words}");
    }
    // Unless that is said, or it is one.
    for words in ["-o parts.mp3/", "-o parts.mp3 -y"] {
        let run = folder.micropy(&format!("convert chapters.m4b --split 1s {words}"));
        assert_eq!(run.code, Some(0), "{words}: {}", run.stderr);
    }
    assert_eq!(folder.files("parts.mp3").len(), 3);
}
