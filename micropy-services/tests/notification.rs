//! Mails about finished jobs.

#![allow(clippy::unwrap_used)] // a test ends where something fails

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use micropy_core::ports::jobs::{
    Begin, Job, Lease, Message, Notice, Outcome, Output, State, Topic,
};
use micropy_core::ports::memory::MemoryQueue;
use micropy_core::ports::notifier::{Error, Notification, Notifier, SigningSecret};
use micropy_core::ports::queue::DeadLetters as _;
use micropy_core::ports::time::{ManualClock, Timestamp};
use micropy_core::ports::webhooks::{self, Deliveries, Delivery, Endpoint, Endpoints, Outgoing};
use micropy_core::ports::{Clock as _, Id, Queue as _, Webhooks};
use micropy_services::Ports;
use micropy_services::notification::NotificationService;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

const TERM: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

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

/// A mail server whose connections end half a minute later, without a word.
struct SilentServer;

#[async_trait]
impl Notifier for SilentServer {
    async fn notify(&self, _: &Notification) -> Result<(), Error> {
        tokio::time::sleep(30 * SECOND).await;
        Err(Error::Unavailable("timed out".into()))
    }
}

/// Endpoints of webhooks that answer as they are told: what they are sent, and when.
#[derive(Default)]
struct Programs {
    calls: Mutex<Vec<(Instant, Notification)>>,
    away: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl Notifier for Programs {
    async fn notify(&self, notification: &Notification) -> Result<(), Error> {
        let call = (Instant::now(), notification.clone());
        self.calls.lock().unwrap().push(call);
        let is_away = |url: &&str| notification.to == **url;
        match self.away.lock().unwrap().iter().any(is_away) {
            true => Err(Error::Unavailable("status 503".into())),
            false => Ok(()),
        }
    }
}

impl Programs {
    /// The URLs that were called, in order.
    fn called(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        calls.iter().map(|(_, call)| call.to.clone()).collect()
    }
}

/// A mail server that is away.
struct AwayServer;

#[async_trait]
impl Notifier for AwayServer {
    async fn notify(&self, _: &Notification) -> Result<(), Error> {
        Err(Error::Unavailable("connection refused".into()))
    }
}

/// Webhooks of which nothing can be planned so many times.
struct Damaged {
    webhooks: Arc<dyn Webhooks>,
    times: AtomicU32,
}

#[async_trait]
impl Endpoints for Damaged {
    async fn add_endpoint(&self, endpoint: &Endpoint) -> Result<Endpoint, webhooks::Error> {
        self.webhooks.add_endpoint(endpoint).await
    }
    async fn endpoint(&self, id: Id) -> Result<Endpoint, webhooks::Error> {
        self.webhooks.endpoint(id).await
    }
    async fn endpoints(&self, owner: &str) -> Result<Vec<Endpoint>, webhooks::Error> {
        self.webhooks.endpoints(owner).await
    }
    async fn remove_endpoint(&self, owner: &str, id: Id) -> Result<(), webhooks::Error> {
        self.webhooks.remove_endpoint(owner, id).await
    }
    async fn remove_owner(&self, owner: &str) -> Result<(), webhooks::Error> {
        self.webhooks.remove_owner(owner).await
    }
}

#[async_trait]
impl Deliveries for Damaged {
    async fn plan(&self, deliveries: &[Outgoing], most: usize) -> Result<(), webhooks::Error> {
        let left = self
            .times
            .fetch_update(Relaxed, Relaxed, |times| times.checked_sub(1));
        match left {
            Ok(_) => Err(webhooks::Error::Backend {
                adapter: "a test",
                cause: "it is damaged".into(),
            }),
            Err(_) => self.webhooks.plan(deliveries, most).await,
        }
    }
    async fn claim_due(
        &self,
        except: &[String],
        term: Duration,
    ) -> Result<Option<Outgoing>, webhooks::Error> {
        self.webhooks.claim_due(except, term).await
    }
    async fn settle(&self, claimed: &Delivery) -> Result<(), webhooks::Error> {
        self.webhooks.settle(claimed).await
    }
    async fn deliveries(
        &self,
        owner: &str,
        job: Option<Id>,
        before: Option<Id>,
        limit: usize,
    ) -> Result<Vec<Delivery>, webhooks::Error> {
        self.webhooks.deliveries(owner, job, before, limit).await
    }
    async fn resend(&self, owner: &str, id: Id, most: usize) -> Result<Delivery, webhooks::Error> {
        self.webhooks.resend(owner, id, most).await
    }
    async fn remove_deliveries(&self, owner: &str, job: Id) -> Result<(), webhooks::Error> {
        self.webhooks.remove_deliveries(owner, job).await
    }
    async fn forget_deliveries(&self, before: Timestamp) -> Result<(), webhooks::Error> {
        self.webhooks.forget_deliveries(before).await
    }
}

/// Two notification services at work for five minutes: the subjects of their mails.
async fn mails(ports: &Ports, clock: &ManualClock) -> Vec<String> {
    work(ports, clock, &Arc::default(), SECOND, 300).await
}

/// The same for so many steps of time, with webhooks.
async fn work(
    ports: &Ports,
    clock: &ManualClock,
    programs: &Arc<Programs>,
    step: Duration,
    steps: u32,
) -> Vec<String> {
    let (server, shutdown) = (Arc::new(SlowServer::default()), CancellationToken::new());
    let services = [(); 2].map(|()| {
        let service =
            NotificationService::new(ports.clone(), server.clone(), "https://example.com")
                .webhooks(programs.clone());
        tokio::spawn(service.run(shutdown.clone()))
    });
    for _ in 0..steps {
        clock.advance(step);
        tokio::time::sleep(step).await;
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

async fn add_webhook(ports: &Ports, byte: u8, owner: &str, url: Option<&str>) {
    let endpoint = Endpoint {
        id: id(byte),
        owner: owner.into(),
        url: url.map(Into::into),
        secret: SigningSecret::new(format!("whsec_{byte}")),
        created: ports.clock.now(),
    };
    ports.webhooks.add_endpoint(&endpoint).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_twice_calls_each_webhook_once() {
    let (ports, clock) = ports();
    add_webhook(&ports, 10, "ann@example.com", Some("https://one")).await;
    add_webhook(&ports, 11, "ann@example.com", Some("https://two")).await;
    add_webhook(&ports, 12, "bob@example.com", Some("https://bob")).await;
    add_webhook(&ports, 13, "ann@example.com", None).await;
    let lease = begun(&ports).await;
    finish(&ports, lease).await;
    for _ in 0..3 {
        publish(&ports, Topic::Mp3, None).await;
    }
    let programs = Arc::default();
    assert_eq!(work(&ports, &clock, &programs, SECOND, 60).await.len(), 1);
    let mut called = programs.called();
    called.sort();
    assert_eq!(called, ["https://one", "https://two"], "the job names none");
    let calls = programs.calls.lock().unwrap();
    assert_ne!(calls[0].1.key, calls[1].1.key);
    for (_, call) in &*calls {
        assert_eq!(call.subject, "job.done");
        let told: serde_json::Value = serde_json::from_str(&call.text).unwrap();
        assert_eq!(told["type"], "job.done");
        assert_eq!(told["data"]["id"], id(1).to_string());
        let url = format!("https://example.com/api/v1/jobs/{}/mp3", id(1));
        assert_eq!(told["data"]["mp3"]["url"], url);
        assert!(call.secret.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_a_job_names_is_told_to_no_other() {
    let (ports, clock) = ports();
    add_webhook(&ports, 10, "ann@example.com", Some("https://all")).await;
    add_webhook(&ports, 13, "ann@example.com", None).await;
    let job = Job {
        state: State::Queued,
        options: r#"{"bitrate":96,"webhook":"https://job/path?token=s"}"#.into(),
        ..Job::new(id(1), "ann@example.com", id(2), ports.clock.now())
    };
    ports.jobs.create(&job, None).await.unwrap();
    let lease = begin(&ports).await;
    finish(&ports, lease).await;
    publish(&ports, Topic::Mp3, None).await;
    let programs = Arc::default();
    work(&ports, &clock, &programs, SECOND, 30).await;
    let mut called = programs.called();
    called.sort();
    assert_eq!(called, ["https://all", "https://job/path?token=s"]);
    for (_, call) in &*programs.calls.lock().unwrap() {
        assert!(!call.text.contains("https://job"), "{}", call.text);
        let told: serde_json::Value = serde_json::from_str(&call.text).unwrap();
        assert_eq!(told["data"]["options"], json!({"bitrate": 96}));
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_names_a_webhook_is_announced_there_and_each_end_once() {
    let (ports, clock) = ports();
    add_webhook(&ports, 13, "ann@example.com", None).await;
    let job = Job {
        state: State::Queued,
        options: r#"{"webhook":"https://job?order=7"}"#.into(),
        ..Job::new(id(1), "ann@example.com", id(2), ports.clock.now())
    };
    ports.jobs.create(&job, None).await.unwrap();
    let lease = begin(&ports).await;
    let failed = Outcome::Failed("no audio".into());
    ports.jobs.finish(lease, failed, None).await.unwrap();
    publish(&ports, Topic::Failed, Some("no audio")).await;
    let programs = Arc::default();
    work(&ports, &clock, &programs, SECOND, 30).await;
    let again = Message {
        topic: Topic::Video,
        payload: b"again".to_vec(),
    };
    ports.jobs.retry(id(1), again).await.unwrap();
    let lease = begin(&ports).await;
    finish(&ports, lease).await;
    publish(&ports, Topic::Mp3, None).await;
    work(&ports, &clock, &programs, SECOND, 30).await;
    let calls = programs.calls.lock().unwrap();
    let events: Vec<_> = calls.iter().map(|(_, call)| &*call.subject).collect();
    assert_eq!(events, ["job.failed", "job.done"]);
    assert!(
        calls
            .iter()
            .all(|(_, call)| call.to == "https://job?order=7")
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_not_sent_again_with_each_attempt_at_the_mail() {
    let (ports, clock) = ports();
    add_webhook(&ports, 10, "ann@example.com", Some("https://one")).await;
    let lease = begun(&ports).await;
    finish(&ports, lease).await;
    publish(&ports, Topic::Mp3, None).await;
    let (programs, shutdown) = (Arc::new(Programs::default()), CancellationToken::new());
    let service = NotificationService::new(ports.clone(), Arc::new(AwayServer), "https://x");
    let running = tokio::spawn(service.webhooks(programs.clone()).run(shutdown.clone()));
    for _ in 0..600 {
        clock.advance(SECOND);
        tokio::time::sleep(SECOND).await;
        // As if others had taken its place.
        ports.webhooks.forget_deliveries(clock.now()).await.unwrap();
        let empty = ports.queues.of(Topic::Mp3).publish(b"{}".to_vec());
        empty.await.unwrap();
    }
    shutdown.cancel();
    running.await.unwrap();
    assert_eq!(programs.called(), ["https://one"]);
}

#[tokio::test(start_paused = true)]
async fn webhooks_that_cannot_be_planned_are_called_later_and_keep_no_mail_waiting() {
    let (mut ports, clock) = ports();
    ports.webhooks = Arc::new(Damaged {
        webhooks: ports.webhooks,
        times: AtomicU32::new(5),
    });
    add_webhook(&ports, 10, "ann@example.com", Some("https://one")).await;
    let lease = begun(&ports).await;
    finish(&ports, lease).await;
    publish(&ports, Topic::Mp3, None).await;
    let programs = Arc::default();
    let mails = work(&ports, &clock, &programs, SECOND, 20).await;
    assert_eq!((mails.len(), programs.called().len()), (1, 0));
    let mails = work(&ports, &clock, &programs, SECOND, 600).await;
    assert_eq!(mails, [""; 0], "it was sent");
    assert_eq!(programs.called(), ["https://one"]);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_is_away_is_called_for_days_and_keeps_nobody_waiting() {
    const DAY: u32 = 24 * 60 * 60;
    let (ports, clock) = ports();
    add_webhook(&ports, 10, "ann@example.com", Some("https://away")).await;
    add_webhook(&ports, 11, "ann@example.com", Some("https://there")).await;
    let lease = begun(&ports).await;
    finish(&ports, lease).await;
    publish(&ports, Topic::Mp3, None).await;
    let programs = Arc::new(Programs::default());
    programs.away.lock().unwrap().push("https://away");
    work(&ports, &clock, &programs, SECOND, 60).await;
    let mut first = programs.called();
    first.sort();
    assert_eq!(first, ["https://away", "https://away", "https://there"]);
    work(&ports, &clock, &programs, 60 * SECOND, 4 * DAY / 60).await;
    let away = programs
        .called()
        .iter()
        .filter(|url| *url == "https://away")
        .count();
    assert_eq!(away, 10, "and then no more");
    let [one, other] = &ports
        .webhooks
        .deliveries("ann@example.com", None, None, 9)
        .await
        .unwrap()[..]
    else {
        panic!("two");
    };
    let mut states = [one.state, other.state].map(|state| state.name());
    states.sort_unstable();
    assert_eq!(states, ["delivered", "failed"]);
    let calls = programs.calls.lock().unwrap();
    let last = calls.last().unwrap();
    let took = last.0 - calls[0].0;
    assert!(took > Duration::from_secs(3 * 24 * 60 * 60), "{took:?}");
    assert!(
        calls
            .iter()
            .filter(|(_, call)| call.to == last.1.to)
            .all(|(_, call)| call == &last.1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_mail_server_that_hangs_keeps_no_webhook_waiting() {
    const ANNS: u8 = 100;
    const BOB: u8 = 200;
    let (ports, _clock) = ports();
    add_webhook(&ports, BOB, "bob@example.com", Some("https://bob")).await;
    let jobs = (1..=ANNS).map(|byte| (byte, "ann@example.com"));
    for (byte, owner) in jobs.chain([(BOB, "bob@example.com")]) {
        let job = Job {
            state: State::Queued,
            ..Job::new(id(byte), owner, id(byte), ports.clock.now())
        };
        ports.jobs.create(&job, None).await.unwrap();
        let Begin::Started(lease, _) = ports.jobs.begin(id(byte), TERM).await.unwrap() else {
            panic!("it is queued");
        };
        finish(&ports, lease).await;
        let body = json!({
            "video_fid": id(byte).to_string(), "mp3_fid": id(3).to_string(), "username": owner,
            "job_id": id(byte).to_string(),
        });
        let queue = ports.queues.of(Topic::Mp3);
        queue.publish(body.to_string().into_bytes()).await.unwrap();
    }
    let (programs, shutdown) = (Arc::new(Programs::default()), CancellationToken::new());
    let service = NotificationService::new(ports, Arc::new(SilentServer), "https://example.com");
    let running = tokio::spawn(service.webhooks(programs.clone()).run(shutdown.clone()));
    // One mail finds out; a hundred would take fifty minutes, one after the other.
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(programs.called(), ["https://bob"]);
    shutdown.cancel();
    running.await.unwrap();
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
