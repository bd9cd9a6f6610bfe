use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::lock;
use crate::ports::webhooks::{
    Deliveries, Delivery, DeliveryState, Endpoint, Endpoints, Error, LONGEST_PAUSE, Outgoing,
    later, too_many,
};
use crate::ports::{Clock, Id, Timestamp};

/// Keeps endpoints and deliveries in memory.
pub struct MemoryWebhooks {
    clock: Arc<dyn Clock>,
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    endpoints: BTreeMap<Id, Endpoint>,
    deliveries: BTreeMap<Id, Outgoing>,
}

impl Contents {
    /// How many deliveries to an endpoint are pending, beside this one.
    fn pending(&self, endpoint: Id, except: Id) -> usize {
        let all = self.deliveries.values().map(|kept| &kept.delivery);
        let pending = all.filter(|d| d.state == DeliveryState::Pending);
        pending
            .filter(|d| d.endpoint == endpoint && d.id != except)
            .count()
    }

    /// Forgets what was sent to an endpoint and has ended, but the latest `most`.
    fn forget_oldest(&mut self, endpoint: Id, most: usize) {
        let all = self.deliveries.values().map(|kept| &kept.delivery);
        let mut ended: Vec<_> = all
            .filter(|d| d.endpoint == endpoint && d.state != DeliveryState::Pending)
            .map(|d| (d.updated, d.id))
            .collect();
        ended.sort_unstable();
        ended.truncate(ended.len().saturating_sub(most));
        for (_, id) in ended {
            self.deliveries.remove(&id);
        }
    }
}

impl MemoryWebhooks {
    /// None yet; when they are due is told by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryWebhooks {
            clock,
            contents: Mutex::default(),
        }
    }
}

#[async_trait]
impl Endpoints for MemoryWebhooks {
    async fn add_endpoint(&self, endpoint: &Endpoint) -> Result<Endpoint, Error> {
        let endpoints = &mut lock(&self.contents).endpoints;
        let mut own = endpoints.values_mut();
        if endpoint.url.is_none()
            && let Some(kept) =
                own.find(|other| other.owner == endpoint.owner && other.url.is_none())
        {
            kept.secret = endpoint.secret.clone();
            kept.created = endpoint.created;
            return Ok(kept.clone());
        }
        if endpoints.contains_key(&endpoint.id) {
            return Err(Error::Rejected("there is a webhook with this id".into()));
        }
        endpoints.insert(endpoint.id, endpoint.clone());
        Ok(endpoint.clone())
    }

    async fn endpoint(&self, id: Id) -> Result<Endpoint, Error> {
        let contents = lock(&self.contents);
        contents.endpoints.get(&id).cloned().ok_or(Error::NotFound)
    }

    async fn endpoints(&self, owner: &str) -> Result<Vec<Endpoint>, Error> {
        let contents = lock(&self.contents);
        let own = contents.endpoints.values().filter(|e| e.owner == owner);
        Ok(own.cloned().collect())
    }

    async fn remove_endpoint(&self, owner: &str, id: Id) -> Result<(), Error> {
        let mut contents = lock(&self.contents);
        match contents.endpoints.get(&id) {
            Some(endpoint) if endpoint.owner == owner => {
                contents.endpoints.remove(&id);
                let others = |kept: &Outgoing| kept.delivery.endpoint != id;
                contents.deliveries.retain(|_, kept| others(kept));
                Ok(())
            }
            _ => Err(Error::NotFound),
        }
    }

    async fn remove_owner(&self, owner: &str) -> Result<(), Error> {
        let mut contents = lock(&self.contents);
        contents.endpoints.retain(|_, e| e.owner != owner);
        let others = |kept: &Outgoing| kept.delivery.owner != owner;
        contents.deliveries.retain(|_, kept| others(kept));
        Ok(())
    }
}

