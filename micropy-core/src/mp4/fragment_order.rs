//! Fragments whose times do not ascend: the order in which they are to be heard.

use super::heard::Run;

/// A fragment of the track.
#[derive(Clone, Copy, Debug)]
pub struct Fragment {
    /// Where its `moof` begins in the source.
    pub at: u64,
    /// Its samples, from the first of its runs to the end of the last.
    pub run: Run,
}

/// A stretch of the file whose fragments are read in the order of their times.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where it begins in the source: at a `moof` of the track.
    pub begin: u64,
    /// Where it ends.
    pub end: u64,
    /// Where each `moof` of it begins, in the order in which they are read.
    pub moofs: Vec<u64>,
}

impl Order {
    /// The order of the `fragments` of a stretch that ends at `end`; `None` where it is that of the file, or where their
    /// times do not tell it: fragments that overlap and are no repeats are of two recordings, and not to be mixed.
    pub fn of(mut fragments: Vec<Fragment>, end: u64, tolerance: u64) -> Option<Order> {
        let begin = fragments.first()?.at;
        if fragments.is_sorted_by_key(|fragment| fragment.run.time) {
            return None;
        }
        fragments.sort_by_key(|fragment| fragment.run.time);
        let tells = fragments.windows(2).all(|pair| {
            let [a, b] = [&pair[0].run, &pair[1].run];
            a.end <= b.time.saturating_add(tolerance) || a.has_the_samples_of(b)
        });
        tells.then(|| Order {
            begin,
            end,
            moofs: fragments.iter().map(|fragment| fragment.at).collect(),
        })
    }
}
