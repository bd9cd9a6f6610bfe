//! Objects in a bucket of S3, or of a store that speaks its language.
//!
//! In a folder of the bucket, `whole/<id>` are the objects. S3 appends to none. So an unfinished object is
//!
//! - a multipart upload of `whole/<id>`, whose parts are 8 MiB each;
//! - `tails/<id>/…`, small objects with the bytes behind the last full part;
//! - `unfinished/<id>`, the record that says which parts and tails count.
//!
//! A commit stores the tails as the last part and completes the upload: the object is then there at once, or not at
//! all. `labels/<id>` tells people whose it is, since an upload gets its labels when it begins, and we know them when
//! it ends. `ledger` names the job ledger that the folder belongs to, and `clock` is written to learn the store's time.
//!
//! Whoever writes replaces the record that was read, on the condition that it is still the same (`If-Match`,
//! `If-None-Match`). Of two writers one is refused, and its parts and tails do not count: they have numbers and names
//! of their own.

mod address;
mod fault;
mod http;
mod multipart;
mod record;
mod writer;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use micropy_core::ports::binding::Identity;
use micropy_core::ports::storage::{
    ByteStream, Error, Head, Label, Listing, Storage, Upload, UploadError,
};
use micropy_core::ports::{Id, Timestamp};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};
use object_store::{
    BackoffConfig, Error as StoreError, GetOptions, GetRange, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutPayload, RetryConfig, UpdateVersion,
};
use tokio::sync::{OnceCell, Semaphore, mpsc};
use tracing::Instrument as _;

use self::address::Address;
use self::fault::{ADAPTER, lasting};
use self::http::Client;
use self::multipart::{Completed, Multiparts};
use self::record::{Record, State, Tail};
use self::writer::{Arrival, Writer};
use crate::fault::{Fault, Kind};

/// Bytes that are asked for at once, at most. A reader that pauses keeps a connection busy for no longer than that.
const PIECE: u64 = 8 << 20;
/// How long the store may pause while it sends.
const PAUSE: Duration = Duration::from_secs(30);
/// How often reading begins again where it broke off, without a byte in between.
const RESUMES: u32 = 3;
/// How often a commit begins again when somebody else writes at the same time.
const TRIES: u32 = 5;
/// The largest range that all stores can read.
const LARGEST: u64 = i64::MAX as u64;

/// A record of the store, as it was read.
type Version = UpdateVersion;

/// A bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    multiparts: Multiparts,
    prefix: String,
    shared: Arc<Semaphore>,
    composing: Arc<Semaphore>,
}

