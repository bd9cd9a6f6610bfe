//! A file without its media: the headers of its top-level boxes, and those boxes whole that say where the media is.

use std::io;
use std::ops::Range;

use super::boxes::{BoxHeader, FourCc, parse_header};
use crate::error::{Error, Result};
use crate::source::{Source, read_full_at};

/// The boxes that an outline holds whole. Of all others it holds the header.
const WHOLE: [&[u8; 4]; 6] = [b"ftyp", b"moov", b"moof", b"meta", b"udta", b"sidx"];

/// A file without its media, as somebody describes it who has the file: for each top-level box its header, which is 8
/// bytes long, or 16 where the size has 64 bits; and for `ftyp`, `moov`, `moof`, `meta`, `udta` and `sidx` its contents
/// as well. One follows the other, in the order of the file. Fewer than 8 bytes at the end of the file are left out.
#[derive(Clone, Debug)]
pub struct Outline {
    bytes: Vec<u8>,
    size: u64,
    boxes: Vec<OuterBox>,
}

/// A top-level box of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OuterBox {
    pub header: BoxHeader,
    /// Which bytes of the outline are the beginning of this box, or all of it.
    held: Range<usize>,
}

impl Outline {
    /// The outline `bytes` of a file of `size` bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`], with the offset in the file, if they are not that.
    pub fn new(bytes: Vec<u8>, size: u64) -> Result<Outline> {
        let mut boxes = Vec::new();
        let (mut at, mut held) = (0u64, 0usize);
        while size.saturating_sub(at) >= 8 {
            let header = header_at(&bytes[held..], at, size)?;
            let end = if header.is_held_whole() {
                header.end
            } else {
                header.payload
            };
            let len = usize::try_from(end - at).unwrap_or(usize::MAX);
            if len > bytes.len() - held {
                return Err(header.malformed("the outline ends inside it"));
            }
            boxes.push(OuterBox {
                held: held..held + len,
                header,
            });
            held += len;
            at = header.end;
        }
        if held < bytes.len() {
            let why = format!(
                "it goes on for {} bytes after the last box",
                bytes.len() - held
            );
            return Err(Error::malformed(at, "outline", why));
        }
        Ok(Outline { bytes, size, boxes })
    }

    /// The outline of the file that `source` holds, whose size it has to know.
    ///
    /// # Errors
    /// [`Error::Read`], and those of [`Outline::new`].
    pub fn of(source: &mut dyn Source) -> Result<Outline> {
        let size = source.size().ok_or_else(|| {
            let why = "the outline of a stream is known at its end only";
            Error::Read(io::Error::new(io::ErrorKind::Unsupported, why))
        })?;
        let mut bytes = Vec::new();
        let mut at = 0;
        while size.saturating_sub(at) >= 8 {
            let mut head = [0; 16];
            let len = read_full_at(source, at, &mut head).map_err(Error::Read)?;
            let header = header_at(&head[..len], at, size)?;
            let end = if header.is_held_whole() {
                header.end
            } else {
                header.payload
            };
            let mut step = [0; 64 << 10];
            while at < end {
                let want = (end - at).min(step.len() as u64) as usize;
                let read = read_full_at(source, at, &mut step[..want]).map_err(Error::Read)?;
                bytes.extend_from_slice(&step[..read]);
                at += read as u64;
                if read < want {
                    return Err(header.malformed(format!("the file ends inside it, at byte {at}")));
                }
            }
            at = header.end;
        }
        Outline::new(bytes, size)
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn boxes(&self) -> &[OuterBox] {
        &self.boxes
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the outline holds of the contents of `outer`: all or nothing.
    pub(crate) fn payload(&self, outer: &OuterBox) -> &[u8] {
        let header = (outer.header.payload - outer.header.at) as usize;
        &self.bytes[outer.held.clone()][header..]
    }

    /// The file, with holes.
    pub(crate) fn file(&self) -> Sparse<'_> {
        let mut file = Sparse::default();
        let mut at = 0;
        for OuterBox { header, held } in &self.boxes {
            let known = &self.bytes[held.clone()];
            file.push(Piece::Bytes(known));
            file.push(Piece::Hole(at + known.len() as u64..header.end));
            at = header.end;
        }
        file.push(Piece::Hole(at..self.size));
        file
    }
}

impl BoxHeader {
    fn is_held_whole(&self) -> bool {
        WHOLE.contains(&&self.kind.0)
    }
}

/// The header of the box at `at`, which is what `bytes` begin with, and which ends within the file.
fn header_at(bytes: &[u8], at: u64, size: u64) -> Result<BoxHeader> {
    let header = parse_header(at, |from, buf| {
        let held = bytes.get((from - at) as usize..).unwrap_or_default();
        let n = held.len().min(buf.len());
        buf[..n].copy_from_slice(&held[..n]);
        Ok(n)
    })?;
    let mut header = header.ok_or_else(|| {
        Error::malformed(
            at,
            "outline",
            format!("it ends here, but the file at byte {size}"),
        )
    })?;
    if header.end == u64::MAX {
        header.end = size;
    }
    match header.payload <= header.end && header.end <= size {
        true => Ok(header),
        false => Err(header.malformed(format!("the file ends inside it, at byte {size}"))),
    }
}

/// A piece of a file of which not all bytes are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Bytes(&'a [u8]),
    /// These bytes of the file that the outline is of.
    Hole(Range<u64>),
}

/// A file with holes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sparse<'a> {
    /// The pieces, none of which is empty, with their offsets.
    pieces: Vec<(u64, Piece<'a>)>,
    size: u64,
    /// Whether holes are read as zeros.
    pub zeros: bool,
}

impl<'a> Sparse<'a> {
    /// Appends a piece.
    pub fn push(&mut self, piece: Piece<'a>) {
        let len = match &piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Hole(hole) => hole.end.saturating_sub(hole.start),
        };
        if len > 0 {
            self.pieces.push((self.size, piece));
            self.size += len;
        }
    }

    /// The piece that byte `at` is in, and where it begins.
    fn piece(&self, at: u64) -> Option<&(u64, Piece<'a>)> {
        let after = self.pieces.partition_point(|(start, _)| *start <= at);
        self.pieces.get(after.checked_sub(1)?)
    }

    /// Where the `len` bytes at `at` are in the file that the outline is of, if they are in one hole.
    pub fn origin(&self, at: u64, len: u64) -> Option<u64> {
        match self.piece(at)? {
            (start, Piece::Hole(hole)) => {
                let origin = hole.start + (at - start);
                (origin.checked_add(len)? <= hole.end).then_some(origin)
            }
            (_, Piece::Bytes(_)) => None,
        }
    }
}

impl Source for Sparse<'_> {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let Some((start, piece)) = self.piece(offset).filter(|_| offset < self.size) else {
            return Ok(0);
        };
        let skip = offset - start;
        match piece {
            Piece::Bytes(bytes) => {
                let bytes = &bytes[skip as usize..];
                let n = buf.len().min(bytes.len());
                buf[..n].copy_from_slice(&bytes[..n]);
                Ok(n)
            }
            Piece::Hole(hole) if self.zeros => {
                let left = hole.end - hole.start - skip;
                let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
                buf[..n].fill(0);
                Ok(n)
            }
            Piece::Hole(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("byte {offset} of the file is needed, which is not in its outline"),
            )),
        }
    }

    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}

impl OuterBox {
    pub fn kind(&self) -> FourCc {
        self.header.kind
    }
}
