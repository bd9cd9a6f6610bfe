//! Where the bytes of a file come from.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::progress::CancelToken;

/// Positioned bytes of one input: a file, a slice, a pipe, an object in a store.
///
/// The engine reads a source once, forward, and skips what it does not need: a source that can seek never reads
/// the bytes of the video.
pub trait Source {
    /// Length in bytes, if it is known beforehand.
    fn size(&self) -> Option<u64>;

    /// Reads up to `buf.len()` bytes at `offset`; 0 means the end of the input.
    ///
    /// A source that can only go forward may refuse an offset before its position, unless [`Source::keep_from`]
    /// covered it.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// From now on, bytes at or after `offset` may be asked for again, in any order. A source that can seek has
    /// nothing to do. One that cannot spools them to disk.
    fn keep_from(&mut self, offset: u64) -> io::Result<()>;

    /// Says which bytes will be read next, most likely, and in which order; replaces what was said before.
    ///
    /// A source for which each read is a round trip can fetch them ahead of time, and several at once. Others have
    /// nothing to do.
    fn will_read(&mut self, ranges: &[Range<u64>]) {
        let _ = ranges;
    }

    /// Gives the source the token that cancels the conversion it is read for.
    ///
    /// The engine checks the token before each call. A source that may be busy for long within one call (a pipe
    /// that is skipped or spooled) should check it between the pieces and fail with any error. Others have nothing
    /// to do.
    fn cancel_with(&mut self, token: &CancelToken) {
        let _ = token;
    }
}

/// Forwards to the source behind a pointer.
macro_rules! source_behind {
    ($pointer:ty) => {
        impl<S: Source + ?Sized> Source for $pointer {
            fn size(&self) -> Option<u64> {
                (**self).size()
            }
            fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
                (**self).read_at(offset, buf)
            }
            fn keep_from(&mut self, offset: u64) -> io::Result<()> {
                (**self).keep_from(offset)
            }
            fn will_read(&mut self, ranges: &[Range<u64>]) {
                (**self).will_read(ranges);
            }
            fn cancel_with(&mut self, token: &CancelToken) {
                (**self).cancel_with(token);
            }
        }
    };
}

source_behind!(&mut S);
source_behind!(Box<S>);

impl Source for &[u8] {
    fn size(&self) -> Option<u64> {
        Some(self.len() as u64)
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.len());
        let n = buf.len().min(self.len() - start);
        buf[..n].copy_from_slice(&self[start..start + n]);
        Ok(n)
    }
    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}

/// A source over anything that reads and seeks.
#[derive(Debug)]
pub struct SeekSource<R> {
    inner: R,
    position: u64,
    size: u64,
}

impl SeekSource<File> {
    /// Opens the file at `path`.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }
}

impl<R: Read + Seek> SeekSource<R> {
    /// Reads `inner` from its first byte to its last, whatever its current position.
    pub fn new(mut inner: R) -> io::Result<Self> {
        let size = inner.seek(SeekFrom::End(0))?;
        Ok(SeekSource {
            inner,
            position: size,
            size,
        })
    }
}

impl<R: Read + Seek> Source for SeekSource<R> {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        // After the end there is nothing; files refuse to seek past 2⁶³.
        if offset >= self.size {
            return Ok(0);
        }
        if self.position != offset {
            self.inner.seek(SeekFrom::Start(offset))?;
            self.position = offset;
        }
        let n = read_some(&mut self.inner, buf)?;
        self.position += n as u64;
        Ok(n)
    }

    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Whatever a path names: a file, in which the engine seeks, or a named pipe, a device, `/dev/stdin`, which it reads
/// from the first byte to the last as a [`StreamSource`] does.
#[derive(Debug)]
pub struct FileSource {
    kind: FileKind,
}

#[derive(Debug)]
enum FileKind {
    Seekable(SeekSource<File>),
    Stream(StreamSource<File>),
}

