//! Users and their passwords: adapters of [`Auth`](micropy_core::ports::Auth).

#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub mod password;
#[cfg(feature = "sqlite")]
pub mod sqlite;
