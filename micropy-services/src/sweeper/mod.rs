//! The sweeper: removes finished jobs after their retention, abandoned uploads, and files that belong to no job. It
//! also requests conversions again whose message seems lost.

mod absence;
mod orphans;

use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use micropy_core::ports::jobs::{self, Job, State, Turn};
use micropy_core::ports::storage;
use micropy_core::ports::{Id, Timestamp, binding};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::absence::Note;
use self::orphans::Orphans;
use crate::Ports;
use crate::gateway::UPLOAD_EXPIRY;
use crate::job::intake::IntakeError;
use crate::job::message::Body;

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_secs(60);
/// Jobs that are removed after their retention.
const FINISHED: &[State] = &[State::Done, State::Failed, State::Cancelled];
/// How long giving the lease back may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the lease of one round lasts, unless it is renewed.
const LEASE: Duration = Duration::from_secs(150);
/// Jobs read from the ledger at once.
const PAGE: usize = 200;
/// The pause between two searches for files of no job.
const FILES_PAUSE: Duration = Duration::from_secs(1800);
/// How long a job must not have changed before its message is thought lost, together with its queue.
const STUCK: Duration = Duration::from_secs(3600);
/// The same for a job that stands in line while no converter has anything to do, or a later one was begun: the other
/// jobs of its owner wait for it.
const OVERDUE: Duration = Duration::from_secs(10 * 60);
/// Both double with each time that a job is requested again, up to that many times: perhaps nothing is lost, and no
/// converter is there.
const DOUBLINGS: u32 = 6;
/// Where the clock leaps further than that between two rounds, it was set.
const LEAP: Duration = Duration::from_secs(3600);
/// How long nobody may have swept before a new sweeper wonders at the time.
const ABSENCE: Duration = Duration::from_secs(24 * 3600);
/// How long nothing is removed for its age when the time is in doubt.
const DOUBT: Duration = Duration::from_secs(6 * 3600);

/// The sweeper.
///
/// Of several sweepers of the same ledger one sweeps at a time, under a lease. Run one wherever a gateway runs.
///
/// What the ledger does not know, it may have forgotten. So files of no job are removed only if the stores belong to
/// the ledger (see [`binding`]), only when they were seen twice, six hours apart, and only a twentieth of a store in
/// one search. What is past its time may be so by a wrong clock: when the clock leaps by more than an hour, or nobody
/// has swept for a day, nothing is removed for its age for six hours, however often sweepers are restarted meanwhile.
/// Nor does that time make a finished job older: it may have been finished while the clock was behind. An upload does not
/// grow older while nobody sweeps: its owner could not go on with it either.
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
    /// When the files were last looked through to the end.
    searched: Option<Instant>,
    orphans: [Orphans; 2],
    /// What the lease is held by.
    holder: Id,
    /// The last round of which a note was kept: by the clock, and by the time that has passed here.
    round: Option<(Timestamp, Instant)>,
    /// What this one and those before it keep in the ledger.
    note: Note,
}

/// What one round would remove.
#[derive(Debug, Default)]
pub struct Survey {
    /// Jobs past their retention. A sweeper does not count leaps of the clock, nor days in which nobody swept.
    pub finished: Vec<Id>,
    /// Uploads that nobody has continued for long. A sweeper does not count the time in which nobody swept.
    pub uploads: Vec<Id>,
    /// Videos that belong to no job.
    pub videos: Vec<Id>,
    /// MP3s that belong to no job.
    pub mp3s: Vec<Id>,
}

