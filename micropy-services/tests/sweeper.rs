//! The sweeper beside its own ledger and beside others.

#![allow(clippy::unwrap_used)] // a test ends where something fails

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use micropy_core::ports::jobs::Job;
use micropy_core::ports::memory::MemoryJobs;
use micropy_core::ports::storage::{Label, StorageExt};
use micropy_core::ports::time::{ManualClock, Timestamp};
use micropy_core::ports::{Clock, Id, binding};
use micropy_services::Ports;
use micropy_services::sweeper::Sweeper;
use tokio_util::sync::CancellationToken;

const ORPHAN: u8 = 1;
const OWNED: u8 = 2;

fn id(byte: u8) -> Id {
    Id::from_bytes([byte; 12])
}

/// Ports with a bound store, an hour-old orphan and an hour-old video of a job.
async fn ports() -> (Ports, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
    let ports = Ports::in_memory(clock.clone());
    sweep(&ports).await;
    for byte in [ORPHAN, OWNED] {
        let body = Box::pin(stream::iter([Ok(Bytes::from_static(b"abc"))]));
        let label = Label::default();
        ports.videos.put(id(byte), &label, body).await.unwrap();
    }
    let job = Job::new(id(9), "ann@example.com", id(OWNED), clock.now());
    ports.jobs.create(&job, None).await.unwrap();
    clock.advance(Duration::from_secs(2 * 3600));
    (ports, clock)
}

/// The first round of a new sweeper, and a moment more.
async fn sweep(ports: &Ports) {
    let shutdown = CancellationToken::new();
    let sweeping = tokio::spawn(Sweeper::new(ports.clone()).run(shutdown.clone()));
    tokio::time::sleep(Duration::from_millis(200)).await;
    shutdown.cancel();
    sweeping.await.unwrap();
}

async fn is_there(ports: &Ports, byte: u8) -> bool {
    ports.videos.head(id(byte)).await.is_ok()
}

#[tokio::test]
async fn beside_its_own_ledger_it_removes_orphans_alone() {
    let (ports, _clock) = ports().await;
    sweep(&ports).await;
    assert!(!is_there(&ports, ORPHAN).await);
    assert!(is_there(&ports, OWNED).await);
}

#[tokio::test]
async fn beside_a_new_or_a_foreign_ledger_it_removes_nothing() {
    let (ports, clock) = ports().await;
    let new = MemoryJobs::new(clock.clone());
    let foreign = MemoryJobs::new(clock.clone());
    let other = Ports::in_memory(clock.clone());
    binding::check(&*other.videos, &foreign, id(77))
        .await
        .unwrap();
    for ledger in [new, foreign] {
        let misled = Ports {
            jobs: Arc::new(ledger),
            ..ports.clone()
        };
        sweep(&misled).await;
        assert!(is_there(&ports, ORPHAN).await && is_there(&ports, OWNED).await);
    }
    sweep(&ports).await;
    assert!(
        !is_there(&ports, ORPHAN).await,
        "its own ledger still serves it"
    );
}

#[tokio::test]
async fn a_store_that_was_adopted_is_swept() {
    let (ports, clock) = ports().await;
    let new = Ports {
        jobs: Arc::new(MemoryJobs::new(clock)),
        ..ports
    };
    for store in [&new.videos, &new.mp3s] {
        binding::adopt(&**store, &*new.jobs, id(5)).await.unwrap();
    }
    sweep(&new).await;
    assert!(!is_there(&new, ORPHAN).await && !is_there(&new, OWNED).await);
}
