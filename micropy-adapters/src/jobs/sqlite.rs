//! The ledger as a table of the SQLite database that also holds the queues.
//!
//! A job and its message go into one database in one transaction, so nothing is ever owed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use micropy_core::ports::binding::Identity;
use micropy_core::ports::jobs::{
    Begin, Census, Created, Ended, Entry, Error, Filter, IN_LINE, Job, JobOutbox, JobStream,
    JobViews, Jobs, LINE_LENGTH, LINE_SAMPLES, LONGEST_TERM, Lease, LedgerIdentity, Line, Message,
    Notice, Outcome, Output, Owed, State, SweepLease, Topics, Turn, Usage, Watchers, has_ended,
};
use micropy_core::ports::{Clock, Id, Timestamp};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::queue::sqlite::SqliteQueue;
use crate::sqlite::{self, Database, LacksRoom};

/// How long jobs that told what their files are need not be asked again.
const CHECKED_FOR: Duration = Duration::from_secs(10 * 60);

/// The ledger of a database.
pub struct SqliteJobs {
    database: Database,
    clock: Arc<dyn Clock>,
    queues: Topics<SqliteQueue>,
    in_turn: bool,
    watchers: Watchers,
    /// When all jobs last told what their files are.
    checked: Mutex<Option<Instant>>,
    /// Locked from a change until it is published, so that watchers see changes in order, and a deletion last.
    publishing: Mutex<()>,
}

impl SqliteJobs {
    /// The ledger that puts its messages into `queues` of the same database.
    pub fn new(database: Database, queues: Topics<SqliteQueue>, clock: Arc<dyn Clock>) -> Self {
        SqliteJobs {
            database,
            clock,
            queues,
            in_turn: true,
            watchers: Watchers::default(),
            checked: Mutex::default(),
            publishing: Mutex::default(),
        }
    }

    /// Whether owners take turns: see [`IN_LINE`]. The default is yes. The ledger does not hear of an original
    /// converter that begins a job, so beside one nobody may have to wait for that.
    #[must_use]
    pub fn in_turn(mut self, in_turn: bool) -> Self {
        self.in_turn = in_turn;
        self
    }

    /// Requests what has come to its turn of an owner's jobs. Returns whether there was anything.
    async fn release(
        &self,
        connection: &mut SqliteConnection,
        owner: &str,
        now: Timestamp,
    ) -> Result<bool, Failure> {
        let count = "SELECT count(*) FROM jobs WHERE owner = ? AND in_line";
        let waiting = "
            SELECT * FROM jobs WHERE owner = ? AND waiting IS NOT NULL ORDER BY id LIMIT 1 OFFSET ?";
        let (mut released, mut passed) = (false, 0_i64);
        loop {
            if self.in_turn {
                let count = sqlx::query_scalar::<_, u64>(count).bind(owner);
                if count.fetch_one(&mut *connection).await? >= IN_LINE {
                    return Ok(released);
                }
            }
            let next = sqlx::query(waiting).bind(owner).bind(passed);
            let Some(row) = next.fetch_optional(&mut *connection).await? else {
                return Ok(released);
            };
            let Some(mut entry) = readable(&row) else {
                passed += 1;
                continue;
            };
            let message = entry.take_turn(now);
            store(connection, &entry).await?;
            self.send(connection, message.as_ref()).await?;
            released = true;
        }
    }

    /// Removes the message that requests the conversion of a job, as it was before it was cancelled or deleted. It would
    /// stand before those of others for nothing.
    async fn take_back(
        &self,
        connection: &mut SqliteConnection,
        entry: &Entry,
    ) -> Result<(), Failure> {
        let job = &entry.job;
        if job.state == State::Queued && job.requested.is_some() {
            let queue = self.queues.of(job.request_topic());
            queue.remove_about(connection, &job.id).await?;
        }
        Ok(())
    }

