//! The notification service: tells the owners of jobs that their MP3 is ready, or why the conversion failed.

mod mail;

use std::sync::Arc;
use std::time::Duration;

use micropy_core::ports::Notifier;
use micropy_core::ports::jobs::{self, Topic};
use micropy_core::ports::notifier::Error;
use micropy_core::ports::queue::{self, Delivery};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::Ports;
use crate::job::message::Body;
use crate::telemetry::{self, Metrics};

/// Attempts at a mail. The pause between them doubles: 5 s, 10 s, 20 s …, some 40 minutes in all.
const MAX_ATTEMPTS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The pause before asking a ledger again that failed.
const LEDGER_PAUSE: Duration = Duration::from_secs(5);

/// The notification service.
///
/// ```
/// # use std::sync::Arc;
/// # use micropy_core::ports::time::{ManualClock, Timestamp};
/// use micropy_core::ports::memory::MemoryNotifier;
/// use micropy_services::Ports;
/// use micropy_services::notification::NotificationService;
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let clock = Arc::new(ManualClock::new(Timestamp::default()));
/// let ports = Ports::in_memory(clock);
/// let notifier = Arc::new(MemoryNotifier::default());
/// let shutdown = CancellationToken::new();
/// let service = NotificationService::new(ports, notifier, "https://example.com");
/// let running = tokio::spawn(service.run(shutdown.clone()));
///
/// shutdown.cancel();
/// running.await.unwrap();
/// # }
/// ```
pub struct NotificationService {
    ports: Ports,
    notifier: Arc<dyn Notifier>,
    metrics: Arc<Metrics>,
    public_url: String,
}

impl NotificationService {
    /// A notification service that sends mails by `notifier`. Links in mails begin with `public_url`.
    pub fn new(ports: Ports, notifier: Arc<dyn Notifier>, public_url: impl Into<String>) -> Self {
        NotificationService {
            ports,
            notifier,
            metrics: Arc::default(),
            public_url: public_url.into(),
        }
    }

    /// Where to count what happens.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sends mails until `shutdown`. Those that are not sent by then stay in the queue.
    pub async fn run(self, shutdown: CancellationToken) {
        let handle = |delivery, body| self.handle(delivery, body, &shutdown);
        tokio::join!(
            self.ports.work_through(Topic::Mp3, &shutdown, &handle),
            self.ports.work_through(Topic::Failed, &shutdown, &handle)
        );
    }

    async fn handle(
        &self,
        delivery: Box<dyn Delivery>,
        body: Body,
        shutdown: &CancellationToken,
    ) -> Result<(), queue::Error> {
        let job_id = body.job_id.as_deref().unwrap_or_default();
        if let Some(code) = &body.account
            && code.until <= self.ports.clock.now().as_millis()
        {
            return delivery.dead("the link would be too old").await;
        }
        let notification = match (&body.failure, body.mp3(), &body.account) {
            (_, _, Some(code)) => self.account_mail(&body.username, code),
            (Some(reason), ..) if body.job().is_some() => self.failure_mail(&body, reason),
            (_, Some(mp3), _) => self.mp3_mail(&body, &mp3.to_string()),
            _ => return delivery.dead("mp3_fid is missing").await,
        };
        // Giving the message back would count as an attempt, and the mail has not been tried yet.
        loop {
            match self.was_notified(&body).await {
                Ok(false) => break,
                Ok(true) => return delivery.ack().await,
                Err(e) => tracing::warn!(job_id, error = %e, "the ledger fails"),
            }
            let pause = tokio::time::sleep(LEDGER_PAUSE);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return delivery.retry(Duration::ZERO).await;
            }
        }
        let mailing = telemetry::mailing();
        let sent = self
            .notifier
            .notify(&notification)
            .instrument(mailing.clone())
            .await;
        if let Err(e) = &sent {
            telemetry::record_failure(&mailing, e);
            telemetry::record_failure(&Span::current(), e);
        }
        drop(mailing);
        match sent {
            Ok(()) => {
                self.metrics.mail("sent");
                tracing::info!(job_id, "mail sent");
                self.record(&body).await;
                delivery.ack().await
            }
            Err(Error::Rejected(why)) => {
                self.metrics.mail("refused");
                tracing::warn!(job_id, why, "mail rejected");
                delivery.dead(&why).await
            }
            Err(e) if delivery.attempt() >= MAX_ATTEMPTS => {
                self.metrics.mail("given up");
                tracing::error!(job_id, error = %e, "mail given up");
                delivery.dead(&e.to_string()).await
            }
            Err(e) => {
                self.metrics.mail("delayed");
                let pause =
                    FIRST_PAUSE * 2_u32.saturating_pow(delivery.attempt().saturating_sub(1));
                tracing::warn!(job_id, error = %e, ?pause, "mail delayed");
                delivery.retry(pause).await
            }
        }
    }

    /// Whether the owner was notified already: a message may come twice. Owners of jobs that the ledger does not know
    /// were not.
    async fn was_notified(&self, body: &Body) -> Result<bool, jobs::Error> {
        let Some(id) = body.job() else {
            return Ok(false);
        };
        let known = match body.mp3() {
            Some(mp3) => self.ports.record_mp3(id, mp3).await?,
            None => match self.ports.jobs.get(id).await {
                Ok(job) => Some(job),
                Err(jobs::Error::NotFound) => None,
                Err(e) => return Err(e),
            },
        };
        Ok(known.is_some_and(|job| job.notified.is_some()))
    }

    /// Records in the ledger that the owner was notified, unless the job was deleted meanwhile.
    async fn record(&self, body: &Body) {
        let Some(id) = body.job() else { return };
        match self.ports.jobs.notified(id).await {
            Ok(()) | Err(jobs::Error::NotFound) => {}
            Err(e) => {
                tracing::warn!(job_id = %id, error = %e, "the ledger does not know of the mail")
            }
        }
    }
}
