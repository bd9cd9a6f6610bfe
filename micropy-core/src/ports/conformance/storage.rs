//! The suite of [`Storage`].

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;

use super::{Fixture, both, id};
use crate::ports::binding::Identity;
use crate::ports::storage::{
    ByteStream, Error, Label, Listing, Storage, StorageExt, Upload, UploadError,
};
use crate::ports::{Id, Timestamp};

/// Runs the suite on an empty storage, and leaves it empty.
pub async fn run(fixture: &dyn Fixture, storage: &dyn Storage) {
    what_is_not_there_is_not_found(storage).await;
    what_is_put_is_got(storage).await;
    an_unfinished_object_is_invisible(storage).await;
    an_object_grows_at_its_end_only(storage).await;
    a_whole_object_never_changes(storage).await;
    a_broken_upload_keeps_what_arrived(storage).await;
    a_refused_upload_is_taken_back(storage).await;
    a_failed_put_leaves_nothing(storage).await;
    any_range_is_served(storage).await;
    deleting_twice_is_fine(storage).await;
    old_objects_are_listed(fixture, storage).await;
    listed_objects_can_be_removed_meanwhile(fixture, storage).await;
    objects_bear_the_time_of_the_store(fixture, storage).await;
    a_binding_is_replaced_by_who_knows_it(storage).await;
}

struct Pieces(VecDeque<Result<Bytes, UploadError>>);

impl Stream for Pieces {
    type Item = Result<Bytes, UploadError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front())
    }
}

fn body(pieces: &[&[u8]]) -> Upload {
    let pieces = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece)));
    Box::pin(Pieces(pieces.collect()))
}

fn failing_body(piece: &[u8], e: UploadError) -> Upload {
    let pieces = [Ok(Bytes::copy_from_slice(piece)), Err(e)];
    Box::pin(Pieces(pieces.into()))
}

/// An error that the sender of the bytes recognises when it comes back to them.
#[derive(Debug, thiserror::Error)]
#[error("the sender's own reason")]
struct Reason;

fn has_its_reason(e: &UploadError) -> bool {
    let reason: &(dyn StdError + 'static) = e.reason();
    reason.is::<Reason>()
}

/// The ids and lengths in a listing, sorted.
async fn list(listing: Result<Listing, Error>) -> Vec<(Id, u64)> {
    let mut listing = listing.expect("list_older_than");
    let mut all = Vec::new();
    while let Some(head) = poll_fn(|context| listing.as_mut().poll_next(context)).await {
        let head = head.expect("the listing goes on to its end");
        all.push((head.id, head.bytes));
    }
    all.sort_unstable();
    all
}

async fn collect(mut stream: ByteStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
        all.extend_from_slice(&piece.expect("the stream goes on to its end"));
    }
    all
}

async fn read(storage: &dyn Storage, id: Id) -> Vec<u8> {
    collect(storage.get(id, 0..u64::MAX).await.expect("get")).await
}

fn label() -> Label {
    Label {
        file_name: "../K\u{fc}che & Bad\"\r\n.mp4".into(),
        owner: "ann@example.com".into(),
    }
}

fn is_not_found<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::NotFound))
}

async fn what_is_not_there_is_not_found(storage: &dyn Storage) {
    assert!(is_not_found(&storage.head(id(1)).await), "head of nothing");
    assert!(
        is_not_found(&storage.get(id(1), 0..1).await),
        "get of nothing"
    );
    assert!(
        is_not_found(&storage.unfinished(id(1)).await),
        "unfinished of nothing"
    );
    assert!(
        is_not_found(&storage.commit(id(1), &label()).await),
        "commit of nothing"
    );
}

async fn what_is_put_is_got(storage: &dyn Storage) {
    let head = storage
        .put(id(1), &label(), body(&[b"ab", b"", b"c"]))
        .await
        .expect("put");
    assert_eq!((head.id, head.bytes), (id(1), 3));
    assert_eq!(storage.head(id(1)).await.expect("head"), head);
    assert_eq!(read(storage, id(1)).await, b"abc");

    let head = storage.put(id(2), &label(), body(&[])).await.expect("put");
    assert_eq!(head.bytes, 0, "an empty object is an object");
    assert_eq!(read(storage, id(2)).await, b"");
    storage.delete(id(1)).await.expect("delete");
    storage.delete(id(2)).await.expect("delete");
}