    async fn send(
        &self,
        connection: &mut SqliteConnection,
        message: Option<&Message>,
    ) -> Result<(), Failure> {
        if let Some(message) = message {
            self.queues
                .of(message.topic)
                .insert(connection, &message.payload)
                .await?;
        }
        Ok(())
    }

    /// Wakes watchers and receivers after a change is committed.
    fn announce(&self, job: &Job, message: Option<&Message>, released: bool) {
        self.watchers.publish(job);
        if let Some(message) = message {
            self.queues.of(message.topic).wake();
        }
        if released {
            self.wake_converters();
        }
    }

    /// Wakes those who wait for a request of a conversion.
    fn wake_converters(&self) {
        self.queues.video.wake();
        self.queues.import.wake();
    }

    /// Loads the entry of `id`, applies `change`, and stores it with its message, in one transaction.
    async fn change<T>(
        &self,
        id: Id,
        message: Option<Message>,
        change: impl FnOnce(&mut Entry, Timestamp) -> Result<T, Error> + Send,
    ) -> Result<T, Failure> {
        let _publishing = self.publishing.lock().await;
        let mut transaction = self.database.begin().await?;
        let mut entry = load(&mut transaction, id).await?;
        let before = entry.clone();
        let now = self.clock.now();
        let changed = change(&mut entry, now)?;
        let message = entry.hold_back(message);
        if entry != before {
            store(&mut transaction, &entry).await?;
        }
        if entry.job.state == State::Cancelled {
            self.take_back(&mut transaction, &before).await?;
        }
        self.send(&mut transaction, message.as_ref()).await?;
        let moves_up = entry.waiting.is_some() || before.in_line && !entry.in_line;
        let released = moves_up
            && self
                .release(&mut transaction, &entry.job.owner, now)
                .await?;
        transaction.commit().await?;
        self.announce(&entry.job, message.as_ref(), released);
        Ok(changed)
    }

    async fn insert(&self, job: &Job, message: Option<Message>) -> Result<Created, Failure> {
        let _publishing = self.publishing.lock().await;
        let mut transaction = self.database.begin().await?;
        let same = sqlx::query("SELECT * FROM jobs WHERE owner = ? AND key = ?");
        let same = same.bind(&job.owner).bind(&job.key);
        if let Some(row) = same.fetch_optional(&mut *transaction).await? {
            return Ok(Created::Existing(Box::new(entry_of(&row)?.job)));
        }
        let mut entry = Entry::new(job.clone());
        let message = entry.hold_back(message);
        if let Err(e) = insert(&mut transaction, &entry).await {
            let taken = matches!(&e, sqlx::Error::Database(e) if e.is_unique_violation());
            return Err(if taken {
                Error::Rejected("there is a job with this id or video".into()).into()
            } else {
                e.into()
            });
        }
        self.send(&mut transaction, message.as_ref()).await?;
        let now = self.clock.now();
        let released =
            entry.waiting.is_some() && self.release(&mut transaction, &job.owner, now).await?;
        transaction.commit().await?;
        self.announce(job, message.as_ref(), released);
        Ok(Created::New(None))
    }

    /// Removes a job, if it is as it was `seen`.
    async fn remove(&self, id: Id, seen: Option<&Job>) -> Result<Job, Failure> {
        let _publishing = self.publishing.lock().await;
        let mut transaction = self.database.begin().await?;
        let entry = load(&mut transaction, id).await?;
        seen.map_or(Ok(()), |seen| entry.expect_unchanged(seen))?;
        let delete = sqlx::query("DELETE FROM jobs WHERE id = ?").bind(blob(&id));
        delete.execute(&mut *transaction).await?;
        self.take_back(&mut transaction, &entry).await?;
        let owner = &entry.job.owner;
        let released = entry.in_line
            && self
                .release(&mut transaction, owner, self.clock.now())
                .await?;
        transaction.commit().await?;
        self.watchers.forget(&entry.job);
        if released {
            self.wake_converters();
        }
        Ok(entry.job)
    }

