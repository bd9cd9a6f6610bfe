//! Files without fragments.

use std::io::Read;
use std::time::Duration;

use super::build::*;
use super::{packets_of, read_all};
use crate::codec::{AacProfile, Codec, PcmFormat};
use crate::error::Error;
use crate::mp4::Movie;
use crate::mp4::movie::read_track_samples;
use crate::source::{Source, StreamSource};
use crate::tags::Key;
use crate::timeline::{Edit, EditList};

fn bytes_of(file: &[u8]) -> Vec<Vec<u8>> {
    let (_, packets) = read_all(file).unwrap();
    packets.into_iter().map(|(_, data)| data).collect()
}

#[test]
fn a_plain_file_gives_the_bytes_of_its_samples_and_no_others() {
    let (movie, packets) = read_all(&plain_file()).unwrap();
    let track = &movie.audio[0];
    assert_eq!(movie.brand, Some(*b"isom"));
    assert_eq!(
        (track.id, track.enabled, track.timescale),
        (1, true, 44_100)
    );
    assert_eq!(track.language.as_deref(), Some("deu"));
    assert_eq!((track.duration, track.samples), (Some(5 * 1024), Some(5)));
    let codec = track.codec.as_ref().unwrap();
    assert_eq!(
        (&codec.codec, codec.channels, codec.sample_rate),
        (&Codec::Aac(AacProfile::Unknown), 2, 44_100)
    );
    assert_eq!(codec.config, [0x12, 0x10]);
    let times: Vec<_> = packets.iter().map(|(p, _)| (p.time, p.duration)).collect();
    assert_eq!(times, [0, 1, 2, 3, 4].map(|i| (i * 1024, 1024)));
    assert!(
        packets
            .iter()
            .all(|(p, data)| p.read == p.size && data.len() == p.size as usize)
    );
    let bytes: Vec<_> = packets.into_iter().map(|(_, data)| data).collect();
    assert_eq!(bytes, Media::samples());
}

#[test]
fn moov_may_be_last_and_boxes_have_every_kind_of_size() {
    assert_eq!(bytes_of(&moov_last()), Media::samples());

    let media = Media::new();
    let at = ftyp().len() + 16;
    let rows = media.chunks.map(|chunk| [0, chunk + at as u32]);
    let co64 = make(b"co64", &[&words(&[0, 3]), &words(rows.as_flattened())]);
    let stz2 = make(b"stz2", &[&words(&[0, 4, 5]), &[0x35, 0x72, 0x40]]);
    let tables = [
        table(b"stts", &[[5, 1024]]),
        table(b"stsc", &[[1, 2, 1]]),
        stz2,
        co64,
    ]
    .concat();
    let mut moov = make(b"moov", &[&mvhd(1000), &aac_trak(1, &tables)]);
    moov[..4].fill(0); // to the end of the file
    let file = [ftyp(), make_large(b"mdat", &media.bytes), moov].concat();
    assert_eq!(bytes_of(&file), Media::samples());
}

/// Gives a few bytes at a time.
pub struct Drip<'a>(pub &'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = buf.len().min(7);
        self.0.read(&mut buf[..n])
    }
}

/// A stream that panics if it is asked to keep anything.
pub struct Strict<S>(pub S);

impl<S: Source> Source for Strict<S> {
    fn size(&self) -> Option<u64> {
        self.0.size()
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read_at(offset, buf)
    }
    fn keep_from(&mut self, offset: u64) -> std::io::Result<()> {
        panic!("asked to keep the bytes from {offset} on");
    }
}

#[test]
fn a_stream_with_moov_first_is_read_without_a_spool() {
    let file = plain_file();
    let mut source = Strict(StreamSource::new(Drip(&file)));
    let movie = Movie::read(&mut source).unwrap();
    let (packets, reader) = packets_of(&mut source, &movie, 0).unwrap();
    assert_eq!(packets, read_all(&file).unwrap().1);
    assert!(reader.missing().is_empty());
}

