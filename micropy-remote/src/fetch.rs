//! One request until all of its bytes are there: retried, and resumed at the byte where it stopped.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;

/// What a file is read from: an HTTP server, a store.
pub trait Origin: Send + Sync {
    /// Asks for `wanted` and hands to `receiver` what comes, as it comes. Without any ranges it asks for the whole
    /// file. Once a version is known, the response must be of it: [`Head::version`] tells.
    ///
    /// A server may send more or less than it was asked for: [`fetch`] sorts that out.
    fn get(
        &self,
        wanted: &[Range<u64>],
        version: Option<&Version>,
        receiver: &mut dyn Receiver,
    ) -> Result<(), Fault>;

    /// How many ranges one request may ask for.
    fn most_ranges(&self) -> usize {
        1
    }
}

/// What takes the bytes of a response.
pub trait Receiver {
    /// A response has begun.
    fn begin(&mut self, head: &Head) -> Result<(), Fault>;

    /// These bytes stand at `offset` of the file.
    fn take(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Fault>;
}

/// What the head of a response says of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub version: Version,
    /// The response holds ranges of it; otherwise all of it.
    pub ranged: bool,
}

/// What tells one version of a file from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// `ETag`.
    pub tag: Option<String>,
    /// `Last-Modified`.
    pub modified: Option<String>,
    /// Bytes of the whole file.
    pub size: Option<u64>,
}

impl Version {
    /// In what `other` differs.
    pub fn difference(&self, other: &Version) -> Option<&'static str> {
        fn differ<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a != b)
        }
        if differ(&self.size, &other.size) {
            return Some("its length is another");
        }
        // A tag may be weak while the file is new, and strong a second later.
        let strong = |tag: &Option<String>| {
            tag.as_ref()
                .map(|tag| tag.trim_start_matches("W/").to_owned())
        };
        if differ(&strong(&self.tag), &strong(&other.tag)) {
            return Some("its ETag is another");
        }
        // Of one tag it is one file, whatever the servers of a cluster say of its time.
        let same_tag = self.tag.is_some() && other.tag.is_some();
        (!same_tag && differ(&self.modified, &other.modified))
            .then_some("its time of modification is another")
    }
}

/// Why a request ended early.
#[derive(Debug)]
pub enum Fault {
    /// Another try may go better, after this time if the server says so.
    Passing(Error, Option<Duration>),
    /// It would not.
    Lasting(Error),
    /// Nobody wants the bytes any more.
    Stopped,
}

/// Ends what runs for a source that is gone, also while it waits for the next try.
#[derive(Debug, Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub fn is_stopped(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; returns whether it was stopped.
    fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            let Some(left) = end
                .checked_duration_since(Instant::now())
                .filter(|t| !t.is_zero())
            else {
                break;
            };
            (stopped, _) = self
                .changed
                .wait_timeout(stopped, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *stopped
    }
}

/// The longest a server may ask us to wait before the next try.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Gets all bytes of `wanted`, in as many tries as that takes: `retries` in a row without a single byte.
///
/// A server that sends the whole file instead is taken at its word, and `wanted` becomes all of it.
pub fn fetch(
    origin: &dyn Origin,
    shown: &str,
    wanted: &[Range<u64>],
    version: Option<&Version>,
    retries: u32,
    stop: &Stop,
    receiver: &mut dyn Receiver,
) -> Result<(), Fault> {
    let mut rest = Rest {
        left: wanted.to_vec(),
        version: version.cloned(),
        whole: wanted.is_empty(),
        begun: version.is_some(),
        progress: false,
        shown,
        receiver,
    };
    let mut failures = 0;
    loop {
        if stop.is_stopped() {
            return Err(Fault::Stopped);
        }
        rest.progress = false;
        let asked: Vec<Range<u64>> = match rest.whole {
            true => Vec::new(),
            false => rest.left.clone(),
        };
        let known = rest.version.clone();
        let (error, wait) = match origin.get(&asked, known.as_ref(), &mut rest) {
            Ok(()) if rest.is_done() => return Ok(()),
            // A server may send as little of it as it likes.
            Ok(()) if rest.progress => {
                failures = 0;
                continue;
            }
            Ok(()) => (rest.short(), None),
            // It broke off after the last byte.
            Err(Fault::Passing(..)) if rest.left.is_empty() => return Ok(()),
            Err(Fault::Passing(error, wait)) => (error, wait),
            Err(other) => return Err(other),
        };
        failures = if rest.progress { 1 } else { failures + 1 };
        let too_long = wait.is_some_and(|wait| wait > LONGEST_WAIT);
        if failures > retries || too_long {
            return Err(Fault::Lasting(error));
        }
        let pause = wait.unwrap_or_else(|| backoff(failures));
        if stop.wait(pause) {
            return Err(Fault::Stopped);
        }
    }
}