    /// Up to `limit` of the jobs that a query selects. One that cannot be read is left out, and logged.
    async fn select(
        &self,
        query: impl Fn() -> QueryBuilder<Sqlite>,
        limit: usize,
    ) -> Result<Vec<Job>, Failure> {
        let (mut jobs, mut passed) = (Vec::new(), 0);
        loop {
            let missing = limit - jobs.len();
            let mut page = query();
            page.push(" LIMIT ").push_bind(limit_of(missing));
            page.push(" OFFSET ").push_bind(limit_of(passed));
            let rows = page.build().fetch_all(self.database.read()).await?;
            passed += rows.len();
            jobs.extend(rows.iter().filter_map(readable).map(|entry| entry.job));
            // Those that are left out are no reason for a shorter page: it would seem to be the last one.
            if rows.len() < missing || jobs.len() == limit {
                return Ok(jobs);
            }
        }
    }

    /// Fails if a job does not tell what its files are: any file may be one of them. That does not change from one
    /// minute to the next.
    async fn check_files(&self) -> Result<(), Failure> {
        let checked = *self.checked.lock().await;
        if checked.is_some_and(|last| last.elapsed() < CHECKED_FOR) {
            return Ok(());
        }
        // Each reads an index alone.
        let damaged = "
            SELECT lower(hex(id)) FROM (
                SELECT id FROM jobs WHERE length(source) <> 12
                UNION ALL SELECT id FROM jobs WHERE length(mp3) <> 12)
            LIMIT 1";
        let damaged = sqlx::query_scalar::<_, String>(damaged);
        if let Some(id) = damaged.fetch_optional(self.database.read()).await? {
            let why = format!("the job {id} does not tell which files are its own");
            return Err(sqlx::Error::Decode(why.into()).into());
        }
        *self.checked.lock().await = Some(Instant::now());
        Ok(())
    }

    async fn select_referenced(&self, objects: &[Id]) -> Result<Vec<Id>, Failure> {
        self.check_files().await?;
        let mut query = QueryBuilder::new("");
        for (column, glue) in [("source", " UNION "), ("mp3", "")] {
            query
                .push("SELECT ")
                .push(column)
                .push(" FROM jobs WHERE ")
                .push(column)
                .push(" IN (");
            let mut list = query.separated(", ");
            for id in objects {
                list.push_bind(id.as_bytes().to_vec());
            }
            query.push(")").push(glue);
        }
        let rows = query.build().fetch_all(self.database.read()).await?;
        rows.iter().map(|row| Ok(id_of(row.try_get(0)?)?)).collect()
    }

