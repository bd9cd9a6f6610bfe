//! Removing what is over: finished jobs after their time, uploads that were given up, files that no job
//! owns; and asking again for what seems forgotten.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::stream::TryChunksError;
use futures_util::{StreamExt, TryStreamExt};
use micropy_core::ports::Id;
use micropy_core::ports::jobs::{self, Job, State};
use micropy_core::ports::storage::{self, Storage};
use tokio_util::sync::CancellationToken;

use crate::Ports;
use crate::job::intake::Error;
use crate::job::message::Body;

/// How often.
const PAUSE: Duration = Duration::from_secs(60);
/// Entries at once.
const PAGE: usize = 200;
/// Files that the ledger is asked about at once.
const FILES: usize = 500;
/// How often the files are looked through.
const FILES_PAUSE: Duration = Duration::from_secs(1800);
/// A job that has not moved for so long may have lost its message, with the queue it was in.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// A file this young may belong to a job that is being entered.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// Removes what is over.
pub struct Sweeper {
    ports: Ports,
    /// How long a finished job is kept.
    retention: Duration,
    /// How long an upload may pause.
    upload_expiry: Duration,
    /// Original converters may be at work, which the ledger does not hear of.
    unowned: bool,
    /// Jobs that were asked for again, and when.
    asked: HashMap<Id, Instant>,
    /// When the files were last looked through to the end.
    searched: Option<Instant>,
}

impl Sweeper {
    /// One that has not swept yet.
    pub fn new(ports: Ports, retention: Duration, upload_expiry: Duration, unowned: bool) -> Self {
        Sweeper {
            ports,
            retention,
            upload_expiry,
            unowned,
            asked: HashMap::new(),
            searched: None,
        }
    }

    /// Works until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            if stop.run_until_cancelled(self.sweep()).await.is_none() {
                return;
            }
            if stop
                .run_until_cancelled(tokio::time::sleep(PAUSE))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// One round.
    pub async fn sweep(&mut self) {
        let finished = &[State::Done, State::Failed, State::Cancelled];
        let rounds = [
            (
                "finished jobs",
                self.sweep_jobs(finished, self.retention).await,
            ),
            ("uploads", self.sweep_uploads().await),
            ("files", self.sweep_files().await),
        ];
        for (what, swept) in rounds {
            match swept {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "removed {what} that are over"),
                Err(e) => tracing::warn!(error = %e, "cannot remove {what} that are over"),
            }
        }
        match self.ask_again().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "asked again for jobs that do not move"),
            Err(e) => tracing::warn!(error = %e, "cannot ask for jobs that do not move"),
        }
    }

    /// A second message about a job does no harm: whoever gets it finds the job held, or over. An original
    /// converter looks for neither, and would make another MP3 and another mail every time: where there may
    /// be one, only jobs that a converter of ours has begun are asked for again.
    async fn ask_again(&mut self) -> Result<usize, Error> {
        let mut asked = HashMap::new();
        let mut count = 0;
        for job in self
            .stale(&[State::Queued, State::Running], FORGOTTEN, None)
            .await?
        {
            if self.unowned && job.attempts == 0 {
                continue;
            }
            let last = self.asked.get(&job.id).copied();
            let last = match last.filter(|last: &Instant| last.elapsed() < FORGOTTEN) {
                Some(last) => last,
                None => {
                    let message = Body::of(&job).asking();
                    let queue = self.ports.queues.of(message.topic);
                    queue.publish(message.payload).await?;
                    count += 1;
                    Instant::now()
                }
            };
            asked.insert(job.id, last);
        }
        self.asked = asked;
        Ok(count)
    }

    /// The page of jobs behind `after` that have not changed for `age`.
    async fn stale(
        &self,
        states: &[State],
        age: Duration,
        after: Option<&Job>,
    ) -> Result<Vec<Job>, jobs::Error> {
        let before = self.ports.clock.now().minus(age);
        self.ports.jobs.stale(states, before, after, PAGE).await
    }

    async fn sweep_jobs(&self, states: &[State], age: Duration) -> Result<usize, Error> {
        let mut count = 0;
        loop {
            let jobs = self.stale(states, age, None).await?;
            for job in &jobs {
                self.ports.discard(job.id).await?;
            }
            count += jobs.len();
            if jobs.len() < PAGE {
                return Ok(count);
            }
        }
    }

    /// An upload that is all there but not queued lost its process in between: it is queued now. One that
    /// nobody has continued for long is removed.
    async fn sweep_uploads(&self) -> Result<usize, Error> {
        let (mut count, mut last) = (0, None);
        loop {
            let states = &[State::Receiving];
            let jobs = self
                .stale(states, self.upload_expiry, last.as_ref())
                .await?;
            for job in &jobs {
                match self.ports.videos.head(job.source).await {
                    Ok(_) => self.ports.complete(job).await?,
                    Err(storage::Error::NotFound) if self.rests(job.source).await? => {
                        self.ports.discard(job.id).await?;
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

    /// Whether nobody has written to an unfinished video for long. The ledger does not know: it hears of an
    /// upload when it begins and when it is complete.
    async fn rests(&self, video: Id) -> Result<bool, storage::Error> {
        let before = self.ports.clock.now().minus(self.upload_expiry);
        match self.ports.videos.unfinished(video).await {
            Ok(head) => Ok(head.written < before),
            Err(storage::Error::NotFound) => Ok(true),
            Err(e) => Err(e),
        }
    }

    async fn sweep_files(&mut self) -> Result<usize, Error> {
        if self
            .searched
            .is_some_and(|last| last.elapsed() < FILES_PAUSE)
        {
            return Ok(0);
        }
        let videos = self.sweep_orphans(&*self.ports.videos).await?;
        let mp3s = self.sweep_orphans(&*self.ports.mp3s).await?;
        self.searched = Some(Instant::now());
        Ok(videos + mp3s)
    }

    async fn sweep_orphans(&self, storage: &dyn Storage) -> Result<usize, Error> {
        let before = self.ports.clock.now().minus(ORPHAN_AGE);
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
