use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;

use super::lock;
use crate::ports::queue::{DeadLetter, DeadLetters, Delivery, Error, LONGEST_DELAY, Queue};
use crate::ports::{Clock, Timestamp};

/// A queue in memory.
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Messages that no receiver has, in the order they were published.
    ready: BTreeMap<u64, Message>,
    published: u64,
    dead: Vec<DeadLetter>,
    waiting: Vec<Waker>,
}

struct Message {
    payload: Vec<u8>,
    deliveries: u32,
    not_before: Timestamp,
}

impl Message {
    fn is_due(&self, now: Timestamp) -> bool {
        self.not_before <= now || self.not_before > now.plus(2 * LONGEST_DELAY)
    }
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = Mutex::default();
        MemoryQueue {
            shared: Arc::new(Shared { clock, state }),
        }
    }
}

impl Shared {
    fn put(&self, order: u64, message: Message) {
        let mut state = lock(&self.state);
        state.ready.insert(order, message);
        state.waiting.drain(..).for_each(Waker::wake);
    }

    fn take(&self) -> Option<(u64, Message)> {
        let now = self.clock.now();
        let ready = &mut lock(&self.state).ready;
        let order = *ready.iter().find(|(_, message)| message.is_due(now))?.0;
        ready.remove(&order).map(|message| (order, message))
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn publish(&self, payload: Vec<u8>) -> Result<(), Error> {
        let order = {
            let mut state = lock(&self.shared.state);
            state.published += 1;
            state.published
        };
        let message = Message {
            payload,
            deliveries: 0,
            not_before: Timestamp::default(),
        };
        self.shared.put(order, message);
        Ok(())
    }

    async fn receive(&self) -> Result<Box<dyn Delivery>, Error> {
        poll_fn(|context| {
            if let Some((order, mut message)) = self.shared.take() {
                message.deliveries += 1;
                let delivery = MemoryDelivery {
                    shared: self.shared.clone(),
                    order,
                    payload: message.payload,
                    deliveries: message.deliveries,
                    settled: false,
                };
                return Poll::Ready(Ok(Box::new(delivery) as Box<dyn Delivery>));
            }
            lock(&self.shared.state)
                .waiting
                .push(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

#[async_trait]
impl DeadLetters for MemoryQueue {
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        let state = lock(&self.shared.state);
        Ok(state.dead.iter().take(limit).cloned().collect())
    }

    async fn replay(&self, limit: usize) -> Result<usize, Error> {
        let again: Vec<DeadLetter> = {
            let mut state = lock(&self.shared.state);
            let count = limit.min(state.dead.len());
            state.dead.drain(..count).collect()
        };
        let count = again.len();
        for letter in again {
            self.publish(letter.payload).await?;
        }
        Ok(count)
    }

    async fn drop_dead(&self, limit: usize) -> Result<usize, Error> {
        let mut state = lock(&self.shared.state);
        let count = limit.min(state.dead.len());
        state.dead.drain(..count);
        Ok(count)
    }
}

struct MemoryDelivery {
    shared: Arc<Shared>,
    order: u64,
    payload: Vec<u8>,
    deliveries: u32,
    /// It must not come back when it is dropped.
    settled: bool,
}

impl MemoryDelivery {
    fn give_back(&mut self, not_before: Timestamp) {
        self.settled = true;
        let message = Message {
            payload: std::mem::take(&mut self.payload),
            deliveries: self.deliveries,
            not_before,
        };
        self.shared.put(self.order, message);
    }
}

impl Drop for MemoryDelivery {
    fn drop(&mut self) {
        if !self.settled {
            self.give_back(Timestamp::default());
        }
    }
}

#[async_trait]
impl Delivery for MemoryDelivery {
    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn attempt(&self) -> u32 {
        self.deliveries
    }

    async fn ack(mut self: Box<Self>) -> Result<(), Error> {
        self.settled = true;
        Ok(())
    }

    async fn retry(mut self: Box<Self>, after: Duration) -> Result<(), Error> {
        let not_before = self.shared.clock.now().plus(after.min(LONGEST_DELAY));
        self.give_back(not_before);
        Ok(())
    }

    async fn dead(mut self: Box<Self>, reason: &str) -> Result<(), Error> {
        self.settled = true;
        let letter = DeadLetter {
            payload: std::mem::take(&mut self.payload),
            reason: reason.to_owned(),
            deliveries: self.deliveries,
            died: Some(self.shared.clock.now()),
        };
        lock(&self.shared.state).dead.push(letter);
        Ok(())
    }
}
