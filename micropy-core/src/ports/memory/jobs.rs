use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::lock;
use crate::ports::binding::Identity;
use crate::ports::jobs::{
    Begin, CLAIM_TIME, Census, Created, Ended, Entry, Error, Filter, IN_LINE, Job, JobOutbox,
    JobStream, JobViews, Jobs, LINE_LENGTH, LINE_SAMPLES, LONGEST_TERM, Lease, LedgerIdentity,
    Line, Message, Notice, Outcome, Owed, State, SweepLease, Turn, Usage, Watchers, has_ended,
};
use crate::ports::{Clock, Id, Timestamp};

/// A ledger in memory. It shares its memory with no queue: every message is owed.
pub struct MemoryJobs {
    clock: Arc<dyn Clock>,
    state: Mutex<Contents>,
    watchers: Watchers,
}

#[derive(Clone, Default)]
struct Contents {
    entries: BTreeMap<Id, Entry>,
    owed: VecDeque<Debt>,
    messages: u64,
    identity: Option<Identity>,
    /// Who sweeps, and until when.
    sweeper: Option<(Id, Timestamp)>,
    /// What it has noted.
    note: String,
}

/// A message that is owed.
#[derive(Clone)]
struct Debt {
    /// The job it is about.
    job: Id,
    /// When the claim on it runs out.
    held: Timestamp,
    owed: Owed,
}

impl MemoryJobs {
    /// An empty contents.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryJobs {
            clock,
            state: Mutex::default(),
            watchers: Watchers::default(),
        }
    }

    /// A ledger with the same contents, as if restored from a backup.
    pub fn backup(&self) -> Self {
        MemoryJobs {
            clock: self.clock.clone(),
            state: Mutex::new(lock(&self.state).clone()),
            watchers: Watchers::default(),
        }
    }

    /// Applies `change` to the entry of `id`. Unless it refuses, `message` is owed and watchers see the job.
    fn change<T>(
        &self,
        id: Id,
        message: Option<Message>,
        change: impl FnOnce(&mut Entry, Timestamp) -> Result<T, Error>,
    ) -> Result<(T, Option<Owed>), Error> {
        let mut contents = lock(&self.state);
        let now = self.clock.now();
        let owed = contents.owes_request(id);
        let entry = contents.entries.get_mut(&id).ok_or(Error::NotFound)?;
        entry.owed = owed;
        let changed = change(entry, now)?;
        self.watchers.publish(&entry.job);
        let message = entry.hold_back(message);
        let owner = entry.job.owner.clone();
        if entry.job.state == State::Cancelled {
            contents.forget_request(id);
        }
        let owed = message.map(|message| contents.owe(id, message, now.plus(CLAIM_TIME)));
        Ok((changed, owed.or(contents.release(&owner, id, now))))
    }
}

impl MemoryJobs {
    /// Removes a job, if it is as it was `seen`.
    fn remove(&self, id: Id, seen: Option<&Job>) -> Result<Job, Error> {
        let mut contents = lock(&self.state);
        let entry = contents.entries.get(&id).ok_or(Error::NotFound)?;
        seen.map_or(Ok(()), |seen| entry.expect_unchanged(seen))?;
        let entry = contents.entries.remove(&id).ok_or(Error::NotFound)?;
        self.watchers.forget(&entry.job);
        contents.forget_request(id);
        contents.release(&entry.job.owner, id, self.clock.now());
        Ok(entry.job)
    }
}

impl Debt {
    /// Whether nobody is sending it. A claim that lasts twice as long as any was given by a clock that is ahead.
    fn is_free(&self, now: Timestamp) -> bool {
        self.held <= now || self.held > now.plus(2 * CLAIM_TIME)
    }

    /// Whether it requests the conversion of `job`.
    fn requests(&self, job: Id) -> bool {
        self.job == job && self.owed.message.topic.requests_conversion()
    }
}

