//! Bits of a packet or of a decoder's configuration, most significant first.

/// Reads unsigned fields from a byte slice; `None` means that the slice has ended.
#[derive(Clone)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    /// The next bit, counted from the start of `bytes`.
    position: usize,
}

impl<'a> Bits<'a> {
    /// From the first bit of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes, position: 0 }
    }

    /// From bit `position` of `bytes`.
    pub fn at(bytes: &'a [u8], position: usize) -> Self {
        Bits { bytes, position }
    }

    /// How many bits remain.
    pub fn left(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.position)
    }

    /// The next `count` bits (at most 32) as a number.
    pub fn read(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        if self.left() < count as usize {
            return None;
        }
        let mut value = 0u64;
        for _ in 0..count {
            let byte = self.bytes[self.position / 8];
            value = value << 1 | u64::from(byte >> (7 - self.position % 8) & 1);
            self.position += 1;
        }
        Some(value as u32)
    }

    /// The next bit.
    pub fn flag(&mut self) -> Option<bool> {
        self.read(1).map(|bit| bit == 1)
    }

    /// Skips `count` bits.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        (self.left() >= count).then(|| self.position += count)
    }

    /// Skips to the next byte boundary.
    pub fn align(&mut self) {
        self.position = self.position.next_multiple_of(8);
    }
}
