//! The gateway: what people and programs reach over HTTP.

mod accounts;
mod archive;
mod body;
mod compat;
mod download;
mod events;
mod export;
mod imports;
mod jobs;
mod limits;
mod line;
mod mails;
mod operation;
mod peaks;
mod problem;
mod quota;
mod routes;
mod session;
mod slots;
pub(crate) mod sound;
mod tokens;
pub(crate) mod tus;
pub(crate) mod uploads;
mod view;
mod webhooks;

pub use download::Links;
pub use limits::Limits;
pub use problem::Problem;

pub(crate) use limits::UPLOAD_EXPIRY;
pub(crate) use view::{JobView, rfc3339};
pub(crate) use webhooks::MAX_DELIVERIES;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::accounts::{Accounts, Allowance, REGISTRATIONS, Turns};
use crate::job::outbox;
use crate::stores::StoreCheck;
use crate::telemetry::Metrics;
use crate::{Ports, auth, http};

/// Reads of many jobs that one user has made at a time. The ledger is everybody's.
const READERS: usize = 2;
/// How long an upload waits for the stores to be checked.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
const UNCHECKED: &str = "The service cannot take uploads yet. Please try again.";

/// The gateway: the HTTP API for uploads, jobs and downloads, and the routes of the original gateway.
///
/// [`router`](Gateway::router) is an axum router, to be served alone by [`http::Server`], or as a
/// part of another application. [`run`](Gateway::run) is the rest: keep it running for as long as the router is served.
///
/// ```
/// # use std::sync::Arc;
/// # use micropy_core::ports::time::{ManualClock, Timestamp};
/// use axum::Router;
/// use axum::body::Body;
/// use axum::http::{Request, StatusCode};
/// use micropy_core::ports::memory::MemoryAuth;
/// use micropy_services::Ports;
/// use micropy_services::accounts::{LocalAccounts, Secret};
/// use micropy_services::gateway::{Gateway, Limits};
/// use tokio_util::sync::CancellationToken;
/// use tower::ServiceExt as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let clock = Arc::new(ManualClock::new(Timestamp::default()));
/// let secret = Secret::new("32 bytes that nobody can guess …");
/// let accounts = LocalAccounts::new(Arc::new(MemoryAuth::default()), clock.clone(), &secret);
/// let limits = Limits {
///     upload: 1 << 30,
///     ..Limits::default()
/// };
/// let gateway = Gateway::new(Ports::in_memory(clock), Arc::new(accounts))
///     .limits(limits)
///     .mounted_at("/audio");
/// let app: Router = Router::new().nest("/audio", gateway.router());
/// let shutdown = CancellationToken::new();
/// let running = tokio::spawn(gateway.run(shutdown.clone()));
///
/// let request = Request::get("/audio/api/v1/about").body(Body::empty()).unwrap();
/// let response = app.oneshot(request).await.unwrap();
/// assert_eq!(response.status(), StatusCode::OK);
///
/// shutdown.cancel();
/// running.await.unwrap();
/// # }
/// ```
#[derive(Clone)]
pub struct Gateway {
    ports: Ports,
    accounts: Arc<dyn Accounts>,
    metrics: Arc<Metrics>,
    limits: Limits,
    unowned_downloads: bool,
    secure_cookies: bool,
    /// Where users reach the gateway, as browsers tell it.
    origin: Option<Arc<str>>,
    /// The path that the router is mounted at, without a slash at its end.
    base: Arc<str>,
    writers: Arc<tus::Writers>,
    admission: Arc<quota::Admission>,
    /// Where the jobs of users stand in line.
    lines: Arc<line::Lines>,
    /// Registrations of each network.
    registrations: Arc<Allowance>,
    /// Requests of conversions that each user has made void.
    voided: Arc<Allowance>,
    /// Mails about accounts that are being asked for.
    mails: Arc<Semaphore>,
    archives: slots::Slots,
    downloads: slots::Slots,
    direct: Option<download::Direct>,
    uploads: slots::Slots,
    /// Those who read many jobs at once.
    readers: Arc<Turns<String>>,
    /// Whether the stores are the ledger's.
    stores: Arc<StoreCheck>,
    streams: slots::Slots,
    /// What limits the work on outlines of videos.
    sounds: Arc<sound::Readers>,
    /// Cancelled when the service shuts down: endless responses must end.
    shutdown: CancellationToken,
}

/// The state of the routes.
type Shared = Arc<Gateway>;

impl FromRef<Shared> for auth::Shared {
    fn from_ref(gateway: &Shared) -> Self {
        auth::Shared(gateway.accounts.clone())
    }
}

