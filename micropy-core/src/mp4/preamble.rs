//! What some programs put before the first box: an ID3v2 tag, or bytes that are none of the file's.

use std::io;
use std::ops::Range;

use super::boxes::{format_name, is_first_kind};
use crate::frame_header::id3v2_len;
use crate::progress::CancelToken;
use crate::source::{Source, read_full_at};

/// How far a file is searched for its `ftyp` box.
const SEARCHED: usize = 64 << 10;

/// Bytes of a box header. No more are read to look for one: of a box that holds the media, the rest is read when a pipe
/// is known to need it again.
const BOX_HEADER: usize = 8;

/// Bytes of an ID3v2 header.
const ID3_HEADER: usize = 10;

/// More tags than this in a row are no preamble.
const MAX_TAGS: usize = 8;

/// The file behind its preamble. Offsets in it, those of its chunks too, count from its first box on.
pub struct AfterPreamble<'a> {
    inner: &'a mut dyn Source,
    /// Where the first box stands.
    base: u64,
    /// Bytes from `head_at` on that have been read to find that out: a pipe does not give them again.
    head: Vec<u8>,
    head_at: u64,
}

impl<'a> AfterPreamble<'a> {
    /// Looks for the first box. A file without a preamble, or of another format, is left as it is.
    pub fn find(inner: &'a mut dyn Source) -> io::Result<Self> {
        let mut file = AfterPreamble::at(inner, 0);
        file.read_head(BOX_HEADER)?;
        let mut first = file.head.clone();
        for _ in 0..MAX_TAGS {
            if !file.head.starts_with(b"ID3") {
                break;
            }
            file.read_head(ID3_HEADER)?;
            if file.base == 0 {
                first = file.head.clone();
            }
            let Some(len) = id3v2_len(&file.head) else {
                break;
            };
            file.base += len;
            file.read_head(BOX_HEADER)?;
        }
        if file.begins_with_a_box() {
            return Ok(file);
        }
        if format_name(&file.head).is_none() {
            file.search()?;
        }
        if !file.begins_with_a_box() {
            // Another format, which is refused by the name of how it begins.
            (file.base, file.head, file.head_at) = (0, first, 0);
        }
        Ok(file)
    }

    /// The file whose first box stands at byte `base`.
    pub fn at(inner: &'a mut dyn Source, base: u64) -> Self {
        AfterPreamble {
            inner,
            base,
            head: Vec::new(),
            head_at: base,
        }
    }

    /// Bytes before the first box.
    pub fn len(&self) -> u64 {
        self.base
    }

    fn begins_with_a_box(&self) -> bool {
        let from = (self.base - self.head_at) as usize;
        self.head.get(from + 4..from + 8).is_some_and(is_first_kind)
    }

    /// Reads the first `len` bytes from `base` on.
    fn read_head(&mut self, len: usize) -> io::Result<()> {
        let mut head = vec![0; len];
        let kept = self.cached(self.base).min(len);
        let from = (self.base - self.head_at) as usize;
        if kept > 0 {
            head[..kept].copy_from_slice(&self.head[from..from + kept]);
        }
        let read = read_full_at(self.inner, self.base + kept as u64, &mut head[kept..])?;
        head.truncate(kept + read);
        (self.head, self.head_at) = (head, self.base);
        Ok(())
    }

    /// How many bytes from `at` on are in `head`.
    fn cached(&self, at: u64) -> usize {
        let end = self.head_at + self.head.len() as u64;
        match at >= self.head_at && at < end {
            true => (end - at) as usize,
            false => 0,
        }
    }

    /// Looks for a `ftyp` box of a usual size.
    fn search(&mut self) -> io::Result<()> {
        let start = self.base;
        // A pipe is read again from here on.
        self.inner.keep_from(start + self.head.len() as u64)?;
        self.read_head(SEARCHED)?;
        let found = self.head.windows(8).position(|bytes| {
            let size = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            bytes[4..] == *b"ftyp" && (16..=1024).contains(&size) && size.is_multiple_of(4)
        });
        if let Some(at) = found {
            self.base = start + at as u64;
        }
        Ok(())
    }
}

