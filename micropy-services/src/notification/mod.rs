//! The notification service: tells owners that their MP3 is there, or why there will be none.

use std::sync::Arc;
use std::time::Duration;

use micropy_core::ports::Notifier;
use micropy_core::ports::jobs::{self, Topic};
use micropy_core::ports::notifier::{Error, Notification};
use micropy_core::ports::queue::{self, Delivery};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::Ports;
use crate::job::message::Body;
use crate::telemetry;
use crate::telemetry::metrics::Metrics;

/// A mail that cannot be delivered is tried again after 5 s, 10 s, 20 s … and given up after the tenth
/// try: after some 40 minutes.
const TRIES: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Before asking the ledger again when it cannot be reached.
const LEDGER_PAUSE: Duration = Duration::from_secs(5);
/// Before asking the queue again when it cannot be reached.
const QUEUE_PAUSE: Duration = Duration::from_secs(1);

/// Tells owners of finished jobs.
pub struct Notifications {
    pub ports: Ports,
    pub notifier: Arc<dyn Notifier>,
    pub metrics: Arc<Metrics>,
    /// What links in mails begin with.
    pub public_url: String,
}

impl Notifications {
    /// Works until told to stop. What it holds then is told by the next to run.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(
            self.serve(Topic::Mp3, &stop),
            self.serve(Topic::Failed, &stop)
        );
    }

    async fn serve(&self, topic: Topic, stop: &CancellationToken) {
        let queue = self.ports.queues.of(topic);
        while let Some(received) = stop.run_until_cancelled(queue.receive()).await {
            let handled = match received {
                Ok(delivery) => {
                    let span = telemetry::processing(topic, delivery.payload());
                    self.handle(delivery, stop).instrument(span).await
                }
                Err(e) => Err(e),
            };
            if let Err(e) = handled {
                tracing::warn!(queue = topic.name(), error = %e, "the queue fails");
                tokio::time::sleep(QUEUE_PAUSE).await;
            }
        }
    }

    async fn handle(
        &self,
        delivery: Box<dyn Delivery>,
        stop: &CancellationToken,
    ) -> Result<(), queue::Error> {
        let body = match Body::parse(delivery.payload()) {
            Ok(body) => body,
            Err(e) => return delivery.dead(&format!("not a message of ours: {e}")).await,
        };
        let job_id = body.job_id.as_deref().unwrap_or_default();
        let notification = match (&body.failure, body.mp3()) {
            (Some(reason), _) if body.job().is_some() => self.compose_failure(&body, reason),
            (_, Some(mp3)) => self.compose(&body, &mp3.to_string()),
            _ => return delivery.dead("mp3_fid is missing").await,
        };
        // A message that is given back counts as tried, and mails are tried only so often: it is kept.
        loop {
            match self.is_told(&body).await {
                Ok(false) => break,
                Ok(true) => return delivery.ack().await,
                Err(e) => tracing::warn!(job_id, error = %e, "the ledger fails"),
            }
            let pause = tokio::time::sleep(LEDGER_PAUSE);
            if stop.run_until_cancelled(pause).await.is_none() {
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
            telemetry::failed(&mailing, e);
            telemetry::failed(&Span::current(), e);
        }
        drop(mailing);
        match sent {
            Ok(()) => {
                self.metrics.mail("sent");
                tracing::info!(job_id, "the owner is told");
                self.note(&body).await;
                delivery.ack().await
            }
            Err(Error::Rejected(why)) => {
                self.metrics.mail("refused");
                tracing::warn!(job_id, why, "the owner cannot be told");
                delivery.dead(&why).await
            }
            Err(e) if delivery.attempt() >= TRIES => {
                self.metrics.mail("given up");
                tracing::error!(job_id, error = %e, "the owner could not be told");
                delivery.dead(&e.to_string()).await
            }
            Err(e) => {
                self.metrics.mail("delayed");
                let pause =
                    FIRST_PAUSE * 2_u32.saturating_pow(delivery.attempt().saturating_sub(1));
                tracing::warn!(job_id, error = %e, ?pause, "the owner cannot be told yet");
                delivery.retry(pause).await
            }
        }
    }

    /// Whether the owner was told before: a message may come twice. A job that the ledger does not know is
    /// news.
    async fn is_told(&self, body: &Body) -> Result<bool, jobs::Error> {
        let Some(id) = body.job() else {
            return Ok(false);
        };
        let known = match body.mp3() {
            Some(mp3) => self.ports.settle(id, mp3).await?,
            None => match self.ports.jobs.get(id).await {
                Ok(job) => Some(job),
                Err(jobs::Error::NotFound) => None,
                Err(e) => return Err(e),
            },
        };
        Ok(known.is_some_and(|job| job.notified.is_some()))
    }

    /// Notes in the ledger that the owner was told. A job that is gone by now needs no note.
    async fn note(&self, body: &Body) {
        let Some(id) = body.job() else { return };
        match self.ports.jobs.notified(id).await {
            Ok(()) | Err(jobs::Error::NotFound) => {}
            Err(e) => tracing::warn!(job_id = %id, error = %e, "the mail is not in the ledger"),
        }
    }

    /// Where the owner finds the MP3. The page, not the file: a browser sends our cookie, which is
    /// `SameSite=Strict`, with what the page asks for, but not with a link out of a web mailer. A message
    /// that names no job comes from another gateway, which has no page.
    fn link(&self, body: &Body, mp3: &str) -> String {
        match body.job() {
            Some(job) => format!("{}/#job-{job}", self.public_url),
            None => format!("{}/download?fid={mp3}", self.public_url),
        }
    }

    /// The mail about a job that failed. A job that is tried again and then succeeds is other news.
    fn compose_failure(&self, body: &Body, reason: &str) -> Notification {
        let link = self.link(body, "");
        let name = body.file_name.as_deref().unwrap_or("your video");
        Notification {
            key: format!("{}.failed", body.job_id.as_deref().unwrap_or_default()),
            to: body.username.clone(),
            subject: "MP3 conversion failed".into(),
            text: format!("{name} could not be converted: {reason}\n\n{link}\n"),
            html: Some(format!(
                "<p><b>{}</b> could not be converted: {}</p>\n<p><a href=\"{link}\">Look at the job</a></p>\n",
                escape(name),
                escape(reason)
            )),
        }
    }

    /// The original's mail, and a link. One job is one key, however often it is told.
    fn compose(&self, body: &Body, mp3: &str) -> Notification {
        let link = self.link(body, mp3);
        let name = body.file_name.as_deref().unwrap_or("your video");
        Notification {
            key: body.job_id.as_deref().unwrap_or(mp3).to_owned(),
            to: body.username.clone(),
            subject: "MP3 Download".into(),
            text: format!("mp3 file_id: {mp3} is now ready!\n\n{name}: {link}\n"),
            html: Some(format!(
                "<p>The MP3 of <b>{}</b> is ready: <a href=\"{link}\">play or download it</a></p>\n",
                escape(name)
            )),
        }
    }
}

/// Text within HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
