//! The promises of the service, tested with the real program: killed, stopped, filled and starved.

#![allow(clippy::unwrap_used)] // a test ends where something fails

mod client;
mod kill;
mod memory;
mod operation;
mod server;
mod stop;
mod video;