    /// See [`SweepLease::lease_sweep`].
    async fn lease(&self, holder: Id, duration: Duration) -> Result<Turn, sqlx::Error> {
        let now = self.clock.now();
        let mut transaction = self.database.begin().await?;
        let select = sqlx::query("SELECT holder, until, note FROM sweeper");
        let (mut previous, mut note) = (None, String::new());
        if let Some(row) = select.fetch_optional(&mut *transaction).await? {
            let until = Timestamp::from_millis(row.try_get("until")?);
            let other = id_of(row.try_get("holder")?)?;
            if other != holder && !has_ended(until, now) {
                return Ok(Turn::Other(until));
            }
            previous = Some(until);
            note = row.try_get("note")?;
        }
        let lease = "
            INSERT INTO sweeper (one, holder, until) VALUES (1, ?, ?)
            ON CONFLICT DO UPDATE SET holder = excluded.holder, until = excluded.until";
        sqlx::query(lease)
            .bind(blob(&holder))
            .bind(now.plus(duration.min(LONGEST_TERM)).as_millis())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Turn::Own { previous, note })
    }

    async fn count(&self, owner: &str) -> Result<Usage, Failure> {
        let count = "
            SELECT count(*), coalesce(sum(source_bytes + coalesce(mp3_bytes, 0)), 0)
            FROM jobs WHERE owner = ?";
        let row = sqlx::query(count)
            .bind(owner)
            .fetch_one(self.database.read())
            .await?;
        Ok(Usage {
            jobs: row.try_get(0)?,
            bytes: row.try_get(1)?,
        })
    }

    async fn take_line(&self, owner: &str) -> Result<Line, Failure> {
        // An original converter tells nobody what it begins.
        if !self.in_turn {
            return Ok(Line::default());
        }
        // Of thousands of queued jobs, each reads those that it needs.
        let select = "
            SELECT * FROM (
                SELECT 'in line', id, requested FROM jobs INDEXED BY jobs_in_line
                WHERE in_line AND started IS NULL ORDER BY requested, id LIMIT ?1)
            UNION ALL SELECT * FROM (
                SELECT 'waiting', id, 0 FROM jobs INDEXED BY jobs_waiting
                WHERE owner = ?2 AND waiting IS NOT NULL ORDER BY id LIMIT ?1)
            UNION ALL SELECT 'running', NULL, count(*) FROM jobs WHERE state = 'running'
            UNION ALL SELECT * FROM (
                SELECT 'took', NULL, finished - started FROM jobs
                WHERE state = 'done' ORDER BY updated DESC LIMIT ?3)";
        let select = sqlx::query(select)
            .bind(limit_of(LINE_LENGTH))
            .bind(owner)
            .bind(limit_of(LINE_SAMPLES));
        let (mut line, mut in_line) = (Line::default(), Vec::new());
        for row in select.fetch_all(self.database.read()).await? {
            let number = row.try_get::<Option<i64>, _>(2)?;
            let count = number.and_then(|number| u64::try_from(number).ok());
            match row.try_get::<&str, _>(0)? {
                "running" => line.running = count.unwrap_or_default(),
                "took" => line.took.extend(count.map(Duration::from_millis)),
                kind => match (id_of(row.try_get(1)?), kind) {
                    (Ok(id), "in line") => in_line.push((number, id)),
                    (Ok(id), _) => line.waiting.push(id),
                    // A job that is damaged has no place.
                    (Err(_), _) => {}
                },
            }
        }
        // SQLite promises no order of the whole.
        in_line.sort_unstable();
        line.in_line = in_line.into_iter().map(|(_, id)| id).collect();
        line.waiting.sort_unstable();
        Ok(line)
    }

    async fn take_census(&self) -> Result<Census, Failure> {
        let count = "
            SELECT state, count(*), min(created) FILTER (WHERE state = 'queued')
            FROM jobs GROUP BY state";
        let mut census = Census::default();
        for row in sqlx::query(count).fetch_all(self.database.read()).await? {
            let state = match state_of(row.try_get(0)?) {
                Ok(state) => state,
                Err(e) => {
                    tracing::warn!(error = %e, "jobs are in an unknown state");
                    continue;
                }
            };
            census.states.push((state, row.try_get(1)?));
            if let Some(oldest) = row.try_get(2)? {
                census.oldest_queued = Some(Timestamp::from_millis(oldest));
            }
        }
        Ok(census)
    }
}

#[async_trait]
impl Jobs for SqliteJobs {
    async fn create(&self, job: &Job, message: Option<Message>) -> Result<Created, Error> {
        Ok(self.insert(job, message).await?)
    }

    async fn get(&self, id: Id) -> Result<Job, Error> {
        let mut connection = self
            .database
            .read()
            .acquire()
            .await
            .map_err(Failure::Sqlx)?;
        Ok(load(&mut connection, id).await?.job)
    }

    async fn enqueue(&self, id: Id, message: Message) -> Result<Option<Owed>, Error> {
        self.change(id, Some(message), Entry::enqueue).await?;
        Ok(None)
    }

    async fn begin(&self, id: Id, term: Duration) -> Result<Begin, Error> {
        Ok(self
            .change(id, None, |entry, now| Ok(entry.begin(now, term)))
            .await?)
    }

