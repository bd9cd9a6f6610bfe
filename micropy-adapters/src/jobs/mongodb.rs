//! The ledger as a MongoDB collection. It shares its database with no queue: every message is owed.
//!
//! One document holds a job, the lease on it and the messages owed for it, so a change needs no transaction. It is one
//! update, conditional on the `revision` that was read, and is repeated if somebody else was faster.
//!
//! Owners take their turns in a second update: a field `line` says which jobs wait for it, and which are requested. A
//! process that dies in between leaves the next to [`claim_owed`](JobOutbox::claim_owed).
//!
//! Documents also bear the time of their last change by the server's clock. Watchers poll for it, because a single
//! server has no change streams.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join4;
use futures_util::{Stream, TryStreamExt};
use micropy_core::ports::binding::Identity;
use micropy_core::ports::jobs::{
    Begin, CLAIM_TIME, Census, Created, Ended, Entry, Error, Filter, IN_LINE, Job, JobOutbox,
    JobStream, JobViews, Jobs, LINE_LENGTH, LINE_SAMPLES, LONGEST_TERM, Lease, LedgerIdentity,
    Line, Message, Notice, Outcome, Output, Owed, State, SweepLease, Topic, Turn, Usage, Watchers,
    has_ended,
};
use micropy_core::ports::{Clock, Id, Timestamp};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};
use mongodb::options::{Hint, IndexOptions, ReturnDocument};
use mongodb::{Collection, Database, IndexModel};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::fault::Fault;
use crate::mongodb::{self as server, Client, backend, object_id, unreadable};

/// The default database of the ledger.
pub const DATABASE: &str = "micropy";

/// The document that holds the ledger's name and generation.
const IDENTITY: &str = "identity";
/// The document that holds the sweeper's lease.
const SWEEPER: &str = "sweeper";

/// How often a watcher polls for changes.
const POLL: Duration = Duration::from_millis(500);

/// How long after its time of change a document may become visible, even after a change of the primary. Every poll
/// looks back this far.
const OVERLAP: Duration = Duration::from_secs(5);

/// The field with a job's place in its owner's line; absent once it is begun. See [`IN_LINE`].
const LINE: &str = "line";
/// The place of one that waits for its owner's turn, and the field with its message.
const WAITING: &str = "waiting";
/// The place of one whose conversion is requested, and the field that says when.
const REQUESTED: &str = "requested";

/// The place of one that was begun and put off. It is not in the index that lets one be requested at a time.
const PUT_OFF: &str = "put off";

/// How often to look for a turn that nobody lived to give.
const MISSED_TURNS: Duration = Duration::from_secs(60);

/// The server's error code for an index that does not exist.
const INDEX_NOT_FOUND: i32 = 27;

/// What a value may be that is no id. An index finds each.
const NO_ID: [&str; 11] = [
    "number",
    "string",
    "object",
    "binData",
    "bool",
    "date",
    "null",
    "regex",
    "timestamp",
    "minKey",
    "maxKey",
];

/// How long jobs that told what their files are need not be asked again.
const CHECKED_FOR: Duration = Duration::from_secs(10 * 60);

/// How often to repeat a change when somebody else's came first.
const TRIES: u32 = 100;

/// What has changed from version to version; see [`schema`](crate::schema).
const MIGRATIONS: &[Migration] = &[
    Migration::Indexes,
    Migration::StaleInOrder,
    Migration::Turns,
    Migration::Files,
    Migration::Imports,
];

enum Migration {
    Indexes,
    /// Stale jobs come in the order of an index, page after page.
    StaleInOrder,
    /// Owners take turns.
    Turns,
    /// Jobs that do not tell what their video is are found.
    Files,
    /// A job may have a URL in place of a video. There is nothing to change, but who knows nothing of these must not
    /// take them for jobs whose videos are lost.
    Imports,
}

/// The collection `jobs` of a database.
pub struct MongodbJobs {
    database: Database,
    /// Only by way of [`jobs`](Self::jobs), which migrates it.
    collection: Collection<Document>,
    clock: Arc<dyn Clock>,
    in_turn: bool,
    /// When missed turns were last looked for.
    looked: Mutex<Option<Instant>>,
    migrated: OnceCell<()>,
    watchers: Arc<Watchers>,
    /// When all jobs last told what their files are.
    checked: Mutex<Option<Instant>>,
    /// One for each owner whose jobs are watched.
    pollers: Mutex<HashMap<String, Weak<Poller>>>,
}

impl MongodbJobs {
    /// The ledger in the database `database`.
    pub fn new(client: &Client, database: &str, clock: Arc<dyn Clock>) -> Self {
        let database = client.database(database);
        MongodbJobs {
            collection: database.collection("jobs"),
            database,
            clock,
            in_turn: true,
            looked: Mutex::default(),
            migrated: OnceCell::new(),
            watchers: Arc::default(),
            checked: Mutex::default(),
            pollers: Mutex::default(),
        }
    }

    /// Whether owners take turns: see [`IN_LINE`]. The default is yes. The ledger does not hear of an original
    /// converter that begins a job, so beside one nobody may have to wait for that.
    #[must_use]
    pub fn in_turn(mut self, in_turn: bool) -> Self {
        self.in_turn = in_turn;
        self
    }

    /// The collection as this program knows it. The first use migrates it, since nobody may answer yet when the service
    /// starts.
    async fn jobs(&self) -> Result<&Collection<Document>, Error> {
        // Migrating twice does no harm. Callers that waited for each other would wait for a server that is away one
        // after the other.
        if !self.migrated.initialized() {
            let missing = server::missing_migrations(&self.database, "jobs", MIGRATIONS);
            for (number, migration) in missing.await? {
                match migration {
                    Migration::Indexes => self.index().await,
                    Migration::StaleInOrder => self.index_stale().await,
                    Migration::Turns => self.index_turns().await,
                    Migration::Files => self.index_files().await,
                    Migration::Imports => Ok(()),
                }
                .map_err(Fault::from)?;
                server::record_migration(&self.database, "jobs", number).await?;
            }
            let _ = self.migrated.set(());
        }
        Ok(&self.collection)
    }

