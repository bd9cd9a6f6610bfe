//! A queue of a RabbitMQ broker, shared with clients that know nothing of us.
//!
//! Messages go through the default exchange, persistent, and need no property or header. An existing queue is used as
//! it is. A missing one is declared durable, without arguments.
//!
//! | queue | declared when | holds |
//! |---|---|---|
//! | `<name>` | it is missing | messages to be received |
//! | `<name>.delay.<ms>` | a delivery is retried after a while | messages that return to `<name>` after this delay |
//! | `<name>.dead` | a delivery is dead | messages for an operator, with the reason in their headers |
//!
//! Publishing and consuming have a connection each: a broker short of memory stops reading from publishers, and
//! acknowledgements must still reach it. A connection is made when it is first needed, and again when it is lost. So a
//! service starts while the broker is down. lapin serves both on threads of its own, so heartbeats go on whatever the
//! caller computes.
//!
//! A broker takes back deliveries that are not acknowledged within its `consumer_timeout`, 30 minutes by default. Work
//! that lasts longer needs a longer one.

mod consumer;
mod delivery;
mod link;
mod publisher;

use std::sync::Arc;

use async_trait::async_trait;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, ErrorKind};
use lapin::{Channel, message::BasicGetMessage};
use micropy_core::ports::queue::{DeadLetter, DeadLetters, Delivery, Error, Queue};

use consumer::Consumer;
use delivery::DELAYS;
use link::{Link, answer};
use publisher::Publisher;

/// The adapter's name in errors.
const NAME: &str = "RabbitMQ";
/// Seconds of silence after which the other side is considered dead.
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
    /// The queue called `name` of the broker at `url` (`amqp://` or `amqps://`). With `?cacertfile=/path.pem`,
    /// authorities in that file are trusted to sign its certificate, beside those that browsers trust. While somebody
    /// waits for its messages, `prefetch` of them are sent here before they are asked for: choose the number of workers.
    /// Those that nobody has asked for go back some seconds after the last receiver left.
    ///
    /// The broker need not be up. A malformed URL is [`Error::Rejected`].
    pub fn open(url: &str, name: &str, prefetch: u16) -> Result<Self, Error> {
        let (uri, tls) = (parse(url)?, tls(url)?);
        let longest = delay_queue(name, DELAYS[DELAYS.len() - 1].as_millis());
        if name.is_empty() || ShortString::try_new(longest).is_err() {
            return Err(Error::Rejected(
                "a queue's name has 1 to 230 bytes".to_owned(),
            ));
        }
        let name: Arc<str> = name.into();
        let link = |does| Link::new(uri.clone(), tls.clone(), format!("micropy {does} {name}"));
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

    /// Stops receiving: messages that wait for a receiver go back to the queue, and `receive` fails from now on.
    /// Deliveries already received can still be settled; the last of them ends the connection.
    pub async fn stop_receiving(&self) {
        self.consumer.close().await;
    }

    /// Stops receiving, and closes the connection for publishing.
    pub async fn close(&self) {
        self.stop_receiving().await;
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

/// Takes dead letters one by one. Those that are not acknowledged go back when the channel is closed.
struct Dead {
    queue: String,
    channel: Channel,
    left: usize,
}

impl Dead {
    async fn next(&mut self) -> Result<Option<BasicGetMessage>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let is_up = || self.channel.status().connected();
        let get = self
            .channel
            .basic_get((&*self.queue).into(), BasicGetOptions::default());
        match answer(is_up, get).await {
            // The first to die declares the queue.
            Err(Error::NotFound) => Ok(None),
            taken => taken,
        }
    }

    async fn acknowledge(&self, message: &BasicGetMessage) -> Result<(), Error> {
        let is_up = || self.channel.status().connected();
        let acknowledge = message.acker.ack(BasicAckOptions::default());
        answer(is_up, acknowledge).await.map(drop)
    }

    async fn close(self) -> Result<(), Error> {
        if !self.channel.status().connected() {
            return Ok(());
        }
        let is_up = || self.channel.status().connected();
        let close = self
            .channel
            .close(lapin::protocol::constants::REPLY_SUCCESS, "looked".into());
        match answer(is_up, close).await {
            Err(Error::Unavailable(_)) | Ok(()) => Ok(()),
            e => e,
        }
    }
}

impl RabbitmqQueue {
    async fn take_dead(&self, limit: usize) -> Result<Dead, Error> {
        Ok(Dead {
            queue: delivery::dead_letters(&self.name),
            channel: self.publisher.new_channel().await?,
            left: limit,
        })
    }
}

#[async_trait]
impl DeadLetters for RabbitmqQueue {
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        let mut dead = self.take_dead(limit).await?;
        // None is given back before the last is taken, or it would be taken again.
        let mut held = Vec::new();
        while let Some(message) = dead.next().await? {
            held.push(message);
        }
        dead.close().await?;
        let letters = held.iter().map(|held| delivery::dead_letter(held));
        Ok(letters.collect())
    }

    async fn replay(&self, limit: usize) -> Result<usize, Error> {
        let mut dead = self.take_dead(limit).await?;
        let mut count = 0;
        while let Some(message) = dead.next().await? {
            // Messages that die again come to the end of the queue.
            dead.left = dead.left.min(message.message_count as usize);
            let properties = delivery::properties_of_new(&message);
            self.publisher
                .publish(&self.name, FieldTable::default(), &message.data, properties)
                .await?;
            dead.acknowledge(&message).await?;
            count += 1;
        }
        dead.close().await?;
        Ok(count)
    }

    async fn drop_dead(&self, limit: usize) -> Result<usize, Error> {
        let mut dead = self.take_dead(limit).await?;
        let mut count = 0;
        while let Some(message) = dead.next().await? {
            // Those that die meanwhile are for another time.
            dead.left = dead.left.min(message.message_count as usize);
            dead.acknowledge(&message).await?;
            count += 1;
        }
        dead.close().await?;
        Ok(count)
    }
}

