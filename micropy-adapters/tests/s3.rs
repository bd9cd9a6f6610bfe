//! S3 storage against moto, which checks every signature, and LocalStack, which answers as Amazon does.

#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

#[path = "support/environment.rs"]
mod environment;
#[path = "support/real_time.rs"]
mod real_time;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/server.rs"]
mod server;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use micropy_adapters::storage::s3::{Bucket, S3Storage};
use micropy_core::ports::conformance;
use micropy_core::ports::storage::{Error, Head, Label, Storage, StorageExt, Upload, UploadError};
use micropy_core::ports::{Id, Timestamp};
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    self, HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpService,
};
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::mpsc;

use real_time::RealTime;

/// As in the adapter.
const PART: usize = 8 << 20;
const VARIABLES: [&str; 2] = ["MICROPY_TEST_MOTO_URL", "MICROPY_TEST_LOCALSTACK_URL"];

fn id(byte: u8) -> Id {
    Id::from_bytes([byte; 12])
}

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

fn refused(bytes: &[u8]) -> Upload {
    let refusal = stream::iter([Err(UploadError::Refused("a mistake".into()))]);
    Box::pin(body(bytes).chain(refusal))
}

async fn read(storage: &S3Storage, id: Id, range: std::ops::Range<u64>) -> Vec<u8> {
    let pieces = storage.get(id, range).await.unwrap();
    let pieces: Vec<Bytes> = pieces.try_collect().await.unwrap();
    pieces.concat()
}

async fn older_than(storage: &S3Storage, before: Timestamp) -> Vec<(Id, u64)> {
    let heads = storage.list_older_than(before).await.unwrap();
    let heads: Vec<Head> = heads.try_collect().await.unwrap();
    heads
        .into_iter()
        .map(|head| (head.id, head.bytes))
        .collect()
}