    async fn renew(&self, lease: Lease, term: Duration, progress: f32) -> Result<(), Error> {
        let renew = |entry: &mut Entry, now| entry.renew(now, lease, term, progress);
        Ok(self.change(lease.job, None, renew).await?)
    }

    async fn release(&self, lease: Lease, ended: Ended) -> Result<(), Error> {
        let release = |entry: &mut Entry, now| entry.release(now, lease, ended);
        Ok(self.change(lease.job, None, release).await?)
    }

    async fn request(&self, seen: &Job, message: Message) -> Result<Option<Owed>, Error> {
        let request = |entry: &mut Entry, now| entry.request(now, seen.updated);
        self.change(seen.id, Some(message), request).await?;
        Ok(None)
    }

    async fn finish(
        &self,
        lease: Lease,
        outcome: Outcome,
        message: Option<Message>,
    ) -> Result<Option<Owed>, Error> {
        let finish = |entry: &mut Entry, now| entry.finish(now, lease, outcome);
        self.change(lease.job, message, finish).await?;
        Ok(None)
    }

    async fn cancel(&self, id: Id) -> Result<(), Error> {
        // What has arrived of its video is removed then.
        let cancel = || self.change(id, None, Entry::cancel);
        Ok(self.database.freeing(cancel).await?)
    }

    async fn retry(&self, id: Id, message: Message) -> Result<Option<Owed>, Error> {
        self.change(id, Some(message), Entry::retry).await?;
        Ok(None)
    }

    async fn delete(&self, id: Id) -> Result<Job, Error> {
        let remove = || self.remove(id, None);
        Ok(self.database.freeing(remove).await?)
    }

    async fn delete_unchanged(&self, seen: &Job) -> Result<Job, Error> {
        let remove = || self.remove(seen.id, Some(seen));
        Ok(self.database.freeing(remove).await?)
    }

    async fn begin_notification(
        &self,
        id: Id,
        notifier: Id,
        term: Duration,
    ) -> Result<Notice, Error> {
        let begin = |entry: &mut Entry, now| entry.begin_notification(now, notifier, term);
        Ok(self.change(id, None, begin).await?)
    }

    async fn release_notification(&self, id: Id, notifier: Id) -> Result<(), Error> {
        let release = |entry: &mut Entry, _| {
            entry.release_notification(notifier);
            Ok(())
        };
        Ok(self.change(id, None, release).await?)
    }

    async fn notified(&self, id: Id) -> Result<(), Error> {
        Ok(self.change(id, None, Entry::notified).await?)
    }

    async fn announced(&self, id: Id, retries: u32) -> Result<(), Error> {
        let announced = |entry: &mut Entry, _| {
            entry.announced(retries);
            Ok(())
        };
        Ok(self.change(id, None, announced).await?)
    }
}

#[async_trait]
impl JobOutbox for SqliteJobs {
    async fn claim_owed(&self, _limit: usize) -> Result<Vec<Owed>, Error> {
        Ok(Vec::new())
    }

    async fn sent(&self, _owed: &[Id]) -> Result<(), Error> {
        Ok(())
    }
}

#[async_trait]
impl JobViews for SqliteJobs {
    async fn by_mp3(&self, mp3: Id) -> Result<Job, Error> {
        // One that is damaged is somebody's all the same.
        let select = sqlx::query("SELECT * FROM jobs WHERE mp3 = ?").bind(blob(&mp3));
        let row = select.fetch_optional(self.database.read()).await;
        let row = row.map_err(sqlite::fault)?.ok_or(Error::NotFound)?;
        let entry = entry_of(&row).map_err(sqlite::fault)?;
        Ok(entry.job)
    }