    async fn index(&self) -> Result<(), mongodb::error::Error> {
        let plain = |keys| IndexModel::builder().keys(keys).build();
        let some = |keys, unique| {
            let options = IndexOptions::builder().sparse(true).unique(unique).build();
            IndexModel::builder().keys(keys).options(options).build()
        };
        let keyed = IndexOptions::builder()
            .unique(true)
            .partial_filter_expression(doc! { "key": { "$exists": true } });
        let keyed = IndexModel::builder()
            .keys(doc! { "owner": 1, "key": 1 })
            .options(keyed.build());
        let indexes = [
            some(doc! { "source": 1 }, true),
            some(doc! { "mp3": 1 }, true),
            keyed.build(),
            plain(doc! { "owner": 1, "_id": 1 }),
            plain(doc! { "owner": 1, "changed": 1 }),
            plain(doc! { "state": 1, "updated": 1 }),
            plain(doc! { "state": 1, "created": 1 }),
            some(doc! { "owed.held": 1 }, false),
            some(doc! { "owed.id": 1 }, false),
        ];
        self.collection.create_indexes(indexes).await.map(drop)
    }

    async fn index_stale(&self) -> Result<(), mongodb::error::Error> {
        let keys = doc! { "state": 1, "updated": 1, "_id": 1 };
        let index = IndexModel::builder().keys(keys).build();
        self.collection.create_index(index).await?;
        match self.collection.drop_index("state_1_updated_1").await {
            Err(e) if server::code(&e) == Some(INDEX_NOT_FOUND) => Ok(()),
            dropped => dropped,
        }
    }

    async fn index_turns(&self) -> Result<(), mongodb::error::Error> {
        let keys = doc! { LINE: 1, "owner": 1, "_id": 1 };
        let only = doc! { LINE: { "$exists": true } };
        let options = IndexOptions::builder().partial_filter_expression(only);
        let places = IndexModel::builder().keys(keys).options(options.build());
        // Of several that give a turn at once, one does. A converter that does not know the field leaves it there, but
        // not the state.
        const { assert!(IN_LINE == 1) };
        let only = doc! { LINE: REQUESTED, "state": State::Queued.name() };
        let options = IndexOptions::builder().unique(true);
        let options = options.partial_filter_expression(only).build();
        let one = IndexModel::builder()
            .keys(doc! { "owner": 1 })
            .options(options);
        self.collection
            .create_indexes([places.build(), one.build()])
            .await?;
        // Their messages are in the queue. Those that wait are of a program that has migrated already.
        let absent = doc! { "$exists": false };
        let open = doc! {
            "state": { "$in": ["queued", "running"] },
            REQUESTED: &absent,
            LINE: &absent,
        };
        let requested = doc! { "$set": { REQUESTED: "$updated" } };
        self.collection.update_many(open, vec![requested]).await?;
        Ok(())
    }

    async fn index_files(&self) -> Result<(), mongodb::error::Error> {
        // The unique index has no documents without the field.
        let keys = doc! { "source": 1, "_id": 1 };
        let index = IndexModel::builder().keys(keys).build();
        self.collection.create_index(index).await.map(drop)
    }

    fn own(&self) -> Collection<Document> {
        self.database.collection(server::OWN)
    }

    async fn find(&self, filter: Document) -> Result<Option<Document>, Error> {
        self.jobs().await?.find_one(filter).await.map_err(backend)
    }

    /// The owner's job with this key.
    async fn keyed(&self, job: &Job) -> Result<Option<Created>, Error> {
        let Some(key) = &job.key else { return Ok(None) };
        let found = self.find(doc! { "owner": &job.owner, "key": key }).await?;
        let first = found.map(|document| entry_of(&document)).transpose()?;
        Ok(first.map(|entry| Created::Existing(Box::new(entry.job))))
    }

    /// Loads the entry of `id`, applies `change`, and stores it with its message, in one update.
    async fn change<T>(
        &self,
        id: Id,
        message: Option<Message>,
        change: impl Fn(&mut Entry, Timestamp) -> Result<T, Error> + Send + Sync,
    ) -> Result<(T, Option<Owed>), Error> {
        for _ in 0..TRIES {
            let found = self.find(doc! { "_id": object_id(id) }).await?;
            let document = found.ok_or(Error::NotFound)?;
            let mut entry = entry_of(&document)?;
            let before = entry.clone();
            let now = self.clock.now();
            let changed = change(&mut entry, now)?;
            let owed = entry.hold_back(message.clone()).map(owe);
            if entry == before && owed.is_none() {
                return Ok((changed, None));
            }
            let revision = needed(&document, "revision", server::integer)?;
            match self.store(&entry, revision, owed.as_ref(), now).await {
                Ok(true) => {
                    let moves_up = entry.waiting.is_some() || before.in_line && !entry.in_line;
                    let next = self.next_in_line(&entry.job, moves_up, now).await;
                    return Ok((changed, owed.or(next)));
                }
                Ok(false) => {}
                Err(e) if server::is_taken(&e) => {
                    return Err(Error::Rejected("another job has this MP3".into()));
                }
                Err(e) => return Err(backend(e)),
            }
        }
        let why = "others keep changing the job";
        Err(Error::Unavailable(why.into()))
    }

    /// Gives the owner's next job its turn after a change of `job`, if `moves_up`. Returns the message of `job`, which
    /// is its own to send. The change is made, whatever happens here: a missed turn is looked for later.
    async fn next_in_line(&self, job: &Job, moves_up: bool, now: Timestamp) -> Option<Owed> {
        if !moves_up {
            return None;
        }
        let released = self.release(&job.owner, Some(job.id), now).await;
        released.unwrap_or_else(|e| {
            tracing::warn!(job_id = %job.id, error = %e, "the next job in line has to wait");
            None
        })
    }

