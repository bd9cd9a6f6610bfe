//! One MongoDB that holds files and the ledger: a single server, or a replica set.
//!
//! Every write waits until the journals of the majority have it: what was acknowledged survives a kill, a
//! power cut and a change of the primary. Every read asks the primary.

use std::io;
use std::time::Duration;

use micropy_core::ports::{BackendError, Id};
use mongodb::bson::Bson;
use mongodb::bson::oid::ObjectId;
use mongodb::error::{CommandError, Error, ErrorKind, WriteFailure};
use mongodb::options::{
    Acknowledgment, ClientOptions, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria,
    WriteConcern,
};

/// The adapters' name in errors.
pub(crate) const NAME: &str = "MongoDB";

/// How long a server that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the majority may take to write: longer than a change of the primary.
const MAJORITY_PATIENCE: Duration = Duration::from_secs(20);

/// Connections to a MongoDB, made when they are needed.
#[derive(Clone, Debug)]
pub struct Client(mongodb::Client);

impl Client {
    /// Reads the connection string `url`; whether anything answers there is seen at the first use.
    ///
    /// Only a `mongodb+srv` URL needs the network already here: it names its servers by DNS.
    pub async fn open(url: &str) -> io::Result<Self> {
        // The driver's own words may repeat the URL, and with it a password.
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

    /// A database of it, whose writes are durable and whose reads are never behind them.
    pub(crate) fn database(&self, name: &str) -> mongodb::Database {
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

/// Our name as MongoDB's.
pub(crate) fn object_id(id: Id) -> ObjectId {
    ObjectId::from_bytes(*id.as_bytes())
}

/// MongoDB's name as ours.
pub(crate) fn id(object_id: ObjectId) -> Id {
    Id::from_bytes(object_id.bytes())
}

/// A whole number, of whatever type a driver or an operator wrote it as.
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

/// What an error asks of its reader.
pub(crate) enum Fault {
    /// A unique index has this value already.
    Taken(BackendError),
    /// No room left.
    Full(BackendError),
    /// It may pass.
    Passing(BackendError),
    /// It stays.
    Lasting(BackendError),
}

impl From<Error> for Fault {
    fn from(e: Error) -> Self {
        match code(&e) {
            Some(11000) => Fault::Taken(Box::new(e)),
            // OutOfDiskSpace; a quota of a hosted service says so in words.
            Some(14031) => Fault::Full(Box::new(e)),
            Some(8000) if e.to_string().contains("space quota") => Fault::Full(Box::new(e)),
            // ExceededTimeLimit, WriteConcernTimeout
            Some(262 | 64) => Fault::Passing(Box::new(e)),
            _ if may_pass(&e) => Fault::Passing(Box::new(e)),
            _ => Fault::Lasting(Box::new(e)),
        }
    }
}

/// The server's number of the error: <https://www.mongodb.com/docs/manual/reference/error-codes/>.
fn code(e: &Error) -> Option<i32> {
    match &*e.kind {
        ErrorKind::Command(CommandError { code, .. }) => Some(*code),
        ErrorKind::Write(WriteFailure::WriteError(e)) => Some(e.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(e)) => Some(e.code),
        _ => None,
    }
}

/// Whether the server cannot be reached, or is about to go or to hand over.
fn may_pass(e: &Error) -> bool {
    // The driver labels what a second try may mend, whether or not it made one.
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