    async fn by_key(&self, owner: &str, key: &str) -> Result<Job, Error> {
        let select = sqlx::query("SELECT * FROM jobs WHERE owner = ? AND key = ?");
        let select = select.bind(owner).bind(key);
        let row = select.fetch_optional(self.database.read()).await;
        let row = row.map_err(sqlite::fault)?.ok_or(Error::NotFound)?;
        Ok(entry_of(&row).map_err(sqlite::fault)?.job)
    }

    async fn list(&self, owner: &str, filter: &Filter, limit: usize) -> Result<Vec<Job>, Error> {
        let select = || {
            let mut query = QueryBuilder::new("SELECT * FROM jobs WHERE owner = ");
            query.push_bind(owner.to_owned());
            if !filter.states.is_empty() {
                push_states(query.push(" AND state"), &filter.states);
            }
            if let Some(batch) = &filter.batch {
                query
                    .push(" AND batch = ")
                    .push_bind(batch.as_bytes().to_vec());
            }
            if let Some(before) = &filter.before {
                query
                    .push(" AND id < ")
                    .push_bind(before.as_bytes().to_vec());
            }
            query.push(" ORDER BY id DESC");
            query
        };
        Ok(self.select(select, limit).await?)
    }

    async fn stale(
        &self,
        states: &[State],
        before: Timestamp,
        after: Option<&Job>,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        let select = || {
            let mut query = QueryBuilder::new("SELECT * FROM jobs WHERE updated < ");
            query.push_bind(before.as_millis());
            push_states(query.push(" AND state"), states);
            if let Some(after) = after {
                query
                    .push(" AND (updated, id) > (")
                    .push_bind(after.updated.as_millis())
                    .push(", ")
                    .push_bind(after.id.as_bytes().to_vec())
                    .push(")");
            }
            query.push(" ORDER BY updated, id");
            query
        };
        Ok(self.select(select, limit).await?)
    }

    async fn referenced(&self, objects: &[Id]) -> Result<Vec<Id>, Error> {
        Ok(self.select_referenced(objects).await?)
    }

    async fn usage(&self, owner: &str) -> Result<Usage, Error> {
        Ok(self.count(owner).await?)
    }

    async fn census(&self) -> Result<Census, Error> {
        Ok(self.take_census().await?)
    }

    async fn line(&self, owner: &str) -> Result<Line, Error> {
        Ok(self.take_line(owner).await?)
    }

    async fn watch(&self, owner: &str) -> Result<JobStream, Error> {
        Ok(self.watchers.watch(owner))
    }
}

#[async_trait]
impl LedgerIdentity for SqliteJobs {
    async fn identity(&self) -> Result<Option<Identity>, Error> {
        let select = sqlx::query("SELECT name, generation FROM ledger");
        let row = select.fetch_optional(self.database.read()).await;
        let row = row.map_err(sqlite::fault)?;
        row.as_ref()
            .map(identity_of)
            .transpose()
            .map_err(sqlite::backend)
    }

    async fn advance(&self, name: Id) -> Result<Identity, Error> {
        let advance = "
            INSERT INTO ledger VALUES (1, ?, 1)
            ON CONFLICT DO UPDATE SET generation = generation + 1
            RETURNING name, generation";
        // Files of no job are removed after that.
        let advance = || {
            let advance = sqlx::query(advance).bind(blob(&name));
            advance.fetch_one(self.database.write())
        };
        let row = self.database.freeing(advance).await;
        identity_of(&row.map_err(sqlite::fault)?).map_err(sqlite::backend)
    }
}

#[async_trait]
impl SweepLease for SqliteJobs {
    async fn lease_sweep(&self, holder: Id, duration: Duration) -> Result<Turn, Error> {
        // There is always some room for what removes files.
        self.database.fill_ballast().await;
        let lease = || self.lease(holder, duration);
        let leased = self.database.freeing(lease).await;
        leased.map_err(sqlite::backend)
    }

