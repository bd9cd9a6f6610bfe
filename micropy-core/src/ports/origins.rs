//! Videos behind URLs of users.

use std::ops::Range;

use async_trait::async_trait;

use super::BackendError;

/// Why a URL could not be read. What it says is for its user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read, however often that is tried: it is malformed, nothing is there, or it may not be read.
    #[error("{0}")]
    Rejected(String),
    /// It may be read later.
    #[error("{0}")]
    Unavailable(BackendError),
}

/// Reads URLs.
#[async_trait]
pub trait Origins: Send + Sync {
    /// The name of the file that a URL names, if it has one. [`Error::Rejected`] if its text tells already that it cannot
    /// be read. Nobody is asked.
    fn file_name(&self, url: &str) -> Result<Option<String>, Error>;

    /// Opens what a URL names. Nothing is read where only whoever runs the service may read: neither a private address
    /// nor by a login of theirs, also where a redirect leads.
    async fn open(&self, url: &str) -> Result<Box<dyn RemoteVideo>, Error>;
}

/// A video behind a URL. All that is read of it is of one version. Dropping it ends what is under way.
#[async_trait]
pub trait RemoteVideo: Send + Sync {
    /// Its length in bytes.
    fn bytes(&self) -> u64;

    /// Says which bytes will be read next, most likely, and in which order; replaces what was said before. So they can
    /// be fetched ahead of time.
    async fn will_read(&self, ranges: Vec<Range<u64>>);

    /// The bytes of a range, all of them.
    async fn read(&self, range: Range<u64>) -> Result<Vec<u8>, Error>;
}
