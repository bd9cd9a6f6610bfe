//! What a user may store.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Mutex, MutexGuard};

use super::Gateway;
use super::body::Refusal;
use super::problem::Problem;
use super::session::Session;

/// Lets a user's jobs into the ledger one at a time, so that each sees what the others take: nothing is
/// reserved for uploads that are on their way. Gateways of several processes do not see each other's, for
/// as long as it takes to enter a job.
#[derive(Default)]
pub struct Entering([Mutex<()>; 32]);

impl Entering {
    /// This user's turn; a few others wait for it too.
    pub async fn turn(&self, email: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        email.hash(&mut hasher);
        let place = hasher.finish() % self.0.len() as u64;
        self.0[place as usize].lock().await
    }
}

impl Gateway {
    /// How many bytes a user may still store.
    pub async fn room(&self, session: &Session) -> Result<u64, Problem> {
        let usage = self.ports.jobs.usage(&session.email).await?;
        if usage.jobs >= self.limits.quota_jobs {
            return Err(Problem::quota(format!(
                "You have {} jobs already.",
                usage.jobs
            )));
        }
        match self.limits.quota_bytes.saturating_sub(usage.bytes) {
            0 => Err(Problem::quota("You have used all your storage.")),
            room => Ok(room),
        }
    }

    /// The largest video that may be sent, and what is said to a larger one.
    pub fn allowed(&self, room: u64) -> (u64, Refusal) {
        if self.limits.upload <= room {
            (self.limits.upload, Refusal::TooLarge(self.limits.upload))
        } else {
            (room, Refusal::Quota)
        }
    }

    /// Refuses a video for which there is no room.
    pub async fn admit(&self, session: &Session, bytes: u64) -> Result<(), Problem> {
        let (limit, beyond) = self.allowed(self.room(session).await?);
        if bytes > limit {
            return Err(beyond.into());
        }
        Ok(())
    }
}
