//! Consumes a queue while somebody waits for its messages, and goes on when the broker returns.
//!
//! A broker sends a few messages ahead, as many as there are workers, and gives these to no other consumer. Where all
//! workers are at work for an hour, with messages of another queue perhaps, an idle consumer elsewhere would wait for
//! them. So when nobody has waited for a while, consuming stops, and what was sent ahead goes back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection};
use micropy_core::ports::queue::Error;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::delivery::RabbitmqDelivery;
use super::link::{self, Backoff, LOOK, Link};
use super::publisher::Publisher;
use super::{error, unavailable};

/// How long the broker may take to start or stop a consumer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a queue is consumed while nobody waits: for what takes moments, it does not stop.
const LINGER: Duration = Duration::from_secs(5);

/// The only consumer of a queue in this process. The first `receive` starts it.
pub(super) struct Consumer {
    subscription: Arc<Subscription>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Consumer {
    pub(super) fn new(
        link: Link,
        name: Arc<str>,
        prefetch: u16,
        publisher: Arc<Publisher>,
    ) -> Self {
        let subscription = Arc::new(Subscription {
            link,
            name,
            prefetch,
            publisher,
            inbox: Inbox::default(),
            current: Mutex::default(),
        });
        Consumer {
            subscription,
            task: Mutex::default(),
        }
    }

    pub(super) async fn receive(&self) -> Result<RabbitmqDelivery, Error> {
        lock(&self.task).get_or_insert_with(|| tokio::spawn(self.subscription.clone().keep()));
        self.subscription.inbox.next().await
    }

    /// Returns messages that wait for a receiver to the queue, and stops consuming.
    pub(super) async fn close(&self) {
        let subscription = &self.subscription;
        subscription.inbox.close();
        let task = lock(&self.task).take();
        let current = lock(&subscription.current).take();
        if let Some(Current {
            channel,
            tag: Some(tag),
        }) = &current
        {
            let cancel = channel.basic_cancel(tag.clone(), BasicCancelOptions::default());
            let cancelled = timeout(PATIENCE, cancel).await;
            // Messages that arrived before the broker stopped are still passing through the task.
            if let (Ok(Ok(())), Some(task)) = (cancelled, task) {
                let abort = task.abort_handle();
                let _ = timeout(PATIENCE, task).await;
                abort.abort();
            }
        } else if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
        // What was received and is not settled yet needs it.
        let is_unused = current.is_some_and(|current| Arc::strong_count(&current.channel) == 1);
        if let Some(connection) = subscription.link.take().await
            && is_unused
        {
            link::end(&connection).await;
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // This drops the channel and the connection, and the broker takes back unsettled messages.
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

struct Subscription {
    link: Link,
    name: Arc<str>,
    prefetch: u16,
    publisher: Arc<Publisher>,
    inbox: Inbox,
    current: Mutex<Option<Current>>,
}

/// The present channel.
struct Current {
    channel: Arc<Channel>,
    /// Our consumer tag on it, while it consumes.
    tag: Option<ShortString>,
}

impl Subscription {
    /// Consumes until the inbox is closed.
    async fn keep(self: Arc<Self>) {
        let mut backoff = Backoff::new();
        let mut out = false;
        loop {
            self.inbox.awaited().await;
            if self.inbox.is_closed() {
                return;
            }
            match self.subscribe().await {
                Ok((channel, consumer)) => {
                    if std::mem::take(&mut out) {
                        tracing::info!(queue = &*self.name, "consuming again");
                    }
                    backoff = Backoff::new();
                    let Err(lost) = self.consume(channel, consumer).await else {
                        continue;
                    };
                    if self.inbox.is_closed() {
                        return;
                    }
                    tracing::warn!(queue = &*self.name, error = lost, "the consumer was lost");
                    out = true;
                }
                Err(e) if !out => {
                    tracing::warn!(queue = &*self.name, error = %e, "cannot consume yet");
                    out = true;
                }
                Err(e) => tracing::debug!(queue = &*self.name, error = %e, "still cannot consume"),
            }
            backoff.wait().await;
        }
    }

    async fn subscribe(&self) -> Result<(Arc<Channel>, lapin::Consumer), Error> {
        let connection = self.link.connection().await?;
        let consumer = timeout(PATIENCE, async {
            match self.start(&connection).await {
                Err(Error::NotFound) => {
                    link::declare(&connection, &self.name, FieldTable::default()).await?;
                    self.start(&connection).await
                }
                other => other,
            }
        });
        match consumer.await {
            Ok(consumer) => consumer,
            Err(_) => {
                *lock(&self.current) = None;
                self.link.discard(&connection).await;
                Err(unavailable("the broker does not let us consume"))
            }
        }
    }

    async fn start(
        &self,
        connection: &Connection,
    ) -> Result<(Arc<Channel>, lapin::Consumer), Error> {
        let channel = self.channel(connection).await?;
        let consumer = channel
            .basic_consume(
                (&*self.name).into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(error)?;
        Ok((channel, consumer))
    }

    /// The present channel, or a new one.
    async fn channel(&self, connection: &Connection) -> Result<Arc<Channel>, Error> {
        let present = lock(&self.current).as_ref().map(|now| now.channel.clone());
        if let Some(channel) = present.filter(|channel| channel.status().connected()) {
            return Ok(channel);
        }
        let channel = connection.create_channel().await.map_err(error)?;
        channel
            .basic_qos(self.prefetch, BasicQosOptions::default())
            .await
            .map_err(error)?;
        Ok(Arc::new(channel))
    }

    /// Passes deliveries on until nobody waits for them, or they end, for the reason that is returned.
    async fn consume(
        &self,
        channel: Arc<Channel>,
        mut consumer: lapin::Consumer,
    ) -> Result<(), String> {
        *lock(&self.current) = Some(Current {
            channel: channel.clone(),
            tag: Some(consumer.tag()),
        });
        let put = |message| {
            self.inbox.put(RabbitmqDelivery::new(
                message,
                self.name.clone(),
                channel.clone(),
                self.publisher.clone(),
            ));
        };
        let why = loop {
            if self.inbox.is_idle() {
                let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
                match timeout(PATIENCE, cancel).await {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => break e.to_string(),
                    Err(_) => break "the broker does not let us stop".to_owned(),
                }
                // Those that arrived before the broker stopped.
                while let Ok(Some(Ok(message))) = timeout(LOOK, consumer.next()).await {
                    put(message);
                }
                if let Some(current) = &mut *lock(&self.current) {
                    current.tag = None;
                }
                self.inbox.give_back();
                return Ok(());
            }
            let Ok(next) = timeout(LOOK, consumer.next()).await else {
                if channel.status().connected() {
                    continue;
                }
                break "the connection was lost".to_owned();
            };
            match next {
                Some(Ok(message)) => put(message),
                Some(Err(e)) => break e.to_string(),
                None => break "the broker cancelled it: is the queue gone?".to_owned(),
            }
        };
        *lock(&self.current) = None;
        Err(why)
    }
}

/// Deliveries waiting for a receiver, or receivers waiting for a delivery.
#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
    wanted: Notify,
}

#[derive(Default)]
struct State {
    deliveries: VecDeque<RabbitmqDelivery>,
    receivers: usize,
    /// When the last receiver left.
    left: Option<Instant>,
    closed: bool,
}

/// A receiver that waits, until it is dropped.
struct Waiting<'a>(&'a Inbox);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.receivers -= 1;
        state.left = Some(Instant::now());
    }
}

impl Inbox {
    fn put(&self, delivery: RabbitmqDelivery) {
        let mut state = lock(&self.state);
        if state.closed {
            // Dropped, it goes back to the queue.
            return;
        }
        // Messages of a lost connection will be delivered again: drop them here.
        state.deliveries.retain(RabbitmqDelivery::is_ours);
        state.deliveries.push_back(delivery);
        drop(state);
        self.arrived.notify_one();
    }

