//! SQLite databases of older and newer programs.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use micropy_adapters::auth::sqlite::SqliteAuth;
use micropy_adapters::clock::SystemClock;
use micropy_adapters::jobs::sqlite::SqliteJobs;
use micropy_adapters::queue::sqlite::SqliteQueue;
use micropy_adapters::sqlite::Database;
use micropy_core::ports::auth::Role;
use micropy_core::ports::jobs::{Error, Filter, Job, Message, State, Topic, Topics};
use micropy_core::ports::{Auth, Clock as _, Id, JobViews, Jobs, LedgerIdentity, Queue};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tempfile::TempDir;

/// The schema number of this program.
const NEWEST: i64 = 11;

fn id(byte: u8) -> Id {
    Id::from_bytes([byte; 12])
}

/// A database as a program of schema number 1 left it.
async fn old(folder: &TempDir) -> (PathBuf, SqlitePool) {
    let path = folder.path().join("micropy.db");
    let pool = open(&path).await;
    let dump = include_str!("sqlite/version-1.sql");
    sqlx::raw_sql(dump).execute(&pool).await.unwrap();
    (path, pool)
}

async fn open(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path);
    SqlitePool::connect_with(options.create_if_missing(true))
        .await
        .unwrap()
}

async fn version(pool: &SqlitePool) -> i64 {
    let version = sqlx::query_scalar("PRAGMA user_version");
    version.fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_database_is_upgraded_with_all_that_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, pool) = old(&folder).await;
    pool.close().await;
    for generation in 1..=2 {
        let database = Database::open(&path).await.unwrap();
        let clock = Arc::new(SystemClock);
        let queues =
            Topics::each(|topic| SqliteQueue::new(database.clone(), topic.name(), clock.clone()));
        let jobs = SqliteJobs::new(database.clone(), queues.clone(), clock);
        let job = jobs.get(id(1)).await.unwrap();
        assert_eq!((job.state, &*job.file_name), (State::Done, "talk.mp4"));
        assert_eq!(jobs.by_mp3(id(3)).await.unwrap(), job);
        assert_eq!((job.outages, job.deliveries), (0, job.attempts));
        assert_eq!((job.retries, job.repeats), (0, 0));
        assert_eq!(
            (job.fingerprint, job.origin, job.requested),
            (None, None, None)
        );
        assert_eq!(job.announced, None);
        let identity = jobs.advance(id(9)).await.unwrap();
        assert_eq!((identity.ledger, identity.generation), (id(9), generation));
        let users = SqliteAuth::new(database.clone());
        let ann = users.authenticate("ann@example.com", "secret").await;
        let ann = ann.unwrap();
        assert_eq!((ann.id.len(), ann.is_verified), (24, true));
        assert_eq!((ann.role, ann.is_disabled), (Role::User, false));
        let delivery = queues.video.receive().await.unwrap();
        assert_eq!(delivery.payload(), br#"{"job_id":"01"}"#);
        delivery.retry(std::time::Duration::ZERO).await.unwrap();
        database.close().await;
    }
    let pool = open(&path).await;
    assert_eq!(version(&pool).await, NEWEST);
    let dead: i64 = sqlx::query_scalar("SELECT count(*) FROM dead_letters")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(dead, 1);
}

#[tokio::test]
async fn what_opens_it_beside_a_service_upgrades_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.db");
    assert!(Database::open_beside(&missing).await.unwrap().is_none());
    assert!(!missing.exists());
    let (path, pool) = old(&folder).await;
    assert!(Database::open_beside(&path).await.unwrap().is_none());
    assert_eq!(version(&pool).await, 1);
    Database::open(&path).await.unwrap().close().await;
    let beside = Database::open_beside(&path).await.unwrap();
    beside.expect("it is as new as this program").close().await;
    let newer = format!("PRAGMA user_version = {}", NEWEST + 1);
    let newer = sqlx::AssertSqlSafe(newer);
    sqlx::raw_sql(newer).execute(&pool).await.unwrap();
    let e = Database::open_beside(&path).await.unwrap_err().to_string();
    assert!(e.contains("newer version of this program"), "{e}");
}

#[tokio::test]
async fn a_new_database_has_the_newest_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("micropy.db");
    Database::open(&path).await.unwrap().close().await;
    assert_eq!(version(&open(&path).await).await, NEWEST);
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (path, pool) = old(&folder).await;
    for newer in [NEWEST + 1, -1] {
        let set = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {newer}"));
        sqlx::raw_sql(set).execute(&pool).await.unwrap();
        let e = Database::open(&path).await.unwrap_err().to_string();
        assert!(e.contains("newer version of this program"), "{e}");
        assert!(e.contains("micropy.db"), "{e}");
        assert_eq!(version(&pool).await, newer);
    }
}

#[tokio::test]
async fn a_migration_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, pool) = old(&folder).await;
    // In the way of the second migration.
    let obstacle = "CREATE TABLE ledger (other TEXT)";
    sqlx::raw_sql(obstacle).execute(&pool).await.unwrap();
    assert!(Database::open(&path).await.is_err());
    assert_eq!(version(&pool).await, 1);
}

