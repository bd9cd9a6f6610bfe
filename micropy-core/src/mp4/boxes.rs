//! Boxes (ISO/IEC 14496-12, 4.2): a size, a four-character code, a payload.
//!
//! Two walkers with one set of rules: [`BoxReader`] over a source, for `moov` and `moof`, whose large tables are not
//! held in memory; [`Boxes`] over bytes already read, for small boxes. Neither is recursive, so nesting in a file costs
//! no stack.

use std::fmt;

use crate::error::{Error, Result};
use crate::source::{Source, read_full_at};

/// A four-character code: usually printable ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FourCc(pub [u8; 4]);

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            match byte {
                0xA9 => f.write_str("©")?,
                _ => write!(f, "{}", byte.escape_ascii())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Where a box is in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoxHeader {
    /// The box type.
    pub kind: FourCc,
    /// Offset of the first byte of its size.
    pub at: u64,
    /// Offset of the first byte after the size and the type.
    pub payload: u64,
    /// Offset of the first byte after it; `u64::MAX` for a box that extends to the end of a stream.
    pub end: u64,
}

impl BoxHeader {
    /// An [`Error::Malformed`] that names this box.
    pub fn malformed(&self, why: impl Into<String>) -> Error {
        Error::malformed(self.at, self.kind.to_string(), why)
    }

    /// The header of a box that extends to the end of the file, where that is known.
    fn ended_by(mut self, file_size: Option<u64>) -> BoxHeader {
        if let Some(size) = file_size
            && self.end == u64::MAX
        {
            self.end = size.max(self.payload);
        }
        self
    }

    fn cut(&self, file_end: u64) -> Error {
        self.malformed(format!("the file ends inside it, at byte {file_end}"))
    }
}

/// Reads the box header at `at` and not one byte more; `None` if the source ends before it.
///
/// The position of a stream is then the first byte of the payload.
pub fn read_header(source: &mut dyn Source, at: u64) -> Result<Option<BoxHeader>> {
    let header = parse_header(at, |at, buf| {
        read_full_at(source, at, buf).map_err(Error::Read)
    })?;
    Ok(header.map(|header| header.ended_by(source.size())))
}

/// Whether a file may begin with a box of this kind.
pub fn is_first_kind(kind: &[u8]) -> bool {
    const FIRST: [&[u8; 4]; 14] = [
        b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"udta", b"uuid", b"meta",
        b"styp", b"moof", b"sidx", b"prfl",
    ];
    FIRST.iter().any(|first| kind == &first[..])
}

/// Reads the first box header of the source, if it is that of an ISO base media file.
pub fn read_first_header(source: &mut dyn Source) -> Result<BoxHeader> {
    let mut head = [0; 8];
    let read = read_full_at(source, 0, &mut head).map_err(Error::Read)?;
    if read < 8 || !is_first_kind(&head[4..]) {
        return Err(Error::NotMp4 {
            why: foreign(&head[..read]),
        });
    }
    let header = parse_header(0, |at, buf| match at {
        0 => {
            buf.copy_from_slice(&head);
            Ok(8)
        }
        _ => read_full_at(source, at, buf).map_err(Error::Read),
    })?;
    let header = header.ok_or_else(|| Error::NotMp4 {
        why: foreign(&head),
    })?;
    Ok(header.ended_by(source.size()))
}

/// What else a file that begins with `head` may be.
fn foreign(head: &[u8]) -> String {
    match (head, format_name(head)) {
        ([], _) => "it is empty".to_owned(),
        (_, Some(name)) => format!("it begins as {name} does"),
        (_, None) => format!("it begins with `{}`", head.escape_ascii()),
    }
}

/// The format of a file that begins with `head`, where it is a known one that is no ISO base media file.
pub fn format_name(head: &[u8]) -> Option<&'static str> {
    Some(match head {
        [b'R', b'I', b'F', b'F', ..] => "RIFF (WAV, AVI)",
        [b'I', b'D', b'3', ..] | [0xFF, 0xE0..=0xFF, ..] => "MP3 or ADTS",
        [b'O', b'g', b'g', b'S', ..] => "Ogg",
        [b'f', b'L', b'a', b'C', ..] => "FLAC",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "Matroska or WebM",
        [b'F', b'L', b'V', ..] => "FLV",
        [b'F', b'O', b'R', b'M', ..] => "AIFF",
        [0x30, 0x26, 0xB2, 0x75, ..] => "ASF (WMA, WMV)",
        [0x47, ..] => "an MPEG transport stream",
        [b'<', ..] => "HTML or XML",
        _ => return None,
    })
}