    /// Requests what has come to its turn of an owner's jobs. Returns the message of `caller`'s job, which is its own
    /// to send; others are anybody's.
    async fn release(
        &self,
        owner: &str,
        caller: Option<Id>,
        now: Timestamp,
    ) -> Result<Option<Owed>, Error> {
        let jobs = self.jobs().await?;
        let line = |places: &[&str]| doc! { "owner": owner, LINE: { "$in": places } };
        let (mut own, mut passed) = (None, 0);
        for _ in 0..TRIES {
            if self.in_turn {
                let mut in_line = line(&[REQUESTED, PUT_OFF]);
                // A converter that does not know the field leaves it there.
                in_line.insert("state", State::Queued.name());
                let in_line = jobs.count_documents(in_line).limit(IN_LINE);
                if in_line.await.map_err(Fault::from)? >= IN_LINE {
                    break;
                }
            }
            let next = jobs.find_one(line(&[WAITING])).sort(doc! { "_id": 1 });
            let next = next.skip(passed);
            let Some(document) = next.await.map_err(Fault::from)? else {
                break;
            };
            let revision = needed(&document, "revision", server::integer);
            let (Some(mut entry), Ok(revision)) = (readable(&document), revision) else {
                passed += 1;
                continue;
            };
            let Some(owed) = entry.take_turn(now).map(owe) else {
                break;
            };
            entry.in_line = self.in_turn;
            let is_own = caller == Some(entry.job.id);
            let since = if is_own { now } else { now.minus(CLAIM_TIME) };
            match self.store(&entry, revision, Some(&owed), since).await {
                Ok(true) if is_own => own = Some(owed),
                Ok(_) => {}
                // Somebody else has just given a turn.
                Err(e) if server::is_taken(&e) => break,
                Err(e) => return Err(backend(e)),
            }
        }
        Ok(own)
    }

    /// Gives the turns that a process which died did not live to give. An owner whose jobs are damaged keeps no other
    /// waiting.
    async fn release_missed(&self) -> Result<(), Error> {
        let is_due = |last: Instant| last.elapsed() >= MISSED_TURNS;
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|last| !is_due(last)) {
            return Ok(());
        }
        *looked = Some(Instant::now());
        drop(looked);
        let owners = self.jobs().await?.distinct("owner", doc! { LINE: WAITING });
        for owner in owners.await.map_err(Fault::from)? {
            let Some(owner) = owner.as_str() else {
                continue;
            };
            match self.release(owner, None, self.clock.now()).await {
                Ok(_) => {}
                // The next would wait for the server, too.
                Err(e @ Error::Unavailable(_)) => return Err(e),
                Err(e) => tracing::warn!(owner, error = %e, "the next job in line has to wait"),
            }
        }
        Ok(())
    }

    /// Stores an entry that was read at `revision`, or a new one at 0, with what it owes; `false` if somebody else has
    /// changed it meanwhile.
    async fn store(
        &self,
        entry: &Entry,
        revision: i64,
        owed: Option<&Owed>,
        now: Timestamp,
    ) -> Result<bool, mongodb::error::Error> {
        let (present, absent) = fields(entry);
        let mut update = doc! {
            "$set": present,
            "$unset": absent,
            "$inc": { "revision": 1_i64 },
            "$currentDate": { "changed": true },
        };
        if let Some(owed) = owed {
            let payload = binary(&owed.message.payload);
            let owed = doc! {
                "id": object_id(owed.id),
                "topic": owed.message.topic.name(),
                "payload": payload,
                "since": time(now),
                "held": time(now.plus(CLAIM_TIME)),
            };
            update.insert("$push", doc! { "owed": owed });
        } else if entry.job.state == State::Cancelled {
            let requests = doc! { "topic": { "$in": requests().collect::<Vec<_>>() } };
            update.insert("$pull", doc! { "owed": requests });
        }
        let same = doc! { "_id": object_id(entry.job.id), "revision": revision };
        let stored = self.collection.update_one(same, update);
        let stored = stored.upsert(revision == 0).await?;
        Ok(stored.matched_count == 1 || stored.upserted_id.is_some())
    }

    /// Up to `limit` of the jobs that match. One that cannot be read is left out, and logged.
    async fn select(
        &self,
        filter: Document,
        order: Document,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        let (mut jobs, mut passed) = (Vec::new(), 0);
        while jobs.len() < limit {
            let missing = limit - jobs.len();
            let found = self.jobs().await?.find(filter.clone()).sort(order.clone());
            let found = found.skip(passed).limit(limit_of(missing));
            let mut found = found.await.map_err(Fault::from)?;
            let mut page = 0;
            while let Some(document) = found.try_next().await.map_err(Fault::from)? {
                page += 1;
                jobs.extend(readable(&document).map(|entry| entry.job));
            }
            // Those that are left out are no reason for a shorter page: it would seem to be the last one.
            if page < missing {
                break;
            }
            passed += page as u64;
        }
        Ok(jobs)
    }

    /// Fails if a job does not tell what its files are: any file may be one of them. That does not change from one
    /// minute to the next.
    async fn check_files(&self) -> Result<(), Error> {
        let checked = *self.checked.lock().await;
        if checked.is_some_and(|last| last.elapsed() < CHECKED_FOR) {
            return Ok(());
        }
        let no_id = doc! { "$type": NO_ID.as_slice() };
        let damaged = [
            doc! { "source": Bson::Null },
            doc! { "source": &no_id },
            doc! { "mp3": no_id },
        ];
        let damaged = self.jobs().await?.find_one(doc! { "$or": damaged });
        let damaged = damaged.projection(doc! { "_id": 1 }).await;
        if let Some(document) = damaged.map_err(Fault::from)? {
            let id = document.get("_id").map(Bson::to_string).unwrap_or_default();
            let what = format!("the job {id} does not tell which files are its own");
            return Err(unreadable(what));
        }
        *self.checked.lock().await = Some(Instant::now());
        Ok(())
    }

    /// The poller of an owner whose jobs are watched already.
    async fn poller(&self, owner: &str) -> Option<Arc<Poller>> {
        self.pollers.lock().await.get(owner)?.upgrade()
    }

    /// Claims a message for the caller, unless somebody else has just claimed it.
    async fn claim(&self, job: &Bson, owed: &Document, now: Timestamp) -> Result<bool, Error> {
        let same = doc! { "id": owed.get("id"), "held": owed.get("held") };
        let claimed = self.jobs().await?.update_one(
            doc! { "_id": job, "owed": { "$elemMatch": same } },
            doc! { "$set": { "owed.$.held": time(now.plus(CLAIM_TIME)) } },
        );
        Ok(claimed.await.map_err(Fault::from)?.modified_count == 1)
    }

    /// The results of an aggregation that has few.
    async fn aggregate(&self, stages: Vec<Document>) -> Result<Vec<Document>, Error> {
        let results = self
            .jobs()
            .await?
            .aggregate(stages)
            .await
            .map_err(Fault::from)?;
        results.try_collect().await.map_err(backend)
    }
}

