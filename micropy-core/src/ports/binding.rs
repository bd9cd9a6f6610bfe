//! Which ledger a store belongs to.
//!
//! A sweeper removes the objects of a store that its ledger does not know. Beside the wrong ledger (a new database, the
//! ledger of another service, a backup from last month) that would be everybody's files. So a store records the
//! [`Identity`] of the ledger it belongs to, and [`check`] compares the two: before a service starts, and before each
//! round of a sweeper.
//!
//! A ledger is given a name at its first check, and its *generation* grows with every check. The store remembers the
//! latest generation it has seen. A ledger that was restored from a backup has an older one, and is refused: it does
//! not know the jobs that were accepted since.
//!
//! A backup is noticed if the ledger was checked after it was made. Back up the store's binding first, then the ledger,
//! then the objects: the three can then be restored together.

use std::fmt;
use std::future::poll_fn;

use super::jobs::{self, Ledger};
use super::storage::{self, Storage};
use super::{Id, Timestamp};

/// A ledger, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The ledger's name.
    pub ledger: Id,
    /// How often the ledger was checked.
    pub generation: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (generation {})", self.ledger, self.generation)
    }
}

/// Why a store and a ledger are not to be used together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The ledger has no name yet, but the store belongs to one.
    #[error(
        "the store belongs to the job ledger {store}, but this ledger is new. Connect the ledger that the store \
         belongs to, or restore its backup, or use an empty store. If that ledger is lost, adopt the store: its files \
         then belong to no job"
    )]
    New {
        /// The ledger that the store belongs to.
        store: Identity,
    },
    /// The store belongs to another ledger.
    #[error(
        "the store belongs to the job ledger {store}, but this is {ledger}. Connect the ledger that the store belongs \
         to, or use another store. If that ledger is lost, adopt the store: its files then belong to no job"
    )]
    Foreign {
        /// The ledger that the store belongs to.
        store: Identity,
        /// The one it was checked with.
        ledger: Identity,
    },
    /// The ledger is older than the store has seen it: a backup.
    #[error(
        "the store has seen the job ledger {store}, but this one is older: {ledger}. Was it restored from a backup? \
         Restore the store's backup from the same time, or a newer one of the ledger. If there is none, adopt the \
         store: files accepted since the backup then belong to no job"
    )]
    Outdated {
        /// The ledger as the store has seen it.
        store: Identity,
        /// The same, older.
        ledger: Identity,
    },
    /// The store was never checked, and the ledger knows none of the objects in it.
    #[error(
        "the store holds files, but this job ledger knows none of them. Connect the ledger that the files belong to, \
         or use an empty store. If they belong to no job, adopt the store"
    )]
    Unknown,
    /// Others keep checking the store at the same time.
    #[error("others check the store all the time: try again")]
    Contended,
    /// The store refused or failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The ledger refused or failed.
    #[error(transparent)]
    Ledger(#[from] jobs::Error),
}

impl Error {
    /// Whether the two do not belong together, however often they are checked: an operator has to act. Anything else
    /// may pass by itself.
    pub fn is_refusal(&self) -> bool {
        match self {
            Error::New { .. } | Error::Foreign { .. } | Error::Outdated { .. } | Error::Unknown => {
                true
            }
            Error::Contended | Error::Storage(_) | Error::Ledger(_) => false,
        }
    }
}

/// Checks that the store belongs to the ledger; binds it at first use. Returns the ledger as the store has seen it now.
///
/// `name` becomes the ledger's if it has none: random, never used before. Call this when a service starts, and before
/// anything is removed because the ledger does not know it. On any error remove nothing, and put nothing into the
/// store: a single object that the ledger knows would bind an unbound store, with all that it does not know. Nothing is
/// changed when the two do not belong together.
pub async fn check(
    storage: &dyn Storage,
    ledger: &dyn Ledger,
    name: Id,
) -> Result<Identity, Error> {
    for _ in 0..TRIES {
        let bound = verify(storage, ledger).await?;
        if let Some(seen) = advance(storage, ledger, bound, name).await? {
            return Ok(seen);
        }
    }
    Err(Error::Contended)
}