impl Bucket {
    /// The bucket at `s3://bucket/prefix`. Nothing is asked yet: the store may be away.
    ///
    /// | parameter | |
    /// |---|---|
    /// | `endpoint` | the store's URL; without it, `AWS_ENDPOINT_URL` or Amazon's |
    /// | `region` | without it, `AWS_REGION`, or `us-east-1` |
    /// | `ca` | a file with the authorities that sign the endpoint's certificate |
    /// | `style` | `virtual`: the bucket is a part of the host's name; `path`, the default |
    /// | `conditional` | `no`: the store ignores the conditions of a write, and a single process writes to it |
    ///
    /// Credentials are `KEY:SECRET@` before the bucket, or come from the environment as for other programs of AWS: keys
    /// in variables, the token of a Kubernetes service account, or what a container or machine is given.
    pub fn open(url: &str) -> io::Result<Self> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let address = Address::parse(url).map_err(invalid)?;
        let client = Client::new(address.ca.as_deref())?;
        let mut builder = AmazonS3Builder::from_env();
        if let Some((key, secret)) = &address.keys {
            builder = builder
                .with_access_key_id(key)
                .with_secret_access_key(secret);
        }
        if let Some(region) = &address.region {
            builder = builder.with_region(region);
        }
        let value = |key| builder.get_config_value(&key);
        let region = value(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".into());
        let endpoint = address
            .endpoint
            .or_else(|| value(AmazonS3ConfigKey::S3Endpoint))
            .or_else(|| value(AmazonS3ConfigKey::Endpoint))
            .unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint = endpoint.trim_end_matches('/');
        let url = match (address.virtual_host, endpoint.split_once("://")) {
            (true, Some((scheme, host))) => format!("{scheme}://{}.{host}", address.bucket),
            _ => format!("{endpoint}/{}", address.bucket),
        };
        builder = builder
            .with_region(&region)
            .with_allow_http(url.starts_with("http://"))
            // With this, the endpoint is the bucket's own URL.
            .with_virtual_hosted_style_request(true)
            .with_config(AmazonS3ConfigKey::S3Endpoint, &url);
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        };
        let retry = RetryConfig {
            backoff,
            max_retries: 3,
            retry_timeout: Duration::from_secs(20),
        };
        let store = builder
            .with_bucket_name(&address.bucket)
            .with_retry(retry)
            .with_http_connector(client.clone())
            .build()
            .map_err(|e| invalid(e.to_string()))?;
        let (shared, composing) = (writer::SHARED_BLOCKS, writer::COMPOSING);
        Ok(Bucket {
            multiparts: Multiparts {
                store,
                client,
                url,
                region,
                conditional: address.conditional,
            },
            prefix: address.prefix,
            shared: Arc::new(Semaphore::new(shared)),
            composing: Arc::new(Semaphore::new(composing)),
        })
    }

    /// The objects below `name` in the prefix.
    pub fn folder(&self, name: &str) -> S3Storage {
        let folder = [&*self.prefix, name].into_iter();
        let folder: Vec<_> = folder.filter(|part| !part.is_empty()).collect();
        S3Storage(Arc::new(Inner {
            folder: folder.join("/"),
            multiparts: self.multiparts.clone(),
            checked: OnceCell::new(),
            shared: self.shared.clone(),
            composing: self.composing.clone(),
        }))
    }
}

/// A folder of a [`Bucket`].
#[derive(Clone)]
pub struct S3Storage(Arc<Inner>);

impl S3Storage {
    /// A URL at which anybody gets the whole object `id`, under these headers, for as long as it `lasts`: seven days at
    /// most, and no longer than the credentials that sign it. Nobody looks whether there is one.
    pub async fn link(
        &self,
        id: Id,
        content_type: &str,
        disposition: &str,
        lasts: Duration,
    ) -> Result<String, Error> {
        let options = SignedUrlOptions::default().with_query([
            ("response-content-type", content_type),
            ("response-content-disposition", disposition),
        ]);
        let key = self.0.whole(id);
        let link = self.0.store();
        let link = link.signed_url_opts(Method::GET, &key, lasts, &options);
        Ok(link.await.map_err(Fault::from)?.into())
    }
}

impl fmt::Debug for S3Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3Storage").field(&self.0.folder).finish()
    }
}

struct Inner {
    folder: String,
    multiparts: Multiparts,
    /// That the store holds to conditions.
    checked: OnceCell<()>,
    shared: Arc<Semaphore>,
    composing: Arc<Semaphore>,
}

