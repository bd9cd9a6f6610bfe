//! Webhooks: a user's programs are told of jobs as mail tells the user.
//!
//! The message that asks for a mail also plans a delivery to each of the owner's endpoints, and to the URL that the job
//! names: so what becomes durable with the end of a job is sent, whatever crashes. A delivery is named for the job and the
//! endpoint. So a message that comes twice plans it once.

use std::collections::HashMap;
use std::time::Duration;

use micropy_core::ports::jobs::{Job, State};
use micropy_core::ports::notifier::{Error, Notification};
use micropy_core::ports::webhooks::{
    self, Delivery, DeliveryState, Endpoint, LONGEST_PAUSE, Outgoing,
};
use micropy_core::ports::{Id, Timestamp, jobs};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::NotificationService;
use crate::gateway::{JobView, MAX_DELIVERIES, rfc3339};
use crate::job::options::ConversionOptions;

/// The pauses after the attempts that failed: those that the Standard Webhooks specification proposes, three days in all.
const PAUSES: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 60 * 60),
    Duration::from_secs(5 * 60 * 60),
    Duration::from_secs(10 * 60 * 60),
    Duration::from_secs(14 * 60 * 60),
    Duration::from_secs(20 * 60 * 60),
    LONGEST_PAUSE,
];
/// How long an attempt may take, with all that belongs to it, before somebody else makes another.
const TERM: Duration = Duration::from_secs(60);
/// Deliveries under way at the same time, and of one owner: whose endpoint does not answer keeps nobody waiting.
const UNDER_WAY: usize = 16;
const PER_OWNER: usize = 2;
/// The pause between two looks at what is due.
const LOOK: Duration = Duration::from_secs(2);
/// How long a delivery can be seen, and asked for again, once it has ended; and how often older ones are removed.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const REMOVAL: Duration = Duration::from_secs(60 * 60);
/// Characters of what came of an attempt.
const MAX_ANSWER: usize = 300;

/// What an endpoint is sent.
#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'a str,
    /// When it happened, in the format of RFC 3339.
    timestamp: String,
    data: JobView,
}

impl NotificationService {
    /// Plans what is to be sent about the end of a job, once, however often it is called. Returns whether nothing is left
    /// to be planned.
    pub(super) async fn announce(&self, id: Id) -> Result<bool, jobs::Error> {
        if self.webhooks.is_none() {
            return Ok(true);
        }
        let job = match self.ports.jobs.get(id).await {
            Ok(job) => job,
            Err(jobs::Error::NotFound) => return Ok(true),
            Err(e) => return Err(e),
        };
        let event = match job.state {
            _ if job.is_announced() => return Ok(true),
            State::Done => "job.done",
            State::Failed => "job.failed",
            _ => return Ok(true),
        };
        match self.plan(&job, event).await {
            Ok(0) => return Ok(true),
            Ok(_) => self.planned.notify_one(),
            Err(webhooks::Error::Unavailable(e)) => return Err(jobs::Error::Unavailable(e)),
            // The mail does not depend on it.
            Err(e) => {
                tracing::error!(job_id = %id, error = %e, "webhooks are called later");
                return Ok(false);
            }
        }
        // What was sent may be forgotten before the last message about the job has come.
        match self.ports.jobs.announced(id, job.retries).await {
            Ok(()) => Ok(true),
            // It was deleted meanwhile, and whoever did came too early for these.
            Err(jobs::Error::NotFound) => {
                let webhooks = &self.ports.webhooks;
                let removed = webhooks.remove_deliveries(&job.owner, id).await;
                let removed = removed.map_err(|e| jobs::Error::Unavailable(Box::new(e)));
                removed.map(|()| true)
            }
            Err(e) => Err(e),
        }
    }

    /// Returns how many deliveries there are to be.
    async fn plan(&self, job: &Job, event: &str) -> Result<usize, webhooks::Error> {
        let endpoints = self.ports.webhooks.endpoints(&job.owner).await?;
        let own = ConversionOptions::from_json(&job.options);
        let own = own.ok().and_then(|options| options.webhook);
        let targets = endpoints.iter().filter_map(|endpoint| {
            let url = endpoint.url.as_ref().or(own.as_ref())?;
            Some((endpoint, url))
        });
        let deliveries = targets.map(|(endpoint, url)| self.delivery(job, event, endpoint, url));
        let deliveries: Vec<_> = deliveries.collect();
        let webhooks = &self.ports.webhooks;
        webhooks.plan(&deliveries, MAX_DELIVERIES).await?;
        Ok(deliveries.len())
    }

    fn delivery(&self, job: &Job, event: &str, endpoint: &Endpoint, url: &str) -> Outgoing {
        let (now, ended) = (self.ports.clock.now(), job.finished.unwrap_or(job.updated));
        let mut data = JobView::of(job.clone(), &self.public_url);
        // The URL that the job names may hold a secret, which is not for the owner's other endpoints.
        if let Some(options) = data.options.as_object_mut() {
            options.remove("webhook");
        }
        let payload = Payload {
            r#type: event,
            timestamp: rfc3339(ended),
            data,
        };
        let delivery = Delivery {
            id: delivery_id(job, ended, endpoint.id),
            owner: job.owner.clone(),
            endpoint: endpoint.id,
            job: job.id,
            url: url.to_owned(),
            event: event.to_owned(),
            state: DeliveryState::Pending,
            attempts: 0,
            due: now,
            answer: None,
            created: now,
            updated: now,
        };
        // Plain structs always serialise.
        let payload = serde_json::to_string(&payload).unwrap_or_else(|e| unreachable!("{e}"));
        Outgoing { delivery, payload }
    }

