//! Safe bindings to LAME 3.100, the MP3 encoder.
//!
//! ```
//! use micropy_lame::{Bitrate, Encoder, Settings};
//!
//! # fn main() -> Result<(), micropy_lame::Error> {
//! let settings = Settings {
//!     sample_rate: 44_100,
//!     channels: 2,
//!     bitrate: Bitrate::Cbr(128),
//!     quality: 3,
//! };
//! let mut encoder = Encoder::new(&settings)?;
//! let (left, right) = ([0.0; 44_100], [0.0; 44_100]);
//! let mut mp3 = Vec::new();
//! encoder.encode(&left, Some(&right), &mut mp3)?;
//! encoder.flush(&mut mp3)?;
//! # Ok(())
//! # }
//! ```

mod api;
mod builds;
mod encoder;
mod error;
mod settings;

#[doc(hidden)]
pub use builds::builds;
pub use builds::{Build, build};
pub use encoder::{Encoder, version};
pub use error::Error;
pub use settings::{Bitrate, SAMPLE_RATES, Settings, bitrates};
