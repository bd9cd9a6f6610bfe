//! From settings to running services.

mod adapters;
mod backup;
mod folder;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use micropy_adapters::clock::SystemClock;
use micropy_core::ports::jobs::Topics;
use micropy_core::ports::queue::{self, DeadLetters};
use micropy_core::ports::{Auth, Clock as _, Timestamp, binding, webhooks};
use micropy_services::Ports;
use micropy_services::accounts::{Accounts, LocalAccounts, RemoteAccounts};
use micropy_services::auth::AuthService;
use micropy_services::converter::ConverterService;
use micropy_services::gateway::Gateway;
use micropy_services::http::{self, Server};
use micropy_services::notification::NotificationService;
use micropy_services::stores::StoreCheck;
use micropy_services::sweeper::{Survey, Sweeper};
use micropy_services::telemetry::{Health, Metrics};
use micropy_services::worker::Worker;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::adapters::Adapters;
pub use self::backup::Copied;
use crate::page;
use crate::settings::Settings;

/// Where health and metrics are by default, if a gateway runs in the process.
const HEALTH: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// HTTP servers in one process, at most: they share the files that it may open.
const SERVERS: usize = 3;
/// The argument that makes this program a worker process: see `cli`.
const WORKER_COMMAND: &str = "worker-exec";

/// One of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Gateway,
    Auth,
    Converter,
    Notification,
    Sweeper,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 5] = [
        Service::Gateway,
        Service::Auth,
        Service::Converter,
        Service::Notification,
        Service::Sweeper,
    ];
}

/// The users that the settings name, and their jobs, which services may be using at the same time.
pub struct Users {
    adapters: Adapters,
    users: Arc<dyn Auth>,
}

impl Users {
    /// Opens the users. Their jobs are opened when they are asked for.
    pub async fn open(settings: Settings) -> io::Result<Self> {
        let adapters = Adapters::shared(Arc::new(settings));
        let users = adapters.users().await?;
        Ok(Users { adapters, users })
    }

    /// The users.
    pub fn users(&self) -> &dyn Auth {
        &*self.users
    }

    /// How many jobs there are of an owner; `None` where the settings do not say where jobs are.
    pub async fn jobs_of(&self, owner: &str) -> io::Result<Option<u64>> {
        if !self.adapters.know_jobs() {
            return Ok(None);
        }
        let usage = self.adapters.ledger().await?.usage(owner).await;
        Ok(Some(usage.map_err(io::Error::other)?.jobs))
    }

    /// Removes all jobs of an owner with their files.
    pub async fn remove_jobs_of(&self, owner: &str) -> io::Result<()> {
        let removed = self.adapters.ports().await?.remove_all(owner).await;
        removed.map_err(io::Error::other)
    }

    /// Removes all webhooks of a user with their deliveries. Returns how many there were; `None` where the settings do not
    /// say where they are: beside the jobs.
    pub async fn remove_webhooks_of(&self, owner: &str) -> io::Result<Option<usize>> {
        if !self.adapters.know_jobs() {
            return Ok(None);
        }
        let webhooks = self.adapters.webhooks().await?;
        let removed = async {
            let endpoints = webhooks.endpoints(owner).await?;
            webhooks.remove_owner(owner).await?;
            Ok::<_, webhooks::Error>(endpoints.len())
        };
        removed.await.map(Some).map_err(io::Error::other)
    }

    /// Ends what was opened in order.
    pub async fn close(self) {
        drop(self.users);
        self.adapters.close().await;
    }
}

/// The time by this computer's clock.
pub fn now() -> Timestamp {
    SystemClock.now()
}

/// Binds both stores that the settings name to the ledger that they name, whatever they belonged to before.
pub async fn adopt(settings: Settings) -> io::Result<()> {
    let adapters = Adapters::new(Arc::new(settings));
    let ports = adapters.ports().await?;
    for storage in [&ports.videos, &ports.mp3s] {
        binding::adopt(&**storage, &*ports.jobs, ports.new_id())
            .await
            .map_err(io::Error::other)?;
    }
    drop(ports);
    adapters.close().await;
    Ok(())
}

/// Copies everything that the settings keep on this machine into a folder, while a service may be using it.
pub async fn back_up(settings: Settings, folder: &Path) -> io::Result<Copied> {
    backup::make(&Adapters::new(Arc::new(settings)), folder).await
}

/// Puts a backup where the settings say, and binds its files to its ledger.
pub async fn restore(settings: Settings, folder: &Path) -> io::Result<Copied> {
    let settings = Arc::new(settings);
    let copied = backup::restore(&Adapters::new(settings.clone()), folder).await?;
    adopt(Arc::unwrap_or_clone(settings)).await?;
    Ok(copied)
}

