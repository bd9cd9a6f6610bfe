//! The converter service: videos from the queue, MP3s into the storage.
//!
//! The engine runs in a process of its own for each attempt, the [`worker`]. It is given the video's bytes as
//! it asks for them, and writes the MP3, or the ZIP file of chapters, to an unnamed temporary file, which then
//! goes into the storage.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use micropy_core::ports::Id;
use micropy_core::ports::jobs::{self, Begin, Job, Lease, Outcome, Output, Topic};
use micropy_core::ports::queue::{self, Delivery};
use micropy_core::ports::storage::{self, Label, StorageExt, UploadError};
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::Ports;
use crate::job::adoption::Adoption;
use crate::job::message::Body;
use crate::telemetry;
use crate::telemetry::metrics::Metrics;
use crate::worker::process::Workshop;
use crate::worker::protocol::Made;

/// How long a worker has a job without renewing.
const LEASE: Duration = Duration::from_secs(30);
/// How often it renews, which also shows its progress and tells it of a cancellation.
const RENEW: Duration = Duration::from_secs(1);
/// So many failed renewals in a row and the lease may be lost: stop.
const LEASE_MARGIN: Duration = Duration::from_secs(10);
/// How often work on a job is started.
const ATTEMPTS: u32 = 3;
/// Before another attempt after a fault that may pass; the second time it is twice as long.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How often a job is taken up whose stores are away or full: for more than an hour.
const PATIENCE: u32 = 20;
/// Before it is taken up again: twice as long each time, up to the longest pause.
const AWAY_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_AWAY_PAUSE: Duration = Duration::from_secs(5 * 60);
/// How long a deleted job's video may outlive it.
const FORGET_PAUSE: Duration = Duration::from_secs(5);
/// Before asking a queue or a ledger again that cannot be reached.
const BACKEND_PAUSE: Duration = Duration::from_secs(1);
/// What the owner is told of a video that ends whoever converts it.
const DEADLY: &str = "The conversion of this file ended unexpectedly several times.";
/// For the service to be told to stop, where its worker processes were told first.
const STOPPING: Duration = Duration::from_millis(200);
/// Bytes of the MP3 read at once.
const PIECE: usize = 64 * 1024;

/// Converts videos.
#[derive(Clone)]
pub struct ConverterService {
    pub ports: Ports,
    pub metrics: Arc<Metrics>,
    pub workshop: Workshop,
}

/// Why a conversion gave no MP3.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It never will: the reason, for the job's owner.
    Permanent(String),
    /// It may the next time: the reason, for the log.
    Transient(String),
    /// What it takes is out of reach, or full: no fault of this video, and no attempt at it. How, for the log.
    Away(String),
    /// The worker process died, hung or went mad, which it may do with this video every time: how, for the log.
    Died(String),
    /// The lease is lost, or the owner called it off: the job is none of ours any more.
    Lost,
    /// The service stops.
    Stopped,
}

impl ConverterService {
    /// One worker: works until told to stop. What it has begun then is given back.
    pub async fn run(self, stop: CancellationToken) {
        while let Some(received) = stop
            .run_until_cancelled(self.ports.queues.video.receive())
            .await
        {
            let handled = match received {
                Ok(delivery) => {
                    let span = telemetry::processing(Topic::Video, delivery.payload());
                    self.handle(delivery, &stop).instrument(span).await
                }
                Err(e) => Err(e),
            };
            if let Err(e) = handled {
                tracing::warn!(error = %e, "the video queue fails");
                tokio::time::sleep(BACKEND_PAUSE).await;
            }
        }
    }

    async fn handle(
        &self,
        delivery: Box<dyn Delivery>,
        stop: &CancellationToken,
    ) -> Result<(), queue::Error> {
        let body = match Body::parse(delivery.payload()) {
            Ok(body) => body,
            Err(e) => return delivery.dead(&format!("not a message of ours: {e}")).await,
        };
        let (id, body) = match self.ports.adopt(body).await {
            Ok(adopted) => adopted,
            Err(Adoption::Refused(why)) => return delivery.dead(&why).await,
            Err(Adoption::Failed(e)) => {
                tracing::warn!(error = %e, "the ledger fails");
                return delivery.retry(BACKEND_PAUSE).await;
            }
        };
        match self.ports.jobs.begin(id, LEASE).await {
            Ok(Begin::Started(lease, job)) => self.work(delivery, body, lease, job, stop).await,
            Ok(Begin::Leased(until)) => delivery.retry(until.since(self.ports.clock.now())).await,
            Ok(Begin::NotQueued(_)) => delivery.ack().await,
            Err(jobs::Error::NotFound) => self.forget(delivery, &body).await,
            Err(e) => {
                tracing::warn!(job_id = %id, error = %e, "the ledger fails");
                delivery.retry(BACKEND_PAUSE).await
            }
        }
    }