impl Inner {
    fn store(&self) -> &AmazonS3 {
        &self.multiparts.store
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.folder))
    }

    fn whole(&self, id: Id) -> Path {
        self.path(&format!("whole/{id}"))
    }

    fn unfinished(&self, id: Id) -> Path {
        self.path(&format!("unfinished/{id}"))
    }

    fn label(&self, id: Id) -> Path {
        self.path(&format!("labels/{id}"))
    }

    fn tails(&self, id: Id) -> Path {
        self.path(&format!("tails/{id}"))
    }

    fn tail_path(&self, id: Id, name: &str) -> Path {
        self.path(&format!("tails/{id}/{name}"))
    }

    /// Makes sure, once and before the first write, that the store refuses a write whose condition is not fulfilled. A
    /// store that ignores conditions would let two writers mix up a file.
    async fn ready(&self) -> Result<(), Error> {
        if !self.multiparts.conditional {
            return Ok(());
        }
        let check = async || {
            let key = self.path("conditions");
            let refuses = async |mode: PutMode| match self.put(&key, PutPayload::new(), mode).await
            {
                Ok(_) => Ok(false),
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(true),
                Err(e) => Err(Fault::from(e)),
            };
            let other = UpdateVersion {
                e_tag: Some("\"00000000000000000000000000000000\"".into()),
                version: None,
            };
            // The first time, it is made.
            let holds = (refuses(PutMode::Create).await? || refuses(PutMode::Create).await?)
                && refuses(PutMode::Update(other)).await?;
            match holds {
                true => Ok(()),
                false => Err(Error::from(lasting(
                    "the store ignores the condition of a write (If-None-Match, If-Match): use one that holds to it. \
                     Where a single process writes to it, conditional=no does without",
                ))),
            }
        };
        self.checked.get_or_try_init(check).await.map(|_| ())
    }

    async fn put(
        &self,
        key: &Path,
        bytes: PutPayload,
        mode: PutMode,
    ) -> Result<Version, StoreError> {
        let put = self.store().put_opts(key, bytes, mode.into()).await?;
        Ok(put.into())
    }

    /// The head of an object; none if there is none.
    async fn meta(&self, key: &Path) -> Result<Option<ObjectMeta>, Error> {
        found(self.store().head(key).await)
    }

    /// A small object; none if there is none.
    async fn small(&self, key: &Path) -> Result<Option<(Bytes, ObjectMeta)>, Error> {
        let Some(got) = found(self.store().get(key).await)? else {
            return Ok(None);
        };
        let meta = got.meta.clone();
        let bytes = tokio::time::timeout(PAUSE, got.bytes()).await;
        let late = |e| Error::from(Fault::new(ADAPTER, Kind::Passing, e));
        let bytes = bytes.map_err(late)?.map_err(Fault::from)?;
        Ok(Some((bytes, meta)))
    }

    /// Replaces an object that is still as it was at `previous`, or makes it. None if it is not.
    async fn swap(
        &self,
        key: &Path,
        bytes: Bytes,
        previous: Option<&Version>,
    ) -> Result<Option<Version>, Error> {
        let mode = match (self.multiparts.conditional, previous) {
            (true, Some(previous)) => PutMode::Update(previous.clone()),
            (true, None) => PutMode::Create,
            // As good as a store without conditions allows.
            (false, _) => {
                let now = self.meta(key).await?.map(version);
                if now.map(|now| now.e_tag) != previous.map(|previous| previous.e_tag.clone()) {
                    return Ok(None);
                }
                PutMode::Overwrite
            }
        };
        match self.put(key, bytes.clone().into(), mode).await {
            Ok(version) => Ok(Some(version)),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                // A request that was sent again may have met itself.
                let now = self.small(key).await?;
                Ok(now.filter(|now| now.0 == bytes).map(|now| version(now.1)))
            }
            Err(e) => Err(Fault::from(e).into()),
        }
    }

    /// What the store knows of an unfinished object, and since when.
    async fn record(&self, id: Id) -> Result<Option<(Record, Version, Timestamp)>, Error> {
        let key = self.unfinished(id);
        let Some((text, meta)) = self.small(&key).await? else {
            return Ok(None);
        };
        let record = Record::read(&text, key.as_ref())?;
        let written = written(&meta);
        Ok(Some((record, version(meta), written)))
    }

    async fn replace(
        &self,
        id: Id,
        record: &Record,
        previous: Option<&Version>,
    ) -> Result<Option<Version>, Error> {
        let text = record.to_text().into();
        self.swap(&self.unfinished(id), text, previous).await
    }

    /// The bytes of a tail. They are as many as its record says.
    async fn tail(&self, id: Id, tail: &Tail) -> Result<Bytes, Fault> {
        let key = self.tail_path(id, &tail.name);
        let damaged = |why: String| lasting(format!("{key}, the end of an unfinished file, {why}"));
        let got = match self.store().get(&key).await {
            Err(StoreError::NotFound { .. }) => return Err(damaged("is missing".into())),
            got => got?,
        };
        if got.meta.size != tail.bytes {
            let why = format!("has {} bytes instead of {}", got.meta.size, tail.bytes);
            return Err(damaged(why));
        }
        let late = |e| Fault::new(ADAPTER, Kind::Passing, e);
        let bytes = tokio::time::timeout(PAUSE, got.bytes()).await;
        Ok(bytes.map_err(late)??)
    }

    async fn put_tail(&self, id: Id, name: &str, bytes: PutPayload) -> Result<(), Error> {
        let put = self.store().put(&self.tail_path(id, name), bytes).await;
        put.map(drop).map_err(|e| Fault::from(e).into())
    }

    async fn remove_tail(&self, id: Id, name: &str) -> Result<(), Error> {
        self.remove(&self.tail_path(id, name)).await
    }

    async fn remove(&self, key: &Path) -> Result<(), Error> {
        found(self.store().delete(key).await).map(drop)
    }

    async fn remove_tails(&self, id: Id) -> Result<(), Error> {
        let prefix = self.tails(id);
        let mut tails = self.objects(&prefix);
        while let Some(tail) = tails.try_next().await? {
            self.remove(&tail.location).await?;
        }
        Ok(())
    }

    /// Gives up all multipart uploads of an object, also those that no record names.
    async fn abort_uploads(&self, id: Id, known: Option<&str>) -> Result<(), Error> {
        let key = self.whole(id);
        if let Some(upload) = known {
            self.multiparts.abort(&key, upload).await?;
        }
        let mut uploads = std::pin::pin!(self.uploads(key.as_ref().to_owned()));
        while let Some(upload) = uploads.try_next().await? {
            if upload.key == key.as_ref() {
                self.multiparts.abort(&key, &upload.id).await?;
            }
        }
        Ok(())
    }

    /// Gives an upload up that was just begun, unless the record names it after all: an answer that did not come says
    /// nothing.
    async fn abort_unrecorded(&self, id: Id, upload: &str) {
        if let Ok(now) = self.record(id).await
            && now.is_none_or(|(record, ..)| record.upload.as_deref() != Some(upload))
        {
            // Where this fails, a sweeper finds it.
            let _ = self.multiparts.abort(&self.whole(id), upload).await;
        }
    }

    /// The store knows `upload` no longer: another writer has completed or removed it, or the store has given it up by
    /// itself, and then there is nothing left to go on with.
    async fn upload_lost(&self, id: Id, upload: Option<&str>) -> Error {
        let lost = async {
            let record = self.record(id).await?;
            let is_ours = record.is_some_and(|(record, ..)| record.upload.as_deref() == upload);
            if !is_ours || self.is_whole(id).await? {
                return Ok(taken_over(id));
            }
            tracing::error!(
                object = %id,
                "the store has dropped an unfinished upload: does a rule of the bucket abort uploads too soon?"
            );
            // So that its sender begins anew.
            self.remove(&self.unfinished(id)).await?;
            Ok(Error::NotFound)
        };
        lost.await.unwrap_or_else(|e: Error| e)
    }

    fn objects(&self, prefix: &Path) -> BoxStream<'static, Result<ObjectMeta, Error>> {
        let listing = self.store().list(Some(prefix));
        let late = |e| Error::from(Fault::new(ADAPTER, Kind::Passing, e));
        let next = stream::unfold(listing, move |mut listing| async move {
            let next = tokio::time::timeout(PAUSE, listing.next()).await;
            match next {
                Ok(None) => None,
                Ok(Some(Ok(meta))) => Some((Ok(meta), listing)),
                Ok(Some(Err(e))) => Some((Err(Fault::from(e).into()), stream::empty().boxed())),
                Err(e) => Some((Err(late(e)), stream::empty().boxed())),
            }
        });
        next.boxed()
    }

    /// The multipart uploads whose keys begin with `prefix`.
    fn uploads(
        &self,
        prefix: String,
    ) -> impl Stream<Item = Result<multipart::Begun, Error>> + use<> {
        let multiparts = self.multiparts.clone();
        let first = Some(None::<(String, String)>);
        let pages = stream::try_unfold((multiparts, prefix, first), |state| async move {
            let (multiparts, prefix, Some(after)) = state else {
                return Ok::<_, Error>(None);
            };
            let (page, next) = multiparts.list(&prefix, after.as_ref()).await?;
            let page = stream::iter(page.into_iter().map(Ok));
            Ok(Some((page, (multiparts, prefix, next.map(Some)))))
        });
        pages.try_flatten()
    }

    /// The id at the start of what follows `prefix` in a key; none if it is no key of ours.
    fn id_of(&self, prefix: &Path, key: &str) -> Option<Id> {
        let rest = key.strip_prefix(prefix.as_ref())?.strip_prefix('/')?;
        rest.split('/').next()?.parse().ok()
    }

    async fn is_whole(&self, id: Id) -> Result<bool, Error> {
        Ok(self.meta(&self.whole(id)).await?.is_some())
    }

    /// Takes the unfinished object, which must end at `offset`, for writing.
    async fn take(self: &Arc<Self>, id: Id, offset: u64) -> Result<Writer, Error> {
        self.ready().await?;
        let rejected = |why: &str| Err(Error::Rejected(format!("{id} {why}")));
        let (record, previous) = match self.record(id).await? {
            Some((record, ..)) if record.state != State::Open => {
                return rejected("takes no more bytes");
            }
            Some((record, ..)) if record.length != offset => {
                return rejected(&format!("ends at byte {}, not at {offset}", record.length));
            }
            Some((record, version, _)) => {
                let record = Record {
                    writer: new_writer()?,
                    ..record
                };
                (record, Some(version))
            }
            None if offset == 0 => (Record::new(new_writer()?, writer::PART), None),
            None if self.is_whole(id).await? => return rejected("is whole already"),
            None => return rejected(&format!("does not end at byte {offset}")),
        };
        let Some(version) = self.replace(id, &record, previous.as_ref()).await? else {
            return Err(taken_over(id));
        };
        // Only now is an object certain to be seen: a commit makes it before it removes the record.
        if offset == 0 && self.is_whole(id).await? {
            self.remove(&self.unfinished(id)).await?;
            return rejected("is whole already");
        }
        Ok(Writer::new(self.clone(), id, record, version))
    }

    /// Takes the unfinished object to make it whole: its record, and a number for its last part. None if it is whole,
    /// or not there.
    async fn take_to_commit(&self, id: Id) -> Result<Option<(Record, u32)>, Error> {
        let key = self.whole(id);
        for _ in 0..TRIES {
            let Some((found, version, _)) = self.record(id).await? else {
                return Ok(None);
            };
            if found.state == State::Committing && self.is_whole(id).await? {
                return Ok(None);
            }
            let begun = match &found.upload {
                Some(_) => None,
                None => Some(self.multiparts.begin(&key).await?),
            };
            let number = found.next;
            let record = Record {
                state: State::Committing,
                writer: new_writer()?,
                next: number + 1,
                upload: begun.clone().or_else(|| found.upload.clone()),
                ..found
            };
            if self.replace(id, &record, Some(&version)).await?.is_some() {
                return Ok(Some((record, number)));
            }
            if let Some(upload) = begun {
                self.abort_unrecorded(id, &upload).await;
            }
        }
        Err(taken_over(id))
    }

    async fn finish(&self, id: Id, record: Record, number: u32) -> Result<(), Error> {
        let key = self.whole(id);
        let upload = record.upload.unwrap_or_default();
        let mut parts = record.parts;
        // An upload has at least one part, also of no bytes.
        if !record.tails.is_empty() || parts.is_empty() {
            // Nobody closes the semaphore.
            let _composing = self.composing.acquire().await;
            let mut bytes = Vec::new();
            for tail in &record.tails {
                bytes.push(self.tail(id, tail).await?);
            }
            let bytes = PutPayload::from_iter(bytes);
            match self.multiparts.put(&key, &upload, number, bytes).await? {
                Some(part) => parts.push(part),
                // Somebody else completed it, or removed it: the head tells.
                None => return Ok(()),
            }
        }
        match self.multiparts.complete(&key, &upload, &parts).await? {
            Completed::Whole | Completed::Refused => Ok(()),
        }
    }

    async fn head(&self, id: Id) -> Result<Head, Error> {
        let meta = self.meta(&self.whole(id)).await?.ok_or(Error::NotFound)?;
        Ok(Head {
            id,
            bytes: meta.size,
            written: written(&meta),
        })
    }

    async fn binding(&self) -> Result<Option<(Identity, Version)>, Error> {
        let key = self.path("ledger");
        let Some((text, meta)) = self.small(&key).await? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&text);
        let identity = text.trim().split_once(' ').and_then(|(name, generation)| {
            Some(Identity {
                ledger: name.parse().ok()?,
                generation: generation.parse().ok()?,
            })
        });
        match identity {
            Some(identity) => Ok(Some((identity, version(meta)))),
            None => Err(lasting(format!("{key} holds no ledger's name and generation")).into()),
        }
    }
}

