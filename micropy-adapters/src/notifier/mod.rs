//! Telling people: adapters of [`Notifier`](micropy_core::ports::Notifier).

#[cfg(any(feature = "outbox", feature = "smtp"))]
mod message;
#[cfg(feature = "outbox")]
pub mod outbox;
#[cfg(feature = "smtp")]
pub mod smtp;
#[cfg(feature = "webhook")]
pub mod webhook;