#[async_trait]
impl Jobs for MongodbJobs {
    async fn create(&self, job: &Job, message: Option<Message>) -> Result<Created, Error> {
        if let Some(existing) = self.keyed(job).await? {
            return Ok(existing);
        }
        let mut entry = Entry::new(job.clone());
        let owed = entry.hold_back(message).map(owe);
        let now = self.clock.now();
        // A job without a key is not looked for first.
        self.jobs().await?;
        match self.store(&entry, 0, owed.as_ref(), now).await {
            Ok(_) if owed.is_some() => Ok(Created::New(owed)),
            Ok(_) => {
                let waits = entry.waiting.is_some();
                Ok(Created::New(self.next_in_line(job, waits, now).await))
            }
            Err(e) if server::is_taken(&e) => self
                .keyed(job)
                .await?
                .ok_or_else(|| Error::Rejected("there is a job with this id or video".into())),
            Err(e) => Err(backend(e)),
        }
    }

    async fn get(&self, id: Id) -> Result<Job, Error> {
        let found = self.find(doc! { "_id": object_id(id) }).await?;
        Ok(entry_of(&found.ok_or(Error::NotFound)?)?.job)
    }

    async fn enqueue(&self, id: Id, message: Message) -> Result<Option<Owed>, Error> {
        let ((), owed) = self.change(id, Some(message), Entry::enqueue).await?;
        Ok(owed)
    }

    async fn begin(&self, id: Id, term: Duration) -> Result<Begin, Error> {
        let begin = |entry: &mut Entry, now| Ok(entry.begin(now, term));
        let (begun, _) = self.change(id, None, begin).await?;
        Ok(begun)
    }

    async fn renew(&self, lease: Lease, term: Duration, progress: f32) -> Result<(), Error> {
        let renew = |entry: &mut Entry, now| entry.renew(now, lease, term, progress);
        self.change(lease.job, None, renew).await.map(drop)
    }

    async fn release(&self, lease: Lease, ended: Ended) -> Result<(), Error> {
        let release = |entry: &mut Entry, now| entry.release(now, lease, ended);
        self.change(lease.job, None, release).await.map(drop)
    }

    async fn request(&self, seen: &Job, message: Message) -> Result<Option<Owed>, Error> {
        let request = |entry: &mut Entry, now| entry.request(now, seen.updated);
        let ((), owed) = self.change(seen.id, Some(message), request).await?;
        Ok(owed)
    }

    async fn finish(
        &self,
        lease: Lease,
        outcome: Outcome,
        message: Option<Message>,
    ) -> Result<Option<Owed>, Error> {
        let finish = |entry: &mut Entry, now| entry.finish(now, lease, outcome.clone());
        let ((), owed) = self.change(lease.job, message, finish).await?;
        Ok(owed)
    }

    async fn cancel(&self, id: Id) -> Result<(), Error> {
        self.change(id, None, Entry::cancel).await.map(drop)
    }

    async fn retry(&self, id: Id, message: Message) -> Result<Option<Owed>, Error> {
        let ((), owed) = self.change(id, Some(message), Entry::retry).await?;
        Ok(owed)
    }

    async fn delete(&self, id: Id) -> Result<Job, Error> {
        let deleted = self
            .jobs()
            .await?
            .find_one_and_delete(doc! { "_id": object_id(id) });
        let deleted = deleted.await.map_err(Fault::from)?;
        let entry = entry_of(&deleted.ok_or(Error::NotFound)?)?;
        self.watchers.forget(&entry.job);
        self.next_in_line(&entry.job, entry.in_line, self.clock.now())
            .await;
        Ok(entry.job)
    }

    async fn delete_unchanged(&self, seen: &Job) -> Result<Job, Error> {
        let id = object_id(seen.id);
        let found = self.find(doc! { "_id": id }).await?;
        let document = found.ok_or(Error::NotFound)?;
        let entry = entry_of(&document)?;
        entry.expect_unchanged(seen)?;
        let revision = needed(&document, "revision", server::integer)?;
        let same = doc! { "_id": id, "revision": revision };
        let deleted = self.jobs().await?.delete_one(same).await;
        if deleted.map_err(Fault::from)?.deleted_count == 0 {
            return Err(Error::Rejected("the job has changed meanwhile".into()));
        }
        self.watchers.forget(&entry.job);
        self.next_in_line(&entry.job, entry.in_line, self.clock.now())
            .await;
        Ok(entry.job)
    }

    async fn begin_notification(
        &self,
        id: Id,
        notifier: Id,
        term: Duration,
    ) -> Result<Notice, Error> {
        let begin = |entry: &mut Entry, now| entry.begin_notification(now, notifier, term);
        let (notice, _) = self.change(id, None, begin).await?;
        Ok(notice)
    }

    async fn release_notification(&self, id: Id, notifier: Id) -> Result<(), Error> {
        let release = |entry: &mut Entry, _| {
            entry.release_notification(notifier);
            Ok(())
        };
        self.change(id, None, release).await.map(drop)
    }

    async fn notified(&self, id: Id) -> Result<(), Error> {
        self.change(id, None, Entry::notified).await.map(drop)
    }

    async fn announced(&self, id: Id, retries: u32) -> Result<(), Error> {
        let announced = |entry: &mut Entry, _| {
            entry.announced(retries);
            Ok(())
        };
        self.change(id, None, announced).await.map(drop)
    }
}

