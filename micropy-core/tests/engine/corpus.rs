//! Real files of others, each with its expected outcome. Runs if `MICROPY_CORPUS` names their folder; otherwise
//! `scripts/test` counts it as skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::support::mp3_check::check;
use crate::support::programs::{assert_silent, presented};
use micropy_core::{Converter, Error, Options, SeekSource, StreamSource, TrackChoice};

/// The expected outcome of a file.
enum Becomes {
    /// A complete MP3 of audio in this codec, as the report names it.
    Whole(&'static str),
    /// The same of so many PCM samples, all of them silent.
    Silent(&'static str, u64),
    /// An MP3 that is not complete, for a reason that says this.
    Incomplete(&'static str),
    /// An error of this kind, which says this.
    Refused(fn(&Error) -> bool, &'static str),
}

use Becomes::{Incomplete, Refused, Silent, Whole};

fn no_audio(e: &Error) -> bool {
    matches!(e, Error::NoAudioTrack(_))
}

fn unsupported(e: &Error) -> bool {
    matches!(e, Error::Unsupported { .. })
}

fn encrypted(e: &Error) -> bool {
    matches!(e, Error::Encrypted { .. })
}

/// A malformed file: the error names a byte.
fn malformed(e: &Error) -> bool {
    matches!(e, Error::Malformed { at: 1.., .. })
}

const FILES: [(&str, Becomes); 33] = [
    ("64bit.mp4", Refused(no_audio, "no tracks at all")),
    ("Simbai & Elke Bay - Energy.m4a", Whole("AAC-LC")),
    ("a.m4a", Whole("AAC-LC")),
    ("ac3.mp4", Whole("AC-3")),
    ("afconvert-aac-0.5s.mp4", Whole("AAC-LC")),
    ("alac.m4a", Whole("ALAC")),
    ("apple-voice-memo.m4a", Whole("AAC-LC")),
    ("beep-flac-audio.mp4", Whole("FLAC")),
    ("beep-opus-audio.mp4", Whole("Opus")),
    ("bigbuckbunny-51.mp4", Whole("AAC-LC")),
    (
        "chapters-issue-127.m4b",
        Refused(malformed, "none of its 677292 packets is there"),
    ),
    ("chunk_out_of_range.mp4", Refused(no_audio, "not audio")),
    ("eac3.mp4", Whole("E-AC-3")),
    ("edts.mp4", Whole("AAC-LC")),
    ("ep7.m4b", Whole("AAC-LC")),
    (
        "extended_audio_object_type.mp4",
        Refused(unsupported, "MPEG-4 ALS"),
    ),
    ("has-tags.m4a", Whole("AAC-LC")),
    ("heaac-fraunhofer.mp4", Whole("HE-AAC")),
    (
        "invalid_userdata.mp4",
        Refused(malformed, "none of its 5422 packets is there"),
    ),
    ("multiple-aac-tracks.mp4", Whole("AAC-LC")),
    ("muted_b.mp4", Refused(no_audio, "not audio")),
    ("nero-chapters.m4b", Refused(malformed, "stsz at byte 8668")),
    ("no-tags.3g2", Whole("AAC-LC")),
    ("no_timescale.mp4", Refused(no_audio, "not audio")),
    ("pymediainfo-sample.mp4", Whole("AAC-LC")),
    ("rotate-buck-bunny.mp4", Whole("AAC-LC")),
    (
        "sample-multi-track.3gp",
        Refused(unsupported, "AMR narrow band (samr)"),
    ),
    ("short-cenc.mp4", Refused(encrypted, "cenc")),
    ("sine-3s-xhe-aac-44khz-mono.mp4", Whole("xHE-AAC")),
    ("trailer-mp3-in-mp4.mp4", Whole("MP3")),
    (
        "truncated-64bit.mp4",
        Refused(malformed, "not one of its packets can be decoded"),
    ),
    ("world.mp4", Whole("AAC-LC")),
    // Descriptions of the files.
    (
        "README.md",
        Refused(|e| matches!(e, Error::NotMp4 { .. }), "begins with"),
    ),
];

/// Files in the folder `found`, each of a kind that was once converted wrongly; by the beginnings of their names.
const FOUND: [(&str, Becomes); 21] = [
    ("aac-main-profile", Refused(unsupported, "AAC Main")),
    ("ac3-44k1-very-quiet", Whole("AC-3")),
    (
        "ac3-51-crc-bad-last-frame",
        Incomplete("could not be decoded"),
    ),
    ("ac3-bsid9-22050", Whole("AC-3")),
    ("adts-headers-in-mp4", Whole("AAC-LC")),
    ("asc-mono-stream-stereo", Whole("AAC-LC")),
    ("audible-aavd", Refused(encrypted, "Audible")),
    ("chapter-without-title", Whole("AAC-LC")),
    ("cmaf-two-segments-missing", Incomplete("s are missing at")),
    ("eac3-51-frame1151", Whole("E-AC-3")),
    ("edit-list-two-segments", Whole("AAC-LC")),
    (
        "encrypted-looking",
        Refused(malformed, "not one of its packets can be decoded"),
    ),
    ("esds-without-asc", Whole("AAC-LC")),
    ("first-track-unsupported", Whole("AAC-LC")),
    ("freeform-names-with-NUL", Whole("AAC-LC")),
    ("he-aac-implicit-sbr", Whole("HE-AAC")),
    ("id3-before-ftyp", Whole("AAC-LC")),
    ("mp2-mono-384k", Silent("MP2", 4608)),
    ("stsz171-chunks168", Incomplete("are missing")),
    ("tags-originalyear-before", Whole("AAC-LC")),
    ("two-identical-sample-descriptions", Whole("AAC-LC")),
];

/// Frames of the ID3 tag that some of them become, with their text; `TXXX` with its name.
const TAGS: [(&str, &[(&str, &str)]); 2] = [
    (
        "freeform-names-with-NUL",
        &[
            ("TXXX:replaygain_track_gain", "0.37"),
            ("TXXX:replaygain_album_peak", "0.48"),
            ("TXXX:replaygain_undo", "-4,-4"),
            ("TDOR", "1996-11-21"),
            ("TXXX:ORIGYEAR", "1998-07-28"),
        ],
    ),
    (
        "tags-originalyear-before",
        &[
            ("TRCK", "0/12"),
            ("TPOS", "2"),
            ("TDOR", "1996-11-21"),
            ("TXXX:ORIGINALYEAR", "1996"),
            ("TXXX:TVSHOW", "Show"),
            ("TXXX:TVSHOWSORT", "sort show"),
            ("TXXX:TVSEASON", "3"),
            ("TXXX:TVEPISODE", "7"),
            ("TXXX:TVEPISODEID", "EPID"),
            ("TXXX:TVNETWORK", "NBC"),
            ("TXXX:ITUNESMEDIATYPE", "2"),
            ("TXXX:ITUNESADVISORY", "1"),
            ("TXXX:ITUNESGAPLESS", "1"),
            ("TXXX:ITUNESPURCHASEDATE", "2020-01-01"),
            ("PCST", ""),
            ("WFED", "http://x/feed"),
            ("TGID", "guid-1"),
            ("TCAT", "Tech"),
            ("TKWD", "a,b"),
            ("TSOA", "sort album"),
            ("TSOC", "sort comp"),
            ("TSOT", "sort title"),
            ("TIT3", "short desc"),
            ("TXXX:SUBTITLE", "Sub"),
        ],
    ),
];

#[test]
fn the_tags_of_found_files_are_in_their_frames() {
    let Some(folder) = corpus() else { return };
    let Ok(entries) = std::fs::read_dir(folder.join("found")) else {
        return;
    };
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    for (name, frames) in TAGS {
        let named = |path: &&PathBuf| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(name)
        };
        let path = paths.iter().find(named).expect(name);
        let mut mp3 = Vec::new();
        Converter::new(Options::new().vbr(9.0))
            .convert(SeekSource::open(path).unwrap(), &mut mp3)
            .unwrap();
        let tag = id3::Tag::read_from2(std::io::Cursor::new(mp3)).unwrap();
        let mut found = BTreeMap::new();
        for frame in tag.frames() {
            let content = frame.content();
            let (id, text) = match content.extended_text() {
                Some(text) => (format!("TXXX:{}", text.description), text.value.clone()),
                None => {
                    let text = content.text().or(content.link()).unwrap_or_default();
                    (frame.id().to_owned(), text.to_owned())
                }
            };
            let twice = found.insert(id, text);
            assert_eq!(twice, None, "{name}");
        }
        for (id, text) in frames {
            let told = found.get(*id).map(String::as_str);
            assert_eq!(told, Some(*text), "{name}: {id}");
        }
    }
}

/// No file is wrong in silence: it becomes a whole MP3, or a warning or an error says why not.
#[test]
fn what_was_wrong_is_right_or_says_why_not() {
    let Some(folder) = corpus() else { return };
    let Ok(entries) = std::fs::read_dir(folder.join("found")) else {
        return;
    };
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    for (name, becomes) in &FOUND {
        let named = |path: &&PathBuf| {
            let file = path.file_name().unwrap().to_string_lossy();
            file.starts_with(name)
        };
        let path = paths.iter().find(named).expect(name);
        let mut mp3 = Vec::new();
        let result = Converter::new(Options::new().vbr(4.0))
            .convert(SeekSource::open(path).unwrap(), &mut mp3);
        match becomes {
            Whole(codec) => {
                let report = result.unwrap_or_else(|e| panic!("{name}: {e}"));
                assert!(report.complete, "{name}: {:?}", report.warnings);
                assert_eq!(report.codec.to_string(), *codec, "{name}");
                assert!(loudest(&mp3) > 1e-4, "{name} is silent");
            }
            Silent(codec, samples) => {
                let report = result.unwrap_or_else(|e| panic!("{name}: {e}"));
                assert!(report.complete, "{name}: {:?}", report.warnings);
                assert_eq!(report.codec.to_string(), *codec, "{name}");
                assert_eq!(report.output_samples, *samples, "{name}");
            }
            Incomplete(says) => {
                let report = result.unwrap_or_else(|e| panic!("{name}: {e}"));
                let warnings: Vec<String> =
                    report.warnings.iter().map(ToString::to_string).collect();
                let told = warnings.iter().any(|warning| warning.contains(says));
                assert!(!report.complete && told, "{name}: {warnings:?}");
            }
            Refused(kind, says) => {
                let error = result.expect_err(name);
                let told = kind(&error) && error.to_string().contains(says);
                assert!(told, "{name}: {error}");
            }
        }
    }
}

/// Fifteen chapters, one without a title: fifteen files, and no PCM sample in none of them or in two.
#[test]
fn a_chapter_without_a_title_is_a_file_of_its_own() {
    let Some(folder) = corpus() else { return };
    let path = folder.join("found/chapter-without-title-lost-in-split_derived.m4b");
    let Ok(book) = SeekSource::open(&path) else {
        return;
    };
    let options = Options::new().vbr(4.0);
    let whole = Converter::new(options.clone())
        .convert(SeekSource::open(&path).unwrap(), Vec::new())
        .unwrap();
    let mut chapters = Converter::new(options).chapters(book).unwrap();
    let names = chapters.file_names("");
    assert_eq!((names.len(), names[3].as_str()), (15, "04.mp3"));
    let mut samples = 0;
    for (index, name) in names.iter().enumerate() {
        let outcome = chapters.convert(index, Vec::new()).unwrap();
        let report = outcome.report().expect("there is audio for each");
        assert!(report.complete, "{name}");
        samples += report.output_samples;
    }
    assert_eq!(samples, whole.output_samples);
}

/// The highest PCM sample of an MP3; full scale where nothing can decode it here.
fn loudest(mp3: &[u8]) -> f32 {
    let pcm = presented(mp3).unwrap_or_else(|| vec![1.0]);
    pcm.iter()
        .fold(0.0, |loudest, sample| sample.abs().max(loudest))
}

fn corpus() -> Option<PathBuf> {
    std::env::var_os("MICROPY_CORPUS").map(PathBuf::from)
}

/// The PCM samples per channel that `gold.tsv` gives.
fn gold(folder: &std::path::Path) -> BTreeMap<String, u64> {
    let table = std::fs::read_to_string(folder.join("gold.tsv")).unwrap();
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let mut fields = row.split('\t');
        let name = fields.next().unwrap().to_owned();
        (name, fields.next().unwrap().parse().unwrap())
    })
    .collect()
}

/// Bytes of the ID3 tag, whose length is four times seven bits.
fn id3_len(mp3: &[u8]) -> usize {
    assert!(mp3.starts_with(b"ID3"));
    10 + mp3[6..10]
        .iter()
        .fold(0, |len, &b| len << 7 | usize::from(b))
}

#[test]
fn every_file_has_its_expected_outcome() {
    let Some(folder) = corpus() else { return };
    let gold = gold(&folder);
    let mut met = 0;
    for (name, becomes) in &FILES {
        let path = folder.join(name);
        let mut mp3 = Vec::new();
        let result = Converter::new(Options::new().vbr(4.0))
            .convert(SeekSource::open(&path).unwrap(), &mut mp3);
        let codec = match becomes {
            Whole(codec) => *codec,
            Silent(..) | Incomplete(_) => panic!("{name}: none of these is"),
            Refused(kind, says) => {
                let error = result.expect_err(name);
                assert!(kind(&error), "{name}: {error:?}");
                assert!(error.to_string().contains(says), "{name}: {error}");
                continue;
            }
        };
        let report = result.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(report.codec.to_string(), codec, "{name}");
        assert!(report.complete, "{name}");
        assert_eq!(report.concealed_packets, 0, "{name}: {:?}", report.warnings);
        let stream = check(&mp3).unwrap_or_else(|why| panic!("{name}: {why}"));
        let tag = stream.tag.expect(name);
        let told = stream.frames.len() as u64 * u64::from(stream.samples_per_frame)
            - u64::from(tag.delay + tag.padding);
        assert_eq!(told, report.output_samples, "{name}: the Info tag");
        if let Some(&samples) = gold.get(*name) {
            assert_eq!(told, samples, "{name}: gold.tsv");
            met += 1;
        }
        if let Some(pcm) = presented(&mp3) {
            let channels = u64::from(report.output_channels);
            assert_eq!(pcm.len() as u64, told * channels, "{name}: mpg123");
        }
        // Its cover is cut off in the source already; ffmpeg complains about that.
        let judged = match *name {
            "has-tags.m4a" => &mp3[id3_len(&mp3)..],
            _ => &mp3,
        };
        assert_silent(judged, name);

        let mut piped = Vec::new();
        Converter::new(Options::new().vbr(4.0))
            .convert(
                StreamSource::new(std::fs::File::open(&path).unwrap()),
                &mut piped,
            )
            .unwrap();
        assert!(piped == mp3, "{name}: a pipe gives a different MP3");
    }
    assert_eq!(met, gold.len(), "rows of gold.tsv");
}

#[test]
fn the_table_names_every_file() {
    let Some(folder) = corpus() else { return };
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != "gold.tsv")
        .collect();
    let named = FILES.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(named.collect::<BTreeSet<_>>(), there);
}

#[test]
fn either_of_two_tracks_is_converted_when_it_is_asked_for() {
    let Some(folder) = corpus() else { return };
    let convert = |index| {
        let source = SeekSource::open(folder.join("multiple-aac-tracks.mp4")).unwrap();
        let options = Options::new().track(TrackChoice::Index(index));
        Converter::new(options).convert(source, Vec::new())
    };
    assert!(convert(0).unwrap().complete && convert(1).unwrap().complete);
    assert!(matches!(convert(2), Err(Error::NoAudioTrack(_))));
}
