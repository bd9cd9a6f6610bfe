//! From URLs to adapters. No other file names them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "s3")]
use async_trait::async_trait;
use micropy_adapters::auth::password::LegacyPasswords;
use micropy_adapters::auth::sqlite::SqliteAuth;
use micropy_adapters::clock::SystemClock;
use micropy_adapters::jobs::sqlite::SqliteJobs;
use micropy_adapters::notifier::outbox::Outbox;
use micropy_adapters::notifier::webhook::WebhookNotifier;
use micropy_adapters::origins::http::HttpOrigins;
use micropy_adapters::private;
#[cfg(feature = "rabbitmq")]
use micropy_adapters::queue::rabbitmq::RabbitmqQueue;
use micropy_adapters::queue::sqlite::SqliteQueue;
use micropy_adapters::sqlite::{self, Database};
use micropy_adapters::storage::filesystem::{self, FilesystemStorage};
#[cfg(feature = "s3")]
use micropy_adapters::storage::s3;
use micropy_adapters::webhooks::sqlite::SqliteWebhooks;
use micropy_core::ports::binding::Identity;
use micropy_core::ports::jobs::{Topic, Topics};
use micropy_core::ports::queue::DeadLetters;
#[cfg(feature = "s3")]
use micropy_core::ports::storage;
use micropy_core::ports::{Auth, Clock, Id, Ledger, Notifier, Queue, Storage, Webhooks};
use micropy_remote::Guard;
use tokio::sync::OnceCell;

use super::folder;
use crate::settings::{self, Settings, Url};
use micropy_services::Ports;
use micropy_services::accounts::Secret;
use micropy_services::gateway::Links;

/// Bytes that are kept in the data folder for what frees room on a full disk.
const BALLAST: u64 = 8 << 20;

/// The folder of the MP3s in a bucket.
#[cfg(feature = "s3")]
const MP3S: &str = "mp3s";

/// How long a link to an object of S3 may last.
const LONGEST_LINK: Duration = Duration::from_secs(7 * 24 * 3600);

/// The adapters of this process. Each is opened when it is first asked for, then shared.
pub struct Adapters {
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    /// The database in the data folder, and the lock on the folder, where this process has that to itself.
    database: OnceCell<(Database, Option<File>)>,
    /// Whether a service may be using the data folder.
    is_shared: bool,
    ports: OnceCell<Ports>,
    #[cfg(feature = "rabbitmq")]
    rabbitmq: std::sync::Mutex<Vec<Arc<RabbitmqQueue>>>,
}

/// Where everything is kept on this machine.
pub struct Embedded {
    /// The folder with the database and the secret.
    pub data: PathBuf,
    /// The folder with those of the videos and of the MP3s.
    pub objects: PathBuf,
}

impl Adapters {
    pub fn new(settings: Arc<Settings>) -> Self {
        Adapters {
            settings,
            clock: Arc::new(SystemClock),
            database: OnceCell::new(),
            is_shared: false,
            ports: OnceCell::new(),
            #[cfg(feature = "rabbitmq")]
            rabbitmq: Default::default(),
        }
    }

    /// Those of a command that may run while a service does.
    pub fn shared(settings: Arc<Settings>) -> Self {
        Adapters {
            is_shared: true,
            ..Self::new(settings)
        }
    }

    /// The ports that all services but auth use.
    pub async fn ports(&self) -> io::Result<Ports> {
        self.ports
            .get_or_try_init(|| self.open_ports())
            .await
            .cloned()
    }

    /// The ledger alone.
    pub async fn ledger(&self) -> io::Result<Arc<dyn Ledger>> {
        let (_, own) = self.queues().await?;
        self.jobs(own).await
    }

    /// Whether the settings say where jobs are: beside users who are kept in a server, a setting has to.
    pub fn know_jobs(&self) -> bool {
        let stores = &self.settings.stores;
        let storage = scheme(text(&stores.storage_url));
        !self.users_are_elsewhere() || stores.jobs_url.is_some() || storage.starts_with("mongodb")
    }