impl FileSource {
    /// Opens `path`. A named pipe waits for its writer.
    ///
    /// # Errors
    /// [`io::ErrorKind::IsADirectory`] for a folder; otherwise those of opening a file.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        if found.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // A disk has a length, too; a terminal or a pipe has none.
        let seekable = match (&file).seek(SeekFrom::End(0)) {
            Ok(size) => size > 0 || found.is_file(),
            Err(_) => false,
        };
        let kind = match seekable {
            true => FileKind::Seekable(SeekSource::new(file)?),
            false => FileKind::Stream(StreamSource::new(file)),
        };
        Ok(FileSource { kind })
    }

    fn inner(&mut self) -> &mut dyn Source {
        match &mut self.kind {
            FileKind::Seekable(file) => file,
            FileKind::Stream(stream) => stream,
        }
    }
}

impl Source for FileSource {
    fn size(&self) -> Option<u64> {
        match &self.kind {
            FileKind::Seekable(file) => file.size(),
            FileKind::Stream(stream) => stream.size(),
        }
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.inner().read_at(offset, buf)
    }
    fn keep_from(&mut self, offset: u64) -> io::Result<()> {
        self.inner().keep_from(offset)
    }
    fn cancel_with(&mut self, token: &CancelToken) {
        self.inner().cancel_with(token);
    }
}

/// A source over anything that only reads: a pipe, a socket, a response body.
///
/// Bytes asked for in order are served as they arrive. Bytes that must be kept (a `moov` box after the media) are
/// spooled to an unnamed temporary file, which the operating system removes.
pub struct StreamSource<R> {
    inner: R,
    /// Bytes taken from `inner` so far.
    position: u64,
    spool: Option<Spool>,
    spool_folder: Option<PathBuf>,
    spool_limit: u64,
    cancel: CancelToken,
}

struct Spool {
    file: File,
    /// Offset in the source of the spool's first byte.
    start: u64,
}

impl Spool {
    fn create(folder: Option<&Path>, start: u64) -> io::Result<Self> {
        let file = match folder {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        };
        Ok(Spool { file: file?, start })
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(bytes)
    }
}

impl<R: std::fmt::Debug> std::fmt::Debug for StreamSource<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamSource")
            .field("inner", &self.inner)
            .field("position", &self.position)
            .field("spooled", &self.spool.is_some())
            .finish()
    }
}

impl<R: Read> StreamSource<R> {
    /// Reads `inner` from its current position.
    pub fn new(inner: R) -> Self {
        StreamSource {
            inner,
            position: 0,
            spool: None,
            spool_folder: None,
            spool_limit: u64::MAX,
            cancel: CancelToken::new(),
        }
    }

    /// Spools in `folder` rather than in the system's folder for temporary files.
    #[must_use]
    pub fn spool_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spool_folder = Some(folder.into());
        self
    }

    /// Spools at most this many bytes. A stream that needs more fails with
    /// [`io::ErrorKind::QuotaExceeded`].
    #[must_use]
    pub fn spool_limit(mut self, bytes: u64) -> Self {
        self.spool_limit = bytes;
        self
    }

    /// Marks an error of the spool as such: the caller would take it for one of the input.
    fn spool_error(&self, error: io::Error) -> io::Error {
        let what = match error.kind() {
            io::ErrorKind::StorageFull => "is full",
            _ => "cannot be written",
        };
        let message = match &self.spool_folder {
            Some(folder) => format!(
                "cannot spool the stream: the folder {} {what}: {error}",
                folder.display()
            ),
            None => format!(
                "cannot spool the stream: the temporary folder {what} (set TMPDIR to use another): {error}"
            ),
        };
        io::Error::new(error.kind(), message)
    }

    /// Reads the stream up to `offset`, spooling the bytes if they are to be kept. Returns false if the stream ends
    /// before.
    fn advance_to(&mut self, offset: u64) -> io::Result<bool> {
        let mut scratch = [0; 64 * 1024];
        while self.position < offset {
            check(&self.cancel)?;
            let want = (offset - self.position).min(scratch.len() as u64) as usize;
            if self.take(&mut scratch[..want])? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = read_some(&mut self.inner, buf)?;
        if let Some(spool) = &mut self.spool {
            let at = self.position - spool.start;
            if at + n as u64 > self.spool_limit {
                return Err(io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    format!(
                        "more than {} bytes of the stream would have to be spooled: convert it from a file instead",
                        self.spool_limit
                    ),
                ));
            }
            let written = spool.write_at(at, &buf[..n]);
            written.map_err(|error| self.spool_error(error))?;
        }
        self.position += n as u64;
        Ok(n)
    }
}

