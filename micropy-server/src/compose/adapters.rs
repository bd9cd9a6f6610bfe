//! From URLs to adapters: the only file that names them.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use micropy_adapters::auth::password::LegacyPasswords;
use micropy_adapters::auth::sqlite::SqliteAuth;
use micropy_adapters::clock::SystemClock;
use micropy_adapters::jobs::sqlite::SqliteJobs;
use micropy_adapters::notifier::outbox::Outbox;
use micropy_adapters::queue::sqlite::SqliteQueue;
use micropy_adapters::sqlite::Database;
use micropy_adapters::storage::filesystem::FilesystemStorage;
use micropy_core::ports::jobs::{Topic, Topics};
use micropy_core::ports::{Auth, Clock, Ledger, Notifier, Queue, Storage};
use tokio::sync::OnceCell;

use super::folder;
use crate::config::Config;
use micropy_services::Ports;
use micropy_services::accounts::Secret;

/// The adapters of this process, each opened when it is first asked for, and then shared.
pub struct Adapters {
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    database: OnceCell<(Database, File)>,
    ports: OnceCell<Ports>,
    #[cfg(feature = "rabbitmq")]
    rabbitmq: std::sync::Mutex<Vec<Arc<micropy_adapters::queue::rabbitmq::RabbitmqQueue>>>,
}

impl Adapters {
    pub fn new(config: Arc<Config>) -> Self {
        Adapters {
            config,
            clock: Arc::new(SystemClock),
            database: OnceCell::new(),
            ports: OnceCell::new(),
            #[cfg(feature = "rabbitmq")]
            rabbitmq: Default::default(),
        }
    }

