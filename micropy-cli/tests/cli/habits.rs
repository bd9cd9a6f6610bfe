//! Words that people bring along from ffmpeg, LAME and cp.

use std::fs;

use crate::run::Folder;

const CLIP: &str = "moov-first-stereo-44100.mp4";

#[test]
fn short_flags_and_other_programs_words_make_the_same_mp3() {
    let folder = Folder::with(&[CLIP]);
    let made = |words: &str| {
        let run = folder.micropy(&format!("convert {CLIP} {words} -o out.mp3 -y"));
        assert_eq!(run.code, Some(0), "{words}: {}", run.stderr);
        fs::read(folder.path("out.mp3")).expect("the MP3")
    };
    for (ours, theirs) in [
        (
            "--bitrate 128",
            &["-b 128k", "-b128", "-b:a 128k", "-ab 128k", "--ab 128"][..],
        ),
        (
            "--vbr 4",
            &[
                "-q 4",
                "-q4",
                "-V4",
                "-V 4",
                "-q:a 4",
                "-qscale:a 4",
                "-vn -c:a libmp3lame -q:a 4",
            ],
        ),
        (
            "--start 0.5 --end 1.5",
            &["-ss 0.5 -to 1.5", "-ss 0:00.5 -t 1"],
        ),
        ("--sample-rate 22050", &["-ar 22050", "--resample 22.05"]),
        ("--mono", &["-ac 1", "-m m", "--channels 1"]),
        ("--no-tags", &["-map_metadata -1"]),
        (
            "--tag title=Harbour",
            &["-metadata title=Harbour", "--tt Harbour"],
        ),
        ("--track 0", &["-map 0:a:0"]),
        ("--to wav", &["-f wav"]),
        ("--to s16le", &["-f s16le"]),
        ("--to f32le", &["-f f32le"]),
        ("--jobs 2", &["-j 2", "-j2", "-threads 2"]),
    ] {
        let expected = made(ours);
        for words in theirs {
            assert!(made(words) == expected, "{ours} and {words}");
        }
    }
    assert!(made("-b 128") != made("-b 64"), "the flags do something");
}

#[test]
fn what_means_something_else_is_refused_with_what_to_type() {
    let folder = Folder::with(&[CLIP]);
    for (words, told) in [
        (
            format!("-i {CLIP} out.mp3"),
            format!("micropy convert {CLIP} -o out.mp3"),
        ),
        (format!("{CLIP} out.mp3"), "-o out.mp3".into()),
        (format!("{CLIP} out.wav"), "-o out.wav".into()),
        (format!("{CLIP} out.PCM"), "-o out.PCM".into()),
        (
            format!("{CLIP} -c:a pcm_s16le -o out.wav"),
            "--to wav".into(),
        ),
        (format!("{CLIP} -f flac -o out.flac"), "--to".into()),
        (format!("{CLIP} -af loudnorm"), "--normalize".into()),
        (format!("{CLIP} -c:a aac"), "only MP3".into()),
        (format!("{CLIP} -b 128000"), "128k".into()),
        (format!("{CLIP} --bitrat 128"), "--bitrate".into()),
        (format!("{CLIP} --preset insane"), "--bitrate 320".into()),
        (format!("{CLIP} -n -y"), "cannot be used with".into()),
        (
            format!("{CLIP} --quiet --verbose"),
            "cannot be used with".into(),
        ),
    ] {
        let run = folder.micropy(&format!("convert {words}"));
        assert_eq!(run.code, Some(2), "{words}: {}", run.stderr);
        assert!(run.stderr.contains(&told), "{words}: {}", run.stderr);
        assert_eq!(folder.names(), [CLIP], "{words}");
    }
}

#[test]
fn an_existing_file_is_kept_and_no_error_without_clobber() {
    let folder = Folder::with(&[CLIP, "mono-22050.mp4"]);
    folder.write("mono-22050.mp3", b"precious");
    for flag in ["-n", "--no-clobber"] {
        let run = folder.micropy(&format!("convert {CLIP} mono-22050.mp4 {flag}"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stderr.contains("kept"), "{}", run.stderr);
    }
    assert!(folder.path("moov-first-stereo-44100.mp3").is_file());
    let kept = fs::read(folder.path("mono-22050.mp3")).expect("still there");
    assert_eq!(kept, b"precious");
    let told = folder.micropy("convert mono-22050.mp4 -n --json");
    assert_eq!(
        (told.code, &told.json()[0]["kept"]),
        (Some(0), &"it exists".into())
    );
}

#[test]
fn quiet_prints_problems_alone_and_verbose_prints_stages() {
    let folder = Folder::with(&[CLIP, "video-only.mp4"]);
    let quiet = folder.micropy(&format!("convert {CLIP} --quiet"));
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));
    assert!(quiet.stdout.is_empty());
    let failed = folder.micropy(&format!("convert {CLIP} video-only.mp4 --quiet --force"));
    assert_eq!(failed.code, Some(1));
    assert_eq!(failed.stderr.lines().count(), 1, "{}", failed.stderr);
    assert!(
        failed.stderr.contains("video-only.mp4: no audio track"),
        "{}",
        failed.stderr
    );
    for flag in ["-v", "--verbose"] {
        let verbose = folder.micropy(&format!(
            "convert {CLIP} {flag} --force --normalize -16 -j 3"
        ));
        assert_eq!(verbose.code, Some(0), "{}", verbose.stderr);
        for told in [
            "44100 Hz, 2 channels",
            "3 jobs",
            "opened in",
            "measured in",
            "converted in",
            "LUFS",
        ] {
            assert!(verbose.stderr.contains(told), "{told}: {}", verbose.stderr);
        }
    }
    let plain = folder.micropy(&format!("convert {CLIP} --force"));
    assert_eq!(plain.stderr.lines().count(), 1, "{}", plain.stderr);
}
