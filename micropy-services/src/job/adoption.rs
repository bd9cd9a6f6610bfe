//! Jobs of the original services: an original gateway sends messages that name no job, and an original converter
//! does not report to the ledger.

use std::time::Duration;

use micropy_core::ports::jobs::{self, Begin, Created, Job, Outcome, Output, State};
use micropy_core::ports::{Id, storage};

use crate::Ports;
use crate::job::message::Body;

/// The lease while an MP3 is recorded.
const LEASE: Duration = Duration::from_secs(10);

/// Why a message cannot be given a job.
#[derive(Debug)]
pub enum AdoptionError {
    /// The message is malformed.
    Malformed(String),
    /// The ledger failed: try again.
    Ledger(jobs::Error),
}

impl Ports {
    /// The job that a message of the topic `video` is about, and the message with the job's id in it.
    ///
    /// A message without an id becomes a new job. The video is its key, so that a message that comes twice is one job.
    pub async fn adopt(&self, mut body: Body) -> Result<(Id, Body), AdoptionError> {
        if let Some(id) = body.job() {
            return Ok((id, body));
        }
        let Some(video) = body.video() else {
            return Err(AdoptionError::Malformed("video_fid is no id".into()));
        };
        if body.username.is_empty() {
            return Err(AdoptionError::Malformed("username is missing".into()));
        }
        // A missing video is reported by the conversion.
        let bytes = self.videos.head(video).await.map_or(0, |head| head.bytes);
        let job = Job {
            key: Some(format!("video {video}")),
            file_name: body.file_name.clone().unwrap_or_default(),
            source_bytes: bytes,
            state: State::Queued,
            requested: Some(self.clock.now()),
            ..Job::new(self.new_id(), &*body.username, video, self.clock.now())
        };
        let id = match self.jobs.create(&job, None).await {
            Ok(Created::New(_)) => job.id,
            Ok(Created::Existing(first)) => first.id,
            Err(jobs::Error::Rejected(why)) => return Err(AdoptionError::Malformed(why)),
            Err(e) => return Err(AdoptionError::Ledger(e)),
        };
        body.job_id = Some(id.to_string());
        Ok((id, body))
    }

    /// Records the MP3 that an original converter made for a job, unless the ledger knows it already. Returns the job,
    /// or `None` where the ledger has no such job.
    pub async fn record_mp3(&self, id: Id, mp3: Id) -> Result<Option<Job>, jobs::Error> {
        let job = match self.jobs.get(id).await {
            Ok(job) => job,
            Err(jobs::Error::NotFound) => return Ok(None),
            Err(e) => return Err(e),
        };
        // A running job may be one that a converter of ours died on: `begin` below checks its lease.
        if !matches!(job.state, State::Queued | State::Running) {
            return Ok(Some(job));
        }
        let bytes = match self.mp3s.head(mp3).await {
            Ok(head) => head.bytes,
            Err(storage::Error::NotFound) => return Ok(Some(job)),
            Err(e) => return Err(jobs::Error::Unavailable(Box::new(e))),
        };
        if let Begin::Started(lease, _) = self.jobs.begin(id, LEASE).await? {
            let output = Output {
                mp3,
                bytes,
                report: "{}".into(),
            };
            let done = Outcome::Done(output);
            match self.jobs.finish(lease, done, None).await {
                Ok(_) | Err(jobs::Error::Rejected(_) | jobs::Error::NotFound) => {}
                Err(e) => return Err(e),
            }
        }
        self.jobs.get(id).await.map(Some)
    }
}
