//! Runs the example `own_storage`: an adapter of one's own passes the suite, and does what it is for.

#![cfg(feature = "filesystem")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

#[allow(dead_code, reason = "its `main` is for people")]
#[path = "../examples/own_storage.rs"]
mod own_storage;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use micropy_adapters::storage::filesystem::FilesystemStorage;
use micropy_core::ports::Id;
use micropy_core::ports::storage::{Label, Storage, StorageExt};

use own_storage::{CountedStorage, Traffic, check};

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_the_suite_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let traffic = Arc::new(Traffic::default());
    let inner = FilesystemStorage::open(folder.path()).unwrap();
    let storage = CountedStorage::new(inner, traffic.clone());
    check(&storage).await;
    let before = traffic.bytes();
    let id = Id::from_bytes([5; 12]);
    let pieces = ["abc", "defgh"].map(|text| Ok(Bytes::from_static(text.as_bytes())));
    let body = Box::pin(stream::iter(pieces));
    storage.put(id, &Label::default(), body).await.unwrap();
    let part = storage.get(id, 2..6).await.unwrap();
    let part: Vec<Bytes> = part.try_collect().await.unwrap();
    assert_eq!(part.concat(), b"cdef");
    let after = traffic.bytes();
    assert_eq!((after.0 - before.0, after.1 - before.1), (8, 4));
}