#[test]
fn a_stream_with_moov_last_is_spooled() {
    let file = moov_last();
    let mut source = StreamSource::new(Drip(&file));
    let movie = Movie::read(&mut source).unwrap();
    let (packets, _) = packets_of(&mut source, &movie, 0).unwrap();
    assert_eq!(packets, read_all(&file).unwrap().1);
}

#[test]
fn a_stream_with_chunks_out_of_order_is_spooled() {
    let media = Media::new();
    let file = faststart(&media, |at| {
        let offsets = [50, 25, 10].map(|chunk| chunk + at as u32);
        let tables = sample_tables(&[4, 7, 2, 3, 5], 1, &offsets);
        make(b"moov", &[&mvhd(1000), &aac_trak(1, &tables)])
    });
    let mut source = StreamSource::new(Drip(&file));
    let movie = Movie::read(&mut source).unwrap();
    let (packets, reader) = packets_of(&mut source, &movie, 0).unwrap();
    let bytes: Vec<_> = packets.into_iter().map(|(_, data)| data).collect();
    assert_eq!(bytes, [vec![4; 4], vec![2; 7], vec![0, 0]]);
    // Two samples have a size and no chunk.
    assert_eq!((reader.missing().packets, reader.missing().bytes), (2, 8));
}

/// Notes which bytes are read.
struct Watched<'a> {
    file: &'a [u8],
    touched: Vec<bool>,
}

impl Source for Watched<'_> {
    fn size(&self) -> Option<u64> {
        self.file.size()
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read_at(offset, buf)?;
        self.touched[offset as usize..][..n].fill(true);
        Ok(n)
    }
    fn keep_from(&mut self, _offset: u64) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn neither_the_tables_nor_the_media_of_video_are_read() {
    let media = Media::new();
    let rows: Vec<[u32; 1]> = (0..50_000).map(|_| [9]).collect();
    let video = trak(2, b"vide", &[], &table(b"stco", &rows));
    let file = faststart(&media, |at| {
        make(
            b"moov",
            &[&mvhd(1000), &video, &aac_trak(1, &media.tables(at))],
        )
    });
    let mut source = Watched {
        file: &file,
        touched: vec![false; file.len()],
    };
    let movie = Movie::read(&mut source).unwrap();
    assert_eq!((movie.audio.len(), movie.other_tracks), (1, 1));
    let (packets, _) = packets_of(&mut source, &movie, 0).unwrap();
    assert_eq!(packets.len(), 5);
    let read = source.touched.iter().filter(|&&t| t).count();
    assert!(read < 9_000, "{read} of {} bytes were read", file.len());
    let media_read = source.touched[file.len() - 64..]
        .iter()
        .filter(|&&t| t)
        .count();
    assert_eq!(media_read, 21, "bytes between the chunks are not audio");
}

#[test]
fn edits_are_given_in_media_time() {
    let elst = table(b"elst", &[[50, u32::MAX, 1 << 16], [80, 1024, 1 << 16]]);
    let edts = make(b"edts", &[&elst]);
    let media = Media::new();
    let file = faststart(&media, |at| {
        let stsd = stsd(&audio_entry(b"mp4a", &esds()));
        let stbl = [stsd, media.tables(at)].concat();
        make(b"moov", &[&mvhd(1000), &trak(1, b"soun", &edts, &stbl)])
    });
    let (movie, _) = read_all(&file).unwrap();
    let edit = |duration, media_time| Edit {
        duration,
        media_time,
        at_full_speed: true,
    };
    let edits = vec![edit(50, None), edit(80, Some(1024))];
    let expected = EditList::new(edits, 1000, 44_100, false);
    assert_eq!(movie.audio[0].edits, expected);
    assert_eq!(expected.delay(), Duration::from_millis(50));
}

