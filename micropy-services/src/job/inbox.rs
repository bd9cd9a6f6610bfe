//! Working through a queue.

use std::time::Duration;

use futures_util::future::select_all;
use micropy_core::ports::jobs::Topic;
use micropy_core::ports::queue::{self, Delivery};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::message::Body;
use crate::{Ports, telemetry};

/// The pause before asking a queue again that failed.
const QUEUE_PAUSE: Duration = Duration::from_secs(1);

/// The part of a grace period in which what has not ended is given back, at most.
pub const HAND_BACK: Duration = Duration::from_secs(2);

/// A token that is cancelled when what has not ended after `shutdown` is to be given back, before `grace` is over. It
/// is not cancelled any more when the handle is dropped.
pub fn cut_off(
    shutdown: CancellationToken,
    grace: Duration,
) -> (CancellationToken, AbortOnDropHandle<()>) {
    let cut_off = CancellationToken::new();
    let (token, grace) = (
        cut_off.clone(),
        grace.saturating_sub(HAND_BACK.min(grace / 4)),
    );
    let timer = tokio::spawn(async move {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
        token.cancel();
    });
    (cut_off, AbortOnDropHandle::new(timer))
}

impl Ports {
    /// The next message of any of the topics.
    async fn receive_any(
        &self,
        topics: &[Topic],
    ) -> (Topic, Result<Box<dyn Delivery>, queue::Error>) {
        let receive = |topic: &Topic| {
            let topic = *topic;
            Box::pin(async move { (topic, self.queues.of(topic).receive().await) })
        };
        // Whoever comes first: a delivery that another drops comes back.
        let (received, ..) = select_all(topics.iter().map(receive)).await;
        received
    }

    /// Handles the messages of some topics, one after the other, until `shutdown`. A payload that is no message becomes a
    /// dead letter.
    pub async fn work_through<H>(
        &self,
        topics: &[Topic],
        shutdown: &CancellationToken,
        handle: impl Fn(Box<dyn Delivery>, Body) -> H,
    ) where
        H: Future<Output = Result<(), queue::Error>>,
    {
        while let Some((topic, received)) =
            shutdown.run_until_cancelled(self.receive_any(topics)).await
        {
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