impl Contents {
    /// Owes a message about `job`, which is its sender's until `held`.
    fn owe(&mut self, job: Id, message: Message, held: Timestamp) -> Owed {
        self.messages += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.messages.to_be_bytes());
        let id = Id::from_bytes(id);
        let owed = Owed { id, message };
        let debt = Debt {
            job,
            held,
            owed: owed.clone(),
        };
        self.owed.push_back(debt);
        owed
    }

    fn owes_request(&self, job: Id) -> bool {
        self.owed.iter().any(|debt| debt.requests(job))
    }

    fn forget_request(&mut self, job: Id) {
        self.owed.retain(|debt| !debt.requests(job));
    }

    /// Requests what has come to its turn of an owner's jobs. Returns the message of `caller`'s job, which is its own
    /// to send; others are anybody's.
    fn release(&mut self, owner: &str, caller: Id, now: Timestamp) -> Option<Owed> {
        let own = |entry: &&mut Entry| entry.job.owner == owner;
        let in_line = |entry: &&mut Entry| entry.in_line;
        if self
            .entries
            .values_mut()
            .filter(own)
            .filter(in_line)
            .count() as u64
            >= IN_LINE
        {
            return None;
        }
        let mut own = self.entries.values_mut().filter(own);
        let (next, message) = own.find_map(|entry| {
            let message = entry.take_turn(now)?;
            Some((entry.job.id, message))
        })?;
        if next == caller {
            return Some(self.owe(next, message, now.plus(CLAIM_TIME)));
        }
        self.owe(next, message, now);
        None
    }

    fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.entries.values().map(|entry| &entry.job)
    }
}

#[async_trait]
impl Jobs for MemoryJobs {
    async fn create(&self, job: &Job, message: Option<Message>) -> Result<Created, Error> {
        let mut contents = lock(&self.state);
        let same =
            |known: &&Job| known.key.is_some() && known.owner == job.owner && known.key == job.key;
        if let Some(known) = contents.jobs().find(same) {
            return Ok(Created::Existing(Box::new(known.clone())));
        }
        if contents
            .jobs()
            .any(|known| known.id == job.id || known.source == job.source)
        {
            return Err(Error::Rejected(
                "there is a job with this id or video".into(),
            ));
        }
        let now = self.clock.now();
        let mut entry = Entry::new(job.clone());
        let message = entry.hold_back(message);
        contents.entries.insert(job.id, entry);
        self.watchers.publish(job);
        let owed = message.map(|message| contents.owe(job.id, message, now.plus(CLAIM_TIME)));
        let owed = owed.or(contents.release(&job.owner, job.id, now));
        Ok(Created::New(owed))
    }

    async fn get(&self, id: Id) -> Result<Job, Error> {
        let contents = lock(&self.state);
        contents
            .entries
            .get(&id)
            .map(|entry| entry.job.clone())
            .ok_or(Error::NotFound)
    }

    async fn enqueue(&self, id: Id, message: Message) -> Result<Option<Owed>, Error> {
        let ((), owed) = self.change(id, Some(message), Entry::enqueue)?;
        Ok(owed)
    }

    async fn begin(&self, id: Id, term: Duration) -> Result<Begin, Error> {
        let (begun, _) = self.change(id, None, |entry, now| Ok(entry.begin(now, term)))?;
        Ok(begun)
    }

    async fn renew(&self, lease: Lease, term: Duration, progress: f32) -> Result<(), Error> {
        let renew = |entry: &mut Entry, now| entry.renew(now, lease, term, progress);
        self.change(lease.job, None, renew).map(drop)
    }

    async fn release(&self, lease: Lease, ended: Ended) -> Result<(), Error> {
        let release = |entry: &mut Entry, now| entry.release(now, lease, ended);
        self.change(lease.job, None, release).map(drop)
    }

    async fn request(&self, seen: &Job, message: Message) -> Result<Option<Owed>, Error> {
        let request = |entry: &mut Entry, now| entry.request(now, seen.updated);
        let ((), owed) = self.change(seen.id, Some(message), request)?;
        Ok(owed)
    }

    async fn finish(
        &self,
        lease: Lease,
        outcome: Outcome,
        message: Option<Message>,
    ) -> Result<Option<Owed>, Error> {
        let finish = |entry: &mut Entry, now| entry.finish(now, lease, outcome);
        let ((), owed) = self.change(lease.job, message, finish)?;
        Ok(owed)
    }

