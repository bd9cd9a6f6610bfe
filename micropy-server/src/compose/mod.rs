//! From settings to running services.

mod adapters;
mod folder;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use axum::Router;
use micropy_adapters::clock::SystemClock;
use micropy_core::ports::Auth;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::adapters::Adapters;
use crate::config::Config;
use crate::page;
use micropy_services::accounts::OwnAccounts;
use micropy_services::accounts::login::Login;
use micropy_services::accounts::remote::AuthClient;
use micropy_services::accounts::token::Tokens;
use micropy_services::converter::ConverterService;
use micropy_services::gateway::{self, Gateway};
use micropy_services::job::outbox;
use micropy_services::notification::Notifications;
use micropy_services::sweeper::Sweeper;
use micropy_services::telemetry::health::{self, Health};
use micropy_services::telemetry::metrics::Metrics;
use micropy_services::worker::process::{self, Workshop};
use micropy_services::{Ports, auth, http};

/// One of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Gateway,
    Auth,
    Converter,
    Notification,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 4] = [
        Service::Gateway,
        Service::Auth,
        Service::Converter,
        Service::Notification,
    ];
}

/// Opens the users that the settings name, which a service may be using at the same time.
pub async fn open_users(config: Config) -> io::Result<Arc<dyn Auth>> {
    Adapters::new(Arc::new(config)).shared_users().await
}

/// Services that are ready to run in this process.
pub struct Services {
    config: Arc<Config>,
    adapters: Adapters,
    metrics: Arc<Metrics>,
    accounts: Option<Arc<OwnAccounts>>,
    url: String,
    /// Everything that is to run, waiting for the word.
    ready: Vec<Ready>,
}

enum Ready {
    Http(TcpListener, Router),
    Converter(ConverterService),
    Notifications(Notifications),
    Sender(Ports),
    Sweeper(Sweeper),
}

impl Services {
    /// Opens everything that can fail to open. Servers elsewhere need not be there yet.
    pub async fn open(
        config: Config,
        services: &[Service],
        stop: &CancellationToken,
    ) -> io::Result<Self> {
        let config = Arc::new(config);
        let mut open = Services {
            adapters: Adapters::new(config.clone()),
            metrics: Arc::new(Metrics::new()),
            accounts: None,
            url: config.public_url.clone(),
            config,
            ready: Vec::new(),
        };
        for service in services {
            match service {
                Service::Gateway => open.gateway(stop).await?,
                Service::Auth => open.auth().await?,
                Service::Converter => open.converter().await?,
                Service::Notification => open.notification().await?,
            }
        }
        if !services.contains(&Service::Gateway) {
            open.health(services, stop).await?;
        }
        Ok(open)
    }