/// Checks that the store belongs to the ledger, as [`check`] does, and changes neither. Returns what the store is bound
/// to.
pub async fn verify(storage: &dyn Storage, ledger: &dyn Ledger) -> Result<Option<Identity>, Error> {
    // In this order: whatever the store has seen, the ledger had reached before.
    let bound = storage.binding().await?;
    let known = ledger.identity().await?;
    match (bound, known) {
        (None, _) if is_known(storage, ledger).await? => {}
        (None, _) => return Err(Error::Unknown),
        (Some(store), None) => return Err(Error::New { store }),
        (Some(store), Some(ledger)) => compare(store, ledger)?,
    }
    Ok(bound)
}

/// Binds the store to the ledger, whatever it belonged to before.
///
/// Only on the explicit wish of an operator: objects that the ledger does not know belong to no job from now on, and a
/// sweeper will remove them.
pub async fn adopt(
    storage: &dyn Storage,
    ledger: &dyn Ledger,
    name: Id,
) -> Result<Identity, Error> {
    for _ in 0..TRIES {
        let bound = storage.binding().await?;
        if let Some(seen) = advance(storage, ledger, bound, name).await? {
            return Ok(seen);
        }
    }
    Err(Error::Contended)
}

/// How often to begin again when another process binds the store at the same time.
const TRIES: u32 = 100;

/// Objects that the ledger is asked about at once.
const PAGE: usize = 500;

fn compare(store: Identity, ledger: Identity) -> Result<(), Error> {
    if store.ledger != ledger.ledger {
        return Err(Error::Foreign { store, ledger });
    }
    if ledger.generation < store.generation {
        return Err(Error::Outdated { store, ledger });
    }
    Ok(())
}