#[tokio::test]
async fn a_damaged_job_keeps_no_other_from_its_list() {
    const ANN: &str = "ann@example.com";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("micropy.db");
    let database = Database::open(&path).await.unwrap();
    let ledger = || {
        let clock = Arc::new(SystemClock);
        let queue = |topic: Topic| SqliteQueue::new(database.clone(), topic.name(), clock.clone());
        SqliteJobs::new(database.clone(), Topics::each(queue), clock.clone())
    };
    let jobs = ledger();
    for number in 1..=6 {
        let job = Job::new(id(number), ANN, id(number + 100), SystemClock.now());
        jobs.create(&job, None).await.unwrap();
        let message = Message {
            topic: Topic::Video,
            payload: b"go".to_vec(),
        };
        jobs.enqueue(job.id, message).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let pool = open(&path).await;
    let damage = async |number: u8, damage: &'static str| {
        let update = format!("UPDATE jobs SET {damage} WHERE id = ?");
        let update = sqlx::query(sqlx::AssertSqlSafe(update));
        let damaged = update.bind([number; 12].to_vec()).execute(&pool).await;
        assert_eq!(damaged.unwrap().rows_affected(), 1);
    };
    for number in [2, 3, 6] {
        damage(number, "batch = x'00'").await;
    }
    let ids = |jobs: Vec<Job>| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    let listed = jobs.list(ANN, &Filter::default(), 2).await.unwrap();
    assert_eq!(ids(listed), [id(5), id(4)]);
    let listed = jobs.list(ANN, &Filter::default(), 9).await.unwrap();
    assert_eq!(ids(listed), [id(5), id(4), id(1)]);
    let (now, queued) = (
        SystemClock.now().plus(Duration::from_secs(1)),
        [State::Queued],
    );
    let page = jobs.stale(&queued, now, None, 2).await.unwrap();
    assert_eq!(ids(page.clone()), [id(1), id(4)]);
    let page = jobs.stale(&queued, now, page.last(), 2).await.unwrap();
    assert_eq!(ids(page), [id(5)]);
    // Its owner's others have their turns.
    jobs.begin(id(1), Duration::from_secs(9)).await.unwrap();
    assert!(jobs.get(id(4)).await.unwrap().requested.is_some());
    // What it has is not of no job.
    assert!(jobs.get(id(2)).await.is_err());
    let own = [id(102), id(103), id(99)];
    assert_eq!(jobs.referenced(&own).await.unwrap(), [id(102), id(103)]);
    damage(
        2,
        "mp3 = x'020202020202020202020202', mp3_bytes = 1, report = '{}'",
    )
    .await;
    assert!(!matches!(
        jobs.by_mp3(id(2)).await,
        Ok(_) | Err(Error::NotFound)
    ));
    damage(2, "state = 'lost'").await;
    assert_eq!(jobs.census().await.unwrap().states.len(), 2);
    // One that does not tell what it has may have anything.
    for damaged in ["mp3 = x'00'", "source = x''"] {
        damage(3, damaged).await;
        let e = ledger().referenced(&own).await.unwrap_err().to_string();
        assert!(e.contains("030303030303030303030303"), "{e}");
        damage(3, "mp3 = NULL").await;
    }
    database.close().await;
}

#[tokio::test]
async fn what_is_cancelled_or_deleted_leaves_no_message_in_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("micropy.db");
    let database = Database::open(&path).await.unwrap();
    let clock = Arc::new(SystemClock);
    let queues =
        Topics::each(|topic| SqliteQueue::new(database.clone(), topic.name(), clock.clone()));
    let jobs = SqliteJobs::new(database.clone(), queues.clone(), clock.clone());
    let message = |job: Id, file_name: &str| {
        let body = format!(r#"{{"job_id":"{job}","file_name":{file_name:?}}}"#);
        Message {
            topic: Topic::Video,
            payload: body.into_bytes(),
        }
    };
    let create = async |byte: u8, owner: &str, file_name: &str| {
        let job = Job {
            state: State::Queued,
            ..Job::new(id(byte), owner, id(byte + 100), SystemClock.now())
        };
        let created = jobs.create(&job, Some(message(job.id, file_name))).await;
        created.unwrap();
    };
    let pool = open(&path).await;
    let waiting = async || -> Vec<Vec<u8>> {
        let select = sqlx::query_scalar("SELECT payload FROM messages ORDER BY id");
        select.fetch_all(&pool).await.unwrap()
    };
    create(1, "ann@example.com", "a.mp4").await;
    // Whose name is what the other's message says of its job.
    create(2, "bob@example.com", &format!("\"{}\"", id(1))).await;
    let bobs = waiting().await.pop().unwrap();
    for _ in 0..20 {
        jobs.cancel(id(1)).await.unwrap();
        assert_eq!(waiting().await, std::slice::from_ref(&bobs));
        let again = jobs.retry(id(1), message(id(1), "a.mp4")).await;
        again.unwrap();
    }
    assert_eq!(waiting().await.len(), 2);
    jobs.delete(id(1)).await.unwrap();
    for _ in 0..20 {
        create(1, "ann@example.com", "a.mp4").await;
        jobs.delete(id(1)).await.unwrap();
    }
    assert_eq!(waiting().await, std::slice::from_ref(&bobs));
    // One that is being received can still be settled.
    create(1, "eve@example.com", "a.mp4").await;
    let first = queues.video.receive().await.unwrap();
    let delivery = queues.video.receive().await.unwrap();
    assert!(first.payload() == bobs && delivery.payload() != bobs);
    jobs.cancel(id(1)).await.unwrap();
    delivery.ack().await.unwrap();
    first.ack().await.unwrap();
    assert_eq!(waiting().await, [[0; 0]; 0]);
}
