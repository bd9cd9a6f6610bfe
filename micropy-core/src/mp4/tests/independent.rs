//! Against the `mp4` crate, a reader that others wrote, on plain files: the kind that it reads well.

use std::io::Cursor;
use std::path::Path;

use super::read_all;

/// Every packet's bytes, decode time and duration are the same.
#[test]
fn the_mp4_crate_reads_the_same_packets() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media");
    for clip in [
        "moov-first-stereo-44100.mp4",
        "moov-last-stereo-44100.mp4",
        "mono-22050.mp4",
        "mono-44100.m4a",
        "stereo-24000.mp4",
        "stereo-48000.mp4",
        "edit-list-cut.m4a",
        "surround-5-1.mp4",
        "wide-64-bit.m4a",
    ] {
        let bytes = std::fs::read(folder.join(clip)).unwrap();
        let (_, ours) = read_all(&bytes).unwrap();
        let len = bytes.len() as u64;
        let mut theirs = mp4::Mp4Reader::read_header(Cursor::new(bytes), len).unwrap();
        let audio = theirs.tracks().values().find(|track| {
            track
                .track_type()
                .is_ok_and(|kind| kind == mp4::TrackType::Audio)
        });
        let audio = audio.unwrap().track_id();
        assert_eq!(
            theirs.sample_count(audio).unwrap() as usize,
            ours.len(),
            "{clip}"
        );
        for (number, (packet, data)) in (1..).zip(&ours) {
            let sample = theirs.read_sample(audio, number).unwrap().unwrap();
            assert!(sample.bytes == data[..], "{clip}, sample {number}");
            let times = (packet.time, packet.duration);
            assert_eq!(
                times,
                (sample.start_time, sample.duration),
                "{clip}, sample {number}"
            );
        }
    }
}
