//! From settings to running services: the only file that names adapters.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use micropy_adapters::auth::sqlite::SqliteAuth;
use micropy_adapters::clock::SystemClock;
use micropy_adapters::jobs::sqlite::SqliteJobs;
use micropy_adapters::notifier::outbox::Outbox;
use micropy_adapters::queue::sqlite::SqliteQueue;
use micropy_adapters::sqlite::Database;
use micropy_adapters::storage::filesystem::FilesystemStorage;
use micropy_core::ports::Queue;
use micropy_core::ports::jobs::{Topic, Topics};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Secret};
use crate::gateway::{self, Gateway};
use crate::services::converter::ConverterService;
use crate::services::login::Login;
use crate::services::metrics::Metrics;
use crate::services::notification::Notifications;
use crate::services::sender;
use crate::services::sweeper::Sweeper;
use crate::services::token::Tokens;
use crate::services::{Ports, auth, http};

/// Opens the database of a data folder, which is made where it is missing.
pub async fn open_users(data_dir: &Path) -> io::Result<SqliteAuth> {
    fs::create_dir_all(data_dir)?;
    Ok(SqliteAuth::new(open_database(data_dir).await?))
}

async fn open_database(data_dir: &Path) -> io::Result<Database> {
    Database::open(data_dir.join("micropy.db")).await
}

/// All services, ready to run in this process on one data folder.
pub struct Embedded {
    config: Config,
    database: Database,
    ports: Ports,
    login: Login,
    gateway: TcpListener,
    auth: TcpListener,
    /// As long as it is open, the data folder is ours.
    _lock: File,
}

impl Embedded {
    /// Opens everything that can fail to open.
    pub async fn open(config: Config) -> io::Result<Self> {
        let folder = config.data_dir.clone();
        fs::create_dir_all(&folder)?;
        let lock = lock(&folder)?;
        let database = open_database(&folder).await?;
        // Nobody else has the folder, so whoever held anything is dead.
        database.recover().await?;
        let ports = ports(&config, &database)?;
        let secret = match &config.jwt_secret {
            Some(secret) => secret.clone(),
            None => kept_secret(&folder.join("jwt-secret"))?,
        };
        let login = Login::new(
            ports.users.clone(),
            ports.clock.clone(),
            Tokens::new(&secret),
            config.limits.login_attempts,
        );
        Ok(Embedded {
            gateway: bind(config.listen).await?,
            auth: bind(config.auth_listen).await?,
            config,
            database,
            ports,
            login,
            _lock: lock,
        })
    }

    /// Where people reach the gateway.
    pub fn url(&self) -> String {
        if !self.config.public_url.is_empty() {
            return self.config.public_url.clone();
        }
        let listen = self.gateway.local_addr().unwrap_or(self.config.listen);
        format!("http://{listen}")
    }

    /// Runs all services until told to stop, and until they have.
    pub async fn run(self, stop: CancellationToken) {
        let url = self.url();
        let metrics = Arc::new(Metrics::new());
        let tasks = TaskTracker::new();
        let limits = self.config.limits;

        let gateway = Arc::new(Gateway {
            ports: self.ports.clone(),
            login: self.login.clone(),
            metrics: metrics.clone(),
            limits,
            registration: self.config.registration,
            secure: url.starts_with("https:"),
            writers: Default::default(),
            stop: stop.clone(),
        });
        let servers = [
            (self.gateway, gateway::router(gateway)),
            (self.auth, auth::router(self.login)),
        ];
        for (listener, router) in servers {
            let grace = self.config.grace;
            tasks.spawn(http::serve(listener, router, limits, grace, stop.clone()));
        }

        let converter = ConverterService {
            ports: self.ports.clone(),
            metrics: metrics.clone(),
            threads: threads_each(self.config.workers),
        };
        for _ in 0..self.config.workers {
            tasks.spawn(converter.clone().run(stop.clone()));
        }
        let notifications = Notifications {
            ports: self.ports.clone(),
            metrics,
            public_url: url,
        };
        tasks.spawn(notifications.run(stop.clone()));
        tasks.spawn(sender::run(self.ports.clone(), stop.clone()));
        let retention = self.config.retention;
        let sweeper = Sweeper::new(self.ports, retention, limits.upload_expiry);
        tasks.spawn(sweeper.run(stop));

        tasks.close();
        tasks.wait().await;
        self.database.close().await;
    }
}

/// The embedded adapters.
fn ports(config: &Config, database: &Database) -> io::Result<Ports> {
    let clock = Arc::new(SystemClock);
    let queue = |topic: Topic| SqliteQueue::new(database.clone(), topic.name(), clock.clone());
    let queues = Topics::each(queue);
    let folder = &config.data_dir;
    Ok(Ports {
        clock: clock.clone(),
        videos: Arc::new(FilesystemStorage::open(folder.join("videos"))?),
        mp3s: Arc::new(FilesystemStorage::open(folder.join("mp3s"))?),
        jobs: Arc::new(SqliteJobs::new(database.clone(), queues.clone(), clock)),
        users: Arc::new(SqliteAuth::new(database.clone())),
        queues: Topics::each(|topic| Arc::new(queues.of(topic).clone()) as Arc<dyn Queue>),
        notifier: Arc::new(Outbox::open(folder.join("outbox"), &config.mail_from)?),
    })
}

/// The cores, shared out to so many workers.
fn threads_each(workers: usize) -> NonZeroUsize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores / workers.max(1)).unwrap_or(NonZeroUsize::MIN)
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))
}

/// Takes the folder for this process alone.
fn lock(folder: &Path) -> io::Result<File> {
    let lock = File::create(folder.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("another micropy serves from {}", folder.display()),
        )),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// The secret in a file that only we can read, made where it is missing.
fn kept_secret(path: &Path) -> io::Result<Secret> {
    match fs::read_to_string(path) {
        Ok(secret) => return Ok(Secret::new(secret)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()?;
    Ok(Secret::new(secret))
}