impl Sweeper {
    /// A sweeper that has not swept yet.
    pub fn new(ports: Ports) -> Self {
        Sweeper {
            holder: ports.new_id(),
            ports,
            retention: Duration::from_secs(30 * 24 * 60 * 60),
            upload_expiry: UPLOAD_EXPIRY,
            original_converters: false,
            searched: None,
            orphans: Default::default(),
            round: None,
            note: Note::default(),
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

    /// Whether converters of the original services may be at work, which the ledger does not hear of. The default is
    /// no.
    #[must_use]
    pub fn original_converters(mut self, at_work: bool) -> Self {
        self.original_converters = at_work;
        self
    }

    /// What a round would remove if every file of no job had been seen before. Removes nothing.
    ///
    /// # Errors
    /// When a store or the ledger fails, or a store does not belong to the ledger.
    pub async fn survey(&self) -> Result<Survey, Box<dyn std::error::Error + Send + Sync>> {
        for storage in [&self.ports.videos, &self.ports.mp3s] {
            binding::verify(&**storage, &*self.ports.jobs).await?;
        }
        let mut survey = Survey::default();
        let mut finished = pin!(self.stale(FINISHED, self.ago(self.retention)));
        while let Some(jobs) = finished.try_next().await? {
            survey.finished.extend(jobs.iter().map(|job| job.id));
        }
        let now = self.ports.videos.now().await?;
        let mut receiving = pin!(self.stale(&[State::Receiving], self.ago(self.upload_expiry)));
        while let Some(jobs) = receiving.try_next().await? {
            for job in &jobs {
                if self
                    .progress(job)
                    .await?
                    .is_abandoned(|since| now.since(since), self)
                {
                    survey.uploads.push(job.id);
                }
            }
        }
        for (storage, found) in [
            (&*self.ports.videos, &mut survey.videos),
            (&*self.ports.mp3s, &mut survey.mp3s),
        ] {
            let now = storage.now().await?;
            let mut pages = orphans::of_no_job(storage, &self.ports, now).await?;
            while let Some(page) = pages.next().await {
                found.extend(page?.1);
            }
        }
        Ok(survey)
    }

    /// Sweeps every minute until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let (ports, holder) = (self.ports.clone(), self.holder);
        let sweeping = async {
            loop {
                self.take_turn().await;
                tokio::time::sleep(PAUSE).await;
            }
        };
        shutdown.run_until_cancelled(sweeping).await;
        // If this fails, the lease ends by itself.
        let given_back = ports.jobs.lease_sweep(holder, Duration::ZERO);
        let _ = tokio::time::timeout(PATIENCE, given_back).await;
    }

    /// Sweeps once, unless another sweeper does.
    async fn take_turn(&mut self) {
        match self.ports.jobs.lease_sweep(self.holder, LEASE).await {
            Ok(Turn::Own { previous, note }) => {
                self.note = Note::read(&note);
                let now = self.ports.clock.now();
                self.doubt_the_time(previous, now);
                self.sweep(now).await;
            }
            // What this one saw may have changed by its next turn.
            Ok(Turn::Other(_)) => self.orphans = Default::default(),
            Err(e) => tracing::warn!(error = %e, "cannot sweep"),
        }
    }

    /// Notices when the clock is likely to be wrong, or was.
    fn doubt_the_time(&mut self, previous: Option<Timestamp>, now: Timestamp) {
        let leapt_from = match self.round {
            Some((clock, here)) => {
                let expected = clock.plus(here.elapsed());
                (now.since(expected) > LEAP).then_some(expected)
            }
            // The end of the lease says less: whoever had the last one may not have lived to take note of a leap.
            None => {
                let last = self.note.swept().or(previous);
                last.filter(|last| now.since(*last) > ABSENCE)
            }
        };
        if let Some(leapt_from) = leapt_from {
            let hours = DOUBT.as_secs() / 3600;
            tracing::warn!(
                "the clock has leapt, or nobody has swept for a day: that makes nothing older, and what is past its time \
                 is kept for {hours} hours. Check the clock"
            );
            self.note.leap(leapt_from, now);
            self.note.begin_doubt(now, DOUBT);
        }
    }

    /// Looks at the time, by the clock of the uploads' store too, and keeps what was found for the next sweeper.
    /// Whether nothing is to be removed for its age.
    async fn take_note(&mut self, now: Timestamp) -> Result<bool, IntakeError> {
        let is_in_doubt = self.note.is_in_doubt(now, DOUBT);
        self.note.sweep(now, self.retention);
        let looked = self.ports.videos.now().await;
        if let Ok(now) = &looked {
            self.note.look(*now, self.upload_expiry);
        }
        let (jobs, note) = (&self.ports.jobs, self.note.to_text());
        jobs.note_sweep(self.holder, &note).await?;
        // Until it is kept, a leap is noticed again.
        self.round = Some((now, Instant::now()));
        looked?;
        Ok(is_in_doubt)
    }

    /// Sweeps once.
    async fn sweep(&mut self, now: Timestamp) {
        // Where the time cannot be noted, it is not known either.
        let is_in_doubt = self.take_note(now).await.unwrap_or_else(|e| {
            tracing::warn!(error = %e, "nothing is removed for its age");
            true
        });
        let finished = self.note.finished(self.retention, now);
        let rounds = [
            // First, while the ledger still knows the jobs of old files: a store from before bindings is bound by them.
            ("files of no job", self.sweep_files().await),
            (
                "finished jobs",
                self.sweep_jobs(finished, is_in_doubt).await,
            ),
            ("abandoned uploads", self.sweep_uploads(is_in_doubt).await),
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

    /// Requests the conversion of jobs again whose message seems lost. The ledger records it, so of several who ask,
    /// one asks. A second message does no harm: its receiver finds the job leased or finished.
    ///
    /// But an original converter checks neither, and would make another MP3 and mail each time; nor does the ledger
    /// hear what it has begun. Where there may be one, a job that was never begun is requested again only when a later
    /// one was: then somebody who reports to the ledger takes the messages, and has passed it by.
    async fn request_stuck(&self) -> Result<usize, IntakeError> {
        let mut count = 0;
        let mut idle = None;
        let mut pages = pin!(self.stale(&[State::Queued, State::Running], self.ago(OVERDUE)));
        while let Some(jobs) = pages.try_next().await? {
            let is_idle = match idle {
                Some(known) => known,
                None => *idle.insert(self.is_idle().await?),
            };
            for job in &jobs {
                match self.request_lost(job, is_idle).await {
                    Ok(requested) => count += usize::from(requested),
                    // The next would wait for the ledger, too.
                    Err(e @ IntakeError::Jobs(jobs::Error::Unavailable(_))) => return Err(e),
                    Err(e) => {
                        tracing::warn!(job_id = %job.id, error = %e, "cannot request a job again");
                    }
                }
            }
            self.hold().await?;
        }
        Ok(count)
    }

    /// Whether no converter has anything to do.
    async fn is_idle(&self) -> Result<bool, jobs::Error> {
        let counts = self.ports.jobs.census().await?.states;
        let is_running = |(state, count): &(State, u64)| *state == State::Running && *count > 0;
        Ok(!counts.iter().any(is_running))
    }

    /// Requests the conversion of a job again if its message seems lost.
    async fn request_lost(&self, job: &Job, is_idle: bool) -> Result<bool, IntakeError> {
        Ok(self.is_lost(job, is_idle).await? && self.request(job).await?)
    }

    /// Whether the message about a job that has not changed for long seems lost.
    async fn is_lost(&self, job: &Job, is_idle: bool) -> Result<bool, jobs::Error> {
        let Some(requested) = job.requested else {
            // It waits for its owner's turn, and has no message.
            return Ok(false);
        };
        let now = self.ports.clock.now();
        let unchanged = now.since(job.updated.max(requested));
        let doubled = 1_u32 << job.repeats.min(DOUBLINGS);
        let is_stuck = unchanged >= STUCK * doubled;
        if job.started.is_some() {
            return Ok(is_stuck);
        }
        if self.original_converters {
            return Ok(is_stuck && self.was_passed_by(requested).await?);
        }
        // Its turn may have come just now, though it has waited for long.
        let is_overdue = unchanged >= OVERDUE * doubled;
        Ok(is_stuck || is_overdue && (is_idle || self.was_passed_by(requested).await?))
    }

    /// Whether a job was begun that was requested later.
    async fn was_passed_by(&self, requested: Timestamp) -> Result<bool, jobs::Error> {
        let begun = &[State::Running, State::Done, State::Failed];
        // Those that have changed since then, oldest change first.
        let since = Job {
            updated: requested,
            ..Job::new(
                Id::from_bytes([u8::MAX; 12]),
                "",
                Id::from_bytes([0; 12]),
                requested,
            )
        };
        let now = self.ports.clock.now();
        let jobs = self
            .ports
            .jobs
            .stale(begun, now, Some(&since), PAGE)
            .await?;
        Ok(jobs
            .iter()
            .any(|job| job.requested.is_some_and(|later| later > requested)))
    }

    /// Requests a conversion again, unless the job has changed meanwhile.
    async fn request(&self, job: &Job) -> Result<bool, IntakeError> {
        let message = Body::conversion_request(job);
        match self.ports.jobs.request(job, message).await {
            Ok(owed) => {
                self.ports.try_send(owed).await;
                Ok(true)
            }
            Err(jobs::Error::Rejected(_) | jobs::Error::NotFound) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// The time so long ago, by the ledger's clock.
    fn ago(&self, age: Duration) -> Timestamp {
        self.ports.clock.now().minus(age)
    }

    /// The jobs that have not changed since `before`, page after page. A job that is left as it is does not come again.
    fn stale(
        &self,
        states: &'static [State],
        before: Timestamp,
    ) -> impl Stream<Item = Result<Vec<Job>, jobs::Error>> {
        // The last job of the page before; none behind the last page.
        let first = Some(None);
        stream::try_unfold(first, move |after: Option<Option<Job>>| async move {
            let Some(after) = after else { return Ok(None) };
            let jobs = &self.ports.jobs;
            let page = jobs.stale(states, before, after.as_ref(), PAGE).await?;
            let last = (page.len() == PAGE).then(|| page.last().cloned());
            Ok((!page.is_empty()).then_some((page, last)))
        })
    }

    /// Keeps the lease while a round goes on for long.
    async fn hold(&self) -> Result<(), jobs::Error> {
        match self.ports.jobs.lease_sweep(self.holder, LEASE).await? {
            Turn::Own { .. } => Ok(()),
            Turn::Other(_) => Err(jobs::Error::Rejected(
                "another sweeper has the lease now".into(),
            )),
        }
    }

    /// Removes the jobs that were finished before that time, unless the time is in doubt.
    async fn sweep_jobs(
        &self,
        finished: Timestamp,
        is_in_doubt: bool,
    ) -> Result<usize, IntakeError> {
        if is_in_doubt {
            return Ok(0);
        }
        let mut count = 0;
        let mut pages = pin!(self.stale(FINISHED, finished));
        while let Some(jobs) = pages.try_next().await? {
            for job in &jobs {
                // Its owner may have retried it since it was read.
                count += removed(job.id, self.ports.remove_unchanged(job).await);
            }
            self.hold().await?;
        }
        Ok(count)
    }

    /// Queues the uploads that are complete but were not queued, because a process died in between. Removes those that
    /// nobody has continued for long, unless the time is in doubt.
    async fn sweep_uploads(&self, is_in_doubt: bool) -> Result<usize, IntakeError> {
        let mut count = 0;
        let mut pages = pin!(self.stale(&[State::Receiving], self.ago(self.upload_expiry)));
        while let Some(jobs) = pages.try_next().await? {
            for job in &jobs {
                match self.sweep_upload(job, is_in_doubt).await {
                    Ok(false) => {}
                    // Its last byte may have arrived since it was read.
                    Ok(true) => count += removed(job.id, self.ports.remove_unchanged(job).await),
                    Err(e) => {
                        tracing::warn!(job_id = %job.id, error = %e, "cannot sweep an upload")
                    }
                }
            }
            self.hold().await?;
        }
        Ok(count)
    }

    /// Completes an upload that is whole; otherwise returns whether it is to be removed.
    async fn sweep_upload(&self, job: &Job, is_in_doubt: bool) -> Result<bool, IntakeError> {
        match self.progress(job).await? {
            Progress::Whole => {
                self.ports.complete_upload(job).await?;
                Ok(false)
            }
            progress if !is_in_doubt => {
                let now = self.ports.videos.now().await?;
                let age = |since| self.note.age_of(since, now);
                Ok(progress.is_abandoned(age, self))
            }
            _ => Ok(false),
        }
    }

    /// How far an upload has come. The ledger does not know: it hears of one only when it begins and when it is
    /// complete.
    async fn progress(&self, job: &Job) -> Result<Progress, storage::Error> {
        match self.ports.videos.head(job.source).await {
            Ok(_) => return Ok(Progress::Whole),
            Err(storage::Error::NotFound) => {}
            Err(e) => return Err(e),
        }
        match self.ports.videos.unfinished(job.source).await {
            Ok(head) => Ok(Progress::Written(head.written)),
            Err(storage::Error::NotFound) => Ok(Progress::Written(job.updated)),
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
        if let Err(e) = self.check_stores().await {
            tracing::error!(error = %e, "files of no job are not looked for");
            return Ok(0);
        }
        let mut count = 0;
        let [videos, mp3s] = &mut self.orphans;
        for (what, storage, orphans) in [
            ("videos", &self.ports.videos, videos),
            ("MP3s", &self.ports.mp3s, mp3s),
        ] {
            let search = orphans.search(&**storage, &self.ports).await?;
            if search.postponed > 0 {
                tracing::warn!(
                    orphans = search.orphans,
                    postponed = search.postponed,
                    "so many of the {what} belong to no job that only some were removed. If that is not as it should \
                     be, stop the service"
                );
            }
            count += search.removed;
        }
        self.searched = Some(Instant::now());
        Ok(count)
    }

    /// Checks that both stores belong to the ledger. Beside another ledger, every file would seem to belong to no job.
    async fn check_stores(&self) -> Result<(), binding::Error> {
        let stores = [&self.ports.videos, &self.ports.mp3s];
        // Neither is bound to a ledger that the other refuses.
        for storage in stores {
            binding::verify(&**storage, &*self.ports.jobs).await?;
        }
        for storage in stores {
            binding::check(&**storage, &*self.ports.jobs, self.ports.new_id()).await?;
        }
        Ok(())
    }
}

/// How far an upload has come.
enum Progress {
    /// All bytes are there.
    Whole,
    /// Something was written last at that time, or begun.
    Written(Timestamp),
}

impl Progress {
    /// Whether nobody has continued it for long, by its age.
    fn is_abandoned(&self, age: impl Fn(Timestamp) -> Duration, sweeper: &Sweeper) -> bool {
        match self {
            Progress::Whole => false,
            Progress::Written(since) => age(*since) > sweeper.upload_expiry,
        }
    }
}

/// 1 if a job was removed. One that cannot be removed does not keep the others.
fn removed(job: Id, result: Result<(), IntakeError>) -> usize {
    match result {
        Ok(()) => 1,
        // It has changed since it was read, or its owner has removed it.
        Err(IntakeError::Jobs(jobs::Error::Rejected(_) | jobs::Error::NotFound)) => 0,
        Err(e) => {
            tracing::warn!(job_id = %job, error = %e, "cannot remove a job");
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use micropy_core::ports::Clock as _;
    use micropy_core::ports::time::ManualClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_leap_that_could_not_be_noted_is_noticed_again() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let ports = Ports::in_memory(clock.clone());
        let mut sweeper = Sweeper::new(ports.clone());
        sweeper.take_turn().await;
        let finished = clock.now();
        let leap = Duration::from_secs(400 * 24 * 3600);
        clock.advance(leap);
        let now = clock.now();
        let turn = ports.jobs.lease_sweep(sweeper.holder, LEASE).await;
        let Ok(Turn::Own { previous, .. }) = turn else {
            panic!("{turn:?}");
        };
        sweeper.doubt_the_time(previous, now);
        // Another was given the lease meanwhile, so the note is refused.
        clock.advance(2 * LEASE);
        let other = ports.new_id();
        ports.jobs.lease_sweep(other, LEASE).await.unwrap();
        assert!(sweeper.take_note(now).await.is_err());
        ports.jobs.lease_sweep(other, Duration::ZERO).await.unwrap();
        sweeper.take_turn().await;
        let now = clock.now();
        assert!(
            sweeper.note.finished(LEASE, now) < finished,
            "{sweeper:?}",
            sweeper = sweeper.note
        );
        assert!(sweeper.note.is_in_doubt(now, DOUBT));
    }
}
