//! Working through a queue.

use std::time::Duration;

use micropy_core::ports::jobs::Topic;
use micropy_core::ports::queue::{self, Delivery};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::message::Body;
use crate::{Ports, telemetry};

/// The pause before asking a queue again that failed.
const QUEUE_PAUSE: Duration = Duration::from_secs(1);

impl Ports {
    /// Handles the messages of a topic, one after the other, until `shutdown`. A payload that is no message becomes a dead
    /// letter.
    pub async fn work_through<H>(
        &self,
        topic: Topic,
        shutdown: &CancellationToken,
        handle: impl Fn(Box<dyn Delivery>, Body) -> H,
    ) where
        H: Future<Output = Result<(), queue::Error>>,
    {
        let queue = self.queues.of(topic);
        while let Some(received) = shutdown.run_until_cancelled(queue.receive()).await {
            let handled = match received {
                Ok(delivery) => match Body::parse(delivery.payload()) {
                    Ok(body) => {
                        let span = telemetry::processing(topic, &body);
                        handle(delivery, body).instrument(span).await
                    }
                    Err(e) => delivery.dead(&format!("not a message of ours: {e}")).await,
                },
                // The queue was told to stop, too.
                Err(_) if shutdown.is_cancelled() => return,
                Err(e) => Err(e),
            };
            if let Err(e) = handled {
                tracing::warn!(queue = topic.name(), error = %e, "the queue fails");
                tokio::time::sleep(QUEUE_PAUSE).await;
            }
        }
    }
}
