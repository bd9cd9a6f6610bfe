//! Several inputs at once.

use std::fs;

use crate::run::{Folder, clip};

const CLIPS: [&str; 4] = [
    "song.mp4",
    "mono-22050.mp4",
    "stereo-48000.mp4",
    "mono-16000.m4a",
];

#[test]
fn at_once_or_one_by_one_the_bytes_and_the_order_are_the_same() {
    let folder = Folder::with(&CLIPS);
    let mut made = Vec::new();
    for jobs in [1, 2, 3, 8] {
        let run = folder.micropy(&format!(
            "convert {} -o out{jobs} --json -j {jobs}",
            CLIPS.join(" ")
        ));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let inputs: Vec<String> = run
            .json()
            .iter()
            .map(|report| report["input"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            inputs, CLIPS,
            "{jobs} jobs: reports come in the order of the inputs"
        );
        let files = folder.files(&format!("out{jobs}"));
        let bytes = files
            .iter()
            .map(|name| fs::read(folder.path(&format!("out{jobs}/{name}"))).unwrap());
        made.push(bytes.collect::<Vec<_>>());
    }
    for batch in &made {
        assert!(batch == &made[0] && batch.len() == CLIPS.len());
    }
}

#[test]
fn failures_come_last_and_the_worst_is_the_exit_code() {
    let folder = Folder::with(&[
        "video-only.mp4",
        "mono-22050.mp4",
        "mono-16000.m4a",
        "amr.3gp",
    ]);
    let whole = clip("moov-first-stereo-44100.mp4");
    folder.write("cut.mp4", &whole[..whole.len() * 3 / 4]);
    let run =
        folder.micropy("convert video-only.mp4 mono-22050.mp4 amr.3gp mono-16000.m4a -o out -j 4");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 5, "{}", run.stderr);
    assert!(lines[0].starts_with("mono-22050.mp4 → "), "{}", run.stderr);
    assert!(lines[1].starts_with("mono-16000.m4a → "), "{}", run.stderr);
    assert!(
        lines[2].starts_with("2 converted, 2 failed: "),
        "{}",
        run.stderr
    );
    assert!(
        lines[3].contains("video-only.mp4: ") && lines[4].contains("amr.3gp: "),
        "{}",
        run.stderr
    );

    let run = folder.micropy("convert cut.mp4 mono-16000.m4a -o cut");
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(
        run.stderr.contains("2 converted, 1 incomplete"),
        "{}",
        run.stderr
    );
    let run = folder.micropy("convert cut.mp4 amr.3gp -o worst");
    // What failed is worse than what is incomplete.
    assert_eq!(run.code, Some(1), "{}", run.stderr);
}

#[test]
fn one_input_has_no_summary() {
    let folder = Folder::with(&["mono-22050.mp4"]);
    let run = folder.micropy("convert mono-22050.mp4");
    assert!(!run.stderr.contains("converted"), "{}", run.stderr);
}
