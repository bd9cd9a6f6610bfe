//! The sweeper: removes finished jobs after their retention, abandoned uploads, and files that belong to no job. It also
//! requests conversions again whose message seems lost.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::stream::TryChunksError;
use futures_util::{StreamExt, TryStreamExt};
use micropy_core::ports::jobs::{self, Job, State};
use micropy_core::ports::storage::{self, Storage};
use micropy_core::ports::{Id, binding};
use tokio_util::sync::CancellationToken;

use crate::Ports;
use crate::gateway::UPLOAD_EXPIRY;
use crate::job::intake::IntakeError;
use crate::job::message::Body;

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_secs(60);
/// Jobs read from the ledger at once.
const PAGE: usize = 200;
/// Files that the ledger is asked about at once.
const FILES: usize = 500;
/// The pause between two searches for files of no job.
const FILES_PAUSE: Duration = Duration::from_secs(1800);
/// How long a job must not have changed before its message is thought lost, together with its queue.
const STUCK: Duration = Duration::from_secs(3600);
/// How old a file of no job must be: the job of a younger one may be about to be created.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// The sweeper.
///
/// Files of no job are removed only if the stores belong to the ledger: see [`binding`].
///
/// Sweeping twice does no harm, so several sweepers may run on the same stores. Run one wherever a gateway runs.
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use micropy_core::ports::time::{ManualClock, Timestamp};
/// use micropy_services::Ports;
/// use micropy_services::sweeper::Sweeper;
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let clock = Arc::new(ManualClock::new(Timestamp::default()));
/// let shutdown = CancellationToken::new();
/// let week = Duration::from_secs(7 * 24 * 60 * 60);
/// let sweeper = Sweeper::new(Ports::in_memory(clock)).retention(week);
/// let running = tokio::spawn(sweeper.run(shutdown.clone()));
///
/// shutdown.cancel();
/// running.await.unwrap();
/// # }
/// ```
pub struct Sweeper {
    ports: Ports,
    retention: Duration,
    upload_expiry: Duration,
    original_converters: bool,
    /// Jobs that were requested again, and when.
    requested: HashMap<Id, Instant>,
    /// When the files were last looked through to the end.
    searched: Option<Instant>,
}

impl Sweeper {
    /// A sweeper that has not swept yet.
    pub fn new(ports: Ports) -> Self {
        Sweeper {
            ports,
            retention: Duration::from_secs(30 * 24 * 60 * 60),
            upload_expiry: UPLOAD_EXPIRY,
            original_converters: false,
            requested: HashMap::new(),
            searched: None,
        }
    }

    /// How long a finished job and its files are kept. The default is 30 days.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// How long a resumable upload may pause. The default is one day, as for [`Limits`](crate::gateway::Limits).
    #[must_use]
    pub fn upload_expiry(mut self, expiry: Duration) -> Self {
        self.upload_expiry = expiry;
        self
    }

    /// Whether converters of the original services may be at work, which the ledger does not hear of. The default is no.
    #[must_use]
    pub fn original_converters(mut self, at_work: bool) -> Self {
        self.original_converters = at_work;
        self
    }

