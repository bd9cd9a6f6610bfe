//! Objects as GridFS files, which every MongoDB driver reads.
//!
//! An unfinished object is a document of `fs.uploads`, which records how many bytes are durable, and the chunks with
//! those bytes. A commit inserts the document of `fs.files` last. Readers find a file by it, so they see it whole or
//! not at all.
//!
//! A single server has no transactions. Two writers of one object are kept apart by a *fence*: a number that grows
//! whenever somebody takes the object for writing, and that every chunk bears. Nobody replaces a chunk of a later
//! writer, and only the latest writer moves the length on. A writer that stops midway leaves chunks behind the length,
//! which do not count: the next writer replaces them, and a commit removes them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use micropy_core::ports::binding::Identity;
use micropy_core::ports::storage::{
    ByteStream, Error, Head, Label, Listing, Storage, Upload, UploadError,
};
use micropy_core::ports::{Id, Timestamp};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{Collection, Database, IndexModel};
use tokio::sync::{OnceCell, Semaphore};

use crate::fault::Fault;
use crate::mongodb::{self as server, Client, backend, object_id, unreadable};

/// Bytes in each of our chunks. Files of other programs record their own size.
const CHUNK: usize = 255 * 1024;

/// Chunks sent to the server at the same time: as many as the driver has connections. Sending copies a chunk twice, and
/// one that waited for a connection would keep its copies meanwhile.
const STORING: usize = 10;

/// Chunks written between two moves of the durable length.
const CHUNKS_A_STEP: u32 = 4;

/// Bytes to ask for at once when reading, but at least a chunk.
const PIECE: u64 = 512 * 1024;

/// Documents that a listing asks for at once. The server drops a cursor that rests for ten minutes.
const HEADS: u32 = 1000;

/// Chunks to keep after a range took only a part of them. A reader that skips the video between two pieces of audio
/// often comes back to the same chunk, and the server always sends all of it.
const KEPT: usize = 16;

/// The largest chunk to keep. Ours are smaller; those of other programs may be as large as a document.
const LARGEST_KEPT: usize = 1 << 20;

/// The document that names the ledger a store belongs to.
const BINDING: &str = "binding";

/// Marks a file as ours.
const MARK: &str = "micropy";

/// A GridFS bucket `fs`.
#[derive(Clone, Debug)]
pub struct GridfsStorage {
    database: Database,
    files: Collection<Document>,
    chunks: Collection<Document>,
    uploads: Collection<Document>,
    migrated: Arc<OnceCell<()>>,
    kept: Arc<Kept>,
    storing: Arc<Semaphore>,
}

impl GridfsStorage {
    /// The bucket `fs` of the database `database`.
    pub fn new(client: &Client, database: &str) -> Self {
        let database = client.database(database);
        GridfsStorage {
            files: database.collection("fs.files"),
            chunks: database.collection("fs.chunks"),
            uploads: database.collection("fs.uploads"),
            database,
            migrated: Arc::default(),
            kept: Arc::default(),
            storing: Arc::new(Semaphore::new(STORING)),
        }
    }

    /// Makes sure that the collections are as this program knows them, once: before the first write, since nobody may
    /// answer yet when the service starts.
    async fn ready(&self) -> Result<(), Error> {
        // Migrating twice does no harm. Callers that waited for each other would wait for a server that is away one
        // after the other.
        if !self.migrated.initialized() {
            let missing = server::missing_migrations(&self.database, "files", MIGRATIONS);
            for (number, migration) in missing.await? {
                match migration {
                    Migration::Indexes => self.index().await.map_err(Fault::from)?,
                }
                server::record_migration(&self.database, "files", number).await?;
            }
            let _ = self.migrated.set(());
        }
        Ok(())
    }

    /// The indexes that GridFS asks for.
    async fn index(&self) -> Result<(), mongodb::error::Error> {
        let by_name = IndexModel::builder().keys(doc! { "filename": 1, "uploadDate": 1 });
        self.files.create_index(by_name.build()).await?;
        // Drivers that find this index keep it as it is, and the fence relies on its being unique.
        let unique = IndexOptions::builder().unique(true).build();
        let by_number = IndexModel::builder().keys(doc! { "files_id": 1, "n": 1 });
        let by_number = by_number.options(unique).build();
        self.chunks.create_index(by_number).await.map(drop)
    }