/// The box header at `at`, whose bytes `read` reads; `None` if there are none.
pub fn parse_header(
    at: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize>,
) -> Result<Option<BoxHeader>> {
    let mut head = [0; 8];
    match read(at, &mut head)? {
        0 => return Ok(None),
        8 => {}
        n => return Err(header_cut(at, n)),
    }
    let [a, b, c, d, kind @ ..] = head;
    let kind = FourCc(kind);
    let size = u32::from_be_bytes([a, b, c, d]);
    let (size, header_len) = match size {
        0 => (u64::MAX - at, 8),
        1 => {
            let mut large = [0; 8];
            let n = read(at + 8, &mut large)?;
            if n < 8 {
                return Err(header_cut(at, 8 + n));
            }
            (u64::from_be_bytes(large), 16)
        }
        size => (u64::from(size), 8),
    };
    let end = at.checked_add(size);
    match end {
        Some(end) if size >= header_len => Ok(Some(BoxHeader {
            kind,
            at,
            payload: at + header_len,
            end,
        })),
        Some(_) => Err(Error::malformed(
            at,
            kind.to_string(),
            format!("its size of {size} bytes is less than its header"),
        )),
        None => Err(Error::malformed(
            at,
            kind.to_string(),
            format!("its size of {size} bytes is larger than any file"),
        )),
    }
}

fn header_cut(at: u64, read: usize) -> Error {
    Error::malformed(
        at,
        "box header",
        format!("the file ends inside it, at byte {}", at + read as u64),
    )
}

/// Reads inside one top-level box through a small window, forward and never past the end of the box, so that a stream
/// stays inside it.
pub struct BoxReader<'a> {
    source: &'a mut dyn Source,
    window: Vec<u8>,
    window_at: u64,
    end: u64,
}

impl<'a> BoxReader<'a> {
    const WINDOW: usize = 4096;

    /// A reader of the contents of `outer`.
    pub fn new(source: &'a mut dyn Source, outer: &BoxHeader) -> Self {
        BoxReader {
            source,
            window: Vec::new(),
            window_at: outer.payload,
            end: outer.end,
        }
    }

    /// The header of the child of `parent` that begins at `at`; `None` after the last one.
    pub fn child(&mut self, parent: &BoxHeader, at: u64) -> Result<Option<BoxHeader>> {
        if parent.end.saturating_sub(at) < 8 {
            return Ok(None);
        }
        let Some(mut child) = parse_header(at, |at, buf| self.read(at, buf))? else {
            return match parent.end {
                u64::MAX => Ok(None),
                _ => Err(parent.cut(at)),
            };
        };
        if child.end == u64::MAX {
            child.end = parent.end;
        }
        if child.end > parent.end {
            return Err(child.malformed(format!(
                "its end at byte {} is past the end of `{}` at byte {}",
                child.end, parent.kind, parent.end
            )));
        }
        Ok(Some(child))
    }

    /// Whether the size of `child` is 0: it ends where its parent does, or is none, but the end of a list.
    pub fn is_zero(&mut self, child: &BoxHeader) -> Result<bool> {
        let size = BoxHeader {
            payload: child.at,
            ..*child
        };
        Ok(self.head::<4>(&size)? == [0; 4])
    }

