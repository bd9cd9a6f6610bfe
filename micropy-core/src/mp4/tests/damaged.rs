//! Files cut short or altered.

use std::time::{Duration, Instant};

use super::build::*;
use super::{packets_of, read_all};
use crate::mp4::Movie;
use crate::source::StreamSource;
use crate::warning::Warning;

#[test]
fn a_cut_file_gives_what_is_there_and_counts_the_rest() {
    let file = plain_file();
    // The last 10 bytes belong to no sample; the 4 before them are the last sample.
    for (cut, missing) in [(11, 1), (13, 3), (14, 4)] {
        let mut source = &file[..file.len() - cut];
        let movie = Movie::read(&mut source).unwrap();
        let (packets, reader) = packets_of(&mut source, &movie, 0).unwrap();
        assert_eq!(packets.len(), 5);
        let (last, data) = &packets[4];
        assert_eq!(u64::from(last.size - last.read), reader.missing().bytes);
        assert_eq!(
            (data.len(), reader.missing().bytes),
            (4 - missing, missing as u64)
        );
        assert_eq!(reader.missing().packets, 1);
    }
    let chunk_2 = file.len() - 64 + 25;
    let mut source = &file[..chunk_2 + 2];
    let movie = Movie::read(&mut source).unwrap();
    let (packets, reader) = packets_of(&mut source, &movie, 0).unwrap();
    assert_eq!(packets.len(), 3);
    let missing = reader.missing();
    assert_eq!(
        (missing.packets, missing.bytes, missing.duration),
        (3, 11, 2048)
    );
}

