//! Quotas of users, and their pace.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use micropy_core::ports::jobs::{Job, State};

use super::Gateway;
use super::body::Rejection;
use super::problem::Problem;
use super::session::Session;
use crate::job::intake::IntakeError;

/// Conversions that one user may cancel, or delete, within five minutes after they were requested. Each leaves a message
/// in the queue that stands before those of others, and takes a worker a moment.
pub const VOIDED: u32 = 1_000;

/// Creates a user's jobs one at a time, so that each check of the quota sees the jobs before; and knows what is on its
/// way, of which the ledger hears only when it is complete.
///
/// Gateways in several processes do not know of each other's. So a user may exceed the quota by a job with two of them,
/// and have as much on its way at each.
#[derive(Default)]
pub struct Admission {
    turns: [tokio::sync::Mutex<()>; 32],
    /// What is on its way, by user; nobody has nothing.
    arriving: Arc<Mutex<HashMap<String, Arriving>>>,
}

/// What is on its way of one user.
#[derive(Default)]
struct Arriving {
    uploads: usize,
    /// Bytes reserved for them.
    reserved: u64,
    /// Bytes that are neither used nor reserved.
    free: u64,
}

/// Bytes of a quota that are one upload's, until it is dropped or settled.
pub struct Reservation {
    arriving: Arc<Mutex<HashMap<String, Arriving>>>,
    user: String,
    /// Bytes reserved, and how many of them have arrived.
    bytes: Mutex<(u64, u64)>,
}

impl Admission {
    /// Locks the user, together with others of the same hash.
    pub async fn lock(&self, email: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        email.hash(&mut hasher);
        let index = hasher.finish() % self.turns.len() as u64;
        self.turns[index as usize].lock().await
    }

    /// Bytes reserved for what is on its way.
    #[cfg(test)]
    pub fn on_their_way(&self, email: &str) -> u64 {
        self.reserved(email)
    }

    fn reserved(&self, email: &str) -> u64 {
        let arriving = lock(&self.arriving);
        arriving.get(email).map_or(0, |arriving| arriving.reserved)
    }

    /// Reserves up to `bytes` of the `free` ones for an upload of the user, who is locked. More can be had as they
    /// arrive.
    fn reserve(&self, email: &str, free: u64, bytes: u64) -> Reservation {
        let mut arriving = lock(&self.arriving);
        let own = arriving.entry(email.to_owned()).or_default();
        let bytes = bytes.min(free);
        own.uploads += 1;
        own.reserved += bytes;
        own.free = free - bytes;
        Reservation {
            arriving: self.arriving.clone(),
            user: email.to_owned(),
            bytes: Mutex::new((bytes, 0)),
        }
    }
}

impl Reservation {
    /// Whether there is room for this many bytes more, which have arrived.
    pub fn take(&self, bytes: u64) -> bool {
        let (mut arriving, mut own) = (lock(&self.arriving), lock(&self.bytes));
        let (reserved, arrived) = &mut *own;
        let sum = *arrived + bytes;
        let more = sum.saturating_sub(*reserved);
        let user = arriving.entry(self.user.clone()).or_default();
        if more > user.free {
            return false;
        }
        user.free -= more;
        user.reserved += more;
        *reserved += more;
        *arrived = sum;
        true
    }

    /// The upload has become a job, or is about to, of so many bytes: from now on they count as used. The user is
    /// locked.
    pub fn settle(&self, bytes: u64) {
        self.release(bytes);
    }