    /// Calls `visit` with the header of each child of `parent`, in order.
    pub fn each_child(
        &mut self,
        parent: &BoxHeader,
        mut visit: impl FnMut(&mut Self, &BoxHeader) -> Result<()>,
    ) -> Result<()> {
        let mut at = parent.payload;
        while let Some(child) = self.child(parent, at)? {
            visit(self, &child)?;
            at = child.end;
        }
        Ok(())
    }

    /// The whole payload of `leaf`, if it is at most `limit` bytes.
    pub fn payload(&mut self, leaf: &BoxHeader, limit: u64) -> Result<Vec<u8>> {
        let too_large = |len| Error::Limit {
            at: leaf.at,
            what: format!("the size of `{}` ({len} bytes)", leaf.kind),
            limit,
        };
        let len = leaf.end - leaf.payload;
        let open_ended = leaf.end == u64::MAX;
        if len > limit && !open_ended {
            return Err(too_large(len.to_string()));
        }
        let mut bytes = Vec::new();
        let mut step = [0; 8192];
        let mut at = leaf.payload;
        while at < leaf.end {
            let want = (leaf.end - at).min(step.len() as u64) as usize;
            let n = self.read(at, &mut step[..want])?;
            if bytes.len() as u64 + n as u64 > limit {
                return Err(too_large(format!("over {limit}")));
            }
            bytes.extend_from_slice(&step[..n]);
            at += n as u64;
            if n < want {
                if open_ended {
                    break;
                }
                return Err(leaf.cut(at));
            }
        }
        bytes.shrink_to_fit();
        Ok(bytes)
    }

    /// The first `N` bytes of the payload of `leaf`.
    pub fn head<const N: usize>(&mut self, leaf: &BoxHeader) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        if leaf.end - leaf.payload < N as u64 {
            return Err(leaf.malformed(format!("it has less than {N} bytes of fields")));
        }
        let n = self.read(leaf.payload, &mut bytes)?;
        if n < N {
            return Err(leaf.cut(leaf.payload + n as u64));
        }
        Ok(bytes)
    }

    /// Calls `each` with each of the `count` entries of `N` bytes that begin `skip` bytes into the payload of `table`.
    pub fn entries<const N: usize>(
        &mut self,
        table: &BoxHeader,
        skip: u64,
        count: u32,
        mut each: impl FnMut(&[u8; N]) -> Result<()>,
    ) -> Result<()> {
        let mut at = table.payload.saturating_add(skip);
        let room = table.end.saturating_sub(at) / N as u64;
        if u64::from(count) > room {
            return Err(table.malformed(format!(
                "it declares {count} entries and has room for {room}"
            )));
        }
        let mut step = [0; 8192];
        let mut left = u64::from(count) * N as u64;
        while left > 0 {
            let want = left.min((step.len() - step.len() % N) as u64) as usize;
            let n = self.read(at, &mut step[..want])?;
            if n < want {
                return Err(table.cut(at + n as u64));
            }
            let (entries, _) = step[..want].as_chunks::<N>();
            entries.iter().try_for_each(&mut each)?;
            at += want as u64;
            left -= want as u64;
        }
        Ok(())
    }

    /// Reads `buf.len()` bytes at `at`, or fewer at the end.
    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<usize> {
        let mut done = self.take_from_window(at, buf);
        if done < buf.len() {
            let from = at + done as u64;
            let room = self.end.saturating_sub(from);
            let window = room.min(Self::WINDOW.max(buf.len() - done) as u64) as usize;
            self.window.resize(window, 0);
            self.window_at = from;
            let n = read_full_at(self.source, from, &mut self.window).map_err(Error::Read)?;
            self.window.truncate(n);
            done += self.take_from_window(from, &mut buf[done..]);
        }
        Ok(done)
    }

    fn take_from_window(&self, at: u64, buf: &mut [u8]) -> usize {
        let Some(skip) = at.checked_sub(self.window_at) else {
            return 0;
        };
        let held = usize::try_from(skip)
            .ok()
            .and_then(|skip| self.window.get(skip..))
            .unwrap_or_default();
        let n = held.len().min(buf.len());
        buf[..n].copy_from_slice(&held[..n]);
        n
    }
}

