//! Consumes a queue, and goes on when the broker returns.

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
use tokio::time::timeout;

use super::delivery::RabbitmqDelivery;
use super::link::{self, Backoff, LOOK, Link};
use super::publisher::Publisher;
use super::{error, unavailable};

/// How long the broker may take to start or stop a consumer.
const PATIENCE: Duration = Duration::from_secs(5);

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
        let consumed = lock(&subscription.current).take();
        if let Some((channel, tag)) = consumed {
            let cancel = channel.basic_cancel(tag, BasicCancelOptions::default());
            let cancelled = timeout(PATIENCE, cancel).await;
            // Messages that arrived before the broker stopped are still passing through the task.
            if let (Ok(Ok(())), Some(task)) = (cancelled, task) {
                let abort = task.abort_handle();
                let _ = timeout(PATIENCE, task).await;
                abort.abort();
            }
            if let Some(connection) = subscription.link.take().await
                && Arc::strong_count(&channel) == 1
            {
                link::end(&connection).await;
            }
        } else if let Some(task) = task {
            task.abort();
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
    /// The present channel, and our consumer tag on it.
    current: Mutex<Option<(Arc<Channel>, ShortString)>>,
}

impl Subscription {
    /// Consumes until the inbox is closed.
    async fn keep(self: Arc<Self>) {
        let mut backoff = Backoff::new();
        let mut out = false;
        loop {
            match self.subscribe().await {
                Ok((channel, consumer)) => {
                    if out {
                        tracing::info!(queue = &*self.name, "consuming again");
                    }
                    backoff = Backoff::new();
                    let lost = self.consume(channel, consumer).await;
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
                self.link.discard(&connection).await;
                Err(unavailable("the broker does not let us consume"))
            }
        }
    }

    async fn start(
        &self,
        connection: &Connection,
    ) -> Result<(Arc<Channel>, lapin::Consumer), Error> {
        let channel = connection.create_channel().await.map_err(error)?;
        channel
            .basic_qos(self.prefetch, BasicQosOptions::default())
            .await
            .map_err(error)?;
        let consumer = channel
            .basic_consume(
                (&*self.name).into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(error)?;
        Ok((Arc::new(channel), consumer))
    }

    /// Passes deliveries on until they end, and returns the reason.
    async fn consume(&self, channel: Arc<Channel>, mut consumer: lapin::Consumer) -> String {
        *lock(&self.current) = Some((channel.clone(), consumer.tag()));
        let why = loop {
            let Ok(next) = timeout(LOOK, consumer.next()).await else {
                if channel.status().connected() {
                    continue;
                }
                break "the connection was lost".to_owned();
            };
            match next {
                Some(Ok(message)) => self.inbox.put(RabbitmqDelivery::new(
                    message,
                    self.name.clone(),
                    channel.clone(),
                    self.publisher.clone(),
                )),
                Some(Err(e)) => break e.to_string(),
                None => break "the broker cancelled it: is the queue gone?".to_owned(),
            }
        };
        *lock(&self.current) = None;
        why
    }
}

/// Deliveries waiting for a receiver.
#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    deliveries: VecDeque<RabbitmqDelivery>,
    closed: bool,
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
    }

    fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }
}

/// Locks, even if another thread panicked while it held the lock: every change here is a single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