impl Gateway {
    /// A gateway for the users of `accounts`.
    pub fn new(ports: Ports, accounts: Arc<dyn Accounts>) -> Self {
        Gateway {
            accounts,
            metrics: Arc::default(),
            limits: Limits::default(),
            unowned_downloads: false,
            secure_cookies: false,
            origin: None,
            base: "".into(),
            writers: Arc::default(),
            admission: Arc::default(),
            lines: Arc::default(),
            registrations: Arc::new(Allowance::new(REGISTRATIONS)),
            voided: Arc::new(Allowance::new(quota::VOIDED)),
            mails: Arc::new(Semaphore::new(mails::MAX_REQUESTS)),
            archives: archive::slots(),
            downloads: download::slots(http::max_connections(1)),
            direct: None,
            uploads: uploads::slots(http::max_connections(1)),
            readers: Arc::new(Turns::new(READERS)),
            stores: Arc::new(StoreCheck::new(ports.clone())),
            streams: events::slots(http::max_connections(1)),
            sounds: Arc::default(),
            shutdown: CancellationToken::new(),
            ports,
        }
    }

    /// The check that the stores are the ledger's, where other services share it. The default is one of its own. No
    /// upload is taken before it has passed.
    #[must_use]
    pub fn stores(mut self, stores: Arc<StoreCheck>) -> Self {
        self.stores = stores;
        self
    }

    /// Where to count what happens.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// What users and clients may do.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How many may register from each address within five minutes, before their accounts are asked for. The default is
    /// 100.
    #[must_use]
    pub fn registrations(mut self, registrations: u32) -> Self {
        self.registrations = Arc::new(Allowance::new(registrations));
        self
    }

    /// How many connections the server of the router accepts: streams of events take half of them at most, and so do
    /// downloads, and one user takes no more than half with whatever lasts. The default is that of an only
    /// [`http::Server`] in the process.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.streams = events::slots(connections);
        self.downloads = download::slots(connections);
        self.uploads = uploads::slots(connections);
        self
    }

    /// Has the store of MP3s serve what users save, by links that last so long. Whoever has a link can use it until then,
    /// also when the session that asked for it has ended. The default is that all downloads come from the gateway, and
    /// end with the session.
    #[must_use]
    pub fn direct_downloads(mut self, links: Arc<dyn Links>, lasts: Duration) -> Self {
        self.direct = Some(download::Direct { links, lasts });
        self
    }

    /// Whether an MP3 that belongs to no job is given to every user. Those of an original converter belong to none. The
    /// default is no.
    #[must_use]
    pub fn unowned_downloads(mut self, allow: bool) -> Self {
        self.unowned_downloads = allow;
        self
    }

    /// Whether browsers may send the session cookie over HTTPS only. The default is no: then it is so for clients of
    /// whom an [`http::Server`] knows that they came by HTTPS.
    #[must_use]
    pub fn secure_cookies(mut self, secure: bool) -> Self {
        self.secure_cookies = secure;
        self
    }

    /// The URL at which users reach the gateway: its page may act with their cookie. Without it, and beside it, so may
    /// a page of the host that a request is sent to.
    #[must_use]
    pub fn origin(mut self, url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let authority = rest.split('/').next().unwrap_or_default();
        self.origin = Some(format!("{scheme}://{authority}").to_lowercase().into());
        self
    }

    /// The path that the router is nested under, such as `/audio`. URLs in responses begin with it. The default is the
    /// root.
    #[must_use]
    pub fn mounted_at(mut self, path: &str) -> Self {
        self.base = path.trim_end_matches('/').into();
        self
    }

    /// The routes: `/api/v1/…`, those of the original gateway, `/healthz`, and a viewer of the API's documentation at
    /// `/api/docs/`. [`telemetry::Health`](crate::telemetry::Health) has those that are not for users.
    pub fn router(&self) -> Router {
        routes::router(Arc::new(self.clone()))
    }

    /// Publishes what the ledger owes the queues, and checks the stores until they have passed, until `shutdown`. Then
    /// ends the responses that would never end by themselves.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::join!(
            outbox::run(self.ports, shutdown.clone()),
            self.stores.passed(&shutdown),
            async {
                shutdown.cancelled().await;
                self.shutdown.cancel();
            }
        );
    }

    /// Refuses what would be put into a store that may be another's.
    async fn check_stores(&self) -> Result<(), Problem> {
        if self.stores.has_passed() {
            return Ok(());
        }
        match tokio::time::timeout(STORE_PATIENCE, self.stores.check()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => {
                tracing::warn!(error = %e, "an upload is refused");
                Err(Problem::busy(UNCHECKED))
            }
            Err(_) => Err(Problem::busy(UNCHECKED)),
        }
    }

    /// The URL of one of our paths.
    fn url(&self, path: std::fmt::Arguments<'_>) -> String {
        format!("{}{path}", self.base)
    }
}
