//! Signing in: credentials to token, at a limited rate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micropy_core::ports::auth::{Error, Rejection};
use micropy_core::ports::{Auth, Clock, Timestamp};

use crate::accounts::token::{Claims, Tokens};

/// Failed logins are counted for so long.
const WINDOW: Duration = Duration::from_secs(300);
/// More accounts and addresses are not kept in mind: the oldest are forgotten.
const REMEMBERED: usize = 10_000;

/// Turns credentials into tokens.
#[derive(Clone)]
pub struct Login {
    users: Arc<dyn Auth>,
    clock: Arc<dyn Clock>,
    tokens: Tokens,
    failures: Arc<Failures>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No credentials came along.
    #[error("missing credentials")]
    Missing,
    #[error("invalid credentials")]
    Invalid,
    /// In the words of an auth service elsewhere.
    #[error("{0}")]
    Refused(String),
    /// Too many failures; not before so long from now.
    #[error("too many failed logins")]
    TooMany(Duration),
    #[error(transparent)]
    Users(Error),
}

/// E-mail address and password, as a client sent them.
pub struct Credentials {
    pub email: String,
    pub password: String,
}

impl Credentials {
    /// From an `Authorization: Basic` header (RFC 7617). Clients send UTF-8, older ones latin-1.
    pub fn from_basic(headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = STANDARD.decode(encoded.trim()).ok()?;
        let text = match String::from_utf8(decoded) {
            Ok(text) => text,
            Err(e) => e.into_bytes().into_iter().map(char::from).collect(),
        };
        let (email, password) = text.split_once(':')?;
        Some(Credentials {
            email: email.to_owned(),
            password: password.to_owned(),
        })
    }
}

impl Login {
    /// `attempts` failed logins are allowed per account and per address in five minutes.
    pub fn new(users: Arc<dyn Auth>, clock: Arc<dyn Clock>, tokens: Tokens, attempts: u32) -> Self {
        Login {
            users,
            clock,
            tokens,
            failures: Arc::new(Failures::new(attempts)),
        }
    }

    /// A token for somebody who knows the password.
    pub async fn login(
        &self,
        credentials: Option<Credentials>,
        from: IpAddr,
    ) -> Result<String, LoginError> {
        let Credentials { email, password } = credentials.ok_or(LoginError::Missing)?;
        let now = self.clock.now();
        let keys = [Key::Account(email.clone(), from), Key::Address(from)];
        if let Some(wait) = self.failures.blocked(&keys, now) {
            return Err(LoginError::TooMany(wait));
        }
        match self.users.authenticate(&email, &password).await {
            Ok(()) => {
                self.failures.forget(&keys[0]);
                Ok(self.tokens.issue(&email, now))
            }
            Err(Error::Rejected(Rejection::Credentials)) => {
                self.failures.count(keys, now);
                Err(LoginError::Invalid)
            }
            Err(e) => Err(LoginError::Users(e)),
        }
    }

    /// What the token says, if it is good.
    pub fn check(&self, token: &str) -> Option<Claims> {
        self.tokens.check(token, self.clock.now())
    }

    /// A token for somebody who has shown that they are `username`.
    pub fn issue(&self, username: &str) -> String {
        self.tokens.issue(username, self.clock.now())
    }
}

/// Failed logins of the last minutes.
struct Failures {
    attempts: u32,
    seen: Mutex<HashMap<Key, Seen>>,
}

/// One account from one address, so that nobody locks another out; and one address over all accounts, for
/// whoever tries many.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Account(String, IpAddr),
    Address(IpAddr),
}

#[derive(Clone, Copy)]
struct Seen {
    since: Timestamp,
    count: u32,
}

/// An address may stand for a whole office.
const PER_ADDRESS: u32 = 10;

impl Failures {
    fn new(attempts: u32) -> Self {
        Failures {
            attempts,
            seen: Mutex::default(),
        }
    }

    fn limit(&self, key: &Key) -> u32 {
        match key {
            Key::Account(..) => self.attempts,
            Key::Address(_) => self.attempts.saturating_mul(PER_ADDRESS),
        }
    }

    /// How long until another attempt is allowed, where it is not.
    fn blocked(&self, keys: &[Key], now: Timestamp) -> Option<Duration> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = |key: &Key| {
            let seen = seen.get(key).filter(|seen| seen.count >= self.limit(key))?;
            let left = WINDOW.checked_sub(now.since(seen.since))?;
            (!left.is_zero()).then_some(left)
        };
        keys.iter().filter_map(wait).max()
    }

    fn count(&self, keys: impl IntoIterator<Item = Key>, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.retain(|_, seen| now.since(seen.since) < WINDOW);
        }
        if seen.len() >= REMEMBERED
            && let Some(oldest) = seen.iter().min_by_key(|(_, seen)| seen.since)
        {
            let oldest = oldest.0.clone();
            seen.remove(&oldest);
        }
        for key in keys {
            let entry = seen.entry(key).or_insert(Seen {
                since: now,
                count: 0,
            });
            if now.since(entry.since) >= WINDOW {
                *entry = Seen {
                    since: now,
                    count: 0,
                };
            }
            entry.count += 1;
        }
    }

    fn forget(&self, key: &Key) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> Key {
        Key::Account(name.into(), IpAddr::from([127, 0, 0, 1]))
    }

    #[test]
    fn failures_block_for_a_while_and_only_whom_they_concern() {
        let failures = Failures::new(3);
        let start = Timestamp::from_millis(1_700_000_000_000);
        for n in 0..3 {
            assert_eq!(
                failures.blocked(&[account("ann")], start),
                None,
                "attempt {n}"
            );
            failures.count([account("ann")], start);
        }
        let wait = failures.blocked(&[account("ann")], start.plus(WINDOW / 3));
        assert_eq!(wait, Some(WINDOW * 2 / 3));
        assert_eq!(failures.blocked(&[account("bob")], start), None);
        assert_eq!(
            failures.blocked(&[account("ann")], start.plus(WINDOW)),
            None
        );
    }

    #[test]
    fn memory_of_failures_is_bounded() {
        let failures = Failures::new(3);
        for n in 0..REMEMBERED + 50 {
            failures.count([account(&n.to_string())], Timestamp::from_millis(n as i64));
        }
        let seen = failures.seen.lock().unwrap();
        assert_eq!(seen.len(), REMEMBERED);
        assert!(
            seen.contains_key(&account(&(REMEMBERED + 49).to_string())),
            "the newest is kept"
        );
    }

    #[test]
    fn basic_credentials_are_utf8_or_latin1() {
        let header = |encoded: String| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, encoded.parse().unwrap());
            Credentials::from_basic(&headers)
        };
        for bytes in ["k\u{fc}che:p:w".as_bytes(), b"k\xfcche:p:w"] {
            let credentials = header(format!("Basic {}", STANDARD.encode(bytes))).unwrap();
            assert_eq!(
                (&*credentials.email, &*credentials.password),
                ("k\u{fc}che", "p:w")
            );
        }
        for bad in ["Bearer YTpi", "Basic", "Basic ???", "Basic YWI="] {
            assert!(header(bad.into()).is_none(), "{bad}");
        }
    }
}
