//! A queue as rows of a SQLite table.
//!
//! A delivery is a lease on a message for [`LEASE`], which is renewed as long as the delivery lives. When its process
//! is killed, the lease runs out and the message is delivered again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use micropy_core::ports::queue::{DeadLetter, DeadLetters, Delivery, Error, LONGEST_DELAY, Queue};
use micropy_core::ports::{Clock, Id, Timestamp};
use sqlx::Row;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::sqlite::{self, Database};

/// How long a message is left to a receiver whose process may have been killed.
pub const LEASE: Duration = Duration::from_secs(30);
/// How often a lease is renewed.
const RENEW: Duration = Duration::from_secs(10);
/// How often a waiting receiver looks for messages that have become due.
const POLL: Duration = Duration::from_millis(250);

/// One queue of a database.
#[derive(Clone)]
pub struct SqliteQueue {
    database: Database,
    clock: Arc<dyn Clock>,
    name: &'static str,
    published: Arc<Notify>,
}

impl SqliteQueue {
    /// The queue called `name`.
    pub fn new(database: Database, name: &'static str, clock: Arc<dyn Clock>) -> Self {
        SqliteQueue {
            database,
            clock,
            name,
            published: Arc::default(),
        }
    }

    /// Adds a message as part of a transaction. After its commit, call [`wake`](Self::wake).
    pub(crate) async fn insert(
        &self,
        transaction: &mut sqlx::SqliteConnection,
        payload: &[u8],
    ) -> Result<(), sqlx::Error> {
        let insert = sqlx::query("INSERT INTO messages (queue, payload) VALUES (?, ?)");
        insert
            .bind(self.name)
            .bind(payload)
            .execute(transaction)
            .await
            .map(drop)
    }

    /// Removes the messages about a job as part of a transaction: those that hold its id as text in JSON. A text within
    /// another never looks like that, since its quotes are escaped.
    pub(crate) async fn remove_about(
        &self,
        transaction: &mut sqlx::SqliteConnection,
        job: &Id,
    ) -> Result<(), sqlx::Error> {
        let delete = sqlx::query("DELETE FROM messages WHERE queue = ? AND instr(payload, ?)");
        delete
            .bind(self.name)
            .bind(format!("\"{job}\"").into_bytes())
            .execute(transaction)
            .await
            .map(drop)
    }

    /// Wakes a waiting receiver.
    pub(crate) fn wake(&self) {
        self.published.notify_one();
    }

    async fn list_dead(&self, limit: usize) -> Result<Vec<DeadLetter>, sqlx::Error> {
        let list = "
            SELECT payload, reason, deliveries, died FROM dead_letters
            WHERE queue = ? ORDER BY died, id LIMIT ?";
        let list = sqlx::query(list).bind(self.name).bind(limit_of(limit));
        let rows = list.fetch_all(self.database.read()).await?;
        let letter = |row: &sqlx::sqlite::SqliteRow| {
            Ok(DeadLetter {
                payload: row.try_get("payload")?,
                reason: row.try_get("reason")?,
                deliveries: row.try_get("deliveries")?,
                died: Some(Timestamp::from_millis(row.try_get("died")?)),
            })
        };
        rows.iter().map(letter).collect()
    }

