//! Taking jobs in: video stored, then job and message, and only then a yes.

use micropy_core::ports::jobs::{self, Created, Job, Owed, State, Topic};
use micropy_core::ports::storage::{self, Label, StorageExt, Upload};
use micropy_core::ports::{Id, queue};

use crate::Ports;
use crate::job::message::Body;
use crate::telemetry;

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
    /// See [`Conversion`](crate::job::options::Conversion).
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

    /// Stores the video of a job that is not in the ledger yet.
    pub async fn store(&self, request: Request, video: Upload) -> Result<Job, Error> {
        let mut job = self.draft(request);
        job.source_bytes = self
            .videos
            .put(job.source, &label(&job), video)
            .await?
            .bytes;
        job.state = State::Queued;
        Ok(job)
    }

    /// Queues the conversion of a stored video. When this returns `Ok`, no crash loses either; otherwise
    /// nothing is left of them, or, of a request that can be repeated, a job that the repetition gets.
    ///
    /// A repeated request is given the job of the first.
    pub async fn take_in(&self, job: Job) -> Result<Job, Error> {
        match self.enter(&job).await {
            Ok(None) => Ok(job),
            Ok(Some(first)) => {
                // The other job is the answer; a sweeper removes what this leaves.
                let _ = self.videos.delete(job.source).await;
                Ok(first)
            }
            // Whoever repeats the request meanwhile, at another gateway, may have been given the job already. It
            // is in the ledger, with its message.
            Err(e @ Error::Queue(_)) if job.key.is_some() => Err(e),
            Err(e) => {
                // What failed may have been done all the same. The video goes only where the job is gone for
                // sure: a job without its video would fail for no reason that its owner understands.
                let gone = self.jobs.delete(job.id).await;
                if matches!(gone, Ok(_) | Err(jobs::Error::NotFound)) {
                    let _ = self.videos.delete(job.source).await;
                }
                Err(e)
            }
        }
    }

    /// Enters a job and sends its message; or returns the job that a repeated request has already.
    async fn enter(&self, job: &Job) -> Result<Option<Job>, Error> {
        let publishing = telemetry::publishing(Topic::Video, job.id);
        let message = publishing.in_scope(|| Body::of(job).asking());
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

    /// Queues a job whose video has arrived in parts, and is complete.
    ///
    /// May be called again after a crash anywhere within: a video that is whole stays so, and a job that
    /// is queued is left alone.
    pub async fn complete(&self, job: &Job) -> Result<(), Error> {
        self.videos.commit(job.source, &label(job)).await?;
        let publishing = telemetry::publishing(Topic::Video, job.id);
        let message = publishing.in_scope(|| Body::of(job).asking());
        match self.jobs.enqueue(job.id, message).await {
            Ok(owed) => self.send_now_or_later(owed).await,
            Err(jobs::Error::Rejected(_)) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Puts what the ledger owes into its queue. What fails now is in the ledger, and the sweeper sends it.
    pub async fn send_now_or_later(&self, owed: Option<Owed>) {
        let Some(owed) = owed else { return };
        if let Err(e) = self.send(owed).await {
            tracing::warn!(error = %e, "a message waits in the ledger");
        }
    }

    /// Puts into the queues what others owe and did not live to send. A queue that fails holds up no other.
    pub async fn send_owed(&self) -> Result<(), Error> {
        const AT_ONCE: usize = 100;
        loop {
            let owed = self.jobs.claim_owed(AT_ONCE).await?;
            let all = owed.len() < AT_ONCE;
            let (mut failing, mut failure) = (Vec::new(), None);
            for owed in owed {
                let topic = owed.message.topic;
                if failing.contains(&topic) {
                    continue;
                }
                if let Err(e) = self.send(owed).await {
                    failing.push(topic);
                    failure = Some(e);
                }
            }
            match failure {
                Some(e) => return Err(e),
                None if all => return Ok(()),
                None => {}
            }
        }
    }

    async fn send(&self, Owed { id, message }: Owed) -> Result<(), Error> {
        self.queues
            .of(message.topic)
            .publish(message.payload)
            .await?;
        Ok(self.jobs.sent(&[id]).await?)
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
