//! What may happen to a job, wherever it is stored.

use std::time::Duration;

use super::{Begin, Error, Job, Lease, Outcome, State};
use crate::ports::Timestamp;

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
}

impl Entry {
    /// The entry of a new job.
    pub fn new(job: Job) -> Self {
        Entry {
            job,
            fence: 0,
            leased_until: Timestamp::default(),
        }
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
            State::Queued => {}
            State::Running if self.leased_until <= now => {}
            State::Running => return Begin::Leased(self.leased_until),
            _ => return Begin::NotQueued(self.job.clone()),
        }
        self.fence += 1;
        self.leased_until = now.plus(term);
        self.job.attempts += 1;
        self.job.progress = 0.0;
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
        self.leased_until = now.plus(term);
        self.job.progress = progress;
        self.job.updated = now;
        Ok(())
    }

    /// See [`Jobs::release`](super::Jobs::release).
    pub fn release(&mut self, now: Timestamp, lease: Lease, counted: bool) -> Result<(), Error> {
        self.expect_lease(lease)?;
        self.job.attempts -= u32::from(!counted);
        self.job.progress = 0.0;
        self.enter(State::Queued, now);
        Ok(())
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
        self.job.progress = 0.0;
        self.job.failure = None;
        self.job.notified = None;
        self.enter(State::Queued, now);
        Ok(())
    }

    /// See [`Jobs::notified`](super::Jobs::notified).
    pub fn notified(&mut self, now: Timestamp) -> Result<(), Error> {
        self.expect_state(&[State::Done, State::Failed])?;
        self.job.notified = Some(now);
        self.job.updated = now;
        Ok(())
    }

    fn enter(&mut self, state: State, now: Timestamp) {
        self.job.state = state;
        self.job.updated = now;
        self.job.finished = state.is_final().then_some(now);
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
