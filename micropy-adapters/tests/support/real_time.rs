//! The computer's clock, for stores that know no other.

use std::time::Duration;

use async_trait::async_trait;
use micropy_adapters::clock::SystemClock;
use micropy_core::ports::conformance::Fixture;
use micropy_core::ports::{Clock, Timestamp};

pub struct RealTime;

#[async_trait]
impl Fixture for RealTime {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
    async fn elapse(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }
    async fn settle(&self) {}
}
