//! The converter service: takes videos from the queue and puts MP3s into the storage.
//!
//! The engine runs in a [worker process](crate::worker), a new one for each attempt. It writes the MP3, or the ZIP file
//! of chapters, to an unnamed temporary file, which then goes into the storage.

use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use micropy_core::ports::Id;
use micropy_core::ports::jobs::{self, Begin, Ended, Job, Lease, Outcome, Output, Topic};
use micropy_core::ports::queue::{self, Delivery};
use micropy_core::ports::storage::{self, Label, StorageExt, UploadError};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::Ports;
use crate::accounts::{Turn, Turns};
use crate::gateway::Limits;
use crate::job::adoption::AdoptionError;
use crate::job::inbox::{self, HAND_BACK};
use crate::job::message::Body;
use crate::job::options::ConversionOptions;
use crate::job::outbox;
use crate::stores::StoreCheck;
use crate::telemetry::{self, Metrics};
use crate::worker::{Converted, Fault, NO_ROOM, Sandbox, TOO_SLOW, Video, Worker};

/// How long a lease lasts without being renewed.
const LEASE: Duration = Duration::from_secs(30);
/// How often a lease is renewed, which also reports progress and notices a cancellation.
const RENEWAL: Duration = Duration::from_secs(1);
/// Attempts at a job.
const MAX_ATTEMPTS: u32 = 3;
/// The pause before the second attempt; before the third it is twice as long.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Outages of the stores that a job waits for, or how often they may be full: they take more than an hour.
const MAX_OUTAGES: u32 = 20;
/// Deliveries of a job, whatever came of them: attempts, outages, and workers that had to stop.
const MAX_DELIVERIES: u32 = 40;
/// How long the server of a URL may take to send the video's first bytes.
const OPENING: Duration = Duration::from_secs(60);
/// The first pause of an import whose owner has one under way. It grows with each delivery, up to the longest.
const IMPORT_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_IMPORT_PAUSE: Duration = Duration::from_secs(30);
/// The first pause of a job whose stores are unavailable. It doubles each time, up to the longest.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_UNAVAILABLE_PAUSE: Duration = Duration::from_secs(5 * 60);
/// The pause before looking again whether the video of a deleted job is gone.
const DELETED_PAUSE: Duration = Duration::from_secs(5);
/// The pause before asking a queue or a ledger again that failed.
const BACKEND_PAUSE: Duration = Duration::from_secs(1);
/// The reason that a job's owner is given when the video crashes every worker process.
const CRASHES: &str = "The conversion of this file ended unexpectedly several times.";
/// The reason that a job's owner is given when no worker could stay with it for long enough.
const INTERRUPTED: &str =
    "The service was stopped each time before the conversion had ended. Please try again later.";
/// How long to wait for the shutdown of this service when its worker processes received the signal first.
const SHUTDOWN_DELAY: Duration = Duration::from_millis(200);
/// How long to wait until an MP3 of no job is removed.
const REMOVAL: Duration = Duration::from_secs(1);
/// Bytes of the MP3 read at once.
const PIECE: usize = 64 * 1024;

/// The converter service.
///
/// ```
/// # use std::sync::Arc;
/// # use micropy_core::ports::time::{ManualClock, Timestamp};
/// use micropy_services::Ports;
/// use micropy_services::converter::ConverterService;
/// use micropy_services::worker::Worker;
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let clock = Arc::new(ManualClock::new(Timestamp::default()));
/// let ports = Ports::in_memory(clock);
/// let worker = Worker::this_program(["convert-one"])?;
/// let shutdown = CancellationToken::new();
/// let service = ConverterService::new(ports, worker).workers(2);
/// let running = tokio::spawn(service.run(shutdown.clone()));
///
/// shutdown.cancel();
/// running.await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConverterService {
    ports: Ports,
    metrics: Arc<Metrics>,
    worker: Worker,
    workers: usize,
    grace: Duration,
    /// Bytes that one user may store.
    quota: u64,
    /// Bytes of the largest video that is read from a URL.
    largest_import: u64,
    /// Owners whose MP3s are being stored, one at a time: each then sees what those before it take.
    storing: Arc<Turns<String>>,
    /// Owners whose URLs are being read, one at a time: the servers of one user keep no more than one worker.
    importing: Arc<Turns<String>>,
    /// Whether the stores are the ledger's.
    stores: Arc<StoreCheck>,
}

/// An MP3 that is stored, and not recorded in the ledger yet.
struct Stored {
    output: Output,
    audio: Duration,
    /// Until it is recorded.
    _turn: Turn,
}