async fn an_unfinished_object_is_invisible(storage: &dyn Storage) {
    storage
        .append(id(1), 0, body(&[b"abc"]))
        .await
        .expect("append");
    assert!(
        is_not_found(&storage.head(id(1)).await),
        "no head before the commit"
    );
    assert!(
        is_not_found(&storage.get(id(1), 0..3).await),
        "no bytes before the commit"
    );
    let head = storage.unfinished(id(1)).await.expect("unfinished");
    assert_eq!((head.id, head.bytes), (id(1), 3));
    storage.commit(id(1), &label()).await.expect("commit");
    assert!(
        is_not_found(&storage.unfinished(id(1)).await),
        "a whole object is not unfinished"
    );
    let again = storage
        .commit(id(1), &label())
        .await
        .expect("a second commit is fine");
    assert_eq!(again.bytes, 3);
    storage.delete(id(1)).await.expect("delete");
}

async fn an_object_grows_at_its_end_only(storage: &dyn Storage) {
    let rejected = |result| matches!(result, Err(Error::Rejected(_)));
    assert!(
        rejected(storage.append(id(1), 1, body(&[b"x"])).await),
        "nothing ends at 1"
    );
    assert_eq!(
        storage
            .append(id(1), 0, body(&[b"abc"]))
            .await
            .expect("append"),
        3
    );
    for wrong in [0, 2, 4, u64::MAX] {
        let result = storage.append(id(1), wrong, body(&[b"x"])).await;
        assert!(rejected(result), "it ends at 3, not at {wrong}");
    }
    assert_eq!(
        storage
            .append(id(1), 3, body(&[b"de"]))
            .await
            .expect("append"),
        5
    );
    storage.commit(id(1), &label()).await.expect("commit");
    assert_eq!(read(storage, id(1)).await, b"abcde");
    storage.delete(id(1)).await.expect("delete");
}

async fn a_whole_object_never_changes(storage: &dyn Storage) {
    storage
        .put(id(1), &label(), body(&[b"abc"]))
        .await
        .expect("put");
    for offset in [0, 3] {
        let result = storage.append(id(1), offset, body(&[b"x"])).await;
        assert!(
            matches!(result, Err(Error::Rejected(_))),
            "a whole object takes no bytes"
        );
    }
    assert_eq!(read(storage, id(1)).await, b"abc");
    storage.delete(id(1)).await.expect("delete");
}

async fn a_broken_upload_keeps_what_arrived(storage: &dyn Storage) {
    let broken = failing_body(b"abc", UploadError::Broken(Reason.into()));
    let result = storage.append(id(1), 0, broken).await;
    assert!(
        matches!(&result, Err(Error::Interrupted(e @ UploadError::Broken(_))) if has_its_reason(e)),
        "the caller gets the error that broke the upload: {result:?}"
    );
    assert_eq!(
        storage.unfinished(id(1)).await.expect("unfinished").bytes,
        3,
        "what arrived is there"
    );
    storage
        .append(id(1), 3, body(&[b"d"]))
        .await
        .expect("append");
    storage.commit(id(1), &label()).await.expect("commit");
    assert_eq!(read(storage, id(1)).await, b"abcd");
    storage.delete(id(1)).await.expect("delete");
}

