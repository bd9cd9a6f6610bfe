//! What reads bytes from outside, as a fuzzer drives it: the tests with mutations of `tests/seeds`, the same every
//! time; libFuzzer (`fuzz/libfuzzer`) with what it thinks of.
//!
//! Each entry point says whether the bytes were taken, and panics where a promise about them is broken.

mod mutation;

pub use crate::gateway::tus::hostile::{checksum, length, metadata};
pub use crate::gateway::uploads::hostile::{content_type, form};
pub use crate::job::message::hostile::message;
pub use mutation::mutations;
