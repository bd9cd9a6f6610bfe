//! The sound alone of files that are built box by box.

use std::ops::Range;

use super::build::*;
use super::{packets_of, read_all};
use crate::error::Result;
use crate::mp4::{Movie, Outline, SoundPiece};
use crate::options::TrackChoice;
use crate::progress::CancelToken;
use crate::sound_only;

fn pieces(file: &[u8], size: u64, track: usize) -> Result<Vec<SoundPiece>> {
    let outline = Outline::new(file.to_vec(), size)?;
    let sound = sound_only(&outline, &TrackChoice::Index(track), &CancelToken::new())?;
    Ok(sound.pieces)
}

fn alone(file: &[u8], track: usize) -> Result<Vec<u8>> {
    let outline = Outline::of(&mut &*file)?;
    let mut sound = Vec::new();
    for piece in pieces(outline.bytes(), outline.size(), track)? {
        match piece {
            SoundPiece::Bytes(bytes) => sound.extend(bytes),
            SoundPiece::Range(range) => {
                sound.extend(&file[range.start as usize..range.end as usize])
            }
        }
    }
    Ok(sound)
}

/// The bytes and times of a file's packets.
fn heard(file: &[u8], track: usize) -> Vec<(u64, u32, Vec<u8>)> {
    let mut file = file;
    let movie = Movie::read(&mut file).unwrap();
    let (packets, _) = packets_of(&mut file, &movie, track).unwrap();
    let packets = packets.into_iter();
    packets
        .map(|(packet, data)| (packet.time, packet.duration, data))
        .collect()
}

/// Titles and pictures of the chapters.
fn chapters(mut file: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let movie = Movie::read(&mut file).unwrap();
    let mut chapters = movie.chapters(&mut file, 0).unwrap();
    movie.add_pictures(&mut file, 0, &mut chapters).unwrap();
    let chapters = chapters.into_iter();
    chapters
        .map(|chapter| {
            (
                chapter.title,
                chapter.picture.map(|picture| picture.data().to_vec()),
            )
        })
        .collect()
}

#[test]
fn a_track_stands_alone_with_its_packets_and_no_more() {
    for file in [plain_file(), moov_last()] {
        let sound = alone(&file, 0).unwrap();
        assert_eq!(heard(&sound, 0), heard(&file, 0));
        let media: usize = SIZES.iter().sum::<u32>() as usize;
        let mdat = sound.windows(4).position(|kind| kind == b"mdat").unwrap();
        assert_eq!(sound.len() - mdat - 4, media);
    }
}

/// An audio track, with a video track in front of it that alone names the chapters' titles and pictures.
fn talk(audio_tref: &[u8], video_tref: &[u8]) -> Vec<u8> {
    const TITLES: [&[u8]; 2] = [b"\0\x03one", b"\0\x03two"];
    const PICTURES: [&[u8]; 2] = [b"\xFF\xD8\xFF\xE0 one", b"\xFF\xD8\xFF\xE0 the other"];
    let media = Media::new();
    let sizes = |samples: [&[u8]; 2]| samples.map(|sample| sample.len() as u32);
    let bytes = [
        &media.bytes[..],
        &[7; 500],
        &TITLES.concat(),
        &[7; 500],
        &PICTURES.concat(),
    ]
    .concat();
    let titles_at = media.bytes.len() + 500;
    let pictures_at = titles_at + TITLES.concat().len() + 500;
    let picture = |kind| stsd(&make(kind, &[&[0; 6], &[0, 1], &[0; 70]]));
    let chunks = media.chunks;
    let all = Media { bytes, chunks };
    faststart(&all, |at| {
        let offset = |from: usize| [(at + from) as u32];
        let text = [
            stsd(&make(b"text", &[&[0; 51]])),
            sample_tables(&sizes(TITLES), 2, &offset(titles_at)),
        ];
        let pictures = [
            picture(b"jpeg"),
            sample_tables(&sizes(PICTURES), 2, &offset(pictures_at)),
        ];
        let video = [
            picture(b"avc1"),
            sample_tables(&[500], 1, &offset(media.bytes.len())),
        ];
        let aac = [stsd(&audio_entry(b"mp4a", &esds())), media.tables(at)];
        let tracks = [
            trak(1, b"vide", video_tref, &video.concat()),
            trak(2, b"soun", audio_tref, &aac.concat()),
            trak(3, b"text", &[], &text.concat()),
            trak(4, b"vide", &[], &pictures.concat()),
        ];
        make(b"moov", &[&mvhd(1000), &tracks.concat()])
    })
}

