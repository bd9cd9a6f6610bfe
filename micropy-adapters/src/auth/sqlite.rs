//! Users as rows of a SQLite table.

use async_trait::async_trait;
use micropy_core::ports::auth::{Auth, Error, Rejection};

use super::password::{LegacyPasswords, Passwords};
use crate::sqlite::{self, Database};

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
    async fn register(&self, email: &str, password: &str) -> Result<(), Error> {
        let hash = self.passwords.hash(password).await?;
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
            Err(e) => Err(sqlite::backend(e)),
        }
    }

    async fn authenticate(&self, email: &str, password: &str) -> Result<(), Error> {
        let select = sqlx::query_scalar("SELECT password FROM users WHERE email = ?").bind(email);
        let known: Option<String> = select
            .fetch_optional(self.database.read())
            .await
            .map_err(sqlite::fault)?;
        let upgrade = self.passwords.authenticate(password, known.clone());
        if let (Some(new), Some(old)) = (upgrade.await?, known) {
            self.upgrade(email, &old, &new).await;
        }
        Ok(())
    }

    async fn change_password(&self, email: &str, password: &str) -> Result<(), Error> {
        let hash = self.passwords.hash(password).await?;
        let update = sqlx::query("UPDATE users SET password = ? WHERE email = ?");
        let done = update
            .bind(hash)
            .bind(email)
            .execute(self.database.write())
            .await;
        match done.map_err(sqlite::fault)?.rows_affected() {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    async fn list(&self) -> Result<Vec<String>, Error> {
        let select = sqlx::query_scalar("SELECT email FROM users ORDER BY email");
        select
            .fetch_all(self.database.read())
            .await
            .map_err(sqlite::backend)
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