async fn a_refused_upload_is_taken_back(storage: &dyn Storage) {
    storage
        .append(id(1), 0, body(&[b"abc"]))
        .await
        .expect("append");
    let bad = failing_body(b"junk", UploadError::Refused(Reason.into()));
    let result = storage.append(id(1), 3, bad).await;
    assert!(
        matches!(&result, Err(Error::Interrupted(e @ UploadError::Refused(_))) if has_its_reason(e)),
        "the caller gets the reason of the refusal: {result:?}"
    );
    assert_eq!(
        storage.unfinished(id(1)).await.expect("unfinished").bytes,
        3,
        "refused bytes are taken back"
    );
    storage
        .append(id(1), 3, body(&[b"de"]))
        .await
        .expect("the upload goes on where it was");
    storage.commit(id(1), &label()).await.expect("commit");
    assert_eq!(read(storage, id(1)).await, b"abcde");
    storage.delete(id(1)).await.expect("delete");
}

async fn a_failed_put_leaves_nothing(storage: &dyn Storage) {
    let broken = failing_body(b"abc", UploadError::Broken(Reason.into()));
    let result = storage.put(id(1), &label(), broken).await;
    assert!(matches!(result, Err(Error::Interrupted(_))));
    assert!(
        is_not_found(&storage.unfinished(id(1)).await),
        "a failed put leaves nothing"
    );
    assert!(
        is_not_found(&storage.head(id(1)).await),
        "a failed put leaves nothing"
    );
}

async fn any_range_is_served(storage: &dyn Storage) {
    let all: Vec<u8> = (0..600_001_u32).map(|n| (n % 251) as u8).collect();
    let pieces: Vec<&[u8]> = all.chunks(70_000).collect();
    storage
        .put(id(1), &label(), body(&pieces))
        .await
        .expect("put");
    let length = all.len() as u64;
    let ranges = [
        (0, 1),
        (0, length),
        (length - 1, length),
        (261_119, 261_121),
        (100, 523_000),
        (7, 7),
        (length - 5, u64::MAX),
        (length, length + 5),
        (length + 5, length + 9),
    ];
    for (start, end) in ranges {
        let got = collect(storage.get(id(1), start..end).await.expect("get")).await;
        let (from, to) = (start.min(length) as usize, end.min(length) as usize);
        assert!(got == all[from..to], "bytes {start}..{end}");
    }
    storage.delete(id(1)).await.expect("delete");
}

async fn deleting_twice_is_fine(storage: &dyn Storage) {
    storage
        .put(id(1), &label(), body(&[b"abc"]))
        .await
        .expect("put");
    storage
        .append(id(2), 0, body(&[b"abc"]))
        .await
        .expect("append");
    for _ in 0..2 {
        storage.delete(id(1)).await.expect("delete");
        storage.delete(id(2)).await.expect("delete");
    }
    assert!(
        is_not_found(&storage.head(id(1)).await),
        "a deleted object is gone"
    );
    assert!(
        is_not_found(&storage.unfinished(id(2)).await),
        "a deleted upload is gone"
    );
    storage
        .put(id(1), &label(), body(&[b"new"]))
        .await
        .expect("its id can be used again");
    assert_eq!(read(storage, id(1)).await, b"new");
    storage.delete(id(1)).await.expect("delete");
}

/// Three whole objects and an unfinished one, all old, and a new one. Returns the time between them.
async fn put_old_and_new(fixture: &dyn Fixture, storage: &dyn Storage) -> Timestamp {
    for byte in [3, 1, 2] {
        storage
            .put(id(byte), &label(), body(&[b"old"]))
            .await
            .expect("put");
    }
    storage
        .append(id(4), 0, body(&[b"unfinished"]))
        .await
        .expect("append");
    fixture.elapse(Duration::from_secs(2)).await;
    let between = fixture.now().minus(Duration::from_secs(1));
    storage
        .put(id(5), &label(), body(&[b"new"]))
        .await
        .expect("put");
    between
}

