//! The outbox: messages that the ledger owes the queues.
//!
//! A message becomes durable in the ledger, together with the change that it announces. The service that made the
//! change publishes it at once. Where that fails, or the process dies, [`run`] does it later.

use std::time::Duration;

use micropy_core::ports::jobs::{CLAIM_TIME, Owed};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::intake::IntakeError;
use crate::Ports;

/// The pause between two looks into the ledger.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the messages of one claim are sent: the last of them is with its queue before somebody else is given it.
const SENDING: Duration = Duration::from_secs(15);

/// Publishes owed messages until `shutdown`.
pub async fn run(ports: Ports, shutdown: CancellationToken) {
    while shutdown
        .run_until_cancelled(tokio::time::sleep(PAUSE))
        .await
        .is_some()
    {
        if let Err(e) = ports.send_owed().await {
            tracing::warn!(error = %e, "messages stay in the ledger for now");
        }
    }
}

impl Ports {
    /// Publishes a message that the ledger owes. If this fails, the sender publishes it later.
    pub async fn try_send(&self, owed: Option<Owed>) {
        let Some(owed) = owed else { return };
        if let Err(e) = self.send(owed).await {
            tracing::warn!(error = %e, "a message stays in the ledger for now");
        }
    }

    /// Publishes the messages that nobody else is publishing. A queue that fails does not hold up the others.
    pub async fn send_owed(&self) -> Result<(), IntakeError> {
        const PAGE: usize = 100;
        const { assert!(SENDING.as_secs() < CLAIM_TIME.as_secs()) };
        loop {
            let claimed = Instant::now();
            let owed = self.jobs.claim_owed(PAGE).await?;
            let last = owed.len() < PAGE;
            let (mut failing, mut failure) = (Vec::new(), None);
            for owed in owed {
                if claimed.elapsed() > SENDING {
                    // The others are claimed again, by whoever looks next.
                    return failure.map_or(Ok(()), Err);
                }
                let topic = owed.message.topic;
                if failing.contains(&topic) {
                    continue;
                }
                if let Err(e) = self.send(owed).await {
                    failing.push(topic);
                    failure = Some(e);
                }
            }
            match failure {
                Some(e) => return Err(e),
                None if last => return Ok(()),
                None => {}
            }
        }
    }

    /// Publishes an owed message, and tells the ledger.
    pub async fn send(&self, Owed { id, message }: Owed) -> Result<(), IntakeError> {
        self.queues
            .of(message.topic)
            .publish(message.payload)
            .await?;
        Ok(self.jobs.sent(&[id]).await?)
    }
}
