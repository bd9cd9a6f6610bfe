//! The clips of the repository, one for each kind of container and codec: each becomes an MP3 of exactly the length in
//! `media/expected.tsv`, from a file and from a pipe.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::mp3_check::check;
use crate::support::music::music;
use crate::support::programs::{aac_movie, assert_silent, presented};
use crate::support::{clip, media};
use micropy_core::{
    Converter, Error, Options, Report, SeekSource, Sink, Source, StreamSource, TrackChoice,
};

fn convert(options: Options, source: impl Source) -> Result<(Vec<u8>, Report), Error> {
    let mut mp3 = Vec::new();
    let report = Converter::new(options).convert(source, &mut mp3)?;
    Ok((mp3, report))
}

/// One row of the table of clips.
struct Row {
    name: String,
    /// PCM samples per channel, rate and channels of the source; `None`: refused.
    audio: Option<(u64, u32, u16)>,
}

fn table() -> Vec<Row> {
    let text = std::fs::read_to_string(media().join("expected.tsv")).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let number = |i: usize| fields[i].parse::<u64>().unwrap();
            Row {
                name: fields[0].to_owned(),
                audio: (fields[1] != "refused")
                    .then(|| (number(1), number(2) as u32, number(3) as u16)),
            }
        })
        .collect()
}

#[test]
fn every_clip_becomes_exactly_as_long_as_the_table_says() {
    let mut converted = 0;
    for Row { name, audio } in table() {
        let path = media().join(&name);
        let result = convert(Options::new().cbr(64), SeekSource::open(&path).unwrap());
        let (samples, rate, channels) = match audio {
            Some(audio) => audio,
            None => {
                let error = result.expect_err(&name);
                let fits = match name.as_str() {
                    "video-only.mp4" => matches!(error, Error::NoAudioTrack(_)),
                    "encrypted-cenc.mp4" => {
                        matches!(&error, Error::Encrypted { scheme, .. } if scheme == "cenc")
                    }
                    "amr.3gp" => {
                        matches!(&error, Error::Unsupported { what, .. } if what.contains("AMR"))
                    }
                    _ => false,
                };
                assert!(fits, "{name}: {error:?}");
                continue;
            }
        };
        let (mp3, report) = result.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            (report.input_samples, report.input_sample_rate),
            (samples, rate),
            "{name}"
        );
        assert_eq!(report.input_channels, channels, "{name}");
        assert!(
            report.complete && report.concealed_packets == 0,
            "{name}: {:?}",
            report.warnings
        );
        let mp3_rate = report.output_sample_rate;
        if rate <= 48_000 {
            assert_eq!(mp3_rate, rate, "{name}");
        }
        let expected = (samples * u64::from(mp3_rate) + u64::from(rate / 2)) / u64::from(rate);
        assert_eq!(report.output_channels, channels.min(2), "{name}");
        assert_eq!(report.output_samples, expected, "{name}");
        let stream = check(&mp3).unwrap_or_else(|why| panic!("{name}: {why}"));
        let tag = stream.tag.expect(&name);
        let told = stream.frames.len() as u64 * u64::from(stream.samples_per_frame)
            - u64::from(tag.delay + tag.padding);
        assert_eq!(told, expected, "{name}: the Info tag");
        if let Some(pcm) = presented(&mp3) {
            assert_eq!(
                pcm.len() as u64,
                expected * u64::from(channels.min(2)),
                "{name}: mpg123"
            );
        }
        if stream.frames.len() >= 7 {
            assert_silent(&mp3, &name);
        }
        let pipe = StreamSource::new(std::fs::File::open(&path).unwrap());
        let (piped, _) = convert(Options::new().cbr(64), pipe).unwrap();
        assert!(piped == mp3, "{name}: a pipe gives a different MP3");
        converted += 1;
    }
    assert!(converted > 40, "{converted}");
}

/// The profile shows only in the decoder's configuration.
#[test]
fn a_default_track_of_a_profile_without_decoder_is_passed_over() {
    let mut file = clip("two-tracks.mp4");
    let config = [0x12, 0x10, 0x56, 0xE5, 0x00];
    let at = file.windows(5).position(|five| five == config).unwrap();
    file[at] = 0x0A;
    let (_, report) = convert(Options::new(), file.as_slice()).unwrap();
    assert_eq!((report.complete, report.input_channels), (true, 1));
    let warnings: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    let told = "audio track 0 (AAC Main audio) cannot be converted: track 1 was";
    assert_eq!(warnings, [told]);
    let first = Options::new().track(TrackChoice::Index(0));
    let error = convert(first, file.as_slice()).unwrap_err().to_string();
    assert_eq!(
        error,
        "unsupported: AAC Main audio; audio track 1 can be converted"
    );
}

