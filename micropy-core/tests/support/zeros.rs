//! Large files that take no room.

use std::io;

use super::Source;

/// A file of which only the head is stored; the rest is zeros.
pub struct Zeros {
    pub head: Vec<u8>,
    pub size: u64,
}

impl Source for Zeros {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset < self.head.len() as u64 {
            return self.head.as_slice().read_at(offset, buf);
        }
        let len = buf.len().min((self.size - offset.min(self.size)) as usize);
        buf[..len].fill(0);
        Ok(len)
    }
    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}
