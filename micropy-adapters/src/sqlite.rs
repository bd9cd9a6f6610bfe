//! A SQLite database that holds queues, ledger and users.
//!
//! The write-ahead log with `synchronous = FULL` has a commit on the disk when it returns. All writes go through one
//! connection, so that none ever finds the database locked. Reads have their own.

mod ballast;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Connection, Sqlite, Transaction};

use self::ballast::Ballast;
use crate::fault::{Fault, Kind};
use crate::{private, schema};

/// The adapters' name in errors.
pub(crate) const NAME: &str = "SQLite";

/// How long to wait for somebody else's write.
const BUSY: Duration = Duration::from_secs(10);
/// Connections for reading.
const READERS: u32 = 4;
/// Connections for looking up users. Each request does, and has not to wait for those that read many jobs.
const USER_READERS: u32 = 2;

/// The pauses before a change is made again that found the disk full, once the ballast is given up: a file system may
/// take a moment to have its room.
const ROOM_PAUSES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_secs(1),
];

/// What has changed from version to version; see [`schema`]. `PRAGMA user_version` counts them.
const MIGRATIONS: &[&str] = &[
    TABLES, LEDGER, SWEEPER, STANDING, API_TOKENS, TURNS, REQUESTS, NOTE, WEBHOOKS, IMPORTS,
    ANNOUNCED,
];

const TABLES: &str = "
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    payload BLOB NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    -- A receiver has it, until due at the latest.
    held INTEGER NOT NULL DEFAULT 0,
    -- Not to be delivered before: milliseconds since the epoch.
    due INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX messages_by_queue ON messages (queue, id);

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    payload BLOB NOT NULL,
    deliveries INTEGER NOT NULL,
    reason TEXT NOT NULL,
    died INTEGER NOT NULL
) STRICT;

CREATE TABLE jobs (
    id BLOB PRIMARY KEY,
    owner TEXT NOT NULL,
    key TEXT,
    batch BLOB,
    file_name TEXT NOT NULL,
    source BLOB NOT NULL UNIQUE,
    source_bytes INTEGER NOT NULL,
    options TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    progress REAL NOT NULL,
    mp3 BLOB UNIQUE,
    mp3_bytes INTEGER,
    report TEXT,
    failure TEXT,
    created INTEGER NOT NULL,
    started INTEGER,
    finished INTEGER,
    updated INTEGER NOT NULL,
    notified INTEGER,
    fence INTEGER NOT NULL,
    leased_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX jobs_by_key ON jobs (owner, key) WHERE key IS NOT NULL;
CREATE INDEX jobs_by_owner ON jobs (owner, id);
CREATE INDEX jobs_by_state ON jobs (state, updated);

CREATE TABLE users (
    email TEXT PRIMARY KEY,
    password TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

const LEDGER: &str = "
-- The ledger's name and generation, in the only row.
CREATE TABLE ledger (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    name BLOB NOT NULL,
    generation INTEGER NOT NULL
) STRICT;
";

const SWEEPER: &str = "
-- Who sweeps, in the only row.
CREATE TABLE sweeper (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    holder BLOB NOT NULL,
    -- Milliseconds since the epoch.
    until INTEGER NOT NULL
) STRICT;
";

const STANDING: &str = "
CREATE TABLE users_with_standing (
    email TEXT PRIMARY KEY,
    password TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(12)))),
    role TEXT NOT NULL DEFAULT 'user',
    disabled INTEGER NOT NULL DEFAULT 0,
    verified INTEGER NOT NULL DEFAULT 0,
    -- Counts what ends all tokens of the user.
    version INTEGER NOT NULL DEFAULT 0,
    -- Tokens without a version are good from then on: milliseconds since the epoch.
    tokens_since INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
-- Mail has gone to those who were there before.
INSERT INTO users_with_standing (email, password, verified) SELECT email, password, 1 FROM users;
DROP TABLE users;
ALTER TABLE users_with_standing RENAME TO users;