/// The dead letters of each queue that the settings name, which services may be using at the same time.
pub async fn dead_letters<T>(
    settings: Settings,
    act: impl AsyncFnOnce(Topics<Arc<dyn DeadLetters>>) -> Result<T, queue::Error>,
) -> io::Result<T> {
    let adapters = Adapters::shared(Arc::new(settings));
    let done = act(adapters.dead_letters().await?).await;
    adapters.close().await;
    done.map_err(io::Error::other)
}

/// What a sweeper would remove from the stores that the settings name, which services may be using at the same time.
pub async fn survey(settings: Settings) -> io::Result<Survey> {
    let (retention, expiry) = (settings.requests.retention, settings.requests.upload_expiry);
    let adapters = Adapters::shared(Arc::new(settings));
    let sweeper = Sweeper::new(adapters.ports().await?)
        .retention(retention)
        .upload_expiry(expiry);
    let survey = sweeper.survey().await.map_err(io::Error::other)?;
    drop(sweeper);
    adapters.close().await;
    Ok(survey)
}

/// Refuses stores that belong to another ledger, or to this one as it was later, or hold files of which it knows none.
/// A server that does not answer may still come: until it has, the services put nothing into its stores.
async fn check_stores(ports: Ports) -> io::Result<Arc<StoreCheck>> {
    let stores = StoreCheck::new(ports);
    match stores.check().await {
        Ok(()) => {}
        Err(e) if e.is_refusal() => {
            return Err(io::Error::other(format!("{e} (`micropy-server adopt`)")));
        }
        Err(e) => tracing::warn!(error = %e, "a store is not checked yet"),
    }
    Ok(Arc::new(stores))
}

/// Whether people may register themselves at these services.
fn registration(settings: &Settings, services: &[Service]) -> bool {
    let addresses = &settings.addresses;
    let listening = services.iter().filter_map(|service| match service {
        Service::Gateway => Some(addresses.listen),
        Service::Auth => Some(addresses.auth_listen),
        _ => None,
    });
    settings.registration(&listening.collect::<Vec<_>>())
}

/// Services that are ready to run in this process.
pub struct Services {
    settings: Arc<Settings>,
    adapters: Adapters,
    metrics: Arc<Metrics>,
    accounts: Option<Arc<LocalAccounts>>,
    /// Whether people may register themselves.
    registration: bool,
    url: String,
    /// Whether the stores are the ledger's, where a service uses them.
    stores: Option<Arc<StoreCheck>>,
    /// The services, opened but not running yet.
    ready: Vec<Ready>,
}

enum Ready {
    Http(TcpListener, Router),
    Gateway(Gateway),
    Converter(ConverterService),
    Notification(NotificationService),
    Sweeper(Sweeper),
}

impl Services {
    /// Opens everything that can fail to open. Servers elsewhere need not be there yet.
    pub async fn open(
        settings: Settings,
        services: &[Service],
        stop: &CancellationToken,
    ) -> io::Result<Self> {
        let settings = Arc::new(settings);
        let public_url = settings.addresses.public_url().unwrap_or_default();
        let mut open = Services {
            adapters: Adapters::new(settings.clone()),
            metrics: Arc::default(),
            accounts: None,
            registration: registration(&settings, services),
            url: public_url.to_owned(),
            settings,
            stores: None,
            ready: Vec::new(),
        };
        let stores = [Service::Gateway, Service::Converter, Service::Sweeper];
        if services.iter().any(|service| stores.contains(service)) {
            let stores = check_stores(open.adapters.ports().await?).await?;
            open.stores = Some(stores);
        }
        for service in services {
            match service {
                Service::Gateway => open.gateway().await?,
                Service::Auth => open.auth().await?,
                Service::Converter => open.converter().await?,
                Service::Notification => open.notification().await?,
                Service::Sweeper => open.sweeper().await?,
            }
        }
        open.health(services, stop).await?;
        Ok(open)
    }

    /// Where people, or other services, reach the first of the services.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Listens to the address that a setting names.
    async fn listen(&mut self, setting: &str, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = TcpListener::bind(address).await.map_err(|e| {
            let why = format!("{setting}: cannot listen on {address}: {e}");
            io::Error::new(e.kind(), why)
        })?;
        if self.url.is_empty() {
            self.url = format!("http://{}", listener.local_addr().unwrap_or(address));
        }
        Ok(listener)
    }

