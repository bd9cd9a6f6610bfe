//! Videos that were uploaded one behind another.

use std::cell::RefCell;
use std::io;

use micropy_core::Source;

/// One of them, as a source of its own. All read by way of the same source, one after the other.
pub struct Window<'a, S> {
    whole: &'a RefCell<S>,
    /// Where it begins.
    start: u64,
    bytes: u64,
}

impl<'a, S: Source> Window<'a, S> {
    /// The `bytes` of `whole` from `start` on.
    pub fn new(whole: &'a RefCell<S>, start: u64, bytes: u64) -> Self {
        Window {
            whole,
            start,
            bytes,
        }
    }
}

impl<S: Source> Source for Window<'_, S> {
    fn size(&self) -> Option<u64> {
        Some(self.bytes)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.bytes.saturating_sub(offset);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        match n {
            0 => Ok(0),
            n => {
                let mut whole = self.whole.borrow_mut();
                whole.read_at(self.start + offset, &mut buf[..n])
            }
        }
    }

    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_shows_its_own_bytes_alone() {
        let whole = RefCell::new(&b"abcdefghij"[..]);
        let mut windows = [(0, 4), (4, 1), (5, 5)].map(|(start, bytes)| {
            let window = Window::new(&whole, start, bytes);
            assert_eq!(window.size(), Some(bytes));
            window
        });
        for (window, offset, expected) in [
            (0, 0, &b"abcd"[..]),
            (0, 3, b"d"),
            (0, 4, b""),
            (1, 0, b"e"),
            (1, 1, b""),
            (2, 2, b"hij"),
            (2, u64::MAX, b""),
        ] {
            let mut buf = [0; 20];
            let n = windows[window].read_at(offset, &mut buf).unwrap();
            assert_eq!(buf[..n], *expected, "window {window} at {offset}");
        }
    }
}