#[test]
fn titles_and_pictures_stay_whoever_names_them() {
    let names = make(b"tref", &[&make(b"chap", &[&words(&[3, 4])])]);
    for file in [talk(&names, &[]), talk(&[], &names), talk(&names, &names)] {
        let sound = alone(&file, 0).unwrap();
        assert_eq!(chapters(&file).len(), 2);
        assert_eq!(chapters(&sound), chapters(&file));
        assert!(
            chapters(&sound)
                .iter()
                .all(|(_, picture)| picture.is_some())
        );
        assert_eq!(heard(&sound, 0), heard(&file, 0));
        assert!(sound.len() + 900 < file.len());
        assert_eq!(read_all(&sound).unwrap().0.other_tracks, 2);
    }
}

#[test]
fn a_track_keeps_its_number() {
    let media = Media::new();
    let file = faststart(&media, |at| {
        let tracks = [
            aac_trak(1, &media.tables(at)),
            aac_trak(2, &media.tables(at + 1)),
            aac_trak(3, &media.tables(at)),
        ];
        make(b"moov", &[&mvhd(1000), &tracks.concat()])
    });
    for track in 0..3 {
        let sound = alone(&file, track).unwrap();
        assert_eq!(heard(&sound, track), heard(&file, track), "track {track}");
        assert_eq!(read_all(&sound).unwrap().0.audio.len(), track + 1);
    }
}

/// A fragment of video and audio: `moof` made from where the media begin, counted from it, and the media.
fn fragment(trafs: impl Fn(u32, u32) -> Vec<u8>, at: usize) -> Vec<u8> {
    let mfhd = make(b"mfhd", &[&words(&[0, 1])]);
    let moof = |from: u32| make(b"moof", &[&mfhd, &trafs(at as u32, from)]);
    let from = moof(0).len() as u32 + 8;
    let media = [&[0xEE; 50][..], &[1, 1, 1], &[2, 2, 2, 2]].concat();
    [moof(from), make(b"mdat", &[&media])].concat()
}

#[test]
fn fragments_are_found_however_they_say_where_their_media_are() {
    const BASE: u32 = 1;
    const BASED_ON_MOOF: u32 = 0x2_0000;
    /// Flags of `trun`: an offset; the duration and size of each sample.
    const OFFSET: u32 = 1;
    const EACH: u32 = 0x300;
    let traf = |tfhd: &[u32], time: u32, trun: &[u32]| {
        let tfdt = make(b"tfdt", &[&words(&[0, time])]);
        make(
            b"traf",
            &[
                &make(b"tfhd", &[&words(tfhd)]),
                &tfdt,
                &make(b"trun", &[&words(trun)]),
            ],
        )
    };
    let samples = [1024, 3, 1024, 4];
    let video = |tfhd: &[u32], offset: &[u32]| {
        let flags = if offset.is_empty() {
            EACH
        } else {
            EACH | OFFSET
        };
        traf(tfhd, 0, &[&[flags, 1], offset, &[1024, 50]].concat())
    };
    let audio = |tfhd: &[u32], time: u32, offset: &[u32]| {
        let flags = if offset.is_empty() {
            EACH
        } else {
            EACH | OFFSET
        };
        traf(tfhd, time, &[&[flags, 2], offset, &samples].concat())
    };
    let based = |_: u32, from: u32| {
        [
            video(&[BASED_ON_MOOF, 1], &[from]),
            audio(&[BASED_ON_MOOF, 2], 0, &[from + 50]),
        ]
        .concat()
    };
    let absolute = |at: u32, from: u32| {
        [
            video(&[BASE, 1, 0, at], &[from]),
            audio(&[BASE, 2, 0, at + from], 0, &[50]),
        ]
        .concat()
    };
    // The audio's data follow those of the video, which alone says where it is.
    let following = |_: u32, from: u32| [video(&[0, 1], &[from]), audio(&[0, 2], 0, &[])].concat();
    let init = {
        let empty = sample_tables(&[], 1, &[]);
        let avc = stsd(&make(b"avc1", &[&[0; 6], &[0, 1], &[0; 70]]));
        let trex = |id| make(b"trex", &[&words(&[0, id, 1, 0, 0, 0])]);
        let tracks = [
            trak(1, b"vide", &[], &[avc, empty.clone()].concat()),
            aac_trak(2, &empty),
        ];
        let mvex = make(b"mvex", &[&trex(1), &trex(2)]);
        [
            ftyp(),
            make(b"moov", &[&mvhd(1000), &tracks.concat(), &mvex]),
        ]
        .concat()
    };
    for trafs in [
        &based as &dyn Fn(u32, u32) -> Vec<u8>,
        &absolute,
        &following,
    ] {
        let mut file = init.clone();
        for _ in 0..3 {
            let at = file.len();
            file.extend(fragment(trafs, at));
        }
        let sound = alone(&file, 0).unwrap();
        assert_eq!(heard(&file, 0)[0], (0, 1024, vec![1; 3]));
        assert_eq!(heard(&sound, 0), heard(&file, 0));
        assert!(sound.len() + 3 * 50 < file.len());
    }
}

