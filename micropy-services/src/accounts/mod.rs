//! Who may come in, as the gateway asks: the users it has itself, or an auth service elsewhere.

pub mod login;
pub mod remote;
mod secret;
pub mod token;

pub use secret::Secret;

use std::net::IpAddr;

use async_trait::async_trait;
use micropy_core::ports::Auth;
use micropy_core::ports::auth::Error;

use crate::accounts::login::{Credentials, Login, LoginError};
use crate::accounts::token::Claims;

/// Longer addresses and passwords only cost time.
const LONGEST: usize = 254;
const SHORTEST_PASSWORD: usize = 8;

/// Signs people in, and knows their tokens.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// A token for somebody who knows the password; `from` is where they are.
    async fn login(
        &self,
        credentials: Option<Credentials>,
        from: IpAddr,
    ) -> Result<String, LoginError>;

    /// Adds a user, and signs them in.
    async fn register(&self, account: Credentials, from: IpAddr) -> Result<String, RegisterError>;

    /// What a token says, if it is good.
    async fn check(&self, token: &str) -> Result<Option<Claims>, Error>;

    /// A newer token for somebody who has shown a good one; none where only another service makes tokens.
    fn renew(&self, username: &str) -> Option<String>;
}

/// Why somebody is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("Registration is switched off here.")]
    Off,
    /// What they typed.
    #[error("{0}")]
    Unacceptable(String),
    #[error(transparent)]
    Users(#[from] Error),
}

/// The users of this process.
#[derive(Clone)]
pub struct OwnAccounts {
    pub login: Login,
    pub users: std::sync::Arc<dyn Auth>,
    /// People may register themselves.
    pub registration: bool,
}

#[async_trait]
impl Accounts for OwnAccounts {
    async fn login(
        &self,
        credentials: Option<Credentials>,
        from: IpAddr,
    ) -> Result<String, LoginError> {
        self.login.login(credentials, from).await
    }

    async fn register(&self, account: Credentials, _from: IpAddr) -> Result<String, RegisterError> {
        if !self.registration {
            return Err(RegisterError::Off);
        }
        let Credentials { email, password } = &account;
        check(email, password).map_err(RegisterError::Unacceptable)?;
        self.users.register(email, password).await?;
        Ok(self.login.issue(email))
    }

    async fn check(&self, token: &str) -> Result<Option<Claims>, Error> {
        Ok(self.login.check(token))
    }

    fn renew(&self, username: &str) -> Option<String> {
        Some(self.login.issue(username))
    }
}

fn check(email: &str, password: &str) -> Result<(), String> {
    let is_address = email
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    let is_clean = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if !is_address || !is_clean || email.chars().count() > LONGEST {
        return Err("This is not an e-mail address.".into());
    }
    if !(SHORTEST_PASSWORD..=LONGEST).contains(&password.chars().count()) {
        return Err(format!(
            "A password has {SHORTEST_PASSWORD} to {LONGEST} characters."
        ));
    }
    Ok(())
}
