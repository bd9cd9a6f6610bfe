//! A queue of a RabbitMQ broker, beside clients that know nothing of us.
//!
//! Messages go through the default exchange, persistent, and need no property or header. The queue is
//! used as it is found; where there is none it is declared durable, without arguments.
//!
//! | queue | made when | keeps |
//! |---|---|---|
//! | `<name>` | it is not there | what is to be done |
//! | `<name>.delay.<ms>` | a delivery is retried after a while | what comes back by itself, each after the same wait |
//! | `<name>.dead` | a delivery is dead | what an operator should see, with the reason in its headers |
//!
//! Publishing and consuming have a connection each, since a broker short of memory stops reading from
//! those who publish, and acknowledgements must still reach it. A connection is made when it is first
//! needed, and again when it is lost; a broker that is down holds up nobody's start. lapin serves both
//! on threads of its own, so that heartbeats keep going whatever the caller computes.
//!
//! A broker takes back what is not acknowledged within its `consumer_timeout`, 30 minutes as shipped: work
//! that lasts longer needs a longer one.

mod consumer;
mod delivery;
mod link;
mod publisher;

use std::sync::Arc;

use async_trait::async_trait;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, ErrorKind};
use micropy_core::ports::queue::{Delivery, Error, Queue};

use consumer::Consumer;
use delivery::DELAYS;
use link::Link;
use publisher::Publisher;

/// What errors call this adapter.
const NAME: &str = "RabbitMQ";
/// Seconds without a word after which the other side is taken for dead.
const HEARTBEAT: u16 = 30;
/// The delivery mode that survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// One queue of a broker.
#[derive(Clone)]
pub struct RabbitmqQueue {
    name: Arc<str>,
    publisher: Arc<Publisher>,
    consumer: Arc<Consumer>,
}

impl RabbitmqQueue {
    /// The queue called `name` of the broker at `url` (`amqp://` or `amqps://`), of which at most
    /// `prefetch` messages are held at a time: as many as there are workers.
    ///
    /// The broker need not be up; a URL that is none is [`Error::Rejected`].
    pub fn open(url: &str, name: &str, prefetch: u16) -> Result<Self, Error> {
        let uri = parse(url)?;
        let longest = delay_queue(name, DELAYS[DELAYS.len() - 1].as_millis());
        if name.is_empty() || ShortString::try_new(longest).is_err() {
            return Err(Error::Rejected(
                "a queue's name has 1 to 230 bytes".to_owned(),
            ));
        }
        let name: Arc<str> = name.into();
        let link = |does| Link::new(uri.clone(), format!("micropy {does} {name}"));
        let publisher = Arc::new(Publisher::new(link("publishes to")));
        Ok(RabbitmqQueue {
            consumer: Arc::new(Consumer::new(
                link("consumes"),
                name.clone(),
                prefetch.max(1),
                publisher.clone(),
            )),
            publisher,
            name,
        })
    }

    /// Stops receiving: what is waiting for a receiver goes back to the queue, and `receive` fails from
    /// now on. Deliveries already received can still be settled; the last of them ends the connection.
    pub async fn close(&self) {
        self.consumer.close().await;
        self.publisher.close().await;
    }
}

#[async_trait]
impl Queue for RabbitmqQueue {
    async fn publish(&self, payload: Vec<u8>) -> Result<(), Error> {
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        self.publisher
            .publish(&self.name, FieldTable::default(), &payload, properties)
            .await
    }

    async fn receive(&self) -> Result<Box<dyn Delivery>, Error> {
        Ok(Box::new(self.consumer.receive().await?))
    }
}

/// Where messages wait `millis` before they come back to `name`.
fn delay_queue(name: &str, millis: u128) -> String {
    format!("{name}.delay.{millis}")
}

/// Reads `url`. What is wrong with it is not told in its own words: it holds a password.
fn parse(url: &str) -> Result<AMQPUri, Error> {
    let mut uri: AMQPUri = url.parse().map_err(|_| {
        Error::Rejected("not of the form amqp[s]://user:password@host:port/vhost".to_owned())
    })?;
    // lapin's parser knows no IPv6 literals, and would go to localhost.
    let authority = url.split('/').nth(2).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if let Some((literal, _)) = host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        uri.authority.host = literal.to_owned();
    }
    // Most clients take a bare slash for the default virtual host, which is called "/".
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    Ok(uri)
}

/// What the broker complains about, if `e` is a complaint of its.
fn complaint(e: &lapin::Error) -> Option<&AMQPErrorKind> {
    match e.kind() {
        ErrorKind::ProtocolError(complaint) => Some(complaint.kind()),
        _ => None,
    }
}

/// What a caller can do about `e`.
fn error(e: lapin::Error) -> Error {
    use AMQPErrorKind::{Hard, Soft};
    match complaint(&e) {
        Some(Soft(AMQPSoftError::NOTFOUND)) => Error::NotFound,
        // Of what we do, only too long a message fails a precondition.
        Some(Soft(AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::CONTENTTOOLARGE)) => {
            Error::Rejected(e.to_string())
        }
        Some(
            Soft(AMQPSoftError::ACCESSREFUSED | AMQPSoftError::RESOURCELOCKED)
            | Hard(AMQPHardError::NOTALLOWED | AMQPHardError::NOTIMPLEMENTED),
        ) => Error::Backend {
            adapter: NAME,
            source: Box::new(e),
        },
        _ => unavailable(e),
    }
}

fn unavailable(e: impl Into<micropy_core::ports::BackendError>) -> Error {
    Error::Unavailable(e.into())
}
