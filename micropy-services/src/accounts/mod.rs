//! Accounts: e-mail addresses, passwords, and the tokens that users sign in for.
//!
//! The gateway and the auth service ask [`Accounts`]. [`LocalAccounts`] keeps them behind the port
//! [`Auth`](micropy_core::ports::Auth); [`RemoteAccounts`] asks an auth service over HTTP.

mod client;
mod http;
mod local;
mod recent;
mod remote;
mod secret;
mod throttle;
mod token;
mod turns;

pub use local::LocalAccounts;
pub use remote::RemoteAccounts;
pub use secret::Secret;
pub use token::{Claims, MailCode, Purpose};

pub(crate) use client::{BEGUN, ClientSigner};
pub(crate) use http::{Connections, SCOPES, VERIFIED};
pub(crate) use local::REGISTRATIONS;
pub(crate) use throttle::{Allowance, Network};
pub(crate) use token::LIFETIME;
pub(crate) use turns::{Turn, Turns};

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micropy_core::ports::Timestamp;
use micropy_core::ports::auth::{ApiToken, Error, Scopes};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Characters of an address or a password: more would only cost time.
pub(crate) const MAX_LENGTH: usize = 254;
const MIN_PASSWORD_LENGTH: usize = 8;
/// Characters of an API token's name.
const MAX_TOKEN_NAME: usize = 100;
/// API tokens of one user.
const MAX_API_TOKENS: usize = 50;

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

    /// The claims of a token; `None` where it is not valid, or has ended: its user was removed or disabled, has another
    /// password, or has logged out. What ends a token is noticed within a few seconds. While nobody can be asked, what
    /// was known last holds.
    async fn check(&self, token: &str) -> Result<Option<Claims>, Error>;

    /// The same, whatever was found out a moment ago: for what must not be done for a user who was just removed.
    async fn check_now(&self, token: &str) -> Result<Option<Claims>, Error>;

    /// The same for a request that began with the token, at `begun`, and lasts: that the token has expired since is no
    /// reason to end it. `at_once`: whatever was found out a moment ago.
    async fn check_begun(
        &self,
        token: &str,
        begun: Timestamp,
        at_once: bool,
    ) -> Result<Option<Claims>, Error>;

    /// A new token for the user of a valid one.
    async fn renew(&self, token: &str) -> Result<String, RenewError>;

    /// Ends a token, if it is valid.
    async fn logout(&self, token: &str) -> Result<(), Error>;

    /// Gives the user of a valid token another password, if they know the current one. It ends all their tokens, and
    /// issues a new one. `from` is the client's address: wrong passwords count as failed logins.
    async fn change_password(
        &self,
        token: &str,
        change: PasswordChange,
        from: IpAddr,
    ) -> Result<String, AccountError>;

    /// Removes the user of a valid token, if they know the password. It ends all their tokens. What they have stored is
    /// the caller's to remove.
    async fn remove(&self, token: &str, password: String, from: IpAddr)
    -> Result<(), AccountError>;

    /// Whether [`remove`](Accounts::remove) can remove anybody: where it cannot, it is [`AccountError::Unsupported`].
    /// Ask before anything else of a user is removed.
    async fn check_removal(&self) -> Result<(), AccountError>;

    /// A code for a mail to the user of an address: one to set another password, or to confirm the address. None where
    /// there is nobody to send it to, or nothing to confirm; who asked is not to learn that. A user who has yet to
    /// confirm the address gets a code for that alone. `from` is the client's address: mails are limited.
    async fn mail_code(
        &self,
        email: &str,
        purpose: Purpose,
        from: IpAddr,
    ) -> Result<Option<MailCode>, AccountError>;

    /// Whether [`mail_code`](Accounts::mail_code) can give anything. Where it cannot, it gives
    /// [`AccountError::Unsupported`].
    fn gives_mail_codes(&self) -> bool;

    /// Gives a user another password by a code from a mail, which is used up. It ends all their tokens, and confirms
    /// the address. `from` is the client's address: each has few passwords hashed at a time.
    async fn reset_password(
        &self,
        code: &str,
        new: String,
        from: IpAddr,
    ) -> Result<(), AccountError>;

    /// Confirms an address by a code from a mail.
    async fn confirm_address(&self, code: &str) -> Result<(), AccountError>;

    /// The API tokens of a valid token's user.
    async fn api_tokens(&self, token: &str) -> Result<Vec<ApiToken>, AccountError>;

    /// Makes an API token for a valid token's user: what is kept of it, and the token itself.
    async fn add_api_token(
        &self,
        token: &str,
        name: String,
        scopes: Scopes,
    ) -> Result<(ApiToken, String), AccountError>;

    /// Ends an API token of a valid token's user.
    async fn remove_api_token(&self, token: &str, id: &str) -> Result<(), AccountError>;

    /// Whether people may register themselves.
    fn registration(&self) -> bool;

    /// Whether users have to confirm their address before they may convert anything.
    fn confirmation(&self) -> bool;
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
    pub fn check(&self) -> Result<(), String> {
        let Credentials { email, password } = self;
        let is_address = email.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.is_empty() && !host.contains('@')
        });
        let is_clean = !email.chars().any(|c| c.is_whitespace() || c.is_control());
        if !is_address || !is_clean || email.chars().count() > MAX_LENGTH {
            return Err("This is not an e-mail address.".into());
        }
        check_password(password)
    }
}