    /// Drops the message about a job that was deleted, as its video shows. A video that is still there
    /// after a while means that the message comes from a gateway with another ledger: an operator must
    /// know.
    async fn forget(&self, delivery: Box<dyn Delivery>, body: &Body) -> Result<(), queue::Error> {
        let video = match body.video() {
            Some(video) => self.ports.videos.head(video).await,
            None => return delivery.ack().await,
        };
        match video {
            Err(storage::Error::NotFound) => delivery.ack().await,
            Ok(_) if delivery.attempt() >= ATTEMPTS => {
                delivery
                    .dead("no job of this ledger, but there is a video")
                    .await
            }
            _ => delivery.retry(FORGET_PAUSE).await,
        }
    }

    /// Brings a begun job to its end, or back into the queue.
    async fn work(
        &self,
        delivery: Box<dyn Delivery>,
        body: Body,
        lease: Lease,
        job: Job,
        stop: &CancellationToken,
    ) -> Result<(), queue::Error> {
        let started = Instant::now();
        telemetry::about(job.id);
        tracing::info!(job_id = %job.id, attempt = job.attempts, "conversion started");
        let fault = match self.convert(&job, lease, stop).await {
            Ok((output, audio)) => match self.finish(lease, output, body.clone()).await {
                Ok(()) => {
                    let took = started.elapsed();
                    tracing::info!(job_id = %job.id, ?took, ?audio, "conversion done");
                    self.metrics.job_ended("done", took, Some(audio));
                    return delivery.ack().await;
                }
                Err(fault) => fault,
            },
            Err(fault) => fault,
        };
        match fault {
            Fault::Permanent(reason) => {
                self.fail(delivery, lease, body, reason, started.elapsed())
                    .await
            }
            Fault::Transient(why) if job.attempts >= ATTEMPTS => {
                tracing::error!(job_id = %job.id, why, "conversion given up");
                let reason = "The conversion failed several times. Please try again later.";
                self.fail(delivery, lease, body, reason.into(), started.elapsed())
                    .await
            }
            Fault::Died(why) if job.attempts >= ATTEMPTS => {
                tracing::error!(job_id = %job.id, why, "conversion given up");
                self.fail(delivery, lease, body, DEADLY.into(), started.elapsed())
                    .await
            }
            Fault::Away(why) if delivery.attempt() >= PATIENCE => {
                tracing::error!(job_id = %job.id, why, "conversion given up");
                let reason = "What the conversion needs was out of reach for over an hour. Please try again later.";
                self.fail(delivery, lease, body, reason.into(), started.elapsed())
                    .await
            }
            Fault::Away(why) => {
                let doubled =
                    AWAY_PAUSE * 2_u32.saturating_pow(delivery.attempt().saturating_sub(1));
                let pause = doubled.min(LONGEST_AWAY_PAUSE);
                telemetry::failed(&Span::current(), &why);
                tracing::warn!(job_id = %job.id, why, ?pause, "conversion put off");
                self.release(lease, false).await;
                delivery.retry(pause).await
            }
            Fault::Transient(why) | Fault::Died(why) => {
                let pause = RETRY_PAUSE * job.attempts;
                telemetry::failed(&Span::current(), &why);
                tracing::warn!(job_id = %job.id, why, ?pause, "conversion failed, once more");
                self.release(lease, true).await;
                delivery.retry(pause).await
            }
            Fault::Lost => {
                tracing::info!(job_id = %job.id, "conversion called off");
                delivery.ack().await
            }
            Fault::Stopped => {
                self.release(lease, false).await;
                delivery.retry(Duration::ZERO).await
            }
        }
    }

    /// Gives a lease back; where that fails, it runs out.
    async fn release(&self, lease: Lease, counted: bool) {
        if let Err(e) = self.ports.jobs.release(lease, counted).await {
            tracing::warn!(job_id = %lease.job, error = %e, "the lease must run out");
        }
    }

    async fn fail(
        &self,
        delivery: Box<dyn Delivery>,
        lease: Lease,
        body: Body,
        reason: String,
        took: Duration,
    ) -> Result<(), queue::Error> {
        tracing::info!(job_id = %lease.job, reason, "conversion failed");
        telemetry::failed(&Span::current(), &reason);
        let publishing = telemetry::publishing(Topic::Failed, lease.job);
        let told = publishing.in_scope(|| body.telling_failure(&reason));
        match self
            .ports
            .jobs
            .finish(lease, Outcome::Failed(reason), Some(told))
            .await
        {
            Ok(owed) => {
                self.metrics.job_ended("failed", took, None);
                self.ports.send_now_or_later(owed).await;
            }
            Err(jobs::Error::Rejected(_) | jobs::Error::NotFound) => {}
            Err(e) => {
                tracing::warn!(job_id = %lease.job, error = %e, "the ledger fails");
                return delivery.retry(BACKEND_PAUSE).await;
            }
        }
        delivery.ack().await
    }