impl Source for AfterPreamble<'_> {
    fn size(&self) -> Option<u64> {
        self.inner.size().map(|size| size.saturating_sub(self.base))
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let at = self.base.saturating_add(offset);
        let kept = self.cached(at).min(buf.len());
        if kept > 0 {
            let from = (at - self.head_at) as usize;
            buf[..kept].copy_from_slice(&self.head[from..from + kept]);
            return Ok(kept);
        }
        self.inner.read_at(at, buf)
    }

    fn keep_from(&mut self, offset: u64) -> io::Result<()> {
        // What is in `head` need not be kept, and a pipe could not give it.
        let at = self.base.saturating_add(offset);
        self.inner.keep_from(at + self.cached(at) as u64)
    }

    fn will_read(&mut self, ranges: &[Range<u64>]) {
        let at = |offset: u64| self.base.saturating_add(offset);
        let ranges: Vec<_> = ranges.iter().map(|r| at(r.start)..at(r.end)).collect();
        self.inner.will_read(&ranges);
    }

    fn cancel_with(&mut self, token: &CancelToken) {
        self.inner.cancel_with(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::StreamSource;

    const FILE: &[u8] = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2\0\0\0\x08free";

    fn tag(len: usize) -> Vec<u8> {
        let size = [(len >> 7) as u8, (len & 0x7F) as u8];
        [&b"ID3\x04\0\0\0\0"[..], &size, &vec![0; len]].concat()
    }

    fn read(source: &mut dyn Source) -> (u64, Vec<u8>) {
        let mut file = AfterPreamble::find(source).unwrap();
        let mut bytes = vec![0; 100];
        let len = read_full_at(&mut file, 0, &mut bytes).unwrap();
        bytes.truncate(len);
        (file.len(), bytes)
    }

    #[test]
    fn tags_and_other_bytes_before_the_first_box_are_passed_over() {
        let two_tags = [tag(35), tag(1000)].concat();
        for preamble in [&[][..], &tag(35), &two_tags, b"junk", &[7; 60_000]] {
            let bytes = [preamble, FILE].concat();
            let expected = (preamble.len() as u64, FILE.to_vec());
            assert_eq!(read(&mut &bytes[..]), expected);
            assert_eq!(read(&mut StreamSource::new(&bytes[..])), expected);
        }
    }

    /// A pipe gives no byte twice, unless it is told to keep it before.
    #[test]
    fn the_payload_of_the_first_box_can_be_kept() {
        let mdat = b"\0\0\0\x10mdatabcdefgh";
        for preamble in [&[][..], &tag(35)] {
            let bytes = [preamble, mdat].concat();
            let mut source = StreamSource::new(&bytes[..]);
            let mut file = AfterPreamble::find(&mut source).unwrap();
            let base = file.len();
            file.keep_from(8).unwrap();
            read_full_at(&mut file, 12, &mut [0; 4]).unwrap();
            // As a conversion begins, behind the boxes.
            let mut payload = [0; 8];
            let mut again = AfterPreamble::at(&mut source, base);
            read_full_at(&mut again, 8, &mut payload).unwrap();
            assert_eq!(&payload, b"abcdefgh");
        }
    }

    #[test]
    fn other_formats_are_left_as_they_are() {
        let mp3 = [&tag(35)[..], &[0xFF, 0xFB, 0x90, 0], &[0; 100]].concat();
        let endless = tag(0).repeat(20);
        for bytes in [&b""[..], b"RIFF", b"\x1A\x45\xDF\xA3 ftyp", &mp3, &endless] {
            let (len, read) = read(&mut &bytes[..]);
            assert_eq!((len, &read[..]), (0, &bytes[..bytes.len().min(100)]));
        }
    }
}
