//! Users as rows of a SQLite table.

use async_trait::async_trait;
use micropy_core::ports::BackendError;
use micropy_core::ports::auth::{Auth, Error, Rejection};

use super::password::{LegacyPasswords, Passwords, Verdict};
use crate::sqlite::{self, Database};

/// The users of a database.
#[derive(Clone, Debug)]
pub struct SqliteAuth {
    database: Database,
    passwords: Passwords,
}

impl SqliteAuth {
    /// The users of `database`. Passwords that were brought in from an older system are upgraded.
    pub fn new(database: Database) -> Self {
        SqliteAuth {
            database,
            passwords: Passwords::new(LegacyPasswords::Upgrade),
        }
    }

    /// Treats such passwords in another way.
    pub fn with_legacy_passwords(mut self, legacy: LegacyPasswords) -> Self {
        self.passwords = self.passwords.with_legacy(legacy);
        self
    }

    /// Replaces an old password, unless it was changed meanwhile. Whoever logs in need not know that it
    /// failed: the next login tries again.
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
    async fn register(&self, email: &str, password: &str) -> Result<(), Error> {
        let hash = self.passwords.hash(password).await.map_err(backend)?;
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
        let verdict = self.passwords.check(password, known.clone()).await;
        match (verdict.map_err(backend)?, known) {
            (Verdict::Refused, _) => return Err(Error::Rejected(Rejection::Credentials)),
            (Verdict::Upgrade(new), Some(old)) => self.upgrade(email, &old, &new).await,
            (Verdict::Accepted | Verdict::Upgrade(_), _) => {}
        }
        Ok(())
    }

    async fn change_password(&self, email: &str, password: &str) -> Result<(), Error> {
        let hash = self.passwords.hash(password).await.map_err(backend)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passwords_of_older_systems_are_upgraded() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("users.db"))
            .await
            .unwrap();
        sqlx::query("INSERT INTO users VALUES ('ann@example.com', 'secret')")
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

        let come_in = |auth: SqliteAuth, password: &'static str| async move {
            auth.authenticate("ann@example.com", password).await.is_ok()
        };
        assert!(!come_in(rejecting.clone(), "secret").await);
        assert!(!come_in(auth.clone(), "wrong").await);
        assert!(come_in(verifying, "secret").await);
        let kept: String = stored().await.unwrap();
        assert_eq!(kept, "secret");
        assert!(come_in(auth, "secret").await);
        let new: String = stored().await.unwrap();
        assert!(new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
        assert!(come_in(rejecting, "secret").await);
    }
}
