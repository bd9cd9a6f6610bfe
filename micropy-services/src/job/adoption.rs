//! Taking into the ledger what came past it: messages of an original gateway name no job, and an original
//! converter finishes jobs without telling.

use std::time::Duration;

use micropy_core::ports::jobs::{self, Begin, Created, Job, Outcome, Output, State};
use micropy_core::ports::{Id, storage};

use crate::Ports;
use crate::job::message::Body;

/// Only for as long as it takes to enter what is known.
const LEASE: Duration = Duration::from_secs(10);

/// Why there is no job for a message.
#[derive(Debug)]
pub enum Adoption {
    /// There never will be.
    Refused(String),
    /// There may be, next time.
    Failed(jobs::Error),
}

impl Ports {
    /// The job that a message of the topic `video` is about, and the message with that job's name in it.
    ///
    /// A message without one becomes a job of its own. Its video names it, so that however often the
    /// message comes it is one job.
    pub async fn adopt(&self, mut body: Body) -> Result<(Id, Body), Adoption> {
        if let Some(id) = body.job() {
            return Ok((id, body));
        }
        let Some(video) = body.video() else {
            return Err(Adoption::Refused("video_fid is no id".into()));
        };
        if body.username.is_empty() {
            return Err(Adoption::Refused("username is missing".into()));
        }
        // A video that is not there, or not now, is the conversion's to complain of.
        let bytes = self.videos.head(video).await.map_or(0, |head| head.bytes);
        let job = Job {
            key: Some(format!("video {video}")),
            file_name: body.file_name.clone().unwrap_or_default(),
            source_bytes: bytes,
            state: State::Queued,
            ..Job::new(self.new_id(), &*body.username, video, self.clock.now())
        };
        let id = match self.jobs.create(&job, None).await {
            Ok(Created::New(_)) => job.id,
            Ok(Created::Existing(first)) => first.id,
            Err(jobs::Error::Rejected(why)) => return Err(Adoption::Refused(why)),
            Err(e) => return Err(Adoption::Failed(e)),
        };
        body.job_id = Some(id.to_string());
        Ok((id, body))
    }

    /// Enters the MP3 that an original converter made of a job's video, unless the ledger knows of it.
    /// Returns the job; none where the ledger has no such job.
    pub async fn settle(&self, id: Id, mp3: Id) -> Result<Option<Job>, jobs::Error> {
        let job = match self.jobs.get(id).await {
            Ok(job) => job,
            Err(jobs::Error::NotFound) => return Ok(None),
            Err(e) => return Err(e),
        };
        // A converter of ours that died on it left it running: its lease decides.
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