#[async_trait]
impl Storage for S3Storage {
    async fn append(&self, id: Id, offset: u64, mut body: Upload) -> Result<u64, Error> {
        let writer = self.0.take(id, offset).await?;
        let (sender, arrivals) = mpsc::channel(1);
        // What has arrived is put away also when the future of this request is dropped, as it is when its client goes.
        let writing = tokio::spawn(writer.write(arrivals).in_current_span());
        let ended = loop {
            match body.next().await {
                Some(Ok(piece)) => {
                    // It ends by itself when the store fails, and says why.
                    if sender.send(Arrival::Piece(piece)).await.is_err() {
                        break Ok(());
                    }
                }
                Some(Err(e)) => {
                    if let UploadError::Refused(_) = e {
                        let _ = sender.send(Arrival::Refused).await;
                    }
                    break Err(e);
                }
                None => break Ok(()),
            }
        };
        drop(sender);
        let length = match writing.await {
            Ok(written) => written?,
            Err(e) => return Err(lasting(e).into()),
        };
        Ok(ended.map(|()| length)?)
    }

    async fn unfinished(&self, id: Id) -> Result<Head, Error> {
        let (record, _, written) = self.0.record(id).await?.ok_or(Error::NotFound)?;
        // A commit was cut short, before the step that counts or after it.
        if record.state == State::Committing && self.0.is_whole(id).await? {
            return Err(Error::NotFound);
        }
        Ok(Head {
            id,
            bytes: record.length,
            written,
        })
    }