#[async_trait]
impl JobOutbox for MongodbJobs {
    async fn claim_owed(&self, limit: usize) -> Result<Vec<Owed>, Error> {
        if let Err(e) = self.release_missed().await {
            tracing::warn!(error = %e, "missed turns are given later");
        }
        let now = self.clock.now();
        let longest = now.plus(2 * CLAIM_TIME);
        let is_free = |owed: &&Document| {
            let held = field(owed, "held", time_of).ok().flatten();
            held.is_some_and(|held| held <= now || held > longest)
        };
        let mut claimed = Vec::new();
        // A claim that lasts twice as long as any was given by a clock that is ahead.
        for held in [doc! { "$lte": time(now) }, doc! { "$gt": time(longest) }] {
            // The index gives the oldest first. A sort would first gather all of them.
            let found = self
                .jobs()
                .await?
                .find(doc! { "owed.held": held })
                .hint(Hint::Keys(doc! { "owed.held": 1 }))
                .projection(doc! { "owed": 1 })
                .batch_size(limit.clamp(1, 100) as u32);
            let mut found = found.await.map_err(Fault::from)?;
            while claimed.len() < limit
                && let Some(document) = found.try_next().await.map_err(Fault::from)?
            {
                let job = document.get("_id").unwrap_or(&Bson::Null);
                let messages = document.get_array("owed").map_or(&[][..], Vec::as_slice);
                let messages = messages.iter().filter_map(Bson::as_document);
                for owed in messages.filter(is_free) {
                    if claimed.len() < limit && self.claim(job, owed, now).await? {
                        let since = needed(owed, "since", time_of);
                        match since.and_then(|since| Ok((since, owed_of(owed)?))) {
                            Ok(owed) => claimed.push(owed),
                            Err(e) => {
                                tracing::warn!(job_id = %job, error = %e, "a message is damaged")
                            }
                        }
                    }
                }
            }
        }
        claimed.sort_by_key(|(since, owed)| (*since, owed.id));
        Ok(claimed.into_iter().map(|(_, owed)| owed).collect())
    }

    async fn sent(&self, owed: &[Id]) -> Result<(), Error> {
        let sent: Vec<_> = owed.iter().map(|id| object_id(*id)).collect();
        let any = doc! { "$in": sent };
        let removed = self.jobs().await?.update_many(
            doc! { "owed.id": &any },
            doc! { "$pull": { "owed": { "id": &any } } },
        );
        removed.await.map(drop).map_err(backend)
    }
}

#[async_trait]
impl JobViews for MongodbJobs {
    async fn by_mp3(&self, mp3: Id) -> Result<Job, Error> {
        let found = self.find(doc! { "mp3": object_id(mp3) }).await?;
        Ok(entry_of(&found.ok_or(Error::NotFound)?)?.job)
    }

    async fn by_key(&self, owner: &str, key: &str) -> Result<Job, Error> {
        let found = self.find(doc! { "owner": owner, "key": key }).await?;
        Ok(entry_of(&found.ok_or(Error::NotFound)?)?.job)
    }

    async fn list(&self, owner: &str, filter: &Filter, limit: usize) -> Result<Vec<Job>, Error> {
        let mut wanted = doc! { "owner": owner };
        if !filter.states.is_empty() {
            wanted.insert("state", any(&filter.states));
        }
        if let Some(batch) = filter.batch {
            wanted.insert("batch", object_id(batch));
        }
        if let Some(before) = filter.before {
            wanted.insert("_id", doc! { "$lt": object_id(before) });
        }
        self.select(wanted, doc! { "_id": -1 }, limit).await
    }

    async fn stale(
        &self,
        states: &[State],
        before: Timestamp,
        after: Option<&Job>,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        let mut updated = doc! { "$lt": time(before) };
        let mut wanted = doc! { "state": any(states) };
        if let Some(after) = after {
            let last = time(after.updated);
            // The bound on `updated` lets the index begin there.
            updated.insert("$gte", last);
            let later = doc! { "updated": { "$gt": last } };
            let beside = doc! { "updated": last, "_id": { "$gt": object_id(after.id) } };
            wanted.insert("$or", [later, beside]);
        }
        wanted.insert("updated", updated);
        self.select(wanted, doc! { "updated": 1, "_id": 1 }, limit)
            .await
    }

    async fn referenced(&self, objects: &[Id]) -> Result<Vec<Id>, Error> {
        self.check_files().await?;
        let mut referenced = Vec::new();
        for field in ["source", "mp3"] {
            let among: Vec<_> = objects.iter().map(|id| object_id(*id)).collect();
            let found = self.jobs().await?.find(doc! { field: { "$in": among } });
            let found = found.projection(doc! { field: 1 }).await;
            let mut found = found.map_err(Fault::from)?;
            while let Some(document) = found.try_next().await.map_err(Fault::from)? {
                referenced.push(needed(&document, field, id_of)?);
            }
        }
        referenced.sort_unstable();
        referenced.dedup();
        Ok(referenced)
    }

    async fn usage(&self, owner: &str) -> Result<Usage, Error> {
        // What is no number in a damaged document counts for nothing.
        let number_in = |field: &str| {
            doc! { "$convert": { "input": field, "to": "long", "onError": 0_i64, "onNull": 0_i64 } }
        };
        let bytes = doc! { "$add": [number_in("$source_bytes"), number_in("$mp3_bytes")] };
        let sums = self.aggregate(vec![
            doc! { "$match": { "owner": owner } },
            doc! { "$group": { "_id": null, "jobs": { "$sum": 1 }, "bytes": { "$sum": bytes } } },
        ]);
        let Some(sums) = sums.await?.pop() else {
            return Ok(Usage::default());
        };
        Ok(Usage {
            jobs: needed(&sums, "jobs", number)?,
            bytes: needed(&sums, "bytes", number)?,
        })
    }

    async fn census(&self) -> Result<Census, Error> {
        // Sorted by an index that holds everything this needs.
        let groups = self.aggregate(vec![
            doc! { "$sort": { "state": 1, "created": 1 } },
            doc! { "$group": {
                "_id": "$state", "jobs": { "$sum": 1 }, "oldest": { "$first": "$created" },
            } },
        ]);
        let mut census = Census::default();
        for group in groups.await? {
            let Some(state) = group.get("_id").and_then(state_of) else {
                tracing::warn!(%group, "jobs are in an unknown state");
                continue;
            };
            census.states.push((state, needed(&group, "jobs", number)?));
            if state == State::Queued {
                census.oldest_queued = group.get("oldest").and_then(time_of);
            }
        }
        Ok(census)
    }

