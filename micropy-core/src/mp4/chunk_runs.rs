//! `stsc` (ISO/IEC 14496-12, 8.7.4): how many samples each chunk has. It can only be checked against the numbers of samples
//! and of chunks, which stand in other boxes: so it is settled once all boxes of a sample table are read.

use super::boxes::{BoxHeader, BoxReader};
use super::sample_table::{ChunkRun, words};
use crate::error::{Error, Result};

/// The box as it stands in the file.
#[derive(Debug)]
pub struct ChunkRuns {
    header: BoxHeader,
    entries: Vec<Entry>,
}

/// One entry of the box.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The first chunk of the run, counted from 1.
    first: u32,
    /// Samples in each.
    samples: u32,
    /// Index of their sample entry, counted from 1.
    description: u32,
}

/// What the entries may mean.
struct Reading {
    runs: Vec<ChunkRun>,
    /// What had to be repaired for that.
    repaired: Option<String>,
}

impl ChunkRuns {
    /// Reads the box `header`.
    pub fn read(reader: &mut BoxReader<'_>, header: &BoxHeader) -> Result<Self> {
        let [_, count] = words(reader.head::<8>(header)?);
        let mut entries = Vec::new();
        reader.entries(header, 8, count, |entry: &[u8; 12]| {
            let [first, samples, description] = words(*entry);
            entries.push(Entry {
                first,
                samples,
                description,
            });
            Ok(())
        })?;
        Ok(ChunkRuns {
            header: *header,
            entries,
        })
    }

    /// The runs of a track of so many `chunks` and `samples`, and what was wrong with them and could be repaired.
    ///
    /// Entries that do not begin with the first chunk, or do not ascend, may be meant in several ways: the first counts by
    /// which the chunks have as many samples as there are. If there is none, the first entry is for the first chunk,
    /// whatever it says.
    pub fn settle(self, chunks: u64, samples: u64) -> Result<(Vec<ChunkRun>, Option<Error>)> {
        let as_it_is = Reading::of(self.entries.iter().copied());
        let reading = match as_it_is {
            Ok(reading) if reading.repaired.is_none() => Ok(reading),
            Ok(reading) if reading.samples(chunks) == samples => Ok(reading),
            as_it_is => {
                let others: [fn(&Self) -> Option<Reading>; 2] = [Self::shifted, Self::sorted];
                let mut others = others.into_iter().filter_map(|of| of(&self));
                let fits = others.find(|reading| reading.samples(chunks) == samples);
                fits.map_or(as_it_is, Ok)
            }
        };
        let Reading { mut runs, repaired } = reading.map_err(|why| self.header.malformed(why))?;
        runs.shrink_to_fit();
        Ok((runs, repaired.map(|why| self.header.malformed(why))))
    }

    /// The entries where chunks are counted from another number than 1.
    fn shifted(&self) -> Option<Reading> {
        let counted_from = self.entries.first()?.first;
        let shifted = self.entries.iter().map(|&entry| Entry {
            first: entry.first.wrapping_sub(counted_from).wrapping_add(1),
            ..entry
        });
        Some(Reading {
            repaired: Some(format!(
                "it counts chunks from {counted_from}: they are counted from 1"
            )),
            ..Reading::of(shifted).ok()?
        })
    }

    /// The entries in the order of their chunks.
    fn sorted(&self) -> Option<Reading> {
        let mut entries = self.entries.clone();
        entries.sort_by_key(|entry| entry.first);
        Some(Reading {
            repaired: Some(
                "its entries are not in the order of their chunks: they were sorted".into(),
            ),
            ..Reading::of(entries.into_iter()).ok()?
        })
    }
}

impl Reading {
    /// What ascending entries mean. The first is for the first chunk, whatever it says, and of two for one chunk the later
    /// counts.
    fn of(entries: impl Iterator<Item = Entry>) -> Result<Reading, String> {
        let mut runs: Vec<ChunkRun> = Vec::new();
        let mut repaired = None;
        for (index, entry) in entries.enumerate() {
            let first = if index == 0 { 1 } else { entry.first };
            let last = runs.last().map(|run| u64::from(run.first) + 1);
            let lowest = last.map_or(1, |last| last + 1);
            if last == Some(first.into()) {
                runs.pop();
                repaired.get_or_insert(format!(
                    "entry {index} begins at chunk {first}, as the one before it does: the later counts"
                ));
            } else if u64::from(first) < lowest {
                return Err(format!(
                    "entry {index} begins at chunk {first}, not at {lowest} or later"
                ));
            } else if entry.first != first {
                repaired.get_or_insert(format!(
                    "entry {index} begins at chunk {}: chunk {first} is assumed",
                    entry.first
                ));
            }
            runs.push(ChunkRun {
                first: first - 1,
                samples: entry.samples,
                entry: entry.description,
            });
        }
        Ok(Reading { runs, repaired })
    }