    async fn commit(&self, id: Id, label: &Label) -> Result<Head, Error> {
        let inner = &self.0;
        inner.ready().await?;
        let Some((record, number)) = inner.take_to_commit(id).await? else {
            // Whole already, or not there at all: the head tells.
            let head = inner.head(id).await?;
            inner.remove(&inner.unfinished(id)).await?;
            return Ok(head);
        };
        let text = serde_json::json!({ "fileName": label.file_name, "owner": label.owner });
        let (key, text) = (inner.label(id), text.to_string());
        let put = inner.store().put(&key, text.into()).await;
        put.map_err(Fault::from)?;
        inner.finish(id, record, number).await?;
        let head = match inner.head(id).await {
            Err(Error::NotFound) => {
                // Removed meanwhile, by somebody who may not have seen the label.
                inner.remove(&inner.label(id)).await?;
                return Err(match inner.record(id).await? {
                    Some((record, ..)) => inner.upload_lost(id, record.upload.as_deref()).await,
                    None => Error::NotFound,
                });
            }
            head => head?,
        };
        // Also those of writers that stopped midway.
        inner.remove_tails(id).await?;
        inner.remove(&inner.unfinished(id)).await?;
        Ok(head)
    }

    async fn get(&self, id: Id, range: Range<u64>) -> Result<ByteStream, Error> {
        let mut reader = Reader {
            inner: self.0.clone(),
            key: self.0.whole(id),
            at: range.start,
            end: range.end,
            open: None,
            broken: 0,
        };
        match reader.ask().await {
            Ok(()) => {}
            Err(StoreError::NotFound { .. }) => return Err(Error::NotFound),
            // A range that begins behind the end is an error, for S3.
            Err(e) if self.0.head(id).await?.bytes > range.start && range.start < range.end => {
                return Err(Fault::from(e).into());
            }
            Err(_) => reader.end = reader.at,
        }
        let pieces = stream::try_unfold(reader, |mut reader| async move {
            Ok::<_, io::Error>(reader.next().await?.map(|piece| (piece, reader)))
        });
        Ok(Box::pin(pieces))
    }