/// When to stop.
#[derive(Clone, Copy)]
struct Stopping<'a> {
    /// No new work is begun.
    shutdown: &'a CancellationToken,
    /// Nor is any continued.
    cut_off: &'a CancellationToken,
}

/// Why work on a job stopped without an MP3.
#[derive(Debug)]
enum Stop {
    /// The conversion failed.
    Fault(Fault),
    /// The lease is lost, or the owner cancelled the job: it is not ours any more.
    LeaseLost,
    /// The service shuts down, and its grace period is over.
    Shutdown,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl ConverterService {
    /// A converter service whose worker processes are started as `worker` says.
    pub fn new(ports: Ports, worker: Worker) -> Self {
        ConverterService {
            stores: Arc::new(StoreCheck::new(ports.clone())),
            ports,
            metrics: Arc::default(),
            worker,
            workers: cores().div_ceil(2),
            grace: Duration::from_secs(20),
            quota: Limits::default().quota_bytes,
            largest_import: Limits::default().upload,
            storing: Arc::new(Turns::new(1)),
            importing: Arc::new(Turns::new(1)),
        }
    }

    /// Bytes that one user may store, videos and MP3s together: an MP3 that does not fit fails its job. Give it what the
    /// gateway's [`Limits`] say, whose default is this one's, too.
    ///
    /// Converters in several processes do not know of each other's work, nor of uploads on their way. So a user may
    /// exceed the quota by one MP3 with each process more, and by what is on its way.
    #[must_use]
    pub fn quota(mut self, bytes: u64) -> Self {
        self.quota = bytes;
        self
    }

    /// Bytes of the largest video that is read from a URL. The default is that of uploads.
    #[must_use]
    pub fn largest_import(mut self, bytes: u64) -> Self {
        self.largest_import = bytes;
        self
    }

    /// The check that the stores are the ledger's, where other services share it. The default is one of its own. No job
    /// is begun before it has passed.
    #[must_use]
    pub fn stores(mut self, stores: Arc<StoreCheck>) -> Self {
        self.stores = stores;
        self
    }

    /// How long conversions may take to end after the shutdown. The default is 20 seconds.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How many videos to convert at the same time. The default is one for every two cores.
    ///
    /// Videos behind URLs take as long as their servers like. So each user has one of them read at a time, and of
    /// several workers one is left to videos that were uploaded.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Where to count what happens.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Converts videos until `shutdown`. Jobs that are not finished when the grace period ends go back into the queue.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let threads = NonZeroUsize::new(cores() / self.workers).unwrap_or(NonZeroUsize::MIN);
        self.worker = self.worker.default_threads(threads);
        let sandbox = Sandbox::supported();
        if !(sandbox.landlock && sandbox.seccomp) {
            tracing::warn!("worker processes are held by {sandbox} on this system");
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(outbox::run(self.ports.clone(), shutdown.clone()));
        let (cut_off, _timer) = inbox::cut_off(shutdown.clone(), self.grace);
        if self.stores.passed(&shutdown).await.is_some() {
            for worker in 0..self.workers {
                let topics: &[Topic] = match worker {
                    // Where there is a second one, no server of a URL keeps it.
                    1 => &[Topic::Video],
                    _ => &[Topic::Video, Topic::Import],
                };
                let (shutdown, cut_off) = (shutdown.clone(), cut_off.clone());
                tasks.spawn(self.clone().work_through_queue(topics, shutdown, cut_off));
            }
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(e) = ended {
                tracing::error!(error = %e, "a task of the converter panicked");
            }
        }
    }

    async fn work_through_queue(
        self,
        topics: &[Topic],
        shutdown: CancellationToken,
        cut_off: CancellationToken,
    ) {
        let stopping = Stopping {
            shutdown: &shutdown,
            cut_off: &cut_off,
        };
        let handle = |delivery, body| self.handle(delivery, body, stopping);
        self.ports.work_through(topics, &shutdown, handle).await;
    }

    async fn handle(
        &self,
        delivery: Box<dyn Delivery>,
        body: Body,
        stopping: Stopping<'_>,
    ) -> Result<(), queue::Error> {
        let (id, body) = match self.ports.adopt(body).await {
            Ok(adopted) => adopted,
            Err(AdoptionError::Malformed(why)) => return delivery.dead(&why).await,
            Err(AdoptionError::Ledger(e)) => {
                tracing::warn!(error = %e, "the ledger fails");
                return delivery.retry(BACKEND_PAUSE).await;
            }
        };
        // What was requested before the owner cancelled and retried it is void: there is another message, which stands
        // where the retry put it. Otherwise each cancelled job would keep its place in the queue.
        let job = self.ports.jobs.get(id).await.ok();
        if job.as_ref().is_some_and(|job| body.retries < job.retries) {
            return delivery.ack().await;
        }
        let _importing = match job.filter(|job| job.origin.is_some()) {
            Some(import) => match self.importing.take(import.owner) {
                Some(turn) => Some(turn),
                // It is not kept here meanwhile: another converter may take it.
                None => {
                    let pause = IMPORT_PAUSE.saturating_mul(delivery.attempt());
                    return delivery.retry(pause.min(LONGEST_IMPORT_PAUSE)).await;
                }
            },
            None => None,
        };
        match self.ports.jobs.begin(id, LEASE).await {
            Ok(Begin::Started(lease, job)) => {
                self.request_next();
                self.work(delivery, body, lease, job, stopping).await
            }
            Ok(Begin::Leased(until)) => delivery.retry(until.since(self.ports.clock.now())).await,
            Ok(Begin::NotQueued(_)) => delivery.ack().await,
            Err(jobs::Error::NotFound) => self.drop_deleted(delivery, &body).await,
            Err(e) => {
                tracing::warn!(job_id = %id, error = %e, "the ledger fails");
                delivery.retry(BACKEND_PAUSE).await
            }
        }
    }

    /// Sends what has come to its turn when a job of the same owner was begun.
    fn request_next(&self) {
        let ports = self.ports.clone();
        tokio::spawn(async move {
            if let Err(e) = ports.send_owed().await {
                tracing::warn!(error = %e, "messages stay in the ledger for now");
            }
        });
    }

    /// Drops the message about a job that was deleted: its video is gone too. If the video stays, the message comes
    /// from a gateway with another ledger, and an operator must know.
    async fn drop_deleted(
        &self,
        delivery: Box<dyn Delivery>,
        body: &Body,
    ) -> Result<(), queue::Error> {
        let video = match body.video() {
            Some(video) => self.ports.videos.head(video).await,
            None => return delivery.ack().await,
        };
        match video {
            Err(storage::Error::NotFound) => delivery.ack().await,
            Ok(_) if delivery.attempt() >= MAX_ATTEMPTS => {
                delivery
                    .dead("the ledger has no such job, but its video exists")
                    .await
            }
            _ => delivery.retry(DELETED_PAUSE).await,
        }
    }

    /// Works on a leased job, until it is finished or back in the queue.
    async fn work(
        &self,
        delivery: Box<dyn Delivery>,
        body: Body,
        lease: Lease,
        job: Job,
        stopping: Stopping<'_>,
    ) -> Result<(), queue::Error> {
        let cut_off = stopping.cut_off;
        let started = Instant::now();
        telemetry::record_job(job.id);
        tracing::info!(job_id = %job.id, attempt = job.attempts, "conversion started");
        let stop = match self.convert(&job, lease, stopping).await {
            Ok(stored) => match self
                .finish(lease, stored.output, body.clone(), cut_off)
                .await
            {
                Ok(()) => {
                    let (took, audio) = (started.elapsed(), stored.audio);
                    tracing::info!(job_id = %job.id, ?took, ?audio, "conversion done");
                    self.metrics.job_ended("done", took, Some(audio));
                    return delivery.ack().await;
                }
                Err(stop) => stop,
            },
            Err(stop) => stop,
        };
        let fault = match stop {
            Stop::Fault(fault) => fault,
            Stop::LeaseLost => {
                tracing::info!(job_id = %job.id, "conversion cancelled");
                // Or somebody else has begun it, since this one could not renew its lease: then the attempt was none.
                let _ = self.ports.jobs.release(lease, Ended::Interrupted).await;
                return delivery.ack().await;
            }
            Stop::Shutdown => {
                let given_back = self.ports.jobs.release(lease, Ended::Interrupted);
                if !matches!(timeout(HAND_BACK / 2, given_back).await, Ok(Ok(()))) {
                    tracing::warn!(job_id = %job.id, "the lease must expire");
                }
                return delivery.retry(Duration::ZERO).await;
            }
        };
        match fault {
            Fault::Permanent(reason) => {
                self.fail(delivery, lease, body, reason, started.elapsed(), cut_off)
                    .await
            }
            Fault::Unreachable(reason) if job.attempts >= MAX_ATTEMPTS => {
                self.fail(delivery, lease, body, reason, started.elapsed(), cut_off)
                    .await
            }
            Fault::Transient(why) if job.attempts >= MAX_ATTEMPTS => {
                tracing::error!(job_id = %job.id, why, "conversion given up");
                let reason = "The conversion failed several times. Please try again later.".into();
                self.fail(delivery, lease, body, reason, started.elapsed(), cut_off)
                    .await
            }
            Fault::Crashed(why) if job.attempts >= MAX_ATTEMPTS => {
                tracing::error!(job_id = %job.id, why, "conversion given up");
                let reason = CRASHES.into();
                self.fail(delivery, lease, body, reason, started.elapsed(), cut_off)
                    .await
            }
            Fault::Unavailable(why) if job.outages + 1 >= MAX_OUTAGES => {
                tracing::error!(job_id = %job.id, why, "conversion given up");
                let reason = "A service that the conversion needs was unavailable for over an hour. Please try again later.".into();
                self.fail(delivery, lease, body, reason, started.elapsed(), cut_off)
                    .await
            }
            Fault::Unavailable(why) => {
                let doubled = UNAVAILABLE_PAUSE.saturating_mul(2_u32.saturating_pow(job.outages));
                let pause = doubled.min(LONGEST_UNAVAILABLE_PAUSE);
                telemetry::record_failure(&Span::current(), &why);
                tracing::warn!(job_id = %job.id, why, ?pause, "conversion put off");
                self.release(lease, Ended::Unavailable, cut_off).await;
                delivery.retry(pause).await
            }
            Fault::Transient(why) | Fault::Crashed(why) | Fault::Unreachable(why) => {
                let pause = RETRY_PAUSE * job.attempts;
                telemetry::record_failure(&Span::current(), &why);
                tracing::warn!(job_id = %job.id, why, ?pause, "conversion failed, trying again");
                self.release(lease, Ended::Failed, cut_off).await;
                delivery.retry(pause).await
            }
        }
    }

    /// Gives a lease back. Where this fails, it expires, and the attempt counts.
    async fn release(&self, lease: Lease, ended: Ended, cut_off: &CancellationToken) {
        let released = || self.ports.jobs.release(lease, ended);
        if let Err(e) = insist(lease.job, cut_off, released).await.0 {
            tracing::warn!(job_id = %lease.job, error = %e, "the lease must expire");
        }
    }

    async fn fail(
        &self,
        delivery: Box<dyn Delivery>,
        lease: Lease,
        body: Body,
        reason: String,
        took: Duration,
        cut_off: &CancellationToken,
    ) -> Result<(), queue::Error> {
        tracing::info!(job_id = %lease.job, reason, "conversion failed");
        telemetry::record_failure(&Span::current(), &reason);
        let publishing = telemetry::publishing(Topic::Failed, lease.job);
        let message = publishing.in_scope(|| body.conversion_failed(&reason));
        let failed = Outcome::Failed(reason);
        let finish = || {
            self.ports
                .jobs
                .finish(lease, failed.clone(), Some(message.clone()))
        };
        match insist(lease.job, cut_off, finish).await.0 {
            Ok(owed) => {
                self.metrics.job_ended("failed", took, None);
                self.ports.try_send(owed).await;
            }
            Err(jobs::Error::Rejected(_) | jobs::Error::NotFound) => {}
            Err(e) => {
                tracing::warn!(job_id = %lease.job, error = %e, "the ledger fails");
                return delivery.retry(BACKEND_PAUSE).await;
            }
        }
        delivery.ack().await
    }

    /// Records the MP3 in the ledger, with the message that announces it. Removes the MP3 where the lease is lost.
    async fn finish(
        &self,
        lease: Lease,
        output: Output,
        body: Body,
        cut_off: &CancellationToken,
    ) -> Result<(), Stop> {
        let mp3 = output.mp3;
        let publishing = telemetry::publishing(Topic::Mp3, lease.job);
        let message = publishing.in_scope(|| body.mp3_ready(mp3));
        let done = Outcome::Done(output);
        let finish = || {
            self.ports
                .jobs
                .finish(lease, done.clone(), Some(message.clone()))
        };
        match insist(lease.job, cut_off, finish).await {
            (Ok(owed), _) => {
                self.ports.try_send(owed).await;
                Ok(())
            }
            (Err(jobs::Error::Rejected(_) | jobs::Error::NotFound), Repeated::No) => {
                self.remove(mp3).await;
                Err(Stop::LeaseLost)
            }
            // The call before this one may have recorded it, though its answer was lost.
            (Err(jobs::Error::Rejected(_) | jobs::Error::NotFound), Repeated::Yes) => {
                let get = || self.ports.jobs.get(lease.job);
                match insist(lease.job, cut_off, get).await.0 {
                    Ok(job) if job.output.as_ref().is_some_and(|output| output.mp3 == mp3) => {
                        Ok(())
                    }
                    Ok(_) | Err(jobs::Error::NotFound) => {
                        self.remove(mp3).await;
                        Err(Stop::LeaseLost)
                    }
                    Err(e) => Err(Fault::Unavailable(e.to_string()).into()),
                }
            }
            // It may have been recorded all the same: the MP3 stays, and the sweeper decides.
            (Err(e), _) => Err(Fault::Unavailable(e.to_string()).into()),
        }
    }

    async fn remove(&self, mp3: Id) {
        if let Err(e) = self.ports.mp3s.delete(mp3).await {
            tracing::warn!(%mp3, error = %e, "an MP3 of no job is left to the sweeper");
        }
    }

    /// Converts a job's video and stores the MP3 under an id of its own.
    async fn convert(
        &self,
        job: &Job,
        lease: Lease,
        stopping: Stopping<'_>,
    ) -> Result<Stored, Stop> {
        if job.attempts > MAX_ATTEMPTS {
            // No attempt ended: the converter itself crashed each time.
            return Err(Fault::Permanent(CRASHES.into()).into());
        }
        if job.deliveries > MAX_DELIVERIES {
            return Err(Fault::Permanent(INTERRUPTED.into()).into());
        }
        let room = self.room(&job.owner).await?;
        let converting = telemetry::step("convert");

        let progress = AtomicU32::new(0);
        let options = ConversionOptions::for_worker(&job.options);
        let work = async {
            let video = self.video(job).await?;
            let converted = self.worker.convert(&options, &video, room, &progress);
            converted.await
        };
        // The lease is kept until the MP3 is stored, which may take long.
        let lease = self.keep_lease(lease, &progress, stopping.cut_off);
        tokio::pin!(lease);
        let (converted, file) = tokio::select! {
            converted = work => match converted {
                // Whoever ends the processes of this service may have ended that one first.
                Err(Fault::Crashed(_))
                    if timeout(SHUTDOWN_DELAY, stopping.shutdown.cancelled()).await.is_ok() =>
                {
                    return Err(Stop::Shutdown);
                }
                converted => converted?,
            },
            stop = &mut lease => return Err(stop),
        };
        drop(converting);
        let mp3 = self.ports.new_id();
        tokio::select! {
            stored = self.store(mp3, job, converted, file) => Ok(stored?),
            stop = lease => {
                // What is stored by then belongs to no job. Left to the sweeper, it would be there for hours, and whoever
                // cancels one job after the other would fill the disk.
                let _ = timeout(REMOVAL, self.remove(mp3)).await;
                Err(stop)
            }
        }
    }

    /// A job's video, opened.
    async fn video(&self, job: &Job) -> Result<Video, Fault> {
        let Some(url) = &job.origin else {
            let head = self.ports.videos.head(job.source).await;
            let head = head.map_err(|e| match e {
                storage::Error::NotFound => {
                    Fault::Permanent("The video is no longer there.".into())
                }
                e => Fault::Unavailable(e.to_string()),
            })?;
            return Ok(Video::Stored(self.ports.videos.clone(), head));
        };
        let Some(origins) = &self.ports.origins else {
            let why = "This service imports no videos from URLs.";
            return Err(Fault::Permanent(why.into()));
        };
        let Ok(video) = timeout(OPENING, origins.open(url)).await else {
            return Err(Fault::Unreachable(TOO_SLOW.into()));
        };
        let video = video?;
        match video.bytes() <= self.largest_import {
            true => Ok(Video::Remote(video)),
            false => Err(Fault::Permanent(format!(
                "The video has {} bytes, and this service takes {} at most.",
                video.bytes(),
                self.largest_import
            ))),
        }
    }

    /// Bytes that the owner of a job may still store.
    async fn room(&self, owner: &str) -> Result<u64, Fault> {
        let usage = self.ports.jobs.usage(owner).await;
        let usage = usage.map_err(|e| Fault::Unavailable(e.to_string()))?;
        match self.quota.saturating_sub(usage.bytes) {
            0 => Err(Fault::Permanent(NO_ROOM.into())),
            room => Ok(room),
        }
    }

    /// Renews the lease for as long as possible. Returns why the work must stop.
    ///
    /// While the ledger is out of reach nobody else can begin the job either, so the work goes on. The lease is still
    /// ours afterwards, unless somebody was faster.
    async fn keep_lease(
        &self,
        lease: Lease,
        progress: &AtomicU32,
        cut_off: &CancellationToken,
    ) -> Stop {
        let mut out = false;
        while cut_off
            .run_until_cancelled(tokio::time::sleep(RENEWAL))
            .await
            .is_some()
        {
            let progress = f32::from_bits(progress.load(Ordering::Relaxed));
            match self.ports.jobs.renew(lease, LEASE, progress).await {
                Ok(()) => out = false,
                Err(jobs::Error::Rejected(_) | jobs::Error::NotFound) => return Stop::LeaseLost,
                Err(e) => {
                    if !std::mem::replace(&mut out, true) {
                        tracing::warn!(job_id = %lease.job, error = %e, "the lease is not renewed yet");
                    }
                }
            }
        }
        Stop::Shutdown
    }

    /// Stores the MP3, unless it takes more room than the owner has left.
    async fn store(
        &self,
        mp3: Id,
        job: &Job,
        converted: Converted,
        mut file: File,
    ) -> Result<Stored, Fault> {
        let unread = |e: std::io::Error| Fault::Transient(e.to_string());
        let bytes = file.metadata().map_err(unread)?.len();
        std::io::Seek::rewind(&mut file).map_err(unread)?;
        let turn = self.storing.wait(job.owner.clone()).await;
        if bytes > self.room(&job.owner).await? {
            return Err(Fault::Permanent(NO_ROOM.into()));
        }
        // No more than that, whatever the process still writes.
        let file = tokio::fs::File::from_std(file).take(bytes);
        let body = ReaderStream::with_capacity(file, PIECE);
        let _storing = telemetry::step("store");
        let label = Label {
            file_name: converted.product.file_name(&job.file_name),
            owner: job.owner.clone(),
        };
        let body = Box::pin(body.map_err(UploadError::from));
        let stored = self.ports.mp3s.put(mp3, &label, body).await;
        let head = stored.map_err(|e| match e {
            storage::Error::Interrupted(e) => Fault::Transient(e.to_string()),
            e => Fault::Unavailable(e.to_string()),
        })?;
        Ok(Stored {
            output: Output {
                mp3,
                bytes: head.bytes,
                report: converted.report,
            },
            audio: converted.audio,
            _turn: turn,
        })
    }
}

/// Whether a change of the ledger was made more than once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeated {
    Yes,
    No,
}

