//! Ledgers of jobs: adapters of [`Jobs`](micropy_core::ports::Jobs).

#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "sqlite")]
pub mod sqlite;
