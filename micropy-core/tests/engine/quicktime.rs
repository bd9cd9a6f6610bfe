//! What QuickTime's sound descriptions say beyond ISO's: the order of the channels, and frames of a constant bitrate in
//! tables that count PCM samples.

use crate::build::{audio_entry, ftyp, hdlr, make, mdhd, mvhd, stsd, table, tkhd, words};
use crate::support::clip;
use crate::support::movie::{Moov, pcm_movie};
use crate::support::programs::{presented, run};
use micropy_core::stages::{self, Decoded};
use micropy_core::{Converter, Options, Report, probe};

const RATE: u32 = 8_000;

/// A movie of PCM with this much of each channel, whose sample entry ends with `boxes`.
fn movie(levels: &[f32], boxes: &[u8]) -> Vec<u8> {
    let planes: Vec<Vec<f32>> = levels
        .iter()
        .map(|level| {
            let wave = |i: u32| level * (i as f32 * 0.3).sin();
            (0..RATE).map(wave).collect()
        })
        .collect();
    let file = pcm_movie(&planes, RATE, Moov::Last);
    // Nothing that the tables point to lies behind `moov`.
    let grown = |file: &mut Vec<u8>, kind: &[u8; 4]| {
        let at = file.windows(4).position(|four| four == kind).unwrap() - 4;
        let size = u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        let size = size + boxes.len() as u32;
        file[at..at + 4].copy_from_slice(&size.to_be_bytes());
        at + size as usize - boxes.len()
    };
    let mut file = file;
    let mut end = 0;
    for kind in [
        b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"sowt",
    ] {
        end = grown(&mut file, kind);
    }
    file.splice(end..end, boxes.iter().copied());
    file
}

fn chan(tag: u32, labels: &[u32]) -> Vec<u8> {
    let count = labels.len() as u32;
    let labels: Vec<u8> = labels
        .iter()
        .flat_map(|&label| words(&[label, 0, 0, 0, 0]))
        .collect();
    make(b"chan", &[&words(&[0, tag, 0, count]), &labels])
}

/// Whether the planes are as loud as `levels` say, to a few hundredths.
fn are_as_loud(planes: &[Vec<f32>], levels: &[f32]) -> bool {
    let peak = |plane: &Vec<f32>| plane.iter().fold(0f32, |peak, s| peak.max(s.abs()));
    let mut pairs = planes.iter().zip(levels);
    planes.len() == levels.len() && pairs.all(|(plane, level)| (peak(plane) - level).abs() < 0.03)
}

