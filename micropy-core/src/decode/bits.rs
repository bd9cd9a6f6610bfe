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

    /// The next bit's place, counted from the start of the bytes.
    #[cfg(feature = "ac3")]
    pub fn position(&self) -> usize {
        self.position
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
        let from = self.bytes.get(self.position / 8..).unwrap_or_default();
        let word = match from.first_chunk() {
            Some(eight) => u64::from_be_bytes(*eight),
            None => {
                let mut eight = [0; 8];
                eight[..from.len()].copy_from_slice(from);
                u64::from_be_bytes(eight)
            }
        };
        // At most 7 + 32 of the 64 bits are needed.
        let left_aligned = word << (self.position % 8);
        self.position += count as usize;
        Some(left_aligned.checked_shr(64 - count).unwrap_or(0) as u32)
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
