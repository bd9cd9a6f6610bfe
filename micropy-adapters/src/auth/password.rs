//! Stored passwords: argon2id hashes in the PHC string format, and those of older systems.
//!
//! A new password is always stored as argon2id, whatever [`LegacyPasswords`] says; plain text is never written. So a
//! service that compares plain text cannot sign in users who registered here, or changed their password here. Users who
//! registered there can sign in at both.
//!
//! The time of a refusal reveals nothing. Every refusal takes one argon2 and, once bcrypt hashes were seen, as much
//! bcrypt as the most expensive of them, whether the user is unknown or the password wrong, and however it is stored.
//! (An argon2 hash that another program made with other parameters takes its own time.)

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use micropy_core::ports::BackendError;
use micropy_core::ports::auth::{Error, Rejection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Fault, Kind};

/// 19 MiB of memory, 2 passes, 1 lane: the first choice of the OWASP Password Storage Cheat Sheet.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The most that a stored hash may ask for. argon2-cffi's choice is 64 MiB, 3 passes, 4 lanes.
const MAX_MEMORY_KIB: u32 = 128 * 1024;
const MAX_PASSES: u32 = 10;
const MAX_LANES: u32 = 16;
/// The same for bcrypt, whose time doubles with each step: this takes about a second. 10 and 12 are usual.
const MAX_COST: u32 = 14;

/// A hash that no password has, for users who do not exist: checking a password against it takes as long as against a
/// real one.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes that may wait. On one core they take some 10 seconds.
const MAX_WAITING: usize = 500;

/// What happens to passwords that are stored as bcrypt (`$2a$`, `$2b$`, `$2y$`) or as plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyPasswords {
    /// They are accepted and left as they are: for a table that another service reads too.
    Verify,
    /// They are accepted, and replaced by an argon2id hash at the first login.
    Upgrade,
    /// They are not accepted.
    Reject,
}

impl FromStr for LegacyPasswords {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        match name {
            "verify" => Ok(LegacyPasswords::Verify),
            "upgrade" => Ok(LegacyPasswords::Upgrade),
            "reject" => Ok(LegacyPasswords::Reject),
            _ => Err(UnknownMode(name.to_owned())),
        }
    }
}

impl fmt::Display for LegacyPasswords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LegacyPasswords::Verify => "verify",
            LegacyPasswords::Upgrade => "upgrade",
            LegacyPasswords::Reject => "reject",
        })
    }
}

/// Not a name of one of [`LegacyPasswords`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of verify, upgrade, reject")]
pub struct UnknownMode(String);

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// The wrong password, or an unknown user.
    Refused,
    /// The right password.
    Accepted,
    /// The right password, and this hash replaces the stored one.
    Upgrade(String),
}

/// Hashes and checks passwords, for one adapter.
#[derive(Clone, Debug)]
pub(super) struct Passwords {
    /// The adapter's name in errors.
    adapter: &'static str,
    legacy: LegacyPasswords,
    /// Of those who log in.
    checks: Arc<Pool>,
    /// Of those who register or change their password: they do not keep the others waiting.
    new: Arc<Pool>,
    /// The highest cost of a bcrypt hash seen so far; 0 before the first.
    highest_cost: Arc<AtomicU32>,
}

