//! From the sample table, and the fragments after it, to packets.

use std::collections::VecDeque;

use super::fragment::Fragments;
use super::sample_table::{Cursor, Sample};
use crate::error::{Error, Result};
use crate::source::{Source, read_full_at};
use crate::warning::Warning;

/// One packet: an ISO *sample* once it leaves this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Byte offset in the source.
    pub offset: u64,
    /// Bytes that the container declares.
    pub size: u32,
    /// Decode time in timescale units from the beginning of the media. If it is later than the end of the packet
    /// before, fragments between them are missing.
    pub time: u64,
    /// Duration in timescale units.
    pub duration: u32,
    /// Bytes that were read: fewer than `size` if the file ends early.
    pub read: u32,
}

/// What a file that ends early declares but does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Packets that are missing or incomplete.
    pub packets: u64,
    /// Their missing bytes.
    pub bytes: u64,
    /// Timescale units of the packets that are missing altogether.
    pub duration: u64,
    /// The file ends inside a fragment: more may be missing than counted here.
    pub uncounted: bool,
}

impl Missing {
    /// Nothing is missing.
    pub fn is_empty(&self) -> bool {
        *self == Missing::default()
    }
}

/// Two fragments whose times do not follow each other by more than a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// Decode time at which the one ends, in timescale units.
    pub from: u64,
    /// Decode time at which the next begins: later where segments are missing, earlier where they overlap or are in
    /// the wrong order.
    pub to: u64,
}

/// What [`Packets::skip`] skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// How many packets.
    pub packets: u64,
    /// Timescale units of all of them.
    pub duration: u64,
}

/// The forward reader of one track's packets, through the sample table and any fragments after it.
#[derive(Debug)]
pub struct Packets {
    cursor: Cursor,
    fragments: Option<Fragments>,
    /// Samples of uncompressed audio that make one packet; 1 for all other codecs.
    group: u32,
    /// Taken from the cursor, but not contiguous with the last batch.
    held_back: Option<Sample>,
    /// Packets read but not returned yet.
    batch: VecDeque<Packet>,
    buffer: Vec<u8>,
    /// Bytes of `buffer` already returned.
    given: usize,
    missing: Missing,
    jumps: Vec<Jump>,
    /// Duration of the last packet from the cursor; 0 before the first.
    last_duration: u32,
    ended: bool,
    /// Bytes read so far, and the end of the highest one: samples that overlap endlessly are refused.
    read_bytes: u64,
    read_up_to: u64,
}

impl Packets {
    /// Bytes read at once if that many are contiguous.
    const BATCH_BYTES: u64 = 64 << 10;
    /// Packets read at once.
    const BATCH_PACKETS: usize = 4096;
    /// Jumps kept: those of a file of nothing but jumps would fill the memory.
    const MAX_JUMPS: usize = 16;
    /// The most bytes of a packet: 5 seconds of 8 channels of 64-bit PCM at 48 kHz.
    const PACKET_LIMIT: u32 = 16 << 20;

    pub(super) fn new(cursor: Cursor, fragments: Option<Fragments>, group: u32) -> Self {
        Packets {
            cursor,
            fragments,
            group,
            held_back: None,
            batch: VecDeque::new(),
            buffer: Vec::new(),
            given: 0,
            missing: Missing::default(),
            jumps: Vec::new(),
            last_duration: 0,
            ended: false,
            read_bytes: 0,
            read_up_to: 0,
        }
    }

    /// Appends the next packet's bytes to `data`; `None` after the last one. An incomplete packet is returned with the
    /// bytes there are (`read < size`); the file has then ended, and `None` follows.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if the source fails; [`Error::Malformed`] and [`Error::Limit`] for samples that cannot be read.
    pub fn next(&mut self, source: &mut dyn Source, data: &mut Vec<u8>) -> Result<Option<Packet>> {
        if self.batch.is_empty() && !self.ended {
            self.read_batch(source)?;
        }
        let Some(packet) = self.batch.pop_front() else {
            return Ok(None);
        };
        let end = self.given + packet.read as usize;
        data.extend_from_slice(&self.buffer[self.given..end]);
        self.given = end;
        Ok(Some(packet))
    }

    /// Skips up to `count` packets without reading them; fewer if the track or the file ends.
    ///
    /// # Errors
    ///
    /// As [`Packets::next`].
    pub fn skip(&mut self, source: &mut dyn Source, count: u64) -> Result<Passed> {
        let mut passed = Passed::default();
        while passed.packets < count && !self.ended {
            let duration = match self.batch.front() {
                Some(packet) if packet.read < packet.size => break,
                Some(packet) => {
                    self.given += packet.read as usize;
                    let duration = packet.duration;
                    self.batch.pop_front();
                    duration
                }
                None => match self.first_of_batch(source)? {
                    Some(sample) => sample.duration,
                    None => {
                        self.ended = true;
                        break;
                    }
                },
            };
            passed.packets += 1;
            passed.duration = passed.duration.saturating_add(duration.into());
            if self.batch.is_empty() && self.held_back.is_none() {
                let left = count - passed.packets;
                let (packets, duration) = self.cursor.skip(left, self.group);
                passed.packets += packets;
                passed.duration = passed.duration.saturating_add(duration);
            }
        }
        Ok(passed)
    }

    /// Whether the packets hold uncompressed audio: at most one PCM sample per byte.
    pub fn uncompressed(&self) -> bool {
        self.group > 1
    }

    /// What the file declares but does not have: known once [`Packets::next`] has returned `None`.
    pub fn missing(&self) -> Missing {
        self.missing
    }

    /// Where the times of the fragments read so far jump; the first of many.
    pub fn jumps(&self) -> &[Jump] {
        &self.jumps
    }

