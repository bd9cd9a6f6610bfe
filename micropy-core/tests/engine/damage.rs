//! Files that break off or are damaged: what is there is converted, the rest is reported, and nothing panics.

use crate::support::clip;
use crate::support::mp3_check::check;
use crate::support::music::Random;
use crate::support::programs::{presented, run};
use micropy_core::{Converter, Error, Options, Report, Warning};

fn convert(file: &[u8]) -> Result<(Vec<u8>, Report), Error> {
    let mut mp3 = Vec::new();
    let report = Converter::new(Options::new().vbr(9.0).jobs(1)).convert(file, &mut mp3)?;
    Ok((mp3, report))
}

/// Checks that an MP3 is sound, and decodes to as many PCM samples as the report says.
fn assert_sound(mp3: &[u8], report: &Report, what: &str) {
    let stream = check(mp3).unwrap_or_else(|why| panic!("{what}: {why}"));
    let tag = stream.tag.expect(what);
    let told = stream.frames.len() as u64 * u64::from(stream.samples_per_frame)
        - u64::from(tag.delay + tag.padding);
    assert_eq!(told, report.output_samples, "{what}");
}

/// Whether a warning names a byte.
fn names_a_byte(warning: &Warning) -> bool {
    warning
        .to_string()
        .split("at byte ")
        .skip(1)
        .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// ffmpeg is silent about an MP3. It is told the format, which it doubts in any file of fewer than seven frames, even
/// LAME's own.
fn assert_ffmpeg_silent(mp3: &[u8], what: &str) {
    let file = tempfile::NamedTempFile::with_suffix(".mp3").unwrap();
    std::fs::write(file.path(), mp3).unwrap();
    let path = file.path().to_str().unwrap();
    let args = [
        "-v", "warning", "-nostdin", "-f", "mp3", "-i", path, "-f", "null", "-",
    ];
    if let Some(output) = run("ffmpeg", &args, &[]) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{what}: {said}");
    }
}

#[test]
fn a_file_cut_anywhere_gives_what_is_there_and_reports_the_rest() {
    for name in [
        "moov-first-stereo-44100.mp4",
        "fragmented-dash.mp4",
        "fragmented-cmaf.m4a",
        "he-aac-v2-implicit.m4a",
        "ac3.mp4",
        "alac.m4a",
        "opus.mp4",
        "mp3.mp4",
        "quicktime-sowt.mov",
    ] {
        let file = clip(name);
        let (_, whole) = convert(&file).unwrap();
        assert!(whole.complete && whole.concealed_packets == 0, "{name}");
        let mut random = Random::new(0xC07);
        let (mut partial, mut longest) = (0, 0);
        let mut cuts: Vec<usize> = (0..60).map(|_| random.between(0, file.len())).collect();
        cuts.extend([0, 1, 7, 8, file.len() - 1]);
        cuts.sort_unstable();
        for (nth, cut) in cuts.into_iter().enumerate() {
            let what = format!("{name} cut at {cut}");
            let (mp3, report) = match convert(&file[..cut]) {
                Ok(done) => done,
                Err(Error::Malformed { .. } | Error::NotMp4 { .. } | Error::NoAudioTrack(_)) => {
                    continue;
                }
                // Nothing is left but what the edit list skips.
                Err(Error::EmptyPart { start, .. }) if start.is_zero() => continue,
                Err(e) => panic!("{what}: {e}"),
            };
            assert_sound(&mp3, &report, &what);
            assert_eq!(report.concealed_packets, 0, "{what}: {:?}", report.warnings);
            assert!(
                report.output_samples >= longest,
                "{what}: less than from a shorter file"
            );
            longest = report.output_samples;
            if report.output_samples < whole.output_samples && name != "fragmented-cmaf.m4a" {
                // Between two fragments nothing shows that there were more.
                assert!(!report.complete || name.starts_with("fragmented"), "{what}");
            }
            if !report.complete {
                partial += 1;
                assert!(report.expected_packets >= report.packets, "{what}");
                assert!(
                    report.warnings.iter().any(names_a_byte),
                    "{what}: {:?}",
                    report.warnings
                );
                if nth % 8 == 0 {
                    assert_ffmpeg_silent(&mp3, &what);
                    let channels = u64::from(report.output_channels);
                    if let Some(pcm) = presented(&mp3) {
                        assert_eq!(pcm.len() as u64, report.output_samples * channels, "{what}");
                    }
                }
            }
        }
        // Without the sample table, which some files have at their end, nothing can be found.
        let place = |kind: &[u8; 4]| file.windows(4).position(|window| window == kind);
        let findable = place(b"moov") < place(b"mdat");
        assert_eq!(partial > 5, findable, "{name}: {partial} cuts gave a part");
    }
}