    /// What all services but auth stand on.
    pub async fn ports(&self) -> io::Result<Ports> {
        self.ports
            .get_or_try_init(|| self.open_ports())
            .await
            .cloned()
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
        })
    }

    /// Where converters write what goes into the storage: on the same disk, where the storage is a folder of ours.
    /// The folder for temporary files is often memory.
    pub fn work_folder(&self) -> io::Result<PathBuf> {
        match &*self.config.urls.storage {
            "" => {
                let folder = self.config.data_dir.join("work");
                fs::create_dir_all(&folder)?;
                std::path::absolute(folder)
            }
            _ => Ok(std::env::temp_dir()),
        }
    }

    /// Users that a service may be using at the same time.
    pub async fn shared_users(&self) -> io::Result<Arc<dyn Auth>> {
        let folder = &self.config.data_dir;
        let open = async || {
            fs::create_dir_all(folder)?;
            Database::open(folder.join("micropy.db")).await
        };
        self.open_users(open).await
    }

    pub async fn users(&self) -> io::Result<Arc<dyn Auth>> {
        self.open_users(async || self.database().await).await
    }

    async fn open_users(
        &self,
        database: impl AsyncFnOnce() -> io::Result<Database>,
    ) -> io::Result<Arc<dyn Auth>> {
        match scheme(&self.config.urls.users) {
            "" | "sqlite" => {
                let users = SqliteAuth::new(database().await?);
                Ok(Arc::new(self.with_legacy_passwords(
                    users,
                    SqliteAuth::with_legacy_passwords,
                )))
            }
            #[cfg(feature = "mysql")]
            "mysql" => {
                use micropy_adapters::auth::mysql::MysqlAuth;
                let users = MysqlAuth::new(&self.config.urls.users)?;
                Ok(Arc::new(self.with_legacy_passwords(
                    users,
                    MysqlAuth::with_legacy_passwords,
                )))
            }
            other => Err(unknown("users_url", other, &["sqlite", "mysql"], "mysql")),
        }
    }

    fn with_legacy_passwords<A>(&self, users: A, set: impl FnOnce(A, LegacyPasswords) -> A) -> A {
        match self.config.legacy_passwords.parse() {
            Ok(legacy) => set(users, legacy),
            Err(_) => users,
        }
    }

    pub fn notifier(&self) -> io::Result<Arc<dyn Notifier>> {
        let url = &*self.config.urls.notifier;
        let from = &*self.config.mail_from;
        match scheme(url) {
            "" => {
                let folder = self.config.data_dir.join("outbox");
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

    /// The queues; those of SQLite also as the ledger there needs them.
    async fn queues(&self) -> io::Result<(Topics<Arc<dyn Queue>>, Option<Topics<SqliteQueue>>)> {
        match scheme(&self.config.urls.queue) {
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
            "amqp" | "amqps" => Ok((self.rabbitmq_queues()?, None)),
            other => Err(unknown(
                "queue_url",
                other,
                &["sqlite", "amqp", "amqps"],
                "rabbitmq",
            )),
        }
    }

    #[cfg(feature = "rabbitmq")]
    fn rabbitmq_queues(&self) -> io::Result<Topics<Arc<dyn Queue>>> {
        use micropy_adapters::queue::rabbitmq::RabbitmqQueue;

        /// Mails under way at the same time.
        const MAILS: u16 = 8;
        let config = &self.config;
        let slots = u16::try_from(config.workers).unwrap_or(u16::MAX);
        let failed = format!("{}.failed", config.mp3_queue);
        let open = |name: &str, slots| -> io::Result<Arc<RabbitmqQueue>> {
            let queue = Arc::new(
                RabbitmqQueue::open(&config.urls.queue, name, slots)
                    .map_err(|e| wrong(format!("queue_url: {e}")))?,
            );
            if let Ok(mut all) = self.rabbitmq.lock() {
                all.push(queue.clone());
            }
            Ok(queue)
        };
        Ok(Topics {
            video: open(&config.video_queue, slots)?,
            mp3: open(&config.mp3_queue, MAILS)?,
            failed: open(&failed, MAILS)?,
        })
    }

    async fn storage(&self) -> io::Result<(Arc<dyn Storage>, Arc<dyn Storage>)> {
        let url = &*self.config.urls.storage;
        let folder = match scheme(url) {
            "" => self.config.data_dir.clone(),
            "file" => after_colon(url)?.trim_start_matches("//").into(),
            #[cfg(feature = "gridfs")]
            "mongodb" | "mongodb+srv" => {
                use micropy_adapters::mongodb::Client;
                use micropy_adapters::storage::gridfs::GridfsStorage;
                let client = Client::open(url).await?;
                let storage = |database| Arc::new(GridfsStorage::new(&client, database));
                return Ok((storage("videos"), storage("mp3s")));
            }
            other => {
                return Err(unknown(
                    "storage_url",
                    other,
                    &["file", "mongodb"],
                    "gridfs",
                ));
            }
        };
        let open = |name: &str| FilesystemStorage::open(folder.join(name)).map(Arc::new);
        Ok((open("videos")?, open("mp3s")?))
    }

    /// The ledger: beside the videos where nothing else is said.
    async fn jobs(&self, own: Option<Topics<SqliteQueue>>) -> io::Result<Arc<dyn Ledger>> {
        let urls = &self.config.urls;
        let url = match (&*urls.jobs, scheme(&urls.storage)) {
            ("", "mongodb" | "mongodb+srv") => &*urls.storage,
            (url, _) => url,
        };
        match (scheme(url), own) {
            ("" | "sqlite", Some(queues)) => {
                let database = self.database().await?;
                let jobs = SqliteJobs::new(database, queues, self.clock.clone());
                Ok(Arc::new(jobs))
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
                Ok(Arc::new(MongodbJobs::new(&client, "micropy", self.clock.clone())))
            }
            (other, _) => Err(unknown("jobs_url", other, &["sqlite", "mongodb"], "mongodb")),
        }
    }

    /// The database in the data folder, which is then ours alone.
    async fn database(&self) -> io::Result<Database> {
        let open = async || {
            let folder = &self.config.data_dir;
            let lock = folder::lock(folder)?;
            let database = Database::open(folder.join("micropy.db")).await?;
            // Nobody else has the folder, so whoever held anything is dead.
            database.recover().await?;
            Ok::<_, io::Error>((database, lock))
        };
        let (database, _) = self.database.get_or_try_init(open).await?;
        Ok(database.clone())
    }

    /// What signs the tokens.
    pub fn secret(&self) -> io::Result<Secret> {
        match &self.config.jwt_secret {
            Some(secret) => Ok(secret.clone()),
            None => folder::kept_secret(&self.config.data_dir),
        }
    }

    /// Says goodbye to what was opened.
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

/// What stands before the colon.
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
