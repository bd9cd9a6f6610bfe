//! What is special about objects in a folder: many of them, what else lies there, and who can read them.

#![cfg(feature = "filesystem")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use micropy_adapters::storage::filesystem::FilesystemStorage;
use micropy_core::ports::binding::Identity;
use micropy_core::ports::storage::{Error, Head, Label, Storage, StorageExt, Upload};
use micropy_core::ports::{Id, Timestamp};

fn id(number: u32) -> Id {
    let mut bytes = [7; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Id::from_bytes(bytes)
}

fn body() -> Upload {
    Box::pin(stream::iter([Ok(Bytes::from_static(b"abc"))]))
}

async fn list(storage: &FilesystemStorage) -> Vec<Head> {
    let listing = storage.list_older_than(Timestamp::MAX).await.unwrap();
    listing.try_collect().await.unwrap()
}

#[tokio::test]
async fn a_large_folder_is_listed_to_its_end_with_each_object_once() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FilesystemStorage::open(folder.path()).unwrap();
    let all: BTreeSet<_> = (0..5000).map(id).collect();
    for (number, id) in all.iter().enumerate() {
        let state = if number % 2 == 0 {
            "whole"
        } else {
            "unfinished"
        };
        fs::write(folder.path().join(state).join(id.to_string()), "abc").unwrap();
    }
    for foreign in ["lost+found", ".DS_Store", "0123"] {
        fs::write(folder.path().join("whole").join(foreign), "").unwrap();
    }
    let found = list(&storage).await;
    assert_eq!(found.len(), all.len());
    assert!(found.iter().all(|head| head.bytes == 3));
    assert_eq!(
        found.iter().map(|head| head.id).collect::<BTreeSet<_>>(),
        all
    );
}

#[tokio::test]
async fn a_binding_outlives_the_process_and_a_damaged_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let storage = || FilesystemStorage::open(folder.path()).unwrap();
    let ledger = Identity {
        ledger: id(1),
        generation: 7,
    };
    storage().bind(None, ledger).await.unwrap();
    assert_eq!(storage().binding().await.unwrap(), Some(ledger));
    let file = folder.path().join("ledger");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{} 7\n", id(1)));
    for damaged in ["", "\n", "7", "x 7", &format!("{} -1", id(1))] {
        fs::write(&file, damaged).unwrap();
        let e = storage().binding().await.unwrap_err();
        assert!(matches!(e, Error::Backend { .. }), "{e:?}");
        assert!(e.to_string().contains(file.to_str().unwrap()), "{e}");
        let bound = storage().bind(None, ledger).await;
        assert!(bound.is_err(), "{damaged:?} is not replaced");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn other_users_can_read_nothing() {
    use std::os::unix::fs::PermissionsExt;

    fn open_to_others(path: &Path, found: &mut Vec<String>) {
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        if mode != expected {
            found.push(format!("{} {mode:o}", path.display()));
        }
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                open_to_others(&entry.unwrap().path(), found);
            }
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let storage = FilesystemStorage::open(root.join("videos")).unwrap();
    storage.append(id(1), 0, body()).await.unwrap();
    storage.put(id(2), &Label::default(), body()).await.unwrap();
    let ledger = Identity {
        ledger: id(1),
        generation: 1,
    };
    storage.bind(None, ledger).await.unwrap();
    let mut found = Vec::new();
    open_to_others(&root, &mut found);
    assert_eq!(found, [""; 0]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_cannot_be_read_keeps_no_other_from_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FilesystemStorage::open(folder.path()).unwrap();
    for number in [1, 3] {
        storage
            .put(id(number), &Label::default(), body())
            .await
            .unwrap();
    }
    // It leads to itself.
    let odd = folder.path().join("whole").join(id(2).to_string());
    std::os::unix::fs::symlink(&odd, &odd).unwrap();
    assert!(storage.head(id(2)).await.is_err());
    let mut found: Vec<Id> = list(&storage).await.iter().map(|head| head.id).collect();
    found.sort_unstable();
    assert_eq!(found, [id(1), id(3)]);
}