/// Makes a change of the ledger again and again while that is out of reach, until `cut_off`.
async fn insist<T, F: Future<Output = Result<T, jobs::Error>>>(
    job: Id,
    cut_off: &CancellationToken,
    change: impl Fn() -> F,
) -> (F::Output, Repeated) {
    let mut repeated = Repeated::No;
    loop {
        match change().await {
            Err(jobs::Error::Unavailable(e)) => {
                if repeated == Repeated::No {
                    tracing::warn!(job_id = %job, error = %e, "waiting for the ledger");
                }
                repeated = Repeated::Yes;
                let pause = tokio::time::sleep(BACKEND_PAUSE);
                if cut_off.run_until_cancelled(pause).await.is_none() {
                    return (Err(jobs::Error::Unavailable(e)), repeated);
                }
            }
            outcome => return (outcome, repeated),
        }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::ops::Range;
    use std::os::unix::fs::OpenOptionsExt as _;

    use async_trait::async_trait;
    use bytes::Bytes;
    use futures_util::{StreamExt as _, stream};
    use micropy_core::ports::binding::Identity;
    use micropy_core::ports::jobs::State;
    use micropy_core::ports::origins::{self, Origins, RemoteVideo};
    use micropy_core::ports::storage::{ByteStream, Error, Head, Listing, Upload};
    use micropy_core::ports::time::{ManualClock, Timestamp};
    use micropy_core::ports::{Clock as _, Storage};

    use super::*;

    const ANN: &str = "ann@example.com";
    const BOB: &str = "bob@example.com";
    /// Bytes of each video, and of each MP3.
    const VIDEO: u64 = 10;
    const MP3: u64 = 600;

    /// Worker processes that make an MP3 of anything.
    fn worker(folder: &std::path::Path) -> Worker {
        let program = folder.join("program");
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(&program)
            .unwrap();
        let report = r#"{"codec":null,"duration":0.5,"sample_rate":8000,"channels":1,"mean_bitrate":8000,"samples":4000,"complete":true,"warnings":[]}"#;
        let audio = r#"{"secs":0,"nanos":500000000}"#;
        let made = format!(r#"{{"product":"mp3","audio":{audio},"report":{report}}}"#);
        write!(
            file,
            "#!/bin/sh\nexec 3>&0\nread -r task\nsleep 0.3\nhead -c {MP3} /dev/zero\n\
             echo '{{\"converted\":{made}}}' >&3\n"
        )
        .unwrap();
        drop(file);
        Worker::new(program, ["worker"]).folder(folder)
    }

    async fn accept(ports: &Ports, owner: &str) -> Id {
        let job = Job {
            state: State::Queued,
            source_bytes: VIDEO,
            ..Job::new(ports.new_id(), owner, ports.new_id(), ports.clock.now())
        };
        let body = stream::iter([Ok(Bytes::from_static(b"0123456789"))]);
        let (label, body) = (Label::default(), Box::pin(body));
        ports.videos.put(job.source, &label, body).await.unwrap();
        let message = Body::conversion_request(&job);
        match ports.jobs.create(&job, Some(message)).await.unwrap() {
            jobs::Created::New(owed) => ports.try_send(owed).await,
            created @ jobs::Created::Existing(_) => panic!("{created:?}"),
        }
        job.id
    }

    async fn import(ports: &Ports, owner: &str) -> Id {
        let job = Job {
            state: State::Queued,
            origin: Some("https://example.com/talk.mp4".into()),
            ..Job::new(ports.new_id(), owner, ports.new_id(), ports.clock.now())
        };
        ports.submit(job).await.unwrap().id
    }

    async fn is_so(condition: impl AsyncFn() -> bool) -> bool {
        let holds = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(60), holds).await.is_ok()
    }

    fn ports() -> Ports {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let clock = Arc::new(ManualClock::new(now));
        assert_eq!(clock.now(), now);
        Ports::in_memory(clock)
    }

    #[tokio::test]
    async fn of_many_mp3s_at_once_no_more_are_stored_than_the_quota_allows() {
        let (ports, folder) = (ports(), tempfile::tempdir().unwrap());
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(accept(&ports, ANN).await);
        }
        let bobs = accept(&ports, BOB).await;
        all.push(bobs);
        let service = ConverterService::new(ports.clone(), worker(folder.path()));
        let service = service.workers(5).quota(4 * VIDEO + 2 * MP3 + MP3 / 2);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(service.run(shutdown.clone()));
        let job = async |id| ports.jobs.get(id).await.unwrap();
        for id in &all {
            assert!(is_so(async || job(*id).await.state.is_final()).await);
        }
        shutdown.cancel();
        running.await.unwrap();
        let mut failures = Vec::new();
        for id in &all[..4] {
            failures.extend(job(*id).await.failure);
        }
        assert_eq!(failures, [NO_ROOM; 2]);
        assert_eq!(
            job(bobs).await.state,
            State::Done,
            "another's quota is another"
        );
        let usage = ports.jobs.usage(ANN).await.unwrap();
        assert_eq!(usage.bytes, 4 * VIDEO + 2 * MP3);
        let files = ports.mp3s.list_older_than(Timestamp::MAX).await.unwrap();
        assert_eq!(files.count().await, 3, "nothing else is stored");
    }

    #[tokio::test]
    async fn who_has_used_all_their_storage_gets_no_conversion() {
        let (ports, folder) = (ports(), tempfile::tempdir().unwrap());
        let id = accept(&ports, ANN).await;
        // It would be an outage, and put off, if a process were started.
        let worker = Worker::new("/nowhere/micropy", ["worker"]).folder(folder.path());
        let service = ConverterService::new(ports.clone(), worker).quota(VIDEO);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(service.run(shutdown.clone()));
        let failure = async || ports.jobs.get(id).await.unwrap().failure;
        assert!(is_so(async || failure().await.is_some()).await);
        assert_eq!(failure().await.as_deref(), Some(NO_ROOM));
        shutdown.cancel();
        running.await.unwrap();
    }

    /// A store that takes some bytes of each object, and no more.
    struct Stuck(Arc<dyn Storage>);

    #[async_trait]
    impl Storage for Stuck {
        async fn append(&self, id: Id, offset: u64, mut body: Upload) -> Result<u64, Error> {
            let piece = Box::pin(stream::iter(body.next().await));
            self.0.append(id, offset, piece).await?;
            std::future::pending().await
        }
        async fn unfinished(&self, id: Id) -> Result<Head, Error> {
            self.0.unfinished(id).await
        }
        async fn commit(&self, id: Id, label: &Label) -> Result<Head, Error> {
            self.0.commit(id, label).await
        }
        async fn get(&self, id: Id, range: Range<u64>) -> Result<ByteStream, Error> {
            self.0.get(id, range).await
        }
        async fn head(&self, id: Id) -> Result<Head, Error> {
            self.0.head(id).await
        }
        async fn delete(&self, id: Id) -> Result<(), Error> {
            self.0.delete(id).await
        }
        async fn list_older_than(&self, before: Timestamp) -> Result<Listing, Error> {
            self.0.list_older_than(before).await
        }
        async fn now(&self) -> Result<Timestamp, Error> {
            self.0.now().await
        }
        async fn binding(&self) -> Result<Option<Identity>, Error> {
            self.0.binding().await
        }
        async fn bind(&self, previous: Option<Identity>, ledger: Identity) -> Result<(), Error> {
            self.0.bind(previous, ledger).await
        }
    }

    #[tokio::test]
    async fn what_is_stored_of_a_cancelled_job_is_removed_at_once() {
        let (ports, folder) = (ports(), tempfile::tempdir().unwrap());
        let id = accept(&ports, ANN).await;
        let stuck = Ports {
            mp3s: Arc::new(Stuck(ports.mp3s.clone())),
            ..ports.clone()
        };
        let service = ConverterService::new(stuck, worker(folder.path()));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(service.run(shutdown.clone()));
        let files = async || {
            let files = ports.mp3s.list_older_than(Timestamp::MAX).await.unwrap();
            files.count().await
        };
        assert!(is_so(async || files().await == 1).await);
        ports.jobs.cancel(id).await.unwrap();
        assert!(is_so(async || files().await == 0).await);
        shutdown.cancel();
        running.await.unwrap();
        assert!(
            fs::read_dir(folder.path()).unwrap().count() == 1,
            "the program alone"
        );
    }

    /// URLs whose servers accept a connection, and send nothing that ends.
    struct Trickling;

    #[async_trait]
    impl Origins for Trickling {
        fn file_name(&self, _: &str) -> Result<Option<String>, origins::Error> {
            Ok(None)
        }
        async fn open(&self, _: &str) -> Result<Box<dyn RemoteVideo>, origins::Error> {
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn servers_that_send_slowly_keep_one_worker_of_each_user_and_never_all() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let (clock, folder) = (
            Arc::new(ManualClock::new(now)),
            tempfile::tempdir().unwrap(),
        );
        let ports = Ports {
            origins: Some(Arc::new(Trickling)),
            ..Ports::in_memory(clock.clone())
        };
        let service = ConverterService::new(ports.clone(), worker(folder.path())).workers(3);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(service.run(shutdown.clone()));
        let state = async |id| ports.jobs.get(id).await.unwrap().state;
        // Before their servers are given up.
        let soon = async |id, wanted| {
            let holds = is_so(async || state(id).await == wanted);
            timeout(OPENING / 3, holds).await.is_ok()
        };
        let first = import(&ports, ANN).await;
        assert!(soon(first, State::Running).await);
        let second = import(&ports, ANN).await;
        let bobs = import(&ports, BOB).await;
        assert!(soon(bobs, State::Running).await, "another has a turn");
        let carols = import(&ports, "carol@example.com").await;
        // Whoever takes both has a turn for the import meanwhile.
        for _ in 0..3 {
            let upload = accept(&ports, BOB).await;
            assert!(soon(upload, State::Done).await, "a worker is left");
        }
        for import in [second, carols] {
            assert_eq!(state(import).await, State::Queued);
        }

        clock.advance(LONGEST_IMPORT_PAUSE);
        ports.jobs.cancel(first).await.unwrap();
        assert!(soon(second, State::Running).await, "her next one");
        shutdown.cancel();
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_url_that_opens_without_end_keeps_no_worker() {
        let ports = Ports {
            origins: Some(Arc::new(Trickling)),
            ..ports()
        };
        let job = Job {
            origin: Some("https://example.com/talk.mp4".into()),
            ..Job::new(ports.new_id(), ANN, ports.new_id(), ports.clock.now())
        };
        let service = ConverterService::new(ports, Worker::new("/nowhere/micropy", ["worker"]));
        let opened = timeout(2 * OPENING, service.video(&job)).await;
        let opened = opened.expect("it gives up").map(|_| ());
        assert!(matches!(opened, Err(Fault::Unreachable(why)) if why == TOO_SLOW));
    }
}