    async fn gateway(&mut self) -> io::Result<()> {
        let address = self.settings.addresses.listen;
        let listener = self.listen("listen", address).await?;
        let gateway = Gateway::new(self.adapters.ports().await?, self.accounts().await?)
            .metrics(self.metrics.clone())
            .limits(self.settings.limits())
            .registrations(self.settings.accounts.registrations)
            .connections(http::max_connections(SERVERS))
            .unowned_downloads(self.settings.accounts.unowned_downloads)
            .secure_cookies(self.is_https())
            .origin(&self.url);
        let gateway = match (
            self.adapters.links()?,
            self.settings.stores.direct_downloads,
        ) {
            (Some(links), Some(lasts)) => gateway.direct_downloads(links, lasts),
            _ => gateway,
        };
        let gateway = match &self.stores {
            Some(stores) => gateway.stores(stores.clone()),
            None => gateway,
        };
        let router = gateway.router().merge(page::router());
        self.ready
            .extend([Ready::Http(listener, router), Ready::Gateway(gateway)]);
        Ok(())
    }

    async fn auth(&mut self) -> io::Result<()> {
        let address = self.settings.addresses.auth_listen;
        let listener = self.listen("auth_listen", address).await?;
        let (accounts, secret) = (self.local_accounts().await?, self.adapters.secret()?);
        let auth = AuthService::new(accounts).secret(&secret, Arc::new(SystemClock));
        self.ready.push(Ready::Http(listener, auth.router()));
        Ok(())
    }

    async fn converter(&mut self) -> io::Result<()> {
        let worker = Worker::this_program([WORKER_COMMAND])?
            .time_limit(self.settings.conversions.conversion_time)
            .memory_limit(self.settings.conversions.conversion_memory)
            .output_limit(self.settings.conversions.conversion_output)
            .folder(self.adapters.work_folder()?);
        let converter = ConverterService::new(self.adapters.ports().await?, worker)
            .workers(self.settings.conversions.workers())
            .grace(self.settings.operation.grace)
            .quota(self.settings.limits().quota_bytes)
            .largest_import(self.settings.limits().upload)
            .metrics(self.metrics.clone());
        let converter = match &self.stores {
            Some(stores) => converter.stores(stores.clone()),
            None => converter,
        };
        self.ready.push(Ready::Converter(converter));
        Ok(())
    }

