//! Users in the table of older auth services, in MySQL or MariaDB.
//!
//! The table is made if it is missing, and never altered: other services read it too. Its collation may find
//! `ANN@example.com` for `ann@example.com`. Another letter case is another user all the same, except that the UNIQUE
//! index lets only one of the two register.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use micropy_core::ports::BackendError;
use micropy_core::ports::auth::{Auth, Error, Rejection};
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::{Executor, Row};
use tokio::sync::OnceCell;

use super::password::{LegacyPasswords, Passwords};
use crate::fault::{Fault, Kind};

/// The adapter's name in errors.
const NAME: &str = "MySQL";

/// As older services make it.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS user (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email VARCHAR(255) NOT NULL UNIQUE,
    password VARCHAR(255) NOT NULL
)";

/// The highest cost among bcrypt hashes, `$2b$12$…`. A sample is enough: it only determines how long a check takes.
const HIGHEST_COST: &str = "
SELECT MAX(CAST(SUBSTRING(password, 5, 2) AS UNSIGNED))
FROM (SELECT password FROM user LIMIT 100000) AS first_users
WHERE password LIKE '$2_$__$%'";

/// The first comparison finds the row by the index. The second is byte by byte, in UTF-8, whatever the character set of
/// the column.
const CHANGE: &str = "
UPDATE user SET password = ?
WHERE email = ? AND CAST(CONVERT(email USING utf8mb4) AS BINARY) = ?";
const UPGRADE: &str = "
UPDATE user SET password = ?
WHERE email = ? AND CAST(CONVERT(email USING utf8mb4) AS BINARY) = ?
    AND CAST(CONVERT(password USING utf8mb4) AS BINARY) = ?";

/// Values that do not fit are refused, never cut off. Locks are not waited for long.
const SESSION: &str = "
SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), innodb_lock_wait_timeout = 5";

const CONNECTIONS: u32 = 8;
/// How long to wait for a connection, and for an answer over it.
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(10);

/// The users of a database server.
#[derive(Clone)]
pub struct MysqlAuth {
    pool: MySqlPool,
    passwords: Passwords,
    /// Set when the table is known to be there.
    table: Arc<OnceCell<()>>,
}

impl MysqlAuth {
    /// The users at `url`: `mysql://user:password@host:3306/auth`, with optional port and database. TLS is used if the
    /// server offers it. `?ssl-mode=VERIFY_IDENTITY&ssl-ca=/path.pem` verifies the certificate. Passwords of older
    /// services are verified and left as they are.
    ///
    /// The first use connects, so this works before the server is up. Call it within a Tokio runtime.
    pub fn new(url: &str) -> io::Result<Self> {
        let invalid = |why: BackendError| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the URL of the users is not a MySQL URL: {why}"),
            )
        };
        if !url.starts_with("mysql://") && !url.starts_with("mariadb://") {
            return Err(invalid("it does not begin with mysql://".into()));
        }
        let options: MySqlConnectOptions =
            url.parse().map_err(|e: sqlx::Error| invalid(e.into()))?;
        let options = match options.get_database() {
            Some(_) => options,
            None => options.database("auth"),
        };
        let pool = MySqlPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SESSION).await.map(drop) })
            })
            .connect_lazy_with(options);
        Ok(MysqlAuth {
            pool,
            passwords: Passwords::new(NAME, LegacyPasswords::Verify),
            table: Arc::default(),
        })
    }

    /// Chooses what happens to passwords of older services.
    pub fn with_legacy_passwords(mut self, legacy: LegacyPasswords) -> Self {
        self.passwords = self.passwords.with_legacy(legacy);
        self
    }

    /// Closes the connections when they are no longer in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Makes the table if it is missing. Only then does this need the right to create tables.
    async fn table(&self) -> Result<(), Error> {
        let make = || async {
            let cost = match answer(self.highest_cost()).await {
                Err(Error::Backend { source, .. }) if number(source.as_ref()) == Some(NO_TABLE) => {
                    answer(sqlx::query(TABLE).execute(&self.pool)).await?;
                    None
                }
                found => found?,
            };
            if let Some(cost) = cost {
                self.passwords.expect_bcrypt(cost);
            }
            Ok(())
        };
        self.table.get_or_try_init(make).await.map(drop)
    }

    async fn highest_cost(&self) -> Result<Option<u32>, sqlx::Error> {
        let row = sqlx::query(HIGHEST_COST).fetch_one(&self.pool).await?;
        let cost: Option<u64> = row.try_get_unchecked(0)?;
        Ok(cost.and_then(|cost| u32::try_from(cost).ok()))
    }

    /// The stored password of exactly this address; none if the column's character set cannot represent the address.
    async fn stored(&self, email: &str) -> Result<Option<String>, sqlx::Error> {
        let select = sqlx::query("SELECT email, password FROM user WHERE email = ?").bind(email);
        let mut rows = select.fetch(&self.pool);
        while let Some(row) = known(rows.try_next().await)?.flatten() {
            if text(&row, 0)? == email {
                return text(&row, 1).map(Some);
            }
        }
        Ok(None)
    }

    /// Replaces an old password, unless it was changed meanwhile. A failure does not concern the user: the next login
    /// tries again.
    async fn upgrade(&self, email: &str, old: &str, new: &str) {
        let update = sqlx::query(UPGRADE).bind(new).bind(email);
        let update = update.bind(email.as_bytes()).bind(old.as_bytes());
        if let Err(e) = answer(update.execute(&self.pool)).await {
            tracing::warn!(error = %e, "an old password could not be upgraded");
        }
    }
}

