//! Videos behind URLs: adapters of [`Origins`](micropy_core::ports::Origins).

#[cfg(feature = "http")]
pub mod http;
