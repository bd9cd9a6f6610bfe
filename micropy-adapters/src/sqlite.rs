//! One SQLite database that holds queue, ledger and users.
//!
//! Write-ahead log with `synchronous = FULL`: a commit is on the disk when it returns. All writes go
//! through one connection, so that none ever finds the database locked; reads have their own.

use std::io;
use std::path::Path;

use micropy_core::ports::BackendError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Sqlite, Transaction};

use crate::private;

/// The adapter's name in errors.
pub(crate) const NAME: &str = "SQLite";

/// Readers at the same time.
const READERS: u32 = 4;

/// What the tables look like; `PRAGMA user_version` counts the changes.
const VERSION: i64 = 1;
const SCHEMA: &str = "
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

/// An open database.
#[derive(Clone, Debug)]
pub struct Database {
    write: SqlitePool,
    read: SqlitePool,
}

impl Database {
    /// Opens the database at `path`, which is made if it is missing. Other users of the machine cannot read it.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        // SQLite gives the files beside it (`-wal`, `-shm`) the same mode.
        private::create_file(path)?;
        Self::connect(path).await.map_err(io::Error::other)
    }

    async fn connect(path: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(std::time::Duration::from_secs(10));
        let one = SqlitePoolOptions::new()
            .max_connections(1)
            // Where the disk is full, SQLite itself takes the transaction back, and the driver believes for
            // ever that it is open: another connection is then in its place.
            .before_acquire(|connection, _| {
                let fit = !connection.is_in_transaction();
                Box::pin(async move { Ok(fit) })
            });
        let write = one.connect_with(options.clone()).await?;
        let several = SqlitePoolOptions::new().max_connections(READERS);
        let read = several.connect_lazy_with(options.read_only(true));
        let database = Database { write, read };
        database.migrate().await?;
        Ok(database)
    }

    async fn migrate(&self) -> Result<(), sqlx::Error> {
        let mut transaction = self.begin().await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut *transaction)
            .await?;
        match version {
            0 => {
                sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
                sqlx::raw_sql("PRAGMA user_version = 1")
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await
            }
            VERSION => Ok(()),
            newer => {
                let why = format!("the database is of version {newer}, this program of {VERSION}");
                Err(sqlx::Error::Configuration(why.into()))
            }
        }
    }

    /// Gives back what a process that was killed held: deliveries and leases.
    ///
    /// Only for one that has the database to itself; otherwise they come back when they run out.
    pub async fn recover(&self) -> io::Result<()> {
        let give_back = "
            UPDATE messages SET held = 0, due = 0 WHERE held;
            UPDATE jobs SET leased_until = 0 WHERE state = 'running';";
        let done = sqlx::raw_sql(give_back).execute(&self.write).await;
        done.map(drop).map_err(io::Error::other)
    }

    /// Writes what the log holds into the database file and closes it.
    pub async fn close(&self) {
        self.read.close().await;
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
}

/// Whether it may pass: somebody else has the database, or it is being closed.
pub(crate) fn may_pass(e: &sqlx::Error) -> bool {
    match e {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        // SQLITE_BUSY and SQLITE_FULL, https://www.sqlite.org/rescode.html
        sqlx::Error::Database(e) => matches!(e.code().as_deref(), Some("5" | "13")),
        _ => false,
    }
}

/// As a port keeps it.
pub(crate) fn boxed(e: sqlx::Error) -> BackendError {
    Box::new(e)
}
