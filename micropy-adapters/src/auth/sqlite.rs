//! Users as rows of a SQLite table.

use async_trait::async_trait;
use micropy_core::ports::Timestamp;
use micropy_core::ports::auth::{
    ApiToken, Auth, Change, Error, Rejection, Role, Scopes, TokenDigest, User,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::password::{LegacyPasswords, Passwords};
use crate::sqlite::{self, Database};

const REGISTER: &str = "
INSERT INTO users (email, password, tokens_since) VALUES (?, ?, ?)
RETURNING *";
const FIND: &str = "SELECT * FROM users WHERE email = ?";
const LIST: &str = "SELECT * FROM users ORDER BY email";
const CHANGE_PASSWORD: &str = "
UPDATE users SET password = ?1, version = version + 1, tokens_since = ?2
WHERE email = ?3 AND (?4 IS NULL OR id = ?4 AND version = ?5)
RETURNING *";
const REMOVE: &str =
    "DELETE FROM users WHERE email = ?1 AND (?2 IS NULL OR id = ?2 AND version = ?3) RETURNING id";
const DISABLE: &str = "
UPDATE users SET disabled = 1, version = version + 1, tokens_since = ? WHERE email = ?
RETURNING *";
const ENABLE: &str = "UPDATE users SET disabled = 0 WHERE email = ? RETURNING *";
const END_TOKENS: &str = "
UPDATE users SET version = version + 1, tokens_since = ? WHERE email = ? RETURNING *";
const VERIFY: &str = "UPDATE users SET verified = ? WHERE email = ? RETURNING *";
const GIVE_ROLE: &str = "UPDATE users SET role = ? WHERE email = ? RETURNING *";
const REVOKE: &str = "
INSERT INTO revoked_tokens (digest, expiry) VALUES (?, ?) ON CONFLICT DO NOTHING";

/// Those of a former version of the user go on this occasion.
const FORGET_API_TOKENS: &str = "DELETE FROM api_tokens WHERE user_id = ?1 AND version <> ?2";
const ADD_API_TOKEN: &str = "
INSERT INTO api_tokens (id, digest, user_id, version, name, scopes, created)
SELECT ?1, ?2, id, version, ?3, ?4, ?5 FROM users WHERE email = ?6 AND id = ?7 AND version = ?8";
const COUNT_API_TOKENS: &str =
    "SELECT count(*) FROM api_tokens WHERE user_id = ?1 AND version = ?2";
const API_TOKENS: &str = "
SELECT t.id AS token_id, t.name, t.scopes, t.created, u.*
FROM api_tokens AS t JOIN users AS u ON u.id = t.user_id AND u.version = t.version";
const REMOVE_API_TOKEN: &str = "
DELETE FROM api_tokens WHERE id = ?1
    AND (user_id, version) IN (SELECT id, version FROM users WHERE id = ?2 AND version = ?3)";

/// The users of a database.
#[derive(Clone, Debug)]
pub struct SqliteAuth {
    database: Database,
    passwords: Passwords,
}

impl SqliteAuth {
    /// The users of `database`. Passwords imported from an older system are upgraded.
    pub fn new(database: Database) -> Self {
        SqliteAuth {
            database,
            passwords: Passwords::new(sqlite::NAME, LegacyPasswords::Upgrade),
        }
    }

    /// Chooses what happens to such passwords.
    pub fn with_legacy_passwords(mut self, legacy: LegacyPasswords) -> Self {
        self.passwords = self.passwords.with_legacy(legacy);
        self
    }

    async fn row(&self, email: &str) -> Result<Option<SqliteRow>, Error> {
        let select = sqlx::query(FIND).bind(email);
        let row = select.fetch_optional(self.database.read_users()).await;
        row.map_err(sqlite::backend)
    }

    /// Why a change of a user who was seen did not happen.
    async fn refusal(&self, email: &str) -> Error {
        match self.row(email).await {
            Ok(Some(_)) => Error::Rejected(Rejection::Changed),
            Ok(None) => Error::NotFound,
            Err(e) => e,
        }
    }

    /// Keeps an API token. No other writes meanwhile, so that none is added between the count and the token.
    async fn insert_api_token(
        &self,
        user: &User,
        token: &ApiToken,
        digest: &TokenDigest,
        most: usize,
    ) -> Result<Result<(), Rejection>, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        let version = user.version.cast_signed();
        let insert = sqlx::query(ADD_API_TOKEN)
            .bind(&token.id)
            .bind(&digest[..])
            .bind(&token.name)
            .bind(token.scopes.names().join(" "))
            .bind(token.created.as_millis())
            .bind(&user.email)
            .bind(&user.id)
            .bind(version);
        let inserted = insert.execute(&mut *transaction).await?;
        if inserted.rows_affected() == 0 {
            return Ok(Err(Rejection::Changed));
        }
        let count = sqlx::query_scalar::<_, i64>(COUNT_API_TOKENS);
        let count = count.bind(&user.id).bind(version);
        let count = count.fetch_one(&mut *transaction).await?;
        if usize::try_from(count).unwrap_or(usize::MAX) > most {
            return Ok(Err(Rejection::TooManyTokens));
        }
        let forget = sqlx::query(FORGET_API_TOKENS).bind(&user.id).bind(version);
        forget.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Ok(()))
    }

    /// Replaces an old password, unless it was changed meanwhile. A failure does not concern the user: the next login
    /// tries again.
    async fn upgrade(&self, email: &str, old: &str, new: &str) {
        let update = sqlx::query("UPDATE users SET password = ? WHERE email = ? AND password = ?");
        let update = update.bind(new).bind(email).bind(old);
        if let Err(e) = update.execute(self.database.write()).await {
            tracing::warn!(error = %e, "an old password could not be upgraded");
        }
    }
}