    async fn open_ports(&self) -> io::Result<Ports> {
        let (queues, own) = self.queues().await?;
        let (videos, mp3s) = self.storage().await?;
        Ok(Ports {
            clock: self.clock.clone(),
            videos,
            mp3s,
            jobs: self.jobs(own).await?,
            queues,
            webhooks: self.webhooks().await?,
            origins: Some(Arc::new(HttpOrigins::new(self.guard()))),
        })
    }

    /// Where everything is, if all of it is on this machine.
    pub fn embedded(&self) -> io::Result<Embedded> {
        let stores = &self.settings.stores;
        for (setting, url, own) in [
            ("queue_url", &stores.queue_url, "sqlite"),
            ("jobs_url", &stores.jobs_url, "sqlite"),
            ("users_url", &stores.users_url, "sqlite"),
            ("storage_url", &stores.storage_url, "file"),
        ] {
            let scheme = scheme(text(url));
            if !scheme.is_empty() && scheme != own {
                return Err(wrong(format!(
                    "{setting}: what a server keeps is backed up with its own tools (docs/backup.md)"
                )));
            }
        }
        let data = stores.data_dir.clone();
        let objects = match text(&stores.storage_url) {
            "" => data.clone(),
            url => after_colon(url)?.trim_start_matches("//").into(),
        };
        Ok(Embedded { data, objects })
    }

