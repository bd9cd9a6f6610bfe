//! Bytes that may be asked for again: in memory as long as they are few, then in an unnamed temporary file.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;

/// Bytes kept in memory.
const IN_MEMORY: usize = 4 << 20;

/// Stretches of a file, in the order in which they came.
pub struct Spool {
    file: SpooledTempFile,
    len: u64,
    /// By their first byte: how long they are, and where they stand in the spool. They do not overlap.
    stretches: BTreeMap<u64, (u64, u64)>,
}

impl Spool {
    pub fn new() -> Self {
        Spool {
            file: SpooledTempFile::new(IN_MEMORY),
            len: 0,
            stretches: BTreeMap::new(),
        }
    }

    /// Adds the bytes at `offset`, unless they are there.
    pub fn add(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() || self.end_of(offset).is_some() {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(self.len))?;
        self.file.write_all(bytes)?;
        let len = bytes.len() as u64;
        self.stretches.insert(offset, (len, self.len));
        self.len += len;
        Ok(())
    }

    /// Where the stretch that holds `offset` ends.
    pub fn end_of(&self, offset: u64) -> Option<u64> {
        let (start, (len, _)) = self.stretches.range(..=offset).next_back()?;
        let end = start + len;
        (offset < end).then_some(end)
    }

    /// Where the next stretch after `offset` begins.
    pub fn next_after(&self, offset: u64) -> Option<u64> {
        let (start, _) = self.stretches.range(offset..).next()?;
        Some(*start)
    }

    /// Reads what there is of the stretch that holds `offset`; `None` if none does.
    pub fn read(&mut self, offset: u64, buf: &mut [u8]) -> Option<io::Result<usize>> {
        let end = self.end_of(offset)?;
        let (start, (_, at)) = self.stretches.range(..=offset).next_back()?;
        let at = at + (offset - start);
        let n = buf
            .len()
            .min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        let read = self
            .file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.read_exact(&mut buf[..n]));
        Some(read.map(|()| n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_come_back_as_they_were() {
        let mut spool = Spool::new();
        spool.add(1000, &[1; 50]).unwrap();
        spool.add(10, &[2; 5]).unwrap();
        spool.add(1000, &[9; 50]).unwrap();
        let mut buf = [0; 100];
        assert_eq!(spool.read(1010, &mut buf).unwrap().unwrap(), 40);
        assert!(buf[..40].iter().all(|&byte| byte == 1));
        assert_eq!(spool.read(12, &mut buf[..2]).unwrap().unwrap(), 2);
        assert_eq!(buf[..2], [2; 2]);
        assert!(spool.read(15, &mut buf).is_none() && spool.read(0, &mut buf).is_none());
        assert_eq!(
            (spool.end_of(12), spool.next_after(12)),
            (Some(15), Some(1000))
        );
    }
}