impl<R: Read> Source for StreamSource<R> {
    fn size(&self) -> Option<u64> {
        None
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset < self.position {
            let Some(spool) = self.spool.as_mut().filter(|s| s.start <= offset) else {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!(
                        "byte {offset} of a stream is needed after byte {}",
                        self.position
                    ),
                ));
            };
            let n = buf
                .len()
                .min((self.position - offset).min(usize::MAX as u64) as usize);
            spool.file.seek(SeekFrom::Start(offset - spool.start))?;
            return read_some(&mut spool.file, &mut buf[..n]);
        }
        if !self.advance_to(offset)? {
            return Ok(0);
        }
        self.take(buf)
    }

    fn keep_from(&mut self, offset: u64) -> io::Result<()> {
        if self.spool.is_some() {
            return Ok(());
        }
        if offset < self.position {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "byte {offset} of a stream is gone: its position is {}",
                    self.position
                ),
            ));
        }
        self.advance_to(offset)?;
        let spool = Spool::create(self.spool_folder.as_deref(), self.position);
        self.spool = Some(spool.map_err(|error| self.spool_error(error))?);
        Ok(())
    }

    fn cancel_with(&mut self, token: &CancelToken) {
        self.cancel = token.clone();
    }
}

/// A source that fails once a token is cancelled.
pub(crate) struct Cancellable<'a> {
    inner: &'a mut dyn Source,
    cancel: &'a CancelToken,
}

impl<'a> Cancellable<'a> {
    pub fn new(inner: &'a mut dyn Source, cancel: &'a CancelToken) -> Self {
        inner.cancel_with(cancel);
        Cancellable { inner, cancel }
    }
}

impl Source for Cancellable<'_> {
    fn size(&self) -> Option<u64> {
        self.inner.size()
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        check(self.cancel)?;
        self.inner.read_at(offset, buf)
    }
    fn keep_from(&mut self, offset: u64) -> io::Result<()> {
        check(self.cancel)?;
        self.inner.keep_from(offset)
    }
    fn will_read(&mut self, ranges: &[Range<u64>]) {
        self.inner.will_read(ranges);
    }
    fn cancel_with(&mut self, token: &CancelToken) {
        self.inner.cancel_with(token);
    }
}

/// An error once `token` is cancelled. Which one does not matter: the caller gets `Error::Cancelled`.
fn check(token: &CancelToken) -> io::Result<()> {
    match token.is_cancelled() {
        true => Err(io::Error::other("cancelled")),
        false => Ok(()),
    }
}