-- Tokens that were ended before they expire, by their SHA-256.
CREATE TABLE revoked_tokens (
    digest BLOB PRIMARY KEY,
    expiry INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

const API_TOKENS: &str = "
-- Tokens for programs, by their SHA-256.
CREATE TABLE api_tokens (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    -- Of the user, when it was made: it ends with it.
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    -- Names with a space between.
    scopes TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX api_tokens_by_user ON api_tokens (user_id, created);
";

const TURNS: &str = "
ALTER TABLE jobs ADD COLUMN fingerprint TEXT;
ALTER TABLE jobs ADD COLUMN outages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN deliveries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN requested INTEGER;
-- The message that requests the conversion, until it is the owner's turn.
ALTER TABLE jobs ADD COLUMN waiting BLOB;
ALTER TABLE jobs ADD COLUMN in_line INTEGER NOT NULL DEFAULT 0;
-- Who is notifying the owner, and until when: milliseconds since the epoch.
ALTER TABLE jobs ADD COLUMN notifier BLOB;
ALTER TABLE jobs ADD COLUMN notifier_until INTEGER;
UPDATE jobs SET deliveries = attempts;
-- Their messages are in the queue.
UPDATE jobs SET requested = updated WHERE state IN ('queued', 'running');
CREATE INDEX jobs_in_line ON jobs (owner) WHERE in_line;
CREATE INDEX jobs_waiting ON jobs (owner, id) WHERE waiting IS NOT NULL;
CREATE INDEX jobs_notifying ON jobs (id) WHERE notifier IS NOT NULL;
";

const REQUESTS: &str = "
ALTER TABLE jobs ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN repeats INTEGER NOT NULL DEFAULT 0;
";

const NOTE: &str = "
-- What whoever swept last has noted for whoever is next: JSON.
ALTER TABLE sweeper ADD COLUMN note TEXT NOT NULL DEFAULT '';
";

const WEBHOOKS: &str = "
CREATE TABLE webhook_endpoints (
    id BLOB PRIMARY KEY,
    owner TEXT NOT NULL,
    -- None: the secret signs what is sent to URLs that single jobs name.
    url TEXT,
    secret TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_endpoints_by_owner ON webhook_endpoints (owner, id);
CREATE UNIQUE INDEX webhook_endpoints_for_jobs ON webhook_endpoints (owner) WHERE url IS NULL;

CREATE TABLE webhook_deliveries (
    id BLOB PRIMARY KEY,
    owner TEXT NOT NULL,
    endpoint BLOB NOT NULL,
    job BLOB NOT NULL,
    url TEXT NOT NULL,
    event TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    -- Not to be sent before: milliseconds since the epoch.
    due INTEGER NOT NULL,
    answer TEXT,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_deliveries_by_owner ON webhook_deliveries (owner, id);
CREATE INDEX webhook_deliveries_by_endpoint ON webhook_deliveries (endpoint);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due, id) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_settled ON webhook_deliveries (updated) WHERE state <> 'pending';
";

const IMPORTS: &str = "
-- The URL that the video is read from.
ALTER TABLE jobs ADD COLUMN origin TEXT;
";

const ANNOUNCED: &str = "
-- The job's retries when its end was last planned to be announced.
ALTER TABLE jobs ADD COLUMN announced INTEGER;
DROP INDEX webhook_deliveries_by_endpoint;
CREATE INDEX webhook_deliveries_by_endpoint ON webhook_deliveries (endpoint, state, updated);
CREATE INDEX webhook_deliveries_by_job ON webhook_deliveries (job);
";

/// An open database.
#[derive(Clone, Debug)]
pub struct Database {
    write: SqlitePool,
    read: SqlitePool,
    read_users: SqlitePool,
    ballast: Arc<Ballast>,
}

/// An error that may say that there is no room on the disk.
pub(crate) trait LacksRoom {
    fn lacks_room(&self) -> bool;
}

impl LacksRoom for sqlx::Error {
    fn lacks_room(&self) -> bool {
        let sqlx::Error::Database(e) = self else {
            return false;
        };
        // https://www.sqlite.org/rescode.html: SQLITE_FULL, SQLITE_IOERR_WRITE (also where a quota is used up), and
        // SQLITE_IOERR_SHMSIZE.
        matches!(e.code().as_deref(), Some("13" | "778" | "4874"))
    }
}

impl Database {
    /// Opens the database at `path`, which is made if it is missing. Other users of the machine cannot read it.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        // SQLite gives the files beside it (`-wal`, `-shm`) the same mode.
        private::create_file(path)?;
        let open = async || {
            let database = Self::connect(path).await?;
            database.migrate().await?;
            Ok::<_, sqlx::Error>(database)
        };
        let opened = match open().await {
            Err(e) if LacksRoom::lacks_room(&e) && Ballast::of(path).give_up() => open().await,
            opened => opened,
        };
        opened.map_err(|e| named(path, e))
    }

    /// Keeps a file of so many bytes beside the database, which is given up on a full disk for what frees room, and
    /// made again when there is room. SQLite's log grows to 4 MiB; have some more.
    pub async fn keep_ballast(&self, bytes: u64) {
        self.ballast.keep(bytes);
        self.fill_ballast().await;
    }

    /// Makes the ballast as long as it is to be, if it is not, and as far as there is room for it.
    pub(crate) async fn fill_ballast(&self) {
        let _turn = self.ballast.turn.lock().await;
        self.make_ballast().await;
    }

    async fn make_ballast(&self) {
        let ballast = self.ballast.clone();
        let filled = tokio::task::spawn_blocking(move || ballast.fill()).await;
        if let Err(e) = filled.unwrap_or_else(|e| Err(io::Error::other(e))) {
            tracing::warn!(error = %e, "no room is kept for deleting on a full disk");
        }
    }

    /// Makes a change by which room is freed. On a full disk it has the ballast's.
    pub(crate) async fn freeing<T, E: LacksRoom, F: Future<Output = Result<T, E>>>(
        &self,
        change: impl Fn() -> F,
    ) -> Result<T, E> {
        let lacks_room = |done: &Result<T, E>| done.as_ref().is_err_and(LacksRoom::lacks_room);
        let mut done = change().await;
        if !lacks_room(&done) {
            return done;
        }
        let _turn = self.ballast.turn.lock().await;
        tracing::warn!("the disk is full: there is room for deletions alone");
        self.ballast.give_up();
        for pause in ROOM_PAUSES {
            tokio::time::sleep(pause).await;
            done = change().await;
            if !lacks_room(&done) {
                break;
            }
        }
        self.make_ballast().await;
        done
    }

    /// Opens the database at `path` as it is, beside a service that may be using it. None if it is missing, or of an
    /// older version of this program: that service could not go on with an upgraded one.
    pub async fn open_beside(path: impl AsRef<Path>) -> io::Result<Option<Self>> {
        let path = path.as_ref();
        if !path.try_exists()? {
            return Ok(None);
        }
        let opened = async {
            let database = Self::connect(path).await?;
            let version: i64 = sqlx::query_scalar("PRAGMA user_version")
                .fetch_one(&database.write)
                .await?;
            if missing(version)?.is_empty() {
                return Ok(Some(database));
            }
            database.close().await;
            Ok(None)
        };
        opened.await.map_err(|e| named(path, e))
    }

    async fn connect(path: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        let one = SqlitePoolOptions::new()
            .max_connections(1)
            // When the disk is full, SQLite itself rolls the transaction back, but the driver goes on believing that it
            // is open. Such a connection is replaced.
            .before_acquire(|connection, _| {
                let is_usable = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_usable) })
            });
        let write = one.connect_with(options.clone()).await?;
        let readers = |count| {
            let several = SqlitePoolOptions::new().max_connections(count);
            several.connect_lazy_with(options.clone().read_only(true))
        };
        Ok(Database {
            read: readers(READERS),
            read_users: readers(USER_READERS),
            write,
            ballast: Arc::new(Ballast::of(path)),
        })
    }

    async fn migrate(&self) -> Result<(), sqlx::Error> {
        let mut transaction = self.begin().await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut *transaction)
            .await?;
        for migration in missing(version)? {
            sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
        }
        let done = format!("PRAGMA user_version = {}", MIGRATIONS.len());
        sqlx::raw_sql(sqlx::AssertSqlSafe(done))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Ends the deliveries, leases and claims of a process that was killed.
    ///
    /// Only for a process that has the database to itself. Otherwise they end when they run out.
    pub async fn recover(&self) -> io::Result<()> {
        let end = "
            UPDATE messages SET held = 0, due = 0 WHERE held;
            UPDATE jobs SET leased_until = 0 WHERE state = 'running';
            UPDATE jobs SET notifier = NULL, notifier_until = NULL WHERE notifier IS NOT NULL;";
        let end = || sqlx::raw_sql(end).execute(&self.write);
        let done = self.freeing(end).await;
        done.map(drop).map_err(io::Error::other)
    }

    /// Writes the log into the database file, and closes it.
    pub async fn close(&self) {
        self.read.close().await;
        self.read_users.close().await;
        self.write.close().await;
    }

    /// Begins a transaction that may write.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.write.begin_with("BEGIN IMMEDIATE").await
    }

    /// For single statements that write.
    pub(crate) fn write(&self) -> &SqlitePool {
        &self.write
    }

    /// For statements that only read.
    pub(crate) fn read(&self) -> &SqlitePool {
        &self.read
    }

    /// For those that only read users.
    pub(crate) fn read_users(&self) -> &SqlitePool {
        &self.read_users
    }
}