    /// Takes the unfinished object, which must end at `offset`, for writing.
    async fn take(&self, id: Id, offset: u64) -> Result<Writer<'_>, Error> {
        self.ready().await?;
        let Ok(length) = i64::try_from(offset) else {
            return Err(self.not_at(id, offset).await?);
        };
        let taken = self
            .uploads
            .find_one_and_update(
                doc! { "_id": object_id(id), "state": OPEN, "length": length },
                doc! { "$inc": { "fence": 1_i64 }, "$currentDate": { "updated": true } },
            )
            .upsert(offset == 0)
            .return_document(ReturnDocument::After)
            .await;
        let upload = match taken {
            Ok(Some(upload)) => upload,
            Ok(None) => return Err(self.not_at(id, offset).await?),
            Err(e) if server::is_taken(&e) => return Err(self.not_at(id, offset).await?),
            Err(e) => return Err(backend(e)),
        };
        let fence = integer(&upload, "fence")?;
        // Only now is a file certain to be visible: a commit inserts it before it removes the upload.
        if offset == 0 && self.file(id).await?.is_some() {
            let mine = doc! { "_id": object_id(id), "fence": fence, "length": 0 };
            self.uploads.delete_one(mine).await.map_err(Fault::from)?;
            return Err(Error::Rejected(format!("{id} is whole already")));
        }
        let mut writer = Writer {
            storage: self,
            id,
            fence,
            durable: offset,
            number: chunk_number(offset),
            chunk: Vec::new(),
            ahead: 0,
        };
        let begun = (offset % CHUNK as u64) as usize;
        if begun > 0 {
            writer.chunk = self.chunk(id, writer.number).await?;
            if writer.chunk.len() < begun {
                return Err(incomplete(id, writer.number));
            }
            writer.chunk.truncate(begun);
        }
        Ok(writer)
    }

    /// Why an append at `offset` is refused.
    async fn not_at(&self, id: Id, offset: u64) -> Result<Error, Error> {
        let upload = self.upload(id).await?;
        let why = match upload {
            Some(upload) => match upload.get_str("state") {
                Ok(OPEN) => {
                    let length = integer(&upload, "length")?;
                    format!("{id} ends at byte {length}, not at {offset}")
                }
                Ok(DELETING) => format!("{id} is being removed"),
                _ => format!("{id} takes no more bytes"),
            },
            None if self.file(id).await?.is_some() => format!("{id} is whole already"),
            None => format!("{id} does not end at byte {offset}"),
        };
        Ok(Error::Rejected(why))
    }

    fn own(&self) -> Collection<Document> {
        self.database.collection(server::OWN)
    }

    async fn upload(&self, id: Id) -> Result<Option<Document>, Error> {
        let found = self.uploads.find_one(doc! { "_id": object_id(id) });
        found.await.map_err(backend)
    }

    async fn file(&self, id: Id) -> Result<Option<File>, Error> {
        let found = self.files.find_one(doc! { "_id": object_id(id) });
        let found = found.await.map_err(Fault::from)?;
        found.map(|document| File::new(id, &document)).transpose()
    }

    /// The bytes of one chunk of an unfinished object.
    async fn chunk(&self, id: Id, number: i64) -> Result<Vec<u8>, Error> {
        let wanted = doc! { "files_id": object_id(id), "n": number };
        let found = self.chunks.find_one(wanted).await.map_err(Fault::from)?;
        found
            .and_then(data_of)
            .ok_or_else(|| incomplete(id, number))
    }

    /// Stores a chunk; `false` if a later writer has stored it already.
    async fn store(&self, id: Id, number: i64, fence: i64, data: Vec<u8>) -> Result<bool, Error> {
        // Nobody closes the semaphore.
        let _permit = self.storing.acquire().await;
        let chunk = doc! {
            "files_id": object_id(id),
            // As other drivers write it; 2³¹ chunks are 510 TiB.
            "n": i32::try_from(number).map_err(|_| Error::Full)?,
            "data": Binary { subtype: BinarySubtype::Generic, bytes: data },
            "fence": fence,
        };
        let mine = doc! { "files_id": object_id(id), "n": number, "fence": { "$lte": fence } };
        // If two writers add a chunk at once and the later one comes second, it finds the other's chunk and replaces
        // it.
        for _ in 0..2 {
            let replaced = self.chunks.replace_one(mine.clone(), &chunk).upsert(true);
            match replaced.await {
                Ok(_) => return Ok(true),
                Err(e) if server::is_taken(&e) => {}
                Err(e) => return Err(backend(e)),
            }
        }
        Ok(false)
    }

    /// Cuts the chunks to `length`, and closes the last one to writers before `fence`.
    async fn seal(&self, id: Id, length: u64, fence: i64) -> Result<(), Error> {
        let mut end = chunk_number(length);
        let rest = (length % CHUNK as u64) as usize;
        if rest > 0 {
            let mut data = self.chunk(id, end).await?;
            if data.len() < rest {
                return Err(incomplete(id, end));
            }
            data.truncate(rest);
            if !self.store(id, end, fence, data).await? {
                return Err(taken_over(id));
            }
            end += 1;
        }
        let behind = doc! { "files_id": object_id(id), "n": { "$gte": end } };
        let removed = self.chunks.delete_many(behind).await;
        removed.map(drop).map_err(backend)
    }

    /// Whether the object of `length` that was just committed is being removed, or was.
    async fn is_removed(&self, id: Id, length: i64) -> Result<bool, Error> {
        if let Some(upload) = self.upload(id).await? {
            return Ok(matches!(upload.get_str("state"), Ok(DELETING)));
        }
        let first = doc! { "files_id": object_id(id), "n": 0 };
        let first = self.chunks.find_one(first).await.map_err(Fault::from)?;
        Ok(length > 0 && first.is_none())
    }

    async fn remove_upload(&self, id: Id, state: &str) -> Result<(), Error> {
        let done = doc! { "_id": object_id(id), "state": state };
        let removed = self.uploads.delete_one(done).await;
        removed.map(drop).map_err(backend)
    }
}

