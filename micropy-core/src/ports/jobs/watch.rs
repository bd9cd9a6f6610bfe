//! Passing changes on to watchers, for ledgers through which every change goes.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::{Job, JobStream};
use crate::ports::Id;

/// The watchers of a ledger.
///
/// What a slow watcher has not seen yet is kept by job, newest state only. So it never misses the last state, and its
/// memory is bounded by the number of its owner's jobs.
#[derive(Debug, Default)]
pub struct Watchers(Mutex<Vec<Weak<Mutex<Watcher>>>>);

#[derive(Debug)]
struct Watcher {
    owner: String,
    changed: BTreeMap<Id, Job>,
    waker: Option<Waker>,
}

impl Watchers {
    /// The owner's jobs as they change from now on.
    pub fn watch(&self, owner: &str) -> JobStream {
        let watcher = Arc::new(Mutex::new(Watcher {
            owner: owner.to_owned(),
            changed: BTreeMap::new(),
            waker: None,
        }));
        lock(&self.0).push(Arc::downgrade(&watcher));
        Box::pin(Watch(watcher))
    }

    /// Passes a job's new state on. Two changes of one job must arrive here in their order.
    pub fn publish(&self, job: &Job) {
        lock(&self.0).retain(|watcher| {
            let Some(watcher) = watcher.upgrade() else {
                return false;
            };
            lock(&watcher).observe(job);
            true
        });
    }
}

impl Watcher {
    fn observe(&mut self, job: &Job) {
        if self.owner == job.owner {
            self.changed.insert(job.id, job.clone());
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }
}

struct Watch(Arc<Mutex<Watcher>>);

impl Stream for Watch {
    type Item = Job;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Job>> {
        let mut watcher = lock(&self.0);
        if let Some((_, job)) = watcher.changed.pop_first() {
            return Poll::Ready(Some(job));
        }
        watcher.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Locks, even if another thread panicked while it held the lock: every change here is a single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