    async fn head(&self, id: Id) -> Result<Head, Error> {
        self.0.head(id).await
    }

    async fn delete(&self, id: Id) -> Result<(), Error> {
        let inner = &self.0;
        // A removal that a crash cuts short leaves something that the listing finds, until the last step.
        let known = match inner.record(id).await {
            Ok(record) => record.and_then(|(record, ..)| record.upload),
            // One that cannot be read goes, too.
            Err(Error::Backend { .. }) => None,
            Err(e) => return Err(e),
        };
        inner.remove(&inner.unfinished(id)).await?;
        // From here on nobody can record anything, so that no part or tail that comes late counts.
        inner.abort_uploads(id, known.as_deref()).await?;
        inner.remove_tails(id).await?;
        inner.remove(&inner.label(id)).await?;
        inner.remove(&inner.whole(id)).await
    }

    async fn list_older_than(&self, before: Timestamp) -> Result<Listing, Error> {
        let inner = self.0.clone();
        // Unfinished objects first: one that is committed meanwhile comes twice rather than never.
        let listing = unfinished(inner.clone(), before)
            .chain(left_tails(inner.clone(), before))
            .chain(left_uploads(inner.clone(), before))
            .chain(whole(inner, before));
        Ok(Box::pin(listing))
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        let key = self.0.path("clock");
        let put = self.0.store().put(&key, PutPayload::new()).await;
        put.map_err(Fault::from)?;
        match self.0.meta(&key).await? {
            Some(meta) => Ok(written(&meta)),
            None => Err(lasting(format!("{key} was removed as soon as it was written")).into()),
        }
    }