/// What has changed from version to version; see [`schema`](crate::schema).
const MIGRATIONS: &[Migration] = &[Migration::Indexes];

enum Migration {
    Indexes,
}

/// The states of an unfinished object: it takes bytes, is being made whole, is being removed.
const OPEN: &str = "open";
const COMMITTING: &str = "committing";
const DELETING: &str = "deleting";

#[async_trait]
impl Storage for GridfsStorage {
    async fn append(&self, id: Id, offset: u64, mut body: Upload) -> Result<u64, Error> {
        let mut writer = self.take(id, offset).await?;
        let ended = loop {
            match body.next().await {
                Some(Ok(piece)) => writer.write(piece).await?,
                Some(Err(e)) => break Err(e),
                None => break Ok(()),
            }
        };
        match ended {
            Err(e @ UploadError::Refused(_)) => {
                writer.record_length(offset).await?;
                Err(e.into())
            }
            ended => {
                let length = writer.finish().await?;
                Ok(ended.map(|()| length)?)
            }
        }
    }

    async fn unfinished(&self, id: Id) -> Result<Head, Error> {
        let upload = self.upload(id).await?.ok_or(Error::NotFound)?;
        match upload.get_str("state") {
            Ok(OPEN) => {}
            // A commit was cut short, before the step that counts or after it.
            Ok(COMMITTING) if self.file(id).await?.is_none() => {}
            _ => return Err(Error::NotFound),
        }
        Ok(Head {
            id,
            bytes: integer(&upload, "length")? as u64,
            written: time(&upload, "updated")?,
        })
    }

    async fn commit(&self, id: Id, label: &Label) -> Result<Head, Error> {
        self.ready().await?;
        let taken = self
            .uploads
            .find_one_and_update(
                doc! { "_id": object_id(id), "state": { "$in": [OPEN, COMMITTING] } },
                doc! { "$inc": { "fence": 1_i64 }, "$set": { "state": COMMITTING } },
            )
            .return_document(ReturnDocument::After)
            .await
            .map_err(Fault::from)?;
        let whole = self.file(id).await?;
        let head = match (taken, whole) {
            (None, whole) => return whole.map(|file| file.head).ok_or(Error::NotFound),
            (Some(_), Some(file)) => file.head,
            (Some(upload), None) => {
                let length = integer(&upload, "length")?;
                self.seal(id, length as u64, integer(&upload, "fence")?)
                    .await?;
                let file = doc! {
                    "_id": object_id(id),
                    "length": length,
                    "chunkSize": CHUNK as i32,
                    "uploadDate": DateTime::from_millis(self.now().await?.as_millis()),
                    "filename": &label.file_name,
                    "metadata": { "owner": &label.owner, "storedBy": MARK },
                };
                match self.files.insert_one(&file).await {
                    Ok(_) if self.is_removed(id, length).await? => {
                        self.delete(id).await?;
                        return Err(Error::NotFound);
                    }
                    Ok(_) => File::new(id, &file)?.head,
                    // Somebody else committed it at the same time.
                    Err(e) if server::is_taken(&e) => self.head(id).await?,
                    Err(e) => return Err(backend(e)),
                }
            }
        };
        self.remove_upload(id, COMMITTING).await?;
        Ok(head)
    }

