//! Telling watchers of changes, for ledgers that hear of every change themselves.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::{Job, JobStream};
use crate::ports::Id;

/// Who is to be told of changes.
///
/// What a slow watcher has not seen yet is kept by job, newest state only: it never misses the last one,
/// and costs no more memory than its owner has jobs.
#[derive(Debug, Default)]
pub struct Watchers(Mutex<Vec<Weak<Mutex<Watcher>>>>);

#[derive(Debug)]
struct Watcher {
    owner: String,
    changed: BTreeMap<Id, Job>,
    waker: Option<Waker>,
}

impl Watchers {
    /// The owner's jobs, as they are told from now on.
    pub fn watch(&self, owner: &str) -> JobStream {
        let watcher = Arc::new(Mutex::new(Watcher {
            owner: owner.to_owned(),
            changed: BTreeMap::new(),
            waker: None,
        }));
        lock(&self.0).push(Arc::downgrade(&watcher));
        Box::pin(Watch(watcher))
    }

    /// Tells of a job's new state. Of two changes the later must be told later.
    pub fn tell(&self, job: &Job) {
        lock(&self.0).retain(|watcher| {
            let Some(watcher) = watcher.upgrade() else {
                return false;
            };
            lock(&watcher).see(job);
            true
        });
    }
}

impl Watcher {
    fn see(&mut self, job: &Job) {
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

/// Locks, also after another thread panicked: each change here is made in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
