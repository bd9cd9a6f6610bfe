//! A clock that the suite moves, for stores that are told the time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use micropy_adapters::clock::SystemClock;
use micropy_core::ports::conformance::Fixture;
use micropy_core::ports::time::ManualClock;
use micropy_core::ports::{Clock, Timestamp};

pub struct ManualTime(pub Arc<ManualClock>);

impl ManualTime {
    pub fn new() -> Self {
        ManualTime(Arc::new(ManualClock::new(SystemClock.now())))
    }
}

#[async_trait]
impl Fixture for ManualTime {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
    async fn elapse(&self, by: Duration) {
        self.0.advance(by);
    }
    /// More than one polling interval of every adapter.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
}
