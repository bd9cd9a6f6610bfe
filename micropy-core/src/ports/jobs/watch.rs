//! Passing changes on to watchers, for ledgers through which every change goes.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::{Job, JobStream};
use crate::ports::Id;

/// Changed jobs of one owner that wait for the slowest of their watchers, and the bytes of these.
const MOST_JOBS: usize = 1_000;
const MOST_BYTES: usize = 4 << 20;

/// The watchers of a ledger.
///
/// What an owner's watchers have not all seen yet is kept once for all of them, by job, newest state only. So none
/// misses a job's last state. It is bounded all the same: a watcher that falls too far behind has its stream end.
#[derive(Clone, Debug, Default)]
pub struct Watchers(Arc<Mutex<Owners>>);

#[derive(Debug, Default)]
struct Owners {
    /// What is watched; nobody is remembered whom nobody watches.
    by_name: HashMap<String, Changes>,
    /// Watchers so far: each has a number.
    watchers: u64,
}

/// The changes of one owner's jobs, which count from the first that was watched.
#[derive(Debug, Default)]
struct Changes {
    /// Each job's last one.
    jobs: BTreeMap<u64, Arc<Job>>,
    /// Where that is.
    places: HashMap<Id, u64>,
    bytes: usize,
    next: u64,
    watchers: BTreeMap<u64, Watcher>,
}

#[derive(Debug)]
struct Watcher {
    /// The change that it sees next; none once it has missed one.
    next: Option<u64>,
    waker: Option<Waker>,
}

impl Watchers {
    /// The owner's jobs as they change from now on. The stream ends when its reader falls too far behind.
    pub fn watch(&self, owner: &str) -> JobStream {
        let mut owners = lock(&self.0);
        let number = owners.watchers;
        owners.watchers += 1;
        let changes = owners.by_name.entry(owner.to_owned()).or_default();
        let watcher = Watcher {
            next: Some(changes.next),
            waker: None,
        };
        changes.watchers.insert(number, watcher);
        Box::pin(Watch {
            owners: self.0.clone(),
            owner: owner.to_owned(),
            number,
        })
    }

    /// Passes a job's new state on. Two changes of one job must arrive here in their order.
    pub fn publish(&self, job: &Job) {
        if let Some(changes) = lock(&self.0).by_name.get_mut(&job.owner) {
            changes.add(job);
        }
    }

    /// Keeps a job that was deleted for no watcher any longer. Its changes must have arrived here before.
    pub fn forget(&self, job: &Job) {
        if let Some(changes) = lock(&self.0).by_name.get_mut(&job.owner)
            && let Some(place) = changes.places.get(&job.id)
        {
            changes.remove(*place);
        }
    }
}

impl Changes {
    fn add(&mut self, job: &Job) {
        if let Some(place) = self.places.get(&job.id) {
            self.remove(*place);
        }
        self.jobs.insert(self.next, Arc::new(job.clone()));
        self.places.insert(job.id, self.next);
        self.bytes += size(job);
        self.next += 1;
        while (self.jobs.len() > MOST_JOBS || self.bytes > MOST_BYTES)
            && let Some((&oldest, _)) = self.jobs.first_key_value()
        {
            self.remove(oldest);
            for watcher in self.watchers.values_mut() {
                watcher.next = watcher.next.filter(|next| *next > oldest);
            }
            self.forget_what_was_seen();
        }
        for watcher in self.watchers.values_mut() {
            if let Some(waker) = watcher.waker.take() {
                waker.wake();
            }
        }
    }

    fn remove(&mut self, place: u64) {
        if let Some(job) = self.jobs.remove(&place) {
            self.places.remove(&job.id);
            self.bytes -= size(&job);
        }
    }

    /// Forgets what nobody will see, or see again.
    fn forget_what_was_seen(&mut self) {
        let nexts = self.watchers.values().filter_map(|watcher| watcher.next);
        let seen_by_all = nexts.min().unwrap_or(self.next);
        while let Some((&oldest, _)) = self.jobs.first_key_value()
            && oldest < seen_by_all
        {
            self.remove(oldest);
        }
    }
}

/// Bytes that a job takes, about.
fn size(job: &Job) -> usize {
    let texts = [&job.key, &job.fingerprint, &job.failure];
    let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
    let report = job.output.as_ref().map_or(0, |output| output.report.len());
    size_of::<Job>() + job.owner.len() + job.file_name.len() + job.options.len() + texts + report
}

/// The stream of one watcher.
struct Watch {
    owners: Arc<Mutex<Owners>>,
    owner: String,
    number: u64,
}

