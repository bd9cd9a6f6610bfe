//! Accounts whose users this process can ask itself.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use micropy_core::ports::auth::{Error, Rejection};
use micropy_core::ports::{Auth, Clock};

use super::throttle::{Key, Throttle};
use super::token::Tokens;
use super::{Accounts, Claims, Credentials, LoginError, RegisterError, Secret};

/// Failed logins allowed for each account and address within five minutes.
const LOGIN_ATTEMPTS: u32 = 10;

/// Accounts of the users behind the port [`Auth`].
///
/// Where a gateway and an auth service share a process, give both the same one: they then count failed logins
/// together.
pub struct LocalAccounts {
    users: Arc<dyn Auth>,
    clock: Arc<dyn Clock>,
    tokens: Tokens,
    throttle: Throttle,
    registration: bool,
}

impl LocalAccounts {
    /// Accounts of `users`, with tokens signed by `secret`.
    pub fn new(users: Arc<dyn Auth>, clock: Arc<dyn Clock>, secret: &Secret) -> Self {
        LocalAccounts {
            users,
            clock,
            tokens: Tokens::new(secret),
            throttle: Throttle::new(LOGIN_ATTEMPTS),
            registration: true,
        }
    }

    /// How many logins may fail for each account and address within five minutes. The default is 10.
    #[must_use]
    pub fn login_attempts(mut self, attempts: u32) -> Self {
        self.throttle = Throttle::new(attempts);
        self
    }

    /// Whether people may register themselves. The default is yes.
    #[must_use]
    pub fn allow_registration(mut self, allow: bool) -> Self {
        self.registration = allow;
        self
    }
}

#[async_trait]
impl Accounts for LocalAccounts {
    async fn login(
        &self,
        credentials: Option<Credentials>,
        from: IpAddr,
    ) -> Result<String, LoginError> {
        let Credentials { email, password } = credentials.ok_or(LoginError::Missing)?;
        let now = self.clock.now();
        let keys = [Key::Account(email.clone(), from), Key::Address(from)];
        if let Some(wait) = self.throttle.blocked(&keys, now) {
            return Err(LoginError::TooMany(wait));
        }
        match self.users.authenticate(&email, &password).await {
            Ok(()) => {
                self.throttle.forget(&keys[0]);
                Ok(self.tokens.issue(&email, now))
            }
            Err(Error::Rejected(Rejection::Credentials)) => {
                self.throttle.count(keys, now);
                Err(LoginError::Invalid)
            }
            Err(e) => Err(LoginError::Users(e)),
        }
    }

    async fn register(&self, account: Credentials, _from: IpAddr) -> Result<String, RegisterError> {
        if !self.registration {
            return Err(RegisterError::Off);
        }
        account.check().map_err(RegisterError::Unacceptable)?;
        let Credentials { email, password } = account;
        self.users.register(&email, &password).await?;
        Ok(self.tokens.issue(&email, self.clock.now()))
    }

    async fn check(&self, token: &str) -> Result<Option<Claims>, Error> {
        Ok(self.tokens.check(token, self.clock.now()))
    }

    fn renew(&self, username: &str) -> Option<String> {
        Some(self.tokens.issue(username, self.clock.now()))
    }

    fn registration(&self) -> bool {
        self.registration
    }
}
