//! Where the MP3 goes.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A place for one MP3. It is written from its first byte to its last. If it can be rewritten, the ID3 tag and the
/// Info tag at its beginning are completed at the end. What the sink held before stays.
pub trait Sink {
    /// Appends all of `bytes`.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Whether [`Sink::rewrite`] works here. Not for a pipe: its Info tag holds what is known before the audio is
    /// encoded.
    fn can_rewrite(&self) -> bool;

    /// Replaces bytes already written, beginning `back` bytes before the end, and returns to the end. It counts from
    /// the end because the sink may have held other bytes before the MP3.
    fn rewrite(&mut self, back: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the finished MP3 available: flushes it, gives the file its name. A conversion calls this once, when it
    /// has succeeded.
    fn finish(&mut self) -> io::Result<()>;
}

/// Forwards to the sink behind a pointer.
macro_rules! sink_behind {
    ($pointer:ty) => {
        impl<S: Sink + ?Sized> Sink for $pointer {
            fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
                (**self).write_all(bytes)
            }
            fn can_rewrite(&self) -> bool {
                (**self).can_rewrite()
            }
            fn rewrite(&mut self, back: u64, bytes: &[u8]) -> io::Result<()> {
                (**self).rewrite(back, bytes)
            }
            fn finish(&mut self) -> io::Result<()> {
                (**self).finish()
            }
        }
    };
}

sink_behind!(&mut S);
sink_behind!(Box<S>);

