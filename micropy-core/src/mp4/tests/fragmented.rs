//! Movie fragments.

use super::build::*;
use super::plain::{Drip, Strict};
use super::{packets_of, read_all};
use crate::mp4::Movie;
use crate::source::StreamSource;
use crate::warning::Warning;

const DEFAULT_BASE_IS_MOOF: u32 = 0x2_0000;

fn trex(id: u32, duration: u32, size: u32) -> Vec<u8> {
    make(b"trex", &[&words(&[0, id, 1, duration, size, 0])])
}

/// `moov` of an AAC track 1 without samples.
fn init(trex: &[u8]) -> Vec<u8> {
    let aac = aac_trak(1, &sample_tables(&[], 1, &[]));
    let moov = make(b"moov", &[&mvhd(1000), &aac, &make(b"mvex", &[trex])]);
    [ftyp(), moov].concat()
}

fn tfhd(flags: u32, fields: &[u32]) -> Vec<u8> {
    make(b"tfhd", &[&words(&[flags]), &words(fields)])
}

fn tfdt(time: u32) -> Vec<u8> {
    make(b"tfdt", &[&words(&[0, time])])
}

/// A run with an offset and the duration and size of each sample.
fn trun(offset: u32, samples: &[[u32; 2]]) -> Vec<u8> {
    let count = samples.len() as u32;
    make(
        b"trun",
        &[
            &words(&[0x301, count, offset]),
            &words(samples.as_flattened()),
        ],
    )
}

/// A fragment and its media, made by `trafs` from the distance between the two.
fn fragment(trafs: impl Fn(u32) -> Vec<u8>, media: &[u8]) -> Vec<u8> {
    let mfhd = make(b"mfhd", &[&words(&[0, 1])]);
    let moof = |at| make(b"moof", &[&mfhd, &trafs(at)]);
    let distance = moof(0).len() as u32 + 8;
    [moof(distance), make(b"mdat", &[media])].concat()
}

/// A fragment of two samples, `fill` and `fill` + 1, of 3 and 4 bytes that last 1024 each.
fn simple_fragment(time: u32, fill: u8) -> Vec<u8> {
    let run = |at| trun(at, &[[1024, 3], [1024, 4]]);
    fragment(
        |at| {
            make(
                b"traf",
                &[&tfhd(DEFAULT_BASE_IS_MOOF, &[1]), &tfdt(time), &run(at)],
            )
        },
        &[fill, fill, fill, fill + 1, fill + 1, fill + 1, fill + 1],
    )
}

fn bytes_of(file: &[u8]) -> Vec<Vec<u8>> {
    let (_, packets) = read_all(file).unwrap();
    packets.into_iter().map(|(_, data)| data).collect()
}

#[test]
fn segments_after_their_initialization_are_read_as_they_arrive() {
    let init = init(&trex(1, 0, 0));
    let again = make(b"styp", &[b"msdh\0\0\0\0msdh"]);
    let file = [
        &init[..],
        &simple_fragment(0, 10),
        &again,
        &make(b"emsg", &[&[7; 30]]),
        &init,
        &simple_fragment(2048, 20),
        &make(b"mfra", &[&[0; 16]]),
    ]
    .concat();
    let mut source = Strict(StreamSource::new(Drip(&file)));
    let movie = Movie::read(&mut source).unwrap();
    assert!(movie.fragmented);
    assert_eq!(
        (movie.audio[0].duration, movie.audio[0].samples),
        (None, None)
    );
    let (packets, reader) = packets_of(&mut source, &movie, 0).unwrap();
    let bytes: Vec<_> = packets.iter().map(|(_, data)| data.clone()).collect();
    assert_eq!(bytes, [vec![10; 3], vec![11; 4], vec![20; 3], vec![21; 4]]);
    let times: Vec<_> = packets.iter().map(|(p, _)| p.time).collect();
    assert_eq!(times, [0, 1024, 2048, 3072]);
    assert!(reader.missing().is_empty());
    assert!(reader.warnings().is_empty());
}

