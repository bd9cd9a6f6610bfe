//! What the spans of whole files hold.

use super::*;
use crate::options::TrackChoice;
use crate::pipeline::tests::movie::{Moov, pcm_movie};
use crate::pipeline::tests::programs::aac_movie;
use crate::span::{Plan, SPAN_BYTES, Span};
use zeros::Zeros;

#[path = "../../tests/support/zeros.rs"]
mod zeros;

/// All spans of `source`, each as `look` sees it.
fn spans<T>(source: &mut dyn Source, look: impl Fn(&Span) -> T) -> Vec<T> {
    let audio = Audio::read(&TrackChoice::Default, source).unwrap();
    let part = Part {
        start: Duration::ZERO,
        end: None,
        metadata: audio.metadata().clone(),
    };
    let beginning = audio.begin(source).unwrap();
    let conversion = Conversion {
        options: &Options::new(),
        audio: &audio,
        part: &part,
        cancel: &CancelToken::new(),
        on_progress: &mut |_| {},
        passes: 0,
        drawing: None,
    };
    let mut reader = conversion.set_up(beginning, None, false).unwrap().reader;
    let mut seen = Vec::new();
    while let Some(span) = reader.next(source).unwrap() {
        seen.push(look(&span));
    }
    seen
}

/// Minutes of linear PCM, 16 bits at 48 kHz.
fn minutes(minutes: usize, channels: usize) -> Zeros {
    let planes = vec![vec![0.0; 48_000 * 60 * minutes]; channels];
    let mut head = pcm_movie(&planes, 48_000, Moov::First);
    let size = head.len() as u64;
    head.truncate(1 << 20);
    Zeros { head, size }
}

#[test]
fn spans_of_uncompressed_audio_hold_no_more_than_others() {
    for channels in [1, 2] {
        let bytes = spans(&mut minutes(4, channels), Span::bytes);
        let largest = bytes.iter().max().unwrap();
        // Besides its own packets a span has those that its neighbour shares, a hundredth at most.
        assert!(*largest < SPAN_BYTES + SPAN_BYTES / 50, "{bytes:?}");
        assert!(*largest > SPAN_BYTES / 2, "{bytes:?}");
    }
}

#[test]
fn spans_of_compressed_audio_are_as_long_as_ever() {
    let planes = vec![vec![0.0; 44_100 * 100]; 2];
    let Some(file) = aac_movie(&planes, 44_100, "+faststart") else {
        return;
    };
    let starts = spans(&mut file.as_slice(), |span| span.first_frame);
    let frames = encoder::frames_for(44_100 * 100, 1152);
    let plan = Plan::new(Some(frames), 49, 0);
    let expected: Vec<u64> = (0..starts.len()).map(|i| plan.start(i)).collect();
    assert_eq!(starts, expected);
}