/// In memory, after what the vector already holds.
impl Sink for Vec<u8> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
    fn can_rewrite(&self) -> bool {
        true
    }
    fn rewrite(&mut self, back: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(back)
            .ok()
            .and_then(|back| self.len().checked_sub(back));
        let place = start
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
pub struct StreamSink<W> {
    inner: W,
}

impl<W: Write> StreamSink<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        StreamSink { inner }
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Sink for StreamSink<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)
    }
    fn can_rewrite(&self) -> bool {
        false
    }
    fn rewrite(&mut self, _back: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn finish(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A sink over anything that writes and seeks. The MP3 begins at its current position.
#[derive(Debug)]
pub struct SeekSink<W> {
    inner: W,
}

impl<W: Write + Seek> SeekSink<W> {
    /// Writes from the current position of `inner`.
    pub fn new(mut inner: W) -> io::Result<Self> {
        // A pipe opened as a file only seems to seek: found out now, not at the end.
        inner.stream_position()?;
        Ok(SeekSink { inner })
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
    fn rewrite(&mut self, back: u64, bytes: &[u8]) -> io::Result<()> {
        let end = self.inner.stream_position()?;
        let start = end.checked_sub(back).ok_or(io::ErrorKind::InvalidInput)?;
        self.inner.seek(SeekFrom::Start(start))?;
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
/// The bytes go to a temporary file in the same folder. [`Sink::finish`], which a conversion calls at its end, gives
/// it its name. If the sink is dropped before, nothing is left behind. A symbolic link stays a link: the file that
/// it points to is created or replaced.
///
/// ```no_run
/// use micropy_core::{Converter, Error, FileSink, Options, SeekSource};
///
/// # fn main() -> micropy_core::Result<()> {
/// let video = SeekSource::open("talk.mp4").map_err(Error::Read)?;
/// let mp3 = FileSink::create("talk.mp3", false).map_err(Error::Write)?;
/// Converter::new(Options::new()).convert(video, mp3)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the file appears only once a conversion has finished it"]
pub struct FileSink {
    sink: SeekSink<File>,
    /// `None` once it is finished.
    temporary: Option<tempfile::TempPath>,
    path: PathBuf,
    overwrite: bool,
}

impl FileSink {
    /// Prepares to write `path`. Without `overwrite`, an existing file is an error here, and a file that appears
    /// meanwhile is an error in [`Sink::finish`].
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if `path` exists and is not a regular file but a device or a named pipe, which
    /// would be replaced rather than written to. Open it and write to it with a [`StreamSink`].
    pub fn create(path: impl Into<PathBuf>, overwrite: bool) -> io::Result<Self> {
        let path = path.into();
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "not a regular file: open it and write to it with a StreamSink",
                ));
            }
            Ok(_) if !overwrite => return Err(io::ErrorKind::AlreadyExists.into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let path = behind_links(path)?;
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".micropy-").suffix(".part");
        #[cfg(unix)]
        {
            // The mode of any new file: rw-rw-rw- less the umask, not a temporary file's rw-------.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let (file, temporary) = builder.tempfile_in(folder)?.into_parts();
        Ok(FileSink {
            sink: SeekSink::new(file)?,
            temporary: Some(temporary),
            path,
            overwrite,
        })
    }

    /// Where the bytes are until the file is finished. A program that exits without dropping this should remove it.
    pub fn temporary(&self) -> Option<&Path> {
        self.temporary.as_deref()
    }
}

/// Where the file `path` is or would be, behind symbolic links: renaming to a link would replace the link.
fn behind_links(mut path: PathBuf) -> io::Result<PathBuf> {
    /// As many as Linux follows.
    const MOST: usize = 40;
    for _ in 0..MOST {
        // An error: it is not a link, or does not exist.
        let Ok(target) = fs::read_link(&path) else {
            return Ok(path);
        };
        // An absolute target replaces the folder.
        path = match path.parent() {
            Some(folder) => folder.join(target),
            None => target,
        };
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "too many symbolic links",
    ))
}

impl Sink for FileSink {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.temporary.is_none() {
            return Err(io::Error::other("the file is finished already"));
        }
        self.sink.write_all(bytes)
    }
    fn can_rewrite(&self) -> bool {
        true
    }
    fn rewrite(&mut self, back: u64, bytes: &[u8]) -> io::Result<()> {
        self.sink.rewrite(back, bytes)
    }
    fn finish(&mut self) -> io::Result<()> {
        self.sink.finish()?;
        let Some(temporary) = self.temporary.take() else {
            return Ok(());
        };
        let persisted = if self.overwrite {
            temporary.persist(&self.path)
        } else {
            temporary.persist_noclobber(&self.path)
        };
        persisted.map_err(|e| e.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `text` to `path` as a whole file.
    fn write(path: &Path, text: &str, overwrite: bool) -> io::Result<()> {
        let mut sink = FileSink::create(path, overwrite)?;
        sink.write_all(text.as_bytes())?;
        sink.finish()
    }

    #[test]
    fn rewriting_counts_from_the_end() {
        let (mut memory, mut file) = (b"before".to_vec(), io::Cursor::new(b"before".to_vec()));
        file.set_position(6);
        let mut seek = SeekSink::new(file).unwrap();
        for sink in [&mut memory as &mut dyn Sink, &mut seek] {
            sink.write_all(b"head, body").unwrap();
            sink.rewrite(10, b"HEAD").unwrap();
            sink.write_all(b", end").unwrap();
            assert!(sink.rewrite(100, b"nowhere").is_err());
        }
        assert_eq!(memory, b"beforeHEAD, body, end");
        assert_eq!(seek.into_inner().into_inner(), memory);
        assert!(memory.rewrite(3, b"too long").is_err());
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.mp3");
        let mut sink = FileSink::create(&path, false).unwrap();
        sink.write_all(b"half").unwrap();
        assert!(sink.temporary().unwrap().exists() && !path.exists());
        drop(sink);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        write(&path, "whole", false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        let refused = write(&path, "another", false).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        write(&path, "another", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "another");
    }

    #[test]
    fn a_finished_file_takes_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.mp3");
        let mut sink = FileSink::create(&path, false).unwrap();
        sink.write_all(b"whole").unwrap();
        sink.finish().unwrap();
        assert_eq!(sink.temporary(), None);
        assert!(sink.write_all(b" and more").is_err());
        drop(sink);
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    }

    #[test]
    fn a_sink_may_be_boxed() {
        let mut sinks: Vec<Box<dyn Sink>> = vec![
            Box::new(Vec::new()),
            Box::new(SeekSink::new(io::Cursor::new(Vec::new())).unwrap()),
            Box::new(StreamSink::new(Vec::new())),
        ];
        for mut sink in &mut sinks {
            Sink::write_all(&mut sink, b"bytes").unwrap();
            Sink::finish(&mut sink).unwrap();
        }
    }

    #[test]
    fn a_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for overwrite in [false, true] {
            let refused = FileSink::create(folder.path(), overwrite).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::IsADirectory);
        }
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::{FileTypeExt, symlink};
        use std::process::Command;

        use super::*;

        fn is_link(path: &Path) -> bool {
            fs::symlink_metadata(path).unwrap().is_symlink()
        }

        #[test]
        fn the_target_of_a_link_is_written() {
            let folder = tempfile::tempdir().unwrap();
            let other = folder.path().join("other");
            fs::create_dir(&other).unwrap();
            let file = other.join("file.mp3");
            let (near, far) = (folder.path().join("near"), folder.path().join("far"));
            symlink("other/file.mp3", &near).unwrap();
            symlink(&near, &far).unwrap();
            // Its target does not exist yet.
            write(&far, "new", false).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), "new");
            assert!(write(&far, "again", false).is_err());
            write(&far, "again", true).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), "again");
            assert!(is_link(&near) && is_link(&far) && !is_link(&file));
            let round = folder.path().join("round");
            symlink("round", &round).unwrap();
            assert!(write(&round, "nowhere", true).is_err());
        }

        #[test]
        fn other_than_a_regular_file_is_refused_and_stays() {
            let folder = tempfile::tempdir().unwrap();
            let pipe = folder.path().join("pipe");
            assert!(
                Command::new("mkfifo")
                    .arg(&pipe)
                    .status()
                    .unwrap()
                    .success()
            );
            let link = folder.path().join("link");
            symlink(&pipe, &link).unwrap();
            for path in [&pipe, &link, Path::new("/dev/null")] {
                for overwrite in [false, true] {
                    let refused = FileSink::create(path, overwrite).unwrap_err();
                    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
                    assert!(refused.to_string().contains("StreamSink"), "{refused}");
                }
            }
            assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        }
    }
}
