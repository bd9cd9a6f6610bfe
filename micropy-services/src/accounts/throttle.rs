//! How often a login may fail, people may register, and mails are asked for.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use micropy_core::ports::Timestamp;
use sha2::{Digest as _, Sha256};

/// How long an attempt counts.
const WINDOW: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Accounts and networks remembered at once; beyond that, the oldest is forgotten.
const CAPACITY: usize = 10_000;
/// Attempts of one network, or at one account, for each attempt of one network at one account: a network may stand for
/// a whole office, and an account may be attacked from many.
const PER_NETWORK: u32 = 10;

/// Who is likely to be one person, or one house: an IPv4 address, or the 64 bits of an IPv6 address that a provider
/// assigns at least (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    pub fn of(address: IpAddr) -> Self {
        Network(match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(prefix))
            }
            v4 => v4,
        })
    }
}

/// What attempts are counted for. An account is a hash of its name, so that long names take no more memory.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    /// One account from one network.
    AccountFrom([u8; 32], Network),
    /// One account from networks that it has not been used from.
    Account([u8; 32]),
    /// One network, whatever accounts it tries.
    Network(Network),
}

#[derive(Clone, Copy)]
struct Seen {
    since: Timestamp,
    count: u32,
}

impl Seen {
    /// Whether it counts no longer: also where the clock was ahead then, and was set back since.
    fn is_over(&self, window: Duration, now: Timestamp) -> bool {
        now < self.since || now.since(self.since) >= window
    }
}

/// Attempts of the last minutes, or of a day.
///
/// An attempt is counted before it is made: of any number at once, no more are made than are allowed. It is given back
/// when it succeeds.
pub struct Throttle {
    /// Attempts at one account from one network.
    account_from: u32,
    /// Attempts at one account from networks that it has not been used from.
    account: u32,
    /// Attempts from one network.
    network: u32,
    /// How long they count.
    window: Duration,
    seen: Mutex<Counters>,
}

#[derive(Default)]
struct Counters {
    seen: HashMap<Key, Seen>,
    /// Networks from which accounts were signed in to: others' failures do not shut these out.
    familiar: HashSet<([u8; 32], Network)>,
}

/// An attempt that was counted, and is being made.
pub struct Attempt {
    account: [u8; 32],
    network: Network,
    keys: Vec<Key>,
}

impl Throttle {
    /// Allows this many failures for each account and network within [`WINDOW`].
    pub fn new(attempts: u32) -> Self {
        let from_many = attempts.saturating_mul(PER_NETWORK);
        Throttle {
            account_from: attempts,
            account: from_many,
            network: from_many,
            window: WINDOW,
            seen: Mutex::default(),
        }
    }

    /// Allows this many a day for each account, from wherever, and for each network.
    pub fn daily(account: u32, network: u32) -> Self {
        Throttle {
            account_from: account,
            account,
            network,
            window: DAY,
            seen: Mutex::default(),
        }
    }

    /// Counts an attempt at an account; otherwise says how long until another is allowed.
    pub fn attempt(
        &self,
        account: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Attempt, Duration> {
        self.attempt_from(account, from, self.is_familiar(account, from), now)
    }

    /// Whether somebody has signed in to the account from there.
    pub fn is_familiar(&self, account: &str, from: IpAddr) -> bool {
        let place = (Sha256::digest(account).into(), Network::of(from));
        let counters = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        counters.familiar.contains(&place)
    }

    /// The same as [`attempt`](Throttle::attempt), from where the account has been used or not. What strangers have
    /// asked for does not count where it has.
    pub fn attempt_from(
        &self,
        account: &str,
        from: IpAddr,
        is_familiar: bool,
        now: Timestamp,
    ) -> Result<Attempt, Duration> {
        let (account, network) = (Sha256::digest(account).into(), Network::of(from));
        let mut counters = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = vec![Key::AccountFrom(account, network), Key::Network(network)];
        if !is_familiar {
            keys.push(Key::Account(account));
        }
        let wait = keys.iter().filter_map(|key| {
            let limit = match key {
                Key::AccountFrom(..) => self.account_from,
                Key::Account(_) => self.account,
                Key::Network(_) => self.network,
            };
            counters.wait(key, limit, self.window, now)
        });
        if let Some(wait) = wait.max() {
            return Err(wait);
        }
        for key in &keys {
            counters.count(key.clone(), self.window, now);
        }
        Ok(Attempt {
            account,
            network,
            keys,
        })
    }

    /// The attempt has succeeded: it does not count, nor do earlier ones of this network at this account.
    pub fn succeeded(&self, attempt: Attempt) {
        self.undone(&attempt);
        let mut counters = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        counters
            .seen
            .remove(&Key::AccountFrom(attempt.account, attempt.network));
        if counters.familiar.len() >= CAPACITY {
            counters.familiar.clear();
        }
        counters.familiar.insert((attempt.account, attempt.network));
    }

    /// The attempt could not be made: it does not count.
    pub fn undone(&self, attempt: &Attempt) {
        let mut counters = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &attempt.keys {
            if let Some(seen) = counters.seen.get_mut(key) {
                seen.count = seen.count.saturating_sub(1);
            }
        }
    }
}

/// Allows each network, or each account, so many of something within [`WINDOW`], or within a day.
pub struct Allowance {
    limit: u32,
    window: Duration,
    seen: Mutex<Counters>,
}

impl Allowance {
    pub fn new(limit: u32) -> Self {
        Allowance {
            limit,
            window: WINDOW,
            seen: Mutex::default(),
        }
    }

