//! The command line as users meet it: the built program, real files, independent decoders.

mod audio;
mod batch;
#[cfg(unix)]
mod broken;
mod convert;
mod flags;
mod folders;
mod habits;
#[cfg(unix)]
mod interrupt;
mod itself;
mod parts;
mod presets;
mod probe;
mod run;
mod streams;
#[cfg(unix)]
mod unix;
#[cfg(feature = "http")]
mod urls;
#[cfg(unix)]
mod watch;