    /// Sweeps every minute until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let sweeping = async {
            loop {
                self.sweep().await;
                tokio::time::sleep(PAUSE).await;
            }
        };
        shutdown.run_until_cancelled(sweeping).await;
    }

    /// Sweeps once.
    async fn sweep(&mut self) {
        let finished = &[State::Done, State::Failed, State::Cancelled];
        let rounds = [
            // First, while the ledger still knows the jobs of old files: a store from before bindings is bound by them.
            ("files of no job", self.sweep_files().await),
            (
                "finished jobs",
                self.sweep_jobs(finished, self.retention).await,
            ),
            ("abandoned uploads", self.sweep_uploads().await),
        ];
        for (what, swept) in rounds {
            match swept {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "removed {what}"),
                Err(e) => tracing::warn!(error = %e, "cannot remove {what}"),
            }
        }
        match self.request_stuck().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "requested stuck jobs again"),
            Err(e) => tracing::warn!(error = %e, "cannot request stuck jobs again"),
        }
    }

    /// Requests the conversion of jobs again that have not changed for long. A second message does no harm: its receiver
    /// finds the job leased or finished. But an original converter checks neither, and would make another MP3 and mail
    /// each time. Where there may be one, only jobs that a converter of ours has begun are requested again.
    async fn request_stuck(&mut self) -> Result<usize, IntakeError> {
        let mut requested = HashMap::new();
        let mut count = 0;
        for job in self
            .stale(&[State::Queued, State::Running], STUCK, None)
            .await?
        {
            if self.original_converters && job.attempts == 0 {
                continue;
            }
            let last = self.requested.get(&job.id).copied();
            let last = match last.filter(|last: &Instant| last.elapsed() < STUCK) {
                Some(last) => last,
                None => {
                    let message = Body::of(&job).conversion_request();
                    let queue = self.ports.queues.of(message.topic);
                    queue.publish(message.payload).await?;
                    count += 1;
                    Instant::now()
                }
            };
            requested.insert(job.id, last);
        }
        self.requested = requested;
        Ok(count)
    }

    /// The page of jobs after `after` that have not changed for `age`.
    async fn stale(
        &self,
        states: &[State],
        age: Duration,
        after: Option<&Job>,
    ) -> Result<Vec<Job>, jobs::Error> {
        let before = self.ports.clock.now().minus(age);
        self.ports.jobs.stale(states, before, after, PAGE).await
    }

    async fn sweep_jobs(&self, states: &[State], age: Duration) -> Result<usize, IntakeError> {
        let mut count = 0;
        loop {
            let jobs = self.stale(states, age, None).await?;
            for job in &jobs {
                self.ports.remove(job.id).await?;
            }
            count += jobs.len();
            if jobs.len() < PAGE {
                return Ok(count);
            }
        }
    }

    /// Queues the uploads that are complete but were not queued, because a process died in between. Removes those that
    /// nobody has continued for long.
    async fn sweep_uploads(&self) -> Result<usize, IntakeError> {
        let (mut count, mut last) = (0, None);
        loop {
            let states = &[State::Receiving];
            let jobs = self
                .stale(states, self.upload_expiry, last.as_ref())
                .await?;
            for job in &jobs {
                match self.ports.videos.head(job.source).await {
                    Ok(_) => self.ports.complete_upload(job).await?,
                    Err(storage::Error::NotFound) if self.is_abandoned(job.source).await? => {
                        self.ports.remove(job.id).await?;
                        count += 1;
                    }
                    Err(storage::Error::NotFound) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            if jobs.len() < PAGE {
                return Ok(count);
            }
            last = jobs.into_iter().last();
        }
    }

    /// Whether nobody has written to an unfinished video for long. The ledger does not know: it hears of an upload only
    /// when it begins and when it is complete.
    async fn is_abandoned(&self, video: Id) -> Result<bool, storage::Error> {
        let before = self.ports.videos.now().await?.minus(self.upload_expiry);
        match self.ports.videos.unfinished(video).await {
            Ok(head) => Ok(head.written < before),
            Err(storage::Error::NotFound) => Ok(true),
            Err(e) => Err(e),
        }
    }

    async fn sweep_files(&mut self) -> Result<usize, IntakeError> {
        if self
            .searched
            .is_some_and(|last| last.elapsed() < FILES_PAUSE)
        {
            return Ok(0);
        }
        if !self.stores_are_ours().await {
            return Ok(0);
        }
        let videos = self.sweep_orphans(&*self.ports.videos).await?;
        let mp3s = self.sweep_orphans(&*self.ports.mp3s).await?;
        self.searched = Some(Instant::now());
        Ok(videos + mp3s)
    }

    /// Whether both stores belong to the ledger. Beside another ledger, every file would seem to belong to no job.
    async fn stores_are_ours(&self) -> bool {
        for (store, storage) in [("videos", &self.ports.videos), ("MP3s", &self.ports.mp3s)] {
            let name = self.ports.new_id();
            if let Err(e) = binding::check(&**storage, &*self.ports.jobs, name).await {
                tracing::error!(store, error = %e, "files of no job are not looked for");
                return false;
            }
        }
        true
    }

    async fn sweep_orphans(&self, storage: &dyn Storage) -> Result<usize, IntakeError> {
        let before = storage.now().await?.minus(ORPHAN_AGE);
        let files = storage.list_older_than(before).await?;
        let mut pages = files.map_ok(|head| head.id).try_chunks(FILES);
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|TryChunksError(_, e)| e)?;
            let owned = self.ports.jobs.referenced(&page).await?;
            let owned: HashSet<Id> = owned.into_iter().collect();
            for orphan in page.iter().filter(|id| !owned.contains(id)) {
                storage.delete(*orphan).await?;
                count += 1;
            }
        }
        Ok(count)
    }
}
