//! Where each sample of a track is, how large it is and how long it lasts (`stts`, `stsc`, `stsz`, `stz2`, `stco`,
//! `co64`; ISO/IEC 14496-12, 8.6.1 and 8.7).
//!
//! The table is at least as compact as in the file (two bytes a sample for AAC). A [`Cursor`] walks it in constant time
//! per sample.

use std::sync::Arc;

use super::boxes::{BoxHeader, BoxReader};
use super::chunk_runs::ChunkRuns;
use crate::codec::Block;
use crate::error::{Error, Result};
use crate::timeline::{Lag, MediaClock};

/// One sample, or several contiguous ones of equal size and duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Byte offset in the source.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
    /// Decode time in timescale units.
    pub time: u64,
    /// Timescale units.
    pub duration: u32,
    /// Index of its sample entry, counted from 1.
    pub entry: u32,
}

/// Samples that were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// How many packets they make.
    pub packets: u64,
    /// Timescale units of all of them.
    pub duration: u64,
    /// Those of the last.
    pub last: Option<u32>,
}

/// The table of one track, or of one track run of a fragment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleTable {
    /// Run-length: `stts`.
    pub durations: Vec<DurationRun>,
    /// `stsz`, `stz2`.
    pub sizes: Sizes,
    /// Run-length: `stsc`.
    pub chunks: Vec<ChunkRun>,
    /// `stco`, `co64`.
    pub offsets: Compact<u32, u64>,
    /// `ctts`.
    pub composition: Composition,
}

/// How much later than it is decoded sound is presented, by its composition offsets: edits count from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Composition {
    /// The offset of the first sample in timescale units, if there are offsets.
    pub first: Option<i32>,
    /// Others differ from it.
    pub varies: bool,
}

impl Composition {
    /// The next sample, or some, have this offset.
    pub fn push(&mut self, offset: i32) {
        self.varies |= *self.first.get_or_insert(offset) != offset;
    }
}

/// A run of samples of one duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DurationRun {
    /// Samples.
    pub count: u32,
    /// Timescale units of one.
    pub delta: u32,
}

/// A run of chunks with the same number of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRun {
    /// The first chunk, counted from 0.
    pub first: u32,
    /// Samples in each.
    pub samples: u32,
    /// Index of their sample entry, counted from 1.
    pub entry: u32,
}

/// The sizes of the samples.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sizes {
    /// All of one size.
    Constant {
        /// Bytes of one.
        size: u32,
        /// Samples.
        count: u32,
    },
    /// One by one.
    Each(Compact<u16, u32>),
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes::Each(Compact::default())
    }
}

impl Sizes {
    /// Number of samples.
    pub fn count(&self) -> u64 {
        match self {
            Sizes::Constant { count, .. } => u64::from(*count),
            Sizes::Each(sizes) => sizes.len() as u64,
        }
    }

    fn get(&self, sample: u64) -> Option<u32> {
        match self {
            Sizes::Constant { size, count } => (sample < u64::from(*count)).then_some(*size),
            Sizes::Each(sizes) => sizes.get(usize::try_from(sample).ok()?),
        }
    }

    /// Bytes of the largest sample.
    pub fn largest(&self) -> u32 {
        match self {
            Sizes::Constant { size, .. } => *size,
            Sizes::Each(_) => (0..self.count())
                .filter_map(|sample| self.get(sample))
                .max()
                .unwrap_or_default(),
        }
    }

    /// Bytes of all samples from `first` on.
    pub fn bytes_from(&self, first: u64) -> u64 {
        match self {
            Sizes::Constant { size, count } => {
                u64::from(*size) * u64::from(*count).saturating_sub(first)
            }
            Sizes::Each(_) => (first..self.count())
                .filter_map(|sample| self.get(sample))
                .map(u64::from)
                .sum(),
        }
    }
}

/// Numbers in 16 bits each as long as all fit, else in 32.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Compact<N, W> {
    /// All fit so far.
    Narrow(Vec<N>),
    /// At least one did not.
    Wide(Vec<W>),
}

impl<N, W> Default for Compact<N, W> {
    fn default() -> Self {
        Compact::Narrow(Vec::new())
    }
}

impl<N: Copy + TryFrom<W>, W: Copy + From<N>> Compact<N, W> {
    /// Appends `value`.
    pub fn push(&mut self, value: W) {
        match self {
            Compact::Narrow(narrow) => match N::try_from(value) {
                Ok(value) => narrow.push(value),
                Err(_) => {
                    let mut wide: Vec<W> = narrow.iter().map(|&n| W::from(n)).collect();
                    wide.push(value);
                    *self = Compact::Wide(wide);
                }
            },
            Compact::Wide(wide) => wide.push(value),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Compact::Narrow(narrow) => narrow.len(),
            Compact::Wide(wide) => wide.len(),
        }
    }

