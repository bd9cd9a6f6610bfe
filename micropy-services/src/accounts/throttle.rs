//! How often a login may fail.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use micropy_core::ports::Timestamp;

/// How long a failed login counts.
const WINDOW: Duration = Duration::from_secs(300);
/// Accounts and addresses remembered at once; beyond that, the oldest is forgotten.
const CAPACITY: usize = 10_000;
/// Attempts of one address, for each attempt of one account: an address may stand for a whole office.
const PER_ADDRESS: u32 = 10;

/// Failed logins of the last minutes.
pub struct Throttle {
    attempts: u32,
    seen: Mutex<HashMap<Key, Seen>>,
}

/// What failures are counted for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// One account from one address, so that nobody can lock another user out.
    Account(String, IpAddr),
    /// One address, whatever accounts it tries.
    Address(IpAddr),
}

#[derive(Clone, Copy)]
struct Seen {
    since: Timestamp,
    count: u32,
}

impl Throttle {
    /// Allows this many failures for each account and address within [`WINDOW`].
    pub fn new(attempts: u32) -> Self {
        Throttle {
            attempts,
            seen: Mutex::default(),
        }
    }

    fn limit(&self, key: &Key) -> u32 {
        match key {
            Key::Account(..) => self.attempts,
            Key::Address(_) => self.attempts.saturating_mul(PER_ADDRESS),
        }
    }

    /// How long until another attempt is allowed; `None` where it is allowed now.
    pub fn blocked(&self, keys: &[Key], now: Timestamp) -> Option<Duration> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = |key: &Key| {
            let seen = seen.get(key).filter(|seen| seen.count >= self.limit(key))?;
            let left = WINDOW.checked_sub(now.since(seen.since))?;
            (!left.is_zero()).then_some(left)
        };
        keys.iter().filter_map(wait).max()
    }

    /// Counts a failure.
    pub fn count(&self, keys: impl IntoIterator<Item = Key>, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= CAPACITY {
            seen.retain(|_, seen| now.since(seen.since) < WINDOW);
        }
        if seen.len() >= CAPACITY
            && let Some(oldest) = seen.iter().min_by_key(|(_, seen)| seen.since)
        {
            let oldest = oldest.0.clone();
            seen.remove(&oldest);
        }
        for key in keys {
            let entry = seen.entry(key).or_insert(Seen {
                since: now,
                count: 0,
            });
            if now.since(entry.since) >= WINDOW {
                *entry = Seen {
                    since: now,
                    count: 0,
                };
            }
            entry.count += 1;
        }
    }

    /// Forgets the failures of an account whose login succeeded.
    pub fn forget(&self, key: &Key) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> Key {
        Key::Account(name.into(), IpAddr::from([127, 0, 0, 1]))
    }

    #[test]
    fn failures_block_one_account_for_a_while() {
        let throttle = Throttle::new(3);
        let start = Timestamp::from_millis(1_700_000_000_000);
        for n in 0..3 {
            assert_eq!(
                throttle.blocked(&[account("ann")], start),
                None,
                "attempt {n}"
            );
            throttle.count([account("ann")], start);
        }
        let wait = throttle.blocked(&[account("ann")], start.plus(WINDOW / 3));
        assert_eq!(wait, Some(WINDOW * 2 / 3));
        assert_eq!(throttle.blocked(&[account("bob")], start), None);
        assert_eq!(
            throttle.blocked(&[account("ann")], start.plus(WINDOW)),
            None
        );
    }

    #[test]
    fn memory_of_failures_is_bounded() {
        let throttle = Throttle::new(3);
        for n in 0..CAPACITY + 50 {
            throttle.count([account(&n.to_string())], Timestamp::from_millis(n as i64));
        }
        let seen = throttle.seen.lock().unwrap();
        assert_eq!(seen.len(), CAPACITY);
        assert!(
            seen.contains_key(&account(&(CAPACITY + 49).to_string())),
            "the newest is kept"
        );
    }
}
