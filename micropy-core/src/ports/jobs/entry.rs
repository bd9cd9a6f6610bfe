//! What may happen to a job, wherever it is stored.

use std::time::Duration;

use super::{Begin, Ended, Error, Job, LONGEST_TERM, Lease, Message, Notice, Outcome, State};
use crate::ports::{Id, Timestamp};

/// A job and the lease on it: one row of a ledger.
///
/// Its methods are the arrows of [`State`]. Each returns [`Error::Rejected`] where the state forbids it, and then has
/// changed nothing. A ledger loads an entry, calls one of the methods and stores it, all in one transaction: so every
/// ledger follows the same rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The job.
    pub job: Job,
    /// How many leases the job has had.
    pub fence: u64,
    /// When the last lease runs out.
    pub leased_until: Timestamp,
    /// The payload of the message that requests the conversion, while the job waits for its owner's turn.
    pub waiting: Option<Vec<u8>>,
    /// Whether a message that requests the conversion is still owed. A ledger that owes nothing never says so, and none
    /// stores it with the entry: it follows from what is owed.
    pub owed: bool,
    /// Whether the owner's other jobs wait for it to be begun, or to be begun again after an outage; see
    /// [`IN_LINE`](super::IN_LINE).
    pub in_line: bool,
    /// Who is notifying the owner, and until when.
    pub notifier: Option<(Id, Timestamp)>,
}

impl Entry {
    /// The entry of a new job.
    pub fn new(job: Job) -> Self {
        Entry {
            job,
            fence: 0,
            leased_until: Timestamp::default(),
            waiting: None,
            owed: false,
            in_line: false,
            notifier: None,
        }
    }

    /// Takes the message of a change: holds it back if it requests a conversion that has not been requested yet,
    /// otherwise returns it, to be sent.
    pub fn hold_back(&mut self, message: Option<Message>) -> Option<Message> {
        match message {
            Some(message)
                if message.topic.requests_conversion() && self.job.requested.is_none() =>
            {
                self.waiting = Some(message.payload);
                None
            }
            message => message,
        }
    }

    /// It is the job's turn: returns the message that was held back, if one was.
    pub fn take_turn(&mut self, now: Timestamp) -> Option<Message> {
        let payload = self.waiting.take()?;
        self.job.requested = Some(now);
        self.in_line = true;
        Some(Message {
            topic: self.job.request_topic(),
            payload,
        })
    }

    /// See [`Jobs::enqueue`](super::Jobs::enqueue).
    pub fn enqueue(&mut self, now: Timestamp) -> Result<(), Error> {
        self.expect_state(&[State::Receiving])?;
        self.enter(State::Queued, now);
        Ok(())
    }

    /// See [`Jobs::begin`](super::Jobs::begin).
    pub fn begin(&mut self, now: Timestamp, term: Duration) -> Begin {
        match self.job.state {
            // The message that requests it is still in the ledger. This one is of an earlier request.
            State::Queued if self.waiting.is_some() => return Begin::NotQueued(self.job.clone()),
            State::Queued => {}
            State::Running if has_ended(self.leased_until, now) => {}
            State::Running => return Begin::Leased(self.leased_until),
            _ => return Begin::NotQueued(self.job.clone()),
        }
        self.fence += 1;
        self.leased_until = now.plus(term.min(LONGEST_TERM));
        self.job.attempts += 1;
        self.job.deliveries += 1;
        self.job.repeats = 0;
        self.job.progress = 0.0;
        // A message may come that the ledger never sent.
        self.job.requested.get_or_insert(now);
        self.job.started = Some(now);
        self.enter(State::Running, now);
        let lease = Lease {
            job: self.job.id,
            fence: self.fence,
        };
        Begin::Started(lease, self.job.clone())
    }

    /// See [`Jobs::renew`](super::Jobs::renew).
    pub fn renew(
        &mut self,
        now: Timestamp,
        lease: Lease,
        term: Duration,
        progress: f32,
    ) -> Result<(), Error> {
        self.expect_lease(lease)?;
        self.leased_until = now.plus(term.min(LONGEST_TERM));
        self.job.progress = progress;
        self.job.updated = now;
        Ok(())
    }

    /// See [`Jobs::release`](super::Jobs::release).
    pub fn release(&mut self, now: Timestamp, lease: Lease, ended: Ended) -> Result<(), Error> {
        let begun_since = lease.fence < self.fence
            && matches!(self.job.state, State::Queued | State::Running)
            && ended != Ended::Failed;
        if !begun_since {
            self.expect_lease(lease)?;
            self.job.progress = 0.0;
            self.enter(State::Queued, now);
            // What its owner has next would be put off, too.
            self.in_line = ended == Ended::Unavailable;
        }
        if ended != Ended::Failed {
            self.job.attempts = self.job.attempts.saturating_sub(1);
        }
        if ended == Ended::Unavailable {
            self.job.outages += 1;
        }
        Ok(())
    }

