//! What was found out about tokens a moment ago.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use micropy_core::ports::auth::TokenDigest;
use tokio::time::Instant;

/// How long an answer holds. A token that has ended is refused everywhere once this is over.
pub const HOLDS: Duration = Duration::from_secs(2);
/// Answers remembered at once.
const CAPACITY: usize = 10_000;

/// The latest answers about tokens, so that not every request asks a store.
pub struct Recent<T> {
    answers: Mutex<HashMap<TokenDigest, (T, Instant)>>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Recent {
            answers: Mutex::default(),
        }
    }
}

impl<T: Clone> Recent<T> {
    /// The answer, while it holds.
    pub fn fresh(&self, token: &TokenDigest) -> Option<T> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, since) = answers.get(token)?;
        (since.elapsed() < HOLDS).then(|| answer.clone())
    }

    /// The last answer, however old: for when nobody can be asked.
    pub fn last(&self, token: &TokenDigest) -> Option<T> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(token).map(|(answer, _)| answer.clone())
    }

    /// Remembers an answer.
    pub fn remember(&self, token: TokenDigest, answer: T) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= CAPACITY {
            answers.retain(|_, (_, since)| since.elapsed() < HOLDS);
        }
        if answers.len() >= CAPACITY {
            answers.clear();
        }
        answers.insert(token, (answer, Instant::now()));
    }

    /// Forgets the answer about one token.
    pub fn forget_one(&self, token: &TokenDigest) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.remove(token);
    }

    /// Remembers an answer that holds no longer, as if time had passed.
    #[cfg(test)]
    pub fn remember_long_ago(&self, token: TokenDigest, answer: T) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let long_ago = Instant::now().checked_sub(2 * HOLDS);
        answers.insert(token, (answer, long_ago.unwrap_or_else(Instant::now)));
    }

    /// Forgets all answers: something has changed, for somebody who was entitled to change it.
    pub fn forget(&self) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.clear();
    }
}
