//! Users and their passwords.

use async_trait::async_trait;

use super::BackendError;

/// Why the user store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such user. [`Auth::authenticate`] never returns this.
    #[error("no such user")]
    NotFound,
    /// Wrong credentials, or an address that somebody else has registered.
    #[error("{0}")]
    Rejected(Rejection),
    /// Out of reach for now.
    #[error("the user store cannot be reached: {0}")]
    Unavailable(#[source] BackendError),
    /// The backend failed in a way only an operator can mend.
    #[error("{adapter} failed: {source}")]
    Backend {
        /// Which adapter.
        adapter: &'static str,
        /// Its own error.
        source: BackendError,
    },
}

/// Why credentials or an address were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// No such user, or the wrong password. The caller does not learn which.
    #[error("invalid credentials")]
    Credentials,
    /// The address is registered already.
    #[error("this address is already registered")]
    Taken,
}

/// Users who sign in with an e-mail address and a password.
///
/// Addresses are compared byte by byte: another letter case is another user.
#[async_trait]
pub trait Auth: Send + Sync {
    /// Adds a user; [`Rejection::Taken`] if the address is in use. Durable when it returns. Of two at once with one
    /// address, one wins.
    async fn register(&self, email: &str, password: &str) -> Result<(), Error>;

    /// Checks a password. An unknown user and a wrong password both give [`Rejection::Credentials`], after the same
    /// time.
    async fn authenticate(&self, email: &str, password: &str) -> Result<(), Error>;

    /// Replaces a password; [`Error::NotFound`] if there is no such user.
    async fn change_password(&self, email: &str, password: &str) -> Result<(), Error>;

    /// All addresses, sorted.
    async fn list(&self) -> Result<Vec<String>, Error>;
}
