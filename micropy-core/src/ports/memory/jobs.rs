use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::lock;
use crate::ports::jobs::{
    Begin, Census, Created, Entry, Error, Filter, Job, JobStream, Jobs, Lease, Message, Outcome,
    Owed, State, Usage, Watchers,
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
    owed: VecDeque<Owed>,
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
    ) -> Result<T, Error> {
        let mut ledger = lock(&self.ledger);
        let entry = ledger.entries.get_mut(&id).ok_or(Error::NotFound)?;
        let changed = change(entry, self.clock.now())?;
        self.watchers.tell(&entry.job);
        ledger.owe(message);
        Ok(changed)
    }
}

impl Ledger {
    fn owe(&mut self, message: Option<Message>) {
        if let Some(message) = message {
            self.messages += 1;
            let mut id = [0; 12];
            id[4..].copy_from_slice(&self.messages.to_be_bytes());
            let id = Id::from_bytes(id);
            self.owed.push_back(Owed { id, message });
        }
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
        ledger.owe(message);
        Ok(Created::New)
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

    async fn enqueue(&self, id: Id, message: Message) -> Result<(), Error> {
        self.change(id, Some(message), Entry::enqueue)
    }

    async fn begin(&self, id: Id, term: Duration) -> Result<Begin, Error> {
        self.change(id, None, |entry, now| Ok(entry.begin(now, term)))
    }

    async fn renew(&self, lease: Lease, term: Duration, progress: f32) -> Result<(), Error> {
        self.change(lease.job, None, |entry, now| {
            entry.renew(now, lease, term, progress)
        })
    }

    async fn release(&self, lease: Lease, counted: bool) -> Result<(), Error> {
        self.change(lease.job, None, |entry, now| {
            entry.release(now, lease, counted)
        })
    }

    async fn finish(
        &self,
        lease: Lease,
        outcome: Outcome,
        message: Option<Message>,
    ) -> Result<(), Error> {
        self.change(lease.job, message, |entry, now| {
            entry.finish(now, lease, outcome)
        })
    }

    async fn cancel(&self, id: Id) -> Result<(), Error> {
        self.change(id, None, Entry::cancel)
    }

    async fn retry(&self, id: Id, message: Message) -> Result<(), Error> {
        self.change(id, Some(message), Entry::retry)
    }

    async fn delete(&self, id: Id) -> Result<Job, Error> {
        lock(&self.ledger)
            .entries
            .remove(&id)
            .map(|entry| entry.job)
            .ok_or(Error::NotFound)
    }

    async fn notified(&self, id: Id) -> Result<(), Error> {
        self.change(id, None, Entry::notified)
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
        Ok(lock(&self.ledger)
            .owed
            .iter()
            .take(limit)
            .cloned()
            .collect())
    }

    async fn sent(&self, owed: &[Id]) -> Result<(), Error> {
        lock(&self.ledger)
            .owed
            .retain(|message| !owed.contains(&message.id));
        Ok(())
    }

    async fn watch(&self, owner: &str) -> Result<JobStream, Error> {
        Ok(self.watchers.watch(owner))
    }
}
