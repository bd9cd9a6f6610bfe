//! What micropy's services stand on: an adapter for each port of [`micropy_core::ports`].
//!
//! | port | feature | adapter | keeps its data in |
//! |---|---|---|---|
//! | `Storage` | `filesystem` | [`storage::filesystem`] | a folder |
//! | `Queue` | `sqlite` | [`queue::sqlite`] | a SQLite database |
//! | `Queue` | `rabbitmq` | [`queue::rabbitmq`] | a RabbitMQ broker |
//! | `Jobs` | `sqlite` | [`jobs::sqlite`] | the same database, in the same transactions |
//! | `Auth` | `sqlite` | [`auth::sqlite`] | the same database |
//! | `Notifier` | `outbox` | [`notifier::outbox`] | a folder of `.eml` files |
//!
//! `embedded`, the default, is all of them: a service on one machine with nothing else installed.

#![forbid(unsafe_code)]

pub mod auth;
pub mod clock;
pub mod jobs;
pub mod notifier;
pub mod queue;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod storage;
