//! What the sweeper removes, and what it does not.

#![allow(clippy::unwrap_used)] // a test ends where something fails

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use micropy_core::ports::binding::Identity;
use micropy_core::ports::jobs::{Job, Ledger, Message, State, Topic, Turn};
use micropy_core::ports::memory::MemoryJobs;
use micropy_core::ports::storage::{ByteStream, Error, Head, Label, Listing, StorageExt, Upload};
use micropy_core::ports::time::{ManualClock, Timestamp};
use micropy_core::ports::{Id, Storage, binding};
use micropy_services::Ports;
use micropy_services::sweeper::Sweeper;
use tokio_util::sync::CancellationToken;

const ORPHAN: u8 = 1;
const OWNED: u8 = 2;

fn id(byte: u8) -> Id {
    Id::from_bytes([byte; 12])
}

const HOUR: Duration = Duration::from_secs(3600);

/// Ports with a bound store, a two hours old file of no job, and a video of a job as old.
async fn ports() -> (Ports, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
    let ports = Ports::in_memory(clock.clone());
    for store in [&ports.videos, &ports.mp3s] {
        binding::check(&**store, &*ports.jobs, id(50))
            .await
            .unwrap();
    }
    store(&ports, id(ORPHAN)).await;
    accept(&ports, id(9), id(OWNED)).await;
    clock.advance(2 * HOUR);
    (ports, clock)
}

async fn store(ports: &Ports, video: Id) {
    let body = Box::pin(stream::iter([Ok(Bytes::from_static(b"abc"))]));
    let stored = ports.videos.put(video, &Label::default(), body).await;
    stored.unwrap();
}

/// A job that waits for its conversion.
async fn accept(ports: &Ports, job: Id, video: Id) {
    store(ports, video).await;
    let job = Job::new(job, "ann@example.com", video, ports.clock.now());
    ports.jobs.create(&job, None).await.unwrap();
}

/// A resumable upload of which some bytes have arrived.
async fn begin_upload(ports: &Ports, job: Id, video: Id) {
    let job = Job::new(job, "ann@example.com", video, ports.clock.now());
    ports.jobs.create(&job, None).await.unwrap();
    let body = Box::pin(stream::iter([Ok(Bytes::from_static(b"abc"))]));
    ports.videos.append(video, 0, body).await.unwrap();
}

async fn is_paused(ports: &Ports, video: u8) -> bool {
    ports.videos.unfinished(id(video)).await.is_ok()
}

/// Lets time pass, for the sweeper and for the stores alike, in steps that a sweeper would notice.
async fn pass(clock: &ManualClock, time: Duration) {
    let step = Duration::from_secs(60);
    for _ in 0..time.as_secs() / step.as_secs() {
        clock.advance(step);
        tokio::time::sleep(step).await;
    }
}

/// A new sweeper at work for so long.
async fn sweep_for(ports: &Ports, clock: &ManualClock, time: Duration) {
    let shutdown = CancellationToken::new();
    let sweeping = tokio::spawn(Sweeper::new(ports.clone()).run(shutdown.clone()));
    pass(clock, time).await;
    shutdown.cancel();
    sweeping.await.unwrap();
}