/// The migrations that a database at `version` still needs.
fn missing(version: i64) -> Result<&'static [&'static str], sqlx::Error> {
    let missing = schema::missing(MIGRATIONS, version);
    missing.map_err(|e| sqlx::Error::Configuration(e.into()))
}

/// The error of a database, with its file.
fn named(path: &Path, e: sqlx::Error) -> io::Error {
    io::Error::other(format!("{}: {e}", path.display()))
}

/// Copies the database at `from`, as it is at one moment, into the new file `to`. Others may be using it; its schema
/// stays as it is. The copy is durable when this returns.
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let name = to.to_str().ok_or_else(|| {
        let why = format!("{}: SQLite takes no name that is not UTF-8", to.display());
        io::Error::new(io::ErrorKind::InvalidInput, why)
    })?;
    // SQLite fills an empty file.
    private::options().write(true).create_new(true).open(to)?;
    let copied = async {
        let options = SqliteConnectOptions::new()
            .filename(from)
            .busy_timeout(BUSY);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        sqlx::query("VACUUM INTO ?")
            .bind(name)
            .execute(&mut connection)
            .await?;
        connection.close().await
    };
    copied.await.map_err(|e| named(from, e))?;
    File::open(to)?.sync_all()
}

/// Takes its name from the ledger in the database at `path`, which nobody may be using: it is another one from now on.
pub async fn forget_identity(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let database = Database::open(path).await?;
    let forgotten = sqlx::query("DELETE FROM ledger").execute(database.write());
    let forgotten = forgotten.await.map(drop);
    database.close().await;
    forgotten.map_err(|e| named(path, e))
}