    async fn get(&self, id: Id, range: Range<u64>) -> Result<ByteStream, Error> {
        let file = self.file(id).await?.ok_or(Error::NotFound)?;
        let end = range.end.min(file.head.bytes);
        let reader = Reader {
            chunks: self.chunks.clone(),
            kept: self.kept.clone(),
            file,
            at: range.start.min(end),
            end,
        };
        let pieces = stream::try_unfold(reader, |mut reader| async move {
            let pieces = reader.read().await?;
            Ok::<_, io::Error>((!pieces.is_empty()).then_some((pieces, reader)))
        });
        let pieces = pieces.map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok)));
        Ok(Box::pin(pieces.try_flatten()))
    }

    async fn head(&self, id: Id) -> Result<Head, Error> {
        Ok(self.file(id).await?.ok_or(Error::NotFound)?.head)
    }

    async fn delete(&self, id: Id) -> Result<(), Error> {
        self.ready().await?;
        // This marks the object until it is gone, so that a removal cut short by a crash is found and repeated.
        self.uploads
            .update_one(
                doc! { "_id": object_id(id) },
                doc! {
                    "$set": { "state": DELETING },
                    "$currentDate": { "updated": true },
                    "$inc": { "fence": 1_i64 },
                },
            )
            .upsert(true)
            .await
            .map_err(Fault::from)?;
        let file = self.files.delete_one(doc! { "_id": object_id(id) });
        file.await.map_err(Fault::from)?;
        let chunks = self.chunks.delete_many(doc! { "files_id": object_id(id) });
        chunks.await.map_err(Fault::from)?;
        self.remove_upload(id, DELETING).await
    }

    async fn list_older_than(&self, before: Timestamp) -> Result<Listing, Error> {
        let before = DateTime::from_millis(before.as_millis());
        let uploads = doc! { "updated": { "$lt": before } };
        let files = doc! { "metadata.storedBy": MARK, "uploadDate": { "$lt": before } };
        // Unfinished objects first: one that is committed meanwhile comes twice rather than never.
        let uploads = heads(self.uploads.clone(), uploads, "updated");
        let files = heads(self.files.clone(), files, "uploadDate");
        Ok(Box::pin(uploads.chain(files)))
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        let hello = self.database.run_command(doc! { "hello": 1 }).await;
        time(&hello.map_err(Fault::from)?, "localTime")
    }

    async fn binding(&self) -> Result<Option<Identity>, Error> {
        let own = self.own();
        let found = own.find_one(doc! { "_id": BINDING }).await;
        let found = found.map_err(Fault::from)?;
        found.map(|binding| server::identity(&binding)).transpose()
    }

    async fn bind(&self, previous: Option<Identity>, ledger: Identity) -> Result<(), Error> {
        self.ready().await?;
        let document = |identity: Identity| {
            doc! {
                "_id": BINDING,
                "ledger": object_id(identity.ledger),
                "generation": server::signed(identity.generation),
            }
        };
        let is_bound = match previous {
            None => match self.own().insert_one(document(ledger)).await {
                Ok(_) => true,
                Err(e) if server::is_taken(&e) => false,
                Err(e) => return Err(backend(e)),
            },
            Some(previous) => {
                let own = self.own();
                let replaced = own.replace_one(document(previous), document(ledger)).await;
                replaced.map_err(Fault::from)?.matched_count == 1
            }
        };
        match is_bound {
            true => Ok(()),
            false => Err(Error::Rejected("the store was bound meanwhile".into())),
        }
    }
}

/// The heads of the documents that match `filter`, which bear the time of their last change as `written`. The server
/// is asked when the stream is first read.
fn heads(
    collection: Collection<Document>,
    filter: Document,
    written: &'static str,
) -> impl Stream<Item = Result<Head, Error>> + Send {
    let found = async move {
        let found = collection
            .find(filter)
            .projection(doc! { "length": 1, written: 1 })
            .batch_size(HEADS);
        Ok::<_, Error>(found.await.map_err(Fault::from)?.map_err(backend::<Error>))
    };
    let documents = stream::once(found).try_flatten();
    documents.try_filter_map(move |document| async move {
        // Whatever has another id than ours is not one of ours.
        let Ok(id) = document.get_object_id("_id") else {
            return Ok(None);
        };
        Ok(Some(Head {
            id: server::id(id),
            // The mark of an object that is being removed has none.
            bytes: integer(&document, "length").unwrap_or(0) as u64,
            written: time(&document, written)?,
        }))
    })
}

