//! The ports that the services share.

use std::sync::Arc;

use micropy_core::ports::jobs::Topics;
use micropy_core::ports::{Clock, Id, Ledger, Queue, Storage};

/// What the services stand on.
#[derive(Clone)]
pub struct Ports {
    pub clock: Arc<dyn Clock>,
    /// Originals.
    pub videos: Arc<dyn Storage>,
    pub mp3s: Arc<dyn Storage>,
    pub jobs: Arc<dyn Ledger>,
    pub queues: Topics<Arc<dyn Queue>>,
}

impl Ports {
    /// An id nobody has.
    pub fn new_id(&self) -> Id {
        let mut random = [0; 6];
        // The operating system's generator fails on no system that is still working.
        getrandom::fill(&mut random).unwrap_or_else(|e| panic!("no random numbers: {e}"));
        Id::new(self.clock.now(), random)
    }
}
