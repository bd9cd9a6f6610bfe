//! Webhooks as two tables of the SQLite database that also holds the ledger.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use micropy_core::ports::notifier::SigningSecret;
use micropy_core::ports::webhooks::{
    Deliveries, Delivery, DeliveryState, Endpoint, Endpoints, Error, LONGEST_PAUSE, Outgoing,
    too_many,
};
use micropy_core::ports::{Clock, Id, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, SqliteConnection};

use crate::sqlite::{self, Database};

/// The webhooks of a database.
pub struct SqliteWebhooks {
    database: Database,
    clock: Arc<dyn Clock>,
}

impl SqliteWebhooks {
    /// Those in `database`; when they are due is told by `clock`.
    pub fn new(database: Database, clock: Arc<dyn Clock>) -> Self {
        SqliteWebhooks { database, clock }
    }

    async fn insert(&self, endpoint: &Endpoint) -> Result<SqliteRow, sqlx::Error> {
        let insert = "
            INSERT INTO webhook_endpoints (id, owner, url, secret, created) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (owner) WHERE url IS NULL
            DO UPDATE SET secret = excluded.secret, created = excluded.created
            RETURNING *";
        sqlx::query(insert)
            .bind(blob(&endpoint.id))
            .bind(&endpoint.owner)
            .bind(&endpoint.url)
            .bind(endpoint.secret.reveal())
            .bind(endpoint.created.as_millis())
            .fetch_one(self.database.write())
            .await
    }

    /// Removes an endpoint with its deliveries; `false` if there is none.
    async fn remove(&self, owner: &str, id: Id) -> Result<bool, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        let removed = sqlx::query("DELETE FROM webhook_endpoints WHERE owner = ? AND id = ?");
        let removed = removed.bind(owner).bind(blob(&id));
        let removed = removed.execute(&mut *transaction).await?.rows_affected();
        if removed > 0 {
            let deliveries = sqlx::query("DELETE FROM webhook_deliveries WHERE endpoint = ?");
            let deliveries = deliveries.bind(blob(&id));
            deliveries.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(removed > 0)
    }

