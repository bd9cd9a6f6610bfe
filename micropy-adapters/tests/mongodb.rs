//! The ledger against a real mongod: the suite of its port, many processes, and a server that is killed.

#![cfg(feature = "mongodb")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

#[path = "support/manual_time.rs"]
mod manual_time;
#[path = "support/mongod.rs"]
mod mongod;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};
use micropy_adapters::clock::SystemClock;
use micropy_adapters::jobs::mongodb::MongodbJobs;
use micropy_adapters::mongodb::Client;
use micropy_adapters::webhooks::mongodb::MongodbWebhooks;
use micropy_core::ports::conformance::{self, jobs::Queues};
use micropy_core::ports::jobs::{
    Begin, CLAIM_TIME, Created, Error, Filter, Job, JobOutbox, JobViews, Jobs, Message, Outcome,
    Output, State, Topic,
};
use micropy_core::ports::time::ManualClock;
use micropy_core::ports::{Clock, Id};
use mongodb::IndexModel;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};

use manual_time::ManualTime;
use mongod::{Database, Mongod};

const TERM: Duration = Duration::from_secs(30);
const ANN: &str = "ann@example.com";

/// A ledger whose processes are told the time.
struct Ledger {
    time: ManualTime,
    database: Database,
}

impl Ledger {
    async fn new(test: &str) -> Option<Self> {
        Some(Self::of(Database::new(test).await?))
    }

    fn of(database: Database) -> Self {
        Ledger {
            time: ManualTime::new(),
            database,
        }
    }

    /// The ledger as one process has it.
    fn jobs(&self) -> MongodbJobs {
        let database = &self.database;
        MongodbJobs::new(&database.client, &database.name, self.time.0.clone())
    }

    fn job(&self, number: u8) -> Job {
        Job::new(id(number), ANN, id(number + 100), self.time.0.now())
    }

    fn queued(&self, number: u8) -> Job {
        Job {
            state: State::Queued,
            ..self.job(number)
        }
    }
}

fn id(number: u8) -> Id {
    Id::from_bytes([number; 12])
}

