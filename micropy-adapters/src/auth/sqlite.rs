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
WHERE email = ?3 AND (?4 IS NULL OR version = ?4)
RETURNING *";
const DISABLE: &str = "
UPDATE users SET disabled = 1, version = version + 1, tokens_since = ? WHERE email = ?
RETURNING *";
const ENABLE: &str = "UPDATE users SET disabled = 0 WHERE email = ? RETURNING *";
const VERIFY: &str = "UPDATE users SET verified = ? WHERE email = ? RETURNING *";
const GIVE_ROLE: &str = "UPDATE users SET role = ? WHERE email = ? RETURNING *";
const REVOKE: &str = "
INSERT INTO revoked_tokens (digest, expiry) VALUES (?, ?) ON CONFLICT DO NOTHING";

/// Those of a former version of the user go on this occasion.
const ADD_API_TOKEN: &str = "
DELETE FROM api_tokens WHERE user_id = (SELECT id FROM users WHERE email = ?1)
    AND version <> (SELECT version FROM users WHERE email = ?1);
INSERT INTO api_tokens (id, digest, user_id, version, name, scopes, created)
SELECT ?2, ?3, id, version, ?4, ?5, ?6 FROM users WHERE email = ?1";
const API_TOKENS: &str = "
SELECT t.id AS token_id, t.name, t.scopes, t.created, u.*
FROM api_tokens AS t JOIN users AS u ON u.id = t.user_id AND u.version = t.version";
const REMOVE_API_TOKEN: &str = "
DELETE FROM api_tokens WHERE id = ?1
    AND (user_id, version) IN (SELECT id, version FROM users WHERE email = ?2)";

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
        let row = select.fetch_optional(self.database.read()).await;
        row.map_err(sqlite::backend)
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
        version: Option<u64>,
        now: Timestamp,
    ) -> Result<User, Error> {
        let hash = self.passwords.hash(password).await?;
        let update = sqlx::query(CHANGE_PASSWORD).bind(hash);
        let update = update.bind(now.as_millis()).bind(email);
        let update = update.bind(version.map(u64::cast_signed));
        match changed(update.fetch_optional(self.database.write()).await) {
            Err(Error::NotFound) if version.is_some() && self.row(email).await?.is_some() => {
                Err(Error::Rejected(Rejection::Changed))
            }
            changed => changed,
        }
    }

    async fn change(&self, email: &str, change: Change, now: Timestamp) -> Result<User, Error> {
        let update = match change {
            Change::Disabled(true) => sqlx::query(DISABLE).bind(now.as_millis()),
            Change::Disabled(false) => sqlx::query(ENABLE),
            Change::Verified(verified) => sqlx::query(VERIFY).bind(verified),
            Change::Role(role) => sqlx::query(GIVE_ROLE).bind(role.name()),
        };
        let update = update.bind(email);
        changed(update.fetch_optional(self.database.write()).await)
    }

    async fn remove(&self, email: &str) -> Result<(), Error> {
        let delete = "
            DELETE FROM api_tokens WHERE user_id = (SELECT id FROM users WHERE email = ?1);
            DELETE FROM users WHERE email = ?1";
        let done = sqlx::query(delete).bind(email);
        let done = done.execute(self.database.write()).await;
        match done.map_err(sqlite::fault)?.rows_affected() {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    async fn list(&self) -> Result<Vec<User>, Error> {
        let rows = sqlx::query(LIST).fetch_all(self.database.read()).await;
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
        email: &str,
        token: &ApiToken,
        digest: &TokenDigest,
    ) -> Result<(), Error> {
        let insert = sqlx::query(ADD_API_TOKEN)
            .bind(email)
            .bind(&token.id)
            .bind(&digest[..])
            .bind(&token.name)
            .bind(token.scopes.names().join(" "))
            .bind(token.created.as_millis());
        let done = insert.execute(self.database.write()).await;
        match done.map_err(sqlite::fault)?.rows_affected() {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    async fn api_tokens(&self, email: &str) -> Result<Vec<ApiToken>, Error> {
        let select = format!("{API_TOKENS} WHERE u.email = ? ORDER BY t.created, t.id");
        let select = sqlx::query(AssertSqlSafe(select)).bind(email);
        let rows = select.fetch_all(self.database.read()).await;
        let rows = rows.map_err(sqlite::fault)?;
        let tokens: Result<_, _> = rows.iter().map(api_token).collect();
        tokens.map_err(sqlite::backend)
    }

    async fn remove_api_token(&self, email: &str, id: &str) -> Result<(), Error> {
        let delete = sqlx::query(REMOVE_API_TOKEN).bind(id).bind(email);
        let done = delete.execute(self.database.write()).await;
        match done.map_err(sqlite::fault)?.rows_affected() {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    async fn find_api_token(&self, digest: &TokenDigest) -> Result<(User, ApiToken), Error> {
        let select = format!("{API_TOKENS} WHERE t.digest = ?");
        let select = sqlx::query(AssertSqlSafe(select)).bind(&digest[..]);
        let row = select.fetch_optional(self.database.read()).await;
        let row = row.map_err(sqlite::fault)?.ok_or(Error::NotFound)?;
        let found = user(&row).and_then(|user| Ok((user, api_token(&row)?)));
        found.map_err(sqlite::backend)
    }

    async fn is_revoked(&self, token: &TokenDigest) -> Result<bool, Error> {
        let select = sqlx::query("SELECT 1 FROM revoked_tokens WHERE digest = ?").bind(&token[..]);
        let row = select.fetch_optional(self.database.read()).await;
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
