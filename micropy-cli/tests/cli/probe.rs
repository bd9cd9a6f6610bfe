//! `micropy probe`.

use crate::run::{Folder, clip_table};

#[test]
fn tells_what_is_in_a_file() {
    let folder = Folder::with(&["song.mp4"]);
    let run = folder.micropy("probe song.mp4");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let said = String::from_utf8(run.stdout).expect("text");
    for wanted in ["AAC", "44100", "Harbour at Seven"] {
        assert!(
            said.replace([' ', '\u{202f}'], "")
                .contains(&wanted.replace(' ', "")),
            "{wanted}: {said}"
        );
    }
}

#[test]
fn json_is_one_value_with_the_tracks() {
    for (name, samples, rate, channels) in clip_table() {
        if samples.is_none() {
            continue;
        }
        let folder = Folder::with(&[&name]);
        let run = folder.micropy(&format!("probe {name} --json"));
        assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);
        let values: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
        let tracks = values["tracks"].as_array().expect("tracks");
        assert!(!tracks.is_empty(), "{name}");
        assert!(
            tracks
                .iter()
                .any(|track| track["sample_rate"] == rate && track["channels"] == channels),
            "{name}: {values}"
        );
    }
}

#[test]
fn refuses_what_is_no_mp4() {
    let folder = Folder::with(&[]);
    folder.write(
        "notes.txt",
        b"Not a film at all, just a few words that somebody wrote down.",
    );
    let run = folder.micropy("probe notes.txt");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("notes.txt"), "{}", run.stderr);
    assert!(run.stdout.is_empty());
}
