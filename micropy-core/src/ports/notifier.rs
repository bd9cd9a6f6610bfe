//! Notifying people, or their programs, that their job has ended.

use std::fmt;

use async_trait::async_trait;

use super::BackendError;

/// Why a notification was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It can never be delivered: there is no such mailbox, the address is malformed, or what is there wants no more. Do
    /// not try again.
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

/// What a message to a program is signed with: shown to nobody who prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(String);

impl SigningSecret {
    /// The secret in its text form, `whsec_` and its bytes in Base64.
    pub fn new(text: impl Into<String>) -> Self {
        SigningSecret(text.into())
    }

    /// That text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

/// One message to one person, or to one program of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The same for every attempt to deliver the same notification, so that a mail program shows it once: the left
    /// side of a Message-ID, of letters, digits, `.` and `-`.
    pub key: String,
    /// E-mail address, or the URL of a webhook.
    pub to: String,
    /// One line: of a webhook, the kind of event.
    pub subject: String,
    /// The message as plain text: of a webhook, JSON.
    pub text: String,
    /// The same as HTML, if there is any.
    pub html: Option<String>,
    /// What a webhook is signed with.
    pub secret: Option<SigningSecret>,
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