#[async_trait]
impl Deliveries for MemoryWebhooks {
    async fn plan(&self, planned: &[Outgoing], most: usize) -> Result<(), Error> {
        let mut contents = lock(&self.contents);
        for outgoing in planned {
            let Delivery { id, endpoint, .. } = outgoing.delivery;
            if contents.deliveries.contains_key(&id) {
                continue;
            }
            let mut outgoing = outgoing.clone();
            if contents.pending(endpoint, id) >= most {
                outgoing.delivery.state = DeliveryState::Failed;
                outgoing.delivery.answer = Some(too_many(most));
            }
            contents.deliveries.insert(id, outgoing);
            contents.forget_oldest(endpoint, most);
        }
        Ok(())
    }

    async fn claim_due(
        &self,
        except: &[String],
        term: Duration,
    ) -> Result<Option<Outgoing>, Error> {
        let now = self.clock.now();
        let is_due = |due| due <= now || due > now.plus(2 * LONGEST_PAUSE);
        let deliveries = &mut lock(&self.contents).deliveries;
        let due = deliveries
            .values_mut()
            .filter(|kept| {
                let delivery = &kept.delivery;
                delivery.state == DeliveryState::Pending
                    && is_due(delivery.due)
                    && !except.contains(&delivery.owner)
            })
            .min_by_key(|kept| (kept.delivery.due, kept.delivery.id));
        Ok(due.map(|kept| {
            kept.delivery.attempts += 1;
            kept.delivery.due = now.plus(term);
            kept.delivery.updated = later(now, kept.delivery.updated);
            kept.clone()
        }))
    }

    async fn settle(&self, claimed: &Delivery) -> Result<(), Error> {
        let now = self.clock.now();
        let mut contents = lock(&self.contents);
        let kept = contents.deliveries.get_mut(&claimed.id);
        if let Some(Outgoing { delivery, .. }) = kept
            && delivery.updated == claimed.updated
        {
            delivery.state = claimed.state;
            delivery.due = claimed.due;
            delivery.answer = claimed.answer.clone();
            delivery.updated = later(now, delivery.updated);
        }
        Ok(())
    }

    async fn deliveries(
        &self,
        owner: &str,
        job: Option<Id>,
        before: Option<Id>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error> {
        let contents = lock(&self.contents);
        let newest = contents.deliveries.values().rev();
        let own = newest.map(|kept| &kept.delivery).filter(|d| {
            d.owner == owner
                && job.is_none_or(|job| d.job == job)
                && before.is_none_or(|before| d.id < before)
        });
        Ok(own.take(limit).cloned().collect())
    }

    async fn resend(&self, owner: &str, id: Id, most: usize) -> Result<Delivery, Error> {
        let now = self.clock.now();
        let mut contents = lock(&self.contents);
        let kept = contents.deliveries.get(&id).map(|kept| &kept.delivery);
        let own = kept.filter(|d| d.owner == owner).ok_or(Error::NotFound)?;
        if contents.pending(own.endpoint, id) >= most {
            return Err(Error::Rejected(too_many(most)));
        }
        let kept = contents.deliveries.get_mut(&id).ok_or(Error::NotFound)?;
        let delivery = &mut kept.delivery;
        delivery.state = DeliveryState::Pending;
        delivery.attempts = 0;
        delivery.due = now;
        delivery.updated = later(now, delivery.updated);
        Ok(delivery.clone())
    }

    async fn remove_deliveries(&self, owner: &str, job: Id) -> Result<(), Error> {
        let is_about = |d: &Delivery| d.owner == owner && d.job == job;
        let deliveries = &mut lock(&self.contents).deliveries;
        deliveries.retain(|_, kept| !is_about(&kept.delivery));
        Ok(())
    }

    async fn forget_deliveries(&self, before: Timestamp) -> Result<(), Error> {
        let is_kept = |d: &Delivery| d.state == DeliveryState::Pending || d.updated >= before;
        let deliveries = &mut lock(&self.contents).deliveries;
        deliveries.retain(|_, kept| is_kept(&kept.delivery));
        Ok(())
    }
}