    /// So many a day.
    pub fn daily(limit: u32) -> Self {
        Allowance {
            window: DAY,
            ..Allowance::new(limit)
        }
    }

    /// Counts one of a network; otherwise says how long until another is allowed.
    pub fn take(&self, from: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.count(Key::Network(Network::of(from)), now)
    }

    /// The same of an account.
    pub fn take_of(&self, account: &str, now: Timestamp) -> Result<(), Duration> {
        self.count(Key::Account(Sha256::digest(account).into()), now)
    }

    /// How long until an account is allowed another; `None` where it is now.
    pub fn wait_of(&self, account: &str, now: Timestamp) -> Option<Duration> {
        let key = Key::Account(Sha256::digest(account).into());
        let counters = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        counters.wait(&key, self.limit, self.window, now)
    }

    fn count(&self, key: Key, now: Timestamp) -> Result<(), Duration> {
        let mut counters = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match counters.wait(&key, self.limit, self.window, now) {
            Some(wait) => Err(wait),
            None => {
                counters.count(key, self.window, now);
                Ok(())
            }
        }
    }
}

impl Counters {
    /// How long until another is allowed; `None` where it is allowed now.
    fn wait(&self, key: &Key, limit: u32, window: Duration, now: Timestamp) -> Option<Duration> {
        let since = match self.seen.get(key) {
            Some(seen) if seen.count >= limit && !seen.is_over(window, now) => seen.since,
            None if limit == 0 => now,
            _ => return None,
        };
        let left = window.checked_sub(now.since(since))?;
        (!left.is_zero()).then_some(left)
    }

