//! Output for scripts: one JSON value per line.

use std::path::Path;

use micropy_core::{Cover, EmptyPart, Probe, ProbedTrack, Report, Warning};
use serde_json::{Value, json};

/// What a conversion did.
pub fn report(report: &Report) -> Value {
    json!({
        "codec": report.codec.to_string(),
        "copied": report.copied,
        "input_sample_rate": report.input_sample_rate,
        "input_channels": report.input_channels,
        "input_samples": report.input_samples,
        "input_bytes": report.input_bytes,
        "packets": report.packets,
        "expected_packets": report.expected_packets,
        "concealed_packets": report.concealed_packets,
        "output_sample_rate": report.output_sample_rate,
        "output_channels": report.output_channels,
        "output_samples": report.output_samples,
        "output_bytes": report.output_bytes,
        "tag_bytes": report.tag_bytes,
        "frames": report.frames,
        "duration_seconds": report.duration().as_secs_f64(),
        "expected_duration_seconds": report.expected_duration.map(|d| d.as_secs_f64()),
        "mean_bitrate": report.mean_bitrate().round(),
        "complete": report.complete,
        "loudness": report.loudness.map(|loudness| json!({
            "integrated_lufs": loudness.integrated,
            // JSON has no −∞.
            "true_peak_dbtp": Some(loudness.true_peak).filter(|peak| peak.is_finite()),
            "gain_db": loudness.gain,
        })),
        "warnings": strings(&report.warnings),
    })
}

/// A chapter of which no MP3 was made.
pub fn empty(chapter: &EmptyPart) -> Value {
    json!({
        "output": null,
        "start_seconds": chapter.start.as_secs_f64(),
        "output_samples": 0,
        "complete": chapter.is_complete(),
        "warnings": strings(&chapter.missing),
    })
}

/// An input of which no MP3 was made, because there is one.
pub fn kept(input: &Path, output: &Path, why: &str) -> Value {
    json!({
        "input": crate::input::shown(input).to_string(),
        "output": output.to_string_lossy(),
        "kept": why,
    })
}

/// What is in a file.
pub fn probe(probe: &Probe) -> Value {
    json!({
        "brand": probe.brand,
        "fragmented": probe.fragmented,
        "size": probe.size,
        "tracks": probe.tracks.iter().map(track).collect::<Vec<_>>(),
        "default_track": probe.default_track,
        "other_tracks": probe.other_tracks,
        "tags": probe.tags.grouped().into_iter()
            .map(|(key, values)| (key.to_string(), values.into()))
            .collect::<serde_json::Map<_, Value>>(),
        "covers": probe.covers.iter()
            .map(cover)
            .collect::<Vec<_>>(),
        "chapters": probe.chapters.iter()
            .map(|chapter| json!({
                "start_seconds": chapter.start.as_secs_f64(),
                "end_seconds": chapter.end.as_secs_f64(),
                "title": chapter.title,
                "picture": chapter.picture.as_ref().map(cover),
            }))
            .collect::<Vec<_>>(),
        "warnings": strings(&probe.warnings),
    })
}

fn cover(cover: &Cover) -> Value {
    json!({ "type": cover.mime(), "bytes": cover.data().len() })
}

fn strings(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(Warning::to_string).collect()
}

fn track(track: &ProbedTrack) -> Value {
    json!({
        "id": track.id,
        "codec": track.codec.as_ref().map(ToString::to_string),
        "problem": track.problem,
        "sample_rate": track.sample_rate,
        "channels": track.channels,
        "language": track.language,
        "enabled": track.enabled,
        "packets": track.packets,
        "samples": track.samples,
        "duration_seconds": track.duration.map(|d| d.as_secs_f64()),
        "bitrate": track.bitrate,
    })
}
