//! Users as rows of a SQLite table.

use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use micropy_core::ports::BackendError;
use micropy_core::ports::auth::{Auth, Error, Rejection};
use tokio::sync::Semaphore;

use super::password;
use crate::sqlite::{self, Database};

/// The users of a database.
#[derive(Clone, Debug)]
pub struct SqliteAuth {
    database: Database,
    /// Hashing costs a core and 19 MiB each: no more at once than there are cores.
    hashing: Arc<Semaphore>,
}

impl SqliteAuth {
    /// The users of `database`.
    pub fn new(database: Database) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        SqliteAuth {
            database,
            hashing: Arc::new(Semaphore::new(cores)),
        }
    }

    async fn hash(&self, password: &str) -> Result<String, Error> {
        let password = password.to_owned();
        let hashed = self.work(move || password::hash(&password)).await?;
        hashed.map_err(|e| backend(e.to_string().into()))
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.hashing.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|e| backend(e.into()))
    }
}

#[async_trait]
impl Auth for SqliteAuth {
    async fn register(&self, email: &str, password: &str) -> Result<(), Error> {
        let hash = self.hash(password).await?;
        let insert = sqlx::query("INSERT INTO users (email, password) VALUES (?, ?)");
        match insert
            .bind(email)
            .bind(hash)
            .execute(self.database.write())
            .await
        {
            Ok(_) => Ok(()),
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() => {
                Err(Error::Rejected(Rejection::Taken))
            }
            Err(e) => Err(error(e)),
        }
    }

    async fn authenticate(&self, email: &str, password: &str) -> Result<(), Error> {
        let select = sqlx::query_scalar("SELECT password FROM users WHERE email = ?").bind(email);
        let known: Option<String> = select
            .fetch_optional(self.database.read())
            .await
            .map_err(error)?;
        let password = password.to_owned();
        if self
            .work(move || password::matches(&password, known.as_deref()))
            .await?
        {
            return Ok(());
        }
        Err(Error::Rejected(Rejection::Credentials))
    }

    async fn change_password(&self, email: &str, password: &str) -> Result<(), Error> {
        let hash = self.hash(password).await?;
        let update = sqlx::query("UPDATE users SET password = ? WHERE email = ?");
        let done = update
            .bind(hash)
            .bind(email)
            .execute(self.database.write())
            .await;
        match done.map_err(error)?.rows_affected() {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    async fn list(&self) -> Result<Vec<String>, Error> {
        let select = sqlx::query_scalar("SELECT email FROM users ORDER BY email");
        select.fetch_all(self.database.read()).await.map_err(error)
    }
}

fn error(e: sqlx::Error) -> Error {
    if sqlite::may_pass(&e) {
        return Error::Unavailable(sqlite::boxed(e));
    }
    backend(sqlite::boxed(e))
}

fn backend(source: BackendError) -> Error {
    Error::Backend {
        adapter: sqlite::NAME,
        source,
    }
}