#[test]
fn media_behind_four_gigabytes_come_within_them() {
    const AT: u64 = 6 << 30;
    let offsets = |kind: &[u8; 4], at: &[u8]| make(kind, &[&words(&[0, 1]), at]);
    let tables = [
        table(b"stts", &[[5, 1024]]),
        table(b"stsc", &[[1, 5, 1]]),
        make(b"stsz", &[&words(&[0, 0, 5]), &words(&SIZES)]),
        offsets(b"co64", &AT.to_be_bytes()),
    ]
    .concat();
    let moov = make(b"moov", &[&mvhd(1000), &aac_trak(1, &tables)]);
    let mdat = [&words(&[1])[..], b"mdat", &(7u64 << 30).to_be_bytes()].concat();
    let outline = [ftyp(), mdat, moov].concat();
    let size = outline.len() as u64 - 16 + (7 << 30);
    let pieces = pieces(&outline, size, 0).unwrap();
    let ranges: Vec<Range<u64>> = pieces
        .iter()
        .filter_map(|piece| match piece {
            SoundPiece::Range(range) => Some(range.clone()),
            SoundPiece::Bytes(_) => None,
        })
        .collect();
    assert_eq!(ranges.as_slice(), std::slice::from_ref(&(AT..AT + 21)));
    let [SoundPiece::Bytes(head), _] = &pieces[..] else {
        panic!("{pieces:?}");
    };
    assert!(head.windows(4).any(|kind| kind == b"stco"));
    assert_eq!(heard(&[&head[..], &[9; 21]].concat(), 0).len(), 5);
}

#[test]
fn what_does_not_fit_or_never_ends_is_refused() {
    let media = Media::new();
    let of = |tables: &[u8]| {
        let moov = make(b"moov", &[&mvhd(1000), &aac_trak(1, tables)]);
        let file = [ftyp(), make(b"mdat", &[&media.bytes]), moov].concat();
        alone(&file, 0).unwrap_err().to_string()
    };
    let behind = of(&sample_tables(&SIZES, 2, &[30, 50, 0xFFFF_FFF0]));
    assert!(behind.contains("the file ends before it"), "{behind}");
    let endless = [
        table(b"stts", &[[u32::MAX, 1024]]),
        table(b"stsc", &[[1, u32::MAX, 1]]),
        make(b"stsz", &[&words(&[0, 2, u32::MAX])]),
        table(b"stco", &[[30]]),
    ];
    let endless = of(&endless.concat());
    assert!(endless.contains("the file ends before it"), "{endless}");
    // A chunk without samples points anywhere.
    let empty = of(&sample_tables(&SIZES, 2, &[30, 50, 60, 3]));
    assert!(empty.contains("no sample is at byte 3"), "{empty}");
}