#[test]
fn channels_go_to_the_loudspeakers_that_chan_and_chnl_name() {
    let stored = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
    let chnl = |rest: &[u8]| make(b"chnl", &[&[0; 4], rest]);
    // In the order FL FR FC LFE BL BR.
    for (boxes, expected) in [
        (Vec::new(), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        // L R C LFE Ls Rs; L C R Ls Rs LFE; C L R Ls Rs LFE; L R Ls Rs C LFE
        (chan(121 << 16 | 6, &[]), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        (chan(123 << 16 | 6, &[]), [0.1, 0.3, 0.2, 0.6, 0.4, 0.5]),
        (chan(124 << 16 | 6, &[]), [0.2, 0.3, 0.1, 0.6, 0.4, 0.5]),
        (chan(122 << 16 | 6, &[]), [0.1, 0.2, 0.5, 0.6, 0.3, 0.4]),
        (chan(0, &[6, 5, 4, 3, 2, 1]), [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        // ChannelConfiguration 6; then each by its position.
        (
            chnl(&[1, 6, 0, 0, 0, 0, 0, 0, 0, 0]),
            [0.2, 0.3, 0.1, 0.6, 0.4, 0.5],
        ),
        (
            chnl(&[1, 0, 5, 4, 3, 2, 1, 0]),
            [0.6, 0.5, 0.4, 0.3, 0.2, 0.1],
        ),
        // Of these nothing is known: the usual order.
        (chan(147 << 16 | 6, &[]), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
    ] {
        let Decoded { planes, .. } = stages::pcm(&movie(&stored, &boxes), 0).unwrap();
        assert!(are_as_loud(&planes, &expected), "{boxes:?}");
    }
}

#[test]
fn the_downmix_heeds_the_order_of_the_channels() {
    let swapped = chan(0, &[2, 1]);
    for (stored, boxes, expected) in [
        (&[0.5, 0.0][..], Vec::new(), [0.5, 0.0]),
        (&[0.5, 0.0], swapped, [0.0, 0.5]),
        (&[0.0, 0.5, 0.0], chan(150 << 16 | 3, &[]), [0.354, 0.354]),
        (&[0.0, 0.5, 0.0], chan(113 << 16 | 3, &[]), [0.0, 0.5]),
        // A single channel is heard on both sides, whatever its name.
        (&[0.5], chan(0, &[1]), [0.5, 0.5]),
    ] {
        let options = Options::new()
            .cbr(64)
            .channels(micropy_core::Channels::Stereo)
            .unscaled_downmix(true);
        let mut mp3 = Vec::new();
        Converter::new(options)
            .convert(movie(stored, &boxes).as_slice(), &mut mp3)
            .unwrap();
        let Some(pcm) = presented(&mp3) else { return };
        let side = |side: usize| -> Vec<f32> {
            let middle = pcm.len() / 4..3 * pcm.len() / 4;
            let own = pcm[middle].iter().skip(side).step_by(2);
            own.copied().collect()
        };
        assert!(are_as_loud(&[side(0), side(1)], &expected), "{stored:?}");
    }
}

/// `frames`, each of `samples` PCM samples, as QuickTime describes sound of a constant bitrate: every PCM sample is one
/// of the table, and only the description says how many a frame has, and how many bytes.
fn constant_bitrate(kind: &[u8; 4], frames: &[Vec<u8>], samples: u32, rate: u32) -> Vec<u8> {
    let bytes = frames[0].len() as u32;
    assert!(frames.iter().all(|frame| frame.len() == bytes as usize));
    // Version 1, with its four fields more.
    let entry = make(
        kind,
        &[
            &[0; 6],
            &[0, 1, 0, 1],
            &[0; 6],
            &[0, 2, 0, 16, 0xFF, 0xFE, 0, 0],
            &words(&[rate << 16, samples, bytes / 2, bytes, 2]),
        ],
    );
    let count = frames.len() as u32;
    let first = count / 2 * samples;
    let moov = |at: usize| {
        let second = at as u32 + count / 2 * bytes;
        let tables = [
            stsd(&entry),
            table(b"stts", &[[count * samples, 1]]),
            table(b"stsc", &[[1, first, 1], [2, count * samples - first, 1]]),
            make(b"stsz", &[&words(&[0, 1, count * samples])]),
            table(b"stco", &[[at as u32], [second]]),
        ];
        let mut mdhd = mdhd(44_100);
        mdhd[20..24].copy_from_slice(&rate.to_be_bytes());
        let minf = make(b"minf", &[&make(b"stbl", &[&tables.concat()])]);
        let mdia = make(b"mdia", &[&mdhd, &hdlr(b"soun"), &minf]);
        make(b"moov", &[&mvhd(600), &make(b"trak", &[&tkhd(1), &mdia])])
    };
    let at = ftyp().len() + moov(0).len() + 8;
    [ftyp(), moov(at), make(b"mdat", &[&frames.concat()])].concat()
}

/// Frames of `len` bytes each, by ffmpeg's encoder.
fn frames(encoder: &str, len: usize) -> Option<Vec<Vec<u8>>> {
    let source = crate::support::media().join("stereo-48000.mp4");
    let mut args = vec!["-v", "error", "-i", source.to_str().unwrap(), "-vn"];
    args.extend(encoder.split(' '));
    args.push("-");
    let output = run("ffmpeg", &args, &[])?;
    assert!(output.status.success());
    let frames = output.stdout.chunks_exact(len);
    Some(frames.map(<[u8]>::to_vec).collect())
}

fn convert(file: &[u8]) -> Report {
    Converter::new(Options::new().vbr(9.0))
        .convert(file, Vec::new())
        .unwrap()
}

#[test]
fn frames_of_a_constant_bitrate_are_found_by_the_sound_description() {
    for (kind, encoder, len, samples, codec) in [
        (
            b".mp3",
            "-c:a libmp3lame -b:a 128k -write_xing 0 -id3v2_version 0 -f mp3",
            384,
            1152,
            "MP3",
        ),
        (b".mp2", "-c:a mp2 -b:a 192k -f mp2", 576, 1152, "MP2"),
        (b"ac-3", "-c:a ac3 -b:a 192k -f ac3", 768, 1536, "AC-3"),
    ] {
        let Some(frames) = frames(encoder, len) else {
            return;
        };
        let file = constant_bitrate(kind, &frames, samples, 48_000);
        let report = convert(&file);
        assert!(report.complete, "{codec}: {:?}", report.warnings);
        assert_eq!(report.codec.to_string(), codec);
        assert_eq!(report.packets, frames.len() as u64, "{codec}");
        let all = frames.len() as u64 * u64::from(samples);
        assert_eq!(report.input_samples, all, "{codec}");
        assert_eq!(probe(file.as_slice()).unwrap().tracks[0].samples, Some(all));

        // ffmpeg finds the same.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("constant.mov");
        std::fs::write(&path, &file).unwrap();
        let args = [
            "-v",
            "error",
            "-i",
            path.to_str().unwrap(),
            "-f",
            "f32le",
            "-",
        ];
        let output = run("ffmpeg", &args, &[]).unwrap();
        let theirs = output.stdout.len() as u64 / 8;
        assert!(
            theirs.abs_diff(all) <= u64::from(samples),
            "{codec}: {theirs}"
        );
        let ours = stages::pcm(&file, 0).unwrap();
        assert_eq!(ours.faults, [""; 0], "{codec}");
        let (theirs, _) = output.stdout.as_chunks::<4>();
        let theirs = theirs
            .iter()
            .step_by(2)
            .map(|&bytes| f32::from_le_bytes(bytes));
        let (mut signal, mut noise) = (0f64, 0f64);
        for (a, b) in ours.planes[0].iter().zip(theirs) {
            signal += f64::from(b).powi(2);
            noise += f64::from(a - b).powi(2);
        }
        assert!(
            signal > 0.0 && noise < signal / 1e3,
            "{codec}: {noise} of {signal}"
        );
    }
}

/// A movie of these packets of MP3 at 48 kHz, of 1152 PCM samples each.
fn mp3_movie(packets: &[Vec<u8>]) -> Vec<u8> {
    let count = packets.len() as u32;
    let sizes: Vec<u32> = packets.iter().map(|packet| packet.len() as u32).collect();
    let moov = |at: usize| {
        let tables = [
            stsd(&audio_entry(b".mp3", &[])),
            table(b"stts", &[[count, 1152]]),
            table(b"stsc", &[[1, count, 1]]),
            make(b"stsz", &[&words(&[0, 0, count]), &words(&sizes)]),
            table(b"stco", &[[at as u32]]),
        ];
        let mut mdhd = mdhd(44_100);
        mdhd[20..24].copy_from_slice(&48_000u32.to_be_bytes());
        let minf = make(b"minf", &[&make(b"stbl", &[&tables.concat()])]);
        let mdia = make(b"mdia", &[&mdhd, &hdlr(b"soun"), &minf]);
        make(b"moov", &[&mvhd(600), &make(b"trak", &[&tkhd(1), &mdia])])
    };
    let at = ftyp().len() + moov(0).len() + 8;
    [ftyp(), moov(at), make(b"mdat", &[&packets.concat()])].concat()
}

/// Copied or encoded, the frames of packets that begin with something else are all there.
#[test]
fn frames_of_mp3_are_found_behind_padding_and_tags() {
    let encoder = "-c:a libmp3lame -b:a 128k -write_xing 0 -id3v2_version 0 -f mp3";
    let Some(frames) = frames(encoder, 384) else {
        return;
    };
    let of = |file: &[u8], options: Options| {
        let mut mp3 = Vec::new();
        let report = Converter::new(options).convert(file, &mut mp3).unwrap();
        assert!(report.complete, "{:?}", report.warnings);
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        assert_eq!(report.input_samples, 1152 * frames.len() as u64);
        mp3
    };
    let padded: Vec<Vec<u8>> = frames.iter().map(|f| [&[0, 0], &f[..]].concat()).collect();
    let mut tagged = frames.clone();
    tagged[0] = [b"ID3\x04\0\0\0\0\0\x04\xFF\xFB\x94\x44", &frames[0][..]].concat();
    for options in [Options::new(), Options::new().cbr(64)] {
        let expected = of(&mp3_movie(&frames), options.clone());
        for packets in [&padded, &tagged] {
            assert!(of(&mp3_movie(packets), options.clone()) == expected);
        }
    }
}

/// Without the sizes nothing tells where a frame ends.
#[test]
fn a_description_without_sizes_is_refused_by_name() {
    let mut file = clip("mp3.mp4");
    let at = |kind: &[u8; 4]| file.windows(4).rposition(|four| four == kind).unwrap() + 4;
    let (stsz, stts) = (at(b"stsz"), at(b"stts"));
    file[stsz + 4..stsz + 8].copy_from_slice(&1u32.to_be_bytes());
    file[stts + 4..stts + 8].copy_from_slice(&1u32.to_be_bytes());
    file[stts + 12..stts + 16].copy_from_slice(&1u32.to_be_bytes());
    let error = Converter::new(Options::new())
        .convert(file.as_slice(), Vec::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("without packet sizes"), "{error}");
}
