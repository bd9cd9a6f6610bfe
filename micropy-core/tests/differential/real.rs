//! Files of others: the clips that come with the library, and the corpus that `MICROPY_CORPUS` names.

use std::ops::Range;
use std::path::{Path, PathBuf};

use micropy_core::{SeekSource, probe, stages};

use crate::axes::{DITHERED, FLOAT};
use crate::judge::{Agreement, by_ffmpeg};
use crate::support::media;

/// Two decoders, of which ours has 16 bits.
pub const SIXTEEN_BITS: Agreement = Agreement::Below {
    signal: 50.0,
    full_scale: 80.0,
};

/// What differs more than its codec does elsewhere: by the beginnings of names, with the reason.
const OTHERWISE: &[(&str, Agreement, &str)] = &[
    ("surround-5-1.mp4", NOISE, "noise substitution"),
    ("surround-7-1.mp4", NOISE, "noise substitution"),
    (
        "heaac-fraunhofer",
        LOUD_TONE,
        "a tone that FDK makes too loud",
    ),
    (
        "he-aac-implicit-sbr",
        LOUD_TONE,
        "a tone that FDK makes too loud",
    ),
];

/// A tone alone in the band of SBR, half a second of it in 33: the FDK library makes it 8 dB louder than ffmpeg and
/// faad, which agree to 63 dB. The fault is the library's, and not mended yet.
const LOUD_TONE: Agreement = Agreement::Below {
    signal: 16.0,
    full_scale: 80.0,
};

/// Where it is: what comes before and behind agrees.
const LOUD_MILLIS: Range<usize> = 2800..5900;

/// The decoder makes noise of its own, of which only the level is coded.
const NOISE: Agreement = DITHERED;

/// How ffmpeg decodes a codec, by the name of the codec in our report; `None`: it does not, or not as the standard
/// says.
fn judged(codec: &str, channels: usize) -> Option<(Agreement, Option<&'static str>)> {
    let integers = codec.starts_with("PCM") || codec.ends_with("-law");
    Some(match codec {
        _ if integers => (Agreement::Exact, None),
        "ALAC" | "FLAC" | "IMA ADPCM" | "Microsoft ADPCM" => (Agreement::Exact, None),
        "AAC-LC" if channels <= 2 => (FLOAT, None),
        "AAC-LC" | "HE-AAC" | "HE-AAC v2" => (SIXTEEN_BITS, None),
        "MP3" => (FLOAT, Some("mp3float")),
        "MP2" => (FLOAT, Some("mp2float")),
        "Vorbis" => (FLOAT, None),
        "Opus" => (SIXTEEN_BITS, Some("libopus -request_sample_fmt flt")),
        "AC-3" | "E-AC-3" => (DITHERED, None),
        _ => return None,
    })
}

/// The media files in `folder` and in those within it.
fn files(folder: &Path) -> Vec<PathBuf> {
    const EXTENSIONS: [&str; 9] = [
        "mp4", "m4a", "m4b", "mov", "3gp", "3g2", "aax", "f4v", "ismv",
    ];
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            found.extend(files(&path));
        } else if EXTENSIONS.contains(&&*extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What is wrong with our decoding of audio track `track`; `None` where nothing can judge it.
fn judge(path: &Path, file: &[u8], track: usize, codec: &str) -> Option<Result<(), String>> {
    let ours = match stages::pcm(file, track) {
        Ok(ours) => ours,
        Err(why) => return Some(Err(why.to_string())),
    };
    let (agreement, decoder) = judged(codec, ours.planes.len())?;
    let mut theirs = by_ffmpeg(path, track, decoder);
    if theirs.iter().all(Vec::is_empty) {
        // Broken, encrypted, or with something before its first box: ffmpeg gives up.
        return None;
    }
    if codec == "HE-AAC" && ours.planes.len() == 1 {
        // In case that parametric stereo comes.
        theirs.truncate(1);
    }
    if agreement == SIXTEEN_BITS {
        let samples = theirs.iter_mut().flatten();
        samples.for_each(|sample| *sample = sample.clamp(-1.0, 32767.0 / 32768.0));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let otherwise = OTHERWISE.iter().find(|(start, ..)| name.starts_with(start));
    let agreement = otherwise.map_or(agreement, |(_, agreement, _)| *agreement);
    let judgement = agreement.of(&ours, &theirs, 0);
    if agreement != LOUD_TONE {
        return Some(judgement);
    }
    let at = |millis: usize| millis * ours.sample_rate as usize / 1000;
    let loud = at(LOUD_MILLIS.start)..at(LOUD_MILLIS.end);
    let mut elsewhere = ours.clone();
    for (ours, theirs) in elsewhere.planes.iter_mut().zip(&theirs) {
        ours[loud.clone()].copy_from_slice(&theirs[loud.clone()]);
    }
    Some(judgement.and_then(|()| SIXTEEN_BITS.of(&elsewhere, &theirs, 0)))
}

/// Judges every track of the files in `folder` that can be converted; returns how many, and what is wrong.
pub fn judge_all(folder: &Path) -> (usize, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    for path in files(folder) {
        let Ok(found) = probe(SeekSource::open(&path).unwrap()) else {
            continue;
        };
        let file = std::fs::read(&path).unwrap();
        for (index, track) in found.tracks.iter().enumerate() {
            let (Some(codec), None) = (&track.codec, &track.problem) else {
                continue;
            };
            let codec = codec.to_string();
            let Some(judgement) = judge(&path, &file, index, &codec) else {
                eprintln!("{}: {codec} is not judged", path.display());
                continue;
            };
            count += 1;
            if let Err(why) = judgement {
                wrong.push(format!("{}: {codec}: {why}", path.display()));
            }
        }
    }
    (count, wrong)
}

/// Judges the clips, or the corpus.
pub fn clips_and_corpus() -> Vec<(PathBuf, usize)> {
    let corpus = std::env::var_os("MICROPY_CORPUS").map(PathBuf::from);
    // As many as there are at least.
    [Some((media(), 50)), corpus.map(|corpus| (corpus, 38))]
        .into_iter()
        .flatten()
        .collect()
}
