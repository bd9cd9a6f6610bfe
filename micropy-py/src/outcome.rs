//! What the engine found and did, as the arguments of Python's classes of the same names.

use micropy_core::{Cover, EmptyPart, Probe, ProbedTrack, Report, Warning};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// The fields of a `Report`.
pub fn report<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("codec", report.codec.to_string())?;
    dict.set_item("copied", report.copied)?;
    dict.set_item("input_sample_rate", report.input_sample_rate)?;
    dict.set_item("input_channels", report.input_channels)?;
    dict.set_item("input_samples", report.input_samples)?;
    dict.set_item("input_bytes", report.input_bytes)?;
    dict.set_item("packets", report.packets)?;
    dict.set_item("expected_packets", report.expected_packets)?;
    dict.set_item("concealed_packets", report.concealed_packets)?;
    dict.set_item("output_sample_rate", report.output_sample_rate)?;
    dict.set_item("output_channels", report.output_channels)?;
    dict.set_item("output_samples", report.output_samples)?;
    dict.set_item("output_bytes", report.output_bytes)?;
    dict.set_item("frames", report.frames)?;
    dict.set_item("duration", report.duration().as_secs_f64())?;
    let expected = report.expected_duration.map(|d| d.as_secs_f64());
    dict.set_item("expected_duration", expected)?;
    dict.set_item("mean_bitrate", report.mean_bitrate())?;
    dict.set_item("complete", report.complete)?;
    let loudness = report.loudness.map(|l| (l.integrated, l.true_peak, l.gain));
    dict.set_item("loudness", loudness)?;
    dict.set_item("warnings", strings(&report.warnings))?;
    Ok(dict)
}

/// The fields of an `EmptyPart`.
pub fn empty_chapter<'py>(
    py: Python<'py>,
    title: &str,
    chapter: &EmptyPart,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("title", title)?;
    dict.set_item("start", chapter.start.as_secs_f64())?;
    dict.set_item("complete", chapter.is_complete())?;
    dict.set_item("warnings", strings(&chapter.missing))?;
    Ok(dict)
}

/// The fields of a `Probe`.
pub fn probe<'py>(py: Python<'py>, probe: &Probe) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("brand", &probe.brand)?;
    dict.set_item("fragmented", probe.fragmented)?;
    dict.set_item("size", probe.size)?;
    let tracks = probe.tracks.iter().map(|found| track(py, found));
    dict.set_item("tracks", tracks.collect::<PyResult<Vec<_>>>()?)?;
    dict.set_item("default_track", probe.default_track)?;
    dict.set_item("other_tracks", probe.other_tracks)?;
    let tags = PyDict::new(py);
    for (key, values) in probe.tags.grouped() {
        tags.set_item(key.to_string(), values)?;
    }
    dict.set_item("tags", tags)?;
    let cover = |cover: &Cover| (cover.mime(), PyBytes::new(py, cover.data()));
    dict.set_item("covers", probe.covers.iter().map(cover).collect::<Vec<_>>())?;
    let chapters = probe.chapters.iter().map(|chapter| {
        let (start, end) = (chapter.start.as_secs_f64(), chapter.end.as_secs_f64());
        (
            start,
            end,
            &chapter.title,
            chapter.picture.as_ref().map(cover),
        )
    });
    dict.set_item("chapters", chapters.collect::<Vec<_>>())?;
    dict.set_item("warnings", strings(&probe.warnings))?;
    Ok(dict)
}

fn strings(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(Warning::to_string).collect()
}

fn track<'py>(py: Python<'py>, track: &ProbedTrack) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", track.id)?;
    dict.set_item("codec", track.codec.as_ref().map(ToString::to_string))?;
    dict.set_item("problem", &track.problem)?;
    dict.set_item("sample_rate", track.sample_rate)?;
    dict.set_item("channels", track.channels)?;
    dict.set_item("language", &track.language)?;
    dict.set_item("enabled", track.enabled)?;
    dict.set_item("packets", track.packets)?;
    dict.set_item("samples", track.samples)?;
    dict.set_item("duration", track.duration.map(|d| d.as_secs_f64()))?;
    dict.set_item("bitrate", track.bitrate)?;
    Ok(dict)
}