    async fn remove_all(&self, owner: &str) -> Result<(), sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        for remove in [
            "DELETE FROM webhook_endpoints WHERE owner = ?",
            "DELETE FROM webhook_deliveries WHERE owner = ?",
        ] {
            let remove = sqlx::query(remove).bind(owner);
            remove.execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    async fn claim(
        &self,
        except: &[String],
        term: Duration,
    ) -> Result<Option<Outgoing>, sqlx::Error> {
        let now = self.clock.now();
        let mut due = QueryBuilder::new(
            "SELECT id FROM webhook_deliveries WHERE state = 'pending' AND (due <= ",
        );
        due.push_bind(now.as_millis())
            .push(" OR due > ")
            .push_bind(now.plus(2 * LONGEST_PAUSE).as_millis())
            .push(")");
        if !except.is_empty() {
            let mut owners = due.push(" AND owner NOT IN (").separated(", ");
            for owner in except {
                owners.push_bind(owner.clone());
            }
            due.push(")");
        }
        due.push(" ORDER BY due, id LIMIT 1");
        // Mostly nothing is due: only what changes something waits for the one connection that writes.
        let found = due.build().fetch_optional(self.database.read()).await?;
        let Some(id) = found
            .map(|row| row.try_get::<Vec<u8>, _>("id"))
            .transpose()?
        else {
            return Ok(None);
        };
        let claim = "
            UPDATE webhook_deliveries SET attempts = attempts + 1, due = ?, updated = MAX(?, updated + 1)
            WHERE id = ? AND state = 'pending' AND (due <= ? OR due > ?)
            RETURNING *";
        let claimed = sqlx::query(claim)
            .bind(now.plus(term).as_millis())
            .bind(now.as_millis())
            .bind(id)
            .bind(now.as_millis())
            .bind(now.plus(2 * LONGEST_PAUSE).as_millis())
            .fetch_optional(self.database.write())
            .await?;
        claimed.as_ref().map(outgoing_of).transpose()
    }

    async fn insert_deliveries(
        &self,
        deliveries: &[Outgoing],
        most: usize,
    ) -> Result<(), sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        for outgoing in deliveries {
            let Delivery { id, endpoint, .. } = &outgoing.delivery;
            let pending = count_pending(&mut transaction, endpoint, id).await?;
            let mut outgoing = outgoing.clone();
            if pending >= limit_of(most) {
                outgoing.delivery.state = DeliveryState::Failed;
                outgoing.delivery.answer = Some(too_many(most));
            }
            if !insert_delivery(&mut transaction, &outgoing).await? {
                continue;
            }
            let forget = "
                DELETE FROM webhook_deliveries WHERE id IN (
                    SELECT id FROM webhook_deliveries WHERE endpoint = ? AND state <> 'pending'
                    ORDER BY updated DESC, id DESC LIMIT -1 OFFSET ?)";
            let forget = sqlx::query(forget)
                .bind(blob(endpoint))
                .bind(limit_of(most));
            forget.execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    /// What [`resend`](Deliveries::resend) returns.
    async fn make_due(
        &self,
        owner: &str,
        id: Id,
        most: usize,
    ) -> Result<Result<Delivery, Error>, sqlx::Error> {
        let now = self.clock.now().as_millis();
        let mut transaction = self.database.begin().await?;
        let endpoint = sqlx::query_scalar(
            "SELECT endpoint FROM webhook_deliveries WHERE owner = ? AND id = ?",
        );
        let endpoint = endpoint.bind(owner).bind(blob(&id));
        let endpoint: Option<Vec<u8>> = endpoint.fetch_optional(&mut *transaction).await?;
        let Some(endpoint) = endpoint else {
            return Ok(Err(Error::NotFound));
        };
        let pending = count_pending(&mut transaction, &id_of(&endpoint)?, &id).await?;
        if pending >= limit_of(most) {
            return Ok(Err(Error::Rejected(too_many(most))));
        }
        let resend = "
            UPDATE webhook_deliveries SET state = 'pending', attempts = 0, due = ?, updated = MAX(?, updated + 1)
            WHERE id = ?
            RETURNING *";
        let resent = sqlx::query(resend).bind(now).bind(now).bind(blob(&id));
        let resent = delivery_of(&resent.fetch_one(&mut *transaction).await?)?;
        transaction.commit().await?;
        Ok(Ok(resent))
    }
}

/// How many deliveries to an endpoint are pending, beside this one.
async fn count_pending(
    connection: &mut SqliteConnection,
    endpoint: &Id,
    except: &Id,
) -> Result<i64, sqlx::Error> {
    let count = "
        SELECT COUNT(*) FROM webhook_deliveries WHERE endpoint = ? AND state = 'pending' AND id <> ?";
    let count = sqlx::query_scalar(count).bind(blob(endpoint));
    count.bind(blob(except)).fetch_one(connection).await
}

/// Whether this adds a row: the delivery was not known.
async fn insert_delivery(
    connection: &mut SqliteConnection,
    outgoing: &Outgoing,
) -> Result<bool, sqlx::Error> {
    let Outgoing { delivery, payload } = outgoing;
    let insert = "
            INSERT INTO webhook_deliveries (
                id, owner, endpoint, job, url, event, payload, state, attempts, due, answer, created, updated)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT DO NOTHING";
    sqlx::query(insert)
        .bind(blob(&delivery.id))
        .bind(&delivery.owner)
        .bind(blob(&delivery.endpoint))
        .bind(blob(&delivery.job))
        .bind(&delivery.url)
        .bind(&delivery.event)
        .bind(payload)
        .bind(delivery.state.name())
        .bind(delivery.attempts)
        .bind(delivery.due.as_millis())
        .bind(&delivery.answer)
        .bind(delivery.created.as_millis())
        .bind(delivery.updated.as_millis())
        .execute(connection)
        .await
        .map(|done| done.rows_affected() > 0)
}

#[async_trait]
impl Endpoints for SqliteWebhooks {
    async fn add_endpoint(&self, endpoint: &Endpoint) -> Result<Endpoint, Error> {
        match self.insert(endpoint).await {
            Ok(row) => endpoint_of(&row).map_err(sqlite::backend),
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() => {
                Err(Error::Rejected("there is a webhook with this id".into()))
            }
            Err(e) => Err(sqlite::backend(e)),
        }
    }

    async fn endpoint(&self, id: Id) -> Result<Endpoint, Error> {
        let select = sqlx::query("SELECT * FROM webhook_endpoints WHERE id = ?");
        let select = select.bind(blob(&id)).fetch_optional(self.database.read());
        let row = select.await.map_err(sqlite::fault)?;
        endpoint_of(&row.ok_or(Error::NotFound)?).map_err(sqlite::backend)
    }

    async fn endpoints(&self, owner: &str) -> Result<Vec<Endpoint>, Error> {
        let select = sqlx::query("SELECT * FROM webhook_endpoints WHERE owner = ? ORDER BY id");
        let select = select.bind(owner).fetch_all(self.database.read());
        let rows = select.await.map_err(sqlite::fault)?;
        let endpoints: Result<_, _> = rows.iter().map(endpoint_of).collect();
        endpoints.map_err(sqlite::backend)
    }

    async fn remove_endpoint(&self, owner: &str, id: Id) -> Result<(), Error> {
        let remove = || self.remove(owner, id);
        match self.database.freeing(remove).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NotFound),
            Err(e) => Err(sqlite::backend(e)),
        }
    }

    async fn remove_owner(&self, owner: &str) -> Result<(), Error> {
        let remove = || self.remove_all(owner);
        let removed = self.database.freeing(remove).await;
        removed.map_err(sqlite::backend)
    }
}

