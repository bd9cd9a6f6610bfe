//! Accounts: e-mail addresses, passwords, and the tokens that users sign in for.
//!
//! The gateway and the auth service ask [`Accounts`]. [`LocalAccounts`] keeps them behind the port
//! [`Auth`](micropy_core::ports::Auth); [`RemoteAccounts`] asks an auth service over HTTP.

mod local;
mod remote;
mod secret;
mod throttle;
mod token;

pub use local::LocalAccounts;
pub use remote::RemoteAccounts;
pub use secret::Secret;
pub use token::Claims;

pub(crate) use token::LIFETIME;

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micropy_core::ports::auth::Error;

/// Characters of an address or a password: more would only cost time.
const MAX_LENGTH: usize = 254;
const MIN_PASSWORD_LENGTH: usize = 8;

/// Signs users in and checks their tokens.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Issues a token to a user who knows the password. `from` is the client's address.
    async fn login(
        &self,
        credentials: Option<Credentials>,
        from: IpAddr,
    ) -> Result<String, LoginError>;

    /// Adds a user and issues a token. `from` is the client's address.
    async fn register(&self, account: Credentials, from: IpAddr) -> Result<String, RegisterError>;

    /// The claims of a token, or `None` where the token is not valid.
    async fn check(&self, token: &str) -> Result<Option<Claims>, Error>;

    /// A new token for a user who has shown a valid one, or `None` where only another service issues tokens.
    fn renew(&self, username: &str) -> Option<String>;

    /// Whether people may register themselves.
    fn registration(&self) -> bool;
}

/// An e-mail address and a password, as a client sent them.
pub struct Credentials {
    /// The e-mail address, which names the user.
    pub email: String,
    /// The password, in clear.
    pub password: String,
}

impl Credentials {
    /// Reads an `Authorization: Basic` header (RFC 7617). Clients send UTF-8, older ones Latin-1.
    pub(crate) fn from_basic(headers: &HeaderMap) -> Option<Self> {
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

    /// Checks what can be checked without asking anybody; an error is a sentence for the user.
    fn check(&self) -> Result<(), String> {
        let Credentials { email, password } = self;
        let is_address = email.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.is_empty() && !host.contains('@')
        });
        let is_clean = !email.chars().any(|c| c.is_whitespace() || c.is_control());
        if !is_address || !is_clean || email.chars().count() > MAX_LENGTH {
            return Err("This is not an e-mail address.".into());
        }
        if !(MIN_PASSWORD_LENGTH..=MAX_LENGTH).contains(&password.chars().count()) {
            return Err(format!(
                "A password has {MIN_PASSWORD_LENGTH} to {MAX_LENGTH} characters."
            ));
        }
        Ok(())
    }
}

/// Why a login fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The request carries no credentials.
    #[error("missing credentials")]
    Missing,
    /// The address is unknown or the password wrong.
    #[error("invalid credentials")]
    Invalid,
    /// A remote auth service refused, in these words.
    #[error("{0}")]
    Refused(String),
    /// Too many logins failed: wait this long.
    #[error("too many failed logins")]
    TooMany(Duration),
    /// The users cannot be asked.
    #[error(transparent)]
    Users(Error),
}

/// Why a registration fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// People may not register themselves.
    #[error("Registration is switched off here.")]
    Off,
    /// The address or the password will not do: the reason, in a sentence for the user.
    #[error("{0}")]
    Unacceptable(String),
    /// The user exists already, or the users cannot be asked.
    #[error(transparent)]
    Users(#[from] Error),
}

#[cfg(test)]
mod tests {
    use super::*;

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
