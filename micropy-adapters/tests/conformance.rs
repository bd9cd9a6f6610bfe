//! Every adapter of the embedded set runs through the suite of its port.

#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

#[path = "support/manual_time.rs"]
mod manual_time;
#[path = "support/real_time.rs"]
mod real_time;

use micropy_adapters::auth::sqlite::SqliteAuth;
use micropy_adapters::jobs::sqlite::SqliteJobs;
use micropy_adapters::notifier::outbox::Outbox;
use micropy_adapters::queue::sqlite::SqliteQueue;
use micropy_adapters::sqlite::Database;
use micropy_adapters::storage::filesystem::FilesystemStorage;
use micropy_adapters::webhooks::sqlite::SqliteWebhooks;
use micropy_core::ports::Queue;
use micropy_core::ports::conformance::{self, jobs::Queues};
use micropy_core::ports::jobs::Topics;
use tempfile::TempDir;

use manual_time::ManualTime;
use real_time::RealTime;

/// A database whose adapters are told the time.
struct Embedded {
    time: ManualTime,
    database: Database,
    _folder: TempDir,
}

impl Embedded {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("micropy.db");
        Embedded {
            time: ManualTime::new(),
            database: Database::open(path).await.unwrap(),
            _folder: folder,
        }
    }

    fn queue(&self, name: &'static str) -> SqliteQueue {
        SqliteQueue::new(self.database.clone(), name, self.time.0.clone())
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
    conformance::queue::run(&embedded.time, &embedded.queue("video")).await;
    let queue = embedded.queue("mp3");
    conformance::queue::run_dead_letters(&embedded.time, &queue, &queue).await;
    let queue = embedded.queue("failed");
    conformance::queue::run_with_clock(&embedded.time.0, &embedded.time, &queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_jobs() {
    let embedded = Embedded::new().await;
    let queues = Topics::each(|topic| embedded.queue(topic.name()));
    let database = embedded.database.clone();
    let jobs = SqliteJobs::new(database, queues.clone(), embedded.time.0.clone());
    let queues = Queues::Shared(Topics::each(|topic| queues.of(topic) as &dyn Queue));
    conformance::jobs::run(&embedded.time, &jobs, queues).await;
    conformance::jobs::run_with_clock(&embedded.time.0, &jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filesystem_storage_beside_sqlite_jobs() {
    let (embedded, folder) = (Embedded::new().await, tempfile::tempdir().unwrap());
    let storage = FilesystemStorage::open(folder.path()).unwrap();
    let queues = Topics::each(|topic| embedded.queue(topic.name()));
    let jobs = SqliteJobs::new(embedded.database.clone(), queues, embedded.time.0.clone());
    conformance::binding::run(&storage, &jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_webhooks() {
    let embedded = Embedded::new().await;
    let webhooks = SqliteWebhooks::new(embedded.database.clone(), embedded.time.0.clone());
    conformance::webhooks::run(&embedded.time, &webhooks).await;
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
