//! Flags that shape the MP3, as they are typed.

use std::fs;
use std::process::Command;

use crate::audio::{assert_clean, mpg123_len};
use crate::run::{Folder, clip, installed, on_unix};

/// Whether the ID3 tag of a file holds these bytes.
fn says(file: &[u8], what: &[u8]) -> bool {
    file.windows(what.len()).any(|window| window == what)
}

#[test]
fn times_are_obeyed_to_the_pcm_sample() {
    let folder = Folder::with(&["moov-first-stereo-44100.mp4"]);
    for (flags, samples) in [
        ("--start 0.5", 66_150),
        ("--start 00:00:00.5 --end 1.5", 44_100),
        ("--duration 0.25", 11_025),
        ("--end 1:00", 88_200),
    ] {
        let run = folder.micropy(&format!(
            "convert moov-first-stereo-44100.mp4 {flags} --json --force"
        ));
        assert_eq!(run.code, Some(0), "{flags}: {}", run.stderr);
        assert_eq!(run.json()[0]["output_samples"], samples, "{flags}");
    }
}

#[test]
fn what_cannot_be_is_a_usage_error_that_says_why() {
    let folder = Folder::with(&["mono-22050.mp4"]);
    for (flags, why) in [
        ("--start 2 --end 1", "before --start"),
        ("--start 100", "ends before the start"),
        ("--bitrate 1000", "1000 kbit/s"),
        ("--bitrate 128 --vbr 2", "cannot be used with"),
        ("--vbr 10", "10"),
        ("--sample-rate 12345", "12345"),
        ("--normalize 3", "LUFS"),
        ("--tag nonsense=1", "no tag is called"),
        ("--tag title", "no `=`"),
        ("--cover missing.jpg", "missing.jpg"),
        ("--track 7", "numbered 0 to 0"),
        ("--start soon", "seconds"),
        ("--split-chapters out -o x.mp3", "cannot be used with"),
        ("--channels 6", "6"),
    ] {
        let run = folder.micropy(&format!("convert mono-22050.mp4 {flags}"));
        assert!(matches!(run.code, Some(1 | 2)), "{flags}: {:?}", run.code);
        let usage = run.code == Some(2) || flags.starts_with("--track");
        assert!(usage, "{flags}: {:?}", run.code);
        assert!(run.stderr.contains(why), "{flags}: {}", run.stderr);
        assert!(!folder.path("mono-22050.mp3").exists(), "{flags}");
    }
}

#[test]
fn tags_are_set_removed_and_left_out() {
    let folder = Folder::with(&["tags-cover-jpeg.m4a"]);
    let cover = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &[7; 100]].concat();
    folder.write("front.png", &cover);
    let mp3 = |flags: &str| {
        let run = folder.micropy(&format!(
            "convert tags-cover-jpeg.m4a -o out.mp3 --force {flags}"
        ));
        assert_eq!(run.code, Some(0), "{flags}: {}", run.stderr);
        fs::read(folder.path("out.mp3")).expect("the MP3")
    };
    let copied = mp3("");
    assert!(says(&copied, b"TIT2") && says(&copied, b"APIC"));
    let bare = mp3("--no-tags");
    assert!(!says(&bare, b"TIT2") && !says(&bare, b"APIC"));
    let edited = mp3("--tag title=Harbour --tag artist= --tag TXXX:Mine=yes --cover front.png");
    assert!(says(&edited, b"Harbour") && says(&edited, b"Mine\0yes"));
    assert!(!says(&edited, b"TPE1") && says(&edited, &cover));
    assert_eq!(&copied[..4], b"ID3\x04");
    assert_eq!(&mp3("--id3v23")[..4], b"ID3\x03");
}