/// A file of 10,000 PCM samples of two channels and 16 bits, with 1 byte in `stsz`.
fn pcm_file(kind: &[u8; 4], boxes: &[u8]) -> Vec<u8> {
    let media = Media {
        bytes: (0..40_000).map(|i| (i % 251) as u8).collect(),
        chunks: [0; 3],
    };
    faststart(&media, |at| {
        let tables = [
            stsd(&audio_entry(kind, boxes)),
            table(b"stts", &[[10_000, 1]]),
            table(b"stsc", &[[1, 10_000, 1]]),
            make(b"stsz", &[&words(&[0, 1, 10_000])]),
            table(b"stco", &[[at as u32]]),
        ];
        make(
            b"moov",
            &[&mvhd(1000), &trak(1, b"soun", &[], &tables.concat())],
        )
    })
}

#[test]
fn a_packet_holds_many_uncompressed_samples() {
    let file = pcm_file(b"sowt", &[]);
    let (movie, packets) = read_all(&file).unwrap();
    let layout = PcmFormat {
        bits: 16,
        float: false,
        big_endian: false,
        signed: true,
        width: 2,
        high: false,
        companding: None,
    };
    assert_eq!(
        movie.audio[0].codec.as_ref().unwrap().codec,
        Codec::Pcm(layout)
    );
    assert_eq!(movie.audio[0].duration, Some(10_000));
    let durations: Vec<_> = packets.iter().map(|(p, _)| p.duration).collect();
    assert_eq!(durations, [4096, 4096, 1808]);
    let bytes: Vec<u8> = packets.into_iter().flat_map(|(_, data)| data).collect();
    assert_eq!(bytes, file[file.len() - 40_000..]);
}

#[test]
fn a_sample_may_hold_several_instants_of_uncompressed_audio() {
    let media = Media {
        bytes: (0..40_000).map(|i| (i % 251) as u8).collect(),
        chunks: [0; 3],
    };
    // Of 100 instants each; of 5,000, in a chunk that would be too large for one packet.
    for (instants, samples) in [(100, 100), (5_000, 2)] {
        let file = faststart(&media, |at| {
            let tables = [
                stsd(&audio_entry(b"twos", &[])),
                table(b"stts", &[[samples, instants]]),
                table(b"stsc", &[[1, samples, 1]]),
                make(b"stsz", &[&words(&[0, 4 * instants, samples])]),
                table(b"stco", &[[at as u32]]),
            ];
            let trak = trak(1, b"soun", &[], &tables.concat());
            make(b"moov", &[&mvhd(1000), &trak])
        });
        let (_, packets) = read_all(&file).unwrap();
        let duration: u32 = packets.iter().map(|(p, _)| p.duration).sum();
        assert_eq!(duration, 10_000);
        let bytes: Vec<u8> = packets.into_iter().flat_map(|(_, data)| data).collect();
        assert!(bytes == file[file.len() - 40_000..]);
    }
}

#[test]
fn sizes_of_one_byte_are_right_for_mono_8_bit_only() {
    let (_, packets) = read_all(&pcm_file(b"twos", &[])).unwrap();
    assert_eq!(packets[0].0.size, 4 * 4096);
}

#[test]
fn chapters_may_be_named_by_the_video_alone() {
    let media = Media::new();
    let tref = make(b"tref", &[&make(b"chap", &[&words(&[2])])]);
    let text_entry = make(b"text", &[&[0; 51]]);
    let file = faststart(&media, |at| {
        let tables = sample_tables(&[3, 4], 2, &[at as u32]);
        let tables = [stsd(&text_entry), tables].concat();
        let text = trak(2, b"text", &[], &tables);
        let unnamed = trak(4, b"text", &[], &tables);
        let video = trak(3, b"vide", &tref, &[]);
        let aac = [stsd(&audio_entry(b"mp4a", &esds())), media.tables(at)].concat();
        let sound = trak(1, b"soun", &[], &aac);
        make(b"moov", &[&mvhd(1000), &video, &sound, &text, &unnamed])
    });
    let (movie, _) = read_all(&file).unwrap();
    assert_eq!(movie.audio[0].chapters, [2]);
    assert_eq!(movie.text.iter().map(|t| t.id).collect::<Vec<_>>(), [2]);
}

