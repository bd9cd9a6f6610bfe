//! A message delivered to one receiver.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, message};
use micropy_core::ports::queue::{DeadLetter, Delivery, Error, LONGEST_DELAY};
use micropy_core::ports::{Clock, Timestamp};

use super::link::answer;
use super::publisher::Publisher;
use super::{PERSISTENT, delay_queue, unavailable};
use crate::clock::SystemClock;

/// The delivery count, if it is not 1.
const ATTEMPT: &str = "x-micropy-attempt";
/// Why a message is dead.
const REASON: &str = "x-micropy-reason";
/// When it died.
const TIME: &str = "x-micropy-time";
/// How often a quorum queue has delivered the message without success.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// Headers from the message's way so far. Published again with these, it would go to several queues, be counted twice,
/// or be dropped as a cycle.
const ROUTING: [&str; 4] = ["CC", "BCC", "x-death", DELIVERY_COUNT];
/// The longest reason, in bytes: headers must fit into one frame.
const LONGEST_REASON: usize = 8192;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The possible delays, each with a queue of its own.
///
/// RabbitMQ expires messages only at the head of a queue. With different delays in one queue, short ones would wait
/// behind long ones.
pub(super) const DELAYS: [Duration; 16] = [
    seconds(1),
    seconds(2),
    seconds(5),
    seconds(10),
    seconds(20),
    seconds(30),
    seconds(60),
    seconds(2 * 60),
    seconds(5 * 60),
    seconds(10 * 60),
    seconds(20 * 60),
    seconds(30 * 60),
    seconds(3600),
    seconds(3 * 3600),
    seconds(8 * 3600),
    LONGEST_DELAY,
];

/// A dead letter as [`RabbitmqDelivery::dead`] left it.
pub(super) fn dead_letter(message: &message::Delivery) -> DeadLetter {
    let headers = message.properties.headers().as_ref();
    let header = |key| headers.and_then(|headers| headers.inner().get(key));
    let reason = match header(REASON) {
        Some(AMQPValue::LongString(reason)) => reason.to_string(),
        _ => String::new(),
    };
    let died = match header(TIME) {
        Some(AMQPValue::Timestamp(seconds)) => i64::try_from(*seconds).ok(),
        _ => None,
    };
    DeadLetter {
        payload: message.data.clone(),
        reason,
        deliveries: header(ATTEMPT).and_then(integer).unwrap_or(1),
        died: died.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000))),
    }
}

/// The properties of a dead letter that is new again.
pub(super) fn properties_of_new(message: &message::Delivery) -> BasicProperties {
    let mut properties = with_headers(&message.properties, []);
    if let Some(headers) = properties.headers() {
        let ours = [ATTEMPT, REASON, TIME];
        let others = headers.inner().iter();
        let others = others.filter(|(key, _)| !ours.contains(&key.as_str()));
        let others: std::collections::BTreeMap<_, _> = others
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        properties = properties.with_headers(FieldTable::from(others));
    }
    properties
}

/// The queue of the dead letters of `queue`.
pub(super) fn dead_letters(queue: &str) -> String {
    format!("{queue}.dead")
}

pub(super) struct RabbitmqDelivery {
    message: message::Delivery,
    attempt: u32,
    queue: Arc<str>,
    /// Closing it returns the message to the queue, so it must stay open.
    channel: Arc<Channel>,
    publisher: Arc<Publisher>,
}

impl RabbitmqDelivery {
    pub(super) fn new(
        message: message::Delivery,
        queue: Arc<str>,
        channel: Arc<Channel>,
        publisher: Arc<Publisher>,
    ) -> Self {
        let headers = message.properties.headers().as_ref();
        let number = |key| headers.and_then(|h| h.inner().get(key)).and_then(integer);
        let before = number(DELIVERY_COUNT).unwrap_or(0);
        let again = before.max(u32::from(message.redelivered));
        RabbitmqDelivery {
            attempt: number(ATTEMPT).unwrap_or(1).max(1).saturating_add(again),
            message,
            queue,
            channel,
            publisher,
        }
    }

    /// Whether the message is still ours to settle.
    pub(super) fn is_ours(&self) -> bool {
        self.message.acker.usable()
    }

    /// Publishes a copy to `queue`, with `headers` added to the message's own, then acknowledges the message.
    ///
    /// In this order: a crash in between doubles the message rather than losing it.
    async fn move_to(
        self: Box<Self>,
        queue: &str,
        arguments: FieldTable,
        headers: impl IntoIterator<Item = (&'static str, AMQPValue)>,
    ) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(lost());
        }
        let properties = with_headers(&self.message.properties, headers);
        self.publisher
            .publish(queue, arguments, &self.message.data, properties)
            .await?;
        self.ack().await
    }
}

