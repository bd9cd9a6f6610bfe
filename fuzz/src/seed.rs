//! What mutations start from: sound files.

use std::fs;
use std::path::{Path, PathBuf};

use micropy_core::{Channels, Converter, Options};

use crate::{OPTION_SETS, Target};

/// A larger file of the corpus is none: thousands of mutations of it take too long.
const LIMIT: u64 = 400_000;

/// The inputs of `target`: the project's clips, then the files of `corpus`, both by name.
///
/// # Panics
/// Where the project's own clips are not there.
pub fn seeds(target: Target, corpus: Option<&Path>) -> Vec<Vec<u8>> {
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../micropy-core/tests/media");
    let mut paths = files(&media);
    assert!(!paths.is_empty(), "no clips in {}", media.display());
    paths.extend(corpus.map(files).unwrap_or_default());
    let clips = paths.iter().filter_map(|path| fs::read(path).ok());
    match target {
        Target::Demux => clips.collect(),
        Target::Convert => clips
            .enumerate()
            .map(|(i, clip)| {
                let set = (i % usize::from(OPTION_SETS)) as u8;
                let chosen = (set != 0).then_some(set);
                chosen.into_iter().chain(clip).collect()
            })
            .collect(),
        Target::Mp3 => streams(&media),
    }
}

/// MP3s of all three versions, both with and without a bit reservoir.
fn streams(media: &Path) -> Vec<Vec<u8>> {
    let ways = [
        ("stereo-48000.mp4", Options::new().vbr(5.0)),
        ("stereo-48000.mp4", Options::new().cbr(320)),
        ("mono-44100.m4a", Options::new().abr(64)),
        ("mono-22050.mp4", Options::new().vbr(9.0)),
        ("mono-8000.mp4", Options::new().cbr(16)),
        (
            "stereo-24000.mp4",
            Options::new().cbr(32).channels(Channels::Mono),
        ),
        ("mp3.mp4", Options::new()),
    ];
    ways.into_iter()
        .filter_map(|(name, options)| {
            let clip = fs::read(media.join(name)).ok()?;
            let mut mp3 = Vec::new();
            let mut converter = Converter::new(options.jobs(1));
            converter.convert(clip.as_slice(), &mut mp3).ok()?;
            let tag = 10 + id3v2_len(&mp3);
            Some(mp3.split_off(tag.min(mp3.len())))
        })
        .collect()
}

/// Bytes of the ID3v2 tag behind its header of ten.
fn id3v2_len(mp3: &[u8]) -> usize {
    mp3.get(6..10)
        .unwrap_or_default()
        .iter()
        .fold(0, |len, &byte| len << 7 | usize::from(byte & 0x7F))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            entry
                .metadata()
                .is_ok_and(|m| m.is_file() && m.len() <= LIMIT)
        })
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .extension()
                .and_then(|e| e.to_str())
                .unwrap_or_default();
            !matches!(name, "md" | "tsv")
        })
        .collect();
    paths.sort();
    paths
}
