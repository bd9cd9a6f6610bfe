//! The video as a source of the engine, fetched range by range.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use micropy_core::Source;

use super::protocol::MAX_READ;

/// Bytes fetched for a read that does not continue the one before.
const FIRST: usize = 16 * 1024;

/// Tells which ranges will be read.
type Announce<'a> = Box<dyn FnMut(&[Range<u64>]) + Send + 'a>;

/// Reads ranges, each of which costs a round trip to the storage.
///
/// The engine skips the pictures between pieces of audio. So a fetch reads little ahead at first, and twice as much
/// each time that reads follow one another.
pub struct ReadAhead<'a, F> {
    size: u64,
    fetch: F,
    /// Where what will be read is said.
    announce: Option<Announce<'a>>,
    /// What will be read, where it is said.
    plan: VecDeque<Range<u64>>,
    fetched: Vec<u8>,
    /// Offset of the first fetched byte.
    start: u64,
}

impl<'a, F: FnMut(Range<u64>) -> io::Result<Vec<u8>>> ReadAhead<'a, F> {
    /// A source of `size` bytes; `fetch` returns the bytes of a range of them.
    pub fn new(size: u64, fetch: F) -> Self {
        ReadAhead {
            size,
            fetch,
            announce: None,
            plan: VecDeque::new(),
            fetched: Vec::new(),
            start: 0,
        }
    }

    /// Says by `announce` what will be read, for a storage that is far away, and then reads no more than that at once.
    #[must_use]
    pub fn announcing(mut self, announce: impl FnMut(&[Range<u64>]) + Send + 'a) -> Self {
        self.announce = Some(Box::new(announce));
        self
    }

    /// The end of what was said to be read from `offset` on.
    fn planned(&mut self, offset: u64) -> Option<u64> {
        while self.plan.front().is_some_and(|range| range.end <= offset) {
            self.plan.pop_front();
        }
        let next = self.plan.front()?;
        (next.start <= offset).then_some(next.end)
    }

    fn end(&self) -> u64 {
        self.start + self.fetched.len() as u64
    }

    /// The fetched bytes from `offset` on; empty where they do not include it.
    fn fetched_from(&self, offset: u64) -> &[u8] {
        if (self.start..self.end()).contains(&offset) {
            &self.fetched[(offset - self.start) as usize..]
        } else {
            &[]
        }
    }

    fn fetch(&mut self, offset: u64, least: usize) -> io::Result<()> {
        let follows = offset == self.end() && !self.fetched.is_empty();
        let ahead = if follows {
            self.fetched.len() * 2
        } else {
            FIRST
        };
        let length = ahead.max(least).min(MAX_READ) as u64;
        let end = match self.planned(offset) {
            Some(end) => end.min(offset.saturating_add(MAX_READ as u64)),
            None => offset.saturating_add(length),
        };
        let end = end.min(self.size);
        self.fetched = (self.fetch)(offset..end)?;
        self.start = offset;
        Ok(())
    }
}

impl<F: FnMut(Range<u64>) -> io::Result<Vec<u8>>> Source for ReadAhead<'_, F> {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.size || buf.is_empty() {
            return Ok(0);
        }
        if self.fetched_from(offset).is_empty() {
            self.fetch(offset, buf.len())?;
        }
        let fetched = self.fetched_from(offset);
        let n = fetched.len().min(buf.len());
        buf[..n].copy_from_slice(&fetched[..n]);
        Ok(n)
    }

    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }

    fn will_read(&mut self, ranges: &[Range<u64>]) {
        if let Some(announce) = &mut self.announce {
            announce(ranges);
            self.plan = ranges.iter().cloned().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Mutex;

    use super::*;

    /// Reads to the end of `buf` or of the source; a read may stop where what was fetched stops.
    fn fill(source: &mut impl Source, offset: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            match source.read_at(at, &mut buf[done..]).unwrap() {
                0 => break,
                n => done += n,
            }
        }
        done
    }

    #[test]
    fn reads_are_right_and_skipped_bytes_are_not_fetched() {
        let data: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
        let fetches = RefCell::new(Vec::new());
        let mut source = ReadAhead::new(data.len() as u64, |range: Range<u64>| {
            fetches.borrow_mut().push(range.end - range.start);
            Ok(data[range.start as usize..range.end as usize].to_vec())
        });
        let mut buf = [0; 1000];
        for offset in [
            0,
            1000,
            500_000,
            500_500,
            3_999_500,
            1_000_000,
            4_000_000,
            u64::MAX,
        ] {
            let n = fill(&mut source, offset, &mut buf);
            let start = (offset as usize).min(data.len());
            let end = (start + 1000).min(data.len());
            assert_eq!(buf[..n], data[start..end], "at {offset}");
        }
        let fetched: u64 = fetches.take().iter().sum();
        assert!(fetched < 6 * FIRST as u64, "{fetched} bytes for six reads");

        for offset in (0..4_000_000).step_by(1000) {
            let n = fill(&mut source, offset, &mut buf);
            assert!(
                buf[..n] == data[offset as usize..][..1000],
                "at {offset}: {n} bytes"
            );
        }
        let fetches = fetches.take();
        assert!(
            fetches.len() < 20,
            "consecutive reads are fetched together: {fetches:?}"
        );
        assert!(fetches.iter().all(|bytes| *bytes <= MAX_READ as u64));
    }

    #[test]
    fn what_was_announced_is_fetched_as_it_was_announced() {
        let data: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (fetches, announced) = (RefCell::new(Vec::new()), Mutex::new(Vec::new()));
        let mut source = ReadAhead::new(data.len() as u64, |range: Range<u64>| {
            fetches.borrow_mut().push(range.clone());
            Ok(data[range.start as usize..range.end as usize].to_vec())
        })
        .announcing(|ranges| announced.lock().unwrap().extend_from_slice(ranges));
        let plan = [1000..1500, 200_000..240_000, 300_000..2_000_000];
        source.will_read(&plan);
        let mut buf = vec![0; 1_700_000];
        for range in &plan {
            let length = (range.end - range.start) as usize;
            let read = fill(&mut source, range.start, &mut buf[..length]);
            assert!(
                read == length && buf[..length] == data[range.start as usize..range.end as usize]
            );
        }
        drop(source);
        assert_eq!(announced.into_inner().unwrap(), plan);
        let (whole, cut) = (MAX_READ as u64, 300_000 + MAX_READ as u64);
        assert!(cut - 300_000 == whole);
        let expected = [
            plan[0].clone(),
            plan[1].clone(),
            300_000..cut,
            cut..2_000_000,
        ];
        assert_eq!(fetches.take(), expected);
    }

    #[test]
    fn a_failed_fetch_is_a_read_error() {
        let mut source = ReadAhead::new(10, |_| Err(io::Error::other("away")));
        let error = source.read_at(0, &mut [0; 4]).unwrap_err();
        assert_eq!(error.to_string(), "away");
    }
}
