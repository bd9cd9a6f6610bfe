//! Objects as files in a folder.
//!
//! `unfinished/<id>` grows by appends; `whole/<id>` is read. A commit renames the file from one to the other, so an
//! object is visible whole or not at all. Bytes are fsynced before an append returns, and both folders before a
//! commit does. So what was acknowledged survives a kill, and a power cut if the disk honours fsync. The file `ledger`
//! names the job ledger that the folder belongs to, and its generation. The file `clock` is touched to learn the time
//! of the file system, which may be another machine's.

use std::fs::{self, File, ReadDir, TryLockError};
use std::io::{self, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use micropy_core::ports::binding::Identity;
use micropy_core::ports::storage::{
    ByteStream, Error, Head, Label, Listing, Storage, Upload, UploadError,
};
use micropy_core::ports::{Id, Timestamp};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use crate::clock::IntoTimestamp;
use crate::private::{self, sync_folder};

/// Bytes read or written at once.
const PIECE: usize = 64 * 1024;
/// Names that a listing reads at once.
const NAMES: usize = 1024;
/// How long to wait for another writer of a file, and how often to look.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A folder of objects.
#[derive(Clone, Debug)]
pub struct FilesystemStorage {
    root: PathBuf,
    whole: PathBuf,
    unfinished: PathBuf,
}

impl FilesystemStorage {
    /// Uses the folder `root`, which is made if it is missing. Other users of the machine cannot read it.
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        let root = root.as_ref();
        let storage = FilesystemStorage {
            root: root.to_owned(),
            whole: root.join("whole"),
            unfinished: root.join("unfinished"),
        };
        for folder in [root, &storage.whole, &storage.unfinished] {
            private::create_folder(folder)?;
        }
        storage.read_clock()?;
        sync_folder(root)?;
        Ok(storage)
    }

    fn whole(&self, id: Id) -> PathBuf {
        self.whole.join(id.to_string())
    }

    fn unfinished(&self, id: Id) -> PathBuf {
        self.unfinished.join(id.to_string())
    }

    /// Opens the unfinished object for one writer, at its end, which must be `offset`.
    fn open_end(&self, id: Id, offset: u64) -> Result<File, Error> {
        if self.whole(id).try_exists().map_err(backend)? {
            return Err(Error::Rejected(format!("{id} is whole already")));
        }
        let path = self.unfinished(id);
        let file = private::options()
            .write(true)
            .create(offset == 0)
            .truncate(false)
            .open(&path);
        let file = match file {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Rejected(format!(
                    "{id} does not end at byte {offset}"
                )));
            }
            other => other.map_err(backend)?,
        };
        lock(&file, id)?;
        let length = file.metadata().map_err(backend)?.len();
        if length != offset {
            return Err(Error::Rejected(format!(
                "{id} ends at byte {length}, not at {offset}"
            )));
        }
        if offset == 0 {
            sync_folder(&self.unfinished).map_err(backend)?;
        }
        Ok(file)
    }

    fn make_whole(&self, id: Id) -> Result<Head, Error> {
        match File::open(self.unfinished(id)) {
            Ok(file) => {
                lock(&file, id)?;
                // A killed process may have left bytes that it wrote but never fsynced.
                file.sync_all().map_err(backend)?;
                fs::rename(self.unfinished(id), self.whole(id)).map_err(backend)?;
            }
            // Whole already, or not there at all: the head tells.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(backend(e)),
        }
        sync_folder(&self.whole).map_err(backend)?;
        sync_folder(&self.unfinished).map_err(backend)?;
        head_of(&self.whole(id), id).map_err(backend)
    }

    /// The time by the file system's clock.
    fn read_clock(&self) -> io::Result<Timestamp> {
        // To empty a file that is empty already changes its time, and takes no room on a full disk.
        let touched = private::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.root.join("clock"))?;
        Ok(touched.metadata()?.modified()?.into_timestamp())
    }

    fn read_binding(&self) -> Result<Option<Identity>, Error> {
        let path = self.root.join("ledger");
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(backend)?,
        };
        let identity = text.trim().split_once(' ').and_then(|(name, generation)| {
            Some(Identity {
                ledger: name.parse().ok()?,
                generation: generation.parse().ok()?,
            })
        });
        identity.map(Some).ok_or_else(|| {
            let what = format!("{} holds no ledger's name and generation", path.display());
            backend(io::Error::new(io::ErrorKind::InvalidData, what))
        })
    }

    fn replace_binding(&self, previous: Option<Identity>, ledger: Identity) -> Result<(), Error> {
        // A file of its own: the rename below would replace the locked one.
        let lock = private::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.root.join("ledger.lock"))
            .map_err(backend)?;
        lock.lock().map_err(backend)?;
        if self.read_binding()? != previous {
            return Err(Error::Rejected("the store was bound meanwhile".into()));
        }
        let write = || {
            let new = self.root.join("ledger.new");
            let mut file = private::options()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&new)?;
            writeln!(file, "{} {}", ledger.ledger, ledger.generation)?;
            file.sync_all()?;
            fs::rename(&new, self.root.join("ledger"))?;
            sync_folder(&self.root)
        };
        write().map_err(backend)
    }
}

