//! Submitting jobs: the video is stored, then the job and its message, and only then the client gets a yes.

use micropy_core::ports::jobs::{self, Created, Job, State, Topic};
use micropy_core::ports::storage::{self, Label, StorageExt, Upload};
use micropy_core::ports::{Id, queue};

use crate::Ports;
use crate::job::message::Body;
use crate::telemetry;

/// Why a job was not submitted. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error(transparent)]
    Jobs(#[from] jobs::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
}

/// A video that is about to become a job.
pub struct Submission {
    /// E-mail address of the user.
    pub owner: String,
    /// The client's key for a request that it may repeat.
    pub key: Option<String>,
    /// Shared by the jobs of one request.
    pub batch: Option<Id>,
    /// Name of the video.
    pub file_name: String,
    /// [`ConversionOptions`](crate::job::options::ConversionOptions) in JSON.
    pub options: String,
}

impl Ports {
    /// The job of a submission, not in the ledger yet.
    pub fn draft(&self, submission: Submission) -> Job {
        Job {
            key: submission.key,
            batch: submission.batch,
            file_name: submission.file_name,
            options: submission.options,
            ..Job::new(
                self.new_id(),
                submission.owner,
                self.new_id(),
                self.clock.now(),
            )
        }
    }

    /// Stores the video of a job that is not in the ledger yet.
    pub async fn store(&self, submission: Submission, video: Upload) -> Result<Job, IntakeError> {
        let mut job = self.draft(submission);
        job.source_bytes = self
            .videos
            .put(job.source, &label(&job), video)
            .await?
            .bytes;
        job.state = State::Queued;
        Ok(job)
    }

    /// Submits a job whose video is stored. After `Ok`, no crash loses either. After an error nothing is left of them,
    /// except that a request with a key may leave its job for the repeated request.
    ///
    /// A repeated request gets the job of the first one.
    pub async fn submit(&self, job: Job) -> Result<Job, IntakeError> {
        match self.create(&job).await {
            Ok(None) => Ok(job),
            Ok(Some(first)) => {
                // Where this fails, the sweeper removes the video.
                let _ = self.videos.delete(job.source).await;
                Ok(first)
            }
            // The job and its message are in the ledger. The client may have repeated the request at another gateway
            // meanwhile, and have been given this job.
            Err(e @ IntakeError::Queue(_)) if job.key.is_some() => Err(e),
            Err(e) => {
                // The call that failed may have taken effect all the same. The video is deleted only when the job is
                // certainly gone: a job without its video would fail for no reason that its owner understands.
                let gone = self.jobs.delete(job.id).await;
                if matches!(gone, Ok(_) | Err(jobs::Error::NotFound)) {
                    let _ = self.videos.delete(job.source).await;
                }
                Err(e)
            }
        }
    }

    /// Creates a job and sends its message. Returns the job of the first request where this one is a repetition.
    async fn create(&self, job: &Job) -> Result<Option<Job>, IntakeError> {
        let publishing = telemetry::publishing(Topic::Video, job.id);
        let message = publishing.in_scope(|| Body::of(job).conversion_request());
        match self.jobs.create(job, Some(message)).await? {
            Created::New(owed) => {
                if let Some(owed) = owed {
                    self.send(owed).await?;
                }
                Ok(None)
            }
            Created::Existing(first) => Ok(Some(*first)),
        }
    }

    /// Queues a job whose resumable upload is complete.
    ///
    /// It may be called again after a crash at any point: it then does what is left to do.
    pub async fn complete_upload(&self, job: &Job) -> Result<(), IntakeError> {
        self.videos.commit(job.source, &label(job)).await?;
        let publishing = telemetry::publishing(Topic::Video, job.id);
        let message = publishing.in_scope(|| Body::of(job).conversion_request());
        match self.jobs.enqueue(job.id, message).await {
            Ok(owed) => self.try_send(owed).await,
            Err(jobs::Error::Rejected(_)) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Removes a job and its files. Where this fails, the sweeper removes what is left.
    pub async fn remove(&self, id: Id) -> Result<(), IntakeError> {
        let job = self.jobs.delete(id).await?;
        self.videos.delete(job.source).await?;
        if let Some(output) = job.output {
            self.mp3s.delete(output.mp3).await?;
        }
        Ok(())
    }
}

fn label(job: &Job) -> Label {
    Label {
        file_name: job.file_name.clone(),
        owner: job.owner.clone(),
    }
}
