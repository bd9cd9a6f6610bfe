//! The interfaces of a conversion service to the systems around it: small traits, each with its contract.
//!
//! A port knows no codec, no network and no clock. An adapter (a folder on disk, SQLite, a broker) implements it.
//! [`memory`] holds a reference implementation of each port, and `conformance` (the feature of the same name) the
//! test suites that every adapter must pass, ours and anyone else's.
//!
//! | port | keeps |
//! |---|---|
//! | [`Storage`] | the bytes of videos and MP3s |
//! | [`Queue`] | messages between services |
//! | [`Ledger`] | the jobs: what was asked for, by whom, and how it went |
//! | [`Auth`] | users and their passwords |
//! | [`Notifier`] | nothing: it sends mail, or calls webhooks |
//! | [`Origins`] | nothing: it reads URLs of users |
//! | [`Webhooks`] | where users' programs are told of jobs, and what was sent there |
//!
//! The ledger is split by caller. [`Jobs`] takes one job through its states, [`JobOutbox`] hands out the messages
//! that the ledger still owes a queue, [`JobViews`] lists, counts and watches, and [`LedgerIdentity`] tells ledgers
//! apart. Ask for the narrowest that does. [`binding`] keeps a store from being used with another ledger than its own.
//!
//! The variants of a port's error enum say what the caller should do: `NotFound` and `Rejected` stay the same when
//! tried again, `Unavailable` may pass, `Backend` needs an operator. Its message says what the backend's own error
//! says, which is a field of it and not its [`source`](std::error::Error::source): whoever prints a chain of errors
//! reads it once.

pub mod auth;
pub mod binding;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod id;
pub mod jobs;
pub mod memory;
pub mod notifier;
pub mod origins;
pub mod queue;
pub mod storage;
pub mod time;
pub mod webhooks;

pub use auth::Auth;
pub use id::Id;
pub use jobs::{JobOutbox, JobViews, Jobs, Ledger, LedgerIdentity};
pub use notifier::Notifier;
pub use origins::Origins;
pub use queue::Queue;
pub use storage::Storage;
pub use time::{Clock, Timestamp};
pub use webhooks::Webhooks;

/// An adapter's own error.
pub type BackendError = Box<dyn std::error::Error + Send + Sync>;

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::{BackendError, auth, jobs, notifier, queue, storage, webhooks};

    #[test]
    fn an_error_says_its_cause_once() {
        let cause = || BackendError::from("the cable is out");
        let adapter = "SQLite";
        let errors: [Box<dyn Error>; 14] = [
            Box::new(auth::Error::Unavailable(cause())),
            Box::new(auth::Error::Backend {
                adapter,
                cause: cause(),
            }),
            Box::new(jobs::Error::Unavailable(cause())),
            Box::new(jobs::Error::Backend {
                adapter,
                cause: cause(),
            }),
            Box::new(notifier::Error::Unavailable(cause())),
            Box::new(notifier::Error::Backend {
                adapter,
                cause: cause(),
            }),
            Box::new(queue::Error::Unavailable(cause())),
            Box::new(queue::Error::Backend {
                adapter,
                cause: cause(),
            }),
            Box::new(storage::Error::Unavailable(cause())),
            Box::new(storage::Error::Backend {
                adapter,
                cause: cause(),
            }),
            Box::new(webhooks::Error::Unavailable(cause())),
            Box::new(webhooks::Error::Backend {
                adapter,
                cause: cause(),
            }),
            Box::new(storage::Error::from(storage::UploadError::Broken(cause()))),
            Box::new(storage::Error::from(storage::UploadError::Refused(cause()))),
        ];
        for error in errors {
            let mut said = error.to_string();
            let mut source = error.source();
            while let Some(error) = source {
                said = format!("{said}: {error}");
                source = error.source();
            }
            assert_eq!(said.matches("the cable is out").count(), 1, "{said}");
        }
    }
}