    async fn line(&self, owner: &str) -> Result<Line, Error> {
        // An original converter tells nobody what it begins.
        if !self.in_turn {
            return Ok(Line::default());
        }
        let jobs = self.jobs().await?;
        let ids = async |filter: Document, order: Document| {
            let found = jobs.find(filter).sort(order).limit(limit_of(LINE_LENGTH));
            let found = found.projection(doc! { "_id": 1 }).await?;
            let found: Vec<Document> = found.try_collect().await?;
            let id = |job: &Document| job.get("_id").and_then(id_of);
            Ok::<Vec<Id>, mongodb::error::Error>(found.iter().filter_map(id).collect())
        };
        // A converter that does not know the field leaves it there, but not the state.
        let queued = State::Queued.name();
        let in_line = ids(
            doc! { LINE: REQUESTED, "state": queued },
            doc! { REQUESTED: 1, "_id": 1 },
        );
        let waiting = ids(doc! { LINE: WAITING, "owner": owner }, doc! { "_id": 1 });
        let running = jobs.count_documents(doc! { "state": State::Running.name() });
        let took = async {
            let done = jobs.find(doc! { "state": State::Done.name() });
            let done = done
                .sort(doc! { "updated": -1 })
                .limit(limit_of(LINE_SAMPLES));
            let done = done
                .projection(doc! { "started": 1, "finished": 1 })
                .await?;
            let done: Vec<Document> = done.try_collect().await?;
            let time = |job: &Document, field| job.get(field).and_then(time_of);
            let took = |job| Some(time(job, "finished")?.since(time(job, "started")?));
            Ok(done.iter().filter_map(took).collect())
        };
        let all = try_join4(in_line, waiting, running.into_future(), took).await;
        let (in_line, waiting, running, took) = all.map_err(Fault::from)?;
        Ok(Line {
            in_line,
            waiting,
            running,
            took,
        })
    }

    async fn watch(&self, owner: &str) -> Result<JobStream, Error> {
        let jobs = self.watchers.watch(owner);
        let poller = match self.poller(owner).await {
            Some(poller) => poller,
            None => {
                // Not while others wait for the lock: a server that is away lets each wait for seconds. Of several that
                // start one at once, one stays.
                let new =
                    Poller::start(self.jobs().await?.clone(), owner, self.watchers.clone()).await?;
                let mut pollers = self.pollers.lock().await;
                pollers.retain(|_, poller| poller.strong_count() > 0);
                let other = pollers.get(owner).and_then(Weak::upgrade);
                other.unwrap_or_else(|| {
                    let new = Arc::new(new);
                    pollers.insert(owner.to_owned(), Arc::downgrade(&new));
                    new
                })
            }
        };
        Ok(Box::pin(Watch {
            jobs,
            _poller: poller,
        }))
    }
}

#[async_trait]
impl LedgerIdentity for MongodbJobs {
    async fn identity(&self) -> Result<Option<Identity>, Error> {
        self.jobs().await?;
        let own = self.own();
        let found = own.find_one(doc! { "_id": IDENTITY }).await;
        let found = found.map_err(Fault::from)?;
        found.map(|found| server::identity(&found)).transpose()
    }

    async fn advance(&self, name: Id) -> Result<Identity, Error> {
        self.jobs().await?;
        let next = doc! {
            "$setOnInsert": { "ledger": object_id(name) },
            "$inc": { "generation": 1_i64 },
        };
        // Of two that insert it at once, the later finds the other's.
        for last in [false, true] {
            let own = self.own();
            let advanced = own
                .find_one_and_update(doc! { "_id": IDENTITY }, next.clone())
                .upsert(true)
                .return_document(ReturnDocument::After);
            match advanced.await {
                Ok(Some(identity)) => return server::identity(&identity),
                Err(e) if !server::is_taken(&e) || last => return Err(backend(e)),
                Ok(None) | Err(_) => {}
            }
        }
        Err(unreadable("the ledger's identity does not stay".into()))
    }
}

#[async_trait]
impl SweepLease for MongodbJobs {
    async fn lease_sweep(&self, holder: Id, duration: Duration) -> Result<Turn, Error> {
        self.jobs().await?;
        let (own, now) = (self.own(), self.clock.now());
        let until = |lease: &Document| {
            let until = lease.get("until").and_then(server::integer);
            let what = || format!("no end of the sweeper's lease: {lease}");
            let until = until.ok_or_else(|| unreadable::<Error>(what()))?;
            Ok::<_, Error>(Timestamp::from_millis(until))
        };
        // Where another has it, no document matches, and the insertion finds the other's.
        let free = doc! {
            "_id": SWEEPER,
            "$or": [
                { "holder": object_id(holder) },
                { "until": { "$lte": now.as_millis() } },
                { "until": { "$gt": now.plus(2 * LONGEST_TERM).as_millis() } },
            ],
        };
        let lease = doc! { "$set": {
            "holder": object_id(holder),
            "until": now.plus(duration.min(LONGEST_TERM)).as_millis(),
        } };
        for _ in 0..TRIES {
            let leased = own
                .find_one_and_update(free.clone(), lease.clone())
                .upsert(true)
                .return_document(ReturnDocument::Before);
            match leased.await {
                Ok(last) => {
                    let previous = last.as_ref().map(until).transpose()?;
                    let note = last.as_ref().and_then(|last| last.get_str("note").ok());
                    let note = note.unwrap_or_default().to_owned();
                    return Ok(Turn::Own { previous, note });
                }
                Err(e) if !server::is_taken(&e) => return Err(backend(e)),
                Err(_) => {}
            }
            let other = own.find_one(doc! { "_id": SWEEPER }).await;
            let other = other.map_err(Fault::from)?.as_ref().map(until);
            // Or it ended in between.
            if let Some(other) = other.transpose()?.filter(|end| !has_ended(*end, now)) {
                return Ok(Turn::Other(other));
            }
        }
        Err(unreadable("the sweeper's lease does not stay".into()))
    }

    async fn note_sweep(&self, holder: Id, note: &str) -> Result<(), Error> {
        self.jobs().await?;
        let (own, note) = (self.own(), doc! { "$set": { "note": note } });
        let held = doc! { "_id": SWEEPER, "holder": object_id(holder) };
        let noted = own.update_one(held, note);
        match noted.await.map_err(Fault::from)?.matched_count {
            0 => Err(Error::Rejected("another sweeper has the lease".into())),
            _ => Ok(()),
        }
    }
}

