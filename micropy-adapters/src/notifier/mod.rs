//! Telling people: adapters of [`Notifier`](micropy_core::ports::Notifier).

#[cfg(feature = "outbox")]
mod message;
#[cfg(feature = "outbox")]
pub mod outbox;
