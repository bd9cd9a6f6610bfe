//! The notification service: tells the owners of jobs, and their programs, that their MP3 is ready, or why the conversion
//! failed.

mod mail;
mod webhooks;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use micropy_core::ports::jobs::{self, Notice, State, Topic};
use micropy_core::ports::notifier::{Error, Notification};
use micropy_core::ports::queue::{self, Delivery};
use micropy_core::ports::{Id, Notifier, Timestamp};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::Ports;
use crate::job::inbox::{self, HAND_BACK};
use crate::job::message::Body;
use crate::telemetry::{self, Metrics};

/// Attempts at a mail: some four days, as mail servers do it (RFC 5321, section 4.5.4.1). The pause between them
/// doubles up to the longest: 5 s, 10 s, 20 s …, an hour. Then the message is a dead letter, which an operator can
/// replay.
const MAX_ATTEMPTS: u32 = 110;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How long a claim on a mail lasts without being renewed, and how often it is. Who dies in between keeps the mail back
/// for that long.
const CLAIM: Duration = Duration::from_secs(30);
const RENEWAL: Duration = Duration::from_secs(10);
/// The least pause before looking again whether somebody else has sent a mail.
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// Mails of each kind that are sent at the same time.
const MAILS: usize = 4;
/// A mail that fails after so long has met a server that hangs. For a while, no other is tried: what waits behind it has
/// webhooks, too, and they are called from the same messages.
const HANG: Duration = Duration::from_secs(10);
const AFTER_HANG: Duration = Duration::from_secs(60);
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
#[derive(Clone)]
pub struct NotificationService {
    ports: Ports,
    notifier: Arc<dyn Notifier>,
    /// What calls users' webhooks, if anything does.
    webhooks: Option<Arc<dyn Notifier>>,
    /// Told when there is something to call them for.
    planned: Arc<Notify>,
    /// Until when the mail server is not asked, because it hangs.
    hangs: Arc<Mutex<Option<Instant>>>,
    metrics: Arc<Metrics>,
    public_url: String,
    grace: Duration,
}

impl NotificationService {
    /// A notification service that sends mails by `notifier`. Links in mails begin with `public_url`.
    pub fn new(ports: Ports, notifier: Arc<dyn Notifier>, public_url: impl Into<String>) -> Self {
        NotificationService {
            ports,
            notifier,
            webhooks: None,
            planned: Arc::default(),
            hangs: Arc::default(),
            metrics: Arc::default(),
            public_url: public_url.into(),
            grace: Duration::from_secs(20),
        }
    }

    /// What calls the webhooks of users. Without it, none is called.
    #[must_use]
    pub fn webhooks(mut self, notifier: Arc<dyn Notifier>) -> Self {
        self.webhooks = Some(notifier);
        self
    }

    /// Where to count what happens.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// How long the mails under way may take after the shutdown. The default is 20 seconds.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sends mails and calls webhooks until `shutdown`. What is not sent when the grace period ends is sent later.
    pub async fn run(self, shutdown: CancellationToken) {
        let (cut_off, _timer) = inbox::cut_off(shutdown.clone(), self.grace);
        let handle = |delivery, body| self.handle(delivery, body, &shutdown, &cut_off);
        let mailing = [[Topic::Mp3], [Topic::Failed]];
        let mailing = mailing.iter().flat_map(|topic| [topic; MAILS]);
        let mailing = mailing.map(|topic| self.ports.work_through(topic, &shutdown, &handle));
        tokio::join!(join_all(mailing), self.deliver(&shutdown, &cut_off));
    }

    /// How long the mail server is not asked, because it hangs.
    fn hung_for(&self) -> Option<Duration> {
        let until = *self.hangs.lock().unwrap_or_else(PoisonError::into_inner);
        until?.checked_duration_since(Instant::now())
    }

    /// Sends a mail, unless another one has just shown that the server hangs.
    async fn send_mail(&self, mail: &Notification) -> Result<(), Error> {
        if self.hung_for().is_some() {
            return Err(Error::Unavailable(
                "the server did not answer another mail".into(),
            ));
        }
        let asked = Instant::now();
        let sent = self.notifier.notify(mail).await;
        if matches!(sent, Err(Error::Unavailable(_))) && asked.elapsed() >= HANG {
            let mut hangs = self.hangs.lock().unwrap_or_else(PoisonError::into_inner);
            *hangs = Some(Instant::now() + AFTER_HANG);
        }
        sent
    }