/// An owner's jobs as they change. The poller runs as long as somebody watches.
struct Watch {
    jobs: JobStream,
    _poller: Arc<Poller>,
}

impl Stream for Watch {
    type Item = Job;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Job>> {
        self.jobs.as_mut().poll_next(context)
    }
}

/// A task that publishes an owner's changes until it is dropped.
struct Poller(JoinHandle<()>);

impl Drop for Poller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Poller {
    async fn start(
        jobs: Collection<Document>,
        owner: &str,
        watchers: Arc<Watchers>,
    ) -> Result<Self, Error> {
        let mut changes = Changes::from_now(jobs, owner).await?;
        Ok(Poller(tokio::spawn(async move {
            loop {
                sleep(POLL).await;
                if let Err(e) = changes.publish(&watchers).await {
                    tracing::debug!(error = %e, "changes of jobs reach their watchers later");
                }
            }
        })))
    }
}

/// An owner's jobs that have changed since the last poll.
struct Changes {
    jobs: Collection<Document>,
    owner: String,
    /// How far to look back, by the server's clock.
    since: DateTime,
    /// The revisions published since then, and when they were made.
    published: HashMap<ObjectId, (i64, DateTime)>,
}

impl Changes {
    async fn from_now(jobs: Collection<Document>, owner: &str) -> Result<Self, Error> {
        let newest = doc! { "owner": owner, "changed": { "$type": "date" } };
        let newest = jobs.find_one(newest);
        let newest = newest
            .sort(doc! { "changed": -1 })
            .await
            .map_err(Fault::from)?;
        let mut changes = Changes {
            jobs,
            owner: owner.to_owned(),
            since: DateTime::from_millis(0),
            published: HashMap::new(),
        };
        if let Some(newest) = newest {
            changes.look_back_from(*needed(&newest, "changed", Bson::as_datetime)?);
        }
        let seen = changes.recent().await?;
        changes.published.extend(seen);
        Ok(changes)
    }

    fn look_back_from(&mut self, newest: DateTime) {
        let overlap = OVERLAP.as_millis() as i64;
        let since = DateTime::from_millis(newest.timestamp_millis().saturating_sub(overlap));
        if since > self.since {
            self.since = since;
            self.published.retain(|_, (_, changed)| *changed >= since);
        }
    }

    /// The revisions of the documents that changed last.
    async fn recent(&self) -> Result<Vec<(ObjectId, (i64, DateTime))>, Error> {
        let recent = doc! { "owner": &self.owner, "changed": { "$gte": self.since } };
        let found = self
            .jobs
            .find(recent)
            .projection(doc! { "revision": 1, "changed": 1 });
        let mut found = found.await.map_err(Fault::from)?;
        let mut recent = Vec::new();
        while let Some(document) = found.try_next().await.map_err(Fault::from)? {
            recent.extend(version_of(&document));
        }
        Ok(recent)
    }

    async fn publish(&mut self, watchers: &Watchers) -> Result<(), Error> {
        let recent = self.recent().await?;
        let Some(newest) = recent.iter().map(|(_, (_, changed))| *changed).max() else {
            return Ok(());
        };
        let new = recent.into_iter().filter(|(id, (revision, _))| {
            self.published
                .get(id)
                .is_none_or(|known| known.0 != *revision)
        });
        let new: Vec<_> = new.map(|(id, _)| id).collect();
        if !new.is_empty() {
            let found = self.jobs.find(doc! { "_id": { "$in": new } }).await;
            let mut found = found.map_err(Fault::from)?;
            while let Some(document) = found.try_next().await.map_err(Fault::from)? {
                if let Some(entry) = readable(&document) {
                    watchers.publish(&entry.job);
                }
                self.published.extend(version_of(&document));
            }
        }
        self.look_back_from(newest);
        Ok(())
    }
}

/// A document's id, its revision, and when the server made it. A damaged one may have none.
fn version_of(document: &Document) -> Option<(ObjectId, (i64, DateTime))> {
    let id = document.get_object_id("_id").ok()?;
    let revision = document.get("revision").and_then(server::integer)?;
    Some((id, (revision, *document.get_datetime("changed").ok()?)))
}

/// The fields of an entry that have a value, and those that have none.
fn fields(entry: &Entry) -> (Document, Document) {
    let job = &entry.job;
    let output = job.output.as_ref();
    let mut present = doc! {
        "owner": &job.owner,
        "file_name": &job.file_name,
        "source": object_id(job.source),
        "source_bytes": server::signed(job.source_bytes),
        "options": &job.options,
        "state": job.state.name(),
        "attempts": i64::from(job.attempts),
        "outages": i64::from(job.outages),
        "deliveries": i64::from(job.deliveries),
        "retries": i64::from(job.retries),
        "repeats": i64::from(job.repeats),
        "progress": f64::from(job.progress),
        "created": time(job.created),
        "updated": time(job.updated),
        "fence": server::signed(entry.fence),
        "leased_until": time(entry.leased_until),
    };
    let line = match entry.waiting {
        Some(_) => Some(WAITING),
        None if job.started.is_some() => entry.in_line.then_some(PUT_OFF),
        None => entry.in_line.then_some(REQUESTED),
    };
    let mut absent = Document::new();
    let optional: [(&str, Option<Bson>); 17] = [
        (LINE, line.map(Bson::from)),
        (WAITING, entry.waiting.as_deref().map(binary)),
        (REQUESTED, job.requested.map(|at| time(at).into())),
        (
            "notifier",
            entry.notifier.map(|(id, _)| object_id(id).into()),
        ),
        (
            "notifier_until",
            entry.notifier.map(|(_, until)| time(until).into()),
        ),
        ("key", job.key.as_ref().map(Bson::from)),
        ("fingerprint", job.fingerprint.as_ref().map(Bson::from)),
        ("batch", job.batch.map(|id| object_id(id).into())),
        ("mp3", output.map(|output| object_id(output.mp3).into())),
        (
            "mp3_bytes",
            output.map(|output| server::signed(output.bytes).into()),
        ),
        ("report", output.map(|output| Bson::from(&output.report))),
        ("failure", job.failure.as_ref().map(Bson::from)),
        ("origin", job.origin.as_ref().map(Bson::from)),
        ("started", job.started.map(|at| time(at).into())),
        ("finished", job.finished.map(|at| time(at).into())),
        ("notified", job.notified.map(|at| time(at).into())),
        ("announced", job.announced.map(|of| i64::from(of).into())),
    ];
    for (name, value) in optional {
        match value {
            Some(value) => present.insert(name, value),
            None => absent.insert(name, ""),
        };
    }
    (present, absent)
}