#[test]
fn chapters_are_split_into_a_folder_and_never_over_a_file() {
    let folder = Folder::with(&["chapters.m4b", "mono-22050.mp4"]);
    let run = folder.micropy("convert chapters.m4b --split-chapters book --json");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let reports = run.json();
    assert!(reports.len() > 1);
    let samples: u64 = reports
        .iter()
        .filter_map(|r| r["output_samples"].as_u64())
        .sum();
    assert_eq!(samples, 66_150);
    for report in &reports {
        let name = report["output"].as_str().expect("a name");
        let file = name.strip_prefix("book").expect("it is in the folder");
        let file = file.trim_start_matches(['/', '\\']);
        assert!(file.starts_with('0'), "{name}");
        assert!(folder.path("book").join(file).exists(), "{name}");
    }
    let again = folder.micropy("convert chapters.m4b --split-chapters book");
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert!(again.stderr.contains("--force"), "{}", again.stderr);
    let none = folder.micropy("convert mono-22050.mp4 --split-chapters book");
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("no chapters"), "{}", none.stderr);
}

/// The book with its second and third of three chapters at these times, in units of 100 ns; it lasts three seconds.
fn book_with_markers(second: u64, third: u64) -> Vec<u8> {
    let mut book = clip("chapters-nero.m4b");
    for (old, new) in [(8_000_000_u64, second), (17_000_000, third)] {
        let old = old.to_be_bytes();
        let at = book.windows(8).position(|bytes| bytes == old);
        let at = at.expect("the marker");
        book[at..at + 8].copy_from_slice(&new.to_be_bytes());
    }
    book
}

#[test]
fn a_marker_at_the_end_makes_no_file_and_does_not_end_the_split() {
    let folder = Folder::with(&[]);
    folder.write("book.m4b", &book_with_markers(30_000_000, 40_000_000));
    let run = folder.micropy("convert book.m4b --split-chapters book --json");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let reports = run.json();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(reports[0]["output_samples"], 66_150);
    assert_eq!(
        run.stderr.matches("no MP3: the audio ends").count(),
        2,
        "{}",
        run.stderr
    );
    let files = fs::read_dir(folder.path("book")).expect("the folder");
    assert_eq!(files.count(), 1);
    // Of a part that none of them lies in.
    let run = folder.micropy("convert book.m4b --split-chapters none --start 5");
    assert_eq!(run.code, Some(2), "{}", run.stderr);
}

#[test]
fn chapters_lose_nothing_where_they_are_resampled() {
    let folder = Folder::with(&[]);
    // Neither marker stands where samples of both rates fall together.
    folder.write("book.m4b", &book_with_markers(7_900_000, 16_903_137));
    let resampled = "--to s16le --sample-rate 16000";
    let whole = folder.micropy(&format!("convert book.m4b -o - {resampled}"));
    let run = folder.micropy(&format!(
        "convert book.m4b --split-chapters book {resampled}"
    ));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let parts = folder.files("book");
    let sizes = parts.iter().map(|name| {
        let part = folder.path("book").join(name).metadata();
        part.expect("a part").len()
    });
    assert_eq!(parts.len(), 3);
    assert_eq!(sizes.sum::<u64>(), whole.stdout.len() as u64);
}

#[test]
fn a_truncated_book_is_split_as_far_as_it_goes() {
    if !installed("a_truncated_book_is_split_as_far_as_it_goes", &["ffmpeg"]) {
        return;
    }
    let folder = Folder::with(&["chapters.m4b"]);
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(folder.path("chapters.m4b"))
        .args(["-map", "0:a", "-c", "copy", "-movflags", "+faststart"])
        .arg(folder.path("book.m4b"))
        .status()
        .expect("ffmpeg starts");
    assert!(made.success());
    let book = fs::read(folder.path("book.m4b")).expect("the book");
    // About 1.2 s of three: in the second chapter of three.
    let media = book
        .windows(4)
        .position(|kind| kind == b"mdat")
        .expect("mdat");
    folder.write("cut.m4b", &book[..media + (book.len() - media) * 2 / 5]);
    let run = folder.micropy("convert cut.m4b --split-chapters cut --json");
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    let complete: Vec<_> = run.json().iter().map(|r| r["complete"].clone()).collect();
    assert_eq!(complete, [true, false], "{}", run.stderr);
    assert!(run.stderr.contains("breaks off at byte"), "{}", run.stderr);
    assert!(run.stderr.contains("is missing"), "{}", run.stderr);
}