impl Passwords {
    pub(super) fn new(adapter: &'static str, legacy: LegacyPasswords) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Passwords {
            adapter,
            legacy,
            checks: Arc::new(Pool::new(cores)),
            new: Arc::new(Pool::new(cores.div_ceil(2))),
            highest_cost: Arc::default(),
        }
    }

    pub(super) fn with_legacy(self, legacy: LegacyPasswords) -> Self {
        Passwords { legacy, ..self }
    }

    /// Prepares for bcrypt hashes of this cost.
    pub(super) fn expect_bcrypt(&self, cost: u32) {
        self.highest_cost
            .fetch_max(cost.min(MAX_COST), Ordering::Relaxed);
    }

    /// The hash to store for a new password.
    pub(super) async fn hash(&self, password: &str) -> Result<String, Error> {
        let password = password.to_owned();
        self.work(&self.new, move |_| hash(&password)).await
    }

    /// Checks `password` against the stored one; `None` if there is no such user. Returns the hash that is to replace
    /// the stored one, if any.
    pub(super) async fn authenticate(
        &self,
        password: &str,
        stored: Option<String>,
    ) -> Result<Option<String>, Error> {
        let password = password.to_owned();
        let verdict = self.work(&self.checks, move |own| {
            own.verdict(&password, stored.as_deref())
        });
        match verdict.await? {
            Verdict::Refused => Err(Error::Rejected(Rejection::Credentials)),
            Verdict::Accepted => Ok(None),
            Verdict::Upgrade(hash) => Ok(Some(hash)),
        }
    }

    async fn work<T: Send + 'static>(
        &self,
        pool: &Pool,
        work: impl FnOnce(&Passwords) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, Error> {
        let lasting = |e: BackendError| Error::from(Fault::lasting(self.adapter, e));
        let permit = pool.enter().await.ok_or_else(|| {
            let e = "too many passwords are waiting to be hashed";
            Error::from(Fault::new(self.adapter, Kind::Passing, e))
        })?;
        let passwords = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&passwords)
        });
        let done = done.await.map_err(|e| lasting(e.into()))?;
        done.map_err(lasting)
    }

    fn verdict(&self, password: &str, stored: Option<&str>) -> Result<Verdict, BackendError> {
        let stored = stored.map_or(Stored::Nobody, Stored::read);
        let nobody = PasswordHash::new(NOBODY)?;
        let argon2id = match &stored {
            Stored::Argon2(hash) => hash,
            _ => &nobody,
        };
        let same = argon2()
            .verify_password(password.as_bytes(), argon2id)
            .is_ok();

        let lenient = self.legacy != LegacyPasswords::Reject;
        let mut spent = None;
        let right = match stored {
            Stored::Argon2(_) if same => return Ok(Verdict::Accepted),
            Stored::Bcrypt { hash, cost } if lenient => {
                self.expect_bcrypt(cost);
                spent = Some(cost);
                bcrypt::verify(password, hash).unwrap_or(false)
            }
            Stored::Plain(text) if lenient => equal(password.as_bytes(), text.as_bytes()),
            _ => false,
        };
        if right && self.legacy == LegacyPasswords::Upgrade {
            return Ok(Verdict::Upgrade(hash(password)?));
        }
        if right {
            return Ok(Verdict::Accepted);
        }
        if lenient {
            self.spend_bcrypt(spent);
        }
        Ok(Verdict::Refused)
    }

    /// Takes the time that the most expensive bcrypt hash would have taken more.
    fn spend_bcrypt(&self, spent: Option<u32>) {
        let highest = self.highest_cost.load(Ordering::Relaxed);
        let mut take = |cost| {
            let _ = black_box(bcrypt::hash_with_salt("", cost, [0; 16]));
        };
        match spent {
            // 2^c + 2^c + 2^(c+1) + … + 2^(d-1) = 2^d
            Some(spent) => (spent..highest).for_each(&mut take),
            None if highest > 0 => take(highest),
            None => {}
        }
    }
}