/// `read`, repeated if a signal interrupts it.
fn read_some(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Reads exactly `buf.len()` bytes at `offset`, or as many as there are; returns how many.
pub(crate) fn read_full_at(
    source: &mut dyn Source,
    offset: u64,
    buf: &mut [u8],
) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match source.read_at(offset + done as u64, &mut buf[done..])? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes one at a time, as a slow pipe does.
    struct Drip<'a>(&'a [u8]);
    impl Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = buf.len().min(1);
            self.0.read(&mut buf[..n])
        }
    }

    #[test]
    fn a_stream_read_in_order_needs_no_spool() {
        let data: Vec<u8> = (0..=255).collect();
        let mut s = StreamSource::new(Drip(&data));
        let mut buf = [0; 4];
        assert_eq!(read_full_at(&mut s, 10, &mut buf).unwrap(), 4);
        assert_eq!(buf, [10, 11, 12, 13]);
        assert_eq!(read_full_at(&mut s, 254, &mut buf).unwrap(), 2);
        assert!(s.spool.is_none());
        assert!(s.read_at(0, &mut buf).is_err());
    }

    #[test]
    fn a_stream_that_keeps_serves_any_order() {
        let data: Vec<u8> = (0..=255).collect();
        let mut s = StreamSource::new(Drip(&data));
        s.keep_from(16).unwrap();
        let mut buf = [0; 4];
        for at in [200, 16, 100, 250, 20] {
            assert_eq!(read_full_at(&mut s, at, &mut buf).unwrap(), 4);
            assert_eq!(u64::from(buf[0]), at);
        }
        assert!(s.read_at(15, &mut buf).is_err());
        assert_eq!(s.read_at(1000, &mut buf).unwrap(), 0);
    }

    #[test]
    fn a_path_names_a_file_or_a_stream() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"bytes").unwrap();
        let mut file = FileSource::open(&path).unwrap();
        let mut buf = [0; 8];
        assert_eq!(file.size(), Some(5));
        assert_eq!(file.read_at(2, &mut buf).unwrap(), 3);
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 5);
        let refused = FileSource::open(folder.path());
        #[cfg(unix)]
        assert_eq!(
            refused.as_ref().unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
        assert!(refused.is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_named_pipe_is_a_stream() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let writer = std::thread::spawn({
            let path = path.clone();
            move || std::fs::write(path, b"bytes").unwrap()
        });
        let mut pipe = FileSource::open(&path).unwrap();
        let mut buf = [0; 8];
        assert_eq!(pipe.size(), None);
        assert_eq!(read_full_at(&mut pipe, 0, &mut buf).unwrap(), 5);
        assert_eq!(&buf[..5], b"bytes");
        writer.join().unwrap();
        let mut null = FileSource::open("/dev/null").unwrap();
        assert_eq!(null.read_at(0, &mut buf).unwrap(), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_not_blamed_on_the_input() {
        let mut s = StreamSource::new(io::repeat(7));
        s.keep_from(0).unwrap();
        s.spool.as_mut().unwrap().file = File::options().write(true).open("/dev/full").unwrap();
        let error = s.read_at(0, &mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let message = error.to_string();
        assert!(
            message.contains("temporary folder is full") && message.contains("TMPDIR"),
            "{message}"
        );
    }

    #[test]
    fn a_stream_spools_where_and_as_much_as_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let mut s = StreamSource::new(io::repeat(7))
            .spool_folder(folder.path())
            .spool_limit(100_000);
        s.keep_from(1000).unwrap();
        let mut buf = [0; 4];
        assert_eq!(s.read_at(90_000, &mut buf).unwrap(), 4);
        let error = s.read_at(200_000, &mut buf).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert!(error.to_string().contains("100000 bytes"), "{error}");

        let missing = folder.path().join("missing");
        let mut s = StreamSource::new(io::repeat(7)).spool_folder(&missing);
        let error = s.keep_from(0).unwrap_err();
        let named = missing.display().to_string();
        assert!(error.to_string().contains(&named), "{error}");
    }

    #[test]
    fn a_stream_ends_with_its_conversion() {
        let token = CancelToken::new();
        let mut s = StreamSource::new(io::repeat(7));
        s.cancel_with(&token);
        let mut buf = [0; 4];
        s.keep_from(16).unwrap();
        assert_eq!(s.read_at(100_000, &mut buf).unwrap(), 4);
        token.cancel();
        assert!(s.read_at(u64::MAX / 2, &mut buf).is_err());
        // What was kept can still be read.
        assert_eq!(s.read_at(16, &mut buf).unwrap(), 4);
    }

    #[test]
    fn a_slice_ends_where_it_ends() {
        let mut s: &[u8] = &[1, 2, 3];
        let mut buf = [0; 8];
        assert_eq!(s.read_at(1, &mut buf).unwrap(), 2);
        assert_eq!(s.read_at(u64::MAX, &mut buf).unwrap(), 0);
    }
}
