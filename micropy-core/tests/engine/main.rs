//! The engine as those who use it meet it: files in, MP3s and PCM out. One program, since each takes seconds to link.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

#[cfg(all(feature = "aac", feature = "mp3", feature = "tokio"))]
mod asynchronous;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../src/mp4/tests/build.rs"]
mod build;
mod containers;
mod conversion;
mod corpus;
mod damage;
mod declared;
mod edits;
#[cfg(feature = "aac")]
mod encrypted;
mod lengths;
mod options;
mod packet_lengths;
mod parts;
mod pcm;
#[cfg(feature = "stages")]
mod quicktime;
mod sound_only;
#[path = "../support/mod.rs"]
mod support;
mod times;
