//! Micropy's connections to storage, queues, databases and mail: adapters for the ports of [`micropy_core::ports`].
//!
//! | port | feature | adapter | keeps its data in |
//! |---|---|---|---|
//! | `Storage` | `filesystem` | [`storage::filesystem`] | a folder |
//! | `Storage` | `gridfs` | [`storage::gridfs`] | a MongoDB database, as any GridFS driver reads it |
//! | `Storage` | `s3` | [`storage::s3`] | a bucket of S3, or of a store that speaks its language |
//! | `Queue` | `sqlite` | [`queue::sqlite`] | a SQLite database |
//! | `Queue` | `rabbitmq` | [`queue::rabbitmq`] | a RabbitMQ broker |
//! | `Ledger` | `sqlite` | [`jobs::sqlite`] | the same database, in the same transactions as the queues |
//! | `Ledger` | `mongodb` | [`jobs::mongodb`] | a MongoDB collection |
//! | `Auth` | `sqlite` | [`auth::sqlite`] | the same database |
//! | `Notifier` | `outbox` | [`notifier::outbox`] | a folder of `.eml` files |
//! | `Webhooks` | `sqlite` | [`webhooks::sqlite`] | the same database |
//! | `Webhooks` | `mongodb` | [`webhooks::mongodb`] | the ledger's MongoDB database |
//! | `Notifier` | `webhook` | [`notifier::webhook`] | nothing: it calls URLs of users |
//! | `Origins` | `http` | [`origins::http`] | nothing: it reads URLs of users |
//! | `Auth` | `mysql` | [`auth::mysql`] | a MySQL or MariaDB database, in the table of older services |
//! | `Notifier` | `smtp` | [`notifier::smtp`] | nothing: it hands mail to a mail server |
//!
//! `embedded`, the default, is all that needs no server: a service on one machine, with nothing else
//! installed.

// docs.rs says beside each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

pub mod auth;
pub mod clock;
#[cfg(any(
    feature = "gridfs",
    feature = "mongodb",
    feature = "mysql",
    feature = "s3",
    feature = "sqlite"
))]
mod fault;
pub mod jobs;
#[cfg(any(feature = "gridfs", feature = "mongodb"))]
pub mod mongodb;
pub mod notifier;
pub mod origins;
#[cfg(any(feature = "filesystem", feature = "outbox", feature = "sqlite"))]
pub mod private;
pub mod queue;
#[cfg(any(
    feature = "gridfs",
    feature = "mongodb",
    feature = "mysql",
    feature = "sqlite"
))]
mod schema;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod storage;
#[cfg(any(feature = "mongodb", feature = "sqlite"))]
pub mod webhooks;