#[async_trait]
impl Auth for SqliteAuth {
    async fn register(&self, email: &str, password: &str, now: Timestamp) -> Result<User, Error> {
        let hash = self.passwords.hash(password).await?;
        let insert = sqlx::query(REGISTER).bind(email).bind(hash);
        let insert = insert.bind(now.as_millis());
        match insert.fetch_one(self.database.write()).await {
            Ok(row) => user(&row).map_err(sqlite::backend),
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() => {
                Err(Error::Rejected(Rejection::Taken))
            }
            Err(e) => Err(sqlite::backend(e)),
        }
    }

    async fn authenticate(&self, email: &str, password: &str) -> Result<User, Error> {
        let known = match self.row(email).await? {
            Some(row) => {
                let stored: String = row.try_get("password").map_err(sqlite::fault)?;
                Some((user(&row).map_err(sqlite::fault)?, stored))
            }
            None => None,
        };
        let stored = known.as_ref().map(|(_, stored)| stored.clone());
        let upgrade = self.passwords.authenticate(password, stored).await?;
        match known {
            Some((user, stored)) if !user.is_disabled => {
                if let Some(new) = upgrade {
                    self.upgrade(email, &stored, &new).await;
                }
                Ok(user)
            }
            _ => Err(Error::Rejected(Rejection::Credentials)),
        }
    }

    async fn find(&self, email: &str) -> Result<User, Error> {
        let row = self.row(email).await?;
        user(&row.ok_or(Error::NotFound)?).map_err(sqlite::backend)
    }

    async fn change_password(
        &self,
        email: &str,
        password: &str,
        seen: Option<&User>,
        now: Timestamp,
    ) -> Result<User, Error> {
        let hash = self.passwords.hash(password).await?;
        let update = sqlx::query(CHANGE_PASSWORD).bind(hash);
        let update = update.bind(now.as_millis()).bind(email);
        let update = update.bind(seen.map(|seen| &seen.id));
        let update = update.bind(seen.map(|seen| seen.version.cast_signed()));
        match changed(update.fetch_optional(self.database.write()).await) {
            Err(Error::NotFound) => Err(self.refusal(email).await),
            changed => changed,
        }
    }

