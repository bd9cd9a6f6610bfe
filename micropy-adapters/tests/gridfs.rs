//! GridFS against a real mongod: the suite of its port, other drivers, and a server that is killed.

#![cfg(feature = "gridfs")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

#[path = "support/mongod.rs"]
mod mongod;
#[path = "support/real_time.rs"]
mod real_time;

use std::io;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use micropy_adapters::clock::SystemClock;
use micropy_adapters::mongodb::Client;
use micropy_adapters::storage::gridfs::GridfsStorage;
use micropy_core::ports::conformance;
use micropy_core::ports::storage::{Error, Head, Label, Storage, StorageExt, Upload, UploadError};
use micropy_core::ports::{Clock, Id, Timestamp};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use tokio::sync::mpsc;

use mongod::{Database, Mongod};
use real_time::RealTime;

/// As in the adapter.
const CHUNK: usize = 255 * 1024;

fn id(byte: u8) -> Id {
    Id::from_bytes([byte; 12])
}

fn oid(id: Id) -> ObjectId {
    ObjectId::from_bytes(*id.as_bytes())
}

fn label() -> Label {
    Label {
        file_name: "talk.mp4".into(),
        owner: "ann@example.com".into(),
    }
}

/// As `pymongo_files.py` makes them.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

fn body(bytes: &[u8]) -> Upload {
    let pieces: Vec<_> = bytes
        .chunks(60_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    Box::pin(stream::iter(pieces))
}

async fn read(storage: &GridfsStorage, id: Id, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
    let stream = storage.get(id, range).await.unwrap();
    stream
        .try_fold(Vec::new(), |mut all, piece| async move {
            all.extend_from_slice(&piece);
            Ok(all)
        })
        .await
}

async fn ids_older_than(storage: &GridfsStorage, before: Timestamp) -> Vec<Id> {
    let heads = storage.list_older_than(before).await.unwrap();
    let heads: Vec<Head> = heads.try_collect().await.unwrap();
    heads.into_iter().map(|head| head.id).collect()
}

/// Waits until `found` is true.
async fn until(mut found: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if found().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_its_port() {
    let Some(database) = Database::new("gridfs_suite").await else {
        return;
    };
    let storage = GridfsStorage::new(&database.client, &database.name);
    conformance::storage::run(&RealTime, &storage).await;
    for collection in ["fs.files", "fs.chunks", "fs.uploads"] {
        let collection = database.direct.collection::<Document>(collection);
        let left = collection.find_one(doc! {}).await.unwrap();
        assert_eq!(left, None, "nothing is left behind");
    }
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pymongo_and_we_read_each_other() {
    let Some(url) = mongod::url("pymongo_and_we_read_each_other") else {
        return;
    };
    let database = Database::at(&url, "gridfs_pymongo").await;
    let python = Command::new(mongod::project().join("scripts/venv"))
        .args(["mongodb", "pymongo"])
        .output()
        .unwrap();
    let said = String::from_utf8(python.stderr).unwrap();
    assert!(python.status.success(), "{said}");
    let python = String::from_utf8(python.stdout).unwrap();
    let pymongo = |arguments: &[&str]| {
        let output = Command::new(python.trim())
            .arg(mongod::project().join("micropy-adapters/tests/pymongo_files.py"))
            .args([&url, &database.name])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let storage = GridfsStorage::new(&database.client, &database.name);

    // Theirs, with no name and no metadata; also in chunks of another size.
    for (length, chunk) in [
        (1_000_001, None),
        (5 * CHUNK, None),
        (0, None),
        (700_000, Some("9973")),
    ] {
        let text = length.to_string();
        let put: Vec<&str> = ["put", &text].into_iter().chain(chunk).collect();
        let theirs: Id = pymongo(&put).parse().unwrap();
        let all = bytes(length);
        assert_eq!(storage.head(theirs).await.unwrap().bytes, length as u64);
        assert!(read(&storage, theirs, 0..u64::MAX).await.unwrap() == all);
        for (start, end) in [
            (0, 1),
            (9_972, 9_975),
            (261_119, 261_121),
            (300_000, 699_999),
        ] {
            let got = read(&storage, theirs, start as u64..end as u64)
                .await
                .unwrap();
            assert!(
                got == all[start.min(length)..end.min(length)],
                "{start}..{end} of {length}"
            );
        }
        let soon = SystemClock.now().plus(Duration::from_secs(9));
        let found = ids_older_than(&storage, soon).await;
        assert_eq!(found, [], "files of other programs are not listed");
        storage.delete(theirs).await.unwrap();
    }

    // Ours, made of several appends that end in the middle of chunks.
    let all = bytes(3 * CHUNK + 12_345);
    let mut end = 0;
    for next in [1, CHUNK - 1, CHUNK + 1, 2 * CHUNK, all.len()] {
        let stored = storage
            .append(id(1), end as u64, body(&all[end..next]))
            .await;
        assert_eq!(stored.unwrap(), next as u64);
        assert_eq!(pymongo(&["list"]), "", "nobody sees an unfinished file");
        end = next;
    }
    storage.commit(id(1), &label()).await.unwrap();
    let soon = SystemClock.now().plus(Duration::from_secs(9));
    assert_eq!(ids_older_than(&storage, soon).await, [id(1)]);
    let md5 = Command::new(python.trim())
        .args(["-c", "import hashlib; print(hashlib.md5((bytes(range(251)) * 9999)[:3 * 261120 + 12345]).hexdigest())"])
        .output()
        .unwrap();
    let md5 = String::from_utf8(md5.stdout).unwrap();
    let theirs = pymongo(&["md5", &id(1).to_string()]);
    assert_eq!(theirs, format!("{} talk.mp4 ann@example.com", md5.trim()));

    // While an upload is on its way, and after a mistake of its sender was taken back.
    let (sender, receiver) = mpsc::channel(1);
    let arriving = {
        let storage = storage.clone();
        let pieces = Box::pin(stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        }));
        tokio::spawn(async move { storage.append(id(2), 0, pieces).await })
    };
    for piece in all.chunks(60_000) {
        sender
            .send(Ok(Bytes::copy_from_slice(piece)))
            .await
            .unwrap();
    }
    assert_eq!(
        pymongo(&["list"]),
        id(1).to_string(),
        "nobody sees half a file"
    );
    drop(sender);
    arriving.await.unwrap().unwrap();
    let bad = body(&all).chain(stream::iter([Err(UploadError::Refused(
        "a mistake".into(),
    ))]));
    let length = all.len() as u64;
    let refused = storage.append(id(2), length, Box::pin(bad)).await;
    assert!(matches!(refused, Err(Error::Interrupted(_))));
    storage.commit(id(2), &label()).await.unwrap();
    let theirs = pymongo(&["md5", &id(2).to_string()]);
    assert_eq!(
        theirs,
        format!("{} talk.mp4 ann@example.com", md5.trim()),
        "cut to its length"
    );
    assert_eq!(pymongo(&["list"]).split(' ').count(), 2);

    // PyMongo keeps an index that it finds: this is the one it would have made.
    let chunks = database.direct.collection::<Document>("fs.chunks");
    let indexes: Vec<_> = chunks
        .list_indexes()
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let unique = |index: &mongodb::IndexModel| {
        index.keys == doc! { "files_id": 1, "n": 1 }
            && index.options.as_ref().unwrap().unique == Some(true)
    };
    assert_eq!(indexes.iter().filter(|index| unique(index)).count(), 1);
    let twice = doc! { "files_id": oid(id(1)), "n": 0 };
    assert!(
        chunks.insert_one(twice).await.is_err(),
        "a file has one chunk 0"
    );
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_reads_no_more_chunks_than_it_needs() {
    let Some(database) = Database::new("gridfs_range").await else {
        return;
    };
    let storage = GridfsStorage::new(&database.client, &database.name);
    let all = bytes(40 * CHUNK);
    storage.put(id(1), &label(), body(&all)).await.unwrap();
    database
        .direct
        .run_command(doc! { "profile": 2 })
        .await
        .unwrap();
    let (start, end) = (20 * CHUNK - 1, 23 * CHUNK + 1);
    let got = read(&storage, id(1), start as u64..end as u64)
        .await
        .unwrap();
    assert!(got == all[start..end]);
    database
        .direct
        .run_command(doc! { "profile": 0 })
        .await
        .unwrap();

    let profile = database.direct.collection::<Document>("system.profile");
    let chunks = doc! { "ns": format!("{}.fs.chunks", database.name) };
    let reads: Vec<_> = profile
        .find(chunks)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let sum = |key| -> i32 { reads.iter().map(|read| read.get_i32(key).unwrap()).sum() };
    assert_eq!(sum("nreturned"), 5, "{reads:?}");
    assert!(
        sum("docsExamined") == 5,
        "nor does the server look at more: {reads:?}"
    );
    let largest = reads
        .iter()
        .map(|read| read.get_i32("responseLength").unwrap())
        .max();
    assert!(largest.unwrap() < 600_000, "a few chunks at a time");
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_named() {
    let Some(database) = Database::new("gridfs_damaged").await else {
        return;
    };
    let storage = GridfsStorage::new(&database.client, &database.name);
    let chunks = database.direct.collection::<Document>("fs.chunks");
    let all = bytes(4 * CHUNK + 5);
    storage.put(id(1), &label(), body(&all)).await.unwrap();

    let third = doc! { "files_id": oid(id(1)), "n": 2 };
    let data = |bytes: &[u8]| Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    };
    let short = doc! { "$set": { "data": data(b"short") } };
    chunks.update_one(third.clone(), short).await.unwrap();
    let e = read(&storage, id(1), 0..u64::MAX).await.unwrap_err();
    assert!(e.to_string().contains("chunk 2 of object 0101"), "{e}");
    assert!(e.to_string().contains("5 bytes instead of 261120"), "{e}");
    chunks.delete_one(third).await.unwrap();
    let e = read(&storage, id(1), 0..u64::MAX).await.unwrap_err();
    assert!(
        e.to_string()
            .contains("chunk 2 of object 010101010101010101010101 is missing"),
        "{e}"
    );
    let before = read(&storage, id(1), 0..2 * CHUNK as u64).await.unwrap();
    assert!(before == all[..2 * CHUNK], "what is whole can be read");

    // Lengths as other drivers write them, and as nobody should.
    let files = database.direct.collection::<Document>("fs.files");
    let five = doc! { "files_id": oid(id(2)), "n": 0_i64, "data": data(b"abcde") };
    chunks.insert_one(five).await.unwrap();
    for (length, readable) in [
        (Bson::Int32(5), true),
        (Bson::Int64(5), true),
        (Bson::Double(5.0), true),
        (Bson::Double(5.5), false),
        (Bson::Double(f64::NAN), false),
        (Bson::Int64(-5), false),
        (Bson::Null, false),
    ] {
        for chunk_size in [Bson::Int32(1000), Bson::Double(1000.0), Bson::Int32(0)] {
            let file = doc! {
                "_id": oid(id(2)), "length": length.clone(), "chunkSize": chunk_size.clone(),
                "uploadDate": mongodb::bson::DateTime::now(),
            };
            files.insert_one(file).await.unwrap();
            if readable && chunk_size != Bson::Int32(0) {
                assert_eq!(read(&storage, id(2), 1..9).await.unwrap(), b"bcde");
            } else {
                let head = storage.head(id(2)).await;
                assert!(
                    matches!(head, Err(Error::Backend { .. })),
                    "{length} {chunk_size}"
                );
            }
            files.delete_one(doc! { "_id": oid(id(2)) }).await.unwrap();
        }
    }
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_the_later_wins() {
    let Some(database) = Database::new("gridfs_writers").await else {
        return;
    };
    let storage = GridfsStorage::new(&database.client, &database.name);
    let chunks = database.direct.collection::<Document>("fs.chunks");
    let (mine, yours) = (bytes(6 * CHUNK), vec![b'y'; 3 * CHUNK]);
    storage.append(id(1), 0, body(b"begun")).await.unwrap();

    let (sender, receiver) = mpsc::channel(1);
    let stalled = {
        let storage = storage.clone();
        let pieces = Box::pin(stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        }));
        tokio::spawn(async move { storage.append(id(1), 5, pieces).await })
    };
    // Two chunks, which no length counts yet.
    let piece = Bytes::copy_from_slice(&mine[..2 * CHUNK]);
    sender.send(Ok(piece)).await.unwrap();
    let stored = doc! { "files_id": oid(id(1)) };
    until(async || chunks.count_documents(stored.clone()).await.unwrap() == 2).await;

    assert_eq!(storage.unfinished(id(1)).await.unwrap().bytes, 5);
    storage.append(id(1), 5, body(&yours[..10])).await.unwrap();
    storage.commit(id(1), &label()).await.unwrap();
    for piece in mine[2 * CHUNK..].chunks(CHUNK) {
        if sender
            .send(Ok(Bytes::copy_from_slice(piece)))
            .await
            .is_err()
        {
            break;
        }
    }
    drop(sender);
    let late = stalled.await.unwrap();
    assert!(matches!(late, Err(Error::Rejected(_))), "{late:?}");
    assert_eq!(
        read(&storage, id(1), 0..99).await.unwrap(),
        b"begunyyyyyyyyyy"
    );
    let left = chunks.count_documents(stored).await.unwrap();
    assert_eq!(left, 1, "and leaves nothing behind the end");
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_cut_short_is_found_again() {
    let Some(database) = Database::new("gridfs_removal").await else {
        return;
    };
    let storage = GridfsStorage::new(&database.client, &database.name);
    storage.put(id(1), &label(), body(b"abc")).await.unwrap();
    // As a crash leaves it: marked, and no more readable.
    let uploads = database.direct.collection::<Document>("fs.uploads");
    let marked = doc! { "_id": oid(id(1)), "state": "deleting", "fence": 1_i64,
    "updated": mongodb::bson::DateTime::from_millis(0) };
    uploads.insert_one(marked).await.unwrap();
    let files = database.direct.collection::<Document>("fs.files");
    files.delete_one(doc! { "_id": oid(id(1)) }).await.unwrap();

    let unfinished = storage.unfinished(id(1)).await;
    assert!(matches!(unfinished, Err(Error::NotFound)));
    let refused = storage.append(id(1), 0, body(b"new")).await;
    assert!(matches!(refused, Err(Error::Rejected(_))));
    let long_ago = Timestamp::from_millis(1);
    assert_eq!(ids_older_than(&storage, long_ago).await, [id(1)]);
    storage.delete(id(1)).await.unwrap();
    let chunks = database.direct.collection::<Document>("fs.chunks");
    assert_eq!(chunks.count_documents(doc! {}).await.unwrap(), 0);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_from_before_migrations_are_kept_and_newer_ones_not_touched() {
    let Some(database) = Database::new("gridfs_migrations").await else {
        return;
    };
    let storage = || GridfsStorage::new(&database.client, &database.name);
    storage().put(id(1), &label(), body(b"abc")).await.unwrap();
    let own = database.direct.collection::<Document>("micropy");
    let schema = doc! { "_id": "files" };
    let version = async || {
        let found = own.find_one(schema.clone()).await.unwrap();
        found.map(|found| found.get_i64("version").unwrap())
    };
    assert_eq!(version().await, Some(1));
    // As programs without numbered migrations left it.
    own.drop().await.unwrap();
    storage().put(id(2), &label(), body(b"abc")).await.unwrap();
    assert_eq!(version().await, Some(1));
    assert_eq!(read(&storage(), id(1), 0..9).await.unwrap(), b"abc");

    let newer = doc! { "$set": { "version": 99_i64 } };
    own.update_one(schema.clone(), newer).await.unwrap();
    let deleted = storage().delete(id(1)).await;
    let stored = storage().put(id(3), &label(), body(b"abc")).await;
    for refused in [deleted, stored.map(drop)] {
        let e = refused.unwrap_err();
        assert!(matches!(e, Error::Backend { .. }), "{e:?}");
        assert!(
            e.to_string().contains("newer version of this program"),
            "{e}"
        );
    }
    assert_eq!(read(&storage(), id(1), 0..9).await.unwrap(), b"abc");
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_out_of_reach_is_unavailable_soon() {
    let client = Client::open("mongodb://127.0.0.1:1").await.unwrap();
    let storage = GridfsStorage::new(&client, "videos");
    let begun = std::time::Instant::now();
    let result = storage.append(id(1), 0, body(b"abc")).await;
    assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(8));
    let unreadable = Client::open("mongodb://user:secret@").await.unwrap_err();
    assert!(!unreadable.to_string().contains("secret"), "{unreadable}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_counted_survive_a_kill() {
    if mongod::url("bytes_that_are_counted_survive_a_kill").is_none() {
        return;
    }
    let mut server = Mongod::start();
    let database = Database::at(&server.url, "gridfs_kill").await;
    let storage = GridfsStorage::new(&database.client, &database.name);
    let all = bytes(60 * CHUNK);
    let mut length = 0;
    for round in 0..3 {
        let (sender, receiver) = mpsc::channel(1);
        let arriving = {
            let storage = storage.clone();
            let pieces = Box::pin(stream::unfold(receiver, |mut receiver| async move {
                Some((receiver.recv().await?, receiver))
            }));
            tokio::spawn(async move { storage.append(id(1), length as u64, pieces).await })
        };
        let sending = tokio::spawn({
            let rest = all[length..].to_vec();
            async move {
                // More than one step of the durable length, and then on until it breaks.
                for piece in rest.chunks(50_000) {
                    if sender
                        .send(Ok(Bytes::copy_from_slice(piece)))
                        .await
                        .is_err()
                    {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        });
        until(async || {
            storage
                .unfinished(id(1))
                .await
                .is_ok_and(|now| now.bytes > length as u64)
        })
        .await;
        let counted = storage.unfinished(id(1)).await.unwrap().bytes;
        server.order("kill");
        let broken = arriving.await.unwrap();
        assert!(matches!(broken, Err(Error::Unavailable(_))), "{broken:?}");
        sending.await.unwrap();
        server.order("start");
        let now = storage.unfinished(id(1)).await.unwrap().bytes;
        assert!(
            now >= counted,
            "round {round}: {now} of {counted} bytes are left"
        );
        length = now as usize;
    }
    storage
        .append(id(1), length as u64, body(&all[length..]))
        .await
        .unwrap();
    storage.commit(id(1), &label()).await.unwrap();
    server.order("kill");
    server.order("start");
    assert!(read(&storage, id(1), 0..u64::MAX).await.unwrap() == all);
    server.close();
}