/// A clip encoded anew by one of ffmpeg's encoders.
fn encoded(name: &str, encoder: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let source = crate::support::media().join("stereo-48000.mp4");
    let [source, target] = [&source, &path].map(|path| path.to_str().unwrap());
    let args = ["-v", "error", "-i", source, "-vn", "-c:a", encoder, target];
    assert!(run("ffmpeg", &args, &[])?.status.success());
    Some(std::fs::read(path).unwrap())
}

/// Where the media lies in a file with one `mdat`.
fn media(file: &[u8]) -> std::ops::Range<usize> {
    let at = file.windows(4).position(|kind| kind == b"mdat").unwrap() - 4;
    let size = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    at + 8..at + size
}

#[test]
fn damaged_packets_become_silence_of_their_length_and_are_reported() {
    let mut concealed = 0;
    for (name, encoder) in [
        ("stereo-48000.mp4", ""),
        ("he-aac-v1-implicit.m4a", ""),
        ("surround-5-1.mp4", ""),
        ("alac.m4a", ""),
        ("flac.mp4", ""),
        ("mp3.mp4", ""),
        ("ac3.mp4", ""),
        ("eac3.mp4", ""),
        ("vorbis.mp4", "libvorbis"),
        ("ima4.mov", "adpcm_ima_qt"),
        ("ms-adpcm.mov", "adpcm_ms"),
        ("mp2.mp4", "mp2"),
    ] {
        let file = match encoder {
            "" => clip(name),
            encoder => match encoded(name, encoder) {
                Some(file) => file,
                None => return,
            },
        };
        let media = media(&file);
        let (_, whole) = convert(&file).unwrap();
        let mut random = Random::new(0xDA_4A6E);
        for round in 0..12 {
            let mut file = file.clone();
            for _ in 0..20 {
                let at = random.between(media.start, media.end - 1);
                file[at] = random.next_u32() as u8;
            }
            let what = format!("{name}, round {round}");
            let (mp3, report) = match convert(&file) {
                Ok(done) => done,
                // The first packets show the format of the track.
                Err(Error::Malformed { at, .. }) => {
                    assert!(media.contains(&(at as usize)), "{what}: byte {at}");
                    continue;
                }
                // Damaged, they may show another rate or SBR.
                Err(e) => panic!("{what}: {e}"),
            };
            assert_sound(&mp3, &report, &what);
            // A packet here and there may be lost; more of them make the MP3 incomplete.
            let many = report.concealed_packets * 100 > report.packets;
            assert!(!many || !report.complete, "{what}");
            assert!(report.concealed_packets > 0 || report.complete, "{what}");
            if report.input_sample_rate == whole.input_sample_rate {
                assert_eq!(report.output_samples, whole.output_samples, "{what}");
            }
            concealed += report.concealed_packets;
            let told = report.warnings.iter().filter(|w| names_a_byte(w)).count();
            assert!(
                report.concealed_packets == 0 || told > 0,
                "{what}: {:?}",
                report.warnings
            );
        }
    }
    assert!(concealed > 50, "{concealed}");
}

#[test]
fn bytes_changed_anywhere_lead_to_an_mp3_or_an_error() {
    for name in [
        "moov-first-stereo-44100.mp4",
        "fragmented-dash.mp4",
        "chapters.m4b",
        "flac.mp4",
        "opus.mp4",
    ] {
        let file = clip(name);
        let mut random = Random::new(0xF11B);
        for round in 0..60 {
            let mut file = file.clone();
            // Boxes more often than media: there are fewer of their bytes.
            let end = if round % 2 == 0 {
                file.len()
            } else {
                file.len().min(2048)
            };
            for _ in 0..random.between(1, 12) {
                let at = random.between(0, end - 1);
                file[at] ^= 1 << (random.next_u32() % 8);
            }
            if let Ok((mp3, report)) = convert(&file)
                && report.output_samples > 0
            {
                assert_sound(&mp3, &report, &format!("{name}, round {round}"));
            }
        }
    }
}