#[async_trait]
impl Delivery for RabbitmqDelivery {
    fn payload(&self) -> &[u8] {
        &self.message.data
    }

    fn attempt(&self) -> u32 {
        self.attempt
    }

    async fn ack(self: Box<Self>) -> Result<(), Error> {
        let is_up = || self.channel.status().connected();
        let acknowledge = self.message.acker.ack(BasicAckOptions::default());
        match answer(is_up, acknowledge).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(lost()),
            Err(e) => Err(unavailable(e)),
        }
    }

    async fn retry(self: Box<Self>, after: Duration) -> Result<(), Error> {
        let next = [(ATTEMPT, AMQPValue::from(self.attempt.saturating_add(1)))];
        let queue = self.queue.clone();
        if after.is_zero() {
            return self.move_to(&queue, FieldTable::default(), next).await;
        }
        let mut delays = DELAYS.into_iter();
        let delay = delays.find(|delay| *delay >= after);
        let delay = delay.unwrap_or(LONGEST_DELAY);
        let waiting = delay_queue(&queue, delay.as_millis());
        self.move_to(&waiting, delay_arguments(&queue, delay), next)
            .await
    }

    async fn dead(self: Box<Self>, reason: &str) -> Result<(), Error> {
        let now = SystemClock.now().as_millis() / 1000;
        let headers = [
            (ATTEMPT, AMQPValue::from(self.attempt)),
            (REASON, AMQPValue::LongString(shortened(reason).into())),
            (TIME, AMQPValue::Timestamp(now.unsigned_abs())),
        ];
        let dead_letters = dead_letters(&self.queue);
        self.move_to(&dead_letters, FieldTable::default(), headers)
            .await
    }
}

impl Drop for RabbitmqDelivery {
    fn drop(&mut self) {
        // The first poll hands it to lapin's own thread, so this works on any thread and without a runtime. After an
        // `ack` it does nothing.
        let options = BasicNackOptions {
            multiple: false,
            requeue: true,
        };
        let _ = self.message.acker.nack(options).now_or_never();
    }
}

fn lost() -> Error {
    Error::Rejected("the delivery is no longer ours: the connection was lost".to_owned())
}

/// The arguments of a queue whose messages move to `queue` when they are `delay` old.
///
/// It is a quorum queue (RabbitMQ 3.10), because a classic one drops a message before `queue` has confirmed it: the
/// message would be lost if the broker were killed at that moment, or `queue` were missing. For the same reason the
/// queue itself never expires.
fn delay_arguments(queue: &str, delay: Duration) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut arguments = FieldTable::default();
    for (key, value) in [
        ("x-queue-type", text("quorum")),
        ("x-message-ttl", AMQPValue::from(delay.as_millis() as i64)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(queue)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ] {
        arguments.insert(key.into(), value);
    }
    arguments
}

/// `properties` for publishing again, with `headers` added.
fn with_headers(
    properties: &BasicProperties,
    headers: impl IntoIterator<Item = (&'static str, AMQPValue)>,
) -> BasicProperties {
    let mut all = FieldTable::default();
    let before = properties.headers().iter().flat_map(|h| h.inner());
    for (key, value) in before.filter(|(key, _)| !ROUTING.contains(&key.as_str())) {
        all.insert(key.clone(), value.clone());
    }
    for (key, value) in headers {
        all.insert(key.into(), value);
    }
    // Without the expiration, which would end the delay early, and the user id, which must be our own.
    let mut copy = BasicProperties::default()
        .with_headers(all)
        .with_delivery_mode(PERSISTENT);
    macro_rules! keep {
        ($($get:ident $with:ident),*) => {
            $(if let Some(value) = properties.$get().clone() {
                copy = copy.$with(value);
            })*
        };
    }
    keep!(
        content_type with_content_type,
        content_encoding with_content_encoding,
        priority with_priority,
        correlation_id with_correlation_id,
        reply_to with_reply_to,
        message_id with_message_id,
        timestamp with_timestamp,
        kind with_type,
        app_id with_app_id
    );
    copy
}

/// `value` as a count, if it is an integer of any type: another program may have written it.
fn integer(value: &AMQPValue) -> Option<u32> {
    let wide = match *value {
        AMQPValue::ShortShortInt(n) => n.into(),
        AMQPValue::ShortShortUInt(n) => n.into(),
        AMQPValue::ShortInt(n) => n.into(),
        AMQPValue::ShortUInt(n) => n.into(),
        AMQPValue::LongInt(n) => n.into(),
        AMQPValue::LongUInt(n) => n.into(),
        AMQPValue::LongLongInt(n) => n,
        _ => return None,
    };
    Some(wide.clamp(0, u32::MAX.into()) as u32)
}

fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(LONGEST_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