    /// See [`Jobs::request`](super::Jobs::request).
    pub fn request(&mut self, now: Timestamp, seen: Timestamp) -> Result<(), Error> {
        self.expect_state(&[State::Queued, State::Running])?;
        if self.job.updated != seen {
            return Err(changed());
        }
        if self.waiting.is_some() {
            return Err(Error::Rejected("the job waits for its turn".into()));
        }
        if self.owed {
            return Err(Error::Rejected("its message is still to be sent".into()));
        }
        // The others of its owner go on waiting: nobody may be there to begin any.
        self.job.requested = Some(now);
        self.job.repeats = self.job.repeats.saturating_add(1);
        self.job.updated = now;
        Ok(())
    }

    /// See [`Jobs::delete_unchanged`](super::Jobs::delete_unchanged).
    pub fn expect_unchanged(&self, seen: &Job) -> Result<(), Error> {
        // Two changes within a millisecond have one time.
        let same = (self.job.updated, self.job.state) == (seen.updated, seen.state)
            && self.job.retries == seen.retries;
        same.then_some(()).ok_or_else(changed)
    }

    /// See [`Jobs::finish`](super::Jobs::finish).
    pub fn finish(&mut self, now: Timestamp, lease: Lease, outcome: Outcome) -> Result<(), Error> {
        self.expect_lease(lease)?;
        match outcome {
            Outcome::Done(output) => {
                self.job.output = Some(output);
                self.job.progress = 1.0;
                self.enter(State::Done, now);
            }
            Outcome::Failed(reason) => {
                self.job.failure = Some(reason);
                self.enter(State::Failed, now);
            }
        }
        Ok(())
    }

    /// See [`Jobs::cancel`](super::Jobs::cancel).
    pub fn cancel(&mut self, now: Timestamp) -> Result<(), Error> {
        self.expect_state(&[State::Receiving, State::Queued, State::Running])?;
        self.enter(State::Cancelled, now);
        Ok(())
    }

    /// See [`Jobs::retry`](super::Jobs::retry).
    pub fn retry(&mut self, now: Timestamp) -> Result<(), Error> {
        self.expect_state(&[State::Failed, State::Cancelled])?;
        self.job.attempts = 0;
        self.job.outages = 0;
        self.job.deliveries = 0;
        self.job.retries = self.job.retries.saturating_add(1);
        self.job.repeats = 0;
        self.job.progress = 0.0;
        self.job.requested = None;
        self.job.started = None;
        self.job.failure = None;
        self.job.notified = None;
        self.notifier = None;
        self.enter(State::Queued, now);
        Ok(())
    }

    /// See [`Jobs::begin_notification`](super::Jobs::begin_notification).
    pub fn begin_notification(
        &mut self,
        now: Timestamp,
        notifier: Id,
        term: Duration,
    ) -> Result<Notice, Error> {
        self.expect_state(&[State::Done, State::Failed])?;
        if self.job.notified.is_some() {
            return Ok(Notice::Sent);
        }
        match self.notifier {
            Some((other, until)) if other != notifier && !has_ended(until, now) => {
                Ok(Notice::Taken(until))
            }
            _ => {
                self.notifier = Some((notifier, now.plus(term.min(LONGEST_TERM))));
                Ok(Notice::Yours)
            }
        }
    }

    /// See [`Jobs::release_notification`](super::Jobs::release_notification).
    pub fn release_notification(&mut self, notifier: Id) {
        if self.notifier.is_some_and(|(holder, _)| holder == notifier) {
            self.notifier = None;
        }
    }

    /// See [`Jobs::notified`](super::Jobs::notified).
    pub fn notified(&mut self, now: Timestamp) -> Result<(), Error> {
        self.expect_state(&[State::Done, State::Failed])?;
        self.job.notified = Some(now);
        self.notifier = None;
        self.job.updated = now;
        Ok(())
    }

    /// See [`Jobs::announced`](super::Jobs::announced).
    pub fn announced(&mut self, retries: u32) {
        self.job.announced = self.job.announced.max(Some(retries));
    }

    fn enter(&mut self, state: State, now: Timestamp) {
        self.job.state = state;
        self.job.updated = now;
        self.job.finished = state.is_final().then_some(now);
        if state != State::Queued {
            self.waiting = None;
            self.in_line = false;
        }
    }

    fn expect_state(&self, states: &[State]) -> Result<(), Error> {
        if states.contains(&self.job.state) {
            return Ok(());
        }
        Err(Error::Rejected(format!("the job is {}", self.job.state)))
    }

    fn expect_lease(&self, lease: Lease) -> Result<(), Error> {
        self.expect_state(&[State::Running])?;
        if self.fence == lease.fence {
            return Ok(());
        }
        Err(Error::Rejected("the lease on the job is lost".into()))
    }
}

/// Whether a lease or a claim that ends at `until` has ended by now; see [`LONGEST_TERM`].
pub fn has_ended(until: Timestamp, now: Timestamp) -> bool {
    until <= now || until > now.plus(2 * LONGEST_TERM)
}

fn changed() -> Error {
    Error::Rejected("the job has changed meanwhile".into())
}
