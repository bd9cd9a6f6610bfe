//! A MongoDB that holds files and the ledger: a single server or a replica set.
//!
//! Every write waits until a majority has it in its journal. So what was acknowledged survives a kill, a power cut and
//! a change of the primary. Every read asks the primary.

use std::io;
use std::time::Duration;

use micropy_core::ports::Id;
use micropy_core::ports::binding::Identity;
use mongodb::Database;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::{CommandError, Error, ErrorKind, WriteFailure};
use mongodb::options::{
    Acknowledgment, ClientOptions, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria,
    WriteConcern,
};

use crate::fault::{Fault, Kind};
use crate::schema;

/// The adapters' name in errors.
pub(crate) const NAME: &str = "MongoDB";

/// How long to wait for a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a majority may take to write: longer than a change of the primary.
const MAJORITY_PATIENCE: Duration = Duration::from_secs(20);

/// Connections to a MongoDB, made when they are needed.
#[derive(Clone, Debug)]
pub struct Client(mongodb::Client);

impl Client {
    /// Reads the connection string `url`. The first use connects.
    ///
    /// Only a `mongodb+srv` URL needs the network already here: it names its servers by DNS.
    pub async fn open(url: &str) -> io::Result<Self> {
        // The driver's message may repeat the URL, and with it a password.
        let unreadable = |e: Error| match *e.kind {
            ErrorKind::DnsResolve { .. } => io::Error::new(
                io::ErrorKind::HostUnreachable,
                "the servers of the MongoDB URL cannot be looked up",
            ),
            _ => io::Error::new(io::ErrorKind::InvalidInput, "not a MongoDB URL"),
        };
        let mut options = ClientOptions::parse(url).await.map_err(unreadable)?;
        options.app_name.get_or_insert_with(|| "micropy".into());
        options.server_selection_timeout.get_or_insert(PATIENCE);
        options.connect_timeout.get_or_insert(PATIENCE);
        let client = mongodb::Client::with_options(options).map_err(io::Error::other)?;
        Ok(Client(client))
    }

    /// One of its databases, with durable writes, and reads that see them.
    pub(crate) fn database(&self, name: &str) -> Database {
        let durable = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .w_timeout(MAJORITY_PATIENCE)
            .build();
        let options = DatabaseOptions::builder()
            .write_concern(durable)
            .read_concern(ReadConcern::local())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        self.0.database_with_options(name, options)
    }
}

/// Our id as MongoDB's.
pub(crate) fn object_id(id: Id) -> ObjectId {
    ObjectId::from_bytes(*id.as_bytes())
}

/// MongoDB's id as ours.
pub(crate) fn id(object_id: ObjectId) -> Id {
    Id::from_bytes(object_id.bytes())
}

/// A whole number, in whatever type a driver or an operator wrote it.
pub(crate) fn integer(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        // Up to 2⁵³ they are exact.
        Bson::Double(number) if number.fract() == 0.0 && number.abs() <= 9e15 => {
            Some(*number as i64)
        }
        _ => None,
    }
}

/// MongoDB's integers have a sign.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The ledger that a document names.
pub(crate) fn identity<E: From<Fault>>(document: &Document) -> Result<Identity, E> {
    let ledger = document.get_object_id("ledger").ok().map(id);
    let generation = document.get("generation").and_then(integer);
    let generation = generation.and_then(|number| u64::try_from(number).ok());
    match (ledger, generation) {
        (Some(ledger), Some(generation)) => Ok(Identity { ledger, generation }),
        _ => Err(unreadable(format!(
            "no ledger's name and generation: {document}"
        ))),
    }
}

impl From<Error> for Fault {
    fn from(e: Error) -> Self {
        let kind = match code(&e) {
            // OutOfDiskSpace; a quota of a hosted service is told by its message.
            Some(14031) => Kind::Full,
            Some(8000) if e.to_string().contains("space quota") => Kind::Full,
            // ExceededTimeLimit, WriteConcernTimeout
            Some(262 | 64) => Kind::Passing,
            _ if may_pass(&e) => Kind::Passing,
            _ => Kind::Lasting,
        };
        Fault::new(NAME, kind, e)
    }
}

/// Whether a unique index has the value already.
pub(crate) fn is_taken(e: &Error) -> bool {
    code(e) == Some(11000)
}

/// The error as a port's.
pub(crate) fn backend<E: From<Fault>>(e: Error) -> E {
    Fault::from(e).into()
}

/// A document that is not as it should be, as a port's error.
pub(crate) fn unreadable<E: From<Fault>>(what: String) -> E {
    Fault::lasting(NAME, what).into()
}

/// Our own collection in each database: the versions of the others, and whose they are.
pub(crate) const OWN: &str = "micropy";

/// The migrations that the collections called `name` in `database` still need, each with its number.
///
/// After each, [`record_migration`] is due. Processes that start at the same time may apply a migration together, and
/// one that was killed applies it again: each must be harmless when repeated.
pub(crate) async fn missing_migrations<'m, M>(
    database: &Database,
    name: &str,
    migrations: &'m [M],
) -> Result<impl Iterator<Item = (i64, &'m M)> + use<'m, M>, Fault> {
    let own = database.collection::<Document>(OWN);
    let version = match own.find_one(doc! { "_id": name }).await? {
        Some(document) => document.get("version").and_then(integer).ok_or_else(|| {
            let what = format!("the version of {name} is no number: {document}");
            Fault::lasting(NAME, what)
        })?,
        None => 0,
    };
    let missing = schema::missing(migrations, version).map_err(|e| Fault::lasting(NAME, e))?;
    Ok((version + 1..).zip(missing))
}

/// Records that the collections called `name` have undergone migration `number`.
pub(crate) async fn record_migration(
    database: &Database,
    name: &str,
    number: i64,
) -> Result<(), Fault> {
    let own = database.collection::<Document>(OWN);
    // Never back: another process may be ahead.
    let done = doc! { "$max": { "version": number } };
    own.update_one(doc! { "_id": name }, done)
        .upsert(true)
        .await?;
    tracing::info!(collections = name, version = number, "migrated");
    Ok(())
}

/// The server's error code: <https://www.mongodb.com/docs/manual/reference/error-codes/>.
pub(crate) fn code(e: &Error) -> Option<i32> {
    match &*e.kind {
        ErrorKind::Command(CommandError { code, .. }) => Some(*code),
        ErrorKind::Write(WriteFailure::WriteError(e)) => Some(e.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(e)) => Some(e.code),
        _ => None,
    }
}

/// Whether the server cannot be reached, or is about to go or to hand over.
fn may_pass(e: &Error) -> bool {
    // The driver labels errors that a second attempt may avoid, whether or not it made one.
    if e.contains_label(mongodb::error::RETRYABLE_WRITE_ERROR) {
        return true;
    }
    match &*e.kind {
        ErrorKind::Io(_)
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. } => true,
        // HostUnreachable, HostNotFound, NetworkTimeout, ShutdownInProgress, PrimarySteppedDown,
        // SocketException, NotWritablePrimary, InterruptedAtShutdown, InterruptedDueToReplStateChange,
        // NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary
        ErrorKind::Command(_) | ErrorKind::Write(_) => matches!(
            code(e),
            Some(6 | 7 | 89 | 91 | 189 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436)
        ),
        _ => false,
    }
}
