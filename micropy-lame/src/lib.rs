//! Safe bindings to LAME 3.100, the MP3 encoder, and its fastest build.
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
//!
//! # Builds
//! The crate holds LAME's source, unchanged, and compiles it with a C compiler alone: for every processor of the target;
//! on x86-64, for those with AVX2, as it is and with kernels in Rust in place of its hottest stages; on aarch64, for all
//! with such kernels. [`build()`] says which one runs, and [`stages()`] what kernels do. Each build's output differs from the others' in rounding and
//! so in bytes; tests compare what is lost with each. On one machine a build always writes the same bytes.
//!
//! Where the compiler cannot make one of these builds, compiling fails and says why. `MICROPY_LAME=baseline` in the
//! environment of the compiler leaves all but the one for every processor out. Tested on Linux with GCC and MinGW, and,
//! cross-compiled, for aarch64 by an emulator; Clang and macOS take the same way, Microsoft's compiler one of its own, and these have
//! not been tried.
//!
//! # Licence
//! This crate's own code is under MIT or Apache-2.0, but for the kernels and their C glue, which replace parts of LAME
//! and are under LAME's licence. LAME is under the GNU Library General Public License, version 2 or later, and
//! is **linked statically**: whoever passes on a program that contains it must say so, include the licence, offer
//! LAME's source (the folder `lame` of this crate is that, unchanged), and let the receiver link the program again with
//! a changed LAME: by giving out the program's source or its object files.

mod api;
mod builds;
mod encoder;
mod error;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod kernels;
mod settings;

#[doc(hidden)]
pub use builds::builds;
pub use builds::{Build, Stage, build, stages};
pub use encoder::{Encoder, version};
pub use error::Error;
#[cfg(all(
    feature = "measure",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
#[doc(hidden)]
pub use kernels::measure;
#[cfg(all(
    feature = "oracle",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
#[doc(hidden)]
pub use kernels::oracle;
pub use settings::{Bitrate, SAMPLE_RATES, Settings, bitrates};