/// Subtitles may be the titles of chapters, if they are text.
#[test]
fn chapters_may_be_subtitles_in_text() {
    let media = Media::new();
    for (handler, coding, found) in [
        (b"sbtl", b"tx3g", 1),
        (b"subt", b"tx3g", 1),
        (b"subt", b"text", 1),
        (b"subt", b"wvtt", 0),
        (b"subp", b"mp4s", 0),
    ] {
        let file = faststart(&media, |at| {
            let tref = make(b"tref", &[&make(b"chap", &[&words(&[2])])]);
            let aac = stsd(&audio_entry(b"mp4a", &esds()));
            let sound = trak(1, b"soun", &tref, &[aac, media.tables(at)].concat());
            let entry = make(coding, &[&[0; 51]]);
            let text = trak(2, handler, &[], &[stsd(&entry), media.tables(at)].concat());
            make(b"moov", &[&mvhd(1000), &sound, &text])
        });
        let mut source = file.as_slice();
        let movie = Movie::read(&mut source).unwrap();
        assert_eq!(movie.text.len(), found, "{handler:?} {coding:?}");
        let chapters = movie.chapters(&mut source, 0).unwrap();
        assert_eq!(chapters.len(), 5 * found, "{handler:?} {coding:?}");
    }
}

/// `meta` or `udta` with a title.
fn titled(kind: &[u8; 4], title: &[u8]) -> Vec<u8> {
    let data = make(b"data", &[&words(&[1, 0]), title]);
    let ilst = make(b"ilst", &[&make(b"\xA9nam", &[&data])]);
    let meta = make(b"meta", &[&[0; 4], &ilst]);
    match kind {
        b"meta" => meta,
        _ => make(kind, &[&meta]),
    }
}

#[test]
fn metadata_beside_moov_is_read_before_and_behind_it() {
    let media = Media::new();
    let moov = |at| make(b"moov", &[&mvhd(1000), &aac_trak(1, &media.tables(at))]);
    let mdat = make(b"mdat", &[&media.bytes]);
    for kind in [b"meta", b"udta"] {
        let title = titled(kind, b"a");
        let behind_media = [faststart(&media, moov), title.clone()].concat();
        let at = ftyp().len() + moov(0).len() + title.len() + 8;
        let behind_moov = [ftyp(), moov(at), title.clone(), mdat.clone()].concat();
        let at_the_end = [moov_last(), title].concat();
        for (file, in_a_stream) in [
            (&behind_media, false),
            (&behind_moov, true),
            (&at_the_end, true),
        ] {
            let title_of = |source: &mut dyn Source| {
                let movie = Movie::read(source).unwrap();
                let (packets, _) = packets_of(source, &movie, 0).unwrap();
                assert_eq!(packets.len(), 5);
                let tags = movie.metadata(Some(0)).tags;
                tags.get(&Key::Title).map(str::to_owned)
            };
            assert_eq!(title_of(&mut file.as_slice()).as_deref(), Some("a"));
            let streamed = title_of(&mut StreamSource::new(Drip(file)));
            assert_eq!(streamed.is_some(), in_a_stream);
        }
    }
}

#[test]
fn tags_of_the_converted_track_fill_in_for_those_of_the_movie() {
    let media = Media::new();
    let tables = |at| [stsd(&audio_entry(b"mp4a", &esds())), media.tables(at)].concat();
    for (kind, of_movie) in [(b"meta", false), (b"udta", false), (b"udta", true)] {
        let file = faststart(&media, |at| {
            let tracks = [
                trak(1, b"soun", &titled(kind, b"first"), &tables(at)),
                trak(2, b"soun", &titled(kind, b"second"), &tables(at)),
                trak(3, b"vide", &titled(kind, b"video"), &[]),
            ];
            let udta = match of_movie {
                true => titled(b"udta", b"movie"),
                false => Vec::new(),
            };
            make(b"moov", &[&mvhd(1000), &tracks.concat(), &udta])
        });
        let movie = Movie::read(&mut file.as_slice()).unwrap();
        for (track, own) in [
            (None, None),
            (Some(0), Some("first")),
            (Some(1), Some("second")),
        ] {
            let tags = movie.metadata(track).tags;
            let expected = if of_movie { Some("movie") } else { own };
            assert_eq!(tags.get(&Key::Title), expected, "{kind:?} {track:?}");
            assert_eq!(tags.len(), usize::from(expected.is_some()));
        }
    }
}

