//! Users in the table of older auth services, in MySQL or MariaDB.
//!
//! The table is made if it is missing, and never altered: other services read it too. Its collation may find
//! `ANN@example.com` for `ann@example.com`. Another letter case is another user all the same, except that the UNIQUE
//! index lets only one of the two register.
//!
//! What that table has no columns for is in tables of our own, whose names begin with `micropy_`: who is disabled,
//! verified or an administrator, and which tokens have ended. A user without a row there was made by an older service:
//! enabled, verified, no administrator. Where the database's user may not make these tables, everybody is like that,
//! and nothing of it can be changed; a warning says so.
//!
//! The credential version follows from the stored password too. So it changes where another program changes the
//! password.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use micropy_core::ports::auth::{
    ApiToken, Auth, Change, Error, Rejection, Role, Scopes, TokenDigest, User,
};
use micropy_core::ports::{BackendError, Timestamp};
use sha2::{Digest, Sha256};
use sqlx::mysql::{
    MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPool, MySqlPoolOptions, MySqlRow,
};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use tokio::sync::OnceCell;

use super::password::{LegacyPasswords, Passwords};
use crate::fault::{Fault, Kind};
use crate::schema;

/// The adapter's name in errors.
const NAME: &str = "MySQL";

/// As older services make it.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS user (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email VARCHAR(255) NOT NULL UNIQUE,
    password VARCHAR(255) NOT NULL
)";

/// What has changed in our own tables from version to version; see [`schema`]. `micropy_schema` counts them. Each
/// statement commits by itself, so a migration that was interrupted is run again: it has to bear that.
const MIGRATIONS: &[&[&str]] = &[&[STANDING, REVOKED], &[API_TOKENS]];

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS micropy_schema (
    one TINYINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
)";
const STANDING: &str = "
CREATE TABLE IF NOT EXISTS micropy_standing (
    user_id BIGINT NOT NULL PRIMARY KEY,
    -- In UTF-8. The server may give the id of a user who was removed to another.
    email VARBINARY(1020) NOT NULL,
    role VARCHAR(16) NOT NULL,
    disabled BOOLEAN NOT NULL,
    verified BOOLEAN NOT NULL,
    -- Counts what ends all tokens of the user.
    version BIGINT NOT NULL,
    -- Tokens without a version are good from then on: milliseconds since the epoch.
    tokens_since BIGINT NOT NULL
)";
const REVOKED: &str = "
CREATE TABLE IF NOT EXISTS micropy_revoked_tokens (
    digest BINARY(32) NOT NULL PRIMARY KEY,
    expiry BIGINT NOT NULL,
    INDEX (expiry)
)";

const API_TOKENS: &str = "
CREATE TABLE IF NOT EXISTS micropy_api_tokens (
    id VARCHAR(64) CHARACTER SET ascii NOT NULL PRIMARY KEY,
    digest BINARY(32) NOT NULL UNIQUE,
    user_id BIGINT NOT NULL,
    -- The user's credential version when it was made, which follows from the password too: it ends with it.
    version BIGINT UNSIGNED NOT NULL,
    -- In UTF-8.
    name VARBINARY(1020) NOT NULL,
    -- Names with a space between.
    scopes VARCHAR(255) CHARACTER SET ascii NOT NULL,
    created BIGINT NOT NULL,
    INDEX (user_id, created)
)";

/// One process at a time migrates. The lock's name is the server's, not the database's.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('micropy ', LEFT(DATABASE(), 50)), 10)";
const UNLOCK: &str = "DO RELEASE_LOCK(CONCAT('micropy ', LEFT(DATABASE(), 50)))";

/// The highest cost among bcrypt hashes, `$2b$12$…`. A sample is enough: it only determines how long a check takes.
const HIGHEST_COST: &str = "
SELECT MAX(CAST(SUBSTRING(password, 5, 2) AS UNSIGNED))
FROM (SELECT password FROM user LIMIT 100000) AS first_users
WHERE password LIKE '$2_$__$%'";

/// Users with what our table says of them.
const USERS: &str = "
SELECT u.email, u.password, CAST(u.id AS SIGNED), s.role, s.disabled, s.verified, s.version, s.tokens_since
FROM user AS u LEFT JOIN micropy_standing AS s
    ON s.user_id = u.id AND s.email = CAST(CONVERT(u.email USING utf8mb4) AS BINARY)";
