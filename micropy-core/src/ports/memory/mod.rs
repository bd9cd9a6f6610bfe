//! A reference implementation of each port that keeps everything in memory: the contract in the fewest lines, and what
//! tests of a service run on. Nothing survives the process.

mod auth;
mod jobs;
mod notifier;
mod queue;
mod storage;
mod webhooks;

pub use auth::MemoryAuth;
pub use jobs::MemoryJobs;
pub use notifier::MemoryNotifier;
pub use queue::MemoryQueue;
pub use storage::MemoryStorage;
pub use webhooks::MemoryWebhooks;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, even if another thread panicked while it held the lock: every change here is a single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;

    use super::*;
    use crate::ports::conformance::{self, Fixture};
    use crate::ports::time::{ManualClock, Timestamp};

    struct Memory(Arc<ManualClock>);

    impl Memory {
        fn new() -> Self {
            let start = Timestamp::from_millis(1_700_000_000_000);
            Memory(Arc::new(ManualClock::new(start)))
        }
    }

    #[async_trait]
    impl Fixture for Memory {
        fn now(&self) -> Timestamp {
            use crate::ports::Clock;
            self.0.now()
        }
        async fn elapse(&self, by: Duration) {
            self.0.advance(by);
        }
        async fn settle(&self) {}
    }

    #[test]
    fn storage() {
        let memory = Memory::new();
        let storage = MemoryStorage::new(memory.0.clone());
        pollster::block_on(conformance::storage::run(&memory, &storage));
    }

    #[test]
    fn queue() {
        let memory = Memory::new();
        let queue = MemoryQueue::new(memory.0.clone());
        pollster::block_on(conformance::queue::run(&memory, &queue));
        let queue = MemoryQueue::new(memory.0.clone());
        pollster::block_on(conformance::queue::run_dead_letters(
            &memory, &queue, &queue,
        ));
        let queue = MemoryQueue::new(memory.0.clone());
        pollster::block_on(conformance::queue::run_with_clock(
            &memory.0, &memory, &queue,
        ));
    }

    #[test]
    fn jobs() {
        let memory = Memory::new();
        let jobs = MemoryJobs::new(memory.0.clone());
        let queues = conformance::jobs::Queues::Owing;
        pollster::block_on(conformance::jobs::run(&memory, &jobs, queues));
        pollster::block_on(conformance::jobs::run_with_clock(&memory.0, &jobs));
    }

    #[test]
    fn binding() {
        let memory = Memory::new();
        let storage = MemoryStorage::new(memory.0.clone());
        let jobs = MemoryJobs::new(memory.0.clone());
        pollster::block_on(conformance::binding::run(&storage, &jobs));
    }

    #[test]
    fn webhooks() {
        let memory = Memory::new();
        let webhooks = MemoryWebhooks::new(memory.0.clone());
        pollster::block_on(conformance::webhooks::run(&memory, &webhooks));
    }

    #[test]
    fn auth() {
        pollster::block_on(conformance::auth::run(&MemoryAuth::default()));
    }

    #[test]
    fn notifier() {
        let notifier = MemoryNotifier::default();
        pollster::block_on(conformance::notifier::run(&notifier));
        assert_eq!(notifier.delivered().len(), 2);
    }
}