    async fn binding(&self) -> Result<Option<Identity>, Error> {
        Ok(self.0.binding().await?.map(|(identity, _)| identity))
    }

    async fn bind(&self, previous: Option<Identity>, ledger: Identity) -> Result<(), Error> {
        self.0.ready().await?;
        let rejected = || Error::Rejected("the store was bound meanwhile".into());
        let (bound, version) = self.0.binding().await?.unzip();
        if bound != previous {
            return Err(rejected());
        }
        let text = format!("{} {}\n", ledger.ledger, ledger.generation);
        let key = self.0.path("ledger");
        let swapped = self.0.swap(&key, text.into(), version.as_ref()).await?;
        swapped.map(drop).ok_or_else(rejected)
    }
}

/// Whole objects.
fn whole(inner: Arc<Inner>, before: Timestamp) -> impl Stream<Item = Result<Head, Error>> + Send {
    let prefix = inner.path("whole");
    let objects = inner.objects(&prefix);
    objects.try_filter_map(move |meta| {
        let head = inner.id_of(&prefix, meta.location.as_ref()).map(|id| Head {
            id,
            bytes: meta.size,
            written: written(&meta),
        });
        std::future::ready(Ok(head.filter(|head| head.written < before)))
    })
}

/// Unfinished objects.
fn unfinished(
    inner: Arc<Inner>,
    before: Timestamp,
) -> impl Stream<Item = Result<Head, Error>> + Send {
    let prefix = inner.path("unfinished");
    let objects = inner.objects(&prefix);
    let old = objects.try_filter(move |meta| std::future::ready(written(meta) < before));
    old.try_filter_map(move |meta| {
        let inner = inner.clone();
        let id = inner.id_of(&prefix, meta.location.as_ref());
        async move {
            let Some(id) = id else {
                return Ok(None);
            };
            let bytes = match inner.record(id).await {
                // It is written to again.
                Ok(Some((_, _, written))) if written >= before => return Ok(None),
                Ok(Some((record, ..))) => record.length,
                Ok(None) => return Ok(None),
                // It keeps no other from being found.
                Err(Error::Backend { cause, .. }) => {
                    tracing::error!(file = %id, error = %cause, "an unfinished file cannot be read");
                    0
                }
                Err(e) => return Err(e),
            };
            Ok(Some(Head {
                id,
                bytes,
                written: written(&meta),
            }))
        }
    })
}