/// The same without our table.
const ORIGINAL_USERS: &str = "
SELECT u.email, u.password, CAST(u.id AS SIGNED), NULL, NULL, NULL, NULL, NULL
FROM user AS u";

const SET_STANDING: &str = "
INSERT INTO micropy_standing (user_id, email, role, disabled, verified, version, tokens_since)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE email = VALUES(email), role = VALUES(role), disabled = VALUES(disabled),
    verified = VALUES(verified), version = VALUES(version), tokens_since = VALUES(tokens_since)";

/// The first comparison finds the row by the index. The second is byte by byte, in UTF-8, whatever the character set of
/// the column.
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
    /// Set when the original table is known to be there: which others are.
    tables: Arc<OnceCell<Tables>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tables {
    /// The original one and our own.
    Own,
    /// The original one alone.
    Original,
}

/// A user's row, with what belongs to it in our table.
struct Account {
    id: i64,
    email: String,
    password: String,
    standing: Standing,
}

/// A row of our table.
#[derive(Clone, Copy)]
struct Standing {
    role: Role,
    is_disabled: bool,
    is_verified: bool,
    version: i64,
    tokens_since: Timestamp,
}

impl Standing {
    /// Of a user whom an older service has made.
    const ORIGINAL: Standing = Standing {
        role: Role::User,
        is_disabled: false,
        is_verified: true,
        version: 0,
        tokens_since: Timestamp::from_millis(0),
    };

    /// Ends all tokens of before.
    fn end_tokens(&mut self, now: Timestamp) {
        self.version += 1;
        self.tokens_since = now;
    }
}

impl Account {
    fn read(row: &MySqlRow) -> Result<Self, sqlx::Error> {
        let standing = match row.try_get_unchecked::<Option<i64>, _>(6)? {
            None => Standing::ORIGINAL,
            Some(version) => Standing {
                role: Role::of_name(&text(row, 3)?).unwrap_or_default(),
                is_disabled: row.try_get_unchecked(4)?,
                is_verified: row.try_get_unchecked(5)?,
                version,
                tokens_since: Timestamp::from_millis(row.try_get_unchecked(7)?),
            },
        };
        Ok(Account {
            id: row.try_get_unchecked(2)?,
            email: text(row, 0)?,
            password: text(row, 1)?,
            standing,
        })
    }

