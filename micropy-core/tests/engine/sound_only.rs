//! The sound alone of each clip: a smaller file, of pieces of the clip, that makes the same MP3.

use std::path::Path;

use micropy_core::{
    CancelToken, Converter, Error, Options, Outline, SoundPiece, TrackChoice, probe, sound_only,
};

/// Clips of which the sound cannot be taken out, and why.
const REFUSED: [(&str, &str); 3] = [
    ("amr.3gp", "AMR"),
    ("encrypted-cenc.mp4", "encrypted"),
    ("video-only.mp4", "no audio track"),
];

fn clips() -> impl Iterator<Item = (String, Vec<u8>)> {
    let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media"));
    let files = folder.unwrap().map(|entry| entry.unwrap().path());
    let clips = files.filter(|path| !path.extension().is_some_and(|e| e == "md" || e == "tsv"));
    clips.map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(path).unwrap())
    })
}

fn sound_of(file: &[u8], choice: &TrackChoice) -> Result<Vec<u8>, Error> {
    let outline = Outline::of(&mut &file[..])?;
    assert!(outline.bytes().len() <= file.len());
    let sound = sound_only(&outline, choice, &CancelToken::new())?;
    let mut bytes = Vec::new();
    for piece in &sound.pieces {
        match piece {
            SoundPiece::Bytes(new) => bytes.extend(new),
            SoundPiece::Range(range) => {
                bytes.extend(&file[range.start as usize..range.end as usize]);
            }
        }
    }
    assert_eq!(bytes.len() as u64, sound.size);
    Ok(bytes)
}

fn mp3(file: &[u8], choice: &TrackChoice) -> Vec<u8> {
    let mut mp3 = Vec::new();
    let mut options = Options::new();
    options.track = choice.clone();
    Converter::new(options).convert(file, &mut mp3).unwrap();
    mp3
}

#[test]
fn the_sound_alone_makes_the_same_mp3() {
    let mut refused = Vec::new();
    let mut compared = 0;
    for (name, file) in clips() {
        let tracks = probe(&file[..]).unwrap().tracks.len();
        let numbered = (0..tracks).map(TrackChoice::Index);
        for choice in std::iter::once(TrackChoice::Default).chain(numbered) {
            match sound_of(&file, &choice) {
                Ok(sound) => {
                    assert!(
                        mp3(&sound, &choice) == mp3(&file, &choice),
                        "{name}, {choice:?}"
                    );
                    compared += 1;
                }
                Err(why) => {
                    println!("{name}, {choice:?}: {why}");
                    refused.push((name.clone(), why.to_string()));
                }
            }
        }
    }
    assert!(compared > 80, "{compared}");
    for (name, why) in &refused {
        let expected = REFUSED.iter().find(|(clip, _)| clip == name);
        assert!(
            expected.is_some_and(|(_, part)| why.contains(part)),
            "{name}: {why}"
        );
    }
    for (clip, _) in REFUSED {
        assert!(refused.iter().any(|(name, _)| name == clip), "{clip}");
    }
}

#[test]
fn the_sound_is_a_file_of_its_own_and_has_no_more_in_it() {
    for name in [
        "moov-last-stereo-44100.mp4",
        "moov-first-stereo-44100.mp4",
        "fragmented-empty-moov.mp4",
    ] {
        let (_, file) = clips().find(|(clip, _)| clip == name).unwrap();
        let sound = sound_of(&file, &TrackChoice::Default).unwrap();
        let (whole, alone) = (probe(&file[..]).unwrap(), probe(&sound[..]).unwrap());
        assert_eq!((whole.other_tracks, alone.other_tracks), (1, 0), "{name}");
        assert_eq!(whole.tracks, alone.tracks, "{name}");
        assert_eq!(
            (whole.tags, whole.brand),
            (alone.tags, alone.brand),
            "{name}"
        );
        // There is nothing left to take out.
        let outline = Outline::of(&mut &sound[..]).unwrap();
        let again = sound_only(&outline, &TrackChoice::Default, &CancelToken::new()).unwrap();
        assert_eq!(again.size, sound.len() as u64, "{name}");
    }
}

#[test]
fn an_outline_that_is_not_one_is_refused() {
    let (_, file) = clips()
        .find(|(name, _)| name == "moov-last-stereo-44100.mp4")
        .unwrap();
    let outline = Outline::of(&mut &file[..]).unwrap();
    let (bytes, size) = (outline.bytes(), outline.size());
    let why = |bytes: &[u8], size| Outline::new(bytes.to_vec(), size).unwrap_err().to_string();
    for (bytes, size, expected) in [
        (&bytes[..bytes.len() - 1], size, "ends inside it"),
        (&[bytes, b"more"].concat()[..], size, "goes on for 4 bytes"),
        (bytes, size - 1, "the file ends inside it"),
        (bytes, size + 8, "it ends here"),
        (b"", size, "it ends here"),
        (&[0, 0, 0, 4, 0, 0, 0, 0], size, "less than its header"),
    ] {
        let why = why(bytes, size);
        assert!(why.contains(expected), "{why}");
    }
    assert!(
        Outline::new(bytes.to_vec(), size + 7).is_ok(),
        "less than a box"
    );
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let error = sound_only(&outline, &TrackChoice::Default, &cancelled).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
}
