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
/// The bytes go to a temporary file in the same folder. [`Sink::finish`], which a conversion calls at its end, waits
/// until they are on the disk, and gives the file its name. If the sink is dropped before, nothing is left behind. A
/// symbolic link stays a link: the file that it points to is created or replaced. On Unix a file that replaces another
/// has its mode, and its owner and group as far as that is allowed.
///
/// ```no_run
/// use micropy_core::{Converter, Error, FileSink, FileSource, Options};
///
/// # fn main() -> micropy_core::Result<()> {
/// let video = FileSource::open("talk.mp4").map_err(Error::Read)?;
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
    /// would be replaced rather than written to. Open it and write to it with a [`StreamSink`]. Otherwise whatever
    /// would keep the file from its name at the end: no file can be made in the folder, or the existing one cannot be
    /// replaced.
    pub fn create(path: impl Into<PathBuf>, overwrite: bool) -> io::Result<Self> {
        let path = path.into();
        let existing = match fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "not a regular file: open it and write to it with a StreamSink",
                ));
            }
            Ok(_) if !overwrite => return Err(io::ErrorKind::AlreadyExists.into()),
            Ok(found) => Some(found),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let path = behind_links(path)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".micropy-").suffix(".part");
        #[cfg(unix)]
        {
            // The mode of any new file: rw-rw-rw- less the umask, not a temporary file's rw-------.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let folder = folder_of(&path);
        let made = builder.tempfile_in(folder).map_err(|e| {
            let what = format!("no file can be made in the folder {}", folder.display());
            io::Error::new(e.kind(), format!("{what}: {}", bare(&e)))
        });
        let (file, temporary) = made?.into_parts();
        if let Some(existing) = existing {
            replaced::check(&path, &existing, &file)?;
            replaced::take_over(&existing, &file)?;
        }
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

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The error without the path of the temporary file, which tells nobody anything.
fn bare(error: &io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.source());
    let system = inner.and_then(|inner| inner.downcast_ref::<io::Error>());
    match system.and_then(io::Error::raw_os_error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
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

/// The file that a new one replaces.
#[cfg(unix)]
mod replaced {
    use std::ffi::OsStr;
    use std::fs::{self, File, Metadata, Permissions};
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    use std::path::{Path, PathBuf};

    /// `S_ISVTX`: in such a folder only their owners may remove files.
    const STICKY: u32 = 0o1000;
    /// `EPERM`, the same on every Unix. What a mode forbids is `EACCES`.
    const NOT_PERMITTED: i32 = 1;

    /// Refuses an `existing` file at `path` that `new`, beside it, could not replace. The system would say so only at
    /// the end.
    pub fn check(path: &Path, existing: &Metadata, new: &File) -> io::Result<()> {
        let refuse = |kind, why: &str| Err(io::Error::new(kind, format!("{why}: not replaced")));
        let folder = fs::metadata(super::folder_of(path))?;
        let me = new.metadata()?.uid();
        if folder.mode() & STICKY != 0 && ![0, existing.uid(), folder.uid()].contains(&me) {
            let why = "another user's file in a folder where only its owner may remove it";
            return refuse(io::ErrorKind::PermissionDenied, why);
        }
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        if is_mount_point(&path.canonicalize()?, &mounts) {
            return refuse(
                io::ErrorKind::ResourceBusy,
                "a file system is mounted on it",
            );
        }
        match File::options().append(true).open(path) {
            Err(e) if e.raw_os_error() == Some(NOT_PERMITTED) => {
                refuse(io::ErrorKind::PermissionDenied, "it is marked as immutable")
            }
            _ => Ok(()),
        }
    }

    /// Gives `new` the mode of `existing`, and its owner and group where that is allowed. File systems without them
    /// have nothing to keep.
    pub fn take_over(existing: &Metadata, new: &File) -> io::Result<()> {
        let own = new.metadata()?;
        if existing.uid() != own.uid() {
            let _ = fchown(new, Some(existing.uid()), None);
        }
        let same_group =
            existing.gid() == own.gid() || fchown(new, None, Some(existing.gid())).is_ok();
        let mut mode = existing.mode() & 0o777;
        if !same_group {
            // What was for the members of one group is not for those of another.
            let of_others = mode & 0o007;
            mode &= !0o070 | of_others << 3;
        }
        let _ = new.set_permissions(Permissions::from_mode(mode));
        Ok(())
    }

    /// Makes the names in the folder of `path` as durable as the files. Not every file system can, or has to.
    pub fn sync_folder(path: &Path) {
        if let Ok(folder) = File::open(super::folder_of(path)) {
            let _ = folder.sync_all();
        }
    }

    /// Whether `path` is among the mount points of Linux's `mountinfo`: the fifth field of a line, in which white space
    /// and backslashes are octal (`proc_pid_mountinfo(5)`).
    pub(super) fn is_mount_point(path: &Path, mountinfo: &[u8]) -> bool {
        let lines = mountinfo.split(|&b| b == b'\n');
        let points = lines.filter_map(|line| line.split(|&b| b == b' ').nth(4));
        points.map(unescaped).any(|point| point == path)
    }

    fn unescaped(field: &[u8]) -> PathBuf {
        let mut bytes = Vec::with_capacity(field.len());
        let mut rest = field;
        while let Some((&byte, after)) = rest.split_first() {
            let octal = match rest {
                [b'\\', digits @ ..] => digits
                    .get(..3)
                    .and_then(|digits| str::from_utf8(digits).ok()),
                _ => None,
            };
            match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
                Some(escaped) => {
                    bytes.push(escaped);
                    rest = &rest[4..];
                }
                None => {
                    bytes.push(byte);
                    rest = after;
                }
            }
        }
        OsStr::from_bytes(&bytes).into()
    }
}

/// The file that a new one replaces.
#[cfg(not(unix))]
mod replaced {
    use std::fs::{File, Metadata};
    use std::io;
    use std::path::Path;

    /// Refuses an `existing` file that a new one could not replace. The system would say so only at the end.
    pub fn check(_path: &Path, existing: &Metadata, _new: &File) -> io::Result<()> {
        match existing.permissions().readonly() {
            true => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is marked as read-only: not replaced",
            )),
            false => Ok(()),
        }
    }

    /// A new file has the rights of its folder.
    pub fn take_over(_existing: &Metadata, _new: &File) -> io::Result<()> {
        Ok(())
    }

    /// The system cannot.
    pub fn sync_folder(_path: &Path) {}
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
        let Some(temporary) = self.temporary.take() else {
            return Ok(());
        };
        self.sink.finish()?;
        // Otherwise a power cut may leave the name and not the bytes.
        self.sink.inner.sync_all()?;
        let persisted = if self.overwrite {
            temporary.persist(&self.path)
        } else {
            temporary.persist_noclobber(&self.path)
        };
        persisted.map_err(|e| e.error)?;
        replaced::sync_folder(&self.path);
        Ok(())
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
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
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
        fn a_file_that_replaces_another_keeps_its_mode() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out.mp3");
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
            write(&path, "new", false).unwrap();
            let usual = folder.path().join("usual");
            fs::write(&usual, "").unwrap();
            assert_eq!(mode(&path), mode(&usual), "of any new file");
            for kept in [0o600, 0o640, 0o664, 0o444, 0o755] {
                fs::set_permissions(&path, fs::Permissions::from_mode(kept)).unwrap();
                let sink = FileSink::create(&path, true).unwrap();
                // Nobody else may read it before it is done.
                assert_eq!(mode(sink.temporary().unwrap()), kept);
                drop(sink);
                write(&path, "another", true).unwrap();
                assert_eq!(mode(&path), kept);
            }
        }

        #[test]
        fn a_mount_point_is_known() {
            let mountinfo =
                b"36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw\n\
                37 35 98:0 /out.mp3 /music/out.mp3 rw - ext4 /dev/sda1 rw\n";
            for (path, is_one) in [
                ("/mnt/a b", true),
                ("/music/out.mp3", true),
                ("/mnt1", false),
                ("/music/out", false),
                ("/music/out.mp3x", false),
            ] {
                let path = Path::new(path);
                assert_eq!(
                    replaced::is_mount_point(path, mountinfo),
                    is_one,
                    "{path:?}"
                );
            }
        }

        /// Root may do everything.
        #[test]
        fn a_folder_that_cannot_be_written_is_told_at_once() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out.mp3");
            let missing = FileSink::create(folder.path().join("a/out.mp3"), true).unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
            let told = missing.to_string();
            assert!(
                told.starts_with("no file can be made in the folder"),
                "{told}"
            );
            assert!(!told.contains(".part"), "{told}");
            fs::write(&path, "old").unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
            let probe = fs::write(folder.path().join("probe"), "");
            let refused = FileSink::create(&path, true);
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            if probe.is_err() {
                assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            }
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
