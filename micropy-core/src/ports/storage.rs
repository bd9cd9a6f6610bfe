//! The bytes of videos and MP3s.

use std::error::Error as StdError;
use std::io;
use std::ops::Range;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use super::binding::Identity;
use super::{BackendError, Id, Timestamp};

/// The bytes of an object as they are read, in pieces of any size; an error ends them.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Bytes to be stored, in pieces of any size. An error ends them, and says whether what came before it stays.
pub type Upload = Pin<Box<dyn Stream<Item = Result<Bytes, UploadError>> + Send>>;

/// Objects as a listing finds them, in no particular order; an error ends them.
pub type Listing = Pin<Box<dyn Stream<Item = Result<Head, Error>> + Send>>;

/// Why an upload ended early, and what becomes of the bytes that arrived.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It broke off. What arrived stays: the upload can go on from there.
    #[error("the upload broke off: {0}")]
    Broken(BackendError),
    /// The bytes are not what was to be stored. Everything that arrived in this call is taken back.
    #[error("the upload was refused: {0}")]
    Refused(BackendError),
}

impl UploadError {
    /// The reason alone, as the sender of the bytes gave it.
    pub fn reason(&self) -> &(dyn StdError + Send + Sync + 'static) {
        match self {
            UploadError::Broken(reason) | UploadError::Refused(reason) => &**reason,
        }
    }
}

/// Reading failed: the upload broke off.
impl From<io::Error> for UploadError {
    fn from(e: io::Error) -> Self {
        UploadError::Broken(e.into())
    }
}

/// Why the storage refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such object.
    #[error("no such object")]
    NotFound,
    /// The object's state forbids this: the offset is not its end, or its name is taken.
    #[error("{0}")]
    Rejected(String),
    /// The bytes to be stored ended with an error of their own.
    #[error(transparent)]
    Interrupted(#[from] UploadError),
    /// No room left.
    #[error("the storage is full")]
    Full,
    /// Out of reach for now.
    #[error("the storage cannot be reached: {0}")]
    Unavailable(BackendError),
    /// The backend failed in a way only an operator can mend.
    #[error("{adapter} failed: {cause}")]
    Backend {
        /// Which adapter.
        adapter: &'static str,
        /// Its own error.
        cause: BackendError,
    },
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its name.
    pub id: Id,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last written to.
    pub written: Timestamp,
}

/// Stored beside an object for people who look into the store. No service reads it back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The file's name as its owner knows it.
    pub file_name: String,
    /// Whose it is.
    pub owner: String,
}

/// Objects of any length under ids that the caller chooses.
///
/// An object is *unfinished* from its first [`append`](Storage::append) to its [`commit`](Storage::commit), and
/// *whole* after that. A whole object never changes. Memory use does not grow with the length of an object.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Writes `body` to the end of the unfinished object `id`, which an append at offset 0 creates. Returns its new
    /// length.
    ///
    /// When this returns, even with [`Error::Interrupted`], every byte that [`unfinished`](Storage::unfinished)
    /// counts is durable: it survives a kill of the process and, on a local disk that honours fsync, a power cut.
    ///
    /// - `offset` is not the present length, or the object is whole: [`Error::Rejected`], nothing is written.
    /// - `body` ends with [`UploadError::Broken`]: what came before it stays.
    /// - `body` ends with [`UploadError::Refused`]: all of `body` is taken back.
    async fn append(&self, id: Id, offset: u64, body: Upload) -> Result<u64, Error>;

    /// The head of an unfinished object; [`Error::NotFound`] if there is none.
    async fn unfinished(&self, id: Id) -> Result<Head, Error>;

    /// Makes the unfinished object whole, atomically and durably. [`Error::NotFound`] if there is none. Committing a
    /// whole object again returns its head.
    async fn commit(&self, id: Id, label: &Label) -> Result<Head, Error>;

    /// The bytes `range` of a whole object. A range that goes beyond the end is cut off there.
    async fn get(&self, id: Id, range: Range<u64>) -> Result<ByteStream, Error>;

    /// The head of a whole object.
    async fn head(&self, id: Id) -> Result<Head, Error>;

    /// Removes an object, whole or unfinished. Fine if there is none.
    async fn delete(&self, id: Id) -> Result<(), Error>;

    /// All objects, whole or unfinished, that were last written before `before`.
    ///
    /// The store is walked once, and memory use does not grow with the number of objects. Objects that are made,
    /// committed or removed meanwhile may be missing or come twice; all others come once. The caller may remove
    /// objects while it reads the listing.
    async fn list_older_than(&self, before: Timestamp) -> Result<Listing, Error>;

    /// The present time by the store's own clock, which also tells when an object was [`written`](Head::written). So
    /// the age of an object does not depend on the clocks of those who use the store.
    async fn now(&self) -> Result<Timestamp, Error>;

    /// The ledger that the store belongs to, as the store has seen it last; none in a store that was never bound. See
    /// [`binding`](super::binding).
    async fn binding(&self) -> Result<Option<Identity>, Error>;

    /// Binds the store to `ledger`, durably, if its binding is still `previous`. [`Error::Rejected`] if somebody else
    /// has changed it, and then nothing is changed.
    async fn bind(&self, previous: Option<Identity>, ledger: Identity) -> Result<(), Error>;
}

/// Convenience for callers of a storage.
#[async_trait]
pub trait StorageExt: Storage {
    /// Stores `body` whole under the unused `id`, or leaves nothing behind.
    async fn put(&self, id: Id, label: &Label, body: Upload) -> Result<Head, Error> {
        let stored = match self.append(id, 0, body).await {
            Ok(_) => self.commit(id, label).await,
            Err(e) => Err(e),
        };
        if stored.is_err() {
            // The first error is the one to report. If this fails too, a sweeper removes what is left.
            let _ = self.delete(id).await;
        }
        stored
    }
}

impl<S: Storage + ?Sized> StorageExt for S {}