/// Hashes that are made at the same time, and those that wait. A hash takes a core and 19 MiB.
#[derive(Debug)]
struct Pool {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Pool {
    fn new(slots: usize) -> Self {
        Pool {
            slots: Arc::new(Semaphore::new(slots)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a slot; `None` where too many wait already.
    async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        let _waiting = Waiting::begin(&self.waiting)?;
        // The semaphore is never closed.
        self.slots.clone().acquire_owned().await.ok()
    }
}

/// One of those who wait, also where it stops waiting.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Option<Self> {
        let begun = Waiting(waiting);
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        (before < MAX_WAITING).then_some(begun)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stored password, by its form.
enum Stored<'a> {
    /// No such user.
    Nobody,
    Argon2(Box<PasswordHash>),
    Bcrypt {
        hash: &'a str,
        cost: u32,
    },
    Plain(&'a str),
    /// A hash that cannot be checked, or nothing. It must never pass for plain text: somebody who stole it could sign
    /// in with it.
    Unusable,
}

impl<'a> Stored<'a> {
    fn read(stored: &'a str) -> Self {
        if stored.starts_with("$argon2") {
            return match PasswordHash::new(stored) {
                Ok(hash) if bounded(&hash) => Stored::Argon2(Box::new(hash)),
                _ => unusable("an argon2 hash is malformed or asks for too much"),
            };
        }
        if let Some(cost) = bcrypt_cost(stored) {
            return match cost {
                4..=MAX_COST => Stored::Bcrypt { hash: stored, cost },
                _ => unusable("a bcrypt hash asks for too much"),
            };
        }
        if is_hash(stored) {
            return unusable("a hash is of an unknown kind");
        }
        match stored {
            "" => unusable("it is empty"),
            text => Stored::Plain(text),
        }
    }
}

fn unusable(why: &'static str) -> Stored<'static> {
    tracing::warn!(why, "a stored password cannot be used");
    Stored::Unusable
}

fn bounded(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        params.m_cost() <= MAX_MEMORY_KIB
            && params.t_cost() <= MAX_PASSES
            && params.p_cost() <= MAX_LANES
    })
}

/// The cost of a bcrypt hash: `$2b$12$` and 53 characters more.
fn bcrypt_cost(stored: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|prefix| stored.strip_prefix(prefix))?;
    let (cost, rest) = rest.split_once('$')?;
    let digits = cost.len() == 2 && cost.bytes().all(|b| b.is_ascii_digit());
    (digits && rest.len() == 53).then(|| cost.parse().ok())?
}

/// Whether it has the form of a hash: `$name$…` as in crypt(3) and PHC, `{NAME}…` as in LDAP, or
/// `pbkdf2:…$salt$…` and `scrypt:…$salt$…` as Werkzeug writes them.
fn is_hash(stored: &str) -> bool {
    let named = |name: &str| {
        (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let between = |open, close| {
        let inner = stored.strip_prefix(open)?;
        inner.split_once(close).map(|(name, _)| name)
    };
    let long = stored.len() >= 20;
    let werkzeug = ["pbkdf2:", "scrypt:"];
    long && (between('$', '$').is_some_and(named)
        || between('{', '}').is_some_and(named)
        || (werkzeug.iter().any(|w| stored.starts_with(w)) && stored.matches('$').count() == 2))
}

/// Compares in a time that depends only on the length of `given`, not on where the two differ.
fn equal(given: &[u8], stored: &[u8]) -> bool {
    let mut differ = u8::from(given.len() != stored.len());
    for (i, byte) in given.iter().enumerate() {
        differ |= byte ^ black_box(stored.get(i).copied().unwrap_or_default());
    }
    black_box(differ) == 0
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or(Params::DEFAULT);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Hashes a password with a new random salt. Takes some 20 ms of one core, and 19 MiB.
fn hash(password: &str) -> Result<String, BackendError> {
    let hash: PasswordHash = argon2().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::time::Duration;

    use super::LegacyPasswords::{Reject, Upgrade, Verify};
    use super::*;

    /// `U*U` of the test vectors of John the Ripper and of crypt_blowfish.
    const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    fn check(legacy: LegacyPasswords, password: &str, stored: &str) -> Verdict {
        let passwords = Passwords::new("test", legacy);
        passwords.verdict(password, Some(stored)).unwrap()
    }

    fn refuses(legacy: LegacyPasswords, password: &str, stored: &str) -> bool {
        check(legacy, password, stored) == Verdict::Refused
    }

    #[test]
    fn hashes_carry_their_parameters_and_a_salt_of_their_own() {
        let (one, other) = (hash("secret").unwrap(), hash("secret").unwrap());
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, other);
        for legacy in [Verify, Upgrade, Reject] {
            assert_eq!(check(legacy, "secret", &one), Verdict::Accepted);
            assert!(refuses(legacy, "Secret", &one));
        }
    }

    #[test]
    fn an_unknown_user_is_refused() {
        assert!(PasswordHash::new(NOBODY).is_ok());
        let passwords = Passwords::new("test", Verify);
        for password in ["", "secret"] {
            let verdict = passwords.verdict(password, None).unwrap();
            assert_eq!(verdict, Verdict::Refused);
        }
    }

    #[test]
    fn legacy_passwords_are_left_replaced_or_rejected() {
        let y = BCRYPT.replacen("$2a$", "$2y$", 1);
        let b = BCRYPT.replacen("$2a$", "$2b$", 1);
        for (password, stored) in [
            ("U*U", BCRYPT),
            ("U*U", &b),
            ("U*U", &y),
            ("plain", "plain"),
            ("pässe", "pässe"),
            ("$5", "$5"),
        ] {
            assert_eq!(check(Verify, password, stored), Verdict::Accepted);
            assert!(refuses(Reject, password, stored), "{stored}");
            let Verdict::Upgrade(new) = check(Upgrade, password, stored) else {
                panic!("{stored} is not upgraded")
            };
            assert_eq!(check(Reject, password, &new), Verdict::Accepted);
            for wrong in ["", "U*u", "Plain", "plai", "plain ", "plain\0"] {
                assert!(refuses(Verify, wrong, stored), "{wrong:?} for {stored}");
                assert!(refuses(Upgrade, wrong, stored), "{wrong:?} for {stored}");
            }
        }
    }

    #[test]
    fn a_stolen_hash_is_not_a_password() {
        let huge = "$argon2id$v=19$m=4194304,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let endless = BCRYPT.replacen("$05$", "$31$", 1);
        for stored in [
            "",
            "$argon2id$",
            NOBODY,
            huge,
            BCRYPT,
            &endless,
            "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2",
            "pbkdf2:sha256:260000$sd8fSsdf$9a7b1c2d3e4f",
            "{SSHA}0c0blFTXXNuAMHECS4uxrj3ZieMoWImr",
        ] {
            assert!(refuses(Verify, stored, stored), "{stored}");
            assert!(refuses(Upgrade, stored, stored), "{stored}");
        }
    }

    /// The processor time of this thread, which depends little on what else the machine does.
    #[cfg(target_os = "linux")]
    fn worked() -> Duration {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        let nanoseconds = stat.split_whitespace().next().unwrap();
        Duration::from_nanos(nanoseconds.parse().unwrap())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_time_of_a_refusal_reveals_nothing() {
        let dear = bcrypt::hash_with_salt("secret", 9, [7; 16]).unwrap();
        let (cheap, dear) = (BCRYPT, dear.to_string());
        let argon2id = hash("secret").unwrap();
        let kinds = [
            None,
            Some("plain"),
            Some(cheap),
            Some(&dear),
            Some(&argon2id),
        ];
        for legacy in [Verify, Upgrade, Reject] {
            let passwords = Passwords::new("test", legacy);
            passwords.expect_bcrypt(9);
            let mut took = [Duration::MAX; 5];
            // The best of several rounds: the machine may be busy.
            for _ in 0..6 {
                for (took, stored) in took.iter_mut().zip(kinds) {
                    let begun = worked();
                    let verdict = passwords.verdict("wrong", stored).unwrap();
                    assert_eq!(verdict, Verdict::Refused);
                    *took = (*took).min(worked() - begun);
                }
            }
            let (least, most) = (took.iter().min().unwrap(), took.iter().max().unwrap());
            assert!(
                *most < least.mul_f64(1.5),
                "{legacy}: {took:?} for nobody, plain, bcrypt of cost 5 and 9, argon2id"
            );
        }
    }

    #[tokio::test]
    async fn of_those_who_wait_for_a_slot_there_is_a_limit() {
        let pool = Pool::new(1);
        let slot = pool.enter().await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..MAX_WAITING {
            let mut waits = Box::pin(pool.enter());
            assert!(futures_util::poll!(&mut waits).is_pending());
            waiting.push(waits);
        }
        assert!(pool.enter().await.is_none(), "one too many");
        waiting.pop();
        let mut waits = Box::pin(pool.enter());
        assert!(futures_util::poll!(&mut waits).is_pending(), "one gave up");
        drop(slot);
        assert!(waiting.remove(0).await.is_some(), "who came first");
    }

    #[test]
    fn modes_are_named() {
        for mode in [Verify, Upgrade, Reject] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let unknown = "Verify".parse::<LegacyPasswords>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "\"Verify\" is not one of verify, upgrade, reject"
        );
    }
}
