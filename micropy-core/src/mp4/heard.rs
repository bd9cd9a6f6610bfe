//! Which track runs were heard already: what stands in a file twice is heard once.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::sample_table::SampleTable;

/// A track run, as far as it can be known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// When it begins by its fragment, in timescale units.
    pub time: u64,
    /// When it ends.
    pub end: u64,
    /// A digest of the sizes and durations of its samples.
    table: u64,
    /// Where its media begins in the source.
    pub offset: u64,
    /// A digest of the first bytes of its media, once they were read.
    pub sound: Option<u64>,
}

impl Run {
    /// The run of `table` that begins at `time`; `None` where it has no samples.
    pub fn new(time: u64, table: &SampleTable) -> Option<Run> {
        let offset = table.lowest_offset().filter(|_| table.samples() > 0)?;
        Some(Run {
            time,
            end: time.saturating_add(table.duration()),
            table: digest(&(&table.durations, &table.sizes)),
            offset,
            sound: None,
        })
    }

    /// The same with the samples of `next` behind it.
    #[must_use]
    pub fn and(self, next: &Run) -> Run {
        Run {
            end: next.end,
            table: digest(&(self.table, next.table)),
            ..self
        }
    }

    /// The same, whose first bytes have the digest `sound`.
    #[must_use]
    pub fn with_sound(self, sound: u64) -> Run {
        Run {
            sound: Some(sound),
            ..self
        }
    }

    /// Whether the samples of `other` have the same time, sizes and durations.
    pub fn has_the_samples_of(&self, other: &Run) -> bool {
        (self.time, self.end, self.table) == (other.time, other.end, other.table)
    }
}

/// A digest of `value`: good for comparisons within one conversion.
pub fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The runs that were heard last.
#[derive(Debug, Default)]
pub struct Heard(VecDeque<Run>);

impl Heard {
    /// The most that are remembered: an hour of segments of several seconds.
    const MOST: usize = 1024;

    /// Remembers `run`. Where packets are read again, it is known already.
    pub fn push(&mut self, run: Run) {
        if self.0.iter().rev().any(|known| known.offset == run.offset) {
            return;
        }
        if self.0.len() == Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(run);
    }

    /// The run of which `run` may be a repeat, by its samples.
    pub fn original_of(&self, run: &Run) -> Option<Run> {
        let mut known = self.0.iter();
        known
            .find(|known| known.has_the_samples_of(run) && known.offset != run.offset)
            .copied()
    }
}