async fn old_objects_are_listed(fixture: &dyn Fixture, storage: &dyn Storage) {
    let start = fixture.now().minus(Duration::from_secs(1));
    let between = put_old_and_new(fixture, storage).await;
    let old = list(storage.list_older_than(between).await).await;
    assert_eq!(
        old,
        [(id(1), 3), (id(2), 3), (id(3), 3), (id(4), 10)],
        "whole and unfinished objects, each once"
    );
    let none = list(storage.list_older_than(start).await).await;
    assert_eq!(none, [], "nothing was written before the test");
    storage
        .append(id(4), 10, body(&[b"!"]))
        .await
        .expect("append");
    let old = list(storage.list_older_than(between).await).await;
    assert_eq!(old.len(), 3, "an object that grows is not old");
    let grown = storage.unfinished(id(4)).await.expect("unfinished");
    assert!(grown.written > between, "and its head says so");
    for byte in 1..=5 {
        storage.delete(id(byte)).await.expect("delete");
    }
}

async fn listed_objects_can_be_removed_meanwhile(fixture: &dyn Fixture, storage: &dyn Storage) {
    let between = put_old_and_new(fixture, storage).await;
    let listing = storage.list_older_than(between).await;
    let mut listing = listing.expect("list_older_than");
    let mut removed = Vec::new();
    while let Some(head) = poll_fn(|context| listing.as_mut().poll_next(context)).await {
        let id = head.expect("the listing goes on to its end").id;
        storage.delete(id).await.expect("delete");
        removed.push(id);
    }
    removed.sort_unstable();
    assert_eq!(removed, [id(1), id(2), id(3), id(4)], "each once");
    let left = list(storage.list_older_than(between).await).await;
    assert_eq!(left, [], "what was removed is not listed");
    storage.delete(id(5)).await.expect("delete");
}

async fn objects_bear_the_time_of_the_store(fixture: &dyn Fixture, storage: &dyn Storage) {
    let now = async || storage.now().await.expect("now");
    let before = now().await;
    storage
        .append(id(1), 0, body(&[b"abc"]))
        .await
        .expect("append");
    let unfinished = storage.unfinished(id(1)).await.expect("unfinished");
    let between = now().await;
    let whole = storage.commit(id(1), &label()).await.expect("commit");
    let after = now().await;
    assert!(
        before <= unfinished.written && unfinished.written <= between,
        "an append between {before:?} and {between:?} was at {:?}",
        unfinished.written
    );
    assert!(
        before <= whole.written && whole.written <= after,
        "a commit between {before:?} and {after:?} was at {:?}",
        whole.written
    );
    fixture.elapse(Duration::from_secs(1)).await;
    assert!(
        now().await.since(after) >= Duration::from_millis(900),
        "the store's clock goes on"
    );
    storage.delete(id(1)).await.expect("delete");
}

async fn a_binding_is_replaced_by_who_knows_it(storage: &dyn Storage) {
    let seen = |byte, generation| Identity {
        ledger: id(byte),
        generation,
    };
    let binding = async || storage.binding().await.expect("binding");
    let rejected = |result| matches!(result, Err(Error::Rejected(_)));
    assert_eq!(binding().await, None, "the suite needs an unbound storage");
    assert!(
        rejected(storage.bind(Some(seen(8, 1)), seen(8, 2)).await),
        "an unbound store has no binding to replace"
    );
    let (first, second) = both(
        storage.bind(None, seen(8, 1)),
        storage.bind(None, seen(9, 1)),
    )
    .await;
    let won = match (first, second) {
        (Ok(()), Err(Error::Rejected(_))) => seen(8, 1),
        (Err(Error::Rejected(_)), Ok(())) => seen(9, 1),
        other => panic!("one of two binds the store: {other:?}"),
    };
    assert_eq!(binding().await, Some(won));
    for wrong in [None, Some(seen(8, 7)), Some(seen(7, 1))] {
        assert!(
            rejected(storage.bind(wrong, seen(7, 9)).await),
            "{wrong:?} is not its binding"
        );
    }
    assert_eq!(
        binding().await,
        Some(won),
        "what was rejected changed nothing"
    );
    let last = Identity {
        generation: u64::MAX >> 1,
        ..won
    };
    storage.bind(Some(won), last).await.expect("bind");
    assert_eq!(binding().await, Some(last));
    assert_eq!(
        list(storage.list_older_than(Timestamp::MAX).await).await,
        [],
        "a binding is no object"
    );
}