    /// Binds empty stores to a ledger that is nobody's: until they are adopted, no service starts beside them.
    pub async fn reserve_stores(&self) -> io::Result<()> {
        let (videos, mp3s) = self.storage().await?;
        for storage in [videos, mp3s] {
            let mut random = [0; 12];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let nobody = Identity {
                ledger: Id::from_bytes(random),
                generation: 1,
            };
            let bound = storage.bind(None, nobody).await;
            bound.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Copies the database in a file, which a service may be using, into a new one.
    pub async fn copy_database(from: &Path, to: &Path) -> io::Result<()> {
        sqlite::copy(from, to).await
    }

    /// Makes the ledger in a database's file, which nobody uses, another one than it was.
    pub async fn rename_ledger(database: &Path) -> io::Result<()> {
        sqlite::forget_identity(database).await
    }

    /// Copies what is in a store's folder and not in another's. Returns how many files that were.
    pub fn copy_store(from: &Path, to: &Path) -> io::Result<u64> {
        filesystem::copy(from, to)
    }

    /// Where converters write an MP3 before it is stored. It is on the storage's disk where the storage is our own
    /// folder; the system's folder for temporary files is often in memory.
    pub fn work_folder(&self) -> io::Result<PathBuf> {
        match self.settings.stores.storage_url {
            None => {
                let folder = self.settings.stores.data_dir.join("work");
                private::create_folder(&folder)?;
                std::path::absolute(folder)
            }
            Some(_) => Ok(std::env::temp_dir()),
        }
    }

    /// The dead letters of each queue.
    pub async fn dead_letters(&self) -> io::Result<Topics<Arc<dyn DeadLetters>>> {
        match scheme(text(&self.settings.stores.queue_url)) {
            #[cfg(feature = "rabbitmq")]
            "amqp" | "amqps" => {
                let queues = self.open_rabbitmq()?;
                Ok(Topics::each(|topic| queues.of(topic).clone() as _))
            }
            _ => {
                let database = self.database().await?;
                Ok(Topics::each(|topic| {
                    let clock = self.clock.clone();
                    Arc::new(SqliteQueue::new(database.clone(), topic.name(), clock)) as _
                }))
            }
        }
    }

    /// Whether a server keeps the users, which may be away.
    pub fn users_are_elsewhere(&self) -> bool {
        let url = text(&self.settings.stores.users_url);
        !matches!(scheme(url), "" | "sqlite")
    }

    /// The users.
    pub async fn users(&self) -> io::Result<Arc<dyn Auth>> {
        let url = text(&self.settings.stores.users_url);
        match scheme(url) {
            "" | "sqlite" => {
                let users = SqliteAuth::new(self.database().await?);
                Ok(Arc::new(self.with_legacy_passwords(
                    users,
                    SqliteAuth::with_legacy_passwords,
                )))
            }
            #[cfg(feature = "mysql")]
            "mysql" => {
                use micropy_adapters::auth::mysql::MysqlAuth;
                let users = MysqlAuth::new(url)?;
                Ok(Arc::new(self.with_legacy_passwords(
                    users,
                    MysqlAuth::with_legacy_passwords,
                )))
            }
            other => Err(unknown("users_url", other, &["sqlite", "mysql"], "mysql")),
        }
    }

    fn with_legacy_passwords<A>(&self, users: A, set: impl FnOnce(A, LegacyPasswords) -> A) -> A {
        let legacy = match self.settings.accounts.legacy_passwords {
            None => return users,
            Some(settings::LegacyPasswords::Verify) => LegacyPasswords::Verify,
            Some(settings::LegacyPasswords::Upgrade) => LegacyPasswords::Upgrade,
            Some(settings::LegacyPasswords::Reject) => LegacyPasswords::Reject,
        };
        set(users, legacy)
    }

    pub fn notifier(&self) -> io::Result<Arc<dyn Notifier>> {
        let url = self.settings.stores.notifier_url();
        let (url, from) = (text(&url), &*self.settings.stores.mail_from);
        match scheme(url) {
            "" => {
                let folder = self.settings.stores.data_dir.join("outbox");
                Ok(Arc::new(Outbox::open(folder, from)?))
            }
            "outbox" => Ok(Arc::new(Outbox::open(after_colon(url)?, from)?)),
            #[cfg(feature = "smtp")]
            "smtp" | "smtps" => {
                use micropy_adapters::notifier::smtp::SmtpNotifier;
                Ok(Arc::new(SmtpNotifier::new(url, from)?))
            }
            other => Err(unknown(
                "notifier_url",
                other,
                &["outbox", "smtp", "smtps"],
                "smtp",
            )),
        }
    }

    /// The queues; those in SQLite also as its ledger needs them.
    async fn queues(&self) -> io::Result<(Topics<Arc<dyn Queue>>, Option<Topics<SqliteQueue>>)> {
        match scheme(text(&self.settings.stores.queue_url)) {
            "" | "sqlite" => {
                let database = self.database().await?;
                let queue = |topic: Topic| {
                    SqliteQueue::new(database.clone(), topic.name(), self.clock.clone())
                };
                let own = Topics::each(queue);
                let queues =
                    Topics::each(|topic| Arc::new(own.of(topic).clone()) as Arc<dyn Queue>);
                Ok((queues, Some(own)))
            }
            #[cfg(feature = "rabbitmq")]
            "amqp" | "amqps" => {
                let queues = self.open_rabbitmq()?;
                Ok((Topics::each(|topic| queues.of(topic).clone() as _), None))
            }
            other => Err(unknown(
                "queue_url",
                other,
                &["sqlite", "amqp", "amqps"],
                "rabbitmq",
            )),
        }
    }

    #[cfg(feature = "rabbitmq")]
    fn open_rabbitmq(&self) -> io::Result<Topics<Arc<RabbitmqQueue>>> {
        /// Mails sent at the same time.
        const MAILS: u16 = 8;
        let stores = &self.settings.stores;
        let url = text(&stores.queue_url);
        let workers = self.settings.conversions.workers();
        let slots = u16::try_from(workers).unwrap_or(u16::MAX);
        let open = |name: &str, slots| -> io::Result<Arc<RabbitmqQueue>> {
            let queue = Arc::new(
                RabbitmqQueue::open(url, name, slots)
                    .map_err(|e| wrong(format!("queue_url: {e}")))?,
            );
            if let Ok(mut all) = self.rabbitmq.lock() {
                all.push(queue.clone());
            }
            Ok(queue)
        };
        Ok(Topics {
            video: open(&stores.video_queue, slots)?,
            import: open(&stores.import_queue(), slots)?,
            mp3: open(&stores.mp3_queue, MAILS)?,
            failed: open(&stores.failed_queue(), MAILS)?,
        })
    }

    async fn storage(&self) -> io::Result<(Arc<dyn Storage>, Arc<dyn Storage>)> {
        let url = text(&self.settings.stores.storage_url);
        let folder = match scheme(url) {
            "" => self.settings.stores.data_dir.clone(),
            "file" => after_colon(url)?.trim_start_matches("//").into(),
            #[cfg(feature = "gridfs")]
            "mongodb" | "mongodb+srv" => {
                use micropy_adapters::mongodb::Client;
                use micropy_adapters::storage::gridfs::GridfsStorage;
                let client = Client::open(url).await?;
                let storage = |database| Arc::new(GridfsStorage::new(&client, database));
                return Ok((storage("videos"), storage("mp3s")));
            }
            #[cfg(feature = "s3")]
            "s3" => {
                let bucket = bucket(url)?;
                let storage = |folder| Arc::new(bucket.folder(folder));
                return Ok((storage("videos"), storage(MP3S)));
            }
            other => {
                let feature = if other == "s3" { "s3" } else { "gridfs" };
                let known = ["file", "mongodb", "s3"];
                return Err(unknown("storage_url", other, &known, feature));
            }
        };
        let open = |name: &str| FilesystemStorage::open(folder.join(name)).map(Arc::new);
        Ok((open("videos")?, open("mp3s")?))
    }

    /// What makes links to the MP3s, where `direct_downloads` asks for it.
    pub fn links(&self) -> io::Result<Option<Arc<dyn Links>>> {
        let stores = &self.settings.stores;
        let url = text(&stores.storage_url);
        match (stores.direct_downloads, scheme(url)) {
            (None, _) => Ok(None),
            // A signature may not last longer.
            (Some(lasts), "s3") if lasts > LONGEST_LINK || lasts.as_secs() == 0 => Err(wrong(
                "direct_downloads: a link to S3 lasts from a second to seven days".into(),
            )),
            #[cfg(feature = "s3")]
            (Some(_), "s3") => Ok(Some(Arc::new(S3Links(bucket(url)?.folder(MP3S))))),
            (Some(_), _) => Err(wrong(
                "direct_downloads: of all stores, those of s3:// alone serve downloads themselves"
                    .into(),
            )),
        }
    }

    async fn jobs(&self, own: Option<Topics<SqliteQueue>>) -> io::Result<Arc<dyn Ledger>> {
        let url = self.jobs_url();
        match (scheme(url), own) {
            ("" | "sqlite", Some(queues)) => {
                let database = self.database().await?;
                let jobs = SqliteJobs::new(database, queues, self.clock.clone());
                Ok(Arc::new(jobs.in_turn(self.in_turn())))
            }
            ("" | "sqlite", None) => Err(wrong(
                "a ledger in SQLite puts its messages into SQLite: with this queue_url, set jobs_url to \
                 mongodb://…"
                    .into(),
            )),
            #[cfg(feature = "mongodb")]
            ("mongodb" | "mongodb+srv", _) => {
                use micropy_adapters::jobs::mongodb::MongodbJobs;
                use micropy_adapters::mongodb::Client;
                let client = Client::open(url).await?;
                let jobs = MongodbJobs::new(&client, "micropy", self.clock.clone());
                Ok(Arc::new(jobs.in_turn(self.in_turn())))
            }
            (other, _) => Err(unknown("jobs_url", other, &["sqlite", "mongodb"], "mongodb")),
        }
    }

    /// The webhooks: in the ledger's database.
    pub async fn webhooks(&self) -> io::Result<Arc<dyn Webhooks>> {
        let url = self.jobs_url();
        match scheme(url) {
            #[cfg(feature = "mongodb")]
            "mongodb" | "mongodb+srv" => {
                use micropy_adapters::mongodb::Client;
                use micropy_adapters::webhooks::mongodb::MongodbWebhooks;
                let client = Client::open(url).await?;
                let webhooks = MongodbWebhooks::new(&client, "micropy", self.clock.clone());
                Ok(Arc::new(webhooks))
            }
            _ => {
                let database = self.database().await?;
                Ok(Arc::new(SqliteWebhooks::new(database, self.clock.clone())))
            }
        }
    }

    /// What calls them.
    pub fn webhook_notifier(&self) -> Arc<dyn Notifier> {
        Arc::new(WebhookNotifier::new(self.guard(), self.clock.clone()))
    }

    /// Where users' URLs may lead.
    pub fn guard(&self) -> Guard {
        let allowed = &self.settings.requests.allowed_networks;
        allowed.clone().unwrap_or_default()
    }

    /// Where the ledger is: beside the videos by default.
    fn jobs_url(&self) -> &str {
        let stores = &self.settings.stores;
        let storage = text(&stores.storage_url);
        match (text(&stores.jobs_url), scheme(storage)) {
            ("", "mongodb" | "mongodb+srv") => storage,
            (url, _) => url,
        }
    }

    /// Whether owners take turns in the queue of videos: not beside an original converter, of whose work the ledger
    /// does not hear.
    fn in_turn(&self) -> bool {
        !self.settings.accounts.unowned_downloads
    }

    /// The database in the data folder, which this process then has to itself, unless it is shared.
    async fn database(&self) -> io::Result<Database> {
        let open = async || {
            let folder = &self.settings.stores.data_dir;
            private::create_folder(folder)?;
            let path = folder.join("micropy.db");
            if !self.is_shared {
                let lock = folder::lock(folder)?;
                let database = Database::open(path).await?;
                // Nobody else has the folder, so what is still leased was leased by a dead process.
                database.recover().await?;
                database.keep_ballast(BALLAST).await;
                return Ok::<_, io::Error>((database, Some(lock)));
            }
            if let Some(database) = Database::open_beside(&path).await? {
                return Ok((database, None));
            }
            // It is to be made or upgraded, and not under a service.
            let _lock = folder::lock(folder).map_err(|e| match e.kind() {
                io::ErrorKind::ResourceBusy => io::Error::new(
                    e.kind(),
                    format!("{e}, and is of an older version: stop it first, or use that version for this"),
                ),
                _ => e,
            })?;
            Ok((Database::open(path).await?, None))
        };
        let (database, _) = self.database.get_or_try_init(open).await?;
        Ok(database.clone())
    }

    /// The secret that signs the tokens.
    pub fn secret(&self) -> io::Result<Secret> {
        match &self.settings.accounts.jwt_secret {
            Some(secret) => Ok(secret.clone()),
            None => folder::kept_secret(&self.settings.stores.data_dir),
        }
    }

    /// Returns the messages that wait here for a receiver to their queues, and takes no others. What was received can
    /// still be settled.
    pub async fn stop_receiving(&self) {
        #[cfg(feature = "rabbitmq")]
        {
            let queues = self.rabbitmq.lock().map(|queues| queues.clone());
            for queue in queues.unwrap_or_default() {
                queue.stop_receiving().await;
            }
        }
    }

    /// Closes what was opened.
    pub async fn close(self) {
        #[cfg(feature = "rabbitmq")]
        for queue in self.rabbitmq.into_inner().unwrap_or_default() {
            queue.close().await;
        }
        if let Some((database, _)) = self.database.get() {
            database.close().await;
        }
    }
}

#[cfg(feature = "s3")]
fn bucket(url: &str) -> io::Result<s3::Bucket> {
    s3::Bucket::open(url).map_err(|e| wrong(format!("storage_url: {e}")))
}

/// Links to objects of S3.
#[cfg(feature = "s3")]
struct S3Links(s3::S3Storage);

#[cfg(feature = "s3")]
#[async_trait]
impl Links for S3Links {
    async fn link(
        &self,
        id: Id,
        content_type: &str,
        disposition: &str,
        lasts: Duration,
    ) -> Result<String, storage::Error> {
        self.0.link(id, content_type, disposition, lasts).await
    }
}

/// A URL as the adapters read it; empty where none is set.
fn text(url: &Option<Url>) -> &str {
    url.as_ref().map_or("", Url::as_str)
}

/// What is before the colon.
fn scheme(url: &str) -> &str {
    url.split_once(':').map_or(url, |(scheme, _)| scheme)
}

/// The folder that an `outbox:` or `file:` URL names.
fn after_colon(url: &str) -> io::Result<&str> {
    match url.split_once(':') {
        Some((_, folder)) if !folder.trim_start_matches('/').is_empty() => Ok(folder),
        _ => Err(wrong(format!("{}: names no folder", scheme(url)))),
    }
}

fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn unknown(setting: &str, scheme: &str, known: &[&str], feature: &str) -> io::Error {
    if known.contains(&scheme) {
        return wrong(format!(
            "{setting}: {scheme} needs a build with the feature {feature}: cargo build --release \
             --features {feature}"
        ));
    }
    wrong(format!(
        "{setting} begins with {scheme:?}, and may begin with {}",
        known.join(", ")
    ))
}