#[test]
fn chapter_titles_are_read_before_the_audio() {
    let titles = [b"\0\x03one".as_slice(), b"\0\x03two"].concat();
    let media = Media {
        bytes: [&Media::new().bytes[..], &titles].concat(),
        chunks: Media::new().chunks,
    };
    let text_entry = make(b"text", &[&[0; 51]]);
    let tref = make(b"tref", &[&make(b"chap", &[&words(&[2])])]);
    let udta = make(b"udta", &[&make(b"chpl", &[&[0; 9]])]);
    let file = faststart(&media, |at| {
        let text_tables = sample_tables(&[5, 5], 2, &[at as u32 + 64]);
        let text = trak(2, b"text", &[], &[stsd(&text_entry), text_tables].concat());
        let aac = [stsd(&audio_entry(b"mp4a", &esds())), media.tables(at)].concat();
        let sound = trak(1, b"soun", &tref, &aac);
        make(b"moov", &[&mvhd(1000), &text, &sound, &udta])
    });

    let mut source = StreamSource::new(Drip(&file));
    let movie = Movie::read(&mut source).unwrap();
    assert_eq!(movie.audio[0].chapters, [2]);
    assert_eq!(movie.text.len(), 1);
    let titles = read_track_samples(&mut source, &movie, &movie.text[0]).unwrap();
    let told: Vec<_> = titles.iter().map(|t| (t.time, t.data.as_slice())).collect();
    assert_eq!(told, [(0, &b"\0\x03one"[..]), (1024, b"\0\x03two")]);
    // The audio, which comes before the titles, can still be read.
    let (packets, _) = packets_of(&mut source, &movie, 0).unwrap();
    assert_eq!(packets.len(), 5);
}