#[test]
fn chapters_of_several_books_stay_in_the_folder() {
    if !on_unix("chapters_of_several_books_stay_in_the_folder") {
        return;
    }
    let folder = Folder::with(&[]);
    for name in ["...m4b", "con.m4b"] {
        folder.write(name, &clip("chapters-nero.m4b"));
    }
    let run = folder.micropy("convert ...m4b con.m4b --split-chapters books");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for name in ["audio", "_con"] {
        let files = fs::read_dir(folder.path("books").join(name)).expect("the folder of a book");
        assert_eq!(files.count(), 3, "{name}");
    }
    assert_eq!(folder.names(), ["...m4b", "books", "con.m4b"]);
}

#[test]
fn the_preset_moviepy_is_what_moviepy_makes() {
    let folder = Folder::with(&["mono-22050.mp4"]);
    let run = folder.micropy("convert mono-22050.mp4 --preset moviepy --json");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let report = &run.json()[0];
    assert_eq!(report["output_sample_rate"], 44_100);
    assert_eq!(report["output_channels"], 2);
    assert_eq!(report["output_samples"], 88_200);
    let by_its_old_name = folder.micropy("convert mono-22050.mp4 --preset original -o old.mp3");
    assert_eq!(by_its_old_name.code, Some(0), "{}", by_its_old_name.stderr);
    let read = |name| fs::read(folder.path(name)).expect("the MP3");
    assert!(read("old.mp3") == read("mono-22050.mp3"));
    if installed(
        "the_preset_moviepy_is_what_moviepy_makes",
        &["mpg123", "ffmpeg"],
    ) {
        assert_clean(&folder.path("mono-22050.mp3"));
        assert_eq!(mpg123_len(&folder.path("mono-22050.mp3"), 2), 88_200);
    }
}

#[test]
fn a_track_is_chosen_by_number_or_language() {
    let folder = Folder::with(&["two-tracks.mp4"]);
    for (flags, channels) in [
        ("", 2),
        ("--track 1", 1),
        ("--track deu", 1),
        ("--track eng", 2),
        ("--track de", 1),
        ("--track ger", 1),
        ("--track en", 2),
    ] {
        let run = folder.micropy(&format!("convert two-tracks.mp4 --json --force {flags}"));
        assert_eq!(run.code, Some(0), "{flags}: {}", run.stderr);
        assert_eq!(run.json()[0]["input_channels"], channels, "{flags}");
    }
}

#[test]
fn mp3_is_copied_and_the_report_says_so() {
    let folder = Folder::with(&["mp3.mp4"]);
    let run = folder.micropy("convert mp3.mp4 --json");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.json()[0]["copied"], true);
    let run = folder.micropy("convert mp3.mp4 --json --force --vbr 4");
    assert_eq!(run.json()[0]["copied"], false);
}

#[test]
fn loudness_is_measured_and_told() {
    let folder = Folder::with(&["moov-first-stereo-44100.mp4"]);
    let run = folder.micropy("convert moov-first-stereo-44100.mp4 --json --normalize -20 --replaygain --fade-in 0.1 --fade-out 0.1");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let loudness = &run.json()[0]["loudness"];
    let number = |name: &str| {
        loudness[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{loudness}"))
    };
    assert!(
        (number("integrated_lufs") + number("gain_db") + 20.0).abs() < 0.1,
        "{loudness}"
    );
    let mp3 = fs::read(folder.path("moov-first-stereo-44100.mp3")).expect("the MP3");
    assert!(says(&mp3, b"REPLAYGAIN_TRACK_GAIN"));
}
