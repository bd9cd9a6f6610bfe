//! Jobs as clients see them.

use std::time::{Duration, SystemTime};

use micropy_core::ports::jobs::{Job, Output, State};
use micropy_core::ports::{Id, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Gateway;
use super::line::QueueView;
use crate::job::peaks::Peaks;
use crate::job::product::Product;

/// A conversion.
#[derive(Serialize, ToSchema)]
pub struct JobView {
    #[schema(example = "65a1b2c3d4e5f60718293a4b")]
    pub id: String,
    /// Shared by the jobs of one request.
    pub batch: Option<String>,
    /// Name of the video.
    pub file_name: String,
    /// Length of the video in bytes; 0 where it is read from a URL.
    pub bytes: u64,
    /// The URL that the video is read from, without what may be a secret: user, password and query.
    pub origin: Option<String>,
    #[schema(
        example = "running",
        pattern = "^(receiving|queued|running|done|failed|cancelled)$"
    )]
    pub state: &'static str,
    /// The fraction of the conversion that is done, 0 to 1.
    pub progress: f32,
    /// Where it stands while it is queued. None where that is not known: just after it was put off, or beside an original
    /// converter.
    pub queue: Option<QueueView>,
    /// How often the conversion was started.
    pub attempts: u32,
    /// Why it failed, in words for people.
    pub failure: Option<String>,
    /// The result, when it is done.
    pub mp3: Option<Mp3View>,
    /// The options of the conversion.
    pub options: Value,
    /// Where to resume the upload (tus), until it is complete.
    pub upload_url: Option<String>,
    /// All times are in the format of RFC 3339.
    pub created: String,
    pub started: Option<String>,
    pub finished: Option<String>,
    /// When the job last changed. Of two views of a job, the later one is current.
    pub updated: String,
    /// When the mail to its owner was sent.
    pub mailed: Option<String>,
}

/// The result of a conversion: an MP3, or a ZIP file with one for each chapter.
#[derive(Serialize, ToSchema)]
pub struct Mp3View {
    /// Its id for the original route, `/download?fid=…`.
    pub fid: String,
    pub file_name: String,
    #[schema(pattern = "^(audio/mpeg|application/zip)$")]
    pub content_type: &'static str,
    pub bytes: u64,
    /// Where to get it. With `?download=1`, browsers save it.
    pub url: String,
    /// The engine's report: `codec`, `duration` in seconds, `sample_rate`, `channels`, `mean_bitrate`, `samples`,
    /// `complete`, `warnings`; where the MP3's tag has them, `title`, `artist`, `album`, each cut to 100 characters, and the
    /// bytes of a JPEG or PNG as `cover`. For a ZIP file it is about all its MP3s together, and has their number as `chapters`.
    pub report: Value,
    /// Where to get its waveform. None where it was not drawn.
    pub peaks: Option<String>,
}

impl Gateway {
    /// A job as clients see it.
    pub async fn view(&self, job: Job) -> JobView {
        let queue = self.lines.place(&*self.ports.jobs, &job).await;
        JobView {
            queue,
            ..JobView::of(job, &self.base)
        }
    }
}

impl JobView {
    /// A job as it is seen by those whose URLs begin with `base`.
    pub fn of(job: Job, base: &str) -> Self {
        let receiving = job.state == State::Receiving;
        JobView {
            id: job.id.to_string(),
            batch: job.batch.map(|batch| batch.to_string()),
            bytes: job.source_bytes,
            origin: job.origin.as_deref().map(without_secrets),
            state: job.state.name(),
            progress: job.progress,
            queue: None,
            attempts: job.attempts,
            failure: job.failure,
            mp3: job
                .output
                .map(|output| Mp3View::of(job.id, &job.file_name, &output, base)),
            file_name: job.file_name,
            options: parse(&job.options),
            upload_url: receiving.then(|| format!("{base}/api/v1/tus/{}", job.id)),
            created: rfc3339(job.created),
            started: job.started.map(rfc3339),
            finished: job.finished.map(rfc3339),
            updated: rfc3339(job.updated),
            mailed: job.notified.map(rfc3339),
        }
    }
}

impl Mp3View {
    /// What job `id` made of the video called `video`.
    fn of(id: Id, video: &str, output: &Output, base: &str) -> Self {
        let product = Product::of(output);
        let mut report = parse(&output.report);
        let drawn = Peaks::take_out(&mut report);
        Mp3View {
            fid: output.mp3.to_string(),
            file_name: product.file_name(video),
            content_type: product.content_type(),
            bytes: output.bytes,
            url: format!("{base}/api/v1/jobs/{id}/mp3"),
            report,
            peaks: drawn.then(|| format!("{base}/api/v1/jobs/{id}/peaks")),
        }
    }
}

/// A URL without user, password, query and fragment.
fn without_secrets(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = match rest.find('/') {
                Some(slash) => rest.split_at(slash),
                None => (rest, ""),
            };
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => String::new(),
    }
}

/// Parses JSON that one of our services wrote.
fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or(Value::Null)
}

/// The system's form of a time.
pub fn system_time(time: Timestamp) -> SystemTime {
    let millis = u64::try_from(time.as_millis()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

pub fn rfc3339(time: Timestamp) -> String {
    humantime::format_rfc3339_millis(system_time(time)).to_string()
}