#[test]
fn what_is_not_mp4_is_named() {
    for (bytes, name) in [
        (&b""[..], "empty"),
        (b"RIFF\x24\0\0\0WAVE", "WAV"),
        (b"OggS\0\x02\0\0\0\0", "Ogg"),
        (b"ID3\x04\0\0\0\0\0\0", "MP3"),
        (b"hello, world", "hello, w"),
    ] {
        let error = Movie::read(&mut { bytes }).unwrap_err();
        assert!(matches!(error, Error::NotMp4 { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// `moov` in compressed form, as large as the rest of `plain_file` expects.
fn compressed(moov: &[u8], method: &[u8; 4]) -> Vec<u8> {
    let stream = miniz_oxide::deflate::compress_to_vec_zlib(moov, 6);
    let cmvd = make(b"cmvd", &[&words(&[moov.len() as u32]), &stream]);
    let cmov = make(b"cmov", &[&make(b"dcom", &[method]), &cmvd]);
    make(b"moov", &[&cmov])
}

#[test]
fn a_compressed_movie_header_is_expanded() {
    let media = Media::new();
    // The media comes first, so that its place does not depend on the size of the header.
    let at = ftyp().len() + 8;
    let moov = make(b"moov", &[&mvhd(1000), &aac_trak(1, &media.tables(at))]);
    let mdat = make(b"mdat", &[&media.bytes]);
    let file = |moov: Vec<u8>| [ftyp(), mdat.clone(), moov].concat();
    let compressed_file = file(compressed(&moov, b"zlib"));
    assert_eq!(bytes_of(&compressed_file), Media::samples());

    let error = |moov: Vec<u8>| read_all(&file(moov)).unwrap_err();
    let other = error(compressed(&moov, b"adec"));
    assert!(
        other.to_string().contains("compressed with `adec`"),
        "{other}"
    );
    let no_movie = error(compressed(&make(b"free", &[]), b"zlib"));
    assert!(
        no_movie.to_string().contains("does not expand"),
        "{no_movie}"
    );
    let twice = error(compressed(&compressed(&moov, b"zlib"), b"zlib"));
    assert!(matches!(twice, Error::NoAudioTrack(_)), "{twice}");
    let bomb = error(compressed(&vec![0; 40 << 20], b"zlib"));
    assert!(matches!(bomb, Error::Limit { .. }), "{bomb}");
    let mut damaged = compressed(&moov, b"zlib");
    let middle = damaged.len() / 2;
    damaged[middle..].fill(0xAA);
    assert!(matches!(error(damaged), Error::Malformed { .. }));
    let empty = make(b"moov", &[&make(b"cmov", &[])]);
    assert!(error(empty).to_string().contains("no `cmvd`"));
}

/// An `stsd` of two AAC entries, the second of which has this configuration; the first two samples are of the first.
fn two_entries(second: [u8; 2]) -> Vec<u8> {
    let media = Media::new();
    let mut other = audio_entry(b"mp4a", &esds());
    let end = other.len();
    other[end - 2..].copy_from_slice(&second);
    let entries = [audio_entry(b"mp4a", &esds()), other].concat();
    let stsd = make(b"stsd", &[&words(&[0, 2]), &entries]);
    faststart(&media, |at| {
        let offsets = media.chunks.map(|chunk| [chunk + at as u32]);
        let tables = [
            stsd.clone(),
            table(b"stts", &[[5, 1024]]),
            table(b"stsc", &[[1, 2, 1], [2, 2, 2]]),
            make(b"stsz", &[&words(&[0, 0, 5]), &words(&SIZES)]),
            table(b"stco", &offsets),
        ];
        make(
            b"moov",
            &[&mvhd(1000), &trak(1, b"soun", &[], &tables.concat())],
        )
    })
}

#[test]
fn packets_tell_their_sample_entry_where_there_are_several() {
    let (movie, packets) = read_all(&two_entries([0x12, 0x08])).unwrap();
    let entries: Vec<u32> = packets.iter().map(|(packet, _)| packet.entry).collect();
    assert_eq!(entries, [1, 1, 2, 2, 2]);
    let codec = movie.audio[0].codec.as_ref().unwrap();
    let [other] = &codec.others[..] else {
        panic!("{codec:?}")
    };
    assert_eq!((codec.entry, other.entry), (1, 2));
    assert_eq!(other.parameters.as_ref().unwrap().config, [0x12, 0x08]);

    let (movie, _) = read_all(&two_entries([0x12, 0x10])).unwrap();
    assert!(movie.audio[0].codec.as_ref().unwrap().others.is_empty());
    assert!(movie.warnings.is_empty());
}

/// The sample entry holds 16 bits: writers leave out the upper ones, or all.
#[test]
fn rates_above_16_bits_follow_from_the_timescale() {
    let media = Media::new();
    for (declared, timescale, expected) in [
        (0, 96_000, 96_000),
        (96_000 & 0xFFFF, 96_000, 96_000),
        (192_000 & 0xFFFF, 192_000, 192_000),
        (44_100, 96_000, 44_100),
        (48_000, 600, 48_000),
    ] {
        let file = faststart(&media, |at| {
            let mut entry = audio_entry(b"sowt", &[]);
            entry[32..36].copy_from_slice(&words(&[declared << 16]));
            let tables = [
                stsd(&entry),
                table(b"stts", &[[5, 1]]),
                table(b"stsc", &[[1, 5, 1]]),
                make(b"stsz", &[&words(&[0, 4, 5])]),
                table(b"stco", &[[at as u32]]),
            ];
            let mut track = trak(1, b"soun", &[], &tables.concat());
            let mdhd = track.windows(4).position(|four| four == b"mdhd").unwrap();
            track[mdhd + 16..mdhd + 20].copy_from_slice(&words(&[timescale]));
            make(b"moov", &[&mvhd(1000), &track])
        });
        let (movie, _) = read_all(&file).unwrap();
        let codec = movie.audio[0].codec.as_ref().unwrap();
        assert_eq!(codec.sample_rate, expected);
    }
}