/// The pause after so many failures in a row: 0.2 s, doubled each time up to 10 s, and varied, so that the clients of a
/// server that comes back do not all come at once.
fn backoff(failures: u32) -> Duration {
    let most = Duration::from_millis(200 << failures.saturating_sub(1).min(6))
        .min(Duration::from_secs(10));
    let random = RandomState::new().build_hasher().finish();
    most / 2 + (most / 2).mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

/// What is still to come of a request.
struct Rest<'a> {
    /// In the order in which it was asked for.
    left: Vec<Range<u64>>,
    version: Option<Version>,
    /// The server sends the whole file and no ranges.
    whole: bool,
    begun: bool,
    /// The current try has brought bytes.
    progress: bool,
    shown: &'a str,
    receiver: &'a mut dyn Receiver,
}

impl Rest<'_> {
    fn is_done(&self) -> bool {
        match self.left.first() {
            None => true,
            // A body that ends where it likes.
            Some(range) => self.whole && range.end == u64::MAX,
        }
    }

    /// A response that ended early.
    fn short(&self) -> Error {
        let at = self.left.first().map_or(0, |range| range.start);
        Error::Connection {
            url: self.shown.into(),
            why: format!("the response ends at byte {at}, before all of it was sent"),
        }
    }

    fn changed(&self, what: &str) -> Fault {
        Fault::Lasting(Error::Changed {
            url: self.shown.into(),
            what: what.into(),
        })
    }
}