#[test]
fn another_movie_among_the_fragments_ends_the_first() {
    let first = init(&trex(1, 0, 0));
    let described = |id, samples: &[u8]| {
        let aac = aac_trak(id, samples);
        let moov = make(
            b"moov",
            &[&mvhd(1000), &aac, &make(b"mvex", &[&trex(id, 0, 0)])],
        );
        [ftyp(), moov].concat()
    };
    let empty = sample_tables(&[], 1, &[]);
    assert_eq!(described(1, &empty), first);
    // Another rate in the sample entry, and another timescale of the media.
    let changed = |from: &[u8], to: &[u8]| {
        let mut other = first.clone();
        let at = other
            .windows(from.len())
            .position(|bytes| bytes == from)
            .unwrap();
        other[at..at + to.len()].copy_from_slice(to);
        other
    };
    let mdhd = changed(&words(&[44_100]), &words(&[48_000]));
    let config = changed(&[0x12, 0x10], &[0x11, 0x90]);
    let plain = [
        ftyp(),
        make(
            b"moov",
            &[&mvhd(1000), &aac_trak(1, &sample_tables(&[3], 1, &[9]))],
        ),
    ]
    .concat();
    for (what, other) in [
        ("another track", described(2, &empty)),
        ("another timescale", mdhd),
        ("another configuration", config),
        ("samples of its own", plain),
        ("no track", make(b"moov", &[&mvhd(1000)])),
    ] {
        let file = [
            &first[..],
            &simple_fragment(0, 10),
            &other,
            &simple_fragment(2048, 20),
        ]
        .concat();
        for streamed in [false, true] {
            let mut slice: &[u8] = &file;
            let mut stream = StreamSource::new(Drip(&file));
            let source: &mut dyn crate::source::Source =
                if streamed { &mut stream } else { &mut slice };
            let movie = Movie::read(source).unwrap();
            let (packets, reader) = packets_of(source, &movie, 0).unwrap();
            assert_eq!(packets.len(), 2, "{what}");
            let told: Vec<_> = reader.warnings().iter().map(ToString::to_string).collect();
            assert_eq!(told.len(), 1, "{what}: {told:?}");
            assert!(told[0].contains("begins another movie"), "{what}: {told:?}");
        }
    }
}

#[test]
fn a_missing_segment_shows_in_the_times() {
    let file = [
        init(&trex(1, 0, 0)),
        simple_fragment(0, 1),
        simple_fragment(9000, 1),
    ]
    .concat();
    let (_, packets) = read_all(&file).unwrap();
    let times: Vec<_> = packets.iter().map(|(p, _)| p.time).collect();
    assert_eq!(times, [0, 1024, 9000, 10_024]);
}

#[test]
fn a_sample_that_lasts_no_time_is_given_the_time_of_its_end() {
    let last_but_one = fragment(
        |at| {
            let run = trun(at, &[[0, 3]]);
            make(
                b"traf",
                &[&tfhd(DEFAULT_BASE_IS_MOOF, &[1]), &tfdt(3072), &run],
            )
        },
        &[7; 3],
    );
    let file = [
        init(&trex(1, 0, 0)),
        simple_fragment(0, 1),
        last_but_one,
        simple_fragment(3072, 1),
    ]
    .concat();
    let (_, packets) = read_all(&file).unwrap();
    let times = packets.iter().map(|(p, _)| (p.time, p.duration));
    let expected = [0, 1024, 2048, 3072, 4096].map(|time| (time, 1024));
    assert_eq!(times.collect::<Vec<_>>(), expected);
}

#[test]
fn a_track_fragment_without_a_base_begins_where_the_one_before_ends() {
    // Video first: 5 bytes. Then audio, without flags, offsets or sizes: all from `trex`.
    let trafs = |at| {
        let video = make(b"traf", &[&tfhd(0, &[2]), &trun(at, &[[1, 2], [1, 3]])]);
        let run = make(b"trun", &[&words(&[0, 2])]);
        let audio = make(b"traf", &[&tfhd(0, &[1]), &run, &run]);
        [video, audio].concat()
    };
    let media = [0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 1, 1, 2, 2, 3, 3, 4, 4];
    let defaults = [trex(2, 0, 0), trex(1, 512, 2)].concat();
    let file = [init(&defaults), fragment(trafs, &media)].concat();
    let (_, packets) = read_all(&file).unwrap();
    let bytes: Vec<_> = packets.iter().map(|(_, data)| data[0]).collect();
    assert_eq!(bytes, [1, 2, 3, 4]);
    assert!(
        packets
            .iter()
            .all(|(p, _)| (p.size, p.duration) == (2, 512))
    );
}

