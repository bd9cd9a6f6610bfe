//! Mails about finished jobs.

#![allow(clippy::unwrap_used)] // a test ends where something fails

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use micropy_core::ports::jobs::{
    Begin, Job, Lease, Message, Notice, Outcome, Output, State, Topic,
};
use micropy_core::ports::memory::MemoryQueue;
use micropy_core::ports::notifier::{Error, Notification, Notifier};
use micropy_core::ports::queue::DeadLetters as _;
use micropy_core::ports::time::{ManualClock, Timestamp};
use micropy_core::ports::{Clock as _, Id, Queue as _};
use micropy_services::Ports;
use micropy_services::notification::NotificationService;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const TERM: Duration = Duration::from_secs(30);

fn id(byte: u8) -> Id {
    Id::from_bytes([byte; 12])
}

/// A mail server that takes its time.
#[derive(Default)]
struct SlowServer(Mutex<Vec<Notification>>);

#[async_trait]
impl Notifier for SlowServer {
    async fn notify(&self, notification: &Notification) -> Result<(), Error> {
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.0.lock().unwrap().push(notification.clone());
        Ok(())
    }
}

/// A mail server that accepts a connection and says nothing any more.
#[derive(Default)]
struct HangingServer(Notify);

#[async_trait]
impl Notifier for HangingServer {
    async fn notify(&self, _: &Notification) -> Result<(), Error> {
        self.0.notify_one();
        std::future::pending().await
    }
}

/// Two notification services at work for five minutes: the subjects of their mails.
async fn mails(ports: &Ports, clock: &ManualClock) -> Vec<String> {
    let (server, shutdown) = (Arc::new(SlowServer::default()), CancellationToken::new());
    let services = [(); 2].map(|()| {
        let service =
            NotificationService::new(ports.clone(), server.clone(), "https://example.com");
        tokio::spawn(service.run(shutdown.clone()))
    });
    for _ in 0..300 {
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Wakes the receivers of this queue, which has no clock of its own.
        let empty = ports.queues.of(Topic::Mp3).publish(b"{}".to_vec());
        empty.await.unwrap();
    }
    shutdown.cancel();
    // One that still ran would take the messages of those that are started next.
    for service in services {
        service.await.unwrap();
    }
    let mails = server.0.lock().unwrap();
    mails.iter().map(|mail| mail.subject.clone()).collect()
}

fn ports() -> (Ports, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
    (Ports::in_memory(clock.clone()), clock)
}

/// A job that somebody works on.
async fn begun(ports: &Ports) -> Lease {
    let job = Job {
        state: State::Queued,
        ..Job::new(id(1), "ann@example.com", id(2), ports.clock.now())
    };
    ports.jobs.create(&job, None).await.unwrap();
    begin(ports).await
}

async fn begin(ports: &Ports) -> Lease {
    match ports.jobs.begin(id(1), TERM).await.unwrap() {
        Begin::Started(lease, _) => lease,
        other => panic!("{other:?}"),
    }
}

async fn finish(ports: &Ports, lease: Lease) {
    let done = Outcome::Done(Output {
        mp3: id(3),
        bytes: 1,
        report: "{}".into(),
    });
    ports.jobs.finish(lease, done, None).await.unwrap();
}