fn go() -> Option<Message> {
    Some(Message {
        topic: Topic::Video,
        payload: b"go".to_vec(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_its_port() {
    let Some(ledger) = Ledger::new("jobs_suite").await else {
        return;
    };
    conformance::jobs::run(&ledger.time, &ledger.jobs(), Queues::Owing).await;
    conformance::jobs::run_with_clock(&ledger.time.0, &ledger.jobs()).await;
    let left = ledger.database.direct.collection::<Document>("jobs");
    assert_eq!(left.find_one(doc! {}).await.unwrap(), None);
    ledger.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_beside_it() {
    let Some(ledger) = Ledger::new("webhooks_suite").await else {
        return;
    };
    let (database, clock) = (&ledger.database, ledger.time.0.clone());
    let webhooks = MongodbWebhooks::new(&database.client, &database.name, clock);
    conformance::webhooks::run(&ledger.time, &webhooks).await;
    ledger.database.remove().await;
}

#[cfg(feature = "gridfs")]
#[tokio::test(flavor = "multi_thread")]
async fn beside_gridfs() {
    use micropy_adapters::storage::gridfs::GridfsStorage;

    let Some(ledger) = Ledger::new("jobs_binding").await else {
        return;
    };
    let Some(store) = Database::new("jobs_binding_videos").await else {
        return;
    };
    let storage = GridfsStorage::new(&store.client, &store.name);
    conformance::binding::run(&storage, &ledger.jobs()).await;
    store.remove().await;
    ledger.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_share_it() {
    let Some(ledger) = Ledger::new("jobs_many").await else {
        return;
    };
    // Of one owner, whose jobs do not wait for each other.
    let processes: Vec<_> = (0..4).map(|_| ledger.jobs().in_turn(false)).collect();

    // The first writer of a source wins, whoever it is.
    let same_source = |number| Job {
        source: id(99),
        ..ledger.job(number)
    };
    let twins: Vec<_> = (0..8).map(same_source).collect();
    let created = join_all(
        twins
            .iter()
            .zip(processes.iter().cycle())
            .map(|(job, process)| process.create(job, go())),
    );
    let new = created.await.into_iter().filter(|created| match created {
        Ok(Created::New(owed)) => owed.is_some(),
        Err(Error::Rejected(_)) => false,
        other => panic!("{other:?}"),
    });
    assert_eq!(new.count(), 1);
    let winner = &processes[0].list(ANN, &Filter::default(), 9).await.unwrap()[0];
    processes[0].delete(winner.id).await.unwrap();

    // Every job is begun by one.
    for number in 0..20 {
        let job = ledger.queued(number);
        processes[0].create(&job, go()).await.unwrap();
    }
    let begun = join_all(processes.iter().flat_map(|process| {
        (0..20).map(async |number| process.begin(id(number), TERM).await.unwrap())
    }));
    let started = |begin| match begin {
        Begin::Started(lease, _) => Some(lease),
        _ => None,
    };
    let leases: Vec<_> = begun.await.into_iter().filter_map(started).collect();
    assert_eq!(leases.len(), 20);

    // Every message is given to one, and none gets lost among changes of its job.
    ledger.time.0.advance(CLAIM_TIME + Duration::from_secs(1));
    let (given, _) = tokio::join!(
        join_all(processes.iter().map(|process| process.claim_owed(100))),
        join_all(
            leases
                .iter()
                .map(|lease| processes[1].renew(*lease, TERM, 0.5))
        ),
    );
    let given: Vec<_> = given.into_iter().flat_map(Result::unwrap).collect();
    let distinct: HashSet<_> = given.iter().map(|owed| owed.id).collect();
    assert_eq!((given.len(), distinct.len()), (20, 20));
    let (first, rest) = given.split_at(5);
    let sent: Vec<_> = first.iter().map(|owed| owed.id).collect();
    processes[2].sent(&sent).await.unwrap();
    ledger.time.0.advance(CLAIM_TIME + Duration::from_secs(1));
    let mut again = processes[3].claim_owed(7).await.unwrap();
    assert_eq!(again.len(), 7, "no more than asked for");
    again.extend(processes[0].claim_owed(100).await.unwrap());
    let again: HashSet<_> = again.iter().map(|owed| owed.id).collect();
    assert_eq!(again, rest.iter().map(|owed| owed.id).collect());
    ledger.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_hears_of_other_processes_whatever_their_clocks_say() {
    let Some(ledger) = Ledger::new("jobs_watch").await else {
        return;
    };
    let here = ledger.jobs();
    let an_hour_ago = ledger.time.0.now().minus(Duration::from_secs(3600));
    let late = Arc::new(ManualClock::new(an_hour_ago));
    let there = MongodbJobs::new(&ledger.database.client, &ledger.database.name, late);
    for number in 0..3 {
        here.create(&ledger.queued(number), go()).await.unwrap();
    }
    let mut watchers = [
        here.watch(ANN).await.unwrap(),
        here.watch(ANN).await.unwrap(),
    ];
    let Begin::Started(lease, running) = there.begin(id(0), TERM).await.unwrap() else {
        panic!("it can be begun");
    };
    for watcher in &mut watchers {
        assert_eq!(
            watcher.next().await.unwrap(),
            running,
            "and of nothing before"
        );
    }
    let output = Output {
        mp3: id(50),
        bytes: 1,
        report: "{}".into(),
    };
    there
        .finish(lease, Outcome::Done(output), None)
        .await
        .unwrap();
    there.cancel(id(2)).await.unwrap();
    let [mut first, second] = watchers;
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let job = first.next().await.unwrap();
        seen.insert((job.id, job.state));
    }
    // The turn of the second came when the first was begun.
    let expected = [
        (id(0), State::Done),
        (id(1), State::Queued),
        (id(2), State::Cancelled),
    ];
    assert_eq!(seen, HashSet::from(expected));
    let more = tokio::time::timeout(Duration::from_millis(1200), first.next()).await;
    assert!(more.is_err(), "nothing is told twice");

    // One poller serves both, and ends with the last of them.
    let direct = &ledger.database.direct;
    let profile = direct.collection::<Document>("system.profile");
    direct.run_command(doc! { "profile": 2 }).await.unwrap();
    let polls = async || {
        let finds = doc! { "ns": format!("{}.jobs", direct.name()), "op": "query" };
        profile.count_documents(finds).await.unwrap()
    };
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let two_seconds = polls().await;
    assert!((2..=5).contains(&two_seconds), "{two_seconds} polls");
    drop((first, second));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let at_the_end = polls().await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(polls().await, at_the_end);
    ledger.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reads_all_jobs() {
    let Some(ledger) = Ledger::new("jobs_indexes").await else {
        return;
    };
    let jobs = ledger.jobs();
    for number in 0..50 {
        jobs.create(&ledger.queued(number), go()).await.unwrap();
    }
    let direct = &ledger.database.direct;
    direct.run_command(doc! { "profile": 2 }).await.unwrap();
    let now = ledger.time.0.now();
    let keyed = Job {
        key: Some("k".into()),
        ..ledger.job(60)
    };
    jobs.create(&keyed, None).await.unwrap();
    let page = Filter {
        before: Some(id(9)),
        ..Filter::default()
    };
    assert_eq!(jobs.list(ANN, &page, 3).await.unwrap().len(), 3);
    assert!(jobs.by_mp3(id(7)).await.is_err());
    jobs.referenced(&[id(7), id(107)]).await.unwrap();
    jobs.stale(&[State::Receiving], now, None, 9).await.unwrap();
    jobs.usage("bob@example.com").await.unwrap();
    ledger.time.0.advance(CLAIM_TIME + Duration::from_secs(1));
    let owed = jobs.claim_owed(1).await.unwrap();
    jobs.sent(&[owed[0].id]).await.unwrap();
    drop(jobs.watch("bob@example.com").await.unwrap());
    direct.run_command(doc! { "profile": 0 }).await.unwrap();

    let profile = direct.collection::<Document>("system.profile");
    let of_jobs = doc! { "ns": format!("{}.jobs", direct.name()) };
    let found = profile.find(of_jobs).await.unwrap();
    let found: Vec<_> = found.try_collect().await.unwrap();
    assert!(found.len() >= 10, "{}", found.len());
    for operation in found {
        let plan = operation.get_str("planSummary").unwrap_or_default();
        assert!(!plan.contains("COLLSCAN"), "{operation}");
        let examined = operation.get_i32("docsExamined").unwrap_or(0);
        assert!(examined <= 4, "{examined} documents: {operation}");
    }
    ledger.database.remove().await;
}

/// An index per line, as `state updated _id`.
async fn indexes(ledger: &Ledger) -> Vec<String> {
    let jobs = ledger.database.direct.collection::<Document>("jobs");
    let indexes = jobs.list_indexes().await.unwrap();
    let indexes: Vec<_> = indexes.try_collect().await.unwrap();
    let keys = |index: &IndexModel| index.keys.keys().cloned().collect::<Vec<_>>().join(" ");
    indexes.iter().map(keys).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_ledger_is_upgraded_and_a_newer_one_refused() {
    let Some(ledger) = Ledger::new("jobs_migrations").await else {
        return;
    };
    let direct = &ledger.database.direct;
    let own = direct.collection::<Document>("micropy");
    // As programs without numbered migrations left it.
    ledger.jobs().create(&ledger.queued(1), go()).await.unwrap();
    own.drop().await.unwrap();
    let jobs = direct.collection::<Document>("jobs");
    jobs.drop_index("state_1_updated_1__id_1").await.unwrap();
    let by_state = IndexModel::builder().keys(doc! { "state": 1, "updated": 1 });
    jobs.create_index(by_state.build()).await.unwrap();

    // Two processes that start at once, and one that starts later.
    let (first, second) = (ledger.jobs(), ledger.jobs());
    let (a, b) = tokio::join!(first.get(id(1)), second.get(id(1)));
    let c = ledger.jobs().get(id(1)).await;
    for job in [a, b, c] {
        assert_eq!(job.unwrap().state, State::Queued);
    }
    let indexes = indexes(&ledger).await;
    let there = |keys: &str| indexes.iter().any(|index| index == keys);
    assert!(
        there("state updated _id") && !there("state updated"),
        "{indexes:?}"
    );
    let schema = doc! { "_id": "jobs" };
    let version = own.find_one(schema.clone()).await.unwrap().unwrap();
    assert_eq!(version.get_i64("version").unwrap(), 5);

    let newer = doc! { "$set": { "version": 99 } };
    own.update_one(schema, newer).await.unwrap();
    let process = ledger.jobs();
    let begun = process.begin(id(1), TERM).await.map(drop);
    let deleted = process.delete(id(1)).await.map(drop);
    let listed = process.list(ANN, &Filter::default(), 9).await.map(drop);
    for refused in [begun, deleted, listed] {
        let e = refused.unwrap_err();
        assert!(matches!(e, Error::Backend { .. }), "{e:?}");
        assert!(
            e.to_string().contains("newer version of this program"),
            "{e}"
        );
    }
    assert_eq!(jobs.count_documents(doc! {}).await.unwrap(), 1);
    ledger.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn among_many_processes_every_job_has_its_turn() {
    let Some(ledger) = Ledger::new("jobs_in_turn").await else {
        return;
    };
    let processes: Vec<_> = (0..4).map(|_| ledger.jobs()).collect();
    let queued: Vec<_> = (0..20).map(|number| ledger.queued(number)).collect();
    let work = queued.iter().zip(processes.iter().cycle());
    let created = join_all(work.map(|(job, process)| process.create(job, go()))).await;
    assert!(created.iter().all(Result::is_ok), "{created:?}");
    let waiting = Filter {
        states: vec![State::Queued],
        ..Filter::default()
    };
    let (mut begun, mut most) = (0, 0);
    loop {
        let jobs = processes[0].list(ANN, &waiting, 99).await.unwrap();
        let in_line = jobs.iter().filter(|job| job.requested.is_some());
        let in_line: Vec<_> = in_line.map(|job| job.id).collect();
        if in_line.is_empty() {
            assert_eq!(jobs, [], "nobody has their turn any more");
            break;
        }
        most = most.max(in_line.len());
        begun += in_line.len();
        let work = in_line.iter().zip(processes.iter().cycle());
        join_all(work.map(|(id, process)| process.begin(*id, TERM))).await;
    }
    assert_eq!(begun, 20);
    assert_eq!(most, 1, "one in line at a time");
    ledger.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_nobody_lived_to_give_is_given() {
    let Some(ledger) = Ledger::new("jobs_turns").await else {
        return;
    };
    let jobs = ledger.jobs();
    for number in 1..=3 {
        let created = jobs.create(&ledger.queued(number), go()).await.unwrap();
        let Created::New(owed) = created else {
            panic!("{created:?}")
        };
        assert_eq!(owed.is_some(), number == 1, "the others wait");
        if let Some(owed) = owed {
            jobs.sent(&[owed.id]).await.unwrap();
        }
    }
    // As a process leaves it that died after it had deleted the job in line.
    let direct = ledger.database.direct.collection::<Document>("jobs");
    let first = doc! { "source": ObjectId::from_bytes([101; 12]) };
    direct.delete_one(first).await.unwrap();
    let owed = ledger.jobs().claim_owed(9).await.unwrap();
    assert_eq!(owed.len(), 1, "one of the two that wait");
    assert!(jobs.get(id(2)).await.unwrap().requested.is_some());
    assert_eq!(jobs.get(id(3)).await.unwrap().requested, None);

    // As an older converter leaves it, which does not know of turns.
    let second = doc! { "source": ObjectId::from_bytes([102; 12]) };
    let done = doc! { "$set": { "state": "failed" } };
    direct.update_one(second, done).await.unwrap();
    assert_eq!(ledger.jobs().claim_owed(9).await.unwrap().len(), 1);
    assert!(jobs.get(id(3)).await.unwrap().requested.is_some());
    jobs.delete(id(3)).await.unwrap();

    // Beside an original converter nobody waits.
    let all = ledger.jobs().in_turn(false);
    for number in 4..=5 {
        let created = all.create(&ledger.queued(number), go()).await.unwrap();
        assert!(matches!(created, Created::New(Some(_))), "{created:?}");
    }
    ledger.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_of_one_owner_keeps_no_other_waiting() {
    let Some(ledger) = Ledger::new("jobs_damaged_turns").await else {
        return;
    };
    let jobs = ledger.jobs();
    for (number, owner) in [
        (1, "abe@example.com"),
        (2, "abe@example.com"),
        (3, ANN),
        (4, ANN),
    ] {
        let job = Job {
            owner: owner.into(),
            ..ledger.queued(number)
        };
        jobs.create(&job, go()).await.unwrap();
    }
    let direct = ledger.database.direct.collection::<Document>("jobs");
    let job = |number: u8| doc! { "source": ObjectId::from_bytes([number + 100; 12]) };
    // As a process leaves them that died after it had deleted those in line; then something else damages the other.
    direct.delete_one(job(1)).await.unwrap();
    direct.delete_one(job(3)).await.unwrap();
    let damage = doc! { "$unset": { "state": 1 } };
    direct.update_one(job(2), damage).await.unwrap();
    let owed = ledger.jobs().claim_owed(9).await.unwrap();
    assert_eq!(owed.len(), 1, "hers");
    assert!(jobs.get(id(4)).await.unwrap().requested.is_some());

    // The same for a message that is damaged.
    let kept = doc! { "$set": { "owed.0.topic": "lost" } };
    direct.update_one(job(4), kept).await.unwrap();
    let other = Job {
        owner: "bob@example.com".into(),
        ..ledger.queued(5)
    };
    let created = jobs.create(&other, go()).await.unwrap();
    assert!(matches!(created, Created::New(Some(_))), "{created:?}");
    ledger.time.0.advance(CLAIM_TIME + Duration::from_secs(1));
    let owed = ledger.jobs().claim_owed(9).await.unwrap();
    assert_eq!(owed.len(), 1, "his");
    ledger.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_named() {
    let Some(ledger) = Ledger::new("jobs_damaged").await else {
        return;
    };
    let jobs = ledger.jobs();
    jobs.create(&ledger.queued(1), go()).await.unwrap();
    let direct = ledger.database.direct.collection::<Document>("jobs");
    let one = doc! { "_id": ObjectId::from_bytes(*id(1).as_bytes()) };
    // As an operator's shell writes numbers.
    let counted = doc! { "$set": { "attempts": 2.0, "source_bytes": 7_i32 } };
    direct.update_one(one.clone(), counted).await.unwrap();
    let job = jobs.get(id(1)).await.unwrap();
    assert_eq!((job.attempts, job.source_bytes), (2, 7));
    for damage in [
        doc! { "$set": { "state": "lost" } },
        doc! { "$unset": { "state": 1 } },
    ] {
        direct.update_one(one.clone(), damage).await.unwrap();
        let e = jobs.begin(id(1), TERM).await.unwrap_err();
        assert!(matches!(e, Error::Backend { .. }), "{e:?}");
        let said = e.to_string();
        assert!(
            said.contains("010101010101010101010101") && said.contains("state"),
            "{said}"
        );
    }
    ledger.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_out_of_reach_is_unavailable_soon() {
    let client = Client::open("mongodb://127.0.0.1:1").await.unwrap();
    let jobs = MongodbJobs::new(&client, "micropy", Arc::new(SystemClock));
    let begun = Instant::now();
    let (got, watched) = tokio::join!(jobs.get(id(1)), jobs.watch(ANN));
    assert!(matches!(got, Err(Error::Unavailable(_))), "{got:?}");
    assert!(matches!(watched, Err(Error::Unavailable(_))));
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_waits_for_no_other_watcher() {
    let client = Client::open("mongodb://127.0.0.1:1").await.unwrap();
    let jobs = MongodbJobs::new(&client, "micropy", Arc::new(SystemClock));
    let begun = Instant::now();
    let owners: Vec<String> = (0..5).map(|n| format!("{n}@example.com")).collect();
    let watched = join_all(owners.iter().map(|owner| jobs.watch(owner))).await;
    assert!(watched.iter().all(Result::is_err));
    // One after the other, they would wait for five times as long as the first.
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_watch_at_once_both_hear_of_all() {
    let Some(ledger) = Ledger::new("jobs_watchers").await else {
        return;
    };
    let jobs = ledger.jobs();
    jobs.create(&ledger.job(1), None).await.unwrap();
    let watching = join_all((0..4).map(|_| jobs.watch(ANN))).await;
    jobs.cancel(id(1)).await.unwrap();
    for watched in watching {
        let seen = tokio::time::timeout(Duration::from_secs(20), watched.unwrap().next()).await;
        assert_eq!(seen.unwrap().unwrap().state, State::Cancelled);
    }
    ledger.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_keeps_no_other_from_its_list() {
    let Some(ledger) = Ledger::new("jobs_damaged_lists").await else {
        return;
    };
    let jobs = ledger.jobs();
    for number in 1..=6 {
        jobs.create(&ledger.job(number), None).await.unwrap();
        let message = go().unwrap();
        jobs.enqueue(id(number), message).await.unwrap();
    }
    let mut watcher = jobs.watch(ANN).await.unwrap();
    let direct = ledger.database.direct.collection::<Document>("jobs");
    let one = |number: u8| doc! { "_id": ObjectId::from_bytes(*id(number).as_bytes()) };
    let damage = async |number, damage| {
        let update = doc! { "$set": damage, "$currentDate": { "changed": true } };
        let damaged = direct.update_one(one(number), update).await;
        assert_eq!(damaged.unwrap().matched_count, 1);
    };
    for number in [2, 3, 6] {
        damage(number, doc! { "batch": "lost", "source_bytes": "many" }).await;
    }
    let ids = |jobs: Vec<Job>| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    let listed = jobs.list(ANN, &Filter::default(), 2).await.unwrap();
    assert_eq!(ids(listed), [id(5), id(4)]);
    let listed = jobs.list(ANN, &Filter::default(), 9).await.unwrap();
    assert_eq!(ids(listed), [id(5), id(4), id(1)]);
    let (now, queued) = (ledger.time.0.now().plus(TERM), [State::Queued]);
    let page = jobs.stale(&queued, now, None, 2).await.unwrap();
    assert_eq!(ids(page.clone()), [id(1), id(4)]);
    let page = jobs.stale(&queued, now, page.last(), 2).await.unwrap();
    assert_eq!(ids(page), [id(5)]);
    assert_eq!(jobs.usage(ANN).await.unwrap().jobs, 6);
    // Its owner's others have their turns, and their watchers.
    jobs.begin(id(1), TERM).await.unwrap();
    assert!(jobs.get(id(4)).await.unwrap().requested.is_some());
    let seen = tokio::time::timeout(Duration::from_secs(20), watcher.next()).await;
    assert_eq!(seen.unwrap().unwrap().id, id(1));
    // What it has is not of no job.
    assert!(jobs.get(id(2)).await.is_err());
    let own = [id(102), id(103), id(99)];
    assert_eq!(jobs.referenced(&own).await.unwrap(), [id(102), id(103)]);
    damage(2, doc! { "state": "lost" }).await;
    assert_eq!(jobs.census().await.unwrap().states.len(), 2);
    // One that does not tell what it has may have anything.
    for damaged in [
        doc! { "mp3": "lost" },
        doc! { "source": 7 },
        doc! { "source": Bson::Null },
    ] {
        let process = ledger.jobs();
        damage(3, damaged).await;
        let e = process.referenced(&own).await.unwrap_err().to_string();
        assert!(e.contains("030303030303030303030303"), "{e}");
        let mend =
            doc! { "$set": { "source": ObjectId::from_bytes([103; 12]) }, "$unset": { "mp3": 1 } };
        direct.update_one(one(3), mend).await.unwrap();
    }
    direct
        .update_one(one(3), doc! { "$unset": { "source": 1 } })
        .await
        .unwrap();
    assert!(ledger.jobs().referenced(&own).await.is_err());
    ledger.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_entered_survives_kills() {
    if mongod::url("what_was_entered_survives_kills").is_none() {
        return;
    }
    let mut server = Mongod::start();
    let ledger = Ledger::of(Database::at(&server.url, "jobs_kill").await);
    // Each job is requested at once.
    let jobs = Arc::new(ledger.jobs().in_turn(false));
    let mut entered = Vec::new();
    let mut watcher = jobs.watch(ANN).await.unwrap();
    let listed = async || {
        let all = jobs.list(ANN, &Filter::default(), 1000).await;
        all.unwrap().len()
    };
    for round in 0..3 {
        // Also those whose entering was not answered.
        let before = listed().await;
        // Enters jobs until the server is gone.
        let entering = tokio::spawn({
            let jobs = jobs.clone();
            let batch: Vec<_> = (0..30).map(|n| ledger.queued(round * 30 + n)).collect();
            async move {
                let mut entered = Vec::new();
                for job in batch.iter().cycle() {
                    match jobs.create(job, go()).await {
                        Ok(Created::New(_)) => entered.push(job.id),
                        Err(Error::Rejected(_)) => {}
                        Err(Error::Unavailable(_)) => break,
                        other => panic!("{other:?}"),
                    }
                }
                entered
            }
        });
        while listed().await < before + 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.order("kill");
        entered.extend(entering.await.unwrap());
        server.order("start");
    }
    assert!(entered.len() >= 12, "{}", entered.len());
    for id in &entered {
        assert_eq!(jobs.get(*id).await.unwrap().state, State::Queued);
    }
    ledger.time.0.advance(CLAIM_TIME + Duration::from_secs(1));
    let owed = jobs.claim_owed(1000).await.unwrap();
    let all = jobs.list(ANN, &Filter::default(), 1000).await.unwrap();
    assert_eq!(owed.len(), all.len(), "each job with its message");
    jobs.cancel(entered[0]).await.unwrap();
    loop {
        let seen = tokio::time::timeout(Duration::from_secs(20), watcher.next()).await;
        let job = seen.expect("a watcher outlives the server").unwrap();
        if (job.id, job.state) == (entered[0], State::Cancelled) {
            break;
        }
    }
    server.close();
}