    fn count(&mut self, key: Key, window: Duration, now: Timestamp) {
        if self.seen.len() >= CAPACITY && !self.seen.contains_key(&key) {
            self.seen.retain(|_, seen| !seen.is_over(window, now));
            if self.seen.len() >= CAPACITY
                && let Some(oldest) = self.seen.iter().min_by_key(|(_, seen)| seen.since)
            {
                let oldest = oldest.0.clone();
                self.seen.remove(&oldest);
            }
        }
        let begun = Seen {
            since: now,
            count: 0,
        };
        let seen = self.seen.entry(key).or_insert(begun);
        if seen.is_over(window, now) {
            *seen = begun;
        }
        seen.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn here() -> IpAddr {
        address("192.0.2.1")
    }

    #[test]
    fn failures_shut_one_account_for_a_while() {
        let throttle = Throttle::new(3);
        for n in 0..3 {
            let attempt = throttle.attempt("ann", here(), START);
            assert!(attempt.is_ok(), "attempt {n}");
        }
        let wait = throttle.attempt("ann", here(), START.plus(WINDOW / 3));
        assert_eq!(wait.err(), Some(WINDOW * 2 / 3));
        assert!(throttle.attempt("bob", here(), START).is_ok());
        assert!(throttle.attempt("ann", here(), START.plus(WINDOW)).is_ok());
    }

    #[test]
    fn attempts_count_before_they_are_made_and_not_when_they_succeed() {
        let throttle = Throttle::new(3);
        let attempts: Vec<_> = (0..400)
            .filter_map(|_| throttle.attempt("ann", here(), START).ok())
            .collect();
        assert_eq!(attempts.len(), 3, "at once");
        for attempt in attempts {
            throttle.undone(&attempt);
        }
        for _ in 0..100 {
            let attempt = throttle.attempt("ann", here(), START);
            throttle.succeeded(attempt.ok().unwrap());
        }
        let fail = || throttle.attempt("ann", here(), START).is_ok();
        assert_eq!([fail(), fail(), fail(), fail()], [true, true, true, false]);
    }

    #[test]
    fn a_network_counts_as_one() {
        let throttle = Throttle::new(1);
        let allowed =
            |account: &str, from: &str| throttle.attempt(account, address(from), START).is_ok();
        assert!(allowed("ann", "2001:db8:0:1::1"));
        assert!(!allowed("ann", "2001:db8:0:1:ffff::2"), "the same /64");
        assert!(allowed("ann", "2001:db8:0:2::1"), "another");
        assert!(allowed("ann", "192.0.2.1"));
        assert!(!allowed("ann", "::ffff:192.0.2.1"), "the same in IPv6");
        assert!(allowed("ann", "192.0.2.2"));

        for n in 1..PER_NETWORK {
            assert!(allowed(&n.to_string(), "2001:db8:0:1::1"), "{n}");
        }
        assert!(!allowed("zoe", "2001:db8:0:1::1"), "whatever the account");
    }

    #[test]
    fn an_account_attacked_from_everywhere_is_shut_to_strangers_alone() {
        let throttle = Throttle::new(2);
        let attempt = throttle.attempt("ann", here(), START);
        throttle.succeeded(attempt.ok().unwrap());
        let attacked = |n: u32| {
            let from = IpAddr::from(n.to_be_bytes());
            throttle.attempt("ann", from, START).is_ok()
        };
        let allowed = (1..1000).filter(|n| attacked(*n)).count();
        assert_eq!(allowed, 2 * PER_NETWORK as usize);
        assert!(throttle.attempt("ann", here(), START).is_ok());
        assert!(throttle.attempt("bob", address("10.0.0.1"), START).is_ok());
    }

    #[test]
    fn a_day_has_so_many_for_an_account_from_wherever_and_for_a_network() {
        let throttle = Throttle::daily(2, 3);
        let allowed = |account: &str, from: &str, hours: u64| {
            let now = START.plus(Duration::from_secs(hours * 60 * 60));
            throttle.attempt(account, address(from), now).is_ok()
        };
        assert!(allowed("ann", "192.0.2.1", 0) && allowed("ann", "192.0.2.2", 1));
        assert!(!allowed("ann", "192.0.2.3", 23), "the third of a day");
        assert!(allowed("bob", "192.0.2.1", 23) && allowed("eve", "192.0.2.1", 23));
        assert!(!allowed("zoe", "192.0.2.1", 23), "whatever the account");
        assert!(allowed("ann", "192.0.2.3", 24) && allowed("zoe", "192.0.2.1", 24));
    }

    #[test]
    fn strangers_use_up_nothing_of_where_the_account_was_used() {
        let throttle = Throttle::daily(2, 100);
        let asked = |from: &str, is_familiar| {
            let asked = throttle.attempt_from("ann", address(from), is_familiar, START);
            asked.is_ok()
        };
        let strangers = (0..50).filter(|n| asked(&format!("192.0.2.{n}"), false));
        assert_eq!(strangers.count(), 2);
        let own = || asked("198.51.100.1", true);
        assert_eq!([own(), own(), own()], [true, true, false]);
    }

    #[test]
    fn a_clock_that_was_ahead_shuts_nobody() {
        let throttle = Throttle::new(1);
        let ahead = START.plus(DAY * 400);
        assert!(throttle.attempt("ann", here(), ahead).is_ok());
        assert!(throttle.attempt("ann", here(), ahead).is_err());
        assert!(throttle.attempt("ann", here(), START).is_ok());
        assert!(
            throttle.attempt("ann", here(), START).is_err(),
            "and counts"
        );
    }

    #[test]
    fn an_allowance_is_used_up_and_comes_back() {
        let allowance = Allowance::new(2);
        let take = |from, now| allowance.take(address(from), now);
        assert_eq!(take("2001:db8::1", START), Ok(()));
        assert_eq!(take("2001:db8::2", START), Ok(()));
        assert_eq!(take("2001:db8::3", START), Err(WINDOW));
        assert_eq!(take("192.0.2.1", START), Ok(()));
        assert_eq!(take("2001:db8::1", START.plus(WINDOW)), Ok(()));
        assert_eq!(Allowance::new(0).take(here(), START), Err(WINDOW));

        let daily = Allowance::daily(1);
        assert_eq!(daily.wait_of("ann", START), None);
        assert_eq!(daily.take_of("ann", START), Ok(()));
        assert_eq!(daily.wait_of("ann", START.plus(WINDOW)), Some(DAY - WINDOW));
        assert_eq!(daily.take_of("ann", START.plus(WINDOW)), Err(DAY - WINDOW));
        assert_eq!(daily.take_of("bob", START), Ok(()));
        assert_eq!(daily.take_of("ann", START.plus(DAY)), Ok(()));
    }

    #[test]
    fn memory_of_failures_is_bounded() {
        let throttle = Throttle::new(3);
        for n in 0..CAPACITY as u32 {
            let from = IpAddr::from(n.to_be_bytes());
            let now = Timestamp::from_millis(i64::from(n));
            let _ = throttle.attempt(&"long".repeat(1000), from, now);
        }
        let seen = throttle.seen.lock().unwrap();
        assert!(seen.seen.len() <= CAPACITY);
    }
}