#[async_trait]
impl Deliveries for SqliteWebhooks {
    async fn plan(&self, deliveries: &[Outgoing], most: usize) -> Result<(), Error> {
        let inserted = self.insert_deliveries(deliveries, most).await;
        inserted.map_err(sqlite::backend)
    }

    async fn claim_due(
        &self,
        except: &[String],
        term: Duration,
    ) -> Result<Option<Outgoing>, Error> {
        let claimed = self.claim(except, term).await;
        claimed.map_err(sqlite::backend)
    }

    async fn settle(&self, claimed: &Delivery) -> Result<(), Error> {
        let settle = "
            UPDATE webhook_deliveries SET state = ?, due = ?, answer = ?, updated = MAX(?, updated + 1)
            WHERE id = ? AND updated = ?";
        let settled = sqlx::query(settle)
            .bind(claimed.state.name())
            .bind(claimed.due.as_millis())
            .bind(&claimed.answer)
            .bind(self.clock.now().as_millis())
            .bind(blob(&claimed.id))
            .bind(claimed.updated.as_millis())
            .execute(self.database.write());
        settled.await.map(drop).map_err(sqlite::backend)
    }

    async fn deliveries(
        &self,
        owner: &str,
        job: Option<Id>,
        before: Option<Id>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error> {
        let mut query = QueryBuilder::new(
            "SELECT id, owner, endpoint, job, url, event, state, attempts, due, answer, created, updated
            FROM webhook_deliveries WHERE owner = ",
        );
        query.push_bind(owner.to_owned());
        for (comparison, id) in [(" AND job = ", job), (" AND id < ", before)] {
            if let Some(id) = id {
                query.push(comparison).push_bind(id.as_bytes().to_vec());
            }
        }
        query
            .push(" ORDER BY id DESC LIMIT ")
            .push_bind(limit_of(limit));
        let rows = query.build().fetch_all(self.database.read()).await;
        let rows = rows.map_err(sqlite::fault)?;
        let deliveries: Result<_, _> = rows.iter().map(delivery_of).collect();
        deliveries.map_err(sqlite::backend)
    }

    async fn resend(&self, owner: &str, id: Id, most: usize) -> Result<Delivery, Error> {
        let resent = self.make_due(owner, id, most).await;
        resent.map_err(sqlite::fault)?
    }

    async fn remove_deliveries(&self, owner: &str, job: Id) -> Result<(), Error> {
        let remove = || {
            let remove = sqlx::query("DELETE FROM webhook_deliveries WHERE job = ? AND owner = ?");
            let remove = remove.bind(job.as_bytes().to_vec()).bind(owner);
            remove.execute(self.database.write())
        };
        let removed = self.database.freeing(remove).await;
        removed.map(drop).map_err(sqlite::backend)
    }

    async fn forget_deliveries(&self, before: Timestamp) -> Result<(), Error> {
        let forget = || {
            let forget = "DELETE FROM webhook_deliveries WHERE state <> 'pending' AND updated < ?";
            let forget = sqlx::query(forget).bind(before.as_millis());
            forget.execute(self.database.write())
        };
        let forgotten = self.database.freeing(forget).await;
        forgotten.map(drop).map_err(sqlite::backend)
    }
}

fn endpoint_of(row: &SqliteRow) -> Result<Endpoint, sqlx::Error> {
    Ok(Endpoint {
        id: id_of(row.try_get("id")?)?,
        owner: row.try_get("owner")?,
        url: row.try_get("url")?,
        secret: SigningSecret::new(row.try_get::<String, _>("secret")?),
        created: time(row, "created")?,
    })
}

fn outgoing_of(row: &SqliteRow) -> Result<Outgoing, sqlx::Error> {
    Ok(Outgoing {
        delivery: delivery_of(row)?,
        payload: row.try_get("payload")?,
    })
}

fn delivery_of(row: &SqliteRow) -> Result<Delivery, sqlx::Error> {
    let state: Result<DeliveryState, _> = row.try_get::<&str, _>("state")?.parse();
    Ok(Delivery {
        id: id_of(row.try_get("id")?)?,
        owner: row.try_get("owner")?,
        endpoint: id_of(row.try_get("endpoint")?)?,
        job: id_of(row.try_get("job")?)?,
        url: row.try_get("url")?,
        event: row.try_get("event")?,
        state: state.map_err(|e| sqlx::Error::Decode(Box::new(e)))?,
        attempts: row.try_get("attempts")?,
        due: time(row, "due")?,
        answer: row.try_get("answer")?,
        created: time(row, "created")?,
        updated: time(row, "updated")?,
    })
}

fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    Ok(Timestamp::from_millis(row.try_get(column)?))
}

fn id_of(bytes: &[u8]) -> Result<Id, sqlx::Error> {
    let bytes = bytes
        .try_into()
        .map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
    Ok(Id::from_bytes(bytes))
}

fn blob(id: &Id) -> &[u8] {
    id.as_bytes()
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
