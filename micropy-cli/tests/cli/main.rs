//! The command line as users meet it: the built program, real files, independent decoders.

mod audio;
#[cfg(unix)]
mod broken;
mod convert;
mod flags;
#[cfg(unix)]
mod interrupt;
mod probe;
mod run;
mod streams;
#[cfg(unix)]
mod unix;