    /// Warnings about the fragments read so far.
    pub fn warnings(&self) -> &[Warning] {
        self.fragments.as_ref().map_or(&[], Fragments::warnings)
    }

    /// Reads the next contiguous samples into the buffer.
    fn read_batch(&mut self, source: &mut dyn Source) -> Result<()> {
        self.given = 0;
        let Some(first) = self.first_of_batch(source)? else {
            self.ended = true;
            return Ok(());
        };
        if first.size > Self::PACKET_LIMIT {
            return Err(Error::Limit {
                at: first.offset,
                what: format!("the size of a sample ({} bytes)", first.size),
                limit: Self::PACKET_LIMIT.into(),
            });
        }
        let bytes = self.gather(first);
        if let Some(fragments) = &mut self.fragments {
            fragments.pass(source, first.offset)?;
        }
        self.buffer.clear();
        let mut step = bytes.min(Self::BATCH_BYTES) as usize;
        let mut read = 0;
        // In steps, so that a size larger than the file costs no memory.
        while read < bytes as usize {
            step = step.min(bytes as usize - read);
            self.buffer.resize(read + step, 0);
            let n = read_full_at(source, first.offset + read as u64, &mut self.buffer[read..])
                .map_err(Error::Read)?;
            read += n;
            if n < step {
                break;
            }
        }
        self.buffer.truncate(read);
        self.count_bytes(first.offset, bytes)?;
        self.share_out(read as u64);
        Ok(())
    }

    /// The next sample, from the next fragment if this one is used up.
    fn first_of_batch(&mut self, source: &mut dyn Source) -> Result<Option<Sample>> {
        if let Some(sample) = self.held_back.take() {
            return Ok(Some(sample));
        }
        loop {
            if let Some(sample) = self.cursor.next(self.group) {
                self.last_duration = sample.duration.max(1);
                return Ok(Some(sample));
            }
            self.count_unplaced();
            let Some(fragments) = &mut self.fragments else {
                return Ok(None);
            };
            match fragments.next_run(source, self.cursor.time())? {
                Some(cursor) => {
                    let jump = Jump {
                        from: self.cursor.time(),
                        to: cursor.time(),
                    };
                    self.cursor = cursor;
                    self.note(jump);
                }
                None => {
                    self.missing.uncounted |= fragments.damaged();
                    return Ok(None);
                }
            }
        }
    }

    /// Keeps a jump of more than a packet. A stream may begin at any time.
    fn note(&mut self, jump: Jump) {
        let begun = self.last_duration > 0;
        let len = jump.from.abs_diff(jump.to);
        if begun && len > self.last_duration.into() && self.jumps.len() < Self::MAX_JUMPS {
            self.jumps.push(jump);
        }
    }

    /// Samples that the table has sizes but no chunks for.
    fn count_unplaced(&mut self) {
        self.missing.packets += self.cursor.samples_left().div_ceil(self.group.into());
        self.missing.bytes += self.cursor.bytes_left();
        self.missing.duration += self.cursor.duration_left();
    }

    /// Fills the batch with `first` and the samples contiguous with it; returns their bytes.
    fn gather(&mut self, first: Sample) -> u64 {
        let mut end = first.offset;
        let mut next = Some(first);
        while let Some(sample) = next {
            let bytes = (end - first.offset) + u64::from(sample.size);
            let adjoins = sample.offset == end || sample.size == 0;
            let first_one = self.batch.is_empty();
            let fits = bytes <= Self::BATCH_BYTES && self.batch.len() < Self::BATCH_PACKETS;
            if !(first_one || adjoins && fits) {
                self.held_back = Some(sample);
                break;
            }
            self.batch.push_back(Packet {
                offset: sample.offset,
                size: sample.size,
                time: sample.time,
                duration: sample.duration,
                read: 0,
            });
            end = end.saturating_add(sample.size.into());
            next = self.cursor.next(self.group);
        }
        end - first.offset
    }

    /// Refuses samples that overlap endlessly: in a valid file none do, but a hostile one could take forever to read.
    fn count_bytes(&mut self, offset: u64, bytes: u64) -> Result<()> {
        self.read_bytes += bytes;
        self.read_up_to = self.read_up_to.max(offset.saturating_add(bytes));
        if self.read_bytes > self.read_up_to.saturating_mul(4).saturating_add(1 << 20) {
            return Err(Error::malformed(
                offset,
                "sample table",
                format!(
                    "its samples overlap: {} bytes come before it",
                    self.read_bytes
                ),
            ));
        }
        Ok(())
    }

    /// Assigns the `read` bytes to the packets of the batch. The track ends at an incomplete packet.
    fn share_out(&mut self, mut read: u64) {
        let mut whole = 0;
        for packet in &mut self.batch {
            packet.read = read.min(packet.size.into()) as u32;
            read -= u64::from(packet.read);
            if packet.read < packet.size {
                break;
            }
            whole += 1;
        }
        if whole == self.batch.len() {
            return;
        }
        let cut = self.batch[whole];
        self.missing.packets += 1;
        self.missing.bytes += u64::from(cut.size - cut.read);
        for lost in self.batch.drain(whole + 1..) {
            self.missing.packets += 1;
            self.missing.bytes += u64::from(lost.size);
            self.missing.duration += u64::from(lost.duration);
        }
        if let Some(lost) = self.held_back.take() {
            self.missing.packets += 1;
            self.missing.bytes += u64::from(lost.size);
            self.missing.duration += u64::from(lost.duration);
        }
        self.count_unplaced();
        self.missing.uncounted |= self.fragments.is_some();
        self.ended = true;
    }
}