    async fn next(&self) -> Result<RabbitmqDelivery, Error> {
        lock(&self.state).receivers += 1;
        let _waiting = Waiting(self);
        self.wanted.notify_one();
        loop {
            if let Some(delivery) = self.take()? {
                return Ok(delivery);
            }
            self.arrived.notified().await;
        }
    }

    fn take(&self) -> Result<Option<RabbitmqDelivery>, Error> {
        let mut state = lock(&self.state);
        if state.closed {
            // Wake the next receiver as well.
            self.arrived.notify_one();
            return Err(unavailable("the queue is closed"));
        }
        state.deliveries.retain(RabbitmqDelivery::is_ours);
        let first = state.deliveries.pop_front();
        if !state.deliveries.is_empty() {
            // One wake-up may stand for several deliveries.
            self.arrived.notify_one();
        }
        Ok(first)
    }

    fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.deliveries.clear();
        self.arrived.notify_one();
        self.wanted.notify_one();
    }

    /// Waits until a receiver does, or it is closed.
    async fn awaited(&self) {
        while !self.is_awaited() {
            self.wanted.notified().await;
        }
    }

    fn is_awaited(&self) -> bool {
        let state = lock(&self.state);
        state.receivers > 0 || state.closed
    }

    /// Whether no receiver has waited for a while.
    fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        let left = state.left.filter(|_| state.receivers == 0);
        left.is_some_and(|left| left.elapsed() >= LINGER)
    }

    /// Returns all deliveries to the queue, unless a receiver has come for them.
    fn give_back(&self) {
        let mut state = lock(&self.state);
        if state.receivers == 0 {
            state.deliveries.clear();
        }
    }

    fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }
}

/// Locks, even if another thread panicked while it held the lock: every change here is a single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
