//! Every adapter of the embedded set through the suite of its port.

#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

#[path = "support/real_time.rs"]
mod real_time;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use micropy_adapters::auth::sqlite::SqliteAuth;
use micropy_adapters::clock::SystemClock;
use micropy_adapters::jobs::sqlite::SqliteJobs;
use micropy_adapters::notifier::outbox::Outbox;
use micropy_adapters::queue::sqlite::SqliteQueue;
use micropy_adapters::sqlite::Database;
use micropy_adapters::storage::filesystem::FilesystemStorage;
use micropy_core::ports::conformance::{self, Fixture, jobs::Queues};
use micropy_core::ports::jobs::Topics;
use micropy_core::ports::time::ManualClock;
use micropy_core::ports::{Clock, Queue, Timestamp};
use tempfile::TempDir;

use real_time::RealTime;

/// A database whose adapters tell the time by a clock that the suite moves.
struct Embedded {
    clock: Arc<ManualClock>,
    database: Database,
    _folder: TempDir,
}

impl Embedded {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Embedded {
            clock: Arc::new(ManualClock::new(SystemClock.now())),
            database: Database::open(folder.path().join("micropy.db"))
                .await
                .unwrap(),
            _folder: folder,
        }
    }

    fn queue(&self, name: &'static str) -> SqliteQueue {
        SqliteQueue::new(self.database.clone(), name, self.clock.clone())
    }
}

#[async_trait]
impl Fixture for Embedded {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    async fn elapse(&self, by: Duration) {
        self.clock.advance(by);
    }
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filesystem_storage() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FilesystemStorage::open(folder.path()).unwrap();
    conformance::storage::run(&RealTime, &storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_queue() {
    let embedded = Embedded::new().await;
    conformance::queue::run(&embedded, &embedded.queue("video")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_jobs() {
    let embedded = Embedded::new().await;
    let queues = Topics::each(|topic| embedded.queue(topic.name()));
    let database = embedded.database.clone();
    let jobs = SqliteJobs::new(database, queues.clone(), embedded.clock.clone());
    let queues = Queues::Shared(Topics::each(|topic| queues.of(topic) as &dyn Queue));
    conformance::jobs::run(&embedded, &jobs, queues).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_auth() {
    let embedded = Embedded::new().await;
    conformance::auth::run(&SqliteAuth::new(embedded.database)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outbox_notifier() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(folder.path(), "Micropy <micropy@example.com>").unwrap();
    conformance::notifier::run(&outbox).await;
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        names,
        ["0123456789abcdef01234567.eml"],
        "one mail, and nothing unfinished"
    );
    let mail = std::fs::read_to_string(folder.path().join(&names[0])).unwrap();
    for line in [
        "From: Micropy <micropy@example.com>",
        "To: ann@example.com",
        "Subject: MP3 Download",
        "Message-ID: <0123456789abcdef01234567@example.com>",
        "mp3 file_id: 0123456789abcdef01234567 is now ready!",
    ] {
        assert!(
            mail.lines().any(|l| l == line),
            "{line} is missing in\n{mail}"
        );
    }
}
