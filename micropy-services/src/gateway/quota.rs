//! Quotas of users.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Mutex, MutexGuard};

use super::Gateway;
use super::body::Rejection;
use super::problem::Problem;
use super::session::Session;

/// Creates a user's jobs one at a time, so that each check of the quota sees the jobs before: uploads in progress reserve
/// nothing. Gateways in several processes do not wait for each other, so a user with two of them can exceed the quota by a
/// job.
#[derive(Default)]
pub struct Admission([Mutex<()>; 32]);

impl Admission {
    /// Locks the user, together with others of the same hash.
    pub async fn lock(&self, email: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        email.hash(&mut hasher);
        let index = hasher.finish() % self.0.len() as u64;
        self.0[index as usize].lock().await
    }
}

impl Gateway {
    /// Bytes that a user may still store.
    async fn remaining_quota(&self, session: &Session) -> Result<u64, Problem> {
        let usage = self.ports.jobs.usage(&session.email).await?;
        if usage.jobs >= self.limits.quota_jobs {
            return Err(Problem::quota(format!(
                "You have {} jobs already.",
                usage.jobs
            )));
        }
        match self.limits.quota_bytes.saturating_sub(usage.bytes) {
            0 => Err(Problem::quota("You have used all your storage.")),
            remaining => Ok(remaining),
        }
    }

    /// Bytes of the largest video that a user may send, and why a larger one is rejected.
    pub async fn upload_limit(&self, session: &Session) -> Result<(u64, Rejection), Problem> {
        let remaining = self.remaining_quota(session).await?;
        let limit = self.limits.upload;
        Ok(match limit <= remaining {
            true => (limit, Rejection::TooLarge(limit)),
            false => (remaining, Rejection::Quota),
        })
    }

    /// Rejects a video that is larger than the user may store.
    pub async fn check_quota(&self, session: &Session, bytes: u64) -> Result<(), Problem> {
        let (limit, rejection) = self.upload_limit(session).await?;
        match bytes <= limit {
            true => Ok(()),
            false => Err(rejection.into()),
        }
    }
}
