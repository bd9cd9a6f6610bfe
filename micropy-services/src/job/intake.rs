//! Submitting jobs: the video is stored, then the job and its message, and only then the client gets a yes.

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use micropy_core::ports::jobs::{self, Created, Filter, Job, State};
use micropy_core::ports::storage::{self, Label, StorageExt, Upload};
use micropy_core::ports::{Id, queue, webhooks};
use sha2::{Digest as _, Sha256};
use tracing::Instrument as _;

use crate::Ports;
use crate::job::message::Body;
use crate::telemetry;

/// Jobs that are read from the ledger at once: each may have a report of 16 KiB.
pub const STEP: usize = 50;

/// Why a job was not submitted. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The client's key belongs to a request that asked for something else.
    #[error("the key belongs to another request")]
    KeyReused,
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error(transparent)]
    Jobs(#[from] jobs::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
    #[error(transparent)]
    Webhooks(#[from] webhooks::Error),
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

    /// Stores the video of a job that is not in the ledger yet. `complete` adds what is known once all of it has arrived.
    pub async fn store(
        &self,
        submission: Submission,
        video: Upload,
        complete: impl FnOnce(&mut Job) + Send,
    ) -> Result<Job, IntakeError> {
        let mut job = self.draft(submission);
        let (video, digest) = digested(&job, video);
        let stored = self.videos.put(job.source, &label(&job), video).await?;
        job.source_bytes = stored.bytes;
        Ok(arrived(job, digest, complete))
    }

    /// What [`store`](Ports::store) would return, without storing anything: for a request that may be repeated.
    pub async fn identify(
        &self,
        submission: Submission,
        video: Upload,
        complete: impl FnOnce(&mut Job) + Send,
    ) -> Result<Job, IntakeError> {
        let mut job = self.draft(submission);
        let (mut video, digest) = digested(&job, video);
        while let Some(piece) = video.next().await {
            job.source_bytes += piece.map_err(storage::Error::Interrupted)?.len() as u64;
        }
        Ok(arrived(job, digest, complete))
    }

    /// Submits a job whose video is stored. After `Ok`, no crash loses either. After an error nothing is left of them,
    /// except that a request with a key may leave its job for the repeated request.
    ///
    /// A repeated request gets the job of the first one, if it asks for the same.
    pub async fn submit(&self, job: Job) -> Result<Job, IntakeError> {
        match self.create(&job).await {
            Ok(None) => Ok(job),
            Ok(Some(first)) => {
                // Where this fails, the sweeper removes the video.
                let _ = self.videos.delete(job.source).await;
                repeated(first, &job)
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
        let publishing = telemetry::publishing(job.request_topic(), job.id);
        let message = publishing.in_scope(|| Body::conversion_request(job));
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

    /// Creates the job of a resumable upload. A repeated request gets the job of the first one, if it asks for the same.
    pub async fn begin_upload(&self, job: &Job) -> Result<Job, IntakeError> {
        match self.jobs.create(job, None).await? {
            Created::New(_) => Ok(job.clone()),
            Created::Existing(first) => repeated(*first, job),
        }
    }

    /// Queues a job whose resumable upload is complete.
    ///
    /// It may be called again after a crash at any point: it then does what is left to do.
    pub async fn complete_upload(&self, job: &Job) -> Result<(), IntakeError> {
        self.videos.commit(job.source, &label(job)).await?;
        let publishing = telemetry::publishing(job.request_topic(), job.id);
        let message = publishing.in_scope(|| Body::conversion_request(job));
        match self.jobs.enqueue(job.id, message).await {
            Ok(owed) => self.try_send(owed).await,
            Err(jobs::Error::Rejected(_)) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Removes a job and its files. Where this fails, the sweeper removes what is left.
    pub async fn remove(&self, id: Id) -> Result<(), IntakeError> {
        let ports = self.clone();
        to_the_end(async move { ports.remove_rest(ports.jobs.delete(id).await?).await }).await
    }

    /// Removes all jobs of an owner with their files.
    pub async fn remove_all(&self, owner: &str) -> Result<(), IntakeError> {
        loop {
            let jobs = self.jobs.list(owner, &Filter::default(), STEP).await?;
            if jobs.is_empty() {
                return Ok(());
            }
            for job in jobs {
                match self.remove(job.id).await {
                    // Somebody else has removed it.
                    Ok(()) | Err(IntakeError::Jobs(jobs::Error::NotFound)) => {}
                    Err(e) => return Err(e),
                }
            }
        }
    }

    /// The same as [`remove`](Ports::remove), unless the job has changed since it was `seen`.
    pub async fn remove_unchanged(&self, seen: &Job) -> Result<(), IntakeError> {
        self.remove_rest(self.jobs.delete_unchanged(seen).await?)
            .await
    }

    /// Removes what is left of a job that the ledger knows no longer: its files, and what was sent about it.
    async fn remove_rest(&self, job: Job) -> Result<(), IntakeError> {
        let deliveries = self.webhooks.remove_deliveries(&job.owner, job.id).await;
        self.videos.delete(job.source).await?;
        if let Some(output) = job.output {
            self.mp3s.delete(output.mp3).await?;
        }
        // Nothing sweeps them: where this fails, they go when they are old.
        Ok(deliveries?)
    }
}

/// Runs `work` to its end, also when nobody waits for it any more: the future of a request is dropped as soon as its
/// client has gone, and what it had put into a store would be left there until it is swept.
pub async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends, and whoever waits here with it.
            Err(_) => pending().await,
        },
    }
}

/// What a request asks for, in a few letters: the file's name, the options and the content.
pub fn fingerprint(job: &Job, content: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [job.file_name.as_bytes(), job.options.as_bytes(), content] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The job of the first request with a key, for `job`, which has the same one, if it asks for the same.
pub fn repeated(first: Job, job: &Job) -> Result<Job, IntakeError> {
    match is_repetition(&first, job) {
        true => Ok(first),
        false => Err(IntakeError::KeyReused),
    }
}

/// Whether `job` asks for what `first` asked for, with the same key.
fn is_repetition(first: &Job, job: &Job) -> bool {
    match (&first.fingerprint, &job.fingerprint) {
        (Some(first), Some(again)) => first == again,
        // The job of a program that kept no fingerprints.
        _ => {
            let asked = |job: &Job| (job.source_bytes, job.file_name.clone(), job.options.clone());
            asked(first) == asked(job)
        }
    }
}

/// What has been seen of a video. Whoever has no key repeats nothing that could be another request.
type Seen = Option<Arc<Mutex<Sha256>>>;

/// The bytes of a job's video, and their digest as they pass.
fn digested(job: &Job, video: Upload) -> (Upload, Seen) {
    if job.key.is_none() {
        return (video, None);
    }
    let digest = Arc::new(Mutex::new(Sha256::new()));
    let seen = digest.clone();
    let video = video.inspect(move |piece| {
        if let Ok(piece) = piece {
            let mut digest = digest.lock().unwrap_or_else(PoisonError::into_inner);
            digest.update(piece);
        }
    });
    (Box::pin(video), Some(seen))
}

/// A job whose video has arrived.
fn arrived(mut job: Job, seen: Seen, complete: impl FnOnce(&mut Job)) -> Job {
    job.state = State::Queued;
    complete(&mut job);
    job.fingerprint = seen.map(|digest| {
        let digest = digest.lock().unwrap_or_else(PoisonError::into_inner);
        fingerprint(&job, &digest.clone().finalize())
    });
    job
}

fn label(job: &Job) -> Label {
    Label {
        file_name: job.file_name.clone(),
        owner: job.owner.clone(),
    }
}