    async fn note_sweep(&self, holder: Id, note: &str) -> Result<(), Error> {
        let note = || {
            let update = sqlx::query("UPDATE sweeper SET note = ? WHERE holder = ?");
            let update = update.bind(note).bind(blob(&holder));
            update.execute(self.database.write())
        };
        let done = self.database.freeing(note).await;
        match done.map_err(sqlite::fault)?.rows_affected() {
            0 => Err(Error::Rejected("another sweeper has the lease".into())),
            _ => Ok(()),
        }
    }
}

fn identity_of(row: &SqliteRow) -> Result<Identity, sqlx::Error> {
    Ok(Identity {
        ledger: id_of(row.try_get("name")?)?,
        generation: row.try_get("generation")?,
    })
}

async fn load(connection: &mut SqliteConnection, id: Id) -> Result<Entry, Failure> {
    let select = sqlx::query("SELECT * FROM jobs WHERE id = ?").bind(blob(&id));
    let row = select
        .fetch_optional(connection)
        .await?
        .ok_or(Error::NotFound)?;
    Ok(entry_of(&row)?)
}

async fn insert(connection: &mut SqliteConnection, entry: &Entry) -> Result<(), sqlx::Error> {
    let insert = "
        INSERT INTO jobs (
            state, attempts, outages, deliveries, retries, repeats, progress, mp3, mp3_bytes, report, failure,
            requested, started, finished, updated, notified, announced, fence, leased_until, waiting, in_line,
            notifier, notifier_until, owner, key, fingerprint, batch, file_name, source, source_bytes, origin, options, created, id)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let job = &entry.job;
    bind_changing(sqlx::query(insert), entry)
        .bind(&job.owner)
        .bind(&job.key)
        .bind(&job.fingerprint)
        .bind(job.batch.as_ref().map(blob))
        .bind(&job.file_name)
        .bind(blob(&job.source))
        .bind(integer(job.source_bytes))
        .bind(&job.origin)
        .bind(&job.options)
        .bind(job.created.as_millis())
        .bind(blob(&job.id))
        .execute(connection)
        .await
        .map(drop)
}

async fn store(connection: &mut SqliteConnection, entry: &Entry) -> Result<(), sqlx::Error> {
    let update = "
        UPDATE jobs SET
            state = ?, attempts = ?, outages = ?, deliveries = ?, retries = ?, repeats = ?, progress = ?, mp3 = ?,
            mp3_bytes = ?, report = ?, failure = ?, requested = ?, started = ?, finished = ?,
            updated = ?, notified = ?, announced = ?, fence = ?, leased_until = ?, waiting = ?, in_line = ?,
            notifier = ?, notifier_until = ?
        WHERE id = ?";
    let update = bind_changing(sqlx::query(update), entry).bind(blob(&entry.job.id));
    update.execute(connection).await.map(drop)
}

/// Binds the columns that change during the life of a job, in the order of both statements above.
fn bind_changing<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    entry: &'q Entry,
) -> Query<'q, Sqlite, SqliteArguments> {
    let job = &entry.job;
    let output = job.output.as_ref();
    query
        .bind(job.state.name())
        .bind(job.attempts)
        .bind(job.outages)
        .bind(job.deliveries)
        .bind(job.retries)
        .bind(job.repeats)
        .bind(f64::from(job.progress))
        .bind(output.map(|output| blob(&output.mp3)))
        .bind(output.map(|output| integer(output.bytes)))
        .bind(output.map(|output| output.report.as_str()))
        .bind(&job.failure)
        .bind(job.requested.map(Timestamp::as_millis))
        .bind(job.started.map(Timestamp::as_millis))
        .bind(job.finished.map(Timestamp::as_millis))
        .bind(job.updated.as_millis())
        .bind(job.notified.map(Timestamp::as_millis))
        .bind(job.announced)
        .bind(integer(entry.fence))
        .bind(entry.leased_until.as_millis())
        .bind(entry.waiting.as_deref())
        .bind(entry.in_line)
        .bind(entry.notifier.as_ref().map(|(id, _)| blob(id)))
        .bind(entry.notifier.map(|(_, until)| until.as_millis()))
}

