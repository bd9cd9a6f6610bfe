//! Files of a few kilobytes that declare years of audio: what is there is converted, and quickly.

use std::time::Duration;

use crate::build::{audio_entry, ftyp, make, mvhd, stsd, table, trak, words};
use crate::support::clip;
use crate::support::work::within;
use crate::support::zeros::Zeros;
use micropy_core::{Converter, Error, Options, Report, Source, StreamSink, StreamSource};

/// Ample; counting what these files declare would take minutes or years.
const LITTLE: Duration = Duration::from_secs(10);

/// Offset of the payload of the last box of this kind: that of the audio, if there is video too.
fn payload(file: &[u8], kind: &[u8; 4]) -> usize {
    file.windows(4).rposition(|w| w == kind).unwrap() + 4
}

fn put(file: &mut [u8], at: usize, words: &[u32]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    file[at..at + bytes.len()].copy_from_slice(&bytes);
}

/// Every packet lasts 68 years, and no edit list presents less.
fn of_endless_packets(name: &str) -> Vec<u8> {
    let mut file = clip(name);
    let timescale = payload(&file, b"mdhd") + 12;
    put(&mut file, timescale, &[1]);
    let stts = payload(&file, b"stts");
    let entries = u32::from_be_bytes(*file[stts + 4..].first_chunk().unwrap());
    for entry in 0..entries as usize {
        let most = i32::MAX.cast_unsigned();
        put(&mut file, stts + 8 + 8 * entry + 4, &[most]);
    }
    let edits = payload(&file, b"edts");
    file[edits - 4..edits].copy_from_slice(b"free");
    file
}

/// Declares four billion AAC packets, all as large as the first.
fn of_countless_packets() -> Vec<u8> {
    let mut file = clip("mono-8000.mp4");
    let stsz = payload(&file, b"stsz");
    let first = u32::from_be_bytes(*file[stsz + 12..].first_chunk().unwrap());
    put(&mut file, stsz + 4, &[first, u32::MAX]);
    let edits = payload(&file, b"edts");
    file[edits - 4..edits].copy_from_slice(b"free");
    file
}

/// Converts `source`, which must take little work.
fn convert(
    options: &Options,
    source: impl Source + Send + 'static,
) -> Result<(Vec<u8>, Report), Error> {
    let options = options.clone().jobs(2);
    within(LITTLE, move || {
        let mut mp3 = StreamSink::new(Vec::new());
        let report = Converter::new(options).convert(source, &mut mp3);
        report.map(|report| (mp3.into_inner(), report))
    })
}

#[test]
fn declared_lengths_cost_nothing() {
    for (what, file) in [
        ("Opus", of_endless_packets("opus.mp4")),
        ("FLAC", of_endless_packets("flac.mp4")),
        ("AAC", of_countless_packets()),
    ] {
        let file: &'static [u8] = file.leak();
        let options = Options::new().cbr(64);
        let (mp3, report) = convert(&options, file).unwrap();
        assert!(report.packets > 0 && report.frames > 0, "{what}");
        // Of Opus and FLAC, only the packets themselves tell how long they are.
        let is_declared = what == "AAC";
        let endless = |expected| expected > Duration::from_secs(1 << 29);
        assert_eq!(
            report.expected_duration.map(endless),
            is_declared.then_some(true),
            "{what}"
        );
        let (piped, _) = convert(&options, StreamSource::new(file)).unwrap();
        assert!(piped == mp3, "{what}");
        for options in [
            Options::new().vbr(9.0),
            Options::new().cbr(32).sample_rate(32_000),
            Options::new().cbr(64).start(Duration::from_secs(1)),
        ] {
            let result = convert(&options, file);
            // Only the first AAC packet is where the table says; those of FLAC are together shorter than a second.
            let is_behind_the_end = what != "Opus" && !options.start.is_zero();
            assert_eq!(result.is_err(), is_behind_the_end, "{what}");
        }
    }
}

/// The audio starts this many milliseconds late.
fn late_by(millis: u32) -> Vec<u8> {
    let mut file = clip("edit-list-late.mp4");
    let elst = payload(&file, b"elst");
    assert_eq!(file[elst + 12..elst + 16], [0xFF; 4]);
    put(&mut file, elst + 8, &[millis]);
    file
}

#[test]
fn a_late_start_is_not_years_of_silence() {
    let options = Options::new().cbr(64).late_start(true);
    let (_, in_time) = convert(&options, late_by(0).leak() as &[u8]).unwrap();
    let (_, late) = convert(&options, late_by(10_000).leak() as &[u8]).unwrap();
    assert_eq!(late.output_samples, in_time.output_samples + 441_000);

    let years: &'static [u8] = late_by(u32::MAX).leak();
    let error = convert(&options, years).unwrap_err();
    assert!(
        matches!(error, Error::Limit { limit: 86_400, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("4294967 seconds"), "{error}");
    // If little of it is asked for, or none.
    let part = options.duration(Duration::from_secs(3));
    let (_, report) = convert(&part, years).unwrap();
    assert_eq!(report.output_samples, 3 * 44_100);
    let (_, without) = convert(&Options::new().cbr(64), years).unwrap();
    assert_eq!(without.output_samples, in_time.output_samples);
}

/// Opus with a first packet of ten seconds, and `count` others of `size` bytes that last no time at all.
fn in_a_moment(count: u32, size: u32) -> Zeros {
    let dops = make(b"dOps", &[&[0, 2, 0, 0], &words(&[48_000]), &[0, 0, 0]]);
    let stsd = stsd(&audio_entry(b"Opus", &dops));
    let sizes = match size {
        0 => make(
            b"stsz",
            &[&words(&[0, 0, count]), &vec![0; 4 * count as usize]],
        ),
        size => make(b"stsz", &[&words(&[0, size, count])]),
    };
    let moov = |at: usize| {
        let tables = [
            stsd.clone(),
            table(b"stts", &[[1, 441_000], [count - 1, 0]]),
            table(b"stsc", &[[1, count, 1]]),
            sizes.clone(),
            table(b"stco", &[[at as u32]]),
        ];
        let trak = trak(1, b"soun", &[], &tables.concat());
        make(b"moov", &[&mvhd(1000), &trak])
    };
    let at = ftyp().len() + moov(0).len() + 16;
    let size = u64::from(count) * u64::from(size);
    // Of 64 bits: the box is larger than 4 GiB, or might be.
    let mdat = [&words(&[1])[..], b"mdat", &(size + 16).to_be_bytes()].concat();
    let head = [ftyp(), moov(at), mdat].concat();
    Zeros {
        size: head.len() as u64 + size,
        head,
    }
}

#[test]
fn packets_that_last_no_time_do_not_fill_the_memory() {
    // Too large, and all of them without a byte, so that only the first is one.
    for (count, size, is_damage) in [(500, 8 << 20, false), (3_000_000, 0, true)] {
        let error = convert(&Options::new(), in_a_moment(count, size)).unwrap_err();
        let expected = match error {
            Error::Malformed { .. } => is_damage,
            Error::Limit { limit, .. } => !is_damage && limit == 0x400_0000,
            _ => false,
        };
        assert!(expected, "{error}");
        assert!(error.to_string().contains(" at byte "), "{error}");
    }
    // Those that can be decoded are as long as that: none of the others is kept for the first three seconds.
    let part = Options::new().duration(Duration::from_secs(3));
    let (_, report) = convert(&part, in_a_moment(50_000_000, 100)).unwrap();
    assert_eq!(report.output_samples, 3 * 48_000);
}