/// A box inside bytes already read.
#[derive(Clone, Copy, Debug)]
pub struct SliceBox<'a> {
    /// The box type.
    pub kind: FourCc,
    /// Offset in the source of the first byte of its size.
    pub at: u64,
    /// Offset in the source of the first byte of `payload`.
    pub payload_at: u64,
    /// Its contents.
    pub payload: &'a [u8],
}

impl<'a> SliceBox<'a> {
    /// The boxes that begin `skip` bytes into the payload (4 in a full box).
    pub fn children(&self, skip: usize) -> Boxes<'a> {
        let skip = skip.min(self.payload.len());
        Boxes::new(&self.payload[skip..], self.payload_at + skip as u64)
    }

    /// The fields of the payload.
    pub fn fields(&self) -> Fields<'a> {
        Fields {
            kind: self.kind,
            at: self.payload_at,
            rest: self.payload,
        }
    }
}

/// The boxes in a slice, one after another; one of size 0 extends to the end of the slice. Ends after the last complete
/// one, at a 32-bit zero (with which QuickTime ends `udta`), or after the error of one that does not fit.
#[derive(Clone, Debug)]
pub struct Boxes<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl<'a> Boxes<'a> {
    /// The boxes in `bytes`, whose first byte is at `at` in the source.
    pub fn new(bytes: &'a [u8], at: u64) -> Self {
        Boxes { bytes, at }
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<SliceBox<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() < 8 || bytes.starts_with(&[0; 4]) {
            return None;
        }
        let start = self.at;
        let header = parse_header(start, |at, buf| {
            let held = &bytes[((at - start) as usize).min(bytes.len())..];
            let n = held.len().min(buf.len());
            buf[..n].copy_from_slice(&held[..n]);
            Ok(n)
        });
        let header = match header {
            Ok(header) => header?,
            Err(e) => return Some(Err(e)),
        };
        let size = match header.end {
            u64::MAX => bytes.len() as u64,
            end => end - start,
        };
        if size > bytes.len() as u64 {
            return Some(Err(header.malformed(format!(
                "its size of {size} bytes is more than the {} left in its parent",
                bytes.len()
            ))));
        }
        let (this, rest) = bytes.split_at(size as usize);
        self.bytes = rest;
        self.at = start + size;
        Some(Ok(SliceBox {
            kind: header.kind,
            at: start,
            payload_at: header.payload,
            payload: &this[(header.payload - start) as usize..],
        }))
    }
}

/// Reads the fields of a box in order, big-endian. Reading past the end is an error that names the box and the byte.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    kind: FourCc,
    at: u64,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields in `bytes`, whose first byte is at `at` in the source, of a box or descriptor `kind`.
    pub fn new(kind: FourCc, at: u64, bytes: &'a [u8]) -> Self {
        Fields {
            kind,
            at,
            rest: bytes,
        }
    }

    /// Offset in the source of the next field.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An [`Error::Malformed`] at the next field.
    pub fn malformed(&self, why: impl Into<String>) -> Error {
        Error::malformed(self.at, self.kind.to_string(), why)
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(n) else {
            return Err(self.malformed(format!(
                "{n} bytes of fields are expected, {} are left",
                self.rest.len()
            )));
        };
        self.rest = rest;
        self.at += n as u64;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// An unsigned byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// 16 bits, unsigned.
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// 32 bits, unsigned.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// 64 bits, unsigned.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// 64 bits in version 1 of a full box, 32 in version 0.
    pub fn u32_or_u64(&mut self, version: u8) -> Result<u64> {
        match version {
            0 => self.u32().map(u64::from),
            _ => self.u64(),
        }
    }

    /// A four-character code.
    pub fn four_cc(&mut self) -> Result<FourCc> {
        self.array().map(FourCc)
    }

    /// Version and flags of a full box.
    pub fn version_and_flags(&mut self) -> Result<(u8, u32)> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0x00FF_FFFF))
    }
}
