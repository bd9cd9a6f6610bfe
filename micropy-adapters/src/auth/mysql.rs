//! Users in the table of the older auth services, in MySQL or MariaDB.
//!
//! The table is made where it is missing and never altered: other services read it too. Its collation may
//! find `ANN@example.com` for `ann@example.com`; an address is still another user in another letter case,
//! except that its UNIQUE index lets only one of the two register.

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

use super::password::{LegacyPasswords, Passwords, Verdict};

/// The adapter's name in errors.
const NAME: &str = "MySQL";

/// As the older services make it.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS user (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email VARCHAR(255) NOT NULL UNIQUE,
    password VARCHAR(255) NOT NULL
)";

/// The highest cost among bcrypt hashes, `$2b$12$…`. A sample will do: it is for the time alone that a
/// check takes.
const DEAREST: &str = "
SELECT MAX(CAST(SUBSTRING(password, 5, 2) AS UNSIGNED))
FROM (SELECT password FROM user LIMIT 100000) AS first_users
WHERE password LIKE '$2_$__$%'";

/// The first comparison finds the row by the index, the second is byte by byte, in UTF-8 whatever the
/// column is kept in.
const CHANGE: &str = "
UPDATE user SET password = ?
WHERE email = ? AND CAST(CONVERT(email USING utf8mb4) AS BINARY) = ?";
const UPGRADE: &str = "
UPDATE user SET password = ?
WHERE email = ? AND CAST(CONVERT(email USING utf8mb4) AS BINARY) = ?
    AND CAST(CONVERT(password USING utf8mb4) AS BINARY) = ?";

/// What does not fit is refused, never cut off; who holds a lock is not waited for long.
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
    /// The users at `url`: `mysql://user:password@host:3306/auth`, where database and port may be left
    /// out. TLS is used where the server offers it, and its certificate verified where
    /// `?ssl-mode=VERIFY_IDENTITY&ssl-ca=/path.pem` asks for it. Passwords of older services are verified
    /// and left as they are.
    ///
    /// It connects when it is first asked, so that it may be made before the server is up. To be called
    /// within a Tokio runtime.
    pub fn new(url: &str) -> io::Result<Self> {
        let invalid = |why: BackendError| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the URL of the users is none of MySQL: {why}"),
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
            passwords: Passwords::new(LegacyPasswords::Verify),
            table: Arc::default(),
        })
    }

    /// Treats the passwords of older services in another way.
    pub fn with_legacy_passwords(mut self, legacy: LegacyPasswords) -> Self {
        self.passwords = self.passwords.with_legacy(legacy);
        self
    }

    /// Closes the connections, when those who use them are done.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Makes the table where it is missing, which takes a right that is not needed where it is there.
    async fn table(&self) -> Result<(), Error> {
        let make = || async {
            let dearest = match answer(self.dearest()).await {
                Err(Error::Backend { source, .. }) if number(source.as_ref()) == Some(NO_TABLE) => {
                    answer(sqlx::query(TABLE).execute(&self.pool)).await?;
                    None
                }
                found => found?,
            };
            if let Some(cost) = dearest {
                self.passwords.expect_bcrypt(cost);
            }
            Ok(())
        };
        self.table.get_or_try_init(make).await.map(drop)
    }

    async fn dearest(&self) -> Result<Option<u32>, sqlx::Error> {
        let row = sqlx::query(DEAREST).fetch_one(&self.pool).await?;
        let cost: Option<u64> = row.try_get_unchecked(0)?;
        Ok(cost.and_then(|cost| u32::try_from(cost).ok()))
    }

    /// What is stored as the password of exactly this address. There is nothing where the column's
    /// character set has no such address.
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

    /// Replaces an old password, unless it was changed meanwhile. Whoever logs in need not know that it
    /// failed: the next login tries again.
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
        let hash = self.passwords.hash(password).await.map_err(backend)?;
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
        let verdict = self.passwords.check(password, stored.clone()).await;
        match (verdict.map_err(backend)?, stored) {
            (Verdict::Refused, _) => return Err(Error::Rejected(Rejection::Credentials)),
            (Verdict::Upgrade(new), Some(old)) => self.upgrade(email, &old, &new).await,
            (Verdict::Accepted | Verdict::Upgrade(_), _) => {}
        }
        Ok(())
    }

    async fn change_password(&self, email: &str, password: &str) -> Result<(), Error> {
        self.table().await?;
        let hash = self.passwords.hash(password).await.map_err(backend)?;
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

/// A column as text, also where somebody made it of a binary type.
fn text(row: &MySqlRow, column: usize) -> Result<String, sqlx::Error> {
    let bytes: &[u8] = row.try_get_unchecked(column)?;
    String::from_utf8(bytes.to_vec()).map_err(|e| sqlx::Error::Decode(e.into()))
}

/// Waits for an answer, but not for ever.
async fn answer<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answered) => answered.map_err(error),
        Err(elapsed) => Err(Error::Unavailable(elapsed.into())),
    }
}

/// `None` where a text has characters that those of the column cannot be compared with.
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

/// The number of what the server said.
fn number(e: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<u16> {
    let sqlx::Error::Database(e) = e.downcast_ref()? else {
        return None;
    };
    let e = e.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(e.number())
}

/// Whether it may pass: nobody is there, or has time.
fn may_pass(e: &sqlx::Error) -> bool {
    match e {
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_) => true,
        // Too many connections (of all, of a user, of an hour), shutting down, a lock waited for too long,
        // a deadlock, read-only for now, a statement or a connection ended by somebody.
        sqlx::Error::Database(_) => matches!(
            number(e),
            Some(1040 | 1203 | 1226 | 1053 | 1205 | 1213 | 1290 | 1836 | 1317 | 1927 | 3169)
        ),
        _ => false,
    }
}

fn error(e: sqlx::Error) -> Error {
    if may_pass(&e) {
        return Error::Unavailable(e.into());
    }
    backend(e.into())
}

fn backend(source: BackendError) -> Error {
    Error::Backend {
        adapter: NAME,
        source,
    }
}