/// A writer at the end of an unfinished object.
struct Writer<'a> {
    storage: &'a GridfsStorage,
    id: Id,
    fence: i64,
    /// The length in the upload's document.
    durable: u64,
    /// The chunk that is being filled.
    number: i64,
    chunk: Vec<u8>,
    /// Full chunks stored beyond the durable length.
    ahead: u32,
}

impl Writer<'_> {
    async fn write(&mut self, mut piece: Bytes) -> Result<(), Error> {
        while !piece.is_empty() {
            let room = CHUNK - self.chunk.len();
            let part = piece.split_to(room.min(piece.len()));
            self.chunk.extend_from_slice(&part);
            if self.chunk.len() < CHUNK {
                break;
            }
            let chunk = std::mem::take(&mut self.chunk);
            self.store(chunk).await?;
            self.number += 1;
            self.ahead += 1;
            if self.ahead == CHUNKS_A_STEP {
                self.record_length(self.number as u64 * CHUNK as u64)
                    .await?;
            }
        }
        Ok(())
    }

    /// Stores the rest, and returns the length.
    async fn finish(mut self) -> Result<u64, Error> {
        let chunk = std::mem::take(&mut self.chunk);
        let length = self.number as u64 * CHUNK as u64 + chunk.len() as u64;
        if !chunk.is_empty() && length > self.durable {
            self.store(chunk).await?;
        }
        self.record_length(length).await?;
        Ok(length)
    }

    async fn store(&mut self, chunk: Vec<u8>) -> Result<(), Error> {
        let stored = self.storage.store(self.id, self.number, self.fence, chunk);
        if stored.await? {
            return Ok(());
        }
        Err(self.lost().await)
    }

    /// Records `length`, whose bytes are all stored, in the upload's document.
    async fn record_length(&mut self, length: u64) -> Result<(), Error> {
        let mine = doc! { "_id": object_id(self.id), "fence": self.fence };
        let length_now =
            doc! { "$set": { "length": length as i64 }, "$currentDate": { "updated": true } };
        let recorded = self.storage.uploads.update_one(mine, length_now);
        let recorded = recorded.await.map_err(Fault::from)?;
        if recorded.matched_count == 0 {
            return Err(self.lost().await);
        }
        self.durable = length;
        self.ahead = 0;
        Ok(())
    }

    /// Another writer has the object now: removes chunks of ours that do not count.
    async fn lost(&self) -> Error {
        // If the object was removed meanwhile, none counts.
        let is_removed = match self.storage.upload(self.id).await {
            Ok(Some(upload)) => matches!(upload.get_str("state"), Ok(DELETING)),
            Ok(None) => matches!(self.storage.file(self.id).await, Ok(None)),
            Err(_) => false,
        };
        let counts = if is_removed { 0 } else { self.durable };
        let useless = doc! {
            "files_id": object_id(self.id),
            "n": { "$gte": chunk_number(counts.next_multiple_of(CHUNK as u64)) },
            "fence": self.fence,
        };
        // Where this fails, a commit or a removal does the same.
        let _ = self.storage.chunks.delete_many(useless).await;
        taken_over(self.id)
    }
}

/// A file as described by its document in `fs.files`.
#[derive(Debug)]
struct File {
    head: Head,
    chunk_size: u64,
}

impl File {
    fn new(id: Id, document: &Document) -> Result<Self, Error> {
        let bytes = integer(document, "length")? as u64;
        let chunk_size = integer(document, "chunkSize")? as u64;
        if chunk_size == 0 {
            return Err(unreadable(format!("file {id} has a chunkSize of 0")));
        }
        Ok(File {
            head: Head {
                id,
                bytes,
                written: time(document, "uploadDate")?,
            },
            chunk_size,
        })
    }
}

/// Reads the chunks of a file, a few at a time, each time with a new query. So a slow reader keeps nothing open in the
/// server, and survives its restart.
struct Reader {
    chunks: Collection<Document>,
    kept: Arc<Kept>,
    file: File,
    at: u64,
    end: u64,
}