    /// Enters the MP3 into the ledger, with the message that tells of it; or removes it.
    async fn finish(&self, lease: Lease, output: Output, body: Body) -> Result<(), Fault> {
        let mp3 = output.mp3;
        let publishing = telemetry::publishing(Topic::Mp3, lease.job);
        let told = publishing.in_scope(|| body.telling(mp3));
        let finished = self
            .ports
            .jobs
            .finish(lease, Outcome::Done(output), Some(told))
            .await;
        let fault = match finished {
            Ok(owed) => {
                self.ports.send_now_or_later(owed).await;
                return Ok(());
            }
            Err(jobs::Error::Rejected(_) | jobs::Error::NotFound) => Fault::Lost,
            // It may have been entered all the same: the MP3 stays, and the sweeper decides.
            Err(e) => return Err(Fault::Away(e.to_string())),
        };
        self.remove(mp3).await;
        Err(fault)
    }

    async fn remove(&self, mp3: Id) {
        if let Err(e) = self.ports.mp3s.delete(mp3).await {
            tracing::warn!(%mp3, error = %e, "an MP3 nobody owns is left to the sweeper");
        }
    }

    /// Converts a job's video and stores the MP3 under an id of its own.
    async fn convert(
        &self,
        job: &Job,
        lease: Lease,
        stop: &CancellationToken,
    ) -> Result<(Output, Duration), Fault> {
        if job.attempts > ATTEMPTS {
            // Work was started three times and never ended: the converter itself died each time.
            return Err(Fault::Permanent(DEADLY.into()));
        }
        let video = self
            .ports
            .videos
            .head(job.source)
            .await
            .map_err(|e| match e {
                storage::Error::NotFound => {
                    Fault::Permanent("The video is no longer there.".into())
                }
                e => Fault::Away(e.to_string()),
            })?;
        let converting = telemetry::step("convert");

        let progress = AtomicU32::new(0);
        let work = self
            .workshop
            .convert(&job.options, &self.ports.videos, &video, &progress);
        // The lease is kept until the MP3 is stored, which a slow storage may draw out.
        let kept = self.keep(lease, &progress, stop);
        tokio::pin!(kept);
        let (made, file) = tokio::select! {
            made = work => match made {
                // Who ends all processes of a service may have come to this one first.
                Err(Fault::Died(_)) if timeout(STOPPING, stop.cancelled()).await.is_ok() => {
                    return Err(Fault::Stopped);
                }
                made => made?,
            },
            fault = &mut kept => return Err(fault),
        };
        drop(converting);
        let audio = made.audio;
        let output = tokio::select! {
            stored = self.store(job, made, file) => stored?,
            // What is stored by then is an orphan, which the sweeper removes.
            fault = kept => return Err(fault),
        };
        Ok((output, audio))
    }

    /// Renews the lease until it is lost or the service stops: the reason to stop working.
    async fn keep(&self, lease: Lease, progress: &AtomicU32, stop: &CancellationToken) -> Fault {
        let mut renewed = Instant::now();
        while stop
            .run_until_cancelled(tokio::time::sleep(RENEW))
            .await
            .is_some()
        {
            let progress = f32::from_bits(progress.load(Ordering::Relaxed));
            match self.ports.jobs.renew(lease, LEASE, progress).await {
                Ok(()) => renewed = Instant::now(),
                Err(jobs::Error::Rejected(_) | jobs::Error::NotFound) => return Fault::Lost,
                Err(e) if renewed.elapsed() + LEASE_MARGIN >= LEASE => {
                    return Fault::Away(e.to_string());
                }
                Err(e) => {
                    tracing::warn!(job_id = %lease.job, error = %e, "the lease is not renewed yet");
                }
            }
        }
        Fault::Stopped
    }

    async fn store(&self, job: &Job, made: Made, mut file: File) -> Result<Output, Fault> {
        std::io::Seek::rewind(&mut file).map_err(|e| Fault::Transient(e.to_string()))?;
        let body = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE);
        let _storing = telemetry::step("store");
        let mp3 = self.ports.new_id();
        let label = Label {
            file_name: made.product.file_name(&job.file_name),
            owner: job.owner.clone(),
        };
        let body = Box::pin(body.map_err(UploadError::from));
        let stored = self.ports.mp3s.put(mp3, &label, body).await;
        let head = stored.map_err(|e| match e {
            storage::Error::Interrupted(e) => Fault::Transient(e.to_string()),
            e => Fault::Away(e.to_string()),
        })?;
        Ok(Output {
            mp3,
            bytes: head.bytes,
            report: made.report,
        })
    }
}
