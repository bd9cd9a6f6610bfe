//! Files of no job, from their first sighting to their removal.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::stream::TryChunksError;
use futures_util::{StreamExt, TryStreamExt};
use micropy_core::ports::storage::Storage;
use micropy_core::ports::{Id, Timestamp};
use tokio::time::Instant;

use crate::Ports;
use crate::job::intake::IntakeError;

/// How old a file of no job must be: the job of a younger one may be about to be created.
const AGE: Duration = Duration::from_secs(3600);
/// How long after it was first seen it must be seen again, by the store's time and by the time that has passed here. An
/// operator has as long to notice a wrong ledger.
const CONFIRMATION: Duration = Duration::from_secs(6 * 3600);
/// At most one in so many of a store's files is removed in one search, ...
const SHARE: usize = 20;
/// ... or this many, if they are few.
const AT_LEAST: usize = 20;
/// Files that the ledger is asked about at once.
const PAGE: usize = 500;
/// The most files of no job that are remembered. Others are remembered once those are gone.
const REMEMBERED: usize = 100_000;

/// What was seen of one store.
#[derive(Default)]
pub struct Orphans {
    seen: HashMap<Id, Sighting>,
}

/// When a file of no job was first seen.
#[derive(Clone, Copy)]
struct Sighting {
    /// By the store's time, which may be set.
    at: Timestamp,
    /// By a clock that cannot be set.
    here: Instant,
}

/// What a search has found.
#[derive(Debug, Default)]
pub struct Search {
    /// Files of no job.
    pub orphans: usize,
    /// How many of them were removed.
    pub removed: usize,
    /// How many were due, but too many for one search.
    pub postponed: usize,
}

impl Orphans {
    /// Looks through the whole store, and removes some of the files that were seen without a job long ago, too.
    pub async fn search(
        &mut self,
        storage: &dyn Storage,
        ports: &Ports,
    ) -> Result<Search, IntakeError> {
        let (now, here) = (storage.now().await?, Instant::now());
        let (mut files, mut seen) = (0, HashMap::new());
        let mut pages = of_no_job(storage, ports, now).await?;
        while let Some(page) = pages.next().await {
            let (looked_at, orphans) = page?;
            files += looked_at;
            for id in orphans {
                if seen.len() < REMEMBERED {
                    let first = Sighting { at: now, here };
                    seen.insert(id, self.seen.get(&id).copied().unwrap_or(first));
                }
            }
        }
        let is_due = |sighting: &Sighting| {
            now.since(sighting.at) >= CONFIRMATION && sighting.here.elapsed() >= CONFIRMATION
        };
        let due = seen.iter().filter(|(_, sighting)| is_due(sighting));
        let due: Vec<Id> = due.map(|(id, _)| *id).collect();
        let most = AT_LEAST.max(files / SHARE);
        let mut search = Search {
            orphans: seen.len(),
            removed: 0,
            postponed: due.len().saturating_sub(most),
        };
        self.seen = seen;
        for page in due[..due.len().min(most)].chunks(PAGE) {
            // Hours may have passed since this search began.
            let owned: HashSet<Id> = ports.jobs.referenced(page).await?.into_iter().collect();
            for id in page.iter().filter(|id| !owned.contains(id)) {
                match storage.delete(*id).await {
                    Ok(()) => search.removed += 1,
                    Err(e) => {
                        tracing::warn!(file = %id, error = %e, "cannot remove a file of no job")
                    }
                }
                self.seen.remove(id);
            }
        }
        Ok(search)
    }
}

/// The files of no job that are old enough by `now`, page by page, each with how many files there were.
pub async fn of_no_job<'a>(
    storage: &'a dyn Storage,
    ports: &'a Ports,
    now: Timestamp,
) -> Result<impl StreamExt<Item = Result<(usize, Vec<Id>), IntakeError>> + Unpin + 'a, IntakeError>
{
    let files = storage.list_older_than(now.minus(AGE)).await?;
    let pages = files.map_ok(|head| head.id).try_chunks(PAGE);
    let orphans = pages.then(async |page| {
        let page = page.map_err(|TryChunksError(_, e)| e)?;
        let owned: HashSet<Id> = ports.jobs.referenced(&page).await?.into_iter().collect();
        let orphans = page.iter().filter(|id| !owned.contains(id)).copied();
        Ok((page.len(), orphans.collect()))
    });
    Ok(Box::pin(orphans))
}
