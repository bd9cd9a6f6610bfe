//! The services of Micropy, which turns MP4 video into MP3 audio: to be run alone, or embedded in your own application.
//!
//! | service | does |
//! |---|---|
//! | [`gateway`] | takes uploads, shows jobs and sends MP3s, over HTTP: an axum router that you can nest in your own |
//! | [`auth`] | issues and checks tokens, over HTTP |
//! | [`converter`] | converts the videos in the queue, each in a [`worker`] process |
//! | [`notification`] | sends mails about finished jobs |
//! | [`sweeper`] | removes what is expired or belongs to no job |
//!
//! Each service is a struct with builder methods and an async `run`. All of them use the [`Ports`] of `micropy_core`
//! alone. So they run in one process or in many, over whatever stores and queues the adapters speak to, and meet each
//! other only through those. [`stores`] keeps them from a store that is another's. [`accounts`] are the users of
//! gateway and auth service; [`telemetry`] is traces, metrics and health; [`http`] is a server for the routers.
//!
//! This crate reads no settings, neither from files nor from the environment: `micropy-server` is the program that
//! does.

pub mod accounts;
pub mod auth;
pub mod converter;
pub mod gateway;
#[cfg(any(test, feature = "hostile"))]
#[doc(hidden)]
pub mod hostile;
pub mod http;
mod job;
pub mod notification;
mod ports;
pub mod stores;
pub mod sweeper;
pub mod telemetry;
pub mod worker;

pub use ports::Ports;
