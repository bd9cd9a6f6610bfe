//! The command line as its users meet it: the built binary, real files, independent decoders.

mod audio;
mod broken;
mod convert;
mod flags;
mod interrupt;
mod probe;
mod run;
mod streams;
