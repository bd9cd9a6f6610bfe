//! Whose password is checked next.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::throttle::Network;

/// Networks remembered before those that wait for nothing are forgotten.
const CROWD: usize = 1_000;

/// Lets each network have few passwords hashed at a time, so that one that sends hundreds waits for itself, not others
/// for it.
pub struct Turns {
    at_once: usize,
    networks: Mutex<HashMap<Network, Weak<Semaphore>>>,
}

/// It lasts until it is dropped.
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// So many at a time for each network.
    pub fn new(at_once: usize) -> Self {
        Turns {
            at_once,
            networks: Mutex::default(),
        }
    }

    /// Waits until the network has a turn.
    pub async fn wait(&self, from: IpAddr) -> Turn {
        let network = self.network(Network::of(from));
        Turn {
            // It is never closed.
            _permit: network.acquire_owned().await.ok(),
        }
    }

    fn network(&self, network: Network) -> Arc<Semaphore> {
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = networks.get(&network).and_then(Weak::upgrade) {
            return known;
        }
        if networks.len() >= CROWD {
            networks.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(self.at_once));
        networks.insert(network, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_network_waits_for_itself_alone() {
        let turns = Turns::new(2);
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = turns.wait(here).await;
        let _second = turns.wait(here).await;
        let waits = |from| tokio::time::timeout(Duration::from_secs(60), turns.wait(from));
        assert!(waits(here).await.is_err(), "two at a time");
        assert!(waits(there).await.is_ok(), "another is served");
        drop(first);
        assert!(waits(here).await.is_ok(), "the next");
    }

    #[tokio::test]
    async fn networks_that_wait_for_nothing_are_forgotten() {
        let turns = Turns::new(1);
        for n in 0..10 * CROWD as u32 {
            drop(turns.wait(IpAddr::from(n.to_be_bytes())).await);
        }
        assert!(turns.networks.lock().unwrap().len() <= CROWD);
    }
}
