//! The fields of a syncframe, one after the other.

use super::fault::Fault;
use crate::decode::bits::Bits;

/// [`Bits`] for which the end of the frame is a fault.
#[derive(Clone)]
pub struct FrameBits<'a>(Bits<'a>);

impl<'a> FrameBits<'a> {
    /// From bit `position` of `frame`.
    pub fn at(frame: &'a [u8], position: usize) -> Self {
        FrameBits(Bits::at(frame, position))
    }

    /// The next `count` bits (at most 32) as a number.
    pub fn read(&mut self, count: u32) -> Result<u32, Fault> {
        self.0.read(count).ok_or(Fault::Truncated)
    }

    /// The next `count` bits (1 to 32) as a number in two's complement.
    pub fn read_signed(&mut self, count: u32) -> Result<i32, Fault> {
        let unused = 32 - count;
        Ok(((self.read(count)? << unused) as i32) >> unused)
    }

    /// The next bit.
    pub fn flag(&mut self) -> Result<bool, Fault> {
        self.0.flag().ok_or(Fault::Truncated)
    }

    /// Passes over `count` bits.
    pub fn skip(&mut self, count: usize) -> Result<(), Fault> {
        self.0.skip(count).ok_or(Fault::Truncated)
    }

    /// A field of `count` bits that is there if the bit before it says so.
    pub fn optional(&mut self, count: u32) -> Result<Option<u32>, Fault> {
        Ok(match self.flag()? {
            true => Some(self.read(count)?),
            false => None,
        })
    }

    /// The place of the next bit, from the start of the frame.
    pub fn position(&self) -> usize {
        self.0.position()
    }
}