    async fn change(&self, email: &str, change: Change, now: Timestamp) -> Result<User, Error> {
        let update = match change {
            Change::Disabled(true) => sqlx::query(DISABLE).bind(now.as_millis()),
            Change::Disabled(false) => sqlx::query(ENABLE),
            Change::Verified(verified) => sqlx::query(VERIFY).bind(verified),
            Change::Role(role) => sqlx::query(GIVE_ROLE).bind(role.name()),
            Change::TokensEnded => sqlx::query(END_TOKENS).bind(now.as_millis()),
        };
        let update = update.bind(email);
        changed(update.fetch_optional(self.database.write()).await)
    }

    async fn remove(&self, email: &str, seen: Option<&User>) -> Result<(), Error> {
        let removed = async {
            let mut transaction = self.database.begin().await?;
            let remove = sqlx::query_scalar::<_, String>(REMOVE).bind(email);
            let remove = remove.bind(seen.map(|seen| &seen.id));
            let remove = remove.bind(seen.map(|seen| seen.version.cast_signed()));
            let Some(id) = remove.fetch_optional(&mut *transaction).await? else {
                return Ok(false);
            };
            let forget = sqlx::query("DELETE FROM api_tokens WHERE user_id = ?").bind(id);
            forget.execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(true)
        };
        match removed.await.map_err(sqlite::fault)? {
            true => Ok(()),
            false => Err(self.refusal(email).await),
        }
    }

    async fn list(&self) -> Result<Vec<User>, Error> {
        let rows = sqlx::query(LIST)
            .fetch_all(self.database.read_users())
            .await;
        let rows = rows.map_err(sqlite::fault)?;
        let users: Result<_, _> = rows.iter().map(user).collect();
        users.map_err(sqlite::backend)
    }

    async fn revoke(
        &self,
        token: &TokenDigest,
        expiry: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let database = self.database.write();
        let forget = sqlx::query("DELETE FROM revoked_tokens WHERE expiry <= ?");
        let forgotten = forget.bind(now.as_millis()).execute(database).await;
        forgotten.map_err(sqlite::fault)?;
        let insert = sqlx::query(REVOKE).bind(&token[..]);
        let insert = insert.bind(expiry.as_millis()).execute(database);
        insert.await.map(drop).map_err(sqlite::backend)
    }

    async fn add_api_token(
        &self,
        user: &User,
        token: &ApiToken,
        digest: &TokenDigest,
        most: usize,
    ) -> Result<(), Error> {
        let kept = self.insert_api_token(user, token, digest, most).await;
        kept.map_err(sqlite::fault)?.map_err(Error::Rejected)
    }

    async fn api_tokens(&self, user: &User) -> Result<Vec<ApiToken>, Error> {
        let select =
            format!("{API_TOKENS} WHERE u.id = ? AND u.version = ? ORDER BY t.created, t.id");
        let select = sqlx::query(AssertSqlSafe(select)).bind(&user.id);
        let select = select.bind(user.version.cast_signed());
        let rows = select.fetch_all(self.database.read_users()).await;
        let rows = rows.map_err(sqlite::fault)?;
        let tokens: Result<_, _> = rows.iter().map(api_token).collect();
        tokens.map_err(sqlite::backend)
    }

