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

    /// Handles the messages of some topics, one after the other, until `shutdown`. Where several have some, the topics take
    /// turns. A payload that is no message becomes a dead letter.
    pub async fn work_through<H>(
        &self,
        topics: &[Topic],
        shutdown: &CancellationToken,
        handle: impl Fn(Box<dyn Delivery>, Body) -> H,
    ) where
        H: Future<Output = Result<(), queue::Error>>,
    {
        // Of those that are ready at the same time, the first one is taken.
        let mut topics = topics.to_vec();
        while let Some((topic, received)) = shutdown
            .run_until_cancelled(self.receive_any(&topics))
            .await
        {
            while topics.last() != Some(&topic) {
                topics.rotate_left(1);
            }
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use micropy_core::ports::time::{ManualClock, Timestamp};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn where_several_topics_have_messages_they_take_turns() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let ports = Ports::in_memory(clock);
        for (topic, count) in [(Topic::Video, 4), (Topic::Import, 2)] {
            for _ in 0..count {
                let body = json!({ "video_fid": "1", "mp3_fid": null, "username": topic.name() });
                let queue = ports.queues.of(topic);
                queue.publish(body.to_string().into_bytes()).await.unwrap();
            }
        }
        let (handled, shutdown) = (Mutex::new(Vec::new()), CancellationToken::new());
        let handle = async |delivery: Box<dyn Delivery>, body: Body| {
            handled.lock().unwrap().push(body.username);
            if handled.lock().unwrap().len() == 6 {
                shutdown.cancel();
            }
            delivery.ack().await
        };
        let topics = [Topic::Video, Topic::Import];
        let working = ports.work_through(&topics, &shutdown, handle);
        let ended = tokio::time::timeout(Duration::from_secs(20), working).await;
        ended.expect("six messages");
        let [video, import] = topics.map(Topic::name);
        let order = [video, import, video, import, video, video];
        assert_eq!(*handled.lock().unwrap(), order);
    }
}
