//! The parsers of bytes from outside, as fuzzers drive them: the tests with mutations of `tests/seeds`, the same every
//! time; libFuzzer (`fuzz/libfuzzer`) with whatever it finds.
//!
//! Each entry point tells whether the bytes were accepted, and panics where a promise about them is broken.

#[allow(clippy::unwrap_used, reason = "for tests and fuzzers alone")]
mod mutation;

pub use crate::gateway::sound::hostile::outline;
pub use crate::gateway::tus::hostile::{checksum, length, metadata};
pub use crate::gateway::uploads::hostile::{content_type, form};
pub use crate::job::message::hostile::message;
pub use mutation::mutations;