impl Receiver for Rest<'_> {
    fn begin(&mut self, head: &Head) -> Result<(), Fault> {
        match &self.version {
            Some(version) => {
                if let Some(what) = version.difference(&head.version) {
                    return Err(self.changed(what));
                }
            }
            None => self.version = Some(head.version.clone()),
        }
        let end = head.version.size.unwrap_or(u64::MAX);
        if !self.begun {
            self.begun = true;
            self.whole = !head.ranged;
            if self.whole {
                self.left = vec![0..end];
            }
            self.receiver.begin(head)?;
        } else if !self.whole && !head.ranged {
            return Err(Fault::Lasting(Error::Response {
                url: self.shown.into(),
                why: "it no longer serves ranges".into(),
            }));
        }
        for range in &mut self.left {
            range.end = range.end.min(end);
        }
        self.left.retain(|range| range.start < range.end);
        Ok(())
    }

    /// Hands on what is still to come, and drops what is not.
    fn take(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let end = offset.saturating_add(bytes.len() as u64);
            let within = |range: &Range<u64>| range.start >= offset && range.start < end;
            let next = self
                .left
                .iter()
                .enumerate()
                .filter(|(_, range)| within(range));
            let Some((index, _)) = next.min_by_key(|(_, range)| range.start) else {
                return Ok(());
            };
            let range = self.left[index].clone();
            bytes = &bytes[(range.start - offset) as usize..];
            let n = (range.end - range.start).min(bytes.len() as u64);
            let (mine, others) = bytes.split_at(n as usize);
            self.receiver.take(range.start, mine)?;
            self.progress = true;
            offset = range.start + n;
            bytes = others;
            match offset == range.end {
                true => drop(self.left.remove(index)),
                false => self.left[index].start = offset,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What each request gets; and the requests.
    type Answer =
        dyn Fn(usize, &[Range<u64>], &mut dyn Receiver) -> Result<(), Fault> + Send + Sync;

    struct Scripted {
        requests: AtomicUsize,
        asked: Mutex<Vec<Vec<Range<u64>>>>,
        answer: Box<Answer>,
    }

    impl Scripted {
        fn new(
            answer: impl Fn(usize, &[Range<u64>], &mut dyn Receiver) -> Result<(), Fault>
            + Send
            + Sync
            + 'static,
        ) -> Self {
            Scripted {
                requests: AtomicUsize::new(0),
                asked: Mutex::default(),
                answer: Box::new(answer),
            }
        }
        fn asked(&self) -> Vec<Vec<Range<u64>>> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl Origin for Scripted {
        fn get(
            &self,
            wanted: &[Range<u64>],
            _version: Option<&Version>,
            receiver: &mut dyn Receiver,
        ) -> Result<(), Fault> {
            self.asked.lock().unwrap().push(wanted.to_vec());
            let number = self.requests.fetch_add(1, Ordering::Relaxed);
            (self.answer)(number, wanted, receiver)
        }
    }

    #[derive(Default)]
    struct Taken(Vec<(u64, Vec<u8>)>, usize);
    impl Receiver for Taken {
        fn begin(&mut self, _head: &Head) -> Result<(), Fault> {
            self.1 += 1;
            Ok(())
        }
        fn take(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
            self.0.push((offset, bytes.to_vec()));
            Ok(())
        }
    }

    pub fn head(tag: &str, ranged: bool) -> Head {
        Head {
            version: Version {
                tag: Some(tag.into()),
                modified: None,
                size: Some(100),
            },
            ranged,
        }
    }

    pub fn passing() -> Fault {
        Fault::Passing(
            Error::Connection {
                url: "http://h/".into(),
                why: "it broke".into(),
            },
            Some(Duration::ZERO),
        )
    }

    fn run(origin: &Scripted, wanted: &[Range<u64>], retries: u32) -> (Result<(), Fault>, Taken) {
        let mut taken = Taken::default();
        let version = head("a", true).version;
        let got = fetch(
            origin,
            "http://h/",
            wanted,
            Some(&version),
            retries,
            &Stop::default(),
            &mut taken,
        );
        (got, taken)
    }

    #[test]
    fn a_broken_response_goes_on_at_its_byte() {
        let origin = Scripted::new(|number, wanted, receiver| {
            receiver.begin(&head("a", true))?;
            receiver.take(wanted[0].start, &[number as u8; 3])?;
            Err(passing())
        });
        let (got, taken) = run(&origin, &[10..16, 20..22], 1);
        assert!(got.is_ok(), "{got:?}");
        assert_eq!(
            origin.asked(),
            [vec![10..16, 20..22], vec![13..16, 20..22], vec![20..22]]
        );
        assert_eq!(
            taken.0,
            [(10, vec![0; 3]), (13, vec![1; 3]), (20, vec![2; 2])]
        );
    }

    #[test]
    fn tries_without_a_byte_are_counted() {
        let origin = Scripted::new(|_, _, _| Err(passing()));
        let (got, _) = run(&origin, &[0..9], 2);
        assert!(
            matches!(got, Err(Fault::Lasting(Error::Connection { .. }))),
            "{got:?}"
        );
        assert_eq!(origin.asked().len(), 3);
    }

    #[test]
    fn bytes_that_nobody_asked_for_are_dropped() {
        let origin = Scripted::new(|_, _, receiver| {
            receiver.begin(&head("a", true))?;
            // The server has joined both ranges, and sends one of them again.
            receiver.take(0, &(0..30).collect::<Vec<u8>>())?;
            receiver.take(5, &[99; 4])
        });
        let (got, taken) = run(&origin, &[20..24, 5..9], 0);
        assert!(got.is_ok(), "{got:?}");
        let mut bytes = taken.0;
        bytes.sort();
        assert_eq!(bytes, [(5, vec![5, 6, 7, 8]), (20, vec![20, 21, 22, 23])]);
    }

    #[test]
    fn another_version_is_an_error() {
        let origin = Scripted::new(|_, _, receiver| receiver.begin(&head("b", true)));
        let (got, _) = run(&origin, &[0..9], 5);
        assert!(
            matches!(got, Err(Fault::Lasting(Error::Changed { .. }))),
            "{got:?}"
        );
        let no_ranges = Scripted::new(|_, _, receiver| receiver.begin(&head("a", false)));
        let (got, _) = run(&no_ranges, &[0..9], 5);
        assert!(
            matches!(got, Err(Fault::Lasting(Error::Response { .. }))),
            "{got:?}"
        );
    }

    #[test]
    fn a_server_without_ranges_is_read_whole_and_again_from_its_first_byte() {
        let origin = Scripted::new(|number, _, receiver| {
            receiver.begin(&head("a", false))?;
            match number {
                0 => receiver.take(0, &[1; 40]).and(Err(passing())),
                _ => receiver.take(0, &[2; 100]),
            }
        });
        let mut taken = Taken::default();
        let got = fetch(
            &origin,
            "http://h/",
            &[0..10],
            None,
            1,
            &Stop::default(),
            &mut taken,
        );
        assert!(got.is_ok(), "{got:?}");
        assert_eq!(taken.0, [(0, vec![1; 40]), (40, vec![2; 60])]);
        assert_eq!((origin.asked(), taken.1), (vec![vec![0..10], vec![]], 1));
    }

    #[test]
    fn a_body_that_is_shorter_than_told_is_an_error() {
        let origin = Scripted::new(|_, wanted, receiver| {
            receiver.begin(&head("a", true))?;
            match wanted[0].start {
                0 => receiver.take(0, &[1; 40]),
                _ => Ok(()),
            }
        });
        let mut taken = Taken::default();
        let got = fetch(
            &origin,
            "http://h/",
            &[0..50],
            None,
            1,
            &Stop::default(),
            &mut taken,
        );
        assert!(
            matches!(&got, Err(Fault::Lasting(error)) if error.to_string().contains("ends at byte 40")),
            "{got:?}"
        );
    }

    #[test]
    fn a_tag_that_becomes_strong_is_the_same() {
        let version = |tag: &str, modified: &str| Version {
            tag: Some(tag.into()),
            modified: Some(modified.into()),
            size: None,
        };
        let weak = version("W/\"a\"", "then");
        assert_eq!(weak.difference(&version("\"a\"", "later")), None);
        assert!(weak.difference(&version("\"b\"", "then")).is_some());
    }

    #[test]
    fn a_stop_ends_the_wait_for_the_next_try() {
        let origin = Scripted::new(|_, _, _| {
            let Fault::Passing(error, _) = passing() else {
                unreachable!("it is one")
            };
            Err(Fault::Passing(error, Some(Duration::from_secs(50))))
        });
        let stop = Stop::default();
        let began = Instant::now();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                stop.stop();
            });
            let got = fetch(&origin, "", &[0..9], None, 3, &stop, &mut Taken::default());
            assert!(matches!(got, Err(Fault::Stopped)), "{got:?}");
        });
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for (failures, most) in [(1, 200), (2, 400), (4, 1600), (7, 10_000), (1000, 10_000)] {
            let pause = backoff(failures).as_millis();
            assert!((most / 2..=most).contains(&pause), "{failures}: {pause}");
        }
    }
}