    async fn cancel(&self, id: Id) -> Result<(), Error> {
        self.change(id, None, Entry::cancel).map(drop)
    }

    async fn retry(&self, id: Id, message: Message) -> Result<Option<Owed>, Error> {
        let ((), owed) = self.change(id, Some(message), Entry::retry)?;
        Ok(owed)
    }

    async fn delete(&self, id: Id) -> Result<Job, Error> {
        self.remove(id, None)
    }

    async fn delete_unchanged(&self, seen: &Job) -> Result<Job, Error> {
        self.remove(seen.id, Some(seen))
    }

    async fn begin_notification(
        &self,
        id: Id,
        notifier: Id,
        term: Duration,
    ) -> Result<Notice, Error> {
        let begin = |entry: &mut Entry, now| entry.begin_notification(now, notifier, term);
        let (notice, _) = self.change(id, None, begin)?;
        Ok(notice)
    }

    async fn release_notification(&self, id: Id, notifier: Id) -> Result<(), Error> {
        let release = |entry: &mut Entry, _| {
            entry.release_notification(notifier);
            Ok(())
        };
        self.change(id, None, release).map(drop)
    }

    async fn notified(&self, id: Id) -> Result<(), Error> {
        self.change(id, None, Entry::notified).map(drop)
    }

    async fn announced(&self, id: Id, retries: u32) -> Result<(), Error> {
        let announced = |entry: &mut Entry, _| {
            entry.announced(retries);
            Ok(())
        };
        self.change(id, None, announced).map(drop)
    }
}

#[async_trait]
impl JobOutbox for MemoryJobs {
    async fn claim_owed(&self, limit: usize) -> Result<Vec<Owed>, Error> {
        let now = self.clock.now();
        let mut contents = lock(&self.state);
        let free = contents.owed.iter_mut().filter(|debt| debt.is_free(now));
        let give = |debt: &mut Debt| {
            debt.held = now.plus(CLAIM_TIME);
            debt.owed.clone()
        };
        Ok(free.take(limit).map(give).collect())
    }

    async fn sent(&self, owed: &[Id]) -> Result<(), Error> {
        lock(&self.state)
            .owed
            .retain(|debt| !owed.contains(&debt.owed.id));
        Ok(())
    }
}

#[async_trait]
impl JobViews for MemoryJobs {
    async fn by_mp3(&self, mp3: Id) -> Result<Job, Error> {
        let contents = lock(&self.state);
        let made = |job: &&Job| job.output.as_ref().is_some_and(|output| output.mp3 == mp3);
        contents.jobs().find(made).cloned().ok_or(Error::NotFound)
    }

    async fn by_key(&self, owner: &str, key: &str) -> Result<Job, Error> {
        let contents = lock(&self.state);
        let keyed = |job: &&Job| job.owner == owner && job.key.as_deref() == Some(key);
        contents.jobs().find(keyed).cloned().ok_or(Error::NotFound)
    }

