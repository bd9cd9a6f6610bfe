//! Messages that the ledger owes the queues.

#![allow(clippy::unwrap_used)] // a test ends where something fails

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use micropy_core::ports::jobs::{Created, Job, Message, State, Topic, Topics};
use micropy_core::ports::memory::MemoryAuth;
use micropy_core::ports::queue::{Delivery, Error, Queue};
use micropy_core::ports::time::Timestamp;
use micropy_core::ports::{Clock, Id};
use micropy_services::Ports;
use micropy_services::accounts::{LocalAccounts, Secret};
use micropy_services::gateway::Gateway;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time that has passed in this test.
struct TestTime(Instant);

impl Clock for TestTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).plus(self.0.elapsed())
    }
}

/// A queue that takes its time to make a message durable, and counts them.
#[derive(Default)]
struct SlowQueue(Mutex<BTreeMap<Vec<u8>, usize>>);

#[async_trait]
impl Queue for SlowQueue {
    async fn publish(&self, payload: Vec<u8>) -> Result<(), Error> {
        tokio::time::sleep(Duration::from_secs(7)).await;
        *self.0.lock().unwrap().entry(payload).or_default() += 1;
        Ok(())
    }

    async fn receive(&self) -> Result<Box<dyn Delivery>, Error> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_senders_one_publishes_a_message() {
    const JOBS: u8 = 12;
    let clock = Arc::new(TestTime(Instant::now()));
    let slow = Arc::new(SlowQueue::default());
    let ports = Ports {
        queues: Topics::each(|_| slow.clone() as Arc<dyn Queue>),
        ..Ports::in_memory(clock.clone())
    };
    for number in 0..JOBS {
        let [job, video] = [0, 100].map(|more| Id::from_bytes([number + more; 12]));
        let job = Job {
            state: State::Queued,
            ..Job::new(job, format!("user{number}@example.com"), video, clock.now())
        };
        let message = Message {
            topic: Topic::Video,
            payload: vec![number],
        };
        // Its creator does not live to send it.
        let created = ports.jobs.create(&job, Some(message)).await.unwrap();
        assert!(matches!(created, Created::New(Some(_))));
    }
    let shutdown = CancellationToken::new();
    let secret = Secret::new("32 bytes that nobody can guess \u{2026}");
    for _ in 0..3 {
        let accounts = LocalAccounts::new(Arc::new(MemoryAuth::default()), clock.clone(), &secret);
        let gateway = Gateway::new(ports.clone(), Arc::new(accounts));
        tokio::spawn(gateway.run(shutdown.clone()));
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    shutdown.cancel();
    let published = slow.0.lock().unwrap();
    assert_eq!(published.len(), usize::from(JOBS), "every one");
    let counts: Vec<_> = published.values().collect();
    assert!(counts.iter().all(|count| **count == 1), "{counts:?}");
}