/// Checks the length of a new password; an error is a sentence for the user.
pub fn check_password(password: &str) -> Result<(), String> {
    if (MIN_PASSWORD_LENGTH..=MAX_LENGTH).contains(&password.chars().count()) {
        return Ok(());
    }
    Err(format!(
        "A password has {MIN_PASSWORD_LENGTH} to {MAX_LENGTH} characters."
    ))
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
    /// Too many logins failed, or are being tried at once: wait this long.
    #[error("too many failed logins")]
    TooMany(Duration),
    /// The users cannot be asked.
    #[error(transparent)]
    Users(Error),
}

/// A user's wish for another password, as a client sent it.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct PasswordChange {
    /// The current password.
    #[schema(format = Password, min_length = 1, max_length = 254)]
    pub current: String,
    /// The password to be. It has 8 to 254 characters.
    #[schema(format = Password, min_length = 8, max_length = 254)]
    pub new: String,
}

/// Checks the name of a new API token; an error is a sentence for the user.
fn check_token_name(name: &str) -> Result<(), String> {
    let is_clean = !name.chars().any(char::is_control) && !name.trim().is_empty();
    if is_clean && name.chars().count() <= MAX_TOKEN_NAME {
        return Ok(());
    }
    Err(format!(
        "The name of a token has 1 to {MAX_TOKEN_NAME} characters."
    ))
}

/// An API token, as auth service and gateway tell each other of it.
#[derive(Serialize, Deserialize)]
pub(crate) struct ApiTokenMessage {
    pub id: String,
    pub name: String,
    pub scopes: Vec<String>,
    /// Milliseconds since the epoch.
    pub created: i64,
    /// The token itself, when it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl ApiTokenMessage {
    pub fn new(kept: ApiToken, token: Option<String>) -> Self {
        let scopes = kept.scopes.names().into_iter().map(str::to_owned);
        ApiTokenMessage {
            id: kept.id,
            name: kept.name,
            scopes: scopes.collect(),
            created: kept.created.as_millis(),
            token,
        }
    }

    pub fn into_kept(self) -> ApiToken {
        let scopes = Scopes::of_names(self.scopes.iter().map(String::as_str));
        ApiToken {
            id: self.id,
            name: self.name,
            scopes: scopes.unwrap_or_default(),
            created: Timestamp::from_millis(self.created),
        }
    }
}

/// Why an account is not changed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The token, or the code, is not valid, or has ended.
    #[error("the token has ended")]
    Ended,
    /// The current password is another.
    #[error("This is not your current password.")]
    Wrong,
    /// Too many logins, or changes, failed: wait this long.
    #[error("too many failed logins")]
    TooMany(Duration),
    /// The new password, or what else was asked for, will not do: the reason, in a sentence for the user.
    #[error("{0}")]
    Unacceptable(String),
    /// The user has as many API tokens as one may have.
    #[error("You have {MAX_API_TOKENS} tokens: end one first.")]
    TooManyTokens,
    /// The tokens come from an auth service that changes and removes nobody, or does not know this gateway.
    #[error("the auth service does not change accounts")]
    Unsupported,
    /// The users cannot be asked.
    #[error(transparent)]
    Users(#[from] Error),
}

/// Why a token is not renewed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// It is not valid, or has ended.
    #[error("the token has ended")]
    Ended,
    /// It comes from an auth service that renews none.
    #[error("the auth service does not renew tokens")]
    Unsupported,
    /// The users cannot be asked.
    #[error(transparent)]
    Users(#[from] Error),
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
    /// Too many have registered from the same address: wait this long.
    #[error("too many registrations")]
    TooMany(Duration),
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
