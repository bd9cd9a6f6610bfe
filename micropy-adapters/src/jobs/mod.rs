//! Job ledgers: adapters of [`Ledger`](micropy_core::ports::Ledger).

#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "sqlite")]
pub mod sqlite;