    /// Sends what is due until `shutdown`, and then no longer than to `cut_off` what is under way.
    pub(super) async fn deliver(&self, shutdown: &CancellationToken, cut_off: &CancellationToken) {
        if self.webhooks.is_none() {
            return;
        }
        let mut under_way = JoinSet::new();
        let mut busy: HashMap<String, usize> = HashMap::new();
        let mut removal = tokio::time::interval(REMOVAL);
        while !shutdown.is_cancelled() {
            while under_way.len() < UNDER_WAY
                && let Some(outgoing) = self.next_due(&busy).await
            {
                *busy.entry(outgoing.delivery.owner.clone()).or_default() += 1;
                let service = self.clone();
                under_way.spawn(async move { service.send(outgoing).await });
            }
            tokio::select! {
                Some(sent) = under_way.join_next() => {
                    match sent {
                        Ok(owner) => leave(&mut busy, &owner),
                        // Whose it was is not known any more.
                        Err(e) => {
                            tracing::error!(error = %e, "a delivery panicked");
                            busy.clear();
                        }
                    }
                }
                () = self.planned.notified(), if under_way.len() < UNDER_WAY => {}
                () = tokio::time::sleep(LOOK), if under_way.len() < UNDER_WAY => {}
                _ = removal.tick() => self.remove_old().await,
                () = shutdown.cancelled() => {}
            }
        }
        // Those that are cut off are due again after their term.
        let rest = async { while under_way.join_next().await.is_some() {} };
        cut_off.run_until_cancelled(rest).await;
    }

    async fn next_due(&self, busy: &HashMap<String, usize>) -> Option<Outgoing> {
        let busy = busy.iter().filter(|(_, count)| **count >= PER_OWNER);
        let busy: Vec<String> = busy.map(|(owner, _)| owner.clone()).collect();
        let due = self.ports.webhooks.claim_due(&busy, TERM).await;
        due.unwrap_or_else(|e| {
            tracing::warn!(error = %e, "webhooks are called later");
            None
        })
    }

    /// Makes one attempt, and records what came of it. Returns whose it was.
    async fn send(&self, outgoing: Outgoing) -> String {
        let sent = self.call(&outgoing).await;
        let mut delivery = outgoing.delivery;
        let now = self.ports.clock.now();
        let (state, answer) = match sent {
            Ok(()) => (DeliveryState::Delivered, "accepted".to_owned()),
            Err(Error::Rejected(why)) => (DeliveryState::Failed, why),
            Err(Error::Unavailable(e)) => (self.put_off(&mut delivery, now), e.to_string()),
            Err(e) => (self.put_off(&mut delivery, now), e.to_string()),
        };
        let (job_id, attempt) = (delivery.job, delivery.attempts);
        match state {
            DeliveryState::Delivered => self.metrics.webhook("delivered"),
            DeliveryState::Pending => self.metrics.webhook("delayed"),
            _ => self.metrics.webhook("failed"),
        }
        // The path of a URL may be its secret, and the answer may name it: both are for its owner alone.
        let authority = delivery.url.split('/').nth(2).unwrap_or_default();
        let host = authority.rsplit('@').next();
        tracing::info!(%job_id, delivery = %delivery.id, attempt, %state, host, "webhook called");
        delivery.state = state;
        delivery.answer = Some(answer.chars().take(MAX_ANSWER).collect());
        if let Err(e) = self.ports.webhooks.settle(&delivery).await {
            tracing::warn!(%job_id, error = %e, "a webhook may be called again");
        }
        delivery.owner
    }

    /// Puts a delivery off, unless it was tried for long enough.
    fn put_off(&self, delivery: &mut Delivery, now: Timestamp) -> DeliveryState {
        let failures = delivery.attempts.saturating_sub(1) as usize;
        let Some(pause) = PAUSES.get(failures) else {
            return DeliveryState::Failed;
        };
        delivery.due = now.plus(*pause);
        DeliveryState::Pending
    }

    async fn call(&self, outgoing: &Outgoing) -> Result<(), Error> {
        let Outgoing { delivery, payload } = outgoing;
        let endpoint = match self.ports.webhooks.endpoint(delivery.endpoint).await {
            Ok(endpoint) => endpoint,
            Err(webhooks::Error::NotFound) => {
                return Err(Error::Rejected("the webhook was removed".into()));
            }
            Err(e) => return Err(Error::Unavailable(Box::new(e))),
        };
        let Some(notifier) = &self.webhooks else {
            return Err(Error::Unavailable("nobody calls webhooks".into()));
        };
        let notification = Notification {
            key: delivery.id.to_string(),
            to: delivery.url.clone(),
            subject: delivery.event.clone(),
            text: payload.clone(),
            html: None,
            secret: Some(endpoint.secret),
        };
        notifier.notify(&notification).await
    }

    async fn remove_old(&self) {
        let before = self.ports.clock.now().minus(KEPT);
        if let Err(e) = self.ports.webhooks.forget_deliveries(before).await {
            tracing::warn!(error = %e, "old deliveries are removed later");
        }
    }
}

fn leave(busy: &mut HashMap<String, usize>, owner: &str) {
    if let Some(count) = busy.get_mut(owner) {
        *count -= 1;
        if *count == 0 {
            busy.remove(owner);
        }
    }
}

/// The name of a delivery: the same whenever this end of the job is announced to the endpoint. Later ends come later.
fn delivery_id(job: &Job, ended: Timestamp, endpoint: Id) -> Id {
    let mut hash = Sha256::new();
    hash.update(job.id.as_bytes());
    hash.update(job.retries.to_be_bytes());
    hash.update(endpoint.as_bytes());
    let digest = hash.finalize();
    let mut first = [0; 6];
    first.copy_from_slice(&digest[..6]);
    Id::new(ended, first)
}