/// Moves the ledger one generation on, and lets the store see it; none if the store's binding is no longer `bound`.
async fn advance(
    storage: &dyn Storage,
    ledger: &dyn Ledger,
    bound: Option<Identity>,
    name: Id,
) -> Result<Option<Identity>, Error> {
    let now = ledger.advance(name).await?;
    match storage.bind(bound, now).await {
        Ok(()) => Ok(Some(now)),
        Err(storage::Error::Rejected(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether the store is empty, or the ledger knows at least one object in it: a store from before there were bindings.
async fn is_known(storage: &dyn Storage, ledger: &dyn Ledger) -> Result<bool, Error> {
    let mut objects = storage.list_older_than(Timestamp::MAX).await?;
    let mut is_empty = true;
    loop {
        let mut page = Vec::new();
        while page.len() < PAGE
            && let Some(head) = poll_fn(|context| objects.as_mut().poll_next(context)).await
        {
            page.push(head?.id);
        }
        if page.is_empty() {
            return Ok(is_empty);
        }
        is_empty = false;
        if !ledger.referenced(&page).await?.is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use futures_core::Stream;
    use pollster::block_on;

    use super::{Error, Identity};
    use crate::ports::jobs::{Job, Jobs, LedgerIdentity};
    use crate::ports::memory::{MemoryJobs, MemoryStorage};
    use crate::ports::storage::{Label, Storage, StorageExt, UploadError};
    use crate::ports::time::ManualClock;
    use crate::ports::{Clock, Id, Timestamp};

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)))
    }

    fn ledger() -> MemoryJobs {
        MemoryJobs::new(clock())
    }

    fn storage() -> MemoryStorage {
        MemoryStorage::new(clock())
    }

    fn id(byte: u8) -> Id {
        Id::from_bytes([byte; 12])
    }

    /// An object in the store, and a job of the ledger that it belongs to.
    fn accept(storage: &MemoryStorage, ledger: &MemoryJobs, byte: u8) {
        store(storage, byte);
        let job = Job::new(id(byte + 100), "ann@example.com", id(byte), clock().now());
        block_on(ledger.create(&job, None)).expect("create");
    }

    fn store(storage: &MemoryStorage, byte: u8) {
        block_on(storage.put(id(byte), &Label::default(), Box::pin(Empty))).expect("put");
    }

    struct Empty;

    impl Stream for Empty {
        type Item = Result<Bytes, UploadError>;

        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(None)
        }
    }

    fn check(storage: &MemoryStorage, ledger: &MemoryJobs) -> Result<Identity, Error> {
        block_on(super::check(storage, ledger, id(1)))
    }

    fn adopt(storage: &MemoryStorage, ledger: &MemoryJobs) -> Identity {
        block_on(super::adopt(storage, ledger, id(2))).expect("adopt")
    }

    #[test]
    fn a_new_pair_is_bound_and_stays_so() {
        let (storage, ledger) = (storage(), ledger());
        let first = check(&storage, &ledger).unwrap();
        assert_eq!(
            first,
            Identity {
                ledger: id(1),
                generation: 1
            }
        );
        accept(&storage, &ledger, 3);
        let second = block_on(super::check(&storage, &ledger, id(9))).unwrap();
        assert_eq!(second.ledger, id(1), "a ledger keeps its name");
        assert!(second.generation > first.generation);
        assert_eq!(block_on(storage.binding()).unwrap(), Some(second));
    }

    #[test]
    fn one_ledger_serves_two_stores_and_an_empty_one_later() {
        let (videos, mp3s, ledger) = (storage(), storage(), ledger());
        for _ in 0..3 {
            check(&videos, &ledger).unwrap();
            check(&mp3s, &ledger).unwrap();
        }
        accept(&videos, &ledger, 3);
        check(&storage(), &ledger).unwrap();
        check(&videos, &ledger).unwrap();
    }

    #[test]
    fn a_new_ledger_is_refused_until_the_store_is_adopted() {
        let (storage, lost) = (storage(), ledger());
        check(&storage, &lost).unwrap();
        let new = ledger();
        for _ in 0..2 {
            let refused = check(&storage, &new).unwrap_err();
            assert!(matches!(refused, Error::New { .. }), "{refused}");
            assert!(refused.to_string().contains("adopt the store"), "{refused}");
        }
        assert_eq!(block_on(new.identity()).unwrap(), None, "it is unchanged");
        check(&storage, &lost).expect("and so is the store");
        let adopted = adopt(&storage, &new);
        assert_eq!(adopted.ledger, id(2));
        check(&storage, &new).unwrap();
        let refused = check(&storage, &lost).unwrap_err();
        assert!(matches!(refused, Error::Foreign { .. }), "{refused}");
    }

    #[test]
    fn the_ledger_of_another_store_is_refused() {
        let ((ours, ledger), (theirs, other)) = ((storage(), ledger()), (storage(), ledger()));
        check(&ours, &ledger).unwrap();
        block_on(super::check(&theirs, &other, id(7))).unwrap();
        for _ in 0..3 {
            let refused = check(&ours, &other).unwrap_err();
            assert!(
                matches!(refused, Error::Foreign { store, ledger } if (store.ledger, ledger.ledger) == (id(1), id(7))),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_restored_backup_is_refused_however_often_it_is_tried() {
        let (storage, ledger) = (storage(), ledger());
        check(&storage, &ledger).unwrap();
        let backup = ledger.backup();
        for _ in 0..3 {
            check(&storage, &ledger).unwrap();
        }
        for _ in 0..9 {
            let refused = check(&storage, &backup).unwrap_err();
            assert!(matches!(refused, Error::Outdated { .. }), "{refused}");
            assert!(refused.to_string().contains("backup"), "{refused}");
        }
        adopt(&storage, &backup);
        check(&storage, &backup).unwrap();
    }

    #[test]
    fn a_backup_that_is_as_new_as_the_store_is_accepted() {
        let (storage, ledger) = (storage(), ledger());
        check(&storage, &ledger).unwrap();
        let backup = ledger.backup();
        check(&storage, &backup).expect("nothing was checked since");
        let refused = check(&storage, &ledger).unwrap_err();
        assert!(matches!(refused, Error::Outdated { .. }), "{refused}");
    }

    #[test]
    fn a_store_from_before_bindings_is_bound_to_the_ledger_that_knows_it() {
        let (storage, ledger) = (storage(), ledger());
        for orphan in 3..9 {
            store(&storage, orphan);
        }
        let refused = check(&storage, &ledger).unwrap_err();
        assert!(matches!(refused, Error::Unknown), "{refused}");
        accept(&storage, &ledger, 20);
        check(&storage, &ledger).expect("one of its objects is known");
    }

    #[test]
    fn an_unbound_store_with_orphans_alone_can_be_adopted() {
        let (storage, ledger) = (storage(), ledger());
        store(&storage, 3);
        assert!(check(&storage, &ledger).is_err());
        adopt(&storage, &ledger);
        check(&storage, &ledger).unwrap();
    }
}