#[test]
fn errors_name_the_box_and_the_byte() {
    let cases: [(&[u8; 4], usize, &[u8], &str); 4] = [
        (
            b"stsz",
            12,
            &[0xFF; 4],
            "it declares 4294967295 entries and has room for 5",
        ),
        (b"stco", 8, &[0; 4], "it has 5 samples but no chunks"),
        (b"mp4a", 0, b"zzzz", "`zzzz`"),
        (b"stbl", 0, b"zzzz", "it has no sample description"),
    ];
    for (kind, at, bytes, message) in cases {
        let mut file = plain_file();
        let place = file.windows(4).position(|w| w == kind).unwrap();
        file[place + at..][..bytes.len()].copy_from_slice(bytes);
        let movie = Movie::read(&mut file.as_slice()).unwrap();
        let told = match &movie.audio[0].codec {
            Ok(parameters) => parameters.codec.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(told.contains(message), "{told}");
    }
}

/// A track with `more` before its `mdia`, whose `stsc` has these rows.
fn file_with(more: &[u8], chunks: &[[u32; 3]]) -> Vec<u8> {
    let media = Media::new();
    faststart(&media, |at| {
        let rows: Vec<[u32; 1]> = media.chunks.iter().map(|&c| [c + at as u32]).collect();
        let tables = [
            stsd(&audio_entry(b"mp4a", &esds())),
            table(b"stts", &[[5, 1024]]),
            table(b"stsc", chunks),
            make(b"stsz", &[&words(&[0, 0, 5]), &words(&SIZES)]),
            table(b"stco", &rows),
        ];
        let trak = trak(1, b"soun", more, &tables.concat());
        make(b"moov", &[&mvhd(1000), &trak])
    })
}

#[test]
fn a_malformed_box_before_the_media_costs_only_itself() {
    // Two entries are declared, one is there.
    let elst = make(b"elst", &[&words(&[0, 2, 50, 1024, 1 << 16, 9])]);
    let edits = make(b"edts", &[&elst]);
    let overlong = make(b"edts", &[&words(&[99]), b"elst", &[0; 8]]);
    let tref = make(b"tref", &[&words(&[77]), b"chap"]);
    let tkhd = make(b"tkhd", &[&words(&[0x3, 0])]);
    for (what, more) in [
        ("elst", &edits),
        ("elst", &overlong),
        ("chap", &tref),
        ("tkhd", &tkhd),
    ] {
        let (movie, packets) = read_all(&file_with(more, &[[1, 2, 1]])).unwrap();
        assert!(movie.audio[0].codec.is_ok(), "{what}");
        assert_eq!(packets.len(), 5, "{what}");
        let [warning] = &movie.warnings[..] else {
            panic!("{what}: {:?}", movie.warnings);
        };
        let told = warning.to_string();
        assert!(told.contains(&format!("malformed {what}")), "{told}");
    }
    // The entry that is there counts.
    let (movie, _) = read_all(&file_with(&edits, &[[1, 2, 1]])).unwrap();
    let whole = make(b"elst", &[&words(&[0, 1, 50, 1024, 1 << 16])]);
    let (expected, _) = read_all(&file_with(&make(b"edts", &[&whole]), &[[1, 2, 1]])).unwrap();
    assert_eq!(
        format!("{:?}", movie.audio[0].edits),
        format!("{:?}", expected.audio[0].edits)
    );
}

#[test]
fn a_malformed_media_header_costs_only_itself() {
    let mut file = plain_file();
    let mdhd = file.windows(4).position(|w| w == b"mdhd").unwrap();
    // Its version has 64-bit times, for which there is no room.
    file[mdhd + 4] = 1;
    let (movie, packets) = read_all(&file).unwrap();
    assert_eq!((movie.audio[0].timescale, packets.len()), (44_100, 5));
    assert_eq!(movie.warnings.len(), 2, "{:?}", movie.warnings);
}

/// It may be audio.
#[test]
fn a_track_of_which_the_kind_cannot_be_read_is_not_said_to_be_no_audio() {
    let mut file = plain_file();
    let mdia = file.windows(4).position(|w| w == b"mdia").unwrap();
    file[mdia - 4..mdia].fill(0x7F);
    let movie = Movie::read(&mut file.as_slice()).unwrap();
    let error = crate::audio::choose(&movie, &crate::options::TrackChoice::Default);
    let told = error.unwrap_err().to_string();
    assert!(
        told.contains("not known what it is: malformed mdia"),
        "{told}"
    );
}

#[test]
fn chunks_are_found_where_entries_repeat_or_the_first_is_not_for_the_first() {
    for (rows, told) in [
        (&[[1, 9, 1], [1, 2, 1]][..], "entry 1 begins at chunk 1"),
        (&[[0, 2, 1]], "entry 0 begins at chunk 0"),
        (&[[2, 2, 1]], "entry 0 begins at chunk 2"),
        (&[[3, 2, 1], [3, 1, 1]], "entry 0 begins at chunk 3"),
        (
            &[[1, 2, 1], [3, 7, 1], [3, 1, 1]],
            "entry 2 begins at chunk 3",
        ),
    ] {
        let (movie, packets) = read_all(&file_with(&[], rows)).unwrap();
        let bytes: Vec<_> = packets.into_iter().map(|(_, data)| data).collect();
        assert_eq!(bytes, Media::samples(), "{rows:?}");
        let [warning] = &movie.warnings[..] else {
            panic!("{rows:?}: {:?}", movie.warnings);
        };
        let warning = warning.to_string();
        assert!(warning.contains(told), "{warning}");
    }
}

#[test]
fn chunks_out_of_order_are_sorted_where_that_gives_every_sample() {
    let file = file_with(&[], &[[1, 2, 1], [3, 1, 1], [2, 2, 1]]);
    let (movie, packets) = read_all(&file).unwrap();
    let bytes: Vec<_> = packets.into_iter().map(|(_, data)| data).collect();
    assert_eq!(bytes, Media::samples());
    let [warning] = &movie.warnings[..] else {
        panic!("{:?}", movie.warnings);
    };
    assert!(
        warning.to_string().contains("they were sorted"),
        "{warning}"
    );
    // Which of them is wrong cannot be told.
    let file = file_with(&[], &[[1, 2, 1], [3, 1, 1], [2, 3, 1]]);
    let movie = Movie::read(&mut file.as_slice()).unwrap();
    let error = movie.audio[0].codec.as_ref().unwrap_err().to_string();
    let told = "entry 2 begins at chunk 2, not at 4 or later";
    assert!(error.contains(told), "{error}");
}

#[test]
fn chunks_counted_from_0_are_found_where_that_gives_every_sample() {
    let file = file_with(&[], &[[0, 2, 1], [2, 1, 1]]);
    let (movie, packets) = read_all(&file).unwrap();
    let bytes: Vec<_> = packets.into_iter().map(|(_, data)| data).collect();
    assert_eq!(bytes, Media::samples());
    let [warning] = &movie.warnings[..] else {
        panic!("{:?}", movie.warnings);
    };
    assert!(
        warning.to_string().contains("counts chunks from 0"),
        "{warning}"
    );
}

#[test]
fn a_sample_of_negative_length_lasts_no_time() {
    let mut file = plain_file();
    let stts = file.windows(4).position(|w| w == b"stts").unwrap();
    file[stts + 16..][..4].copy_from_slice(&(-1i32).to_be_bytes());
    let (movie, packets) = read_all(&file).unwrap();
    assert!(packets.iter().all(|(packet, _)| packet.duration == 0));
    let [warning] = &movie.warnings[..] else {
        panic!("{:?}", movie.warnings);
    };
    assert!(
        warning.to_string().contains("lasts for -1 units"),
        "{warning}"
    );
}

#[test]
fn a_track_without_a_handler_is_known_by_its_media_header_or_its_coding() {
    let mut file = plain_file();
    let hdlr = file.windows(4).position(|w| w == b"hdlr").unwrap();
    let mut check = |at: usize, bytes: &[u8; 4]| {
        file[at..at + 4].copy_from_slice(bytes);
        let (movie, packets) = read_all(&file).unwrap();
        assert_eq!((movie.audio.len(), packets.len()), (1, 5));
    };
    check(hdlr + 12, &[0; 4]);
    check(hdlr, b"free");
    // Of a coding that is not known, `smhd` tells.
    let media = Media::new();
    let with = |media_header: &[u8; 4]| {
        let file = faststart(&media, |at| {
            let stsd = stsd(&audio_entry(b"zzzz", &[]));
            let stbl = make(b"stbl", &[&stsd, &media.tables(at)]);
            let minf = make(b"minf", &[&make(media_header, &[&[0; 8]]), &stbl]);
            let mdia = make(b"mdia", &[&mdhd(44_100), &minf]);
            make(b"moov", &[&mvhd(1000), &make(b"trak", &[&tkhd(1), &mdia])])
        });
        Movie::read(&mut file.as_slice()).unwrap().audio.len()
    };
    assert_eq!((with(b"smhd"), with(b"free"), with(b"vmhd")), (1, 0, 0));
}

#[test]
fn a_file_without_moov_says_where_it_ends() {
    let file = moov_last();
    let error = Movie::read(&mut &file[..50]).unwrap_err().to_string();
    assert!(
        error.contains("at byte 20: it ends inside or after this `mdat` box"),
        "{error}"
    );
}

#[test]
fn a_timescale_of_zero_is_replaced_with_a_warning() {
    let mut file = plain_file();
    let mdhd = file.windows(4).position(|w| w == b"mdhd").unwrap();
    file[mdhd + 16..][..4].fill(0);
    let movie = Movie::read(&mut file.as_slice()).unwrap();
    assert_eq!(movie.audio[0].timescale, 44_100);
    assert!(
        matches!(
            movie.warnings[..],
            [Warning::Timescale {
                assumed: 44_100,
                ..
            }]
        ),
        "{:?}",
        movie.warnings
    );
}

#[test]
fn chunks_that_overlap_without_end_are_refused() {
    // 20,000 chunks at one offset, each of one sample of 30,000 bytes: 600 MB from a file of 110 kB.
    let media = Media {
        bytes: vec![0; 30_000],
        chunks: [0; 3],
    };
    let file = faststart(&media, |at| {
        let tables = sample_tables(&vec![30_000; 20_000], 1, &vec![at as u32; 20_000]);
        make(b"moov", &[&mvhd(1000), &aac_trak(1, &tables)])
    });
    let error = read_all(&file).unwrap_err().to_string();
    assert!(error.contains("its samples overlap"), "{error}");
}

/// A small random number generator (xorshift), for repeatable tests.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Reads all of a damaged file, from memory or as a stream; returns the number of packets and bytes.
fn exhaust(file: &[u8], stream: bool) -> (usize, usize) {
    let mut slice = file;
    let mut pipe = StreamSource::new(file);
    let source: &mut dyn crate::source::Source = if stream { &mut pipe } else { &mut slice };
    let Ok(movie) = Movie::read(source) else {
        return (0, 0);
    };
    let metadata = movie.metadata(None);
    let text: usize = metadata.tags.iter().map(|(_, value)| value.len()).sum();
    let covers: usize = metadata.covers.iter().map(|c| c.data().len()).sum();
    // A byte of Mac Roman may take three of UTF-8.
    assert!(text + covers <= 3 * file.len());
    for text in &movie.text {
        let titles =
            crate::mp4::movie::read_track_samples(source, &movie, text).unwrap_or_default();
        assert!(titles.iter().map(|t| t.data.len()).sum::<usize>() <= 64 * file.len());
    }
    let (mut packets, mut bytes) = (0, 0);
    for track in 0..movie.audio.len() {
        let Ok(mut reader) = movie.packets(source, track) else {
            continue;
        };
        let mut data = Vec::new();
        while let Ok(Some(packet)) = reader.next(source, &mut data) {
            assert_eq!(data.len(), packet.read as usize);
            packets += 1;
            bytes += data.len();
            data.clear();
        }
    }
    (packets, bytes)
}

/// A file with everything that is read: tables, edits, metadata, titles, fragments.
fn rich_file() -> Vec<u8> {
    let media = Media::new();
    let elst = table(b"elst", &[[80, 1024, 1 << 16]]);
    let more = [
        make(b"edts", &[&elst]),
        make(b"tref", &[&make(b"chap", &[&words(&[2])])]),
    ];
    let item = |kind, value: &[u8]| make(kind, &[&make(b"data", &[&words(&[0, 0]), value])]);
    let items = [
        item(b"\xA9nam", b"title"),
        item(b"covr", b"\xFF\xD8\xFF\xE0 JPEG"),
        item(b"trkn", &[0, 0, 0, 1, 0, 2, 0, 0]),
    ];
    let meta = make(b"meta", &[&[0; 4], &make(b"ilst", &[&items.concat()])]);
    let plain = faststart(&media, |at| {
        let aac = [stsd(&audio_entry(b"mp4a", &esds())), media.tables(at)].concat();
        let text = [
            stsd(&make(b"text", &[&[0; 51]])),
            sample_tables(&[5, 5], 2, &[at as u32]),
        ];
        let trex = make(b"trex", &[&words(&[0, 1, 1, 1024, 3, 0])]);
        let parts = [
            mvhd(1000),
            trak(1, b"soun", &more.concat(), &aac),
            trak(2, b"text", &[], &text.concat()),
            make(b"udta", &[&meta]),
            make(b"mvex", &[&trex]),
        ];
        make(b"moov", &[&parts.concat()])
    });
    let run = make(b"trun", &[&words(&[0x301, 2, 100, 1024, 3, 1024, 4])]);
    let tfhd = make(b"tfhd", &[&words(&[0x2_0000, 1])]);
    let moof = make(b"moof", &[&make(b"traf", &[&tfhd, &run])]);
    [plain, moof, make(b"mdat", &[&[5; 40]])].concat()
}

#[test]
fn altered_and_cut_files_neither_panic_nor_hang_nor_multiply() {
    let files = [plain_file(), moov_last(), rich_file()];
    assert!(files.iter().all(|file| exhaust(file, false).0 >= 5));
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let begin = Instant::now();
    for round in 0..6000 {
        let mut file = files[round % files.len()].clone();
        if round % 4 == 0 {
            file.truncate(random.below(file.len()));
        }
        for _ in 0..random.below(4) {
            if let Some(at) = (!file.is_empty()).then(|| random.below(file.len())) {
                const NASTY: [u8; 6] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF];
                let width = [1, 1, 2, 4][random.below(4)].min(file.len() - at);
                let value = [NASTY[random.below(6)], random.below(256) as u8][random.below(2)];
                file[at..at + width].fill(value);
            }
        }
        let (packets, bytes) = exhaust(&file, round % 3 == 0);
        assert!(packets <= 2 << 20, "round {round}: {packets} packets");
        assert!(bytes <= 4 << 20, "round {round}: {bytes} bytes");
    }
    assert!(begin.elapsed() < Duration::from_secs(60));
}