    async fn remove_api_token(&self, user: &User, id: &str) -> Result<(), Error> {
        let delete = sqlx::query(REMOVE_API_TOKEN).bind(id).bind(&user.id);
        let delete = delete.bind(user.version.cast_signed());
        let done = delete.execute(self.database.write()).await;
        match done.map_err(sqlite::fault)?.rows_affected() {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    async fn find_api_token(&self, digest: &TokenDigest) -> Result<(User, ApiToken), Error> {
        let select = format!("{API_TOKENS} WHERE t.digest = ?");
        let select = sqlx::query(AssertSqlSafe(select)).bind(&digest[..]);
        let row = select.fetch_optional(self.database.read_users()).await;
        let row = row.map_err(sqlite::fault)?.ok_or(Error::NotFound)?;
        let found = user(&row).and_then(|user| Ok((user, api_token(&row)?)));
        found.map_err(sqlite::backend)
    }

    async fn is_revoked(&self, token: &TokenDigest) -> Result<bool, Error> {
        let select = sqlx::query("SELECT 1 FROM revoked_tokens WHERE digest = ?").bind(&token[..]);
        let row = select.fetch_optional(self.database.read_users()).await;
        Ok(row.map_err(sqlite::fault)?.is_some())
    }
}

fn changed(row: Result<Option<SqliteRow>, sqlx::Error>) -> Result<User, Error> {
    let row = row.map_err(sqlite::fault)?.ok_or(Error::NotFound)?;
    user(&row).map_err(sqlite::backend)
}

fn api_token(row: &SqliteRow) -> Result<ApiToken, sqlx::Error> {
    let scopes: String = row.try_get("scopes")?;
    Ok(ApiToken {
        id: row.try_get("token_id")?,
        name: row.try_get("name")?,
        scopes: Scopes::of_names(scopes.split_whitespace()).unwrap_or_default(),
        created: Timestamp::from_millis(row.try_get("created")?),
    })
}

fn user(row: &SqliteRow) -> Result<User, sqlx::Error> {
    let version: i64 = row.try_get("version")?;
    let role: String = row.try_get("role")?;
    Ok(User {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        role: Role::of_name(&role).unwrap_or_default(),
        is_disabled: row.try_get("disabled")?,
        is_verified: row.try_get("verified")?,
        version: version.cast_unsigned(),
        tokens_since: Timestamp::from_millis(row.try_get("tokens_since")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_reads_many_jobs_keeps_no_user_from_being_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("users.db"))
            .await
            .unwrap();
        let auth = SqliteAuth::new(database.clone());
        auth.register("ann@example.com", "secret", Timestamp::default())
            .await
            .unwrap();
        // All of those that read jobs.
        let second = std::time::Duration::from_secs(1);
        let mut busy = Vec::new();
        while let Ok(reader) = tokio::time::timeout(second, database.read().acquire()).await {
            busy.push(reader.unwrap());
        }
        assert!(!busy.is_empty());
        let looked_up = async {
            let ann = auth.find("ann@example.com").await.unwrap();
            assert!(!auth.is_revoked(&[1; 32]).await.unwrap());
            assert_eq!(auth.api_tokens(&ann).await.unwrap(), []);
            let unknown = auth.find_api_token(&[1; 32]).await;
            assert!(matches!(unknown, Err(Error::NotFound)));
        };
        tokio::time::timeout(second, looked_up).await.unwrap();
    }

    #[tokio::test]
    async fn passwords_of_older_systems_are_upgraded() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("users.db"))
            .await
            .unwrap();
        sqlx::query("INSERT INTO users (email, password) VALUES ('ann@example.com', 'secret')")
            .execute(database.write())
            .await
            .unwrap();
        let stored = || async {
            let select = sqlx::query_scalar("SELECT password FROM users");
            select.fetch_one(database.read()).await
        };
        let auth = SqliteAuth::new(database.clone());
        let rejecting = auth.clone().with_legacy_passwords(LegacyPasswords::Reject);
        let verifying = auth.clone().with_legacy_passwords(LegacyPasswords::Verify);

        let sign_in = |auth: SqliteAuth, password: &'static str| async move {
            auth.authenticate("ann@example.com", password).await.is_ok()
        };
        assert!(!sign_in(rejecting.clone(), "secret").await);
        assert!(!sign_in(auth.clone(), "wrong").await);
        assert!(sign_in(verifying, "secret").await);
        let kept: String = stored().await.unwrap();
        assert_eq!(kept, "secret");
        assert!(sign_in(auth, "secret").await);
        let new: String = stored().await.unwrap();
        assert!(new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
        assert!(sign_in(rejecting, "secret").await);
    }
}
