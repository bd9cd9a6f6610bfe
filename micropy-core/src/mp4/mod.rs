//! ISO base media files (ISO/IEC 14496-12, -14; QuickTime): from bytes to the packets of one audio track.
//!
//! Boxes ▶ sample table or fragments ▶ edit list ▶ packets. Only what the audio needs is read: the tables and the data
//! of other tracks are skipped. Nothing is trusted: no length in a file sizes an allocation, and no count a loop,
//! beyond the bytes that are really there.

mod boxes;
mod channel_layout;
mod chapter_pictures;
mod chapters;
mod chunk_runs;
mod compressed_movie;
mod edit_list;
mod fragment;
mod fragment_order;
mod heard;
mod id32;
mod metadata;
mod movie;
mod outline;
mod packets;
mod preamble;
mod sample_entry;
mod sample_table;
mod sound_only;
mod text;
mod track;

#[cfg(test)]
mod tests;

pub use movie::{AudioTrack, Movie};
pub use outline::Outline;
pub use packets::{Jump, Mark, Missing, NotedJump, Packet, Packets, Passed};
pub use preamble::AfterPreamble;
pub use sound_only::{SoundPiece, alone, check_same, file};
