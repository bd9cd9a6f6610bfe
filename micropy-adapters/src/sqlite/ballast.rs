//! Room on the disk that is kept for what frees room.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::private;

/// Bytes written at once.
const PIECE: usize = 64 * 1024;
/// What a ballast leaves to others that it is made for on a full disk: a store that notes its ledger, say.
const LEFT: u64 = 64 * 1024;

/// A file beside a database, of no use but that it can be given up.
///
/// Deleting takes room, too: SQLite writes down what is to be gone before it is. On a full disk nothing could be deleted
/// any more.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    /// Its length, once it is kept.
    bytes: AtomicU64,
    /// Locked by whoever has given it up.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Ballast {
    /// That of the database at `database`, whether or not it is there.
    pub(super) fn of(database: &Path) -> Self {
        let mut path = OsString::from(database);
        path.push("-ballast");
        Ballast {
            path: path.into(),
            bytes: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// How long it is to be from now on.
    pub(super) fn keep(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Frees its room. No, if there was none.
    pub(super) fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    /// Makes it as long as it is to be, or as there is room for.
    pub(super) fn fill(&self) -> io::Result<()> {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let length = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if length >= bytes {
            return Ok(());
        }
        let mut options = private::options();
        let mut file = options.append(true).create(true).open(&self.path)?;
        let (mut noise, mut length) = (Noise(bytes), length);
        while length < bytes {
            let piece = noise.piece();
            let piece = &piece[..PIECE.min((bytes - length) as usize)];
            match file.write(piece) {
                Ok(written) => length += written as u64,
                Err(e) if is_full(&e) => {
                    file.set_len(length.saturating_sub(LEFT))?;
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        file.sync_all()
    }
}

/// Whether a disk, or what its owner may use of it, is full.
fn is_full(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Bytes that no file system makes smaller: Marsaglia's xorshift.
struct Noise(u64);

impl Noise {
    fn piece(&mut self) -> Vec<u8> {
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            piece.extend_from_slice(&self.0.to_le_bytes());
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ballast_is_kept_given_up_and_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let ballast = Ballast::of(&folder.path().join("micropy.db"));
        let length = || fs::metadata(folder.path().join("micropy.db-ballast")).map(|m| m.len());
        ballast.fill().unwrap();
        assert!(length().is_err(), "nobody has asked for one");
        ballast.keep(1_000_000);
        ballast.fill().unwrap();
        assert_eq!(length().unwrap(), 1_000_000);
        assert!(ballast.give_up() && !ballast.give_up());
        assert!(length().is_err());
        ballast.fill().unwrap();
        ballast.keep(1_000_001);
        ballast.fill().unwrap();
        assert_eq!(length().unwrap(), 1_000_001);
    }

    #[test]
    fn a_ballast_takes_the_room_that_it_claims() {
        let mut noise = Noise(8 << 20);
        let pieces: Vec<u8> = (0..4).flat_map(|_| noise.piece()).collect();
        let (words, _) = pieces.as_chunks::<8>();
        let mut distinct = words.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), words.len());
    }
}
