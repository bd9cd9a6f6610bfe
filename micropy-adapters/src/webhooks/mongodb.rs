//! Webhooks as two collections of the MongoDB database that holds the ledger.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use micropy_core::ports::notifier::SigningSecret;
use micropy_core::ports::webhooks::{
    Deliveries, Delivery, DeliveryState, Endpoint, Endpoints, Error, LONGEST_PAUSE, Outgoing,
    too_many,
};
use micropy_core::ports::{Clock, Id, Timestamp};
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{Collection, Database, IndexModel};
use tokio::sync::OnceCell;

use crate::fault::Fault;
use crate::mongodb::{self as server, Client, backend, object_id, unreadable};

/// The name under which the version of the collections is kept.
const NAME: &str = "webhooks";

/// What has changed from version to version; see [`schema`](crate::schema).
const MIGRATIONS: &[Migration] = &[Migration::Indexes, Migration::ByState];

enum Migration {
    Indexes,
    /// The deliveries to an endpoint are counted by their state; those of a job are found.
    ByState,
}

/// The collections `webhook_endpoints` and `webhook_deliveries` of a database.
pub struct MongodbWebhooks {
    database: Database,
    clock: Arc<dyn Clock>,
    migrated: OnceCell<()>,
}

impl MongodbWebhooks {
    /// Those in the database `database`; when they are due is told by `clock`.
    pub fn new(client: &Client, database: &str, clock: Arc<dyn Clock>) -> Self {
        MongodbWebhooks {
            database: client.database(database),
            clock,
            migrated: OnceCell::new(),
        }
    }

    /// A collection as this program knows it. The first use migrates, since nobody may answer yet when the service
    /// starts.
    async fn collection(&self, name: &str) -> Result<Collection<Document>, Error> {
        if !self.migrated.initialized() {
            let missing = server::missing_migrations(&self.database, NAME, MIGRATIONS);
            for (number, migration) in missing.await? {
                match migration {
                    Migration::Indexes => self.index().await,
                    Migration::ByState => self.index_by_state().await,
                }
                .map_err(Fault::from)?;
                server::record_migration(&self.database, NAME, number).await?;
            }
            let _ = self.migrated.set(());
        }
        Ok(self.database.collection(name))
    }

    async fn own(&self) -> Result<Collection<Document>, Error> {
        self.collection("webhook_endpoints").await
    }

    async fn sent(&self) -> Result<Collection<Document>, Error> {
        self.collection("webhook_deliveries").await
    }

    async fn index(&self) -> Result<(), mongodb::error::Error> {
        let plain = |keys| IndexModel::builder().keys(keys).build();
        let endpoints = self.database.collection::<Document>("webhook_endpoints");
        // One without a URL: only those have the field.
        let only = doc! { "for_jobs": { "$exists": true } };
        let one = IndexOptions::builder()
            .unique(true)
            .partial_filter_expression(only)
            .build();
        let one = IndexModel::builder()
            .keys(doc! { "owner": 1 })
            .options(one)
            .build();
        endpoints
            .create_indexes([plain(doc! { "owner": 1, "_id": 1 }), one])
            .await?;
        let deliveries = self.database.collection::<Document>("webhook_deliveries");
        let indexes = [
            plain(doc! { "owner": 1, "_id": 1 }),
            plain(doc! { "endpoint": 1 }),
            plain(doc! { "state": 1, "due": 1, "_id": 1 }),
            plain(doc! { "state": 1, "updated": 1 }),
        ];
        deliveries.create_indexes(indexes).await.map(drop)
    }

    async fn index_by_state(&self) -> Result<(), mongodb::error::Error> {
        let plain = |keys| IndexModel::builder().keys(keys).build();
        let deliveries = self.database.collection::<Document>("webhook_deliveries");
        let indexes = [
            plain(doc! { "endpoint": 1, "state": 1, "updated": 1 }),
            plain(doc! { "job": 1 }),
        ];
        deliveries.create_indexes(indexes).await.map(drop)
    }

