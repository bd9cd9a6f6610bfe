//! Who is served next, of those who ask for what is costly.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Those remembered before those that wait for nothing are forgotten.
const CROWD: usize = 1_000;

/// Lets each one, a network or a user, have few things done at a time, so that one that sends hundreds waits for
/// itself, not others for it.
pub struct Turns<K> {
    at_once: usize,
    known: Mutex<HashMap<K, Weak<Semaphore>>>,
}

/// It lasts until it is dropped.
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl<K: Eq + Hash> Turns<K> {
    /// So many at a time for each.
    pub fn new(at_once: usize) -> Self {
        Turns {
            at_once,
            known: Mutex::default(),
        }
    }

    /// Waits until it is the turn of `who`.
    pub async fn wait(&self, who: K) -> Turn {
        let turns = self.turns_of(who);
        Turn {
            // It is never closed.
            _permit: turns.acquire_owned().await.ok(),
        }
    }

    /// The turn of `who`, if that is now.
    pub fn take(&self, who: K) -> Option<Turn> {
        let permit = self.turns_of(who).try_acquire_owned().ok()?;
        Some(Turn {
            _permit: Some(permit),
        })
    }

    fn turns_of(&self, who: K) -> Arc<Semaphore> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&who).and_then(Weak::upgrade) {
            return known;
        }
        if known.len() >= CROWD {
            known.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(self.at_once));
        known.insert(who, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_waits_for_itself_alone() {
        let turns = Turns::new(2);
        let (here, there) = ("here", "there");
        let first = turns.wait(here).await;
        let _second = turns.wait(here).await;
        let waits = |from| tokio::time::timeout(Duration::from_secs(60), turns.wait(from));
        assert!(waits(here).await.is_err(), "two at a time");
        assert!(turns.take(here).is_none());
        assert!(waits(there).await.is_ok(), "another is served");
        assert!(turns.take(there).is_some());
        drop(first);
        assert!(turns.take(here).is_some());
        assert!(waits(here).await.is_ok(), "the next");
    }

    #[tokio::test]
    async fn those_that_wait_for_nothing_are_forgotten() {
        let turns = Turns::new(1);
        for n in 0..10 * CROWD as u32 {
            drop(turns.wait(n).await);
        }
        assert!(turns.known.lock().unwrap().len() <= CROWD);
    }
}
