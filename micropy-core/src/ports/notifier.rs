//! Notifying people that their job has ended.

use async_trait::async_trait;

use super::BackendError;

/// Why a notification was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It can never be delivered: there is no such mailbox, or the address is malformed. Do not try again.
    #[error("refused: {0}")]
    Rejected(String),
    /// It may be delivered later: try again.
    #[error("cannot be delivered now: {0}")]
    Unavailable(BackendError),
    /// The backend failed in a way only an operator can mend; trying again is harmless.
    #[error("{adapter} failed: {cause}")]
    Backend {
        /// Which adapter.
        adapter: &'static str,
        /// Its own error.
        cause: BackendError,
    },
}

/// One message to one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The same for every attempt to deliver the same notification, so that a mail program shows it once: the left
    /// side of a Message-ID, of letters, digits, `.` and `-`.
    pub key: String,
    /// E-mail address.
    pub to: String,
    /// One line.
    pub subject: String,
    /// The message as plain text.
    pub text: String,
    /// The same as HTML, if there is any.
    pub html: Option<String>,
}

/// Delivers notifications.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Delivers one, or says whether another attempt is worth while.
    ///
    /// Returns `Ok` only when another system has durably taken responsibility for it. Delivering a notification twice
    /// is not an error: the recipient's program recognises it by the key.
    async fn notify(&self, notification: &Notification) -> Result<(), Error>;
}
