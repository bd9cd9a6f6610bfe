use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::lock;
use crate::ports::webhooks::{
    Deliveries, Delivery, DeliveryState, Endpoint, Endpoints, Error, LONGEST_PAUSE, later, too_many,
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
    deliveries: BTreeMap<Id, Delivery>,
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
                contents.deliveries.retain(|_, d| d.endpoint != id);
                Ok(())
            }
            _ => Err(Error::NotFound),
        }
    }

    async fn remove_owner(&self, owner: &str) -> Result<(), Error> {
        let mut contents = lock(&self.contents);
        contents.endpoints.retain(|_, e| e.owner != owner);
        contents.deliveries.retain(|_, d| d.owner != owner);
        Ok(())
    }
}

#[async_trait]
impl Deliveries for MemoryWebhooks {
    async fn plan(&self, planned: &[Delivery], most: usize) -> Result<(), Error> {
        let deliveries = &mut lock(&self.contents).deliveries;
        let mut after = deliveries.clone();
        for delivery in planned {
            let known = after.entry(delivery.id);
            known.or_insert_with(|| delivery.clone());
        }
        let is_new = after.len() > deliveries.len();
        let Some(owner) = planned.first().filter(|_| is_new).map(|first| &first.owner) else {
            return Ok(());
        };
        let count = after.values().filter(|d| d.owner == *owner).count();
        let mut ended: Vec<_> = after
            .values()
            .filter(|d| d.owner == *owner && d.state != DeliveryState::Pending)
            .map(|d| (d.updated, d.id))
            .collect();
        let excess = count.saturating_sub(most);
        if ended.len() < excess {
            return Err(too_many(most));
        }
        ended.sort_unstable();
        for (_, id) in ended.into_iter().take(excess) {
            after.remove(&id);
        }
        *deliveries = after;
        Ok(())
    }

    async fn claim_due(
        &self,
        except: &[String],
        term: Duration,
    ) -> Result<Option<Delivery>, Error> {
        let now = self.clock.now();
        let is_due = |due| due <= now || due > now.plus(2 * LONGEST_PAUSE);
        let deliveries = &mut lock(&self.contents).deliveries;
        let due = deliveries
            .values_mut()
            .filter(|d| d.state == DeliveryState::Pending && is_due(d.due))
            .filter(|d| !except.contains(&d.owner))
            .min_by_key(|d| (d.due, d.id));
        Ok(due.map(|delivery| {
            delivery.attempts += 1;
            delivery.due = now.plus(term);
            delivery.updated = later(now, delivery.updated);
            delivery.clone()
        }))
    }

    async fn settle(&self, claimed: &Delivery) -> Result<(), Error> {
        let now = self.clock.now();
        if let Some(kept) = lock(&self.contents).deliveries.get_mut(&claimed.id)
            && kept.updated == claimed.updated
        {
            kept.state = claimed.state;
            kept.due = claimed.due;
            kept.answer = claimed.answer.clone();
            kept.updated = later(now, kept.updated);
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
        let own = contents.deliveries.values().rev().filter(|d| {
            d.owner == owner
                && job.is_none_or(|job| d.job == job)
                && before.is_none_or(|before| d.id < before)
        });
        Ok(own.take(limit).cloned().collect())
    }

    async fn resend(&self, owner: &str, id: Id) -> Result<Delivery, Error> {
        let now = self.clock.now();
        let mut contents = lock(&self.contents);
        let delivery = contents.deliveries.get_mut(&id);
        let delivery = delivery
            .filter(|d| d.owner == owner)
            .ok_or(Error::NotFound)?;
        delivery.state = DeliveryState::Pending;
        delivery.attempts = 0;
        delivery.due = now;
        delivery.updated = later(now, delivery.updated);
        Ok(delivery.clone())
    }

    async fn forget_deliveries(&self, before: Timestamp) -> Result<(), Error> {
        let deliveries = &mut lock(&self.contents).deliveries;
        deliveries.retain(|_, d| d.state == DeliveryState::Pending || d.updated >= before);
        Ok(())
    }
}
