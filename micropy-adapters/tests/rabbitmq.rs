//! The RabbitMQ adapter against a real broker, which `scripts/with-servers rabbitmq` starts.

#![cfg(feature = "rabbitmq")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

#[path = "support/environment.rs"]
mod environment;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use micropy_adapters::clock::SystemClock;
use micropy_adapters::queue::rabbitmq::RabbitmqQueue;
use micropy_core::ports::conformance::{self, Fixture};
use micropy_core::ports::queue::{Delivery, Error, Queue};
use micropy_core::ports::{Clock, Timestamp};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// Within which everything must go on after an outage.
const RECOVERY: Duration = Duration::from_secs(10);
/// What is waited for where nothing should come.
const SETTLE: Duration = Duration::from_millis(600);

macro_rules! broker {
    ($test:literal) => {
        match environment::variable("MICROPY_TEST_AMQP_URL", $test) {
            Some(url) => url,
            None => return,
        }
    };
}

/// A queue name that no other test uses.
fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemClock.now().as_millis();
    format!("{name}-{}-{now}-{count}", std::process::id())
}

/// What somebody else does with the broker, knowing nothing of the adapter.
struct Stranger {
    channel: Channel,
    _connection: Connection,
}

impl Stranger {
    async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default())
            .await
            .unwrap();
        Stranger {
            channel: connection.create_channel().await.unwrap(),
            _connection: connection,
        }
    }

    async fn declare(&self, queue: &str, arguments: FieldTable) {
        self.channel
            .queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)
            .await
            .unwrap();
    }

    /// As pika does it: persistent, and nothing else.
    async fn publish(&self, queue: &str, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        self.channel
            .basic_publish("".into(), queue.into(), options, body, properties)
            .await
            .unwrap()
            .await
            .unwrap();
    }

    async fn take(&self, queue: &str) -> Option<lapin::message::BasicGetMessage> {
        self.channel
            .basic_get(queue.into(), BasicGetOptions { no_ack: true })
            .await
            .unwrap()
    }

    /// How many messages are ready.
    async fn count(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        self.channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await
            .unwrap()
            .message_count()
    }

    async fn delete(&self, queue: &str) {
        self.channel
            .queue_delete(queue.into(), QueueDeleteOptions::default())
            .await
            .unwrap();
    }
}

/// A way to the broker that can be cut.
struct Proxy {
    broker: String,
    here: SocketAddr,
    task: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy before the broker at `url`, not up yet, and the URL that leads through it.
    async fn new(url: &str) -> (Self, String) {
        let after_scheme = url.split_once("://").unwrap().1;
        let authority = after_scheme.split('/').next().unwrap();
        let broker = authority.rsplit('@').next().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = free.local_addr().unwrap();
        let proxy = Proxy {
            broker: broker.to_owned(),
            here,
            task: None,
        };
        (proxy, url.replace(broker, &here.to_string()))
    }