impl Stream for Watch {
    type Item = Job;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Job>> {
        let mut owners = lock(&self.owners);
        let Some(changes) = owners.by_name.get_mut(&self.owner) else {
            return Poll::Ready(None);
        };
        let Some(watcher) = changes.watchers.get_mut(&self.number) else {
            return Poll::Ready(None);
        };
        let Some(next) = watcher.next else {
            return Poll::Ready(None);
        };
        let Some((&place, job)) = changes.jobs.range(next..).next() else {
            watcher.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let job = job.clone();
        watcher.next = Some(place + 1);
        changes.forget_what_was_seen();
        drop(owners);
        Poll::Ready(Some(Arc::unwrap_or_clone(job)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut owners = lock(&self.owners);
        if let Some(changes) = owners.by_name.get_mut(&self.owner) {
            changes.watchers.remove(&self.number);
            changes.forget_what_was_seen();
            if changes.watchers.is_empty() {
                owners.by_name.remove(&self.owner);
            }
        }
    }
}

/// Locks, even if another thread panicked while it held the lock: what it may have left undone is about watchers alone.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Poll::{Pending, Ready};

    use super::*;
    use crate::ports::Timestamp;
    use crate::ports::jobs::Output;

    const ANN: &str = "ann@example.com";

    fn job(number: u32) -> Job {
        let mut id = [0; 12];
        id[8..].copy_from_slice(&number.to_be_bytes());
        Job::new(
            Id::from_bytes(id),
            ANN,
            Id::from_bytes(id),
            Timestamp::default(),
        )
    }

    fn next(stream: &mut JobStream) -> Poll<Option<Job>> {
        let mut context = Context::from_waker(Waker::noop());
        stream.as_mut().poll_next(&mut context)
    }

    /// How many jobs are kept for the owner's watchers.
    fn kept(watchers: &Watchers) -> usize {
        lock(&watchers.0).by_name[ANN].jobs.len()
    }

    #[test]
    fn a_job_that_was_deleted_is_kept_for_nobody() {
        let watchers = Watchers::default();
        let mut slow: Vec<JobStream> = (0..16).map(|_| watchers.watch(ANN)).collect();
        for number in 0..5_000 {
            watchers.publish(&job(number));
            watchers.forget(&job(number));
        }
        assert_eq!(kept(&watchers), 0);
        watchers.publish(&job(7));
        for stream in &mut slow {
            assert_eq!(next(stream), Ready(Some(job(7))), "and nobody is behind");
            assert_eq!(next(stream), Pending);
        }
        assert_eq!(kept(&watchers), 0, "all have seen it");
    }

    #[test]
    fn a_watcher_that_falls_too_far_behind_ends_and_keeps_nothing_for_others() {
        let watchers = Watchers::default();
        let [mut slow, mut quick] = [(); 2].map(|()| watchers.watch(ANN));
        for number in 0..10_000 {
            watchers.publish(&job(number));
            assert_eq!(next(&mut quick), Ready(Some(job(number))));
            assert!(kept(&watchers) <= MOST_JOBS);
        }
        assert_eq!(next(&mut slow), Ready(None), "it has missed some");
        assert_eq!(next(&mut quick), Pending);
        assert_eq!(kept(&watchers), 0);
        watchers.publish(&job(1));
        assert_eq!(next(&mut slow), Ready(None), "it stays so");
        assert_eq!(next(&mut quick), Ready(Some(job(1))));

        drop((slow, quick));
        assert!(lock(&watchers.0).by_name.is_empty(), "nobody is remembered");
    }

    #[test]
    fn large_jobs_are_fewer() {
        let watchers = Watchers::default();
        let mut slow = watchers.watch(ANN);
        for number in 0..900 {
            let output = Output {
                mp3: Id::from_bytes([1; 12]),
                bytes: 1,
                report: "x".repeat(16 << 10),
            };
            watchers.publish(&Job {
                output: Some(output),
                ..job(number)
            });
        }
        assert!(kept(&watchers) <= MOST_BYTES >> 14);
        assert_eq!(next(&mut slow), Ready(None));
    }

    #[test]
    fn a_watcher_sees_each_jobs_last_state_once() {
        let watchers = Watchers::default();
        let mut stream = watchers.watch(ANN);
        for progress in [0.25, 0.5, 0.75] {
            for number in 0..100 {
                watchers.publish(&Job {
                    progress,
                    ..job(number)
                });
            }
        }
        let seen: Vec<Job> = std::iter::from_fn(|| match next(&mut stream) {
            Ready(job) => job,
            Pending => None,
        })
        .collect();
        assert_eq!(seen.len(), 100);
        assert!(seen.iter().all(|job| job.progress == 0.75));
        watchers.publish(&Job {
            owner: "bob@example.com".into(),
            ..job(1)
        });
        assert_eq!(next(&mut stream), Pending, "nobody sees another's");
    }
}
