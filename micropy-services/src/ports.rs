//! The ports that the services share.

use std::sync::Arc;

use micropy_core::ports::jobs::Topics;
use micropy_core::ports::memory::{MemoryJobs, MemoryQueue, MemoryStorage, MemoryWebhooks};
use micropy_core::ports::{Clock, Id, Ledger, Origins, Queue, Storage, Webhooks};

/// The ports that gateway, converter, notification and sweeper share.
///
/// Services in several processes work together when their ports are backed by the same stores.
#[derive(Clone)]
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The videos that were uploaded.
    pub videos: Arc<dyn Storage>,
    /// The MP3s, and ZIP files of MP3s, that were made of them.
    pub mp3s: Arc<dyn Storage>,
    /// The ledger of jobs.
    pub jobs: Arc<dyn Ledger>,
    /// The queues between the services.
    pub queues: Topics<Arc<dyn Queue>>,
    /// Where users' programs are told of jobs.
    pub webhooks: Arc<dyn Webhooks>,
    /// What reads URLs of users; none where no video may be imported.
    pub origins: Option<Arc<dyn Origins>>,
}

impl Ports {
    /// Ports that keep everything in the memory of this process, for tests and examples.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        let queue = |_| Arc::new(MemoryQueue::new(clock.clone())) as Arc<dyn Queue>;
        Ports {
            videos: Arc::new(MemoryStorage::new(clock.clone())),
            mp3s: Arc::new(MemoryStorage::new(clock.clone())),
            jobs: Arc::new(MemoryJobs::new(clock.clone())),
            queues: Topics::each(queue),
            webhooks: Arc::new(MemoryWebhooks::new(clock.clone())),
            origins: None,
            clock,
        }
    }

    /// An id that nothing else has.
    pub fn new_id(&self) -> Id {
        let mut random = [0; 6];
        // The operating system's generator does not fail on a system that still works.
        getrandom::fill(&mut random).unwrap_or_else(|e| panic!("no random numbers: {e}"));
        Id::new(self.clock.now(), random)
    }
}