/// Copies the objects of the store in the folder `from` into that in `to`, which is made if it is missing, and returns
/// how many whole ones that were. What is whole in `to` stays. Others may be using `from`, but not `to`. The copies are
/// durable when this returns; which ledger the store belongs to is not copied.
pub fn copy(from: &Path, to: &Path) -> io::Result<u64> {
    let to = FilesystemStorage::open(to)?;
    // Unfinished objects first: one that is committed meanwhile is then found whole.
    for id in ids(&from.join("unfinished"))? {
        let name = id.to_string();
        copy_object(&from.join("unfinished").join(&name), &to.unfinished(id))?;
    }
    let mut copied = 0;
    for id in ids(&from.join("whole"))? {
        let whole = to.whole(id);
        if whole.try_exists()? {
            continue;
        }
        // It is there whole or not at all.
        let new = to.root.join("copy");
        if copy_object(&from.join("whole").join(id.to_string()), &new)? {
            fs::rename(&new, &whole)?;
            copied += 1;
        }
        match fs::remove_file(to.unfinished(id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    sync_folder(&to.whole)?;
    sync_folder(&to.unfinished)?;
    Ok(copied)
}

/// The objects in a folder.
fn ids(folder: &Path) -> io::Result<Vec<Id>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        ids.extend(name.to_str().and_then(|name| name.parse::<Id>().ok()));
    }
    Ok(ids)
}

/// Copies a file, which may be growing, over another; no, where it has gone meanwhile.
fn copy_object(from: &Path, to: &Path) -> io::Result<bool> {
    let mut source = match File::open(from) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let mut options = private::options();
    let mut target = options.write(true).create(true).truncate(true).open(to)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()?;
    Ok(true)
}

/// A walk through both folders, once.
struct Walk {
    before: Timestamp,
    /// Folders still to be read, the next one last.
    folders: Vec<PathBuf>,
    entries: Option<ReadDir>,
}

impl Walk {
    /// The old objects among the next names; none at the end.
    fn next(&mut self) -> io::Result<Option<Vec<Head>>> {
        let mut old = Vec::new();
        for _ in 0..NAMES {
            let entries = match (&mut self.entries, self.folders.pop()) {
                (Some(entries), folder) => {
                    self.folders.extend(folder);
                    entries
                }
                (None, Some(folder)) => self.entries.insert(fs::read_dir(folder)?),
                (None, None) => return Ok((!old.is_empty()).then_some(old)),
            };
            let Some(entry) = entries.next() else {
                self.entries = None;
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            // A name that is no id is not one of ours.
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match head_of(&entry.path(), id) {
                Ok(head) if head.written < self.before => old.push(head),
                // It is young, or was removed meanwhile.
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                // It keeps no other from being found.
                Err(e) => {
                    tracing::error!(file = %id, error = %e, "a file in the store cannot be read");
                }
            }
        }
        Ok(Some(old))
    }
}

#[async_trait]
impl Storage for FilesystemStorage {
    async fn append(&self, id: Id, offset: u64, body: Upload) -> Result<u64, Error> {
        let storage = self.clone();
        let file = blocking(move || storage.open_end(id, offset)).await?;
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(PIECE);
        file.seek(SeekFrom::End(0)).await.map_err(backend)?;

        let written = write_all(&mut file, body).await;
        let keep = match &written {
            Ok(length) => Some(offset + length),
            Err(Error::Interrupted(UploadError::Broken(_))) => None,
            Err(_) => Some(offset),
        };
        if written.is_err()
            && let Some(length) = keep
        {
            file.set_len(length).await.map_err(backend)?;
        }
        file.sync_all().await.map_err(backend)?;
        written.map(|length| offset + length)
    }

    async fn unfinished(&self, id: Id) -> Result<Head, Error> {
        let path = self.unfinished(id);
        blocking(move || head_of(&path, id).map_err(backend)).await
    }

    async fn commit(&self, id: Id, _label: &Label) -> Result<Head, Error> {
        let storage = self.clone();
        blocking(move || storage.make_whole(id)).await
    }

    async fn get(&self, id: Id, range: Range<u64>) -> Result<ByteStream, Error> {
        let mut file = tokio::fs::File::open(self.whole(id))
            .await
            .map_err(backend)?;
        file.seek(SeekFrom::Start(range.start.min(i64::MAX as u64)))
            .await
            .map_err(backend)?;
        let length = range.end.saturating_sub(range.start);
        Ok(Box::pin(ReaderStream::with_capacity(
            file.take(length),
            PIECE,
        )))
    }

    async fn head(&self, id: Id) -> Result<Head, Error> {
        let path = self.whole(id);
        blocking(move || head_of(&path, id).map_err(backend)).await
    }

    async fn delete(&self, id: Id) -> Result<(), Error> {
        for path in [self.unfinished(id), self.whole(id)] {
            match tokio::fs::remove_file(path).await {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(backend(e)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn list_older_than(&self, before: Timestamp) -> Result<Listing, Error> {
        let walk = Walk {
            before,
            // Unfinished objects first: one that is committed meanwhile comes twice rather than never.
            folders: vec![self.whole.clone(), self.unfinished.clone()],
            entries: None,
        };
        let old = stream::try_unfold(walk, |mut walk| {
            blocking(move || {
                let old = walk.next().map_err(backend)?;
                Ok(old.map(|old| (old, walk)))
            })
        });
        let heads = old.map_ok(|old| stream::iter(old.into_iter().map(Ok)));
        Ok(Box::pin(heads.try_flatten()))
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        let storage = self.clone();
        blocking(move || storage.read_clock().map_err(backend)).await
    }

    async fn binding(&self) -> Result<Option<Identity>, Error> {
        let storage = self.clone();
        blocking(move || storage.read_binding()).await
    }

    async fn bind(&self, previous: Option<Identity>, ledger: Identity) -> Result<(), Error> {
        let storage = self.clone();
        blocking(move || storage.replace_binding(previous, ledger)).await
    }
}

/// Writes the whole of `body`; returns how many bytes it had.
async fn write_all(file: &mut tokio::fs::File, mut body: Upload) -> Result<u64, Error> {
    let mut length = 0;
    let mut ended = Ok(());
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => {
                file.write_all(&piece).await.map_err(backend)?;
                length += piece.len() as u64;
            }
            Err(e) => {
                ended = Err(Error::Interrupted(e));
                break;
            }
        }
    }
    // Writes are buffered and finish in the background: only now are they known to have succeeded.
    file.flush().await.map_err(backend)?;
    ended.map(|()| length)
}

/// Locks the file for one writer, also across processes, until it is closed.
///
/// A child process that is just being started inherits the open file from `fork` to `exec`. So the lock of a writer
/// may outlive it for a moment.
fn lock(file: &File, id: Id) -> Result<(), Error> {
    let asked = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if asked.elapsed() < LOCK_PATIENCE => {
                thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Rejected(format!("somebody else is writing to {id}")));
            }
            Err(TryLockError::Error(e)) => return Err(backend(e)),
        }
    }
}

fn head_of(path: &Path, id: Id) -> io::Result<Head> {
    let metadata = fs::metadata(path)?;
    Ok(Head {
        id,
        bytes: metadata.len(),
        written: metadata.modified()?.into_timestamp(),
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(backend(io::Error::other(e))),
    }
}

fn backend(e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::NotFound => Error::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full,
        _ => Error::Backend {
            adapter: "filesystem storage",
            cause: Box::new(e),
        },
    }
}
