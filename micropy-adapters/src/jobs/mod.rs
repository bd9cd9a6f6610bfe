//! Ledgers of jobs: adapters of [`Jobs`](micropy_core::ports::Jobs).

#[cfg(feature = "sqlite")]
pub mod sqlite;