    async fn notification(&mut self) -> io::Result<()> {
        if self.url.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "public_url is missing: it is what the links in mails begin with",
            ));
        }
        let (ports, notifier) = (self.adapters.ports().await?, self.adapters.notifier()?);
        let notification = NotificationService::new(ports, notifier, &self.url)
            .webhooks(self.adapters.webhook_notifier())
            .grace(self.settings.operation.grace)
            .metrics(self.metrics.clone());
        self.ready.push(Ready::Notification(notification));
        Ok(())
    }

    async fn sweeper(&mut self) -> io::Result<()> {
        let sweeper = Sweeper::new(self.adapters.ports().await?)
            .retention(self.settings.requests.retention)
            .upload_expiry(self.settings.requests.upload_expiry)
            .original_converters(self.settings.accounts.unowned_downloads);
        self.ready.push(Ready::Sweeper(sweeper));
        Ok(())
    }

    /// Whether users reach the services by HTTPS: a proxy ends TLS.
    fn is_https(&self) -> bool {
        self.url.starts_with("https:")
    }

    /// Health and metrics, which are not for users.
    async fn health(&mut self, services: &[Service], stop: &CancellationToken) -> io::Result<()> {
        let listener = match self.settings.addresses.health_listen {
            Some(address) => self.listen("health_listen", address).await?,
            None if services.contains(&Service::Gateway) => {
                match TcpListener::bind(HEALTH).await {
                    Ok(listener) => listener,
                    // Nobody has asked for it, and another service on this machine, or our gateway, may be there.
                    Err(e) => {
                        tracing::warn!(
                            address = %HEALTH,
                            error = %e,
                            "no health and metrics: set health_listen to an address that is free"
                        );
                        return Ok(());
                    }
                }
            }
            None => return Ok(()),
        };
        let ports = match services {
            [Service::Auth] => None,
            _ => Some(self.adapters.ports().await?),
        };
        let address = listener.local_addr()?;
        tracing::info!(%address, "health and metrics");
        let health = Health::new(ports, self.metrics.clone(), stop.clone());
        self.ready.push(Ready::Http(listener, health.router()));
        Ok(())
    }

    /// The accounts that the gateway asks.
    async fn accounts(&mut self) -> io::Result<Arc<dyn Accounts>> {
        let Some(url) = self.settings.addresses.auth_url() else {
            return Ok(self.local_accounts().await?);
        };
        let accounts = RemoteAccounts::new(url.as_str(), Arc::new(SystemClock))
            .map_err(|e| io::Error::new(e.kind(), format!("auth_url: {e}")))?;
        let mut accounts = accounts
            .allow_registration(self.registration)
            .require_confirmation(self.settings.confirmation());
        match &self.settings.accounts.jwt_secret {
            Some(secret) => accounts = accounts.secret(secret),
            None => tracing::warn!(
                "jwt_secret is missing: without that of the auth service, there are no registrations, no mails about accounts \
                 and no API tokens, and the auth service limits the logins of this gateway, not those of each client"
            ),
        }
        Ok(Arc::new(accounts))
    }

    /// The accounts of this process. Gateway and auth service share them, and so count failed logins together.
    async fn local_accounts(&mut self) -> io::Result<Arc<LocalAccounts>> {
        if let Some(accounts) = &self.accounts {
            return Ok(accounts.clone());
        }
        let (users, secret) = (self.adapters.users().await?, self.adapters.secret()?);
        let accounts = LocalAccounts::new(users, Arc::new(SystemClock), &secret)
            .login_attempts(self.settings.accounts.login_attempts)
            .registrations(self.settings.accounts.registrations)
            .allow_registration(self.registration)
            .require_confirmation(self.settings.confirmation())
            .users_elsewhere(self.adapters.users_are_elsewhere());
        Ok(self.accounts.insert(Arc::new(accounts)).clone())
    }

    /// Runs all services until `stop`, and until they have ended.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let https = self.is_https();
        for ready in self.ready {
            let stop = stop.clone();
            match ready {
                Ready::Http(listener, router) => {
                    let server = Server::new(router)
                        .header_timeout(self.settings.requests.header_timeout)
                        .body_timeout(self.settings.requests.body_timeout)
                        .grace(self.settings.operation.grace)
                        .https(https)
                        .connections(http::max_connections(SERVERS))
                        .trust_forwarded(self.settings.addresses.trust_forwarded);
                    tasks.spawn(server.run(listener, stop));
                }
                Ready::Gateway(service) => drop(tasks.spawn(service.run(stop))),
                Ready::Converter(service) => drop(tasks.spawn(service.run(stop))),
                Ready::Notification(service) => drop(tasks.spawn(service.run(stop))),
                Ready::Sweeper(service) => drop(tasks.spawn(service.run(stop))),
            }
        }
        tasks.close();
        stop.cancelled().await;
        // Nobody here takes what would arrive during the grace period.
        self.adapters.stop_receiving().await;
        tasks.wait().await;
        self.adapters.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Layers;

    /// Opens a gateway that keeps everything in a folder of its own.
    async fn open(folder: &Path, health: Option<&str>) -> io::Result<Services> {
        let mut variables = vec![
            ("MICROPY_DATA_DIR", folder.to_str().unwrap()),
            ("MICROPY_LISTEN", "127.0.0.1:0"),
        ];
        variables.extend(health.map(|address| ("MICROPY_HEALTH_LISTEN", address)));
        let layers = Layers::of_environment(&variables).unwrap();
        let settings = Settings::from_layers(&layers).unwrap();
        Services::open(settings, &[Service::Gateway], &CancellationToken::new()).await
    }

    #[tokio::test]
    async fn no_service_starts_beside_files_that_its_ledger_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        // As a version from before bindings left them, whose database was moved aside.
        for store in ["videos", "mp3s"] {
            let whole = folder.join(store).join("whole");
            std::fs::create_dir_all(&whole).unwrap();
            std::fs::write(whole.join("0123456789abcdef01234567"), "x").unwrap();
            for _ in 0..2 {
                let refused = open(folder, None).await.err().unwrap().to_string();
                assert!(refused.contains("knows none of them"), "{refused}");
                assert!(refused.contains("micropy-server adopt"), "{refused}");
            }
            let variables = [("MICROPY_DATA_DIR", folder.to_str().unwrap())];
            let layers = Layers::of_environment(&variables).unwrap();
            adopt(Settings::from_layers(&layers).unwrap())
                .await
                .unwrap();
            open(folder, None).await.unwrap();
            std::fs::remove_file(folder.join("mp3s/ledger")).unwrap();
        }
    }

    #[tokio::test]
    async fn only_who_asks_for_health_has_to_get_it() {
        // Where this fails, another has it.
        let _held = TcpListener::bind(HEALTH).await;
        let taken = HEALTH.to_string();
        let folder = tempfile::tempdir().unwrap();
        let folder = |name| folder.path().join(name);
        for (health, servers) in [(None, 1), (Some("127.0.0.1:0"), 2)] {
            let services = open(&folder(servers.to_string()), health).await.unwrap();
            let is_http = |ready: &&Ready| matches!(ready, Ready::Http(..));
            assert_eq!(services.ready.iter().filter(is_http).count(), servers);
        }
        let refused = open(&folder("refused".to_owned()), Some(&taken)).await;
        let refused = refused.err().unwrap().to_string();
        assert!(refused.starts_with("health_listen: "), "{refused}");
    }
}