/// Waits until the unfinished object has more bytes than that, and returns how many.
async fn until_longer(storage: &S3Storage, length: u64) -> u64 {
    for _ in 0..400 {
        let now = storage.unfinished(id(1)).await.unwrap().bytes;
        if now > length {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not grow");
}

/// A folder of one test in a bucket of each server.
struct Fixture {
    url: String,
    folder: String,
    storage: S3Storage,
}

fn fixtures(test: &str) -> Vec<Fixture> {
    let urls = VARIABLES.iter();
    let urls = urls.filter_map(|name| environment::variable(name, test));
    urls.map(|url| Fixture::new(url, test)).collect()
}

impl Fixture {
    fn new(url: String, test: &str) -> Self {
        let folder = format!("{test}-{}", std::process::id());
        Fixture {
            storage: Bucket::open(&url).unwrap().folder(&folder),
            url,
            folder,
        }
    }

    /// Another process with the same storage.
    fn again(&self) -> S3Storage {
        Bucket::open(&self.url).unwrap().folder(&self.folder)
    }

    fn url(&self) -> url::Url {
        url::Url::parse(&self.url).unwrap()
    }

    fn endpoint(&self) -> String {
        let url = self.url();
        let endpoint = url.query_pairs().find(|(name, _)| name == "endpoint");
        endpoint.unwrap().1.into_owned()
    }

    /// Names and lengths of all that is stored, by another client.
    async fn objects(&self) -> Vec<(String, u64)> {
        let folder = self.folder.clone() + "/";
        let direct = self.direct();
        let all = direct.list(Some(&(&*self.folder).into()));
        let mut all: Vec<_> = all
            .map_ok(|meta| {
                let name = meta.location.to_string();
                (name.strip_prefix(&folder).unwrap().to_owned(), meta.size)
            })
            .try_collect()
            .await
            .unwrap();
        all.retain(|(name, _)| !["clock", "conditions", "ledger"].contains(&&**name));
        all.sort();
        all
    }

    async fn names(&self) -> Vec<String> {
        let objects = self.objects().await;
        objects.into_iter().map(|(name, _)| name).collect()
    }

    /// The bucket, without the adapter.
    fn direct(&self) -> object_store::aws::AmazonS3 {
        let url = self.url();
        AmazonS3Builder::new()
            .with_bucket_name(url.host_str().unwrap())
            .with_access_key_id(plain(url.username()))
            .with_secret_access_key(plain(url.password().unwrap()))
            .with_endpoint(self.endpoint())
            .with_allow_http(true)
            .with_http_connector(Plain(
                legacy::Client::builder(TokioExecutor::new()).build_http(),
            ))
            .build()
            .unwrap()
    }
}

fn plain(text: &str) -> String {
    let text = percent_encoding::percent_decode_str(text);
    text.decode_utf8().unwrap().into_owned()
}

/// Another HTTP client than the adapter's.
#[derive(Clone, Debug)]
struct Plain(legacy::Client<HttpConnector, HttpRequestBody>);

impl client::HttpConnector for Plain {
    fn connect(&self, _: &object_store::ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for Plain {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.request(request).await;
        let response = response.map_err(|e| HttpError::new(HttpErrorKind::Request, e))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await;
        let body = body.map_err(|e| HttpError::new(HttpErrorKind::Interrupted, e))?;
        Ok(HttpResponse::from_parts(head, body.to_bytes().into()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_its_port() {
    for fixture in fixtures("s3_suite") {
        conformance::storage::run(&RealTime, &fixture.storage).await;
        assert_eq!(fixture.names().await, [""; 0], "nothing is left behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_any_length_make_one_object() {
    for fixture in fixtures("s3_appends") {
        let storage = &fixture.storage;
        let all = bytes(2 * PART + 12_345);
        let mut end = 0;
        for next in [
            1,
            100,
            300_000,
            PART - 1,
            PART,
            PART + 1,
            2 * PART + 5,
            all.len(),
        ] {
            // Each by another process.
            let storage = fixture.again();
            let stored = storage.append(id(1), end as u64, body(&all[end..next]));
            assert_eq!(stored.await.unwrap(), next as u64);
            assert_eq!(storage.unfinished(id(1)).await.unwrap().bytes, next as u64);
            end = next;
        }
        let label = Label {
            file_name: "talk.mp4".into(),
            owner: "ann@example.com".into(),
        };
        let head = storage.commit(id(1), &label).await.unwrap();
        assert_eq!(head.bytes, all.len() as u64);
        assert!(read(storage, id(1), 0..u64::MAX).await == all);
        for (start, end) in [
            (PART - 3, PART + 3),
            (5, 2 * PART + 1),
            (all.len() - 1, all.len()),
        ] {
            let got = read(storage, id(1), start as u64..end as u64).await;
            assert!(got == all[start..end], "{start}..{end}");
        }
        let name = id(1);
        assert_eq!(
            fixture.names().await,
            [format!("labels/{name}"), format!("whole/{name}")]
        );
        let path = format!("{}/labels/{name}", fixture.folder).into();
        let label = fixture.direct().get(&path).await.unwrap().bytes().await;
        let label: serde_json::Value = serde_json::from_slice(&label.unwrap()).unwrap();
        assert_eq!(label["fileName"], "talk.mp4");
        storage.delete(id(1)).await.unwrap();
        assert_eq!(fixture.names().await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_taken_back_with_its_parts() {
    for fixture in fixtures("s3_refused") {
        let storage = &fixture.storage;
        let all = bytes(2 * PART + 5);
        storage.append(id(1), 0, body(&all[..9])).await.unwrap();
        let wrong = vec![b'x'; 2 * PART];
        for _ in 0..2 {
            let result = storage.append(id(1), 9, refused(&wrong)).await;
            assert!(matches!(result, Err(Error::Interrupted(_))), "{result:?}");
            assert_eq!(storage.unfinished(id(1)).await.unwrap().bytes, 9);
        }
        storage.append(id(1), 9, body(&all[9..])).await.unwrap();
        storage.commit(id(1), &Label::default()).await.unwrap();
        assert!(read(storage, id(1), 0..u64::MAX).await == all);
        storage.delete(id(1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_the_later_wins() {
    for fixture in fixtures("s3_writers") {
        let storage = &fixture.storage;
        let (mine, yours) = (bytes(2 * PART), vec![b'y'; PART + 10]);
        storage.append(id(1), 0, body(b"begun")).await.unwrap();
        let (sender, receiver) = mpsc::channel(1);
        let stalled = {
            let storage = storage.clone();
            let pieces = Box::pin(stream::unfold(receiver, |mut receiver| async move {
                Some((receiver.recv().await?, receiver))
            }));
            tokio::spawn(async move { storage.append(id(1), 5, pieces).await })
        };
        // A part and more, some of which counts already.
        for piece in mine[..PART + 5].chunks(1 << 20) {
            sender
                .send(Ok(Bytes::copy_from_slice(piece)))
                .await
                .unwrap();
        }
        let other = fixture.again();
        let now = until_longer(&other, 5).await;
        other.append(id(1), now, body(&yours)).await.unwrap();
        for piece in mine[PART + 5..].chunks(1 << 20) {
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
        other.commit(id(1), &Label::default()).await.unwrap();
        let mut whole = b"begun".to_vec();
        whole.extend(&mine[..now as usize - 5]);
        whole.extend(&yours);
        assert!(read(storage, id(1), 0..u64::MAX).await == whole);
        let name = id(1);
        assert_eq!(
            fixture.names().await,
            [format!("labels/{name}"), format!("whole/{name}")],
            "and leaves nothing behind"
        );
        storage.delete(id(1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_arrived_stays_when_the_request_is_dropped() {
    for fixture in fixtures("s3_dropped") {
        let storage = &fixture.storage;
        let all = bytes(1_000_000);
        let pieces = body(&all).chain(stream::pending());
        let append = storage.append(id(1), 0, Box::pin(pieces));
        let dropped = tokio::time::timeout(Duration::from_secs(2), append).await;
        assert!(dropped.is_err());
        assert_eq!(until_longer(storage, 0).await, all.len() as u64);
        storage.delete(id(1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_or_a_removal_cut_short_goes_on() {
    for fixture in fixtures("s3_cut_short") {
        let storage = &fixture.storage;
        let name = id(1);
        let record = format!("{}/unfinished/{name}", fixture.folder).into();
        storage.append(name, 0, body(b"abc")).await.unwrap();
        let direct = fixture.direct();
        // As a crash before the step that counts leaves it, and after it.
        let open = direct.get(&record).await.unwrap().bytes().await.unwrap();
        let open = String::from_utf8(open.to_vec()).unwrap();
        let committing = open.replace("\"open\"", "\"committing\"");
        assert_ne!(open, committing);
        direct
            .put(&record, committing.clone().into())
            .await
            .unwrap();
        assert_eq!(storage.unfinished(name).await.unwrap().bytes, 3);
        let late = storage.append(name, 3, body(b"d")).await;
        assert!(matches!(late, Err(Error::Rejected(_))), "{late:?}");
        storage.commit(name, &Label::default()).await.unwrap();
        direct.put(&record, committing.into()).await.unwrap();
        let unfinished = storage.unfinished(name).await;
        assert!(matches!(unfinished, Err(Error::NotFound)), "{unfinished:?}");
        storage.commit(name, &Label::default()).await.unwrap();
        assert_eq!(read(storage, name, 0..9).await, b"abc");
        storage.delete(name).await.unwrap();

        // A writer that was killed: a tail, and an upload, of no record.
        let long = bytes(PART + 9);
        storage.append(name, 0, body(&long)).await.unwrap();
        direct.delete(&record).await.unwrap();
        let soon = storage.now().await.unwrap().plus(Duration::from_secs(5));
        let left = older_than(storage, soon).await;
        assert!(
            !left.is_empty() && left.iter().all(|left| *left == (name, 0)),
            "{left:?}"
        );
        let unfinished = storage.unfinished(name).await;
        assert!(matches!(unfinished, Err(Error::NotFound)), "{unfinished:?}");
        storage.delete(name).await.unwrap();
        assert_eq!(older_than(storage, soon).await, []);
        assert_eq!(fixture.names().await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_hold_little_and_wait_for_nobody() {
    for fixture in fixtures("s3_many") {
        let storage = &fixture.storage;
        // Together more than all may hold: 30 × 3 MiB, and one that never ends.
        let stalled = body(&bytes(3 << 20)).chain(stream::pending());
        let stalling = tokio::spawn({
            let storage = storage.clone();
            async move { storage.append(id(99), 0, Box::pin(stalled)).await }
        });
        let all = bytes(3 << 20);
        let writing = (1..=30).map(|n| {
            let (storage, all) = (storage.clone(), all.clone());
            tokio::spawn(async move {
                storage
                    .put(id(n), &Label::default(), body(&all))
                    .await
                    .unwrap();
                assert!(read(&storage, id(n), 0..u64::MAX).await == all);
                storage.delete(id(n)).await.unwrap();
            })
        });
        for one in writing.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        stalling.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_out_of_reach_is_unavailable_and_a_wrong_key_is_not() {
    let away = Bucket::open("s3://a:b@talks?endpoint=http://127.0.0.1:1").unwrap();
    let begun = Instant::now();
    let result = away.folder("x").append(id(1), 0, body(b"abc")).await;
    assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let moto = fixtures("s3_wrong_key").into_iter().next();
    if let Some(fixture) = moto {
        let mut url = fixture.url();
        url.set_password(Some("wrong-secret")).unwrap();
        let storage = Bucket::open(url.as_str()).unwrap().folder("x");
        let e = storage.append(id(1), 0, body(b"abc")).await.unwrap_err();
        assert!(matches!(e, Error::Backend { .. }), "{e:?}");
        assert!(!e.to_string().contains("wrong-secret"), "{e}");
        let bucket = fixture.url.replace("@talks/", "@nowhere/");
        let storage = Bucket::open(&bucket).unwrap().folder("x");
        let e = storage.append(id(1), 0, body(b"abc")).await.unwrap_err();
        assert!(matches!(e, Error::Backend { .. }), "{e:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_outlasts_the_store_being_away() {
    for fixture in fixtures("s3_away") {
        let endpoint = fixture.endpoint();
        let address = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let line = server::Line::to(address).await;
        let url = fixture.url.replace(
            &format!("127.0.0.1%3A{}", address.port()),
            &format!("127.0.0.1%3A{}", line.address.port()),
        );
        assert_ne!(url, fixture.url);
        let behind = Bucket::open(&url).unwrap().folder(&fixture.folder);
        let all = bytes(3 * PART + 77);
        let (sender, receiver) = mpsc::channel(1);
        let arriving = {
            let storage = behind.clone();
            let pieces = Box::pin(stream::unfold(receiver, |mut receiver| async move {
                Some((receiver.recv().await?, receiver))
            }));
            tokio::spawn(async move { storage.append(id(1), 0, pieces).await })
        };
        for piece in all[..2 * PART + 5].chunks(1 << 20) {
            sender
                .send(Ok(Bytes::copy_from_slice(piece)))
                .await
                .unwrap();
        }
        let counted = until_longer(&fixture.storage, PART as u64).await;
        line.cut().await;
        drop(sender);
        let broken = arriving.await.unwrap();
        assert!(matches!(broken, Err(Error::Unavailable(_))), "{broken:?}");
        let now = fixture.storage.unfinished(id(1)).await.unwrap().bytes;
        assert!(now >= counted && now >= PART as u64, "{now} of {counted}");
        line.mend();
        let rest = body(&all[now as usize..]);
        behind.append(id(1), now, rest).await.unwrap();
        behind.commit(id(1), &Label::default()).await.unwrap();

        // A reader goes on, too.
        let mut pieces = behind.get(id(1), 0..u64::MAX).await.unwrap();
        let mut got = pieces.next().await.unwrap().unwrap().to_vec();
        line.cut().await;
        line.mend();
        while let Some(piece) = pieces.try_next().await.unwrap() {
            got.extend_from_slice(&piece);
        }
        assert!(got == all);
        behind.delete(id(1)).await.unwrap();
    }
}