/// The entry of a document, if it can be read: one that is damaged keeps no other. What its files are is checked by
/// itself.
fn readable(document: &Document) -> Option<Entry> {
    let unreadable = |e: Error| tracing::error!(error = %e, "a job in the ledger is damaged, and is passed over");
    entry_of(document).map_err(unreadable).ok()
}

fn entry_of(document: &Document) -> Result<Entry, Error> {
    let text = |value: &Bson| value.as_str().map(str::to_owned);
    let count = |value: &Bson| number(value)?.try_into().ok();
    let output = match field(document, "mp3", id_of)? {
        Some(mp3) => Some(Output {
            mp3,
            bytes: needed(document, "mp3_bytes", number)?,
            report: needed(document, "report", text)?,
        }),
        None => None,
    };
    let job = Job {
        id: needed(document, "_id", id_of)?,
        owner: needed(document, "owner", text)?,
        key: field(document, "key", text)?,
        fingerprint: field(document, "fingerprint", text)?,
        batch: field(document, "batch", id_of)?,
        file_name: needed(document, "file_name", text)?,
        source: needed(document, "source", id_of)?,
        source_bytes: needed(document, "source_bytes", number)?,
        origin: field(document, "origin", text)?,
        options: needed(document, "options", text)?,
        state: needed(document, "state", state_of)?,
        attempts: needed(document, "attempts", count)?,
        // Absent in documents of programs without them.
        outages: field(document, "outages", count)?.unwrap_or_default(),
        deliveries: field(document, "deliveries", count)?.unwrap_or_default(),
        retries: field(document, "retries", count)?.unwrap_or_default(),
        repeats: field(document, "repeats", count)?.unwrap_or_default(),
        progress: needed(document, "progress", Bson::as_f64)? as f32,
        output,
        failure: field(document, "failure", text)?,
        created: needed(document, "created", time_of)?,
        requested: field(document, REQUESTED, time_of)?,
        started: field(document, "started", time_of)?,
        finished: field(document, "finished", time_of)?,
        updated: needed(document, "updated", time_of)?,
        notified: field(document, "notified", time_of)?,
        announced: field(document, "announced", count)?,
    };
    Ok(Entry {
        job,
        fence: needed(document, "fence", number)?,
        leased_until: needed(document, "leased_until", time_of)?,
        waiting: field(document, WAITING, bytes_of)?,
        owed: owes_request(document),
        in_line: matches!(
            field(document, LINE, Bson::as_str)?,
            Some(REQUESTED | PUT_OFF)
        ),
        notifier: field(document, "notifier", id_of)?.zip(field(
            document,
            "notifier_until",
            time_of,
        )?),
    })
}

/// Whether a message that requests the conversion is among those that are owed.
fn owes_request(document: &Document) -> bool {
    let owed = document.get_array("owed").map_or(&[][..], Vec::as_slice);
    let mut topics = owed
        .iter()
        .filter_map(|owed| owed.as_document()?.get_str("topic").ok());
    topics.any(|topic| requests().any(|request| request == topic))
}

/// The topics of messages that request conversions.
fn requests() -> impl Iterator<Item = &'static str> {
    let topics = Topic::ALL.into_iter();
    topics
        .filter(|topic| topic.requests_conversion())
        .map(Topic::name)
}

fn owe(message: Message) -> Owed {
    Owed {
        id: server::id(ObjectId::new()),
        message,
    }
}

fn owed_of(owed: &Document) -> Result<Owed, Error> {
    let topic = |value: &Bson| {
        let named = |topic: &Topic| Some(topic.name()) == value.as_str();
        Topic::ALL.into_iter().find(named)
    };
    Ok(Owed {
        id: needed(owed, "id", id_of)?,
        message: Message {
            topic: needed(owed, "topic", topic)?,
            payload: needed(owed, "payload", bytes_of)?,
        },
    })
}

/// A field as `read` understands it; none if it is absent.
fn field<'a, T>(
    document: &'a Document,
    name: &str,
    read: impl FnOnce(&'a Bson) -> Option<T>,
) -> Result<Option<T>, Error> {
    let Some(value) = document.get(name) else {
        return Ok(None);
    };
    read(value).map(Some).ok_or_else(|| damaged(document, name))
}

/// A field that must be there, as `read` understands it.
fn needed<'a, T>(
    document: &'a Document,
    name: &str,
    read: impl FnOnce(&'a Bson) -> Option<T>,
) -> Result<T, Error> {
    field(document, name, read)?.ok_or_else(|| damaged(document, name))
}

fn damaged(document: &Document, name: &str) -> Error {
    let id = document.get("_id").map(Bson::to_string);
    let what = format!("the job {} has no valid {name}", id.unwrap_or_default());
    unreadable(what)
}

fn id_of(value: &Bson) -> Option<Id> {
    value.as_object_id().map(server::id)
}

fn bytes_of(value: &Bson) -> Option<Vec<u8>> {
    match value {
        Bson::Binary(binary) => Some(binary.bytes.clone()),
        _ => None,
    }
}

fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    })
}

fn time_of(value: &Bson) -> Option<Timestamp> {
    let time = value.as_datetime()?;
    Some(Timestamp::from_millis(time.timestamp_millis()))
}

fn time(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millis())
}

fn state_of(value: &Bson) -> Option<State> {
    value.as_str()?.parse().ok()
}

fn number(value: &Bson) -> Option<u64> {
    server::integer(value)?.try_into().ok()
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn any(states: &[State]) -> Document {
    let names: Vec<_> = states.iter().map(|state| state.name()).collect();
    doc! { "$in": names }
}