/// The entry of a row, if it can be read: one that is damaged keeps no other. What its files are is checked by itself.
fn readable(row: &SqliteRow) -> Option<Entry> {
    let unreadable = |e: sqlx::Error| {
        let id: &[u8] = row.try_get("id").unwrap_or_default();
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        tracing::error!(job_id = id, error = %e, "a job in the ledger is damaged, and is passed over");
    };
    entry_of(row).map_err(unreadable).ok()
}

fn entry_of(row: &SqliteRow) -> Result<Entry, sqlx::Error> {
    let time = |column: &str| -> Result<Option<Timestamp>, sqlx::Error> {
        Ok(row
            .try_get::<Option<i64>, _>(column)?
            .map(Timestamp::from_millis))
    };
    let id = |column: &str| -> Result<Option<Id>, sqlx::Error> {
        row.try_get::<Option<&[u8]>, _>(column)?
            .map(id_of)
            .transpose()
    };
    let output = match id("mp3")? {
        Some(mp3) => Some(Output {
            mp3,
            bytes: row.try_get("mp3_bytes")?,
            report: row.try_get("report")?,
        }),
        None => None,
    };
    let job = Job {
        id: id_of(row.try_get("id")?)?,
        owner: row.try_get("owner")?,
        key: row.try_get("key")?,
        fingerprint: row.try_get("fingerprint")?,
        batch: id("batch")?,
        file_name: row.try_get("file_name")?,
        source: id_of(row.try_get("source")?)?,
        source_bytes: row.try_get("source_bytes")?,
        origin: row.try_get("origin")?,
        options: row.try_get("options")?,
        state: state_of(row.try_get("state")?)?,
        attempts: row.try_get("attempts")?,
        outages: row.try_get("outages")?,
        deliveries: row.try_get("deliveries")?,
        retries: row.try_get("retries")?,
        repeats: row.try_get("repeats")?,
        progress: row.try_get::<f64, _>("progress")? as f32,
        output,
        failure: row.try_get("failure")?,
        created: Timestamp::from_millis(row.try_get("created")?),
        requested: time("requested")?,
        started: time("started")?,
        finished: time("finished")?,
        updated: Timestamp::from_millis(row.try_get("updated")?),
        notified: time("notified")?,
        announced: row.try_get("announced")?,
    };
    Ok(Entry {
        job,
        fence: row.try_get("fence")?,
        leased_until: Timestamp::from_millis(row.try_get("leased_until")?),
        waiting: row.try_get("waiting")?,
        owed: false,
        in_line: row.try_get("in_line")?,
        notifier: id("notifier")?.zip(time("notifier_until")?),
    })
}

fn state_of(name: &str) -> Result<State, sqlx::Error> {
    name.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

fn id_of(bytes: &[u8]) -> Result<Id, sqlx::Error> {
    let bytes = bytes
        .try_into()
        .map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
    Ok(Id::from_bytes(bytes))
}

fn blob(id: &Id) -> &[u8] {
    id.as_bytes()
}

/// SQLite's integers have a sign.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn push_states(query: &mut QueryBuilder<Sqlite>, states: &[State]) {
    let mut list = query.push(" IN (").separated(", ");
    for state in states {
        list.push_bind(state.name());
    }
    query.push(")");
}

/// Why a change did not happen: the ledger refused it, or the database failed.
enum Failure {
    Jobs(Error),
    Sqlx(sqlx::Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Jobs(e)
    }
}

impl LacksRoom for Failure {
    fn lacks_room(&self) -> bool {
        matches!(self, Failure::Sqlx(e) if e.lacks_room())
    }
}

impl From<sqlx::Error> for Failure {
    fn from(e: sqlx::Error) -> Self {
        Failure::Sqlx(e)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Jobs(e) => e,
            Failure::Sqlx(e) => sqlite::backend(e),
        }
    }
}
