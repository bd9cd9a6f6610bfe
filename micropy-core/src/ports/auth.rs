//! Users and their passwords.

use async_trait::async_trait;

use super::BackendError;

/// What the user store could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such user. Never the answer of [`Auth::authenticate`].
    #[error("no such user")]
    NotFound,
    /// Wrong credentials, or an address that is taken.
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
        /// What it said.
        source: BackendError,
    },
}

/// Why a user was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// No such user, or the wrong password: which of the two is not told.
    #[error("invalid credentials")]
    Credentials,
    /// Somebody is registered with this address.
    #[error("this address is already registered")]
    Taken,
}

/// Who may come in.
///
/// An address is compared byte by byte: another letter case is another user.
#[async_trait]
pub trait Auth: Send + Sync {
    /// Adds a user; [`Rejection::Taken`] where the address is in use. Durable when it returns. Of two at
    /// once for one address, one wins.
    async fn register(&self, email: &str, password: &str) -> Result<(), Error>;

    /// Checks a password. An unknown user and a wrong password look the same and take the same time:
    /// [`Rejection::Credentials`].
    async fn authenticate(&self, email: &str, password: &str) -> Result<(), Error>;

    /// Replaces a password; [`Error::NotFound`] where there is no such user.
    async fn change_password(&self, email: &str, password: &str) -> Result<(), Error>;

    /// All addresses, sorted.
    async fn list(&self) -> Result<Vec<String>, Error>;
}
