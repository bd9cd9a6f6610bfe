//! Telling people that their job has ended.

use async_trait::async_trait;

use super::BackendError;

/// What a notifier could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It will never be delivered: no such mailbox, an address that is none. Do not try again.
    #[error("refused: {0}")]
    Rejected(String),
    /// It may be delivered later: try again.
    #[error("cannot be delivered now: {0}")]
    Unavailable(#[source] BackendError),
    /// The backend failed in a way only an operator can mend; trying again is harmless.
    #[error("{adapter} failed: {source}")]
    Backend {
        /// Which adapter.
        adapter: &'static str,
        /// What it said.
        source: BackendError,
    },
}

/// One message to one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The same for every try to deliver the same news, so that a mail program shows it once: the left
    /// side of a Message-ID, letters, digits, `.` and `-` only.
    pub key: String,
    /// E-mail address.
    pub to: String,
    /// One line.
    pub subject: String,
    /// The message as plain text.
    pub text: String,
    /// The same as HTML, where there is one.
    pub html: Option<String>,
}

/// Delivers notifications.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Delivers one, or says whether it is worth another try.
    ///
    /// Returns `Ok` only when somebody else has taken responsibility for it, durably. Delivering the same
    /// notification again is no error: whoever receives it can tell by the key.
    async fn notify(&self, notification: &Notification) -> Result<(), Error>;
}
