//! The services of Micropy, MP4 video to MP3 audio: gateway, auth, converter, notification and sweeper.
//!
//! Each does one thing, and meets the others only through the ports of `micropy_core`.
#![allow(missing_docs)] // until the public API is settled

pub mod accounts;
pub mod auth;
pub mod converter;
pub mod gateway;
#[cfg(any(test, feature = "hostile"))]
#[doc(hidden)]
pub mod hostile;
pub mod http;
pub mod job;
mod limits;
pub mod notification;
mod ports;
pub mod sweeper;
pub mod telemetry;
pub mod worker;

pub use accounts::Secret;
pub use limits::Limits;
pub use ports::Ports;