    /// Where people, or other services, reach the first of the services.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn listen(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))?;
        if self.url.is_empty() {
            self.url = format!("http://{}", listener.local_addr().unwrap_or(address));
        }
        Ok(listener)
    }

    async fn gateway(&mut self, stop: &CancellationToken) -> io::Result<()> {
        let listener = self.listen(self.config.listen).await?;
        let ports = self.adapters.ports().await?;
        let gateway = Gateway {
            accounts: match &*self.config.urls.auth {
                "" => self.own_accounts().await?,
                url => {
                    let tokens = self.config.jwt_secret.as_ref().map(Tokens::new);
                    Arc::new(AuthClient::new(url, tokens, Arc::new(SystemClock))?)
                }
            },
            ports: ports.clone(),
            metrics: self.metrics.clone(),
            limits: self.config.limits,
            registration: self.config.registration,
            unowned_downloads: self.config.unowned_downloads,
            secure: self.url.starts_with("https:"),
            writers: Default::default(),
            entering: Default::default(),
            archives: Default::default(),
            stop: stop.clone(),
        };
        let router = gateway::router(Arc::new(gateway)).merge(page::router());
        let (retention, expiry) = (self.config.retention, self.config.limits.upload_expiry);
        let unowned = self.config.unowned_downloads;
        self.ready.extend([
            Ready::Http(listener, router),
            Ready::Sender(ports.clone()),
            Ready::Sweeper(Sweeper::new(ports, retention, expiry, unowned)),
        ]);
        Ok(())
    }

    async fn auth(&mut self) -> io::Result<()> {
        let listener = self.listen(self.config.auth_listen).await?;
        let router = auth::router(self.own_accounts().await?);
        self.ready.push(Ready::Http(listener, router));
        Ok(())
    }

    async fn converter(&mut self) -> io::Result<()> {
        let ports = self.adapters.ports().await?;
        let converter = ConverterService {
            ports: ports.clone(),
            metrics: self.metrics.clone(),
            workshop: Workshop {
                program: process::this_program()?,
                threads: threads_each(self.config.workers),
                time: self.config.conversion_time,
                memory: self.config.conversion_memory,
                output: self.config.conversion_output,
                folder: self.adapters.work_folder()?,
                silence: process::SILENCE,
            },
        };
        let workers = (0..self.config.workers).map(|_| Ready::Converter(converter.clone()));
        self.ready.extend(workers);
        self.ready.push(Ready::Sender(ports));
        Ok(())
    }

    async fn notification(&mut self) -> io::Result<()> {
        if self.url.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "public_url is missing: it is what the links in mails begin with",
            ));
        }
        let notifications = Notifications {
            ports: self.adapters.ports().await?,
            notifier: self.adapters.notifier()?,
            metrics: self.metrics.clone(),
            public_url: self.url.clone(),
        };
        self.ready.push(Ready::Notifications(notifications));
        Ok(())
    }

    /// How services without routes of their own are looked after.
    async fn health(&mut self, services: &[Service], stop: &CancellationToken) -> io::Result<()> {
        let Some(address) = self.config.health_listen else {
            return Ok(());
        };
        let listener = self.listen(address).await?;
        let works = |service| [Service::Converter, Service::Notification].contains(service);
        let health = Health {
            ports: match services.iter().any(works) {
                true => Some(self.adapters.ports().await?),
                false => None,
            },
            metrics: self.metrics.clone(),
            stop: stop.clone(),
        };
        let router = health::router(Arc::new(health));
        self.ready.push(Ready::Http(listener, router));
        Ok(())
    }

    /// The users of this process: the same for its gateway and its auth service, which count failed logins
    /// together.
    async fn own_accounts(&mut self) -> io::Result<Arc<OwnAccounts>> {
        if let Some(accounts) = &self.accounts {
            return Ok(accounts.clone());
        }
        let users = self.adapters.users().await?;
        let login = Login::new(
            users.clone(),
            Arc::new(SystemClock),
            Tokens::new(&self.adapters.secret()?),
            self.config.limits.login_attempts,
        );
        let accounts = Arc::new(OwnAccounts {
            login,
            users,
            registration: self.config.registration,
        });
        self.accounts = Some(accounts.clone());
        Ok(accounts)
    }

    /// Runs all services until told to stop, and until they have.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let (limits, grace) = (self.config.limits, self.config.grace);
        for ready in self.ready {
            let stop = stop.clone();
            match ready {
                Ready::Http(listener, router) => {
                    tasks.spawn(http::serve(listener, router, limits, grace, stop));
                }
                Ready::Converter(converter) => drop(tasks.spawn(converter.run(stop))),
                Ready::Notifications(service) => drop(tasks.spawn(service.run(stop))),
                Ready::Sender(ports) => drop(tasks.spawn(outbox::run(ports, stop))),
                Ready::Sweeper(sweeper) => drop(tasks.spawn(sweeper.run(stop))),
            }
        }
        tasks.close();
        tasks.wait().await;
        self.adapters.close().await;
    }
}

/// The cores, shared out to so many workers.
fn threads_each(workers: usize) -> NonZeroUsize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores / workers.max(1)).unwrap_or(NonZeroUsize::MIN)
}