/// Classifies an error.
pub(crate) fn fault(e: sqlx::Error) -> Fault {
    let kind = match &e {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Kind::Passing,
        // https://www.sqlite.org/rescode.html
        sqlx::Error::Database(e) => match e.code().as_deref() {
            // SQLITE_BUSY
            Some("5") => Kind::Passing,
            // SQLITE_FULL
            Some("13") => Kind::Full,
            _ => Kind::Lasting,
        },
        _ => Kind::Lasting,
    };
    Fault::new(NAME, kind, e)
}

/// The error as a port's.
pub(crate) fn backend<E: From<Fault>>(e: sqlx::Error) -> E {
    fault(e).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn on_a_full_disk_what_frees_room_is_given_the_ballast() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("micropy.db"));
        let database = database.await.unwrap();
        database.keep_ballast(100_000).await;
        let ballast = folder.path().join("micropy.db-ballast");
        assert_eq!(ballast.metadata().unwrap().len(), 100_000);
        // The file may not grow as long as the ballast is there.
        let change = || async {
            let most = if ballast.exists() { 1 } else { 1_000_000 };
            let most = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {most}"));
            sqlx::raw_sql(most).execute(database.write()).await?;
            let insert = "INSERT INTO messages (queue, payload) VALUES ('', zeroblob(1000000))";
            sqlx::query(insert).execute(database.write()).await
        };
        let e = change().await.unwrap_err();
        assert!(e.lacks_room() && ballast.exists(), "{e}");
        database.freeing(change).await.unwrap();
        assert_eq!(
            ballast.metadata().unwrap().len(),
            100_000,
            "there is room again"
        );
        let other = || async { Err::<(), _>(sqlx::Error::RowNotFound) };
        assert!(database.freeing(other).await.is_err());
        let full = || async {
            let insert = "INSERT INTO messages (queue, payload) VALUES ('', zeroblob(1000000))";
            sqlx::raw_sql("PRAGMA max_page_count = 1")
                .execute(database.write())
                .await?;
            sqlx::query(insert).execute(database.write()).await
        };
        assert!(database.freeing(full).await.is_err_and(|e| e.lacks_room()));
        assert!(ballast.exists(), "it is kept for others");
        database.close().await;
    }
}