impl Reader {
    /// The next pieces; none at the end.
    async fn read(&mut self) -> io::Result<Vec<Bytes>> {
        if self.at >= self.end {
            return Ok(Vec::new());
        }
        let size = self.file.chunk_size;
        let first = self.at / size;
        if let Some(data) = self.kept.get(self.key(first)) {
            return Ok(vec![self.cut(first, data)]);
        }
        let last = ((self.end - 1) / size).min(first + (PIECE / size).max(1) - 1);
        let number = |n| i64::try_from(n).unwrap_or(i64::MAX);
        let wanted = doc! {
            "files_id": object_id(self.file.head.id),
            "n": { "$gte": number(first), "$lte": number(last) },
        };
        let found = self
            .chunks
            .find(wanted)
            .sort(doc! { "n": 1 })
            .projection(doc! { "_id": 0, "n": 1, "data": 1 });
        let mut found = found.await.map_err(io::Error::other)?;
        let mut pieces = Vec::new();
        for wanted in first..=last {
            let next = found.try_next().await.map_err(io::Error::other)?;
            let data = self.whole(wanted, next)?;
            pieces.push(self.cut(wanted, data));
        }
        Ok(pieces)
    }

    /// The bytes of chunk `number`, which must have the length that follows from its file.
    fn whole(&self, number: u64, found: Option<Document>) -> io::Result<Bytes> {
        let Head { id, bytes, .. } = self.file.head;
        let length = self.file.chunk_size.min(bytes - self.begin(number));
        let bad = |what: String| {
            let what = format!("chunk {number} of object {id} {what}");
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        let chunk = found
            .filter(|chunk| integer(chunk, "n").is_ok_and(|n| n as u64 == number))
            .ok_or_else(|| bad("is missing".into()))?;
        let data = data_of(chunk).ok_or_else(|| bad("has no data".into()))?;
        if data.len() as u64 != length {
            let what = format!("has {} bytes instead of {length}", data.len());
            return Err(bad(what));
        }
        Ok(Bytes::from(data))
    }

    /// The requested part of chunk `number`. If it ends within the chunk, the next range may begin there.
    fn cut(&mut self, number: u64, data: Bytes) -> Bytes {
        let begin = self.begin(number);
        let until = (self.end - begin).min(data.len() as u64) as usize;
        let piece = data.slice((self.at - begin) as usize..until);
        self.at += piece.len() as u64;
        if until < data.len() {
            self.kept.put(self.key(number), data);
        }
        piece
    }

    fn begin(&self, number: u64) -> u64 {
        number * self.file.chunk_size
    }

    fn key(&self, number: u64) -> Key {
        (self.file.head.id, self.file.head.written, number)
    }
}

/// A chunk of a file. An id may be used again with other bytes, but with another time.
type Key = (Id, Timestamp, u64);

/// Chunks that may be needed again soon, the latest last.
#[derive(Default)]
struct Kept(Mutex<VecDeque<(Key, Bytes)>>);

impl Kept {
    fn get(&self, key: Key) -> Option<Bytes> {
        let kept = self.lock();
        let (_, data) = kept.iter().rev().find(|(other, _)| *other == key)?;
        Some(data.clone())
    }

    fn put(&self, key: Key, data: Bytes) {
        if data.len() > LARGEST_KEPT {
            return;
        }
        let mut kept = self.lock();
        kept.retain(|(other, _)| *other != key);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((key, data));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Key, Bytes)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // People's files do not belong in a log.
        f.debug_tuple("Kept").field(&self.lock().len()).finish()
    }
}

fn chunk_number(offset: u64) -> i64 {
    (offset / CHUNK as u64) as i64
}

/// A number that is not negative.
fn integer(document: &Document, key: &str) -> Result<i64, Error> {
    let value = document.get(key);
    match value.and_then(server::integer) {
        Some(number) if number >= 0 => Ok(number),
        _ => Err(unreadable(format!(
            "a document without a valid {key}: {value:?}"
        ))),
    }
}

fn time(document: &Document, key: &str) -> Result<Timestamp, Error> {
    let time = document.get_datetime(key);
    time.map(|time| Timestamp::from_millis(time.timestamp_millis()))
        .map_err(|e| unreadable(format!("the {key} of a document: {e}")))
}

fn data_of(mut chunk: Document) -> Option<Vec<u8>> {
    match chunk.remove("data") {
        Some(Bson::Binary(data)) => Some(data.bytes),
        _ => None,
    }
}

fn taken_over(id: Id) -> Error {
    Error::Rejected(format!("somebody else is writing to {id} now"))
}

fn incomplete(id: Id, number: i64) -> Error {
    unreadable(format!(
        "chunk {number} of the unfinished {id} is missing or short"
    ))
}