#[test]
fn sizes_by_default_are_those_of_each_track() {
    // Neither track says how large its samples are: 3 bytes each of the first, 2 of the second.
    let trafs = |at| {
        let other = make(b"trun", &[&words(&[0x1, 2, at])]);
        let own = make(b"trun", &[&words(&[0, 2])]);
        let other = make(b"traf", &[&tfhd(0, &[2]), &other]);
        [other, make(b"traf", &[&tfhd(0, &[1]), &own])].concat()
    };
    let media = [0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 1, 1, 2, 2];
    let defaults = [trex(2, 1, 3), trex(1, 512, 2)].concat();
    let file = [init(&defaults), fragment(trafs, &media)].concat();
    assert_eq!(bytes_of(&file), [vec![1; 2], vec![2; 2]]);
}

#[test]
fn an_explicit_base_and_the_fragments_defaults_precede_those_of_the_track() {
    let init = init(&trex(1, 512, 2));
    let distance = init.len() as u32;
    let trafs = |at| {
        let tfhd = tfhd(0x1 | 0x8 | 0x10, &[1, 0, distance + at, 960, 3]);
        let run = make(b"trun", &[&words(&[0x1, 2, 1])]);
        make(b"traf", &[&tfhd, &run])
    };
    let file = [init, fragment(trafs, &[9, 1, 1, 1, 2, 2, 2])].concat();
    assert_eq!(bytes_of(&file), [vec![1; 3], vec![2; 3]]);
}

#[test]
fn samples_of_moov_come_before_those_of_fragments() {
    let media = Media::new();
    let plain = faststart(&media, |at| {
        let mvex = make(b"mvex", &[&trex(1, 0, 0)]);
        make(
            b"moov",
            &[&mvhd(1000), &aac_trak(1, &media.tables(at)), &mvex],
        )
    });
    let file = [plain, simple_fragment(5 * 1024, 30)].concat();
    let mut source = Strict(StreamSource::new(Drip(&file)));
    let movie = Movie::read(&mut source).unwrap();
    let (packets, _) = packets_of(&mut source, &movie, 0).unwrap();
    let bytes: Vec<_> = packets.iter().map(|(_, data)| data.clone()).collect();
    assert_eq!(
        bytes,
        [Media::samples(), vec![vec![30; 3], vec![31; 4]]].concat()
    );
    assert_eq!(packets[5].0.time, 5 * 1024);
}

#[test]
fn the_segment_index_gives_the_duration() {
    let reference = [100, 44_100, 0];
    let sidx = make(
        b"sidx",
        &[
            &words(&[0, 1, 22_050, 0, 0, 2]),
            &words(&reference),
            &words(&reference),
        ],
    );
    let file = [init(&trex(1, 0, 0)), sidx, simple_fragment(0, 1)].concat();
    let (movie, packets) = read_all(&file).unwrap();
    assert_eq!(movie.audio[0].duration, Some(4 * 44_100));
    assert_eq!(packets.len(), 2);
}

#[test]
fn a_malformed_fragment_is_skipped_with_a_warning() {
    let mut broken = simple_fragment(2048, 20);
    let tfhd_at = broken.windows(4).position(|w| w == b"tfhd").unwrap();
    broken[tfhd_at - 1] = 3; // smaller than its header
    let file = [
        init(&trex(1, 0, 0)),
        simple_fragment(0, 10),
        broken,
        simple_fragment(4096, 30),
    ]
    .concat();
    let mut source = file.as_slice();
    let movie = Movie::read(&mut source).unwrap();
    let (packets, reader) = packets_of(&mut source, &movie, 0).unwrap();
    assert_eq!(packets.len(), 4);
    assert!(reader.missing().uncounted);
    assert!(
        matches!(&reader.warnings()[0], Warning::Malformed { what, .. } if what == "tfhd"),
        "{:?}",
        reader.warnings()
    );
}

#[test]
fn endless_samples_of_no_size_are_refused() {
    let run = make(b"trun", &[&words(&[0, u32::MAX])]);
    let trafs = |_| make(b"traf", &[&tfhd(DEFAULT_BASE_IS_MOOF, &[1]), &run]);
    let file = [init(&trex(1, 1024, 0)), fragment(trafs, &[])].concat();
    let mut source = file.as_slice();
    let movie = Movie::read(&mut source).unwrap();
    let (packets, reader) = packets_of(&mut source, &movie, 0).unwrap();
    assert!(packets.is_empty());
    assert_eq!(reader.warnings().len(), 1);
}

/// A `traf` of two samples, as in [`simple_fragment`], whose media begin at `at`.
fn simple_traf(time: u32, at: u32) -> Vec<u8> {
    let run = trun(at, &[[1024, 3], [1024, 4]]);
    make(
        b"traf",
        &[&tfhd(DEFAULT_BASE_IS_MOOF, &[1]), &tfdt(time), &run],
    )
}

