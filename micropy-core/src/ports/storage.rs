//! Where the bytes of videos and MP3s are kept.

use std::io;
use std::ops::Range;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use super::{BackendError, Id, Timestamp};

/// Bytes on their way, in pieces of any size; an error ends them.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// What a storage could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such object, or not a whole one.
    #[error("no such object")]
    NotFound,
    /// The object is in no state for this: an offset that is not its end, a name that is taken.
    #[error("{0}")]
    Rejected(String),
    /// The bytes to be stored ended with an error of their own.
    #[error("the upload broke off: {0}")]
    Interrupted(#[source] io::Error),
    /// No room left.
    #[error("the storage is full")]
    Full,
    /// Out of reach for now.
    #[error("the storage cannot be reached: {0}")]
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

/// A whole object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its name.
    pub id: Id,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last written to.
    pub written: Timestamp,
}

/// What is kept beside an object for people who look into the store; no service reads it back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The file's name as its owner knows it.
    pub file_name: String,
    /// Whose it is.
    pub owner: String,
}

/// Objects of any length under ids that the caller chooses.
///
/// An object is *unfinished* from its first [`append`](Storage::append) to its
/// [`commit`](Storage::commit), and *whole* after; a whole object never changes. Memory use does not grow
/// with the length of an object.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Writes `body` to the end of the unfinished object `id`, which begins to exist with the offset 0;
    /// returns its new length.
    ///
    /// When this returns, also with [`Error::Interrupted`], every byte that [`written`](Storage::written)
    /// counts is durable: it survives a kill of the process and, on a local disk that honours fsync, a
    /// power cut.
    ///
    /// - `offset` is not the present length, or the object is whole: [`Error::Rejected`], nothing written.
    /// - `body` ends with an error of kind [`io::ErrorKind::InvalidData`]: all of `body` is taken back.
    /// - `body` ends with another error: what came before it stays.
    async fn append(&self, id: Id, offset: u64, body: ByteStream) -> Result<u64, Error>;

    /// Length of the unfinished object `id`; [`Error::NotFound`] where there is none.
    async fn written(&self, id: Id) -> Result<u64, Error>;

    /// Makes the unfinished object whole: at once, and durably. [`Error::NotFound`] where there is none;
    /// committing a whole object again returns its head.
    async fn commit(&self, id: Id, label: &Label) -> Result<Head, Error>;

    /// The bytes `range` of a whole object; a range that ends behind the object is cut to it.
    async fn get(&self, id: Id, range: Range<u64>) -> Result<ByteStream, Error>;

    /// The head of a whole object.
    async fn head(&self, id: Id) -> Result<Head, Error>;

    /// Removes an object, whole or unfinished; fine where there is none.
    async fn delete(&self, id: Id) -> Result<(), Error>;

    /// Up to `limit` ids greater than `after`, in order, of objects, whole or unfinished, that were last
    /// written before `before`.
    async fn list_older_than(
        &self,
        before: Timestamp,
        after: Option<Id>,
        limit: usize,
    ) -> Result<Vec<Id>, Error>;
}

/// What callers of a storage need and implementers do not.
#[async_trait]
pub trait StorageExt: Storage {
    /// Stores `body` whole under the unused `id`, or leaves nothing behind.
    async fn put(&self, id: Id, label: &Label, body: ByteStream) -> Result<Head, Error> {
        let stored = match self.append(id, 0, body).await {
            Ok(_) => self.commit(id, label).await,
            Err(e) => Err(e),
        };
        if stored.is_err() {
            // The first error is the one to report; a sweeper removes what this leaves.
            let _ = self.delete(id).await;
        }
        stored
    }
}

impl<S: Storage + ?Sized> StorageExt for S {}