async fn publish(ports: &Ports, topic: Topic, failure: Option<&str>) {
    let body = json!({
        "video_fid": id(2).to_string(),
        "mp3_fid": failure.is_none().then(|| id(3).to_string()),
        "username": "ann@example.com",
        "job_id": id(1).to_string(),
        "failure": failure,
    });
    let queue = ports.queues.of(topic);
    queue.publish(body.to_string().into_bytes()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_twice_is_one_mail_of_two_services() {
    let (ports, clock) = ports();
    let lease = begun(&ports).await;
    finish(&ports, lease).await;
    for _ in 0..3 {
        publish(&ports, Topic::Mp3, None).await;
    }
    assert_eq!(mails(&ports, &clock).await, ["MP3 Download"]);
    let job = ports.jobs.get(id(1)).await.unwrap();
    assert!(job.notified.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_mail_server_that_hangs_keeps_no_service_from_stopping() {
    const GRACE: Duration = Duration::from_secs(10);
    let (ports, _clock) = ports();
    let lease = begun(&ports).await;
    finish(&ports, lease).await;
    publish(&ports, Topic::Mp3, None).await;
    let (server, shutdown) = (Arc::new(HangingServer::default()), CancellationToken::new());
    let service = NotificationService::new(ports.clone(), server.clone(), "https://example.com");
    let running = tokio::spawn(service.grace(GRACE).run(shutdown.clone()));
    server.0.notified().await;
    shutdown.cancel();
    let stopped = timeout(GRACE, running).await;
    stopped.expect("within its grace period").unwrap();
    let again = ports.queues.of(Topic::Mp3).receive();
    let again = timeout(Duration::from_secs(1), again).await;
    let again = again.expect("the message is back").unwrap();
    again.ack().await.unwrap();
    let notice = ports.jobs.begin_notification(id(1), id(77), TERM).await;
    assert_eq!(notice.unwrap(), Notice::Yours, "and so is the claim");
}

#[tokio::test(start_paused = true)]
async fn who_has_deleted_a_job_hears_no_more_of_it() {
    let (ports, clock) = ports();
    let lease = begun(&ports).await;
    finish(&ports, lease).await;
    publish(&ports, Topic::Mp3, None).await;
    publish(&ports, Topic::Failed, Some("no audio")).await;
    ports.jobs.delete(id(1)).await.unwrap();
    assert_eq!(mails(&ports, &clock).await, [""; 0]);
    // An original gateway's job is in no ledger.
    let original = json!({
        "video_fid": id(2).to_string(),
        "mp3_fid": id(3).to_string(),
        "username": "ann@example.com",
    });
    let queue = ports.queues.of(Topic::Mp3);
    let published = queue.publish(original.to_string().into_bytes()).await;
    published.unwrap();
    assert_eq!(mails(&ports, &clock).await, ["MP3 Download"]);
}

#[tokio::test(start_paused = true)]
async fn who_has_retried_a_job_hears_how_that_ends() {
    let (ports, clock) = ports();
    let lease = begun(&ports).await;
    let failed = Outcome::Failed("no audio".into());
    ports.jobs.finish(lease, failed, None).await.unwrap();
    // Its mail is late.
    publish(&ports, Topic::Failed, Some("no audio")).await;
    let again = Message {
        topic: Topic::Video,
        payload: b"again".to_vec(),
    };
    ports.jobs.retry(id(1), again).await.unwrap();
    let lease = begin(&ports).await;
    finish(&ports, lease).await;
    publish(&ports, Topic::Mp3, None).await;
    assert_eq!(mails(&ports, &clock).await, ["MP3 Download"]);
}

#[tokio::test(start_paused = true)]
async fn a_mail_about_an_account_that_comes_too_late_is_no_dead_letter() {
    let (mut ports, clock) = ports();
    let failed = Arc::new(MemoryQueue::new(clock.clone()));
    ports.queues.failed = failed.clone();
    let mail = |until: Timestamp| {
        let code = json!({"purpose": "reset", "code": "x.y", "until": until.as_millis()});
        let body = json!({"video_fid": "", "mp3_fid": null, "username": "ann@example.com", "account": code});
        failed.publish(body.to_string().into_bytes())
    };
    let hour = Duration::from_secs(3600);
    mail(clock.now().minus(hour)).await.unwrap();
    mail(clock.now().plus(hour)).await.unwrap();
    let subjects = mails(&ports, &clock).await;
    assert_eq!(subjects.len(), 1, "{subjects:?}");
    assert_eq!(failed.dead_letters(9).await.unwrap(), []);
}