impl fmt::Debug for MysqlAuth {
    /// Without the URL, which holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlAuth").finish_non_exhaustive()
    }
}

#[async_trait]
impl Auth for MysqlAuth {
    async fn register(&self, email: &str, password: &str) -> Result<(), Error> {
        self.table().await?;
        let hash = self.passwords.hash(password).await?;
        let insert = sqlx::query("INSERT INTO user (email, password) VALUES (?, ?)");
        let insert = insert.bind(email).bind(hash).execute(&self.pool);
        let done = answer(async {
            match insert.await {
                Err(sqlx::Error::Database(e)) if e.is_unique_violation() => Ok(false),
                done => done.map(|_| true),
            }
        });
        match done.await? {
            true => Ok(()),
            false => Err(Error::Rejected(Rejection::Taken)),
        }
    }

    async fn authenticate(&self, email: &str, password: &str) -> Result<(), Error> {
        self.table().await?;
        let stored = answer(self.stored(email)).await?;
        let upgrade = self.passwords.authenticate(password, stored.clone());
        if let (Some(new), Some(old)) = (upgrade.await?, stored) {
            self.upgrade(email, &old, &new).await;
        }
        Ok(())
    }

    async fn change_password(&self, email: &str, password: &str) -> Result<(), Error> {
        self.table().await?;
        let hash = self.passwords.hash(password).await?;
        let update = sqlx::query(CHANGE).bind(hash);
        let update = update.bind(email).bind(email.as_bytes());
        let done = answer(async { known(update.execute(&self.pool).await) });
        match done.await?.map(|done| done.rows_affected()) {
            None | Some(0) => Err(Error::NotFound),
            Some(_) => Ok(()),
        }
    }

    async fn list(&self) -> Result<Vec<String>, Error> {
        self.table().await?;
        let select = sqlx::query("SELECT email FROM user").fetch(&self.pool);
        let rows = select.and_then(|row| async move { text(&row, 0) });
        let mut all: Vec<String> = answer(rows.try_collect()).await?;
        all.sort_unstable();
        Ok(all)
    }
}

/// A column as text, even if it has a binary type.
fn text(row: &MySqlRow, column: usize) -> Result<String, sqlx::Error> {
    let bytes: &[u8] = row.try_get_unchecked(column)?;
    String::from_utf8(bytes.to_vec()).map_err(|e| sqlx::Error::Decode(e.into()))
}

/// Waits for an answer for a limited time.
async fn answer<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answered) => Ok(answered.map_err(fault)?),
        Err(elapsed) => Err(Fault::new(NAME, Kind::Passing, elapsed).into()),
    }
}

/// `None` if a text cannot be compared with the column, because of its characters.
fn known<T>(answer: Result<T, sqlx::Error>) -> Result<Option<T>, sqlx::Error> {
    match answer {
        Err(e) if NO_CHARACTERS.contains(&number(&e).unwrap_or_default()) => Ok(None),
        answer => answer.map(Some),
    }
}

/// ER_NO_SUCH_TABLE
const NO_TABLE: u16 = 1146;
/// ER_CANT_AGGREGATE_2COLLATIONS, and MySQL's ER_IMPOSSIBLE_STRING_CONVERSION
const NO_CHARACTERS: [u16; 2] = [1267, 3988];

/// The server's error number.
fn number(e: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<u16> {
    let sqlx::Error::Database(e) = e.downcast_ref()? else {
        return None;
    };
    let e = e.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(e.number())
}

/// Classifies an error.
fn fault(e: sqlx::Error) -> Fault {
    let kind = match &e {
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_) => Kind::Passing,
        // Too many connections (of all, of a user, in an hour), shutting down, a lock waited for too long, a deadlock,
        // read-only for now, a statement or a connection that somebody ended.
        sqlx::Error::Database(_) => match number(&e) {
            Some(1040 | 1203 | 1226 | 1053 | 1205 | 1213 | 1290 | 1836 | 1317 | 1927 | 3169) => {
                Kind::Passing
            }
            // ER_DISK_FULL, ER_RECORD_FILE_FULL
            Some(1021 | 1114) => Kind::Full,
            _ => Kind::Lasting,
        },
        _ => Kind::Lasting,
    };
    Fault::new(NAME, kind, e)
}
