//! A connection to the broker that is made when it is needed, and again when it is lost.

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::protocol::{AMQPSoftError, constants};
use lapin::runtime;
use lapin::tcp::OwnedTLSConfig;
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use micropy_core::ports::queue::Error;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{complaint, error, unavailable};

/// How long a broker may take to accept a connection.
const ACCEPT: Duration = Duration::from_secs(3);
/// How long it may take for the handshake and the password.
const GREET: Duration = Duration::from_secs(5);
/// How often a task that waits for the broker checks that there still is a connection.
pub(super) const LOOK: Duration = Duration::from_millis(250);

pub(super) struct Link {
    uri: AMQPUri,
    /// Authorities that are trusted beside those that browsers trust.
    tls: OwnedTLSConfig,
    /// Its name, as the broker's operator sees it.
    title: String,
    current: Mutex<Option<Arc<Connection>>>,
}

impl Link {
    pub(super) fn new(uri: AMQPUri, tls: OwnedTLSConfig, title: String) -> Self {
        Link {
            uri,
            tls,
            title,
            current: Mutex::default(),
        }
    }

    /// The present connection, or a new one.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, Error> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|c| c.status().connected()) {
            return Ok(connection.clone());
        }
        *current = None;
        let connection = Arc::new(self.connect().await?);
        *current = Some(connection.clone());
        Ok(connection)
    }

    async fn connect(&self) -> Result<Connection, Error> {
        // lapin connects on a thread of its own, which cannot be cancelled. So check first that somebody is there:
        // otherwise these threads would pile up while packets go unanswered.
        let address = (self.uri.authority.host.as_str(), self.uri.authority.port);
        match timeout(ACCEPT, TcpStream::connect(address)).await {
            Ok(Ok(probe)) => drop(probe),
            Ok(Err(e)) => return Err(unavailable(e)),
            Err(_) => return Err(unavailable("the broker does not accept a connection")),
        }
        let properties =
            ConnectionProperties::default().with_connection_name(self.title.clone().into());
        let runtime = runtime::default_runtime().map_err(unavailable)?;
        let (uri, tls) = (self.uri.clone(), self.tls.clone());
        let connect = Connection::connect_uri_with_config(uri, properties, tls, runtime);
        match timeout(GREET, connect).await {
            Ok(connected) => connected.map_err(error),
            Err(_) => Err(unavailable("the broker does not answer")),
        }
    }

    /// Drops the connection `lost`, unless that has been done.
    pub(super) async fn discard(&self, lost: &Arc<Connection>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|c| Arc::ptr_eq(c, lost)) {
            *current = None;
        }
    }

    /// Takes the connection away, if there is one.
    pub(super) async fn take(&self) -> Option<Arc<Connection>> {
        self.current.lock().await.take()
    }
}

/// Declares the durable queue `queue`, which the broker has just reported missing.
pub(super) async fn declare(
    connection: &Connection,
    queue: &str,
    arguments: FieldTable,
) -> Result<(), Error> {
    tracing::info!(queue, "declaring a missing queue");
    // A channel of its own: a refusal closes it.
    let is_up = || connection.status().connected();
    let channel = answer(is_up, connection.create_channel()).await?;
    let options = QueueDeclareOptions::durable();
    answer(is_up, async {
        match channel
            .queue_declare(queue.into(), options, arguments)
            .await
        {
            // Somebody else was faster, with other arguments.
            Err(e) if complaint(&e) == Some(&AMQPSoftError::PRECONDITIONFAILED.into()) => Ok(()),
            other => other.map(drop),
        }
    })
    .await
}

/// Waits for the broker's answer, or until `is_up` turns false.
///
/// When a connection is lost, lapin fails everything that waits, but not what begins to wait at that moment.
pub(super) async fn answer<T>(
    is_up: impl Fn() -> bool,
    waiting: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Error> {
    let mut waiting = pin!(waiting);
    loop {
        match timeout(LOOK, &mut waiting).await {
            Ok(answered) => return answered.map_err(error),
            Err(_) if is_up() => {}
            Err(_) => return Err(unavailable("the connection was lost")),
        }
    }
}

/// Closes the connection in order, if the broker still answers.
pub(super) async fn end(connection: &Connection) {
    let closing = connection.close(constants::REPLY_SUCCESS, "closed".into());
    if let Ok(Err(e)) = timeout(GREET, closing).await {
        tracing::debug!(error = %e, "the connection was already gone");
    }
}

/// The pause before the next attempt: longer each time, with random jitter.
pub(super) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(super) fn new() -> Self {
        Backoff(Self::FIRST)
    }

    pub(super) async fn wait(&mut self) {
        let share = RandomState::new().hash_one(()) % 1000;
        let jittered = self.0.mul_f64(0.5 + share as f64 / 2000.0);
        self.0 = (self.0 * 2).min(Self::LONGEST);
        tokio::time::sleep(jittered).await;
    }
}
