use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::lock;
use crate::ports::jobs::{
    Begin, Census, Created, Entry, Error, Filter, HOLD, Job, JobStream, Jobs, Lease, Message,
    Outcome, Owed, State, Usage, Watchers,
};
use crate::ports::{Clock, Id, Timestamp};

/// A ledger in memory. It shares its store with no queue: every message is owed.
pub struct MemoryJobs {
    clock: Arc<dyn Clock>,
    ledger: Mutex<Ledger>,
    watchers: Watchers,
}

#[derive(Default)]
struct Ledger {
    entries: BTreeMap<Id, Entry>,
    /// With the time until which each is left to whoever was given it.
    owed: VecDeque<(Timestamp, Owed)>,
    messages: u64,
}

impl MemoryJobs {
    /// An empty ledger.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryJobs {
            clock,
            ledger: Mutex::default(),
            watchers: Watchers::default(),
        }
    }

    /// Lets the entry of `id` change, which it may refuse; then its message goes out and watchers hear.
    fn change<T>(
        &self,
        id: Id,
        message: Option<Message>,
        change: impl FnOnce(&mut Entry, Timestamp) -> Result<T, Error>,
    ) -> Result<(T, Option<Owed>), Error> {
        let mut ledger = lock(&self.ledger);
        let now = self.clock.now();
        let entry = ledger.entries.get_mut(&id).ok_or(Error::NotFound)?;
        let changed = change(entry, now)?;
        self.watchers.tell(&entry.job);
        Ok((changed, ledger.owe(message, now)))
    }
}

impl Ledger {
    fn owe(&mut self, message: Option<Message>, now: Timestamp) -> Option<Owed> {
        let message = message?;
        self.messages += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.messages.to_be_bytes());
        let id = Id::from_bytes(id);
        let owed = Owed { id, message };
        self.owed.push_back((now.plus(HOLD), owed.clone()));
        Some(owed)
    }

    fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.entries.values().map(|entry| &entry.job)
    }
}

#[async_trait]
impl Jobs for MemoryJobs {
    async fn create(&self, job: &Job, message: Option<Message>) -> Result<Created, Error> {
        let mut ledger = lock(&self.ledger);
        let same =
            |known: &&Job| known.key.is_some() && known.owner == job.owner && known.key == job.key;
        if let Some(known) = ledger.jobs().find(same) {
            return Ok(Created::Existing(Box::new(known.clone())));
        }
        if ledger
            .jobs()
            .any(|known| known.id == job.id || known.source == job.source)
        {
            return Err(Error::Rejected(
                "there is a job with this id or video".into(),
            ));
        }
        ledger.entries.insert(job.id, Entry::new(job.clone()));
        self.watchers.tell(job);
        let owed = ledger.owe(message, self.clock.now());
        Ok(Created::New(owed))
    }

    async fn get(&self, id: Id) -> Result<Job, Error> {
        let ledger = lock(&self.ledger);
        ledger
            .entries
            .get(&id)
            .map(|entry| entry.job.clone())
            .ok_or(Error::NotFound)
    }

    async fn of_mp3(&self, mp3: Id) -> Result<Job, Error> {
        let ledger = lock(&self.ledger);
        let made = |job: &&Job| job.output.as_ref().is_some_and(|output| output.mp3 == mp3);
        ledger.jobs().find(made).cloned().ok_or(Error::NotFound)
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

    async fn release(&self, lease: Lease, counted: bool) -> Result<(), Error> {
        let release = |entry: &mut Entry, now| entry.release(now, lease, counted);
        self.change(lease.job, None, release).map(drop)
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
        lock(&self.ledger)
            .entries
            .remove(&id)
            .map(|entry| entry.job)
            .ok_or(Error::NotFound)
    }

    async fn notified(&self, id: Id) -> Result<(), Error> {
        self.change(id, None, Entry::notified).map(drop)
    }

    async fn list(&self, owner: &str, filter: &Filter, limit: usize) -> Result<Vec<Job>, Error> {
        let ledger = lock(&self.ledger);
        let wanted = |job: &&Job| {
            job.owner == owner
                && (filter.states.is_empty() || filter.states.contains(&job.state))
                && (filter.batch.is_none() || filter.batch == job.batch)
                && filter.before.is_none_or(|before| job.id < before)
        };
        Ok(ledger
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
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        let ledger = lock(&self.ledger);
        let wanted = |job: &&Job| states.contains(&job.state) && job.updated < before;
        let mut found: Vec<Job> = ledger.jobs().filter(wanted).cloned().collect();
        found.sort_by_key(|job| (job.updated, job.id));
        found.truncate(limit);
        Ok(found)
    }

    async fn referenced(&self, objects: &[Id]) -> Result<Vec<Id>, Error> {
        let ledger = lock(&self.ledger);
        let of = |job: &Job| {
            [
                Some(job.source),
                job.output.as_ref().map(|output| output.mp3),
            ]
        };
        let all = ledger.jobs().flat_map(of).flatten();
        Ok(all.filter(|id| objects.contains(id)).collect())
    }

    async fn usage(&self, owner: &str) -> Result<Usage, Error> {
        let ledger = lock(&self.ledger);
        let mut usage = Usage::default();
        for job in ledger.jobs().filter(|job| job.owner == owner) {
            usage.jobs += 1;
            usage.bytes += job.source_bytes + job.output.as_ref().map_or(0, |output| output.bytes);
        }
        Ok(usage)
    }

    async fn census(&self) -> Result<Census, Error> {
        let ledger = lock(&self.ledger);
        let count = |state| ledger.jobs().filter(|job| job.state == state).count() as u64;
        let queued = ledger.jobs().filter(|job| job.state == State::Queued);
        Ok(Census {
            states: State::ALL.map(|state| (state, count(state))).to_vec(),
            oldest_queued: queued.map(|job| job.created).min(),
        })
    }

    async fn owed(&self, limit: usize) -> Result<Vec<Owed>, Error> {
        let now = self.clock.now();
        let mut ledger = lock(&self.ledger);
        let free = ledger.owed.iter_mut().filter(|(held, _)| *held <= now);
        let give = |(held, owed): &mut (Timestamp, Owed)| {
            *held = now.plus(HOLD);
            owed.clone()
        };
        Ok(free.take(limit).map(give).collect())
    }

    async fn sent(&self, owed: &[Id]) -> Result<(), Error> {
        lock(&self.ledger)
            .owed
            .retain(|(_, message)| !owed.contains(&message.id));
        Ok(())
    }

    async fn watch(&self, owner: &str) -> Result<JobStream, Error> {
        Ok(self.watchers.watch(owner))
    }
}
