//! The waveforms of MP3s.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::JobId;
use super::problem::Problem;
use super::session::OwnJob;
use crate::job::peaks::Peaks;

/// A waveform in the form of the BBC's audiowaveform, version 2, which wavesurfer.js and peaks.js draw. All channels
/// are mixed into one.
#[derive(Serialize, ToSchema)]
pub struct PeaksView {
    #[schema(example = 2)]
    version: u8,
    #[schema(example = 1)]
    channels: u8,
    /// Hz of the MP3.
    #[schema(example = 44_100)]
    sample_rate: u32,
    /// PCM samples of a point; the last one may have fewer.
    #[schema(example = 662)]
    samples_per_pixel: u64,
    #[schema(example = 8)]
    bits: u8,
    /// How many points there are, at most 800.
    #[schema(example = 2)]
    length: usize,
    /// The lowest and the highest value of each point in turn, −128 to 127.
    #[schema(example = json!([-12, 14, -97, 88]))]
    data: Vec<i8>,
}

/// Get the waveform of a job's MP3, drawn as it was made. That of a ZIP file is of all its MP3s, one after the other.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/peaks", tag = "jobs",
    params(JobId),
    responses(
        (status = 200, body = PeaksView),
        (status = 404, description = "No such job, no MP3 yet, or none whose waveform was drawn: MP3 that was copied \
            from the video, or made by an earlier version", body = Problem),
    )
)]
pub async fn peaks(OwnJob(job): OwnJob) -> Result<Json<PeaksView>, Problem> {
    let peaks = job.output.as_ref().and_then(Peaks::of);
    let peaks = peaks.ok_or_else(Problem::not_found)?;
    Ok(Json(PeaksView {
        version: 2,
        channels: 1,
        sample_rate: peaks.sample_rate,
        samples_per_pixel: peaks.samples_per_pixel,
        bits: 8,
        length: peaks.values.len() / 2,
        data: peaks.values,
    }))
}
