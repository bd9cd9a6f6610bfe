//! Taking jobs in: video stored, then job and message, and only then a yes.

use micropy_core::ports::jobs::{self, Created, Job, State, Topic};
use micropy_core::ports::storage::{self, ByteStream, Label, StorageExt};
use micropy_core::ports::{Id, queue};

use super::Ports;
use super::message::Body;

/// Why something was not taken in. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error(transparent)]
    Jobs(#[from] jobs::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
}

/// What is to become a job.
pub struct Request {
    pub owner: String,
    pub key: Option<String>,
    pub batch: Option<Id>,
    pub file_name: String,
    /// See [`Conversion`](super::options::Conversion).
    pub options: String,
}

impl Ports {
    /// The job a request asks for, not yet in the ledger.
    pub fn draft(&self, request: Request) -> Job {
        Job {
            key: request.key,
            batch: request.batch,
            file_name: request.file_name,
            options: request.options,
            ..Job::new(
                self.new_id(),
                request.owner,
                self.new_id(),
                self.clock.now(),
            )
        }
    }

    /// Stores a video and queues its conversion. When this returns `Ok`, no crash loses either.
    ///
    /// A repeated request is given the job of the first.
    pub async fn take_in(&self, request: Request, video: ByteStream) -> Result<Job, Error> {
        let mut job = self.draft(request);
        job.source_bytes = self
            .videos
            .put(job.source, &label(&job), video)
            .await?
            .bytes;
        job.state = State::Queued;
        let message = Body::of(&job).asking();
        let created = self.jobs.create(&job, Some(message)).await;
        if !matches!(created, Ok(Created::New)) {
            // The first error, or the other job, is the answer; a sweeper removes what this leaves.
            let _ = self.videos.delete(job.source).await;
        }
        match created? {
            Created::New => {}
            Created::Existing(first) => return Ok(*first),
        }
        self.send_owed().await;
        Ok(job)
    }

    /// Queues a job whose video has arrived in parts, and is complete.
    ///
    /// May be called again after a crash anywhere within: a video that is whole stays so, and a job that
    /// is queued is left alone.
    pub async fn complete(&self, job: &Job) -> Result<(), Error> {
        self.videos.commit(job.source, &label(job)).await?;
        match self.jobs.enqueue(job.id, Body::of(job).asking()).await {
            Err(jobs::Error::Rejected(_)) => {}
            other => other?,
        }
        self.send_owed().await;
        Ok(())
    }

    /// Puts what the ledger owes into the queues. What fails now is tried again by the sweeper.
    pub async fn send_owed(&self) {
        if let Err(e) = self.try_send_owed().await {
            tracing::warn!(error = %e, "messages wait in the ledger");
        }
    }

    async fn try_send_owed(&self) -> Result<(), Error> {
        const AT_ONCE: usize = 100;
        loop {
            let owed = self.jobs.owed(AT_ONCE).await?;
            for owed in &owed {
                let queue = match owed.message.topic {
                    Topic::Video => &self.video_queue,
                    Topic::Mp3 => &self.mp3_queue,
                };
                queue.publish(owed.message.payload.clone()).await?;
                self.jobs.sent(&[owed.id]).await?;
            }
            if owed.len() < AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Removes a job and what it stored. A sweeper removes what a failure leaves.
    pub async fn discard(&self, id: Id) -> Result<(), Error> {
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