/// The queue where messages wait `millis` before they return to `name`.
fn delay_queue(name: &str, millis: u128) -> String {
    format!("{name}.delay.{millis}")
}

/// Parses `url`. Errors do not repeat it: it holds a password.
fn parse(url: &str) -> Result<AMQPUri, Error> {
    let mut uri: AMQPUri = url.parse().map_err(|_| {
        Error::Rejected("not of the form amqp[s]://user:password@host:port/vhost".to_owned())
    })?;
    // lapin's parser does not understand IPv6 literals: it would connect to localhost.
    let authority = url.split('/').nth(2).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if let Some((literal, _)) = host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        uri.authority.host = literal.to_owned();
    }
    // Most clients read a bare slash as the default virtual host, which is called "/".
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    Ok(uri)
}

/// The parameters of TLS in a URL, by RabbitMQ's names for them.
fn tls(url: &str) -> Result<OwnedTLSConfig, Error> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, path)) = pairs.find(|(name, _)| *name == "cacertfile") else {
        return Ok(OwnedTLSConfig::default());
    };
    let pem = std::fs::read_to_string(path);
    let pem = pem.map_err(|e| Error::Rejected(format!("cacertfile {path}: {e}")))?;
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        let why = format!("cacertfile {path}: it holds no certificate in PEM");
        return Err(Error::Rejected(why));
    }
    Ok(OwnedTLSConfig {
        cert_chain: Some(pem),
        ..OwnedTLSConfig::default()
    })
}

/// The broker's complaint, if `e` is one.
fn complaint(e: &lapin::Error) -> Option<&AMQPErrorKind> {
    match e.kind() {
        ErrorKind::ProtocolError(complaint) => Some(complaint.kind()),
        _ => None,
    }
}

/// `e` as the port's error.
fn error(e: lapin::Error) -> Error {
    use AMQPErrorKind::{Hard, Soft};
    match complaint(&e) {
        Some(Soft(AMQPSoftError::NOTFOUND)) => Error::NotFound,
        // Of our requests, only a message that is too long fails a precondition.
        Some(Soft(AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::CONTENTTOOLARGE)) => {
            Error::Rejected(e.to_string())
        }
        Some(
            Soft(AMQPSoftError::ACCESSREFUSED | AMQPSoftError::RESOURCELOCKED)
            | Hard(AMQPHardError::NOTALLOWED | AMQPHardError::NOTIMPLEMENTED),
        ) => Error::Backend {
            adapter: NAME,
            cause: Box::new(e),
        },
        _ => unavailable(e),
    }
}

fn unavailable(e: impl Into<micropy_core::ports::BackendError>) -> Error {
    Error::Unavailable(e.into())
}