    /// The credential version.
    fn version(&self) -> u64 {
        let digest = Sha256::new()
            .chain_update(self.standing.version.to_le_bytes())
            .chain_update(&self.password);
        let [a, b, c, d, e, f, g, h, ..] = digest.finalize().0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Whether it is the user who was seen, of the same version; anybody is, where nobody was seen.
    fn is_as_seen(&self, seen: Option<&User>) -> bool {
        seen.is_none_or(|seen| {
            (self.id.to_string(), self.version()) == (seen.id.clone(), seen.version)
        })
    }

    fn user(self) -> User {
        let version = self.version();
        User {
            id: self.id.to_string(),
            email: self.email,
            role: self.standing.role,
            is_disabled: self.standing.is_disabled,
            is_verified: self.standing.is_verified,
            version,
            tokens_since: self.standing.tokens_since,
        }
    }
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
            tables: Arc::default(),
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

    /// Makes the tables if they are missing. Only then does this need the right to create tables.
    async fn tables(&self) -> Result<Tables, Error> {
        let make = || async {
            let cost = match answer(self.highest_cost()).await {
                Err(Error::Backend { cause, .. }) if number(cause.as_ref()) == Some(NO_TABLE) => {
                    answer(sqlx::query(TABLE).execute(&self.pool)).await?;
                    None
                }
                found => found?,
            };
            if let Some(cost) = cost {
                self.passwords.expect_bcrypt(cost);
            }
            match answer(self.migrate()).await {
                Ok(()) => Ok(Tables::Own),
                Err(Error::Backend { cause, .. }) if is_denied(cause.as_ref()) => {
                    // What is ours already is not passed over: it says who is disabled.
                    if self.has_own().await? {
                        return Err(Fault::lasting(NAME, NO_OWN_TABLES).into());
                    }
                    tracing::warn!(
                        error = %cause,
                        "without tables of its own, the service cannot disable users or end single tokens: grant it \
                         CREATE, SELECT, INSERT, UPDATE and DELETE on the users' database, and restart it"
                    );
                    Ok(Tables::Original)
                }
                Err(e) => Err(e),
            }
        };
        self.tables.get_or_try_init(make).await.copied()
    }

    /// Whether our own tables are there: an error where they are not.
    async fn own_tables(&self) -> Result<(), Error> {
        match self.tables().await? {
            Tables::Own => Ok(()),
            Tables::Original => Err(Fault::lasting(NAME, NO_OWN_TABLES).into()),
        }
    }

    /// Whether some of our own tables are there, and can be read.
    async fn has_own(&self) -> Result<bool, Error> {
        let missing = answer(async {
            let mut connection = self.pool.acquire().await?;
            self.missing(&mut connection).await
        });
        match missing.await {
            Ok(missing) => Ok(missing.len() < MIGRATIONS.len()),
            Err(Error::Backend { cause, .. }) if is_denied(cause.as_ref()) => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn migrate(&self) -> Result<(), sqlx::Error> {
        if self
            .missing(&mut *self.pool.acquire().await?)
            .await?
            .is_empty()
        {
            return Ok(());
        }
        // Without the pool, so that the lock ends with the connection, however that ends.
        let mut connection = self.pool.acquire().await?.detach();
        let locked: Option<i64> = sqlx::query(LOCK)
            .fetch_one(&mut connection)
            .await?
            .try_get_unchecked(0)?;
        if locked != Some(1) {
            return Err(sqlx::Error::PoolTimedOut);
        }
        connection.execute(SCHEMA).await?;
        for migration in self.missing(&mut connection).await? {
            for statement in *migration {
                sqlx::raw_sql(*statement).execute(&mut connection).await?;
            }
        }
        let done = "INSERT INTO micropy_schema VALUES (1, ?) ON DUPLICATE KEY UPDATE version = VALUES(version)";
        sqlx::query(done)
            .bind(i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX))
            .execute(&mut connection)
            .await?;
        connection.execute(UNLOCK).await?;
        connection.close().await
    }

    /// The migrations that the database still needs.
    async fn missing(
        &self,
        connection: &mut MySqlConnection,
    ) -> Result<&'static [&'static [&'static str]], sqlx::Error> {
        let select = sqlx::query("SELECT version FROM micropy_schema WHERE one = 1");
        let version = match select.fetch_optional(connection).await {
            Ok(Some(row)) => row.try_get_unchecked(0)?,
            Ok(None) => 0,
            Err(e) if number(&e) == Some(NO_TABLE) => 0,
            Err(e) => return Err(e),
        };
        schema::missing(MIGRATIONS, version).map_err(|e| sqlx::Error::Configuration(e.into()))
    }

    async fn highest_cost(&self) -> Result<Option<u32>, sqlx::Error> {
        let row = sqlx::query(HIGHEST_COST).fetch_one(&self.pool).await?;
        let cost: Option<u64> = row.try_get_unchecked(0)?;
        Ok(cost.and_then(|cost| u32::try_from(cost).ok()))
    }

    /// The account of exactly this address; none if the column's character set cannot represent the address. `lock`
    /// keeps it from changing until the transaction ends.
    async fn account(
        &self,
        connection: &mut MySqlConnection,
        tables: Tables,
        email: &str,
        lock: bool,
    ) -> Result<Option<Account>, sqlx::Error> {
        let users = match tables {
            Tables::Own => USERS,
            Tables::Original => ORIGINAL_USERS,
        };
        let lock = if lock { " FOR UPDATE" } else { "" };
        let select = AssertSqlSafe(format!("{users} WHERE u.email = ?{lock}"));
        let mut rows = sqlx::query(select).bind(email).fetch(connection);
        while let Some(row) = known(rows.try_next().await)?.flatten() {
            if text(&row, 0)? == email {
                return Account::read(&row).map(Some);
            }
        }
        Ok(None)
    }

    /// The account, without a lock.
    async fn look_up(&self, email: &str) -> Result<Option<Account>, Error> {
        let tables = self.tables().await?;
        let found = async {
            let mut connection = self.pool.acquire().await?;
            self.account(&mut connection, tables, email, false).await
        };
        answer(found).await
    }

    /// The account of a user, if it is still as it was seen.
    async fn look_up_seen(&self, user: &User) -> Result<Option<Account>, Error> {
        let account = self.look_up(&user.email).await?;
        Ok(account.filter(|account| account.is_as_seen(Some(user))))
    }

    async fn set_standing(
        connection: &mut MySqlConnection,
        account: &Account,
    ) -> Result<(), sqlx::Error> {
        let standing = account.standing;
        let set = sqlx::query(SET_STANDING)
            .bind(account.id)
            .bind(account.email.as_bytes())
            .bind(standing.role.name())
            .bind(standing.is_disabled)
            .bind(standing.is_verified)
            .bind(standing.version)
            .bind(standing.tokens_since.as_millis());
        set.execute(connection).await.map(drop)
    }

    /// Replaces an old password, unless it was changed meanwhile. A failure does not concern the user: the next login
    /// tries again. Returns whether it is replaced.
    async fn upgrade(&self, email: &str, old: &str, new: &str) -> bool {
        let update = sqlx::query(UPGRADE).bind(new).bind(email);
        let update = update.bind(email.as_bytes()).bind(old.as_bytes());
        match answer(update.execute(&self.pool)).await {
            Ok(done) => done.rows_affected() > 0,
            Err(e) => {
                tracing::warn!(error = %e, "an old password could not be upgraded");
                false
            }
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
    async fn register(&self, email: &str, password: &str, now: Timestamp) -> Result<User, Error> {
        let tables = self.tables().await?;
        let hash = self.passwords.hash(password).await?;
        let registered = answer(async {
            let mut transaction = self.pool.begin().await?;
            let insert = sqlx::query("INSERT INTO user (email, password) VALUES (?, ?)");
            let insert = insert.bind(email).bind(&hash).execute(&mut *transaction);
            let inserted = match insert.await {
                Err(sqlx::Error::Database(e)) if e.is_unique_violation() => return Ok(None),
                done => done?,
            };
            let id = inserted.last_insert_id();
            let mut account = Account {
                id: i64::try_from(id).map_err(|e| sqlx::Error::Decode(e.into()))?,
                email: email.to_owned(),
                password: hash,
                standing: Standing::ORIGINAL,
            };
            if tables == Tables::Own {
                account.standing.is_verified = false;
                account.standing.tokens_since = now;
                Self::set_standing(&mut transaction, &account).await?;
            }
            transaction.commit().await?;
            Ok(Some(account.user()))
        });
        let registered = registered.await?;
        registered.ok_or(Error::Rejected(Rejection::Taken))
    }

    async fn authenticate(&self, email: &str, password: &str) -> Result<User, Error> {
        let account = self.look_up(email).await?;
        let stored = account.as_ref().map(|account| account.password.clone());
        let upgrade = self.passwords.authenticate(password, stored).await?;
        let mut account = match account {
            Some(account) if !account.standing.is_disabled => account,
            _ => return Err(Error::Rejected(Rejection::Credentials)),
        };
        if let Some(new) = upgrade
            && self.upgrade(email, &account.password, &new).await
        {
            account.password = new;
        }
        Ok(account.user())
    }

    async fn find(&self, email: &str) -> Result<User, Error> {
        let account = self.look_up(email).await?;
        account.map(Account::user).ok_or(Error::NotFound)
    }

    async fn change_password(
        &self,
        email: &str,
        password: &str,
        seen: Option<&User>,
        now: Timestamp,
    ) -> Result<User, Error> {
        let tables = self.tables().await?;
        let hash = self.passwords.hash(password).await?;
        let changed = answer(async {
            let mut transaction = self.pool.begin().await?;
            let account = self.account(&mut transaction, tables, email, true).await?;
            let Some(mut account) = account else {
                return Ok(Err(Error::NotFound));
            };
            if !account.is_as_seen(seen) {
                return Ok(Err(Error::Rejected(Rejection::Changed)));
            }
            let update = sqlx::query("UPDATE user SET password = ? WHERE id = ?");
            let update = update.bind(&hash).bind(account.id);
            update.execute(&mut *transaction).await?;
            account.password = hash;
            if tables == Tables::Own {
                account.standing.end_tokens(now);
                Self::set_standing(&mut transaction, &account).await?;
            }
            transaction.commit().await?;
            Ok(Ok(account.user()))
        });
        changed.await?
    }

    async fn change(&self, email: &str, change: Change, now: Timestamp) -> Result<User, Error> {
        self.own_tables().await?;
        let changed = answer(async {
            let mut transaction = self.pool.begin().await?;
            let account = self
                .account(&mut transaction, Tables::Own, email, true)
                .await?;
            let Some(mut account) = account else {
                return Ok(None);
            };
            match change {
                Change::Disabled(disabled) => {
                    if disabled {
                        account.standing.end_tokens(now);
                    }
                    account.standing.is_disabled = disabled;
                }
                Change::Verified(verified) => account.standing.is_verified = verified,
                Change::Role(role) => account.standing.role = role,
                Change::TokensEnded => account.standing.end_tokens(now),
            }
            Self::set_standing(&mut transaction, &account).await?;
            transaction.commit().await?;
            Ok(Some(account.user()))
        });
        changed.await?.ok_or(Error::NotFound)
    }

    async fn remove(&self, email: &str, seen: Option<&User>) -> Result<(), Error> {
        let tables = self.tables().await?;
        let removed = answer(async {
            let mut transaction = self.pool.begin().await?;
            let account = self.account(&mut transaction, tables, email, true).await?;
            let Some(account) = account else {
                return Ok(Err(Error::NotFound));
            };
            if !account.is_as_seen(seen) {
                return Ok(Err(Error::Rejected(Rejection::Changed)));
            }
            let delete = sqlx::query("DELETE FROM user WHERE id = ?").bind(account.id);
            delete.execute(&mut *transaction).await?;
            if tables == Tables::Own {
                for own in ["micropy_standing", "micropy_api_tokens"] {
                    let delete = AssertSqlSafe(format!("DELETE FROM {own} WHERE user_id = ?"));
                    let delete = sqlx::query(delete).bind(account.id);
                    delete.execute(&mut *transaction).await?;
                }
            }
            transaction.commit().await.map(Ok)
        });
        removed.await?
    }

    async fn list(&self) -> Result<Vec<User>, Error> {
        let users = match self.tables().await? {
            Tables::Own => USERS,
            Tables::Original => ORIGINAL_USERS,
        };
        let select = sqlx::query(users).fetch(&self.pool);
        let rows = select.and_then(|row| async move { Account::read(&row).map(Account::user) });
        let mut all: Vec<User> = answer(rows.try_collect()).await?;
        all.sort_unstable_by(|a, b| a.email.cmp(&b.email));
        Ok(all)
    }

    async fn revoke(
        &self,
        token: &TokenDigest,
        expiry: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.own_tables().await?;
        let forget = sqlx::query("DELETE FROM micropy_revoked_tokens WHERE expiry <= ?");
        match answer(forget.bind(now.as_millis()).execute(&self.pool)).await {
            // Without the right to delete, they stay.
            Err(Error::Backend { cause, .. }) if is_denied(cause.as_ref()) => {}
            done => {
                done?;
            }
        }
        let insert = "
            INSERT INTO micropy_revoked_tokens (digest, expiry) VALUES (?, ?)
            ON DUPLICATE KEY UPDATE expiry = VALUES(expiry)";
        let insert = sqlx::query(insert).bind(&token[..]);
        let insert = insert.bind(expiry.as_millis());
        answer(insert.execute(&self.pool)).await.map(drop)
    }

    async fn add_api_token(
        &self,
        user: &User,
        token: &ApiToken,
        digest: &TokenDigest,
        most: usize,
    ) -> Result<(), Error> {
        self.own_tables().await?;
        let kept = answer(async {
            let mut transaction = self.pool.begin().await?;
            // Locked, so that the user stays as seen, and no other token is added, until this one is.
            let account = self.account(&mut transaction, Tables::Own, &user.email, true);
            let Some(account) = account
                .await?
                .filter(|account| account.is_as_seen(Some(user)))
            else {
                return Ok(Err(Rejection::Changed));
            };
            let (id, version) = (account.id, account.version());
            let count = sqlx::query(COUNT_API_TOKENS).bind(id).bind(version);
            let count = count.fetch_one(&mut *transaction).await?;
            let count: i64 = count.try_get_unchecked(0)?;
            if usize::try_from(count).unwrap_or(usize::MAX) >= most {
                return Ok(Err(Rejection::TooManyTokens));
            }
            let insert = sqlx::query(ADD_API_TOKEN)
                .bind(&token.id)
                .bind(&digest[..])
                .bind(id)
                .bind(version)
                .bind(token.name.as_bytes())
                .bind(token.scopes.names().join(" "))
                .bind(token.created.as_millis());
            insert.execute(&mut *transaction).await?;
            transaction.commit().await.map(Ok)
        });
        kept.await?.map_err(Error::Rejected)
    }

    async fn api_tokens(&self, user: &User) -> Result<Vec<ApiToken>, Error> {
        if self.tables().await? == Tables::Original {
            return Ok(Vec::new());
        }
        let Some(account) = self.look_up_seen(user).await? else {
            return Ok(Vec::new());
        };
        let select = AssertSqlSafe(format!(
            "{SELECT_API_TOKENS} WHERE user_id = ? AND version = ? ORDER BY created, id"
        ));
        let select = sqlx::query(select).bind(account.id).bind(user.version);
        let rows = select.fetch(&self.pool);
        let tokens = rows.and_then(|row| async move { api_token(&row) });
        answer(tokens.try_collect()).await
    }

    async fn remove_api_token(&self, user: &User, id: &str) -> Result<(), Error> {
        self.own_tables().await?;
        let account = self.look_up_seen(user).await?.ok_or(Error::NotFound)?;
        let delete = sqlx::query(
            "DELETE FROM micropy_api_tokens WHERE id = ? AND user_id = ? AND version = ?",
        );
        let delete = delete.bind(id).bind(account.id).bind(user.version);
        match answer(delete.execute(&self.pool)).await?.rows_affected() {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    async fn find_api_token(&self, digest: &TokenDigest) -> Result<(User, ApiToken), Error> {
        if self.tables().await? == Tables::Original {
            return Err(Error::NotFound);
        }
        let found = async {
            let select = AssertSqlSafe(format!("{SELECT_API_TOKENS} WHERE digest = ?"));
            let select = sqlx::query(select).bind(&digest[..]);
            let Some(row) = select.fetch_optional(&self.pool).await? else {
                return Ok(None);
            };
            let token = api_token(&row)?;
            let (id, version): (i64, u64) = (row.try_get_unchecked(4)?, row.try_get_unchecked(5)?);
            let select = sqlx::query(AssertSqlSafe(format!("{USERS} WHERE u.id = ?"))).bind(id);
            let Some(row) = select.fetch_optional(&self.pool).await? else {
                return Ok(None);
            };
            let user = Account::read(&row)?.user();
            Ok((user.version == version).then_some((user, token)))
        };
        answer(found).await?.ok_or(Error::NotFound)
    }

    async fn is_revoked(&self, token: &TokenDigest) -> Result<bool, Error> {
        if self.tables().await? == Tables::Original {
            return Ok(false);
        }
        let select = sqlx::query("SELECT 1 FROM micropy_revoked_tokens WHERE digest = ?");
        let select = select.bind(&token[..]).fetch_optional(&self.pool);
        Ok(answer(select).await?.is_some())
    }
}

const ADD_API_TOKEN: &str = "
INSERT INTO micropy_api_tokens (id, digest, user_id, version, name, scopes, created)
VALUES (?, ?, ?, ?, ?, ?, ?)";
const COUNT_API_TOKENS: &str = "
SELECT COUNT(*) FROM micropy_api_tokens WHERE user_id = ? AND version = ?";
const SELECT_API_TOKENS: &str = "
SELECT id, name, scopes, created, user_id, version FROM micropy_api_tokens";

fn api_token(row: &MySqlRow) -> Result<ApiToken, sqlx::Error> {
    Ok(ApiToken {
        id: text(row, 0)?,
        name: text(row, 1)?,
        scopes: Scopes::of_names(text(row, 2)?.split_whitespace()).unwrap_or_default(),
        created: Timestamp::from_millis(row.try_get_unchecked(3)?),
    })
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

const NO_OWN_TABLES: &str = "the database's user may not make or use the service's own tables: grant it CREATE, SELECT, \
                             INSERT, UPDATE and DELETE on the users' database, and restart the service";

/// ER_NO_SUCH_TABLE
const NO_TABLE: u16 = 1146;
/// ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR
const DENIED: [u16; 2] = [1044, 1142];
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

/// Whether the server says that the user has not the right.
fn is_denied(e: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    number(e).is_some_and(|number| DENIED.contains(&number))
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