#[test]
fn tracks_are_chosen_by_index_by_language_and_by_default() {
    let of = |name: &str, choice| {
        let source = SeekSource::open(media().join(name)).unwrap();
        convert(Options::new().track(choice), source).map(|(_, report)| report.input_channels)
    };
    let two = |choice| of("two-tracks.mp4", choice);
    let language = |code: &str| TrackChoice::Language(code.to_owned());
    assert_eq!(two(TrackChoice::Default).unwrap(), 2);
    assert_eq!(two(TrackChoice::Index(0)).unwrap(), 2);
    assert_eq!(two(TrackChoice::Index(1)).unwrap(), 1);
    assert_eq!(two(language("eng")).unwrap(), 2);
    assert_eq!(two(language("deu")).unwrap(), 1);
    for absent in [TrackChoice::Index(2), language("fra")] {
        let Err(Error::NoAudioTrack(why)) = two(absent) else {
            panic!("there is none")
        };
        assert!(why.contains("0 to 1") || why.contains("eng, deu"), "{why}");
    }
    // Only the second track is enabled.
    let second = of("second-track-default.mp4", TrackChoice::Default).unwrap();
    assert_eq!(
        second,
        of("second-track-default.mp4", TrackChoice::Index(1)).unwrap()
    );
}

/// Counts the bytes read from it.
struct Counted<'a> {
    bytes: &'a [u8],
    taken: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(buf)?;
        self.taken.fetch_add(n as u64, Ordering::SeqCst);
        Ok(n)
    }
}

/// Notes how much of the input had been read when the second frame came.
struct Watch<'a> {
    taken: &'a AtomicU64,
    writes: u32,
    taken_by_then: u64,
}

impl Sink for Watch<'_> {
    fn write_all(&mut self, _bytes: &[u8]) -> io::Result<()> {
        self.writes += 1;
        // The ID3 tag, the Info tag, the first frame.
        if self.writes == 3 {
            self.taken_by_then = self.taken.load(Ordering::SeqCst);
        }
        Ok(())
    }
    fn can_rewrite(&self) -> bool {
        false
    }
    fn rewrite(&mut self, _back: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The fraction of `file` that has been read from a pipe when the first frame of the MP3 is written.
fn taken_before_the_first_frame(file: &[u8]) -> f64 {
    let taken = AtomicU64::new(0);
    let mut watch = Watch {
        taken: &taken,
        writes: 0,
        taken_by_then: 0,
    };
    let source = StreamSource::new(Counted {
        bytes: file,
        taken: &taken,
    });
    Converter::new(Options::new().jobs(2))
        .convert(source, &mut watch)
        .unwrap();
    assert!(watch.writes > 3);
    watch.taken_by_then as f64 / file.len() as f64
}

#[test]
fn a_stream_is_converted_as_it_arrives() {
    // Eight minutes: twice what two workers and their window hold.
    let mut planes = music(5, 22_050, 1, 22_050 * 30);
    planes[0] = planes[0].repeat(16);
    for flags in ["+faststart", "+frag_keyframe+empty_moov"] {
        let Some(file) = aac_movie(&planes, 22_050, flags) else {
            return;
        };
        let part = taken_before_the_first_frame(&file);
        assert!(part < 0.6, "{flags}: {part}");
    }
}

/// Two files joined byte by byte: players hear the first alone, and so does the MP3.
#[test]
fn a_second_movie_behind_the_first_is_told() {
    for name in ["moov-first-stereo-44100.mp4", "moov-last-stereo-44100.mp4"] {
        let file = clip(name);
        let (alone, _) = convert(Options::new(), file.as_slice()).unwrap();
        let joined = [&file[..], &file].concat();
        let (mp3, report) = convert(Options::new(), joined.as_slice()).unwrap();
        assert!(mp3 == alone, "{name}");
        let told = report.warnings.iter().map(ToString::to_string);
        let told: Vec<String> = told.collect();
        assert!(
            told.len() == 1 && told[0].contains("another movie begins"),
            "{name}: {told:?}"
        );
    }
}