    async fn handle(
        &self,
        delivery: Box<dyn Delivery>,
        body: Body,
        shutdown: &CancellationToken,
        cut_off: &CancellationToken,
    ) -> Result<(), queue::Error> {
        let job_id = body.job_id.as_deref().unwrap_or_default();
        if let Some(code) = &body.account
            && code.until <= self.ports.clock.now().as_millis()
        {
            // Nobody is served by keeping it: its user asks for another.
            tracing::warn!("a mail about an account is dropped: its link would be too old");
            self.metrics.mail("too late");
            return delivery.ack().await;
        }
        let is_failure = body.failure.is_some() && body.job().is_some();
        if body.account.is_none() && !is_failure && body.mp3().is_none() {
            return delivery.dead("mp3_fid is missing").await;
        }
        // Who else has the same message does not send the mail meanwhile.
        let notifier = self.ports.new_id();
        // Giving the message back would count as an attempt, and the mail has not been tried yet.
        let (claim, is_announced) = loop {
            match self.claim(&body, notifier).await {
                Ok(claim) => break claim,
                Err(e) => tracing::warn!(job_id, error = %e, "the ledger fails"),
            }
            let pause = tokio::time::sleep(LEDGER_PAUSE);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return delivery.retry(Duration::ZERO).await;
            }
        };
        let claimed = match claim {
            Claim::Ours(job) => Some(job),
            Claim::Nobodys => None,
            Claim::Others(until) => {
                let wait = until.since(self.ports.clock.now());
                return delivery.retry(wait.max(LEAST_WAIT)).await;
            }
            Claim::Needless => return end(delivery, is_announced).await,
        };
        let notification = self.mail(&body).await;
        let mailing = telemetry::mailing();
        let sending = self.send_mail(&notification).instrument(mailing.clone());
        let sent = tokio::select! {
            sent = sending => sent,
            // The mail server has no answer. It may have the mail all the same: who sends it again gives it the same
            // Message-ID.
            () = cut_off.cancelled() => {
                if let Some(job) = claimed {
                    let given_back = self.ports.jobs.release_notification(job, notifier);
                    if !matches!(timeout(HAND_BACK / 2, given_back).await, Ok(Ok(()))) {
                        tracing::warn!(job_id, "the claim on a mail must expire");
                    }
                }
                tracing::warn!(job_id, "mail not sent before the service stopped");
                return delivery.retry(Duration::ZERO).await;
            }
            never = self.keep_claim(claimed, notifier) => match never {},
        };
        if let Err(e) = &sent {
            telemetry::record_failure(&mailing, e);
            telemetry::record_failure(&Span::current(), e);
        }
        drop(mailing);
        if let (Err(_), Some(job)) = (&sent, claimed)
            && let Err(e) = self.ports.jobs.release_notification(job, notifier).await
        {
            tracing::warn!(job_id, error = %e, "the claim on a mail must expire");
        }
        match sent {
            Ok(()) => {
                self.metrics.mail("sent");
                tracing::info!(job_id, "mail sent");
                if let Some(job) = claimed {
                    self.record(job, shutdown).await;
                }
                end(delivery, is_announced).await
            }
            Err(Error::Rejected(why)) if is_announced || delivery.attempt() >= MAX_ATTEMPTS => {
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
                let pause = pause_after(delivery.attempt());
                let pause = pause.max(self.hung_for().unwrap_or_default());
                tracing::warn!(job_id, error = %e, ?pause, "mail delayed");
                delivery.retry(pause).await
            }
        }
    }

    /// Claims the mail in the ledger: a message may come twice, and to two services at the same time. Returns also
    /// whether all webhooks of the job are planned to be called.
    async fn claim(&self, body: &Body, notifier: Id) -> Result<(Claim, bool), jobs::Error> {
        let Some(id) = body.job() else {
            return Ok((Claim::Nobodys, true));
        };
        if let Some(mp3) = body.mp3() {
            self.ports.record_mp3(id, mp3).await?;
        }
        if body.failure.is_some() {
            match self.ports.jobs.get(id).await {
                // Its owner has retried it, and hears how that ends.
                Ok(job) if job.state != State::Failed => return Ok((Claim::Needless, true)),
                Ok(_) => {}
                Err(jobs::Error::NotFound) => return Ok((Claim::Needless, true)),
                Err(e) => return Err(e),
            }
        }
        let is_announced = self.announce(id).await?;
        let claimed = self.ports.jobs.begin_notification(id, notifier, CLAIM);
        let claim = match claimed.await {
            Ok(Notice::Yours) => Claim::Ours(id),
            Ok(Notice::Taken(until)) => Claim::Others(until),
            Ok(Notice::Sent) => Claim::Needless,
            // It was deleted. There is nothing to download, and nothing to be told.
            Err(jobs::Error::NotFound) => return Ok((Claim::Needless, true)),
            // An original converter's MP3 of a job that is being converted again.
            Err(jobs::Error::Rejected(_)) => return Ok((Claim::Nobodys, true)),
            Err(e) => return Err(e),
        };
        Ok((claim, is_announced))
    }

    /// Renews a claim for as long as the mail is being sent.
    async fn keep_claim(&self, claimed: Option<Id>, notifier: Id) -> Infallible {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Some(job) = claimed {
                let renewed = self.ports.jobs.begin_notification(job, notifier, CLAIM);
                if let Err(e) = renewed.await {
                    tracing::warn!(job_id = %job, error = %e, "the claim on a mail is not renewed yet");
                }
            }
        }
    }

    /// Records in the ledger that the owner was notified, unless the job was deleted meanwhile. Until that is done, a
    /// second message would lead to a second mail.
    async fn record(&self, job: Id, shutdown: &CancellationToken) {
        loop {
            match self.ports.jobs.notified(job).await {
                Ok(()) | Err(jobs::Error::NotFound | jobs::Error::Rejected(_)) => return,
                Err(e) => {
                    tracing::warn!(job_id = %job, error = %e, "the ledger does not know of the mail yet");
                }
            }
            let pause = tokio::time::sleep(LEDGER_PAUSE);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }
}

/// The pause after so many attempts that failed.
fn pause_after(attempts: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

/// Ends a message whose mail needs nothing more. Where webhooks could not be planned, it comes again for them.
async fn end(delivery: Box<dyn Delivery>, is_announced: bool) -> Result<(), queue::Error> {
    match delivery.attempt() {
        _ if is_announced => delivery.ack().await,
        MAX_ATTEMPTS.. => delivery.dead("its webhooks cannot be called").await,
        attempt => delivery.retry(pause_after(attempt)).await,
    }
}

/// Who sends a mail.
enum Claim {
    /// We do, and the ledger knows it.
    Ours(Id),
    /// We do. The message is about no job of the ledger, or about one in another state.
    Nobodys,
    /// Somebody else does, who has until then.
    Others(Timestamp),
    /// Nobody: it was sent, or is no news any more, or its job was deleted.
    Needless,
}
