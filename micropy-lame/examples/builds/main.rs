//! Compares the builds of LAME that this processor can run: CPU time, in runs that take turns.
//!
//! ```sh
//! cargo run --release -p micropy-lame --example builds -- 5 cbr128,cbr192,v2 [music.s16 ...]
//! ```
//!
//! Arguments: repetitions; bitrates (`cbr128`, `abr160`, `v2`, each with `q5` after it for a quality other than 3, `m`
//! for mono, `r22050` for another sample rate); files of interleaved stereo PCM, 16 bits, little-endian. Without files,
//! synthetic music. Each build encodes the same ten frames in turn, so that a busy machine slows all alike; of each
//! stretch the median time counts, which the operating system counts for this thread alone.

#[cfg(target_os = "linux")]
#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests")]
mod support;

#[cfg(target_os = "linux")]
mod comparison;

#[cfg(target_os = "linux")]
fn main() {
    comparison::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the CPU time of a thread is read on Linux only");
}
