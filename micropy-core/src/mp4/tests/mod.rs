//! Whole files: built box by box, taken from the corpus, or damaged.

pub mod build;
mod corpus;
mod damaged;
mod fragmented;
mod independent;
mod plain;
mod sound_only;

use super::{Movie, Packet, Packets};
use crate::error::Result;
use crate::source::Source;

/// Packets with their bytes.
type Read = Vec<(Packet, Vec<u8>)>;

/// All packets of one track with their bytes, and their reader.
fn packets_of(source: &mut dyn Source, movie: &Movie, track: usize) -> Result<(Read, Packets)> {
    let mut reader = movie.packets(source, track)?;
    let mut packets = Vec::new();
    loop {
        let mut data = Vec::new();
        match reader.next(source, &mut data)? {
            Some(packet) => packets.push((packet, data)),
            None => return Ok((packets, reader)),
        }
    }
}

/// Reads a whole file held in memory.
fn read_all(mut file: &[u8]) -> Result<(Movie, Read)> {
    let movie = Movie::read(&mut file)?;
    let (packets, _) = packets_of(&mut file, &movie, 0)?;
    Ok((movie, packets))
}
