//! The services of Micropy, MP4 video to MP3 audio: gateway, auth, converter, notification and sweeper.
//!
//! Each does one thing, and meets the others only through the ports of `micropy_core`.
#![allow(missing_docs)] // until the public API is settled

pub mod accounts;
pub mod adoption;
pub mod auth;
pub mod auth_client;
pub mod converter;
pub mod gateway;
pub mod health;
#[cfg(any(test, feature = "hostile"))]
#[doc(hidden)]
pub mod hostile;
pub mod http;
pub mod intake;
mod limits;
pub mod login;
pub mod message;
pub mod metrics;
pub mod notification;
pub mod options;
mod ports;
pub mod product;
mod secret;
pub mod sender;
pub mod sweeper;
pub mod telemetry;
pub mod token;

pub use limits::Limits;
pub use ports::Ports;
pub use secret::Secret;