    async fn up(&mut self) {
        let listener = TcpListener::bind(self.here).await.unwrap();
        let broker = self.broker.clone();
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let broker = broker.clone();
                connections.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(broker).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        }));
    }

    /// Ends every connection, and accepts no more.
    async fn cut(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _ = task.await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn receive(queue: &RabbitmqQueue) -> Box<dyn Delivery> {
    timeout(RECOVERY, queue.receive()).await.unwrap().unwrap()
}

async fn nothing_comes(queue: &RabbitmqQueue) {
    let come = timeout(SETTLE, queue.receive()).await;
    assert!(come.is_err(), "nothing should have come");
}

struct Broker;

#[async_trait]
impl Fixture for Broker {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
    async fn elapse(&self, by: Duration) {
        // Nothing but a lost connection ends the broker's hold, so longer waits show nothing more.
        tokio::time::sleep(by.min(Duration::from_secs(3))).await;
    }
    async fn settle(&self) {
        tokio::time::sleep(SETTLE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let url = broker!("rabbitmq conforms");
    let name = unique("conformance");
    let queue = RabbitmqQueue::open(&url, &name, 4).unwrap();
    conformance::queue::run(&Broker, &queue).await;
    queue.close().await;
    let stranger = Stranger::connect(&url).await;
    assert_eq!(stranger.count(&name).await, 0, "the queue is left empty");
    assert_eq!(stranger.count(&format!("{name}.dead")).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_conform() {
    let url = broker!("rabbitmq dead_letters_conform");
    let name = unique("dead-letters");
    let queue = RabbitmqQueue::open(&url, &name, 4).unwrap();
    conformance::queue::run_dead_letters(&Broker, &queue, &queue).await;
    queue.close().await;
    let stranger = Stranger::connect(&url).await;
    for queue in [&name, &format!("{name}.dead")] {
        stranger.delete(queue).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_made_by_hand_is_used_as_it_is() {
    let url = broker!("rabbitmq a_queue_made_by_hand_is_used_as_it_is");
    let (stranger, name) = (Stranger::connect(&url).await, unique("video"));
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-priority".into(), AMQPValue::ShortShortUInt(3));
    stranger.declare(&name, arguments).await;
    let body =
        br#"{"video_fid": "0123456789abcdef01234567", "mp3_fid": null, "username": "a@b.c"}"#;
    let persistent = BasicProperties::default().with_delivery_mode(2);
    stranger.publish(&name, body, persistent).await;

    let queue = RabbitmqQueue::open(&url, &name, 1).unwrap();
    let delivery = receive(&queue).await;
    assert_eq!((delivery.payload(), delivery.attempt()), (&body[..], 1));
    delivery.ack().await.unwrap();
    queue.publish(body.to_vec()).await.unwrap();
    queue.close().await;

    let ours = stranger.take(&name).await.unwrap();
    assert_eq!(ours.data, body);
    assert_eq!(*ours.properties.delivery_mode(), Some(2));
    assert_eq!(*ours.properties.headers(), None, "no header is needed");
    assert!(stranger.take(&name).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_share_what_there_is() {
    let url = broker!("rabbitmq consumers_share_what_there_is");
    let name = unique("shared");
    let open = || RabbitmqQueue::open(&url, &name, 2).unwrap();
    let (first, second) = (open(), open());
    for n in 0..6u8 {
        first.publish(vec![n]).await.unwrap();
    }
    let held = [receive(&first).await, receive(&first).await];
    nothing_comes(&first).await;
    let others = [receive(&second).await, receive(&second).await];
    nothing_comes(&second).await;
    let stranger = Stranger::connect(&url).await;
    assert_eq!(
        stranger.count(&name).await,
        2,
        "nobody takes the whole queue"
    );
    let [one, _dropped_later] = held;
    one.ack().await.unwrap();
    receive(&first).await.ack().await.unwrap();
    drop(others);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_goes_to_another() {
    let url = broker!("rabbitmq what_nobody_waits_for_goes_to_another");
    let (stranger, name) = (Stranger::connect(&url).await, unique("ahead"));
    let open = || RabbitmqQueue::open(&url, &name, 3).unwrap();
    let busy = open();
    for round in 0..2u8 {
        for n in 0..3u8 {
            busy.publish(vec![round, n]).await.unwrap();
        }
        let held = receive(&busy).await;
        while stranger.count(&name).await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (idle, mut others) = (open(), BTreeSet::new());
        for _ in 0..2 {
            let other = timeout(3 * RECOVERY, idle.receive()).await;
            let other = other.expect("sent ahead to the busy one").unwrap();
            others.insert(other.payload().to_vec());
            other.ack().await.unwrap();
        }
        assert_eq!(others, BTreeSet::from([vec![round, 1], vec![round, 2]]));
        idle.close().await;
        held.ack().await.unwrap();
    }
    busy.close().await;
    assert_eq!(stranger.count(&name).await, 0, "each was delivered once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_an_absent_queue_is_not_lost() {
    let url = broker!("rabbitmq a_message_for_an_absent_queue_is_not_lost");
    let (stranger, name) = (Stranger::connect(&url).await, unique("absent"));
    let queue = RabbitmqQueue::open(&url, &name, 1).unwrap();
    // Many at a time, each of which must know its own fate.
    let published = join_all((0..60u8).map(|n| queue.publish(vec![n]))).await;
    published.into_iter().for_each(|p| p.unwrap());
    assert_eq!(stranger.count(&name).await, 60);
    stranger.delete(&name).await;
    queue.publish(b"after".to_vec()).await.unwrap();
    assert_eq!(stranger.count(&name).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn consuming_outlives_its_queue() {
    let url = broker!("rabbitmq consuming_outlives_its_queue");
    let (stranger, name) = (Stranger::connect(&url).await, unique("deleted"));
    let queue = RabbitmqQueue::open(&url, &name, 2).unwrap();
    queue.publish(b"before".to_vec()).await.unwrap();
    let before = receive(&queue).await;
    stranger.delete(&name).await;
    queue.publish(b"after".to_vec()).await.unwrap();
    let after = receive(&queue).await;
    assert_eq!(after.payload(), b"after");
    after.ack().await.unwrap();
    // Gone with its queue, so this may succeed or not.
    let _ = before.ack().await;
    nothing_comes(&queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_loses_nothing() {
    let url = broker!("rabbitmq an_outage_loses_nothing");
    let (mut proxy, way) = Proxy::new(&url).await;
    proxy.up().await;
    let queue = RabbitmqQueue::open(&way, &unique("outage"), 8).unwrap();
    for round in 0..3 {
        for body in ["held", "prefetched"] {
            queue.publish(body.into()).await.unwrap();
        }
        let held = receive(&queue).await;
        proxy.cut().await;
        let publishing = tokio::spawn({
            let queue = queue.clone();
            async move { queue.publish("during".into()).await }
        });
        // As long as nobody has noticed, a receiver may still be given what came before.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.receive().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished(), "a receiver waits for the broker");
        let lost = held.ack().await;
        assert!(
            matches!(lost, Err(Error::Rejected(_) | Error::Unavailable(_))),
            "{lost:?}"
        );
        proxy.up().await;
        let back = Instant::now();
        let first = timeout(RECOVERY, waiting).await.unwrap().unwrap().unwrap();
        eprintln!("round {round}: consuming again after {:?}", back.elapsed());
        publishing.await.unwrap().unwrap();
        let mut got = BTreeSet::from([first.payload().to_vec()]);
        first.ack().await.unwrap();
        while got.len() < 3 {
            let delivery = receive(&queue).await;
            got.insert(delivery.payload().to_vec());
            delivery.ack().await.unwrap();
        }
        // An outage may double a message whose confirmation it cut off.
        while let Ok(again) = timeout(SETTLE, queue.receive()).await {
            let again = again.unwrap();
            assert!(got.contains(again.payload()));
            again.ack().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_may_start_last() {
    let url = broker!("rabbitmq the_broker_may_start_last");
    let (mut proxy, way) = Proxy::new(&url).await;
    let queue = RabbitmqQueue::open(&way, &unique("early"), 1).unwrap();
    let started = Instant::now();
    let refused = queue.publish(b"early".to_vec()).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(12));
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.receive().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    proxy.up().await;
    queue.publish(b"now".to_vec()).await.unwrap();
    let delivery = timeout(RECOVERY, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(delivery.payload(), b"now");
    delivery.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_counted_and_change_nothing_else() {
    let url = broker!("rabbitmq retries_are_counted_and_change_nothing_else");
    let (stranger, name) = (Stranger::connect(&url).await, unique("retried"));
    stranger.declare(&name, FieldTable::default()).await;
    let mut headers = FieldTable::default();
    headers.insert("theirs".into(), AMQPValue::LongString("kept".into()));
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_headers(headers)
        .with_expiration("60000".into())
        .with_correlation_id("4711".into());
    stranger.publish(&name, b"body", properties).await;

    let queue = RabbitmqQueue::open(&url, &name, 1).unwrap();
    let mut due = Instant::now();
    for (attempt, after) in [(1, 0), (2, 0), (3, 700), (4, 1500), (5, 700)] {
        let delivery = receive(&queue).await;
        assert!(Instant::now() >= due, "attempt {attempt} came too early");
        assert_eq!(
            (delivery.payload(), delivery.attempt()),
            (&b"body"[..], attempt)
        );
        due = Instant::now() + Duration::from_millis(after);
        delivery.retry(Duration::from_millis(after)).await.unwrap();
    }
    drop(receive(&queue).await);
    let delivery = receive(&queue).await;
    assert_eq!(delivery.attempt(), 7, "one dropped counts, too");
    delivery.dead("it ends here").await.unwrap();
    // No delay is longer than a day, whatever a clock that was ahead has worked out.
    queue.publish(b"endless".to_vec()).await.unwrap();
    let endless = receive(&queue).await;
    let retried = endless.retry(Duration::from_secs(100 * 86400)).await;
    retried.unwrap();
    queue.close().await;
    let waiting = stranger.take(&format!("{name}.delay.86400000")).await;
    assert_eq!(waiting.unwrap().data, b"endless");

    let dead = stranger.take(&format!("{name}.dead")).await.unwrap();
    assert_eq!(dead.data, b"body");
    assert_eq!(*dead.properties.correlation_id(), Some("4711".into()));
    assert_eq!(*dead.properties.delivery_mode(), Some(2));
    assert_eq!(*dead.properties.expiration(), None);
    let headers = dead.properties.headers().clone().unwrap();
    let text = |text: &str| Some(AMQPValue::LongString(text.into()));
    let header = |key: &str| headers.inner().get(key).cloned();
    assert_eq!(header("theirs"), text("kept"));
    assert_eq!(header("x-micropy-reason"), text("it ends here"));
    assert!(matches!(
        header("x-micropy-time"),
        Some(AMQPValue::Timestamp(_))
    ));
    assert_eq!(stranger.count(&name).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_gives_back_what_nobody_took() {
    let url = broker!("rabbitmq closing_gives_back_what_nobody_took");
    let name = unique("closed");
    let (first, second) = (
        RabbitmqQueue::open(&url, &name, 3).unwrap(),
        RabbitmqQueue::open(&url, &name, 3).unwrap(),
    );
    for body in ["one", "two", "three"] {
        first.publish(body.into()).await.unwrap();
    }
    let held = receive(&first).await;
    let receiving = tokio::spawn({
        let first = first.clone();
        async move { first.receive().await.unwrap().payload().to_vec() }
    });
    assert_eq!(receiving.await.unwrap(), b"two", "dropped at once");
    first.close().await;
    let closed = first.receive().await.map(drop);
    assert!(matches!(closed, Err(Error::Unavailable(_))), "{closed:?}");
    let mut rest = BTreeSet::new();
    for _ in 0..2 {
        let delivery = receive(&second).await;
        rest.insert(delivery.payload().to_vec());
        delivery.ack().await.unwrap();
    }
    assert_eq!(rest, BTreeSet::from([b"two".to_vec(), b"three".to_vec()]));
    held.ack().await.unwrap();
    nothing_comes(&second).await;
    second.close().await;
    let stranger = Stranger::connect(&url).await;
    assert_eq!(stranger.count(&name).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_give_up_lose_nothing() {
    let url = broker!("rabbitmq receivers_that_give_up_lose_nothing");
    let queue = RabbitmqQueue::open(&url, &unique("impatient"), 10).unwrap();
    let publishing = tokio::spawn({
        let queue = queue.clone();
        async move {
            for n in 0..100u8 {
                queue.publish(vec![n]).await.unwrap();
            }
        }
    });
    let receive = |worker: u64| {
        let queue = queue.clone();
        async move {
            let mut got = Vec::new();
            let mut idle = 0;
            while idle < 3000 {
                let patience = Duration::from_micros(100 * (worker + idle % 7));
                match timeout(patience, queue.receive()).await {
                    Ok(delivery) => {
                        let delivery = delivery.unwrap();
                        got.push(delivery.payload()[0]);
                        delivery.ack().await.unwrap();
                        idle = 0;
                    }
                    Err(_) => idle += 1,
                }
            }
            got
        }
    };
    let mut got = join_all((0..4).map(receive)).await.concat();
    publishing.await.unwrap();
    got.sort_unstable();
    assert_eq!(got, (0..100u8).collect::<Vec<_>>(), "each exactly once");
}

#[test]
fn what_cannot_be_a_queue_is_said_at_once() {
    for url in [
        "",
        "http://host/",
        "amqp:guest:secret@host",
        "amqp://h:x/%2f",
    ] {
        let refused = RabbitmqQueue::open(url, "video", 1).map(drop).unwrap_err();
        assert!(matches!(refused, Error::Rejected(_)), "{url}: {refused:?}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
    for name in [String::new(), "v".repeat(300)] {
        let refused = RabbitmqQueue::open("amqp://host/%2f", &name, 1).map(drop);
        assert!(matches!(refused, Err(Error::Rejected(_))), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_for_an_operator() {
    let url = broker!("rabbitmq a_wrong_password_is_for_an_operator");
    let wrong = url.replace("guest:guest@", "guest:wrong@");
    assert_ne!(url, wrong);
    let queue = RabbitmqQueue::open(&wrong, &unique("locked"), 1).unwrap();
    let refused = queue.publish(b"x".to_vec()).await;
    assert!(matches!(refused, Err(Error::Backend { .. })), "{refused:?}");
    assert!(!format!("{refused:?}").contains("wrong@"));
}