/// Tails without a record: of a writer that was killed, or whose object was removed under it.
fn left_tails(
    inner: Arc<Inner>,
    before: Timestamp,
) -> impl Stream<Item = Result<Head, Error>> + Send {
    let prefix = inner.path("tails");
    let tails = inner.objects(&prefix);
    let mut last = None;
    tails.try_filter_map(move |meta| {
        let id = inner.id_of(&prefix, meta.location.as_ref());
        // Tails of one object follow one another.
        let id = id.filter(|_| written(&meta) < before && last != id);
        last = id.or(last);
        let inner = inner.clone();
        async move { left(&inner, id, written(&meta)).await }
    })
}

/// Multipart uploads without a record, likewise.
fn left_uploads(
    inner: Arc<Inner>,
    before: Timestamp,
) -> impl Stream<Item = Result<Head, Error>> + Send {
    let prefix = inner.path("whole");
    let uploads = inner.uploads(format!("{prefix}/"));
    uploads.try_filter_map(move |begun| {
        let id = inner.id_of(&prefix, &begun.key);
        let id = id.filter(|_| begun.at < before);
        let inner = inner.clone();
        async move { left(&inner, id, begun.at).await }
    })
}

/// The head of what is left of an unfinished object, unless that has a record.
async fn left(inner: &Inner, id: Option<Id>, written: Timestamp) -> Result<Option<Head>, Error> {
    let Some(id) = id else {
        return Ok(None);
    };
    let has_record = inner.meta(&inner.unfinished(id)).await?.is_some();
    Ok((!has_record).then_some(Head {
        id,
        bytes: 0,
        written,
    }))
}

/// Reads an object piece by piece, each with a request of its own. So a slow reader keeps nothing open for long, and
/// one that is in the middle when the store restarts goes on.
struct Reader {
    inner: Arc<Inner>,
    key: Path,
    at: u64,
    end: u64,
    open: Option<BoxStream<'static, Result<Bytes, StoreError>>>,
    /// How often in a row it broke off.
    broken: u32,
}

impl Reader {
    async fn ask(&mut self) -> Result<(), StoreError> {
        let start = self.at.min(LARGEST - 1);
        let end = self.end.min(start.saturating_add(PIECE)).max(start + 1);
        let options = GetOptions {
            range: Some(GetRange::Bounded(start..end)),
            ..GetOptions::default()
        };
        let got = self.inner.store().get_opts(&self.key, options).await?;
        self.end = self.end.min(got.meta.size);
        self.open = (self.at < self.end).then(|| got.into_stream());
        Ok(())
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.at < self.end {
            let next = match &mut self.open {
                None => match self.ask().await {
                    Ok(()) => continue,
                    Err(e) => Err(io::Error::other(e)),
                },
                Some(open) => match tokio::time::timeout(PAUSE, open.next()).await {
                    Ok(None) => {
                        self.open = None;
                        continue;
                    }
                    Ok(Some(piece)) => piece.map_err(io::Error::other),
                    Err(late) => Err(io::Error::new(io::ErrorKind::TimedOut, late)),
                },
            };
            match next {
                Ok(piece) => {
                    self.at += piece.len() as u64;
                    self.broken = 0;
                    return Ok(Some(piece));
                }
                Err(e) if self.broken == RESUMES => return Err(e),
                Err(_) => {
                    self.broken += 1;
                    self.open = None;
                }
            }
        }
        Ok(None)
    }
}

/// None for an object that is not there.
fn found<T>(result: Result<T, StoreError>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(e) => Err(Fault::from(e).into()),
    }
}

fn written(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_millis(meta.last_modified.timestamp_millis())
}

fn version(meta: ObjectMeta) -> Version {
    UpdateVersion {
        e_tag: meta.e_tag,
        version: meta.version,
    }
}

fn taken_over(id: Id) -> Error {
    Error::Rejected(format!("somebody else is writing to {id} now"))
}

/// What no other writer is called.
fn new_writer() -> Result<String, Error> {
    let mut random = [0; 12];
    getrandom::fill(&mut random).map_err(lasting)?;
    Ok(Id::from_bytes(random).to_string())
}
