use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::ports::Timestamp;
use crate::ports::auth::{ApiToken, Auth, Change, Error, Rejection, Role, TokenDigest, User};

/// Users in memory, their passwords in plain text: for tests only.
#[derive(Debug, Default)]
pub struct MemoryAuth {
    users: Mutex<Users>,
}

#[derive(Debug, Default)]
struct Users {
    /// Users and their passwords, by address.
    all: BTreeMap<String, (User, String)>,
    /// How many have registered.
    registered: u64,
    /// Tokens that have ended, and when they expire.
    revoked: HashMap<TokenDigest, Timestamp>,
    api_tokens: Vec<Kept>,
}

/// An API token, and whom it belongs to.
#[derive(Debug)]
struct Kept {
    user: String,
    version: u64,
    digest: TokenDigest,
    token: ApiToken,
}

impl Kept {
    fn is_of(&self, user: &User) -> bool {
        self.user == user.id && self.version == user.version
    }
}

impl Users {
    fn get(&mut self, email: &str) -> Result<&mut (User, String), Error> {
        self.all.get_mut(email).ok_or(Error::NotFound)
    }

    /// Whether an API token is the user's, who is still as seen.
    fn has(&self, token: &Kept, user: &User) -> bool {
        let now = self.all.get(&user.email);
        token.is_of(user) && now.is_some_and(|(now, _)| now.is_unchanged_since(user))
    }
}

/// Refuses a user who is not the one that was seen.
fn check(user: &User, seen: Option<&User>) -> Result<(), Error> {
    match seen {
        Some(seen) if !user.is_unchanged_since(seen) => Err(Error::Rejected(Rejection::Changed)),
        _ => Ok(()),
    }
}

#[async_trait]
impl Auth for MemoryAuth {
    async fn register(&self, email: &str, password: &str, now: Timestamp) -> Result<User, Error> {
        let mut users = lock(&self.users);
        if users.all.contains_key(email) {
            return Err(Error::Rejected(Rejection::Taken));
        }
        users.registered += 1;
        let user = User {
            id: users.registered.to_string(),
            email: email.to_owned(),
            role: Role::User,
            is_disabled: false,
            is_verified: false,
            version: 0,
            tokens_since: now,
        };
        let entry = (user.clone(), password.to_owned());
        users.all.insert(email.to_owned(), entry);
        Ok(user)
    }

    async fn authenticate(&self, email: &str, password: &str) -> Result<User, Error> {
        match lock(&self.users).all.get(email) {
            Some((user, known)) if known == password && !user.is_disabled => Ok(user.clone()),
            _ => Err(Error::Rejected(Rejection::Credentials)),
        }
    }

    async fn find(&self, email: &str) -> Result<User, Error> {
        Ok(lock(&self.users).get(email)?.0.clone())
    }

    async fn change_password(
        &self,
        email: &str,
        password: &str,
        seen: Option<&User>,
        now: Timestamp,
    ) -> Result<User, Error> {
        let mut users = lock(&self.users);
        let (user, known) = users.get(email)?;
        check(user, seen)?;
        password.clone_into(known);
        user.version += 1;
        user.tokens_since = now;
        Ok(user.clone())
    }

    async fn change(&self, email: &str, change: Change, now: Timestamp) -> Result<User, Error> {
        let mut users = lock(&self.users);
        let (user, _) = users.get(email)?;
        match change {
            Change::Disabled(disabled) => {
                if disabled {
                    user.version += 1;
                    user.tokens_since = now;
                }
                user.is_disabled = disabled;
            }
            Change::Verified(verified) => user.is_verified = verified,
            Change::Role(role) => user.role = role,
            Change::TokensEnded => {
                user.version += 1;
                user.tokens_since = now;
            }
        }
        Ok(user.clone())
    }

    async fn remove(&self, email: &str, seen: Option<&User>) -> Result<(), Error> {
        let mut users = lock(&self.users);
        check(&users.get(email)?.0, seen)?;
        users.all.remove(email);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<User>, Error> {
        let users = lock(&self.users);
        Ok(users.all.values().map(|(user, _)| user.clone()).collect())
    }

    async fn revoke(
        &self,
        token: &TokenDigest,
        expiry: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let revoked = &mut lock(&self.users).revoked;
        revoked.retain(|_, expiry| *expiry > now);
        revoked.insert(*token, expiry);
        Ok(())
    }

    async fn add_api_token(
        &self,
        user: &User,
        token: &ApiToken,
        digest: &TokenDigest,
        most: usize,
    ) -> Result<(), Error> {
        let mut users = lock(&self.users);
        match users.all.get(&user.email) {
            Some((now, _)) => check(now, Some(user))?,
            None => return Err(Error::Rejected(Rejection::Changed)),
        }
        if users
            .api_tokens
            .iter()
            .filter(|kept| kept.is_of(user))
            .count()
            >= most
        {
            return Err(Error::Rejected(Rejection::TooManyTokens));
        }
        let kept = Kept {
            user: user.id.clone(),
            version: user.version,
            digest: *digest,
            token: token.clone(),
        };
        users.api_tokens.push(kept);
        Ok(())
    }

    async fn api_tokens(&self, user: &User) -> Result<Vec<ApiToken>, Error> {
        let users = lock(&self.users);
        let own = users.api_tokens.iter().filter(|kept| users.has(kept, user));
        Ok(own.map(|kept| kept.token.clone()).collect())
    }

    async fn remove_api_token(&self, user: &User, id: &str) -> Result<(), Error> {
        let mut users = lock(&self.users);
        let mut tokens = users.api_tokens.iter();
        let found = tokens.position(|kept| users.has(kept, user) && kept.token.id == id);
        users.api_tokens.remove(found.ok_or(Error::NotFound)?);
        Ok(())
    }

    async fn find_api_token(&self, digest: &TokenDigest) -> Result<(User, ApiToken), Error> {
        let users = lock(&self.users);
        let kept = users.api_tokens.iter().find(|kept| kept.digest == *digest);
        let kept = kept.ok_or(Error::NotFound)?;
        let user = users.all.values().find(|(user, _)| kept.is_of(user));
        let (user, _) = user.ok_or(Error::NotFound)?;
        Ok((user.clone(), kept.token.clone()))
    }

    async fn is_revoked(&self, token: &TokenDigest) -> Result<bool, Error> {
        Ok(lock(&self.users).revoked.contains_key(token))
    }
}