async fn is_there(ports: &Ports, video: u8) -> bool {
    ports.videos.head(id(video)).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_file_of_no_job_is_removed_when_it_is_seen_again_hours_later() {
    let (ports, clock) = ports().await;
    sweep_for(&ports, &clock, 5 * HOUR).await;
    assert!(is_there(&ports, ORPHAN).await);
    // Another sweeper has not seen it yet.
    sweep_for(&ports, &clock, 5 * HOUR).await;
    assert!(is_there(&ports, ORPHAN).await);
    sweep_for(&ports, &clock, 7 * HOUR).await;
    assert!(!is_there(&ports, ORPHAN).await);
    assert!(is_there(&ports, OWNED).await);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_leaps_ahead_removes_nothing() {
    let (ports, clock) = ports().await;
    let finished = ports.new_id();
    accept(&ports, finished, id(7)).await;
    ports.jobs.cancel(finished).await.unwrap();
    let shutdown = CancellationToken::new();
    let sweeper = Sweeper::new(ports.clone()).retention(24 * HOUR);
    let sweeping = tokio::spawn(sweeper.run(shutdown.clone()));
    pass(&clock, HOUR).await;
    clock.advance(400 * 24 * HOUR);
    pass(&clock, HOUR).await;
    assert!(is_there(&ports, ORPHAN).await && is_there(&ports, 7).await);
    // Nobody has set it back: the time is as it is.
    pass(&clock, 6 * HOUR).await;
    assert!(!is_there(&ports, ORPHAN).await);
    pass(&clock, 15 * HOUR).await;
    assert!(is_there(&ports, 7).await, "it has not aged a day yet");
    pass(&clock, 2 * HOUR).await;
    assert!(!is_there(&ports, 7).await);
    shutdown.cancel();
    sweeping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_finished_while_the_clock_was_behind_is_kept_for_as_long_as_any() {
    let (ports, clock) = ports().await;
    let sweep_for = async |time| {
        let shutdown = CancellationToken::new();
        let sweeper = Sweeper::new(ports.clone()).retention(72 * HOUR);
        let sweeping = tokio::spawn(sweeper.run(shutdown.clone()));
        pass(&clock, time).await;
        shutdown.cancel();
        sweeping.await.unwrap();
    };
    sweep_for(HOUR).await;
    accept(&ports, id(30), id(31)).await;
    ports.jobs.cancel(id(30)).await.unwrap();
    sweep_for(HOUR).await;
    // The service is stopped, the clock put right, and the service started again. Its first sweeper dies before it takes
    // note of anything.
    clock.advance(400 * 24 * HOUR);
    let died = ports.jobs.lease_sweep(id(77), Duration::ZERO).await;
    assert!(matches!(died, Ok(Turn::Own { .. })), "{died:?}");
    for hours in [7, 20, 20, 20] {
        sweep_for(hours * HOUR).await;
        clock.advance(HOUR / 2);
        assert!(is_there(&ports, 31).await, "after {hours} hours more");
    }
    sweep_for(4 * HOUR).await;
    assert!(!is_there(&ports, 31).await, "its time is over");
    assert!(ports.jobs.get(id(30)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_paused_upload_outlives_a_leap_of_the_clock_and_restarts_meanwhile() {
    let (ports, clock) = ports().await;
    begin_upload(&ports, id(30), id(31)).await;
    // This one is complete. Its process died before it could say so.
    accept(&ports, id(40), id(41)).await;
    sweep_for(&ports, &clock, HOUR).await;
    let shutdown = CancellationToken::new();
    let sweeping = tokio::spawn(Sweeper::new(ports.clone()).run(shutdown.clone()));
    pass(&clock, HOUR).await;
    clock.advance(48 * HOUR);
    pass(&clock, HOUR).await;
    assert!(is_paused(&ports, 31).await);
    let whole = ports.jobs.get(id(40)).await.unwrap();
    assert_eq!(whole.state, State::Queued, "nothing is removed by that");
    shutdown.cancel();
    sweeping.await.unwrap();
    // Whoever is alarmed by the log restarts the service.
    for hours in [1, 10, 10] {
        sweep_for(&ports, &clock, hours * HOUR).await;
        assert!(is_paused(&ports, 31).await, "{hours}");
    }
    // A day has passed in which its owner could have gone on.
    sweep_for(&ports, &clock, 2 * HOUR).await;
    assert!(!is_paused(&ports, 31).await);
    assert!(ports.jobs.get(id(30)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_upload_does_not_grow_older_while_the_service_is_down() {
    for down in [2, 23, 25, 400] {
        let (ports, clock) = ports().await;
        sweep_for(&ports, &clock, HOUR).await;
        begin_upload(&ports, id(30), id(31)).await;
        sweep_for(&ports, &clock, HOUR).await;
        clock.advance(down * HOUR);
        sweep_for(&ports, &clock, HOUR / 2).await;
        sweep_for(&ports, &clock, 22 * HOUR).await;
        assert!(is_paused(&ports, 31).await, "down for {down} hours");
        sweep_for(&ports, &clock, HOUR).await;
        assert!(!is_paused(&ports, 31).await, "down for {down} hours");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_ends_no_doubt_about_the_time() {
    let (ports, clock) = ports().await;
    ports.jobs.cancel(id(9)).await.unwrap();
    let sweep_for = async |time| {
        let shutdown = CancellationToken::new();
        let sweeper = Sweeper::new(ports.clone()).retention(24 * HOUR);
        let sweeping = tokio::spawn(sweeper.run(shutdown.clone()));
        pass(&clock, time).await;
        shutdown.cancel();
        sweeping.await.unwrap();
    };
    // It is an hour too young, which it is no longer after the first hour of the doubt.
    sweep_for(21 * HOUR).await;
    clock.advance(400 * 24 * HOUR);
    for _ in 0..5 {
        sweep_for(HOUR).await;
        assert!(ports.jobs.get(id(9)).await.is_ok());
    }
    sweep_for(2 * HOUR).await;
    assert!(ports.jobs.get(id(9)).await.is_err());
}

/// A store in which something happens while the sweeper looks at it.
struct Meanwhile {
    store: Arc<dyn Storage>,
    jobs: Arc<dyn Ledger>,
    /// When this video is removed, the job is retried.
    retried: Option<(Id, Id)>,
    /// When this video was found unfinished, its last byte arrives, and the job is queued.
    completed: Option<(Id, Id)>,
}

fn again() -> Message {
    Message {
        topic: Topic::Video,
        payload: b"{}".to_vec(),
    }
}

#[async_trait]
impl Storage for Meanwhile {
    async fn append(&self, id: Id, offset: u64, body: Upload) -> Result<u64, Error> {
        self.store.append(id, offset, body).await
    }
    async fn unfinished(&self, id: Id) -> Result<Head, Error> {
        let head = self.store.unfinished(id).await?;
        let is_old = head.written < self.store.now().await?.minus(24 * HOUR);
        if let Some((video, job)) = self.completed
            && (video, is_old) == (id, true)
        {
            self.store.commit(video, &Label::default()).await?;
            self.jobs.enqueue(job, again()).await.unwrap();
        }
        Ok(head)
    }
    async fn commit(&self, id: Id, label: &Label) -> Result<Head, Error> {
        self.store.commit(id, label).await
    }
    async fn get(&self, id: Id, range: Range<u64>) -> Result<ByteStream, Error> {
        self.store.get(id, range).await
    }
    async fn head(&self, id: Id) -> Result<Head, Error> {
        self.store.head(id).await
    }
    async fn delete(&self, id: Id) -> Result<(), Error> {
        if let Some((video, job)) = self.retried
            && video == id
        {
            self.jobs.retry(job, again()).await.unwrap();
        }
        self.store.delete(id).await
    }
    async fn list_older_than(&self, before: Timestamp) -> Result<Listing, Error> {
        self.store.list_older_than(before).await
    }
    async fn now(&self) -> Result<Timestamp, Error> {
        self.store.now().await
    }
    async fn binding(&self) -> Result<Option<Identity>, Error> {
        self.store.binding().await
    }
    async fn bind(&self, previous: Option<Identity>, ledger: Identity) -> Result<(), Error> {
        self.store.bind(previous, ledger).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_its_owner_retries_while_it_is_swept_stays() {
    let (ports, clock) = ports().await;
    for (job, video) in [(30, 31), (40, 41)] {
        accept(&ports, id(job), id(video)).await;
        ports.jobs.cancel(id(job)).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    let watched = Ports {
        videos: Arc::new(Meanwhile {
            store: ports.videos.clone(),
            jobs: ports.jobs.clone(),
            retried: Some((id(31), id(40))),
            completed: None,
        }),
        ..ports.clone()
    };
    let shutdown = CancellationToken::new();
    let sweeper = Sweeper::new(watched).retention(HOUR);
    let sweeping = tokio::spawn(sweeper.run(shutdown.clone()));
    pass(&clock, 2 * HOUR).await;
    shutdown.cancel();
    sweeping.await.unwrap();
    assert!(ports.jobs.get(id(30)).await.is_err(), "its time was over");
    let retried = ports.jobs.get(id(40)).await.unwrap();
    assert_eq!(retried.state, State::Queued);
    assert!(is_there(&ports, 41).await, "its video is needed");
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_last_byte_arrives_while_it_is_swept_stays() {
    let (ports, clock) = ports().await;
    begin_upload(&ports, id(30), id(31)).await;
    sweep_for(&ports, &clock, 23 * HOUR).await;
    assert!(is_paused(&ports, 31).await);
    let watched = Ports {
        videos: Arc::new(Meanwhile {
            store: ports.videos.clone(),
            jobs: ports.jobs.clone(),
            retried: None,
            completed: Some((id(31), id(30))),
        }),
        ..ports.clone()
    };
    sweep_for(&watched, &clock, 2 * HOUR).await;
    let job = ports.jobs.get(id(30)).await.unwrap();
    assert_eq!(job.state, State::Queued);
    assert!(is_there(&ports, 31).await);
}

#[tokio::test(start_paused = true)]
async fn a_search_removes_a_share_of_the_store_at_most() {
    let (ports, clock) = ports().await;
    for number in 0..300_u16 {
        let [high, low] = number.to_be_bytes();
        store(
            &ports,
            Id::from_bytes([9, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        )
        .await;
    }
    clock.advance(2 * HOUR);
    let count = async || {
        let files = ports.videos.list_older_than(Timestamp::MAX).await.unwrap();
        files.count().await
    };
    // Of 302 files, 20 in each half hour from the sixth hour on.
    sweep_for(&ports, &clock, 6 * HOUR + HOUR / 4).await;
    assert_eq!(count().await, 282);
}

#[tokio::test(start_paused = true)]
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
        sweep_for(&misled, &clock, 8 * HOUR).await;
        assert!(is_there(&ports, ORPHAN).await && is_there(&ports, OWNED).await);
        assert!(Sweeper::new(misled).survey().await.is_err());
    }
    sweep_for(&ports, &clock, 7 * HOUR).await;
    assert!(
        !is_there(&ports, ORPHAN).await,
        "its own ledger still serves it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_adopted_is_swept() {
    let (ports, clock) = ports().await;
    let new = Ports {
        jobs: Arc::new(MemoryJobs::new(clock.clone())),
        ..ports
    };
    for store in [&new.videos, &new.mp3s] {
        binding::adopt(&**store, &*new.jobs, id(5)).await.unwrap();
    }
    sweep_for(&new, &clock, 7 * HOUR).await;
    assert!(!is_there(&new, ORPHAN).await && !is_there(&new, OWNED).await);
}

#[tokio::test(start_paused = true)]
async fn a_survey_names_what_would_be_removed_and_removes_nothing() {
    let (ports, clock) = ports().await;
    ports.jobs.cancel(id(9)).await.unwrap();
    begin_upload(&ports, id(30), id(31)).await;
    clock.advance(48 * HOUR);
    begin_upload(&ports, id(32), id(33)).await;
    // One that is complete will be queued.
    accept(&ports, id(40), id(41)).await;
    let sweeper = Sweeper::new(ports.clone()).retention(24 * HOUR);
    let survey = sweeper.survey().await.unwrap();
    assert_eq!(survey.finished, [id(9)]);
    assert_eq!(survey.uploads, [id(30)]);
    assert!(is_paused(&ports, 31).await);
    assert_eq!((survey.videos, survey.mp3s), (vec![id(ORPHAN)], vec![]));
    assert!(is_there(&ports, ORPHAN).await && is_there(&ports, OWNED).await);
}

#[tokio::test(start_paused = true)]
async fn a_survey_leaves_the_ledger_as_it_was() {
    let (ports, _clock) = ports().await;
    let (jobs, videos) = (&ports.jobs, &ports.videos);
    let before = (jobs.identity().await, videos.binding().await);
    Sweeper::new(ports.clone()).survey().await.unwrap();
    let after = (jobs.identity().await, videos.binding().await);
    assert_eq!(after.0.unwrap(), before.0.unwrap());
    assert_eq!(after.1.unwrap(), before.1.unwrap());
}

/// Queues a job whose message is then lost.
async fn lose(ports: &Ports, job: Id) {
    let message = Message {
        topic: Topic::Video,
        payload: b"lost".to_vec(),
    };
    let owed = ports.jobs.enqueue(job, message).await.unwrap();
    let owed = owed.expect("this ledger shares no store with its queues");
    ports.jobs.sent(&[owed.id]).await.unwrap();
}

/// The jobs that are requested in the queue of videos, which is then empty.
async fn requested(ports: &Ports) -> Vec<String> {
    let queue = ports.queues.of(Topic::Video);
    let mut jobs = Vec::new();
    while let Ok(delivery) = tokio::time::timeout(Duration::from_secs(1), queue.receive()).await {
        let delivery = delivery.unwrap();
        let body: serde_json::Value = serde_json::from_slice(delivery.payload()).unwrap();
        jobs.push(body["job_id"].as_str().unwrap().to_owned());
        delivery.ack().await.unwrap();
    }
    jobs
}

#[tokio::test(start_paused = true)]
async fn of_many_sweepers_one_requests_a_lost_job_again() {
    let (ports, clock) = ports().await;
    lose(&ports, id(9)).await;
    clock.advance(2 * HOUR);
    let shutdown = CancellationToken::new();
    let sweepers = [0, 1].map(|_| {
        let sweeper = Sweeper::new(ports.clone());
        tokio::spawn(sweeper.run(shutdown.clone()))
    });
    pass(&clock, Duration::from_secs(5 * 60)).await;
    assert_eq!(requested(&ports).await, [id(9).to_string()], "once");
    // One gives its lease to the other, and then a third begins: neither knows what the first has asked.
    shutdown.cancel();
    for sweeper in sweepers {
        sweeper.await.unwrap();
    }
    sweep_for(&ports, &clock, Duration::from_secs(4 * 60)).await;
    assert_eq!(requested(&ports).await, [""; 0]);
    // That message was lost, too: the next is asked for after twice the time.
    sweep_for(&ports, &clock, Duration::from_secs(8 * 60)).await;
    assert_eq!(requested(&ports).await, [""; 0]);
    sweep_for(&ports, &clock, Duration::from_secs(6 * 60)).await;
    assert_eq!(requested(&ports).await, [id(9).to_string()]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_job_keeps_the_others_of_its_owner_waiting_until_it_is_begun() {
    let (ports, clock) = ports().await;
    lose(&ports, id(9)).await;
    let next = Job::new(id(10), "ann@example.com", id(11), ports.clock.now());
    ports.jobs.create(&next, None).await.unwrap();
    let message = Message {
        topic: Topic::Video,
        payload: format!(r#"{{"job_id":"{}"}}"#, id(10)).into_bytes(),
    };
    let waits = ports.jobs.enqueue(id(10), message).await.unwrap();
    assert_eq!(waits, None, "its owner has a job in line");
    sweep_for(&ports, &clock, Duration::from_secs(9 * 60)).await;
    assert_eq!(
        requested(&ports).await,
        [""; 0],
        "it may still be in the queue"
    );
    sweep_for(&ports, &clock, Duration::from_secs(3 * 60)).await;
    assert_eq!(requested(&ports).await, [id(9).to_string()]);
    let owed = ports.jobs.claim_owed(9).await.unwrap();
    assert_eq!(owed, [], "a converter may only have been away");
    ports.jobs.begin(id(9), HOUR).await.unwrap();
    let owed = ports.jobs.claim_owed(9).await.unwrap();
    assert_eq!(owed.len(), 1, "the next has come to its turn");
}

#[tokio::test(start_paused = true)]
async fn while_no_converter_is_there_one_job_of_each_owner_is_requested_and_ever_more_rarely() {
    let (ports, clock) = ports().await;
    for number in 100..150 {
        let video = id(number + 100);
        let job = Job::new(id(number), "ann@example.com", video, ports.clock.now());
        store(&ports, video).await;
        ports.jobs.create(&job, None).await.unwrap();
        let message = Message {
            topic: Topic::Video,
            payload: format!(r#"{{"job_id":"{}"}}"#, job.id).into_bytes(),
        };
        let owed = ports.jobs.enqueue(job.id, message).await.unwrap();
        ports.try_send(owed).await;
    }
    let first = id(100).to_string();
    sweep_for(&ports, &clock, HOUR).await;
    ports.send_owed().await.unwrap();
    // After 10 minutes, and after 20 more.
    assert_eq!(requested(&ports).await, vec![first.clone(); 3]);
    sweep_for(&ports, &clock, 23 * HOUR).await;
    ports.send_owed().await.unwrap();
    let more = requested(&ports).await;
    assert!((2..=6).contains(&more.len()), "{}", more.len());
    assert!(more.iter().all(|job| *job == first), "{more:?}");
}

#[tokio::test(start_paused = true)]
async fn beside_an_original_converter_only_what_was_passed_by_is_requested_again() {
    let (ports, clock) = ports().await;
    let sweep = async || {
        let shutdown = CancellationToken::new();
        let sweeper = Sweeper::new(ports.clone()).original_converters(true);
        let sweeping = tokio::spawn(sweeper.run(shutdown.clone()));
        pass(&clock, 2 * HOUR).await;
        shutdown.cancel();
        sweeping.await.unwrap();
        requested(&ports).await
    };
    lose(&ports, id(9)).await;
    assert_eq!(sweep().await, [""; 0], "an original converter may have it");
    // Somebody who reports to the ledger takes the messages.
    accept(&ports, id(20), id(21)).await;
    let later = Job {
        owner: "bob@example.com".into(),
        ..Job::new(id(22), "", id(23), ports.clock.now())
    };
    ports.jobs.create(&later, None).await.unwrap();
    lose(&ports, id(22)).await;
    ports.jobs.begin(id(22), HOUR).await.unwrap();
    let asked = sweep().await;
    assert!(asked.contains(&id(9).to_string()), "{asked:?}");
}
