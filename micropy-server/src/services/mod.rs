//! The services: each does one thing, and meets the others only through the ports.

pub mod accounts;
pub mod adoption;
pub mod auth;
pub mod auth_client;
pub mod converter;
pub mod health;
pub mod http;
pub mod intake;
pub mod login;
pub mod message;
pub mod metrics;
pub mod notification;
pub mod options;
pub mod product;
pub mod sender;
pub mod sweeper;
pub mod telemetry;
pub mod token;

use std::sync::Arc;

use micropy_core::ports::jobs::Topics;
use micropy_core::ports::{Clock, Id, Jobs, Queue, Storage};

/// What the services stand on.
#[derive(Clone)]
pub struct Ports {
    pub clock: Arc<dyn Clock>,
    /// Originals.
    pub videos: Arc<dyn Storage>,
    pub mp3s: Arc<dyn Storage>,
    pub jobs: Arc<dyn Jobs>,
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