    async fn list(&self, owner: &str, filter: &Filter, limit: usize) -> Result<Vec<Job>, Error> {
        let contents = lock(&self.state);
        let wanted = |job: &&Job| {
            job.owner == owner
                && (filter.states.is_empty() || filter.states.contains(&job.state))
                && (filter.batch.is_none() || filter.batch == job.batch)
                && filter.before.is_none_or(|before| job.id < before)
        };
        Ok(contents
            .jobs()
            .rev()
            .filter(wanted)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn stale(
        &self,
        states: &[State],
        before: Timestamp,
        after: Option<&Job>,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        let contents = lock(&self.state);
        let place = |job: &Job| (job.updated, job.id);
        let wanted = |job: &&Job| {
            states.contains(&job.state)
                && job.updated < before
                && after.is_none_or(|after| place(job) > place(after))
        };
        let mut found: Vec<Job> = contents.jobs().filter(wanted).cloned().collect();
        found.sort_by_key(place);
        found.truncate(limit);
        Ok(found)
    }

    async fn referenced(&self, objects: &[Id]) -> Result<Vec<Id>, Error> {
        let contents = lock(&self.state);
        let of = |job: &Job| {
            [
                Some(job.source),
                job.output.as_ref().map(|output| output.mp3),
            ]
        };
        let all = contents.jobs().flat_map(of).flatten();
        Ok(all.filter(|id| objects.contains(id)).collect())
    }

    async fn usage(&self, owner: &str) -> Result<Usage, Error> {
        let contents = lock(&self.state);
        let mut usage = Usage::default();
        for job in contents.jobs().filter(|job| job.owner == owner) {
            usage.jobs += 1;
            usage.bytes += job.source_bytes + job.output.as_ref().map_or(0, |output| output.bytes);
        }
        Ok(usage)
    }

    async fn census(&self) -> Result<Census, Error> {
        let contents = lock(&self.state);
        let count = |state| contents.jobs().filter(|job| job.state == state).count() as u64;
        let queued = contents.jobs().filter(|job| job.state == State::Queued);
        Ok(Census {
            states: State::ALL.map(|state| (state, count(state))).to_vec(),
            oldest_queued: queued.map(|job| job.created).min(),
        })
    }

    async fn line(&self, owner: &str) -> Result<Line, Error> {
        let contents = lock(&self.state);
        let entries = || contents.entries.values();
        let is_new = |entry: &&Entry| entry.in_line && entry.job.started.is_none();
        let mut in_line: Vec<&Job> = entries().filter(is_new).map(|entry| &entry.job).collect();
        in_line.sort_by_key(|job| (job.requested, job.id));
        let waits = |entry: &&Entry| entry.waiting.is_some() && entry.job.owner == owner;
        let running = |job: &&Job| job.state == State::Running;
        let mut done: Vec<&Job> = contents
            .jobs()
            .filter(|job| job.state == State::Done)
            .collect();
        done.sort_by_key(|job| std::cmp::Reverse(job.updated));
        let took = |job: &Job| Some(job.finished?.since(job.started?));
        Ok(Line {
            in_line: in_line.iter().map(|job| job.id).take(LINE_LENGTH).collect(),
            waiting: entries()
                .filter(waits)
                .map(|entry| entry.job.id)
                .take(LINE_LENGTH)
                .collect(),
            running: contents.jobs().filter(running).count() as u64,
            took: done
                .into_iter()
                .take(LINE_SAMPLES)
                .filter_map(took)
                .collect(),
        })
    }

    async fn watch(&self, owner: &str) -> Result<JobStream, Error> {
        Ok(self.watchers.watch(owner))
    }
}

#[async_trait]
impl LedgerIdentity for MemoryJobs {
    async fn identity(&self) -> Result<Option<Identity>, Error> {
        Ok(lock(&self.state).identity)
    }

    async fn advance(&self, name: Id) -> Result<Identity, Error> {
        let mut contents = lock(&self.state);
        let identity = contents.identity.get_or_insert(Identity {
            ledger: name,
            generation: 0,
        });
        identity.generation += 1;
        Ok(*identity)
    }
}

#[async_trait]
impl SweepLease for MemoryJobs {
    async fn lease_sweep(&self, holder: Id, duration: Duration) -> Result<Turn, Error> {
        let now = self.clock.now();
        let mut contents = lock(&self.state);
        if let Some((other, until)) = contents.sweeper
            && other != holder
            && !has_ended(until, now)
        {
            return Ok(Turn::Other(until));
        }
        let until = now.plus(duration.min(LONGEST_TERM));
        let previous = contents.sweeper.replace((holder, until));
        Ok(Turn::Own {
            previous: previous.map(|(_, until)| until),
            note: contents.note.clone(),
        })
    }

    async fn note_sweep(&self, holder: Id, note: &str) -> Result<(), Error> {
        let mut contents = lock(&self.state);
        match contents.sweeper {
            Some((last, _)) if last == holder => {
                note.clone_into(&mut contents.note);
                Ok(())
            }
            _ => Err(Error::Rejected("another sweeper has the lease".into())),
        }
    }
}