    /// How many deliveries to an endpoint are pending, beside this one.
    async fn count_pending(&self, endpoint: Id, except: Id) -> Result<u64, Error> {
        let pending = doc! {
            "endpoint": object_id(endpoint),
            "state": DeliveryState::Pending.name(),
            "_id": { "$ne": object_id(except) },
        };
        let count = self.sent().await?.count_documents(pending).await;
        count.map_err(backend)
    }

    /// Forgets what was sent to an endpoint and has ended, but the latest `most`.
    async fn forget_oldest(&self, endpoint: Id, most: usize) -> Result<(), Error> {
        let deliveries = self.sent().await?;
        let oldest = deliveries
            .find(doc! { "endpoint": object_id(endpoint), "state": ended() })
            .sort(doc! { "updated": -1, "_id": -1 })
            .skip(most as u64)
            .projection(doc! { "_id": 1 });
        let oldest = oldest.await.map_err(Fault::from)?;
        let oldest: Vec<_> = oldest.try_collect().await.map_err(Fault::from)?;
        let oldest: Vec<_> = oldest.iter().filter_map(|kept| kept.get("_id")).collect();
        if !oldest.is_empty() {
            let gone = deliveries.delete_many(doc! { "_id": { "$in": oldest } });
            gone.await.map_err(Fault::from)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Endpoints for MongodbWebhooks {
    async fn add_endpoint(&self, endpoint: &Endpoint) -> Result<Endpoint, Error> {
        let endpoints = self.own().await?;
        let taken = || Error::Rejected("there is a webhook with this id".into());
        let mut document = doc! {
            "owner": &endpoint.owner,
            "secret": endpoint.secret.reveal(),
            "created": time(endpoint.created),
        };
        let Some(url) = &endpoint.url else {
            let own = doc! { "owner": &endpoint.owner, "for_jobs": true };
            let change = doc! {
                "$setOnInsert": { "_id": object_id(endpoint.id) },
                "$set": { "secret": endpoint.secret.reveal(), "created": time(endpoint.created) },
            };
            // Of two that insert it at once, the later finds the other's.
            for last in [false, true] {
                let kept = endpoints
                    .find_one_and_update(own.clone(), change.clone())
                    .upsert(true)
                    .return_document(ReturnDocument::After);
                match kept.await {
                    Ok(Some(kept)) => return endpoint_of(&kept),
                    Err(e) if server::is_taken(&e) && last => return Err(taken()),
                    Err(e) if !server::is_taken(&e) => return Err(backend(e)),
                    Ok(None) | Err(_) => {}
                }
            }
            return Err(unreadable("a webhook's secret does not stay".into()));
        };
        document.insert("_id", object_id(endpoint.id));
        document.insert("url", url);
        match endpoints.insert_one(document).await {
            Ok(_) => Ok(endpoint.clone()),
            Err(e) if server::is_taken(&e) => Err(taken()),
            Err(e) => Err(backend(e)),
        }
    }

    async fn endpoint(&self, id: Id) -> Result<Endpoint, Error> {
        let endpoints = self.own().await?;
        let found = endpoints.find_one(doc! { "_id": object_id(id) }).await;
        endpoint_of(&found.map_err(Fault::from)?.ok_or(Error::NotFound)?)
    }

    async fn endpoints(&self, owner: &str) -> Result<Vec<Endpoint>, Error> {
        let endpoints = self.own().await?;
        let found = endpoints.find(doc! { "owner": owner });
        let found = found.sort(doc! { "_id": 1 }).await.map_err(Fault::from)?;
        let found: Vec<_> = found.try_collect().await.map_err(Fault::from)?;
        found.iter().map(endpoint_of).collect()
    }

    async fn remove_endpoint(&self, owner: &str, id: Id) -> Result<(), Error> {
        let own = doc! { "_id": object_id(id), "owner": owner };
        let removed = self.own().await?.delete_one(own).await;
        if removed.map_err(Fault::from)?.deleted_count == 0 {
            return Err(Error::NotFound);
        }
        // Where this fails, they are not sent either: their endpoint is gone.
        let deliveries = self.sent().await?;
        let removed = deliveries.delete_many(doc! { "endpoint": object_id(id) });
        removed.await.map(drop).map_err(backend)
    }

    async fn remove_owner(&self, owner: &str) -> Result<(), Error> {
        for collection in [self.own().await?, self.sent().await?] {
            let removed = collection.delete_many(doc! { "owner": owner }).await;
            removed.map_err(Fault::from)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Deliveries for MongodbWebhooks {
    async fn plan(&self, planned: &[Outgoing], most: usize) -> Result<(), Error> {
        let deliveries = self.sent().await?;
        for outgoing in planned {
            let Delivery { id, endpoint, .. } = outgoing.delivery;
            let mut outgoing = outgoing.clone();
            if self.count_pending(endpoint, id).await? >= most as u64 {
                outgoing.delivery.state = DeliveryState::Failed;
                outgoing.delivery.answer = Some(too_many(most));
            }
            match deliveries.insert_one(document_of(&outgoing)).await {
                Ok(_) => self.forget_oldest(endpoint, most).await?,
                Err(e) if server::is_taken(&e) => {}
                Err(e) => return Err(backend(e)),
            }
        }
        Ok(())
    }

    async fn claim_due(
        &self,
        except: &[String],
        term: Duration,
    ) -> Result<Option<Outgoing>, Error> {
        let now = self.clock.now();
        let deliveries = self.sent().await?;
        let claim = vec![doc! { "$set": {
            "attempts": { "$add": ["$attempts", 1_i64] },
            "due": time(now.plus(term)),
            "updated": later_than_before(now),
        } }];
        for due in [
            doc! { "$lte": time(now) },
            doc! { "$gt": time(now.plus(2 * LONGEST_PAUSE)) },
        ] {
            let mut wanted = doc! { "state": DeliveryState::Pending.name(), "due": due };
            if !except.is_empty() {
                wanted.insert("owner", doc! { "$nin": except });
            }
            let claimed = deliveries
                .find_one_and_update(wanted, claim.clone())
                .sort(doc! { "due": 1, "_id": 1 })
                .return_document(ReturnDocument::After);
            if let Some(document) = claimed.await.map_err(Fault::from)? {
                return outgoing_of(&document).map(Some);
            }
        }
        Ok(None)
    }

    async fn settle(&self, claimed: &Delivery) -> Result<(), Error> {
        let same = doc! { "_id": object_id(claimed.id), "updated": time(claimed.updated) };
        let settle = vec![doc! { "$set": {
            "state": claimed.state.name(),
            "due": time(claimed.due),
            // What begins with a dollar would be the name of a field.
            "answer": { "$literal": &claimed.answer },
            "updated": later_than_before(self.clock.now()),
        } }];
        let settled = self.sent().await?.update_one(same, settle).await;
        settled.map(drop).map_err(backend)
    }

    async fn deliveries(
        &self,
        owner: &str,
        job: Option<Id>,
        before: Option<Id>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error> {
        let mut wanted = doc! { "owner": owner };
        if let Some(job) = job {
            wanted.insert("job", object_id(job));
        }
        if let Some(before) = before {
            wanted.insert("_id", doc! { "$lt": object_id(before) });
        }
        let sent = self.sent().await?;
        let found = sent.find(wanted).sort(doc! { "_id": -1 });
        let found = found.projection(doc! { "payload": 0 });
        let found = found.limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = found.await.map_err(Fault::from)?;
        let found: Vec<_> = found.try_collect().await.map_err(Fault::from)?;
        found.iter().map(delivery_of).collect()
    }

    async fn resend(&self, owner: &str, id: Id, most: usize) -> Result<Delivery, Error> {
        let now = self.clock.now();
        let resend = vec![doc! { "$set": {
            "state": DeliveryState::Pending.name(),
            "attempts": 0_i64,
            "due": time(now),
            "updated": later_than_before(now),
        } }];
        let own = doc! { "_id": object_id(id), "owner": owner };
        let deliveries = self.sent().await?;
        let kept = deliveries
            .find_one(own.clone())
            .projection(doc! { "endpoint": 1 });
        let kept = kept.await.map_err(Fault::from)?.ok_or(Error::NotFound)?;
        if self.count_pending(id_of(&kept, "endpoint")?, id).await? >= most as u64 {
            return Err(Error::Rejected(too_many(most)));
        }
        let resent = deliveries
            .find_one_and_update(own, resend)
            .return_document(ReturnDocument::After);
        delivery_of(&resent.await.map_err(Fault::from)?.ok_or(Error::NotFound)?)
    }

    async fn remove_deliveries(&self, owner: &str, job: Id) -> Result<(), Error> {
        let about = doc! { "job": object_id(job), "owner": owner };
        let removed = self.sent().await?.delete_many(about).await;
        removed.map(drop).map_err(backend)
    }

    async fn forget_deliveries(&self, before: Timestamp) -> Result<(), Error> {
        let old = doc! {
            "state": ended(),
            "updated": { "$lt": time(before) },
        };
        let forgotten = self.sent().await?.delete_many(old).await;
        forgotten.map(drop).map_err(backend)
    }
}

fn endpoint_of(document: &Document) -> Result<Endpoint, Error> {
    Ok(Endpoint {
        id: id_of(document, "_id")?,
        owner: text(document, "owner")?,
        url: document.get_str("url").ok().map(str::to_owned),
        secret: SigningSecret::new(text(document, "secret")?),
        created: time_of(document, "created")?,
    })
}

/// The states of deliveries that have ended.
fn ended() -> Document {
    doc! { "$in": [DeliveryState::Delivered.name(), DeliveryState::Failed.name()] }
}

/// The time of a change, in a pipeline of updates: see [`later`](micropy_core::ports::webhooks::later).
fn later_than_before(now: Timestamp) -> Document {
    doc! { "$max": [time(now), { "$add": ["$updated", 1_i64] }] }
}

fn document_of(outgoing: &Outgoing) -> Document {
    let Outgoing { delivery, payload } = outgoing;
    let mut document = doc! {
        "_id": object_id(delivery.id),
        "owner": &delivery.owner,
        "endpoint": object_id(delivery.endpoint),
        "job": object_id(delivery.job),
        "url": &delivery.url,
        "event": &delivery.event,
        "payload": payload,
        "state": delivery.state.name(),
        "attempts": i64::from(delivery.attempts),
        "due": time(delivery.due),
        "created": time(delivery.created),
        "updated": time(delivery.updated),
    };
    if let Some(answer) = &delivery.answer {
        document.insert("answer", answer);
    }
    document
}

fn outgoing_of(document: &Document) -> Result<Outgoing, Error> {
    Ok(Outgoing {
        delivery: delivery_of(document)?,
        payload: text(document, "payload")?,
    })
}

fn delivery_of(document: &Document) -> Result<Delivery, Error> {
    let state = text(document, "state")?.parse();
    let attempts = document.get("attempts").and_then(server::integer);
    let attempts = attempts.and_then(|number| u32::try_from(number).ok());
    Ok(Delivery {
        id: id_of(document, "_id")?,
        owner: text(document, "owner")?,
        endpoint: id_of(document, "endpoint")?,
        job: id_of(document, "job")?,
        url: text(document, "url")?,
        event: text(document, "event")?,
        state: state.map_err(|_| damaged(document, "state"))?,
        attempts: attempts.ok_or_else(|| damaged(document, "attempts"))?,
        due: time_of(document, "due")?,
        answer: document.get_str("answer").ok().map(str::to_owned),
        created: time_of(document, "created")?,
        updated: time_of(document, "updated")?,
    })
}

fn id_of(document: &Document, name: &str) -> Result<Id, Error> {
    let id = document.get_object_id(name).ok().map(server::id);
    id.ok_or_else(|| damaged(document, name))
}

fn text(document: &Document, name: &str) -> Result<String, Error> {
    let text = document.get_str(name).ok().map(str::to_owned);
    text.ok_or_else(|| damaged(document, name))
}

fn time_of(document: &Document, name: &str) -> Result<Timestamp, Error> {
    let time = document.get_datetime(name).ok();
    let time = time.map(|time| Timestamp::from_millis(time.timestamp_millis()));
    time.ok_or_else(|| damaged(document, name))
}

fn damaged(document: &Document, name: &str) -> Error {
    let id = document.get("_id").map(Bson::to_string).unwrap_or_default();
    unreadable(format!("the webhook {id} has no valid {name}"))
}

fn time(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millis())
}
