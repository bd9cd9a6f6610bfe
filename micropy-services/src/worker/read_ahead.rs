//! The video as a source of the engine, fetched range by range.

use std::io;
use std::ops::Range;

use micropy_core::Source;

use super::protocol::MAX_READ;

/// Bytes fetched for a read that does not continue the one before.
const FIRST: usize = 16 * 1024;

/// Reads ranges, each of which costs a round trip to the storage.
///
/// The engine skips the pictures between pieces of audio. So a fetch reads little ahead at first, and twice as much
/// each time that reads follow one another.
pub struct ReadAhead<F> {
    size: u64,
    fetch: F,
    fetched: Vec<u8>,
    /// Offset of the first fetched byte.
    start: u64,
}

impl<F: FnMut(Range<u64>) -> io::Result<Vec<u8>>> ReadAhead<F> {
    /// A source of `size` bytes; `fetch` returns the bytes of a range of them.
    pub fn new(size: u64, fetch: F) -> Self {
        ReadAhead {
            size,
            fetch,
            fetched: Vec::new(),
            start: 0,
        }
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
        let end = offset.saturating_add(length).min(self.size);
        self.fetched = (self.fetch)(offset..end)?;
        self.start = offset;
        Ok(())
    }
}

impl<F: FnMut(Range<u64>) -> io::Result<Vec<u8>>> Source for ReadAhead<F> {
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
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

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
    fn a_failed_fetch_is_a_read_error() {
        let mut source = ReadAhead::new(10, |_| Err(io::Error::other("away")));
        let error = source.read_at(0, &mut [0; 4]).unwrap_err();
        assert_eq!(error.to_string(), "away");
    }
}
