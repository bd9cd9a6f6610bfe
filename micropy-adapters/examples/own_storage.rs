//! A storage of one's own, and the suite that says whether it keeps the contract.
//!
//! ```sh
//! cargo run -p micropy-adapters --example own_storage
//! ```
//!
//! This one counts the bytes that go in and out, and leaves the keeping to another: an adapter for a store of yours has
//! the same methods. What each has to hold stands in the documentation of [`Storage`]; the suite asks for all of it, so
//! an adapter that passes can take the place of ours in `Ports`.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use micropy_adapters::clock::SystemClock;
use micropy_adapters::storage::filesystem::FilesystemStorage;
use micropy_core::ports::binding::Identity;
use micropy_core::ports::conformance::{self, Fixture};
use micropy_core::ports::storage::{ByteStream, Error, Head, Label, Listing, Storage, Upload};
use micropy_core::ports::{Clock as _, Id, Timestamp};

/// Bytes that were stored and served.
#[derive(Debug, Default)]
pub struct Traffic {
    stored: AtomicU64,
    served: AtomicU64,
}

impl Traffic {
    /// Bytes stored, and bytes served.
    pub fn bytes(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.stored), of(&self.served))
    }
}

/// A storage that counts the bytes of another.
pub struct CountedStorage<S> {
    inner: S,
    traffic: Arc<Traffic>,
}

impl<S: Storage> CountedStorage<S> {
    /// Counts what goes through `inner`.
    pub fn new(inner: S, traffic: Arc<Traffic>) -> Self {
        CountedStorage { inner, traffic }
    }
}

#[async_trait]
impl<S: Storage> Storage for CountedStorage<S> {
    async fn append(&self, id: Id, offset: u64, body: Upload) -> Result<u64, Error> {
        let traffic = self.traffic.clone();
        let counted = body.inspect(move |piece| {
            let bytes = piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
            traffic.stored.fetch_add(bytes, Ordering::Relaxed);
        });
        self.inner.append(id, offset, Box::pin(counted)).await
    }

    async fn unfinished(&self, id: Id) -> Result<Head, Error> {
        self.inner.unfinished(id).await
    }

    async fn commit(&self, id: Id, label: &Label) -> Result<Head, Error> {
        self.inner.commit(id, label).await
    }

    async fn get(&self, id: Id, range: Range<u64>) -> Result<ByteStream, Error> {
        let traffic = self.traffic.clone();
        let bytes = self.inner.get(id, range).await?;
        Ok(Box::pin(bytes.inspect(move |piece| {
            let bytes = piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
            traffic.served.fetch_add(bytes, Ordering::Relaxed);
        })))
    }

    async fn head(&self, id: Id) -> Result<Head, Error> {
        self.inner.head(id).await
    }

    async fn delete(&self, id: Id) -> Result<(), Error> {
        self.inner.delete(id).await
    }

    async fn list_older_than(&self, before: Timestamp) -> Result<Listing, Error> {
        self.inner.list_older_than(before).await
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        self.inner.now().await
    }

    async fn binding(&self) -> Result<Option<Identity>, Error> {
        self.inner.binding().await
    }

    async fn bind(&self, previous: Option<Identity>, ledger: Identity) -> Result<(), Error> {
        self.inner.bind(previous, ledger).await
    }
}

/// The time as everybody has it, for the suite: files are dated by the system.
struct RealTime;

#[async_trait]
impl Fixture for RealTime {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
    async fn elapse(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }
    async fn settle(&self) {}
}

/// Runs the suite, which panics with the sentence of the contract that does not hold.
pub async fn check(storage: &dyn Storage) {
    conformance::storage::run(&RealTime, storage).await;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let traffic = Arc::new(Traffic::default());
    let storage = CountedStorage::new(FilesystemStorage::open(folder.path())?, traffic.clone());
    check(&storage).await;
    let (stored, served) = traffic.bytes();
    println!("it is a storage; the suite has stored {stored} bytes and read {served}");
    Ok(())
}
