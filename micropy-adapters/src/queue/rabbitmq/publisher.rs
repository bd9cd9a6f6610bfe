//! Publishes messages, and waits for the broker to confirm them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use micropy_core::ports::queue::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::link::{self, Backoff, Link, answer};
use super::unavailable;

/// How long a message may take to become durable.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many messages may be under way at a time.
const CHANNELS: usize = 16;

pub(super) struct Publisher {
    link: Link,
    permits: Semaphore,
    idle: Mutex<Vec<Open>>,
}

/// A channel with publisher confirms, and its connection. It carries one message at a time: lapin matches returned
/// messages by their order alone.
struct Open {
    connection: Arc<Connection>,
    channel: Channel,
}

/// What became of a message.
enum Sent {
    Durable,
    /// There is no such queue.
    Returned,
}

impl Publisher {
    pub(super) fn new(link: Link) -> Self {
        Publisher {
            link,
            permits: Semaphore::new(CHANNELS),
            idle: Mutex::default(),
        }
    }

    /// Publishes a message to `queue`, which is declared with `arguments` if it is missing.
    ///
    /// If the connection is lost meanwhile, the message may be there twice. It may also be there if this fails.
    pub(super) async fn publish(
        &self,
        queue: &str,
        arguments: FieldTable,
        payload: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut backoff = Backoff::new();
        let mut declared = false;
        let mut last = None;
        let attempts = async {
            loop {
                match self
                    .attempt(queue, payload, properties.clone(), deadline)
                    .await
                {
                    Ok(Sent::Durable) => return Ok(()),
                    Ok(Sent::Returned) if declared => return Err(Error::NotFound),
                    Ok(Sent::Returned) => {
                        let connection = self.link.connection().await?;
                        link::declare(&connection, queue, arguments.clone()).await?;
                        declared = true;
                    }
                    Err(Error::Unavailable(e)) => {
                        last = Some(e);
                        backoff.wait().await;
                    }
                    Err(e) => return Err(e),
                }
            }
        };
        let outcome = timeout_at(deadline, attempts).await;
        outcome.unwrap_or_else(|_| {
            Err(Error::Unavailable(last.unwrap_or_else(|| {
                "the broker does not confirm the message".into()
            })))
        })
    }

    async fn attempt(
        &self,
        queue: &str,
        payload: &[u8],
        properties: BasicProperties,
        deadline: Instant,
    ) -> Result<Sent, Error> {
        let _permit = self.permits.acquire().await.map_err(unavailable)?;
        let connection = self.link.connection().await?;
        if connection.status().blocked() {
            return Err(unavailable(
                "the broker is short of memory or disk and accepts no messages",
            ));
        }
        let open = self.channel(connection).await?;
        let options = BasicPublishOptions {
            mandatory: true,
            immediate: false,
        };
        let is_up = || open.channel.status().connected();
        let confirmation = answer(is_up, async {
            open.channel
                .basic_publish("".into(), queue.into(), options, payload, properties)
                .await?
                .await
        });
        // A little before the caller gives up, so that a silent broker is dropped for a new connection.
        let silent = deadline - Duration::from_millis(100);
        let Ok(confirmation) = timeout_at(silent, confirmation).await else {
            self.link.discard(&open.connection).await;
            return Err(unavailable("the broker does not confirm the message"));
        };
        let sent = match confirmation? {
            Confirmation::Ack(None) => Ok(Sent::Durable),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Ok(Sent::Returned),
            Confirmation::Nack(None) => Err(unavailable("the broker refuses the message")),
            Confirmation::NotRequested => Err(unavailable("the channel does not confirm")),
        };
        self.idle().push(open);
        sent
    }

    /// An idle channel of `connection`, or a new one.
    async fn channel(&self, connection: Arc<Connection>) -> Result<Open, Error> {
        while let Some(open) = self.take_idle() {
            if Arc::ptr_eq(&open.connection, &connection) && open.channel.status().connected() {
                return Ok(open);
            }
        }
        let is_up = || connection.status().connected();
        let channel = answer(is_up, connection.create_channel()).await?;
        answer(
            is_up,
            channel.confirm_select(ConfirmSelectOptions::default()),
        )
        .await?;
        Ok(Open {
            connection,
            channel,
        })
    }

    /// A channel of its own on the connection.
    pub(super) async fn new_channel(&self) -> Result<Channel, Error> {
        let connection = self.link.connection().await?;
        let is_up = || connection.status().connected();
        answer(is_up, connection.create_channel()).await
    }

    fn take_idle(&self) -> Option<Open> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Open>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection; the next message makes a new one.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.link.take().await {
            link::end(&connection).await;
        }
        // They end with the connection. Closing them at the same time would be an error to lapin.
        self.idle().clear();
    }
}
