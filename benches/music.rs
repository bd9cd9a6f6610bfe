//! What the benchmarks encode.

#[allow(missing_docs, reason = "shared with the tests of micropy-core")]
#[path = "../micropy-core/tests/support/movie.rs"]
mod movie;
#[allow(missing_docs, reason = "shared with the tests of micropy-core")]
#[path = "../micropy-core/tests/support/music.rs"]
mod music;

pub use movie::{Moov, pcm_movie};
pub use music::music;