#[test]
fn track_fragments_of_one_fragment_are_read_in_the_order_of_their_times() {
    let file = [
        init(&trex(1, 0, 0)),
        simple_fragment(0, 10),
        fragment(
            |at| [simple_traf(4096, at + 7), simple_traf(2048, at)].concat(),
            &[20, 20, 20, 21, 21, 21, 21, 30, 30, 30, 31, 31, 31, 31],
        ),
        // Media in the order of the track fragments.
        fragment(
            |at| [simple_traf(8192, at), simple_traf(6144, at + 7)].concat(),
            &[50, 50, 50, 51, 51, 51, 51, 40, 40, 40, 41, 41, 41, 41],
        ),
    ]
    .concat();
    let firsts = |packets: Vec<Vec<u8>>| packets.iter().map(|data| data[0]).collect::<Vec<_>>();
    let expected = [10, 11, 20, 21, 30, 31, 40, 41, 50, 51];
    assert_eq!(firsts(bytes_of(&file)), expected);
    let mut source = StreamSource::new(Drip(&file));
    let movie = Movie::read(&mut source).unwrap();
    let (packets, reader) = packets_of(&mut source, &movie, 0).unwrap();
    assert!(reader.jumps().is_empty(), "{:?}", reader.jumps());
    let times: Vec<u64> = packets.iter().map(|(packet, _)| packet.time).collect();
    assert!(
        times.iter().copied().eq((0..10).map(|i| 1024 * i)),
        "{times:?}"
    );
    assert_eq!(
        firsts(packets.into_iter().map(|(_, data)| data).collect()),
        expected
    );
}

#[test]
fn silence_that_a_fragment_declares_is_not_missing() {
    const DURATION_IS_EMPTY: u32 = 0x1_0008;
    let silence = |time: Option<u32>| {
        let tfhd = tfhd(DURATION_IS_EMPTY, &[1, 2048]);
        let traf = make(b"traf", &[&tfhd, &time.map_or_else(Vec::new, tfdt)]);
        make(b"moof", &[&traf])
    };
    for time in [Some(2048), None] {
        for (declared, jumps) in [(silence(time), 0), (Vec::new(), 1)] {
            let file = [
                init(&trex(1, 0, 0)),
                simple_fragment(0, 10),
                declared,
                simple_fragment(4096, 20),
                // This is missing all the same.
                simple_fragment(8192, 30),
            ]
            .concat();
            let mut source = file.as_slice();
            let movie = Movie::read(&mut source).unwrap();
            let mut reader = movie.packets(&mut source, 0).unwrap();
            let mut times = Vec::new();
            while let Some(packet) = reader.next(&mut source, &mut Vec::new()).unwrap() {
                times.push(packet.time);
                if let Some(gap) = packet.gap.filter(|&gap| gap > 0) {
                    assert_eq!(gap, 2048);
                    assert!(reader.miss(packet.time - gap, packet.time), "it is filled");
                }
            }
            assert_eq!(times, [0, 1024, 4096, 5120, 8192, 9216]);
            assert_eq!(reader.jumps().len(), 1 + jumps, "{:?}", reader.jumps());
        }
    }
}

/// How large they are is not known where the size of packets is chosen.
#[test]
fn pcm_of_one_size_in_a_fragment_makes_packets_of_a_bounded_size() {
    const SAMPLES: u32 = 300;
    const SIZE: u32 = 6144;
    let stsd = stsd(&audio_entry(b"sowt", &[]));
    let sowt = trak(
        1,
        b"soun",
        &[],
        &[stsd, sample_tables(&[], 1, &[])].concat(),
    );
    let mvex = make(b"mvex", &[&trex(1, 1536, SIZE)]);
    let moov = make(b"moov", &[&mvhd(1000), &sowt, &mvex]);
    let traf = |at| {
        let run = make(b"trun", &[&words(&[1, SAMPLES, at])]);
        make(
            b"traf",
            &[&tfhd(DEFAULT_BASE_IS_MOOF, &[1]), &tfdt(0), &run],
        )
    };
    let media = vec![1; (SAMPLES * SIZE) as usize];
    let file = [ftyp(), moov, fragment(traf, &media)].concat();
    let packets = bytes_of(&file);
    assert!(packets.iter().all(|data| data.len() <= 256 << 10));
    assert_eq!(packets.concat(), media);
}