    /// The one at `index`.
    pub fn get(&self, index: usize) -> Option<W> {
        match self {
            Compact::Narrow(narrow) => narrow.get(index).map(|&n| W::from(n)),
            Compact::Wide(wide) => wide.get(index).copied(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = W> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    fn shrink(&mut self) {
        match self {
            Compact::Narrow(narrow) => narrow.shrink_to_fit(),
            Compact::Wide(wide) => wide.shrink_to_fit(),
        }
    }
}

impl SampleTable {
    /// Reads the table box `header`; other boxes of `stbl` are ignored, and so is `stsc`, which is
    /// [settled](ChunkRuns::settle) behind all others. Returns what was wrong with it and could be repaired.
    pub fn read_box(
        &mut self,
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
    ) -> Result<Option<Error>> {
        match &header.kind.0 {
            b"stts" => return self.read_stts(reader, header),
            b"ctts" => self.read_ctts(reader, header),
            b"stsz" => self.read_stsz(reader, header),
            b"stz2" => self.read_stz2(reader, header),
            b"stco" => self.read_offsets(reader, header, |entry: &[u8; 4]| {
                u64::from(u32::from_be_bytes(*entry))
            }),
            b"co64" => {
                self.read_offsets(reader, header, |entry: &[u8; 8]| u64::from_be_bytes(*entry))
            }
            _ => Ok(()),
        }?;
        Ok(None)
    }

    fn read_stts(
        &mut self,
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
    ) -> Result<Option<Error>> {
        let [_, count] = words(reader.head::<8>(header)?);
        self.durations.clear();
        let mut negative = None;
        reader.entries(header, 8, count, |entry: &[u8; 8]| {
            let [count, delta] = words(*entry);
            let delta = delta.cast_signed();
            if delta < 0 && count > 0 {
                negative.get_or_insert(delta);
            }
            self.push_duration(count, delta.max(0).cast_unsigned());
            Ok(())
        })?;
        self.durations.shrink_to_fit();
        Ok(negative.map(|delta| {
            header.malformed(format!("a sample lasts for {delta} units: 0 is assumed"))
        }))
    }

    fn read_ctts(&mut self, reader: &mut BoxReader<'_>, header: &BoxHeader) -> Result<()> {
        let [_, count] = words(reader.head::<8>(header)?);
        self.composition = Composition::default();
        reader.entries(header, 8, count, |entry: &[u8; 8]| {
            let [samples, offset] = words(*entry);
            if samples > 0 {
                // In version 0 they have no sign, and none of that length is meant.
                self.composition.push(offset.cast_signed());
            }
            Ok(())
        })
    }

    /// Appends `count` samples of `delta` units.
    pub fn push_duration(&mut self, count: u32, delta: u32) {
        if count == 0 {
            return;
        }
        match self.durations.last_mut() {
            Some(last) if last.delta == delta && last.count.checked_add(count).is_some() => {
                last.count += count;
            }
            _ => self.durations.push(DurationRun { count, delta }),
        }
    }

    /// Sets the duration of each sample to what `of_size` gives for its size.
    pub fn set_durations(&mut self, of_size: impl Fn(u32) -> u32) {
        self.durations.clear();
        match self.sizes.clone() {
            Sizes::Constant { size, count } => self.push_duration(count, of_size(size)),
            Sizes::Each(sizes) => sizes
                .iter()
                .for_each(|size| self.push_duration(1, of_size(size))),
        }
    }

    fn read_stsz(&mut self, reader: &mut BoxReader<'_>, header: &BoxHeader) -> Result<()> {
        let [_, size, count] = words(reader.head::<12>(header)?);
        // An empty one beside the `stz2` that is meant.
        if count == 0 && self.sizes.count() > 0 {
            return Ok(());
        }
        if size != 0 {
            self.sizes = Sizes::Constant { size, count };
            return Ok(());
        }
        let mut sizes = Compact::default();
        reader.entries(header, 12, count, |entry: &[u8; 4]| {
            sizes.push(u32::from_be_bytes(*entry));
            Ok(())
        })?;
        sizes.shrink();
        self.sizes = Sizes::Each(sizes);
        Ok(())
    }

    fn read_stz2(&mut self, reader: &mut BoxReader<'_>, header: &BoxHeader) -> Result<()> {
        let [_, field_size, count] = words(reader.head::<12>(header)?);
        if count == 0 && self.sizes.count() > 0 {
            return Ok(());
        }
        let mut sizes = Compact::<u16, u32>::default();
        match field_size & 0xFF {
            4 => reader.entries(header, 12, count.div_ceil(2), |&[pair]: &[u8; 1]| {
                sizes.push(u32::from(pair >> 4));
                if sizes.len() < count as usize {
                    sizes.push(u32::from(pair & 0x0F));
                }
                Ok(())
            }),
            8 => reader.entries(header, 12, count, |&[size]: &[u8; 1]| {
                sizes.push(u32::from(size));
                Ok(())
            }),
            16 => reader.entries(header, 12, count, |&size: &[u8; 2]| {
                sizes.push(u32::from(u16::from_be_bytes(size)));
                Ok(())
            }),
            other => Err(header.malformed(format!("its field size is {other} bits"))),
        }?;
        sizes.shrink();
        self.sizes = Sizes::Each(sizes);
        Ok(())
    }

    fn read_offsets<const N: usize>(
        &mut self,
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
        offset: impl Fn(&[u8; N]) -> u64,
    ) -> Result<()> {
        let [_, count] = words(reader.head::<8>(header)?);
        // An empty `co64` beside the `stco` that is meant, or the other way round.
        if count == 0 {
            return Ok(());
        }
        self.offsets = Compact::default();
        reader.entries(header, 8, count, |entry| {
            self.offsets.push(offset(entry));
            Ok(())
        })?;
        self.offsets.shrink();
        Ok(())
    }

    /// Where the data of the last chunk ends, if it has all samples: in the table of a track run.
    pub fn data_end(&self) -> u64 {
        let begin = self.offsets.iter().last().unwrap_or(0);
        begin.saturating_add(self.sizes.bytes_from(0))
    }

    /// Number of samples.
    pub fn samples(&self) -> u64 {
        self.sizes.count()
    }

    /// Sum of all durations. If `stts` has too few, its last one continues, as in [`Cursor`].
    pub fn duration(&self) -> u64 {
        let mut left = self.samples();
        let mut sum = 0u64;
        for run in &self.durations {
            let n = left.min(u64::from(run.count));
            sum = sum.saturating_add(n * u64::from(run.delta));
            left -= n;
        }
        let last = self.durations.last().map_or(0, |run| run.delta);
        sum.saturating_add(left.saturating_mul(u64::from(last)))
    }

    /// The duration of the last sample.
    pub fn last_duration(&self) -> Option<u32> {
        let last = self.samples().checked_sub(1)?;
        let mut before = 0u64;
        let run = self.durations.iter().find(|run| {
            before = before.saturating_add(run.count.into());
            before > last
        });
        run.or(self.durations.last()).map(|run| run.delta)
    }

    /// Whether the durations of packets leave pauses between them.
    pub fn has_pauses(&self, clock: &MediaClock) -> bool {
        let mut left = self.samples();
        let mut lag = Lag::default();
        for run in &self.durations {
            // Behind the last sample nothing is missing.
            let samples = left.min(run.count.into());
            if samples > 0 && lag.before(clock, None, run.delta).units > 0 {
                return true;
            }
            left -= samples;
            let followed = samples - u64::from(left == 0).min(samples);
            if lag.adds_up(clock, followed, run.delta) {
                return true;
            }
        }
        false
    }

    /// Whether a sample lasts as long as another number of frames of `frame_len` PCM samples than the packets of `clock`
    /// hold. The last one may be shorter.
    pub fn may_hold_other_than_usual(&self, frame_len: u32, clock: &MediaClock) -> bool {
        let Some(usual) = clock.packet_len.map(u64::from) else {
            return false;
        };
        let frame_len = u64::from(frame_len.max(1));
        let tick = u64::from(clock.sample_rate.div_ceil(clock.timescale.max(1)));
        let mut left = self.samples();
        self.durations.iter().any(|run| {
            let samples = left.min(run.count.into());
            left -= samples;
            let len = clock.samples(run.delta.into());
            let frames = ((len + frame_len / 2) / frame_len).max(1);
            let is_whole = len.abs_diff(frames * frame_len) < tick.max(2);
            let is_short_last = samples == 1 && left == 0 && len < usual;
            let is_other = (frames * frame_len).abs_diff(usual) > clock.rounding();
            samples > 0 && is_whole && !is_short_last && is_other
        })
    }

    /// Whether some sample [stands out](Lag::stands_out).
    pub fn any_stands_out(&self, clock: &MediaClock) -> bool {
        let all = self.samples();
        let mut index = 0;
        let in_runs = self.durations.iter().any(|run| {
            let samples = index..all.min(index + u64::from(run.count));
            index = samples.end;
            let is_odd = |size| Lag::stands_out(clock, run.delta, size);
            match self.sizes {
                Sizes::Constant { size, .. } => !samples.is_empty() && is_odd(size),
                Sizes::Each(_) => samples.filter_map(|i| self.sizes.get(i)).any(is_odd),
            }
        });
        in_runs || index < all
    }

    /// Whether some sample lasts no time: it may be none at all.
    pub fn has_samples_without_time(&self) -> bool {
        self.durations.iter().any(|run| run.delta == 0)
    }

    /// The lowest chunk offset.
    pub fn lowest_offset(&self) -> Option<u64> {
        self.offsets.iter().min()
    }

    /// Whether the chunks are in the file in the order of the track.
    pub fn ascends(&self) -> bool {
        self.offsets.iter().is_sorted()
    }

    /// Index of the sample entry of the first sample, counted from 1.
    pub fn first_entry(&self) -> u32 {
        self.chunks.first().map_or(1, |run| run.entry)
    }

    /// The indices of all sample entries that samples have.
    pub fn entries(&self) -> impl Iterator<Item = u32> {
        self.chunks.iter().map(|run| run.entry)
    }

    /// A table of PCM samples as one of the blocks that hold them: the samples of a chunk are in whole blocks.
    pub fn in_blocks(&self, block: Block) -> SampleTable {
        let chunks = self.chunks.iter().map(|run| ChunkRun {
            samples: run.samples.div_ceil(block.samples),
            ..*run
        });
        let samples = u32::try_from(self.samples()).unwrap_or(u32::MAX);
        let count = samples.div_ceil(block.samples);
        let mut table = SampleTable {
            sizes: Sizes::Constant {
                size: block.bytes,
                count,
            },
            chunks: chunks.collect(),
            offsets: self.offsets.clone(),
            durations: Vec::new(),
            composition: self.composition,
        };
        let delta = self.durations.first().map_or(1, |run| run.delta);
        table.push_duration(samples / block.samples, block.samples.saturating_mul(delta));
        if let Some(rest) = samples.checked_rem(block.samples).filter(|&rest| rest > 0) {
            table.push_duration(1, rest.saturating_mul(delta));
        }
        table
    }

    /// Settles what its chunks hold, now that all other boxes are read. Returns what was wrong with that and could be
    /// repaired.
    pub fn settle_chunks(&mut self, chunks: ChunkRuns) -> Result<Option<Error>> {
        let (runs, repaired) = chunks.settle(self.offsets.len() as u64, self.samples())?;
        self.chunks = runs;
        Ok(repaired)
    }

    /// Refuses a table with samples but no chunks, where nothing could be found.
    pub fn check(&self, at: u64) -> Result<()> {
        if self.samples() > 0 && (self.chunks.is_empty() || self.offsets.len() == 0) {
            return Err(Error::malformed(
                at,
                "stbl",
                format!("it has {} samples but no chunks", self.samples()),
            ));
        }
        Ok(())
    }
}

/// The big-endian 32-bit words of `bytes`.
pub fn words<const N: usize, const W: usize>(bytes: [u8; N]) -> [u32; W] {
    const { assert!(N == 4 * W) };
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|i| u32::from_be_bytes(words[i]))
}

/// Walks the samples of a table in order.
#[derive(Clone, Debug)]
pub struct Cursor {
    table: Arc<SampleTable>,
    /// Index of the next sample.
    sample: u64,
    /// Decode time of the first sample.
    begin: u64,
    /// Decode time of the next sample.
    time: u64,
    /// Index of the chunk after the current one.
    next_chunk: u32,
    chunk_run: usize,
    left_in_chunk: u32,
    offset: u64,
    duration_run: usize,
    left_in_duration_run: u32,
}

impl Cursor {
    /// A cursor before the first sample of `table`, which decodes at `time`.
    pub fn new(table: Arc<SampleTable>, time: u64) -> Self {
        Cursor {
            left_in_duration_run: table.durations.first().map_or(0, |run| run.count),
            table,
            sample: 0,
            begin: time,
            time,
            next_chunk: 0,
            chunk_run: 0,
            left_in_chunk: 0,
            offset: 0,
            duration_run: 0,
        }
    }

    /// Decode time of the first sample.
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// Decode time of the next sample.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The composition offsets of the table.
    pub fn composition(&self) -> Composition {
        self.table.composition
    }

    /// Samples left in the table.
    pub fn samples_left(&self) -> u64 {
        self.table.samples() - self.sample
    }

    /// Duration of the samples left in the table.
    pub fn duration_left(&self) -> u64 {
        let given = self.time - self.begin;
        self.table.duration().saturating_sub(given)
    }

    /// Bytes of the samples left in the table.
    pub fn bytes_left(&self) -> u64 {
        self.table.sizes.bytes_from(self.sample)
    }

    /// The next sample. If all are of one size (uncompressed audio: one sample an instant), up to `group` samples of a
    /// chunk together.
    pub fn next(&mut self, group: u32) -> Option<Sample> {
        let alike = self.alike()?;
        let size = self.table.sizes.get(self.sample)?;
        let delta = self.delta();
        let count = alike.min(Self::together(group, size, delta));
        let sample = Sample {
            offset: self.offset,
            size: size * count,
            time: self.time,
            duration: delta * count,
            entry: self
                .table
                .chunks
                .get(self.chunk_run)
                .map_or(1, |run| run.entry),
        };
        self.pass(count, size);
        Some(sample)
    }

    /// Skips up to `count` of the samples that [`Cursor::next`] would return, and counts their times in `lag`. Stops at
    /// one that [stands out](Lag::stands_out).
    ///
    /// Takes time in proportion to the bytes of the table, however many samples of one size it declares.
    pub fn skip(&mut self, count: u64, group: u32, clock: &MediaClock, lag: &mut Lag) -> Passed {
        let mut passed = Passed::default();
        while passed.packets < count
            && let Some(alike) = self.alike()
            && let Some(size) = self.table.sizes.get(self.sample)
        {
            let delta = self.delta();
            if Lag::stands_out(clock, delta, size) {
                break;
            }
            let together = Self::together(group, size, delta);
            let wanted = (count - passed.packets).saturating_mul(together.into());
            let samples = u32::try_from(wanted).unwrap_or(u32::MAX).min(alike);
            self.pass(samples, size);
            lag.skip(clock, samples.div_ceil(together).into(), delta);
            passed.packets += u64::from(samples.div_ceil(together));
            let duration = u64::from(delta) * u64::from(samples);
            passed.duration = passed.duration.saturating_add(duration);
            passed.last = Some(delta);
        }
        passed
    }

    /// How many of the samples that [`Cursor::next`] would return end within the next `units` of time, up to the first
    /// whose size and duration do not `fit`.
    ///
    /// Takes time in proportion to the bytes of the table, as [`Cursor::skip`].
    pub fn ending_within(
        &self,
        mut units: u64,
        group: u32,
        fits: impl Fn(u32, u32) -> bool,
    ) -> u64 {
        let mut cursor = self.clone();
        let mut ending = 0u64;
        while let Some(alike) = cursor.alike()
            && let Some(size) = cursor.table.sizes.get(cursor.sample)
        {
            let delta = cursor.delta();
            let together = Self::together(group, size, delta).min(alike);
            if !fits(size * together, delta * together) {
                break;
            }
            let fitting = units.checked_div(delta.into()).unwrap_or(u64::MAX);
            let fitting = u32::try_from(fitting).unwrap_or(u32::MAX).min(alike);
            let whole = match fitting == alike {
                true => alike,
                false => fitting / together * together,
            };
            ending += u64::from(whole.div_ceil(together));
            units -= u64::from(delta) * u64::from(whole);
            cursor.pass(whole, size);
            if whole < alike {
                break;
            }
        }
        ending
    }

    /// How many samples from the next one on are contiguous and of one size and duration; `None` if there is no next one,
    /// or no chunk for it. Passes those that have no bytes and last no time.
    fn alike(&mut self) -> Option<u32> {
        loop {
            let size = self.table.sizes.get(self.sample)?;
            while self.left_in_chunk == 0 {
                self.enter_next_chunk()?;
            }
            let delta = self.delta();
            let alike = match self.table.sizes {
                Sizes::Constant { count, .. } => self
                    .left_in_chunk
                    .min(count - self.sample as u32)
                    .min(self.left_in_duration_run.max(1)),
                Sizes::Each(_) => 1,
            };
            if size > 0 || delta > 0 {
                return Some(alike);
            }
            self.pass(alike, size);
        }
    }

    /// How many samples of this size and duration are returned together. What their sizes are in a fragment is not known
    /// where `group` is chosen.
    fn together(group: u32, size: u32, delta: u32) -> u32 {
        /// Bytes of 4096 instants of 8 channels of 64 bits.
        const MOST_BYTES: u32 = 256 << 10;
        group
            .min(MOST_BYTES / size.max(1))
            .min(u32::MAX / delta.max(1))
            .max(1)
    }

    /// Moves past `count` samples of one size and duration.
    fn pass(&mut self, count: u32, size: u32) {
        let delta = self.delta();
        self.sample += u64::from(count);
        self.left_in_chunk -= count;
        self.left_in_duration_run = self.left_in_duration_run.saturating_sub(count);
        let bytes = u64::from(size) * u64::from(count);
        self.offset = self.offset.saturating_add(bytes);
        let duration = u64::from(delta) * u64::from(count);
        self.time = self.time.saturating_add(duration);
    }

    fn enter_next_chunk(&mut self) -> Option<()> {
        self.offset = self.table.offsets.get(self.next_chunk as usize)?;
        let runs = &self.table.chunks;
        if let Some(next) = runs.get(self.chunk_run + 1)
            && next.first <= self.next_chunk
        {
            self.chunk_run += 1;
        }
        self.left_in_chunk = runs.get(self.chunk_run)?.samples;
        self.next_chunk += 1;
        Some(())
    }

    /// The run of durations of the next sample. If `stts` is too short, its last one continues to the end.
    fn delta(&mut self) -> u32 {
        while self.left_in_duration_run == 0 && self.duration_run + 1 < self.table.durations.len() {
            self.duration_run += 1;
            self.left_in_duration_run = self.table.durations[self.duration_run].count;
        }
        if self.left_in_duration_run == 0 {
            self.left_in_duration_run = u32::MAX;
        }
        self.table
            .durations
            .get(self.duration_run)
            .map_or(0, |run| run.delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact<N: Copy + TryFrom<W>, W: Copy + From<N>>(values: &[W]) -> Compact<N, W> {
        let mut compact = Compact::default();
        values.iter().for_each(|&v| compact.push(v));
        compact
    }

    const CLOCK: MediaClock = MediaClock {
        timescale: 44_100,
        sample_rate: 44_100,
        packet_len: None,
        vary: false,
        instant: None,
    };

    #[test]
    fn durations_tell_pauses_and_packets_of_several_frames() {
        let clock = MediaClock {
            packet_len: Some(1024),
            ..CLOCK
        };
        let of = |runs: &[(u32, u32)]| SampleTable {
            durations: runs
                .iter()
                .map(|&(count, delta)| DurationRun { count, delta })
                .collect(),
            sizes: Sizes::Constant {
                size: 1,
                count: runs.iter().map(|(count, _)| count).sum(),
            },
            ..SampleTable::default()
        };
        for (runs, pauses, multiples) in [
            (&[(10, 1024)][..], false, false),
            (&[(9, 1024), (1, 300)], false, false),
            (&[(9, 1024), (1, 9000)], false, false),
            (&[(9, 1024), (1, 9000), (1, 1024)], true, false),
            (&[(9, 1024), (1, 9000), (8, 0), (2, 1024)], false, false),
            (&[(9, 1024), (4, 2000), (2, 1024)], false, false),
            (&[(9, 1024), (5, 2048), (2, 1024)], true, true),
            (&[(9, 1024), (5, 2048)], false, true),
            (&[(9, 1024), (u32::MAX - 20, 2000), (2, 1024)], true, false),
            (&[(u32::MAX, 2048)], false, true),
            (&[(9, 1024), (1, 2048)], false, true),
        ] {
            let table = of(runs);
            assert_eq!(table.has_pauses(&clock), pauses, "{runs:?}");
            let others = table.may_hold_other_than_usual(1024, &clock);
            assert_eq!(others, multiples, "{runs:?}");
        }
    }

    fn chunk(first: u32, samples: u32) -> ChunkRun {
        ChunkRun {
            first,
            samples,
            entry: 1,
        }
    }

    fn table() -> SampleTable {
        SampleTable {
            durations: vec![
                DurationRun {
                    count: 4,
                    delta: 10,
                },
                DurationRun { count: 1, delta: 3 },
            ],
            sizes: Sizes::Each(compact(&[5, 6, 70_000, 8, 9])),
            chunks: vec![chunk(0, 2), chunk(1, 1)],
            offsets: compact(&[100, 5_000_000_000, 300, 200]),
            composition: Composition::default(),
        }
    }

    #[test]
    fn samples_of_one_size_are_skipped_at_once_however_many() {
        let table = SampleTable {
            durations: vec![DurationRun {
                count: 1,
                delta: 1024,
            }],
            sizes: Sizes::Constant {
                size: 1,
                count: u32::MAX,
            },
            chunks: vec![chunk(0, u32::MAX)],
            offsets: compact(&[8]),
            composition: Composition::default(),
        };
        let mut cursor = Cursor::new(Arc::new(table), 0);
        let all = u64::from(u32::MAX);
        let passed = Passed {
            packets: all - 1,
            duration: (all - 1) * 1024,
            last: Some(1024),
        };
        let of_packets = |len| MediaClock {
            packet_len: Some(len),
            ..CLOCK
        };
        let mut lag = Lag::default();
        let stopped = cursor.skip(all - 1, 1, &of_packets(512), &mut lag);
        assert_eq!(stopped, Passed::default());
        let skipped = cursor.skip(all - 1, 1, &of_packets(1024), &mut lag);
        assert_eq!(skipped, passed);
        assert_eq!(cursor.next(1).map(|s| s.offset), Some(8 + all - 1));
        assert_eq!(
            cursor.skip(u64::MAX, 1, &CLOCK, &mut lag),
            Passed::default()
        );
    }

    #[test]
    fn a_table_of_pcm_samples_becomes_one_of_blocks() {
        let table = SampleTable {
            durations: vec![DurationRun {
                count: 300,
                delta: 1,
            }],
            sizes: Sizes::Constant {
                size: 1,
                count: 300,
            },
            chunks: vec![chunk(0, 128), chunk(2, 44)],
            offsets: compact(&[1000, 2000, 3000]),
            composition: Composition::default(),
        };
        let blocks = table.in_blocks(Block {
            samples: 64,
            bytes: 34,
        });
        assert_eq!(blocks.duration(), 300);
        let mut cursor = Cursor::new(Arc::new(blocks), 0);
        let all: Vec<_> = std::iter::from_fn(|| cursor.next(1))
            .map(|s| (s.offset, s.size, s.time, s.duration))
            .collect();
        assert_eq!(
            all,
            [
                (1000, 34, 0, 64),
                (1034, 34, 64, 64),
                (2000, 34, 128, 64),
                (2034, 34, 192, 64),
                (3000, 34, 256, 44)
            ]
        );
    }

    #[test]
    fn a_cursor_follows_chunks_sizes_and_durations() {
        let mut cursor = Cursor::new(Arc::new(table()), 0);
        let all: Vec<_> = std::iter::from_fn(|| cursor.next(1))
            .map(|s| (s.offset, s.size, s.time, s.duration))
            .collect();
        assert_eq!(
            all,
            [
                (100, 5, 0, 10),
                (105, 6, 10, 10),
                (5_000_000_000, 70_000, 20, 10),
                (300, 8, 30, 10),
                (200, 9, 40, 3)
            ]
        );
        assert_eq!(table().duration(), 43);
        assert!(!table().ascends());
        assert_eq!(table().lowest_offset(), Some(100));
    }

    #[test]
    fn what_is_left_counts_down() {
        let mut cursor = Cursor::new(Arc::new(table()), 0);
        assert_eq!((cursor.samples_left(), cursor.bytes_left()), (5, 70_028));
        cursor.next(1);
        cursor.next(1);
        cursor.next(1);
        assert_eq!((cursor.samples_left(), cursor.bytes_left()), (2, 17));
    }

    #[test]
    fn a_short_stts_continues_with_its_last_delta() {
        let mut table = table();
        table.durations = vec![DurationRun { count: 2, delta: 7 }];
        assert_eq!(table.duration(), 35);
        let mut cursor = Cursor::new(Arc::new(table), 5);
        while cursor.next(1).is_some() {}
        assert_eq!(cursor.time(), 40);
    }

    #[test]
    fn equal_samples_are_grouped_within_a_chunk_and_a_duration() {
        let table = SampleTable {
            durations: vec![
                DurationRun { count: 9, delta: 1 },
                DurationRun { count: 9, delta: 2 },
            ],
            sizes: Sizes::Constant { size: 4, count: 13 },
            chunks: vec![chunk(0, 7)],
            offsets: compact(&[0, 1000]),
            composition: Composition::default(),
        };
        let mut cursor = Cursor::new(Arc::new(table), 0);
        let all: Vec<_> = std::iter::from_fn(|| cursor.next(5))
            .map(|s| (s.offset, s.size, s.duration))
            .collect();
        assert_eq!(all, [(0, 20, 5), (20, 8, 2), (1000, 8, 2), (1008, 16, 8)]);
    }

    #[test]
    fn samples_before_a_time_are_counted_as_they_are_returned() {
        let alike = |count, samples: &[(u32, u32)]| SampleTable {
            durations: vec![
                DurationRun { count: 9, delta: 1 },
                DurationRun { count: 0, delta: 7 },
                DurationRun { count: 5, delta: 0 },
                DurationRun { count: 9, delta: 2 },
            ],
            sizes: Sizes::Constant { size: 4, count },
            chunks: samples.iter().map(|&(f, s)| chunk(f, s)).collect(),
            offsets: compact(&[0, 1000, 2000, 5000]),
            composition: Composition::default(),
        };
        for table in [
            table(),
            alike(13, &[(0, 7)]),
            alike(40, &[(0, 3), (1, 11), (3, 30)]),
            alike(5, &[]),
        ] {
            let table = Arc::new(table);
            for group in [1, 4, 5] {
                for skipped in 0..4 {
                    let mut cursor = Cursor::new(Arc::clone(&table), 50);
                    cursor.skip(skipped, group, &CLOCK, &mut Lag::default());
                    for units in 0..70 {
                        let end = cursor.time() + units;
                        let mut walk = cursor.clone();
                        let walk = std::iter::from_fn(|| walk.next(group));
                        let fits = |size, duration| duration <= if size > 12 { 4 } else { 99 };
                        let expected = walk
                            .take_while(|s| s.time + u64::from(s.duration) <= end)
                            .take_while(|s| fits(s.size, s.duration))
                            .count() as u64;
                        let counted = cursor.ending_within(units, group, fits);
                        assert_eq!(counted, expected, "{table:?} {group} {skipped} {units}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_table_without_chunks_for_its_samples_is_refused() {
        let mut table = table();
        table.offsets = Compact::default();
        assert!(
            table
                .check(7)
                .unwrap_err()
                .to_string()
                .contains("stbl at byte 7")
        );
    }

    /// Two hours of AAC at 44.1 kHz, every sample of another size and duration than the one before.
    #[test]
    fn two_hours_cost_little_memory_and_are_walked_at_once() {
        use super::super::boxes::read_header;
        use super::super::tests::build::{make, table, words};

        const SAMPLES: u32 = 2 * 3600 * 44_100 / 1024;
        let durations: Vec<_> = (0..SAMPLES).map(|i| [1, 1023 + i % 2]).collect();
        let sizes: Vec<_> = (0..SAMPLES).map(|i| 200 + i * 7919 % 700).collect();
        let offsets: Vec<_> = (0..SAMPLES.div_ceil(22)).map(|i| [i * 60_000]).collect();
        let boxes = [
            table(b"stts", &durations),
            table(b"stsc", &[[1, 22, 1]]),
            make(b"stsz", &[&words(&[0, 0, SAMPLES]), &words(&sizes)]),
            table(b"stco", &offsets),
        ];
        let file = make(b"stbl", &[&boxes.concat()]);
        let mut source = file.as_slice();
        let stbl = read_header(&mut source, 0).unwrap().unwrap();
        let begin = std::time::Instant::now();
        let mut reader = BoxReader::new(&mut source, &stbl);
        let (mut read, mut chunks) = (SampleTable::default(), None);
        let mut at = stbl.payload;
        while let Some(child) = reader.child(&stbl, at).unwrap() {
            match &child.kind.0 {
                b"stsc" => chunks = Some(ChunkRuns::read(&mut reader, &child).unwrap()),
                _ => assert!(read.read_box(&mut reader, &child).unwrap().is_none()),
            }
            at = child.end;
        }
        read.settle_chunks(chunks.unwrap()).unwrap();
        let Sizes::Each(Compact::Narrow(narrow)) = &read.sizes else {
            panic!("two bytes are enough for each size");
        };
        assert_eq!(narrow.capacity(), SAMPLES as usize);
        let table = Arc::new(read);
        let mut cursor = Cursor::new(Arc::clone(&table), 0);
        let mut walked = 0;
        while cursor.next(1).is_some() {
            walked += 1;
        }
        println!("read and walked in {:?}", begin.elapsed());
        assert_eq!((walked, cursor.time()), (SAMPLES, table.duration()));
    }
}
