//! Where the MP3 goes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A place for one MP3: written from its first byte to its last; where it can be rewritten, the Info tag
/// in its first frame is completed at the end.
pub trait Sink {
    /// Appends all of `bytes`.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Whether [`Sink::rewrite`] works here. A pipe says no: its Info tag then holds what is known
    /// before the audio is encoded.
    fn can_rewrite(&self) -> bool;

    /// Replaces bytes already written, from `offset` on, and stands at the end again.
    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Nothing more follows: flushes.
    fn finish(&mut self) -> io::Result<()>;
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).write_all(bytes)
    }
    fn can_rewrite(&self) -> bool {
        (**self).can_rewrite()
    }
    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).rewrite(offset, bytes)
    }
    fn finish(&mut self) -> io::Result<()> {
        (**self).finish()
    }
}

/// In memory.
impl Sink for Vec<u8> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
    fn can_rewrite(&self) -> bool {
        true
    }
    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let place = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get_mut(start..start.checked_add(bytes.len())?))
            .ok_or(io::ErrorKind::InvalidInput)?;
        place.copy_from_slice(bytes);
        Ok(())
    }
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink over anything that only writes: a pipe, a socket.
#[derive(Debug)]
pub struct StreamSink<W>(pub W);

impl<W: Write> Sink for StreamSink<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }
    fn can_rewrite(&self) -> bool {
        false
    }
    fn rewrite(&mut self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A sink over anything that writes and seeks; the MP3 begins where it stands.
#[derive(Debug)]
pub struct SeekSink<W> {
    inner: W,
    /// Position of the MP3's first byte in `inner`.
    start: u64,
}

impl<W: Write + Seek> SeekSink<W> {
    /// Writes from where `inner` stands.
    pub fn new(mut inner: W) -> io::Result<Self> {
        let start = inner.stream_position()?;
        Ok(SeekSink { inner, start })
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write + Seek> Sink for SeekSink<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)
    }
    fn can_rewrite(&self) -> bool {
        true
    }
    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = self.inner.stream_position()?;
        self.inner.seek(SeekFrom::Start(self.start + offset))?;
        self.inner.write_all(bytes)?;
        self.inner.seek(SeekFrom::Start(end))?;
        Ok(())
    }
    fn finish(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file that appears under its name only when it is whole.
///
/// What is written goes to a temporary file in the same folder; [`FileSink::persist`] renames it. Dropped
/// before, it leaves nothing behind.
#[derive(Debug)]
pub struct FileSink {
    sink: SeekSink<File>,
    temporary: tempfile::TempPath,
    path: PathBuf,
    overwrite: bool,
}

impl FileSink {
    /// Prepares to write `path`. Without `overwrite`, an existing file is an error here, and one that
    /// appears meanwhile is an error of [`FileSink::persist`].
    pub fn create(path: impl Into<PathBuf>, overwrite: bool) -> io::Result<Self> {
        let path = path.into();
        if !overwrite && path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".micropy-").suffix(".part");
        #[cfg(unix)]
        {
            // As any new file: what the umask leaves of rw-rw-rw-, not a temporary file's rw-------.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let (file, temporary) = builder.tempfile_in(folder)?.into_parts();
        Ok(FileSink {
            sink: SeekSink::new(file)?,
            temporary,
            path,
            overwrite,
        })
    }

    /// Where the bytes stand until then: what to remove in a program that ends without dropping this.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// The whole file takes its name.
    pub fn persist(self) -> io::Result<()> {
        let persisted = if self.overwrite {
            self.temporary.persist(&self.path)
        } else {
            self.temporary.persist_noclobber(&self.path)
        };
        persisted.map_err(|e| e.error)
    }
}

impl Sink for FileSink {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)
    }
    fn can_rewrite(&self) -> bool {
        true
    }
    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.sink.rewrite(offset, bytes)
    }
    fn finish(&mut self) -> io::Result<()> {
        self.sink.finish()
    }
}