    /// Gives back what is reserved, but for the bytes that are used now.
    fn release(&self, used: u64) {
        let (mut arriving, mut own) = (lock(&self.arriving), lock(&self.bytes));
        let (reserved, _) = std::mem::take(&mut *own);
        if let Some(user) = arriving.get_mut(&self.user) {
            user.reserved -= reserved;
            user.free += reserved.saturating_sub(used);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release(0);
        let mut arriving = lock(&self.arriving);
        if let Some(user) = arriving.get_mut(&self.user) {
            user.uploads -= 1;
            if user.uploads == 0 {
                arriving.remove(&self.user);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gateway {
    /// Takes note that a job, as it was seen, will never be begun by the message that requests it.
    pub fn count_voided(&self, job: &Job) {
        if job.state == State::Queued && job.requested.is_some() {
            // Nobody is kept from cancelling.
            let _ = self.voided.take_of(&job.owner, self.ports.clock.now());
        }
    }

    /// Refuses more requests of conversions from those who have made too many void.
    pub fn check_pace(&self, session: &Session) -> Result<(), Problem> {
        match self.voided.wait_of(&session.email, self.ports.clock.now()) {
            None => Ok(()),
            Some(wait) => Err(Problem::too_many(
                wait.as_secs() + 1,
                format!("You have cancelled or deleted {VOIDED} queued jobs within five minutes."),
            )),
        }
    }

    /// Bytes that a user may still store, without those that are reserved for uploads on their way.
    async fn remaining_quota(&self, session: &Session) -> Result<u64, Problem> {
        let usage = self.ports.jobs.usage(&session.email).await?;
        if usage.jobs >= self.limits.quota_jobs {
            return Err(Problem::quota(format!(
                "You have {} jobs already.",
                usage.jobs
            )));
        }
        let left = self.limits.quota_bytes.saturating_sub(usage.bytes);
        if left == 0 {
            return Err(Problem::quota("You have used all your storage."));
        }
        match left.saturating_sub(self.admission.reserved(&session.email)) {
            0 => Err(Rejection::Quota.into()),
            remaining => Ok(remaining),
        }
    }

    /// Bytes of the largest video that a user may send, and why a larger one is rejected.
    fn upload_limit(&self, remaining: u64) -> (u64, Rejection) {
        let limit = self.limits.upload;
        match limit <= remaining {
            true => (limit, Rejection::TooLarge(limit)),
            false => (remaining, Rejection::Quota),
        }
    }

    /// Rejects a video that is larger than the user may store.
    async fn check_quota(&self, session: &Session, bytes: u64) -> Result<(), Problem> {
        self.check_pace(session)?;
        let (limit, rejection) = self.upload_limit(self.remaining_quota(session).await?);
        match bytes <= limit {
            true => Ok(()),
            false => Err(rejection.into()),
        }
    }

    /// Creates a job by `create`, if its owner may have it; `room` was reserved for its video, which has arrived. A request
    /// that is repeated needs no room, however much is left since the first, and gets the job of that one.
    ///
    /// Then nothing is created: the first job may be removed at any moment, and for a new one in its place nobody would
    /// have looked whether there is room.
    pub async fn admit(
        &self,
        session: &Session,
        job: &Job,
        room: Option<&Reservation>,
        create: impl Future<Output = Result<Job, IntakeError>>,
    ) -> Result<Job, Problem> {
        let turn = self.admission.lock(&session.email).await;
        if let Some(room) = room {
            room.settle(job.source_bytes);
        }
        if let Some(first) = self.repeated(job).await? {
            return Ok(first);
        }
        // MP3s may have used up the quota meanwhile, or uploads by way of another gateway.
        self.check_quota(session, job.source_bytes).await?;
        let created = create.await?;
        drop(turn);
        // By way of another gateway, the same request may have come first.
        if created.id == job.id {
            self.take_back_if_ended(session, created.id).await?;
        }
        Ok(created)
    }

    /// Reserves room for a video that is about to arrive, of at most so many bytes where that is known. Returns the
    /// bytes of the largest that would do, too, and why a larger one is rejected.
    pub async fn reserve(
        &self,
        session: &Session,
        most: Option<u64>,
    ) -> Result<(Reservation, u64, Rejection), Problem> {
        self.check_pace(session)?;
        let _turn = self.admission.lock(&session.email).await;
        let remaining = self.remaining_quota(session).await?;
        let (limit, rejection) = self.upload_limit(remaining);
        let bytes = most.unwrap_or_default().min(limit);
        let reservation = self.admission.reserve(&session.email, remaining, bytes);
        Ok((reservation, limit, rejection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ann@example.com";

    fn reserved(admission: &Admission) -> u64 {
        admission.reserved(ANN)
    }

    #[test]
    fn what_is_on_its_way_never_exceeds_what_is_free() {
        let admission = Admission::default();
        // Of 100 bytes, one upload says that it has 60 and another does not say.
        let one = admission.reserve(ANN, 100, 60);
        let other = admission.reserve(ANN, 100 - reserved(&admission), 0);
        assert!(one.take(50));
        assert!(other.take(30) && other.take(10));
        assert_eq!(reserved(&admission), 100);
        assert!(!other.take(1), "the rest is reserved");
        assert!(one.take(10), "and is there for whom it was reserved");
        assert!(!one.take(1));
        drop(other);
        assert!(one.take(40), "what was refused is free again");
        assert!(!one.take(1));
        drop(one);
        assert!(lock(&admission.arriving).is_empty());
    }

    #[test]
    fn a_finished_upload_gives_back_what_it_did_not_need() {
        let admission = Admission::default();
        let one = admission.reserve(ANN, 100, 100);
        let other = admission.reserve(ANN, 0, 0);
        assert!(one.take(70) && !other.take(1));
        one.settle(70);
        assert!(other.take(30));
        assert!(!other.take(1), "the 70 are used now");
        drop(one);
        assert!(!other.take(1));
        assert_eq!(reserved(&admission), 30);
        let third = admission.reserve("bob@example.com", 50, 50);
        assert!(third.take(50), "another's quota is another");
    }
}
