//! A message in the hands of one receiver.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, message};
use micropy_core::ports::Clock;
use micropy_core::ports::queue::{Delivery, Error};

use super::link::answer;
use super::publisher::Publisher;
use super::{PERSISTENT, delay_queue, unavailable};
use crate::clock::SystemClock;

/// The how-manieth delivery it is, where that is not 1.
const ATTEMPT: &str = "x-micropy-attempt";
/// Why a message is dead.
const REASON: &str = "x-micropy-reason";
/// When it died.
const TIME: &str = "x-micropy-time";
/// How often a quorum queue has delivered it in vain.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// What the message's way up to here left behind. Published again it would go to more queues than one,
/// be counted twice, or be dropped for going round in circles.
const SPENT: [&str; 4] = ["CC", "BCC", "x-death", DELIVERY_COUNT];
/// The longest reason, in bytes: headers have to fit into one frame.
const LONGEST_REASON: usize = 8192;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long messages wait before they come back, each in a queue of its own.
///
/// Few of them, since a queue that forgets its messages by age looks only at the first: one whose
/// messages waited differently long would hold the short ones up behind the long ones.
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
    seconds(24 * 3600),
];

pub(super) struct RabbitmqDelivery {
    message: message::Delivery,
    attempt: u32,
    queue: Arc<str>,
    /// The message goes back when it is closed, so it stays open until then.
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

    /// Whether the broker still leaves the message to us.
    pub(super) fn is_ours(&self) -> bool {
        self.message.acker.usable()
    }

    /// Puts a copy into `queue` with `headers` beside the message's own, then takes the message out.
    ///
    /// In this order: a crash in between makes two of it, not none.
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
        let Some(delay) = DELAYS.into_iter().find(|delay| *delay >= after) else {
            let longest = DELAYS[DELAYS.len() - 1];
            return Err(Error::Rejected(format!(
                "no message waits longer than {longest:?}"
            )));
        };
        let waiting = delay_queue(&queue, delay.as_millis());
        self.move_to(&waiting, waits(&queue, delay), next).await
    }

    async fn dead(self: Box<Self>, reason: &str) -> Result<(), Error> {
        let now = SystemClock.now().as_millis() / 1000;
        let headers = [
            (ATTEMPT, AMQPValue::from(self.attempt)),
            (REASON, AMQPValue::LongString(shortened(reason).into())),
            (TIME, AMQPValue::Timestamp(now.unsigned_abs())),
        ];
        let cemetery = format!("{}.dead", self.queue);
        self.move_to(&cemetery, FieldTable::default(), headers)
            .await
    }
}

impl Drop for RabbitmqDelivery {
    fn drop(&mut self) {
        // The first poll hands it to lapin's own thread: that works on any thread, without a runtime.
        // After an `ack` it does nothing.
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

/// The arguments of a queue whose messages go to `queue` when they are `delay` old.
///
/// A quorum queue, because a classic one drops a message before it knows that `queue` has it: a broker
/// killed at that moment, or a `queue` that is not there, would be the end of the message. For the same
/// reason it never expires itself. It exists in RabbitMQ since 3.10.
fn waits(queue: &str, delay: Duration) -> FieldTable {
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

/// `properties` as they can be published again, and `headers` on top of theirs.
fn with_headers(
    properties: &BasicProperties,
    headers: impl IntoIterator<Item = (&'static str, AMQPValue)>,
) -> BasicProperties {
    let mut all = FieldTable::default();
    let before = properties.headers().iter().flat_map(|h| h.inner());
    for (key, value) in before.filter(|(key, _)| !SPENT.contains(&key.as_str())) {
        all.insert(key.clone(), value.clone());
    }
    for (key, value) in headers {
        all.insert(key.into(), value);
    }
    // Not its expiration, which would end the wait early; not its user, who must be the one connected.
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

/// What `value` counts, if it is an integer; anybody may have written it.
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
