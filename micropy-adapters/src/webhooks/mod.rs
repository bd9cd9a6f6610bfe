//! Where users' programs are told of jobs: adapters of [`Webhooks`](micropy_core::ports::Webhooks).

#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "sqlite")]
pub mod sqlite;