    /// How many samples are in so many chunks.
    fn samples(&self, chunks: u64) -> u64 {
        let ends = self.runs.iter().skip(1).map(|run| u64::from(run.first));
        let ends = ends.chain([chunks]).map(|end| end.min(chunks));
        let runs = self.runs.iter().zip(ends);
        runs.fold(0, |sum, (run, end)| {
            let chunks = end.saturating_sub(run.first.into());
            sum.saturating_add(chunks.saturating_mul(run.samples.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::boxes::read_header;
    use super::super::tests::build::table;
    use super::*;

    /// Runs by their first chunk and samples, and what was repaired.
    type Settled = (Vec<(u32, u32)>, Option<String>);

    /// The runs of a box with these rows.
    fn settled(rows: &[[u32; 3]], chunks: u64, samples: u64) -> Result<Settled> {
        let bytes = table(b"stsc", rows);
        let mut source = bytes.as_slice();
        let header = read_header(&mut source, 0)?.unwrap();
        let read = ChunkRuns::read(&mut BoxReader::new(&mut source, &header), &header)?;
        let (runs, repaired) = read.settle(chunks, samples)?;
        let runs = runs.iter().map(|run| (run.first, run.samples));
        Ok((runs.collect(), repaired.map(|e| e.to_string())))
    }

    #[test]
    fn runs_that_ascend_are_taken_whatever_they_add_up_to() {
        for samples in [0, 7, 90] {
            let found = settled(&[[1, 3, 1], [4, 1, 1]], 5, samples).unwrap();
            assert_eq!(found, (vec![(0, 3), (3, 1)], None));
        }
        assert_eq!(settled(&[], 0, 0).unwrap(), (vec![], None));
    }

    #[test]
    fn the_reading_counts_by_which_all_samples_are_there() {
        for (rows, samples, runs, told) in [
            // The first run begins with the first chunk.
            (
                &[[2, 20, 1], [3, 19, 1]][..],
                20 + 20 + 19 + 19,
                &[(0, 20), (2, 19)][..],
                "chunk 1 is assumed",
            ),
            // All begin one later.
            (
                &[[2, 20, 1], [3, 19, 1]],
                20 + 19 + 19 + 19,
                &[(0, 20), (1, 19)],
                "it counts chunks from 2",
            ),
            (
                &[[0, 20, 1], [2, 19, 1], [3, 11, 1]],
                20 + 20 + 19 + 11,
                &[(0, 20), (2, 19), (3, 11)],
                "it counts chunks from 0",
            ),
            (
                &[[1, 20, 1], [4, 18, 1], [3, 19, 1]],
                20 + 20 + 19 + 18,
                &[(0, 20), (2, 19), (3, 18)],
                "they were sorted",
            ),
            // Nothing adds up: the first chunk is meant.
            (
                &[[2, 20, 1], [3, 19, 1]],
                99,
                &[(0, 20), (2, 19)],
                "chunk 1 is assumed",
            ),
        ] {
            let (found, repaired) = settled(rows, 4, samples).unwrap();
            assert_eq!(found, runs, "{rows:?}");
            let repaired = repaired.expect("a warning");
            assert!(repaired.contains(told), "{rows:?}: {repaired}");
        }
    }

    #[test]
    fn entries_out_of_order_that_do_not_add_up_are_refused() {
        let error = settled(&[[1, 20, 1], [4, 18, 1], [3, 19, 1]], 4, 99).unwrap_err();
        let told = "entry 2 begins at chunk 3, not at 5 or later";
        assert!(error.to_string().contains(told), "{error}");
        // More chunks than can be counted, and more samples.
        let most = [u32::MAX; 3];
        assert!(settled(&[most, [0, 1, 1], most], u64::MAX, 7).is_err());
    }
}