    async fn replay_dead(&self, limit: usize) -> Result<usize, sqlx::Error> {
        const OLDEST: &str =
            "SELECT id, payload FROM dead_letters WHERE queue = ? ORDER BY died, id LIMIT ?";
        let mut transaction = self.database.begin().await?;
        let oldest = sqlx::query(OLDEST).bind(self.name).bind(limit_of(limit));
        let rows = oldest.fetch_all(&mut *transaction).await?;
        for row in &rows {
            self.insert(&mut transaction, row.try_get("payload")?)
                .await?;
            let id: i64 = row.try_get("id")?;
            let delete = sqlx::query("DELETE FROM dead_letters WHERE id = ?").bind(id);
            delete.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(rows.len())
    }

    async fn take(&self) -> Result<Option<SqliteDelivery>, sqlx::Error> {
        let now = self.clock.now();
        // What is leased, or put off, for twice as long as anything is was so by a clock that was ahead.
        let take = "
            UPDATE messages SET held = 1, deliveries = deliveries + 1, due = ?1
            WHERE id = (
                SELECT id FROM messages
                WHERE queue = ?2 AND (due <= ?3 OR due > ?4 OR held AND due > ?5)
                ORDER BY id LIMIT 1)
            RETURNING id, deliveries, payload";
        let row = sqlx::query(take)
            .bind(now.plus(LEASE).as_millis())
            .bind(self.name)
            .bind(now.as_millis())
            .bind(now.plus(2 * LONGEST_DELAY).as_millis())
            .bind(now.plus(2 * LEASE).as_millis())
            .fetch_optional(self.database.write())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let claim = Claim {
            queue: self.clone(),
            id: row.try_get("id")?,
            deliveries: row.try_get("deliveries")?,
        };
        Ok(Some(SqliteDelivery {
            payload: row.try_get("payload")?,
            renewal: tokio::spawn(claim.clone().keep()).abort_handle(),
            claim: Some(claim),
        }))
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn publish(&self, payload: Vec<u8>) -> Result<(), Error> {
        let mut connection = self
            .database
            .write()
            .acquire()
            .await
            .map_err(sqlite::fault)?;
        self.insert(&mut connection, &payload)
            .await
            .map_err(sqlite::fault)?;
        self.wake();
        Ok(())
    }

    async fn receive(&self) -> Result<Box<dyn Delivery>, Error> {
        loop {
            if let Some(delivery) = self.take().await.map_err(sqlite::fault)? {
                // One wake-up may stand for several messages.
                self.wake();
                return Ok(Box::new(delivery));
            }
            let _ = tokio::time::timeout(POLL, self.published.notified()).await;
        }
    }
}

#[async_trait]
impl DeadLetters for SqliteQueue {
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        self.list_dead(limit).await.map_err(sqlite::backend)
    }

    async fn replay(&self, limit: usize) -> Result<usize, Error> {
        let count = self.replay_dead(limit).await.map_err(sqlite::fault)?;
        self.wake();
        Ok(count)
    }

    async fn drop_dead(&self, limit: usize) -> Result<usize, Error> {
        let delete = "
            DELETE FROM dead_letters WHERE id IN (
                SELECT id FROM dead_letters WHERE queue = ? ORDER BY died, id LIMIT ?)";
        let delete = sqlx::query(delete).bind(self.name).bind(limit_of(limit));
        let deleted = delete.execute(self.database.write()).await;
        let count = deleted.map_err(sqlite::fault)?.rows_affected();
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }
}

/// The right to one delivery of one message; void once the message is delivered again.
#[derive(Clone)]
struct Claim {
    queue: SqliteQueue,
    id: i64,
    deliveries: u32,
}

impl Claim {
    /// Renews the lease until it is aborted.
    async fn keep(self) {
        loop {
            tokio::time::sleep(RENEW).await;
            let until = self.queue.clock.now().plus(LEASE).as_millis();
            if let Err(e) = self.set_due(until, true).await {
                tracing::warn!(queue = self.queue.name, error = %e, "the lease on a message could not be renewed");
            }
        }
    }

    async fn set_due(&self, due: i64, held: bool) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE messages SET due = ?, held = ? WHERE id = ? AND deliveries = ?")
            .bind(due)
            .bind(held)
            .bind(self.id)
            .bind(self.deliveries)
            .execute(self.queue.database.write())
            .await
            .map(drop)
    }

    async fn give_back(&self, due: i64) -> Result<(), sqlx::Error> {
        self.set_due(due, false).await?;
        self.queue.wake();
        Ok(())
    }

    async fn remove(&self) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM messages WHERE id = ? AND deliveries = ?")
            .bind(self.id)
            .bind(self.deliveries)
            .execute(self.queue.database.write())
            .await
            .map(drop)
    }

    async fn move_to_dead_letters(&self, reason: &str) -> Result<(), sqlx::Error> {
        let mut transaction = self.queue.database.begin().await?;
        let died = self.queue.clock.now().as_millis();
        let copy = "
            INSERT INTO dead_letters (id, queue, payload, deliveries, reason, died)
            SELECT id, queue, payload, deliveries, ?, ? FROM messages
            WHERE id = ? AND deliveries = ?";
        let copy = sqlx::query(copy)
            .bind(reason)
            .bind(died)
            .bind(self.id)
            .bind(self.deliveries);
        if copy.execute(&mut *transaction).await?.rows_affected() == 1 {
            let delete = sqlx::query("DELETE FROM messages WHERE id = ?").bind(self.id);
            delete.execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}

struct SqliteDelivery {
    payload: Vec<u8>,
    renewal: AbortHandle,
    /// Until it is settled.
    claim: Option<Claim>,
}

impl SqliteDelivery {
    fn settle(&mut self) -> Result<Claim, Error> {
        self.renewal.abort();
        self.claim
            .take()
            .ok_or_else(|| Error::Rejected("the delivery is settled already".into()))
    }
}

impl Drop for SqliteDelivery {
    fn drop(&mut self) {
        self.renewal.abort();
        let (Some(claim), Ok(runtime)) = (self.claim.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            if let Err(e) = claim.give_back(0).await {
                tracing::warn!(error = %e, "a message is delivered again only when its lease runs out");
            }
        });
    }
}

#[async_trait]
impl Delivery for SqliteDelivery {
    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn attempt(&self) -> u32 {
        self.claim.as_ref().map_or(0, |claim| claim.deliveries)
    }

    async fn ack(mut self: Box<Self>) -> Result<(), Error> {
        self.settle()?.remove().await.map_err(sqlite::backend)
    }

    async fn retry(mut self: Box<Self>, after: Duration) -> Result<(), Error> {
        let claim = self.settle()?;
        let due = claim.queue.clock.now().plus(after.min(LONGEST_DELAY));
        claim
            .give_back(due.as_millis())
            .await
            .map_err(sqlite::backend)
    }

    async fn dead(mut self: Box<Self>, reason: &str) -> Result<(), Error> {
        self.settle()?
            .move_to_dead_letters(reason)
            .await
            .map_err(sqlite::backend)
    }
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
